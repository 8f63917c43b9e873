"""The rules of Grafana's dashboard-linter, as far as they make sense here, and some of our own.

Not included: `template-instance` and `target-instance`, because the dashboards combine series of several exporters and,
over OTLP, of changing instances, and compare probers by `location`. `target-job` requires `$job` on tokenbeat's metrics
and `$backend_job` on a backend's.
"""

import re
from collections import Counter

from expressions import selectors

# Exceptions to the rule for ranges: these use a fixed window or the whole selected range, as their title says.
FIXED_WINDOWS = ("1h", "6h", "$__range", "$__interval")
UNITS = set(
    "none short percentunit percent bytes Bps reqps ops cps s ms d h watt celsius hertz dateTimeFromNow bool_yes_no".split()
)
QUERIED = ("stat", "timeseries", "table", "bargauge", "heatmap", "state-timeline")


def panels(board: dict):
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def label_values(variable: dict) -> str | None:
    """The selector of a query variable."""
    if variable["type"] != "query":
        return None
    inner = re.fullmatch(r"label_values\((.+),\s*\w+\)", variable["query"])
    return inner[1] if inner else ""


def findings(board: dict):
    yield from _board(board)
    yield from _variables(board)
    known = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels(board):
        yield from _panel(panel)
        for target in panel.get("targets", []):
            yield from _target(panel, target, known)
    yield from _layout(board)


def _board(board: dict):
    if board.get("editable", True):
        yield "is editable; provisioned dashboards are not"
    if not re.fullmatch(r"tokenbeat-[a-z]+", board["uid"]) or board.get("id"):
        yield "uid is not a readable one, or there is an id"
    if "tokenbeat" not in board.get("tags", []):
        yield "has no tag tokenbeat"
    links = board.get("links", [])
    if not any(link.get("keepTime") and link.get("includeVars") and link["tags"] == ["tokenbeat"] for link in links):
        yield "has no link to the others that keeps time and variables"
    if board.get("graphTooltip") != 1 or not board.get("refresh") or not board.get("description"):
        yield "has no shared crosshair, no refresh, or no description"


def _variables(board: dict):
    by_name = {variable["name"]: variable for variable in board["templating"]["list"]}
    sources = [variable for variable in by_name.values() if variable["type"] == "datasource"]
    if [(s["name"], s.get("label"), s["query"]) for s in sources] != [("datasource", "Data source", "prometheus")]:
        yield "template-datasource: not exactly one variable `datasource`, labelled `Data source`, of type prometheus"
    job = by_name.get("job")
    if not job or not job.get("multi") or job.get("allValue") != ".+":
        yield "template-job: no variable `job` that is multi with All `.+`"
    for name, variable in by_name.items():
        if variable["type"] != "query":
            continue
        if not label_values(variable):
            yield f"template-label-promql: variable {name} is no label_values(selector, label)"
        if variable.get("refresh") != 2:
            yield f"template-on-time-change-reload: variable {name} is not read again when the time changes"
        if variable["datasource"].get("uid") != "${datasource}":
            yield f"variable {name} does not use the data source variable"
        if not variable.get("label") or not variable.get("description"):
            yield f"variable {name} has no label or description"
        if variable.get("multi") != variable.get("includeAll"):
            yield f"variable {name} is neither single nor multi with All"
    for note in board["annotations"]["list"]:
        if note["datasource"].get("uid") != "${datasource}":
            yield f"annotation {note['name']} does not use the data source variable"


def _panel(panel: dict):
    name = panel.get("title") or f"panel {panel['id']}"
    if not panel.get("title") or len(panel.get("description") or "") < 15:
        yield f"panel-title-description: {name} has no title or says nothing"
    if panel["type"] == "text":
        return
    if panel["type"] not in QUERIED or not panel.get("targets"):
        yield f"panel-no-targets: {name} is a {panel['type']} without queries"
    if (panel.get("datasource") or {}).get("uid") != "${datasource}":
        yield f"panel-datasource: {name} does not use the data source variable"
    config = panel["fieldConfig"]
    used = [config["defaults"].get("unit")]
    used += [it["value"] for over in config["overrides"] for it in over["properties"] if it["id"] == "unit"]
    for unit in used:
        if unit not in UNITS and not re.match(r"(suffix|prefix):", unit or ""):
            yield f"panel-units: {name} has the unit {unit}"
    if panel["type"] == "timeseries" and len(panel["targets"]) > 1:
        bare = [target["refId"] for target in panel["targets"] if not target.get("legendFormat")]
        if bare:
            yield f"legend: {name} has lines without a legend: {bare}"


def _target(panel: dict, target: dict, known: set[str]):
    name, expr = panel["title"], target["expr"]
    for used in re.findall(r"\$\{?([a-zA-Z]\w*)", expr):
        if used not in known and not used.startswith("__"):
            yield f"{name}: the variable {used} does not exist"
    for call, inner in re.findall(r"\b(rate|irate|increase)\((?:[^()\[]|\((?:[^()])*\))*\[([^\]]+)\]", expr):
        if inner not in ("$__rate_interval", *FIXED_WINDOWS):
            yield f"target-rate-interval: {name}: {call} over {inner}"
    for metric, match in selectors(expr):
        if metric == "ALERTS" or metric.startswith("llm_backend:gpu"):
            continue
        wanted = "$job" if metric.startswith(("tokenbeat_", "tokenbeat:", "process_")) else "$backend_job"
        if match.get("job") != wanted and f'job=~"{wanted}"' not in expr:
            yield f"target-job: {name}: {metric} has no matcher job=~\"{wanted}\""
    # A counter without rate only increases. (`.._total` inside a range is followed by `[`.)
    for counter in re.findall(r"\b(\w+_total)(?:\{[^}]*\})?(?!\s*(?:\{|\[))(?![\w{])", expr):
        yield f"target-counter-agg: {name}: {counter} is shown without rate or increase"


def _layout(board: dict):
    ids = Counter()
    for panel in board["panels"]:
        for each in [panel, *panel.get("panels", [])]:
            ids[each["id"]] += 1
    if twice := [number for number, count in ids.items() if count > 1]:
        yield f"panel ids taken twice: {twice}"
    cells = Counter()
    for panel in board["panels"]:
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            yield f"{panel['title']} is wider than the grid"
        cells.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    if any(count > 1 for count in cells.values()):
        yield "panels overlap"
