"""Parses PromQL as far as the checks need it: the metrics in an expression, and the labels that it matches."""

import re

WORDS = set(
    "and or unless on ignoring group_left group_right by without bool offset sum min max avg count group stddev stdvar "
    "topk bottomk quantile count_values start end inf nan".split()
)
MACROS = {
    "$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h",
}  # fmt: skip
STRING = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{([^{}]*)\}")
MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")\s*,?')
LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
NAME = re.compile(r"(?<![\w:.$])[a-zA-Z_:][a-zA-Z0-9_:]*")


def plain(expr: str) -> str:
    """The expression without Grafana's macros and variables, so that Prometheus's own parser accepts it."""
    for macro in sorted(MACROS, key=len, reverse=True):
        expr = expr.replace(macro, MACROS[macro])
    return re.sub(r"\$\{?(\w+)(:\w+)?\}?", lambda m: m[0] if m[1].isdigit() else ".*", expr)


def selectors(expr: str) -> list[tuple[str, dict[str, str]]]:
    """Every metric with its matchers. A name that is matched by a pattern is returned as the pattern."""
    found = []
    expr = re.sub(r"#.*", "", expr)
    for name, inner in SELECTOR.findall(expr):
        match = {label: value[1:-1] for label, _, value in MATCHER.findall(inner)}
        found.append((name or match.pop("__name__", ""), match))
    rest = SELECTOR.sub(" ", expr)
    rest = STRING.sub(" ", rest)
    rest = LABEL_LIST.sub(" ", rest)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    rest = re.sub(r"\boffset\s+\S+", " ", rest)
    for hit in NAME.finditer(rest):
        after = rest[hit.end():].lstrip()
        if hit[0].lower() not in WORDS and not after.startswith("(") and not re.fullmatch(r"\d.*", hit[0]):
            found.append((hit[0], {}))
    return found


def base(name: str) -> set[str]:
    """The possible names of a sample's family."""
    return {name} | {name.removesuffix(suffix) for suffix in ("_bucket", "_sum", "_count")}
