//! Explains TLS errors and suggests what to try, because rustls prints the names of its types. Knows nothing about
//! their cause.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Describes a TLS error in words.
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS on this port: is it an http:// address?".to_owned()
        }
        Error::NoApplicationProtocol => {
            "the server offers no HTTP version that was asked for (ALPN): try another `http`".to_owned()
        }
        Error::PeerIncompatible(_) => NOTHING_IN_COMMON.to_owned(),
        Error::AlertReceived(alert) => self::alert(*alert),
        other => other.to_string(),
    }
}

const NOTHING_IN_COMMON: &str =
    "the server has no TLS version, cipher suite or signature scheme in common with us";

fn certificate(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: is this machine's clock right?"
        }
        CertificateError::UnknownIssuer => {
            "its issuer is not trusted, or it is self-signed: set tls.ca_file to the issuer's certificate"
        }
        CertificateError::NotValidForName => "it is for another name: see tls.server_name",
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            return format!(
                "the server's certificate is not accepted: it is for {names}, not for {}: see tls.server_name",
                expected.to_str()
            );
        }
        CertificateError::Revoked => "it was revoked",
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::BadSignature => {
            "its signature is wrong, or its key too short (RSA needs 2048 bits): is tls.ca_file that of its issuer?"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was not issued for servers"
        }
        CertificateError::Other(other) => {
            let name = other.0.to_string();
            if name == "CaUsedAsEndEntity" {
                "it is that of an authority (as self-signed ones often are) and no server's: issue one for the server, \
                 and set tls.ca_file to this one"
            } else {
                return format!("the server's certificate is not accepted: {}", snake_case(&name));
            }
        }
        other => return format!("the server's certificate is not accepted: {other}"),
    };
    format!("the server's certificate is not accepted: {words}")
}

fn alert(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate => {
            ": it wants another client certificate, see tls.client_cert_file and tls.client_key_file"
        }
        AlertDescription::UnrecognisedName => ": it does not know the name, see tls.server_name",
        AlertDescription::NoApplicationProtocol => ": try another `http`",
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            ": it has no TLS version or cipher suite in common with us, or wants a client certificate"
        }
        _ => "",
    };
    format!("the server ended TLS with the alert {}{hint}", snake_case(&format!("{alert:?}")))
}

/// `DnsName("a.test")` as `a.test`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"')
}

/// The name of an alert as in RFC 8446: `handshake_failure`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut previous = None;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous.is_some_and(|it: char| it.is_ascii_lowercase()) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        previous = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_too_short_is_named_beside_a_wrong_signature() {
        let words = explain(&Error::InvalidCertificate(CertificateError::BadSignature));
        assert!(words.contains("2048 bits") && words.contains("tls.ca_file"), "{words}");
    }

    #[test]
    fn names_of_types_are_put_in_words() {
        assert_eq!(snake_case("HandshakeFailure"), "handshake_failure");
        assert_eq!(snake_case("UnknownCA"), "unknown_ca");
        assert_eq!((bare("DnsName(\"a.test\")"), bare("IpAddress(127.0.0.1)")), ("a.test", "127.0.0.1"));
        for error in [
            Error::InvalidCertificate(CertificateError::Expired),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::NotValidForName),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::NoApplicationProtocol,
        ] {
            let words = explain(&error);
            // No word is in camel case.
            let camel = |word: &str| {
                word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase)
            };
            assert!(!words.split([' ', ':', '(', ')']).any(camel), "{words}");
        }
    }
}
