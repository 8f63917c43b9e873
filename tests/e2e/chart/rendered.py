"""The result of rendering one set of values, and the rules that hold for all of them."""

import base64
import json
import re
from collections.abc import Iterator

from harness import equal, expect

APPLIED = 256 << 10  # the largest annotation in which `kubectl apply` stores an object
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


class Rendered:
    """The result of rendering one set of values."""

    def __init__(self, name: str, answer: dict):
        self.name = name
        self.lint, self.error, self.notes = answer["lint"], answer["error"], answer["notes"]
        self.invalid, self.values = answer["invalid"], answer["values"]
        self.foreign = [one | {"where": f"{name}: {one['where']}"} for one in answer["foreign"]]
        self.templates = answer["objects"]
        self.objects = [each["object"] for each in answer["objects"]]

    def all(self, kind: str) -> list[dict]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> dict:
        found = self.all(kind)
        equal(len(found), 1, f"{kind}s of {self.name}")
        return found[0]

    def workload(self) -> dict:
        """What the daemon's pod is of: a Deployment, or with shards a StatefulSet."""
        return self.one("StatefulSet" if self.all("StatefulSet") else "Deployment")

    def pod(self) -> dict:
        """The pod of the daemon."""
        return self.workload()["spec"]["template"]

    def pods(self) -> list[tuple[str, dict]]:
        """Name and spec of each pod, including that of `helm test`."""
        found = [("the daemon", self.pod()["spec"])]
        return found + [(each["metadata"]["name"], each["spec"]) for each in self.all("Pod")]

    def daemon(self) -> dict:
        return self.pod()["spec"]["containers"][0]

    def flag(self, name: str) -> str:
        return next(arg.split("=", 1)[1] for arg in self.daemon()["args"] if arg.startswith(f"{name}="))

    def config_files(self) -> dict[str, bytes] | None:
        """The files in the daemon's folder, unless they come from an object outside the chart."""
        name = self.workload()["metadata"]["name"]
        for each in self.all("ConfigMap") + self.all("Secret"):
            if each["metadata"]["name"] == name:
                decode = base64.b64decode if each["kind"] == "Secret" else str.encode
                return {file: decode(text) for file, text in each["data"].items()}
        return None

    def rules(self, prefix: str) -> dict[str, dict]:
        """The content of each PrometheusRule, by its name without the prefix."""
        return {each["metadata"]["name"].removeprefix(prefix): each["spec"] for each in self.all("PrometheusRule")}


def well_named(each: Rendered) -> None:
    seen = set()
    for one in each.templates:
        if "extra-manifests" in one["template"]:
            continue
        meta, kind = one["object"]["metadata"], one["object"]["kind"]
        what = f"{kind} {meta['name']}"
        longest = 63 if kind in ("Service", "Pod") else 253
        expect(NAME.fullmatch(meta["name"]) and len(meta["name"]) <= longest, f"{what}: no name for Kubernetes")
        expect(meta.get("namespace"), f"{what} has no namespace")
        for key in ("helm.sh/chart", *(f"app.kubernetes.io/{key}" for key in ("name", "instance", "version"))):
            expect(key in meta["labels"], f"{what} lacks the label {key}")
        for key, value in meta["labels"].items():
            expect(LABEL.fullmatch(value) and len(value) <= 63, f"{what}: {key}={value!r} is no label")
        identity = (kind, meta["namespace"], meta["name"])
        expect(identity not in seen, f"{identity} is there twice")
        seen.add(identity)
        size = len(json.dumps(one["object"]))
        expect(size < APPLIED, f"{what} has {size} bytes: too many for `kubectl apply`")


def unrestricted(spec: dict) -> Iterator[str]:
    """Violations of the pod security standard `restricted` in a pod, and a writable root file system."""
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    for volume in spec.get("volumes", []):
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    for container in spec["containers"] + spec.get("initContainers", []):
        name, own = container["name"], container.get("securityContext", {})
        both = spec.get("securityContext", {}) | own
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            yield f"{name}: may run as root"
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name}: may gain privileges"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name}: capabilities {capabilities}"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: writes into its root"
        yield from (f"{name}: host port" for port in container.get("ports", []) if port.get("hostPort"))


def listens(each: Rendered) -> None:
    """Flag, port of the container, probes, Service and policy use the same port."""
    daemon = each.daemon()
    host, _, port = each.flag("--web.listen-address").rpartition(":")
    expect(host in ("0.0.0.0", "[::]"), f"the daemon listens on {host}, which nobody else reaches")
    equal([(one["name"], one["containerPort"]) for one in daemon["ports"]], [("http", int(port))], "ports")
    probes = [daemon[name] for name in ("livenessProbe", "readinessProbe")]
    equal({(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes}, {"http"}, "port of the probes")
    paths = [probe.get("httpGet", {}).get("path") for probe in probes]
    expect(paths in ([None, None], ["/-/healthy", "/-/ready"]), f"the probes ask {paths}")
    for service in each.all("Service"):
        equal([one["targetPort"] for one in service["spec"]["ports"]], ["http"], "target of the Service")
    for one in each.all("NetworkPolicy"):
        equal([rule["port"] for rule in one["spec"]["ingress"][0]["ports"]], [int(port)], "port of the policy")


def selectors(each: Rendered) -> None:
    """Each selector of pods matches the daemon's and not that of `helm test`; a monitor selects the Service."""
    pod = each.pod()["metadata"]["labels"]
    found = [("the workload", each.workload()["spec"]["selector"]["matchLabels"])]
    found += [("Service", one["spec"]["selector"]) for one in each.all("Service")]
    found += [("NetworkPolicy", one["spec"]["podSelector"]["matchLabels"]) for one in each.all("NetworkPolicy")]
    for kind in ("PodMonitor", "PodMonitoring", "PodDisruptionBudget"):
        found += [(kind, one["spec"]["selector"]["matchLabels"]) for one in each.all(kind)]
    for kind, selector in found:
        expect(selector.items() <= pod.items(), f"{each.name}: {kind} does not find the daemon")
        for test in each.all("Pod"):
            expect(not selector.items() <= test["metadata"]["labels"].items(), f"{each.name}: {kind} finds the test")
    for monitor in each.all("ServiceMonitor"):
        spec = monitor["spec"]
        (service,) = (one["metadata"] for one in each.all("Service") if one["spec"].get("clusterIP") != "None")
        expect(spec["selector"]["matchLabels"].items() <= service["labels"].items(), "the Service is not found")
        equal(spec["namespaceSelector"]["matchNames"], [service["namespace"]], "namespace")
        expect(spec["jobLabel"] in service["labels"], "the Service lacks the label for `job`")
    for monitor in each.all("PodMonitor"):
        expect(monitor["spec"]["jobLabel"] in pod, "the pod lacks the label for `job`")


def key_differences(values: dict, schema: dict, path: str = "") -> Iterator[str]:
    """Keys that only the default values or only the schema has, where the schema allows no further keys."""
    if schema.get("additionalProperties", True) is not False:
        return
    properties = schema["properties"]
    # The condition of a parent chart, which is not in our values.
    yield from (f"{path}/{key}" for key in sorted(values.keys() ^ properties.keys()) if path or key != "enabled")
    for key in values.keys() & properties.keys():
        if isinstance(values[key], dict):
            yield from key_differences(values[key], properties[key], f"{path}/{key}")
