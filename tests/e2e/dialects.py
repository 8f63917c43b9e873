"""Suite dialects: each dialect between programs that were developed independently.

The vendors' Python clients read the simulator's answers, and `tokenbeat serve` sends requests to llama.cpp, the LiteLLM
gateway and aimock in every dialect that they support. `dialects/proofs.json` lists who supports what; a test checks
docs/dialects.md against it.

Behaviour of the servers, observed with these pinned versions:

- llama.cpp reports a response that reached `max_output_tokens` as `completed`.
- aimock reports no token counts in Ollama's dialect (zeros), for embeddings and for rankings. Its errors have OpenAI's
  format in Ollama's dialect. It truncates a stream by closing the connection before the last chunk. Its reranker has no
  failures.
- LiteLLM conceals a truncated stream of its upstream in most dialects: the answer ends with `stop`, and it counts the
  tokens itself. A truncated response ends with `[DONE]` only. If its upstream streams garbage, the answer has no
  content and ends with `stop`; if a whole response is garbage, it answers 200 with an error object.
- LiteLLM's Gemini path answers 500 in plain text whatever its upstream answered, and its streams report zero tokens.
- LiteLLM answers rankings in Cohere's form on every path.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import install
import servers
from harness import Session, equal, expect, wait_for
from web import Page, fetch

HERE = Path(__file__).resolve().parent / "dialects"
PROOFS = json.loads((HERE / "proofs.json").read_text())
SERVERS = PROOFS["servers"]
# What each client reads, without the texts.
ANSWERS = json.loads((HERE / "answers.json").read_text())

# The first line is the query of a reranker, the others are its documents.
QUESTION = "Which city is the capital of France?\nA whale swims in the sea.\nParis is the capital of France."
TOO_LONG = "one more word " * 1500
ASKED_TOKENS = 12

UNSTREAMED = {"openai-embeddings", "rerank-cohere", "rerank-jina"}
OLLAMA = {"ollama-chat", "ollama-generate"}
# The words of each dialect for a natural end, a limit and a tool.
FINISH = {
    "openai-chat": ("stop", "length", "tool_calls"),
    "openai-completions": ("stop", "length", None),
    "openai-responses": ("completed", "incomplete", "completed"),
    "anthropic": ("end_turn", "max_tokens", "tool_use"),
    "gemini": ("STOP", "MAX_TOKENS", "FUNCTION_CALL"),
    "bedrock": ("end_turn", "max_tokens", "tool_use"),
    "ollama-chat": ("stop", "stop", "stop"),
    "ollama-generate": ("stop", "stop", None),
}
FAULTS = {
    "err-401": ("auth", 401),
    "err-429": ("rate_limited", 429),
    "err-500": ("http_5xx", 500),
    "err-503": ("overloaded", 503),
    "malformed": ("protocol", 200),
    "reset": ("reset", None),
}


@dataclass
class Case:
    """One request to one target, and what of its record has to be."""

    server: str
    target: str
    api: str
    base_url: str
    model: str
    scenario: str
    stream: bool
    wanted: dict[str, Any]
    prompt: str = QUESTION

    @property
    def profile(self) -> str:
        how = "streamed" if self.stream else "whole"
        return f"{self.server}-{self.scenario}-{how}"


def run(t: Session, binary: Path) -> None:
    sim = servers.simulator(t, binary)
    place = install.venv("dialects", HERE / "requirements.txt")
    for client, proof in PROOFS["clients"].items():
        with t.check(f"the simulator gets along with {client}"):
            name = proof["script"]
            equal(answers_of(t, place, name, sim), ANSWERS[name], "what the client reads")

    with t.check("llama.cpp, LiteLLM and aimock start", vital=True):
        engine, embedder, ranker = (servers.Engine(t, *pooling) for pooling in ((), ("mean",), ("rank",)))
        mock = servers.Aimock(t, HERE / "aimock.json")
        gateway = servers.Gateway(t, engine.url, models_of_gateway(engine, embedder, ranker, mock))
        gateway.first_call()
    with t.check("llama.cpp says how many tokens the prompt has", vital=True):
        input_tokens = prompt_tokens(engine.url)
        before = generated(engine.url)
    urls = {"embeddings": embedder.url, "rerank": ranker.url}
    cases = [
        *engine_cases(lambda target: urls.get(target, engine.url), input_tokens),
        *gateway_cases(gateway.url, input_tokens),
        *aimock_cases(mock.url),
    ]
    with t.check("the daemon starts", vital=True):
        url = f"http://127.0.0.1:{t.port()}"
        servers.daemon(t, binary, config(t, cases, gateway.key), url)
    profiles: dict[str, list[Case]] = {}
    for case in cases:
        profiles.setdefault(case.profile, []).append(case)
    for profile, played in profiles.items():
        with t.check(f"{profile}: {len(played)} targets"):
            compare(played, play(url, profile, len(played)))
    accounts(t, url, cases, generated(engine.url) - before)


# ---- the vendors' clients ----


def answers_of(t: Session, place: Path, name: str, sim: str) -> dict[str, dict]:
    """What a client says, without the texts, which only have to be there."""
    done = t.command(place / "bin/python", HERE / "clients.py", name, sim, HF_HUB_DISABLE_TELEMETRY=1, DO_NOT_TRACK=1)
    expect(done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    said = {line.pop("name"): line for line in map(json.loads, done.stdout.splitlines())}
    texts = {what: line.pop("text") for what, line in said.items() if "text" in line}
    expect(texts and all(len(text) > 10 for text in texts.values()) or name == "cohere", f"texts: {texts}")
    if "chat stream" in texts:
        equal(texts["chat stream"], texts["chat"], "the text of a stream, and of the whole answer")
    return said


# ---- what is asked of each server, and what comes back ----


def ways(api: str) -> tuple[bool, ...]:
    return (False,) if api in UNSTREAMED else (True, False)


def answered(api: str, finish: int, counts: tuple | None, stream: bool) -> dict[str, Any]:
    """A good answer with these counts of the server's; the finish reason is the dialect's word."""
    words = {"outcome": "ok", "status": 200, "streamed": stream, "detail": None}
    if api in UNSTREAMED:
        return {**words, "input_tokens": counts[0] if counts else None, "finish_reason": None}
    words["finish_reason"] = FINISH[api][finish]
    if counts is None:
        # Nobody counted: of a stream the events are known.
        return {**words, "output_tokens_source": "chunks" if stream else None}
    return {**words, "input_tokens": counts[0], "output_tokens": counts[1], "output_tokens_source": "usage"}


def failed(outcome: str, status: int | None) -> dict[str, Any]:
    return {"outcome": outcome, "status": status}


def case(server: str, target: str, url: str, model: str, scenario: str, stream: bool, wanted: dict, **more) -> Case:
    spec = SERVERS[server][target]
    base = url + spec["base"].replace("MODEL", model)
    return Case(server, target, spec["api"], base, model, scenario, stream, wanted, **more)


def engine_cases(url_of, input_tokens: int) -> list[Case]:
    server, cases = "llama.cpp", []
    for target, spec in SERVERS[server].items():
        api = spec["api"]
        # The prompt of a completion has no template around it; only its own server knows what it adds to a document.
        counts = (input_tokens if target in ("chat", "responses", "messages") else ..., ASKED_TOKENS)
        for stream in ways(api):
            wanted = answered(api, 0 if api == "openai-responses" else 1, counts, stream)
            cases.append(case(server, target, url_of(target), servers.MODEL, "good", stream, wanted))
            if api not in UNSTREAMED:
                wanted = failed("http_4xx", 400)
                cases.append(
                    case(server, target, url_of(target), servers.MODEL, "too-long", stream, wanted, prompt=TOO_LONG)
                )
    return cases


def models_of_gateway(
    engine: servers.Engine, embedder: servers.Engine, ranker: servers.Engine, mock: servers.Aimock
) -> dict[str, dict]:
    own, nobody = servers.MODEL, "http://127.0.0.1:9/v1"
    models = {
        "text": {"model": f"text-completion-openai/{own}", "api_base": f"{engine.url}/v1"},
        "embed": {"model": f"openai/{own}", "api_base": f"{embedder.url}/v1", "encoding_format": "float"},
        "rank": {"model": f"jina_ai/{own}", "api_base": f"{ranker.url}/v1/rerank"},
        # aimock does not speak completions.
        "mock-429": {"model": "openai/mock", "mock_response": "litellm.RateLimitError"},
        "mock-500": {"model": "openai/mock", "mock_response": "litellm.InternalServerError"},
        "dead": {"model": "openai/dead", "api_base": nobody},
        "dead-rank": {"model": "jina_ai/dead", "api_base": nobody},
    }
    for model in (*FAULTS, "cut", "length"):
        models[model] = {"model": f"openai/{model}", "api_base": f"{mock.url}/v1"}
    return {name: {**params, "api_key": "none"} for name, params in models.items()}


def gateway_cases(url: str, input_tokens: int) -> list[Case]:
    server, cases = "LiteLLM", []
    for target, spec in SERVERS[server].items():
        api = spec["api"]
        own = {"openai-completions": "text", "openai-embeddings": "embed"}.get(api, servers.MODEL)
        ranks = api.startswith("rerank")
        for stream in ways(api):

            def add(scenario: str, model: str, wanted: dict, stream=stream, target=target) -> None:
                cases.append(case(server, target, url, model, scenario, stream, wanted))

            add("good", "rank" if ranks else own, of_gateway(api, stream, input_tokens))
            add("dead-upstream", "dead-rank" if ranks else "dead", failed("http_5xx", 500))
            if ranks:
                continue
            if api == "openai-completions":
                add("err-429", "mock-429", failed("rate_limited", 429))
                add("err-500", "mock-500", failed("http_5xx", 500))
                continue
            for model, (outcome, status) in FAULTS.items():
                if model in ("malformed", "reset") or api == "gemini":
                    outcome, status = "http_5xx", 500
                if model == "malformed" and api == "openai-responses":
                    outcome, status = "stream_error", 200
                if model != "malformed" or not stream:
                    add(model, model, failed(outcome, status))
            if api not in UNSTREAMED and api != "gemini":
                add("length", "length", answered(api, 1, (..., 5), stream))
                if stream:
                    add("malformed", "malformed", failed("truncated" if api == "openai-responses" else "empty", 200))
            if api == "openai-responses" and stream:
                add("cut", "cut", failed("truncated", 200))
    return cases


def of_gateway(api: str, stream: bool, input_tokens: int) -> dict[str, Any]:
    if api == "gemini" and stream:
        return answered(api, 1, None, stream)
    exact = input_tokens if api in ("openai-chat", "openai-responses") else ...
    return answered(api, 0 if api == "openai-responses" else 1, (exact, ASKED_TOKENS), stream)


def aimock_cases(url: str) -> list[Case]:
    server, cases = "aimock", []
    for target, spec in SERVERS[server].items():
        api = spec["api"]
        counts = None if api in OLLAMA or api in UNSTREAMED else (9, 7)
        for stream in ways(api):

            def add(scenario: str, wanted: dict, stream=stream, target=target) -> None:
                cases.append(case(server, target, url, scenario, scenario, stream, wanted))

            add("good", answered(api, 0, counts, stream))
            if api.startswith("rerank"):
                continue
            for model, (outcome, status) in FAULTS.items():
                add(model, failed(outcome, status))
            if api in UNSTREAMED:
                continue
            add("length", answered(api, 1, counts and (9, 5), stream))
            if stream:
                add("cut", failed("reset", 200))
            if api != "ollama-generate":
                add("tool", answered(api, 2, counts and (9, 8), stream))
    return cases


# ---- playing ----


def config(t: Session, cases: list[Case], key: str) -> Path:
    file = t.home / "key"
    file.write_text(key + "\n")
    targets, profiles = {}, {}
    for each in cases:
        name = target_name(each)
        target = {"api": each.api, "base_url": each.base_url, "model": each.model, "auth": auth(each, file)}
        targets[name] = target
        workload = {
            "prompts": [each.prompt], "output_tokens": ASKED_TOKENS, "stream": each.stream, "cache": "reuse",
        }  # fmt: skip
        empty = {"targets": [], "schedule": {"manual": {}}, "load": [{"requests": 1}], "workload": workload}
        profiles.setdefault(each.profile, empty)["targets"].append(name)
    path = t.home / "dialects.yaml"
    path.write_text(json.dumps({"targets": targets, "profiles": profiles}))
    return path


def target_name(case: Case) -> str:
    return f"{case.server}-{case.target}-{case.model}"


def auth(case: Case, file: Path) -> dict:
    """As clients of the dialect send their key."""
    name = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(case.api)
    name = "api-key" if case.target.startswith("azure") else name
    if case.api == "bedrock":
        keys = {"access_key_id": {"file": str(file)}, "secret_access_key": {"file": str(file)}}
        return {"aws": {"region": "eu-west-1", "keys": keys}}
    if name is None:
        return {"bearer": {"file": str(file)}}
    return {"header": {"name": name, "value": {"file": str(file)}}}


def play(url: str, profile: str, count: int) -> dict[str, dict]:
    """Runs a profile, and returns the record of its request to each target."""
    answer = fetch(f"{url}/api/v1/profiles/{profile}/run", {})
    equal(answer.status, 202, f"{profile}: {answer.text[:500]}")

    def all_there() -> dict[str, dict]:
        rows = fetch(f"{url}/api/v1/requests?limit=200").json()["requests"]
        ended = {row["target"]: row for row in rows if row["profile"] == profile}
        expect(len(ended) == count, f"{len(ended)} of {count} requests have ended")
        return ended

    return wait_for(f"{profile} has ended", all_there, 60, every=0.05)


def compare(cases: list[Case], rows: dict[str, dict]) -> None:
    """Every difference at once. `...` is any number."""
    wrong = []
    for case in cases:
        row = rows[target_name(case)]
        got = {key: row[key] for key in case.wanted}
        wanted = {key: row[key] if value is ... and row[key] else value for key, value in case.wanted.items()}
        if got != wanted:
            wrong.append(f"{target_name(case)}: got {got}, wanted {wanted}; {row['detail']}")
        if case.stream and row["outcome"] == "ok" and not row["time_to_first_token_seconds"]:
            wrong.append(f"{target_name(case)}: no time to first token")
    expect(not wrong, "\n".join(wrong))


def prompt_tokens(engine: str) -> int:
    question = {"model": servers.MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": QUESTION}]}
    answer = fetch(f"{engine}/v1/chat/completions", question, timeout=30)
    equal(answer.status, 200, answer.text[:300])
    return answer.json()["usage"]["prompt_tokens"]


def generated(engine: str) -> float:
    return Page.read(f"{engine}/metrics").sum("llamacpp:tokens_predicted_total")


def accounts(t: Session, url: str, cases: list[Case], generated: float) -> None:
    page = Page.read(f"{url}/metrics")
    with t.check("the counters say what the records said"):
        wanted: dict[tuple[str, ...], float] = {}
        for case in cases:
            key = (case.profile, case.wanted["outcome"])
            wanted[key] = wanted.get(key, 0) + 1
        counted = page.by("tokenbeat_requests_total", "profile", "outcome")
        equal({key: count for key, count in counted.items() if count}, wanted, "requests by outcome")
    with t.check("the engine's own count of tokens, asked directly and through the gateway, is the daemon's"):
        direct = {target_name(case) for case in cases if case.model in (servers.MODEL, "text")}
        tokens = page.by("tokenbeat_tokens_total", "target", type="output")
        equal(sum(count for (target,), count in tokens.items() if target in direct), generated, "output tokens")
    with t.check("limits and tools are told by their meaning"):
        reasons = page.by("tokenbeat_finish_reasons_total", "target", "reason")
        for case in cases:
            if case.server == "aimock" and case.scenario in ("length", "tool") and case.api not in OLLAMA:
                if case.api == "openai-responses" and case.scenario == "tool":
                    continue  # it has no word for it
                reason = "length" if case.scenario == "length" else "tool_calls"
                equal(reasons.get((target_name(case), reason)), 2, f"{target_name(case)}: {reason}")
    with t.check("what a 429 says of the limit is exported, and when to come back is told"):
        left = page.by("tokenbeat_rate_limit_remaining", "target", "kind")
        equal(left.get(("aimock-chat-err-429", "requests")), 0, "requests left")
        rows = fetch(f"{url}/api/v1/requests?failed=true&limit=1000").json()["requests"]
        told = [row["detail"] for row in rows if row["target"] == "aimock-chat-err-429"]
        expect(told and all("retry after 1s" in detail for detail in told), f"details: {told}")
