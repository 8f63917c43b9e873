"""Suite bench: the whole process, measured from outside. What tokenbeat costs, beside wrk in the same run, and how far
its numbers are from the server's own record.

The server is the simulator with a schedule for each stream, on a core of its own; tokenbeat (or wrk) has another, with
full measurement and export on. The short form, which runs among all suites, asks for ratios and for what must hold
exactly; `tests/run bench full` measures everything, for docs/performance.md (`--markdown`), and takes some thirteen
minutes.
Every figure goes to `bench.json` in the artifacts.
"""

import json
import os
from functools import partial
from pathlib import Path

import bench_accuracy as accuracy
import bench_check as checks
import bench_cost as cost
import bench_scale as scale
import bench_tables as tables
from bench_parts import CORES, SERVER, certificate, machine, need
from harness import Session, equal, expect, may_be_realtime

# A stalled machine says nothing: where the median chunk of the server was later than this, in milliseconds, an error in
# time is noted and not judged.
STALLED_MS = 2.0
# Streams, and the milliseconds between two chunks of each.
STREAMS = ((1, 10), (16, 10), (256, 10), (1000, 20))
# The same, at one rate of chunks.
SCALE = ((1000, 20), (3000, 60), (10_000, 200))
# Profiles and targets that share one load, and those whose series are scraped.
SHARED = ((1, 1), (10, 1), (100, 1), (1, 10), (1, 50))
SERIES = ((10, 10), (25, 20), (50, 20))
# Each part in which the error is measured: whether beside a busy neighbour, and whether with real-time priority, where
# the machine allows it.
LOADED = (("accuracy", False, False), ("neighbour", True, False), *[("neighbour", True, True)] * may_be_realtime())


def run(t: Session, binary: Path) -> None:
    wanted = set(filter(None, os.environ.get("TOKENBEAT_BENCH", "").split(",")))
    need()
    figures: dict[str, object] = {"machine": machine(), "binary": str(binary.name)}
    rows: dict[str, list[dict]] = {"server": [], "cost": [], "accuracy": [], "dispatch": []}
    rows |= {"scale": [], "shared": [], "series": [], "check": []}
    figures |= rows
    # Scrapes and exports are received beside the server: the client's core is left to the client.
    os.sched_setaffinity(0, {SERVER})
    try:
        if wanted:
            full(t, binary, rows, wanted)
        else:
            short(t, binary, rows)
    finally:
        os.sched_setaffinity(0, CORES)
        (t.artifacts / "bench.json").write_text(json.dumps(figures, indent=2))
        text = tables.markdown(figures) if os.environ.get("TOKENBEAT_BENCH_MARKDOWN") else tables.plain(figures)
        print(text, flush=True)


def short(t: Session, binary: Path, rows: dict[str, list[dict]]) -> None:
    """What must hold wherever it runs: exact counts, and ratios with a wide margin."""
    optimised = "debug" not in binary.parts
    costs, errors = rows["cost"], rows["accuracy"]
    with t.check("plain requests cost at most ten times what they cost wrk"):
        costs.append(cost.plain(t, binary, 3))
        ratio(costs[-1], 10, optimised)
    with t.check("a chunk at full speed costs at most six times what it costs wrk"):
        costs.append(cost.full_speed(t, binary, 1, 3))
        ratio(costs[-1], 6, optimised)
    with t.check("chunks that come together cost less than twice what single ones do"):
        costs.append(cost.full_speed(t, binary, 16, 3))
        expect(costs[-1]["tokenbeat_us"] < 2 * costs[1]["tokenbeat_us"] or not optimised, f"{costs[-1]}")
    with t.check("paced streams cost at most ten times what they cost wrk, and the process rests when idle"):
        costs.append(cost.paced(t, binary, 16, 10, 2))
        ratio(costs[-1], 10, optimised)
        expect(costs[-1]["idle_core"] < 0.1, f"idle: {costs[-1]['idle_core']:.3f} of a core")
    for streams, pace, more in ((1, 10, {}), (16, 10, {}), (16, 10, {"http2": True})):
        kind = "HTTP/2" if more else "HTTP/1.1"
        with t.check(f"{streams} streams over {kind}: counts are exact, times are the server's"):
            errors.append(accuracy.measure(t, binary, streams, pace, 3, first_ms=200, tokens=50, **more))
            judge(t, errors[-1])
    with t.check("to check 1,000 profiles takes at most four times as long where their runs are counted one by one"):
        rows["check"] += [checks.check(t, binary, what) for what in (checks.BY_INTERVAL, checks.BY_CRON)]
        by_interval, by_cron = (row["cpu_seconds"] for row in rows["check"])
        expect(by_cron < 4 * by_interval or not optimised, f"{rows['check']}")


def full(t: Session, binary: Path, rows: dict[str, list[dict]], wanted: set[str]) -> None:
    """Everything, or the parts that are wanted."""
    for part, kind, title, measure in cases(t, binary):
        if wanted & {"full", part}:
            with t.check(f"{title}: measured"):
                row = measure()
                rows[kind].append(row)
                t.note(str(tables.rounded(row)))
                if kind in ("accuracy", "scale", "shared"):
                    counted(row)


def beside(busy: bool, realtime: bool) -> str:
    return (", with a busy neighbour" if busy else "") + (" and real-time priority" if realtime else "")


def cases(t: Session, binary: Path):
    """Each with its part, the kind of its figures, its name, and how it is measured."""
    for streams in (16, 256, 500, 1000):
        yield "server", "server", f"the simulator with {streams} streams", partial(cost.server, t, binary, streams, 10, 4)
    yield "cost", "cost", "plain requests", lambda: cost.plain(t, binary, 5)
    for per_write in (1, 16):
        yield "cost", "cost", f"full speed, {per_write} per write", partial(cost.full_speed, t, binary, per_write, 5)
    for streams, pace in STREAMS[1:]:
        yield "cost", "cost", f"the cost of {streams} streams", partial(cost.paced, t, binary, streams, pace, 5)
    measure = partial(accuracy.measure, t, binary)
    for part, busy, realtime in LOADED:
        for streams, pace in STREAMS:
            title = f"the error at {streams} streams{beside(busy, realtime)}"
            yield part, "accuracy", title, partial(measure, streams, pace, 5, busy=busy, realtime=realtime)
    tls = certificate(t)
    for part, busy, realtime in (("protocols", False, False), *LOADED[1:]):
        for more in ({"http2": True}, {"certificate": tls}, {"http2": True, "certificate": tls}):
            title = f"the error at 256 streams over {', '.join(more)}{beside(busy, realtime)}"
            yield part, "accuracy", title, partial(measure, 256, 10, 5, busy=busy, realtime=realtime, **more)
    for arrivals in ("constant", "poisson"):
        title = f"2,000 requests/s, {arrivals}"
        yield "dispatch", "dispatch", title, partial(cost.dispatch, t, binary, arrivals, 10)
    yield "dispatch", "dispatch", "1,000 users start", lambda: cost.crowd(t, binary, 1000, 6)
    for streams, pace in SCALE:
        yield "scale", "scale", f"{streams:,} streams in one process", partial(scale.load, t, binary, streams, pace)
    for profiles, targets in SHARED:
        title = f"{profiles} profiles at {targets} targets with 200 streams in all"
        shared = partial(scale.load, t, binary, 200, 10, profiles=profiles, targets=targets, tokens=100)
        yield "scale", "shared", title, shared
    for profiles, targets in SERIES:
        title = f"the series of {profiles} profiles at {targets} targets"
        yield "scale", "series", title, partial(scale.series, t, binary, profiles, targets)
    for what in checks.CONFIGS:
        yield "check", "check", f"check of {what}", partial(checks.check, t, binary, what)


def ratio(row: dict, most: float, optimised: bool) -> None:
    times = row["tokenbeat_us"] / row["wrk_us"]
    expect(times <= most or not optimised, f"{times:.1f} times: {row}")


def counted(row: dict) -> None:
    """What must be exact, however slow the machine is."""
    expect(row["requests"] > 0 and row["compared_chunks"] > 0, f"nothing to compare: {row}")
    equal(row["token_error"], 0, "difference in output tokens")
    equal(row["chunk_error"], 0, "difference in the number of chunks")


def judge(t: Session, row: dict) -> None:
    counted(row)
    # The request was sent before it had reached the server's socket, and an answer arrives after it was written. The kernel's clock is
    # mapped to the process's own to within some microseconds.
    expect(row["least_ttft_ms"] > -0.05, f"a first token before it was written: {row['least_ttft_ms']} ms")
    if row["server_late_p50_ms"] > STALLED_MS:
        t.note(f"the machine stalled (chunks were late by {row['server_late_p50_ms']:.1f} ms): times are not judged")
        return
    wrong = row["ttft"]["p50"] / row["server_first_token_ms"]
    expect(wrong < 0.1, f"the median error of the time to first token is {wrong:.1%} of it")
    expect(abs(row["gap"]["p50"]) < 0.2 * row["pace_ms"], f"the median error of a gap is {row['gap']['p50']} ms")


