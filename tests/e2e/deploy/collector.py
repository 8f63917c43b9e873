"""Checks a config of the OpenTelemetry Collector without running one: each pipeline names parts that are defined and
support its signal, every defined part is used, and the type of each part is known."""

from collections.abc import Iterator

SIGNALS = {"metrics", "traces", "logs"}
SECTIONS = {"receivers", "processors", "exporters", "connectors", "extensions", "service"}

# Types by section, with their signals and known keys, from the documentation of release 0.159. If the value of a key is
# a map, only the key itself is compared.
CLIENT = {"endpoint", "tls", "headers", "compression", "timeout", "sending_queue", "retry_on_failure", "auth"}
TYPES = {
    "receivers": {
        "otlp": (SIGNALS, {"protocols"}),
        "prometheus": ({"metrics"}, {"config", "target_allocator", "trim_metric_suffixes"}),
    },
    "processors": {
        "memory_limiter": (SIGNALS, {"check_interval", "limit_percentage", "spike_limit_percentage"}),
        "batch": (SIGNALS, {"timeout", "send_batch_size", "send_batch_max_size"}),
    },
    "exporters": {
        "otlp_http": (SIGNALS, CLIENT | {"metrics_endpoint", "traces_endpoint", "logs_endpoint", "encoding"}),
        "otlp_grpc": (SIGNALS, CLIENT | {"balancer_name", "keepalive"}),
        "prometheusremotewrite": ({"metrics"}, CLIENT | {"external_labels", "resource_to_telemetry_conversion"}),
        "debug": (SIGNALS, {"verbosity", "sampling_initial", "sampling_thereafter"}),
    },
    "extensions": {"health_check": (SIGNALS, {"endpoint", "path", "tls"})},
}  # fmt: skip


def findings(config: dict) -> Iterator[str]:
    yield from (f"{name}: no section" for name in config.keys() - SECTIONS)
    for section, types in TYPES.items():
        for name, settings in (config.get(section) or {}).items():
            known = types.get(kind(name))
            if known is None:
                yield f"{section}.{name}: a type that is not known here"
            else:
                yield from (f"{section}.{name}.{key}: no key" for key in (settings or {}).keys() - known[1])
    service = config.get("service", {})
    yield from used(config, "extensions", service.get("extensions", []), "service.extensions")
    pipelines = service.get("pipelines", {})
    if not pipelines:
        yield "service.pipelines: there is none"
    for name, pipeline in pipelines.items():
        yield from fits(config, name, pipeline)
    for section in ("receivers", "processors", "exporters"):
        named = {each for pipeline in pipelines.values() for each in pipeline.get(section, [])}
        yield from (f"{section}.{name}: used by no pipeline" for name in (config.get(section) or {}).keys() - named)


def fits(config: dict, name: str, pipeline: dict) -> Iterator[str]:
    where = f"service.pipelines.{name}"
    if kind(name) not in SIGNALS:
        yield f"{where}: no signal"
    for section in ("receivers", "processors", "exporters"):
        parts = pipeline.get(section, [])
        yield from used(config, section, parts, f"{where}.{section}")
        if not parts:
            yield f"{where}.{section}: none"
        for part in parts:
            signals = TYPES[section].get(kind(part), (SIGNALS, set()))[0]
            if kind(name) not in signals:
                yield f"{where}.{section}: {part} takes no {kind(name)}"
    if kind(next(iter(pipeline.get("processors", [])), "")) != "memory_limiter":
        yield f"{where}.processors: memory_limiter is not the first"


def used(config: dict, section: str, names: list[str], where: str) -> Iterator[str]:
    yield from (f"{where}: {name} is not defined" for name in names if name not in (config.get(section) or {}))


def scrapers(config: dict) -> list[dict]:
    """The parts that contain a config of Prometheus."""
    return [each["config"] for name, each in config["receivers"].items() if kind(name) == "prometheus"]


def kind(name: str) -> str:
    return name.partition("/")[0]
