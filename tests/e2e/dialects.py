"""Suite dialects: the dialects beside OpenAI's, with clients and a server that were not made for tokenbeat.

Anthropic's, Google's, Ollama's and Cohere's own Python clients read the simulator's answers; and `tokenbeat run` plays
against aimock, which speaks Anthropic's Messages, Gemini's `generateContent` and Ollama's two APIs.

What aimock does, observed with this pinned version: `message_start` says the output tokens of the whole answer; Ollama's
counts are zero, so that chunks are an estimate; Ollama's errors have OpenAI's form; a stream that it cuts ends cleanly
at the level of HTTP.
"""

import json
import textwrap
from pathlib import Path

import install
import servers
from harness import Session, equal, expect
from web import fetch

HERE = Path(__file__).resolve().parent / "dialects"
AIMOCK = "@copilotkit/aimock@1.43.0"

# Each dialect: its target, and its words for a natural end and a limit.
DIALECTS = {
    "anthropic": ("", "end_turn", "max_tokens"),
    "gemini": ("/v1beta", "STOP", "MAX_TOKENS"),
    "ollama-chat": ("", "stop", "stop"),
    "ollama-generate": ("", "stop", "stop"),
}


def run(t: Session, binary: Path) -> None:
    sim = servers.simulator(t, binary)
    with t.check("the vendors' own clients get along with the simulator"):
        clients(t, sim)
    mock = aimock(t)
    for model, outcome in [("m", "ok"), ("err-429", "rate_limited"), ("err-503", "overloaded"), ("cut", "truncated")]:
        for stream in (True, False):
            if model == "cut" and not stream:
                continue
            with t.check(f"aimock, {model}, {'streamed' if stream else 'whole'}: {outcome} in each dialect"):
                play(t, binary, mock, model, outcome, stream)


def clients(t: Session, sim: str) -> None:
    place = install.venv("dialects", HERE / "requirements.txt")
    done = t.command(place / "bin/python", HERE / "clients.py", sim)
    expect(done.returncode == 0, f"{done.stdout}\n{done.stderr}")
    said = {line.pop("name"): line for line in map(json.loads, done.stdout.splitlines())}
    texts = {said[name].pop("text") for name in ("anthropic", "gemini", "ollama")}
    expect(all(len(text) > 10 for text in texts), f"texts: {texts}")
    expect(said["anthropic stream"].pop("input") > 3, "the input tokens of a stream")
    expect(said["anthropic stream"].pop("events") > 20, "the events of a stream")
    equal(
        said,
        {
            "anthropic": {"finish": "max_tokens", "output": 9},
            "anthropic stream": {"finish": "end_turn", "output": 20, "kinds": ["thinking", "text"]},
            "anthropic error": {"status": 529, "kind": "overloaded_error"},
            "gemini": {"finish": "MAX_TOKENS", "output": 9},
            "gemini stream": {"finish": "MAX_TOKENS", "output": 12, "reasoning": 8, "thoughts": 8},
            "gemini error": {"status": 404, "kind": "NOT_FOUND"},
            "ollama": {"finish": "length", "output": 9},
            "ollama stream": {"finish": "length", "output": 20, "thoughts": 16},
            "ollama generate": {"finish": "length", "output": 9, "lines": 10},
            "ollama error": {"status": 404, "kind": "The model `unknown` does not exist."},
            "cohere": {"results": [[1, 1.0]]},
        },
        "what the clients read",
    )


def aimock(t: Session) -> str:
    install.debian("node", "nodejs")
    npm = install.debian("npm", "npm")

    def recipe(place: Path):
        yield [npm, "install", "--prefix", place, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", AIMOCK]

    place = install.folder("aimock", recipe, [])
    port = t.port()
    program = place / "node_modules/@copilotkit/aimock/dist/cli.js"
    command = ["node", program, "-h", "127.0.0.1", "-p", port, "-f", HERE / "aimock.json", "--log-level", "warn"]
    t.start("aimock", command, lambda: servers.listens(port))
    return f"http://127.0.0.1:{port}"


def play(t: Session, binary: Path, mock: str, model: str, outcome: str, stream: bool) -> None:
    targets = {
        name: {"api": name, "base_url": f"{mock}{base}", "model": model} for name, (base, _, _) in DIALECTS.items()
    }
    targets["anthropic"]["headers"] = {"x-api-key": "none"}
    profile = {
        "targets": list(DIALECTS),
        "schedule": {"manual": {}},
        "load": [{"requests": 2}],
        "workload": {"prompts": ["What is the capital of France?"], "output_tokens": 20, "stream": stream},
    }
    path = t.home / "dialects.yaml"
    path.write_text(json.dumps({"targets": targets, "profiles": {"p": profile}}))
    done = t.command(binary, "run", "--config.file", path, "--format", "json")
    expect(done.returncode in (0, 1, 2), f"exit {done.returncode}: {done.stderr}")
    report = json.loads(done.stdout)
    outcomes = {result["target"]: result["outcomes"] for result in report["results"]}
    equal(outcomes, {name: {outcome: 2} for name in DIALECTS}, f"outcomes\n{textwrap.shorten(done.stderr, 2000)}")
