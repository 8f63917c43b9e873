"""Suite helm: the chart as Helm itself renders it, with each `ci/*-values.yaml` and the examples of regions.

Helm's library lints and renders; every object is held against the schemas of the oldest and the newest Kubernetes, or
the definitions of its operator; every pod against the restricted pod security standard; every config that comes out
is read by `tokenbeat check`. There is no cluster, so nothing here says whether a pod starts.
"""

import base64
import gzip
import json
import re
import shutil
import signal
import sys
import tarfile
import tomllib
from pathlib import Path

import install
from chart.cases import ALWAYS, KINDS, MINIMAL, REFUSED
from chart.rendered import Rendered, key_differences, listens, selectors, unrestricted, well_named
from harness import Session, equal, expect, wait_for
from web import Page, fetch, serves

HERE = Path(__file__).resolve().parent / "chart"
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/tokenbeat"
RULES = ROOT / "dashboards/prometheus"
AUTOSCALERS = [ROOT / "docs/deploy/kubernetes" / name for name in ("hpa.yaml", "keda.yaml")]
OLDEST, NEWEST = "1.25", "1.37"
# One more file of the config, which sends nothing.
ADDED = """\
targets: { added: { api: openai-chat, base_url: "http://127.0.0.1:9/v1", model: none } }
profiles: { added: { targets: [added], schedule: { manual: {} }, workload: { prompts: [hello], output_tokens: 1 } } }
"""
RELEASE = 1 << 20  # the most that the Secret holds in which Helm keeps a release


def run(t: Session, binary: Path) -> None:
    with t.check("what the chart copies from elsewhere is what stands there"):
        done = t.command(sys.executable, ROOT / "helm/sync", "--check")
        equal(done.returncode, 0, f"exit code of helm/sync --check\n{done.stdout}{done.stderr}")
    with t.check("Helm and the definitions are there", vital=True):
        python = install.venv("chart", HERE / "requirements.txt") / "bin/python"
        definitions = node_modules()
    jobs = jobs_of(t)
    with t.check(f"Helm renders {len(jobs)} sets of values", vital=True):
        read = [CHART / "values.yaml", *sorted(RULES.glob("*.yaml")), *AUTOSCALERS]
        answer = ask(t, python, {"chart": CHART, "jobs": jobs, "package": t.home, "read": read})
        rendered = {name: Rendered(name, each) for name, each in answer["jobs"].items()}
        source = {Path(path).name: content for path, content in answer["read"].items()}
    for name in KINDS:
        with t.check(f"values {name}: rendered, valid, restricted, its config right"):
            right(t, binary, rendered[name])
    with t.check("objects of operators are as their definitions want them"):
        custom(t, definitions, list(rendered.values()), [source[path.name] for path in AUTOSCALERS])
    for title, (_, named) in REFUSED.items():
        with t.check(f"refused: {title}"):
            error = rendered[f"refused: {title}"].error
            expect(error, "it was rendered")
            expect(named in error, f"{named!r} is not in {error!r}")
    with t.check("values.yaml and its schema have the same keys"):
        schema = json.loads((CHART / "values.schema.json").read_text())
        equal(list(key_differences(source["values.yaml"], schema)), [], "keys that only one of the two has")
    workload(t, rendered)
    with t.check("the daemon starts with the flags and files of the pod, answers its probes, and ends"):
        lives(t, binary, rendered["default"])
    with t.check("numbers and texts of the config arrive as they were written"):
        spelling(t, python, rendered["spelling"])
    with t.check("rules are those of dashboards/prometheus, less what is left out"):
        rules(rendered, {name.removesuffix(".yaml"): each for name, each in source.items() if "groups" in each})
    with t.check("dashboards are those of dashboards/"):
        dashboards(rendered["monitoring"])
    with t.check("the network policy lets through what it should, and no more"):
        policy(rendered["networkpolicy"], rendered["closed-networkpolicy"])
    objects(t, rendered)
    with t.check("the package stands alone, and a release of it fits into its Secret"):
        packaged(t, python, Path(answer["package"]), rendered["monitoring"])


def node_modules() -> Path:
    names = ("package.json", "package-lock.json", "objects.mjs", "others.ts")
    return install.npm("chart-objects", [HERE / name for name in names])


def jobs_of(t: Session) -> dict[str, dict]:
    found = {path.name.removesuffix("-values.yaml"): [path] for path in sorted((CHART / "ci").glob("*.yaml"))}
    for region in sorted((CHART / "examples").glob("*.yaml")):
        if region.stem != "common":
            found[region.stem] = [region.with_name("common.yaml"), region]
    readme = t.home / "readme.yaml"
    readme.write_text(
        "\n".join(re.findall(r"^```yaml\n(.*?)^```", (CHART / "README.md").read_text(), re.DOTALL | re.MULTILINE))
    )
    found["readme"] = [readme]
    equal(set(found), set(KINDS), "values files, and those of which something is expected")
    both = [OLDEST, NEWEST]
    jobs: dict[str, dict] = {name: {"values": files, "kube": both} for name, files in found.items()}
    jobs["availability"]["kube"] = [NEWEST]  # it uses a field that is not in the oldest
    jobs["long"] = {"name": "a" * 53, "set": {"nameOverride": "b" * 63}, "kube": both}
    # Helm allows dots in the names of releases, and anything in overrides; a Service has neither dots nor `_`.
    jobs["dotted"] = {"name": "llm.eu-1", "set": {"nameOverride": "_probes.a b_", "shards": 3}, "kube": both}
    jobs["dashed"] = {"name": "tokenbeat.eu", "set": {"persistence": {"enabled": True}}, "kube": both}
    jobs["overridden"] = {"set": {"fullnameOverride": "-LLM_probes.eu--"}, "kube": both}
    jobs["other-config"] = {"set": {"config": MINIMAL, "restartOnConfigChange": True}}
    jobs["other-prompt"] = {"set": {**jobs["other-config"]["set"], "configFiles": {"prompts.txt": "x"}}}
    keyed = MINIMAL["targets"]["llama"] | {"auth": {"bearer": {"value": "not-a-real-key"}}}
    jobs["literal"] = {"set": {"config": MINIMAL | {"targets": {"llama": keyed}}}}
    jobs["subchart"] = {"set": {"enabled": True, "global": {"another": "value"}}}
    return jobs | {f"refused: {title}": {"set": values} for title, (values, _) in REFUSED.items()}


def ask(t: Session, python: Path, question: dict) -> dict:
    answer = t.home / "rendered.json"
    done = t.command(python, HERE / "render.py", answer, stdin=json.dumps(question, default=str), timeout=300)
    equal(done.returncode, 0, f"exit code of render.py\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return json.loads(answer.read_text())


def right(t: Session, binary: Path, each: Rendered) -> None:
    equal(each.error, None, "error")
    equal([line for line in each.lint if not line.startswith("info")], [], "findings of helm lint")
    equal(each.invalid, [], "what the schemas of Kubernetes refuse")
    wanted = {kind[1:] for kind in KINDS[each.name] if kind[0] == "+"}
    wanted |= ALWAYS - {kind[1:] for kind in KINDS[each.name] if kind[0] == "-"}
    # Dashboards and extra manifests may bring ConfigMaps of their own.
    equal({one["kind"] for one in each.objects} - ({"ConfigMap"} - wanted), wanted, "kinds")
    well_named(each)
    if each.name != "host-network":
        for name, spec in each.pods():
            equal(list(unrestricted(spec)), [], f"what the restricted standard forbids to {name}")
    if (files := each.config_files()) is not None:
        checked(t, binary, each, files)


def checked(t: Session, binary: Path, each: Rendered, files: dict[str, bytes]) -> None:
    """`tokenbeat check` on what the daemon would read, with every variable of the container set."""
    folder = t.home / "etc" / each.name
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # What another object or the cluster fills is a word here: only that it is set matters.
    variables = {one["name"]: one.get("value", "set-by-the-cluster-0") for one in each.daemon().get("env", [])}
    done = t.command(binary, "check", "--config.file", folder, **variables)
    equal(done.returncode, 0, f"exit code of tokenbeat check\n{done.stdout}{done.stderr}")


def custom(t: Session, definitions: Path, rendered: list[Rendered], examples: list[dict]) -> None:
    foreign = [one for each in rendered for one in each.foreign]
    foreign += [{"where": one["kind"], "object": one} for one in examples]
    wanted = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "HTTPRoute"}
    wanted |= {"VerticalPodAutoscaler", "PodMonitoring", "GrafanaDashboard", "HorizontalPodAutoscaler", "ScaledObject"}
    equal({one["object"]["kind"] for one in foreign}, wanted, "kinds that are not of Kubernetes")
    done = t.command("node", definitions / "objects.mjs", stdin=json.dumps(foreign), timeout=120)
    equal(done.returncode, 0, f"exit code of objects.mjs\n{done.stderr[-2000:]}")
    equal(json.loads(done.stdout), [], "findings")


def workload(t: Session, rendered: dict[str, Rendered]) -> None:
    with t.check("the versions of chart, crate and image agree"):
        crate = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        chart = re.search(r"^appVersion: (\S+)", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
        equal(chart and chart[1], crate, "appVersion")
        equal(rendered["default"].daemon()["image"], f"tokenbeat:{crate}", "image")
        image = rendered["names"].daemon()["image"]
        expect(image.startswith("registry.example.net/mirror/team/tokenbeat@sha256:"), image)
    with t.check("one at a time, and time enough to drain"):
        for each in (rendered["default"], rendered["workload"]):
            spec = each.one("Deployment")["spec"]
            equal(spec["strategy"], {"type": "Recreate"}, "strategy")
            grace = int(re.fullmatch(r"(\d+)s", each.flag("--shutdown.grace"))[1])
            allowed = spec["template"]["spec"]["terminationGracePeriodSeconds"]
            expect(allowed >= grace + 5, f"{allowed} s for a grace of {grace} s")
        equal(rendered["paused"].one("Deployment")["spec"]["replicas"], 0, "replicas when paused")
    with t.check("shards are the pods of a StatefulSet, each with its share, its name and its volume"):
        sharded(rendered["shards"])
    with t.check("the daemon listens where probes, Service and policy look"):
        for name in ("default", "closed-networkpolicy", "workload", "tls"):
            listens(rendered[name])
    with t.check("a changed config reaches the pod without a restart, unless a restart is wanted"):
        for name in KINDS:
            mounts = {one["mountPath"]: one for one in rendered[name].daemon()["volumeMounts"]}
            expect("subPath" not in mounts["/etc/tokenbeat"], f"{name}: what is mounted by subPath never changes")
        equal(rendered["full-config"].pod()["metadata"].get("annotations"), None, "annotations of the pod")
        sums = [rendered[name].pod()["metadata"]["annotations"]["checksum/config"] for name in
                ("other-config", "other-prompt")]  # fmt: skip
        expect(sums[0] != sums[1], "another file is no other checksum")
        expect("helm.sh/chart" not in rendered["default"].pod()["metadata"]["labels"], "a new chart is a new pod")
    with t.check("the state file is on a volume where one is wanted, and nowhere else"):
        persistence(rendered)
    with t.check("files of the config arrive byte by byte"):
        for name in ("secret-config", "full-config"):
            wanted = rendered[name].values["configFiles"]
            got = {file: text.decode() for file, text in rendered[name].config_files().items() if file in wanted}
            equal(got, wanted, f"files of {name}")


def sharded(each: Rendered) -> None:
    spec = each.one("StatefulSet")["spec"]
    equal((spec["replicas"], spec["podManagementPolicy"]), (3, "Parallel"), "replicas and their order")
    env = {one["name"]: one for one in each.daemon()["env"]}
    equal(env["TOKENBEAT_SHARD"]["value"], "ordinal/3", "the share")
    for name in ("POD_NAME", "TOKENBEAT__AGENT__ID"):
        equal(env[name]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name", name)
    equal(env["TZ"]["value"], "UTC", "a variable of the values")
    (claim,) = spec["volumeClaimTemplates"]
    equal(claim["metadata"]["name"], "state", "name of the claim, which the container mounts")
    equal(claim["metadata"]["annotations"]["backup"], "rel", "annotation of the claim")
    # What a new version of the chart would change, Kubernetes would refuse.
    equal(claim["metadata"]["labels"], spec["selector"]["matchLabels"], "labels of the claim")
    equal(claim["spec"]["resources"]["requests"]["storage"], "2Gi", "size of the claim")
    equal(spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Delete", "`keep: false`")
    services = {one["metadata"]["name"]: one for one in each.all("Service")}
    headless = services.pop(spec["serviceName"])
    equal((headless["spec"]["clusterIP"], len(services)), ("None", 1), "the Service of the names")
    scraped = each.one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    expect(not scraped.items() <= headless["metadata"]["labels"].items(), "each series would be scraped twice")
    target = each.one("VerticalPodAutoscaler")["spec"]["targetRef"]
    equal((target["kind"], target["name"]), ("StatefulSet", each.one("StatefulSet")["metadata"]["name"]), "target")


def persistence(rendered: dict[str, Rendered]) -> None:
    claims = {"persistence": "rel-tokenbeat", "existing-claim": "rel-data"}
    for name in KINDS:
        spec = rendered[name].pod()["spec"]
        found = [one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one]
        equal(found, [claims[name]] if name in claims else [], f"claims of {name}")
        for pod in rendered[name].all("Pod"):
            held = [one for one in pod["spec"].get("volumes", []) if "persistentVolumeClaim" in one]
            equal(held, [], f"claims of helm test, which may run on another node: {name}")
    for name, wanted in {"persistence": "/var/lib/tokenbeat", "existing-claim": "/data/tokenbeat/state.db"}.items():
        state = re.search(rb"^  state: (\S+)$", rendered[name].config_files()["tokenbeat.yaml"], re.MULTILINE)
        equal(state and state[1].decode(), wanted, f"agent.state of {name}")
        mount = next(one for one in rendered[name].daemon()["volumeMounts"] if one["name"] == "state")
        expect(wanted.startswith(mount["mountPath"]) and not mount.get("readOnly"), f"{name}: {mount}")
    claim = rendered["persistence"].one("PersistentVolumeClaim")
    spec = claim["spec"]
    equal(spec["accessModes"], ["ReadWriteOncePod"], "access modes")
    equal((spec["storageClassName"], spec["resources"]["requests"]["storage"]), ("fast", "2Gi"), "class and size")
    annotations = claim["metadata"]["annotations"]
    equal((annotations["backup"], annotations["helm.sh/resource-policy"]), ("rel", "keep"), "annotations")
    equal(claim["metadata"]["labels"]["tier"], "state", "label")


def lives(t: Session, binary: Path, each: Rendered) -> None:
    """Without a cluster: the flags of the container, but for the address and the place of the volume, which is laid
    out as the kubelet does it."""
    volume, url = t.home / "volume", f"http://127.0.0.1:{t.port()}"
    (volume / "..1").mkdir(parents=True)
    (volume / "..data").symlink_to("..1")
    for name, content in each.config_files().items():
        (volume / "..1" / name).write_bytes(content)
        (volume / name).symlink_to(Path("..data") / name)
    elsewhere = {"--config.file": volume, "--web.listen-address": url.removeprefix("http://")}
    flags = [arg.split("=", 1) for arg in each.daemon()["args"]]
    args = [f"{name}={elsewhere.get(name, *value)}" if value else name for name, *value in flags]
    probes = [url + each.daemon()[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    process = t.start("daemon", [binary, *args], lambda: all(map(serves, probes)), 30)
    build = Page.read(f"{url}/metrics").sum("tokenbeat_build_info")
    equal(build, 1, "tokenbeat_build_info, which helm test looks for")
    swapped(volume, url)
    process.signal(signal.SIGTERM)
    equal(process.wait(30), 0, "exit code after SIGTERM")


def swapped(volume: Path, url: str) -> None:
    """The kubelet brings a changed ConfigMap: a new folder, and then one rename of `..data`. No restart."""
    shutil.copytree(volume / "..1", volume / "..2")
    (volume / "..2" / "added.yaml").write_text(ADDED)
    (volume / "..new").symlink_to("..2")
    (volume / "..new").rename(volume / "..data")
    (volume / "added.yaml").symlink_to(Path("..data") / "added.yaml")

    def played() -> bool:
        pairs = fetch(f"{url}/api/v1/status").json()["pairs"]
        return ("added", "added") in {(pair["profile"], pair["target"]) for pair in pairs}

    wait_for("the changed ConfigMap is in force", played, 60)
    equal(Page.read(f"{url}/metrics").sum("tokenbeat_config_last_reload_successful"), 1, "the last reload")


def spelling(t: Session, python: Path, each: Rendered) -> None:
    """As a reader of YAML 1.1 sees it. `tokenbeat check` has read the same text by YAML 1.2 before, where a label
    that is not text is an error."""
    file = t.home / "spelling.yaml"
    file.write_bytes(each.config_files()["tokenbeat.yaml"])
    config = ask(t, python, {"chart": CHART, "jobs": {}, "read": [file]})["read"][str(file)]
    equal(config, each.values["config"], "config")
    budget = config["agent"]["budget"]
    equal((type(budget["requests"]), type(budget["tokens"])), (int, int), "types of whole numbers")


def rules(rendered: dict[str, Rendered], source: dict[str, dict]) -> None:
    expect(source, "no rules in dashboards/prometheus")
    every = rendered["eu-west-1"].rules("rel-tokenbeat-")
    equal(every, source, "rules, when none is left out")
    some = rendered["monitoring"].rules("rel-tokenbeat-")
    equal(set(some), (set(source) | {"extra"}) - {"backends"}, "files")

    def alerts(found: dict[str, dict]) -> dict[str, dict]:
        listed = (rule for each in found.values() for group in each["groups"] for rule in group["rules"])
        return {rule["alert"]: rule for rule in listed if "alert" in rule}

    left = alerts({name: each for name, each in source.items() if name != "backends"})
    del left["TokenbeatRateLimitHeadroomLow"]
    equal(alerts(some).keys() - left.keys(), {"TokenbeatSpendsMuch"}, "alerts that are new")
    for name, rule in left.items():
        wanted = rule | {"labels": rule["labels"] | {"team": "inference"}}
        equal(alerts(some).get(name), wanted, f"alert {name}")
    for each in rendered["monitoring"].all("PrometheusRule"):
        equal(each["metadata"]["labels"]["release"], "kube-prometheus-stack", "label `release`")
        equal(each["metadata"]["namespace"], "monitoring", "namespace")


def dashboards(each: Rendered) -> None:
    source = {path.name: json.loads(path.read_text()) for path in (ROOT / "dashboards").glob("*.json")}
    expect(source, "no dashboards in dashboards/")
    maps = [one for one in each.all("ConfigMap") if "grafana_dashboard" in one["metadata"]["labels"]]
    got = {file: json.loads(text) for one in maps for file, text in one["data"].items()}
    equal(set(got), set(source), "files")
    for name, dashboard in got.items():
        expect(dashboard == source[name], f"{name} is not the one of dashboards/")
    named = {(one["spec"]["configMapRef"]["name"], one["spec"]["configMapRef"]["key"])
             for one in each.all("GrafanaDashboard")}  # fmt: skip
    equal(named, {(one["metadata"]["name"], file) for one in maps for file in one["data"]}, "references")


def policy(each: Rendered, closed: Rendered) -> None:
    spec = each.one("NetworkPolicy")["spec"]
    equal(spec["policyTypes"], ["Ingress", "Egress"], "types")
    dns, internet, target, collector = spec["egress"]
    equal({(rule["port"], rule["protocol"]) for rule in dns["ports"]}, {(53, "UDP"), (53, "TCP")}, "DNS")
    equal([rule["port"] for rule in internet["ports"]], [443, 8443], "ports to the internet")
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in internet["to"]}
    equal(set(blocks), {"0.0.0.0/0", "::/0"}, "blocks")
    expect("169.254.0.0/16" in blocks["0.0.0.0/0"] and "fc00::/7" in blocks["::/0"], f"exceptions {blocks}")
    expect(not any(":" in cidr for cidr in blocks["0.0.0.0/0"]), "an exception of the other family")
    equal((target["ports"], collector["ports"]), ([{"port": 8000}], [{"port": 4317}]), "ports inside the cluster")
    own, extra = spec["ingress"]
    peer = extra["from"][0]["namespaceSelector"]["matchLabels"]
    equal(peer, {"kubernetes.io/metadata.name": "ns-ingress"}, "a template in a rule")
    test = each.one("Pod")["metadata"]["labels"]
    local = [one["podSelector"]["matchLabels"] for one in own["from"] if "namespaceSelector" not in one]
    expect(any(one.items() <= test.items() for one in local), "the pod of helm test is not let in")
    spec = closed.one("NetworkPolicy")["spec"]
    expect(all(rule["from"] for rule in spec["ingress"]), "a rule without peers lets everyone in")
    equal([rule.get("to") for rule in spec["egress"]], [None], "egress: DNS, to anyone")


def objects(t: Session, rendered: dict[str, Rendered]) -> None:
    with t.check("a disruption budget does not block the drain of a node"):
        spec = rendered["availability"].one("PodDisruptionBudget")["spec"]
        equal((spec.get("maxUnavailable"), spec.get("minAvailable")), (1, None), "budget")
        equal(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow", "a pod that drains")
        older = rendered["names"].one("PodDisruptionBudget")["spec"]
        expect("unhealthyPodEvictionPolicy" not in older, "a field that Kubernetes 1.26 does not know")
    with t.check("selectors find the daemon, and not the pod of helm test"):
        for name in KINDS:
            selectors(rendered[name])
    with t.check("commonLabels and commonAnnotations are on everything"):
        for each in rendered["names"].objects:
            equal(each["metadata"]["labels"].get("cost-center"), "ns", f"label of {each['kind']}")
            equal(each["metadata"]["annotations"].get("owner"), "inference", f"annotation of {each['kind']}")
            equal(each["metadata"]["namespace"], "probing", f"namespace of {each['kind']}")
    with t.check("a parent chart may have a condition and more global values"):
        equal(rendered["subchart"].error, None, "error")
    with t.check("the longest names still fit"):
        equal((rendered["long"].error, rendered["long"].invalid), (None, []), "findings")
        well_named(rendered["long"])
    with t.check("the notes describe the traffic"):
        for name, said in {
            "default": "sends nothing",
            "full-config": "chat, hosted against hosted, vllm",
            "paused": "nothing is spent",
            "existing-configmap": "rel-settings",
            "literal": "credentials of llama",
            "other-config": "start again with each new pod",
            "persistence": "are stored on the claim rel-tokenbeat.",
            "existing-claim": "on the claim rel-data.",
            "ingress": "https://rel.example.net/",
            "tls": "https://127.0.0.1:9464/",
        }.items():
            notes = rendered[name].notes
            expect(said in notes, f"{said!r} is not in the notes of {name}:\n{notes}")
        expect("not-a-real-key" not in rendered["literal"].notes, "the notes tell a secret")
        expect("WARNING" not in rendered["full-config"].notes, "a warning without a reason")


def packaged(t: Session, python: Path, package: Path, before: Rendered) -> None:
    folder = t.home / "unpacked"
    with tarfile.open(package) as archive:
        names = archive.getnames()
        expect(not any(member.issym() or member.islnk() for member in archive.getmembers()), "it has links")
        archive.extractall(folder, filter="data")
    expect(not any("/ci/" in name or "/examples/" in name for name in names), "it carries ci/ or examples/")
    job = {"values": [CHART / "ci/monitoring-values.yaml"]}
    again = ask(t, python, {"chart": folder / "tokenbeat", "jobs": {"again": job}})["jobs"]["again"]
    expect(Rendered("again", again).objects == before.objects, "it renders something else than its folder")
    chart = {name: (folder / name).read_text() for name in names if (folder / name).is_file()}
    # Helm keeps chart and manifest as JSON, zipped and in base64; Kubernetes puts base64 around it once more.
    release = base64.b64encode(gzip.compress(json.dumps([chart, before.objects]).encode()))
    size = len(base64.b64encode(release))
    t.note(f"a release with everything in it: {size >> 10} KiB of at most {RELEASE >> 10}")
    expect(size < RELEASE * 0.8, f"a release has {size} bytes")
