//! What can go wrong on purpose: the closed list of faults and how each is written.
//!
//! A fault is written `name;param=value;param=value`, several are separated by commas, and a value with a comma or
//! a semicolon in it stands in double quotes. A name may have `-` for `_`. This file knows how faults are spelt and
//! whom they concern, not what they do (`effects`).

mod spec;
mod written;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use spec::Spec;
pub use spec::SpecError;

use super::dialect::Service;

/// One fault with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// `slow_down;factor=4`: prefill and decode of the request take so many times as long.
    SlowDown {
        /// At least 1.
        factor: f64,
    },
    /// `rate_limited;retry_after=1s`: 429 with `Retry-After`.
    RateLimited {
        /// In whole seconds on the wire.
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
    /// `reset_before`: RST once the request was read, before any byte of the answer.
    ResetBefore,
    /// `close_before`: FIN once the request was read, before any byte of the answer.
    CloseBefore,
    /// `not_http`: bytes that are no HTTP, then FIN.
    NotHttp,
    /// `stall_headers;for=2s`: the answer begins so much later.
    StallHeaders {
        /// How long.
        time: Duration,
    },
    /// `reset_mid;after=3`: RST after so many content events.
    ResetMid {
        /// Content events sent before.
        after: usize,
    },
    /// `truncated;after=3`: the body ends cleanly after so many content events: no finish, no terminal event.
    Truncated {
        /// Content events sent before.
        after: usize,
    },
    /// `garbage;after=0`: bytes that are neither an event nor JSON, then the end.
    Garbage {
        /// Content events sent before.
        after: usize,
    },
    /// `error_in_stream;after=3`: an error object inside the 200 answer, then the end.
    ErrorInStream {
        /// Content events sent before.
        after: usize,
    },
    /// `bad_chunk_framing;after=3`: bytes that break the transfer coding (over HTTP/2, the framing), then FIN.
    BadChunkFraming {
        /// Content events sent before.
        after: usize,
    },
    /// `stall;after=3;for=2s`: silence after so many content events; what was generated meanwhile follows at once.
    Stall {
        /// Content events sent before.
        after: usize,
        /// How long.
        time: Duration,
    },
    /// `role_only`: the event that only names the role comes at once, before the prefill.
    RoleOnly,
    /// `empty_chunks;n=3`: empty deltas come at once, before the prefill.
    EmptyChunks {
        /// How many.
        count: usize,
    },
    /// `tokens_per_chunk;n=4`: so many tokens in each content event.
    TokensPerChunk {
        /// At least 1.
        count: usize,
    },
    /// `split_writes;bytes=7`: each write has so many bytes at most; the text has characters of several bytes.
    SplitWrites {
        /// At least 1.
        bytes: usize,
    },
    /// `many_events_per_write;n=4`: events are held back until there are so many.
    ManyEventsPerWrite {
        /// At least 1.
        count: usize,
    },
    /// `hidden_reasoning;tokens=50`: the first tokens of the output are counted, never sent.
    HiddenReasoning {
        /// Inside `max_tokens`, as everywhere.
        tokens: usize,
    },
    /// `reasoning;field=reasoning_content;tokens=20`: the first tokens of the output are visible reasoning.
    Reasoning {
        /// Which field carries it.
        field: ReasoningField,
        /// Inside `max_tokens`, as everywhere.
        tokens: usize,
    },
    /// `no_done`: no terminal event.
    NoDone,
    /// `no_usage`: no usage, though it was asked for.
    NoUsage,
    /// `usage_on_finish`: usage rides on the event with the finish reason.
    UsageOnFinish,
    /// `no_content`: the answer is empty.
    NoContent,
    /// `early_finish;tokens=2`: the answer stops by itself after so many tokens, unless `ignore_eos`.
    EarlyFinish {
        /// Output tokens, at least 1.
        tokens: usize,
    },
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
    /// `multi_line_data`: the data of an event spread over several `data` lines.
    MultiLineData,
    /// `no_final_blank_line`: the stream ends right after the last event's data.
    NoFinalBlankLine,
    /// `huge_line;bytes=1000000`: the first content event has a line of so many bytes.
    HugeLine {
        /// Bytes of padding.
        bytes: usize,
    },
    /// `close_keepalive;when=now`: the connection closes after the answer though nothing said so; `when=reuse` waits
    /// for the next request on it and resets.
    CloseKeepalive {
        /// When.
        when: CloseWhen,
    },
    /// `wrong_content_type`: `text/html`, whatever the body is.
    WrongContentType,
    /// `no_choices`: the list of choices is empty; a stream has no content.
    NoChoices,
    /// `zero_usage`: every count of the usage is 0.
    ZeroUsage,
    /// `no_citations`: retrieval finds nothing.
    NoCitations,
    /// `slow_retrieval;for=2s`: retrieval takes so much longer.
    SlowRetrieval {
        /// How much.
        time: Duration,
    },
    /// `no_token`: the answer to a log-in has no access token and sets no cookie.
    NoToken,
    /// `expired_token`: a log-in hands out a token that has expired; where a token is wanted, 401 as if it had.
    ExpiredToken,
    /// `wrong_status`: a session is created with 200 in place of 201.
    WrongStatus,
}

/// The field that carries visible reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_content`, as most servers have it.
    #[default]
    ReasoningContent,
    /// `reasoning`, as others have it.
    Reasoning,
}

/// When a kept-alive connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseWhen {
    /// Right after the answer.
    #[default]
    Now,
    /// When the next request arrives on it: the client wrote, and no byte of an answer comes.
    Reuse,
}

/// All faults of a comma-separated list.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Fault>, SpecError> {
    spec::split(text, ',').into_iter().filter(|part| !part.trim().is_empty()).map(str::parse).collect()
}

impl Fault {
    /// Whether requests of this kind can meet it at all.
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
    /// The field as it stands in JSON.
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
