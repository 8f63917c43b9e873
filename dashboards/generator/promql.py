"""Builds PromQL: selectors, rates, quantiles. Rejects a metric or label that is not in the tables."""

from engines import Either, Engine, Per, Reading, Term
from names import COMMON, FAMILIES

RATE = "$__rate_interval"


def matchers(match: dict[str, str]) -> str:
    """`{"a": "x", "b=~": "y"}` in PromQL's syntax."""
    parts = []
    for key, value in match.items():
        name = key.rstrip("=~!")
        parts.append(f'{name}{key[len(name):] or "="}"{value}"')
    return ",".join(parts)


def select(family: str, suffix: str = "", match: dict[str, str] | None = None) -> str:
    """A selector of one of tokenbeat's metrics."""
    known = FAMILIES[family]
    for key in match or {}:
        if key.rstrip("=~!") not in (*known.labels, *COMMON):
            raise KeyError(f"{family} has no label {key}")
    inner = matchers(match or {})
    return f"{family}{suffix}{{{inner}}}" if inner else family + suffix


def by(labels: tuple[str, ...]) -> str:
    return f"by ({', '.join(labels)})" if labels else ""


def aggregate(how: str, labels: tuple[str, ...], what: str) -> str:
    return " ".join(word for word in (how, by(labels), f"({what})") if word)


class Ours:
    """Queries on tokenbeat's metrics with the same matchers on each."""

    def __init__(self, **match: str):
        self.match = match

    def _of(self, family: str, suffix: str, more: dict[str, str]) -> str:
        known = (*FAMILIES[family].labels, *COMMON)
        kept = {key: value for key, value in self.match.items() if key.rstrip("=~!") in known}
        return select(family, suffix, {**kept, **more})

    def value(self, family: str, **more: str) -> str:
        return self._of(family, "", more)

    def gauge(self, how: str, family: str, labels: tuple[str, ...] = (), **more: str) -> str:
        return aggregate(how, labels, self.value(family, **more))

    def rate(self, family: str, labels: tuple[str, ...] = (), window: str = RATE, how: str = "rate", **more: str) -> str:
        if FAMILIES[family].kind != "counter":
            raise ValueError(f"{family} is no counter")
        return aggregate("sum", labels, f"{how}({self._of(family, '', more)}[{window}])")

    def increase(self, family: str, labels: tuple[str, ...] = (), window: str = "$__range", **more: str) -> str:
        return self.rate(family, labels, window, "increase", **more)

    def _both(self, classic: str, native: str) -> str:
        return f"{classic} or {native}"

    def quantile(self, q: float, family: str, labels: tuple[str, ...] = (), window: str = RATE, offset: str = "", **more: str) -> str:
        self._histogram(family)
        at = f" offset {offset}" if offset else ""
        classic = aggregate("sum", ("le", *labels), f"rate({self._of(family, '_bucket', more)}[{window}]{at})")
        native = aggregate("sum", labels, f"rate({self._of(family, '', more)}[{window}]{at})")
        return self._both(f"histogram_quantile({q}, {classic})", f"histogram_quantile({q}, {native})")

    def heat(self, family: str, **more: str) -> str:
        self._histogram(family)
        classic = aggregate("sum", ("le",), f"increase({self._of(family, '_bucket', more)}[{RATE}])")
        return self._both(classic, f"sum (increase({self._of(family, '', more)}[{RATE}]))")

    def count(self, family: str, labels: tuple[str, ...] = (), window: str = RATE, **more: str) -> str:
        """Observations per second."""
        self._histogram(family)
        classic = aggregate("sum", labels, f"rate({self._of(family, '_count', more)}[{window}])")
        native = aggregate("sum", labels, f"histogram_count(rate({self._of(family, '', more)}[{window}]))")
        return self._both(classic, native)

    def mean(self, family: str, labels: tuple[str, ...] = (), window: str = RATE, **more: str) -> str:
        self._histogram(family)
        sums = [aggregate("sum", labels, f"rate({self._of(family, part, more)}[{window}])") for part in ("_sum", "_count")]
        whole = f"rate({self._of(family, '', more)}[{window}])"
        parts = [aggregate("sum", labels, f"{f}({whole})") for f in ("histogram_sum", "histogram_count")]
        return self._both(" / ".join(sums), " / ".join(parts))

    def _histogram(self, family: str) -> None:
        if FAMILIES[family].kind != "histogram":
            raise ValueError(f"{family} is no histogram")


class Theirs:
    """Queries on one backend's metrics. The model's label is renamed to `model`."""

    def __init__(self, engine: Engine, labels: tuple[str, ...], window: str, **match: str):
        self.engine, self.labels, self.window = engine, labels, window
        self.match = {**engine.match, **match}

    def _select(self, term: Term, suffix: str = "") -> str:
        name = term.name + (suffix or term.part)
        match = {**term.match, **self.match}
        if term.name in self.engine.modelless:
            match.pop(f"{self.engine.model}=~", None)
        if "(" in name:
            return f'{{__name__=~"{name}"{"," if match else ""}{matchers(match)}}}'
        return f"{name}{{{matchers(match)}}}" if match else name

    def _model(self, what: str) -> str:
        if self.engine.model in ("", "model"):
            return what
        return f'label_replace({what}, "model", "$1", "{self.engine.model}", "(.+)")'

    def _sum(self, what: str, how: str = "sum", more: tuple[str, ...] = ()) -> str:
        return aggregate(how, (*self.labels, *more), self._model(what))

    def flow(self, term: Term) -> str:
        """A counter (or a part of a histogram) per second; a gauge unchanged."""
        if term.kind == "gauge":
            return self._scaled(term, self._sum(self._select(term)))
        classic = self._sum(f"rate({self._select(term)}[{self.window}])")
        if not (self.engine.native and term.part):
            return self._scaled(term, classic)
        whole = Term(term.name, term.kind, term.match)
        part = {"_sum": "histogram_sum", "_count": "histogram_count"}[term.part]
        return f"{classic} or {self._sum(f'{part}(rate({self._select(whole)}[{self.window}]))')}"

    def level(self, term: Term, how: str) -> str:
        return self._scaled(term, self._sum(self._select(term), how))

    def _scaled(self, term: Term, what: str) -> str:
        return what if term.scale == 1 else f"{term.scale:g} * {what}"

    def value(self, reading: Reading, how: str = "avg") -> str:
        """One line: a share or a mean, a rate, or the level of a gauge; of what changed, whichever the server has."""
        if isinstance(reading, Either):
            return f"{self.value(reading.new, how)} or {self.value(reading.old, how)}"
        if isinstance(reading, Per):
            return self.per(reading)
        return self.level(reading, how) if reading.kind == "gauge" else self.flow(reading)

    def per(self, per: Per) -> str:
        below = " + ".join(self.flow(term) for term in per.below)
        return f"{self.flow(per.above)} / ({below})"

    def quantile(self, q: float, term: Term) -> str:
        classic = self._sum(f"rate({self._select(term, '_bucket')}[{self.window}])", more=("le",))
        text = f"histogram_quantile({q}, {classic})"
        if self.engine.native:
            text += f" or histogram_quantile({q}, {self._sum(f'rate({self._select(term)}[{self.window}])')})"
        return text
