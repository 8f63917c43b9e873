//! Everything that tokenbeat exports: the store of all metrics and its renderings, spans, the log, and messages about
//! incidents.
//!
//! Facts arrive through [`crate::fact::Sink`]; nothing here requests them. It must not know configuration files, HTTP
//! or the engine.

mod export;
mod exposition;
mod lag;
pub mod logs;
mod markdown;
pub mod native;
pub mod otlp;
mod probe;
mod store;
mod value;
mod webhook;

pub use export::{Dropped, Signal, Stats};
pub use exposition::{Error, Exposition, ScrapeResponse, SeriesCount, series_count};
pub use lag::watch_runtime_lag;
pub use markdown::markdown;
pub use probe::render_probe;
pub use store::{
    LabelForm, SampleValue, Series, SeriesSample, SeriesValue, Snapshot, Store, StoreReading, SubjectLabels,
};
pub use value::{Exemplar, Histogram, HistogramSnapshot};
pub use webhook::{IncidentWebhook, WebhookTask};
