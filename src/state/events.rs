//! A live stream of events: facts as JSON for current listeners. Nothing is stored; a listener that is too
//! slow misses events and is notified of that.

use super::{ComparisonView, JourneyView, RequestView, RunView, Time};
use crate::fact::{Fact, Sink, WatchedRun};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::broadcast;

/// Number of events that a slow listener may lag behind.
const BEHIND: usize = 1024;

/// One event.
#[derive(Clone, Debug)]
pub struct PublishedEvent {
    /// Its name: `request`, `journey`, `run_started`, `run_ended`, `runs_skipped`, `next_run`, `target_state`, `comparison`,
    /// `model_change`, `regression`.
    pub name: &'static str,
    /// Its payload as JSON.
    pub data: Arc<str>,
}

/// Receives facts and passes them on to listeners.
#[derive(Debug)]
pub struct Events(broadcast::Sender<PublishedEvent>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Events {
    /// Subscribes to events from now on.
    pub fn listen(&self) -> broadcast::Receiver<PublishedEvent> {
        self.0.subscribe()
    }

    /// The changes that a run showed.
    fn tell_changes(&self, run: &WatchedRun) {
        for series in &run.series {
            let Some(change) = &series.change else { continue };
            let (time, ratio) = (change.time, change.ratio);
            let at = |millis: i64| {
                Time(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
            };
            self.tell(
                "regression",
                &json!({
                    "profile": &*run.pair.profile, "target": &*run.pair.target, "quantity": series.quantity,
                    "kind": change.kind, "at": at(time.at), "not_before": at(time.earliest),
                    "not_after": at(time.latest), "ratio": ratio.mid, "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                }),
            );
        }
    }

    fn tell(&self, name: &'static str, data: &impl Serialize) {
        if let Ok(data) = serde_json::to_string(data) {
            // There may be no listener any more.
            let _ = self.0.send(PublishedEvent { name, data: data.into() });
        }
    }
}

impl Sink for Events {
    fn record(&self, fact: &Fact) {
        // Building the views costs more than checking for listeners.
        if self.0.receiver_count() == 0 {
            return;
        }
        match fact {
            Fact::Ended { request, .. } => self.tell("request", &RequestView::of(request)),
            Fact::JourneyEnded { journey, .. } => self.tell("journey", &JourneyView::of(journey)),
            Fact::RunStarted { run, lag } => self.tell(
                "run_started",
                &json!({
                    "profile": &*run.pair.profile, "target": &*run.pair.target, "id": run.id,
                    "scheduled": Time(run.scheduled), "lag_seconds": lag.as_secs_f64(),
                }),
            ),
            Fact::RunEnded { summary, .. } => self.tell("run_ended", &RunView::of(summary)),
            Fact::RunSkipped { pair, reason, count } => self.tell(
                "runs_skipped",
                &json!({
                    "profile": &*pair.profile, "target": &*pair.target, "reason": reason.label(), "count": count,
                }),
            ),
            Fact::NextRun { pair, at } => self.tell(
                "next_run",
                &json!({ "profile": &*pair.profile, "target": &*pair.target, "at": at.map(Time) }),
            ),
            Fact::TargetStateChanged(change) => self.tell(
                "target_state",
                &json!({
                    "target": &*change.target, "from": change.from, "to": change.to, "at": Time(change.at),
                    "why": change.why,
                }),
            ),
            Fact::ComparisonChanged(report) => self.tell("comparison", &ComparisonView::of(report)),
            Fact::ModelObserved(observed) => {
                for change in &observed.changes {
                    let pair = &observed.pair;
                    let data = json!({
                        "profile": &*pair.profile, "target": &*pair.target, "what": change.what,
                        "since": Time(change.since), "at": Time(observed.at), "why": change.why,
                    });
                    self.tell("model_change", &data);
                }
            }
            Fact::PairWatched(run) => self.tell_changes(run),
            Fact::PlanChanged(_)
            | Fact::Compared { .. }
            | Fact::BackendHealth { .. }
            | Fact::BackendRead { .. }
            | Fact::BackendAccounted(_)
            | Fact::JourneyStarted { .. }
            | Fact::Offered { .. }
            | Fact::Skipped { .. }
            | Fact::LoadActive { .. }
            | Fact::ReplicaOutlierChanged(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{ChangeKind, ChangeRatio, ChangeTime, DetectedChange};
    use crate::event::{Failure, Outcome, Pair};
    use crate::fact::WatchedSeries;
    use crate::testing::{play, rag_plan, small_plan, travel};
    use crate::vocabulary::Quantity;

    #[test]
    fn who_listens_hears_and_who_does_not_costs_nothing() {
        let plan = small_plan();
        let events = Arc::new(Events::default());
        let sink: Arc<dyn Sink> = Arc::<Events>::clone(&events);
        let request = || play(&sink, &plan.pairs[0].places[1], Outcome::Ok, |_| {});
        request();
        let mut listener = events.listen();
        request();
        let heard = listener.try_recv().unwrap();
        assert_eq!(heard.name, "request");
        let data: serde_json::Value = serde_json::from_str(&heard.data).unwrap();
        assert_eq!(data["outcome"], "ok");
        assert!(listener.try_recv().is_err());
    }

    #[test]
    fn a_journey_is_told_when_it_has_ended() {
        let plan = rag_plan();
        let events = Arc::new(Events::default());
        let sink: Arc<dyn Sink> = Arc::<Events>::clone(&events);
        let mut listener = events.listen();
        travel(&sink, &plan.pairs[0].places[1], Outcome::Failed(Failure::Check), |journey| {
            journey.failed_step = Some("query".into());
            journey.detail = Some("$.citations".into());
        });
        let heard = listener.try_recv().unwrap();
        assert_eq!(heard.name, "journey");
        let data: serde_json::Value = serde_json::from_str(&heard.data).unwrap();
        let wanted = json!({
            "profile": "rag", "target": "app", "model": "m", "stage": "steady", "run": "run-1",
            "warm_up": false, "user": 3, "iteration": 7, "trace_id": "000102030405060708090a0b0c0d0e0f",
            "started": "1970-01-01T00:33:16.000Z", "ended": "1970-01-01T00:33:20.000Z", "outcome": "check",
            "failed_step": "query", "detail": "$.citations", "duration_seconds": 2.5, "requests": 3,
            "input_tokens": 120, "output_tokens": 30, "cost": 0.5,
        });
        assert_eq!(data, wanted);
        assert!(listener.try_recv().is_err(), "its beginning is not told");
    }

    #[test]
    fn a_change_that_a_run_showed_is_told() {
        let change = DetectedChange {
            kind: ChangeKind::Regressed,
            time: ChangeTime { earliest: 1_000, at: 2_000, latest: 3_000 },
            told_at: 9_000,
            ratio: ChangeRatio { low: 1.1, mid: 1.2, high: 1.3 },
        };
        let series = |quantity, change| WatchedSeries {
            quantity,
            regression: None,
            evidence: 0.0,
            usual: None,
            change,
        };
        let run = WatchedRun {
            pair: Pair { profile: "p".into(), target: "t".into() },
            revision: "r".into(),
            at: 9_000,
            values: std::collections::BTreeMap::new(),
            series: vec![series(Quantity::Failures, None), series(Quantity::ChunkGap, Some(change))],
            state: None,
        };
        let events = Events::default();
        let mut listener = events.listen();
        events.record(&Fact::PairWatched(Arc::new(run)));
        let heard = listener.try_recv().unwrap();
        assert_eq!(heard.name, "regression");
        let data: serde_json::Value = serde_json::from_str(&heard.data).unwrap();
        let wanted = json!({
            "profile": "p", "target": "t", "quantity": "chunk_gap", "kind": "regressed",
            "at": "1970-01-01T00:00:02.000Z", "not_before": "1970-01-01T00:00:01.000Z",
            "not_after": "1970-01-01T00:00:03.000Z", "ratio": 1.2, "ratio_low": 1.1, "ratio_high": 1.3,
        });
        assert_eq!(data, wanted);
        assert!(listener.try_recv().is_err());
    }

    #[test]
    fn who_is_too_slow_misses_events_and_learns_of_it() {
        let plan = small_plan();
        let events = Arc::new(Events::default());
        let sink: Arc<dyn Sink> = Arc::<Events>::clone(&events);
        let mut slow = events.listen();
        for _ in 0..=BEHIND {
            play(&sink, &plan.pairs[0].places[1], Outcome::Ok, |_| {});
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
        assert!(slow.try_recv().is_ok());
    }
}
