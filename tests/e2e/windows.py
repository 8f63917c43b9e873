"""Shortens the windows of Prometheus rules, so that days pass in minutes. Pure: no file, no clock.

The changes to the times in a rule:

- Every time is divided by `factor`: ranges (`[1h]`), offsets, `for` and `keep_firing_for`. Their proportions stay the
  same, and `rate(x[1h] offset 1h)` still covers the hour before.
- A range is never shorter than `range_floor`, because a rate needs several scrapes, which cannot be more frequent. So
  5 and 15 minutes can become equal; an hour must remain longer, to keep the distinction of long and short windows.
- A group's interval is divided likewise, and never shorter than `interval_floor`.
- A limit on `count_over_time` counts evaluations. If intervals are at their floor, a window has fewer of them than the
  original one, so the limit decreases in proportion: two hours' worth of samples remain two hours' worth.

Names of records and labels keep the original windows. So do plain numbers, including those that mean seconds
(`time() - x > 7200`): alerts on these cannot be tested.
"""

import copy
import math
import re
from dataclasses import dataclass

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
TIME = r"(?:\d+(?:ms|[smhdwy]))+"
# Strings and comments first, so that nothing inside them is taken for a window. Any remaining bracket or offset is of
# an unknown kind.
TOKEN = re.compile(
    r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|\#.*"""
    rf"|\[(?P<range>{TIME})\]|\boffset\s+(?P<offset>{TIME})\b|(?P<unknown>\[|\boffset\b)"
)
COUNTED = re.compile(rf"(count_over_time\([^()\[\]]*\[({TIME})\][^()]*\)\s*>=?\s*)(\d+)(?![\d.])")


@dataclass(frozen=True)
class Scale:
    """The factor, and the minimum lengths in seconds."""

    factor: float
    range_floor: float
    interval_floor: float

    def time(self, text: str) -> str:
        return written(seconds(text) / self.factor)

    def range(self, text: str) -> str:
        return written(max(self.range_floor, seconds(text) / self.factor))

    def interval(self, text: str) -> str:
        return written(max(self.interval_floor, seconds(text) / self.factor))


def seconds(text: str) -> float:
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError(f"not a time: {text}")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def written(time: float) -> str:
    """A duration in PromQL's syntax, rounded to milliseconds."""
    thousandths = max(1, round(time * 1000))
    return f"{thousandths}ms" if thousandths % 1000 else f"{thousandths // 1000}s"


def shorten(rules: dict, scale: Scale) -> dict:
    """The content of a rule file with its windows shortened."""
    rules = copy.deepcopy(rules)
    for group in rules["groups"]:
        share = 1.0  # share of the original number of evaluations in a window
        if before := group.get("interval"):
            group["interval"] = scale.interval(before)
            share = seconds(before) / scale.factor / seconds(group["interval"])
        for rule in group["rules"]:
            rule["expr"] = expression(rule["expr"], scale, share)
            for key in {"for", "keep_firing_for"} & set(rule):
                rule[key] = scale.time(rule[key])
    return rules


def expression(text: str, scale: Scale, share: float) -> str:
    def bound(match: re.Match) -> str:
        longer = seconds(scale.range(match[2])) * scale.factor / seconds(match[2])
        return f"{match[1]}{math.ceil(int(match[3]) * share * longer)}"

    def token(match: re.Match) -> str:
        if match["unknown"]:
            raise ValueError(f"a window of an unknown kind in {text}")
        if match["range"]:
            return f"[{scale.range(match['range'])}]"
        return f"offset {scale.time(match['offset'])}" if match["offset"] else match[0]

    text, bounds = COUNTED.subn(bound, text)
    if bounds != text.count("count_over_time("):
        raise ValueError(f"a count without a bound in {text}")
    return TOKEN.sub(token, text)
