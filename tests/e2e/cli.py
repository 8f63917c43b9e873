"""Suite cli: the commands of a new user, on a machine without keys, servers or a config."""

import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import install
import screen
import terminal
from harness import Session, equal, expect, may_be_realtime, wait_for
from web import Page, fetch

CONFIG = Path(__file__).resolve().parents[2] / "config"
USAGE = 64
SECRET = "sk-never-print-me"

# Every line with a comment has a wrong key or type.
MISSPELT = f"""\
    agent:
      id: probe-1
      loaction: here # unknown; `location` is the nearest
    targets:
      llama:
        api: openai-chatt # not one of the dialects
        base_url: http://127.0.0.1:9/v1
        model: tiny
        auth: {{ bearer: {{ value: [{SECRET}] }} }} # a list where a text belongs
    profiles:
      chat:
        targets: [llama]
        schedule: {{ every: soon }} # not a duration
        workload:
          prompts: [hello]
          output_tokens: many # not a number
    """

# The keys are right, but the values make no sense.
MEANINGLESS = """\
    targets:
      llama: { api: openai-chat, base_url: http://127.0.0.1:9/v1, model: tiny, auth: none }
    profiles:
      chat:
        targets: [llma] # no such target
        schedule: { every: 1m }
        workload: { prompts: [hello], output_tokens: 8 }
      both:
        targets: [llama]
        schedule: { every: 1m, continuous: {} } # one or the other
        workload: { prompts: [hello], output_tokens: 8 }
    """


def run(t: Session, binary: Path) -> None:
    usage(t, binary)
    configs(t, binary)
    documents(t, binary)
    report(t, binary)
    realtime(t, binary)
    demo(t, binary)


def usage(t: Session, binary: Path) -> None:
    with t.check("--version and --help answer on stdout"):
        for flag, wanted in (("--version", r"^tokenbeat \d+\.\d+\.\d+"), ("--help", r"\bserve\b")):
            done = t.command(binary, flag)
            equal(done.returncode, 0, flag)
            expect(re.search(wanted, done.stdout), f"{flag} printed {done.stdout[:200]!r}")
    with t.check("bad usage exits with 64"):
        for words in (["frobnicate"], ["serve", "--no-such-flag"], ["serve", "--config.file", t.home / "absent.yaml"]):
            equal(t.command(binary, *words).returncode, USAGE, f"exit code of {words}")


def configs(t: Session, binary: Path) -> None:
    files = sorted(path for path in CONFIG.rglob("*") if path.suffix in (".yaml", ".yml", ".toml"))
    with t.check("config/ has a default and examples"):
        expect(CONFIG / "tokenbeat.yaml" in files and len(files) > 1, f"found {files}")
    copy = with_certificates(t)
    for path in files:
        with t.check(f"check {path.relative_to(CONFIG.parent)}"):
            done = t.command(binary, "check", "--config.file", copy / path.relative_to(CONFIG))
            equal(done.returncode, 0, f"exit code\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
            expect(done.stdout.strip(), "it says nothing about what the config will do")
    with t.check("a bad config: every error at once, with its line, and no secret"):
        path, printed = bad_config(t, binary, "misspelt", MISSPELT)
        wrong = {number for number, line in enumerate(path.read_text().splitlines(), 1) if "#" in line}
        named = {int(number) for number in re.findall(rf"{path.name}:(\d+)", printed)}
        equal(wrong - named, set(), f"lines that are wrong and not named in\n{printed}")
        expect("loaction" in printed and re.search(r"\blocation\b", printed), f"no nearest key in\n{printed}")
        expect("profiles.chat.workload.output_tokens" in printed, f"no key path in\n{printed}")
        expect(SECRET not in printed, f"the secret is printed:\n{printed}")
    with t.check("a config without meaning: every error at once, with its key path"):
        _, printed = bad_config(t, binary, "meaningless", MEANINGLESS)
        for key in ("profiles.chat.targets", "profiles.both.schedule"):
            expect(key in printed, f"no {key} in\n{printed}")
    with t.check("serve refuses a bad config"):
        path = t.home / "misspelt.yaml"
        done = t.command(binary, "serve", "--config.file", path, "--web.listen-address", f"127.0.0.1:{t.port()}")
        equal(done.returncode, USAGE, f"exit code\n{done.stderr[-1000:]}")


def with_certificates(t: Session) -> Path:
    """A copy of config/ with the certificates that one of its examples refers to."""
    copy = t.home / "config"
    shutil.copytree(CONFIG, copy)
    tls = copy / "examples" / "tls"
    tls.mkdir()
    openssl = install.debian("openssl", "openssl")
    made = t.command(
        openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=test", "-keyout", tls / "client.key", "-out", tls / "client.pem",
    )  # fmt: skip
    equal(made.returncode, 0, made.stderr)
    shutil.copy(tls / "client.pem", tls / "ca.pem")
    return copy


def bad_config(t: Session, binary: Path, name: str, text: str) -> tuple[Path, str]:
    path = t.home / f"{name}.yaml"
    path.write_text(textwrap.dedent(text))
    done = t.command(binary, "check", "--config.file", path)
    printed = done.stdout + done.stderr
    equal(done.returncode, USAGE, f"exit code\n{printed}")
    expect("panicked" not in printed, printed)
    return path, printed


def documents(t: Session, binary: Path) -> None:
    with t.check("completions are a script that bash reads"):
        done = t.command(binary, "completions", "bash")
        equal(done.returncode, 0, "exit code")
        expect("tokenbeat" in done.stdout, f"printed {done.stdout[:200]!r}")
        read = subprocess.run(["bash", "-n"], input=done.stdout, capture_output=True, text=True)
        equal((read.returncode, read.stderr), (0, ""), "bash -n")
        for shell in ("zsh", "fish"):
            expect("tokenbeat" in t.command(binary, "completions", shell).stdout, f"none for {shell}")
    with t.check("schema is a JSON Schema of the config"):
        schema = json.loads(t.command(binary, "schema").stdout)
        expect("$schema" in schema, f"keys {list(schema)}")
        missing = {"agent", "server", "telemetry", "targets", "profiles"} - set(schema["properties"])
        equal(missing, set(), "sections without a schema")
    with t.check("metrics is the catalogue, as Markdown"):
        catalogue = t.command(binary, "metrics").stdout
        expect("|" in catalogue, "no table")
        for name in ("tokenbeat_time_to_first_token_seconds", "tokenbeat_requests_total", "tokenbeat_slo_errors_total"):
            expect(name in catalogue, f"{name} is not in it")


PLAYED = """\
    targets: {{ llama: {{ api: openai-chat, base_url: "http://{sim}/v1", model: sim-8b }} }}
    profiles:
      chat:
        targets: [llama]
        schedule: {{ manual: {{}} }}
        load: [{{ name: few, for: 2s, users: 1 }}, {{ name: many, for: 2s, users: 8 }}]
        workload: {{ prompts: ["hello </script>"], output_tokens: 8 }}
    """


def report(t: Session, binary: Path) -> None:
    path, config, sim = t.home / "report.html", t.home / "played.yaml", f"127.0.0.1:{t.port()}"
    with t.check("run --report: an HTML file", vital=True):
        process = t.start("sim-of-report", [binary, "sim", "--listen-address", sim])
        t.wait_ready(process, lambda: fetch(f"http://{sim}/health"), 15)
        config.write_text(textwrap.dedent(PLAYED).format(sim=sim))
        done = t.command(binary, "run", "chat", "--config.file", config, "--report", path)
        process.stop()
        equal(done.returncode, 0, f"exit code\n{done.stderr[-1000:]}")
    with t.check("a browser draws its plots in light and dark, without an error"):
        browser = screen.Browser(t, "browser-report")
        try:
            for scheme in ("light", "dark"):
                wanted = [{"name": "prefers-color-scheme", "value": scheme}]
                browser.call("Emulation.setEmulatedMedia", features=wanted)
                picture = t.artifacts / f"report-{scheme}.png"
                browser.look(path.as_uri(), picture, 2)
                screen.not_blank(picture)
                drawn = browser.call("Runtime.evaluate", expression="document.querySelectorAll('.uplot canvas').length")
                equal(drawn["result"]["value"], 6, f"plots in {scheme}")
        finally:
            browser.process.stop()
        equal(browser.complaints(), [], "errors on the page")


def realtime(t: Session, binary: Path) -> None:
    config = t.home / "realtime.yaml"
    config.write_text(
        "agent: { traffic_priority: realtime }\nserver: { listen: 127.0.0.1:0 }\n"
        "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:9/v1', model: m } }\n"
        "profiles: { p: { targets: [t], schedule: { manual: {} }, workload: { prompts: [x], output_tokens: 4 } } }\n"
    )
    serve = [binary, "serve", "--config.file", config]

    def having(*capabilities: str) -> list[str]:
        """root has all of them, unless they are taken."""
        bounding = ",".join(["-all", *[f"+{name}" for name in capabilities]])
        return ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all"] if os.geteuid() == 0 else []

    with t.check("real-time priority that the system refuses is an error that says what would allow it"):
        done = t.command("prlimit", "--rtprio=0:0", *having(), *serve)
        expect(done.returncode == 1 and "RLIMIT_RTPRIO" in done.stderr, f"{done.returncode}: {done.stderr[-500:]}")
    if may_be_realtime():
        with t.check("with the capability that it names, only the threads that carry traffic have it"):
            process = t.start("realtime", [*having("sys_nice"), *serve])
            t.wait_ready(process, lambda: "listening" in process.output())
            wanted = {"traffic": (os.SCHED_RR, 1), "dispatch": (os.SCHED_RR, 2)}

            def as_wanted() -> bool:
                threads = scheduled(process.child.pid)
                expect({*wanted, "rest"} <= {name for name, *_ in threads}, f"threads: {threads}")
                wrong = [each for each in threads if each[1:] != wanted.get(each[0], (os.SCHED_OTHER, 0))]
                equal(wrong, [], "threads with another priority than they should have")
                return True

            wait_for("each thread has its priority", as_wanted, 10)
            process.signal(signal.SIGTERM)
            equal(process.wait(30), 0, "exit code")


def scheduled(pid: int) -> list[tuple[str, int, int]]:
    """The threads of a process: name, policy (without the flag for children) and real-time priority."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        policy = os.sched_getscheduler(int(thread.name)) & ~os.SCHED_RESET_ON_FORK
        priority = os.sched_getparam(int(thread.name)).sched_priority
        found.append(((thread / "comm").read_text().strip(), policy, priority))
    return found


def demo(t: Session, binary: Path) -> None:
    with t.check("demo starts and says where to look", vital=True):
        anywhere = "127.0.0.1:0"
        process = t.start("demo", [binary, "demo", "--web.listen-address", anywhere, "--sim.listen-address", anywhere])
        places = t.wait_ready(process, lambda: addresses(process.output()), 15)
        web, sim = places["tokenbeat_"], places["vllm:"]
    with t.check("within 60 s it measures: tokens, their times, and failures"):
        wanted = (
            "time_to_first_token_seconds_count",
            "chunk_gap_seconds_count",
            "tokens_total",
            "request_duration_seconds_count",
        )

        def measured() -> bool:
            page = Page.read(f"{web}/metrics")
            for name in wanted:
                expect(page.sum(f"tokenbeat_{name}") > 0, f"tokenbeat_{name} is zero")
            counts = page.by("tokenbeat_requests_total", "outcome")
            expect(counts[("ok",)] > 0, "no request succeeded")
            expect(sum(counts.values()) > counts[("ok",)], "no request failed")
            return True

        wait_for("all are above zero", measured, 60)
    with t.check("no failure is the daemon's own"):
        expect(
            not Page.read(f"{web}/metrics").sum("tokenbeat_requests_total", outcome="internal"), "some are `internal`"
        )
    with t.check("the simulator exports vLLM's metrics"):
        page = Page.read(f"{sim}/metrics")
        for name in (
            "vllm:generation_tokens_total",
            "vllm:prompt_tokens_total",
            "vllm:time_to_first_token_seconds_count",
        ):
            expect(page.sum(name) > 0, f"{name} is zero")
    with t.check("the catalogue has each exposed metric"):
        catalogue = t.command(binary, "metrics").stdout
        exposed = {name for name in Page.read(f"{web}/metrics").families() if name.startswith("tokenbeat_")}
        equal({name for name in exposed if name not in catalogue}, set(), "metrics that the catalogue lacks")
    with t.check("its endpoints answer"):
        for path in ("/-/healthy", "/-/ready", "/config"):
            equal(fetch(f"{web}{path}").status, 200, path)
        for path in ("/api/v1/status", "/api/v1/runs", "/api/v1/requests?failed=true"):
            answer = fetch(f"{web}{path}")
            equal(answer.status, 200, path)
            expect(answer.json(), f"{path} is empty")
        equal(fetch(f"{web}/api/v1/nowhere").status, 404, "an unknown path")
    with t.check("the status page stands on its own"):
        page = fetch(f"{web}/")
        equal((page.status, page.headers.get_content_type()), (200, "text/html"), "/")
        fetched = re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//[^"']+""", re.sub(r"<a\b[^>]*>", "", page.text))
        equal(fetched, [], "what it would fetch from elsewhere")
    with t.check("the status page explains itself, draws charts and says what is done on purpose"):
        for wanted in ("this agent sent itself", "<svg", "Right now:", "What to try next"):
            expect(wanted in page.text, f"{wanted} is not on the page")
    with t.check("the status has the last ten minutes of each pair"):
        for pair in fetch(f"{web}/api/v1/status").json()["pairs"]:
            slots = pair["history"]["slots"]
            expect(sum(slot["ok"] for slot in slots) > 0, f"nothing was ok in {slots}")
    with t.check("a browser shows the status page without an error"):
        screen.shows(t, f"{web}/", "status")
    terminal.top(t, binary, web)
    with t.check("Ctrl-C ends it with 0"):
        process.signal(signal.SIGINT)
        equal(process.wait(30), 0, "exit code")
        expect("panicked" not in process.output(), "the log has a panic")


def addresses(printed: str) -> dict[str, str] | None:
    """The two printed addresses, identified by the metrics that they serve, once both are there."""
    found = {}
    for place in set(re.findall(r"http://127\.0\.0\.1:[1-9]\d*", printed)):
        page = fetch(f"{place}/metrics", timeout=2).text
        found |= {prefix: place for prefix in ("tokenbeat_", "vllm:") if re.search(f"^{prefix}", page, re.MULTILINE)}
    return found if len(found) == 2 else None
