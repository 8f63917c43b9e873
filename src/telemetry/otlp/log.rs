//! The daemon's log as log records: a layer that takes what is logged, and the form that it is sent in. It must
//! not know where the log goes beside this.

use super::attribute::{cut, double, flag, int, text, value};
use super::clock::{Anchor, unix_nanos};
use super::queue::{Queue, Weigh};
use super::resource::{Resource, scope};
use super::worker::Convert;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use prost::Message as _;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Most bytes of a message.
const MAX_BODY: usize = 8192;
/// Most fields of one event.
const MAX_FIELDS: usize = 64;
/// Who logs while we export: their lines would make more lines to export.
const OURSELVES: [&str; 8] =
    ["tokenbeat::telemetry::otlp", "tonic", "tower", "hyper", "hyper_util", "h2", "rustls", "hyper_rustls"];

/// Takes what is logged, once it is connected; until then it lets everything go by.
#[derive(Clone, Default)]
pub struct LogTap(Arc<OnceLock<Queue<LogRecord>>>);

impl LogTap {
    /// A tap that is not connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer for the process's subscriber. It has no level of its own: give it a filter.
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Tapped(self.clone())
    }

    /// From now on, records go to this queue. The first queue stays.
    pub(super) fn connect(&self, queue: Queue<LogRecord>) {
        // A second exporter in one process is a mistake that changes nothing.
        let _ = self.0.set(queue);
    }
}

struct Tapped(LogTap);

impl<S: Subscriber> Layer<S> for Tapped {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(queue) = self.0.0.get() else { return };
        let metadata = event.metadata();
        if !is_ours(metadata.target()) {
            queue.push(record(event, SystemTime::now()));
        }
    }
}

fn is_ours(target: &str) -> bool {
    OURSELVES
        .iter()
        .any(|known| target.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn record(event: &Event<'_>, now: SystemTime) -> LogRecord {
    let metadata = event.metadata();
    let mut fields = Fields { message: String::new(), record: LogRecord::default() };
    event.record(&mut fields);
    let Fields { message, mut record } = fields;
    record.time_unix_nano = unix_nanos(now);
    record.observed_time_unix_nano = record.time_unix_nano;
    let (number, name) = severity(*metadata.level());
    record.severity_number = number.into();
    name.clone_into(&mut record.severity_text);
    let body = Value::StringValue(cut(&message, MAX_BODY).to_owned());
    record.body = Some(AnyValue { value: Some(body) });
    // An event that was given no name has one made of its place in the source.
    if !metadata.name().starts_with("event ") {
        metadata.name().clone_into(&mut record.event_name);
    }
    record.attributes.push(text("code.namespace", metadata.target()));
    record
}

fn severity(level: Level) -> (SeverityNumber, &'static str) {
    match level {
        Level::TRACE => (SeverityNumber::Trace, "TRACE"),
        Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
        Level::INFO => (SeverityNumber::Info, "INFO"),
        Level::WARN => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Error, "ERROR"),
    }
}

/// Collects an event's fields. `trace_id` and `span_id`, in hex, correlate the record with a request's span.
struct Fields {
    message: String,
    record: LogRecord,
}

impl Fields {
    fn add(&mut self, attribute: KeyValue) {
        if self.record.attributes.len() < MAX_FIELDS {
            self.record.attributes.push(attribute);
        } else {
            self.record.dropped_attributes_count += 1;
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        match (name, value.len()) {
            ("message", _) => value.clone_into(&mut self.message),
            ("trace_id", 32) if let Some(id) = unhex(value) => self.record.trace_id = id,
            ("span_id", 16) if let Some(id) = unhex(value) => self.record.span_id = id,
            _ => self.add(text(name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail; a Debug that fails leaves what it has written.
        let _ = write!(text, "{value:?}");
        self.text(field.name(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(int(field.name(), value));
    }

    fn record_i64(&mut self, field: &Field, number: i64) {
        self.add(value(field.name(), Value::IntValue(number)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(double(field.name(), value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(flag(field.name(), value));
    }
}

/// Bytes of an id in hex, if it is one.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl Weigh for LogRecord {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.encoded_len() + self.attributes.len() * size_of::<KeyValue>()
    }
}

/// Log records into requests.
pub(super) struct Logs {
    pub(super) resource: Resource,
}

impl Convert for Logs {
    type Item = LogRecord;
    type Record = LogRecord;

    fn record(&self, item: LogRecord, _: Anchor) -> LogRecord {
        item
    }

    fn request(&self, log_records: Vec<LogRecord>) -> Bytes {
        let scoped = ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() };
        let resource_logs = vec![ResourceLogs {
            resource: Some(self.resource.of_records()),
            scope_logs: vec![scoped],
            ..ResourceLogs::default()
        }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests;
