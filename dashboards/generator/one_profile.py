"""Profile: one profile in depth."""

from names import OURS
from panels import (
    AGO, COUNT, GOOD_SHARE, REQUESTS, SECONDS, SHARE, TOKENS, Column, Line, Row, bars, dashboard, grid, heat, lines, number,
)  # fmt: skip
from scenarios import by_step, by_turn, journeys
from shared import availability, burn, cost, failures, notes, objective_met, ours, throughput, variables

WHERE = ("location", "target")
LEGEND = "{{target}} {{location}}"
SLO = (*WHERE, "slo")
RANGE = "$__range"


def quantiles(title: str, says: str, unit: str, family: str, qs=(0.5, 0.95, 0.99), exemplars=False, labels=WHERE, legend=LEGEND, **more):
    """A panel with quantiles of one histogram."""
    queries = [
        Line(ours.quantile(q, f"tokenbeat_{family}", labels), f"p{q * 100:g} {legend}", exemplars and q == max(qs)) for q in qs
    ]
    return lines(title, says, unit, *queries, **more)


def objectives() -> Row:
    columns = [
        Column("Objective", ours.gauge("max", "tokenbeat_slo_objective_ratio", SLO), SHARE, (), 2),
        Column("Met", objective_met(SLO, RANGE), SHARE, GOOD_SHARE, 3),
        Column("Budget left", f"1 - {burn(SLO, RANGE)}", SHARE, ((None, "red"), (0, "orange"), (0.25, "green")), 1),
        Column("Burn, 1 h", burn(SLO, "1h"), COUNT, ((None, "green"), (1, "orange"), (14.4, "red")), 1),
        Column("Events", ours.increase("tokenbeat_slo_events_total", SLO), COUNT, (), 0),
        Column("Below", ours.gauge("max", "tokenbeat_slo_threshold_seconds", SLO), SECONDS, (), 3),
        Column("Per input token", ours.gauge("max", "tokenbeat_slo_threshold_per_input_token_seconds", SLO), SECONDS, (), 6),
        Column("Above", ours.gauge("max", "tokenbeat_slo_threshold_tokens_per_second", SLO), TOKENS, (), 1),
    ]
    return Row("Objectives", [
        grid("Objectives", "Each objective over the selected range: the share that met it, and how much of the error budget is"
             " left. `all` is"
             " goodput: requests that met every objective. A failed request counts as an error in every objective.",
             {"location": "Location", "target": "Target", "slo": "SLO"}, columns, width=14, height=8),
        lines("Burn rate", "How fast the error budget is spent, over one hour and over six: at 1 it lasts exactly for the"
              " objective's period. Both above 6 for a while, or the hour above 14.4, justify a page.", COUNT,
              Line(burn(SLO, "1h"), "1h {{slo}} {{target}} {{location}}"), Line(burn(SLO, "6h"), "6h {{slo}} {{target}} {{location}}"),
              width=10, marks=((None, "transparent"), (6, "orange"), (14.4, "red"))),
        number("Availability", "Share of requests with outcome `ok`, over the selected range.", SHARE, availability((), RANGE),
               marks=GOOD_SHARE, decimals=2),
        number("Requests", "Requests that ended and count for or against the target, over the selected range.", COUNT,
               ours.increase("tokenbeat_requests_total", (), **{"outcome!~": OURS}), decimals=0),
        number("Cost", "Over the range that is shown, by the targets' prices; a number for each currency.", COUNT, cost((), RANGE),
               decimals=4, legend="{{currency}}"),
        number("Last success", "When the last run with result `ok` ended.", AGO,
               f"{ours.gauge('max', 'tokenbeat_last_success_timestamp_seconds')} * 1000 > 0"),
        number("Next run", "When the next run is due.", AGO, f"{ours.gauge('min', 'tokenbeat_next_run_timestamp_seconds')} * 1000 > 0"),
        number("Interval", "Time between runs; no value if it is not constant.", SECONDS,
               ours.gauge("min", "tokenbeat_schedule_interval_seconds")),
        targets(),
        revisions(),
    ])  # fmt: skip


def targets():
    """The selected targets."""
    about = ("location", "target", "api", "provider", "server")
    return grid(
        "Targets", "The dialect, the provider, and the server as named in its answers.",
        {label: label.capitalize() for label in about}, [Column("Present", ours.gauge("max", "tokenbeat_target_info", about))], width=14, height=5,
    )  # fmt: skip


def revisions():
    about = ("location", "target", "revision", "schedule")
    return grid(
        "Revisions", "A hash of workload, load and model. Only numbers of the same revision are compared with the past.",
        {label: label.capitalize() for label in about}, [Column("Present", ours.gauge("max", "tokenbeat_profile_info", about))],
        width=10, height=5,
    )  # fmt: skip


def first_token() -> Row:
    marks = {"byte": "first byte", "chunk": "first chunk", "token": "first token", "text": "first visible text"}
    return Row("First token", [
        quantiles("Time to first token", "From the send to the first generated content. An increase with a steady pace is queueing"
                  " or prefill. Exemplars link to traces, if the data source is configured for it.", SECONDS, "time_to_first_token_seconds",
                  exemplars=True),
        heat("Time to first token, distribution", "Two bands mean two kinds of answers: a prefix that is cached or not, two"
             " replicas, two routes.", SECONDS, ours.heat("tokenbeat_time_to_first_token_seconds")),
        lines("First byte, chunk, token and text, p50", "First byte, first event, first token, first visible text. A distance"
              " between byte and token: the server answers before it generates. Between token and text: reasoning.", SECONDS,
              *(Line(ours.quantile(0.5, f"tokenbeat_time_to_first_{mark}_seconds", WHERE), f"{name} {LEGEND}") for mark, name in marks.items())),
        lines("Time to first token against last week, p50", "The same hours a week ago, for comparison. After an edit of the"
              " profile in between (annotated) the two cannot be compared; the regression alert takes this into account.", SECONDS,
              Line(ours.quantile(0.5, "tokenbeat_time_to_first_token_seconds", WHERE, "1h"), f"now {LEGEND}"),
              Line(ours.quantile(0.5, "tokenbeat_time_to_first_token_seconds", WHERE, "1h", "1w"), f"a week ago {LEGEND}")),
        cache_pairs(),
        prompt_lengths(),
    ])  # fmt: skip


def cache_pairs():
    """The prompt-cache canary."""
    ttft, tokens = "tokenbeat_time_to_first_token_seconds", "tokenbeat_tokens_total"
    cold, warm = (ours.quantile(0.5, ttft, WHERE, "1h", step=step) for step in ("cold", "warm"))
    cached = ours.rate("tokenbeat_cached_input_tokens_total", WHERE, "1h", step="warm")
    return lines(
        "Prompt cache: warm against cold", "Of profiles with `cache_pair`, over one hour. Time to first token of the second request with a"
        " prefix, as a share of that of the first one: at 1 the cache has no effect. Cached: the reported share of the second"
        " request's input that came from the cache; at 0 nothing came from it, or usage does not report it.", SHARE,
        Line(f"({warm}) / ({cold})", f"time {LEGEND}"), Line(f"{cached} / ({ours.rate(tokens, WHERE, '1h', step='warm', type='input')} > 0)", f"cached {LEGEND}"),
    )  # fmt: skip


def prompt_lengths():
    """What a prompt's length costs."""
    where = '{job=~"$job",location=~"$location",target=~"$target"}'
    return lines(
        "Prefill per thousand input tokens", "By how much the time to first token grows with a thousand more input tokens, over one hour:"
        " the slope through the rungs of a ladder, which are profiles named `ladder-...` with prompts of different lengths. Network and"
        " queue are the same for all rungs, and do not count. Needs the recording rules.", SECONDS,
        Line(f"tokenbeat:prefill_seconds_per_thousand_tokens:slope_rate1h{where}", "{{ladder}} {{target}} {{location}}"),
    )  # fmt: skip


def decode() -> Row:
    due, missed = (ours.rate(f"tokenbeat_token_deadlines_{what}total", WHERE) for what in ("", "missed_"))
    return Row("Stream", [
        quantiles("Output pace", "Tokens per second over the whole request, as a user experiences it. p5: the slowest of twenty"
                  " requests.", TOKENS,
                  "output_pace_tokens_per_second", (0.05, 0.5)),
        quantiles("Time per output token", "Time from the first to the last token, per token: the pace of decoding without the wait"
                  " for the first token. Compare it with the server's own metric.", SECONDS, "time_per_output_token_seconds", (0.5, 0.95), True),
        quantiles("Chunk gap", "Time between consecutive events with content. A chunk is not a token: servers and proxies batch. If"
                  " p99 is far above p50, the stream is uneven.", SECONDS, "chunk_gap_seconds"),
        heat("Chunk gap, distribution", "A band near zero and one near the decode time: a proxy buffers chunks and sends several at"
             " once.", SECONDS, ours.heat("tokenbeat_chunk_gap_seconds")),
        quantiles("Longest gap of an answer", "The longest pause within each answer, which a user may take for a hang.", SECONDS,
                  "longest_chunk_gap_seconds", (0.5, 0.95)),
        lines("Stalls", "Gaps longer than the target's stall threshold. Causes:"
              " preemption under KV pressure, a restart, or a proxy that buffers.", REQUESTS,
              Line(ours.rate("tokenbeat_stalls_total", WHERE), LEGEND)),
        lines("Token deadlines missed", "Share of the deadlines of tokens that passed before their token came. Early tokens leave"
              " slack: a pause counts only if a reader has caught up. Empty without `fluidity`.", SHARE,
              Line(f"{missed} / ({due} > 0)", LEGEND), top=1),
        quantiles("Reader idle time", "How long a reader at the configured pace had nothing to read within an answer, without the"
                  " wait for the first token. Empty without `fluidity`.", SECONDS, "reader_idle_seconds", (0.5, 0.95)),
    ])  # fmt: skip


def whole() -> Row:
    return Row("Whole request", [
        lines("Duration and response time, p95", "Duration counts from the send, response time from when the request was due. A"
              " difference: requests queue in front of the target or in the prober (see its lag below).", SECONDS,
              Line(ours.quantile(0.95, "tokenbeat_request_duration_seconds", WHERE), f"duration {LEGEND}", exemplars=True),
              Line(ours.quantile(0.95, "tokenbeat_response_time_seconds", WHERE), f"response time {LEGEND}")),
        heat("Response time, distribution", "From due to end, of answers that completed.", SECONDS,
             ours.heat("tokenbeat_response_time_seconds")),
        quantiles("Duration of failures", "How long a request took to fail. Short: refused or rate limited. As long as a timeout:"
                  " no answer.", SECONDS,
                  "failed_request_duration_seconds", (0.5, 0.95)),
    ])  # fmt: skip


def failing() -> Row:
    return Row("Failures", [
        lines("Failures by reason", "Share of requests that failed, by reason. 429 is `rate_limited`, 503 `overloaded`; `reset`,"
              " `truncated` and `stream_error` are incomplete answers; `check` is a complete answer that failed a check.", SHARE,
              Line(failures(WHERE, "$__rate_interval"), "{{outcome}} {{target}} {{location}}"), stack=True),
        lines("Requests by outcome", "All ended requests, per second.", REQUESTS,
              Line(ours.rate("tokenbeat_requests_total", (*WHERE, "outcome")) + " > 0", "{{outcome}} {{target}} {{location}}"), stack=True),
        lines("Answers by HTTP status", "A 200 is not always a success: the answer can contain an error object or a truncated"
              " stream.", REQUESTS,
              Line(ours.rate("tokenbeat_http_responses_total", (*WHERE, "code")) + " > 0", "{{code}} {{target}} {{location}}"), stack=True),
        lines("Failed checks", "Checks that answers failed, by the check's name; one answer can fail several.", REQUESTS,
              Line(ours.rate("tokenbeat_check_failures_total", (*WHERE, "check")), "{{check}} {{target}} {{location}}")),
        lines("Finish reasons", "How answers ended, by meaning; `length` is the configured limit, and `other` an unknown reason.", REQUESTS,
              Line(ours.rate("tokenbeat_finish_reasons_total", (*WHERE, "reason")) + " > 0", "{{reason}} {{target}} {{location}}"), stack=True),
        lines("Retries", "Attempts after the first at the same request, by outcome; each follows a failure. Empty without `retry`.", REQUESTS,
              Line(ours.rate("tokenbeat_retries_total", (*WHERE, "outcome")) + " > 0", "{{outcome}} {{target}} {{location}}"), stack=True),
        lines("Skipped requests", "Offered but not sent, by reason; they are no failures of the target.", REQUESTS,
              Line(ours.rate("tokenbeat_skipped_requests_total", (*WHERE, "reason")), "{{reason}} {{target}} {{location}}")),
        lines("Warm-up requests", "Requests of the warm-up, by outcome. They count only in tokens and cost.", REQUESTS,
              Line(ours.rate("tokenbeat_warm_up_requests_total", (*WHERE, "outcome")) + " > 0", "{{outcome}} {{target}} {{location}}"),
              stack=True),
    ])  # fmt: skip


def tokens() -> Row:
    cached = ours.rate("tokenbeat_cached_input_tokens_total", WHERE)
    reasoning = ours.rate("tokenbeat_reasoning_tokens_total", WHERE)
    inputs = ours.rate("tokenbeat_tokens_total", WHERE, type="input")
    outputs = ours.rate("tokenbeat_tokens_total", WHERE, type="output")
    told = ours.rate("tokenbeat_usage_reports_total", (*WHERE, "part"), reported="yes")
    answered = ours.rate("tokenbeat_usage_reports_total", (*WHERE, "part"))
    spent = ours.rate("tokenbeat_cost_total", (*WHERE, "currency"))
    sent = ours.rate("tokenbeat_requests_total", WHERE)
    return Row("Tokens and cost", [
        lines("Tokens", "Tokens per second by type and by source: `usage` is reported by the server, `chunks` is an estimate.", TOKENS,
              Line(ours.rate("tokenbeat_tokens_total", (*WHERE, "type", "source")) + " > 0", "{{type}} ({{source}}) {{target}} {{location}}")),
        lines("Throughput", "Output tokens per second of offered load. Falls when a saturated backend falls behind.", TOKENS,
              Line(throughput(WHERE), LEGEND)),
        lines("Cached input and reasoning", "Shares of the input that came from the provider's cache, and of the output that was reasoning."
              " With `cache: bust` the first should be near zero; with fixed prompts the cache is measured.", SHARE,
              Line(f"{cached} / ({inputs} > 0)", f"cached {LEGEND}"), Line(f"{reasoning} / ({outputs} > 0)", f"reasoning {LEGEND}"), top=1),
        lines("Reported usage", "Share of the answers whose usage reports this part, including zeros. A decrease: the server, or a gateway"
              " in front of it, no longer counts. At 0% the number of cached or reasoning tokens is unknown, not zero.", SHARE,
              Line(f"{told} / ({answered} > 0)", "{{part}} {{target}} {{location}}"), top=1),
        lines("Request size, p50", "Input and output tokens per request. If latency changes together with them, the requests have"
              " more work, and the target is not slower.", COUNT,
              Line(ours.quantile(0.5, "tokenbeat_request_input_tokens", WHERE), f"input {LEGEND}"),
              Line(ours.quantile(0.5, "tokenbeat_request_output_tokens", WHERE), f"output {LEGEND}")),
        lines("Output length, actual to requested", "Mean of output tokens divided by requested output tokens. A decrease makes"
              " requests shorter, and so faster, without any improvement.", SHARE, Line(ours.mean("tokenbeat_output_length_ratio", WHERE), LEGEND)),
        lines("Reported over counted tokens", "Output tokens reported by the server, divided by those that the tokenizer"
              " counts. Far from 100%: hidden"
              " reasoning, another tokenizer, or a gateway that counts differently.", SHARE,
              Line(ours.mean("tokenbeat_token_count_ratio", WHERE), LEGEND)),
        lines("Cost per hour", "At the current rate.", COUNT, Line(f"3600 * {spent}", "{{currency}} {{target}} {{location}}"), stack=True),
        lines("Cost per thousand requests", "The mean cost of a request, times a thousand.", COUNT,
              Line(f"1000 * {spent} / on ({', '.join(WHERE)}) group_left () ({sent} > 0)", "{{currency}} {{target}} {{location}}")),
        lines("Offered load", "Requests per second of the arrival process, by stage.", REQUESTS,
              Line(ours.rate("tokenbeat_offered_requests_total", (*WHERE, "stage")), "{{stage}} {{target}} {{location}}")),
    ])  # fmt: skip


def connection() -> Row:
    days = f"{ours.gauge('min', 'tokenbeat_tls_certificate_expiry_timestamp_seconds', WHERE)} - time()"
    limits = [ours.gauge(how, f"tokenbeat_rate_limit_{what}", (*WHERE, "kind")) for how, what in (("min", "remaining"), ("max", "limit"))]
    return Row("Connection and limits", [
        quantiles("Connection set-up, p95", "By phase. With `connection: warm` it is before the send, with `cold` it is part of the"
                  " time to first token.", SECONDS, "connection_phase_seconds", (0.95,), labels=(*WHERE, "phase"), legend="{{phase}} {{target}} {{location}}"),
        lines("Connections", "Opened per second, and idle ones that the server had closed: a request on one of those may have been"
              " charged twice.",
              "cps", Line(ours.rate("tokenbeat_connections_opened_total", WHERE), f"opened {LEGEND}"),
              Line(ours.rate("tokenbeat_stale_connections_total", WHERE), f"stale {LEGEND}")),
        lines("Rate limit left", "The share of its limits that is left, as the provider reports it. Near zero, the probing competes"
              " with the application.",
              SHARE, Line(f"{limits[0]} / ({limits[1]} > 0)", "{{kind}} {{target}} {{location}}"), top=1),
        bars("Certificate", "Time until the target's certificate expires.", SECONDS, Line(days, LEGEND, instant=True), width=24, height=4,
             marks=((None, "red"), (3 * 86400, "orange"), (14 * 86400, "green"))),
    ])  # fmt: skip


def prober() -> Row:
    return Row("The prober itself", [
        quantiles("Dispatch lag", "How late requests are sent because of the prober. If it is not small compared with the time to"
                  " first token, the latencies above are not reliable.", SECONDS, "dispatch_lag_seconds", (0.5, 0.99)),
        quantiles("Read lag", "How late the prober reads answers, the latest piece of each. On Linux it is in no other time, because"
                  " the kernel says when bytes arrived; elsewhere it cannot be known, and is zero.", SECONDS, "read_lag_seconds",
                  (0.5, 0.99)),
        quantiles("Schedule lag", "How late runs start.", SECONDS, "schedule_lag_seconds", (0.5, 0.99)),
        lines("Runs by result", "Runs that ended, and beside them those in which the prober was late (`degraded`): their latencies"
              " do not describe the target.", COUNT,
              Line(ours.rate("tokenbeat_runs_total", (*WHERE, "result"), how="increase"), "{{result}} {{target}} {{location}}"),
              Line(ours.rate("tokenbeat_degraded_runs_total", WHERE, how="increase"), "degraded {{target}} {{location}}")),
    ])  # fmt: skip


def capacity() -> Row:
    return Row("Capacity", [
        lines("Capacity in users", "The most users with which the last conclusive search met the objectives, and the number from which on"
              " throughput did not grow in proportion. 0: even the fewest missed an objective. Empty without a `search` over users.", COUNT,
              Line(ours.gauge("max", "tokenbeat_capacity_users", WHERE), f"capacity {LEGEND}"),
              Line(ours.gauge("max", "tokenbeat_capacity_knee_users", WHERE), f"knee {LEGEND}"), width=8),
        lines("Capacity in requests", "The highest rate with which the last conclusive search met the objectives, and the rate at the"
              " knee of the throughput. Empty without a `search`.", REQUESTS,
              Line(ours.gauge("max", "tokenbeat_capacity_requests_per_second", WHERE), f"capacity {LEGEND}"),
              Line(ours.gauge("max", "tokenbeat_capacity_knee_requests_per_second", WHERE), f"knee {LEGEND}"), width=8),
        lines("Searches by end", "`at_least`: the capacity is higher than the highest load tried. `prober_limited`, `too_few_samples`,"
              " `budget` and `stopped` say nothing about the target and leave the capacity as it was.", COUNT,
              Line(ours.rate("tokenbeat_capacity_searches_total", (*WHERE, "end"), how="increase") + " > 0",
                   "{{end}} {{target}} {{location}}"), width=8),
    ])  # fmt: skip


def model() -> Row:
    return Row("Model", [
        lines("Evidence that the model changed", "By the answers to the prompts of a `fingerprint`: the decimal logarithm of the e-value, and"
              " the value from which a change is told. It stands there until the answers of the new model are known. Empty without a"
              " `fingerprint`.", COUNT,
              Line(ours.gauge("max", "tokenbeat_model_change_evidence", WHERE), f"evidence {LEGEND}"),
              Line(ours.gauge("max", "tokenbeat_model_change_threshold", WHERE), f"threshold {LEGEND}")),
    ])  # fmt: skip


def board():
    scenario = [journeys(), by_step(), by_turn()]
    rows = [objectives(), first_token(), decode(), whole(), *scenario, failing(), tokens(), capacity(), model(), connection(), prober()]
    return dashboard(
        "profile", "Profile", "One profile in depth: objectives, first token, stream, journeys and their steps, failures, tokens,"
        " capacity, model, connection, and the prober's own lag.", variables(one_profile=True), rows, notes(runs=True),
    )  # fmt: skip


