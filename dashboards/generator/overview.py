"""Overview: all profiles and targets on one page."""

from names import OURS
from panels import (
    AGO, COUNT, GOOD_SHARE, NONE_IS_GOOD, SECONDS, SHARE, SPENT_SHARE, TOKENS, Column, Line, Row, bars, dashboard,
    grid, lines, number, states,
)  # fmt: skip
from promql import aggregate
from shared import (
    NO_SCENARIO, PAIR, PAIR_LEGEND, availability, burn, cost, failures, journeys_ok, notes, objective_met, ours, throughput,
    variables,
)  # fmt: skip

TTFT, PACE = "tokenbeat_time_to_first_token_seconds", "tokenbeat_output_pace_tokens_per_second"
JOURNEY = "tokenbeat_journey_duration_seconds"
RANGE = "$__range"
TO_PROFILE = {
    "title": "Open the profile",
    "url": "/d/tokenbeat-profile?${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    "&var-location=${__data.fields.Location}&var-profile=${__data.fields.Profile}&var-target=${__data.fields.Target}",
}


def pair(how: str, family: str, **more: str) -> str:
    return ours.gauge(how, family, PAIR, **more)


# The value of each state in the panel.
TARGET_STATES = {
    "0": ("unknown", "#8e8e8e"), "1": ("ok", "green"), "2": ("slow", "yellow"), "3": ("failing", "orange"), "4": ("hung", "red"),
}  # fmt: skip


def worst(family: str, label: str, words: dict[str, tuple[str, str]], labels: tuple[str, ...]) -> str:
    """The worst of what agents and replicas are at present, as a number: the words are in order. It is not a sum: of two
    agents, one may see another state."""
    now = [f"{value} * ({ours.value(family, **{label: word})} > 0)" for value, (word, _) in words.items()]
    return aggregate("max", labels, " or ".join(now))


def target_states() -> str:
    """The present state of each target, or of each of its replicas, as a number."""
    return worst("tokenbeat_target_state", "state", TARGET_STATES, ("location", "target", "replica"))


def regressions() -> str:
    """The level of each quantity by its baseline, of several agents the worst: of the pace of output, the least."""
    def of(how: str, **quantity: str) -> str:
        return ours.gauge(how, "tokenbeat_regression_ratio", (*PAIR, "quantity"), **quantity)
    return f"{of('max', **{'quantity!=': 'output_pace'})} or {of('min', quantity='output_pace')}"


# The value of each verdict in the panel.
VERDICTS = {"0": ("unknown", "#8e8e8e"), "1": ("same", "green"), "2": ("better", "blue"), "3": ("worse", "red")}


def verdicts() -> str:
    """The present verdict on each quantity as a number."""
    return worst("tokenbeat_comparison_verdict", "verdict", VERDICTS, ("location", "profile", "quantity"))


def profile_budget() -> str:
    """The fullest budget of a profile, on each of its targets."""
    mine = f'label_replace({ours.value("tokenbeat_budget_spent_ratio", **{"scope=~": "profile/.+"})}, "profile", "$1", "scope", "profile/(.+)")'
    return f"{pair('max', 'tokenbeat_profile_info')} * on (location, profile) group_left () max by (location, profile) ({mine})"


def pairs_table():
    columns = [
        Column("Available", availability(PAIR, RANGE), SHARE, GOOD_SHARE, 2),
        Column("Goodput", f'1 - {ours.increase("tokenbeat_slo_errors_total", PAIR, slo="all")}'
               f' / ({ours.increase("tokenbeat_slo_events_total", PAIR, slo="all")} > 0)', SHARE, GOOD_SHARE, 2),
        Column("Requests", ours.increase("tokenbeat_requests_total", PAIR), COUNT, (), 0),
        Column("TTFT p50", ours.quantile(0.5, TTFT, PAIR, RANGE), SECONDS, (), 3),
        Column("TTFT p95", ours.quantile(0.95, TTFT, PAIR, RANGE), SECONDS, (), 3),
        Column("Pace p50", ours.quantile(0.5, PACE, PAIR, RANGE), TOKENS, (), 1),
        Column("Journeys ok", journeys_ok(PAIR, RANGE), SHARE, GOOD_SHARE, 2),
        Column("Journey p95", ours.quantile(0.95, JOURNEY, PAIR, RANGE), SECONDS, (), 3),
        Column("Cost", f"sum by ({', '.join(PAIR)}) ({cost(PAIR, RANGE)})", COUNT, (), 4),
        Column("Budget spent", profile_budget(), SHARE, SPENT_SHARE, 1),
        Column("Last completed", f"{pair('max', 'tokenbeat_last_run_completed_timestamp_seconds')} * 1000 > 0", AGO),
        Column("Next run", f"{pair('min', 'tokenbeat_next_run_timestamp_seconds')} * 1000 > 0", AGO),
    ]  # fmt: skip
    return grid(
        "Every profile and target",
        "One row per profile, target and location, over the selected range. Start here: low availability or goodput with a low lag"
        " is caused by the target; the profile's name links to the details. Journeys: only for scenarios. Cost is in the"
        " agent's currency.",
        {"location": "Location", "profile": "Profile", "target": "Target"}, columns, link=("Profile", TO_PROFILE),
    )  # fmt: skip


def board():
    judged = ours.increase("tokenbeat_requests_total", (), **{"outcome!~": OURS})
    now = Row("Now", [
        number("Availability", "Share of requests with outcome `ok`, of all that count for or against a target;"
               " over the selected range.", SHARE, availability((), RANGE), marks=GOOD_SHARE, decimals=2),
        number("Fastest burn", "The highest burn rate of an error budget over the last hour: at 1 the budget lasts exactly for the"
               " objective's period, at 14.4 an alert pages.", COUNT, f"max ({burn(('profile', 'target', 'slo'), '1h')})",
               marks=((None, "green"), (1, "orange"), (14.4, "red")), decimals=1),
        number("Alerts firing", "Firing alerts of tokenbeat, if its rules are loaded. The annotations show when each began.",
               COUNT, 'count (ALERTS{alertname=~"Tokenbeat.+",alertstate="firing"}) or vector(0)', marks=NONE_IS_GOOD, decimals=0),
        number("Requests", "Requests that ended in the selected range and count for or against a target.", COUNT, judged,
               decimals=0),
        number("Cost", "Cost of the probing over the selected range, by the targets' prices; a number for each currency.",
               COUNT, cost((), RANGE), decimals=4, legend="{{currency}}"),
        number("Fullest budget", "The highest spent share of a budget in its current period. At 100% its requests are held back.",
               SHARE, ours.gauge("max", "tokenbeat_budget_spent_ratio"), marks=SPENT_SHARE, decimals=1),
    ])  # fmt: skip
    table = Row("Profiles and targets", [pairs_table()])
    course = Row("Over time", [
        states("State of targets", "What the requests of all profiles to a target show: `hung`: they time out before their first"
               " token; `unknown`: none was sent lately, or the prober itself is at fault. Of several agents, the worst.",
               Line(target_states(), "{{target}} {{replica}} {{location}}"), width=16, height=8, mapping=TARGET_STATES),
        lines("Changes of state", "How often targets changed to each state. Many changes: the target is at the edge of its"
              " objective, or `health.failing_after` is too small.", COUNT,
              Line(ours.rate("tokenbeat_target_state_changes_total", ("target", "to"), how="increase"), "{{target}}: {{to}}"),
              width=8),
        lines("Regressions", "While a regression stands: the present level of a quantity by its baseline, as the agent found it; 1"
              " otherwise. Of the output pace, less is worse. Of several agents, the worst.", COUNT,
              Line(regressions(), PAIR_LEGEND + " {{quantity}}"), width=16),
        lines("Evidence for a regression", "How much of the evidence there is that is needed to tell a regression: it is told at 1.",
              SHARE, Line(ours.gauge("max", "tokenbeat_regression_evidence", (*PAIR, "quantity")), PAIR_LEGEND + " {{quantity}}"),
              width=8, top=1),
        lines("Availability", "Share of ok requests. A dip in only one location is caused by the network; in all of them, by the"
              " target.",
              SHARE, Line(availability(PAIR, "$__rate_interval"), PAIR_LEGEND), top=1),
        lines("Time to first token, p95", "How long slow requests wait for the first token. Exemplars link to traces, if the data"
              " source is configured for it.", SECONDS, Line(ours.quantile(0.95, TTFT, PAIR), PAIR_LEGEND, exemplars=True)),
        lines("Output pace, p50", "Tokens per second over the whole request, as a user experiences it. It falls with a slower first"
              " token as well as with slower decoding.", TOKENS, Line(ours.quantile(0.5, PACE, PAIR), PAIR_LEGEND)),
        lines("Failures by reason", "Share of requests that failed, by reason. Timeouts and 5xx are caused by the target;"
              " `connect`, `dns` and `tls` by the network; `check` is a complete answer that failed a check.", SHARE,
              Line(failures(("profile", "target"), "$__rate_interval"), "{{profile}} → {{target}} {{outcome}}"), stack=True),
        lines("Throughput", "Output tokens per second of offered load: comparable between profiles that always send requests and"
              " those that do so from time to time.", TOKENS, Line(throughput(PAIR), PAIR_LEGEND)),
        lines("Cost per hour", "Cost of the probing at the current rate, in the agent's currency.", COUNT,
              Line(f"3600 * {ours.rate('tokenbeat_cost_total', (*PAIR, 'currency'))}", f"{PAIR_LEGEND} {{{{currency}}}}"), stack=True),
    ])  # fmt: skip
    compared = Row("Comparisons", [
        states("Verdicts of comparisons", "Of profiles with `compare`: the verdict on the treatment, by quantity, and on `all` of them"
               " together. `unknown`: too few pairs so far. Of several agents, the worst.",
               Line(verdicts(), "{{profile}} {{quantity}} {{location}}"), width=12, height=8, mapping=VERDICTS),
        lines("Change of the treatment", "The estimate of each quantity and the interval around it: the treatment relative to the"
              " control. For failures, the difference of the shares. No difference is excluded while the interval contains 0.",
              SHARE, Line(f"{ours.gauge('max', 'tokenbeat_comparison_ratio', ('location', 'profile', 'quantity', 'bound'))} - 1",
                          "{{profile}} {{quantity}} {{bound}}"), width=12),
    ])  # fmt: skip
    scenarios = Row("Journeys", [
        lines("Journey success", "Share of journeys in which every step succeeded, for scenarios. If it is low while availability"
              " is high, one step fails.", SHARE, Line(journeys_ok(PAIR, "$__rate_interval"), PAIR_LEGEND), top=1,
              none=NO_SCENARIO),
        lines("Journey duration, p95", "Time that a user waits in all steps together, without think time and set-up.", SECONDS,
              Line(ours.quantile(0.95, JOURNEY, PAIR), PAIR_LEGEND, exemplars=True), none=NO_SCENARIO),
        lines("Failures by step", "Share of the requests of each step that failed: where journeys end.", SHARE,
              Line(f"1 - {availability((*PAIR, 'step'), '$__rate_interval', **{'step!=': ''})} > 0", f"{{{{step}}}} {PAIR_LEGEND}"),
              none="No step fails"),
    ])  # fmt: skip
    places = Row("Locations", [
        bars("Availability by location", "The same targets from each location. A single different value points to the network or a"
             " region.", SHARE, Line(availability(("location",), RANGE), "{{location}}", instant=True), marks=GOOD_SHARE, top=1),
        lines("Time to first token by location, p50", "The distance between the lines is caused by the network, common changes by"
              " the target.", SECONDS, Line(ours.quantile(0.5, TTFT, ("location", "target")), "{{target}} {{location}}")),
        lines("Objectives met by location", "Share of SLO events that were good (`all`: requests that met every objective).", SHARE,
              Line(objective_met(("location", "slo"), "$__rate_interval"), "{{slo}} {{location}}"), top=1),
    ])  # fmt: skip
    schedule = Row("Schedule and budgets", [
        states("Runs", "When each profile had a run. A gap that the schedule does not explain is a missed or skipped run.",
               Line(f"clamp_max({pair('max', 'tokenbeat_run_active')}, 1)", PAIR_LEGEND), width=16, height=8,
               mapping={"0": ("idle", "transparent"), "1": ("playing", "blue")}),
        bars("Budgets", "Spent share of each budget in its current period, reservations included.", SHARE,
             Line(ours.gauge("max", "tokenbeat_budget_spent_ratio", ("location", "scope", "unit")), "{{scope}} {{unit}} {{location}}",
                  instant=True), marks=SPENT_SHARE, top=1),
        lines("Runs by result", "Runs that ended. `failed`: an objective was missed, or without objectives a request failed;"
              " `degraded`, beside the result: the prober was late, so its latencies do not describe the target.", COUNT,
              Line(ours.rate("tokenbeat_runs_total", ("result",), how="increase"), "{{result}}"),
              Line(ours.rate("tokenbeat_degraded_runs_total", how="increase"), "degraded"), width=12),
        lines("Skipped runs and requests", "Due but not started or sent, by reason. `budget`: money, tokens or requests are spent;"
              " `overlap`: the previous run had not ended; `in_flight` and `overrun`: the prober could not keep up.", COUNT,
              Line(ours.rate("tokenbeat_skipped_runs_total", ("reason",), how="increase"), "runs: {{reason}}"),
              Line(ours.rate("tokenbeat_skipped_requests_total", ("reason",), how="increase"), "requests: {{reason}}"), width=12),
    ])  # fmt: skip
    return dashboard(
        "overview", "Overview", "Every profile and target that tokenbeat plays: availability, first token, pace, cost, journeys,"
        " budgets and the schedule.", variables(), [now, table, course, compared, scenarios, places, schedule], notes(),
    )  # fmt: skip


