//! Values of options, and how each is read.

use crate::config::ListenAddress;
use crate::limits;
use crate::vocabulary::{Api, TraceFormat};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;

/// A duration on the command line: `90s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "write a duration such as 500ms, 90s, 5m or 1h30m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A duration that is not zero and at most a day.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let bounded = (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&time);
    if bounded { Ok(time) } else { Err("write a duration of 1ms to 24h".to_owned()) }
}

/// The interval of a probe, within the bounds of the config.
pub(super) fn probe_interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let bounded = (limits::SHORTEST_INTERVAL..=Duration::from_hours(24)).contains(&time);
    if bounded { Ok(time) } else { Err("write a duration of 100ms to 24h".to_owned()) }
}

/// A dialect that has a model call, by its name in the config.
pub(super) fn dialect(text: &str) -> Result<Api, String> {
    let mut spoken = Api::ALL.into_iter().filter(|api| *api != Api::Http);
    spoken.clone().find(|api| api.name() == text).ok_or_else(|| {
        let names: Vec<&str> = spoken.by_ref().map(Api::name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// A format of traces, by its name in the config.
pub(super) fn trace_format(text: &str) -> Result<TraceFormat, String> {
    TraceFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
        let names = TraceFormat::ALL.map(TraceFormat::name);
        format!("there are {}", names.join(", "))
    })
}

/// An address to listen on, as in the config: without a host, all interfaces.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<ListenAddress>().map(|address| address.0)
}

/// An instant on the command line: `2026-11-20T10:01:00Z`, to the nanosecond.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write an instant such as 2026-11-20T10:01:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_in_the_config() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5").is_err());
        assert!(duration("-5s").is_err());
    }

    #[test]
    fn a_dialect_is_named_as_in_the_config() {
        assert_eq!(dialect("anthropic"), Ok(Api::Anthropic));
        assert!(dialect("http").unwrap_err().starts_with("there are openai-chat, "));
        assert!(interval("0s").is_err() && interval("25h").is_err());
        assert!(probe_interval("99ms").is_err() && probe_interval("25h").is_err());
        assert_eq!(probe_interval("100ms"), Ok(Duration::from_millis(100)));
    }

    #[test]
    fn an_address_without_a_host_is_every_interface() {
        assert_eq!(address(":9464"), Ok(SocketAddr::from(([0, 0, 0, 0], 9464))));
        assert_eq!(address("127.0.0.1:1").map(|it| it.port()), Ok(1));
        assert!(address("9464").unwrap_err().contains("an IP address with a port"));
    }

    #[test]
    fn instants_are_those_of_run_ids() {
        for text in ["2026-11-20T10:01:00Z", "2026-11-20T10:01:00.000000001Z"] {
            assert_eq!(instant(text).map(|at| at.to_string()), Ok(text.to_owned()));
        }
        assert!(instant("10:01").unwrap_err().contains("such as 2026-"));
    }
}
