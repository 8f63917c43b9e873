"""The rows for scenarios in the dashboard of a profile: journeys, their steps, and the turns of conversations.

The series of a profile with a workload have an empty `step`, so these panels show a text instead of data.
"""

from names import OURS
from panels import (
    COUNT, GOOD_SHARE, JOURNEYS, REQUESTS, SECONDS, SHARE, TOKENS, Column, Line, Row, grid, heat, lines, number,
)  # fmt: skip
from shared import NO_SCENARIO, availability, failures, journeys_ok, ours

WHERE = ("location", "target")
LEGEND = "{{target}} {{location}}"
RANGE = "$__range"
WINDOW = "$__rate_interval"

DURATION, TTFT = "tokenbeat_request_duration_seconds", "tokenbeat_time_to_first_token_seconds"
JOURNEY = "tokenbeat_journey_duration_seconds"

STEPS = (*WHERE, "step")
STEP_LEGEND = "{{step}} {{target}} {{location}}"
A_STEP = {"step!=": ""}

TURNS = (*STEPS, "turn")
TURN_LEGEND = "{{step}} {{turn}} {{target}} {{location}}"
A_TURN = {"turn!=": ""}
NO_TURNS = "No step has turns"


def per_journey(family: str, extra: str, window: str, labels: tuple[str, ...] = WHERE) -> str:
    """The mean over all journeys that ended, including failed ones."""
    ended = ours.increase("tokenbeat_journeys_total", labels, window)
    return f"{ours.increase(family, (*labels, extra), window)} / on ({', '.join(labels)}) group_left () ({ended} > 0)"


def journeys() -> Row:
    judged = ours.increase("tokenbeat_journeys_total", (), **{"outcome!~": OURS})
    return Row("Journeys", [
        number("Journeys that were ok", "Share of journeys in which every step succeeded, over the selected range, without those"
               " that the prober stopped.", SHARE, journeys_ok((), RANGE), marks=GOOD_SHARE, decimals=2),
        number("Journeys", "Journeys that ended and count for or against the target, over the selected range, without warm-up.",
               COUNT, judged, decimals=0),
        number("Journey, p50", "The longest time that half of the users waited, in all steps together, over the selected range.", SECONDS,
               ours.quantile(0.5, JOURNEY, (), RANGE), decimals=2),
        number("Journey, p95", "The shortest time that the slowest twentieth of users waited, in all steps together,"
               " over the selected range.", SECONDS,
               ours.quantile(0.95, JOURNEY, (), RANGE), decimals=2),
        number("Tokens of a journey", "Input and output together, mean over the selected range.", COUNT,
               f'{ours.increase("tokenbeat_journey_tokens_total")} / ({ours.increase("tokenbeat_journeys_total")} > 0)', decimals=0),
        number("Cost of a journey", "Mean over the selected range, by the targets' prices; no value without a price.", COUNT,
               f'{ours.increase("tokenbeat_journey_cost_total")} / ({ours.increase("tokenbeat_journeys_total")} > 0)', decimals=5),
        lines("Journeys by outcome", "Journeys that ended, per second: `ok`, or the outcome of the first failed step. `cancelled`:"
              " the prober stopped it, at a shutdown, or because a request was skipped (a budget, the in-flight limit).", JOURNEYS,
              Line(ours.rate("tokenbeat_journeys_total", (*WHERE, "outcome")) + " > 0", "{{outcome}} {{target}} {{location}}"), stack=True,
              none=NO_SCENARIO),
        lines("Journey success", "Share of journeys in which every step succeeded. With several"
              " steps it is lower than any step's own"
              " share: five steps at 99% are 95%.", SHARE, Line(journeys_ok(WHERE, WINDOW), LEGEND), top=1, none=NO_SCENARIO),
        lines("Journey duration", "Time that a user waits in all steps together, from due to end, without think time and set-up."
              " Only completed journeys: a failed check ends one early, so many of those make it look shorter.", SECONDS,
              *(Line(ours.quantile(q, JOURNEY, WHERE), f"p{q * 100:g} {LEGEND}", exemplars=q == 0.99) for q in (0.5, 0.95, 0.99)),
              none=NO_SCENARIO),
        heat("Journey duration, distribution", "Two bands mean two kinds of users or"
             " answers: a cache that hits or not, short and long"
             " conversations.", SECONDS, ours.heat(JOURNEY), none=NO_SCENARIO),
        lines("Tokens per journey", "Input and output tokens of all requests, divided by the number of ended"
              " journeys. It grows with the turns"
              " of a conversation and with the retrieved documents.", COUNT,
              Line(per_journey("tokenbeat_journey_tokens_total", "type", WINDOW), "{{type}} {{target}} {{location}}"), none=NO_SCENARIO),
        lines("Cost per journey", "Cost of all requests, including failed ones, divided by the number of ended journeys.", COUNT,
              Line(per_journey("tokenbeat_journey_cost_total", "currency", WINDOW), "{{currency}} {{target}} {{location}}"),
              none="No scenario with a price is played"),
    ])  # fmt: skip


def by_step() -> Row:
    def tokens(kind: str) -> str:
        return ours.mean(f"tokenbeat_request_{kind}_tokens", STEPS, RANGE, **A_STEP)

    columns = [
        Column("Requests", ours.increase("tokenbeat_requests_total", STEPS, **A_STEP), COUNT, (), 0),
        Column("Ok", availability(STEPS, RANGE, **A_STEP), SHARE, GOOD_SHARE, 2),
        Column("Failed checks", ours.increase("tokenbeat_check_failures_total", STEPS, **A_STEP), COUNT, (), 0),
        Column("Duration p50", ours.quantile(0.5, DURATION, STEPS, RANGE, **A_STEP), SECONDS, (), 3),
        Column("Duration p95", ours.quantile(0.95, DURATION, STEPS, RANGE, **A_STEP), SECONDS, (), 3),
        Column("TTFT p95", ours.quantile(0.95, TTFT, STEPS, RANGE, **A_STEP), SECONDS, (), 3),
        Column("Input tokens", tokens("input"), COUNT, (), 0),
        Column("Output tokens", tokens("output"), COUNT, (), 0),
        Column("Cost", ours.increase("tokenbeat_cost_total", STEPS, **A_STEP), COUNT, (), 4),
    ]
    return Row("By step", [
        grid("Steps", "One row per step, including the set-up, over the selected"
             " range. If a step has fewer requests than the one before it, journeys end there. Tokens are means per request.",
             {"location": "Location", "target": "Target", "step": "Step"}, columns, height=8, none=NO_SCENARIO),
        lines("Duration by step, p95", "From the send to the end of the answer. Look for the step that changes together with the"
              " journey.",
              SECONDS, Line(ours.quantile(0.95, DURATION, STEPS, **A_STEP), STEP_LEGEND), none=NO_SCENARIO),
        lines("Time to first token by step, p95", "Only for steps that stream: model calls, and streamed answers of the"
              " application.", SECONDS,
              Line(ours.quantile(0.95, TTFT, STEPS, **A_STEP), STEP_LEGEND), none="No step streams"),
        lines("Tokens by step", "Tokens per second by step and type.", TOKENS,
              Line(ours.rate("tokenbeat_tokens_total", (*STEPS, "type"), **A_STEP) + " > 0", "{{type}} {{step}} {{target}} {{location}}"),
              stack=True, none="No step has tokens"),
        lines("Requests by step", "Requests that ended, by step: a funnel. Steps after a failed one are not sent.", REQUESTS,
              Line(ours.rate("tokenbeat_requests_total", STEPS, **A_STEP), STEP_LEGEND), none=NO_SCENARIO),
        lines("Failures by step and outcome", "Share of each step's requests that failed, by"
              " reason. `extract`: a value that a later step"
              " needs was not in the answer.", SHARE,
              Line(failures(STEPS, WINDOW, **A_STEP) + " > 0", "{{step}} {{outcome}} {{target}} {{location}}"), none="No step fails"),
        lines("Failed checks by step", "Checks that answers failed, per second, by step and by the check's name; one answer can fail"
              " several.", REQUESTS,
              Line(ours.rate("tokenbeat_check_failures_total", (*STEPS, "check"), **A_STEP), "{{step}} {{check}} {{target}} {{location}}"),
              none="No step has checks"),
    ])  # fmt: skip


def by_turn() -> Row:
    cached = ours.rate("tokenbeat_cached_input_tokens_total", TURNS, **A_TURN)
    inputs = ours.rate("tokenbeat_tokens_total", TURNS, type="input", **A_TURN)
    return Row("Conversation by turn", [
        lines("Duration by turn, p95", "A conversation grows, and with it the prompt: later turns take longer. If the lines move"
              " apart, the prefix cache no longer helps.", SECONDS,
              Line(ours.quantile(0.95, DURATION, TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Time to first token by turn, p95", "It includes the prefill of the history. With prefix cache hits it hardly grows.", SECONDS,
              Line(ours.quantile(0.95, TTFT, TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Input tokens by turn", "Mean input tokens per request, which grow with the history. If they stay constant from some"
              " turn on, the history is cut there.", COUNT,
              Line(ours.mean("tokenbeat_request_input_tokens", TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Cached input by turn", "Share of the input that came from the provider's cache. Turns after the first should find"
              " their history in it; a router that changes the replica loses it.", SHARE, Line(f"{cached} / ({inputs} > 0)", TURN_LEGEND), width=6, top=1,
              none=NO_TURNS),
    ])  # fmt: skip
