"""Asks a running Prometheus every query of every dashboard, with all variables at All.

Used by the end-to-end suite `lineup`, and by hand: live.py http://127.0.0.1:9090
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


@dataclass
class Reply:
    query: Query
    series: int
    numbers: int  # series whose value is a number
    refused: str = ""


def filled(expr: str, variables: dict[str, str]) -> str:
    for macro in sorted(MACROS, key=len, reverse=True):
        expr = expr.replace(macro, MACROS[macro])
    for name in sorted(variables, key=len, reverse=True):
        expr = re.sub(rf"\$\{{?{name}\b\}}?", lambda _, name=name: variables[name], expr)
    return expr


def queries() -> list[Query]:
    found = []
    for path in sorted(HERE.glob("*.json")):
        board = json.loads(path.read_text())
        values = {}
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values[variable["name"]] = variable.get("allValue") or ".*"
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
    return Reply(query, len(rows), sum(not math.isnan(float(row["value"][1])) for row in rows if "value" in row))


def main() -> int:
    bad = 0
    for query in queries():
        reply = ask(sys.argv[1], query)
        state = "refused" if reply.refused else "empty" if not reply.series else "NaN only" if not reply.numbers else ""
        if state:
            bad += 1
            print(f"{state}: {query.board}: {query.place}: {reply.refused or query.expr}")
    print(f"{len(queries()) - bad} with data, {bad} without")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
