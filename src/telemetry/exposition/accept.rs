//! Which format a scraper asks for (RFC 9110, section 12.5.1).

/// Formats that we write, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The acceptable format with the highest quality, and among equals the preferred one. Who accepts none of
/// ours (a browser's `text/html` with a wildcard does) gets text, as every exporter does it.
pub(super) fn negotiate(accept: Option<&str>) -> Format {
    let Some(accept) = accept else { return Format::Text };
    let mut best = (0.0, Format::Text);
    for (quality, format) in accept.split(',').filter_map(media_range) {
        let better = quality > best.0;
        let preferred = (quality - best.0).abs() < f64::EPSILON && format == Format::OpenMetrics;
        if quality > 0.0 && (better || preferred) {
            best = (quality, format);
        }
    }
    best.1
}

/// Quality and format of one media range; `None` where we cannot write it.
fn media_range(range: &str) -> Option<(f64, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version) = (1.0, None);
    for part in parts {
        let (name, value) = part.split_once('=')?;
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
            ("q", value) => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            ("version", value) => version = Some(value),
            _ => {}
        }
    }
    let format = match (media.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
        // A wildcard says nothing about what its sender understands: the plainest form.
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((quality, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_open_metrics() {
        // Prometheus 3 with its defaults, and 2.42.
        for accept in [
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        ] {
            assert_eq!(negotiate(Some(accept)), Format::OpenMetrics);
        }
    }

    #[test]
    fn protobuf_first_falls_to_what_we_write() {
        let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                      text/plain;version=0.0.4;q=0.3,application/openmetrics-text;version=1.0.0;q=0.6";
        assert_eq!(negotiate(Some(accept)), Format::OpenMetrics);
    }

    #[test]
    fn quality_decides_and_zero_refuses() {
        let text = "application/openmetrics-text;q=0.2, text/plain;q=0.8";
        assert_eq!(negotiate(Some(text)), Format::Text);
        let equal = "text/plain, application/openmetrics-text";
        assert_eq!(negotiate(Some(equal)), Format::OpenMetrics);
        assert_eq!(negotiate(Some("application/openmetrics-text;q=0, */*")), Format::Text);
        assert_eq!(negotiate(Some("application/openmetrics-text;q=0")), Format::Text);
        assert_eq!(negotiate(Some("application/openmetrics-text;version=2.0.0, */*;q=0.1")), Format::Text);
    }

    #[test]
    fn browsers_curl_and_nonsense_get_text() {
        for accept in [None, Some("*/*"), Some("text/html,*/*;q=0.8"), Some(""), Some(";;q=x,,=")] {
            assert_eq!(negotiate(accept), Format::Text);
        }
        assert_eq!(negotiate(Some("application/openmetrics-text;q=7")), Format::Text);
    }
}
