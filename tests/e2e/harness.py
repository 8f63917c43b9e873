"""The basis of every end-to-end suite: processes that end with the suite, waiting for conditions, and counted checks.

It uses only Python's standard library, so that a suite runs before anything is installed.
"""

import contextlib
import ctypes
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

TAIL = 10  # lines of each log to show for a failed check
SIGKILL_WITH_PARENT = ctypes.CDLL(None, use_errno=True) if os.uname().sysname == "Linux" else None


class Failure(AssertionError):
    """A failed expectation. Its text must be sufficient for a reader of the CI log."""


class Ended(Failure):
    """A process ended before it was ready, so waiting for it is pointless."""


class Abort(Exception):
    """A vital check failed; further checks would only repeat the failure."""


def expect(condition: object, message: str) -> None:
    if not condition:
        raise Failure(message)


def equal(got: object, wanted: object, what: str) -> None:
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def wait_for(what: str, condition: Callable[[], Any], timeout: float, every: float = 0.25) -> Any:
    """The first truthy value of `condition`. Exceptions that it raises before are ignored."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            last = condition()
            if last:
                return last
        except Ended:
            raise
        except (OSError, Failure, ValueError, KeyError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise Failure(f"not within {timeout:.0f} s: {what}; last seen: {last!r}")
        time.sleep(every)


def may_be_realtime() -> bool:
    """Whether this process has CAP_SYS_NICE."""
    status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else "CapEff: 0"
    return bool(int(re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[1], 16) >> 23 & 1)


class Process:
    """A child with its own process group, its standard output and its log in files."""

    def __init__(self, name: str, command: list, folder: Path, env: dict[str, str], fds: tuple[int, ...] = ()):
        self.name, self.command, self.env, self.fds = name, [str(word) for word in command], env, fds
        self.stdout, self.log = folder / f"{name}.out", folder / f"{name}.log"
        self.folder = folder
        self._seen = 0
        self._spawn()

    def _spawn(self) -> None:
        def die_with_parent():  # even if the harness itself is killed
            if SIGKILL_WITH_PARENT:
                SIGKILL_WITH_PARENT.prctl(1, signal.SIGKILL)

        with open(self.stdout, "ab") as out, open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent, pass_fds=self.fds,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal to the whole group, as a terminal or a container would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def wait(self, timeout: float) -> int:
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} still runs after {timeout:.0f} s") from None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.child.wait()

    def restart(self) -> None:
        """Starts the same command again after its end; output is appended to the same files."""
        expect(not self.running, f"{self.name} still runs")
        self._spawn()

    def stop(self, grace: float = 10) -> int:
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(grace)
        self.kill()
        return self.child.returncode

    def output(self) -> str:
        """All output so far, both standard output and log."""
        return self.stdout.read_text(errors="replace") + self.log.read_text(errors="replace")

    def tail(self, lines: int = TAIL) -> str:
        """The end of the log, unless it was shown before."""
        text = self.output()
        if len(text) == self._seen:
            return ""
        self._seen = len(text)
        state = "running" if self.running else f"ended with {self.child.returncode}"
        return f"-- {self.name} ({state}):\n" + "\n".join(line[:300] for line in text.splitlines()[-lines:])


class Session:
    """One run of a suite: its checks, processes and folders. On exit it stops the processes and removes the folders."""

    def __init__(self, name: str, artifacts: Path):
        self.name, self.artifacts = name, artifacts
        self.passed = 0
        self.failures: list[str] = []
        self.processes: list[Process] = []
        self.home = Path(tempfile.mkdtemp(prefix=f"tokenbeat-{name}-"))
        self._ports: set[int] = set()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        # A second Ctrl-C must not leave some of them running.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        for process in reversed(self.processes):
            process.stop(grace=5)
        shutil.rmtree(self.home, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)

    def play(self, module: str, binary: Path) -> None:
        """Runs the suite; an exception outside a check counts as another failed check."""
        try:
            importlib.import_module(module).run(self, binary)
        except Abort:
            pass
        except Exception as error:
            self.fail("the suite runs to its end", describe(error))
        if not self.passed and not self.failures:
            self.fail("the suite checks something", "it did not")

    @contextlib.contextmanager
    def check(self, title: str, vital: bool = False):
        """One counted check. It fails on any exception; if it is vital, that ends the suite."""
        start = time.monotonic()
        try:
            yield
        except Abort:
            raise
        except Exception as error:
            self.fail(title, describe(error))
            if vital:
                raise Abort from error
        else:
            self.passed += 1
            print(f"ok    {title} ({time.monotonic() - start:.1f} s)", flush=True)

    def fail(self, title: str, why: str) -> None:
        self.failures.append(title)
        print(f"FAIL  {title}\n{indent(why)}", flush=True)
        for process in self.processes:
            if tail := process.tail():
                print(indent(tail), flush=True)

    def note(self, text: str) -> None:
        print(f"      {text}", flush=True)

    def port(self) -> int:
        """A free port of 127.0.0.1, which this session does not return again."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in self._ports:
                self._ports.add(port)
                return port

    def environment(self, **more: object) -> dict[str, str]:
        """A minimal environment: no proxy, none of our variables, and a HOME that is removed with the session."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TZ", "RUST_BACKTRACE") if key in os.environ}
        return {**kept, "HOME": str(self.home), **{key: str(value) for key, value in more.items()}}

    def start(
        self, name: str, command: list, ready: Callable[[], Any] | None = None, timeout: float = 60,
        fds: tuple[int, ...] = (), **env,
    ) -> Process:  # fmt: skip
        """Starts a process and waits until `ready` is true, or until it ends. It inherits `fds`."""
        process = Process(name, command, self.artifacts, self.environment(**env), fds)
        self.processes.append(process)
        if ready:
            self.wait_ready(process, ready, timeout)
        return process

    def wait_ready(self, process: Process, ready: Callable[[], Any], timeout: float = 60) -> Any:
        def condition():
            if not process.running:
                raise Ended(f"{process.name} ended with {process.child.returncode} before it was ready")
            return ready()

        return wait_for(f"{process.name} is ready", condition, timeout, every=0.1)

    def command(self, *words: object, timeout: float = 60, stdin: str = "", **env) -> subprocess.CompletedProcess:
        """Runs a command to its end and returns its output as text."""
        line = [str(word) for word in words]
        try:
            return subprocess.run(
                line, env=self.environment(**env), cwd=self.home, input=stdin,
                capture_output=True, text=True, errors="replace", timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failure(f"`{' '.join(line)}` still runs after {timeout:.0f} s") from None


def describe(error: Exception) -> str:
    """Only the text of a failed expectation; any other exception with its location."""
    if isinstance(error, Failure):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()


def indent(text: str) -> str:
    return re.sub("^", "      ", text, flags=re.MULTILINE)
