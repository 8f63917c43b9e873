"""Line-up: the client's measurements next to the backend's own metrics.

The upper rows use the records `llm_backend:*`, which are the same for every engine. Below, each engine has a collapsed
row with its own metrics, which needs no rules.
"""

from engines import ENGINES, SIGNALS, Engine, Extra, Reading, Term
from panels import COUNT, REQUESTS, SECONDS, SHARE, TOKENS, Line, Row, chosen, dashboard, lines, prose
from promql import Theirs
from shared import PAIR, PAIR_LEGEND, failures, notes, ours, variables

TTFT, GAP, TPOT = (
    f"tokenbeat_{name}_seconds" for name in ("time_to_first_token", "chunk_gap", "time_per_output_token")
)
BACKEND = '{engine=~"$engine",job=~"$backend_job",model=~"$backend_model"}'
WHO = "{{engine}} {{model}} {{job}}"


def record(signal: str, operation: str, role: str = "") -> str:
    inner = BACKEND[:-1] + (f',role="{role}"' if role else "") + "}"
    return f"llm_backend:{SIGNALS[signal]}:{operation}{inner}"


def preferred(what: str, signal: str, operation: str) -> str:
    """Metrics of engines if there are any, otherwise of gateways: the same request must not count twice."""
    return f"({what} ({record(signal, operation, 'engine')}) or {what} ({record(signal, operation, 'gateway')}))"


def server_lines(signal: str, *operations: str) -> list[Line]:
    return [Line(record(signal, f"{name}_rate5m"), f"{name} {WHO}") for name in operations]


def difference() -> str:
    """Client minus server, joined by the model's name; or with the only selected backend, regardless of its name.
    An application has no model, and must not be joined with a backend without a model."""
    labels = (*PAIR, "model")
    named, client = ours.quantile(0.5, TTFT, labels, **{"model!=": ""}), ours.quantile(0.5, TTFT, labels)
    server = preferred("max by (model)", "ttft", "p50_rate5m")
    single = f"(max ({record('ttft', 'p50_rate5m')}) and on () (count ({record('ttft', 'p50_rate5m')}) == 1))"
    return f"({named}) - on (model) group_left () {server} or ({client}) - on () group_left () {single}"


def side_by_side() -> list[Row]:
    prompt, answer = (ours.rate("tokenbeat_tokens_total", (), type=kind) for kind in ("input", "output"))
    sent = ours.rate("tokenbeat_requests_total")
    first = Row("First token: client, server, and the difference", [
        lines("Client: time to first token", "How long tokenbeat waited. Compare it with the server's own metric on the right: if"
              " both increase, the cause is the backend; if only this one does, network or gateway.", SECONDS,
              Line(ours.quantile(0.5, TTFT, PAIR), f"p50 {PAIR_LEGEND}"),
              Line(ours.quantile(0.95, TTFT, PAIR), f"p95 {PAIR_LEGEND}", exemplars=True), width=6),
        lines("Server: time to first token", "As the backend reports it for all its traffic, synthetic or not. Gateways report what"
              " they measure of their upstream. TGI, llama.cpp and Triton have none.", SECONDS, *server_lines("ttft", "p50", "p95"), width=6),
        lines("Server: time in the queue", "Time that requests wait for a place in the batch: the part of the time to first token"
              " that more capacity would remove.", SECONDS, *server_lines("queue", "p50", "p95"), Line(record("queue", "mean_rate5m"), f"mean {WHO}"), width=6),
        lines("Network and gateway", "Client minus server, of the medians. This is an estimate of network, TLS and gateway, because"
              " the server's numbers cover all of its traffic. Below zero: other traffic is slower than the probe. The two are"
              " joined by the model's name, so the server must use the name that clients request; or directly if a single backend"
              " is selected.", SECONDS,
              Line(difference(), PAIR_LEGEND), width=6),
    ])  # fmt: skip
    decode = Row("Between tokens", [
        lines("Client: chunk gap and time per token", "Chunk gaps show how content arrives; time per output token does not depend"
              " on batching by proxies.",
              SECONDS, Line(ours.quantile(0.5, GAP, PAIR), f"gap p50 {PAIR_LEGEND}"),
              Line(ours.quantile(0.95, GAP, PAIR), f"gap p95 {PAIR_LEGEND}"), Line(ours.quantile(0.5, TPOT, PAIR), f"per token p50 {PAIR_LEGEND}")),
        lines("Server: inter-token latency", "Time between tokens as the server reports it. If it is even while the client's is"
              " uneven, a proxy buffers chunks.", SECONDS, *server_lines("itl", "p50", "p95")),
        lines("Server: time per output token", "The mean of each request, as the server reports it.", SECONDS,
              *server_lines("tpot", "p50", "p95")),
    ])  # fmt: skip
    load = Row("Load", [
        lines("Client: offered load", "Requests per second that tokenbeat offers, and those in flight.", COUNT,
              Line(ours.rate("tokenbeat_offered_requests_total", PAIR), f"req/s {PAIR_LEGEND}"),
              Line(ours.gauge("sum", "tokenbeat_requests_in_flight", PAIR), f"in flight {PAIR_LEGEND}"), width=6),
        lines("Server: running and waiting", "Requests in the batch, and those that wait for a place. If requests wait while the"
              " probe's load is steady, other traffic fills the backend.", COUNT, Line(record("running", "sum"), f"running {WHO}"),
              Line(record("waiting", "sum"), f"waiting {WHO}"), width=6),
        lines("Server: tokens", "Tokens per second of all its traffic.", TOKENS, Line(record("input", "rate5m"), f"input {WHO}"),
              Line(record("output", "rate5m"), f"output {WHO}"), width=6),
        lines("Share of synthetic load", "Tokenbeat's share of all requests to the selected backends. It should be small: otherwise"
              " the probing changes what it measures. The selected targets and backends must belong together.", SHARE,
              Line(f"{prompt} / ({preferred('sum', 'input', 'rate5m')} > 0)", "input tokens"),
              Line(f"{answer} / ({preferred('sum', 'output', 'rate5m')} > 0)", "output tokens"),
              Line(f"{sent} / ({preferred('sum', 'requests', 'rate5m')} > 0)", "requests"), width=6),
    ])  # fmt: skip
    cached = f"{ours.rate('tokenbeat_cached_input_tokens_total', PAIR)} / ({ours.rate('tokenbeat_tokens_total', PAIR, type='input')} > 0)"
    # Where usage does not report it, the share is unknown and not zero.
    reported = ours.rate("tokenbeat_usage_reports_total", PAIR, part="cached_input", reported="yes")
    cached = f"{cached} and {reported} > 0"
    memory = Row("Cache and failures", [
        lines("Server: KV cache", "Use of the KV cache, mean and fullest replica. Near 100% requests wait or are preempted, and the"
              " first token becomes slow.", SHARE, Line(record("kv", "avg"), f"mean {WHO}"), Line(record("kv", "max"), f"fullest {WHO}"), width=6, top=1),
        lines("Prefix cache hits", "Share of prompt tokens from the server's prefix cache, and the same for the probe alone. With"
              " `cache: bust` the probe should have none; otherwise its time to first token is too good. None is shown of a probe"
              " whose server does not report it.", SHARE,
              Line(record("prefix", "ratio_rate5m"), f"server {WHO}"), Line(cached, f"client {PAIR_LEGEND}"), width=6, top=1),
        lines("Client: failures by reason", "Share of tokenbeat's requests that failed.", SHARE,
              Line(failures(("profile", "target"), "$__rate_interval"), "{{outcome}} {{profile}} → {{target}}"), width=6, stack=True),
        lines("Server: failures and preemptions", "As the server reports them. Failures at the client that the server does not"
              " report occurred in between.", REQUESTS, Line(record("failed", "rate5m"), f"failed {WHO}"),
              Line(record("preempted", "rate5m"), f"preempted {WHO}"), width=6),
    ])  # fmt: skip
    gpu_match = '{engine="dcgm",job=~"$backend_job"}'
    gpu = Row("GPUs", [
        lines(title, says, unit, Line(f"llm_backend:{SIGNALS[signal]}:{operation}{gpu_match}", "{{job}} {{namespace}}"), width=6, top=top)
        for title, says, unit, signal, operation, top in (
            ("Utilisation", "Share of time in which a kernel ran. A high value means busy, not efficient.", SHARE, "gpu", "avg", 1),
            ("Tensor cores", "Share of cycles in which tensor cores worked. High in prefill, low in decode.",
             SHARE, "gpu_tensor", "avg", 1),
            ("Memory", "Used share of the frame buffer. Engines reserve most of it at the start, so a constant value is normal.", SHARE, "gpu_memory", "avg", 1),
            ("Power", "All GPUs together.", "watt", "gpu_power", "sum", None),
        )
    ])  # fmt: skip
    return [first, decode, load, memory, gpu]


def engine_row(engine: Engine) -> Row:
    """The engine's own metrics, with their own names."""
    match = {"job=~": "$backend_job"}
    labels: tuple[str, ...] = ("job",)
    legend = "{{job}}"
    if engine.model:
        match[f"{engine.model}=~"], labels, legend = "$backend_model", ("job", "model"), "{{model}} {{job}}"
    query = Theirs(engine, labels, "$__rate_interval", **match)
    panels = [prose(engine.title, engine.says, engine.says + " Names: " + ", ".join(f"`{name}`" for name in engine.families()) + ".")]
    for signals, title, says, unit in COMMON:
        present = {signal: engine.signals[signal] for signal in signals if signal in engine.signals}
        if not present:
            continue
        shown = [line for signal, term in present.items() for line in term_lines(query, SHORT[signal], term, legend)]
        if "ttft" in present:
            shown.append(Line(ours.quantile(0.5, TTFT, PAIR), f"client p50 {PAIR_LEGEND}"))
        if "itl" in present or "tpot" in present:
            shown.append(Line(ours.quantile(0.5, TPOT, PAIR), f"client p50 {PAIR_LEGEND}"))
        panels.append(lines(f"{engine.title}: {title}", says, unit, *shown, top=1 if unit == SHARE else None))
    panels += [extra_panel(engine, query, extra, legend) for extra in engine.extras]
    return Row(engine.title, panels, closed=True)


def extra_panel(engine: Engine, query: Theirs, extra: Extra, legend: str):
    shown = [line for name, term in extra.lines for line in term_lines(query, name, term, legend)]
    return lines(f"{engine.title}: {extra.title}", extra.says, extra.unit, *shown)


def term_lines(query: Theirs, name: str, reading: Reading, legend: str) -> list[Line]:
    if isinstance(reading, Term) and reading.kind == "histogram" and not reading.part:
        return [Line(query.quantile(q, reading), f"{name} p{q * 100:g} {legend}".strip()) for q in (0.5, 0.95)]
    how = "sum" if name in SUMMED else "avg"
    return [Line(query.value(reading, how), f"{name} {legend}")]


# Numbers of requests, which add up over replicas; shares do not.
SUMMED = ("running", "waiting", "capacity", "deferred", "pending")

SHORT = {
    "ttft": "server", "itl": "between tokens", "tpot": "per token", "duration": "duration", "queue": "queue", "waiting": "waiting",
    "running": "running", "kv": "KV cache", "prefix": "prefix hits", "input": "input", "output": "output", "requests": "requests",
    "failed": "failed", "preempted": "preempted", "gpu": "utilisation", "gpu_tensor": "tensor cores", "gpu_memory": "memory",
    "gpu_power": "power", "predicted": "predicted",
}  # fmt: skip

# Signals that share a panel: title, description, unit.
COMMON = [
    (("ttft", "predicted"), "time to first token", "The server's metric and the client's median: the difference is network and gateway."
     " A gateway that predicts shows what it expected beside what came.", SECONDS),
    (("itl", "tpot"), "time between tokens", "The server's metric and the client's time per output token.", SECONDS),
    (("queue",), "time in the queue", "Waiting for a place in the batch.", SECONDS),
    (("duration",), "request duration", "Whole requests, as the server reports them.", SECONDS),
    (("running", "waiting"), "running and waiting", "Requests in the batch, and those that wait for a place.", COUNT),
    (("kv", "prefix"), "cache", "Use of the KV cache, and the share of the prompt that came from the prefix cache.", SHARE),
    (("input", "output"), "tokens", "Tokens per second of all its traffic.", TOKENS),
    (("requests", "failed", "preempted"), "requests", "Served requests, failed ones, and preemptions.", REQUESTS),
    (("gpu", "gpu_tensor", "gpu_memory"), "use", "Utilisation, tensor cores and memory, mean over the GPUs.", SHARE),
    (("gpu_power",), "power", "Mean power per GPU.", "watt"),
]  # fmt: skip


def backend_variables() -> list:
    of = "llm_backend:output_tokens:rate5m"
    return [
        chosen("engine", "Engine", f"label_values({of}, engine)", "The kind of backend; needs the recording rules."),
        chosen("backend_job", "Backend job", f'label_values({of}{{engine=~"$engine"}}, job)', "The scrape job of the backend."),
        chosen(
            "backend_model", "Backend model", f'label_values({of}{{engine=~"$engine",job=~"$backend_job"}}, model)',
            "The name of the model at the backend.",
        ),
    ]  # fmt: skip


def board():
    rows = side_by_side() + [engine_row(engine) for engine in ENGINES]
    return dashboard(
        "lineup", "Line-up", "What tokenbeat measures as a client, next to the backend's own metrics; the difference is network and"
        " gateway.", [*variables(), *backend_variables()], rows, notes(),
    )  # fmt: skip
