"""Serves pages with the metrics of backends that the machine does not have, for Prometheus to scrape.

usage: fixtures.py PORT [--tokenbeat]
  /ENGINE has the metrics of that engine (`engines.py`), /vllm/connector those of vLLM's KV connectors alone; with --tokenbeat, /tokenbeat/LOCATION has all of tokenbeat's
  (`names.py`), to view dashboards without a daemon. Counters grow with time; the values are not measured.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engines import ENGINES, Engine
from names import FAMILIES, OUTCOMES

MODEL = "llama"
START = time.time()
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def labels(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}" if pairs else ""


def samples(name: str, kind: str, pairs: dict[str, str], weight: float = 1):
    """At most two events per second; durations spread over the bounds, and with a mean of their own for each weight."""
    total = 2 * (time.time() - START) * weight
    if kind == "counter":
        yield f"{name}{labels(pairs)} {total}"
    elif kind == "gauge":
        yield f"{name}{labels(pairs)} {0.5 * weight}"
    else:
        for index, bound in enumerate(BOUNDS):
            yield f"{name}_bucket{labels({**pairs, 'le': str(bound)})} {int(total * (index + 1) / (len(BOUNDS) + 1))}"
        yield f"{name}_bucket{labels({**pairs, 'le': '+Inf'})} {int(total)}"
        yield f"{name}_sum{labels(pairs)} {total * 0.15 * (1 + weight)}"
        yield f"{name}_count{labels(pairs)} {int(total)}"


def page(families) -> str:
    """Families: (name, kind, list of label sets)."""
    out = []
    for name, kind, sets in families:
        out.append(f"# TYPE {name} {kind}")
        for index, pairs in enumerate(sets):
            out += samples(name, kind, pairs, 1 / (index + 1))
    return "\n".join(out) + "\n"


# Families of vLLM that a server without a KV connector, and so the simulator, does not have.
CONNECTOR = ("vllm:nixl_", "vllm:kv_offload_", "vllm:external_", "vllm:num_requests_waiting_by_reason")


def engine_page(engine: Engine, prefixes: tuple[str, ...] = ("",)) -> str:
    sets: dict[str, tuple[str, list]] = {}
    for term in engine.terms():
        name = term.name.split("(")[0]
        if not name.startswith(prefixes):
            continue
        model = {engine.model: MODEL} if engine.model and name not in engine.modelless else {}
        pairs = {**model, **{key.rstrip("=~!"): value or "other" for key, value in term.match.items()}}
        known = sets.setdefault(name, (term.kind, []))[1]
        if pairs not in known:
            known.append(pairs)
    return page((name, kind, found) for name, (kind, found) in sets.items())


VALUES = {
    "profile": ["chat", "rag", "cache", "ladder-short", "ladder-long"], "target": ["engine"], "model": [MODEL], "stage": [""], "outcome": OUTCOMES,
    "step": ["", "login", "talk", "cold", "warm"], "turn": ["", "1", "2", "3-4"],
    "code": ["200", "429"], "reason": ["budget", "in_flight", "overrun", "overlap"], "type": ["input", "output"], "source": ["usage"],
    "currency": ["usd"], "phase": ["dns", "connect", "tls"], "result": ["ok", "failed", "cancelled", "unreachable"], "revision": ["1a2b"],
    "end": ["found", "at_least", "prober_limited"],
    "quantity": ["time_to_first_token", "failures", "all"], "bound": ["low", "mid", "high"], "verdict": ["worse", "same", "better", "unknown"],
    "schedule": ["every"], "api": ["openai-chat"], "provider": ["vllm"], "server": ["uvicorn"], "slo": ["all", "ttft", "availability"],
    "state": ["ok", "slow", "failing", "hung", "unknown"], "to": ["ok", "hung"], "check": ["text"], "kind": ["requests", "tokens"], "scope": ["agent", "profile/chat"], "unit": ["cost", "tokens"],
    "part": ["input", "output", "cached_input", "reasoning"], "reported": ["yes", "no"],
    "signal": ["traces"], "version": ["0.1.0"], "rustc": ["1.95.0"], "built": ["2026-11-28"], "shard": ["0"], "shards": ["1"],
}  # fmt: skip


# A workload, a scenario with a set-up and a step with turns, cache pairs, and the rungs of a ladder of prompts.
TURNS = {
    "chat": {"": [""]}, "rag": {"login": [""], "talk": ["1", "2", "3-4"]}, "cache": {"cold": [""], "warm": [""]},
    "ladder-short": {"": [""]}, "ladder-long": {"": [""]},
}  # fmt: skip


def combinations(keys: tuple[str, ...]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for key in keys:
        found = [{**pairs, key: value} for pairs in found for value in VALUES[key]]
    return [pairs for pairs in found if "step" not in pairs or pairs["turn"] in TURNS[pairs["profile"]].get(pairs["step"], [])]


def our_page(location: str) -> str:
    families = []
    for family in FAMILIES.values():
        sets = [{"location": location, **pairs} for pairs in combinations(family.labels)]
        if family.name.startswith("tokenbeat_journey"):
            sets = [pairs for pairs in sets if pairs["profile"] == "rag"]
        families.append((family.name, family.kind, sets))
    return page(families)


class Pages(BaseHTTPRequestHandler):
    ours = False

    def do_GET(self):
        name, _, location = self.path.strip("/").partition("/")
        engine = next((each for each in ENGINES if each.key == name), None)
        only = CONNECTOR if location == "connector" else ("",)
        body = engine_page(engine, only) if engine else our_page(location) if name == "tokenbeat" and self.ours else None
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((body or "no such page\n").encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Pages.ours = "--tokenbeat" in sys.argv
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
