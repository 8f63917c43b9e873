"""Puts what a suite lacks into the cache folder (or, for Debian packages, onto the machine), once.

A folder in the cache is named after the exact commands that fill it and the files that these read, so another
pin is another folder, and two checkouts with different pins do not disturb each other.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness import Failure

POLICY = Path("/usr/sbin/policy-rc.d")


class Missing(Failure):
    """Something that a suite needs is not here and cannot be installed; the message says what to do."""


def cache() -> Path:
    chosen = os.environ.get("TOKENBEAT_CACHE")
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        chosen = Path(base) / "tokenbeat-tests"
    folder = Path(chosen).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(name: str):
    """One installer of a kind at a time, across processes."""
    with open(cache() / f"{name}.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def folder(name: str, recipe, inputs: list[Path]) -> Path:
    """A folder that the commands of `recipe(folder)` have filled, run in it; `inputs` are the files that they read."""
    text = "\n".join(repr([str(word) for word in command]) for command in recipe(Path("@")))
    for path in inputs:
        text += f"\n{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    place = cache() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    stamp = place / ".installed"
    with locked(name):
        if stamp.is_file() and stamp.read_text() == text and _alive(place):
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        print(f"installing {name} into {place}", file=sys.stderr, flush=True)
        for command in recipe(place):
            _run(command, f"{name} could not be installed", place)
        stamp.write_text(text)
    return place


def venv(name: str, requirements: Path, *, then=lambda _: [], inputs=(), pip=()) -> Path:
    """A virtual environment with exactly the pinned packages of `requirements`, and what `then` makes with it.

    `--no-deps`: the file is the whole list, so that nothing floats."""
    _need_venv_module()

    def recipe(place: Path):
        python = place / "bin/python"
        quiet = ["--disable-pip-version-check", "--no-input", "--quiet"]
        yield [sys.executable, "-m", "venv", place]
        yield [python, "-m", "pip", "install", *quiet, "--no-deps", *pip, "--requirement", requirements]
        yield from then(place)

    return folder(name, recipe, [requirements, *inputs])


def npm(name: str, files: list[Path]) -> Path:
    """A folder with these files and the packages of the `package-lock.json` among them, whose scripts are not run."""
    debian("node", "nodejs")
    program = debian("npm", "npm")

    def recipe(place: Path):
        yield ["cp", *files, place]
        # Without `--prefix`: npm would look for the machine's global npmrc (proxy, certificates) below it.
        yield [program, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]

    return folder(name, recipe, files)


def debian(command: str, package: str, *more: str) -> str:
    """The path of `command`; its Debian package is installed where it is missing. No service is started."""
    if not (found := shutil.which(command)):
        with locked("apt"):
            if not shutil.which(command):
                _apt(package, *more)
        if not (found := shutil.which(command)):
            raise Missing(f"`{command}` is still missing after its package {package} was installed")
    return found


def _alive(place: Path) -> bool:
    """A virtual environment dies with the interpreter that made it."""
    python = place / "bin/python"
    if not os.path.lexists(python):
        return True
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0 if python.exists() else False


def _need_venv_module() -> None:
    """Debian splits `ensurepip` off; without it `venv` fails half-way."""
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        with locked("apt"):
            _apt("python3-venv")


def _apt(*packages: str) -> None:
    what = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Missing(f"missing: {what} (no apt-get here; install it by other means and put it on PATH)")
    sudo: list[str] = []
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise Missing(f"missing: {what} (not root, and no sudo; run `apt-get install {what}` as root)")
        sudo = ["sudo", "--non-interactive"]
    print(f"apt-get install {what}", file=sys.stderr, flush=True)
    # A package that brings a service would start it at once, on every interface. Exit code 101 says "not allowed".
    ours = not os.path.lexists(POLICY)
    try:
        if ours:
            subprocess.run(
                [*sudo, "tee", POLICY], input=b"#!/bin/sh\nexit 101\n", stdout=subprocess.DEVNULL, check=True
            )
            subprocess.run([*sudo, "chmod", "755", POLICY], check=True)
        apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
        _run([*apt, "update"], f"missing: {what}")
        _run([*apt, "install", "--yes", "--no-install-recommends", *packages], f"missing: {what}")
    except subprocess.CalledProcessError as error:
        raise Missing(f"missing: {what} (could not forbid the start of services: {error})") from error
    finally:
        if ours:
            subprocess.run([*sudo, "rm", "-f", POLICY], check=False)


def _run(command, subject: str, folder: Path | None = None) -> None:
    command = [str(word) for word in command]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise Missing(f"{subject}: `{' '.join(command)}` exited {done.returncode}\n{tail}")


if __name__ == "__main__":  # install.py NAME REQUIREMENTS: prints the folder of the virtual environment
    try:
        print(venv(sys.argv[1], Path(sys.argv[2]).absolute()))
    except Missing as error:
        sys.exit(str(error))
