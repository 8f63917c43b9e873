"""Suite page: the status page in a real browser.

Chromium, driven by playwright-core, opens the page of a daemon with a state file that plays against the simulator: every
view, live updates, charts that zoom, filters, waterfalls of requests, the run button, a restart, a read-only server and one with a thousand
pairs. axe looks at every view in light and dark, on a desktop and on a phone.
"""

import shutil
import signal
import textwrap
import time
from datetime import datetime
from pathlib import Path

import install
import servers
from harness import Failure, Session, equal, expect, wait_for
from web import fetch, listens_to, serves

HERE = Path(__file__).resolve().parent
PAIRS = ["chat → broken", "chat → well", "once → well"]  # of the daemon below


class Browser:
    """The browser of `page/browser.mjs`. Each call is one of its actions."""

    def __init__(self, t: Session):
        files = [HERE / "page" / name for name in ("package.json", "package-lock.json", "browser.mjs")]
        place = install.npm("page", files)
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        program = program or install.debian("chromium", "chromium", "fonts-dejavu-core")
        port = t.port()
        self.base = f"http://127.0.0.1:{port}/"
        command = [shutil.which("node"), place / "browser.mjs", port, program]
        t.start("browser", command, lambda: listens_to(self.base), 60)

    def __getattr__(self, action: str):
        def call(of: str | None = None, **arguments: object):
            order = {"do": action, **({} if of is None else {"of": of}), **arguments}
            answer = fetch(self.base, order, timeout=60).json()
            if "error" in answer:
                raise Failure(f"{action} {of or ''} {arguments or ''}: {answer['error']}")
            return answer["ok"]

        return call


def run(t: Session, binary: Path) -> None:
    with t.check("the simulator, the daemon and the browser start", vital=True):
        sim = servers.simulator(t, binary)
        url = f"http://127.0.0.1:{t.port()}"
        daemon = servers.daemon(t, binary, config(t, sim, "page"), url)
        browser = Browser(t)
        wait_for("requests, failures and a run", lambda: enough(url), 30)
    overview(t, browser, url)
    charts(t, browser, url)
    runs(t, browser, url)
    requests(t, browser, url)
    looks(t, browser, url)
    restart(t, browser, url, daemon)
    read_only(t, browser, binary, sim)
    many(t, browser, binary, sim)
    with t.check("nothing complains on the console"):
        # While the daemon was restarted, the page could not be fetched again.
        rest = [text for text in browser.complaints() if "ERR_CONNECTION" not in text]
        equal(rest, [], "complaints")


def config(t: Session, sim: str, name: str, more: str = "") -> Path:
    path = t.home / f"{name}.yaml"
    path.write_text(
        textwrap.dedent(f"""\
            agent: {{ id: {name}, location: lab, state: {t.home}/{name}.db, budget: {{ period: day, cost: 5 }} }}
            {more}
            targets:
              well: &target {{ api: openai-chat, base_url: "{sim}/v1", model: sim-8b, price: {{ input: 1, output: 2 }} }}
              broken: {{ <<: *target, headers: {{ X-Sim-Fault: unavailable_503 }} }}
            profiles:
              chat:
                targets: [well, broken]
                schedule: {{ continuous: {{}} }}
                record: all
                load: [{{ name: steady, for: 3s, rate: 4/s }}]
                workload: {{ prompts: [Why is the sky blue?], output_tokens: 12 }}
                slo: [{{ name: ttft, metric: time_to_first_token, below: 500ms, objective: 95% }}]
              once:
                targets: [well]
                schedule: {{ manual: {{}} }}
                load: [{{ requests: 3 }}]
                workload: {{ prompts: [Say hi], output_tokens: 4 }}
            """)
    )
    return path


def enough(url: str) -> bool:
    status = {pair["profile"] + pair["target"]: pair for pair in fetch(f"{url}/api/v1/status").json()["pairs"]}
    failed = fetch(f"{url}/api/v1/requests?failed=true").json()["requests"]
    return bool(failed) and all(status[pair]["last_run"] for pair in ("chatwell", "chatbroken"))


def overview(t: Session, browser: Browser, url: str) -> None:
    with t.check("the overview has a row for each pair, and says what fails"):
        equal(browser.open(url=url), 200, "status")
        equal(sorted(browser.texts(".pairs tbody th")), PAIRS, "pairs")
        equal(browser.texts(".pairs thead th")[:2], ["profile → target", "target"], "columns")
        expect("overloaded" in browser.text("#failures"), "the failures are not told")
        expect("cost" in browser.text("#budgets"), "the budget is not told")
        browser.picture(path=str(t.artifacts / "overview.png"))
    with t.check("new requests show without a reload"):
        browser.mark()
        # A click on a cell, or the Tab key, gives the focus to the region of the table.
        browser.click("#recent tbody td")
        equal(browser.count("#recent .scroll:focus"), 1, "regions that have the focus")
        for _ in range(2):
            browser.changes("#recent tbody", **{"from": browser.text("#recent tbody")})
        equal(browser.count("#recent .scroll:focus"), 1, "regions that kept the focus")
        expect(browser.marked(), "the page was loaded again")
    with t.check("a filter is in the link, and the link opens the same view"):
        browser.choose("form.filter select[name=target]", value="broken")
        wait_for("one row", lambda: browser.texts(".pairs tbody th") == ["chat → broken"], 10)
        link = browser.url()
        equal(link, f"{url}/?target=broken", "link")
        browser.open(url=link)
        equal(browser.texts(".pairs tbody th"), ["chat → broken"], "pairs")
    with t.check("what is not there is a page that says so"):
        equal(browser.open(url=f"{url}/?profile=none&target=well"), 404, "status")
        expect("none" in browser.text("main"), browser.text("main"))
        # A browser notes every 404.
        equal([text for text in browser.complaints() if "404" not in text], [], "complaints")


def charts(t: Session, browser: Browser, url: str) -> None:
    with t.check("a row leads to the charts of its pair"):
        browser.open(url=url)
        browser.click(".pairs tbody th a:text-matches('chat.*well')")
        browser.wait("#plots canvas")
        equal(browser.url(), f"{url}/?profile=chat&target=well", "link")
        titles = browser.texts("#plots figcaption")
        expect({"Time to first token", "Failures by reason, /min"} <= set(titles), f"charts: {titles}")
        equal(set(browser.drawn()), {True}, "charts that are drawn")
        expect("p50" in browser.attribute("#plots .u-wrap", name="aria-label"), "a chart does not say what it shows")
        browser.picture(path=str(t.artifacts / "pair.png"), whole=True)
    with t.check("the values under the pointer are told"):
        # The last points are in the right half.
        browser.hover("#plots .u-over", at=0.6)
        wait_for("values", lambda: " ms" in " ".join(browser.texts("#plots figure:first-child .u-value")), 5)
    with t.check("dragging zooms all charts, and a double click goes back"):
        browser.history()
        browser.drag("#plots .u-over", **{"from": 0.3, "to": 0.6})
        browser.wait("#back")
        asked = browser.history()
        expect(asked, "the zoomed range was not asked for")
        width = float(asked[-1]["to"]) - float(asked[-1]["from"])
        expect(width < 300, f"a range of {width:.0f} s was asked for")
        browser.twice("#plots .u-over")
        browser.gone("#back")
    with t.check("a range is in the link, and the link opens the same range"):
        browser.click('.ranges button:text-is("6 h")')
        equal(browser.url(), f"{url}/?profile=chat&target=well&hours=6", "link")
        browser.history()
        browser.open(url=browser.url())
        browser.wait("#plots canvas")
        equal(browser.texts(".ranges [aria-pressed=true]"), ["6 h"], "ranges")
        asked = browser.history()[-1]
        expect(abs(float(asked["to"]) - float(asked["from"]) - 6 * 3600) < 1800, f"range: {asked}")
    with t.check("what happened is told beside the charts"):
        browser.click("#events summary")
        told = browser.texts("#events li")
        expect(any("tokenbeat was started" in text for text in told), f"events: {told}")


def runs(t: Session, browser: Browser, url: str) -> None:
    with t.check("the button starts a run, and says so"):
        browser.open(url=f"{url}/?profile=once&target=well")
        before = ended_runs(url)
        browser.click("#run button")
        wait_for("an answer", lambda: "well: started" in browser.text("#run output"), 10)
        wait_for("the run", lambda: ended_runs(url) > before, 20)


def ended_runs(url: str) -> int:
    all_runs = fetch(f"{url}/api/v1/runs?limit=1000").json()["runs"]
    return sum(run["profile"] == "once" for run in all_runs)


def requests(t: Session, browser: Browser, url: str) -> None:
    with t.check("the list of requests is filtered, and leads to a waterfall"):
        browser.open(url=f"{url}/?requests=1&target=well")
        browser.choose("form.filter select[name=outcome]", value="ok")
        wait_for("the filter", lambda: "outcome=ok" in browser.url(), 10)
        equal(set(browser.texts("#requests tbody td:nth-child(3)")), {"ok"}, "outcomes")
        browser.click("#requests tbody a:text-matches('chat')")
        browser.wait(".waterfall")
        phases = browser.texts(".waterfall tbody th")
        # The end is a phase of its own only if it came after the last token.
        told = [phase for phase in phases if phase != "end"]
        expect(told[-2:] == ["tokens", "chunks"] and "wait" in told, f"phases: {phases}")
        ticks = browser.attribute(".waterfall .tick", name="d").count("M")
        equal(ticks, 12, "chunks that are drawn")
        expect("sky blue" in browser.text("main"), "what was sent is not told")
        browser.picture(path=str(t.artifacts / "waterfall.png"), whole=True)
    with t.check("a failure opens with what came back"):
        browser.open(url=url)
        browser.click("#failures tbody a")
        browser.wait(".waterfall")
        expect("Came back: HTTP 503" in browser.text("main"), browser.text("main")[:2000])
        equal(browser.texts(".waterfall tbody th")[-1], "wait", "the last phase")


VIEWS = ["overview", "pair", "requests", "failure", "waterfall"]


def link(url: str, view: str) -> str:
    """The link to a view; to a request that is still remembered."""
    asked = {"failure": "failed=true&target=broken", "refused": "failed=true&target=closed"}
    asked["waterfall"] = "outcome=ok&target=well"
    if query := asked.get(view):
        return f"{url}/?request={fetch(f'{url}/api/v1/requests?{query}&limit=1').json()['requests'][0]['id']}"
    return f"{url}/" + {"overview": "", "pair": "?profile=chat&target=broken", "requests": "?requests=1"}[view]


def looks(t: Session, browser: Browser, url: str) -> None:
    for view in VIEWS:
        with t.check(f"the view {view} is accessible in light and dark, and fits a phone"):
            found = []
            for scheme, phone in (("light", False), ("dark", False), ("dark", True)):
                browser.open(url=link(url, view), scheme=scheme, phone=phone)
                if view == "pair":
                    browser.wait("#plots canvas")
                name = f"{view}-{scheme}{'-phone' if phone else ''}"
                found += [f"{name}: {finding}" for finding in browser.axe()]
                wider = browser.overflow()
                if wider > 0:
                    found.append(f"{name}: {wider} px wider than the window")
                browser.picture(path=str(t.artifacts / f"{name}.png"))
            equal(found, [], "findings")


def restart(t: Session, browser: Browser, url: str, daemon) -> None:
    with t.check("after a restart the charts and the list of events go on"):
        before = fetch(f"{url}/api/v1/timeline?kind=run&profile=chat").json()["events"]
        stopped = time.time()
        daemon.signal(signal.SIGTERM)
        daemon.wait(20)
        daemon.restart()
        t.wait_ready(daemon, lambda: serves(f"{url}/-/ready"))
        browser.history()
        browser.open(url=f"{url}/?profile=chat&target=well&hours=1")
        browser.wait("#plots canvas")
        points = fetch(f"{url}/api/v1/history?profile=chat&target=well&hours=1&step=60").json()["points"]
        expect(points and seconds(points[0]["start"]) < stopped, f"the history begins with {points[:1]}")
        expect("p50 nothing" not in browser.attribute("#plots .u-wrap", name="aria-label"), "the chart is empty")
        after = fetch(f"{url}/api/v1/timeline?kind=run,restart&profile=chat").json()["events"]
        expect(len(after) > len(before), "runs were forgotten")
        browser.click("#events summary")
        told = browser.texts("#events li")
        expect(any("tokenbeat did not run" in text for text in told), f"events: {told}")


def seconds(instant: str) -> float:
    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()


def read_only(t: Session, browser: Browser, binary: Path, sim: str) -> None:
    with t.check("a read-only server shows the same without a button, addresses and content"):
        url = f"http://127.0.0.1:{t.port()}"
        # A failed connection tells its address elsewhere.
        closed = f"127.0.0.1:{t.port()}"
        path = config(t, sim, "shown", "server: { read_only: true }")
        target = f'  closed: {{ <<: *target, base_url: "http://{closed}/v1" }}\nprofiles:\n'
        path.write_text(path.read_text().replace("profiles:\n", target).replace("[well, broken]", "[well, broken, closed]"))
        servers.daemon(t, binary, path, url, "shown")
        wait_for("requests, failures and a run", lambda: enough(url), 30)
        refused = f"{url}/api/v1/requests?failed=true&target=closed&limit=1"
        wait_for("a failed connection", lambda: fetch(refused).json()["requests"], 30)
        for view in [*VIEWS, "refused"]:
            equal(browser.open(url=link(url, view)), 200, f"status of {view}")
            expect(browser.count("form#run, .run button") == 0, f"{view} has a button that starts runs")
            for address in (sim.removeprefix("http://"), closed, closed.rpartition(":")[2]):
                expect(address not in browser.text("body"), f"{view} tells the address {address}")
            expect("sky blue" not in browser.text("body"), f"{view} tells what was sent")


def many(t: Session, browser: Browser, binary: Path, sim: str) -> None:
    with t.check("50 profiles with 20 targets each: the overview opens, finds and leads on"):
        url = f"http://127.0.0.1:{t.port()}"
        path = t.home / "many.yaml"
        targets = "".join(f'  t{n}: {{ api: openai-chat, base_url: "{sim}/v1", model: sim-8b }}\n' for n in range(20))
        names = ", ".join(f"t{n}" for n in range(20))
        profiles = "".join(
            f"  p{n}: {{ targets: [{names}], schedule: {{ manual: {{}} }}, workload: {{ prompts: [hi], output_tokens: 2 }} }}\n"
            for n in range(50)
        )
        path.write_text(f"agent: {{ id: many }}\ntargets:\n{targets}profiles:\n{profiles}")
        servers.daemon(t, binary, path, url, "many")
        start = time.monotonic()
        equal(browser.open(url=url), 200, "status")
        took = time.monotonic() - start
        t.note(f"opened in {took:.1f} s")
        expect(took < 10, f"it took {took:.1f} s")
        expect("1000 pairs" in browser.text("#pairs"), browser.text("#pairs")[:200])
        browser.open(url=f"{url}/?q=p7")
        equal(len(browser.texts(".pairs tbody th")), 20, "rows that pass the filter")
        equal(browser.overflow(), 0, "pixels that are too wide")
        browser.picture(path=str(t.artifacts / "many.png"))
