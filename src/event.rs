//! The facts: what happened to a request, a run, a budget; who listens to them; and the guard that turns
//! every offered request into exactly one outcome.
//!
//! This is the vocabulary that the engine speaks to its sinks (metrics, spans, recent requests, reports). It
//! knows nothing of configuration, HTTP or metrics, and imports nothing of ours.

mod budget;
mod fact;
mod ids;
mod journey;
mod marks;
mod offered;
mod outcome;
mod place;
mod request;
mod tokens;

pub use budget::{BudgetUse, Exhausted, Hold, Ledger, Scope, Spend, Unit};
pub use fact::{Fact, Fanout, RunRef, RunResult, RunSummary, Sink, SkipReason, SkippedRun};
pub use ids::TraceIds;
pub use journey::{Journey, OpenJourney};
pub use marks::{Gaps, Marks};
pub use offered::OfferedRequest;
pub use outcome::{Failure, Outcome};
pub use place::{Pair, SeriesKey, TURNS, turn_bucket};
pub use request::{ConnectionRecord, Limit, LimitKind, Phases, Request, Verdict};
pub use tokens::{Count, Source, TokenType, Tokens};
