"""Suite native: native histograms, scraped as protobuf by a real Prometheus with its feature flag, and compared with
the daemon's records of each request.

Two daemons play the same load, one with the key `native_histograms` and one without; the second Prometheus has its
defaults. During the warm-up, which does not count in histograms, Prometheus scrapes them at zero first, so that a rate
includes all observations.
"""

import json
import math
import textwrap
from pathlib import Path

import servers
from harness import Session, equal, expect, wait_for
from web import Page, Prometheus, fetch

# With the warm-up's, no more than the daemon remembers one by one; and such that no quantile asked for lies just
# between two of them, where the rounding of a rate decides.
REQUESTS = 181
FEATURES = "native-histograms,exemplar-storage"
TTFT = "tokenbeat_time_to_first_token_seconds"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
# Continues while nothing is sent.
RESTLESS = "tokenbeat_runtime_lag_seconds"
WITHIN = 0.05


def config(t: Session, name: str, sim: str, native: bool) -> Path:
    path = t.home / f"{name}.yaml"
    path.write_text(
        textwrap.dedent(f"""\
            agent: {{ id: {name} }}
            telemetry: {{ prometheus: {{ native_histograms: {json.dumps(native)} }} }}
            targets:
              sim: {{ api: openai-chat, base_url: {sim}/v1, model: sim-8b }}
            profiles:
              chat:
                targets: [sim]
                schedule: {{ every: 8760h, at_start: true }}
                load:
                  - {{ warm_up: 4s, rate: 1/s }}
                  - {{ name: steady, requests: {REQUESTS}, rate: 20/s, arrivals: poisson }}
                workload: {{ prompts: ["Name three rivers."], output_tokens: 8, stream: true }}
            """)
    )
    return path


def run(t: Session, binary: Path) -> None:
    with t.check("the simulator, two daemons and two Prometheus start", vital=True):
        # Slow enough for queues, so that the times to the first token differ by a factor of two or more.
        sim = servers.simulator(t, binary, "--noise", "0.5", "--prefill-rate", "500")
        urls = {name: f"http://127.0.0.1:{t.port()}" for name in ("native", "plain")}
        scrape = {name: f"{url}/metrics" for name, url in urls.items()}
        flagged = servers.prometheus(t, scrape, "1s", "flagged", FEATURES)
        default = servers.prometheus(t, {"native": scrape["native"]}, "1s", "default")
        # It discovers targets some seconds after it is ready; a rate does not include what was counted before.
        wait_for("Prometheus scrapes", lambda: len(flagged.query("up")) == 2 and len(default.query("up")) == 1, 30)
        for name, url in urls.items():
            servers.daemon(t, binary, config(t, name, sim, name == "native"), url, name)
    with t.check("both daemons play to the end", vital=True):
        pages = {name: finished(url) for name, url in urls.items()}
    times = sorted(first_tokens(urls["native"]))
    with t.check("the daemon tells of each request, and they differ"):
        equal(flagged.first(f'{TTFT}_count{{job="plain"}}')[0][1], 0, "what was counted before the first scrape")
        equal(len(times), REQUESTS, "requests with a first token")
        expect(times[-1] > 1.5 * times[0], f"from {times[0]} to {times[-1]} s is one bucket")

    with t.check("Prometheus with its flag has each native histogram with all its observations"):
        ours = [name for name in histograms(pages["native"]) if name != RESTLESS]
        expect(TTFT in ours and len(ours) > 10, f"histograms: {ours}")
        for name in ours:
            wanted = pages["native"].sum(f"{name}_count")
            count = f'histogram_count(sum({name}{{job="native"}}))'
            wait_for(f"{name} with {wanted}", lambda: flagged.scalar(count) == wanted, 30)
            total, stated = flagged.scalar(count.replace("_count(", "_sum(", 1)), pages["native"].sum(f"{name}_sum")
            expect(math.isclose(total, stated, rel_tol=1e-9, abs_tol=1e-12), f"sum of {name}: {total}, not {stated}")
    for quantile in (0.5, 0.95):
        exact = times[math.ceil(quantile * len(times)) - 1]
        with t.check(f"histogram_quantile({quantile}) is within {WITHIN:.0%} of the exact value"):
            for what, of in {"cumulative": "{}", "rate": "rate({}[10m])"}.items():
                series = of.format(f'{TTFT}{{job="native"}}')
                answer = flagged.scalar(f"histogram_quantile({quantile}, sum({series}))")
                off = answer / exact - 1
                t.note(f"{what}: {answer:.4f} s, exact {exact:.4f} s: {off:+.2%}")
                expect(abs(off) <= WITHIN, f"{answer} for {exact}")
    with t.check("its exemplars are requests of the daemon"):
        ids = {request["trace_id"] for request in requests(urls["native"])}
        exemplars = wait_for("exemplars", lambda: flagged.exemplars(f'{TTFT}{{job="native"}}'), 30)
        equal({it["labels"]["trace_id"] for it in exemplars} - ids, set(), "traces of no request")
        for it in exemplars:
            expect(times[0] * 0.999 <= float(it["value"]) <= times[-1] * 1.001, f"an exemplar of {it['value']} s")

    with t.check("this Prometheus drops the classic series of such a daemon: why the key is off by default"):
        equal(flagged.query(f'{TTFT}_bucket{{job="native"}}'), [], "classic buckets")
    with t.check("without the key it has the classic series, and no native one"):
        classic(flagged, "plain", pages["plain"])
        equal(flagged.query(f'{TTFT}{{job="plain"}}'), [], "native histograms")
    with t.check("without its flag Prometheus has the classic series of a daemon with the key"):
        classic(default, "native", pages["native"])
        equal(default.query(f'{TTFT}{{job="native"}}'), [], "native histograms")
    with t.check("protobuf is for those who ask for it"):
        for url in urls.values():
            for accept, wanted in ((PROTOBUF, "application/vnd.google.protobuf;"), ("*/*", "text/plain;")):
                kind = fetch(f"{url}/metrics", headers={"Accept": accept}).headers["Content-Type"]
                expect(kind.startswith(wanted), f"{kind} for {accept}")


def finished(url: str) -> Page:
    """The page after the only run."""

    def ended() -> Page | None:
        page = Page.read(f"{url}/metrics")
        return page if page.sum("tokenbeat_runs_total") == 1 else None

    page = wait_for("the end of the run", ended, 120)
    equal(page.sum("tokenbeat_requests_total", outcome="ok"), REQUESTS, "requests that went well")
    return page


def requests(url: str) -> list[dict]:
    found = fetch(f"{url}/api/v1/requests?limit=1000").json()["requests"]
    return [request for request in found if not request["warm_up"]]


def first_tokens(url: str) -> list[float]:
    return [request["time_to_first_token_seconds"] for request in requests(url)]


def histograms(page: Page) -> list[str]:
    return [name for name in sorted(page.families()) if any(page.select(f"{name}_bucket", le="+Inf"))]


def classic(prometheus: Prometheus, job: str, page: Page) -> None:
    """Prometheus has each bucket with the value of the page."""
    wanted = bounds(page.by(f"{TTFT}_bucket", "le"))
    expect(len(wanted) > 10 and wanted[math.inf] == REQUESTS, f"buckets of the page: {wanted}")

    def came_over() -> bool:
        equal(bounds(prometheus.by(f'{TTFT}_bucket{{job="{job}"}}', "le")), wanted, "buckets")
        return True

    wait_for("the last scrape", came_over, 30)


def bounds(buckets: dict[tuple[str, ...], float]) -> dict[float, float]:
    """Compares numbers: `1` and `1.0` are the same bound, written for different formats."""
    return {float(le): count for (le,), count in buckets.items()}
