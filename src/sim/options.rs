//! Options of the simulator, for the command line and for tests.
//!
//! It builds the engine's settings and therefore knows them, and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::engine::Settings;
use super::rules::FaultRule;
use super::units;

/// Options of the simulator. The defaults resemble a small model on one large GPU.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    pub listen_address: SocketAddr,
    /// Name of the served model; repeat it for aliases. The first labels the metrics.
    #[arg(long = "model", default_value = "sim-8b", value_name = "NAME")]
    pub models: Vec<String>,
    /// Seed of generated texts, timing noise and fault draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// API key that clients must send; repeatable. Without one, any key or none is accepted.
    #[arg(long = "api-key", value_name = "KEY")]
    pub api_keys: Vec<String>,
    /// Prefill throughput in tokens per second, shared by all requests.
    #[arg(long, default_value_t = 20_000.0, value_name = "TOKENS_PER_SECOND")]
    pub prefill_rate: f64,
    /// Duration of a decode step with one sequence.
    #[arg(long, default_value = "8ms", value_parser = units::duration, value_name = "DURATION")]
    pub step_time: Duration,
    /// Additional duration of a step for each further running sequence.
    #[arg(long, default_value = "150us", value_parser = units::duration, value_name = "DURATION")]
    pub step_growth: Duration,
    /// Maximum number of running sequences.
    #[arg(long, default_value_t = 64, value_name = "SEQUENCES")]
    pub max_batch: usize,
    /// Maximum number of tokens in one step, prefill and decode together.
    #[arg(long, default_value_t = 1024, value_name = "TOKENS")]
    pub max_step_tokens: usize,
    /// Maximum number of waiting requests; the next one gets a 503.
    #[arg(long, default_value_t = 256, value_name = "REQUESTS")]
    pub max_queue: usize,
    /// Size of the KV cache in tokens.
    #[arg(long, default_value_t = 131_072, value_name = "TOKENS")]
    pub kv_capacity: usize,
    /// Tokens per KV block.
    #[arg(long, default_value_t = 16, value_name = "TOKENS")]
    pub block_size: usize,
    /// Maximum number of tokens in prompt and output together.
    #[arg(long, default_value_t = 32_768, value_name = "TOKENS")]
    pub context: usize,
    /// Disable prefix caching.
    #[arg(long)]
    pub no_prefix_cache: bool,
    /// Relative standard deviation of the duration of a step.
    #[arg(long, default_value_t = 0.03, value_name = "RATIO")]
    pub noise: f64,
    /// Median output of a request without `max_tokens`, in tokens (lognormal).
    #[arg(long, default_value_t = 128.0, value_name = "TOKENS")]
    pub output_median: f64,
    /// Sigma of the lognormal distribution of that output.
    #[arg(long, default_value_t = 0.5, value_name = "SIGMA")]
    pub output_sigma: f64,
    /// Tokens per streamed event.
    #[arg(long, default_value_t = 1, value_name = "TOKENS")]
    pub tokens_per_chunk: usize,
    /// Streamed events per write to the connection.
    #[arg(long, default_value_t = 1, value_name = "EVENTS")]
    pub events_per_write: usize,
    /// Give each stream a schedule of its own in place of the engine's: a write at this interval; 0s is as fast as the
    /// client reads. Requests that a fault concerns, and those of the application, still go to the engine.
    #[arg(long, value_parser = units::duration, value_name = "DURATION")]
    pub pace: Option<Duration>,
    /// With --pace, the time from the arrival of a request to its first token.
    #[arg(long, default_value = "0s", value_parser = units::duration, requires = "pace", value_name = "DURATION")]
    pub first_token: Duration,
    /// Requests per minute, enforced with 429 and reported in `x-ratelimit-*` headers.
    #[arg(long, value_name = "REQUESTS")]
    pub rate_limit_requests: Option<u32>,
    /// Tokens per minute, likewise.
    #[arg(long, value_name = "TOKENS")]
    pub rate_limit_tokens: Option<u32>,
    /// Time after which an idle HTTP/1.1 connection is closed; uvicorn, which vLLM runs on, uses 5s.
    #[arg(long, default_value = "65s", value_parser = units::duration, value_name = "DURATION")]
    pub keep_alive: Duration,
    /// Maximum number of open connections; further ones wait in the backlog.
    #[arg(long, default_value_t = 4096, value_name = "CONNECTIONS")]
    pub max_connections: usize,
    /// Fault that is active from the start, such as `stall;after=3;for=2s;probability=0.1;lasts=10m`; repeatable.
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<FaultRule>,
    /// Number of requests whose ground truth is kept.
    #[arg(long, default_value_t = 2048, value_name = "REQUESTS")]
    pub truth_capacity: usize,
    /// Password of every user of the application under `/api`.
    #[arg(long, default_value = "demo", value_name = "PASSWORD")]
    pub app_password: String,
    /// Lifetime of an access token of the application.
    #[arg(long, default_value = "1h", value_parser = units::duration, value_name = "DURATION")]
    pub token_lifetime: Duration,
    /// Maximum number of chat sessions of the application; the oldest is dropped first.
    #[arg(long, default_value_t = 10_000, value_name = "SESSIONS")]
    pub max_sessions: usize,
    /// How long a chat session is kept.
    #[arg(long, default_value = "1h", value_parser = units::duration, value_name = "DURATION")]
    pub session_lifetime: Duration,
    /// Time that retrieval takes before a question about documents goes to the model.
    #[arg(long, default_value = "60ms", value_parser = units::duration, value_name = "DURATION")]
    pub retrieval_time: Duration,
    /// Serve over TLS with this configuration; ALPN is h2 and http/1.1 unless it says otherwise.
    #[arg(skip)]
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen_address: (Ipv4Addr::LOCALHOST, 8000).into(),
            models: vec!["sim-8b".to_owned()],
            seed: 0,
            api_keys: Vec::new(),
            prefill_rate: 20_000.0,
            step_time: Duration::from_millis(8),
            step_growth: Duration::from_micros(150),
            max_batch: 64,
            max_step_tokens: 1024,
            max_queue: 256,
            kv_capacity: 131_072,
            block_size: 16,
            context: 32_768,
            no_prefix_cache: false,
            noise: 0.03,
            output_median: 128.0,
            output_sigma: 0.5,
            tokens_per_chunk: 1,
            events_per_write: 1,
            pace: None,
            first_token: Duration::ZERO,
            rate_limit_requests: None,
            rate_limit_tokens: None,
            keep_alive: Duration::from_secs(65),
            max_connections: 4096,
            faults: Vec::new(),
            truth_capacity: 2048,
            app_password: "demo".to_owned(),
            token_lifetime: Duration::from_hours(1),
            max_sessions: 10_000,
            session_lifetime: Duration::from_hours(1),
            retrieval_time: Duration::from_millis(60),
            tls: None,
        }
    }
}

impl Options {
    /// The first invalid option, in words; `None` if all are valid.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let rules = [
            (!self.models.is_empty(), "at least one model is needed"),
            (positive(self.prefill_rate), "the prefill rate must be over 0"),
            (not_negative(self.noise) && self.noise <= 1.0, "the noise must be 0 to 1"),
            (positive(self.output_median), "the median output must be over 0"),
            (not_negative(self.output_sigma), "the spread of the output must not be negative"),
            (!self.step_time.is_zero(), "the step time must be over 0"),
            (self.max_batch > 0, "the batch must hold a sequence"),
            (self.max_sessions > 0, "there must be a session"),
            (self.max_connections > 0, "there must be a connection"),
            (self.block_size > 0, "a block must hold a token"),
            (self.blocks() > 0, "the KV cache must hold a block"),
            (self.context > 1, "the context must hold a prompt and an output"),
        ];
        rules.into_iter().find(|(well, _)| !well).map(|(_, mistake)| mistake)
    }

    /// Maximum number of tokens in prompt and output together, given the context and the size of the KV cache.
    pub(crate) fn longest(&self) -> usize {
        self.context.min(self.blocks() * self.block_size)
    }

    pub(crate) fn engine(&self) -> Settings {
        Settings {
            prefill_rate: self.prefill_rate,
            step: self.step_time,
            growth: self.step_growth,
            max_batch: self.max_batch,
            // A step must have room for one token of each sequence.
            max_step_tokens: self.max_step_tokens.max(self.max_batch),
            blocks: self.blocks(),
            block_size: self.block_size,
            prefix_cache: !self.no_prefix_cache,
            noise: self.noise,
            max_queue: self.max_queue,
            seed: self.seed,
        }
    }

    /// Number of KV blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.kv_capacity / self.block_size.max(1)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn no_flag_at_all_is_the_default() {
        let parsed = Cli::try_parse_from(["sim"]).unwrap().options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn flags_are_read() {
        let flags = ["sim", "--model", "a", "--model", "b", "--step-time", "1ms", "--fault", "no_done;max=3"];
        let options = Cli::try_parse_from(flags).unwrap().options;
        assert_eq!(options.models, ["a", "b"]);
        assert_eq!(options.step_time, Duration::from_millis(1));
        assert_eq!(options.faults, ["no_done;max=3".parse().unwrap()]);
        assert!(Cli::try_parse_from(["sim", "--fault", "no_such"]).is_err());
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Options::default().mistake(), None);
        let mistake = Options { prefill_rate: 0.0, ..Options::default() }.mistake();
        assert_eq!(mistake, Some("the prefill rate must be over 0"));
    }
}
