"""Sends every query of every dashboard to a running Prometheus, with all variables set to All.

Used by the end-to-end suite `lineup`, and manually: live.py http://127.0.0.1:9090 [LOCATION]
"""

import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import lint

HERE = Path(__file__).resolve().parents[1]
MACROS = {"$__rate_interval": "1m", "$__range": "15m", "$__interval": "15s"}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Query:
    board: str
    place: str
    expr: str


    @property
    def name(self) -> str:
        return f"{self.board}: {self.place}"


@dataclass
class Reply:
    query: Query
    series: int
    numbers: int  # series whose value is one
    refused: str = ""

    @property
    def problem(self) -> str:
        """The problem in a few words."""
        return self.refused or ("no series" if not self.series else "NaN only" if not self.numbers else "")


def filled(expr: str, variables: dict[str, str]) -> str:
    for macro in sorted(MACROS, key=len, reverse=True):
        expr = expr.replace(macro, MACROS[macro])
    for name in sorted(variables, key=len, reverse=True):
        expr = re.sub(rf"\$\{{?{name}\b\}}?", lambda _, name=name: variables[name], expr)
    return expr


def queries(location: str = ".*") -> list[Query]:
    """All queries, without variables; the location is a pattern."""
    found = []
    for path in sorted(HERE.glob("*.json")):
        board = json.loads(path.read_text())
        values = {}
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values[variable["name"]] = variable.get("allValue") or ".*"
                if variable["name"] == "location":
                    values["location"] = location
                found.append(Query(path.stem, f"variable {variable['name']}", lint.label_values(variable)))
        for note in board["annotations"]["list"]:
            found.append(Query(path.stem, f"annotation {note['name']}", note["expr"]))
        for panel in lint.panels(board):
            for target in panel.get("targets", []):
                found.append(Query(path.stem, f"{panel['title']} {target['refId']}", target["expr"]))
        for query in found:
            if query.board == path.stem:
                query.expr = filled(query.expr, values)
    return found


def ask(url: str, query: Query) -> Reply:
    request = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query.expr})}"
    try:
        with OPENER.open(request, timeout=30) as answer:
            rows = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        return Reply(query, 0, 0, error.read().decode(errors="replace")[:300])
    return Reply(query, len(rows), sum(is_number(row) for row in rows))


def is_number(row: dict) -> bool:
    """A native histogram counts as one."""
    return "histogram" in row or not math.isnan(float(row["value"][1]))


def main() -> int:
    asked = queries(*sys.argv[2:3])
    bad = [reply for reply in (ask(sys.argv[1], query) for query in asked) if reply.problem]
    for reply in bad:
        print(f"{reply.query.name}: {reply.problem}: {reply.query.expr}")
    print(f"{len(asked) - len(bad)} with data, {len(bad)} without")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
