//! What can go wrong on purpose: the closed list of faults and how each is written.
//!
//! A fault is written `name;param=value;param=value`, several are separated by commas, and a value with a comma or
//! a semicolon in it stands in double quotes. This file knows how faults are spelt, not what they do (`effects`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

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

/// A fault that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No such fault.
    #[error("there is no fault `{0}`")]
    UnknownFault(String),
    /// The fault has no such parameter.
    #[error("fault `{fault}` has no parameter `{name}`")]
    UnknownParameter {
        /// Its name.
        fault: String,
        /// The parameter.
        name: String,
    },
    /// The value does not fit.
    #[error("parameter `{name}` of fault `{fault}`: {reason}")]
    BadValue {
        /// Its name.
        fault: String,
        /// The parameter.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// `name;param=value` taken apart; each reading removes the parameter, so that [`Spec::finish`] finds strangers.
#[derive(Debug)]
pub(crate) struct Spec {
    name: String,
    params: Vec<(String, String)>,
}

/// All faults of a comma-separated list.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Fault>, SpecError> {
    split(text, ',').into_iter().filter(|part| !part.trim().is_empty()).map(str::parse).collect()
}

impl Fault {
    pub(crate) fn from_spec(spec: &mut Spec) -> Result<Self, SpecError> {
        let after = |spec: &mut Spec, default| spec.number("after", default);
        Ok(match spec.name.as_str() {
            "slow_down" => Self::SlowDown { factor: spec.factor("factor", 4.0)? },
            "rate_limited" => {
                Self::RateLimited { retry_after: spec.time("retry_after", Duration::from_secs(1))? }
            }
            "error_500" => Self::Status { code: 500 },
            "unavailable_503" => Self::Status { code: 503 },
            "overloaded_529" => Self::Status { code: 529 },
            "status" => Self::Status { code: spec.status("code", 500)? },
            "redirect" => Self::Redirect { location: spec.text("location", "/elsewhere") },
            "reset_before" => Self::ResetBefore,
            "close_before" => Self::CloseBefore,
            "not_http" => Self::NotHttp,
            "stall_headers" => Self::StallHeaders { time: spec.time("for", Duration::from_secs(1))? },
            "reset_mid" => Self::ResetMid { after: after(spec, 1)? },
            "truncated" => Self::Truncated { after: after(spec, 1)? },
            "garbage" => Self::Garbage { after: after(spec, 0)? },
            "error_in_stream" => Self::ErrorInStream { after: after(spec, 1)? },
            "bad_chunk_framing" => Self::BadChunkFraming { after: after(spec, 1)? },
            "stall" => {
                Self::Stall { after: after(spec, 1)?, time: spec.time("for", Duration::from_secs(1))? }
            }
            "role_only" => Self::RoleOnly,
            "empty_chunks" => Self::EmptyChunks { count: spec.number("n", 1)? },
            "tokens_per_chunk" => Self::TokensPerChunk { count: spec.positive("n", 4)? },
            "split_writes" => Self::SplitWrites { bytes: spec.positive("bytes", 7)? },
            "many_events_per_write" => Self::ManyEventsPerWrite { count: spec.positive("n", 4)? },
            "hidden_reasoning" => Self::HiddenReasoning { tokens: spec.positive("tokens", 32)? },
            "reasoning" => {
                Self::Reasoning { field: spec.reasoning_field()?, tokens: spec.positive("tokens", 32)? }
            }
            "no_done" => Self::NoDone,
            "no_usage" => Self::NoUsage,
            "usage_on_finish" => Self::UsageOnFinish,
            "no_content" => Self::NoContent,
            "early_finish" => Self::EarlyFinish { tokens: spec.positive("tokens", 1)? },
            "crlf" => Self::Crlf,
            "lone_cr" => Self::LoneCr,
            "comments" => Self::Comments,
            "bom" => Self::Bom,
            "no_space" => Self::NoSpace,
            "multi_line_data" => Self::MultiLineData,
            "no_final_blank_line" => Self::NoFinalBlankLine,
            "huge_line" => Self::HugeLine { bytes: spec.huge("bytes", 4 << 20)? },
            "close_keepalive" => Self::CloseKeepalive { when: spec.close_when()? },
            "wrong_content_type" => Self::WrongContentType,
            unknown => return Err(SpecError::UnknownFault(unknown.to_owned())),
        })
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowDown { factor } => write!(f, "slow_down;factor={factor}"),
            Self::RateLimited { retry_after } => {
                write!(f, "rate_limited;retry_after={}", units::written(*retry_after))
            }
            Self::Status { code } => write!(f, "status;code={code}"),
            Self::Redirect { location } => write!(f, "redirect;location=\"{location}\""),
            Self::ResetBefore => f.write_str("reset_before"),
            Self::CloseBefore => f.write_str("close_before"),
            Self::NotHttp => f.write_str("not_http"),
            Self::StallHeaders { time } => write!(f, "stall_headers;for={}", units::written(*time)),
            Self::ResetMid { after } => write!(f, "reset_mid;after={after}"),
            Self::Truncated { after } => write!(f, "truncated;after={after}"),
            Self::Garbage { after } => write!(f, "garbage;after={after}"),
            Self::ErrorInStream { after } => write!(f, "error_in_stream;after={after}"),
            Self::BadChunkFraming { after } => write!(f, "bad_chunk_framing;after={after}"),
            Self::Stall { after, time } => write!(f, "stall;after={after};for={}", units::written(*time)),
            Self::RoleOnly => f.write_str("role_only"),
            Self::EmptyChunks { count } => write!(f, "empty_chunks;n={count}"),
            Self::TokensPerChunk { count } => write!(f, "tokens_per_chunk;n={count}"),
            Self::SplitWrites { bytes } => write!(f, "split_writes;bytes={bytes}"),
            Self::ManyEventsPerWrite { count } => write!(f, "many_events_per_write;n={count}"),
            Self::HiddenReasoning { tokens } => write!(f, "hidden_reasoning;tokens={tokens}"),
            Self::Reasoning { field, tokens } => {
                write!(f, "reasoning;field={};tokens={tokens}", field.name())
            }
            Self::NoDone => f.write_str("no_done"),
            Self::NoUsage => f.write_str("no_usage"),
            Self::UsageOnFinish => f.write_str("usage_on_finish"),
            Self::NoContent => f.write_str("no_content"),
            Self::EarlyFinish { tokens } => write!(f, "early_finish;tokens={tokens}"),
            Self::Crlf => f.write_str("crlf"),
            Self::LoneCr => f.write_str("lone_cr"),
            Self::Comments => f.write_str("comments"),
            Self::Bom => f.write_str("bom"),
            Self::NoSpace => f.write_str("no_space"),
            Self::MultiLineData => f.write_str("multi_line_data"),
            Self::NoFinalBlankLine => f.write_str("no_final_blank_line"),
            Self::HugeLine { bytes } => write!(f, "huge_line;bytes={bytes}"),
            Self::CloseKeepalive { when } => write!(f, "close_keepalive;when={}", when.name()),
            Self::WrongContentType => f.write_str("wrong_content_type"),
        }
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

impl Spec {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = split(text, ';').into_iter();
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let params = parts
            .map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())
            })
            .filter(|(key, _)| !key.is_empty())
            .collect();
        Self { name, params }
    }

    /// Fails on a parameter that nobody read.
    pub(crate) fn finish(self) -> Result<(), SpecError> {
        match self.params.into_iter().next() {
            Some((name, _)) => Err(SpecError::UnknownParameter { fault: self.name, name }),
            None => Ok(()),
        }
    }

    /// Reads and removes a parameter by way of `read`.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SpecError> {
        let Some(at) = self.params.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (name, value) = self.params.remove(at);
        read(&value).map(Some).map_err(|reason| SpecError::BadValue {
            fault: self.name.clone(),
            name,
            reason,
        })
    }

    fn number(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        let read = |value: &str| value.parse().map_err(|_| format!("`{value}` is not a whole number"));
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    fn positive(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        Ok(self.number(name, default)?.max(1))
    }

    /// Bytes of a line, capped: a fault must not cost the simulator its memory.
    fn huge(&mut self, name: &str, default: usize) -> Result<usize, SpecError> {
        Ok(self.number(name, default)?.min(64 << 20))
    }

    fn factor(&mut self, name: &str, default: f64) -> Result<f64, SpecError> {
        let read = |value: &str| match value.parse::<f64>() {
            Ok(factor) if (1.0..=1e6).contains(&factor) => Ok(factor),
            _ => Err(format!("`{value}` is not a number from 1 to 1000000")),
        };
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    fn status(&mut self, name: &str, default: u16) -> Result<u16, SpecError> {
        let read = |value: &str| match value.parse::<u16>() {
            Ok(code) if (200..=999).contains(&code) => Ok(code),
            _ => Err(format!("`{value}` is not a status from 200 to 999")),
        };
        Ok(self.read(name, read)?.unwrap_or(default))
    }

    fn time(&mut self, name: &str, default: Duration) -> Result<Duration, SpecError> {
        Ok(self.read(name, units::duration)?.unwrap_or(default))
    }

    fn text(&mut self, name: &str, default: &str) -> String {
        let read = self.read(name, |value| Ok(value.to_owned()));
        read.ok().flatten().unwrap_or_else(|| default.to_owned())
    }

    fn reasoning_field(&mut self) -> Result<ReasoningField, SpecError> {
        let read = |value: &str| match value {
            "reasoning_content" => Ok(ReasoningField::ReasoningContent),
            "reasoning" => Ok(ReasoningField::Reasoning),
            other => Err(format!("`{other}` is neither reasoning_content nor reasoning")),
        };
        Ok(self.read("field", read)?.unwrap_or_default())
    }

    fn close_when(&mut self) -> Result<CloseWhen, SpecError> {
        let read = |value: &str| match value {
            "now" => Ok(CloseWhen::Now),
            "reuse" => Ok(CloseWhen::Reuse),
            other => Err(format!("`{other}` is neither now nor reuse")),
        };
        Ok(self.read("when", read)?.unwrap_or_default())
    }
}

/// Splits at `separator`, but not inside double quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_what_it_writes() {
        let all = "slow_down, rate_limited;retry_after=3s, error_500, unavailable_503, overloaded_529, status;code=502,
            redirect;location=\"http://a/b;c,d\", reset_before, close_before, not_http, stall_headers;for=20ms,
            reset_mid;after=2, truncated, garbage, error_in_stream, bad_chunk_framing, stall;after=4;for=1500ms,
            role_only, empty_chunks;n=3, tokens_per_chunk;n=5, split_writes;bytes=3, many_events_per_write;n=9,
            hidden_reasoning;tokens=8, reasoning;field=reasoning;tokens=9, no_done, no_usage, usage_on_finish,
            no_content, early_finish;tokens=2, crlf, lone_cr, comments, bom, no_space, multi_line_data,
            no_final_blank_line, huge_line;bytes=100, close_keepalive;when=reuse, wrong_content_type";
        let faults = parse_list(all).unwrap();
        assert_eq!(faults.len(), 39);
        for fault in faults {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let error = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
        assert_eq!(error("explode"), "there is no fault `explode`");
        assert_eq!(error("stall;often=3"), "fault `stall` has no parameter `often`");
        assert_eq!(error("stall;after=x"), "parameter `after` of fault `stall`: `x` is not a whole number");
        assert!(error("slow_down;factor=0.5").contains("not a number from 1"));
        assert!(error("stall;for=soon").contains("not a duration"));
    }
}
