//! Totals of requests and journeys: one set of rules for the status page, reports and run records. This module must
//! know neither who uses the totals nor over which period.
//!
//! Latency covers only answers that completed. A warm-up counts in tokens and cost; its requests are counted
//! separately.

mod distribution;
mod quantity;
mod sample;
mod saved;

pub use distribution::{Distribution, Times};
pub use quantity::RequestValues;
pub use sample::{PooledSample, Sample};

use crate::event::{CountSource, Journey, Outcome, Request, SkipReason};
use enum_map::EnumMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A number of requests, with those of warm-ups counted separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Outside of warm-ups.
    pub measured: u64,
    /// In warm-ups.
    pub warm_up: u64,
}

impl Split {
    fn count(&mut self, warm_up: bool) {
        if warm_up {
            self.warm_up += 1;
        } else {
            self.measured += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.measured += other.measured;
        self.warm_up += other.warm_up;
    }

    /// The sum of both.
    pub fn total(self) -> u64 {
        self.measured + self.warm_up
    }
}

/// How often an objective was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JudgedCounts {
    /// Number of requests or journeys judged.
    pub events: u64,
    /// Number of these that missed the objective.
    pub errors: u64,
}

impl JudgedCounts {
    fn count(&mut self, met: bool) {
        self.events += 1;
        self.errors += u64::from(!met);
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.errors += other.errors;
    }

    /// Share of requests that met it; `None` if there are none.
    pub fn good_ratio(self) -> Option<f64> {
        ratio(self.events - self.errors, self.events)
    }
}

/// Tokens and cost of everything that was sent, including failed requests and warm-ups, as far as known.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// Input tokens, by the source of the count.
    pub input: EnumMap<CountSource, u64>,
    /// Output tokens, by the source of the count.
    pub output: EnumMap<CountSource, u64>,
    /// Part of the input that came from a cache.
    pub cached_input: u64,
    /// Part of the output that was reasoning.
    pub reasoning: u64,
    /// The cost; absent without a price.
    pub cost: Option<f64>,
}

/// Totals of the requests of a place, a stage, a run or a period; `D` determines how times are stored.
#[derive(Clone, Debug, Default)]
pub struct Tally<D> {
    /// Requests offered.
    pub offered: Split,
    /// Offered requests that were not sent.
    pub skipped: EnumMap<SkipReason, Split>,
    /// Offered requests that ended.
    pub ended: EnumMap<Outcome, Split>,
    /// How long load was offered.
    pub load_active: Duration,
    /// Time to first token, from the send, of streamed answers that completed.
    pub first_token: D,
    /// Every gap of streamed answers that completed.
    pub chunk_gap: D,
    /// The longest gap of each streamed answer that completed.
    pub longest_gap: D,
    /// Time per output token of streamed answers that completed.
    pub per_token: D,
    /// Time of the whole request per output token, of answers that completed: the inverse of the output pace.
    pub whole_per_token: D,
    /// Gaps of streamed answers above the stall threshold, also of those that failed.
    pub stalls: u64,
    /// Deadlines of tokens, met or missed.
    pub token_deadlines: u64,
    /// Deadlines of tokens that were missed.
    pub token_deadlines_missed: u64,
    /// Time in which the reader of a streamed answer that completed had nothing to read.
    pub reader_idle: D,
    /// Time from the send, of answers that completed.
    pub duration: D,
    /// Time from the due instant, of answers that completed.
    pub response_time: D,
    /// The prober's own lag, for requests that were sent.
    pub dispatch_lag: D,
    /// Tokens and cost.
    pub spent: Spent,
    /// Failed checks by name; an answer can fail several.
    pub failed_checks: BTreeMap<Arc<str>, u64>,
    /// Verdicts by objective; `all` is goodput.
    pub judged: BTreeMap<Arc<str>, JudgedCounts>,
}

/// The numbers of a run; times are accurate to within one percent.
pub type RunTally = Tally<Times<2>>;

/// Totals of the journeys of a stage, excluding warm-up.
#[derive(Clone, Debug, Default)]
pub struct JourneyTally<D> {
    /// Journeys that ended.
    pub ended: EnumMap<Outcome, u64>,
    /// How long users waited, for journeys that completed.
    pub duration: D,
    /// Input tokens of all their requests, as far as known.
    pub input_tokens: u64,
    /// Output tokens of all their requests, as far as known.
    pub output_tokens: u64,
    /// The cost; absent without a price.
    pub cost: Option<f64>,
}

impl<D: Distribution> Tally<D> {
    /// Counts a request that was offered.
    pub fn offered(&mut self, warm_up: bool) {
        self.offered.count(warm_up);
    }

    /// Counts an offered request that was not sent.
    pub fn skipped(&mut self, warm_up: bool, reason: SkipReason) {
        self.skipped[reason].count(warm_up);
    }

    /// Adds time during which load was offered.
    pub fn load_active(&mut self, time: Duration) {
        self.load_active += time;
    }

    /// Counts a request that has ended.
    pub fn ended(&mut self, request: &Request) {
        self.spent.take(request);
        self.ended[request.outcome].count(request.warm_up);
        if request.warm_up {
            return;
        }
        for check in &request.failed_checks {
            *self.failed_checks.entry(Arc::clone(check)).or_default() += 1;
        }
        for verdict in &request.verdicts {
            self.judged.entry(Arc::clone(&verdict.slo)).or_default().count(verdict.met);
        }
        if request.observed.streamed {
            self.stalls += request.stalls;
        }
        if let Some(deadlines) = request.token_deadlines {
            self.token_deadlines += deadlines.all;
            self.token_deadlines_missed += deadlines.missed;
        }
        let marks = &request.observed.marks;
        if marks.sent.is_some() {
            self.dispatch_lag.record(marks.dispatch_lag());
        }
        if request.outcome.is_answered() {
            self.duration.record(marks.duration());
            self.response_time.record(marks.response_time());
            let pace = request.observed.output_pace().map(|pace| Duration::try_from_secs_f64(pace.recip()));
            if let Some(Ok(time)) = pace {
                self.whole_per_token.record(time);
            }
            if request.observed.streamed {
                self.streamed(request);
            }
        }
    }

    /// Counts how a journey that has ended was judged.
    pub fn journey_ended(&mut self, journey: &Journey) {
        for verdict in &journey.verdicts {
            self.judged.entry(Arc::clone(&verdict.slo)).or_default().count(verdict.met);
        }
    }

    fn streamed(&mut self, request: &Request) {
        let observed = &request.observed;
        if let Some(time) = observed.marks.time_to_first_token() {
            self.first_token.record(time);
        }
        for gap in observed.gaps.iter() {
            self.chunk_gap.record(gap);
        }
        if let Some(longest) = observed.gaps.longest() {
            self.longest_gap.record(longest);
        }
        if let Some(deadlines) = request.token_deadlines {
            self.reader_idle.record(deadlines.reader_idle);
        }
        // A value that is not a valid duration is ignored.
        let per_token = observed.time_per_output_token().map(Duration::try_from_secs_f64);
        if let Some(Ok(time)) = per_token {
            self.per_token.record(time);
        }
    }
}

impl<const DIGITS: u8> Tally<Times<DIGITS>> {
    /// Adds the totals of another.
    pub fn add(&mut self, other: &Self) {
        self.offered.add(other.offered);
        other.skipped.iter().for_each(|(reason, n)| self.skipped[reason].add(*n));
        other.ended.iter().for_each(|(outcome, n)| self.ended[outcome].add(*n));
        self.load_active += other.load_active;
        self.stalls += other.stalls;
        self.token_deadlines += other.token_deadlines;
        self.token_deadlines_missed += other.token_deadlines_missed;
        for (ours, theirs) in [
            (&mut self.first_token, &other.first_token),
            (&mut self.chunk_gap, &other.chunk_gap),
            (&mut self.longest_gap, &other.longest_gap),
            (&mut self.per_token, &other.per_token),
            (&mut self.whole_per_token, &other.whole_per_token),
            (&mut self.reader_idle, &other.reader_idle),
            (&mut self.duration, &other.duration),
            (&mut self.response_time, &other.response_time),
            (&mut self.dispatch_lag, &other.dispatch_lag),
        ] {
            ours.add(theirs);
        }
        self.spent.add(&other.spent);
        for (check, n) in &other.failed_checks {
            *self.failed_checks.entry(Arc::clone(check)).or_default() += n;
        }
        for (slo, judged) in &other.judged {
            self.judged.entry(Arc::clone(slo)).or_default().add(*judged);
        }
    }
}

impl<D> Tally<D> {
    /// Requests that ended, in and outside of warm-ups.
    pub fn all_ended(&self) -> Split {
        self.ended.values().fold(Split::default(), |mut sum, n| {
            sum.add(*n);
            sum
        })
    }

    /// Requests that were not sent, in and outside of warm-ups.
    pub fn all_skipped(&self) -> Split {
        self.skipped.values().fold(Split::default(), |mut sum, n| {
            sum.add(*n);
            sum
        })
    }

    /// Measured requests that were `ok`.
    pub fn ok(&self) -> u64 {
        self.ended[Outcome::Ok].measured
    }

    /// Measured requests that failed because of the target.
    pub fn failed(&self) -> u64 {
        self.judging() - self.ok()
    }

    /// Measured requests that ended and say nothing about the target.
    pub fn not_judged(&self) -> u64 {
        self.all_ended().measured - self.judging()
    }

    /// Share of `ok` among the measured requests that say something about the target; `None` if there are
    /// none.
    pub fn availability(&self) -> Option<f64> {
        ratio(self.ok(), self.judging())
    }

    fn judging(&self) -> u64 {
        self.ended.iter().filter(|(outcome, _)| outcome.judges_target()).map(|(_, n)| n.measured).sum()
    }
}

impl Spent {
    fn take(&mut self, request: &Request) {
        let tokens = &request.observed.tokens;
        if let Some(count) = tokens.input {
            self.input[count.source] += count.n;
        }
        if let Some(count) = tokens.output {
            self.output[count.source] += count.n;
        }
        self.cached_input += tokens.cached_input.unwrap_or(0);
        self.reasoning += tokens.reasoning.unwrap_or(0);
        add_cost(&mut self.cost, request.cost);
    }

    fn add(&mut self, other: &Self) {
        other.input.iter().for_each(|(source, n)| self.input[source] += n);
        other.output.iter().for_each(|(source, n)| self.output[source] += n);
        self.cached_input += other.cached_input;
        self.reasoning += other.reasoning;
        add_cost(&mut self.cost, other.cost);
    }

    /// Input tokens, from all sources.
    pub fn input_tokens(&self) -> u64 {
        self.input.values().sum()
    }

    /// Output tokens, from all sources.
    pub fn output_tokens(&self) -> u64 {
        self.output.values().sum()
    }
}

impl<D: Distribution> JourneyTally<D> {
    /// Counts a journey that has ended.
    pub fn take(&mut self, journey: &Journey) {
        if journey.warm_up {
            return;
        }
        self.ended[journey.outcome] += 1;
        if journey.outcome.is_answered() {
            self.duration.record(journey.duration);
        }
        self.input_tokens += journey.input_tokens;
        self.output_tokens += journey.output_tokens;
        add_cost(&mut self.cost, journey.cost);
    }
}

impl<const DIGITS: u8> JourneyTally<Times<DIGITS>> {
    /// Adds the totals of another.
    pub fn add(&mut self, other: &Self) {
        other.ended.iter().for_each(|(outcome, n)| self.ended[outcome] += n);
        self.duration.add(&other.duration);
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        add_cost(&mut self.cost, other.cost);
    }
}

fn add_cost(sum: &mut Option<f64>, cost: Option<f64>) {
    if let Some(cost) = cost {
        *sum.get_or_insert(0.0) += cost;
    }
}

/// `part` divided by `whole`; `None` if `whole` is zero.
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests;
