"""Agent: the prober's own health. A problem here is one of the measurement, not of a target."""

from panels import AGO, COUNT, GREEN, NONE_IS_GOOD, RED, REQUESTS, SECONDS, SHARE, SPENT_SHARE, Column, Line, Row
from panels import bars, chosen, dashboard, grid, lines, number
from promql import Ours
from shared import notes, variables

AGENT = ("location", "instance")
LEGEND = "{{location}} {{instance}}"
# Of all agents, whichever is chosen.
every = Ours(**{"job=~": "$job", "location=~": "$location"})
WANTED = every.gauge("max", "tokenbeat_shards", ("job", "location"))
THERE = f"count by (job, location) ({every.gauge('group', 'tokenbeat_shard_info', ('job', 'location', 'shard'))})"
MISSING = f"sum({WANTED} - {THERE})"
mine = Ours(**{"job=~": "$job", "instance=~": "$instance", "location=~": "$location"})


def board():
    job, location, *_ = variables()
    instance = chosen(
        "instance", "Instance", 'label_values(tokenbeat_build_info{job=~"$job",location=~"$location"}, instance)',
        "One agent: its address if it is scraped, its id over OTLP.",
    )  # fmt: skip
    now = Row("Now", [
        number("Agents", "Agents that report.", COUNT, mine.gauge("count", "tokenbeat_build_info"), decimals=0),
        number("Missing shards", "Shards that do not report, of all that play one schedule together. Their part of the load is not"
               " played.", COUNT, MISSING, marks=NONE_IS_GOOD, decimals=0),
        number("Config", "1: every agent uses its latest config. 0: an agent rejected it and uses the previous one; its log has"
               " every error with file and line.", COUNT, mine.gauge("min", "tokenbeat_config_last_reload_successful"),
               marks=((None, RED), (1, GREEN)), decimals=0),
        number("Dispatch lag, p99", "How late requests are sent, over the last hour. Above 50 ms the runs are degraded, and"
               " latencies do not describe the targets.", SECONDS, mine.quantile(0.99, "tokenbeat_dispatch_lag_seconds", (), "1h"),
               marks=((None, GREEN), (0.05, RED)), decimals=4),
        number("Internal errors", "Requests that failed because of the prober itself,"
               " over the selected range. There should be none.",
               COUNT, mine.increase("tokenbeat_requests_total", (), outcome="internal"), marks=NONE_IS_GOOD, decimals=0),
        number("Load not sent", "Share of offered requests that the prober did not send, over the selected range, without those"
               " held back by a budget.", SHARE, f'{mine.increase("tokenbeat_skipped_requests_total", (), **{"reason=~": "in_flight|overrun"})}'
               f' / ({mine.increase("tokenbeat_offered_requests_total")} > 0)', marks=((None, GREEN), (0.01, RED)), decimals=2),
        number("Failed exports", "Exports over OTLP and calls of the webhook that failed, over the selected range.", COUNT,
               mine.increase("tokenbeat_telemetry_export_failures_total"), marks=NONE_IS_GOOD, decimals=0),
    ])  # fmt: skip
    agents = Row("Agents", [
        grid("Agents", "Versions by location. All agents should have the same version; the age of the config shows which agent"
             " missed a reload.", {"location": "Location", "instance": "Instance", "version": "Version", "revision": "Revision"}, [
                 Column("Up", mine.gauge("max", "tokenbeat_build_info", (*AGENT, "version", "revision"))),
             ], width=10, height=6),
        grid("Config and process", "When each agent last loaded its config successfully, and when it started.",
             {"location": "Location", "instance": "Instance"}, [
                 Column("Config loaded", f"{mine.gauge('max', 'tokenbeat_config_last_reload_success_timestamp_seconds', AGENT)} * 1000", AGO),
                 Column("Last load", mine.gauge("min", "tokenbeat_config_last_reload_successful", AGENT), "bool_yes_no"),
                 Column("Started", f"{process('max', 'process_start_time_seconds')} * 1000", AGO),
             ], width=14, height=6),
    ])  # fmt: skip
    lag = Row("Lag", [
        lines("Dispatch lag", "Time from the due time to the send, without connection set-up: the prober's own delay. If it is not"
              " small compared with the time to first token, check CPU pressure before you suspect a target.", SECONDS,
              Line(mine.quantile(0.5, "tokenbeat_dispatch_lag_seconds", AGENT), f"p50 {LEGEND}"),
              Line(mine.quantile(0.99, "tokenbeat_dispatch_lag_seconds", AGENT), f"p99 {LEGEND}")),
        lines("Schedule lag, p99", "How late runs start. Seconds or more: a run waited for the previous one (`overlap: queue`).", SECONDS,
              Line(mine.quantile(0.99, "tokenbeat_schedule_lag_seconds", AGENT), LEGEND)),
        lines("Runtime lag", "How late a timer of the traffic runtime fires. Up to 2 ms is the runtime's own resolution; more means"
              " that the process gets too little CPU (limits, throttling, other processes).", SECONDS,
              Line(mine.quantile(0.5, "tokenbeat_runtime_lag_seconds", AGENT), f"p50 {LEGEND}"),
              Line(mine.quantile(0.99, "tokenbeat_runtime_lag_seconds", AGENT), f"p99 {LEGEND}")),
    ])  # fmt: skip
    accounts = Row("Requests and runs", [
        lines("Offered and ended", "Offered = skipped + in flight + ended, at all times. If the lines differ for longer than the"
              " longest request, that is a defect.", REQUESTS,
              Line(mine.rate("tokenbeat_offered_requests_total"), "offered"),
              Line(mine.rate("tokenbeat_requests_total"), "ended"),
              Line(mine.rate("tokenbeat_skipped_requests_total"), "skipped")),
        lines("In flight", "Requests that were offered and have neither ended nor been skipped. `agent.limits.in_flight` is the ceiling.",
              COUNT, Line(mine.gauge("sum", "tokenbeat_requests_in_flight", AGENT), LEGEND)),
        lines("Skipped requests", "Offered but not sent, by reason. `in_flight`: a limit of the agent was reached; `stage_in_flight`:"
              " that of a stage; `overrun`: the due time had passed; `budget`: a budget is spent. `queued` requests waited at the limit of"
              " their stage and were sent then.", REQUESTS,
              Line(mine.rate("tokenbeat_skipped_requests_total", ("reason",)), "{{reason}}"),
              Line(mine.rate("tokenbeat_queued_requests_total"), "queued")),
        lines("The prober's own failures", "`internal`: no file descriptor, port or memory, a missing value, or a defect: see the"
              " log."
              " `credentials`: a key or secret could not be read. `exhausted`: the limit on output tokens was used up by"
              " reasoning."
              " `cancelled`: a shutdown or reload while requests were in flight.", REQUESTS,
              Line(mine.rate("tokenbeat_requests_total", ("outcome",), **{"outcome=~": "cancelled|credentials|exhausted|internal"}), "{{outcome}}")),
        lines("Runs by result", "Many `degraded` runs, whatever their result: this prober has too few resources for its load.", COUNT,
              Line(mine.rate("tokenbeat_runs_total", ("result",), how="increase"), "{{result}}"),
              Line(mine.rate("tokenbeat_degraded_runs_total", how="increase"), "degraded")),
        lines("Skipped runs", "Due but not started. `missed`: the process was suspended or the clock jumped; `overlap`: the"
              " previous run still offered load; `window`: outside the active windows; `budget`: a budget is spent.", COUNT,
              Line(mine.rate("tokenbeat_skipped_runs_total", ("reason",), how="increase"), "{{reason}}"), stack=True),
    ])  # fmt: skip
    export = Row("Telemetry and state", [
        lines("Failed exports", "Exports over OTLP, and calls of the webhook, that failed, by signal. The scrape is not affected.", COUNT,
              Line(mine.rate("tokenbeat_telemetry_export_failures_total", ("signal",), how="increase"), "{{signal}}")),
        lines("Dropped telemetry", "Spans, logs, metric points and messages of the webhook that were dropped, by reason.",
              COUNT, Line(mine.rate("tokenbeat_telemetry_dropped_total", ("signal", "reason"), how="increase"), "{{signal}} {{reason}}")),
        lines("Readings of servers", "Readings of the servers' own metrics around runs (`backend.metrics`) that gave no account, by"
              " result. `restarted`: the counters began anew, or several replicas answer at the address.", COUNT,
              Line(mine.rate("tokenbeat_backend_reads_total", ("target", "result"), how="increase", **{"result!=": "ok"}), "{{target}} {{result}}")),
        bars("Budgets", "Spent share of each budget in its current period.", SHARE,
             Line(mine.gauge("max", "tokenbeat_budget_spent_ratio", ("location", "scope", "unit")), "{{scope}} {{unit}} {{location}}",
                  instant=True), marks=SPENT_SHARE, top=1),
    ])  # fmt: skip
    replicas = Row("Discovery", [
        lines("Replicas", "Replicas that are measured, of each target with `discover`. `left out`: found as well, and not measured"
              " because of `discover.max`, as of the last answer; `in answers`: the same, counted each time the source answers.", COUNT,
              Line(mine.gauge("max", "tokenbeat_discovered_replicas", ("location", "target")), "{{target}} {{location}}"),
              Line(mine.gauge("max", "tokenbeat_discovery_left_out_replicas", ("location", "target")), "{{target}} {{location}} left out"),
              Line(mine.rate("tokenbeat_discovery_left_out_total", ("location", "target"), how="increase"), "{{target}} {{location}} left out in answers")),
        lines("Failed discoveries", "Attempts to find out the replicas of a target that failed, by reason. Those that are known stay.", COUNT,
              Line(mine.rate("tokenbeat_discovery_failures_total", ("target", "reason"), how="increase"), "{{target}} {{reason}}")),
        lines("Replicas worse than their siblings", "By latency or failures, against the other replicas of the target in the same minutes.", COUNT,
              Line(mine.gauge("sum", "tokenbeat_replica_outlier", ("profile", "target", "quantity")), "{{profile}} {{target}} {{quantity}}")),
    ])  # fmt: skip
    resources = Row("Process", [
        lines("CPU", "CPU cores that the process uses. At its limit it is throttled, and its lag increases.", COUNT,
              Line(process_rate("process_cpu_seconds_total"), LEGEND)),
        lines("Memory", "Resident memory. It does not grow with the length of a run.", "bytes",
              Line(process("max", "process_resident_memory_bytes"), LEGEND)),
        lines("File descriptors", "Open file descriptors, and the limit: each connection needs one.", COUNT,
              Line(process("max", "process_open_fds"), f"open {LEGEND}"), Line(process("max", "process_max_fds"), f"limit {LEGEND}"), log=True),
        lines("Threads", "Threads of the process. The number is fixed; if it grows, that is a defect.", COUNT,
              Line(process("max", "process_threads"), LEGEND), width=24, height=5),
    ])  # fmt: skip
    return dashboard(
        "agent", "Agent", "The prober's own health: whether its measurements are reliable, and whether it keeps up with its load.",
        [job, location, instance], [now, agents, lag, accounts, export, replicas, resources], agent_notes(),
    )  # fmt: skip


# Any process can have metrics of these names: this selects those of agents, and adds their location.
AGENTS = f"on (job, instance) group_left (location) {mine.value('tokenbeat_build_info')}"
some = Ours(**{"job=~": "$job", "instance=~": "$instance"})


def process(how: str, family: str) -> str:
    return f"{how} by (location, instance) ({some.value(family)} * {AGENTS})"


def process_rate(family: str) -> str:
    return f"sum by (location, instance) (rate({some.value(family)}[$__rate_interval]) * {AGENTS})"


def agent_notes():
    return [note for note in notes() if note.name == "Reloads"]
