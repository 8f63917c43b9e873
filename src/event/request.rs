//! The record of one request: everything that a sink may want to know, delivered once, when the request has
//! ended.

use super::{
    EventSizes, FingerprintAnswer, Gaps, Marks, Outcome, RecordedExchange, RunRef, SeriesKey, Tokens,
    TraceIds,
};
use enum_map::Enum;
use std::sync::Arc;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;

/// Set-up times of the connection that this request opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// DNS look-up; absent for a literal IP address.
    pub dns: Option<Duration>,
    /// TCP connect (and the proxy's tunnel, if there is one).
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
}

/// What the set-up of a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetUpStep {
    /// It looks up the name.
    #[default]
    Resolve,
    /// TCP connects.
    Connect,
    /// The proxy is asked for a tunnel.
    Tunnel,
    /// The TLS handshake.
    Secure,
    /// HTTP begins.
    Start,
}

/// A phase of a connection's set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ConnectionPhase {
    /// DNS look-up.
    Dns,
    /// TCP connect, including the proxy's tunnel.
    Connect,
    /// TLS handshake.
    Tls,
}

impl ConnectionPhase {
    /// All phases, in the order in which they happen.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl Phases {
    /// Each phase with its duration, in the order in which they happen.
    pub fn each(&self) -> [(ConnectionPhase, Option<Duration>); 3] {
        [
            (ConnectionPhase::Dns, self.dns),
            (ConnectionPhase::Connect, self.connect),
            (ConnectionPhase::Tls, self.tls),
        ]
    }
}

/// What happened on the transport.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionRecord {
    /// Phases of the connection that this request opened, as far as it got; absent for a reused one.
    pub phases: Option<Phases>,
    /// How far the set-up of that connection came: what it was doing last.
    pub step: SetUpStep,
    /// When this request began to open that connection; of two attempts, the last one.
    pub dialled: Option<Instant>,
    /// Whether this request successfully opened the connection.
    pub opened: bool,
    /// Whether a reused connection turned out to have been closed by the server and was replaced; the request
    /// may have been charged twice.
    pub stale: bool,
    /// When the server's certificate expires, in seconds since the epoch; only for TLS connections opened by
    /// this request.
    pub certificate_expiry: Option<i64>,
}

/// What a rate limit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LimitKind {
    /// Requests per window.
    Requests,
    /// Tokens per window.
    Tokens,
    /// Input tokens per window.
    InputTokens,
    /// Output tokens per window.
    OutputTokens,
}

impl LimitKind {
    /// All kinds.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Rate-limit headroom as reported in the server's headers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What the limit applies to.
    pub kind: LimitKind,
    /// The limit of the window.
    pub limit: Option<f64>,
    /// What is left of it.
    pub remaining: Option<f64>,
}

/// Whether a request met an objective. An answer that lacks the required mark is not an event and has no
/// verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the SLO; `all` stands for goodput.
    pub slo: Arc<str>,
    /// Whether the request met the objective.
    pub met: bool,
}

/// How an answer kept up with its reader. Requests of a warm-up, and those that say nothing about the target, have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenDeadlines {
    /// Number of deadlines that were met or missed.
    pub all: u64,
    /// Number of these that were missed.
    pub missed: u64,
    /// How long the reader had nothing to read between the first and the last token.
    pub reader_idle: Duration,
}

/// What the client observed of one request on the wire, before the answer is checked.
#[derive(Clone, Debug)]
pub struct Observed {
    /// HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// When it was sent, when its first byte, token and text arrived, and when it ended.
    pub marks: Marks,
    /// Whether the answer was read as a stream.
    pub streamed: bool,
    /// Times between content events; empty for an answer that was not streamed.
    pub gaps: Gaps,
    /// Sizes of the content events; empty for an answer that was not streamed.
    pub sizes: EventSizes,
    /// The token counts.
    pub tokens: Tokens,
    /// Number of characters of reasoning that the answer shows.
    pub reasoning_chars: u64,
    /// The finish reason as reported by the dialect.
    pub finish_reason: Option<String>,
    /// What happened on the transport.
    pub connection: ConnectionRecord,
    /// The `server` header of the answer, truncated.
    pub server: Option<String>,
    /// Rate-limit headroom.
    pub limits: Vec<Limit>,
    /// How long the server that refused the request wants us to wait.
    pub retry_after: Option<Duration>,
    /// The longest time from the arrival of bytes of the answer's body at this machine to their reading; absent if
    /// no body was read.
    pub read_lag: Option<Duration>,
    /// What the answer to a prompt of a fingerprint shows about the model.
    pub fingerprint: Option<Box<FingerprintAnswer>>,
}

/// The record of one request that was sent (or failed on its way out).
#[derive(Clone, Debug)]
pub struct Request {
    /// Which series it belongs to.
    pub place: Arc<SeriesKey>,
    /// The run that it belongs to.
    pub run: Arc<RunRef>,
    /// Its number in the run, from 0, in the order in which requests were offered.
    pub seq: u64,
    /// Whether `due` was in a warm-up. If so, only its tokens, cost and budget count.
    pub warm_up: bool,
    /// Ids of its span.
    pub ids: TraceIds,
    /// Method and path of a scenario's HTTP step as written in the config (`POST /api/sessions/{{ id }}`);
    /// `None` for calls in the target's dialect.
    pub route: Option<Arc<str>>,
    /// Which attempt at the same request this is, from 1; later ones are made where the profile asks for retries.
    pub attempt: u32,
    /// The number in the run ([`Self::seq`]) of the first attempt, for later ones.
    pub first_attempt: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Human-readable details: never a label, never a secret.
    pub detail: Option<String>,
    /// What was observed of the request on the wire.
    pub observed: Observed,
    /// Number of gaps above the stall threshold.
    pub stalls: u64,
    /// How it kept up with its reader; absent unless the profile says how fast its readers read.
    pub token_deadlines: Option<TokenDeadlines>,
    /// Whether a stream was asked for; what came is in [`Observed::streamed`].
    pub asked_stream: bool,
    /// Number of output tokens requested, if a limit was sent.
    pub asked_output_tokens: Option<u64>,
    /// Its cost in the agent's currency, as far as its tokens are known; `None` without a price.
    pub cost: Option<f64>,
    /// Number of characters of visible text.
    pub text_chars: u64,
    /// Names of the checks that failed.
    pub failed_checks: Vec<Arc<str>>,
    /// What was sent and what came back, if that is recorded.
    pub recorded: Option<Arc<RecordedExchange>>,
    /// SLO verdicts, including `all`; empty in a warm-up and for outcomes that do not judge the target.
    pub verdicts: Vec<Verdict>,
}

impl Request {
    /// Output tokens received divided by output tokens requested.
    pub fn output_length_ratio(&self) -> Option<f64> {
        let asked = self.asked_output_tokens.filter(|asked| *asked > 0)?;
        Some(self.observed.tokens.output?.n as f64 / asked as f64)
    }
}

impl Observed {
    /// For a request to which nothing has come back.
    pub fn nothing(marks: Marks) -> Self {
        Self {
            status: None,
            marks,
            streamed: false,
            gaps: Gaps::default(),
            sizes: EventSizes::default(),
            tokens: Tokens::default(),
            reasoning_chars: 0,
            finish_reason: None,
            connection: ConnectionRecord::default(),
            server: None,
            limits: Vec::new(),
            retry_after: None,
            read_lag: None,
            fingerprint: None,
        }
    }

    /// `(last_token - first_token) / (n - k)`, in seconds; absent if n < 2, if n is unknown, if not streamed,
    /// or if all tokens came in one read.
    pub fn time_per_output_token(&self) -> Option<f64> {
        if !self.streamed {
            return None;
        }
        let rest = self.tokens.after_first()?;
        // Events of one read share their mark: there is no time between them.
        let time = self.marks.decode_time().filter(|time| !time.is_zero())?;
        Some(time.as_secs_f64() / rest as f64)
    }

    /// `n / (end - sent)`: tokens per second over the whole request.
    pub fn output_pace(&self) -> Option<f64> {
        let seconds = self.marks.duration().as_secs_f64();
        let n = self.tokens.streamed().filter(|n| *n > 0)?;
        self.marks.sent?;
        (seconds > 0.0).then(|| n as f64 / seconds)
    }

    /// The server's usage count divided by the tokenizer's count, for the output.
    pub fn token_count_ratio(&self) -> Option<f64> {
        let counted = self.tokens.tokenizer_output.filter(|n| *n > 0)?;
        let usage = self.tokens.output.filter(|count| count.source == super::CountSource::Usage)?;
        Some(usage.n as f64 / counted as f64)
    }
}
