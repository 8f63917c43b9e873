"""Suite lineup: dashboards and rules, checked alone and then with a real daemon and a real Prometheus.

`tokenbeat demo` plays against its simulator, which reports `vllm:*` as vLLM does; the other backends are pages with
the real names (`dashboards/generator/fixtures.py`). Prometheus scrapes them all with the rules loaded, at a shorter
interval. Then every query of every panel is sent. The demo plays no scenario; a second daemon with its own location
does, against the application paths of a second simulator. Metrics that neither can have (for example of a certificate)
come from a page with all of tokenbeat's metrics, which also has its own location, so that it cannot replace data of a
daemon.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import install
import servers
from harness import Session, equal, expect, wait_for
from web import Prometheus, fetch, serves

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dashboards/generator"))
import engines  # noqa: E402
import live  # noqa: E402

PAGES = "pages"  # the location of the page with all metrics
JOURNEYS = "journeys"  # the location of the daemon that plays scenarios

# Metrics without data in the demo, with the reason.
ABSENT = {
    "tokenbeat_tls_certificate_expiry_timestamp_seconds": "the simulator speaks plain HTTP",
    "tokenbeat_rate_limit_remaining": "the simulator states no limits",
    "tokenbeat_telemetry_export_failures_total": "nothing is exported over OTLP",
    "tokenbeat_telemetry_dropped_total": "nothing is exported over OTLP",
    "tokenbeat_slo_threshold_tokens_per_second": "no objective on pace",
    "tokenbeat_token_count_ratio": "no tokenizer beside the server's own count",
    'scope=~"profile/.+"': "no budget of a profile",
    "tokenbeat_comparison_": "no profile of the demo compares two targets",
    "tokenbeat_capacity_": "no profile of the demo searches for its capacity",
    "tokenbeat_model_change_": "no profile of the demo is a fingerprint",
    "tokenbeat_slo_threshold_per_input_token_seconds": "no objective that grows with the prompt",
    "tokenbeat:prefill_seconds_per_thousand_tokens": "no ladder of prompts",
    "tokenbeat_discover": "no target of the demo is discovered",
    "tokenbeat_replica_outlier": "no target of the demo is discovered",
    "tokenbeat_retries_total": "no profile asks for `retry`",
    'step="warm"': "no profile sends cache pairs",
    "tokenbeat_failed_request_duration_seconds": "no fault may have been injected yet",
}
# Metrics that the daemon at `JOURNEYS` must have.
OF_SCENARIOS = ("tokenbeat_journey", 'step!=""', 'turn!=""')
# A week is too long for a test.
LAST_WEEK = "offset 1w"


def run(t: Session, binary: Path) -> None:
    by_themselves(t, binary)
    with t.check("the demo, the backends' pages and Prometheus start", vital=True):
        demo, simulator, pages = (f"http://127.0.0.1:{t.port()}" for _ in range(3))
        address = {"--web.listen-address": demo, "--sim.listen-address": simulator}
        words = [word for flag, url in address.items() for word in (flag, url.removeprefix("http://"))]
        t.start("demo", [binary, "demo", *words], lambda: serves(f"{demo}/-/ready"), 60)
        server = ROOT / "dashboards/generator/fixtures.py"
        port = pages.rpartition(":")[2]
        t.start("pages", [sys.executable, "-B", server, port, "--tokenbeat"], lambda: serves(f"{pages}/tgi"))
        scrape = {engine.key: f"{pages}/{engine.key}" for engine in engines.ENGINES}
        scrape |= {"vllm": f"{simulator}/metrics", "connector": f"{pages}/vllm/connector", "tokenbeat": f"{demo}/metrics", PAGES: f"{pages}/tokenbeat/{PAGES}"}
        scrape[JOURNEYS] = f"{journeys(t, binary)}/metrics"
        prom = prometheus(t, scrape)
        wait_for("all are up", lambda: not prom.query("up == 0") and len(prom.query("up")) == len(scrape), 30)
    location = prom.query('tokenbeat_build_info{job="tokenbeat"}')[0][0].get("location", "")

    panels(t, prom, location)
    backends(t, prom)
    alerts(t, prom, location)


def journeys(t: Session, binary: Path) -> str:
    """A daemon whose users log in, chat in a session and ask about documents; others always fail a check."""
    app, url = servers.simulator(t, binary), f"http://127.0.0.1:{t.port()}"
    config = t.home / "journeys.yaml"
    config.write_text(
        textwrap.dedent(f"""\
            agent: {{ id: journeys, location: {JOURNEYS} }}
            targets:
              app: {{ api: http, base_url: {app}, price: {{ input: 1, output: 2 }} }}
            profiles:
              assistant: &profile
                targets: [app]
                schedule: {{ continuous: {{}} }}
                load: [{{ name: steady, for: 10s, users: 2, think: 200ms }}]
                scenario:
                  vars: &vars {{ questions: ["Where do rivers begin?", "What is a delta?"] }}
                  setup: &setup
                    - name: login
                      post: /api/auth/login
                      json: {{ email: "user{{{{ user }}}}@example.com", password: demo }}
                      take: {{ token: $.access_token }}
                  steps:
                    - name: open
                      post: /api/chat/sessions
                      headers: &token {{ Authorization: "Bearer {{{{ token }}}}" }}
                      expect: {{ status: 201 }}
                      take: {{ session: $.id }}
                    - name: talk
                      post: "/api/chat/sessions/{{{{ session }}}}/messages"
                      repeat: 3
                      turns: true
                      headers: *token
                      json: {{ content: "{{{{ pick(questions) }}}}", include_history: true, stream: true, max_tokens: 8 }}
                      read:
                        as: sse
                        text: $.text
                        finish: $.finish_reason
                        done: {{ event: done }}
                        input_tokens: &input $.usage.prompt_tokens
                        output_tokens: &output $.usage.completion_tokens
                        cached_input_tokens: $.usage.prompt_tokens_details.cached_tokens
                      expect: {{ text: {{ min_chars: 1 }} }}
              strict:
                <<: *profile
                scenario:
                  vars: *vars
                  setup: *setup
                  steps:
                    - name: query
                      post: /api/rag/query
                      headers: *token
                      json: {{ query: "{{{{ pick(questions) }}}}", return_citations: true }}
                      read: {{ as: json, text: $.answer, input_tokens: *input, output_tokens: *output }}
                      expect: {{ json: [{{ name: cited, path: $.citations, min_items: 1000 }}] }}
            """)
    )
    servers.daemon(t, binary, config, url, JOURNEYS)
    return url


def by_themselves(t: Session, binary: Path) -> None:
    """`dashboards/check` with the catalogue of this binary; each of its lines counts as a check."""
    catalogue = t.home / "metrics.md"
    with t.check("the binary prints its catalogue", vital=True):
        done = t.command(binary, "metrics")
        equal(done.returncode, 0, f"exit code ({done.stderr.strip()})")
        catalogue.write_text(done.stdout)
    where = {"TOKENBEAT_CACHE": install.cache(), "TOKENBEAT_CATALOGUE": catalogue}
    install.debian("promtool", "prometheus")
    # The installation uses the caller's settings (proxies, certificates), which the check itself does not get.
    tool = [ROOT / "dashboards/check", "--python"]
    subprocess.run(tool, env={**os.environ, "TOKENBEAT_CACHE": str(install.cache())}, check=True, stdout=subprocess.DEVNULL)
    done = t.command(ROOT / "dashboards/check", timeout=1200, **where)
    lines = done.stdout.splitlines()
    titles = [index for index, line in enumerate(lines) if re.match(r"(ok|FAIL) ", line)]
    expect(titles, f"dashboards/check printed no result: {done.stdout}{done.stderr}")
    for index in titles:
        with t.check(lines[index][6:]):
            rest = [line.strip() for line in lines[index + 1 :]]
            why = rest[: next((i for i, _ in enumerate(rest) if index + 1 + i in titles), len(rest) - 1)]
            expect(lines[index].startswith("ok"), "\n".join(why))


def prometheus(t: Session, scrape: dict[str, str]) -> Prometheus:
    """A Prometheus with the rules, evaluated every five seconds."""
    rules = t.home / "rules"
    rules.mkdir()
    for path in (ROOT / "dashboards/prometheus").glob("*.yaml"):
        (rules / path.name).write_text(path.read_text().replace("interval: 1m", "interval: 5s"))
    jobs = []
    for job, url in scrape.items():
        address, _, path = url.removeprefix("http://").partition("/")
        jobs.append({"job_name": job, "metrics_path": f"/{path}", "static_configs": [{"targets": [address]}]})
    every = {"scrape_interval": "5s", "scrape_timeout": "5s", "evaluation_interval": "5s"}
    config = t.artifacts / "prometheus.yml"
    config.write_text(json.dumps({"global": every, "rule_files": [f"{rules}/*.yaml"], "scrape_configs": jobs}, indent=2))
    url = f"http://127.0.0.1:{t.port()}"
    t.start(
        "prometheus",
        [
            install.debian("prometheus", "prometheus"), f"--config.file={config}",
            f"--web.listen-address={url.removeprefix('http://')}", f"--storage.tsdb.path={t.home}/prometheus",
            "--enable-feature=exemplar-storage", "--log.level=warn",
        ],
        lambda: serves(f"{url}/-/ready"),
    )  # fmt: skip
    return Prometheus(url)


def panels(t: Session, prom: Prometheus, location: str) -> None:
    asked = live.queries(re.escape(location).replace("\\", "\\\\"))
    with t.check(f"Prometheus takes each of the {len(asked)} queries"):
        refused = [f"{reply.query.name}: {reply.refused}" for reply in map(asker(prom), asked) if reply.refused]
        equal(refused, [], "refused")
    # An annotation is empty if nothing happened.
    of_demo = [query for query in asked if not query.place.startswith("annotation") and not absent(query)]
    of_demo = [query for query in of_demo if not about_scenarios(query)]
    patience = float(os.environ.get("TOKENBEAT_E2E_SECONDS") or 240)
    with t.check(f"{len(of_demo)} queries of panels and variables have data after a while of the demo"):
        wait_for("all have data", lambda: equal(missing(prom, of_demo), [], "without data") or True, patience, every=5)
    of_scenarios = [query for query in live.queries(JOURNEYS) if about_scenarios(query)]
    with t.check(f"{len(of_scenarios)} queries about journeys, steps and turns have data where scenarios are played"):
        expect(len(of_scenarios) > 30, "there are too few")
        wait_for("all have data", lambda: equal(missing(prom, of_scenarios), [], "without data") or True, patience, every=5)
    with t.check("journeys, steps and turns are what the scenarios are"):
        here = f'location="{JOURNEYS}"'
        counted = prom.by(f"count by (step, turn) (tokenbeat_requests_total{{{here}}} > 0)", "step", "turn")
        wanted = {("login", ""), ("open", ""), ("query", ""), ("talk", "1"), ("talk", "2"), ("talk", "3-4")}
        equal(set(counted), wanted, "steps and turns with requests")
        journeys = f"sum by (profile, outcome) (tokenbeat_journeys_total{{{here}}}) > 0"
        ended = prom.by(journeys, "profile", "outcome")
        expected = {("assistant", "ok"), ("strict", "check")}
        expect(expected <= set(ended), f"journeys that ended: {sorted(ended)}")
        equal({pair for pair in set(ended) - expected if pair[1] != "cancelled"}, set(), "other outcomes")
        turns, ok = prom.by(f'tokenbeat_requests_total{{{here},step="talk",outcome="ok"}}', "turn"), ended["assistant", "ok"]
        expect(turns["3-4",] >= ok, f"{ok} journeys came to their end, and turns: {turns}")
    rest = [query for query in live.queries(PAGES) if absent(query) and LAST_WEEK not in query.expr]
    with t.check(f"{len(rest)} queries on what the demo does not have return what a page with those names has"):
        expect(rest, "there are none")
        wait_for("all have data", lambda: equal(missing(prom, rest), [], "without data") or True, 60, every=5)


def asker(prom: Prometheus):
    return lambda query: live.ask(prom.url, query)


def missing(prom: Prometheus, asked: list[live.Query]) -> list[str]:
    return [f"{reply.query.name}: {reply.problem}" for reply in map(asker(prom), asked) if reply.problem]


def about_scenarios(query: live.Query) -> bool:
    return any(name in query.expr for name in OF_SCENARIOS)


def absent(query: live.Query) -> bool:
    return LAST_WEEK in query.expr or any(name in query.expr for name in ABSENT)


def backends(t: Session, prom: Prometheus) -> None:
    with t.check("each engine has a record for each of its signals"):
        found = {}
        for labels, _ in prom.query('count by (engine, __name__) ({__name__=~"llm_backend:.+",engine!=""})'):
            found.setdefault(labels["engine"], set()).add(labels["__name__"].split(":")[1])
        wanted = {e.key: {engines.SIGNALS[signal] for signal in e.signals} for e in engines.ENGINES}
        equal(found, wanted, "records by engine")
    with t.check("client and server agree: the demo is all of its simulator's load"):
        share = 'sum(tokenbeat_tokens_total{job="tokenbeat",type="output"}) / sum(vllm:generation_tokens_total)'
        # The server counts while it generates, the client when an answer ends; the client may never count a broken one.
        wait_for("nearly one", lambda: 0.7 < prom.scalar(share) < 1.3, 60, every=2)
    with t.check("the difference between client and server is small, because they are one process"):
        between = next(q for q in live.queries() if "Network and gateway" in q.place)
        # Over a short window a profile may have had no answer yet, or one that a fault of the demo slowed down.
        def close() -> bool:
            rows = [value for labels, value in prom.query(between.expr) if labels["location"] != PAGES]
            return bool(rows) and all(-0.5 < value < 0.5 for value in rows)

        wait_for("medians that are close", close, 180, every=2)


def alerts(t: Session, prom: Prometheus, location: str) -> None:
    with t.check("every rule is evaluated without an error"):
        groups = fetch(f"{prom.url}/api/v1/rules").json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        expect(len(rules) > 100, f"only {len(rules)} rules are loaded")
        bad = [f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"]
        equal(bad, [], "rules")
    with t.check("the demo's faults do not look like the prober's own"):
        wrong = "TokenbeatInternalErrors|TokenbeatAgentAbsent|TokenbeatAbsent|TokenbeatConfigReloadFailed|TokenbeatRunOverdue"
        firing = prom.query(f'ALERTS{{alertname=~"{wrong}",alertstate="firing",location!="{PAGES}"}}')
        equal(firing, [], "firing")
