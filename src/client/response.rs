//! Interprets the response headers.

use super::body_decoder::{Expected, Mode};
use super::classify::CallError;
use crate::event::Failure;
use crate::plan::{StatusRange, StatusSet};
use crate::redactor::{Redactor, shorten};
use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

/// Maximum length in characters of the `server` header, because it becomes a label value.
const MAX_SERVER: usize = 64;

/// Maximum length in characters of a page title that a message quotes.
const MAX_TITLE: usize = 80;

/// Codings that compress, as they are called in `content-encoding`.
const COMPRESSIONS: [&str; 9] =
    ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"];

/// How the body of a successful model answer is to be read.
///
/// A requested stream may arrive as a single JSON document (an error object, or a server that does not stream); it is
/// then read whole, and the answer counts as not streamed. An event stream is read as one, requested or not. The first
/// bytes of the body decide.
pub(super) fn expected(headers: &HeaderMap, stream: Mode, asked: bool) -> Expected {
    // In the original spelling: in lower case, a secret in it would not be recognized.
    let written = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let written = written.split([';', ',']).next().unwrap_or_default().trim().to_owned();
    Expected::Detect { stream, asked, media_type: media_type(headers), written }
}

/// Copies headers out of the memory that they were read into: an answer keeps its headers until it ends, and they are
/// slices of a buffer of several KiB.
pub(super) fn detached(headers: HeaderMap) -> HeaderMap {
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    let mut detached = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    // The name comes with the first of its values only.
    for (name, value) in headers {
        last = name.or(last);
        values.extend_from_slice(value.as_bytes());
        // A copy of a valid value is valid, so nothing is dropped here.
        if let (Some(name), Ok(mut copy)) = (&last, HeaderValue::from_maybe_shared(values.split().freeze())) {
            copy.set_sensitive(value.is_sensitive());
            detached.append(name.clone(), copy);
        }
    }
    detached
}

/// The codings with which a body is compressed, as they are written; `None` if it is sent as it is. Some servers say that
/// it is with `none`, a charset or an empty value, in place of `identity` or no header at all: only what is known to be a
/// compression is one, and what else a body is, its bytes show.
pub(super) fn compression(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    // Nothing is taken out of a value or changed in it: a secret that a server puts there would not be recognized.
    let values: Vec<_> = values.collect();
    let is_known = |coding: &str| COMPRESSIONS.iter().any(|known| coding.trim().eq_ignore_ascii_case(known));
    let is_compressed = values.iter().flat_map(|value| value.split(',')).any(is_known);
    is_compressed.then(|| values.join(", "))
}

/// Rejects a compressed body: no compression is requested, and none is decoded.
pub(super) fn uncompressed(headers: &HeaderMap) -> Result<(), CallError> {
    match compression(headers) {
        None => Ok(()),
        Some(codings) => {
            let detail = format!("the answer is compressed ({codings}), which was not asked for");
            Err(CallError::new(Failure::Protocol, detail))
        }
    }
}

/// The media type in lower case, without parameters; empty if there is none. Some gateways send it twice, as two
/// headers or in one.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    value.split([';', ',']).next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Describes an HTML page that was received in place of an API's answer; `None` if the body is something else.
pub(super) fn page(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let start = body.trim_ascii_start();
    let begins =
        |with: &str| start.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with.as_bytes()));
    if !matches!(media_type(headers).as_str(), "text/html" | "application/xhtml+xml")
        && !begins("<!doctype html")
        && !begins("<html")
    {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").zip(lower.find("</title>"));
    let title = title.and_then(|(from, to)| text.get(from + "<title>".len()..to));
    let title = title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(match title.filter(|title| !title.is_empty() && title.chars().count() <= MAX_TITLE) {
        Some(title) => format!("an HTML page (\"{title}\")"),
        None => "an HTML page".to_owned(),
    })
}

/// Whether the answer has no body by the rules of HTTP (RFC 9110, section 6.4.1), whatever its headers say.
pub(super) fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The class of an error, as services of AWS tell it: the part before the colon in `x-amzn-errortype:
/// ThrottlingException:http://internal.amazon.com/...`.
pub(super) fn error_class(headers: &HeaderMap) -> Option<&str> {
    let class = text(headers, "x-amzn-errortype")?.split(':').next()?.trim();
    Some(class).filter(|class| !class.is_empty())
}

/// The status line of an answer, for messages.
pub(super) fn status_line(status: StatusCode) -> String {
    // Codes like 529 have no reason phrase.
    let words = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("HTTP {}{words}", status.as_u16())
}

/// The message that another status was expected.
pub(super) fn unexpected(status: StatusCode, expected: &StatusSet) -> String {
    let range = |range: &StatusRange| match (range.from, range.to) {
        (from, to) if from == to => from.to_string(),
        (from, to) if from % 100 == 0 && to == from + 99 => format!("{}xx", from / 100),
        (from, to) => format!("{from} to {to}"),
    };
    let expected: Vec<_> = expected.0.iter().map(range).collect();
    format!("{}, where {} is expected", status_line(status), expected.join(" or "))
}

/// The `server` header, without secrets, truncated.
pub(super) fn server(headers: &HeaderMap, redactor: &Redactor) -> Option<String> {
    let server = redactor.mask(text(headers, header::SERVER.as_str())?);
    let kept: String = shorten(&server, usize::MAX).chars().take(MAX_SERVER).collect();
    Some(kept).filter(|server| !server.is_empty())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::header::HeaderName;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_type_of_the_answer_says_how_it_is_read() {
        let of = |value| media_type(&headers(&[("content-type", value)]));
        assert_eq!(of("text/event-stream; charset=utf-8"), "text/event-stream");
        assert_eq!(of("Text/Event-Stream, text/event-stream"), "text/event-stream");
        assert_eq!(of("Application/JSON"), "application/json");
        assert_eq!(media_type(&HeaderMap::new()), "");
        let zipped = headers(&[("content-type", "text/event-stream"), ("content-encoding", "gzip")]);
        assert_eq!(uncompressed(&zipped).unwrap_err().failure, Failure::Protocol);
        assert_eq!(uncompressed(&HeaderMap::new()), Ok(()));
        for plain in ["identity", "Identity", "none", "NONE", "", " , identity", "utf-8", "binary", "chunked"]
        {
            assert_eq!(uncompressed(&headers(&[("content-encoding", plain)])), Ok(()), "{plain}");
        }
        for compressed in ["GZip", "x-gzip", "deflate", "br", "zstd", "compress", "utf-8, br"] {
            assert!(uncompressed(&headers(&[("content-encoding", compressed)])).is_err(), "{compressed}");
        }
        let mut twice = headers(&[("content-encoding", "identity, GZip")]);
        twice.append(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(compression(&twice).as_deref(), Some("identity, GZip, br"));
    }

    #[test]
    fn headers_that_are_kept_hold_no_buffer() {
        let buffer = Bytes::from(b"text/event-streama=1b=2".to_vec());
        let mut read = HeaderMap::new();
        for (name, at) in [("content-type", 0..17), ("set-cookie", 17..20), ("set-cookie", 20..23)] {
            read.append(name, HeaderValue::from_maybe_shared(buffer.slice(at)).unwrap());
        }
        read.insert("x-empty", HeaderValue::from_static(""));
        let mut secret = HeaderValue::from_bytes(b"\xe9\t!").unwrap();
        secret.set_sensitive(true);
        read.insert("x-secret", secret);
        let kept = detached(read.clone());
        assert_eq!(kept, read);
        assert!(kept["x-secret"].is_sensitive() && !kept["set-cookie"].is_sensitive());
        assert_eq!(kept.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        drop(read);
        assert!(buffer.is_unique());
        assert_eq!(detached(HeaderMap::new()), HeaderMap::new());
    }

    #[test]
    fn a_page_is_described_by_its_title() {
        let html = headers(&[("content-type", "text/html; charset=utf-8")]);
        let of = |headers: &HeaderMap, body: &str| page(headers, body.as_bytes());
        assert_eq!(of(&html, "<h1>x").as_deref(), Some("an HTML page"));
        let titled = "\n<!DOCTYPE html><head><Title>404\n Not Found</title>";
        assert_eq!(of(&HeaderMap::new(), titled).as_deref(), Some("an HTML page (\"404 Not Found\")"));
        assert_eq!(of(&HeaderMap::new(), "{}"), None);
        assert_eq!(of(&html, "</title>é<title>").as_deref(), Some("an HTML page"));
    }

    #[test]
    fn answers_that_have_no_body() {
        let none = |method, code| has_no_body(&method, StatusCode::from_u16(code).unwrap());
        assert!(none(Method::HEAD, 200) && none(Method::GET, 204) && none(Method::POST, 304));
        assert!(!none(Method::GET, 200) && !none(Method::DELETE, 201));
    }

    #[test]
    fn what_status_was_expected() {
        let said = |ranges: &[(u16, u16)]| {
            let ranges = ranges.iter().map(|(from, to)| StatusRange { from: *from, to: *to });
            unexpected(StatusCode::OK, &StatusSet(ranges.collect()))
        };
        assert_eq!(said(&[(201, 201)]), "HTTP 200 OK, where 201 is expected");
        assert_eq!(said(&[(300, 399), (404, 404)]), "HTTP 200 OK, where 3xx or 404 is expected");
        assert_eq!(said(&[(201, 206)]), "HTTP 200 OK, where 201 to 206 is expected");
    }

    #[test]
    fn the_class_of_an_error_of_aws() {
        let of = |value| error_class(&headers(&[("x-amzn-errortype", value)])).map(str::to_owned);
        assert_eq!(
            of("ThrottlingException:http://internal.amazon.com/x/").as_deref(),
            Some("ThrottlingException")
        );
        assert_eq!(of("ValidationException").as_deref(), Some("ValidationException"));
        assert_eq!((of(""), of(":x")), (None, None));
    }

    #[test]
    fn the_server_is_shortened() {
        let server = |headers: &HeaderMap| server(headers, &Redactor::default());
        assert_eq!(server(&headers(&[("server", " uvicorn ")])).as_deref(), Some("uvicorn"));
        assert_eq!(server(&headers(&[("server", "")])), None);
        let mut long = HeaderMap::new();
        long.insert(header::SERVER, HeaderValue::from_bytes("x".repeat(500).as_bytes()).unwrap());
        assert_eq!(server(&long).map(|server| server.len()), Some(64));
    }

    #[test]
    fn the_server_is_no_way_out_for_a_secret() {
        let key = "sk-".to_owned() + &"s".repeat(200);
        let mut echo = HeaderMap::new();
        echo.insert(header::SERVER, HeaderValue::try_from(format!("gateway for {key}")).unwrap());
        let mut redactor = Redactor::default();
        redactor.add_header(&key);
        assert_eq!(server(&echo, &redactor).as_deref(), Some("gateway for ***"));
    }
}
