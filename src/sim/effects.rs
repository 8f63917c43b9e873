//! The combined effect of the faults of one request: one field for each thing the simulator does differently.
//!
//! It knows every fault, and nothing about how an answer is made. Where two faults contradict each other, the later one
//! wins.

use std::time::Duration;

use serde_json::Value;

use super::faults::{CloseWhen, Fault, ReasoningField};
use super::options::Options;

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// An error object with this status.
    Status { code: u16, retry_after: Option<Duration> },
    /// A redirect to this URL.
    Redirect(String),
    /// The connection is reset (RST).
    Reset,
    /// The connection is closed (FIN).
    Close,
    /// Bytes that are not HTTP.
    NotHttp,
}

/// How an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection is reset (RST).
    Reset,
    /// The body ends cleanly.
    End,
    /// Meaningless bytes, then the end of the body.
    Garbage,
    /// An error object, then the end of the body.
    Error,
    /// Bytes that violate the transfer coding, then the connection is closed (FIN).
    Framing,
}

/// Reasoning tokens before the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reasoning {
    /// They are counted and never sent.
    Hidden { tokens: usize },
    /// They are sent in this field.
    Visible { field: ReasoningField, tokens: usize },
}

/// Where usage is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageStyle {
    /// Where the dialect puts it.
    #[default]
    Own,
    /// On the event with the finish reason.
    OnFinish,
    /// Not at all.
    Absent,
}

/// The line ending of an event stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LineEnd {
    #[default]
    Lf,
    CrLf,
    Cr,
}

/// The formatting of an event stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fault")]
pub(crate) struct StreamFormat {
    pub(crate) line_end: LineEnd,
    pub(crate) no_space: bool,
    pub(crate) bom: bool,
    pub(crate) comments: bool,
    pub(crate) multi_line_data: bool,
    pub(crate) no_final_blank_line: bool,
}

/// Everything that is different about one request.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fault")]
pub(crate) struct Effects {
    /// No fault applies.
    pub(crate) plain: bool,
    pub(crate) instead: Option<Instead>,
    pub(crate) stall_headers: Option<Duration>,
    pub(crate) slow_down: f64,
    pub(crate) reasoning: Option<Reasoning>,
    pub(crate) no_content: bool,
    pub(crate) early_finish: Option<usize>,
    pub(crate) ignore_max_tokens: bool,
    pub(crate) ignore_stop: bool,
    pub(crate) ignore_seed: bool,
    pub(crate) no_logprobs: bool,
    /// Standard deviation by which the logits of the model differ, in nats.
    pub(crate) drift: f64,
    /// The model and the system fingerprint that answers name.
    pub(crate) served_by: Option<(String, String)>,
    pub(crate) no_prefix_cache: bool,
    pub(crate) stream_differs: bool,
    pub(crate) broken_arguments: bool,
    /// Number of content events before the break.
    pub(crate) broken: Option<(usize, Break)>,
    /// Number of content events before the stall.
    pub(crate) stall: Option<(usize, Duration)>,
    pub(crate) role_first: bool,
    pub(crate) empty_chunks: usize,
    pub(crate) tokens_per_chunk: usize,
    pub(crate) events_per_write: usize,
    pub(crate) bytes_per_write: Option<usize>,
    pub(crate) huge_line: Option<usize>,
    pub(crate) usage: UsageStyle,
    pub(crate) no_terminal: bool,
    pub(crate) form: StreamFormat,
    pub(crate) wrong_content_type: bool,
    pub(crate) close: Option<CloseWhen>,
    pub(crate) no_choices: bool,
    pub(crate) zero_usage: bool,
    pub(crate) no_citations: bool,
    /// Added to the time that retrieval takes.
    pub(crate) slow_retrieval: Duration,
    pub(crate) no_token: bool,
    pub(crate) expired_token: bool,
    pub(crate) wrong_status: bool,
}

impl Effects {
    /// No fault: chunks and writes as the options say.
    pub(crate) fn none(options: &Options) -> Self {
        Self {
            plain: true,
            instead: None,
            stall_headers: None,
            slow_down: 1.0,
            reasoning: None,
            no_content: false,
            early_finish: None,
            ignore_max_tokens: false,
            ignore_stop: false,
            ignore_seed: false,
            no_logprobs: false,
            drift: 0.0,
            served_by: None,
            no_prefix_cache: false,
            stream_differs: false,
            broken_arguments: false,
            broken: None,
            stall: None,
            role_first: false,
            empty_chunks: 0,
            tokens_per_chunk: options.tokens_per_chunk.max(1),
            events_per_write: options.events_per_write.max(1),
            bytes_per_write: None,
            huge_line: None,
            usage: UsageStyle::Own,
            no_terminal: false,
            form: StreamFormat::default(),
            wrong_content_type: false,
            close: None,
            no_choices: false,
            zero_usage: false,
            no_citations: false,
            slow_retrieval: Duration::ZERO,
            no_token: false,
            expired_token: false,
            wrong_status: false,
        }
    }

    /// Adds the effect of one fault.
    pub(crate) fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::SlowDown { factor } => self.slow_down *= factor,
            Fault::RateLimited { retry_after } => {
                self.instead = Some(Instead::Status { code: 429, retry_after: Some(*retry_after) });
            }
            Fault::Status { code } => {
                self.instead = Some(Instead::Status { code: *code, retry_after: None });
            }
            Fault::Redirect { location } => self.instead = Some(Instead::Redirect(location.clone())),
            Fault::ResetBefore => self.instead = Some(Instead::Reset),
            Fault::CloseBefore => self.instead = Some(Instead::Close),
            Fault::NotHttp => self.instead = Some(Instead::NotHttp),
            Fault::StallHeaders { time } => self.stall_headers = Some(*time),
            Fault::ResetMid { after } => self.broken = Some((*after, Break::Reset)),
            Fault::Truncated { after } => self.broken = Some((*after, Break::End)),
            Fault::Garbage { after } => self.broken = Some((*after, Break::Garbage)),
            Fault::ErrorInStream { after } => self.broken = Some((*after, Break::Error)),
            Fault::BadChunkFraming { after } => self.broken = Some((*after, Break::Framing)),
            Fault::Stall { after, time } => self.stall = Some((*after, *time)),
            Fault::RoleOnly => self.role_first = true,
            Fault::EmptyChunks { count } => self.empty_chunks = *count,
            Fault::TokensPerChunk { count } => self.tokens_per_chunk = *count,
            Fault::SplitWrites { bytes } => self.bytes_per_write = Some(*bytes),
            Fault::ManyEventsPerWrite { count } => self.events_per_write = *count,
            Fault::HiddenReasoning { tokens } => {
                self.reasoning = Some(Reasoning::Hidden { tokens: *tokens });
            }
            Fault::Reasoning { field, tokens } => {
                self.reasoning = Some(Reasoning::Visible { field: *field, tokens: *tokens });
            }
            Fault::NoDone => self.no_terminal = true,
            Fault::NoUsage => self.usage = UsageStyle::Absent,
            Fault::UsageOnFinish => self.usage = UsageStyle::OnFinish,
            Fault::NoContent => self.no_content = true,
            Fault::EarlyFinish { tokens } => self.early_finish = Some(*tokens),
            Fault::IgnoreMaxTokens => self.ignore_max_tokens = true,
            Fault::IgnoreStop => self.ignore_stop = true,
            Fault::IgnoreSeed => self.ignore_seed = true,
            Fault::NoLogprobs => self.no_logprobs = true,
            Fault::ModelDrift { strength } => self.drift = *strength,
            Fault::ServedBy { model, fingerprint } => {
                self.served_by = Some((model.clone(), fingerprint.clone()));
            }
            Fault::NoPrefixCache => self.no_prefix_cache = true,
            Fault::StreamDiffers => self.stream_differs = true,
            Fault::BrokenArguments => self.broken_arguments = true,
            Fault::Crlf => self.form.line_end = LineEnd::CrLf,
            Fault::LoneCr => self.form.line_end = LineEnd::Cr,
            Fault::Comments => self.form.comments = true,
            Fault::Bom => self.form.bom = true,
            Fault::NoSpace => self.form.no_space = true,
            Fault::MultiLineData => self.form.multi_line_data = true,
            Fault::NoFinalBlankLine => self.form.no_final_blank_line = true,
            Fault::HugeLine { bytes } => self.huge_line = Some(*bytes),
            Fault::CloseKeepalive { when } => self.close = Some(*when),
            Fault::WrongContentType => self.wrong_content_type = true,
            Fault::NoChoices => {
                self.no_choices = true;
                self.no_content = true;
            }
            Fault::ZeroUsage => self.zero_usage = true,
            Fault::NoCitations => self.no_citations = true,
            Fault::SlowRetrieval { time } => self.slow_retrieval = *time,
            Fault::NoToken => self.no_token = true,
            Fault::ExpiredToken => self.expired_token = true,
            Fault::WrongStatus => self.wrong_status = true,
        }
    }

    /// Names another model and system fingerprint in a whole answer, where its API has a place for them.
    pub(crate) fn rename(&self, body: &mut Value) {
        let (Some((model, fingerprint)), Some(body)) = (&self.served_by, body.as_object_mut()) else {
            return;
        };
        for key in ["model", "modelVersion"] {
            if let Some(named) = body.get_mut(key) {
                *named = model.as_str().into();
            }
        }
        if body.contains_key("choices") {
            body.insert("system_fingerprint".to_owned(), fingerprint.as_str().into());
        }
    }
}
