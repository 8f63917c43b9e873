//! Presents totals: of a stage, of a part of it, and of all stages together.

use super::view::{
    DeadlineSummary, DistributionSummary, JourneySummary, ObjectiveResult, StageReport, Throughput,
    TokenSummary,
};
use crate::tally::{self, JudgedCounts, Spent, ratio};
use enum_map::{Enum, EnumMap};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Times with three significant digits.
pub(super) type ReportTimes = tally::Times<3>;

/// Requests in a report.
pub(super) type ReportTally = tally::Tally<ReportTimes>;

/// Journeys in a report.
pub(super) type ReportJourneyTally = tally::JourneyTally<ReportTimes>;

/// What totals refer to; a field is empty if they cover more than one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name<'a> {
    pub(super) stage: &'a str,
    pub(super) step: &'a str,
    pub(super) turn: &'a str,
}

/// The inputs to throughput.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    input: u64,
    output: u64,
    requests: u64,
    active: Duration,
}

impl Load {
    /// The work in these totals, and the time during which load was offered.
    pub(super) fn of(tally: &ReportTally) -> Self {
        Self {
            input: tally.spent.input_tokens(),
            output: tally.spent.output_tokens(),
            requests: tally.all_ended().total(),
            active: tally.load_active,
        }
    }

    /// No work, but load offered for this long.
    pub(super) fn during(active: Duration) -> Self {
        Self { active, ..Self::default() }
    }

    /// Adds the load of another stage, or of a part (whose time is zero).
    pub(super) fn add(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.requests += other.requests;
        self.active += other.active;
    }

    /// The same work in this part of the time.
    pub(super) fn within(self, part: f64) -> Self {
        Self { active: part_of(self.active, part), ..self }
    }

    fn throughput(self) -> Option<Throughput> {
        let seconds = self.active.as_secs_f64();
        // One request has no rate: how often it would come is not known.
        (seconds > 0.0 && self.requests != 1).then(|| Throughput {
            load_active_seconds: seconds,
            requests_per_second: self.requests as f64 / seconds,
            input_tokens_per_second: self.input as f64 / seconds,
            output_tokens_per_second: self.output as f64 / seconds,
        })
    }
}

/// A part, from 0 to 1, of a time.
pub(super) fn part_of(time: Duration, part: f64) -> Duration {
    if part < 1.0 { time.mul_f64(part.max(0.0)) } else { time }
}

/// Whether there were any requests.
pub(super) fn is_used(tally: &ReportTally) -> bool {
    tally.offered.measured + tally.all_ended().total() > 0
}

/// Presents the totals of a stage or a part of it.
pub(super) fn stage(tally: &ReportTally, name: Name<'_>, warm_up: bool, load: Load) -> StageReport {
    let ended = tally.all_ended();
    StageReport {
        stage: name.stage.into(),
        step: name.step.into(),
        turn: name.turn.into(),
        warm_up,
        offered: tally.offered.measured,
        skipped: present(&tally.skipped, |n| n.measured),
        requests: present(&tally.ended, |n| n.measured),
        failed_checks: tally.failed_checks.clone(),
        warm_up_requests: ended.warm_up,
        availability: tally.availability(),
        time_to_first_token_seconds: DistributionSummary::of(&tally.first_token),
        chunk_gap_seconds: DistributionSummary::clustered(&tally.chunk_gap, tally.longest_gap.count()),
        time_per_output_token_seconds: DistributionSummary::of(&tally.per_token),
        output_pace_p50_tokens_per_second: pace(tally),
        stalls: tally.stalls,
        token_deadlines: deadlines(tally),
        reader_idle_seconds: DistributionSummary::of(&tally.reader_idle),
        request_duration_seconds: DistributionSummary::of(&tally.duration),
        response_time_seconds: DistributionSummary::of(&tally.response_time),
        dispatch_lag_seconds: DistributionSummary::of(&tally.dispatch_lag),
        tokens: tokens(&tally.spent),
        throughput: load.throughput(),
        cost: tally.spent.cost,
        journeys: None,
        parts: Vec::new(),
    }
}

fn pace(tally: &ReportTally) -> Option<f64> {
    let seconds = tally.whole_per_token.quantile(0.5)?.as_secs_f64();
    (seconds > 0.0).then(|| seconds.recip())
}

fn deadlines(tally: &ReportTally) -> Option<DeadlineSummary> {
    let (all, missed) = (tally.token_deadlines, tally.token_deadlines_missed);
    Some(DeadlineSummary { all, missed, met_ratio: ratio(all - missed, all)? })
}

pub(super) fn journeys(tally: &ReportJourneyTally) -> JourneySummary {
    let ended: u64 = tally.ended.values().sum();
    let per_journey = |value: f64| (ended > 0).then(|| value / ended as f64);
    JourneySummary {
        ended,
        outcomes: present(&tally.ended, |n| n),
        duration_seconds: DistributionSummary::of(&tally.duration),
        input_tokens: tally.input_tokens,
        output_tokens: tally.output_tokens,
        cost: tally.cost,
        input_tokens_per_journey: per_journey(tally.input_tokens as f64),
        output_tokens_per_journey: per_journey(tally.output_tokens as f64),
        cost_per_journey: tally.cost.and_then(per_journey),
    }
}

/// Presents how often an objective was met.
pub(super) fn objective(name: &Arc<str>, judged: JudgedCounts, objective: Option<f64>) -> ObjectiveResult {
    let ratio = judged.good_ratio();
    let met = objective.zip(ratio).map(|(objective, ratio)| ratio >= objective);
    let JudgedCounts { events, errors } = judged;
    ObjectiveResult { name: Arc::clone(name), events, errors, ratio, objective, met }
}

fn tokens(spent: &Spent) -> TokenSummary {
    TokenSummary {
        input: present(&spent.input, |n| n),
        output: present(&spent.output, |n| n),
        cached_input: spent.cached_input,
        reasoning: spent.reasoning,
    }
}

/// The non-zero counts, by label.
fn present<K, V: Copy>(counts: &EnumMap<K, V>, count: impl Fn(V) -> u64) -> BTreeMap<&'static str, u64>
where
    K: Enum + Into<&'static str>,
{
    let counts = counts.iter().map(|(key, n)| (key.into(), count(*n)));
    counts.filter(|(_, n)| *n > 0).collect()
}
