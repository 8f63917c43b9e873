//! Prometheus text 0.0.4, and OpenMetrics 1.0 text with exemplars
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>). It writes one series after the
//! other, and must not know the store.

use crate::catalogue::{Metric, MetricKind};
use crate::telemetry::store::{LabelForm, SampleValue, SeriesSample};
use crate::telemetry::value::{Exemplar, HistogramSnapshot};
use prometheus::proto::{MetricFamily, MetricType};
use std::fmt::Write as _;

/// Which of the two text formats is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextSyntax {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Writes the series of one metric. What is the same in each of them is made once.
pub(super) struct FamilyWriter<'a> {
    syntax: TextSyntax,
    metric: Metric,
    /// The name of the family.
    name: String,
    /// The rendered labels of every series.
    agent: &'a str,
    /// `le="BOUND"} ` for each bound, `+Inf` included.
    bounds: Vec<String>,
    /// The labels of the present series.
    labels: String,
    is_begun: bool,
}

impl<'a> FamilyWriter<'a> {
    /// `bounds` are those of the metric's histograms; `agent` has the rendered labels of every series.
    pub(super) fn new(syntax: TextSyntax, metric: Metric, bounds: Option<&[f64]>, agent: &'a str) -> Self {
        let whole = metric.spec().prometheus();
        // In OpenMetrics, a counter's samples end in `_total`, but its family does not.
        let is_counter = matches!(metric.spec().kind, MetricKind::Counter);
        let name = match syntax {
            TextSyntax::OpenMetrics if is_counter => whole.trim_end_matches("_total").to_owned(),
            _ => whole,
        };
        let bounds = bounds.map(|bounds| bounds.iter().copied().chain([f64::INFINITY]).collect::<Vec<_>>());
        let bounds = bounds.unwrap_or_default().into_iter();
        let bounds = bounds.map(|bound| format!("le=\"{}\"}} ", TextNumber(syntax, bound))).collect();
        Self { syntax, metric, name, agent, bounds, labels: String::new(), is_begun: false }
    }

    /// Writes a series; before the first, the head of the family. A family without series would be noise.
    pub(super) fn write(&mut self, out: &mut String, sample: &SeriesSample<'_>) {
        if !self.is_begun {
            self.is_begun = true;
            let spec = self.metric.spec();
            head(out, self.syntax, &self.name, spec.kind.name(), spec.unit.open_metrics(), spec.help);
        }
        self.labels.clear();
        let subject = sample.subject.rendered(LabelForm::Text, |labels, bytes| {
            let mut text = String::new();
            write_labels(&mut text, labels.iter().map(|(key, value)| (key.name(), &**value)));
            bytes.extend_from_slice(text.as_bytes());
        });
        self.labels.push_str(std::str::from_utf8(subject).unwrap_or_default());
        write_labels(&mut self.labels, sample.beyond().map(|(key, value)| (key.name(), value)));
        if !self.labels.is_empty() && !self.agent.is_empty() {
            self.labels.push(',');
        }
        self.labels.push_str(self.agent);
        match sample.value {
            SampleValue::Histogram(reading, _) => self.histogram(out, reading),
            SampleValue::Number(value) => {
                let is_short = self.syntax == TextSyntax::OpenMetrics;
                let is_counter = matches!(self.metric.spec().kind, MetricKind::Counter);
                let suffix = if is_short && is_counter { "_total" } else { "" };
                write_sample(out, self.syntax, (self.name.as_str(), suffix), &self.labels, value);
            }
        }
    }

    fn histogram(&self, out: &mut String, reading: &HistogramSnapshot) {
        let comma = if self.labels.is_empty() { "" } else { "," };
        let mut cumulative = 0;
        for (slot, (bound, count)) in self.bounds.iter().zip(&reading.counts).enumerate() {
            cumulative += count;
            for part in [self.name.as_str(), "_bucket{", self.labels.as_str(), comma, bound.as_str()] {
                out.push_str(part);
            }
            push_count(out, cumulative);
            let exemplar = reading.exemplars.get(slot).copied().flatten();
            if let Some(exemplar) = exemplar.filter(|_| self.syntax == TextSyntax::OpenMetrics) {
                write_exemplar(out, &exemplar);
            }
            out.push('\n');
        }
        write_sample(out, self.syntax, (self.name.as_str(), "_sum"), &self.labels, reading.sum);
        open(out, (self.name.as_str(), "_count"), &self.labels);
        push_count(out, cumulative);
        out.push('\n');
    }
}

fn push_count(out: &mut String, count: u64) {
    // Most buckets are empty or small.
    match u8::try_from(count) {
        Ok(digit @ 0..=9) => out.push(char::from(b'0' + digit)),
        _ => {
            let _ = write!(out, "{count}");
        }
    }
}

fn head(out: &mut String, syntax: TextSyntax, name: &str, kind: &str, unit: Option<&str>, help: &str) {
    if syntax == TextSyntax::OpenMetrics {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
    }
    let _ = write!(out, "# HELP {name} ");
    escape(out, help);
    out.push('\n');
    if syntax == TextSyntax::Prometheus {
        let _ = writeln!(out, "# TYPE {name} {kind}");
    }
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str(" # {trace_id=\"");
    write_hex(out, &exemplar.trace_id);
    out.push_str("\",span_id=\"");
    write_hex(out, &exemplar.span_id);
    let value = TextNumber(TextSyntax::OpenMetrics, exemplar.value);
    let _ = write!(out, "\"}} {value} {:.3}", exemplar.time);
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Writes counters and gauges of the `prometheus` crate as OpenMetrics; it has no other types for a process.
pub(super) fn write_process(out: &mut String, family: &MetricFamily) {
    let (kind, suffix) = match family.get_field_type() {
        MetricType::COUNTER => ("counter", "_total"),
        MetricType::GAUGE => ("gauge", ""),
        _ => return,
    };
    let name = family.name().trim_end_matches("_total");
    head(out, TextSyntax::OpenMetrics, name, kind, None, family.help());
    for metric in family.get_metric() {
        let mut labels = String::new();
        write_labels(&mut labels, metric.get_label().iter().map(|pair| (pair.name(), pair.value())));
        let value = if kind == "counter" { metric.get_counter().value() } else { metric.get_gauge().value() };
        write_sample(out, TextSyntax::OpenMetrics, (name, suffix), &labels, value);
    }
}

fn open(out: &mut String, (name, suffix): (&str, &str), labels: &str) {
    let (left, right) = if labels.is_empty() { ("", " ") } else { ("{", "} ") };
    for part in [name, suffix, left, labels, right] {
        out.push_str(part);
    }
}

fn write_sample(out: &mut String, syntax: TextSyntax, name: (&str, &str), labels: &str, value: f64) {
    open(out, name, labels);
    let _ = writeln!(out, "{}", TextNumber(syntax, value));
}

/// Appends labels to others.
pub(super) fn write_labels<'a>(out: &mut String, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
}

/// Escapes help texts and label values.
fn escape(out: &mut String, text: &str) {
    if !text.contains(['\\', '"', '\n']) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// A float. In OpenMetrics, whole numbers have a fraction, so that `le` is the same everywhere.
struct TextNumber(TextSyntax, f64);

impl std::fmt::Display for TextNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(syntax, value) = *self;
        if value.is_nan() {
            f.write_str("NaN")
        } else if value.is_infinite() {
            f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if syntax == TextSyntax::OpenMetrics {
            write!(f, "{value:?}")
        } else {
            write!(f, "{value}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_each_syntax_wants_them() {
        let cases = [
            (1.0, "1.0", "1"),
            (0.001, "0.001", "0.001"),
            (200_000.0, "200000.0", "200000"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ];
        for (value, open, text) in cases {
            assert_eq!(TextNumber(TextSyntax::OpenMetrics, value).to_string(), open);
            assert_eq!(TextNumber(TextSyntax::Prometheus, value).to_string(), text);
        }
    }

    #[test]
    fn counts_are_written_whole() {
        for count in [0, 9, 10, 255, 256, u64::MAX] {
            let mut out = String::new();
            push_count(&mut out, count);
            assert_eq!(out, count.to_string());
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut out = String::new();
        write_labels(&mut out, [("a", "x\\y\"z\nw"), ("b", "")].into_iter());
        assert_eq!(out, r#"a="x\\y\"z\nw",b="""#);
    }
}
