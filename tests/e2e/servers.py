"""Real servers: installed where missing, started on a free port of 127.0.0.1, ended with the session."""

import json
import re
import secrets
import shutil
import socket
from pathlib import Path

import install
from harness import Process, Session, expect
from web import Prometheus, fetch, serves

HERE = Path(__file__).resolve().parent
MODEL = "tiny-random-llama"


class Engine:
    """llama.cpp's HTTP server with a tiny random model: four slots, 2,048 tokens of context each. With a pooling
    (`mean`, `rank`) it serves embeddings or rankings instead of text."""

    def __init__(self, t: Session, *pooling: str):
        maker, server = HERE / "engine/tiny_gguf.py", HERE / "engine/serve.py"
        place = install.venv(
            "engine", HERE / "engine/requirements.txt",
            then=lambda at: [[at / "bin/python", maker, at / "tiny.gguf"]], inputs=[maker],
        )  # fmt: skip
        port = t.port()
        self.t, self.url = t, f"http://127.0.0.1:{port}"
        command = [place / "bin/python", server, place / "tiny.gguf", port, *pooling]
        self.process = t.start("-".join(["engine", *pooling]), command, self.ready)

    def ready(self) -> bool:
        return serves(f"{self.url}/health")

    def restart(self) -> None:
        self.process.restart()
        self.t.wait_ready(self.process, self.ready)


class Gateway:
    """The LiteLLM proxy in front of one OpenAI-compatible upstream. It neither retries nor rests a failing upstream,
    and asks it over a new connection each time. `more` are further models: the `litellm_params` of each by its name."""

    def __init__(self, t: Session, upstream: str, more: dict[str, dict] | None = None):
        place = install.venv("gateway", HERE / "gateway/requirements.txt")
        port = t.port()
        self.url, self.key = f"http://127.0.0.1:{port}", f"sk-{secrets.token_hex(12)}"
        config = t.home / "gateway.yaml"
        own = {"model": f"openai/{MODEL}", "api_base": f"{upstream}/v1", "api_key": "none"}
        config.write_text(json.dumps(self.config({MODEL: own, **(more or {})})))
        # The proxy would otherwise fetch a price list and report its use.
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": True, "LITELLM_TELEMETRY": False, "NO_DOCS": True, "DO_NOT_TRACK": 1}
        # llama.cpp promises to keep a connection, and closes it after a stream. A proxy that takes such a connection for
        # its next request, before it sees the end, answers 500: with 8 requests at a time, 1 in 170. A negative time
        # is over before any use.
        quiet["AIOHTTP_KEEPALIVE_TIMEOUT"] = -1
        command = [place / "bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]
        self.process = t.start("gateway", command, lambda: serves(f"{self.url}/health/readiness"), 120, **quiet)

    def config(self, models: dict[str, dict]) -> dict:
        return {
            "model_list": [{"model_name": name, "litellm_params": params} for name, params in models.items()],
            "litellm_settings": {"callbacks": ["prometheus"], "num_retries": 0, "request_timeout": 30},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            "general_settings": {"master_key": self.key},
        }

    def first_call(self) -> None:
        """The first call of each kind builds the client: some 40 to 60 ms more than the next ones, or seconds on a
        busy machine. It is made here, so that nobody measures it."""
        for stream in (False, True):
            question = {
                "model": MODEL,
                "max_tokens": 1,
                "stream": stream,
                "messages": [{"role": "user", "content": "hi"}],
            }
            bearer = {"Authorization": f"Bearer {self.key}"}
            answer = fetch(f"{self.url}/v1/chat/completions", question, bearer, timeout=60)
            expect(answer.status == 200, f"the gateway answered {answer.status}: {answer.text[:300]}")


class Aimock:
    """aimock with the answers of a fixture file. The model's name selects the answer."""

    def __init__(self, t: Session, fixtures: Path):
        names = ("package.json", "package-lock.json", "aimock.mjs")
        place = install.npm("aimock", [HERE / "dialects" / name for name in names])
        port = t.port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = t.start("aimock", ["node", place / "aimock.mjs", port, fixtures], lambda: listens(port))


class Rotel:
    """The rotel collector: gRPC on `grpc`, HTTP on `http`. It prints what it gets as the OpenTelemetry Collector's
    debug exporter does, and takes gzip."""

    def __init__(self, t: Session):
        place = install.venv("otlp", HERE / "otlp/requirements.txt")
        agent = next(place.glob("lib/python*/site-packages/rotel/rotel-agent"))
        grpc, http = t.port(), t.port()
        self.grpc, self.http = f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        command = [
            agent, "start", "--pid-file", t.home / f"rotel-{grpc}.pid", "--exporter", "blackhole",
            "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{http}",
            "--debug-log", "traces", "--debug-log", "metrics", "--debug-log", "logs",
            "--debug-log-verbosity", "detailed",
        ]  # fmt: skip
        self.process = t.start(f"rotel-{grpc}", command, lambda: listens(grpc) and listens(http))

    def text(self) -> str:
        """What it printed, without its colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.process.output())


class Oteltap:
    """oteltap: OTLP over HTTP on one port, every item as a line of JSON. It does not take gzip."""

    def __init__(self, t: Session, port: int | None = None):
        place = install.venv("otlp", HERE / "otlp/requirements.txt")
        port = port or t.port()
        self.url = f"http://127.0.0.1:{port}"
        command = [place / "bin/oteltap", "--port", port]
        self.process = t.start(f"oteltap-{port}", command, lambda: listens(port), PYTHONUNBUFFERED=1)

    def items(self) -> list[dict]:
        """Every item so far, in order; a line that is still being written is left out."""
        lines = self.process.stdout.read_text(errors="replace").split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def simulator(t: Session, binary: Path, *options: object) -> str:
    """`tokenbeat sim`; the URL of its API."""
    url = f"http://127.0.0.1:{t.port()}"
    command = [binary, "sim", "--listen-address", url.removeprefix("http://"), *options]
    t.start("sim", command, lambda: serves(f"{url}/health"))
    return url


def prometheus(
    t: Session, scrape: dict[str, str], interval: str = "5s", name: str = "prometheus", features: str = "",
    **more: object,
) -> Prometheus:  # fmt: skip
    """Prometheus that scrapes these pages by job name; Debian's package where there is no other on PATH. `more` are
    further sections of its config."""
    program = install.debian("prometheus", "prometheus")
    url = f"http://127.0.0.1:{t.port()}"
    config = t.artifacts / f"{name}.yml"
    jobs = []
    for job, page in scrape.items():
        address, _, path = page.removeprefix("http://").partition("/")
        jobs.append({"job_name": job, "metrics_path": f"/{path}", "static_configs": [{"targets": [address]}]})
    every = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    config.write_text(json.dumps({"global": every, "scrape_configs": jobs, **more}, indent=2))
    t.start(
        name,
        [
            program, f"--config.file={config}", f"--web.listen-address={url.removeprefix('http://')}",
            f"--storage.tsdb.path={t.home}/{name}", "--log.level=warn",
            *([f"--enable-feature={features}"] if features else []),
        ],
        lambda: serves(f"{url}/-/ready"),
    )  # fmt: skip
    return Prometheus(url)


def alertmanager(t: Session, webhook: str) -> str:
    """Alertmanager with one receiver, grouping as the runbook says, and no peers; its URL. It notifies as soon as it
    can."""
    program = shutil.which("alertmanager") or install.debian("prometheus-alertmanager", "prometheus-alertmanager")
    url = f"http://127.0.0.1:{t.port()}"
    config = t.artifacts / "alertmanager.yml"
    route = {
        "receiver": "webhook", "group_by": ["profile", "target", "location"],
        "group_wait": "1s", "group_interval": "1s", "repeat_interval": "1h",
    }  # fmt: skip
    receiver = {"name": "webhook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}
    config.write_text(json.dumps({"route": route, "receivers": [receiver]}, indent=2))
    t.start(
        "alertmanager",
        [
            program, f"--config.file={config}", f"--web.listen-address={url.removeprefix('http://')}",
            f"--storage.path={t.home}/alertmanager", "--cluster.listen-address=", "--log.level=warn",
        ],
        lambda: serves(f"{url}/-/ready"),
    )  # fmt: skip
    return url


def daemon(t: Session, binary: Path, config: Path, url: str, name: str = "tokenbeat", **env: object) -> Process:
    """`tokenbeat serve`, as a unit file would start it, on the address of `url`."""
    command = [binary, "serve", "--config.file", config, "--web.listen-address", url.removeprefix("http://")]
    return t.start(name, command, lambda: serves(f"{url}/-/ready"), 30, **env)
