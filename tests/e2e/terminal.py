"""A command in a pseudo-terminal: what it draws, and the keys that it is sent."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from harness import Failure, Session, equal, expect

ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
PATIENCE = 20


class Terminal:
    """A child whose standard streams are a terminal of a given size."""

    def __init__(self, t: Session, command: list, columns: int = 120, rows: int = 30, **env: object) -> None:
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.ours)
        self.child = subprocess.Popen(
            [str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=t.home,
            env=t.environment(TERM="xterm-256color", **env), start_new_session=True,
        )  # fmt: skip
        # Theirs stays open, so that the settings can be read when the child has ended.
        self.theirs = theirs
        self.output = b""

    def text(self) -> str:
        """Everything that was drawn so far, without control sequences."""
        return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", self.output).decode(errors="replace")

    def read(self, until: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() >= deadline:
                raise Failure(f"not in the terminal: {what}; seen: {self.text()[-2000:]!r}")
            if select.select([self.ours], [], [], 0.2)[0]:
                self.output += os.read(self.ours, 65536)

    def shows(self, words: str) -> None:
        self.read(lambda: words in re.sub(r"\s+", " ", self.text()), words)

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def ends(self) -> int:
        self.read(lambda: self.child.poll() is not None, "its end")
        while select.select([self.ours], [], [], 0.2)[0]:
            self.output += os.read(self.ours, 65536)
        return self.child.returncode

    def settings_are_back(self) -> None:
        """A full-screen program has left the screen and the raw mode."""
        expect(ENTER_SCREEN in self.output, "it did not take the screen")
        expect(self.output.rfind(LEAVE_SCREEN) > self.output.rfind(ENTER_SCREEN), "it did not give the screen back")
        equal(termios.tcgetattr(self.ours)[3], self.before[3], "local modes of the terminal")

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.ours)
        os.close(self.theirs)


def top(t: Session, binary: Path, web: str) -> None:
    """`tokenbeat top` against a daemon that has a target `simulator`."""
    for how, end in (("q", lambda it: it.press("q")), ("Ctrl-C", lambda it: it.press("\x03")),
                     ("SIGTERM", lambda it: it.child.terminate())):  # fmt: skip
        with t.check(f"top shows the daemon in a terminal, and gives it back after {how}"):
            terminal = Terminal(t, [binary, "top", web])
            try:
                terminal.shows("simulator")
                terminal.press("\r")
                terminal.shows("last failures")
                end(terminal)
                equal(terminal.ends(), 0, "exit code")
                terminal.settings_are_back()
                expect("panicked" not in terminal.text(), "it panicked")
            finally:
                terminal.close()
    with t.check("top says that nobody answers"):
        terminal = Terminal(t, [binary, "top", f"http://127.0.0.1:{t.port()}"])
        try:
            terminal.shows("no answer")
            terminal.press("q")
            equal(terminal.ends(), 0, "exit code")
        finally:
            terminal.close()
    with t.check("top without a terminal prints one table, or says why not"):
        once = t.command(binary, "top", "--once", web)
        equal(once.returncode, 0, once.stderr)
        expect("simulator" in once.stdout and "\x1b" not in once.stdout, once.stdout)
        refused = t.command(binary, "top", web)
        equal(refused.returncode, 64, refused.stderr)
