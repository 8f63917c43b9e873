//! What happened when: incidents, runs, reloads and restarts, each with its begin and its end. Facts say what goes on;
//! what is over is in the state file, and in a bounded memory for those who have none. It must not know what is measured,
//! nor who asks.

mod event;
mod read;

pub use event::{EarlierEvents, MAX_EVENTS, ProcessEnd, TimelineEvent, TimelineKind, WantedEvents};

use super::StateKeeper;
use super::time::Time;
use crate::event::{ComparisonVerdict, WallClock};
use crate::fact::{Fact, Sink, SubjectNews, incident_news};
use crate::plan::webhook::WebhookIncident;
use crate::plan::{IncidentSubject, Plan};
use crate::vocabulary::IncidentKind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The key of a failed reload among what goes on.
const RELOAD: &str = "reload";

/// Receives facts and remembers what began and ended when.
pub struct Timeline {
    known: Mutex<KnownEvents>,
    keeper: Option<Arc<StateKeeper>>,
    wall: WallClock,
}

/// What goes on, and what was last over.
#[derive(Default)]
struct KnownEvents {
    /// What goes on, by its subject. Bounded by what the plan's targets, pairs and profiles can be subject to.
    open: BTreeMap<String, TimelineEvent>,
    /// What is over, oldest first, apart from runs.
    past: VecDeque<TimelineEvent>,
    /// Runs that are over, oldest first.
    runs: VecDeque<TimelineEvent>,
}

impl Timeline {
    /// Starts with what an earlier process left in the state file, and with the restart itself.
    pub fn new(
        plan: &Plan,
        earlier: EarlierEvents,
        keeper: Option<Arc<StateKeeper>>,
        wall: WallClock,
    ) -> Arc<Self> {
        let timeline = Self { known: Mutex::default(), keeper, wall };
        let now = timeline.now();
        let restart = TimelineEvent::of_restart(earlier.process, now);
        let unseen = restart.start;
        timeline.happened(restart);
        let mut known = timeline.lock();
        for mut event in earlier.open {
            if event.kind.survives_a_restart() {
                known.open.insert(event.key(), event);
                continue;
            }
            let (end, why) = match event.kind {
                TimelineKind::Reload => (now, "tokenbeat was started then, which read the config"),
                // Nobody looked at it since.
                _ => (unseen, "tokenbeat stopped then, so how long it went on is not known"),
            };
            event.end_at(end);
            event.explain(why);
            timeline.over(&mut known, event);
        }
        drop(known);
        timeline.plan_is(plan);
        Arc::new(timeline)
    }

    /// Notes that the config was reloaded, and what changed.
    pub fn reloaded(&self, changes: String) {
        let now = self.now();
        self.close(RELOAD, now, |_| {});
        self.happened(TimelineEvent::of_reload(now, true, changes));
    }

    /// Notes that the config could not be reloaded; this goes on until it is. The errors tell why.
    pub fn reload_failed(&self, errors: &[String]) {
        let event =
            TimelineEvent { end: None, ..TimelineEvent::of_reload(self.now(), false, errors.join("; ")) };
        self.open(RELOAD.to_owned(), event);
    }

    fn now(&self) -> Time {
        (self.wall)().into()
    }

    /// Closes what a plan does not have any more.
    fn plan_is(&self, plan: &Plan) {
        let why_unwatched = |event: &TimelineEvent| {
            let name = |name: &Option<Arc<str>>| name.clone().unwrap_or_default();
            let (profile, target, quantity) =
                (name(&event.profile), name(&event.target), name(&event.quantity));
            let kind = event.kind.incident()?;
            plan.why_unwatched(&IncidentSubject {
                kind,
                profile: &profile,
                target: &target,
                quantity: &quantity,
            })
        };
        let now = self.now();
        let mut known = self.lock();
        let gone = known.open.extract_if(.., |_, event| why_unwatched(event).is_some());
        for (_, mut event) in gone.collect::<Vec<_>>() {
            event.end_at(now);
            event.explain(why_unwatched(&event).unwrap_or_default());
            self.over(&mut known, event);
        }
    }

    /// Takes news of the subject of an incident.
    fn take(&self, news: SubjectNews, fact: &Fact) {
        let incident = match news {
            SubjectNews::State(incident) => incident,
            SubjectNews::Unknown(key) => return self.close(&key, self.now(), |_| {}),
        };
        // Runs are in the timeline one by one.
        let Some(kind) = TimelineKind::of_incident(incident.kind) else { return };
        let (key, at) = (incident.key(), Time(incident.at));
        if !goes_on(&incident) {
            return self.close(&key, at, |_| {});
        }
        let start = read::began(fact, &incident).map_or(at, Time);
        self.open(key, TimelineEvent::of_incident(kind, incident, start));
    }

    /// Notes that something goes on, unless it is known to. Another state of the same subject ends the one before.
    fn open(&self, key: String, event: TimelineEvent) {
        let mut known = self.lock();
        match known.open.get_mut(&key) {
            Some(standing) if standing.state == event.state => {
                if (&standing.title, &standing.detail) == (&event.title, &event.detail) {
                    return;
                }
                // Its start may be estimated anew; that of the first estimate identifies it.
                (standing.title, standing.detail) = (event.title, event.detail);
                self.save(standing);
            }
            Some(standing) => {
                let mut before = std::mem::replace(standing, event.clone());
                before.end_at(event.start);
                self.over(&mut known, before);
                self.save(&event);
            }
            None => {
                self.save(&event);
                known.open.insert(key, event);
            }
        }
    }

    /// Notes the end of something that goes on; `change` may say how it ended.
    fn close(&self, key: &str, at: Time, change: impl FnOnce(&mut TimelineEvent)) {
        let mut known = self.lock();
        let Some(mut event) = known.open.remove(key) else { return };
        event.end_at(at);
        change(&mut event);
        self.over(&mut known, event);
    }

    /// Notes something that is over, or that took no time.
    fn happened(&self, event: TimelineEvent) {
        self.over(&mut self.lock(), event);
    }

    fn over(&self, known: &mut KnownEvents, event: TimelineEvent) {
        self.save(&event);
        let past = if event.kind == TimelineKind::Run { &mut known.runs } else { &mut known.past };
        if past.len() >= MAX_EVENTS {
            past.pop_front();
        }
        past.push_back(event);
    }

    /// The state file has a table of runs of its own.
    fn save(&self, event: &TimelineEvent) {
        if event.kind != TimelineKind::Run
            && let Some(keeper) = &self.keeper
        {
            keeper.add_event(event.clone());
        }
    }

    /// What happened, oldest first: the newest [`MAX_EVENTS`] runs, and as many other events, of those wanted. From the
    /// state file if there is one that can be read, else what is remembered.
    pub async fn events(&self, wanted: WantedEvents) -> Vec<TimelineEvent> {
        let saved = match &self.keeper {
            Some(keeper) => keeper.events(wanted.clone()).await,
            None => None,
        };
        let known = self.lock();
        let mut events: Vec<_> = if let Some(mut events) = saved {
            // The file has a run when it has ended, and everything else that goes on.
            let runs = known.open.values().filter(|event| event.kind == TimelineKind::Run);
            events.extend(runs.filter(|event| wanted.has(event)).cloned());
            events
        } else {
            let all = known.past.iter().chain(&known.runs).chain(known.open.values());
            all.filter(|event| wanted.has(event)).cloned().collect()
        };
        drop(known);
        events.sort_by_key(|event| event.start);
        events
    }

    fn lock(&self) -> MutexGuard<'_, KnownEvents> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a state is worth an event. A comparison has one for each verdict.
fn goes_on(incident: &WebhookIncident) -> bool {
    match incident.kind {
        IncidentKind::Comparison => *incident.state != *ComparisonVerdict::Unknown.label(),
        _ => incident.firing,
    }
}

impl Sink for Timeline {
    fn record(&self, fact: &Fact) {
        match fact {
            // By far the most facts.
            Fact::Offered { .. } | Fact::Skipped { .. } | Fact::Ended { .. } | Fact::LoadActive { .. } => {
                return;
            }
            Fact::PlanChanged(plan) => return self.plan_is(plan),
            Fact::RunStarted { run, lag } => {
                let event =
                    TimelineEvent::of_run(&run.pair, run.scheduled + *lag, None, "running", String::new());
                self.open(read::key_of_run(&run.id), event);
            }
            Fact::RunEnded { summary, .. } => {
                self.close(&read::key_of_run(&summary.run.id), Time(summary.ended), |event| {
                    *event = TimelineEvent::of_summary(summary);
                });
            }
            Fact::ModelObserved(observed) => {
                for hint in read::hints(observed) {
                    self.happened(hint);
                }
            }
            _ => {}
        }
        for news in incident_news(fact) {
            self.take(news, fact);
        }
    }
}

#[cfg(test)]
mod tests;
