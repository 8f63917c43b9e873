"""All metrics of tokenbeat that dashboards and rules may use, with their kinds and labels.

The daemon's own catalogue is authoritative; `check` compares this table with it if it is available.
"""

from dataclasses import dataclass

RUN = ("profile", "target")
STAGE = (*RUN, "model", "stage")
STEP = (*STAGE, "step", "turn")  # both are empty without a scenario
SETS = {"P": STAGE, "S": STEP, "R": RUN, "T": ("target",), "-": ()}

# name without the prefix | kind | label set | further labels
TABLE = """
offered_requests_total                      counter    P
queued_requests_total                       counter    P
skipped_requests_total                      counter    P  reason
queued_requests_total                       counter    P
requests_total                              counter    S  outcome
http_responses_total                        counter    S  code
finish_reasons_total                        counter    S  reason
retries_total                               counter    S  outcome
warm_up_requests_total                      counter    P  outcome
requests_in_flight                          gauge      R
request_duration_seconds                    histogram  S
response_time_seconds                       histogram  S
failed_request_duration_seconds             histogram  S
time_to_first_byte_seconds                  histogram  S
time_to_first_chunk_seconds                 histogram  S
time_to_first_token_seconds                 histogram  S
time_to_first_text_seconds                  histogram  S
chunk_gap_seconds                           histogram  S
longest_chunk_gap_seconds                   histogram  S
time_per_output_token_seconds               histogram  S
output_pace_tokens_per_second               histogram  S
stalls_total                                counter    S
token_deadlines_total                       counter    S
token_deadlines_missed_total                counter    S
reader_idle_seconds                         histogram  S
tokens_total                                counter    S  type source
cached_input_tokens_total                   counter    S
reasoning_tokens_total                      counter    S
usage_reports_total                         counter    S  part reported
request_input_tokens                        histogram  S
request_output_tokens                       histogram  S
output_length_ratio                         histogram  S
token_count_ratio                           histogram  S
cost_total                                  counter    S  currency
connection_phase_seconds                    histogram  R  phase
connections_opened_total                    counter    R
stale_connections_total                     counter    R
dispatch_lag_seconds                        histogram  R
read_lag_seconds                            histogram  R
schedule_lag_seconds                        histogram  R
load_active_seconds_total                   counter    P
journeys_total                              counter    P  outcome
journey_duration_seconds                    histogram  P
journey_tokens_total                        counter    P  type
journey_cost_total                          counter    P  currency
runs_total                                  counter    R  result
degraded_runs_total                         counter    R
skipped_runs_total                          counter    R  reason
run_active                                  gauge      R
last_run_started_timestamp_seconds          gauge      R
last_run_completed_timestamp_seconds        gauge      R
regression_ratio                            gauge      R  quantity
regression_since_timestamp_seconds          gauge      R  quantity
regression_evidence                         gauge      R  quantity
capacity_users                              gauge      R
capacity_requests_per_second                gauge      R
capacity_knee_users                         gauge      R
capacity_knee_requests_per_second           gauge      R
capacity_searches_total                     counter    R  end
model_change_evidence                       gauge      R
model_change_threshold                      gauge      R
last_success_timestamp_seconds              gauge      R
next_run_timestamp_seconds                  gauge      R
schedule_interval_seconds                   gauge      R
profile_info                                gauge      R  revision schedule
target_info                                 gauge      T  api provider server
target_state                                gauge      T  state
target_state_changes_total                  counter    T  to
backend_healthy                             gauge      T
backend_reads_total                         counter    T  result
replica_outlier                             gauge      R  quantity
discovered_replicas                         gauge      T
discovery_failures_total                    counter    T  reason
discovery_left_out_replicas                 gauge      T
discovery_left_out_total                    counter    T
discovery_last_success_timestamp_seconds    gauge      T
comparison_ratio                            gauge      -  profile quantity bound
comparison_verdict                          gauge      -  profile quantity verdict
slo_events_total                            counter    R  slo
slo_errors_total                            counter    R  slo
slo_objective_ratio                         gauge      R  slo
slo_threshold_seconds                       gauge      R  slo
slo_threshold_per_input_token_seconds       gauge      R  slo
slo_threshold_tokens_per_second             gauge      R  slo
check_failures_total                        counter    S  check
rate_limit_remaining                        gauge      R  kind
rate_limit_limit                            gauge      R  kind
budget_spent_ratio                          gauge      -  scope unit
tls_certificate_expiry_timestamp_seconds    gauge      T
config_last_reload_successful               gauge      -
config_last_reload_success_timestamp_seconds  gauge    -
build_info                                  gauge      -  version revision rustc built
shard_info                                  gauge      -  shard shards
shards                                      gauge      -
telemetry_export_failures_total             counter    -  signal
telemetry_dropped_total                     counter    -  signal reason
runtime_lag_seconds                         histogram  -
"""

# Metrics of the process, with the usual names.
PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
    "process_threads": "gauge",
    "process_start_time_seconds": "gauge",
}

# Labels of every series: from the scrape (or the resource, over OTLP), and from `agent.location`.
COMMON = ("job", "instance", "location")

OUTCOMES = (
    "ok dns connect tls proxy connect_timeout first_token_timeout stall_timeout total_timeout credentials auth "
    "rate_limited overloaded redirect http_4xx http_5xx reset truncated stream_error protocol empty extract check "
    "cancelled internal exhausted"
).split()
OURS = "cancelled|credentials|exhausted|internal"  # do not count for or against the target


@dataclass(frozen=True)
class Family:
    name: str
    kind: str
    labels: tuple[str, ...]

    def series(self) -> tuple[str, ...]:
        """The names of its samples."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(self.name + suffix for suffix in ("", "_bucket", "_sum", "_count"))  # "" if it is native


def _families():
    for line in TABLE.split("\n"):
        if words := line.split():
            name, kind, base, *more = words
            yield Family(f"tokenbeat_{name}", kind, (*SETS[base], *more))
    for name, kind in PROCESS.items():
        yield Family(name, kind, ())


FAMILIES = {family.name: family for family in _families()}
