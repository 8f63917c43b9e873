//! What is shown of a history.

use super::{ALL, SLOT, SLOTS, Series, number};
use crate::plan::{Bound, Objective};
use crate::state::Time;
use crate::tally::{Judged, Sample, Tally, quantiles};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Slots of the window that "now" is: the present one and those before, 50 to 60 seconds.
const NOW: u64 = 6;

/// The last ten minutes of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryView {
    /// The load in words.
    pub load: Arc<str>,
    /// Answers are asked for as streams.
    pub streamed: bool,
    /// Seconds that a slot covers.
    pub slot_seconds: u64,
    /// The last minute (50 to 60 s of it).
    pub minute: WindowView,
    /// Everything that is kept.
    pub window: WindowView,
    /// The oldest first, the present one last; empty ones are among them.
    pub slots: Vec<SlotView>,
}

/// What ended in one slot; warm-up left out, but for tokens.
#[derive(Clone, Debug, Serialize)]
pub struct SlotView {
    /// Where it begins.
    pub start: Time,
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed, by the target's doing.
    pub failed: u64,
    /// Requests that say nothing about the target: cancelled, or the prober's own fault.
    pub not_judged: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Seconds; streamed answers only.
    pub time_to_first_token_seconds: Option<Quantiles>,
    /// Seconds from the send to the end.
    pub request_duration_seconds: Option<Quantiles>,
}

/// What ended in several slots together.
#[derive(Clone, Debug, Serialize)]
pub struct WindowView {
    /// Seconds that it covers.
    pub seconds: f64,
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed, by the target's doing.
    pub failed: u64,
    /// Requests that ended, per second.
    pub requests_per_second: f64,
    /// Tokens out per second of time, whether or not load was offered.
    pub output_tokens_per_second: f64,
    /// Seconds; streamed answers only.
    pub time_to_first_token_seconds: Option<Quantiles>,
    /// Seconds, of the longest gap of each answer; streamed answers only.
    pub longest_chunk_gap_seconds: Option<Quantiles>,
    /// Seconds from the send to the end.
    pub request_duration_seconds: Option<Quantiles>,
    /// The objectives in the order of the config.
    pub objectives: Vec<ObjectiveView>,
    /// Share of requests that met every objective; absent of nothing.
    pub goodput_ratio: Option<f64>,
}

/// How an objective stands.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectiveView {
    /// Its name.
    pub slo: Arc<str>,
    /// What it is about.
    pub metric: &'static str,
    /// What a good request stays below, seconds.
    pub below: Option<f64>,
    /// What a good request stays above, tokens per second.
    pub above: Option<f64>,
    /// Share of requests that must be good.
    pub objective_ratio: f64,
    /// Requests judged.
    pub events: u64,
    /// Of these: bad.
    pub errors: u64,
    /// Share of good ones; absent of nothing.
    pub good_ratio: Option<f64>,
    /// Whether that is enough; absent of nothing.
    pub met: Option<bool>,
}

/// Values by rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 95 of 100 are no greater.
    pub p95: f64,
}

impl Quantiles {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Self> {
        quantiles(samples, [0.5, 0.95]).map(|[p50, p95]| Self { p50, p95 })
    }
}

impl Series {
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
            time_to_first_token_seconds: Quantiles::of(std::iter::once(&tally.first_token)),
            request_duration_seconds: Quantiles::of(std::iter::once(&tally.duration)),
        }
    }

    /// The slots from `first` on.
    fn window(&self, first: u64, elapsed: Duration) -> WindowView {
        let window = || self.slots.iter().filter(|slot| slot.number >= first).map(|slot| &slot.tally);
        let sum = |take: fn(&Tally<Sample>) -> u64| window().map(take).sum::<u64>();
        let seconds = elapsed.as_secs_f64() - (first * SLOT.as_secs()) as f64;
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let judged = |name: &str| {
            let mut judged = Judged::default();
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
            time_to_first_token_seconds: Quantiles::of(window().map(|tally| &tally.first_token)),
            longest_chunk_gap_seconds: Quantiles::of(window().map(|tally| &tally.longest_gap)),
            request_duration_seconds: Quantiles::of(window().map(|tally| &tally.duration)),
            objectives: objectives.collect(),
            goodput_ratio: judged(ALL).good_ratio(),
        }
    }
}

fn objective(slo: &Objective, judged: Judged) -> ObjectiveView {
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
