//! The `vllm:*` metrics, with the names, labels and buckets of vLLM.
//!
//! All series exist from the start, at zero. This module receives what happened and knows nothing about how.

use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec,
    Opts, Registry, TextEncoder,
};

use super::engine::{Load, Times, Update};
use super::options::Options;

const TTFT: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const PER_TOKEN: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const LATENCY: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const ITERATION: [f64; 13] =
    [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
const WRITE_LAG: [f64; 10] = [50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 0.2];
const FINISHED_REASONS: [&str; 4] = ["stop", "length", "abort", "error"];

/// What the metrics record about a request when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) prompt: usize,
    pub(crate) output: usize,
    pub(crate) max_tokens: Option<usize>,
}

/// All metrics of the simulator.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    kv_usage: Gauge,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    prefix_queries: Counter,
    prefix_hits: Counter,
    preemptions: Counter,
    success: CounterVec,
    labels: [String; 2],
    ttft: Histogram,
    inter_token: Histogram,
    per_output_token: Histogram,
    e2e: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    inference: Histogram,
    iteration_tokens: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    max_generation_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    http_requests: IntCounterVec,
    write_lag: Histogram,
}

/// Creates metrics that all have the labels of the single engine.
struct Maker<'a> {
    registry: &'a Registry,
    labels: [String; 2],
}

impl Metrics {
    /// All metrics at zero; `handlers` are the paths of generating endpoints.
    pub(crate) fn new(options: &Options, handlers: &[&str]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let model = options.models.first().cloned().unwrap_or_default();
        let make = Maker { registry: &registry, labels: [model, "0".to_owned()] };
        let tokens = one_two_five(options.context);
        let success = make.counters(
            "vllm:request_success_total",
            "Count of successfully processed requests.",
            &["model_name", "engine", "finished_reason"],
        )?;
        for reason in FINISHED_REASONS {
            success.with_label_values(&make.with(reason));
        }
        make.cache_config(options)?;
        Ok(Self {
            running: make
                .gauge("vllm:num_requests_running", "Number of requests in model execution batches.")?,
            waiting: make
                .gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.")?,
            kv_usage: make.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")?,
            prompt_tokens: make.counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.")?,
            generation_tokens: make
                .counter("vllm:generation_tokens_total", "Number of generation tokens processed.")?,
            prefix_queries: make.counter(
                "vllm:prefix_cache_queries_total",
                "Prefix cache queries, in terms of number of queried tokens.",
            )?,
            prefix_hits: make.counter(
                "vllm:prefix_cache_hits_total",
                "Prefix cache hits, in terms of number of cached tokens.",
            )?,
            preemptions: make
                .counter("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.")?,
            ttft: make.histogram(
                "vllm:time_to_first_token_seconds",
                "Histogram of time to first token in seconds.",
                &TTFT,
            )?,
            inter_token: make.histogram(
                "vllm:inter_token_latency_seconds",
                "Histogram of inter-token latency in seconds.",
                &PER_TOKEN,
            )?,
            per_output_token: make.histogram(
                "vllm:request_time_per_output_token_seconds",
                "Histogram of time_per_output_token_seconds per request.",
                &PER_TOKEN,
            )?,
            e2e: make.histogram(
                "vllm:e2e_request_latency_seconds",
                "Histogram of e2e request latency in seconds.",
                &LATENCY,
            )?,
            queue: make.phase("queue", "WAITING")?,
            prefill: make.phase("prefill", "PREFILL")?,
            decode: make.phase("decode", "DECODE")?,
            inference: make.phase("inference", "RUNNING")?,
            iteration_tokens: make.histogram(
                "vllm:iteration_tokens_total",
                "Histogram of number of tokens per engine_step.",
                &ITERATION,
            )?,
            request_prompt_tokens: make.histogram(
                "vllm:request_prompt_tokens",
                "Number of prefill tokens processed.",
                &tokens,
            )?,
            request_generation_tokens: make.histogram(
                "vllm:request_generation_tokens",
                "Number of generation tokens processed.",
                &tokens,
            )?,
            max_generation_tokens: make.histogram(
                "vllm:request_max_num_generation_tokens",
                "Histogram of maximum number of requested generation tokens.",
                &tokens,
            )?,
            params_n: make.histogram(
                "vllm:request_params_n",
                "Histogram of the n request parameter.",
                &[1.0, 2.0, 5.0, 10.0, 20.0],
            )?,
            params_max_tokens: make.histogram(
                "vllm:request_params_max_tokens",
                "Histogram of the max_tokens request parameter.",
                &tokens,
            )?,
            http_requests: make.http_requests(handlers)?,
            write_lag: make.write_lag()?,
            success,
            labels: make.labels,
            registry,
        })
    }

    /// Sets the gauges of the engine's load.
    pub(crate) fn load(&self, load: Load) {
        self.running.set(load.running as f64);
        self.waiting.set(load.waiting as f64);
        self.kv_usage.set(load.kv_usage);
    }

    /// Counts what happened in one step.
    pub(crate) fn step(&self, updates: &[Update]) {
        for update in updates {
            match update {
                Update::Admitted { prompt, cached, .. } => {
                    self.prefix_queries.inc_by(*prompt as f64);
                    self.prefix_hits.inc_by(*cached as f64);
                    self.prompt_tokens.inc_by(*prompt as f64);
                }
                Update::Token { age, gap, .. } => {
                    self.generation_tokens.inc();
                    match gap {
                        None => self.ttft.observe(age.as_secs_f64()),
                        Some(gap) => self.inter_token.observe(gap.as_secs_f64()),
                    }
                }
                Update::Preempted => self.preemptions.inc(),
                Update::Finished { .. } => {}
            }
        }
    }

    /// Observes the number of tokens in one step.
    pub(crate) fn iteration(&self, tokens: usize) {
        self.iteration_tokens.observe(tokens as f64);
    }

    /// Records a request that got all its tokens.
    pub(crate) fn finished(&self, reason: &str, times: Times, sizes: Sizes) {
        self.ended(reason);
        let inference = times.prefill + times.decode;
        self.e2e.observe((times.queued + inference).as_secs_f64());
        self.queue.observe(times.queued.as_secs_f64());
        self.prefill.observe(times.prefill.as_secs_f64());
        self.decode.observe(times.decode.as_secs_f64());
        self.inference.observe(inference.as_secs_f64());
        if let Some(others) = sizes.output.checked_sub(1).filter(|others| *others > 0) {
            self.per_output_token.observe(times.decode.as_secs_f64() / others as f64);
        }
        self.request_prompt_tokens.observe(sizes.prompt as f64);
        self.request_generation_tokens.observe(sizes.output as f64);
        self.max_generation_tokens.observe(sizes.output as f64);
        self.params_n.observe(1.0);
        if let Some(max_tokens) = sizes.max_tokens {
            self.params_max_tokens.observe(max_tokens as f64);
        }
    }

    /// Records a request whose client disconnected.
    pub(crate) fn aborted(&self) {
        self.ended("abort");
    }

    /// Counts an HTTP answer; `handler` comes from a fixed list.
    pub(crate) fn http(&self, handler: &str, method: &str, status: u16) {
        let class = match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        };
        self.http_requests.with_label_values(&[handler, method, class]).inc();
    }

    /// How late chunks were written.
    pub(crate) fn write_lag(&self) -> Histogram {
        self.write_lag.clone()
    }

    /// The exposition in the Prometheus text format 0.0.4.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    fn ended(&self, reason: &str) {
        let [model, engine] = &self.labels;
        self.success.with_label_values(&[model.as_str(), engine.as_str(), reason]).inc();
    }
}

impl Maker<'_> {
    fn with<'a>(&'a self, last: &'a str) -> [&'a str; 3] {
        let [model, engine] = &self.labels;
        [model.as_str(), engine.as_str(), last]
    }

    fn own(&self) -> [&str; 2] {
        let [model, engine] = &self.labels;
        [model.as_str(), engine.as_str()]
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        let gauges = GaugeVec::new(Opts::new(name, help), &["model_name", "engine"])?;
        self.registry.register(Box::new(gauges.clone()))?;
        Ok(gauges.with_label_values(&self.own()))
    }

    fn counter(&self, name: &str, help: &str) -> Result<Counter, prometheus::Error> {
        let counters = self.counters(name, help, &["model_name", "engine"])?;
        Ok(counters.with_label_values(&self.own()))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec, prometheus::Error> {
        let counters = CounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histograms = HistogramVec::new(options, &["model_name", "engine"])?;
        self.registry.register(Box::new(histograms.clone()))?;
        Ok(histograms.with_label_values(&self.own()))
    }

    fn phase(&self, name: &str, phase: &str) -> Result<Histogram, prometheus::Error> {
        let help = format!("Histogram of time spent in {phase} phase for request.");
        self.histogram(&format!("vllm:request_{name}_time_seconds"), &help, &LATENCY)
    }

    fn cache_config(&self, options: &Options) -> Result<(), prometheus::Error> {
        let [_, engine] = &self.labels;
        let values = [
            ("block_size", options.block_size.to_string()),
            ("cache_dtype", "auto".to_owned()),
            ("enable_prefix_caching", if options.no_prefix_cache { "False" } else { "True" }.to_owned()),
            ("engine", engine.clone()),
            ("gpu_memory_utilization", "0.9".to_owned()),
            ("num_gpu_blocks", options.blocks().to_string()),
        ];
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        let help = "Information of the LLMEngine CacheConfig";
        let info = GaugeVec::new(Opts::new("vllm:cache_config_info", help), &names)?;
        self.registry.register(Box::new(info.clone()))?;
        info.with_label_values(&values.each_ref().map(|(_, value)| value.as_str())).set(1.0);
        Ok(())
    }

    fn write_lag(&self) -> Result<Histogram, prometheus::Error> {
        let help = "How late the simulator wrote chunks, compared with its own schedule.";
        let options = HistogramOpts::new("sim_write_lag_seconds", help).buckets(WRITE_LAG.to_vec());
        let histogram = Histogram::with_opts(options)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    fn http_requests(&self, handlers: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let options =
            Opts::new("http_requests_total", "Total number of requests by method, status and handler.");
        let counters = IntCounterVec::new(options, &["handler", "method", "status"])?;
        self.registry.register(Box::new(counters.clone()))?;
        for handler in handlers {
            for status in ["2xx", "4xx", "5xx"] {
                counters.with_label_values(&[*handler, "POST", status]);
            }
        }
        Ok(counters)
    }
}

/// 1, 2, 5, 10, 20, 50, ... up to `max`, like the token buckets of vLLM.
fn one_two_five(max: usize) -> Vec<f64> {
    let mut bounds = Vec::new();
    let mut decade = 1_usize;
    while decade <= max {
        bounds.extend(
            [1, 2, 5]
                .iter()
                .map(|step| step * decade)
                .filter(|bound| *bound <= max)
                .map(|bound| bound as f64),
        );
        decade = decade.saturating_mul(10);
        if decade == usize::MAX {
            break;
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_at_zero_under_its_real_name() {
        let text = Metrics::new(&Options::default(), &["/v1/chat/completions"]).unwrap().text().unwrap();
        let own = "model_name=\"sim-8b\"";
        for name in [
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
            "vllm:kv_cache_usage_perc",
            "vllm:prompt_tokens_total",
            "vllm:generation_tokens_total",
            "vllm:prefix_cache_queries_total",
            "vllm:prefix_cache_hits_total",
            "vllm:num_preemptions_total",
            "vllm:time_to_first_token_seconds_count",
            "vllm:inter_token_latency_seconds_count",
            "vllm:request_time_per_output_token_seconds_count",
            "vllm:e2e_request_latency_seconds_count",
            "vllm:request_queue_time_seconds_count",
            "vllm:request_prefill_time_seconds_count",
            "vllm:request_decode_time_seconds_count",
            "vllm:request_inference_time_seconds_count",
            "vllm:iteration_tokens_total_count",
            "vllm:request_prompt_tokens_count",
            "vllm:request_generation_tokens_count",
            "vllm:request_max_num_generation_tokens_count",
            "vllm:request_params_n_count",
            "vllm:request_params_max_tokens_count",
        ] {
            let line = format!("\n{name}{{engine=\"0\",{own}}} 0\n");
            assert!(text.contains(&line), "{name} is missing:\n{text}");
        }
        for reason in FINISHED_REASONS {
            let line =
                format!("vllm:request_success_total{{engine=\"0\",finished_reason=\"{reason}\",{own}}} 0\n");
            assert!(text.contains(&line), "{reason} is missing");
        }
        assert!(text.contains("\nsim_write_lag_seconds_count 0\n"));
        assert!(text.contains("vllm:cache_config_info{block_size=\"16\""));
        let http = "http_requests_total{handler=\"/v1/chat/completions\",method=\"POST\",status=\"5xx\"} 0\n";
        assert!(text.contains(http));
    }

    #[test]
    fn token_buckets_are_vllms() {
        assert_eq!(one_two_five(100), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(one_two_five(40).last(), Some(&20.0));
    }
}
