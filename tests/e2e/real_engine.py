"""Suite real-engine: a real engine, a real gateway, a real Prometheus, and an outage in the middle.

llama.cpp generates; the LiteLLM gateway is in front of it; `tokenbeat serve` plays the same profiles against both;
Prometheus scrapes all three every 5 s. The engine is killed and started again. Except for the identities, which need
one page read at one instant, everything is asserted as an operator would see it: by PromQL.

Behavior of the servers, observed with these pinned versions:

- llama.cpp counts `llamacpp:tokens_predicted_total` when an answer ends, and reports the same number in `usage`. If it
  is killed, it resets connections on which an answer is pending and closes those in a stream without the final chunk.
  After a start it accepts connections only when the model is loaded, so there is no phase of 503.
- The gateway, if its upstream refuses or resets before the first chunk: 500 with a JSON error object and
  `"code":"500"`, within 40 ms, streamed or not; also for a whole answer whose upstream dies while it generates.
- The gateway, if its upstream dies in a stream, hides this: the stream continues with `finish_reason: "stop"`, an
  invented usage (prompt tokens by another tokenizer) and `[DONE]`. Only a check can detect it: the model never ends by
  itself, so the profile expects `length`.
- The gateway, if its upstream hangs: 408 after its own `request_timeout` of 30 s. No phase here lasts that long.
- Both close an idle connection after 5 s, and llama.cpp each one after 100 requests: a profile that sends every 10 s
  finds a stale connection each time, which is no failure.
"""

import os
import signal
import textwrap
import time
from pathlib import Path

import install
import servers
from harness import Process, Session, equal, expect, wait_for
from web import Page, Prometheus, fetch, finite

SECONDS = max(60, int(os.environ.get("TOKENBEAT_E2E_SECONDS") or 90))
HEALTHY = max(35, SECONDS * 0.4)  # rates are over 30 s
OUTAGE = 10
GRACE = 30

TARGETS = ("engine", "gateway")
STAGES = {"chat": ("steady", "users"), "unary": ("",)}
CHAT = {("chat", target) for target in TARGETS}
PAIRS = {(profile, target) for profile in STAGES for target in TARGETS}
PROFILES = {(profile,) for profile in STAGES}
SERIES = {(profile, target, stage) for profile, target in PAIRS for stage in STAGES[profile]}
OUTCOMES = set(
    "ok dns connect tls proxy connect_timeout first_token_timeout stall_timeout total_timeout credentials auth"
    " rate_limited overloaded redirect http_4xx http_5xx reset truncated stream_error protocol empty extract check"
    " exhausted cancelled internal".split()
)

SENT = 'tokenbeat_requests_total{outcome!~"cancelled|credentials|exhausted|internal"}'
FAILED = 'tokenbeat_requests_total{outcome!~"ok|cancelled|credentials|exhausted|internal"}'


def config(t: Session, engine: str, gateway: servers.Gateway) -> Path:
    key = t.home / "gateway-key"
    key.write_text(gateway.key + "\n")
    path = t.home / "tokenbeat.yaml"
    path.write_text(
        textwrap.dedent(f"""\
            agent:
              id: e2e
              location: here
            targets:
              engine:
                api: openai-chat
                base_url: {engine}/v1
                model: {servers.MODEL}
                auth: none
                price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}
                backend: {{ metrics: "{engine}/metrics", health: "{engine}/v1/models" }}
              gateway:
                api: openai-chat
                base_url: {gateway.url}/v1
                model: {servers.MODEL}
                auth: {{ bearer: {{ file: {key} }} }}
                price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}
                backend: {{ metrics: "{gateway.url}/metrics/" }}
            profiles:
              chat:
                targets: [engine, gateway]
                schedule: {{ continuous: {{}} }}
                load:
                  - {{ name: steady, for: 6s, rate: 2/s, arrivals: poisson }}
                  - {{ name: users, for: 4s, users: 2, think: 500ms..1500ms }}
                workload:
                  prompts: ["Name three rivers.", "Why is the sky blue?", "Count to ten."]
                  system: You are a concise assistant.
                  output_tokens: 48
                  cache: bust
                  stream: true
                expect: {{ finish_reason: [length] }}
                slo:
                  - {{ name: ttft, metric: time_to_first_token, below: 2s, objective: 90% }}
                  - {{ name: availability, metric: availability, objective: 99.5% }}
                budget: {{ period: day, cost: 5, tokens: 5000000 }}
              unary:
                targets: [engine, gateway]
                schedule: {{ every: 10s }}
                workload:
                  prompts: ["Name three rivers."]
                  output_tokens: 24
                  stream: false
                slo:
                  - {{ name: availability, metric: availability, objective: 99.5% }}
            """)
    )
    return path


def run(t: Session, binary: Path) -> None:
    with t.check("the engine and the gateway start and answer", vital=True):
        engine = servers.Engine(t)
        gateway = servers.Gateway(t, engine.url)
        gateway.first_call()
        before = Page.read(f"{engine.url}/metrics").sum("llamacpp:tokens_predicted_total")
    with t.check("the daemon starts, Prometheus scrapes it", vital=True):
        url = f"http://127.0.0.1:{t.port()}"
        pages = {"tokenbeat": f"{url}/metrics", "engine": f"{engine.url}/metrics", "gateway": f"{gateway.url}/metrics/"}
        prom = servers.prometheus(t, pages)
        daemon = servers.daemon(t, binary, config(t, engine.url, gateway), url)
        started = time.monotonic()
        ups = {(job,): 1.0 for job in pages}
        wait_for("all are up", lambda: prom.by("up", "job") == ups, 20)

    at_zero(t, prom)
    time.sleep(max(0.0, started + HEALTHY - time.monotonic()))
    healthy(t, prom)
    accounts(t, f"{url}/metrics", f"{engine.url}/metrics", before)
    servers_accounts(t, url)
    outage(t, prom, engine, url)
    recovered(t, prom, started)
    kept_secret(t, url, daemon, gateway.key)
    drained(t, daemon, engine.process, url)


def servers_accounts(t: Session, url: str) -> None:
    """What engine and gateway say of themselves is in the record of each run, in their own terms."""
    with t.check("the servers' own accounts are in the records of runs"):
        runs = [run for run in fetch(f"{url}/api/v1/runs").json()["runs"] if run["profile"] == "chat" and run["server"]]
        # A reading that took too long on a busy machine is no defect; of each target, one run without any will do.
        found = {run["target"]: run["server"] for run in reversed(runs) if not run["server"]["failed_readings"]}
        titles = {target: account["engine"] for target, account in found.items()}
        equal(titles, {"engine": "llama.cpp", "gateway": "LiteLLM"}, "who speaks")
        engine, gateway = found["engine"], found["gateway"]
        for target, account in found.items():
            equal((account["failed_readings"], account["restarts"]), ({}, 0), f"troubles of {target}")
            expect(account["readings"] >= 2 and account["covered_seconds"] > 5, f"{target} was read too seldom: {account}")
        # llama.cpp has neither a time to first token nor histograms, and says what a token takes.
        equal(engine["time_to_first_token_seconds"], None, "the engine's time to first token")
        expect(0 < engine["decode_seconds_per_token"] < 1, f"time per token: {engine}")
        expect(engine["running"]["max"] >= 0 and engine["waiting"]["max"] >= 0, f"levels: {engine}")
        expect(gateway["time_to_first_token_seconds"]["count"] > 0, f"the gateway's first tokens: {gateway}")


def at_zero(t: Session, prom: Prometheus) -> None:
    with t.check("every series is there at zero on the first scrape"):
        rows = prom.first('tokenbeat_requests_total{job="tokenbeat"}')
        seen: dict[tuple[str, str, str], set[str]] = {}
        for labels, value in rows:
            series = (labels["profile"], labels["target"], labels.get("stage", ""))
            seen.setdefault(series, set()).add(labels["outcome"])
            gateways_own = labels["target"] == "gateway" and labels["outcome"] == "http_5xx"
            expect(value == 0 or labels["outcome"] == "ok" or gateways_own, f"{labels} began at {value}")
        equal(set(seen), SERIES, "profile, target and stage")
        for series, outcomes in seen.items():
            equal(outcomes ^ OUTCOMES, set(), f"outcomes of {series} that are missing, or not on the list")


def healthy(t: Session, prom: Prometheus) -> None:
    with t.check("time to first token, p95, by profile and target"):
        buckets = "sum by (le, profile, target) (rate(tokenbeat_time_to_first_token_seconds_bucket[30s]))"
        found = prom.by(f"histogram_quantile(0.95, {buckets})", "profile", "target")
        finite(found, CHAT, "TTFT p95", above=0)
        t.note("TTFT p95: " + ", ".join(f"{key[1]} {found[key] * 1000:.1f} ms" for key in sorted(CHAT)))
    for name in ("time_per_output_token_seconds", "output_pace_tokens_per_second", "chunk_gap_seconds"):
        with t.check(f"{name}: the mean is above zero"):
            total, count = (
                f"sum by (profile, target) (rate(tokenbeat_{name}_{part}[30s]))" for part in ("sum", "count")
            )
            finite(prom.by(f"{total} / {count}", "profile", "target"), CHAT, name, above=0)
    with t.check("output tokens per second, as the server says, by profile"):
        rate = 'sum by (profile, target) (rate(tokenbeat_tokens_total{type="output", source="usage"}[30s]))'
        finite(prom.by(rate, "profile", "target"), PAIRS, "tokens/s", above=0)
        counted = prom.query('sum(tokenbeat_tokens_total{type="output", source!="usage"}) > 0')
        equal(counted, [], "output tokens that the server did not state")
    with t.check("the client's tokens/s are the engine's"):
        ratio = prom.scalar(
            'sum(rate(tokenbeat_tokens_total{type="output"}[30s])) / sum(rate(llamacpp:tokens_predicted_total[30s]))'
        )
        # The two pages are scraped up to 5 s apart; the exact comparison is made on pages read at one instant.
        expect(0.7 < ratio < 1.4, f"the ratio is {ratio:.3f}")
    with t.check("the burn rate of each SLO is computable, and no budget burns"):
        burning = prom.by(burn_rate("30s"), "profile", "target", "slo")
        wanted = {(*pair, "availability") for pair in PAIRS} | {(*pair, "ttft") for pair in CHAT}
        finite(burning, wanted, "burn rate")
        engine = {key: value for key, value in burning.items() if value and key[1] == "engine"}
        equal(engine, {}, "burning SLOs of the engine")
    # A 500 that the gateway answers of its own accord is a finding about the gateway, and the daemon must show it as such.
    with t.check("no failure before the outage, but for a few 500s of the gateway's own"):
        failed = prom.by(f"sum by (target, outcome) ({FAILED}) > 0", "target", "outcome")
        equal({key: value for key, value in failed.items() if key != ("gateway", "http_5xx")}, {}, "failures")
        sent = prom.scalar('sum(tokenbeat_requests_total{target="gateway"})')
        own = failed.get(("gateway", "http_5xx"), 0)
        expect(own <= max(1, 0.01 * sent), f"{own:.0f} of {sent:.0f} requests failed on the gateway")
        finite(prom.by(error_ratio("30s"), "profile"), PROFILES, "error ratio")
    with t.check("budgets, prices, runs and the gateway's own page"):
        expect(prom.scalar("max(tokenbeat_budget_spent_ratio)") > 0, "no budget is spent")
        finite(prom.by("sum by (profile, target) (tokenbeat_cost_total)", "profile", "target"), PAIRS, "cost", above=0)
        finite(prom.by("sum by (profile) (tokenbeat_runs_total)", "profile"), PROFILES, "runs", above=0)
        finite(
            prom.by("sum by (profile) (rate(tokenbeat_load_active_seconds_total[30s]))", "profile"),
            {("chat",)},
            "load",
            above=0,
        )
        expect(prom.scalar("sum(litellm_proxy_total_requests_metric_total)") > 0, "the gateway counted nothing")


def accounts(t: Session, page: str, engine: str, before: float) -> None:
    with t.check("offered = skipped + in flight + requests, for each profile and target"):
        wait_for("the identity holds on one page", lambda: balanced(Page.read(page)), 10)
    with t.check("Prometheus' own linter has nothing to say about the page"):
        linter = install.debian("promtool", "prometheus")
        done = t.command(linter, "check", "metrics", stdin=fetch(page).text)
        equal((done.returncode, done.stdout + done.stderr), (0, ""), "promtool check metrics")
    with t.check("the client's tokens are the engine's to the token"):

        def difference() -> list[float]:
            """Compares pages that were read while nothing was in flight, and between which no request ended."""
            first, theirs, last = Page.read(page), Page.read(engine), Page.read(page)
            mine = [p.sum("tokenbeat_tokens_total", type="output") for p in (first, last)]
            idle = not any(p.sum("tokenbeat_requests_in_flight") for p in (first, last))
            expect(idle and mine[0] == mine[1], "requests are under way")
            return [mine[0], theirs.sum("llamacpp:tokens_predicted_total") - before]

        mine, theirs = wait_for("a moment without requests", difference, 30, every=0.02)
        t.note(f"{mine:.0f} output tokens by the daemon, {theirs:.0f} by the engine")
        equal(mine, theirs, "output tokens")


def balanced(page: Page) -> bool:
    pair = ("profile", "target")
    offered, skipped, answered, flying = (
        page.by(f"tokenbeat_{name}", *pair)
        for name in ("offered_requests_total", "skipped_requests_total", "requests_total", "requests_in_flight")
    )
    equal(set(offered), PAIRS, "pairs with offered requests")
    for key, wanted in offered.items():
        got = skipped.get(key, 0) + flying[key] + answered[key]
        parts = f"skipped {skipped.get(key, 0):.0f} + in flight {flying[key]:.0f} + requests {answered[key]:.0f}"
        expect(wanted == got, f"{key}: offered {wanted:.0f}, but {parts}")
    return True


def outage(t: Session, prom: Prometheus, engine: servers.Engine, url: str) -> None:
    page = f"{url}/metrics"
    before = outcomes(page)
    with t.check("requests are under way on both targets when the engine dies"):

        def flying() -> set[str]:
            return {
                target
                for (target,), count in Page.read(page).by("tokenbeat_requests_in_flight", "target").items()
                if count
            }

        # Frozen in the middle of something, most likely a stream; more requests come while it stays frozen.
        wait_for("a request is in flight", flying, 20, every=0.01)
        engine.process.signal(signal.SIGSTOP)
        wait_for("both targets have requests in flight", lambda: flying() == set(TARGETS), 10)
    engine.process.kill()
    killed = time.monotonic()
    with t.check("the error ratio rises for each profile"):

        def failing() -> bool:
            finite(prom.by(error_ratio("20s"), "profile"), PROFILES, "error ratio", above=0)
            return True

        wait_for("both profiles fail", failing, 40)
    with t.check("availability burns its budget on each target"):
        burning = prom.by(burn_rate("30s"), "profile", "target", "slo")
        finite(burning, {(*pair, "availability") for pair in CHAT}, "burn rate", above=1)
    time.sleep(max(0.0, killed + OUTAGE - time.monotonic()))
    engine.restart()
    t.note(f"the engine was away for {time.monotonic() - killed:.0f} s")

    with t.check("failures go back to none, and answers come, for each profile"):

        def well() -> bool:
            equal(prom.by(error_ratio("20s"), "profile"), {key: 0.0 for key in PROFILES}, "error ratio")
            return True

        wait_for("the error ratio is zero", well, 60, every=1)
        answered = 'sum by (profile, target) (increase(tokenbeat_requests_total{outcome="ok"}[20s]))'
        finite(prom.by(answered, "profile", "target"), PAIRS, "answers", above=0)

    after = outcomes(page)
    new = {key: after[key] - before.get(key, 0) for key in after if key[1] != "ok" and after[key] > before.get(key, 0)}
    t.note(
        "failures: " + ", ".join(f"{target} {outcome} {count:.0f}" for (target, outcome), count in sorted(new.items()))
    )
    # A server that has just started answers 503 until its model is loaded; the gateway forwards that.
    with t.check("on the engine they are refused connections, cut ones, and 503 while it loads"):
        kinds = {outcome for target, outcome in new if target == "engine"}
        expect("connect" in kinds, f"no refused connection among {kinds}")
        expect(kinds <= {"connect", "reset", "truncated", "overloaded"}, f"others among {kinds}")
    with t.check("on the gateway they are its 500s, the engine's 503, and streams that ended too early"):
        kinds = {outcome for target, outcome in new if target == "gateway"}
        expect("http_5xx" in kinds, f"no 500 among {kinds}")
        # It ends a stream well when the engine dies: before its first token (`empty`), or after some (`check`).
        expect(kinds <= {"http_5xx", "overloaded", "empty", "check"}, f"others among {kinds}")
        codes = prom.by('sum by (target, code) (tokenbeat_http_responses_total{code="500"})', "target", "code")
        expect(codes.get(("gateway", "500"), 0) > 0, f"no 500 among the responses: {codes}")
        expect(not codes.get(("engine", "500")), f"the engine answered 500: {codes}")


def outcomes(page: str) -> dict[tuple[str, ...], float]:
    return Page.read(page).by("tokenbeat_requests_total", "target", "outcome")


def recovered(t: Session, prom: Prometheus, started: float) -> None:
    time.sleep(max(0.0, started + SECONDS - time.monotonic()))
    with t.check("the numbers are back after the outage"):
        buckets = "sum by (le, profile, target) (rate(tokenbeat_time_to_first_token_seconds_bucket[20s]))"
        finite(prom.by(f"histogram_quantile(0.95, {buckets})", "profile", "target"), CHAT, "TTFT p95", above=0)
        equal(prom.query("changes(process_start_time_seconds{job='tokenbeat'}[1h]) > 0"), [], "restarts of the daemon")
    with t.check("no request failed by the daemon's own fault"):
        equal(prom.query('tokenbeat_requests_total{outcome=~"internal|cancelled"} > 0'), [], "internal or cancelled")
        skipped = prom.query("sum by (reason) (tokenbeat_skipped_requests_total) > 0")
        equal(skipped, [], "skipped requests")


def kept_secret(t: Session, url: str, daemon: Process, key: str) -> None:
    with t.check("the gateway's key is on no page and in no log"):
        for path in ("/config", "/metrics", "/", "/api/v1/status", "/api/v1/requests?failed=true", "/api/v1/runs"):
            answer = fetch(f"{url}{path}")
            equal(answer.status, 200, path)
            expect(key not in answer.text, f"{path} shows the key")
        expect(key not in daemon.output(), "the log shows the key")


def drained(t: Session, daemon: Process, engine: Process, url: str) -> None:
    with t.check("while draining the daemon is not ready, and what is in flight may end"):
        engine.signal(signal.SIGSTOP)  # so that the drain lasts as long as this check needs
        try:
            flying = "requests in flight"
            wait_for(
                flying, lambda: Page.read(f"{url}/metrics").sum("tokenbeat_requests_in_flight") > 0, 20, every=0.05
            )
            daemon.signal(signal.SIGTERM)
            wait_for("/-/ready is 503", lambda: fetch(f"{url}/-/ready").status == 503, 5, every=0.02)
            expect(daemon.running, "the daemon ended with requests in flight")
            wait_for("the identity holds on one page", lambda: balanced(Page.read(f"{url}/metrics")), 5)
        finally:
            engine.signal(signal.SIGCONT)
    with t.check("SIGTERM ends the daemon with 0 within its grace"):
        equal(daemon.wait(GRACE), 0, "exit code")
        expect("panicked" not in daemon.output(), "the log has a panic")


def error_ratio(window: str) -> str:
    failed, sent = (f"sum by (profile) (rate({selector}[{window}]))" for selector in (FAILED, SENT))
    return f"{failed} / {sent}"


def burn_rate(window: str) -> str:
    """The burn rate: at 1 the error budget is used up exactly at the end of its period."""
    by = "sum by (profile, target, slo)"
    errors, events = (f"{by} (rate(tokenbeat_slo_{kind}_total[{window}]))" for kind in ("errors", "events"))
    return f"({errors} / {events}) / (1 - max by (profile, target, slo) (tokenbeat_slo_objective_ratio))"
