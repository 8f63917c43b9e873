"""What the suite `bench` is made of: processes pinned to cores, what they used, and a receiver that only listens."""

import contextlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import install
from harness import Failure, Process, Session, expect
from web import Page, fetch, serves

CORES = sorted(os.sched_getaffinity(0))
CLIENT, SERVER = CORES[0], CORES[-1]  # one and the same where there is only one
MODEL = "sim-8b"



def pinned(core: int, *command: object) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *map(str, command)]


class Usage:
    """What a process has used of a processor so far, in seconds: what the scheduler has counted in nanoseconds, where
    the kernel tells it, and else ticks of 10 ms."""

    def __init__(self, process: Process):
        self.tasks = Path(f"/proc/{process.child.pid}/task")
        self.stat = Path(f"/proc/{process.child.pid}/stat")

    def seconds(self) -> float:
        with contextlib.suppress(OSError):
            files = [task / "schedstat" for task in self.tasks.iterdir()]
            return sum(int(file.read_text().split()[0]) for file in files) / 1e9
        fields = self.stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: Process) -> dict[str, float]:
    """Resident and anonymous memory in KiB."""
    text = Path(f"/proc/{process.child.pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Rss|Anonymous): +(\d+) kB", text, re.MULTILINE))
    return {"resident": int(found["Rss"]), "anonymous": int(found["Anonymous"])}


class Receiver:
    """OTLP over HTTP/protobuf: takes everything, and keeps traces as they came. It parses nothing while others are
    measured."""

    def __init__(self):
        self.traces: list[bytes] = []
        self.bodies = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies += 1
                if self.path.endswith("/traces"):
                    receiver.traces.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Simulator:
    """The server under test: the simulator on its own core, with a schedule for each stream."""

    def __init__(self, t: Session, binary: Path, name: str, *options: object, certificate: tuple[Path, Path] | None = None):
        self.t, port = t, t.port()
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        self.port, self.secured = port, certificate
        tls = ["--tls-cert", certificate[0], "--tls-key", certificate[1]] if certificate else []
        command = [binary, "sim", "--listen-address", f"127.0.0.1:{port}", "--context", 100_000, *options, *tls]
        self.process = t.start(f"sim-{name}", pinned(SERVER, *command), self.ready)
        self.usage = Usage(self.process)

    def ready(self) -> bool:
        return self.get("/health") == b""

    def get(self, path: str, method: str = "GET") -> bytes:
        if self.secured:
            context = ssl.create_default_context(cafile=str(self.secured[0]))
            link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        else:
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(link):
            link.request(method, path)
            answer = link.getresponse()
            body = answer.read()
            expect(answer.status in (200, 204), f"{path} answered {answer.status}: {body[:200]!r}")
            return body

    def timing(self) -> dict:
        return json.loads(self.get("/sim/timing"))

    def truth(self) -> list[dict]:
        return json.loads(self.get("/sim/truth"))

    def clear(self) -> None:
        self.get("/sim/truth", "DELETE")

    def stop(self) -> None:
        self.process.stop()


class Daemon:
    """tokenbeat on its own core, with full measurement and export: scraped each second, with OTLP metrics and sampled
    traces to a receiver that is there."""

    def __init__(
        self, t: Session, binary: Path, name: str, server: Simulator, *, load: dict, tokens: int, stream: bool,
        http2: bool = False, sample: str = "1%", prompt: str = "Name three rivers.", arrivals: str | None = None,
        profiles: int = 1, targets: int = 1, observed: bool = True,
        realtime: bool = False,
    ):  # fmt: skip
        """The load is that of each profile at each target; all targets are the same server. Without `observed`, nothing
        is scraped or exported."""
        self.t, self.receiver = t, Receiver()
        self.url = f"http://127.0.0.1:{t.port()}"
        target = {"api": "openai-chat", "base_url": f"{server.url}/v1", "model": MODEL}
        target["http"] = "2" if http2 else "1.1"
        if server.secured:
            target["tls"] = {"ca_file": str(server.secured[0])}
        stage = {"name": "load", **load, **({"arrivals": arrivals} if arrivals else {})}
        otlp = {
            "endpoint": self.receiver.url, "protocol": "http", "interval": "1s", "traces": {"sample": sample}, "logs": True,
        }  # fmt: skip
        names = [f"sim-{number}" for number in range(targets)]
        profile = {
            "targets": names, "schedule": {"manual": {}}, "load": [stage], "seed": 7,
            "workload": {"prompts": [prompt], "output_tokens": tokens, "stream": stream},
        }  # fmt: skip
        self.profiles = [f"bench-{number}" for number in range(profiles)]
        config = {
            "agent": {
                "id": "bench", "location": "here", "limits": {"in_flight": 20_000, "in_flight_per_target": 20_000},
                "traffic_priority": "realtime" if realtime else "normal",
            },
            "telemetry": {"otlp": otlp} if observed else {},
            "targets": dict.fromkeys(names, target),
            "profiles": dict.fromkeys(self.profiles, profile),
        }
        path = t.home / f"{name}.yaml"
        path.write_text(json.dumps(config))
        command = [binary, "serve", "--config.file", path, "--web.listen-address", self.url.removeprefix("http://")]
        self.process = t.start(name, pinned(CLIENT, *command), lambda: serves(f"{self.url}/-/ready"))
        self.usage = Usage(self.process)
        self.scraping = threading.Event()
        if observed:
            threading.Thread(target=self._scrape, daemon=True).start()

    def _scrape(self) -> None:
        while not self.scraping.wait(1):
            with contextlib.suppress(OSError):
                fetch(f"{self.url}/metrics")

    def begin(self) -> None:
        for profile in self.profiles:
            answer = fetch(f"{self.url}/api/v1/profiles/{profile}/run", {})
            expect(answer.status in (200, 202), f"the run was refused: {answer.status} {answer.text[:200]}")

    def page(self) -> Page:
        return Page.read(f"{self.url}/metrics")

    def requests(self) -> float:
        return self.page().sum("tokenbeat_requests_total")

    def stop(self) -> None:
        self.scraping.set()
        self.process.stop()
        self.receiver.server.shutdown()


@contextlib.contextmanager
def case(*running):
    try:
        yield
    finally:
        for one in reversed(running):
            one.stop()


@contextlib.contextmanager
def neighbour(t: Session, busy: bool):
    """A process that keeps the client's core busy."""
    process = t.start("neighbour", pinned(CLIENT, "sh", "-c", "while :; do :; done")) if busy else None
    try:
        yield
    finally:
        if process:
            process.stop()


class Wrk:
    """wrk on the client's core: it sends the same request over as many connections, and parses nothing of the answer's
    body but where it ends."""

    def __init__(self, t: Session, server: Simulator, connections: int, tokens: int, stream: bool, seconds: float):
        program = install.debian("wrk", "wrk")
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Name three rivers."}], "max_tokens": tokens}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        script = t.home / "wrk.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = [[{json.dumps(body)}]]\n"
            "wrk.headers['Content-Type'] = 'application/json'\n"
        )
        command = pinned(
            CLIENT, program, "--threads", 1, "--connections", connections, "--duration", f"{round(seconds)}s",
            "--timeout", "60s", "--script", script, f"{server.url}/v1/chat/completions",
        )  # fmt: skip
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.output = ""

    def wait(self) -> tuple[float, float]:
        """CPU seconds, and completed requests."""
        self.output = self.child.stdout.read()
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        found = re.search(r"(\d+) requests in ", self.output)
        if self.child.returncode or not found:
            raise Failure(f"wrk ended with {self.child.returncode}: {self.output[:500]}")
        return usage.ru_utime + usage.ru_stime, float(found[1])


def certificate(t: Session) -> tuple[Path, Path]:
    openssl = install.debian("openssl", "openssl")
    cert, key = t.home / "bench-cert.pem", t.home / "bench-key.pem"
    done = t.command(
        openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert,
    )  # fmt: skip
    expect(done.returncode == 0, f"openssl: {done.stderr[:300]}")
    return cert, key


def quantile(values: list[float], q: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def spread(values: list[float]) -> dict[str, float]:
    """Median, p99 and maximum by absolute value; the sign stays."""
    ordered = sorted(values, key=abs)
    pick = lambda q: ordered[min(len(ordered) - 1, int(q * len(ordered)))]  # noqa: E731
    return {"p50": pick(0.5), "p99": pick(0.99), "max": ordered[-1]} if ordered else {}


def machine() -> dict[str, object]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    return {
        "cores": len(CORES), "processor": model[1] if model else "unknown", "kernel": os.uname().release,
        "virtual": "hypervisor" in info, "load": os.getloadavg()[0],
    }  # fmt: skip


def need() -> None:
    expect(shutil.which("taskset"), "`taskset` (util-linux) is needed")


