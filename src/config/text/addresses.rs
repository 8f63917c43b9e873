//! Names and addresses of hosts, and addresses to listen on.

use super::{Text, text};
use std::net::{IpAddr, SocketAddr};

/// An address to listen on, such as `127.0.0.1:9464`, `0.0.0.0:9464` or `[::]:9464`. With port 0, the system chooses a
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Text for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1:9464", "0.0.0.0:9464", "[::]:9464"];

    fn parse(text: &str) -> Result<Self, String> {
        // As in Prometheus, `:9464` means all addresses.
        let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        whole
            .parse()
            .map(Self)
            .map_err(|_| "must be an IP address with a port, such as 127.0.0.1:9464 or [::]:9464".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
text!(ListenAddress);

/// A host name without scheme and port, such as `probe.example.net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

impl Text for HostName {
    const FORMAT: &'static str = "host-name";
    const EXAMPLES: &'static [&'static str] = &["tokenbeat.monitoring.svc", "probe.example.net"];

    fn parse(text: &str) -> Result<Self, String> {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if text.strip_suffix('.').unwrap_or(text).split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be the name of a host without scheme and port, such as probe.example.net".to_owned())
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
text!(HostName);

/// An IP address, such as `127.0.0.1` or `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Text for Address {
    const FORMAT: &'static str = "ip-address";
    const EXAMPLES: &'static [&'static str] = &["127.0.0.1", "::1"];

    fn parse(text: &str) -> Result<Self, String> {
        let address = text.parse().map(Self);
        address.map_err(|_| "must be an IP address, such as 127.0.0.1 or ::1".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}
text!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_their_addresses() {
        assert_eq!(ListenAddress::parse(":9464").unwrap().show(), "0.0.0.0:9464");
        assert!(ListenAddress::parse("localhost:9464").is_err());
        for bad in ["", ".", "a..b", "a:80", "http://a", "a/b", "u@a", "*.a", "a b"] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
        assert!(HostName::parse("tokenbeat").is_ok() && HostName::parse("a.example.").is_ok());
        assert!(Address::parse("::1").is_ok() && Address::parse("127.0.0.1:80").is_err());
    }
}
