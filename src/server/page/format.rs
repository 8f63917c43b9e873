//! How numbers read on the page.

use crate::vocabulary::judged_percent;

/// `1.23 s`, `45.6 ms`, `123 ms`, or a dash.
pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 0.9995 => format!("{} s", number(value)),
        Some(value) => format!("{} ms", number(value * 1e3)),
    }
}

/// Three significant digits, without trailing zeros.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Whole seconds as `12 s`, `3 min`, `5 h` or `2 d`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago something was.
pub(super) fn ago(seconds: u64) -> String {
    format!("{} ago", duration(seconds))
}

/// A ratio as a percentage, or a dash. Rounded down, so that 99.96% does not become 100%.
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}%", (ratio * 1000.0 + 1e-9).floor() / 10.0))
}

/// A ratio that was judged against `wanted`, as a percentage on its own side of it, or a dash.
pub(super) fn judged(ratio: Option<f64>, wanted: f64) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| judged_percent(ratio, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let times = [Some(1.234), Some(0.0456), Some(0.25), Some(0.9999), Some(12.0), None].map(seconds);
        assert_eq!(times, ["1.23 s", "45.6 ms", "250 ms", "1 s", "12 s", "–"]);
        assert_eq!([100.0, 99.96, 0.0, 2.5].map(number), ["100", "100", "0", "2.5"]);
        assert_eq!([0, 119, 120, 7200, 200_000].map(duration), ["0 s", "119 s", "2 min", "2 h", "2 d"]);
        assert_eq!(ago(90), "90 s ago");
        assert_eq!([Some(0.9996), Some(1.0), Some(0.95), None].map(percent), ["99.9%", "100%", "95%", "–"]);
        assert_eq!([Some(0.99989), None].map(|ratio| judged(ratio, 0.9999)), ["99.98%", "–"]);
    }
}
