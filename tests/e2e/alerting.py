"""Suite alerting: injects regressions and checks the notifications that a webhook receives.

The daemon plays against `tokenbeat sim`; Prometheus scrapes both with the shipped rules, whose windows are shortened
(`windows.py`), and Alertmanager notifies. At first nothing is wrong until there is a baseline, and no alert may fire.
Then, one after the other: the backend is slow, the network is slow, the backend fails, an application answers without
the content that its users need, and then slowly, and the daemon disappears. Each alert must arrive with the labels and
links that the runbook describes, and must resolve when its cause is gone. The application is a separate simulator, so
that its journeys do not affect the requests of the other profile.

On a busy machine the prober may be late. Then alerts on latency are suppressed by design, and the suite waits; an
alert on the prober itself is correct in this case, so it is noted and is no failure.
"""

import json
import re
import signal
import textwrap
import time
from pathlib import Path

import install
import servers
import windows
from harness import Failure, Process, Session, equal, expect, wait_for
from web import Prometheus, fetch
from webhook import Webhook

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# An hour becomes 15 s, a day 6 minutes, `for: 15m` 4 s. With a scrape each second, 10 s are enough for a rate.
SCALE = windows.Scale(factor=240, range_floor=10, interval_floor=1)
PATIENCE = 60  # seconds; on an idle machine each step takes ten to twenty

PAIR = {"profile": "chat", "target": "sim", "location": "here"}
# The pair of windows that fires, and resolves, first.
LATENCY = ("TokenbeatLatencyBudgetBurn", {**PAIR, "slo": "ttft", "severity": "critical", "long": "1h", "short": "5m"})
AVAILABILITY = (
    "TokenbeatAvailabilityBudgetBurn",
    {**PAIR, "slo": "availability", "severity": "critical", "long": "1h", "short": "5m"},
)
REGRESSION = ("TokenbeatTimeToFirstTokenRegression", {**PAIR, "severity": "warning", "baseline": "trailing_day"})
BACKEND = ("TokenbeatBackendSlow", {**PAIR, "severity": "warning", "baseline": "trailing_day"})
BETWEEN = ("TokenbeatNetworkOrGatewaySlow", {**PAIR, "severity": "warning", "baseline": "trailing_day"})
APP = {"profile": "rag", "target": "app", "location": "here"}
JOURNEYS = ("TokenbeatJourneysFailing", {**APP, "severity": "critical", "long": "1h", "short": "5m"})
LONGER = ("TokenbeatJourneyDurationRegression", {**APP, "severity": "warning", "baseline": "trailing_day"})
ABSENT = ("TokenbeatAbsent", {"severity": "critical"})
AGENT_ABSENT = ("TokenbeatAgentAbsent", {"severity": "critical", "location": "here", "job": "tokenbeat"})

# Alerts on the prober, which can be correct on a busy machine.
PROBERS_OWN = {"TokenbeatProberDegraded", "TokenbeatLoadNotDelivered"}


def config(t: Session, sim: str, app: str) -> Path:
    """About 15 ms to the first token, with an objective that even a busy machine meets. About four journeys per second,
    of two requests each."""
    path = t.home / "tokenbeat.yaml"
    path.write_text(
        textwrap.dedent(f"""\
            agent: {{ id: e2e, location: here }}
            targets:
              sim: {{ api: openai-chat, base_url: {sim}/v1, model: sim-8b }}
              app: {{ api: http, base_url: {app} }}
            profiles:
              chat:
                targets: [sim]
                schedule: {{ continuous: {{}} }}
                load: [{{ name: steady, for: 20s, rate: 5/s }}]
                workload: {{ prompts: ["Name three rivers."], output_tokens: 2, stream: true }}
                slo:
                  - {{ name: ttft, metric: time_to_first_token, below: 500ms, objective: 90% }}
                  - {{ name: availability, metric: availability, objective: 99% }}
              rag:
                targets: [app]
                schedule: {{ continuous: {{}} }}
                load: [{{ name: steady, for: 20s, rate: 4/s }}]
                scenario:
                  setup:
                    - name: login
                      post: /api/auth/login
                      json: {{ email: "user{{{{ user }}}}@example.com", password: demo }}
                      take: {{ token: $.access_token }}
                  steps:
                    - name: query
                      post: /api/rag/query
                      headers: {{ Authorization: "Bearer {{{{ token }}}}" }}
                      json: {{ query: "Where do rivers begin?", return_citations: true, max_tokens: 4 }}
                      read: {{ as: json, text: $.answer }}
                      expect: {{ json: [{{ name: cited, path: $.citations, min_items: 1 }}] }}
            """)
    )
    return path


def run(t: Session, binary: Path) -> None:
    prepared, rules = shortened(t), t.artifacts / "rules"
    with Webhook() as webhook:
        with t.check("simulator, daemon, Alertmanager and Prometheus start", vital=True):
            sim, url, app = servers.simulator(t, binary), *(f"http://127.0.0.1:{t.port()}" for _ in range(2))
            other = [binary, "sim", "--listen-address", app.removeprefix("http://")]
            t.start("app", other, lambda: servers.serves(f"{app}/health"))
            daemon = servers.daemon(t, binary, config(t, sim, app), url)
            manager = servers.alertmanager(t, webhook.url)
            pages = {"tokenbeat": f"{url}/metrics", "vllm": f"{sim}/metrics"}
            target = {"static_configs": [{"targets": [manager.removeprefix("http://")]}]}
            more = {"rule_files": [f"{rules}/*.yaml"], "alerting": {"alertmanagers": [target]}}
            prom = servers.prometheus(t, pages, "1s", **more)
            wait_for("both are up", lambda: len(prom.query("up == 1")) == len(pages), PATIENCE)
            # Prometheus needs 5 s until its first scrape, which is longer than ten shortened minutes: it would miss the daemon.
            prepared.rename(rules)
            next(process for process in t.processes if process.name == "prometheus").signal(signal.SIGHUP)
            wait_for("the rules are evaluated", lambda: prom.query("tokenbeat:slo_error_budget:ratio"), PATIENCE)
        suite = Suite(t, prom, manager, webhook, sim, app)
        suite.quiet()
        suite.slow_backend()
        suite.slow_way()
        suite.failing()
        suite.journeys()
        suite.absent(daemon, url)


def shortened(t: Session) -> Path:
    """A folder with the shipped rules, shortened. They are written as JSON, which is valid YAML."""
    folder = t.artifacts / "prepared"
    folder.mkdir()
    python = install.venv("alerting", HERE / "alerting/requirements.txt") / "bin/python"
    reader = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    files = sorted((ROOT / "dashboards/prometheus").glob("*.yaml"))
    with t.check("times in rules are shortened as told", vital=True):
        group = {
            "interval": "1m",
            "rules": [{
                "alert": "A", "for": "15m", "labels": {"window": "1d"}, "annotations": {"summary": "for [1h]"},
                "expr": 'rate(x:increase1h{a="[5m] offset 1w"}[5m]) and count_over_time(x:y[1d] offset 1h) >= 120',
            }],
        }  # fmt: skip
        (rule,) = windows.shorten({"groups": [group]}, SCALE)["groups"][0]["rules"]
        # A day has 1,440 minutes and becomes 360 s.
        wanted = 'rate(x:increase1h{a="[5m] offset 1w"}[10s]) and count_over_time(x:y[360s] offset 15s) >= 30'
        equal(rule, {**group["rules"][0], "for": "3750ms", "expr": wanted}, "the rule")
        for unknown in ("max_over_time(x[1h:1m])", "x offset -1h", "count_over_time(x[1h])"):
            try:
                windows.expression(unknown, SCALE, 1)
            except ValueError:
                continue
            raise Failure(f"{unknown} was taken")
    with t.check("the shipped rules differ in nothing else", vital=True):
        expect(len(files) >= 4, f"only {len(files)} rule files")
        for path in files:
            before = json.loads(t.command(python, "-c", reader, stdin=path.read_text()).stdout)
            after = windows.shorten(before, SCALE)
            equal(without_times(after), without_times(before), path.name)
            expect(after != before, f"{path.name} has no windows")
            (folder / path.name).write_text(json.dumps(after, indent=1))
    with t.check("promtool takes them", vital=True):
        linter = install.debian("promtool", "prometheus")
        done = t.command(linter, "check", "rules", *sorted(folder.glob("*.yaml")))
        equal(done.returncode, 0, f"exit code ({done.stdout}{done.stderr})")
    return folder


def without_times(rules: dict) -> str:
    text = json.dumps(rules)
    text = re.sub(r"(\[|offset |\"(?:for|keep_firing_for|interval)\": \")[0-9]+(?:ms|[smhdw])(?=[^\w])", r"\1", text)
    return re.sub(r"(count_over_time\([^)]*\) >= )\d+", r"\1", text)


class Suite:
    """The phases, in order: each continues from the state after the previous one."""

    def __init__(self, t: Session, prom: Prometheus, manager: str, webhook: Webhook, sim: str, app: str):
        self.t, self.prom, self.manager, self.webhook, self.sim, self.app = t, prom, manager, webhook, sim, app

    def inject(self, *faults: str, into: str = "") -> None:
        """Sets the faults of all requests from now on."""
        url = f"{into or self.sim}/sim/faults"
        equal(fetch(url, method="DELETE").status, 204, "lifting the faults")
        if faults:
            equal(fetch(url, [{"fault": fault} for fault in faults]).status, 204, f"injecting {faults}")

    def quiet(self) -> None:
        t, prom = self.t, self.prom
        with t.check("a baseline comes to be, of the client and of the server", vital=True):
            first = "time_to_first_token_seconds"
            journey = "tokenbeat:journey_duration_seconds:p50_baseline"
            for record in (f"tokenbeat:{first}:p50_baseline", f"llm_backend:model_{first}:growth", journey):
                wait_for(record, lambda record=record: prom.query(f'{record}{{baseline="trailing_day"}}'), 150)
        with t.check("every objective is judged, and availability does not burn"):
            events = prom.by('tokenbeat:slo_events:increase1h{profile="chat"} > 40', "slo")
            equal(set(events), {("ttft",), ("availability",), ("all",)}, "objectives with events")
            burning = prom.query('{__name__=~"tokenbeat:slo_burn_rate:.+",slo="availability"}')
            equal(burning, [], "burning")
        with t.check("journeys come to their end, in all windows"):
            shares = prom.by('{__name__=~"tokenbeat:journey_success:.+"}', "__name__", "profile")
            equal(len(shares), 7, "windows")
            equal({profile for _, profile in shares}, {"rag"}, "profiles with journeys")
            equal({name: value for (name, _), value in shares.items() if value < 0.99}, {}, "windows with failures")
        with t.check("every rule is evaluated without an error"):
            groups = fetch(f"{prom.url}/api/v1/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            expect(len(rules) > 100, f"only {len(rules)} rules are loaded")
            bad = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
            equal(bad, [], "rules")
        with t.check("nothing was wrong so far, and no alert fired"):
            fired = {labels["alertname"] for labels in self.ever()}
            told = {alert["labels"]["alertname"] for body in self.webhook.bodies for alert in body["alerts"]}
            if about := (fired | told) & PROBERS_OWN:
                t.note(f"the machine is busy: {', '.join(sorted(about))}")
            equal((fired | told) - PROBERS_OWN, set(), "alerts")

    def slow_backend(self) -> None:
        self.inject("slow_down;factor=120")
        with self.t.check("the backend is slow: the latency objective burns"):
            self.fires(*LATENCY)
        with self.t.check("the backend is slow: a regression against the day before"):
            self.fires(*REGRESSION)
        with self.t.check("the backend is slow, and says so itself"):
            self.fires(*BACKEND)
        with self.t.check("the way there is not blamed for it"):
            # The server's record lags behind the client's by its own window, which is at its floor here; at their
            # real lengths, `for` outlasts that. So the other attribution may have come first, and has to go.
            wait_for("it is not blamed", lambda: not self.firing(*BETWEEN), PATIENCE)
        with self.t.check("regression and attribution come as one notification"):
            both = [{alert["labels"]["alertname"] for alert in body["alerts"]} for body in self.webhook.bodies]
            expect(any({REGRESSION[0], BACKEND[0]} <= names for names in both), f"bodies with {both}")
        with self.t.check("slow answers are no failures"):
            equal(self.ever(AVAILABILITY[0]), [], "alerts on availability")

    def slow_way(self) -> None:
        # The answer is delayed after the engine has counted its first token.
        self.inject("stall_headers;for=1s")
        with self.t.check("the way there is slow: the server accounts for less than half"):
            self.fires(*BETWEEN)
            self.resolves(*BACKEND)
            expect(self.firing(*BETWEEN), "blaming the way there ended together with blaming the backend")
        self.inject()
        with self.t.check("all is well: the alerts on latency resolve"):
            for alert in (LATENCY, REGRESSION, BETWEEN):
                self.resolves(*alert)

    def failing(self) -> None:
        began = time.monotonic()
        self.inject("error_500")
        with self.t.check("the backend fails: the availability objective burns"):
            self.fires(*AVAILABILITY)
        self.inject()
        with self.t.check("all is well: the alert on availability resolves"):
            self.resolves(*AVAILABILITY)
        with self.t.check("failures do not alert as latency"):
            long = int(time.monotonic() - began)
            equal(self.ever(*LATENCY, seconds=long), [], "alerts on latency meanwhile")

    def journeys(self) -> None:
        self.inject("no_citations", into=self.app)
        with self.t.check("the application cites nothing: journeys fail by a check, with 200 all the way"):
            self.fires(*JOURNEYS)
            failed = 'sum by (step, check) (increase(tokenbeat_check_failures_total{profile="rag"}[10s])) > 0'
            equal(set(self.prom.by(failed, "step", "check")), {("query", "cited")}, "failed checks")
            codes = 'sum by (code) (increase(tokenbeat_http_responses_total{profile="rag"}[10s])) > 0'
            equal(set(self.prom.by(codes, "code")), {("200",)}, "statuses")
        with self.t.check("they fail, and that is not to say that none ends, or that they got slower"):
            for alert in ("TokenbeatNoCompletedJourney", LONGER[0]):
                equal(self.ever(alert), [], alert)
        self.inject("slow_retrieval;for=1s", into=self.app)
        with self.t.check("it cites again, and slowly: the one resolves, and journeys take longer than before"):
            self.fires(*LONGER)
            self.resolves(*JOURNEYS)
        self.inject(into=self.app)
        with self.t.check("all is well: the alert on the duration of journeys resolves"):
            self.resolves(*LONGER)

    def absent(self, daemon: Process, url: str) -> None:
        with self.t.check("the daemon is gone: it is missed, by its location, too"):
            daemon.signal(signal.SIGTERM)
            equal(daemon.wait(30), 0, "exit code of the daemon")
            for alert in (ABSENT, AGENT_ABSENT):
                self.fires(*alert)
        with self.t.check("the daemon is back: the alerts resolve"):
            daemon.restart()
            self.t.wait_ready(daemon, lambda: servers.serves(f"{url}/-/ready"))
            for alert in (ABSENT, AGENT_ABSENT):
                self.resolves(*alert)

    def fires(self, name: str, labels: dict[str, str]) -> None:
        """The alert reaches the webhook with all its parts, and Prometheus and Alertmanager agree."""
        self.notified("firing", name, labels)
        alert = self.webhook.alerts(name, **labels)[-1]
        complete(alert)
        wait_for("it fires in Prometheus", lambda: self.firing(name, labels), PATIENCE)
        (held,) = wait_for("Alertmanager has it", lambda: self.held(name, labels), PATIENCE)
        equal([receiver["name"] for receiver in held["receivers"]], ["webhook"], "receivers")
        equal(held["annotations"].keys(), alert["annotations"].keys(), "annotations in Alertmanager")

    def resolves(self, name: str, labels: dict[str, str]) -> None:
        self.notified("resolved", name, labels)
        alert = self.webhook.alerts(name, **labels)[-1]
        expect(alert["startsAt"] < alert["endsAt"], f"it ended at {alert['endsAt']}, before {alert['startsAt']}")
        wait_for("it fires in Prometheus no longer", lambda: not self.firing(name, labels), PATIENCE)
        wait_for("Alertmanager has it no longer", lambda: not self.held(name, labels), PATIENCE)

    def notified(self, status: str, name: str, labels: dict[str, str]) -> None:
        begin = time.monotonic()

        def told() -> bool:
            last = self.webhook.status(name, **labels)
            expect(last == status, f"{name} is {last or 'not known'} at the webhook; Prometheus: {self.states()}")
            return True

        wait_for(f"{name} is {status} at the webhook", told, PATIENCE)
        self.t.note(f"{name} {status} after {time.monotonic() - begin:.1f} s")

    def held(self, name: str, labels: dict[str, str]) -> list[dict]:
        """The active alerts of this name in Alertmanager."""
        active = fetch(f"{self.manager}/api/v2/alerts?active=true").json()
        return [alert for alert in active if {"alertname": name, **labels}.items() <= alert["labels"].items()]

    def firing(self, name: str, labels: dict[str, str]) -> list:
        return self.prom.query(f"ALERTS{{{matchers({'alertname': name, 'alertstate': 'firing', **labels})}}}")

    def ever(self, name: str = "", labels: dict[str, str] | None = None, seconds: int = 600) -> list[dict[str, str]]:
        """The alerts that fired within the last `seconds`: all, or only this one."""
        match = {"alertstate": "firing", **({"alertname": name} if name else {}), **(labels or {})}
        found = self.prom.query(f"count_over_time(ALERTS{{{matchers(match)}}}[{max(1, seconds)}s])")
        return [labels for labels, _ in found]

    def states(self) -> list[str]:
        alerts = fetch(f"{self.prom.url}/api/v1/alerts").json()["data"]["alerts"]
        return sorted(f"{alert['labels']['alertname']} {alert['state']}" for alert in alerts)


def matchers(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())


def complete(alert: dict) -> None:
    """The notification says what is wrong and where, and links to an entry of the runbook."""
    name, notes = alert["labels"]["alertname"], alert["annotations"]
    equal(set(notes), {"summary", "description", "runbook_url"}, f"annotations of {name}")
    expect(notes["summary"], f"{name} has no summary")
    for key in {"profile", "target", "location", "slo"} & set(alert["labels"]):
        expect(re.search(rf"\b{alert['labels'][key]}\b", notes["description"]), f"no {key} in: {notes['description']}")
    expect("{{" not in notes["description"] and "<no value>" not in notes["description"], notes["description"])
    page, _, anchor = notes["runbook_url"].partition("#")
    expect(page.endswith("docs/runbook.md"), f"the runbook is at {page}")
    expect(anchor in anchors(), f"the runbook has no #{anchor}")


def anchors() -> set[str]:
    """The anchors that a Markdown renderer gives to one-word headings."""
    text = (ROOT / "docs/runbook.md").read_text()
    return {heading.lower() for heading in re.findall(r"^#+ (\w+)$", text, re.MULTILINE)}
