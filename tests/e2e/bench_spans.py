"""Reads OTLP traces as they came over the wire: the few fields that the bench needs, without a protobuf library; and
times as the simulator writes them."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Span:
    trace_id: str = ""
    name: str = ""
    start: float = 0.0  # Unix time in seconds
    attributes: dict[str, object] = field(default_factory=dict)
    events: dict[str, float] = field(default_factory=dict)  # Unix time in seconds, by name


def spans(bodies: list[bytes]) -> Iterator[Span]:
    for body in bodies:
        for _, resource in select(body, 1):
            for _, scope in select(resource, 2):
                for _, span in select(scope, 2):
                    yield read(span)


def read(message: bytes) -> Span:
    span = Span()
    for number, value in parts(message):
        if number == 1:
            span.trace_id = value.hex()
        elif number == 5:
            span.name = value.decode()
        elif number == 7:
            span.start = value / 1e9
        elif number == 9:
            fields = dict(parts(value))
            span.attributes[fields[1].decode()] = scalar(fields.get(2, b""))
        elif number == 11:
            fields = dict(parts(value))
            span.events[fields[2].decode()] = fields[1] / 1e9
    return span


def scalar(message: bytes) -> object:
    for number, value in parts(message):
        if number == 4:
            return struct.unpack("<d", struct.pack("<Q", value))[0]
        return value.decode(errors="replace") if number == 1 else value
    return None


def select(message: bytes, wanted: int) -> Iterator[tuple[int, bytes]]:
    return ((number, value) for number, value in parts(message) if number == wanted)


def parts(message: bytes) -> Iterator[tuple[int, object]]:
    """Every field: its number, and bytes or an unsigned number."""
    at, end = 0, len(message)
    while at < end:
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(message, at)
        elif kind == 1:
            value, at = int.from_bytes(message[at : at + 8], "little"), at + 8
        elif kind == 5:
            value, at = int.from_bytes(message[at : at + 4], "little"), at + 4
        else:
            length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        yield number, value


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at

def instant(text: str) -> float:
    """Unix time of RFC 3339 with up to nine decimals."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    whole = datetime.fromisoformat(found[1] + "+00:00").timestamp()
    return whole + float(found[2] or 0)
