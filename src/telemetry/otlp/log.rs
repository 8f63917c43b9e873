//! Converts the daemon's log to log records: a tracing layer that captures events, and their export. It must not know
//! where else the log goes.

use super::attribute::{MAX_TEXT, cut};
use super::clock::Anchor;
use super::delivery::{Delivery, scope};
use super::resource::Resource;
use super::worker::BatchExport;
use crate::telemetry::export::{ExportQueue, Weigh};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::{InstrumentationScope, SpanId, TraceId};
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum length of a message in bytes.
const MAX_BODY: usize = 8192;
/// Maximum number of fields of one event.
const MAX_FIELDS: usize = 64;
/// Targets of the export itself: exporting their events would cause more events.
const EXPORT_STACK: [&str; 12] = [
    "tokenbeat::telemetry::otlp",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry_otlp",
    "reqwest",
    "tonic",
    "tower",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "hyper_rustls",
];

/// Captures log events once it is connected, and ignores them until then.
#[derive(Clone, Default)]
pub struct LogTap(Arc<OnceLock<SdkLogger>>);

impl LogTap {
    /// Creates a tap that is not connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// The layer for the process's subscriber. It has no level of its own, so add a filter.
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Tapped(self.clone())
    }

    /// Sends records to this queue from now on. Only the first call has an effect.
    pub(super) fn connect(&self, queue: ExportQueue<SdkLogRecord>) {
        let provider = SdkLoggerProvider::builder()
            // The resource is set on the exporter for each batch, because a new plan may change it.
            .with_resource(opentelemetry_sdk::Resource::builder_empty().build())
            .with_log_processor(QueueProcessor(queue))
            .build();
        // Connecting a second time has no effect.
        let _ = self.0.set(provider.logger_with_scope(scope()));
    }
}

/// Passes records to the queue, which is bounded and never blocks.
struct QueueProcessor(ExportQueue<SdkLogRecord>);

impl Debug for QueueProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueProcessor")
    }
}

impl LogProcessor for QueueProcessor {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        self.0.push(record.clone());
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The worker that reads the queue flushes when it is told to stop.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Tapped(LogTap);

impl<S: Subscriber> Layer<S> for Tapped {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(logger) = self.0.0.get() else { return };
        if !is_export_stack(event.metadata().target()) {
            logger.emit(record(logger, event, SystemTime::now()));
        }
    }
}

fn is_export_stack(target: &str) -> bool {
    EXPORT_STACK
        .iter()
        .any(|known| target.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn record(logger: &SdkLogger, event: &Event<'_>, now: SystemTime) -> SdkLogRecord {
    let metadata = event.metadata();
    let mut fields = Fields::new(logger.create_log_record());
    event.record(&mut fields);
    let mut record = fields.finish();
    record.set_timestamp(now);
    record.set_observed_timestamp(now);
    let (number, name) = severity(*metadata.level());
    record.set_severity_number(number);
    record.set_severity_text(name);
    // An event without a name has a default name derived from its place in the source.
    if !metadata.name().starts_with("event ") {
        record.set_event_name(metadata.name());
    }
    record.add_attribute("code.namespace", metadata.target().to_owned());
    record
}

fn severity(level: Level) -> (Severity, &'static str) {
    match level {
        Level::TRACE => (Severity::Trace, "TRACE"),
        Level::DEBUG => (Severity::Debug, "DEBUG"),
        Level::INFO => (Severity::Info, "INFO"),
        Level::WARN => (Severity::Warn, "WARN"),
        _ => (Severity::Error, "ERROR"),
    }
}

/// Collects an event's fields. `trace_id` and `span_id`, in hex, correlate the record with a request's span.
struct Fields {
    message: String,
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
    attributes: usize,
    record: SdkLogRecord,
}

impl Fields {
    fn new(record: SdkLogRecord) -> Self {
        Self { message: String::new(), trace_id: None, span_id: None, attributes: 0, record }
    }

    fn finish(mut self) -> SdkLogRecord {
        self.record.set_body(AnyValue::from(cut(&self.message, MAX_BODY).to_owned()));
        if self.trace_id.is_some() || self.span_id.is_some() {
            let trace_id = self.trace_id.unwrap_or(TraceId::INVALID);
            self.record.set_trace_context(trace_id, self.span_id.unwrap_or(SpanId::INVALID), None);
        }
        self.record
    }

    fn add(&mut self, name: &'static str, value: impl Into<AnyValue>) {
        if self.attributes < MAX_FIELDS {
            self.attributes += 1;
            self.record.add_attribute(name, value);
        }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        match (name, value.len()) {
            ("message", _) => value.clone_into(&mut self.message),
            ("trace_id", 32) if let Ok(id) = TraceId::from_hex(value) => self.trace_id = Some(id),
            ("span_id", 16) if let Ok(id) = SpanId::from_hex(value) => self.span_id = Some(id),
            _ => self.add(name, cut(value, MAX_TEXT).to_owned()),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail; a failing Debug implementation leaves what it has written.
        let _ = write!(text, "{value:?}");
        self.text(field.name(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }
}

impl Weigh for SdkLogRecord {
    fn weight(&self) -> usize {
        let text =
            |value: &AnyValue| if let AnyValue::String(text) = value { text.as_str().len() } else { 0 };
        let attributes = self.attributes_iter().map(|it| size_of_val(it) + text(&it.1));
        size_of::<Self>() + self.body().map_or(0, text) + attributes.sum::<usize>()
    }
}

/// Exports log records.
pub(super) struct Logs {
    pub(super) resource: Resource,
    pub(super) exporter: LogExporter,
    pub(super) delivery: Delivery,
}

impl BatchExport for Logs {
    type Item = SdkLogRecord;
    type Record = SdkLogRecord;

    fn record(&self, item: SdkLogRecord, _: Anchor) -> SdkLogRecord {
        item
    }

    async fn export(&mut self, records: Vec<SdkLogRecord>) {
        self.exporter.set_resource(&self.resource.of_records());
        let scope = scope();
        let scoped: Vec<_> = records.iter().map(|record| (record, &scope)).collect();
        let exported = self.exporter.export(LogBatch::new(&scoped));
        self.delivery.deliver(records.len() as u64, exported).await;
    }
}

#[cfg(test)]
mod tests;
