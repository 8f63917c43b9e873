"""Suite otlp: the daemon exports metrics, traces and its log to independent receivers.

Once to rotel over gRPC, compressed; once to oteltap over HTTP, configured by the environment; and once to a receiver
that starts later. The target is the simulator, which fails one request in five.

Behavior of the receivers, observed with these pinned versions: rotel accepts gzip over both transports; oteltap answers
a compressed body with 400.
"""

import json
import re
import signal
import textwrap
import time
from pathlib import Path

import servers
from harness import Process, Session, equal, expect, wait_for
from web import Page

SPAN = "chat sim-8b"
RUN = "run chat"


# A profile of journeys against the simulator's application; its text has the same indentation as the other one.
JOURNEYS = """\
              rag:
                targets: [app]
                schedule: { continuous: {} }
                load: [{ name: users, for: 2s, users: 4, spawn: 1s }]
                scenario:
                  setup:
                    - name: login
                      post: /api/auth/login
                      json: { email: probe@example.net, password: demo }
                      take: { token: $.access_token }
                  steps:
                    - name: query
                      post: /api/rag/query
                      headers: { Authorization: "Bearer {{ token }}" }
                      json: { query: latency, top_k: 2, max_tokens: 8 }
                      read: { text: $.answer, input_tokens: $.usage.prompt_tokens }
"""


def config(t: Session, name: str, sim: str, otlp: dict) -> Path:
    path = t.home / f"{name}.yaml"
    path.write_text(
        textwrap.dedent(f"""\
            agent: {{ id: {name}, location: here, labels: {{ environment: e2e }} }}
            telemetry: {{ otlp: {json.dumps(otlp)} }}
            targets:
              sim: {{ api: openai-chat, base_url: {sim}/v1, model: sim-8b }}
            profiles:
              chat:
                targets: [sim]
                schedule: {{ continuous: {{}} }}
                load: [{{ name: steady, for: 2s, rate: 5/s }}]
                workload: {{ prompts: ["Name three rivers."], output_tokens: 8, stream: true }}
            """)
    )
    return path


def run(t: Session, binary: Path) -> None:
    with t.check("the simulator and the receivers start", vital=True):
        sim = servers.simulator(t, binary, "--fault", "status;code=500;probability=0.2")
        rotel, oteltap = servers.Rotel(t), servers.Oteltap(t)
    grpc(t, binary, sim, rotel)
    http(t, binary, sim, oteltap)
    journeys(t, binary, sim, oteltap)
    down(t, binary, sim)
    never(t, binary, sim)


def play(t: Session, binary: Path, name: str, path: Path, **env: object) -> tuple[Process, str, Page]:
    """A daemon that has played at least one whole run with some failures and was then stopped, with its last page
    before the stop."""
    url = f"http://127.0.0.1:{t.port()}"
    daemon = servers.daemon(t, binary, path, url, name, **env)

    def played() -> Page | None:
        page = Page.read(f"{url}/metrics")
        sent, failed = page.sum("tokenbeat_requests_total"), page.sum("tokenbeat_requests_total", outcome="http_5xx")
        return page if page.sum("tokenbeat_runs_total") >= 2 and sent >= 20 and failed >= 2 else None

    page = wait_for("two runs and some failures", played, 60)
    daemon.signal(signal.SIGTERM)
    equal(daemon.wait(30), 0, "exit code of the daemon")
    return daemon, url, page


def lossless(page: Page) -> None:
    equal(page.sum("tokenbeat_telemetry_export_failures_total"), 0, "failed exports")
    equal(page.sum("tokenbeat_telemetry_dropped_total"), 0, "dropped items")


def grpc(t: Session, binary: Path, sim: str, rotel: servers.Rotel) -> None:
    otlp = {"endpoint": rotel.grpc, "compression": "gzip", "interval": "1s", "genai": "both"}
    otlp["traces"] = {"sample": "100%"}
    with t.check("over gRPC, compressed: the daemon plays, exports and ends", vital=True):
        _, _, page = play(t, binary, "grpc", config(t, "grpc", sim, otlp))
        lossless(page)
    text = rotel.text()
    with t.check("rotel got our metrics and both sets of the GenAI ones, with the resource and the agent's labels"):
        for name in (
            "tokenbeat.requests", "tokenbeat.time_to_first_token", "tokenbeat.telemetry.export_failures",
            "gen_ai.client.inference.duration", "gen_ai.client.operation.duration", "gen_ai.client.token.usage",
        ):  # fmt: skip
            expect(f"Name: {name}\n" in text, f"no {name}")
        for attribute in ("service.instance.id: Str(grpc)", "service.name: Str(tokenbeat)", "location: Str(here)"):
            expect(attribute in text, f"no {attribute}")
        expect("environment: Str(e2e)" in text and "AGGREGATION_TEMPORALITY_CUMULATIVE" in text, "labels, temporality")
    with t.check("rotel got a span for each request and each run; exemplars name spans"):
        spans = re.findall(r"Trace ID +: ([0-9a-f]{32})\n(?:.*\n){2} +Name +: (.*)\n", text)
        requests = {trace for trace, name in spans if name == SPAN}
        expect(len(requests) >= page.sum("tokenbeat_requests_total"), f"{len(requests)} spans of requests")
        expect(sum(name == RUN for _, name in spans) >= page.sum("tokenbeat_runs_total"), "spans of runs")
        exemplars = set(re.findall(r"-> Trace ID: ([0-9a-f]{32})\n +-> Span ID", text)) - {
            trace for trace, name in spans if name == RUN
        }
        expect(exemplars, "no exemplars")
        equal(exemplars - requests, set(), "exemplars without a span")
    with t.check("rotel got the log, and a failure in it names its span"):
        failed = re.search(r"Body: Str\(request failed\)\n(?:.*\n)*? +Trace ID +: ([0-9a-f]{32})", text)
        expect(failed, "no failed request in the log")
        expect(failed[1] in requests, "its trace is none of the spans'")


def http(t: Session, binary: Path, sim: str, oteltap: servers.Oteltap) -> None:
    otlp = {"protocol": "http", "histograms": "exponential", "traces": {"sample": "100%"}}
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": oteltap.url,
        "OTEL_METRIC_EXPORT_INTERVAL": 1000,
        "OTEL_RESOURCE_ATTRIBUTES": "team=probes",
    }
    with t.check("over HTTP, by the environment: the daemon plays, exports and ends", vital=True):
        _, _, page = play(t, binary, "http", config(t, "http", sim, otlp), **env)
        lossless(page)
    items = oteltap.items()
    spans = [item for item in items if "spanId" in item and "kind" in item]
    requests = [span for span in spans if span["name"] == SPAN]
    metrics = [item for item in items if {"sum", "gauge", "histogram", "exponentialHistogram"} & set(item)]
    last = {metric["name"]: metric for metric in metrics}
    with t.check("the last metrics count what the spans say"):
        points = last["tokenbeat.requests"]["sum"]["dataPoints"]
        outcomes = {attribute(point, "outcome"): point["asDouble"] for point in points if point["asDouble"]}
        equal(sum(outcomes.values()), len(requests), "requests in the metrics, spans")
        failed = sum(span["status"].get("code") == 2 for span in requests)
        equal(outcomes["http_5xx"], sum(attribute(span, "error.type") == "http_5xx" for span in requests), "failures")
        equal(sum(n for name, n in outcomes.items() if name != "ok"), failed, "spans with an error")
        genai = last["gen_ai.client.inference.duration"]["exponentialHistogram"]["dataPoints"]
        equal(sum(int(point["count"]) for point in genai), len(requests), "GenAI operations")
    with t.check("exponential histograms hold what is counted, and exemplars name spans"):
        traces = {span["traceId"] for span in requests}
        point = last["tokenbeat.time_to_first_token"]["exponentialHistogram"]["dataPoints"][0]
        buckets = sum(int(n) for n in point["positive"]["bucketCounts"]) + int(point["zeroCount"])
        equal((buckets, int(point["count"])), (outcomes["ok"], outcomes["ok"]), "buckets, count")
        named = {exemplar["traceId"] for exemplar in point["exemplars"]}
        expect(named and named <= traces, f"exemplars of {len(named - traces)} other traces")
    with t.check("cumulative series keep their start, and their time goes on"):
        series = [m["sum"]["dataPoints"][0] for m in metrics if m["name"] == "tokenbeat.offered_requests"]
        equal(len({point["startTimeUnixNano"] for point in series}), 1, "start times")
        times = [int(point["timeUnixNano"]) for point in series]
        expect(len(times) >= 3 and times == sorted(set(times)), f"times {times}")
    with t.check("each request links to the span of its run"):
        runs = {(span["traceId"], span["spanId"]) for span in spans if span["name"] == RUN}
        links = {(link["traceId"], link["spanId"]) for span in requests for link in span["links"]}
        equal(links - runs, set(), "links to no run")
    with t.check("the log is there, correlated, and nothing of it is about the export"):
        logs = [item for item in items if "severityNumber" in item]
        failures = [item for item in logs if item["body"]["stringValue"] == "request failed"]
        expect(failures and all(item["traceId"] in traces for item in failures), "failures without a span")
        about = {attribute(item, "code.namespace") for item in logs}
        ours = ("hyper", "h2", "tonic", "tokenbeat::telemetry::otlp")
        expect(not any(name.startswith(ours) for name in about), f"logged by {about}")


def attribute(item: dict, key: str) -> str | None:
    return next((it["value"].get("stringValue") for it in item["attributes"] if it["key"] == key), None)


def journeys(t: Session, binary: Path, sim: str, oteltap: servers.Oteltap) -> None:
    path = t.home / "journeys.yaml"
    otlp = {"endpoint": oteltap.url, "protocol": "http", "interval": "1s", "traces": {"sample": "100%"}}
    head = f"""\
        agent: {{ id: journeys }}
        telemetry: {{ otlp: {json.dumps(otlp)} }}
        targets:
          app: {{ api: http, base_url: {sim} }}
        profiles:
    """
    path.write_text(textwrap.dedent(head) + textwrap.indent(textwrap.dedent(JOURNEYS), "  "))
    before = {span["spanId"] for span in oteltap.items() if "spanId" in span and "kind" in span}
    with t.check("a scenario is played, exported and ends", vital=True):
        _, _, page = play(t, binary, "journeys", path)
        lossless(page)
    spans = [span for span in oteltap.items() if "spanId" in span and "kind" in span and span["spanId"] not in before]
    roots = {span["spanId"]: span for span in spans if span["name"] == "journey rag"}
    below = [span for span in spans if span["name"] in ("POST /api/auth/login", "POST /api/rag/query")]
    with t.check("each journey is one trace: its span, and those of its requests below it"):
        expect(len(roots) >= page.sum("tokenbeat_journeys_total") > 0, f"{len(roots)} spans of journeys")
        expect(len(below) >= page.sum("tokenbeat_requests_total"), f"{len(below)} spans of requests")
        expect(len(below) > len(roots), "no journey has two requests")
        equal({root.get("parentSpanId") or None for root in roots.values()}, {None}, "parents of journeys")
        equal(len({root["traceId"] for root in roots.values()}), len(roots), "traces")
        strays = [span for span in below if span["parentSpanId"] not in roots]
        equal(strays, [], "requests without their journey")
        equal({span["traceId"] == roots[span["parentSpanId"]]["traceId"] for span in below}, {True}, "same trace")
        steps = {(span["name"], attribute(span, "tokenbeat.step")) for span in below}
        equal(steps, {("POST /api/auth/login", "login"), ("POST /api/rag/query", "query")}, "steps")
    with t.check("a journey fails with its request"):
        failed = {span["parentSpanId"] for span in below if span["status"].get("code") == 2}
        # A journey that the daemon's end interrupted between two requests is no failure of a request.
        ended = {name: root for name, root in roots.items() if attribute(root, "tokenbeat.outcome") != "cancelled"}
        broken = {name for name, root in ended.items() if root["status"].get("code") == 2}
        expect(failed, "no request failed")
        equal(broken, failed, "journeys that failed")


def down(t: Session, binary: Path, sim: str) -> None:
    port = t.port()
    otlp = {"endpoint": f"http://127.0.0.1:{port}", "protocol": "http", "interval": "1s", "traces": {"sample": "100%"}}
    url = f"http://127.0.0.1:{t.port()}"
    with t.check("a receiver that is down costs counters", vital=True):
        daemon = servers.daemon(t, binary, config(t, "down", sim, otlp), url, "down")

        def count(name: str, **labels: str) -> float:
            return Page.read(f"{url}/metrics").sum(f"tokenbeat_{name}_total", **labels)

        wait_for("failed exports", lambda: count("telemetry_export_failures", signal="metrics") >= 2, 30)
        before = count("requests", outcome="ok")
        wait_for("requests that go on", lambda: count("requests", outcome="ok") > before, 30)
    with t.check("when it comes up it gets metrics, and the spans from before"):
        oteltap = servers.Oteltap(t, port)
        wait_for("metrics", lambda: any(it.get("name") == "tokenbeat.requests" for it in oteltap.items()), 60)
        wait_for("spans", lambda: any(it.get("name") == SPAN for it in oteltap.items()), 60)
        equal(count("telemetry_dropped", signal="traces"), 0, "dropped spans")
    with t.check("it ends in good time"):
        daemon.signal(signal.SIGTERM)
        equal(daemon.wait(30), 0, "exit code")


def never(t: Session, binary: Path, sim: str) -> None:
    with t.check("without any receiver the flush is given up, and the daemon ends in good time"):
        path = config(t, "never", sim, {"endpoint": f"http://127.0.0.1:{t.port()}", "interval": "1s"})
        url = f"http://127.0.0.1:{t.port()}"
        daemon = servers.daemon(t, binary, path, url, "never")
        wait_for("a request", lambda: Page.read(f"{url}/metrics").sum("tokenbeat_requests_total") > 0, 30)
        begun = time.monotonic()
        daemon.signal(signal.SIGTERM)
        equal(daemon.wait(30), 0, "exit code")
        expect(time.monotonic() - begun < 15, f"it took {time.monotonic() - begun:.1f} s")
