"""HTTP for tests: any status is an answer, no proxy is used, and metrics are parsed as numbers."""

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from harness import expect

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = dict[str, str]


@dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.body)


def fetch(
    url: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 10, method: str | None = None
) -> Answer:
    """GET, or POST of a JSON body, or another method. Raises OSError only if there is no answer."""
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers={**kind, **(headers or {})}, method=method)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def serves(url: str) -> bool:
    return fetch(url, timeout=2).status == 200


def listens_to(url: str) -> bool:
    """Whether anything answers there."""
    return fetch(url, timeout=2).status > 0


class Page:
    """One scrape of a metrics page."""

    def __init__(self, text: str):
        self.text = text
        self.samples: list[tuple[str, Labels, float]] = []
        for line in text.splitlines():
            if match := SAMPLE.match(line):
                self.samples.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))

    @classmethod
    def read(cls, url: str) -> "Page":
        answer = fetch(url)
        expect(answer.status == 200, f"{url} answered {answer.status}")
        return cls(answer.text)

    def families(self) -> set[str]:
        return set(re.findall(r"^# TYPE (\S+) ", self.text, re.MULTILINE))

    def select(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        for found, have, value in self.samples:
            if found == name and all(have.get(key, "") == wanted for key, wanted in labels.items()):
                yield have, value

    def sum(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self.select(name, **labels))

    def by(self, name: str, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Sums by these labels; a missing label counts as empty, as in Prometheus."""
        sums: dict[tuple[str, ...], float] = {}
        for have, value in self.select(name, **labels):
            group = tuple(have.get(key, "") for key in keys)
            sums[group] = sums.get(group, 0) + value
        return sums


class Prometheus:
    """A running Prometheus, queried over its HTTP API."""

    def __init__(self, url: str):
        self.url = url

    def _data(self, path: str, **query: object):
        answer = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        expect(answer.status == 200, f"Prometheus refused {query}: {answer.text[:300]}")
        return answer.json()["data"]

    def _ask(self, path: str, **query: object) -> list[dict]:
        return self._data(path, **query)["result"]

    def query(self, expression: str) -> list[tuple[Labels, float]]:
        return [(row["metric"], float(row["value"][1])) for row in self._ask("query", query=expression)]

    def by(self, expression: str, *keys: str) -> dict[tuple[str, ...], float]:
        """The result by these labels, which must be unique among its series."""
        rows = self.query(expression)
        found = {tuple(labels.get(key, "") for key in keys): value for labels, value in rows}
        expect(len(found) == len(rows), f"several series with one {keys} in {expression}")
        return found

    def scalar(self, expression: str) -> float:
        rows = self.query(expression)
        expect(len(rows) == 1, f"{len(rows)} series where one was expected: {expression}")
        return rows[0][1]

    def exemplars(self, selector: str, seconds: int = 600) -> list[dict]:
        """The exemplars of all these series."""
        now = time.time()
        rows = self._data("query_exemplars", query=selector, start=f"{now - seconds:.3f}", end=f"{now:.3f}")
        return [exemplar for row in rows for exemplar in row["exemplars"]]

    def first(self, selector: str, seconds: int = 600) -> list[tuple[Labels, float]]:
        """The oldest sample of each series, as it was scraped."""
        rows = self._ask("query", query=f"{selector}[{seconds}s]", time=f"{time.time():.3f}")
        return [(row["metric"], float(row["values"][0][1])) for row in rows]


def finite(
    numbers: dict[tuple[str, ...], float], keys: set[tuple[str, ...]], what: str, above: float | None = None
) -> None:
    """Each of these keys has a number other than NaN, above `above` if that is given."""
    expect(set(numbers) >= keys, f"{what}: no series for {sorted(keys - set(numbers))}; there are {numbers}")
    for key in keys:
        value = numbers[key]
        expect(math.isfinite(value), f"{what} of {key} is {value}")
        expect(above is None or value > above, f"{what} of {key} is {value}, not above {above}")
