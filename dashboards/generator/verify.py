"""The checks of `dashboards/check`. Each prints one line; a failed check prints the problems."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import engines
import lint
import names
import overview
import yaml
from expressions import base, plain, selectors
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from rules import RUNBOOK

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
RULES = {path.name: yaml.safe_load(path.read_text()) for path in sorted((HERE / "prometheus").glob("*.yaml"))}
TESTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((HERE / "prometheus/tests").glob("*.yaml"))}
# The families of each backend, by version; written down independently of `engines.py`.
KNOWN = yaml.safe_load((HERE / "generator/families.yaml").read_text())
PLACE = Path(sys.argv[1]) if len(sys.argv) > 1 else None


def every_rule():
    for file, content in RULES.items():
        for group in content["groups"]:
            for rule in group["rules"]:
                yield file, rule


ALERTS = [(file, rule) for file, rule in every_rule() if "alert" in rule]
RECORDS = {rule["record"] for _, rule in every_rule() if "record" in rule}


def expressions():
    """Every expression: its place and its text."""
    for name, board in BOARDS.items():
        for panel in lint.panels(board):
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']} {target['refId']}", target["expr"]
        for variable in board["templating"]["list"]:
            if inner := lint.label_values(variable):
                yield f"{name}: variable {variable['name']}", inner
        for note in board["annotations"]["list"]:
            yield f"{name}: annotation {note['name']}", note["expr"]
    for file, rule in every_rule():
        yield f"{file}: {rule.get('record') or rule.get('alert')}", rule["expr"]


def up_to_date():
    done = subprocess.run([sys.executable, HERE / "generate", "--check"], capture_output=True, text=True)
    yield from done.stdout.splitlines() if done.returncode else []
    if done.returncode and not done.stdout:
        yield done.stderr


def promtool(*words) -> list[str]:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines() if done.returncode else []


def rules_parse():
    yield from promtool("check", "rules", *sorted((HERE / "prometheus").glob("*.yaml")))


def rules_tested():
    if not TESTS:
        yield "there are no tests"
        return
    yield from promtool("test", "rules", *sorted((HERE / "prometheus/tests").glob("*.yaml")))


def coverage():
    """Tests exist in which each alert fires, does not fire with data, and does not fire without data."""
    fires, quiet, without = set(), set(), set()
    for content in TESTS.values():
        for test in content["tests"]:
            for case in test.get("alert_rule_test", []):
                if case.get("exp_alerts"):
                    fires.add(case["alertname"])
                elif test.get("input_series"):
                    quiet.add(case["alertname"])
                else:
                    without.add(case["alertname"])
    for name in sorted({rule["alert"] for _, rule in ALERTS}):
        for what, seen in (("fires", fires), ("keeps quiet", quiet), ("keeps quiet without data", without)):
            # This alert fires exactly when there is no data.
            if name not in seen and not (name == "TokenbeatAbsent" and seen is without):
                yield f"{name}: no test in which it {what}"


def states_are_the_worst():
    """Panels of states show the worst of several agents, and each replica by itself; never the sum of two states."""
    queries = {panel["title"]: panel["targets"][0]["expr"] for board in BOARDS.values() for panel in lint.panels(board)
               if panel["title"] in ("State of targets", "Verdicts of comparisons")}  # fmt: skip
    cases = {
        "State of targets": (
            overview.TARGET_STATES, "tokenbeat_target_state", "state", {"location": "eu", "target": "llm"},
            [({"instance": "a", "replica": "a:80"}, "ok"), ({"instance": "b", "replica": "a:80"}, "failing"),
             ({"instance": "a", "replica": "b:80"}, "ok"), ({"instance": "b", "replica": "b:80"}, "unknown"),
             ({"instance": "a", "replica": "c:80"}, "slow"), ({"instance": "b", "replica": "c:80"}, "hung"),
             ({"instance": "a", "replica": "d:80"}, "unknown")],
            {"a:80": "failing", "b:80": "ok", "c:80": "hung", "d:80": "unknown"},
        ),
        "Verdicts of comparisons": (
            overview.VERDICTS, "tokenbeat_comparison_verdict", "verdict", {"location": "eu", "profile": "chat", "quantity": "all"},
            [({"instance": "a"}, "same"), ({"instance": "b"}, "better")], {"": "better"},
        ),
    }  # fmt: skip
    for title, (words, family, label, whole, given, expected) in cases.items():
        number = {word: value for value, (word, _) in words.items()}
        series = [
            {"series": labelled(family, {"job": "tokenbeat", **whole, **more, label: word}), "values": f"{int(word == state)}x5"}
            for more, state in given for word in number
        ]  # fmt: skip
        seen = [
            {"labels": labelled("", {**whole, **({"replica": replica} if replica else {})}), "value": int(number[state])}
            for replica, state in expected.items()
        ]
        case = {"expr": plain(queries[title]), "eval_time": "3m", "exp_samples": seen}
        test = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [case]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as out:
            json.dump(test, out)
            out.flush()
            yield from (f"{title}: {line}" for line in promtool("test", "rules", out.name))


def labelled(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def promql_parses():
    file = {"groups": [{"name": "all", "rules": []}]}
    where = []
    for place, text in expressions():
        where.append(place)
        file["groups"][0]["rules"].append({"record": f"check:number_{len(where)}", "expr": plain(text)})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as out:
        json.dump(file, out)
        out.flush()
        for line in promtool("check", "rules", out.name):
            number = re.search(r"rule (\d+)", line)
            yield f"{where[int(number[1]) - 1]}: {line}" if number else line


def promql_of_3():
    """Prometheus 3's own grammar takes each expression, too: another one than promtool's, which may be of version 2."""
    places, texts = zip(*((place, plain(text)) for place, text in expressions()), strict=True)
    script = HERE / "generator/promql3.mjs"
    done = subprocess.run(["node", script], cwd=PLACE, input=json.dumps([*texts, "sum("]), capture_output=True, text=True)
    if done.returncode:
        yield done.stderr
        return
    *found, broken = json.loads(done.stdout)
    if broken is None:
        yield "the grammar takes what is no expression"
    for place, text, at in zip(places, texts, found, strict=True):
        if at is not None:
            yield f"{place}: at {at}: {text[at:at + 40]}"
        # Version 3 stores another text for the same bound, and has renamed the function.
        if re.search(r'[{,]\s*(le|quantile)\s*(=|!=|=~|!~)\s*"', text) or "holt_winters" in text:
            yield f"{place}: means something else in Prometheus 3"


def golden(engine: str) -> list[tuple[str, str]]:
    """The kind and name of each family of an engine, over all versions."""
    return [
        (kind, name)
        for version in KNOWN.get(engine, [])
        for kind, found in version.items()
        if kind != "version"
        for name in found
    ]


def families_known():
    """Each backend metric that is used is in the golden list of its engine, with its kind."""
    for key in sorted({engine.key for engine in engines.ENGINES} ^ KNOWN.keys()):
        yield f"families.yaml and engines.py do not both have {key}"
    for engine in engines.ENGINES:
        kinds = golden(engine.key)
        for what, count in Counter(kinds).items():
            if count > 1:
                yield f"families.yaml: {engine.key} has the {what[0]} {what[1]} twice"
        for term in engine.terms():
            for name in engines.SPELLINGS.get(term.name, (term.name,)):
                if (term.kind, name) not in kinds:
                    yield f"{engine.key}: no known version has a {term.kind} {name}"


def metrics_exist():
    """Each metric in use exists: in our table, in the golden list of the backends, or as a record."""
    known = {**{family.name: family for family in names.FAMILIES.values()}, **{name: None for engine in KNOWN for _, name in golden(engine)}}
    others = {"ALERTS", "up"}
    used = set()
    for where, text in expressions():
        for name, match in selectors(text):
            if any(sign in name for sign in "(.*+?|"):
                if not [each for each in [*known, *RECORDS] if re.fullmatch(name.removesuffix("_sum"), each) or re.fullmatch(name, each)]:
                    yield f"{where}: nothing is called {name}"
                continue
            family = next((known_name for known_name in base(name) if known_name in known), None)
            used.add(family)
            if not family and name not in RECORDS | others:
                yield f"{where}: no metric is called {name}"
            elif isinstance(known.get(family), names.Family):
                extra = set(match) - {*known[family].labels, *names.COMMON, "le"}
                if extra:
                    yield f"{where}: {name} has no label {', '.join(sorted(extra))}"
    for family in names.FAMILIES.keys() - used:
        yield f"{family} is on no dashboard and in no rule"


def records_used():
    text = "\n".join(expression for _, expression in expressions())
    for record in sorted(RECORDS):
        if not re.search(rf"(?<![\w:]){re.escape(record)}(?![\w:])", text) and not record.startswith("llm_backend:"):
            yield f"{record} is used nowhere"


def catalogue():
    """The daemon's own list of metrics equals the table here: name, kind, labels."""
    given = os.environ.get("TOKENBEAT_CATALOGUE")
    listing = Path(given) if given else ROOT / "docs/metrics.md"
    if not listing.exists():
        if given:
            yield f"{given} is not there"
        return
    text = listing.read_text()
    rows = re.findall(r"^\| ([\w -]+) \| ((?:`\w+`(?:, )?)*) \|$", text, re.M)
    sets = {name.strip(): set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    found = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \|[^|]*\| (\w+) \| ([^|]*) \|", text, re.M):
        first, _, more = labels.partition("+")
        found[name] = (kind, sets.get(first.strip(), set()) | set(re.findall(r"`(\w+)`", more)))
    if not found:
        yield f"{listing.name} has no table of metrics"
    for family in names.FAMILIES.values():
        known = family.name in found if family.name.startswith("tokenbeat_") else f"`{family.name}`" in text
        if not known:
            yield f"{family.name} is not in the catalogue"
        elif family.name in found and found[family.name] != (family.kind, set(family.labels)):
            yield f"{family.name}: the catalogue says {found[family.name]}, the table here {family.kind} {family.labels}"


# Fields of the Prometheus data source in an annotation; Grafana's types do not include the fields of data sources.
ANNOTATION = ("expr", "step", "titleFormat", "textFormat", "useValueForTime")


def bare(board: dict) -> dict:
    board = json.loads(json.dumps(board))
    for note in board["annotations"]["list"]:
        for key in ANNOTATION:
            note.pop(key, None)
    return board


def schema_types():
    """Grafana's own TypeScript types; string enums are replaced by their values, as in JSON."""
    lines = [
        'import type { Dashboard } from "@grafana/schema";',
        "type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]"
        " : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;",
    ]
    for index, board in enumerate(BOARDS.values()):
        lines.append(f"export const b{index}: Plain<Dashboard> = {json.dumps(bare(board), indent=1)};")
    with tempfile.NamedTemporaryFile("w", suffix=".ts", dir=PLACE) as out:
        out.write("\n".join(lines))
        out.flush()
        tsc = [
            "node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext",
            "--moduleResolution", "nodenext", "--target", "es2022", Path(out.name).name,
        ]  # fmt: skip
        done = subprocess.run(tsc, cwd=PLACE, capture_output=True, text=True)
        source = "\n".join(lines).split("\n")
        for line, error in re.findall(r"\((\d+),\d+\): error (.*)", done.stdout):
            yield f"{source[int(line) - 1].strip()[:120]}: {error}"
        if done.returncode and not done.stdout:
            yield done.stderr


def schema_keys():
    """There is no key that Grafana does not know: it would ignore it silently."""
    register_default_plugins()
    for name, board in BOARDS.items():
        board = bare(board)
        back = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
        for key in _lost(board, back):
            yield f"{name}: unknown key {key}"


def _lost(given, back, path=""):
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(back, dict) or key not in back:
                if value not in (None, [], {}):
                    yield f"{path}.{key}"
            else:
                yield from _lost(value, back[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(back, list):
        for index, (left, right) in enumerate(zip(given, back, strict=False)):
            yield from _lost(left, right, f"{path}[{index}]")


def linted():
    for name, board in BOARDS.items():
        for finding in lint.findings(board):
            yield f"{name}: {finding}"
    for what, count in Counter(board["uid"] for board in BOARDS.values()).items():
        if count > 1:
            yield f"uid {what} is taken twice"


def runbook():
    """Each alert has an entry, and each entry an alert, and the links lead to the entries."""
    text = (ROOT / "docs/runbook.md").read_text()
    entries = re.split(r"^### (Tokenbeat\w+)$", text, flags=re.M)
    bodies = dict(zip(entries[1::2], entries[2::2], strict=True))
    alerts = {rule["alert"] for _, rule in ALERTS}
    for name in sorted(alerts - bodies.keys()):
        yield f"docs/runbook.md has no entry for {name}"
    for name in sorted(bodies.keys() - alerts):
        yield f"docs/runbook.md has an entry for {name}, which is no alert"
    for name, body in bodies.items():
        for part in ("**Check.**", "**Act.**"):
            if part not in body:
                yield f"docs/runbook.md: {name} has no {part}"
    for _, rule in ALERTS:
        if rule["annotations"].get("runbook_url") != f"{RUNBOOK}#{rule['alert'].lower()}":
            yield f"{rule['alert']}: runbook_url does not lead to its entry"


def alerts_complete():
    for _, rule in ALERTS:
        if not rule["alert"].startswith("Tokenbeat"):
            yield f"{rule['alert']} does not begin with Tokenbeat"
        if rule["labels"].get("severity") not in ("critical", "warning", "info"):
            yield f"{rule['alert']} has no severity"
        for key in ("summary", "description", "runbook_url"):
            if not rule["annotations"].get(key):
                yield f"{rule['alert']} has no {key}"
        if "{{" in rule["annotations"]["summary"]:
            yield f"{rule['alert']}: a summary is static, so that notifications can be grouped by it"


def absence_by_build():
    """An upgrade changes labels of the build only, and so that no agent seems to be gone, each of them is left out."""
    build = set(names.FAMILIES["tokenbeat_build_info"].labels)
    for _, rule in ALERTS:
        if rule["alert"] != "TokenbeatAgentAbsent":
            continue
        for left_out in re.findall(r"group without \(([^)]*)\)", rule["expr"]):
            for label in sorted(build - set(left_out.split(", "))):
                yield f"{rule['alert']} keeps {label}, which an upgrade changes"


CHECKS = {
    "generated files are up to date": up_to_date,
    "rules parse (promtool check rules)": rules_parse,
    "rule tests pass (promtool test rules)": rules_tested,
    "each alert is tested: firing, quiet, without data": coverage,
    "panels of states show the worst": states_are_the_worst,
    "every PromQL expression parses": promql_parses,
    "every PromQL expression parses in Prometheus 3's grammar": promql_of_3,
    "every metric of a backend is in the golden list of its versions": families_known,
    "every metric and label that is named exists": metrics_exist,
    "every record is used": records_used,
    "our names agree with the daemon's catalogue": catalogue,
    "dashboards have Grafana's types": schema_types,
    "dashboards have no key that Grafana does not know": schema_keys,
    "dashboards keep the linter's rules": linted,
    "alerts are complete": alerts_complete,
    "an upgrade is no absence": absence_by_build,
    "alerts and runbook agree": runbook,
}


def main() -> int:
    failed = 0
    for title, check in CHECKS.items():
        found = list(check())
        failed += bool(found)
        print(f"{'FAIL' if found else 'ok  '}  {title}", flush=True)
        for line in found[:40]:
            print(f"      {line}")
        if len(found) > 40:
            print(f"      and {len(found) - 40} more")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
