"""Suite packaging: the image, the unit and the examples of docs/deploy, as far as possible without a container engine.

hadolint checks the Dockerfile, Docker Compose the compose file, systemd its unit, promtool Prometheus's files,
tokenbeat its own config. The daemon runs as the image's user in a root directory with only the image's libraries and without
writable files, and under strace, to verify that the unit's system call filter allows all it needs. No image is built,
and no OpenTelemetry Collector is available: only the structure of its examples is checked.
"""

import json
import os
import re
import shutil
import signal
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import install
from deploy import collector
from harness import Session, equal, expect, wait_for
from web import Page, serves

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEPLOY = ROOT / "docs/deploy"
COMPOSE = DEPLOY / "compose"
UNIT = DEPLOY / "systemd/tokenbeat.service"

NOBODY = 65532  # the user of the image
# The content of the image besides the binary: glibc, libgcc, CA certificates (and libstdc++, which we do not need).
LIBRARIES = re.compile(r"ld-linux-[-\w]+\.so\.\d|lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d")
EXPOSURE = 15  # tenths; systemd calls up to 2.0 "OK", and 9.6 is a unit without any hardening


def run(t: Session, binary: Path) -> None:
    with t.check("the tools are there", vital=True):
        tools = install.venv("deploy", HERE / "deploy/requirements.txt", pip=["--require-hashes"]) / "bin"
        python = install.venv("chart", HERE / "chart/requirements.txt") / "bin/python"
        promtool = install.debian("promtool", "prometheus")
        systemd = install.debian("systemd-analyze", "systemd")
        strace = install.debian("strace", "strace")
        examples = read_yaml(t, python, sorted(DEPLOY.rglob("*.yaml")))
    image(t, binary, tools / "hadolint")
    unit(t, binary, systemd, strace)
    for name in ("prometheus/scrape", "prometheus/otlp", "prometheus/peers", "compose/prometheus"):
        with t.check(f"{name}.yaml: promtool takes it, and each rule in it"):
            prometheus(t, promtool, DEPLOY / f"{name}.yaml", examples[f"{name}.yaml"])
    with t.check("kubernetes/: the queries of the autoscalers parse, and name records that there are"):
        autoscalers(t, promtool, examples)
    for name in ("receive", "scrape"):
        with t.check(f"otel-collector/{name}.yaml: each part is known, defined and used"):
            config = examples[f"otel-collector/{name}.yaml"]
            equal(list(collector.findings(config)), [], "findings")
            for scraper in collector.scrapers(config):
                promtool_takes(t, promtool, f"collector-{name}", scraper)
    compose(t, binary, tools / "docker-compose", examples)
    with t.check("docs/deploy/README.md names each file beside it"):
        text = (DEPLOY / "README.md").read_text()
        files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()} - {"README.md"}
        named = {name for name in files if name in text or f"{Path(name).parent}/" in text}
        equal(files - named, set(), "files that it does not name")
    with t.check("tokenbeat takes each config in docs/deploy/README.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        expect(blocks, "there is none")
        for block in blocks:
            path = t.home / "readme.yaml"
            path.write_text(block)
            done = t.command(binary, "check", "--config.file", path)
            equal(done.returncode, 0, f"exit code for\n{block}{done.stderr}")


def autoscalers(t: Session, promtool: Path, examples: dict[str, dict]) -> None:
    triggers = examples["kubernetes/keda.yaml"]["spec"]["triggers"]
    rules = examples["kubernetes/prometheus-adapter.yaml"]["rules"]["external"]
    metrics = [one["external"] for one in examples["kubernetes/hpa.yaml"]["spec"]["metrics"]]
    equal({one["metric"]["name"] for one in metrics}, {rule["name"]["as"] for rule in rules}, "metrics of the HPA")
    for one in (triggers, metrics):
        expect(len(one) > 1, "an objective as the only trigger")
    queries = [one["metadata"]["query"] for one in triggers]
    queries += [rule["metricsQuery"].replace("<<.LabelMatchers>>", 'a="b"') for rule in rules]
    file = t.home / "autoscalers.json"
    found = [{"record": f"check:number_{number}", "expr": query} for number, query in enumerate(queries)]
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": found}]}))
    done = t.command(promtool, "check", "rules", file)
    equal(done.returncode, 0, f"exit code of promtool\n{done.stdout}{done.stderr}")
    known = "\n".join(path.read_text() for path in (ROOT / "dashboards/prometheus").glob("*.yaml"))
    for record in {name for query in queries for name in re.findall(r"\b(?:tokenbeat|llm_backend):[\w:]+", query)}:
        expect(f"record: {record}\n" in known, f"no rule records {record}")


def read_yaml(t: Session, python: Path, files: list[Path]) -> dict[str, dict]:
    """Files by their names relative to docs/deploy."""
    program = "import json, sys, yaml; print(json.dumps({f: yaml.safe_load(open(f)) for f in sys.argv[1:]}))"
    done = t.command(python, "-c", program, *files)
    equal(done.returncode, 0, f"exit code of the YAML reader\n{done.stderr[-2000:]}")
    return {str(Path(file).relative_to(DEPLOY)): content for file, content in json.loads(done.stdout).items()}


# ---- The image


def image(t: Session, binary: Path, hadolint: Path) -> None:
    text = (ROOT / "Dockerfile").read_text()
    steps = list(instructions(text))
    with t.check("hadolint finds nothing in the Dockerfile"):
        done = t.command(hadolint, "--no-color", ROOT / "Dockerfile")
        equal((done.returncode, done.stdout), (0, ""), "exit code and findings")
    with t.check("bases are pinned, the compiler is the crate's, the user is not root"):
        bases = [words for step, words in steps if step == "FROM"]
        equal(len(bases), 2, "stages")
        for base in bases:
            expect(re.match(r"\S+:[\w.-]+@sha256:[0-9a-f]{64}( AS \w+)?$", base), f"not pinned: {base}")
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
        expect(bases[0].startswith(f"rust:{manifest['rust-version']}."), f"{bases[0]} for {manifest['rust-version']}")
        equal([words for step, words in steps if step == "USER"], [f"{NOBODY}:{NOBODY}"], "user")
    with t.check("the build has what it needs, and nothing else"):
        context(steps)
    with t.check("the daemon runs in what the image has: its user, its libraries, nothing to write to"):
        as_in_the_image(t, binary, steps)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        step, _, words = line.partition(" ")
        yield step.upper(), re.sub(r"\s+", " ", words)


def context(steps: list[tuple[str, str]]) -> None:
    """The build context has exactly the files that are copied, including those that the crate embeds or names."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    equal(rules[0], "*", "first rule of .dockerignore: all that is not named stays out")
    allowed = {rule.removeprefix("!") for rule in rules[1:]}
    copied = {word for step, words in steps if step == "COPY" and "--from" not in words for word in words.split()[:-1]}
    equal(copied, allowed, "what is copied and what may be")
    for name in copied:
        expect((ROOT / name).exists(), f"{name} is not there")

    def inside(path: Path) -> bool:
        return path.is_file() and any(path.is_relative_to(ROOT / name) for name in copied)

    for source in (ROOT / "src").rglob("*.rs"):
        program = source.read_text().split("#[cfg(test)]")[0]  # tests are at the end of a file
        for embedded in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', program):
            if "tests" not in source.parts and source.stem != "tests":
                found = inside((source.parent / embedded).resolve())
                expect(found, f"{source.name} embeds {embedded}, which the builder does not get")
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    for kind, folder in (("bench", "benches"), ("example", "examples"), ("bin", "src/bin")):
        for target in manifest.get(kind, []):
            path = ROOT / target.get("path", f"{folder}/{target['name']}.rs")
            expect(inside(path) or "path" in target, f"Cargo will not find the {kind} {target['name']}")
    script = manifest["package"].get("build")
    expect(script is None or inside(ROOT / script), f"the build script {script} is not copied")


def as_in_the_image(t: Session, binary: Path, steps: list[tuple[str, str]]) -> None:
    entry, command = (json.loads(words) for step, words in steps if step in ("ENTRYPOINT", "CMD"))
    exposed = next(words for step, words in steps if step == "EXPOSE")
    expect(f"--web.listen-address=0.0.0.0:{exposed}" in command, f"port {exposed} and {command}")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", t.command("readelf", "--dynamic", binary).stdout)
    foreign = [name for name in needed if not LIBRARIES.fullmatch(name)]
    equal(foreign, [], "libraries that the image does not have")
    root = t.home / "root"
    linked = re.findall(r"(/\S+) \(0x", t.command("ldd", binary).stdout)
    for source, place in [(path, path) for path in linked] + [(binary, entry[0])]:
        target = root / str(place).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o555)
    settings = root / "etc/tokenbeat"
    settings.mkdir(parents=True)
    (settings / "tokenbeat.yaml").write_text("agent: { id: image }\n")
    if os.geteuid() != 0:
        t.note("not root: the libraries are compared, the daemon is not started in a root of its own")
        return
    t.home.chmod(0o755)  # the user of the image must be able to enter it
    address = f"127.0.0.1:{t.port()}"
    words = [word.replace(f"0.0.0.0:{exposed}", address) for word in command]
    user = f"--userspec={NOBODY}:{NOBODY}"
    ready = f"http://{address}/-/ready"
    process = t.start("image", ["chroot", user, "--groups=", root, *entry, *words], lambda: serves(ready), 30)
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    equal(set(re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)[1].split()), {str(NOBODY)}, "user")
    expect(Page.read(f"http://{address}/metrics").samples, "no metrics")
    before = sorted(root.rglob("*"))
    process.signal(signal.SIGTERM)
    equal(process.wait(30), 0, "exit code after SIGTERM")
    equal(sorted(root.rglob("*")), before, "files")


# ---- The unit


def unit(t: Session, binary: Path, systemd: str, strace: str) -> None:
    text = UNIT.read_text()
    settings = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
    command = dict(settings)["ExecStart"]
    with t.check("systemd takes the unit, with and without credentials and real-time priority"):
        folder = t.home / "units"
        (folder / "tokenbeat.service.d").mkdir(parents=True)
        copy = folder / "tokenbeat.service"
        copy.write_text(text.replace(command.split()[0], str(binary)))
        for _ in range(2):
            done = t.command(systemd, "verify", "--man=no", copy)
            equal((done.returncode, done.stderr), (0, ""), "exit code and complaints of systemd-analyze verify")
            for more in ("credentials.conf", "realtime.conf"):
                shutil.copy(UNIT.with_name(more), folder / "tokenbeat.service.d")
    with t.check("little is exposed, by systemd's own count"):
        (folder / "tokenbeat.service.d/realtime.conf").unlink()
        done = t.command(systemd, "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", copy)
        equal(done.returncode, 0, f"exit code for at most {EXPOSURE / 10}\n{done.stdout[-300:]}")
    with t.check("it waits for the drain, and a wrong config does not start it again"):
        grace = re.search(r"\[default: (\d+)s\]", shutdown_help(t, binary))
        stop = re.fullmatch(r"(\d+)s", dict(settings)["TimeoutStopSec"])
        expect(
            grace and stop and int(stop[1]) > int(grace[1]) + 5,
            f"TimeoutStopSec={dict(settings)['TimeoutStopSec']} for a drain of {grace and grace[1]} s",
        )
        equal(dict(settings)["RestartPreventExitStatus"], "64", "exit code that ends it")
    with t.check("its filters let through what the daemon does"):
        calls, families = traced(t, binary, strace)
        filters = [value for key, value in settings if key == "SystemCallFilter"]
        allowed = allowed_calls(t, systemd, filters)
        equal(calls - allowed, set(), "system calls that the unit forbids")
        expect({"epoll_wait", "connect", "accept4"} <= calls, f"it did not do its work: {sorted(calls)}")
        equal(families - set(dict(settings)["RestrictAddressFamilies"].split()), set(), "families of sockets")


def shutdown_help(t: Session, binary: Path) -> str:
    return t.command(binary, "serve", "--help").stdout.split("--shutdown.grace")[1]


def traced(t: Session, binary: Path, strace: str) -> tuple[set[str], set[str]]:
    """System calls and address families that a daemon uses to play, serve and drain."""
    log, web = t.home / "strace.log", f"127.0.0.1:{t.port()}"
    demo = [binary, "demo", f"--web.listen-address={web}", "--sim.listen-address=127.0.0.1:0"]
    process = t.start("traced", [strace, "--follow-forks", "--output", log, *demo], lambda: serves(f"http://{web}/"))

    def played() -> bool:
        return Page.read(f"http://{web}/metrics").sum("tokenbeat_requests_total", outcome="ok") > 3

    wait_for("some requests are answered", played, 60)
    process.signal(signal.SIGINT)
    process.wait(40)
    text = log.read_text(errors="replace")
    calls = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE)) | set(re.findall(r"<\.\.\. (\w+) resumed>", text))
    return calls, set(re.findall(r"\bsocket\((AF_\w+)", text))


def allowed_calls(t: Session, systemd: str, filters: list[str]) -> set[str]:
    sets = t.command(systemd, "syscall-filter").stdout

    def expand(word: str) -> set[str]:
        if not word.startswith("@"):
            return {word}
        block = re.search(rf"^{word}\n((?:    .*\n)+)", sets, re.MULTILINE)
        expect(block, f"systemd knows no {word}")
        members = [line.strip() for line in block[1].splitlines() if not line.strip().startswith("#")]
        return set().union(*map(expand, members))

    allowed: set[str] = set()
    for each in filters:
        words = set().union(*map(expand, each.lstrip("~").split()))
        allowed = allowed - words if each.startswith("~") else allowed | words
    return allowed


# ---- Prometheus and Compose


def prometheus(t: Session, promtool: str, file: Path, config: dict) -> None:
    """Debian's promtool is older than the section `otlp`; its few keys are compared with what Prometheus 3 knows."""
    known = {"translation_strategy", "promote_resource_attributes", "keep_identifying_resource_attributes"}
    otlp = config.pop("otlp", {})
    equal(set(otlp) - known, set(), "keys of `otlp` that are not known here")
    expect(otlp.get("translation_strategy", "") in ("", "UnderscoreEscapingWithSuffixes"), f"names by {otlp}")
    places = {"/etc/prometheus/rules": ROOT / "helm/tokenbeat/files/rules"}
    found = []
    for pattern in config["rule_files"]:
        folder, name = str(Path(pattern).parent), Path(pattern).name
        found += sorted(places.get(folder, (file.parent / folder).resolve()).glob(name))
    expect(found, f"{config['rule_files']} names no rules")
    config["rule_files"] = list(map(str, found))
    promtool_takes(t, promtool, file.stem, config)


def promtool_takes(t: Session, promtool: str, name: str, config: dict) -> None:
    path = t.home / f"{name}.prometheus.json"
    path.write_text(json.dumps(config))
    done = t.command(promtool, "check", "config", "--lint=all", "--lint-fatal", path)
    equal(done.returncode, 0, f"exit code\n{done.stdout}{done.stderr}")


def compose(t: Session, binary: Path, program: Path, examples: dict[str, dict]) -> None:
    with t.check("Docker Compose takes the file", vital=True):
        done = t.command(program, "--file", COMPOSE / "compose.yaml", "config", "--format", "json")
        equal((done.returncode, done.stderr), (0, ""), "exit code and complaints")
        services = json.loads(done.stdout)["services"]
        equal({"tokenbeat", "simulator", "otel-collector", "prometheus", "tempo", "grafana"}, set(services), "services")
    with t.check("its services are pinned, hardened, and bound to this machine"):
        for name, service in services.items():
            expect(re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name}: {service['image']} is not pinned")
            hardening = service["read_only"], service["cap_drop"], service["security_opt"]
            equal(hardening, (True, ["ALL"], ["no-new-privileges:true"]), f"hardening of {name}")
            equal(
                {port.get("host_ip") for port in service.get("ports", [])} - {"127.0.0.1"},
                set(),
                f"addresses of {name}",
            )
            for mount in service.get("volumes", []):
                expect(Path(mount["source"]).exists(), f"{name} mounts {mount['source']}, which is not there")
                expect(mount.get("read_only"), f"{name} could write to {mount['source']}")
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        equal(services["tokenbeat"]["image"], f"tokenbeat:{version}", "image")
    with t.check("its parts name each other as they are called"):
        named = {match for text in map(json.dumps, examples_of(examples)) for match in hosts(text)}
        equal(named - set(services), set(), "hosts that are no service")
        expect({"prometheus", "simulator", "tempo"} <= named, f"found only {named}")
        sources = {source["uid"]: source for source in examples["compose/grafana/datasources.yaml"]["datasources"]}
        link = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"][0]
        expect(link["datasourceUid"] in sources, f"an exemplar leads to {link}")
        targets = {mount["target"]: Path(mount["source"]) for mount in services["grafana"]["volumes"]}
        home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        expect((targets[str(home.parent)] / home.name).is_file(), f"{home} is not mounted")
        provider = examples["compose/grafana/dashboards.yaml"]["providers"][0]
        equal(provider["options"]["path"], str(home.parent), "folder of the dashboards")
        expect(all(fnmatch(each.name, "*.json") for each in targets[str(home.parent)].iterdir()), "not only dashboards")
    with t.check("tokenbeat takes its config there, and its flags"):
        done = t.command(binary, "check", "--config.file", COMPOSE / "tokenbeat.yaml")
        equal(done.returncode, 0, f"exit code\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        place = next(mount["target"] for mount in services["tokenbeat"]["volumes"])
        expect(place.startswith("/etc/tokenbeat/"), f"mounted at {place}, where the image does not look")
        words = [word.replace("0.0.0.0:8000", f"127.0.0.1:{t.port()}") for word in services["simulator"]["command"]]
        address = next(word for word in words if "listen-address" in word).split("=")[1]
        t.start("simulator", [binary, *words], lambda: serves(f"http://{address}/health"), 30)


def examples_of(examples: dict[str, dict]) -> list[dict]:
    names = [name for name in examples if name.startswith("compose/") and name != "compose/compose.yaml"]
    return [examples[name] for name in [*names, "otel-collector/receive.yaml"]]


def hosts(text: str) -> set[str]:
    """Names of hosts with a port, except loopback and wildcard addresses."""
    found = set(re.findall(r"(?:https?://|[\"\s])([a-z][-a-z]+):\d{4,5}\b", text))
    return found - {"localhost"}
