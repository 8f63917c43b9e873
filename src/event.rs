//! The records of what happened: to a request, a journey, a run, a budget.
//!
//! The engine reports to its sinks (metrics, spans, recent requests, reports) in terms of these types;
//! [`crate::fact`] is responsible for delivering them. This module knows nothing about configuration, HTTP or
//! metrics, and imports nothing else from this crate.

mod backend;
mod budget;
mod clock;
mod compact;
mod comparison;
mod discovery;
mod finish;
mod ids;
mod journey;
mod marks;
mod model;
mod outcome;
mod outlier;
mod place;
mod recorded;
mod request;
mod run;
mod search;
mod target_state;
mod tokens;

pub use backend::{
    AccountLevel, AccountQuantile, AccountTimes, BackendReadResult, RunAccount, ServerAccount, SlowPart,
};
pub use budget::{BudgetRefusal, BudgetScope, BudgetUnit, BudgetUse, Exhausted, Hold, Ledger, Spend};
pub use clock::WallClock;
pub use comparison::{ComparisonReport, ComparisonSource, ComparisonVerdict, QuantityComparison};
pub use discovery::{DiscoveryLook, LookFailure, replica_name, split_replica};
pub use finish::FinishReason;
pub use ids::TraceIds;
pub use journey::Journey;
pub use marks::{EventSizes, Gaps, Marks};
pub use model::{FingerprintAnswer, ModelChange, ModelObservation, ModelSign};
pub use outcome::{Failure, Outcome};
pub use outlier::{OutlierQuantity, ReplicaOutlierChange};
pub use place::{Counts, Pair, Place, SeriesKey, TURNS, turn_bucket};
pub use recorded::{RecordedAnswer, RecordedExchange, RecordedRequest, RecordedText};
pub use request::{
    ConnectionPhase, ConnectionRecord, Limit, LimitKind, Observed, Phases, Request, SetUpStep,
    TokenDeadlines, Verdict,
};
pub use run::{RunRef, RunResult, RunSummary, SkipReason, SkippedRun};
pub use search::{LoadMeasurement, LoadPoint, LoadUnit, LoadVerdict, SearchEnd, SearchReport};
pub use target_state::{TargetState, TargetStateChange};
pub use tokens::{Count, CountSource, TokenType, Tokens, UsagePart, UsageReported, UsageReports};
