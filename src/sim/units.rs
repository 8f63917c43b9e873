//! Durations in the notation of the configuration: `8ms`, `10s`, `1m 30s`.

use std::time::Duration;

use jiff::SignedDuration;

/// Parses a non-negative duration such as `250us`, `8ms` or `10s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration =
        text.trim().parse().map_err(|_| format!("`{text}` is not a duration such as 250ms or 10s"))?;
    Duration::try_from(signed).map_err(|_| format!("`{text}` is negative"))
}

/// Formats a duration so that [`duration`] can parse it.
pub(crate) fn written(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| "100000h".to_owned(), |signed| format!("{signed:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for text in ["250us", "8ms", "10s", "1m 30s", "0s"] {
            let read = duration(text).unwrap();
            assert_eq!(duration(&written(read)).unwrap(), read, "{text}");
        }
        assert_eq!(duration("8ms"), Ok(Duration::from_millis(8)));
        assert!(duration("-1s").is_err());
        assert!(duration("8").is_err());
    }
}
