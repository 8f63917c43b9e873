//! Addresses of replicas as they are written: `host:port`, or `host` with the target's own port. Pure.

use crate::plan::Replica;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use url::Host;

/// Maximum length of the name of a replica, in bytes.
const LONGEST_NAME: usize = 128;

/// A replica by its address. The error is a clause about the address.
pub(super) fn parse(text: &str, port: u16) -> Result<Replica, String> {
    let wrong = || format!("`{}` is not an address, such as 10.0.0.1:8000 or [::1]:8000", shown(text));
    let is_bare_v6 = text.parse::<Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':').filter(|(host, _)| !is_bare_v6 && !host.ends_with(':')) {
        // `[::1]` has colons and no port.
        Some(_) if text.ends_with(']') => (text, port),
        Some((host, written)) => (host, written.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        None => (text, port),
    };
    let host = if is_bare_v6 { format!("[{host}]") } else { host.to_owned() };
    // Prometheus has a path and a scheme apart from the address, and they belong to the target here.
    let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:[]".contains(c));
    // In a URL, numbers may be octal or hexadecimal, and fewer than four: `010.0.0.1` would be 8.0.0.1, and a port alone an
    // address of somebody else.
    let is_strict = !ends_in_number(&host) || host.parse::<Ipv4Addr>().is_ok();
    let host = Host::parse(&host).ok().filter(|_| plain && is_strict).ok_or_else(wrong)?;
    let replica = Replica::new(host, port);
    if replica.name.len() > LONGEST_NAME {
        return Err(format!("`{}` is longer than {LONGEST_NAME} characters", shown(text)));
    }
    Ok(replica)
}

/// Whether a URL would take a host for an IPv4 address.
fn ends_in_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|c| c.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|c| c.is_ascii_digit()),
    }
}

/// Checks a name that a source gives to a replica. The error is a clause about the name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!(
            "`{}` is not the name of a replica: up to {LONGEST_NAME} letters, digits, `-`, `_`, `.` and `:`",
            shown(name)
        ));
    }
    Ok(())
}

/// Text of others, short enough for a message. What stands before an `@` may be a password.
fn shown(text: &str) -> String {
    let text =
        text.rsplit_once('@').map_or(Cow::Borrowed(text), |(_, rest)| Cow::Owned(format!("***@{rest}")));
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_that_of_the_target() {
        let name = |text: &str| parse(text, 8000).map(|replica| replica.name.to_string());
        assert_eq!(name("10.0.0.1:9000").unwrap(), "10.0.0.1:9000");
        assert_eq!(name("10.0.0.1").unwrap(), "10.0.0.1:8000");
        assert_eq!(name("llm-0.llm").unwrap(), "llm-0.llm:8000");
        assert_eq!(name("[::1]:9000").unwrap(), "[::1]:9000");
        assert_eq!(name("[::1]").unwrap(), "[::1]:8000");
        assert_eq!(name("fd00::2").unwrap(), "[fd00::2]:8000");
        for wrong in [
            "",
            ":80",
            "a:b",
            "a:0",
            "a:70000",
            "http://a:80",
            "a/metrics",
            "a b",
            "[::1",
            "a@b:80",
            "::1]:80",
            "8000",
            "2130706433:80",
            "1.2:80",
            "010.000.000.012:8000",
            "10.0.0.08",
            "0x7f.1",
            "10.0.0.0x1:80",
            "1.2.3.4.5",
            "llm.256",
        ] {
            let said = name(wrong).unwrap_err();
            assert!(said.contains("is not an address"), "{wrong}: {said}");
        }
    }

    #[test]
    fn names_may_have_numbers_but_at_their_end() {
        for right in ["10.0.0.1.nip.io", "0xcafe.example", "llm-0.llm", "llm.x7"] {
            assert_eq!(&*parse(right, 80).unwrap().name, format!("{right}:80"));
        }
    }

    #[test]
    fn a_password_is_not_quoted() {
        let said = parse("http://svc:hunter2@10.0.0.1", 80).unwrap_err();
        assert!(said.contains("`***@10.0.0.1`") && !said.contains("hunter2"), "{said}");
        let long = format!("{}hunter2:hunter2@a", "x".repeat(70));
        assert!(!parse(&long, 80).unwrap_err().contains("hunter2"));
        assert!(!check_name("svc:hunter2@a").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn names_can_be_label_values_and_parts_of_urls() {
        assert!(check_name("llm-0").is_ok());
        for wrong in ["", "a b", "a@b", "a/b", "\u{e9}", &"a".repeat(129)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
