//! The history of a pair as shown to users.

use super::{ALL, PairHistory, SLOT, SLOTS, number};
use crate::plan::{Bound, Objective};
use crate::state::Time;
use crate::tally::{JudgedCounts, Sample, Tally, quantiles};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Number of slots that count as "now": the current one and those before it, 50 to 60 seconds in total.
const NOW: u64 = 6;

/// The last ten minutes of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryView {
    /// A short description of the load.
    pub load: Arc<str>,
    /// Whether answers are requested as streams.
    pub streamed: bool,
    /// Duration of a slot in seconds.
    pub slot_seconds: u64,
    /// The last minute (50 to 60 s of it).
    pub minute: WindowView,
    /// The whole period that is kept.
    pub window: WindowView,
    /// Oldest first, current slot last; includes empty slots.
    pub slots: Vec<SlotView>,
}

/// What ended in one slot; excludes warm-up, except for tokens.
#[derive(Clone, Debug, Serialize)]
pub struct SlotView {
    /// When the slot begins.
    pub start: Time,
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed because of the target.
    pub failed: u64,
    /// Requests that say nothing about the target: cancelled, or failed through the prober's own fault.
    pub not_judged: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// In seconds; streamed answers only.
    pub time_to_first_token_seconds: Option<Percentiles>,
    /// In seconds, from the send to the end.
    pub request_duration_seconds: Option<Percentiles>,
}

/// What ended in several slots combined.
#[derive(Clone, Debug, Serialize)]
pub struct WindowView {
    /// The period covered, in seconds.
    pub seconds: f64,
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed because of the target.
    pub failed: u64,
    /// Requests that ended, per second.
    pub requests_per_second: f64,
    /// Output tokens per second of elapsed time, whether or not load was offered.
    pub output_tokens_per_second: f64,
    /// In seconds; streamed answers only.
    pub time_to_first_token_seconds: Option<Percentiles>,
    /// The longest gap of each answer, in seconds; streamed answers only.
    pub longest_chunk_gap_seconds: Option<Percentiles>,
    /// In seconds, from the send to the end.
    pub request_duration_seconds: Option<Percentiles>,
    /// The objectives, in the order of the config.
    pub objectives: Vec<ObjectiveView>,
    /// Share of requests that met every objective; absent if there are none.
    pub goodput_ratio: Option<f64>,
}

/// The current state of an objective.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectiveView {
    /// Its name.
    pub slo: Arc<str>,
    /// The metric that it applies to.
    pub metric: &'static str,
    /// Upper limit for a good request, in seconds.
    pub below: Option<f64>,
    /// Lower limit for a good request, in tokens per second.
    pub above: Option<f64>,
    /// Share of requests that must be good.
    pub objective_ratio: f64,
    /// Number of requests judged.
    pub events: u64,
    /// Number of these that were bad.
    pub errors: u64,
    /// Share of good requests; absent if there are none.
    pub good_ratio: Option<f64>,
    /// Whether the objective is met; absent if there are no requests.
    pub met: Option<bool>,
}

/// Percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
}

impl Percentiles {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Self> {
        quantiles(samples, [0.5, 0.95]).map(|[p50, p95]| Self { p50, p95 })
    }
}

impl PairHistory {
    pub(super) fn view(&self, began: SystemTime, elapsed: Duration) -> HistoryView {
        let present = number(elapsed);
        let first = (present + 1).saturating_sub(SLOTS);
        HistoryView {
            load: Arc::clone(&self.load),
            streamed: self.streamed,
            slot_seconds: SLOT.as_secs(),
            minute: self.window(first.max((present + 1).saturating_sub(NOW)), elapsed),
            window: self.window(first, elapsed),
            slots: (first..=present).map(|number| self.slot_view(number, began)).collect(),
        }
    }

    fn slot_view(&self, number: u64, began: SystemTime) -> SlotView {
        let empty = Tally::default();
        let slot = self.slots.iter().find(|slot| slot.number == number);
        let tally = slot.map_or(&empty, |slot| &slot.tally);
        SlotView {
            start: Time(began + SLOT.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX))),
            ok: tally.ok(),
            failed: tally.failed(),
            not_judged: tally.not_judged(),
            input_tokens: tally.spent.input_tokens(),
            output_tokens: tally.spent.output_tokens(),
            time_to_first_token_seconds: Percentiles::of(std::iter::once(&tally.first_token)),
            request_duration_seconds: Percentiles::of(std::iter::once(&tally.duration)),
        }
    }

    /// Combines the slots from `first` on.
    fn window(&self, first: u64, elapsed: Duration) -> WindowView {
        let window = || self.slots.iter().filter(|slot| slot.number >= first).map(|slot| &slot.tally);
        let sum = |take: fn(&Tally<Sample>) -> u64| window().map(take).sum::<u64>();
        let seconds = elapsed.as_secs_f64() - (first * SLOT.as_secs()) as f64;
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let judged = |name: &str| {
            let mut judged = JudgedCounts::default();
            window().filter_map(|tally| tally.judged.get(name)).for_each(|of_slot| judged.add(*of_slot));
            judged
        };
        let objectives = self.objectives.iter().map(|slo| objective(slo, judged(&slo.name)));
        WindowView {
            seconds,
            ok: sum(Tally::ok),
            failed: sum(Tally::failed),
            requests_per_second: per_second(sum(|tally| tally.all_ended().measured)),
            output_tokens_per_second: per_second(sum(|tally| tally.spent.output_tokens())),
            time_to_first_token_seconds: Percentiles::of(window().map(|tally| &tally.first_token)),
            longest_chunk_gap_seconds: Percentiles::of(window().map(|tally| &tally.longest_gap)),
            request_duration_seconds: Percentiles::of(window().map(|tally| &tally.duration)),
            objectives: objectives.collect(),
            goodput_ratio: judged(ALL).good_ratio(),
        }
    }
}

fn objective(slo: &Objective, judged: JudgedCounts) -> ObjectiveView {
    let (below, above) = match slo.bound {
        None => (None, None),
        Some(Bound::Below(bound)) => (Some(bound), None),
        Some(Bound::Above(bound)) => (None, Some(bound)),
    };
    let good_ratio = judged.good_ratio();
    ObjectiveView {
        slo: Arc::clone(&slo.name),
        metric: slo.metric.name(),
        below,
        above,
        objective_ratio: slo.objective,
        events: judged.events,
        errors: judged.errors,
        good_ratio,
        met: good_ratio.map(|ratio| ratio >= slo.objective),
    }
}
