//! The requests of a journey, in their order. Pure.

use crate::plan::{Scenario, Step};
use std::sync::Arc;

/// One request of a journey.
#[derive(Clone)]
pub(super) struct JourneyStep {
    pub(super) step: Arc<Step>,
    /// It is part of the set-up.
    pub(super) set_up: bool,
    /// Which time in a row the step is played, from 0.
    pub(super) time: u32,
}

impl JourneyStep {
    /// A set-up begins with it.
    pub(super) fn is_first_of_set_up(&self) -> bool {
        self.set_up && self.step.number == 0 && self.time == 0
    }
}

/// The steps, each as often as it is repeated, and before them the set-up, if it is to be played. They are made one
/// by one: a conversation may be long.
pub(super) fn legs(
    scenario: &Arc<Scenario>,
    set_up: bool,
) -> impl Iterator<Item = JourneyStep> + Send + use<> {
    let scenario = Arc::clone(scenario);
    let set_ups = scenario.setup.len();
    let step = move |at: usize| {
        let step = scenario.setup.get(at).or_else(|| scenario.steps.get(at.checked_sub(set_ups)?));
        step.map(|step| (at < set_ups, Arc::clone(step)))
    };
    let from = if set_up { 0 } else { set_ups };
    (from..).map_while(step).flat_map(|(set_up, step)| {
        (0..step.repeat).map(move |time| JourneyStep { step: Arc::clone(&step), set_up, time })
    })
}
