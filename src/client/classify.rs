//! What an error is called: the one place where errors of the transport and HTTP statuses become failures. By
//! type, never by text.

use crate::event::Failure;
use http::StatusCode;
use std::error::Error;
use std::io;

/// Something broke: what it is called, and what happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    pub(super) failure: Failure,
    pub(super) detail: String,
}

impl CallError {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    /// With the error and what it was about.
    pub(super) fn by(failure: Failure, doing: &str, error: &(dyn Error + 'static)) -> Self {
        Self { failure, detail: format!("{doing}: {}", chain(error)) }
    }
}

/// The class of an answer's status; `None` is success.
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

/// What a failed exchange is called and said to be; `when` tells how far it had come.
pub(super) fn exchange(error: &hyper::Error, when: &str) -> CallError {
    said(http(error), when, error)
}

/// The same for an error of the byte stream under it.
pub(super) fn stream(error: &io::Error, when: &str) -> CallError {
    said(io(error), when, error)
}

/// The byte stream under HTTP broke, and nothing that was said on it was wrong.
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

/// An error of a connection on which HTTP was spoken.
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
    // What is left is a message where none belongs.
    if lost { Failure::Reset } else { Failure::Protocol }
}

/// An error of the byte stream under HTTP, after it was established.
fn io(error: &io::Error) -> Failure {
    if find::<rustls::Error>(error).is_some() {
        return Failure::Tls;
    }
    match error.kind() {
        // Broken chunk framing comes as one of these.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Failure::Protocol,
        _ => Failure::Reset,
    }
}

/// A violation that our side noticed is the peer's bad protocol; a reset or a farewell from the peer ends the
/// answer as a lost connection does.
fn h2(error: &h2::Error) -> Failure {
    match error.reason() {
        _ if error.is_library() => Failure::Protocol,
        Some(h2::Reason::HTTP_1_1_REQUIRED | h2::Reason::PROTOCOL_ERROR) => Failure::Protocol,
        _ => Failure::Reset,
    }
}

/// The peer has closed the byte stream, as a read or a write finds out.
pub(super) fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// The connection turned out to be closed, which on a reused one may mean that it was so before the request
/// went out. A stream that the server refused on a live connection is not that.
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

/// The first error of a type in a chain of sources. An `io::Error` hides the error that it wraps from `source`.
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
