//! Connects the exporters of `opentelemetry-otlp` to our transport. The library encodes a batch and passes the request
//! to [`Delivery`], its HTTP client; [`Exporter`] then sends it over gRPC or HTTP, retries, and counts what is lost.
//!
//! The library's own gRPC transport is not used, because it exposes neither `RetryInfo` nor the number of rejected
//! records. Headers and endpoints that the library reads from the environment are ignored: the plan has resolved them.

use super::transport::OtlpTransport;
use crate::telemetry::export::{Dropped, Exporter, Signal, Stats};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::error::OTelSdkResult;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Mutex;

/// The library requires an endpoint. It is never connected to: the transport has the real one.
const NOWHERE: &str = "http://transport.invalid/";

/// Delivers the requests of one signal. Shared by the library's exporter and the worker that drives it.
#[derive(Clone)]
pub(super) struct Delivery {
    signal: Signal,
    stats: Arc<Stats>,
    exporter: Arc<Mutex<Exporter<OtlpTransport>>>,
    /// Number of records in the batch that the library is encoding; 0 once its request has arrived here.
    encoding: Arc<AtomicU64>,
}

impl Delivery {
    pub(super) fn new(signal: Signal, exporter: Exporter<OtlpTransport>, stats: Arc<Stats>) -> Self {
        let exporter = Arc::new(Mutex::new(exporter));
        Self { signal, stats, exporter, encoding: Arc::default() }
    }

    /// The library's exporter of spans.
    pub(super) fn spans(&self) -> Result<SpanExporter, ExporterBuildError> {
        let builder = SpanExporter::builder().with_http().with_endpoint(NOWHERE);
        let builder = builder.with_protocol(Protocol::HttpBinary).with_retry_policy(RetryPolicy::disabled());
        builder.with_http_client(self.clone()).build()
    }

    /// The library's exporter of log records.
    pub(super) fn logs(&self) -> Result<LogExporter, ExporterBuildError> {
        let builder = LogExporter::builder().with_http().with_endpoint(NOWHERE);
        let builder = builder.with_protocol(Protocol::HttpBinary).with_retry_policy(RetryPolicy::disabled());
        builder.with_http_client(self.clone()).build()
    }

    /// Exports a batch of `items` records, and counts them as dropped if the library produced no request.
    pub(super) async fn deliver(&self, items: u64, export: impl Future<Output = OTelSdkResult>) {
        self.encoding.store(items, Relaxed);
        let exported = export.await;
        let left = self.encoding.swap(0, Relaxed);
        if left > 0 {
            self.stats.count_failure(self.signal);
            self.stats.count_dropped(self.signal, Dropped::Failed, left);
            let why = exported.err().map_or_else(|| "nothing was sent".to_owned(), |error| error.to_string());
            tracing::warn!(signal = self.signal.label(), dropped = left, "cannot encode for OTLP: {why}");
        }
    }
}

/// Required by `HttpClient`. Leaves out the destination, whose headers are secret.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("signal", &self.signal).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Delivery {
    /// Always `Ok`: failures have been counted and logged by the exporter.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let items = self.encoding.swap(0, Relaxed);
        self.exporter.lock().await.ship(request.into_body(), items).await;
        Ok(Response::new(Bytes::new()))
    }
}

/// The scope of spans and log records.
pub(super) fn scope() -> opentelemetry::InstrumentationScope {
    opentelemetry::InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::otlp::{OtlpSettings, resolve};
    use crate::telemetry::export::ShutdownDeadline;
    use opentelemetry_sdk::error::OTelSdkError;
    use tokio::sync::watch;

    #[tokio::test]
    async fn a_batch_that_the_library_cannot_encode_is_counted() {
        let otlp = resolve(Some(OtlpSettings::default()), &|_| None).unwrap().unwrap();
        let (stats, (_order, ordered)) = (Arc::new(Stats::default()), watch::channel(None));
        let transport = OtlpTransport::new(Signal::Logs, otlp.logs.unwrap()).unwrap();
        let exporter =
            Exporter::new(Signal::Logs, transport, Arc::clone(&stats), ShutdownDeadline::new(ordered));
        let delivery = Delivery::new(Signal::Logs, exporter, Arc::clone(&stats));
        let too_large = async { Err(OTelSdkError::InternalFailure("too large".to_owned())) };
        delivery.deliver(7, too_large).await;
        assert_eq!((stats.failures(Signal::Logs), stats.dropped(Signal::Logs, Dropped::Failed)), (1, 7));
        assert_eq!(stats.sent(Signal::Logs), 0);
    }
}
