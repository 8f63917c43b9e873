"""The backends that are compared with tokenbeat, and the names of their metrics.

Recording rules, the rows of the Line-up dashboard, its fixtures and the list of allowed names all use this list.
Names are as they appear on the wire: Python's client library appends `_total` to counters, which the projects' own
documentation often omits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Term:
    """One metric with its matchers. `name` is the family's; `part` is `_sum` or `_count` of a histogram."""

    name: str
    kind: str  # histogram, gauge, counter
    match: dict[str, str] = field(default_factory=dict)
    part: str = ""
    scale: float = 1  # to base units

    def __hash__(self) -> int:
        return hash((self.name, self.part, tuple(self.match.items())))


def H(name: str, **match: str) -> Term:
    return Term(name, "histogram", match)


def G(name: str, scale: float = 1, **match: str) -> Term:
    return Term(name, "gauge", match, scale=scale)


def C(name: str, scale: float = 1, **match: str) -> Term:
    return Term(name, "counter", match, scale=scale)


def Sum(name: str, **match: str) -> Term:
    return Term(name, "histogram", match, "_sum")


def Count(name: str, **match: str) -> Term:
    return Term(name, "histogram", match, "_count")


@dataclass(frozen=True)
class Per:
    """The rate of one term divided by the rate of others: a share, or a mean."""

    above: Term
    below: tuple[Term, ...]


@dataclass(frozen=True)
class Either:
    """A metric whose kind or name differs between versions: the reading of newer ones, and that of older ones."""

    new: "Term | Per"
    old: "Term | Per"


Reading = Term | Per | Either


@dataclass(frozen=True)
class Extra:
    """A panel in addition to the common ones; its lines are readings with a legend."""

    title: str
    unit: str
    says: str
    lines: tuple[tuple[str, Reading], ...]


@dataclass(frozen=True)
class Engine:
    key: str
    title: str
    role: str  # engine, gateway, gpu
    says: str
    signals: dict[str, Term | Per]
    phases: dict[str, Term | Per] = field(default_factory=dict)  # what tokenbeat itself also reads, see `PHASES`
    model: str = ""  # the label with the model's name
    match: dict[str, str] = field(default_factory=dict)  # on every term
    extras: tuple[Extra, ...] = ()
    native: bool = False  # may come as native histograms (over OTLP)
    modelless: tuple[str, ...] = ()  # metrics without the model's name

    def terms(self) -> Iterator[Term]:
        shown = [term for extra in self.extras for _, term in extra.lines]
        for reading in [*self.signals.values(), *self.phases.values(), *shown]:
            yield from terms(reading)

    def families(self) -> dict[str, str]:
        """Each metric and its kind; of one whose kind changed, the newer."""
        found: dict[str, str] = {}
        for term in self.terms():
            found.setdefault(term.name, term.kind)
        return found


def terms(reading: Reading) -> Iterator[Term]:
    """The metrics of a reading."""
    if isinstance(reading, Either):
        yield from terms(reading.new)
        yield from terms(reading.old)
    elif isinstance(reading, Per):
        yield reading.above
        yield from reading.below
    else:
        yield reading


def mean(name: str, scale: float = 1, **match: str) -> Per:
    """The mean of a histogram's values."""
    above = Term(name, "histogram", match, "_sum", scale)
    return Per(above, (Term(name, "histogram", match, "_count"),))


# Signals and the names of their records; the kind of a term determines its aggregation.
SIGNALS = {
    "ttft": "time_to_first_token_seconds",
    "itl": "inter_token_latency_seconds",
    "tpot": "time_per_output_token_seconds",
    "duration": "request_duration_seconds",
    "queue": "queue_time_seconds",
    "waiting": "requests_waiting",
    "running": "requests_running",
    "kv": "kv_cache_usage",
    "input": "input_tokens",
    "output": "output_tokens",
    "prefix": "prefix_cache_hit",
    "requests": "requests",
    "failed": "failed_requests",
    "preempted": "preemptions",
    "gpu": "gpu_utilization",
    "gpu_memory": "gpu_memory_usage",
    "gpu_power": "gpu_power_watts",
    "gpu_tensor": "gpu_tensor_active",
    "predicted": "predicted_time_to_first_token_seconds",
}

# Parts of a request at the server that have no record of their own, but are part of the account that tokenbeat reads.
PHASES = ("prefill", "decode", "prefill_per_token", "decode_per_token")

# Tokenbeat's own GenAI client metrics have the same names as a gateway's: its series have a location.
NOT_OURS = {"location": "", "job!~": "(.+/)?tokenbeat.*"}

ENGINES = [
    Engine(
        "vllm", "vLLM", "engine", "vLLM's own page (`/metrics`), V1 engine.", model="model_name",
        modelless=("http_requests_total",),
        signals={
            "ttft": H("vllm:time_to_first_token_seconds"),
            "itl": H("vllm:inter_token_latency_seconds"),
            "tpot": H("vllm:request_time_per_output_token_seconds"),
            "duration": H("vllm:e2e_request_latency_seconds"),
            "queue": H("vllm:request_queue_time_seconds"),
            "waiting": G("vllm:num_requests_waiting"),
            "running": G("vllm:num_requests_running"),
            "kv": G("vllm:kv_cache_usage_perc"),
            "input": C("vllm:prompt_tokens_total"),
            "output": C("vllm:generation_tokens_total"),
            "prefix": Per(C("vllm:prefix_cache_hits_total"), (C("vllm:prefix_cache_queries_total"),)),
            "requests": C("vllm:request_success_total"),
            "preempted": C("vllm:num_preemptions_total"),
        },
        phases={"prefill": H("vllm:request_prefill_time_seconds"), "decode": H("vllm:request_decode_time_seconds")},
        extras=(
            Extra("where a request's time goes", "s", "Mean time of each phase: more prefill is due to the prompts, more decode to"
                  " batch size or KV pressure.", (
                ("queue", mean("vllm:request_queue_time_seconds")),
                ("prefill", mean("vllm:request_prefill_time_seconds")),
                ("decode", mean("vllm:request_decode_time_seconds")),
            )),
            Extra("waiting, by reason", "short", "`capacity`: the batch or the KV cache is full. `deferred`: the request waits for something"
                  " else, such as a KV transfer or a LoRA adapter, which more capacity does not cure.", (
                ("capacity", G("vllm:num_requests_waiting_by_reason", reason="capacity")),
                ("deferred", G("vllm:num_requests_waiting_by_reason", reason="deferred")),
            )),
            Extra("KV transfer between prefill and decode", "s", "Mean time of a NIXL transfer, and of handing it over. Each rank of a"
                  " tensor-parallel engine counts its own transfers. Only with disaggregated prefill.", (
                ("transfer", mean("vllm:nixl_xfer_time_seconds")),
                ("post", mean("vllm:nixl_post_time_seconds")),
            )),
            Extra("failed KV transfers", "ops", "Transfers and notifications that failed, and requests whose KV expired at the prefill"
                  " worker before the decode worker fetched it: these are prefilled again. Counted by each rank.", (
                ("failed transfers", C("vllm:nixl_num_failed_transfers_total")),
                ("failed notifications", C("vllm:nixl_num_failed_notifications_total")),
                ("expired", C("vllm:nixl_num_kv_expired_reqs_total")),
            )),
            Extra("KV offload", "Bps", "Bytes per second between the GPU and the offloaded cache. Stores without loads: what is offloaded is"
                  " never used again.", (
                ("load", Either(C("vllm:kv_offload_load_bytes_total"),
                                C("vllm:kv_offload_total_bytes_total", transfer_type="CPU_to_GPU"))),
                ("store", Either(C("vllm:kv_offload_store_bytes_total"),
                                 C("vllm:kv_offload_total_bytes_total", transfer_type="GPU_to_CPU"))),
            )),
            Extra("prefix cache outside of the GPU", "percentunit", "Share of the prompt tokens that were looked up in the KV connector"
                  " and found there: in offloaded memory, or at another instance.", (
                ("external hits", Per(C("vllm:external_prefix_cache_hits_total"), (C("vllm:external_prefix_cache_queries_total"),))),
            )),
            Extra("HTTP answers", "reqps", "Answers of its HTTP server; vLLM has no counter of failed requests.", (
                ("2xx", C("http_requests_total", status="2xx")),
                ("4xx", C("http_requests_total", status="4xx")),
                ("5xx", C("http_requests_total", status="5xx")),
            )),
        ),
    ),
    Engine(
        "sglang", "SGLang", "engine", "SGLang's page, with `--enable-metrics`.", model="model_name",
        signals={
            "ttft": H("sglang:time_to_first_token_seconds"),
            "itl": H("sglang:inter_token_latency_seconds"),
            "duration": H("sglang:e2e_request_latency_seconds"),
            "queue": H("sglang:queue_time_seconds"),
            "waiting": G("sglang:num_queue_reqs"),
            "running": G("sglang:num_running_reqs"),
            "kv": G("sglang:token_usage"),
            "input": C("sglang:prompt_tokens_total"),
            "output": C("sglang:generation_tokens_total"),
            "prefix": G("sglang:cache_hit_rate"),
            "requests": C("sglang:num_requests_total"),
            "failed": C("sglang:num_aborted_requests_total"),
            "preempted": C("sglang:num_retracted_requests_total"),
        },
        extras=(
            Extra("queues of a disaggregated deployment", "short", "Requests between prefill and decode workers; the side with a"
                  " growing queue is too small.", (
                ("prefill bootstrap", G("sglang:num_prefill_bootstrap_queue_reqs")),
                ("prefill in flight", G("sglang:num_prefill_inflight_queue_reqs")),
                ("decode preallocation", G("sglang:num_decode_prealloc_queue_reqs")),
                ("decode transfer", G("sglang:num_decode_transfer_queue_reqs")),
            )),
            Extra("KV transfer between prefill and decode", "s", "Mean time of a transfer; older builds have a gauge with the last one."
                  " The metric itself is in milliseconds.", (
                ("transfer", Either(mean("sglang:kv_transfer_latency_ms", 1e-3), G("sglang:kv_transfer_latency_ms", scale=1e-3))),
            )),
            Extra("failed KV transfers", "ops", "Requests whose KV transfer failed, or whose prefill and decode worker did not find each"
                  " other.", (
                ("failed transfers", C("sglang:num_transfer_failed_reqs_total")),
                ("failed bootstraps", C("sglang:num_bootstrap_failed_reqs_total")),
            )),
            Extra("accepted drafts", "percentunit", "Share of the drafted tokens that speculative decoding accepted. Where it falls, decode"
                  " becomes slower although the load is the same.", (
                ("accepted", G("sglang:spec_accept_rate")),
            )),
            Extra("accepted length", "short", "Mean number of tokens that a step of speculative decoding yields.", (
                ("tokens", G("sglang:spec_accept_length")),
            )),
        ),
    ),
    Engine(
        "tgi", "TGI", "engine", "Text Generation Inference. It has no time to first token, and its mean time per token includes the"
        " prefill, so it is not comparable with a decode pace.",
        signals={
            "duration": H("tgi_request_duration"),
            "queue": H("tgi_request_queue_duration"),
            "waiting": G("tgi_queue_size"),
            "running": G("tgi_batch_current_size"),
            "input": Sum("tgi_request_input_length"),
            "output": Sum("tgi_request_generated_tokens"),
            "requests": C("tgi_request_success"),
            "failed": C("tgi_request_failure"),
        },
        extras=(
            Extra("mean time per token, including prefill", "s", "Inference time over generated tokens, as TGI defines it.", (
                ("mean", mean("tgi_request_mean_time_per_token_duration")),
            )),
        ),
    ),
    Engine(
        "tensorrt-llm", "TensorRT-LLM", "engine", "`trtllm-serve`.", model="model_name",
        signals={
            "ttft": H("trtllm_time_to_first_token_seconds"),
            "tpot": H("trtllm_time_per_output_token_seconds"),
            "duration": H("trtllm_e2e_request_latency_seconds"),
            "queue": H("trtllm_request_queue_time_seconds"),
            "waiting": G("trtllm_num_requests_waiting"),
            "running": G("trtllm_num_requests_running"),
            "kv": G("trtllm_kv_cache_utilization"),
            "input": C("trtllm_prompt_tokens_total"),
            "output": C("trtllm_generation_tokens_total"),
            "prefix": G("trtllm_kv_cache_hit_rate"),
            "requests": C("trtllm_request_success_total"),
            "failed": C("trtllm_request_error_total"),
        },
        phases={"prefill": H("trtllm_request_prefill_time_seconds"), "decode": H("trtllm_request_decode_time_seconds")},
    ),
    Engine(
        "triton", "TensorRT-LLM on Triton", "engine", "Triton's TensorRT-LLM backend. Without opt-in it has no histograms:"
        " the queue time is a mean.", model="model",
        signals={
            "queue": Per(C("nv_inference_queue_duration_us", scale=1e-6), (C("nv_inference_request_success"),)),
            "waiting": G("nv_trt_llm_request_metrics", request_type="waiting"),
            "running": G("nv_trt_llm_request_metrics", request_type="active"),
            "kv": G("nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="fraction"),
            "requests": C("nv_inference_request_success"),
            "failed": C("nv_inference_request_failure"),
        },
    ),
    Engine(
        "nim", "NIM", "engine", "NIM 1.x. Its names have no prefix and collide with others', so the rules use only scrape jobs with"
        " `nim` in their name.", model="model_name", match={"job=~": "(?i).*nim.*"},
        signals={
            "ttft": H("time_to_first_token_seconds"),
            "tpot": H("time_per_output_token_seconds"),
            "duration": H("e2e_request_latency_seconds"),
            "waiting": G("num_requests_waiting"),
            "running": G("num_requests_running"),
            "kv": G("gpu_cache_usage_perc"),
            "input": C("prompt_tokens_total"),
            "output": C("generation_tokens_total"),
            "requests": C("request_success_total"),
            "failed": C("request_failure_total"),
        },
    ),
    Engine(
        "llamacpp", "llama.cpp", "engine", "llama.cpp's server, with `--metrics`. It has neither histograms nor labels; give"
        " the scrape job a `model` label, so that it can be joined.",
        signals={
            "waiting": G("llamacpp:requests_deferred"),
            "running": G("llamacpp:requests_processing"),
            "input": C("llamacpp:prompt_tokens_total"),
            "output": C("llamacpp:tokens_predicted_total"),
            "prefix": Per(C("llamacpp:prompt_tokens_cached_total"),
                          (C("llamacpp:prompt_tokens_cached_total"), C("llamacpp:prompt_tokens_total"))),
        },
        phases={
            "prefill_per_token": Per(C("llamacpp:prompt_seconds_total"), (C("llamacpp:prompt_tokens_total"),)),
            "decode_per_token": Per(C("llamacpp:tokens_predicted_seconds_total"), (C("llamacpp:tokens_predicted_total"),)),
        },
        extras=(
            Extra("time per token", "s", "Mean time per token of prefill and of decode.", (
                ("prefill", Per(C("llamacpp:prompt_seconds_total"), (C("llamacpp:prompt_tokens_total"),))),
                ("decode", Per(C("llamacpp:tokens_predicted_seconds_total"), (C("llamacpp:tokens_predicted_total"),))),
            )),
            Extra("busy slots", "short", "Slots that decode together; at the number of slots, requests are deferred.", (
                ("busy slots per decode", G("llamacpp:n_busy_slots_per_decode")),
            )),
        ),
    ),
    Engine(
        "dynamo", "Dynamo", "gateway", "Dynamo's frontend; its workers export the metrics of their engines.", model="model",
        modelless=(
            "dynamo_component_gpu_cache_usage_percent", "dynamo_frontend_stage_duration_seconds",
            "dynamo_request_plane_queue_seconds", "dynamo_frontend_router_queue_pending_requests",
        ),
        signals={
            "ttft": H("dynamo_frontend_time_to_first_token_seconds"),
            "itl": H("dynamo_frontend_inter_token_latency_seconds"),
            "duration": H("dynamo_frontend_request_duration_seconds"),
            "waiting": G("dynamo_frontend_queued_requests"),
            "running": G("dynamo_frontend_inflight_requests"),
            "kv": G("dynamo_component_gpu_cache_usage_percent"),
            "input": Sum("dynamo_frontend_input_sequence_tokens"),
            "output": C("dynamo_frontend_output_tokens_total"),
            "prefix": Per(Sum("dynamo_frontend_cached_tokens"), (Sum("dynamo_frontend_input_sequence_tokens"),)),
            "requests": C("dynamo_frontend_requests_total"),
            "failed": C("dynamo_frontend_requests_total", status="error"),
        },
        extras=(
            Extra("stages of the frontend", "s", "Mean time of each stage, and the time in which the request plane prepares a request before"
                  " it is sent. `transport_roundtrip` includes the worker: if it alone grows, the frontend is not the cause.", (
                *((stage, mean("dynamo_frontend_stage_duration_seconds", stage=stage))
                  for stage in ("preprocess", "route", "transport_roundtrip")),
                ("request plane", mean("dynamo_request_plane_queue_seconds")),
            )),
            Extra("queue of the router", "short", "Requests that the router holds back until a worker has room.", (
                ("pending", G("dynamo_frontend_router_queue_pending_requests")),
            )),
        ),
    ),
    Engine(
        "litellm", "LiteLLM", "gateway", "The LiteLLM proxy. The requested name of a model is the name in the client's request; its"
        " time to first token is that of the upstream, measured at the proxy.", model="requested_model",
        modelless=("litellm_in_flight_requests", "litellm_overhead_latency_metric", "litellm_deployment_state"),
        signals={
            "ttft": H("litellm_llm_api_time_to_first_token_metric"),
            "duration": H("litellm_request_total_latency_metric"),
            "queue": H("litellm_request_queue_time_seconds"),
            "running": G("litellm_in_flight_requests"),
            "input": C("litellm_input_tokens_metric_total"),
            "output": C("litellm_output_tokens_metric_total"),
            "requests": C("litellm_proxy_total_requests_metric_total"),
            "failed": C("litellm_proxy_failed_requests_metric_total"),
        },
        extras=(
            Extra("time in the proxy and upstream", "s", "Mean time of the upstream call and of the proxy's own work.", (
                ("upstream", mean("litellm_llm_api_latency_metric")),
                ("proxy", mean("litellm_overhead_latency_metric")),
            )),
            Extra("state of the deployments", "short", "0: healthy, 1: partly failing, 2: down.", (
                ("state", G("litellm_deployment_state")),
            )),
        ),
    ),
    Engine(
        "envoy", "Envoy AI Gateway", "gateway", "Envoy AI Gateway, or another server with OpenTelemetry's GenAI server metrics."
        " The name of the token metric differs with the translator.", model="gen_ai_request_model", match=NOT_OURS,
        native=True,
        signals={
            "ttft": H("gen_ai_server_time_to_first_token_seconds"),
            "tpot": H("gen_ai_server_time_per_output_token_seconds"),
            "duration": H("gen_ai_server_request_duration_seconds"),
            "input": Sum("gen_ai_client_token_usage(_tokens?)?", gen_ai_token_type="input"),
            "output": Sum("gen_ai_client_token_usage(_tokens?)?", gen_ai_token_type="output"),
            "requests": Count("gen_ai_server_request_duration_seconds"),
            "failed": Count("gen_ai_server_request_duration_seconds", **{"error_type!=": ""}),
        },
    ),
    Engine(
        "llm-d", "llm-d", "gateway", "llm-d's endpoint picker.", model="model_name",
        modelless=(
            "llm_d_epp_flow_control_queue_size", "llm_d_epp_average_kv_cache_utilization", "llm_d_epp_ready_endpoints",
            "llm_d_epp_average_queue_size",
        ),
        signals={
            "ttft": H("llm_d_epp_request_ttft_seconds"),
            "predicted": H("llm_d_epp_request_predicted_ttft_seconds"),
            "itl": H("llm_d_epp_request_streaming_itl_seconds"),
            "tpot": H("llm_d_epp_request_streaming_tpot_seconds"),
            "duration": H("llm_d_epp_request_duration_seconds"),
            "waiting": G("llm_d_epp_flow_control_queue_size"),
            "running": G("llm_d_epp_request_running"),
            "kv": G("llm_d_epp_average_kv_cache_utilization"),
            "input": Sum("llm_d_epp_request_input_tokens"),
            "output": Sum("llm_d_epp_request_output_tokens"),
            "prefix": Per(Sum("llm_d_epp_request_cached_tokens"), (Sum("llm_d_epp_request_input_tokens"),)),
            "requests": C("llm_d_epp_request_total"),
            "failed": C("llm_d_epp_request_error_total"),
        },
        extras=(
            Extra("the pool", "short", "Endpoints that are ready, and the mean queue in front of each.", (
                ("ready endpoints", G("llm_d_epp_ready_endpoints")),
                ("mean queue", G("llm_d_epp_average_queue_size")),
            )),
            Extra("missed objectives", "reqps", "Requests that missed the objective in their own `x-llm-d-slo-ttft-ms` or"
                  " `x-llm-d-slo-tpot-ms`; requests without these headers are not judged.", (
                *((kind, C("llm_d_epp_request_slo_violation_total", type=kind)) for kind in ("ttft", "tpot")),
            )),
            Extra("time to predict", "s", "Mean time that the latency predictor takes, which is part of each request's way.", (
                ("first token", mean("llm_d_epp_request_ttft_prediction_duration_seconds")),
                ("time per token", mean("llm_d_epp_request_tpot_prediction_duration_seconds")),
            )),
        ),
    ),
    Engine(
        "dcgm", "GPUs (DCGM)", "gpu", "The DCGM exporter, one series per GPU.",
        signals={
            "gpu": G("DCGM_FI_DEV_GPU_UTIL", scale=0.01),
            "gpu_tensor": G("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
            "gpu_power": G("DCGM_FI_DEV_POWER_USAGE"),
            "gpu_memory": Per(G("DCGM_FI_DEV_FB_USED"), (G("DCGM_FI_DEV_FB_USED"), G("DCGM_FI_DEV_FB_FREE"))),
        },
        extras=(
            Extra("temperature", "celsius", "If the clock falls while this is high, the GPU is throttled thermally.", (
                ("temperature", G("DCGM_FI_DEV_GPU_TEMP")),
            )),
            Extra("SM clock", "hertz", "A clock below its usual value slows prefill and decode.", (
                ("clock", G("DCGM_FI_DEV_SM_CLOCK", scale=1e6)),
            )),
            Extra("last Xid error", "short", "Not 0: the driver reported an error; look it up in NVIDIA's list.", (
                ("Xid", G("DCGM_FI_DEV_XID_ERRORS")),
            )),
        ),
    ),
]

# The names that a pattern stands for.
SPELLINGS = {
    "gen_ai_client_token_usage(_tokens?)?": (
        "gen_ai_client_token_usage",
        "gen_ai_client_token_usage_token",
        "gen_ai_client_token_usage_tokens",
    )
}


def families() -> dict[str, set[str]]:
    """Every backend metric that may be used, and its kind; two kinds if it changed from one version to another."""
    every: dict[str, set[str]] = {}
    for engine in ENGINES:
        for term in engine.terms():
            for spelling in SPELLINGS.get(term.name, (term.name,)):
                every.setdefault(spelling, set()).add(term.kind)
    return every
