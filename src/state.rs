//! State that outlives a request: budgets, recent requests and live status. It knows nothing about how
//! requests are made.

mod budget;
mod comparison;
mod events;
mod file;
mod history;
mod keeper;
mod recent;
mod time;
mod timeline;

pub use budget::{BudgetLedger, SavedBudget};
pub use comparison::ComparisonView;
pub use events::{Events, PublishedEvent};
pub use file::{
    MAX_MINUTES, RetentionLimits, SavedMinute, SavedModel, SavedRun, SavedWatch, StateError, WantedMinutes,
};
pub use history::{
    HistoryRecorder, HistoryView, ObjectiveView, PairCounts, Percentiles, SeenTimes, SeriesPoint, SlotView,
    TargetWindow, WindowPercentiles, WindowView,
};
pub use keeper::{Restored, StateKeeper, WriteResult};
pub use recent::{
    ActiveRun, AnswerContentView, BaselineView, ChunksView, HeaderView, JourneyCounts, JourneyView,
    MarksView, PairStatus, PhaseView, Recent, RegressionView, RelatedRequest, RequestContentView,
    RequestDetail, RequestFilter, RequestPhase, RequestView, RunView, StallView, TextView,
};
pub use recent::{FAILURES, LATEST};
pub use time::Time;
pub use timeline::{
    EarlierEvents, MAX_EVENTS, ProcessEnd, Timeline, TimelineEvent, TimelineKind, WantedEvents,
};
