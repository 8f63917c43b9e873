"""What tokenbeat costs: CPU per request and per chunk, memory per stream, and what it uses when idle; with wrk as the
yardstick in the same run."""

import math
import time
from pathlib import Path

from bench_parts import Daemon, Simulator, Wrk, case, memory, quantile
from bench_spans import instant, spans
from harness import Session, wait_for
from web import fetch



def plain(t: Session, binary: Path, seconds: float) -> dict:
    """Requests that are not streamed, as many as 32 users send."""
    users, tokens = 32, 16
    server = Simulator(t, binary, "plain", "--pace", "0s")
    daemon = Daemon(
        t, binary, "plain", server, load={"for": "10m", "users": users}, tokens=tokens, stream=False
    )
    with case(server, daemon):
        ours, count, took = window(daemon, seconds)
        daemon.stop()
        theirs, answered = Wrk(t, server, users, tokens, False, seconds).wait()
    return {
        "what": "plain requests", "unit": "request",
        "tokenbeat_us": 1e6 * ours / count, "wrk_us": 1e6 * theirs / answered,
        "per_second": count / took, "core": ours / took,
    }  # fmt: skip


def full_speed(t: Session, binary: Path, per_write: int, seconds: float) -> dict:
    """Streams as fast as the connection takes them."""
    streams, tokens = 16, 480
    server = Simulator(t, binary, f"full-{per_write}", "--pace", "0s", "--events-per-write", per_write)
    daemon = Daemon(
        t, binary, f"full-{per_write}", server, load={"for": "10m", "users": streams}, tokens=tokens, stream=True
    )
    with case(server, daemon):
        ours, count, took = window(daemon, seconds)
        daemon.stop()
        theirs, answered = Wrk(t, server, streams, tokens, True, seconds).wait()
    return {
        "what": f"streams at full speed, {per_write} {'chunk' if per_write == 1 else 'chunks'} per write",
        "unit": "chunk", "tokenbeat_us": 1e6 * ours / count / tokens, "wrk_us": 1e6 * theirs / answered / tokens,
        "per_second": count * tokens / took, "core": ours / took,
    }  # fmt: skip


def paced(t: Session, binary: Path, streams: int, pace_ms: int, seconds: float) -> dict:
    """Streams with a chunk at an interval: the load of a real server. Also memory, and what it uses when idle."""
    tokens = max(50, round(4000 / pace_ms))
    server = Simulator(
        t, binary, f"paced-{streams}", "--pace", f"{pace_ms}ms", "--first-token", "20ms", "--truth-capacity", 16
    )
    daemon = Daemon(
        t, binary, f"paced-{streams}", server, load={"for": "10m", "users": streams}, tokens=tokens, stream=True
    )
    with case(server, daemon):
        time.sleep(1.5)
        before, start = daemon.usage.seconds(), time.monotonic()
        time.sleep(min(5, seconds))
        idle_core = (daemon.usage.seconds() - before) / (time.monotonic() - start)
        idle = memory(daemon.process)
        daemon.begin()
        flowing(server, streams, pace_ms)
        server.clear()
        before, served, start = daemon.usage.seconds(), server.usage.seconds(), time.monotonic()
        time.sleep(seconds)
        ours, servers, took = daemon.usage.seconds() - before, server.usage.seconds() - served, time.monotonic() - start
        timing = server.timing()
        timing["chunks"] = max(timing["chunks"], 1)
        loaded = memory(daemon.process)
        daemon.stop()
        time.sleep(0.3)
        server.clear()
        wrk = Wrk(t, server, streams, tokens, True, seconds)
        theirs, _ = wrk.wait()
        chunks = max(server.timing()["chunks"], 1)
    return {
        "what": f"{streams} streams, a chunk every {pace_ms} ms", "unit": "chunk", "streams": streams,
        "tokenbeat_us": 1e6 * ours / timing["chunks"], "wrk_us": 1e6 * theirs / chunks,
        "per_second": timing["chunks"] / took, "core": ours / took, "server_core": servers / took,
        "server_us": 1e6 * servers / timing["chunks"], "server_late_p99_ms": 1e3 * timing["p99_seconds"],
        "server_within_bound": timing["within_bound"],
        "idle_core": idle_core, "idle_resident_mib": idle["resident"] / 1024, "idle_anonymous_mib": idle["anonymous"] / 1024,
        "resident_mib": loaded["resident"] / 1024, "anonymous_mib": loaded["anonymous"] / 1024,
        "anonymous_kib_per_stream": (loaded["anonymous"] - idle["anonymous"]) / streams,
        "resident_kib_per_stream": (loaded["resident"] - idle["resident"]) / streams,
    }  # fmt: skip


def server(t: Session, binary: Path, streams: int, pace_ms: int, seconds: float) -> dict:
    """The simulator itself: how well it keeps its schedule, with wrk as its client."""
    options = ("--pace", f"{pace_ms}ms", "--first-token", "20ms", "--truth-capacity", 16)
    server = Simulator(t, binary, f"server-{streams}", *options)
    with case(server):
        wrk = Wrk(t, server, streams, 500, True, seconds + 4)
        time.sleep(3)
        server.clear()
        before, start = server.usage.seconds(), time.monotonic()
        time.sleep(seconds)
        used, timing, took = server.usage.seconds() - before, server.timing(), time.monotonic() - start
        wrk.wait()
    return {
        "what": f"{streams:,} streams, a chunk every {pace_ms} ms", "per_second": timing["chunks"] / took,
        "core": used / took, "us": 1e6 * used / max(timing["chunks"], 1),
        **{f"late_{key}_ms": 1e3 * timing[f"{key}_seconds"] for key in ("p50", "p99", "max")},
        "within_bound": timing["within_bound"],
    }  # fmt: skip


def dispatch(t: Session, binary: Path, arrivals: str, seconds: int, rate: int = 2000) -> dict:
    """An open loop: when requests are sent, compared with when they were due."""
    server = Simulator(t, binary, f"open-{arrivals}", "--pace", "0s", "--truth-capacity", rate * seconds + 1000)
    load = {"for": f"{seconds}s", "rate": f"{rate}/s"}
    daemon = Daemon(
        t, binary, f"open-{arrivals}", server, load=load, tokens=1, stream=False, sample="10%", arrivals=arrivals
    )
    with case(server, daemon):
        before, start = daemon.usage.seconds(), time.monotonic()
        daemon.begin()
        run = ended(daemon, seconds + 30)
        core = (daemon.usage.seconds() - before) / (time.monotonic() - start)
        time.sleep(1.5)
        found = [span for span in spans(daemon.receiver.traces) if "tokenbeat.dispatch_lag" in span.attributes]
        arrived = sorted(truth_times(server))
    lags = [span.attributes["tokenbeat.dispatch_lag"] for span in found]
    gaps = [after - before for before, after in zip(arrived, arrived[1:])]
    return {
        "what": f"{rate:,} requests/s, {arrivals}", "sent": run["offered"], "skipped": run["skipped"],
        "degraded": run["degraded"], "core": core, "lags": len(lags),
        "lag_p50_ms": 1e3 * quantile(lags, 0.5), "lag_p99_ms": 1e3 * quantile(lags, 0.99),
        "lag_max_ms": 1e3 * max(lags, default=float("nan")),
        # Between the first and the last there is one gap less than requests. The number of Poisson arrivals is random.
        "rate_error": rate_error(gaps, rate) if arrivals == "constant" else None,
        "ks": distance(gaps, arrivals, rate),
    }  # fmt: skip


def crowd(t: Session, binary: Path, users: int, seconds: int) -> dict:
    """So many users, who start one after another as they do by default."""
    server = Simulator(t, binary, "crowd", "--pace", "20ms", "--first-token", "50ms")
    load = {"for": f"{seconds}s", "users": users}
    daemon = Daemon(t, binary, "crowd", server, load=load, tokens=50, stream=True, sample="10%")
    with case(server, daemon):
        daemon.begin()
        run = ended(daemon, seconds + 30)
        time.sleep(1.5)
        found = [span for span in spans(daemon.receiver.traces) if "tokenbeat.dispatch_lag" in span.attributes]
    lags = [span.attributes["tokenbeat.dispatch_lag"] for span in found]
    return {
        "what": f"{users:,} users", "sent": run["offered"], "ok": run["ok"], "degraded": run["degraded"],
        "lag_p50_ms": 1e3 * quantile(lags, 0.5), "lag_p99_ms": 1e3 * quantile(lags, 0.99),
        "lag_max_ms": 1e3 * max(lags, default=float("nan")),
    }  # fmt: skip


def window(daemon: Daemon, seconds: float) -> tuple[float, float, float]:
    """CPU seconds, requests that ended, and the time that it took, once the load is steady."""
    daemon.begin()
    wait_for("the load", lambda: daemon.requests() > 50, 30, every=0.1)
    time.sleep(0.5)
    before, count, start = daemon.usage.seconds(), daemon.requests(), time.monotonic()
    time.sleep(seconds)
    used, ended, took = daemon.usage.seconds() - before, daemon.requests() - count, time.monotonic() - start
    return used, max(ended, 1), took


def flowing(server: Simulator, streams: int, pace_ms: float) -> None:
    """Waits until most of the streams flow, as far as the machine lets them."""
    wanted = 0.7 * streams * 1000 / pace_ms
    deadline = time.monotonic() + 15

    def enough() -> bool:
        before = server.timing()["chunks"]
        time.sleep(1)
        return server.timing()["chunks"] - before >= wanted or time.monotonic() > deadline

    wait_for("the streams", enough, 30, every=0.1)


def ended(daemon: Daemon, timeout: float) -> dict:
    def last():
        runs = fetch(f"{daemon.url}/api/v1/runs").json()["runs"]
        return runs[0] if runs else None

    return wait_for("the run has ended", last, timeout, every=0.5)


def truth_times(server: Simulator) -> list[float]:
    return [instant(truth["arrived"]) for truth in server.truth()]


def rate_error(gaps: list[float], rate: int) -> float | None:
    return len(gaps) / sum(gaps) / rate - 1 if gaps else None


def distance(gaps: list[float], arrivals: str, rate: float) -> float | None:
    """The Kolmogorov-Smirnov distance of the gaps from the exponential distribution; of constant ones, the share that
    is more than 0.2 ms off."""
    if not gaps:
        return None
    if arrivals == "constant":
        return sum(abs(gap - 1 / rate) > 2e-4 for gap in gaps) / len(gaps)
    ordered, count = sorted(gaps), len(gaps)
    cdf = [1 - math.exp(-rate * gap) for gap in ordered]
    return max(max(abs(value - n / count), abs(value - (n + 1) / count)) for n, value in enumerate(cdf))


