"""Shared parts of the four dashboards: variables, annotations, and expressions that more than one of them uses."""

from names import OURS
from panels import AMBER, BLUE, GREEN, RED, Note, chosen
from promql import Ours

PAIR = ("location", "profile", "target")
PAIR_LEGEND = "{{profile}} → {{target}} {{location}}"

# The text of a panel about scenarios if there is none.
NO_SCENARIO = "No scenario is played"
ours = Ours(**{"job=~": "$job", "location=~": "$location", "profile=~": "$profile", "target=~": "$target"})


def variables(one_profile: bool = False) -> list:
    info = 'tokenbeat_profile_info{job=~"$job",location=~"$location"'
    every = None if one_profile else ".*"
    return [
        chosen("job", "Job", "label_values(tokenbeat_build_info, job)", "The scrape job, or over OTLP the service.", ".+"),
        chosen(
            "location", "Location", 'label_values(tokenbeat_build_info{job=~"$job"}, location)',
            "Location of the prober (`agent.location`), by which regions are compared.",
        ),
        chosen("profile", "Profile", f"label_values({info}}}, profile)", "The profile.", every, multi=not one_profile),
        chosen("target", "Target", f'label_values({info},profile=~"$profile"}}, target)', "The target of the requests."),
    ]  # fmt: skip


def notes(runs: bool = False) -> list[Note]:
    """Runs, reloads, edits and alerts on the time axis."""
    where = ours.match
    pair = "{{profile}} → {{target}} {{location}}"
    info = ours.value("tokenbeat_profile_info")
    reload = ours.value("tokenbeat_config_last_reload_success_timestamp_seconds")
    alerts = f'ALERTS{{alertname=~"Tokenbeat.+",alertstate="firing",profile=~"({where["profile=~"]})|"}}'
    return [
        Note("Runs", f"{ours.value('tokenbeat_run_active')} > 0", BLUE, f"run of {pair}", shown=runs),
        Note(
            "Failed runs", f'{ours.rate("tokenbeat_runs_total", PAIR, "$__interval", "increase", result="failed")} > 0',
            RED, f"run of {pair} failed", shown=runs,
        ),
        Note(
            "Degraded runs", f'{ours.rate("tokenbeat_degraded_runs_total", PAIR, "$__interval", "increase")} > 0',
            AMBER, f"prober was late in a run of {pair}", shown=runs,
        ),
        Note(
            "Regressions", ours.value("tokenbeat_regression_since_timestamp_seconds") + " * 1000 > 0",
            RED, f"regression of {pair} began: {{{{quantity}}}}", value_is_time=True,
        ),
        Note("Reloads", f"{reload} * 1000", GREEN, "config loaded by {{instance}}", value_is_time=True),
        Note(
            "Profile edited",
            f"({info} unless {info} offset 5m) and on (location, profile, target) ({info} offset 5m)",
            "purple", f"{pair}: new revision {{{{revision}}}}",
        ),
        Note("Alerts", alerts, RED, "{{alertname}}", f"{{{{severity}}}} {pair}"),
    ]  # fmt: skip


def availability(labels: tuple[str, ...], window: str, **more: str) -> str:
    good = ours.increase("tokenbeat_requests_total", labels, window, outcome="ok", **more)
    judged = ours.increase("tokenbeat_requests_total", labels, window, **{"outcome!~": OURS, **more})
    return f"{good} / ({judged} > 0)"


def failures(labels: tuple[str, ...], window: str, **more: str) -> str:
    bad = ours.increase("tokenbeat_requests_total", (*labels, "outcome"), window, **{"outcome!~": f"ok|{OURS}", **more})
    judged = ours.increase("tokenbeat_requests_total", labels, window, **{"outcome!~": OURS, **more})
    on = f"on ({', '.join(labels)}) group_left ()" if labels else "on () group_left ()"
    return f"{bad} / {on} ({judged} > 0)"


def journeys_ok(labels: tuple[str, ...], window: str) -> str:
    good = ours.increase("tokenbeat_journeys_total", labels, window, outcome="ok")
    judged = ours.increase("tokenbeat_journeys_total", labels, window, **{"outcome!~": OURS})
    return f"{good} / ({judged} > 0)"


def throughput(labels: tuple[str, ...]) -> str:
    tokens = ours.rate("tokenbeat_tokens_total", labels, type="output")
    return f"{tokens} / ({ours.rate('tokenbeat_load_active_seconds_total', labels)} > 0)"


def cost(labels: tuple[str, ...], window: str) -> str:
    return ours.increase("tokenbeat_cost_total", (*labels, "currency"), window)


def objective_met(labels: tuple[str, ...], window: str) -> str:
    errors = ours.increase("tokenbeat_slo_errors_total", labels, window)
    events = ours.increase("tokenbeat_slo_events_total", labels, window)
    return f"1 - {errors} / ({events} > 0)"


def burn(labels: tuple[str, ...], window: str) -> str:
    """The burn rate of an error budget: at 1 it lasts exactly for the objective's period."""
    errors = ours.increase("tokenbeat_slo_errors_total", labels, window)
    events = ours.increase("tokenbeat_slo_events_total", labels, window)
    return f"{errors} / ({events} > 0) / (1 - {ours.gauge('max', 'tokenbeat_slo_objective_ratio', labels)})"
