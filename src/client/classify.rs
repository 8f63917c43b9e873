//! Classifies errors: the only place where transport errors and HTTP statuses become failures. By type, never by
//! message.

use crate::event::Failure;
use http::StatusCode;
use std::error::Error;
use std::io;

/// An error: its classification, and a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    pub(super) failure: Failure,
    pub(super) detail: String,
}

impl CallError {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    /// With a detail that says what was being done, followed by the error.
    pub(super) fn by(failure: Failure, doing: &str, error: &(dyn Error + 'static)) -> Self {
        Self { failure, detail: format!("{doing}: {}", chain(error)) }
    }
}

/// The class of a status; `None` is success.
pub(super) fn status(status: StatusCode) -> Option<Failure> {
    match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(Failure::Redirect),
        401 | 403 => Some(Failure::Auth),
        429 => Some(Failure::RateLimited),
        503 | 529 => Some(Failure::Overloaded),
        400..=499 => Some(Failure::Http4xx),
        500..=599 => Some(Failure::Http5xx),
        _ => Some(Failure::Protocol),
    }
}

/// Classifies a failed exchange; `when` describes how far it had come.
pub(super) fn exchange(error: &hyper::Error, when: &str) -> CallError {
    said(http(error), when, error)
}

/// Likewise for an error of the underlying byte stream.
pub(super) fn stream(error: &io::Error, when: &str) -> CallError {
    said(io(error), when, error)
}

/// The byte stream under HTTP broke, without a protocol error on it.
pub(super) fn is_of_stream(error: &hyper::Error) -> bool {
    find::<io::Error>(error).is_some() || find::<h2::Error>(error).is_some_and(h2::Error::is_io)
}

fn said(failure: Failure, when: &str, error: &(dyn Error + 'static)) -> CallError {
    let what = match failure {
        Failure::Reset => "the connection was lost",
        Failure::Protocol => "the server broke the HTTP protocol",
        Failure::Tls => "TLS failed",
        _ => "the exchange failed",
    };
    CallError::by(failure, &format!("{what} {when}"), error)
}

/// Classifies an error of an HTTP connection.
fn http(error: &hyper::Error) -> Failure {
    if find::<rustls::Error>(error).is_some() {
        return Failure::Tls;
    }
    if error.is_user() {
        return Failure::Internal;
    }
    if error.is_parse() {
        return Failure::Protocol;
    }
    if let Some(io) = find::<io::Error>(error) {
        return self::io(io);
    }
    if let Some(error) = find::<h2::Error>(error) {
        return h2(error);
    }
    let lost = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error.is_shutdown()
        || error.is_body_write_aborted();
    // The only case left is an unexpected message.
    if lost { Failure::Reset } else { Failure::Protocol }
}

/// Classifies an error of the byte stream under HTTP, after it was established.
fn io(error: &io::Error) -> Failure {
    if find::<rustls::Error>(error).is_some() {
        return Failure::Tls;
    }
    match error.kind() {
        // Invalid chunk framing is reported as one of these.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Failure::Protocol,
        _ => Failure::Reset,
    }
}

/// A violation detected on our side is a protocol error of the peer; a reset or GOAWAY from the peer ends the answer
/// like a lost connection.
fn h2(error: &h2::Error) -> Failure {
    match error.reason() {
        _ if error.is_library() => Failure::Protocol,
        Some(h2::Reason::HTTP_1_1_REQUIRED | h2::Reason::PROTOCOL_ERROR) => Failure::Protocol,
        _ => Failure::Reset,
    }
}

/// Whether the error of a read or write means that the peer has closed the byte stream.
pub(super) fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// Whether the connection turned out to be closed, which on a reused one may have happened before the request was sent.
/// A stream that the server refused on a live connection does not count.
pub(super) fn is_gone(error: &hyper::Error) -> bool {
    if find::<rustls::Error>(error).is_some() {
        return false;
    }
    if let Some(io) = find::<io::Error>(error) {
        return is_hang_up(io) || io.kind() == io::ErrorKind::UnexpectedEof;
    }
    if let Some(error) = find::<h2::Error>(error) {
        return error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    }
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

/// The first error of a type in a chain of sources. `io::Error::source` skips the error that it wraps.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = inner(error);
    }
    None
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// An error and its sources on one line. Sources that the line already ends with are not repeated.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = inner(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = inner(error);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_class() {
        let class = |code| status(StatusCode::from_u16(code).unwrap());
        for (codes, failure) in [
            (&[200, 201, 204, 299][..], None),
            (&[301, 302, 304, 307], Some(Failure::Redirect)),
            (&[401, 403], Some(Failure::Auth)),
            (&[429], Some(Failure::RateLimited)),
            (&[503, 529], Some(Failure::Overloaded)),
            (&[400, 404, 408, 422, 499], Some(Failure::Http4xx)),
            (&[500, 502, 504, 520], Some(Failure::Http5xx)),
            (&[101, 600, 999], Some(Failure::Protocol)),
        ] {
            for code in codes {
                assert_eq!(class(*code), failure, "{code}");
            }
        }
    }

    #[test]
    fn errors_inside_an_io_error_are_found() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(io(&wrapped), Failure::Tls);
        assert_eq!(io(&io::Error::other("x")), Failure::Reset);
        assert_eq!(io(&io::ErrorKind::InvalidInput.into()), Failure::Protocol);
    }

    #[test]
    fn a_chain_is_one_line_without_echoes() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(chain(&wrapped), rustls::Error::DecryptError.to_string());
    }
}
