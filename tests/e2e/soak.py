"""Suite soak: the daemon under load for some time, with faults, reloads, scrapes and an OTLP receiver; no resource may
grow, and nothing may get lost or count twice.

There are two simulators: the work of `steady` is known exactly, that of `shaky` is not, because it fails in many ways.
During the load every page must balance; afterwards the numbers of the client are compared with those of the server and
of the receiver. At the end the daemon is stopped at various moments.

The duration is an argument of `tests/run`: `tests/run soak 8h`. It is less than a minute when all suites run.
"""

import json
import os
import random
import re
import signal
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import servers
from harness import Failure, Process, Session, equal, expect, wait_for
from web import Page, fetch

GRACE = 10  # seconds for requests in flight to end in the drain
STOPS = 8
RELOADS = 1000
MEBI = 1 << 20

FAULTS = (
    "status;code=500;probability=0.03", "rate_limited;retry_after=1s;probability=0.03", "reset_mid;after=2;probability=0.03",
    "stall;after=2;for=3s;probability=0.02", "truncated;probability=0.02", "garbage;probability=0.02",
)  # fmt: skip


class Receiver:
    """OTLP over HTTP: counts spans by name and stores the ids of requests, to detect duplicates."""

    def __init__(self):
        self.requests: set[bytes] = set()
        self.twice = self.runs = self.points = self.logs = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.lock = threading.Lock()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        with self.lock:
            self.points += path.endswith("/metrics")
            self.logs += path.endswith("/logs")
            if not path.endswith("/traces"):
                return
            for resource in fields(body, 1):
                for scope in fields(resource, 2):
                    for span in fields(scope, 2):
                        self.span(span)

    def span(self, span: bytes) -> None:
        name = next(fields(span, 5)).decode()
        if name.startswith("run "):
            self.runs += 1
            return
        key = next(fields(span, 1)) + next(fields(span, 2))
        self.twice += key in self.requests
        self.requests.add(key)


def fields(message: bytes, wanted: int):
    """The length-delimited fields with this number in a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        else:
            length, at = varint(message, at)
            if number == wanted:
                yield message[at : at + length]
            at += length


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def config(t: Session, steady: str, shaky: str, receiver: str, variant: int, playing: bool = True) -> str:
    """The config. `variant` changes a profile (or only a comment), and so determines the work of a reload; to stop all
    traffic, every schedule is `manual`."""
    schedule = {"continuous": {}} if playing else {"manual": {}}
    once = {"every": "3s"} if playing else {"manual": {}}
    chat = {"prompts": ["Name three rivers.", "Name a mountain."], "output_tokens": 12}
    whole = {"prompts": [f"Variant {variant % 3}."], "output_tokens": 8, "stream": False}
    data = {
        "agent": {"id": "soak", "state": str(t.home / "state.db"), "budget": {"period": "day", "requests": 10**9}},
        "telemetry": {
            "otlp": {
                "endpoint": receiver, "protocol": "http", "interval": "1s",
                "traces": {"sample": "100%"},
            },
        },
        "targets": {
            "steady": {"api": "openai-chat", "base_url": f"{steady}/v1", "model": "sim-8b"},
            "cold": {"api": "openai-chat", "base_url": f"{steady}/v1", "model": "sim-8b", "connection": "cold"},
            "shaky": {
                "api": "openai-chat", "base_url": f"{shaky}/v1", "model": "sim-8b",
                "timeouts": {"connect": "2s", "first_token": "5s", "stall": "1s", "total": "8s"},
            },
        },
        "profiles": {
            "open": {"targets": ["steady", "shaky"], "schedule": schedule, "load": [{"for": "2s", "rate": "15/s", "arrivals": "poisson"}], "workload": chat},
            "users": {"targets": ["steady"], "schedule": schedule, "load": [{"for": "3s", "users": 4, "think": "20ms..80ms"}], "workload": chat},
            "retries": {"targets": ["shaky"], "schedule": schedule, "load": [{"for": "3s", "users": 3, "think": "100ms"}], "workload": chat, "retry": {"attempts": 3, "on": ["rate_limited", "http_5xx"], "backoff": "50ms..500ms"}},
            "changing": {"targets": ["steady", "cold"], "schedule": once, "load": [{"for": "1s", "rate": "5/s"}], "workload": whole},
        },
    }  # fmt: skip
    return f"# {variant}\n{json.dumps(data, indent=1)}\n"


def run(t: Session, binary: Path) -> None:
    seconds = length(os.environ.get("TOKENBEAT_SOAK") or "45s")
    with t.check("the simulators and the receiver start", vital=True):
        quick = ("--step-time", "1ms", "--noise", "0")
        steady = servers.simulator(t, binary, *quick)
        shaky = servers.simulator(t, binary, *quick, *(word for fault in FAULTS for word in ("--fault", fault)))
        receiver = Receiver()
    path = t.home / "tokenbeat.yaml"

    def write(variant: int, playing: bool = True) -> None:
        draft = path.with_suffix(".new")
        draft.write_text(config(t, steady, shaky, receiver.url, variant, playing))
        draft.replace(path)

    write(0)
    url = f"http://127.0.0.1:{t.port()}"
    with t.check("the daemon starts", vital=True):
        daemon = servers.daemon(t, binary, path, url)
    watch = Watch(daemon, url)
    with t.check(f"{seconds} s under load: every page balances, and scrapes and reloads go on", vital=True):
        reloads = play(daemon, url, watch, write, seconds)
    t.note(f"{len(watch.samples)} pages, {reloads} reloads; {watch.summary()}")
    with t.check("memory, descriptors and threads stay flat"):
        watch.flat(t)
    with t.check(f"{RELOADS} reloads in a row, under load"):
        thousand(daemon, url, write)
    write(reloads, playing=False)
    with t.check("nothing is lost and nothing counts twice", vital=True):
        expect(fetch(f"{url}/-/reload", method="POST", timeout=60).status == 200, "the last reload")
        page = wait_for("the last request", lambda: at_rest(url), 60)
        settled(t, page, Page.read(f"{steady}/metrics"))
    with t.check("SIGTERM ends it with 0, and the receiver has one span for each request and each run"):
        sent, ran = page.sum("tokenbeat_requests_total"), page.sum("tokenbeat_runs_total")
        daemon.signal(signal.SIGTERM)
        equal(daemon.wait(GRACE + 10), 0, "exit code")
        equal(receiver.twice, 0, "spans that came twice")
        equal(len(receiver.requests), sent, "spans of requests")
        equal(receiver.runs, ran, "spans of runs")
        expect(receiver.points and receiver.logs, "metrics and log records came")
    with t.check("its log has neither a panic nor a fault of its own"):
        log = daemon.output()
        bad = re.findall(r"^.*(?:panicked|fault of the prober|would not stop).*$", log, re.MULTILINE)
        expect(not bad, "\n".join(bad[:5]))
    write(1)
    with t.check(f"SIGTERM at any time, {STOPS} times: it drains and ends with 0 within the grace"):
        stops(t, binary, path, write)


def length(text: str) -> int:
    """Seconds of `90s`, `5m` or `8h`."""
    match = re.fullmatch(r"(\d+)([smh])", text)
    expect(match, f"TOKENBEAT_SOAK: {text!r} is no time, such as 90s, 5m or 8h")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


class Watch:
    """The resources of a process over time."""

    def __init__(self, daemon: Process, url: str):
        self.pid, self.url = daemon.child.pid, url
        self.samples: list[tuple[int, int, int]] = []

    def look(self) -> Page:
        """Reads a page, checks it, and notes resident memory, descriptors and threads."""
        page = Page.read(f"{self.url}/metrics")
        balanced(page)
        status = Path(f"/proc/{self.pid}/status").read_text()
        of = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1])
        self.samples.append((of("VmRSS") << 10, len(os.listdir(f"/proc/{self.pid}/fd")), of("Threads")))
        return page

    def parts(self) -> tuple[list, list]:
        """The middle and the last third of the samples; caches fill during the first."""
        third = len(self.samples) // 3
        return self.samples[third : 2 * third], self.samples[2 * third :]

    def summary(self) -> str:
        first, last = self.samples[0], self.samples[-1]
        return f"{first[0] // MEBI} to {last[0] // MEBI} MiB, {first[1]} to {last[1]} descriptors, {first[2]} to {last[2]} threads"

    def flat(self, t: Session) -> None:
        middle, last = self.parts()
        expect(len(last) >= 5, f"{len(self.samples)} samples are too few")
        for index, what, share, slack in ((0, "bytes", 1.1, 4 * MEBI), (1, "descriptors", 1, 16), (2, "threads", 1, 4)):
            before = statistics.median(sample[index] for sample in middle)
            after = statistics.median(sample[index] for sample in last)
            expect(after <= before * share + slack, f"{before:.0f} {what} became {after:.0f}")


def balanced(page: Page) -> None:
    """Offered = skipped + in flight + requests, for each profile and target; there is no warm-up."""
    keys = ("profile", "target")
    offered = page.by("tokenbeat_offered_requests_total", *keys)
    skipped = page.by("tokenbeat_skipped_requests_total", *keys)
    flying = page.by("tokenbeat_requests_in_flight", *keys)
    sent = page.by("tokenbeat_requests_total", *keys)
    for key, count in offered.items():
        rest = skipped[key] + flying[key] + sent[key]
        expect(count == rest, f"{key}: {count} offered, {skipped[key]} skipped, {flying[key]} in flight, {sent[key]} ended")


def reload_now(url: str) -> None:
    answer = fetch(f"{url}/-/reload", method="POST", timeout=60)
    expect(answer.status == 200, f"the reload answered {answer.status}: {answer.text[:300]}")


def play(daemon: Process, url: str, watch: Watch, write, seconds: float) -> int:
    """Repeatedly checks the page and reloads; returns the number of reloads."""
    ends, reloads, before = time.monotonic() + seconds, 0, {}
    while time.monotonic() < ends:
        for _ in range(4):
            page = watch.look()
            now = page.by("tokenbeat_requests_total", "profile", "target", "outcome")
            shrunk = {key for key, count in before.items() if now.get(key, 0) < count}
            expect(not shrunk, f"counters went back: {shrunk}")
            before = now
            time.sleep(0.25)
        reloads += 1
        write(reloads)
        if reloads % 3:
            reload_now(url)
        else:
            daemon.signal(signal.SIGHUP)
    for profile, target in (("open", "steady"), ("open", "shaky"), ("users", "steady"), ("changing", "cold")):
        expect(page.sum("tokenbeat_requests_total", profile=profile, target=target) > 0, f"{profile} on {target} played")
    return reloads


def thousand(daemon: Process, url: str, write) -> None:
    """Reloads: most change only a comment, some a profile."""
    before = Page.read(f"{url}/metrics")
    for number in range(RELOADS):
        if number % 100 == 0:
            write(number)
        reload_now(url)
        if number % 50 == 0:
            balanced(Page.read(f"{url}/metrics"))
    after = Page.read(f"{url}/metrics")
    balanced(after)
    equal(after.sum("tokenbeat_config_last_reload_successful"), 1, "the last reload")
    name = "tokenbeat_requests_total"
    expect(after.sum(name, profile="users") > before.sum(name, profile="users"), "the load went on")


def at_rest(url: str) -> Page | None:
    """The page, once no run is active."""
    page = Page.read(f"{url}/metrics")
    flying = page.sum("tokenbeat_requests_in_flight") + page.sum("tokenbeat_run_active")
    return page if flying == 0 else None


def settled(t: Session, page: Page, sim: Page) -> None:
    balanced(page)
    keys = ("target", "outcome")
    outcomes = {key: count for key, count in page.by("tokenbeat_requests_total", *keys).items() if count}
    of_server = sum(count for (target, _), count in outcomes.items() if target != "shaky")
    foreign = {key: count for key, count in outcomes.items() if key[0] != "shaky" and key[1] != "ok"}
    expect(not foreign, f"a target without faults failed: {foreign}")
    ours = {key: count for key, count in outcomes.items() if key[1] in ("internal", "cancelled", "credentials")}
    expect(not ours, f"faults of the prober: {ours}")
    equal(sim.sum("vllm:request_success_total"), of_server, "requests by the simulator and by the client")
    for kind, metric in (("input", "vllm:prompt_tokens_total"), ("output", "vllm:generation_tokens_total")):
        name = "tokenbeat_tokens_total"
        counted = page.sum(name, target="steady", type=kind, source="usage") + page.sum(name, target="cold", type=kind, source="usage")
        equal(counted, sim.sum(metric), f"{kind} tokens by the client and by the simulator")
    shaky = {outcome: count for (target, outcome), count in outcomes.items() if target == "shaky"}
    expect(len(shaky) >= 5, f"many ways to fail: {shaky}")
    retries = page.sum("tokenbeat_retries_total")
    expect(0 < retries < sum(shaky.values()), f"{retries} retries")
    t.note(f"{sum(outcomes.values()):.0f} requests; shaky: {shaky}; {retries:.0f} retries")
    equal(page.sum("tokenbeat_telemetry_dropped_total"), 0, "dropped items")


def stops(t: Session, binary: Path, path: Path, write) -> None:
    """The daemon is stopped before it is ready, as soon as it is, under load, during a reload, and twice in a row."""
    draw = random.Random(7)
    for number in range(STOPS):
        url = f"http://127.0.0.1:{t.port()}"
        command = [binary, "serve", "--config.file", path, "--web.listen-address", url.removeprefix("http://")]
        command += ["--shutdown.grace", f"{GRACE}s"]
        daemon = t.start(f"stop-{number}", command)
        if number == 0:
            wait_for("a sign of life", lambda: daemon.output(), 30, every=0.01)
        else:
            t.wait_ready(daemon, lambda: servers.serves(f"{url}/-/ready"), 30)
            time.sleep(draw.uniform(0, 3))
        if number % 2:
            write(number)
            daemon.signal(signal.SIGHUP)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        try:
            code = daemon.wait(GRACE + 8)
        except Failure as error:
            raise Failure(f"stop {number}: {error}") from None
        equal(code, 0, f"exit code of stop {number}")
        if "panicked" in daemon.output():
            raise Failure(f"stop {number}: a panic")
        t.processes.remove(daemon)
        t.note(f"stop {number}: {time.monotonic() - began:.1f} s")
