//! What facts say about the timeline beyond the news of incidents. Pure.

use super::event::{TimelineEvent, TimelineKind};
use crate::event::{ModelChange, ModelObservation, ModelSign};
use crate::fact::Fact;
use crate::plan::webhook::WebhookIncident;
use crate::state::Time;
use std::sync::Arc;
use std::time::SystemTime;

/// The key of a run among what goes on.
pub(super) fn key_of_run(id: &str) -> String {
    format!("run/{id}")
}

/// When an incident began, as far as that is before it was noticed.
pub(super) fn began(fact: &Fact, incident: &WebhookIncident) -> Option<SystemTime> {
    match fact {
        Fact::PairWatched(run) => {
            let series = run.series.iter().find(|series| *series.quantity.name() == *incident.quantity)?;
            series.regression.map(|regression| regression.since)
        }
        Fact::ModelObserved(observed) => {
            let change = observed.changes.iter().find(|change| change.what == ModelSign::Answers)?;
            Some(change.since)
        }
        _ => None,
    }
}

/// Names in answers that were not seen before: they hint at another model, without being an incident.
pub(super) fn hints(observed: &ModelObservation) -> Vec<TimelineEvent> {
    let hints = observed.changes.iter().filter(|change| change.what != ModelSign::Answers);
    let event = |change: &ModelChange| TimelineEvent {
        kind: TimelineKind::ModelChange,
        start: Time(observed.at),
        end: Some(Time(observed.at)),
        profile: Some(Arc::clone(&observed.pair.profile)),
        target: Some(Arc::clone(&observed.pair.target)),
        quantity: Some(change.what.label().into()),
        state: "hint".into(),
        title: format!("{} names another {}", observed.pair.target, change.what.label().replace('_', " ")),
        detail: change.why.clone(),
    };
    hints.map(event).collect()
}
