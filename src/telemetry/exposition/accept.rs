//! Negotiates the format with a scraper (RFC 9110, section 12.5.1).

/// Supported formats, in ascending order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ExpositionFormat {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// Prometheus protobuf, length-delimited, with exemplars and native histograms.
    Protobuf,
}

impl ExpositionFormat {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => prometheus::PROTOBUF_FORMAT,
        }
    }
}

/// The acceptable format with the highest quality; among equal ones, the preferred format. A client that accepts none
/// of them gets text, as from every exporter, and so does a browser, which sends `text/html` and a wildcard.
pub(super) fn negotiate(accept: Option<&str>) -> ExpositionFormat {
    let Some(accept) = accept else { return ExpositionFormat::Text };
    let mut best = (0.0, ExpositionFormat::Text);
    for (quality, format) in accept.split(',').filter_map(media_range) {
        let better = quality > best.0;
        let preferred = (quality - best.0).abs() < f64::EPSILON && format > best.1;
        if quality > 0.0 && (better || preferred) {
            best = (quality, format);
        }
    }
    best.1
}

/// Quality and format of one media range; `None` if the format is not supported.
fn media_range(range: &str) -> Option<(f64, ExpositionFormat)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version) = (1.0, None);
    let (mut proto, mut encoding) = (None, None);
    for part in parts {
        let (name, value) = part.split_once('=')?;
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
            ("q", value) => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            ("version", value) => version = Some(value),
            ("proto", value) => proto = Some(value),
            ("encoding", value) => encoding = Some(value),
            _ => {}
        }
    }
    let format = match (media.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => ExpositionFormat::OpenMetrics,
        // A wildcard says nothing about what the client understands, so it gets the plainest format.
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => ExpositionFormat::Text,
        // The media type alone could mean any message in any encoding.
        ("application/vnd.google.protobuf", _)
            if proto == Some("io.prometheus.client.MetricFamily") && encoding == Some("delimited") =>
        {
            ExpositionFormat::Protobuf
        }
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
            assert_eq!(negotiate(Some(accept)), ExpositionFormat::OpenMetrics);
        }
    }

    #[test]
    fn prometheus_that_takes_native_histograms_gets_protobuf() {
        // Prometheus 2.42 with its feature flag, and Prometheus 3.
        for accept in [
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
        ] {
            assert_eq!(negotiate(Some(accept)), ExpositionFormat::Protobuf);
        }
    }

    #[test]
    fn protobuf_of_another_kind_is_not_ours() {
        const MEDIA: &str = "application/vnd.google.protobuf";
        const OURS: &str = "proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (parameters, format) in [
            (OURS, ExpositionFormat::Protobuf),
            (
                "encoding=\"delimited\"; proto=\"io.prometheus.client.MetricFamily\"; q=0.9",
                ExpositionFormat::Protobuf,
            ),
            ("proto=io.prometheus.client.MetricFamily;encoding=text", ExpositionFormat::OpenMetrics),
            ("proto=io.prometheus.client.MetricFamily", ExpositionFormat::OpenMetrics),
            ("proto=another.Message;encoding=delimited", ExpositionFormat::OpenMetrics),
            ("q=1", ExpositionFormat::OpenMetrics),
        ] {
            let accept =
                format!("application/openmetrics-text;q=0.5, {MEDIA};{parameters}, text/plain;q=0.1");
            assert_eq!(negotiate(Some(&accept)), format, "{parameters}");
        }
        assert_eq!(
            negotiate(Some(&format!("{MEDIA};{OURS};q=0.2, text/plain;q=0.3"))),
            ExpositionFormat::Text
        );
        assert_eq!(negotiate(Some(&format!("{MEDIA};{OURS};q=0"))), ExpositionFormat::Text);
        assert_eq!(negotiate(Some(&format!("text/plain, {MEDIA};{OURS}"))), ExpositionFormat::Protobuf);
    }

    #[test]
    fn quality_decides_and_zero_refuses() {
        let text = "application/openmetrics-text;q=0.2, text/plain;q=0.8";
        assert_eq!(negotiate(Some(text)), ExpositionFormat::Text);
        let equal = "text/plain, application/openmetrics-text";
        assert_eq!(negotiate(Some(equal)), ExpositionFormat::OpenMetrics);
        assert_eq!(negotiate(Some("application/openmetrics-text;q=0, */*")), ExpositionFormat::Text);
        assert_eq!(negotiate(Some("application/openmetrics-text;q=0")), ExpositionFormat::Text);
        assert_eq!(
            negotiate(Some("application/openmetrics-text;version=2.0.0, */*;q=0.1")),
            ExpositionFormat::Text
        );
    }

    #[test]
    fn browsers_curl_and_nonsense_get_text() {
        for accept in [None, Some("*/*"), Some("text/html,*/*;q=0.8"), Some(""), Some(";;q=x,,=")] {
            assert_eq!(negotiate(accept), ExpositionFormat::Text);
        }
        assert_eq!(negotiate(Some("application/openmetrics-text;q=7")), ExpositionFormat::Text);
    }
}
