//! Classifies errors: the only place where transport errors and HTTP statuses become failures. By type, never by
//! message.

use super::tls_error;
use crate::event::Failure;
use http::StatusCode;
use rustix::io::Errno;
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

    /// An error with a detail that says what was being done.
    pub(super) fn by(failure: Failure, doing: &str, error: &(dyn Error + 'static)) -> Self {
        Self { failure, detail: format!("{doing}: {}", chain(error)) }
    }
}

/// What this machine lacked, if an error of the operating system was caused here and says nothing about a target.
pub(super) fn shortage(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let found = find::<io::Error>(error)?;
    let errno = Errno::from_io_error(found)?;
    Some(match errno {
        Errno::MFILE => {
            "this process has no file descriptor left: raise its limit of open files (ulimit -n, LimitNOFILE), or lower \
             limits.in_flight"
        }
        Errno::NFILE => "this machine has no file descriptor left: raise fs.file-max",
        Errno::ADDRNOTAVAIL => {
            "this machine has no free local port or address: widen net.ipv4.ip_local_port_range, or keep connections \
             (connection: warm)"
        }
        Errno::NOMEM | Errno::NOBUFS => "this machine has no memory left",
        Errno::NOSPC => "this process may watch no more sockets: raise fs.epoll.max_user_watches",
        Errno::AFNOSUPPORT => "this machine does not support the address family",
        Errno::PERM | Errno::ACCESS => {
            "this machine does not allow the connection: see its firewall and security policy"
        }
        _ => return None,
    })
}

/// Classifies a failure to connect or to resolve: as internal if this machine lacked something.
pub(super) fn set_up(failure: Failure, doing: &str, error: &io::Error) -> CallError {
    match shortage(error) {
        Some(lacked) => CallError::by(Failure::Internal, &format!("{doing}: {lacked}"), error),
        None => CallError::by(failure, doing, error),
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

/// Classifies a failed exchange; `when` describes how far it had progressed.
pub(super) fn exchange(error: &hyper::Error, when: &str) -> CallError {
    said(http(error), when, error)
}

/// Likewise for an error of the underlying byte stream.
pub(super) fn stream(error: &io::Error, when: &str) -> CallError {
    said(io(error), when, error)
}

/// Likewise for a byte stream of which nothing has been read yet. In TLS 1.3 the server judges the client's certificate
/// when the handshake is over for the client: its alert is then the first that comes.
pub(super) fn unread_stream(error: &io::Error, when: &str) -> CallError {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::AlertReceived(_)) => said(Failure::Tls, when, error),
        _ => stream(error, when),
    }
}

/// The byte stream under HTTP broke, without a protocol error on it.
pub(super) fn is_of_stream(error: &hyper::Error) -> bool {
    find::<io::Error>(error).is_some() || find::<h2::Error>(error).is_some_and(h2::Error::is_io)
}

fn said(failure: Failure, when: &str, error: &(dyn Error + 'static)) -> CallError {
    let what = match failure {
        _ if find::<rustls::Error>(error).is_some() => "TLS failed",
        Failure::Reset => "the connection was lost",
        Failure::Protocol => "the server broke the HTTP protocol",
        Failure::Internal => shortage(error).unwrap_or("the exchange failed"),
        _ => "the exchange failed",
    };
    CallError::by(failure, &format!("{what} {when}"), error)
}

/// Classifies an error of an HTTP connection.
fn http(error: &hyper::Error) -> Failure {
    if let Some(error) = find::<rustls::Error>(error) {
        return tls(error);
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
    // What remains is an unexpected message.
    if lost { Failure::Reset } else { Failure::Protocol }
}

/// Classifies an error of the byte stream under HTTP, after it was established.
fn io(error: &io::Error) -> Failure {
    if let Some(error) = find::<rustls::Error>(error) {
        return tls(error);
    }
    match error.kind() {
        _ if shortage(error).is_some() => Failure::Internal,
        // hyper reports invalid chunk framing as one of these.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Failure::Protocol,
        _ => Failure::Reset,
    }
}

/// Classifies an error of TLS after its handshake: an alert ends the connection, anything else is not what TLS allows.
fn tls(error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::AlertReceived(_) => Failure::Reset,
        _ => Failure::Protocol,
    }
}

/// A violation detected on our side is a protocol error of the peer; a reset or GOAWAY from the peer ends the answer
/// like a lost connection.
fn h2(error: &h2::Error) -> Failure {
    match error.reason() {
        _ if error.is_library() => Failure::Protocol,
        None if error.is_io() => error.get_io().map_or(Failure::Reset, io),
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

/// Whether the connection turned out to be closed, which on a reused one may have happened before the request arrived.
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

/// An error and its sources on one line, without sources whose text the line already ends with.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = inner(error);
        let text = if let Some(error) = error.downcast_ref::<rustls::Error>() {
            next = None;
            tls_error::explain(error)
        } else if let Some(error) = error.downcast_ref::<h2::Error>() {
            explain_h2(error)
        } else if is_wrapper(error) {
            // Its message would repeat the wrapped error.
            continue;
        } else {
            error.to_string()
        };
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

/// An HTTP/2 error with the name of its code, as in RFC 9113.
fn explain_h2(error: &h2::Error) -> String {
    let Some(reason) = error.reason() else { return error.to_string() };
    let hint = match reason {
        h2::Reason::HTTP_1_1_REQUIRED => ": set `http: \"1.1\"`",
        h2::Reason::ENHANCE_YOUR_CALM if error.is_remote() => ": it wants fewer requests",
        h2::Reason::REFUSED_STREAM => ": it has not processed the request",
        _ => "",
    };
    let what = match (error.is_remote(), error.is_go_away()) {
        (true, true) => "it closed the connection by GOAWAY with",
        (true, false) => "it closed the stream by RST_STREAM with",
        (false, _) if error.is_reset() => "we closed the stream by RST_STREAM with",
        (false, _) => "we closed the connection with",
    };
    match u32::from(reason) {
        // The last code defined by RFC 9113.
        0..=13 => format!("{what} {reason:?}{hint}"),
        unknown => format!("{what} the unknown code {unknown}"),
    }
}

fn is_wrapper(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.get_ref().is_some())
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
    fn what_this_machine_lacks_is_our_own_fault() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM] {
            let broken = set_up(Failure::Connect, "cannot connect to x:1", &errno.into());
            assert_eq!(broken.failure, Failure::Internal, "{errno}");
            assert_eq!(broken.detail.matches("os error").count(), 1, "{}", broken.detail);
            assert!(broken.detail.starts_with("cannot connect to x:1: this "), "{}", broken.detail);
            assert_eq!(io(&errno.into()), Failure::Internal, "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NETUNREACH, Errno::HOSTUNREACH] {
            let broken = set_up(Failure::Connect, "cannot connect to x:1", &errno.into());
            assert_eq!(broken.failure, Failure::Connect, "{errno}");
        }
    }

    #[test]
    fn http2_errors_have_the_names_of_their_codes() {
        for (code, says) in [
            (0, "we closed the connection with NO_ERROR"),
            (13, "we closed the connection with HTTP_1_1_REQUIRED: set `http: \"1.1\"`"),
            (99, "we closed the connection with the unknown code 99"),
        ] {
            assert_eq!(chain(&h2::Error::from(h2::Reason::from(code))), says);
        }
    }

    #[test]
    fn errors_inside_an_io_error_are_found() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(io(&wrapped), Failure::Protocol);
        assert_eq!(unread_stream(&wrapped, "then").failure, Failure::Protocol);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let alert = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(stream(&alert, "then").failure, Failure::Reset);
        let rejected = unread_stream(&alert, "then");
        assert_eq!(rejected.failure, Failure::Tls);
        assert!(rejected.detail.starts_with("TLS failed then: the server ended TLS"), "{}", rejected.detail);
        assert_eq!(io(&io::Error::other("x")), Failure::Reset);
        assert_eq!(io(&io::ErrorKind::InvalidInput.into()), Failure::Protocol);
    }

    #[test]
    fn a_chain_is_one_line_without_echoes() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(chain(&wrapped), rustls::Error::DecryptError.to_string());
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, certificate);
        assert!(chain(&wrapped).starts_with("the server's certificate is not accepted: its issuer"));
        let refused: io::Error = Errno::CONNREFUSED.into();
        assert_eq!(chain(&io::Error::other(refused)).matches("os error").count(), 1);
    }
}
