//! The record of one request: everything that a sink may want to know, once, when it has ended.

use super::{Gaps, Marks, Outcome, RunRef, SeriesKey, Tokens, TraceIds};
use enum_map::Enum;
use std::sync::Arc;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// Set-up of the connection that this request opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// DNS look-up; absent for an address literal.
    pub dns: Option<Duration>,
    /// TCP connect (and the proxy's tunnel, where there is one).
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
}

/// A part of a connection's set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// DNS look-up.
    Dns,
    /// TCP connect, with the proxy's tunnel.
    Connect,
    /// TLS handshake.
    Tls,
}

impl Phase {
    /// Every phase, in the order in which they happen.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl Phases {
    /// Each phase with the time that it took, in the order in which they happen.
    pub fn each(&self) -> [(Phase, Option<Duration>); 3] {
        [(Phase::Dns, self.dns), (Phase::Connect, self.connect), (Phase::Tls, self.tls)]
    }
}

/// What happened on the transport.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionRecord {
    /// Phases of the connection that this request opened, as far as it came; absent for a reused one.
    pub phases: Option<Phases>,
    /// The connection was opened here, with success.
    pub opened: bool,
    /// A reused connection turned out to be closed by the server and was replaced; a possible double charge.
    pub stale: bool,
    /// When the server's certificate expires, seconds since the epoch; of TLS connections opened here.
    pub certificate_expiry: Option<i64>,
}

/// What a rate limit is about.
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
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Rate-limit headroom as the server's headers tell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What is limited.
    pub kind: LimitKind,
    /// The limit of the window.
    pub limit: Option<f64>,
    /// What is left of it.
    pub remaining: Option<f64>,
}

/// Whether a request met an objective. An answer without the mark is no event and has no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the SLO; `all` is goodput.
    pub slo: Arc<str>,
    /// It met the objective.
    pub met: bool,
}

/// What was observed of one request on the wire: by the client, and before anybody judges it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// HTTP status of the answer, if one came.
    pub status: Option<u16>,
    /// When it was sent, its first byte, token and text arrived, and it ended.
    pub marks: Marks,
    /// Whether the answer was read as a stream.
    pub streamed: bool,
    /// Times between content events; empty for an answer that was not streamed.
    pub gaps: Gaps,
    /// The token counts.
    pub tokens: Tokens,
    /// The finish reason in the dialect's words.
    pub finish_reason: Option<String>,
    /// What happened on the transport.
    pub connection: ConnectionRecord,
    /// The `server` header of the answer, truncated.
    pub server: Option<String>,
    /// Rate-limit headroom.
    pub limits: Vec<Limit>,
}

/// The record of one request that was sent (or failed on its way out).
#[derive(Clone, Debug)]
pub struct Request {
    /// Which series it belongs to.
    pub place: Arc<SeriesKey>,
    /// The run that it is part of.
    pub run: Arc<RunRef>,
    /// Its number in the run, from 0, in the order in which they were offered.
    pub seq: u64,
    /// Whether `due` lay in a warm-up: then its tokens, cost and budget count, and nothing else.
    pub warm_up: bool,
    /// Ids of its span.
    pub ids: TraceIds,
    /// Method and path of a scenario's HTTP step as the config writes them (`POST /api/sessions/{{ id }}`); `None`
    /// for a call of the target's dialect.
    pub route: Option<Arc<str>>,
    /// How it ended.
    pub outcome: Outcome,
    /// What happened, for people: never a label, never a secret.
    pub detail: Option<String>,
    /// What was observed of it on the wire.
    pub observed: Observed,
    /// Gaps over the stall threshold.
    pub stalls: u64,
    /// Output tokens asked for, where a limit was sent.
    pub asked_output_tokens: Option<u64>,
    /// What it cost, in the agent's currency, as far as its tokens are known; `None` without a price.
    pub cost: Option<f64>,
    /// Characters of visible text.
    pub text_chars: u64,
    /// Names of the checks that failed.
    pub failed_checks: Vec<Arc<str>>,
    /// SLO verdicts, `all` included; empty in a warm-up and for outcomes that do not judge the target.
    pub verdicts: Vec<Verdict>,
}

impl Request {
    /// Output tokens got over those asked for.
    pub fn output_length_ratio(&self) -> Option<f64> {
        let asked = self.asked_output_tokens.filter(|asked| *asked > 0)?;
        Some(self.observed.tokens.output?.n as f64 / asked as f64)
    }
}

impl Observed {
    /// Of a request to which nothing has come back.
    pub fn nothing(marks: Marks) -> Self {
        Self {
            status: None,
            marks,
            streamed: false,
            gaps: Gaps::default(),
            tokens: Tokens::default(),
            finish_reason: None,
            connection: ConnectionRecord::default(),
            server: None,
            limits: Vec::new(),
        }
    }

    /// `(last_token - first_token) / (n - k)`, seconds; absent when n < 2 or unknown, or not streamed.
    pub fn time_per_output_token(&self) -> Option<f64> {
        if !self.streamed {
            return None;
        }
        let rest = self.tokens.after_first()?;
        Some(self.marks.decode_time()?.as_secs_f64() / rest as f64)
    }

    /// `n / (end - sent)`, tokens per second over the whole request.
    pub fn output_pace(&self) -> Option<f64> {
        let seconds = self.marks.duration().as_secs_f64();
        let n = self.tokens.streamed().filter(|n| *n > 0)?;
        self.marks.sent?;
        (seconds > 0.0).then(|| n as f64 / seconds)
    }

    /// What the server's usage says over what the tokenizer counts, for the output.
    pub fn token_count_ratio(&self) -> Option<f64> {
        let counted = self.tokens.tokenizer_output.filter(|n| *n > 0)?;
        let usage = self.tokens.output.filter(|count| count.source == super::Source::Usage)?;
        Some(usage.n as f64 / counted as f64)
    }
}
