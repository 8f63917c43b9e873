"""The rows of the profile's dashboard that are about scenarios: journeys, their steps, and the turns of conversations.

A profile with a workload has neither: its series have an empty `step`, and panels say so instead of looking broken.
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
    """Of all journeys that ended, those that failed included."""
    ended = ours.increase("tokenbeat_journeys_total", labels, window)
    return f"{ours.increase(family, (*labels, extra), window)} / on ({', '.join(labels)}) group_left () ({ended} > 0)"


def journeys() -> Row:
    judged = ours.increase("tokenbeat_journeys_total", (), **{"outcome!~": OURS})
    return Row("Journeys", [
        number("Journeys that were ok", "Share of journeys that came through every step, over the range that is shown. Those that the"
               " prober itself stopped are left out.", SHARE, journeys_ok((), RANGE), marks=GOOD_SHARE, decimals=2),
        number("Journeys", "Journeys that ended and say something about the target, over the range that is shown. Warm-up left out.",
               COUNT, judged, decimals=0),
        number("Journey, p50", "What half of the users waited at most, in all steps together, over the range that is shown.", SECONDS,
               ours.quantile(0.5, JOURNEY, (), RANGE), decimals=2),
        number("Journey, p95", "What one of twenty users waited at least, in all steps together, over the range that is shown.", SECONDS,
               ours.quantile(0.95, JOURNEY, (), RANGE), decimals=2),
        number("Tokens of a journey", "Input and output together, mean over the range that is shown.", COUNT,
               f'{ours.increase("tokenbeat_journey_tokens_total")} / ({ours.increase("tokenbeat_journeys_total")} > 0)', decimals=0),
        number("Cost of a journey", "Mean over the range that is shown, by the targets' prices; none where they have none.", COUNT,
               f'{ours.increase("tokenbeat_journey_cost_total")} / ({ours.increase("tokenbeat_journeys_total")} > 0)', decimals=5),
        lines("Journeys by outcome", "Journeys that ended, per second: `ok`, or why the first failing step failed. `cancelled`: the prober"
              " stopped it, at a shutdown, or because a request was skipped (a budget, the in-flight limit).", JOURNEYS,
              Line(ours.rate("tokenbeat_journeys_total", (*WHERE, "outcome")) + " > 0", "{{outcome}} {{target}} {{location}}"), stack=True,
              none=NO_SCENARIO),
        lines("Journey success", "Share of journeys that came through every step. With several steps it is lower than any step's own"
              " share: five steps at 99% are 95%.", SHARE, Line(journeys_ok(WHERE, WINDOW), LEGEND), top=1, none=NO_SCENARIO),
        lines("Journey duration", "What a user waited in all steps together, from due to end; think time and set-up left out. Of journeys"
              " that completed: a failed check ends one early, so many of these make it look shorter.", SECONDS,
              *(Line(ours.quantile(q, JOURNEY, WHERE), f"p{q * 100:g} {LEGEND}", exemplars=q == 0.99) for q in (0.5, 0.95, 0.99)),
              none=NO_SCENARIO),
        heat("Journey duration, distribution", "Two bands are two kinds of users or of answers: a cache that hits or not, short and long"
             " conversations.", SECONDS, ours.heat(JOURNEY), none=NO_SCENARIO),
        lines("Tokens per journey", "Input and output tokens of all requests over the journeys that ended. It grows with the turns of a"
              " conversation and with what is retrieved.", COUNT,
              Line(per_journey("tokenbeat_journey_tokens_total", "type", WINDOW), "{{type}} {{target}} {{location}}"), none=NO_SCENARIO),
        lines("Cost per journey", "Of all requests, failed ones included, over the journeys that ended.", COUNT,
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
        grid("Steps", "One row per step, those of the set-up included, over the range that is shown. A step with fewer requests than the"
             " one before it: journeys end there. Tokens are means per request.",
             {"location": "Location", "target": "Target", "step": "Step"}, columns, height=8, none=NO_SCENARIO),
        lines("Duration by step, p95", "From the send to the end of the answer. The step that moves with the journey is the one to look at.",
              SECONDS, Line(ours.quantile(0.95, DURATION, STEPS, **A_STEP), STEP_LEGEND), none=NO_SCENARIO),
        lines("Time to first token by step, p95", "Of the steps that stream: model calls, and streamed answers of the application.", SECONDS,
              Line(ours.quantile(0.95, TTFT, STEPS, **A_STEP), STEP_LEGEND), none="No step streams"),
        lines("Tokens by step", "Tokens per second by step and type.", TOKENS,
              Line(ours.rate("tokenbeat_tokens_total", (*STEPS, "type"), **A_STEP) + " > 0", "{{type}} {{step}} {{target}} {{location}}"),
              stack=True, none="No step has tokens"),
        lines("Requests by step", "Requests that ended, by step: a funnel. Steps after a failed one are not played.", REQUESTS,
              Line(ours.rate("tokenbeat_requests_total", STEPS, **A_STEP), STEP_LEGEND), none=NO_SCENARIO),
        lines("Failures by step and outcome", "Share of each step's requests, by the reason they failed. `extract`: a value that a later step"
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
        lines("Duration by turn, p95", "A conversation grows, and with it the prompt: later turns take longer. Lines that lie apart more than"
              " they used to: the prefix cache no longer helps.", SECONDS,
              Line(ours.quantile(0.95, DURATION, TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Time to first token by turn, p95", "Prefill of the history is here. With a prefix cache that hits it hardly grows.", SECONDS,
              Line(ours.quantile(0.95, TTFT, TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Input tokens by turn", "Mean input tokens per request: what the history adds. Flat from some turn on: it is cut there.", COUNT,
              Line(ours.mean("tokenbeat_request_input_tokens", TURNS, **A_TURN), TURN_LEGEND), width=6, none=NO_TURNS),
        lines("Cached input by turn", "Share of the input that came from the provider's cache. Turns after the first should find their history"
              " there; a router that changes the replica loses it.", SHARE, Line(f"{cached} / ({inputs} > 0)", TURN_LEGEND), width=6, top=1,
              none=NO_TURNS),
    ])  # fmt: skip
