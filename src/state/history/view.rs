//! The history of a pair as shown to users.

use super::series::SeriesPoint;
use super::{ALL, HistorySlot, PairHistory, SLOT, SLOTS, number};
use crate::detect::quantile::{CONFIDENCE, needed};
use crate::plan::{Bound, Objective};
use crate::state::{SavedMinute, Time};
use crate::tally::{JudgedCounts, PooledSample, Sample, Tally, Times};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Duration of a slot from before the start.
const MINUTE: Duration = Duration::from_mins(1);

/// Number of slots that count as "now": the current one and those before it, 50 to 60 seconds in total.
const NOW: u64 = 6;

/// The last ten minutes of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryView {
    /// A short description of the load.
    pub load: Arc<str>,
    /// Whether answers are requested as streams.
    pub streamed: bool,
    /// Duration in seconds of a slot since the process started.
    pub slot_seconds: u64,
    /// The last minute (50 to 60 s of it).
    pub minute: WindowView,
    /// All of the last ten minutes since the process started.
    pub window: WindowView,
    /// Oldest first, current slot last. Since the process started, empty slots are included; before that there are
    /// minutes, out of the state file.
    pub slots: Vec<SlotView>,
}

/// What ended in one slot; excludes warm-up, except for tokens.
#[derive(Clone, Debug, Serialize)]
pub struct SlotView {
    /// When the slot begins.
    pub start: Time,
    /// Its duration in seconds. That of a minute ends where the process started.
    pub seconds: f64,
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
    pub time_to_first_token_seconds: Option<WindowPercentiles>,
    /// The longest gap of each answer, in seconds; streamed answers only.
    pub longest_chunk_gap_seconds: Option<WindowPercentiles>,
    /// In seconds, from the send to the end.
    pub request_duration_seconds: Option<WindowPercentiles>,
    /// Median of the output tokens per second over the whole request.
    pub output_pace_p50_tokens_per_second: Option<f64>,
    /// The objectives, in the order of the config.
    pub objectives: Vec<ObjectiveView>,
    /// Share of requests that met every objective; absent if there are none.
    pub goodput_ratio: Option<f64>,
}

/// What the requests of a pair in the last ten minutes came to; excludes warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairCounts {
    /// Requests that were `ok`.
    pub ok: u64,
    /// Requests that failed because of the target.
    pub failed: u64,
    /// Objectives that are missed.
    pub missed: usize,
}

/// What ended in the last ten minutes on one target, of all its profiles; excludes warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct TargetWindow {
    /// Requests that say something about the target.
    pub samples: u64,
    /// How many of these were `ok`.
    pub ok: u64,
    /// In seconds; streamed answers only.
    pub time_to_first_token_seconds: Option<WindowPercentiles>,
    /// In seconds per output token after the first; streamed answers only.
    pub time_per_output_token_seconds: Option<WindowPercentiles>,
    /// The pace of the median answer, in output tokens per second after the first; streamed answers only.
    pub output_pace_tokens_per_second: Option<f64>,
}

impl TargetWindow {
    pub(super) fn of(slots: &[&Tally<Sample>]) -> Self {
        let per_token = WindowPercentiles::of(slots.iter().map(|tally| &tally.per_token));
        Self {
            samples: slots.iter().map(|tally| tally.ok() + tally.failed()).sum(),
            ok: slots.iter().map(|tally| tally.ok()).sum(),
            time_to_first_token_seconds: WindowPercentiles::of(slots.iter().map(|tally| &tally.first_token)),
            time_per_output_token_seconds: per_token,
            output_pace_tokens_per_second: per_token
                .filter(|time| time.p50 > 0.0)
                .map(|time| time.p50.recip()),
        }
    }
}

/// The current state of an objective.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectiveView {
    /// Its name.
    pub slo: Arc<str>,
    /// The metric that it applies to.
    pub metric: &'static str,
    /// The step whose requests it judges; absent if it judges those of all steps, or journeys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    /// Upper limit for a good request, in seconds; the constant part of it if it grows with the prompt.
    pub below: Option<f64>,
    /// What each input token adds to the upper limit, in seconds; absent if it is constant.
    pub below_per_input_token: Option<f64>,
    /// Lower limit for a good request, in tokens per second.
    pub above: Option<f64>,
    /// Share of requests that must be good.
    pub objective_ratio: f64,
    /// Number of requests or journeys judged.
    pub events: u64,
    /// Number of these that were bad.
    pub errors: u64,
    /// Share of good requests; absent if there are none.
    pub good_ratio: Option<f64>,
    /// Whether the objective is met; absent if there are no requests.
    pub met: Option<bool>,
}

/// Percentiles of what was seen, however little that is: points of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
}

impl Percentiles {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Self> {
        let pooled = PooledSample::of(samples)?;
        Some(Self { p50: pooled.quantile(0.5), p95: pooled.quantile(0.95) })
    }

    fn of_times<const DIGITS: u8>(times: &Times<DIGITS>) -> Option<Self> {
        let quantile = |q| Some(times.quantile(q)?.as_secs_f64());
        Some(Self { p50: quantile(0.5)?, p95: quantile(0.95)? })
    }
}

/// Percentiles of a window, as far as there are enough values for them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WindowPercentiles {
    /// Number of values.
    pub count: u64,
    /// The median of what was seen.
    pub p50: f64,
    /// With 99% confidence the median is at most this; absent with too few values.
    pub p50_at_most: Option<f64>,
    /// The 95th percentile of what was seen; absent with too few values.
    pub p95: Option<f64>,
    /// With 99% confidence the 95th percentile is at most this; absent if it is.
    pub p95_at_most: Option<f64>,
    /// Number of values that the 95th percentile needs.
    pub p95_needs: u64,
}

impl WindowPercentiles {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Self> {
        let pooled = PooledSample::of(samples)?;
        let p95 = pooled.carried(0.95);
        Some(Self {
            count: pooled.count(),
            p50: pooled.quantile(0.5),
            p50_at_most: pooled.carried(0.5).map(|(_, most)| most),
            p95: p95.map(|(seen, _)| seen),
            p95_at_most: p95.map(|(_, most)| most),
            p95_needs: needed(0.95, CONFIDENCE),
        })
    }
}

impl SlotView {
    /// A minute from before the process started at `began`; `None` if it lies after that by its clock.
    pub(super) fn restored(saved: &SavedMinute, began: SystemTime) -> Option<Self> {
        let start =
            SystemTime::UNIX_EPOCH.checked_add(MINUTE.checked_mul(u32::try_from(saved.minute).ok()?)?)?;
        let until_began = began.duration_since(start).ok().filter(|time| !time.is_zero())?;
        let tally = &saved.tally;
        Some(Self {
            start: Time(start),
            seconds: until_began.min(MINUTE).as_secs_f64(),
            ok: tally.ok(),
            failed: tally.failed(),
            not_judged: tally.not_judged(),
            input_tokens: tally.spent.input_tokens(),
            output_tokens: tally.spent.output_tokens(),
            time_to_first_token_seconds: Percentiles::of_times(&tally.first_token),
            request_duration_seconds: Percentiles::of_times(&tally.duration),
        })
    }

    /// Where it ends.
    pub fn end(&self) -> SystemTime {
        self.start.0 + Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

impl PairHistory {
    pub(super) fn view(&self, began: SystemTime, elapsed: Duration) -> HistoryView {
        let present = number(elapsed);
        let first = (present + 1).saturating_sub(SLOTS);
        let oldest = (began + elapsed).checked_sub(SLOT * u32::try_from(SLOTS).unwrap_or(u32::MAX));
        // None of them is later than the start by a clock that was set back since.
        let is_kept =
            |slot: &&SlotView| slot.start.0 < began && oldest.is_none_or(|oldest| slot.end() > oldest);
        let restored = self.restored.iter().filter(is_kept);
        HistoryView {
            load: Arc::clone(&self.load),
            streamed: self.streamed,
            slot_seconds: SLOT.as_secs(),
            minute: self.window(first.max((present + 1).saturating_sub(NOW)), elapsed),
            window: self.window(first, elapsed),
            slots: restored
                .cloned()
                .chain((first..=present).map(|number| self.slot_view(number, began)))
                .collect(),
        }
    }

    fn slot_view(&self, number: u64, began: SystemTime) -> SlotView {
        let empty = Tally::default();
        let slot = self.slots.iter().find(|slot| slot.number == number);
        let tally = slot.map_or(&empty, |slot| &slot.tally);
        SlotView {
            start: Time(began + SLOT.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX))),
            seconds: SLOT.as_secs_f64(),
            ok: tally.ok(),
            failed: tally.failed(),
            not_judged: tally.not_judged(),
            input_tokens: tally.spent.input_tokens(),
            output_tokens: tally.spent.output_tokens(),
            time_to_first_token_seconds: Percentiles::of(std::iter::once(&tally.first_token)),
            request_duration_seconds: Percentiles::of(std::iter::once(&tally.duration)),
        }
    }

    pub(super) fn counts(&self, first: u64) -> PairCounts {
        let window = || self.slots.iter().filter(|slot| slot.number >= first).map(|slot| &slot.tally);
        let missed = |slo: &&Objective| {
            let mut judged = JudgedCounts::default();
            window().filter_map(|tally| tally.judged.get(&slo.name)).for_each(|of_slot| judged.add(*of_slot));
            judged.good_ratio().is_some_and(|ratio| ratio < slo.objective)
        };
        PairCounts {
            ok: window().map(Tally::ok).sum(),
            failed: window().map(Tally::failed).sum(),
            missed: self.objectives.iter().filter(missed).count(),
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
            time_to_first_token_seconds: WindowPercentiles::of(window().map(|tally| &tally.first_token)),
            longest_chunk_gap_seconds: WindowPercentiles::of(window().map(|tally| &tally.longest_gap)),
            request_duration_seconds: WindowPercentiles::of(window().map(|tally| &tally.duration)),
            output_pace_p50_tokens_per_second: WindowPercentiles::of(
                window().map(|tally| &tally.whole_per_token),
            )
            .filter(|time| time.p50 > 0.0)
            .map(|time| time.p50.recip()),
            objectives: objectives.collect(),
            goodput_ratio: judged(ALL).good_ratio(),
        }
    }
}

/// The slots of a pair as points of charts.
pub(super) fn points(
    slots: &VecDeque<HistorySlot>,
    began: SystemTime,
    elapsed: Duration,
) -> Vec<SeriesPoint> {
    let first = (number(elapsed) + 1).saturating_sub(SLOTS);
    let start_of = |number: u64| SLOT.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
    let kept = slots.iter().filter(|slot| slot.number >= first);
    let point = |slot: &HistorySlot| {
        let length = elapsed.saturating_sub(start_of(slot.number)).clamp(Duration::from_secs(1), SLOT);
        SeriesPoint::of(Time(began + start_of(slot.number)), length, &slot.tally)
    };
    kept.map(point).collect()
}

fn objective(slo: &Objective, judged: JudgedCounts) -> ObjectiveView {
    let below = slo.bound.and_then(Bound::below);
    let good_ratio = judged.good_ratio();
    ObjectiveView {
        slo: Arc::clone(&slo.name),
        metric: slo.metric.name(),
        step: slo.step.clone(),
        below: below.map(|(time, _)| time),
        below_per_input_token: below.and_then(|(_, per_token)| per_token),
        above: slo.bound.and_then(Bound::above),
        objective_ratio: slo.objective,
        events: judged.events,
        errors: judged.errors,
        good_ratio,
        met: good_ratio.map(|ratio| ratio >= slo.objective),
    }
}
