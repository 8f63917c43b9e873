"""How far tokenbeat's numbers are from the server's own record of the same requests, at a stated load.

Matched request by request, by the id of the trace that the request carries. Two errors of the first token are told
apart: that of the time to first token, in which the way of the request to the server's socket lies, too (the server's
record begins when the kernel received it, however late it was read); and that of its arrival alone, by the clock that
both share."""

import time
from dataclasses import dataclass
from pathlib import Path

from bench_cost import flowing
from bench_parts import Daemon, Simulator, case, neighbour, quantile, spread
from bench_spans import instant, spans
from harness import Session
from web import Page, fetch

TIMELINES = 200  # requests of which every chunk is compared, as far as they were traced: all that the daemon remembers


def measure(
    t: Session, binary: Path, streams: int, pace_ms: int, seconds: float, *,
    busy: bool = False, realtime: bool = False, http2: bool = False, certificate: tuple[Path, Path] | None = None,
    first_ms: int = 50, tokens: int = 100,
) -> dict:  # fmt: skip
    name = f"accuracy-{streams}{'-busy' if busy else ''}{'-rt' if realtime else ''}{'-h2' if http2 else ''}{'-tls' if certificate else ''}"
    server = Simulator(
        t, binary, name, "--pace", f"{pace_ms}ms", "--first-token", f"{first_ms}ms", "--truth-capacity", 40_000,
        certificate=certificate,
    )  # fmt: skip
    daemon = Daemon(
        t, binary, name, server, load={"for": "10m", "users": streams}, tokens=tokens, stream=True, http2=http2,
        # Of many, some are enough to compare, and an event for each chunk of all of them would be another load.
        sample="100%" if streams < 100 else "25%", realtime=realtime,
    )  # fmt: skip
    with case(server, daemon), neighbour(t, busy):
        daemon.begin()
        flowing(server, streams, pace_ms)
        # Whoever has begun before is left out: all of them opened their connections at once.
        begun = time.time() + tokens * pace_ms / 1000
        server.clear()
        time.sleep(seconds + tokens * pace_ms / 1000)
        seen = Seen.of(daemon, server)
    opened = seen.page.sum("tokenbeat_connections_opened_total")
    return {
        "streams": streams, "pace_ms": pace_ms, "busy": busy, "realtime": realtime,
        "protocol": ("HTTP/2" if http2 else "HTTP/1.1") + (", TLS" if certificate else ""),
        "connections": round(opened) if http2 else streams, "ttft_ms": first_ms, **errors(seen, begun),
        "chunks_per_second": seen.timing["chunks"] / (seconds + tokens * pace_ms / 1000),
    }  # fmt: skip


@dataclass
class Seen:
    """What tokenbeat said of its requests, and what the server said of the same."""

    page: Page
    timing: dict
    details: list[dict]
    truths: dict[str, dict]
    traces: list[bytes]

    @classmethod
    def of(cls, daemon: Daemon, server: Simulator) -> "Seen":
        page, timing = daemon.page(), server.timing()
        details = timelines(daemon)
        # Until the last traces have been exported.
        time.sleep(2)
        truths = {truth["trace_id"]: truth for truth in server.truth() if truth["finished"] is not None}
        return cls(page, timing, details, truths, list(daemon.receiver.traces))


def errors(seen: Seen, begun: float) -> dict:
    """How far tokenbeat was from the server's record, of the requests that began since then."""
    page, timing, truths = seen.page, seen.timing, seen.truths
    found = [span for span in spans(seen.traces) if "tokenbeat.first_token" in span.events and span.start >= begun]
    pairs = [(span, truths[span.trace_id]) for span in found if span.trace_id in truths]
    lag = page.sum("tokenbeat_read_lag_seconds_sum"), page.sum("tokenbeat_read_lag_seconds_count")
    buckets = page.by("tokenbeat_read_lag_seconds_bucket", "le")
    ttft = [span.attributes["tokenbeat.time_to_first_token"] - truth["first_token"] for span, truth in pairs]
    arrival = [
        span.events["tokenbeat.first_token"] - instant(truth["arrived"]) - truth["first_token"] for span, truth in pairs
    ]
    tokens_off = [span.attributes.get("gen_ai.usage.output_tokens", -1) - truth["output_tokens"] for span, truth in pairs]
    gaps, counts = gap_errors(seen.details, truths)
    return {
        "requests": len(pairs), "gaps": len(gaps),
        "server_first_token_ms": 1e3 * quantile([truth["first_token"] for _, truth in pairs], 0.5),
        "ttft": millis(spread(ttft)), "arrival": millis(spread(arrival)), "gap": millis(spread(gaps)),
        "least_ttft_ms": 1e3 * min(ttft, default=0.0), "least_arrival_ms": 1e3 * min(arrival, default=0.0),
        "token_error": max(map(abs, tokens_off), default=None), "chunk_error": max(map(abs, counts), default=None),
        "compared_chunks": len(counts), "read_lag_mean_ms": 1e3 * lag[0] / max(lag[1], 1),
        "read_lag_p99_ms": 1e3 * bucket_quantile(buckets, 0.99),
        "server_late_p50_ms": 1e3 * timing["p50_seconds"], "server_late_p99_ms": 1e3 * timing["p99_seconds"],
    }  # fmt: skip


def timelines(daemon: Daemon) -> list[dict]:
    """The remembered requests, each with the arrival of its chunks."""
    listed = fetch(f"{daemon.url}/api/v1/requests?limit={TIMELINES}").json()["requests"]
    answers = [fetch(f"{daemon.url}/api/v1/requests/{request['id']}") for request in listed]
    return [answer.json() for answer in answers if answer.status == 200]


def gap_errors(details: list[dict], truths: dict[str, dict]) -> tuple[list[float], list[int]]:
    """The error of each gap in seconds, and of the number of chunks of each request."""
    errors: list[float] = []
    counts: list[int] = []
    for detail in details:
        truth = truths.get(detail["trace_id"])
        chunks = detail["chunks"]
        if truth is None or chunks is None or detail["outcome"] != "ok":
            continue
        counts.append(chunks["count"] - len(truth["chunks"]))
        if counts[-1] or chunks["left_out"]:
            continue
        seen, written = chunks["seconds"], [chunk["at"] for chunk in truth["chunks"]]
        errors += [
            (seen[n] - seen[n - 1]) - (written[n] - written[n - 1]) for n in range(1, len(seen))
        ]  # fmt: skip
    return errors, counts


def bucket_quantile(buckets: dict[tuple[str, ...], float], q: float) -> float:
    """The upper bound of the bucket in which it lies."""
    ordered = sorted((float(le.replace("+Inf", "inf")), count) for (le,), count in buckets.items())
    total = ordered[-1][1] if ordered else 0
    return next((bound for bound, count in ordered if total and count >= q * total), float("nan"))


def millis(of: dict[str, float]) -> dict[str, float]:
    return {key: 1e3 * value for key, value in of.items()}

