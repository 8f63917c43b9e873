//! The events of the timeline, and how they are selected.

use crate::event::{ComparisonVerdict, Pair, RunSummary};
use crate::plan::webhook::WebhookIncident;
use crate::state::Time;
use crate::vocabulary::IncidentKind;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;
use strum::{IntoStaticStr, VariantArray};

/// Maximum number of runs, and of other events, in memory and in an answer.
pub const MAX_EVENTS: usize = 1_000;

/// Maximum length of a detail, in characters.
const DETAIL: usize = 1_000;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray, Serialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TimelineKind {
    /// A target was slow, failing or hung.
    TargetState,
    /// A quantity of a profile against a target was worse than its baseline.
    Regression,
    /// A replica of a target was an outlier among its siblings.
    ReplicaOutlier,
    /// A comparison had a verdict.
    Comparison,
    /// The model of a target changed.
    ModelChange,
    /// An exhausted budget stopped the runs of a profile against a target.
    Budget,
    /// A run of a profile against a target.
    Run,
    /// The config was reloaded, or could not be.
    Reload,
    /// tokenbeat was started; before that it did not run.
    Restart,
    /// A fault that was caused on purpose.
    Fault,
}

impl TimelineKind {
    /// All kinds.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the API and in the state file.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kind with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind of the events of an incident; none for runs, which are events themselves.
    pub(super) const fn of_incident(kind: IncidentKind) -> Option<Self> {
        Some(match kind {
            IncidentKind::TargetState => Self::TargetState,
            IncidentKind::Run => return None,
            IncidentKind::Budget => Self::Budget,
            IncidentKind::ModelChange => Self::ModelChange,
            IncidentKind::Comparison => Self::Comparison,
            IncidentKind::Regression => Self::Regression,
            IncidentKind::ReplicaOutlier => Self::ReplicaOutlier,
        })
    }

    /// The kind of the incidents that it is about; none for what is no incident, and for runs.
    pub(super) fn incident(self) -> Option<IncidentKind> {
        IncidentKind::ALL.iter().copied().find(|kind| Self::of_incident(*kind) == Some(self))
    }

    /// Whether the next process still knows that it goes on. The state of a target and a verdict are found anew.
    pub(super) const fn survives_a_restart(self) -> bool {
        matches!(self, Self::Regression | Self::ModelChange | Self::Budget)
    }
}

/// Something that went on for a while or happened at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// What it is about.
    pub kind: TimelineKind,
    /// When it began.
    pub start: Time,
    /// When it ended; the start for what takes no time, `None` if it goes on.
    pub end: Option<Time>,
    /// The profile; `None` if it is about all of them.
    pub profile: Option<Arc<str>>,
    /// The target; `None` if it is about all of them.
    pub target: Option<Arc<str>>,
    /// The quantity of a regression, or what hints at another model.
    pub quantity: Option<Arc<str>>,
    /// What it was, in one word: `hung`, `worse`, `failed`.
    pub state: Arc<str>,
    /// What happened, in a few words.
    pub title: String,
    /// What was seen; empty if there is no more to say.
    pub detail: String,
}

/// What an earlier process left.
#[derive(Clone, Debug, Default)]
pub struct EarlierEvents {
    /// What went on when it ended.
    pub open: Vec<TimelineEvent>,
    /// Its end; `None` if there is nothing about an earlier process.
    pub process: Option<ProcessEnd>,
}

/// The end of an earlier process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// When it was last known to be alive.
    pub at: SystemTime,
    /// Whether it was stopped, and did not just vanish.
    pub stopped: bool,
}

/// Selects events: those that went on between two instants, and whose profile and target are those asked for, if they
/// have any.
#[derive(Clone, Debug)]
pub struct WantedEvents {
    /// They ended at this instant or later.
    pub from: SystemTime,
    /// They began at this instant or earlier.
    pub to: SystemTime,
    /// Only of this profile, or of all profiles.
    pub profile: Option<String>,
    /// Only of this target, or of all targets.
    pub target: Option<String>,
    /// Only of these kinds.
    pub kinds: Option<Vec<TimelineKind>>,
}

impl WantedEvents {
    /// Whether an event is wanted.
    pub fn has(&self, event: &TimelineEvent) -> bool {
        let concerns = |wanted: &Option<String>, name: &Option<Arc<str>>| match (wanted, name) {
            (Some(wanted), Some(name)) => **wanted == **name,
            _ => true,
        };
        event.start.0 <= self.to
            && event.end.is_none_or(|end| self.from <= end.0)
            && concerns(&self.profile, &event.profile)
            && concerns(&self.target, &event.target)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
    }
}

impl TimelineEvent {
    /// An event of the agent as a whole, at an instant.
    fn of_agent(kind: TimelineKind, at: Time, state: &str, title: &str, detail: String) -> Self {
        Self {
            kind,
            start: at,
            end: Some(at),
            profile: None,
            target: None,
            quantity: None,
            state: state.into(),
            title: title.to_owned(),
            detail: cut(detail),
        }
    }

    /// The start of a process at `now`, with the time in which none ran.
    pub(super) fn of_restart(before: Option<ProcessEnd>, now: Time) -> Self {
        let event = |title, detail: &str| {
            Self::of_agent(TimelineKind::Restart, now, "started", title, detail.to_owned())
        };
        let Some(ProcessEnd { at, stopped }) = before else { return event("tokenbeat was started", "") };
        let detail = if stopped {
            "it was stopped and started again"
        } else {
            "it ended without being stopped; until then it was known to run"
        };
        // A clock may have been set back meanwhile.
        Self { start: Time(at).min(now), ..event("tokenbeat did not run", detail) }
    }

    /// A reload of the config, or an attempt.
    pub(super) fn of_reload(at: Time, ok: bool, detail: String) -> Self {
        let (state, title) = if ok {
            ("ok", "the config was reloaded")
        } else {
            ("failed", "the config could not be reloaded; the old one stays in force")
        };
        Self::of_agent(TimelineKind::Reload, at, state, title, detail)
    }

    /// A fault that was caused on purpose.
    pub fn of_fault(start: Time, end: Time, what: &str, effect: &str) -> Self {
        let event = Self::of_agent(TimelineKind::Fault, start, "on_purpose", what, effect.to_owned());
        Self { end: Some(end), ..event }
    }

    /// An incident that goes on since `start`.
    pub(super) fn of_incident(kind: TimelineKind, incident: WebhookIncident, start: Time) -> Self {
        let named = |name: Arc<str>| Some(name).filter(|name| !name.is_empty());
        Self {
            kind,
            start,
            end: None,
            profile: named(incident.profile),
            target: named(incident.target),
            quantity: named(incident.quantity),
            state: incident.state,
            title: incident.title,
            detail: cut(incident.detail),
        }
    }

    /// A run; `ended` is `None` while it goes on.
    pub(in crate::state) fn of_run(
        pair: &Pair,
        started: SystemTime,
        ended: Option<SystemTime>,
        result: &str,
        detail: String,
    ) -> Self {
        Self {
            kind: TimelineKind::Run,
            start: Time(started),
            end: ended.map(Time),
            profile: Some(Arc::clone(&pair.profile)),
            target: Some(Arc::clone(&pair.target)),
            quantity: None,
            state: result.into(),
            title: format!("run: {result}"),
            detail: cut(detail),
        }
    }

    /// A run that has ended.
    pub(super) fn of_summary(summary: &RunSummary) -> Self {
        let detail = Self::detail_of_run(summary.reason.as_deref(), summary.degraded.as_deref());
        let RunSummary { run, started, ended, result, .. } = summary;
        Self::of_run(&run.pair, *started, Some(*ended), result.label(), detail)
    }

    /// What there is to say about a run: the reason for its result, and how the prober was late.
    pub(in crate::state) fn detail_of_run(reason: Option<&str>, degraded: Option<&str>) -> String {
        let degraded = degraded.map(|why| format!("degraded: {why}"));
        reason.map(str::to_owned).into_iter().chain(degraded).collect::<Vec<_>>().join("; ")
    }

    /// The trouble that it is, for whoever tells incidents; `None` if it is none.
    pub fn trouble(&self) -> Option<WebhookIncident> {
        let kind = self.kind.incident()?;
        // A comparison has an event for each verdict.
        let firing = kind != IncidentKind::Comparison || *self.state == *ComparisonVerdict::Worse.label();
        let name = |name: &Option<Arc<str>>| name.clone().unwrap_or_default();
        firing.then(|| WebhookIncident {
            kind,
            profile: name(&self.profile),
            target: name(&self.target),
            quantity: name(&self.quantity),
            state: Arc::clone(&self.state),
            previous: "".into(),
            firing,
            title: self.title.clone(),
            detail: self.detail.clone(),
            at: self.start.0,
        })
    }

    /// Its key among what goes on: that of its incident.
    pub(super) fn key(&self) -> String {
        let names = [&self.profile, &self.target, &self.quantity].into_iter().flatten().map(|name| &**name);
        std::iter::once(self.kind.name()).chain(names).collect::<Vec<_>>().join("/")
    }

    /// Ends it, but not before it began.
    pub(super) fn end_at(&mut self, at: Time) {
        self.end = Some(at.max(self.start));
    }

    /// Adds something to what was seen.
    pub(super) fn explain(&mut self, more: &str) {
        let before = std::mem::take(&mut self.detail);
        self.detail = if before.is_empty() { more.to_owned() } else { format!("{before}; {more}") };
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(DETAIL) {
        Some((end, _)) => text.get(..end).map_or_else(String::new, |head| format!("{head}...")),
        None => text,
    }
}
