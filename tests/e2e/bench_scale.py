"""How cost, memory and error grow with the size of one process: with its streams at one rate of chunks, with the profiles
and targets that share one load, and with the series that it shows."""

import contextlib
import http.client
import re
import time
from pathlib import Path

from bench_accuracy import Seen, errors
from bench_cost import flowing
from bench_parts import Daemon, Simulator, case, memory, quantile
from harness import Process, Session, wait_for

# In the formats of a scrape, what is asked for.
FORMATS = {
    "text": "text/plain",
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}
SCRAPES = 5
# Requests at each pair, so that each of its series has a value.
REQUESTS_PER_PAIR = 3


def load(
    t: Session, binary: Path, streams: int, pace_ms: int, *, profiles: int = 1, targets: int = 1, tokens: int = 30,
    seconds: float = 5,
) -> dict:  # fmt: skip
    """So many streams in all, over all profiles and targets. Those of each pair begin evenly over the duration of a request, and are
    measured when each has sent its first."""
    name = f"scale-{streams}-{profiles}x{targets}"
    request = (50 + tokens * pace_ms) / 1000
    server = Simulator(
        t, binary, name, "--pace", f"{pace_ms}ms", "--first-token", "50ms", "--truth-capacity", 60_000,
        "--max-connections", 2 * streams + 100,
    )  # fmt: skip
    spread_over = max(1.0, request)
    users = streams // (profiles * targets)
    daemon = Daemon(
        t, binary, name, server, load={"for": "10m", "users": users, "spawn": f"{round(1000 * spread_over)}ms"},
        tokens=tokens, stream=True, sample="25%", profiles=profiles, targets=targets,
    )  # fmt: skip
    with case(server, daemon):
        time.sleep(1.5)
        idle = memory(daemon.process)
        started = time.monotonic()
        daemon.begin()
        time.sleep(max(0.0, spread_over - (time.monotonic() - started)))
        flowing(server, streams, pace_ms)
        server.clear()
        begun = time.time()
        before, start = daemon.usage.seconds(), time.monotonic()
        time.sleep(max(seconds, 1.4 * request))
        ours, took, chunks = daemon.usage.seconds() - before, time.monotonic() - start, max(server.timing()["chunks"], 1)
        loaded = memory(daemon.process)
        seen = Seen.of(daemon, server)
    return {
        "streams": streams, "pace_ms": pace_ms, "profiles": profiles, "targets": targets,
        "tokenbeat_us": 1e6 * ours / chunks, "per_second": chunks / took, "core": ours / took,
        "resident_mib": loaded["resident"] / 1024, "anonymous_mib": loaded["anonymous"] / 1024,
        "anonymous_kib_per_stream": (loaded["anonymous"] - idle["anonymous"]) / streams,
        "idle_anonymous_mib": idle["anonymous"] / 1024, **errors(seen, begun),
    }  # fmt: skip


def series(t: Session, binary: Path, profiles: int, targets: int) -> dict:
    """What so many pairs hold, and what a scrape of them costs, while nothing else is done."""
    name = f"series-{profiles}x{targets}"
    server = Simulator(t, binary, name, "--pace", "0s", "--truth-capacity", 16)
    daemon = Daemon(
        t, binary, name, server, load={"requests": REQUESTS_PER_PAIR}, tokens=8, stream=True, profiles=profiles,
        targets=targets, observed=False,
    )  # fmt: skip
    wanted = profiles * targets * REQUESTS_PER_PAIR
    with case(server, daemon):
        daemon.begin()
        wait_for("a request at each pair", lambda: answered(server) >= wanted, 30, every=0.2)
        time.sleep(1)
        held = memory(daemon.process)
        row = {"what": f"{profiles} x {targets}", "pairs": profiles * targets, "anonymous_mib": held["anonymous"] / 1024}
        for form, accept in FORMATS.items():
            reset_peak(daemon.process)
            resident = memory(daemon.process)["resident"]
            before, times = daemon.usage.seconds(), []
            for _ in range(SCRAPES):
                start = time.monotonic()
                body = scrape(daemon, accept)
                times.append(time.monotonic() - start)
            row[form] = {
                "ms": 1e3 * quantile(times, 0.5), "cpu_ms": 1e3 * (daemon.usage.seconds() - before) / SCRAPES,
                "mb": len(body) / 1e6, "more_mib": (peak(daemon.process) - resident) / 1024,
            }  # fmt: skip
            if form == "text":
                row["series"] = sum(line[:1] not in (b"#", b"") for line in body.split(b"\n"))
        return row


def answered(server: Simulator) -> float:
    page = server.get("/metrics").decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("vllm:request_success_total"))


def scrape(daemon: Daemon, accept: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection(daemon.url.removeprefix("http://"), timeout=60)) as link:
        link.request("GET", "/metrics", headers={"Accept": accept})
        return link.getresponse().read()


def reset_peak(process: Process) -> None:
    """Lets the kernel count the peak of resident memory anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{process.child.pid}/clear_refs").write_text("5")


def peak(process: Process) -> int:
    """The peak of resident memory, in KiB."""
    return int(re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{process.child.pid}/status").read_text(), re.MULTILINE)[1])
