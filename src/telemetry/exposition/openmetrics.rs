//! OpenMetrics 1.0 text, with exemplars
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>). The `prometheus` crate does
//! not support it.

use super::MetricFilter;
use crate::catalogue::{Metric, MetricKind};
use crate::telemetry::store::{Series, SeriesValue, Snapshot};
use crate::telemetry::value::{Exemplar, HistogramSnapshot};
use prometheus::proto::{MetricFamily, MetricType};
use std::fmt::Write as _;

/// Renders the whole exposition.
pub(super) fn render(snapshot: &Snapshot, shown: &MetricFilter, process: &[MetricFamily]) -> String {
    let (mut out, mut agent) = (String::new(), String::new());
    let labels = snapshot.agent_labels.iter();
    write_labels(&mut agent, labels.map(|(name, value)| (name.as_str(), value.as_str())));
    for metric in Metric::ALL.iter().copied().filter(|metric| shown.metric(*metric)) {
        let series = snapshot.series(metric);
        // A family without series would be valid, but is noise.
        if !series.is_empty() {
            let (spec, name) = (metric.spec(), name_of(metric));
            head(&mut out, &name, spec.kind.name(), spec.unit.open_metrics(), spec.help);
            for series in series {
                write_series(&mut out, metric, &name, series, &agent);
            }
        }
    }
    for family in process {
        write_process(&mut out, family);
    }
    out.push_str("# EOF\n");
    out
}

/// The name of a family: a counter's samples end in `_total`, but its family does not.
fn name_of(metric: Metric) -> String {
    let name = metric.spec().prometheus();
    match metric.spec().kind {
        MetricKind::Counter => name.trim_end_matches("_total").to_owned(),
        _ => name,
    }
}

fn head(out: &mut String, name: &str, kind: &str, unit: Option<&str>, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if let Some(unit) = unit {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = write!(out, "# HELP {name} ");
    escape(out, help);
    out.push('\n');
}

/// `agent` contains the rendered labels of every series.
fn write_series(out: &mut String, metric: Metric, name: &str, series: &Series, agent: &str) {
    let mut labels = String::new();
    write_labels(&mut labels, series.labels().map(|(key, value)| (key.name(), value)));
    if !labels.is_empty() && !agent.is_empty() {
        labels.push(',');
    }
    labels.push_str(agent);
    match &series.value {
        SeriesValue::Histogram(histogram, _) => write_histogram(out, name, &labels, histogram),
        SeriesValue::Number(value) => {
            let suffix = if matches!(metric.spec().kind, MetricKind::Counter) { "_total" } else { "" };
            write_sample(out, (name, suffix), &labels, *value);
            out.push('\n');
        }
    }
}

fn write_histogram(out: &mut String, name: &str, labels: &str, reading: &HistogramSnapshot) {
    let bounds = reading.bounds.iter().copied().chain([f64::INFINITY]);
    let mut cumulative = 0;
    for (slot, (bound, count)) in bounds.zip(&reading.counts).enumerate() {
        cumulative += count;
        let comma = if labels.is_empty() { "" } else { "," };
        let _ =
            write!(out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {cumulative}", OpenMetricsFloat(bound));
        if let Some(exemplar) = reading.exemplars.get(slot).copied().flatten() {
            write_exemplar(out, &exemplar);
        }
        out.push('\n');
    }
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(out, "{name}_count{braces} {cumulative}");
    write_sample(out, (name, "_sum"), labels, reading.sum);
    out.push('\n');
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str(" # {trace_id=\"");
    write_hex(out, &exemplar.trace_id);
    out.push_str("\",span_id=\"");
    write_hex(out, &exemplar.span_id);
    let _ = write!(out, "\"}} {} {:.3}", OpenMetricsFloat(exemplar.value), exemplar.time);
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Writes counters and gauges of the `prometheus` crate; it has no other types for a process.
fn write_process(out: &mut String, family: &MetricFamily) {
    let (kind, suffix) = match family.get_field_type() {
        MetricType::COUNTER => ("counter", "_total"),
        MetricType::GAUGE => ("gauge", ""),
        _ => return,
    };
    let name = family.name().trim_end_matches("_total");
    head(out, name, kind, None, family.help());
    for metric in family.get_metric() {
        let mut labels = String::new();
        write_labels(&mut labels, metric.get_label().iter().map(|pair| (pair.name(), pair.value())));
        let value = if kind == "counter" { metric.get_counter().value() } else { metric.get_gauge().value() };
        write_sample(out, (name, suffix), &labels, value);
        out.push('\n');
    }
}

fn write_sample(out: &mut String, (name, suffix): (&str, &str), labels: &str, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        let _ = write!(out, "{{{labels}}}");
    }
    let _ = write!(out, " {}", OpenMetricsFloat(value));
}

fn write_labels<'a>(out: &mut String, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut separator = "";
    for (name, value) in labels {
        let _ = write!(out, "{separator}{name}=\"");
        escape(out, value);
        out.push('"');
        separator = ",";
    }
}

/// Escapes help texts and label values.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// A float in OpenMetrics' notation: whole numbers have a fraction, so that `le` is the same everywhere.
struct OpenMetricsFloat(f64);

impl std::fmt::Display for OpenMetricsFloat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() {
            f.write_str("NaN")
        } else if self.0.is_infinite() {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_floats() {
        let cases = [
            (1.0, "1.0"),
            (0.001, "0.001"),
            (200_000.0, "200000.0"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(OpenMetricsFloat(value).to_string(), text);
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut out = String::new();
        write_labels(&mut out, [("a", "x\\y\"z\nw"), ("b", "")].into_iter());
        assert_eq!(out, r#"a="x\\y\"z\nw",b="""#);
    }
}
