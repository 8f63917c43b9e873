//! The form of a body: what is expected, and what its first bytes show.

use crate::framing::{Detected, detect};
use serde::de::IgnoredAny;

/// The media type of AWS' event stream.
pub(in crate::client) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// A first line of so many bytes without an end is taken for a document.
const MAX_FIRST_LINE: usize = 64 << 10;
/// Number of characters at the start of a body that are quoted.
const MAX_START: usize = 200;

/// The form in which an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Mode {
    /// As a stream of server-sent events.
    Sse,
    /// As a stream of newline-delimited JSON.
    Ndjson,
    /// As a stream of the items of a JSON array.
    JsonArray,
    /// As a stream of AWS' binary messages.
    EventStream,
    /// As a single document.
    Whole,
}

/// What a body is expected to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) enum Expected {
    /// The body has this form.
    Known(Mode),
    /// The first bytes decide.
    Detect {
        /// The framing of a stream.
        stream: Mode,
        /// Whether a stream was requested.
        asked: bool,
        /// Its media type (lower case, without parameters); empty if there is none.
        media_type: String,
        /// The media type as it was written.
        written: String,
    },
}

impl From<Mode> for Expected {
    fn from(mode: Mode) -> Self {
        Self::Known(mode)
    }
}

impl Expected {
    /// The form of a body whose first bytes did not decide it.
    pub(in crate::client) fn mode(&self) -> Mode {
        match self {
            Self::Known(mode) => *mode,
            Self::Detect { media_type, .. } if media_type == "text/event-stream" => Mode::Sse,
            Self::Detect { stream: Mode::Ndjson, media_type, .. } if is_json(media_type) => Mode::Whole,
            Self::Detect { stream, asked: true, .. } => *stream,
            Self::Detect { .. } => Mode::Whole,
        }
    }

    /// The form of a body that begins with these bytes; `None` if more of them are needed.
    ///
    /// The bytes take precedence over the media type, because servers and gateways send a wrong one, none, or two. If
    /// the bytes are neither JSON nor events, an event stream may still begin with an unknown line, and a document goes
    /// to its parser, whose message says what is wrong. If a stream was requested, anything else is an error.
    pub(super) fn detect(&self, bytes: &[u8]) -> Option<Result<Mode, String>> {
        let Self::Detect { stream, asked, media_type, written } = self else { return Some(Ok(self.mode())) };
        let json = is_json(media_type);
        let lines = media_type.contains("ndjson") || media_type.contains("jsonl");
        Some(Ok(match detect(bytes) {
            Detected::Undecided => return None,
            Detected::Sse => Mode::Sse,
            Detected::Array if *asked && *stream == Mode::JsonArray => Mode::JsonArray,
            Detected::EventStream if *stream == Mode::EventStream => Mode::EventStream,
            Detected::Object if *asked && (lines || (*stream == Mode::Ndjson && !json)) => Mode::Ndjson,
            // Lines of JSON by the name of a single document: the first line shows which it is.
            Detected::Object if *asked && *stream == Mode::Ndjson => {
                let line = match memchr::memchr(b'\n', bytes) {
                    Some(end) => bytes.get(..end).unwrap_or_default(),
                    None if bytes.len() < MAX_FIRST_LINE => return None,
                    None => &[],
                };
                let is_line = serde_json::from_slice::<IgnoredAny>(line).is_ok();
                if is_line { Mode::Ndjson } else { Mode::Whole }
            }
            Detected::Object | Detected::Array => Mode::Whole,
            _ if media_type == "text/event-stream" => Mode::Sse,
            // The checksums say what is wrong.
            _ if *stream == Mode::EventStream && media_type == EVENT_STREAM => Mode::EventStream,
            _ if !asked || json => Mode::Whole,
            Detected::EventStream | Detected::Neither => {
                let came = if written.is_empty() { "an answer without a content type" } else { written };
                let start: String =
                    String::from_utf8_lossy(bytes).trim_start().chars().take(MAX_START).collect();
                // An HTML page is described by its title elsewhere.
                let start = if start.starts_with('<') {
                    String::new()
                } else {
                    format!("; it begins with `{start}`")
                };
                return Some(Err(format!("a stream was asked for and {came} came{start}")));
            }
        }))
    }
}

/// Whether a media type denotes a JSON document.
pub(in crate::client) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(media_type: &str, asked: bool) -> Expected {
        Expected::Detect {
            stream: Mode::Sse,
            asked,
            media_type: media_type.to_owned(),
            written: media_type.to_owned(),
        }
    }

    #[test]
    fn the_first_bytes_decide_over_the_media_type() {
        for media_type in
            ["", "text/plain", "application/json", "text/event-stream", "application/octet-stream"]
        {
            for asked in [true, false] {
                let of = |bytes: &str| expected(media_type, asked).detect(bytes.as_bytes());
                assert_eq!(of("data: {}"), Some(Ok(Mode::Sse)), "{media_type} {asked}");
                assert_eq!(of(" {\"a\""), Some(Ok(Mode::Whole)), "{media_type} {asked}");
                assert_eq!(of("da"), None, "{media_type} {asked}");
            }
        }
        let lines = expected("application/x-ndjson", true);
        assert_eq!(lines.detect(b"{}\n"), Some(Ok(Mode::Ndjson)));
        let of = |stream, media_type: &str, bytes: &[u8]| {
            Expected::Detect {
                stream,
                asked: true,
                media_type: media_type.to_owned(),
                written: media_type.to_owned(),
            }
            .detect(bytes)
        };
        assert_eq!(of(Mode::Ndjson, "", b"{"), Some(Ok(Mode::Ndjson)));
        assert_eq!(of(Mode::Ndjson, "application/json", b"{\"a\":"), None);
        assert_eq!(of(Mode::Ndjson, "application/json", b"{\"a\":1}\r\n"), Some(Ok(Mode::Ndjson)));
        assert_eq!(of(Mode::Ndjson, "application/json", b"{\n  \"a\": 1"), Some(Ok(Mode::Whole)));
        let long = format!("{{\"a\":\"{}", "x".repeat(MAX_FIRST_LINE));
        assert_eq!(of(Mode::Ndjson, "application/json", long.as_bytes()), Some(Ok(Mode::Whole)));
        assert_eq!(of(Mode::JsonArray, "application/json", b"["), Some(Ok(Mode::JsonArray)));
        assert_eq!(of(Mode::JsonArray, "application/json", b"{"), Some(Ok(Mode::Whole)));
        for (media_type, bytes) in [("", &b"\0\0"[..]), (EVENT_STREAM, b"\0\0"), (EVENT_STREAM, b"oops")] {
            assert_eq!(of(Mode::EventStream, media_type, bytes), Some(Ok(Mode::EventStream)), "{media_type}");
        }
        assert_eq!(of(Mode::EventStream, EVENT_STREAM, b"{"), Some(Ok(Mode::Whole)));
        assert!(matches!(of(Mode::Sse, EVENT_STREAM, b"\0\0"), Some(Err(_))));
    }

    #[test]
    fn what_is_neither_is_told() {
        let said = |media_type: &str| expected(media_type, true).detect(b"oops").unwrap().unwrap_err();
        assert_eq!(said("text/html"), "a stream was asked for and text/html came; it begins with `oops`");
        assert!(said("").contains("an answer without a content type came"));
        for (media_type, asked, mode) in [
            ("text/event-stream", true, Mode::Sse),
            ("application/json", true, Mode::Whole),
            ("text/html", false, Mode::Whole),
        ] {
            assert_eq!(expected(media_type, asked).detect(b"<html>"), Some(Ok(mode)));
        }
    }

    #[test]
    fn a_body_that_shows_nothing() {
        assert_eq!(expected("", true).mode(), Mode::Sse);
        assert_eq!(expected("", false).mode(), Mode::Whole);
        assert_eq!(expected("text/event-stream", false).mode(), Mode::Sse);
        let Expected::Detect { asked, media_type, written, .. } = expected("application/json", true) else {
            panic!()
        };
        let lines = Expected::Detect { stream: Mode::Ndjson, asked, media_type, written };
        assert_eq!(lines.mode(), Mode::Whole);
    }
}
