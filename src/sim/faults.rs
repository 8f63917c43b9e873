//! The closed list of faults that can be injected, and their syntax.
//!
//! A fault is written `name;param=value;param=value`; several are separated by commas, and a value that contains a
//! comma or a semicolon is put in double quotes. A name may have `-` instead of `_`. This file knows how faults are
//! spelled and which endpoints they concern, not what they do (`effects`).

mod spec;
mod written;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::VariantNames;

pub(crate) use spec::Spec;
pub use spec::SpecError;

use super::dialect::Service;

/// One fault with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, VariantNames)]
#[serde(try_from = "String", into = "String")]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// `slow_down;factor=4`: prefill and decode of the request take this many times as long.
    SlowDown {
        /// At least 1.
        factor: f64,
    },
    /// `rate_limited;retry_after=1s`: 429 with `Retry-After`.
    RateLimited {
        /// Rounded to whole seconds in the header.
        retry_after: Duration,
    },
    /// `error_500`, `unavailable_503`, `overloaded_529`, `status;code=502`: an error object with that status.
    Status {
        /// 100 to 999.
        code: u16,
    },
    /// `redirect;location=URL`: 307.
    Redirect {
        /// The `Location` header.
        location: String,
    },
    /// `reset_before`: RST after the request was read, before any byte of the answer.
    ResetBefore,
    /// `close_before`: FIN after the request was read, before any byte of the answer.
    CloseBefore,
    /// `not_http`: bytes that are not HTTP, then FIN.
    NotHttp,
    /// `stall_headers;for=2s`: the answer is delayed by this time.
    StallHeaders {
        /// The delay.
        time: Duration,
    },
    /// `reset_mid;after=3`: RST after this many content events.
    ResetMid {
        /// Number of content events sent before.
        after: usize,
    },
    /// `truncated;after=3`: the body ends cleanly after this many content events, without finish reason and terminal
    /// event.
    Truncated {
        /// Number of content events sent before.
        after: usize,
    },
    /// `garbage;after=0`: bytes that are neither an event nor JSON, then the end of the body.
    Garbage {
        /// Number of content events sent before.
        after: usize,
    },
    /// `error_in_stream;after=3`: an error object inside the 200 answer, then the end of the body.
    ErrorInStream {
        /// Number of content events sent before.
        after: usize,
    },
    /// `bad_chunk_framing;after=3`: bytes that violate the transfer coding (the framing, over HTTP/2), then FIN.
    BadChunkFraming {
        /// Number of content events sent before.
        after: usize,
    },
    /// `stall;after=3;for=2s`: silence after this many content events; what was generated meanwhile follows at once.
    Stall {
        /// Number of content events sent before.
        after: usize,
        /// Duration of the silence.
        time: Duration,
    },
    /// `role_only`: the event that only carries the role comes at once, before the prefill.
    RoleOnly,
    /// `empty_chunks;n=3`: empty deltas come at once, before the prefill.
    EmptyChunks {
        /// Number of empty deltas.
        count: usize,
    },
    /// `tokens_per_chunk;n=4`: this many tokens in each content event.
    TokensPerChunk {
        /// At least 1.
        count: usize,
    },
    /// `split_writes;bytes=7`: each write has at most this many bytes; the text contains multi-byte characters.
    SplitWrites {
        /// At least 1.
        bytes: usize,
    },
    /// `many_events_per_write;n=4`: events are held back until this many can be written together.
    ManyEventsPerWrite {
        /// At least 1.
        count: usize,
    },
    /// `hidden_reasoning;tokens=50`: the first tokens of the output are counted, never sent.
    HiddenReasoning {
        /// Counted against `max_tokens`, like all output.
        tokens: usize,
    },
    /// `reasoning;field=reasoning_content;tokens=20`: the first tokens of the output are visible reasoning.
    Reasoning {
        /// The field that carries the reasoning.
        field: ReasoningField,
        /// Counted against `max_tokens`, like all output.
        tokens: usize,
    },
    /// `no_done`: no terminal event.
    NoDone,
    /// `no_usage`: usage is not reported, even if the request asked for it.
    NoUsage,
    /// `usage_on_finish`: usage is reported on the event with the finish reason.
    UsageOnFinish,
    /// `no_content`: the answer is empty.
    NoContent,
    /// `early_finish;tokens=2`: the answer stops by itself after this many tokens, unless `ignore_eos` is set.
    EarlyFinish {
        /// Number of output tokens, at least 1.
        tokens: usize,
    },
    /// `ignore_max_tokens`: the answer is at least twice as long as asked for, and stops by itself.
    IgnoreMaxTokens,
    /// `ignore_stop`: stop sequences have no effect.
    IgnoreStop,
    /// `ignore_seed`: each answer is another one, whatever the seed.
    IgnoreSeed,
    /// `no_logprobs`: there are no log probabilities, even if the request asked for them.
    NoLogprobs,
    /// `model_drift;strength=0.3`: the log probabilities are those of another model, whose logits differ by this standard
    /// deviation; from 1 on, its texts differ as well.
    ModelDrift {
        /// In nats, from 0 to 10.
        strength: f64,
    },
    /// `served_by;as=other;fingerprint=fp_other`: answers that are not streamed name another model and, in the formats of
    /// OpenAI, this `system_fingerprint`.
    ServedBy {
        /// The name of the model.
        model: String,
        /// The system fingerprint.
        fingerprint: String,
    },
    /// `no_prefix_cache`: nothing of the prompt is looked up in the prefix cache, or kept there.
    NoPrefixCache,
    /// `stream_differs`: a stream loses the last piece of its text.
    StreamDiffers,
    /// `broken_arguments`: a stream loses a piece of the arguments of a tool, so that they are not JSON.
    BrokenArguments,
    /// `crlf`: lines end in CR LF.
    Crlf,
    /// `lone_cr`: lines end in CR.
    LoneCr,
    /// `comments`: a comment line before each event.
    Comments,
    /// `bom`: the stream opens with a byte order mark.
    Bom,
    /// `no_space`: no space after `data:`.
    NoSpace,
    /// `multi_line_data`: the data of an event is spread over several `data` lines.
    MultiLineData,
    /// `no_final_blank_line`: the stream ends immediately after the data of the last event.
    NoFinalBlankLine,
    /// `huge_line;bytes=1000000`: the first content event has a line of this many bytes.
    HugeLine {
        /// Number of padding bytes.
        bytes: usize,
    },
    /// `close_keepalive;when=now`: the connection is closed after the answer without notice; `when=reuse` waits for the
    /// next request on it and resets the connection.
    CloseKeepalive {
        /// When the connection is closed.
        when: CloseWhen,
    },
    /// `wrong_content_type`: the content type is `text/html`, whatever the body is.
    WrongContentType,
    /// `no_choices`: the list of choices is empty; a stream has no content.
    NoChoices,
    /// `zero_usage`: every count in the usage is 0.
    ZeroUsage,
    /// `no_citations`: retrieval finds nothing.
    NoCitations,
    /// `slow_retrieval;for=2s`: retrieval takes longer by this time.
    SlowRetrieval {
        /// The additional time.
        time: Duration,
    },
    /// `no_token`: the answer to a login has no access token and sets no cookie.
    NoToken,
    /// `expired_token`: a login returns a token that has already expired; where a token is required, 401 as if it had.
    ExpiredToken,
    /// `wrong_status`: a session is created with 200 instead of 201.
    WrongStatus,
}

/// The field that carries visible reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_content`, which most servers use.
    #[default]
    ReasoningContent,
    /// `reasoning`, which other servers use.
    Reasoning,
}

/// When a kept-alive connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseWhen {
    /// Immediately after the answer.
    #[default]
    Now,
    /// When the next request arrives on it: the client has written, and gets no byte of an answer.
    Reuse,
}

/// Parses a comma-separated list of faults.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Fault>, SpecError> {
    spec::split(text, ',').into_iter().filter(|part| !part.trim().is_empty()).map(str::parse).collect()
}

impl Fault {
    /// Every fault as it is written, with the defaults of its parameters, separated by commas.
    pub(crate) fn all() -> String {
        let written =
            |name: &&str| name.parse::<Self>().map_or_else(|_| (*name).to_owned(), |it| it.to_string());
        Self::VARIANTS.iter().map(written).collect::<Vec<_>>().join(", ")
    }

    /// Whether this fault can affect requests of this kind.
    pub(crate) fn concerns(&self, service: Service) -> bool {
        match self {
            Self::NoCitations | Self::SlowRetrieval { .. } => service == Service::Rag,
            Self::NoToken => service == Service::Login,
            Self::WrongStatus => service == Service::NewSession,
            Self::ExpiredToken => service != Service::Model,
            Self::NoChoices => service == Service::Model,
            Self::RateLimited { .. }
            | Self::Status { .. }
            | Self::Redirect { .. }
            | Self::ResetBefore
            | Self::CloseBefore
            | Self::NotHttp
            | Self::StallHeaders { .. }
            | Self::ResetMid { .. }
            | Self::Truncated { .. }
            | Self::Garbage { .. }
            | Self::ErrorInStream { .. }
            | Self::BadChunkFraming { .. }
            | Self::Stall { .. }
            | Self::SplitWrites { .. }
            | Self::CloseKeepalive { .. }
            | Self::WrongContentType => true,
            _ => service.generates(),
        }
    }
}

impl FromStr for Fault {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Spec::parse(text);
        let fault = Self::from_spec(&mut spec)?;
        spec.finish()?;
        Ok(fault)
    }
}

impl TryFrom<String> for Fault {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

impl ReasoningField {
    /// The name of the JSON field.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
        }
    }
}

impl CloseWhen {
    fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Reuse => "reuse",
        }
    }
}
