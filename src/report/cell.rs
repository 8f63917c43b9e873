//! What is summed up of one stage, of a part of it, and of all of them together.

use super::view::{Journeys, Objective, Quantiles, Stage, Throughput, Tokens};
use crate::event::{Journey, Outcome, Request, Source};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The longest time that a distribution tells apart; longer ones count as this.
const LONGEST: Duration = Duration::from_hours(24);

/// A distribution of times: three significant digits, from a microsecond to a day, in at most 0.3 MB.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Times {
    pub(super) fn record(&mut self, time: Duration) {
        if self.0.is_none() {
            // Three digits are within the library's limits.
            self.0 = Histogram::new(3).ok();
        }
        let micros = u64::try_from(time.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            // It grows by itself up to `LONGEST`.
            let _ = histogram.record(micros);
        }
    }

    fn record_seconds(&mut self, seconds: f64) {
        if let Ok(time) = Duration::try_from_secs_f64(seconds) {
            self.record(time);
        }
    }

    fn add(&mut self, other: &Self) {
        let Some(theirs) = &other.0 else { return };
        match &mut self.0 {
            // Both grow by themselves and have the same digits.
            Some(ours) => drop(ours.add(theirs)),
            None => self.0 = Some(theirs.clone()),
        }
    }

    /// Absent where nothing was recorded.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        Some(Quantiles {
            count: histogram.len(),
            p50: seconds(histogram.value_at_quantile(0.5)),
            p95: seconds(histogram.value_at_quantile(0.95)),
            p99: seconds(histogram.value_at_quantile(0.99)),
            max: seconds(histogram.max()),
        })
    }
}

/// What an objective came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slo {
    events: u64,
    errors: u64,
}

impl Slo {
    pub(super) fn judge(&mut self, met: bool) {
        self.events += 1;
        self.errors += u64::from(!met);
    }

    pub(super) fn view(self, name: &Arc<str>, objective: Option<f64>) -> Objective {
        let ratio = ratio(self.events - self.errors, self.events);
        let met = objective.zip(ratio).map(|(objective, ratio)| ratio >= objective);
        Objective { name: Arc::clone(name), events: self.events, errors: self.errors, ratio, objective, met }
    }
}

/// What sums are of; empty where they are of more than one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name<'a> {
    pub(super) stage: &'a str,
    pub(super) step: &'a str,
    pub(super) turn: &'a str,
}

/// The sums of a stage, or of a part of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) offered: u64,
    pub(super) skipped: BTreeMap<&'static str, u64>,
    pub(super) active: Duration,
    outcomes: HashMap<Outcome, u64>,
    warm_up_requests: u64,
    first_token: Times,
    chunk_gap: Times,
    per_token: Times,
    duration: Times,
    response_time: Times,
    dispatch_lag: Times,
    input: BTreeMap<&'static str, u64>,
    output: BTreeMap<&'static str, u64>,
    cached_input: u64,
    reasoning: u64,
    cost: Option<f64>,
    failed_checks: BTreeMap<Arc<str>, u64>,
    /// Requests that ended, warm-up included.
    ended: u64,
}

/// The sums of a stage's journeys.
#[derive(Clone, Debug, Default)]
pub(super) struct JourneyCell {
    outcomes: HashMap<Outcome, u64>,
    duration: Times,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<f64>,
}

impl JourneyCell {
    /// Warm-up is left out.
    pub(super) fn ended(&mut self, journey: &Journey) {
        if journey.warm_up {
            return;
        }
        *self.outcomes.entry(journey.outcome).or_default() += 1;
        if journey.outcome.is_answered() {
            self.duration.record(journey.duration);
        }
        self.input_tokens += journey.input_tokens;
        self.output_tokens += journey.output_tokens;
        if let Some(cost) = journey.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
    }

    /// Adds another stage's.
    pub(super) fn add(&mut self, other: &Self) {
        for (outcome, n) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += n;
        }
        self.duration.add(&other.duration);
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        if let Some(cost) = other.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
    }

    pub(super) fn view(&self) -> Journeys {
        let ended: u64 = self.outcomes.values().sum();
        let per_journey = |value: f64| (ended > 0).then(|| value / ended as f64);
        Journeys {
            ended,
            outcomes: by_outcome(&self.outcomes),
            duration_seconds: self.duration.quantiles(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost: self.cost,
            input_tokens_per_journey: per_journey(self.input_tokens as f64),
            output_tokens_per_journey: per_journey(self.output_tokens as f64),
            cost_per_journey: self.cost.and_then(per_journey),
        }
    }
}

/// Those that came, in the order of the documentation.
fn by_outcome(counts: &HashMap<Outcome, u64>) -> BTreeMap<&'static str, u64> {
    Outcome::all().filter_map(|outcome| Some((outcome.label(), *counts.get(&outcome)?))).collect()
}

/// What throughput is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    input: u64,
    output: u64,
    requests: u64,
    active: Duration,
}

impl Load {
    /// Of nothing, while load was offered for this long.
    pub(super) fn during(active: Duration) -> Self {
        Self { active, ..Self::default() }
    }

    /// Adds another stage's, or a part's, whose time is none.
    pub(super) fn add(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.requests += other.requests;
        self.active += other.active;
    }

    fn throughput(self) -> Option<Throughput> {
        let seconds = self.active.as_secs_f64();
        (seconds > 0.0).then(|| Throughput {
            load_active_seconds: seconds,
            requests_per_second: self.requests as f64 / seconds,
            input_tokens_per_second: self.input as f64 / seconds,
            output_tokens_per_second: self.output as f64 / seconds,
        })
    }
}

impl Cell {
    pub(super) fn ended(&mut self, request: &Request) {
        self.spend(request);
        if request.warm_up {
            self.warm_up_requests += 1;
            return;
        }
        *self.outcomes.entry(request.outcome).or_default() += 1;
        for check in &request.failed_checks {
            *self.failed_checks.entry(Arc::clone(check)).or_default() += 1;
        }
        if request.observed.marks.sent.is_some() {
            self.dispatch_lag.record(request.observed.marks.dispatch_lag());
        }
        if !request.outcome.is_answered() {
            return;
        }
        self.duration.record(request.observed.marks.duration());
        self.response_time.record(request.observed.marks.response_time());
        if request.observed.streamed {
            if let Some(time) = request.observed.marks.time_to_first_token() {
                self.first_token.record(time);
            }
            for gap in request.observed.gaps.as_slice() {
                self.chunk_gap.record(*gap);
            }
            if let Some(seconds) = request.observed.time_per_output_token() {
                self.per_token.record_seconds(seconds);
            }
        }
    }

    fn spend(&mut self, request: &Request) {
        let tokens = &request.observed.tokens;
        for (count, sums) in [(tokens.input, &mut self.input), (tokens.output, &mut self.output)] {
            if let Some(count) = count {
                *sums.entry(Source::label(count.source)).or_default() += count.n;
            }
        }
        self.cached_input += tokens.cached_input.unwrap_or(0);
        self.reasoning += tokens.reasoning.unwrap_or(0);
        if let Some(cost) = request.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
        self.ended += 1;
    }

    /// Something happened in it.
    pub(super) fn is_used(&self) -> bool {
        self.offered + self.ended > 0
    }

    /// Adds a stage to the total, or a part to its stage, but for its load: a total may leave warm-ups out of that.
    pub(super) fn add(&mut self, stage: &Self) {
        self.offered += stage.offered;
        add_all(&mut self.skipped, &stage.skipped);
        for (outcome, n) in &stage.outcomes {
            *self.outcomes.entry(*outcome).or_default() += n;
        }
        self.warm_up_requests += stage.warm_up_requests;
        self.first_token.add(&stage.first_token);
        self.chunk_gap.add(&stage.chunk_gap);
        self.per_token.add(&stage.per_token);
        self.duration.add(&stage.duration);
        self.response_time.add(&stage.response_time);
        self.dispatch_lag.add(&stage.dispatch_lag);
        add_all(&mut self.input, &stage.input);
        add_all(&mut self.output, &stage.output);
        self.cached_input += stage.cached_input;
        self.reasoning += stage.reasoning;
        if let Some(cost) = stage.cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
        for (check, n) in &stage.failed_checks {
            *self.failed_checks.entry(Arc::clone(check)).or_default() += n;
        }
    }

    /// What its throughput is made of.
    pub(super) fn load(&self) -> Load {
        Load {
            input: self.input.values().sum(),
            output: self.output.values().sum(),
            requests: self.ended,
            active: self.active,
        }
    }

    pub(super) fn view(&self, name: Name<'_>, warm_up: bool, load: Load) -> Stage {
        let judged = self.outcomes.iter().filter(|(outcome, _)| outcome.judges_target());
        let judged: u64 = judged.map(|(_, n)| n).sum();
        let ok = self.outcomes.get(&Outcome::Ok).copied().unwrap_or(0);
        Stage {
            stage: name.stage.into(),
            step: name.step.into(),
            turn: name.turn.into(),
            warm_up,
            offered: self.offered,
            skipped: self.skipped.clone(),
            requests: by_outcome(&self.outcomes),
            failed_checks: self.failed_checks.clone(),
            warm_up_requests: self.warm_up_requests,
            availability: ratio(ok, judged),
            time_to_first_token_seconds: self.first_token.quantiles(),
            chunk_gap_seconds: self.chunk_gap.quantiles(),
            time_per_output_token_seconds: self.per_token.quantiles(),
            request_duration_seconds: self.duration.quantiles(),
            response_time_seconds: self.response_time.quantiles(),
            dispatch_lag_seconds: self.dispatch_lag.quantiles(),
            tokens: Tokens {
                input: self.input.clone(),
                output: self.output.clone(),
                cached_input: self.cached_input,
                reasoning: self.reasoning,
            },
            throughput: load.throughput(),
            cost: self.cost,
            journeys: None,
            parts: Vec::new(),
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn add_all(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (key, n) in more {
        *sums.entry(key).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trap_21_quantiles_of_nothing_are_absent() {
        assert_eq!(Times::default().quantiles(), None);
        let mut times = Times::default();
        times.add(&Times::default());
        times.record_seconds(f64::NAN);
        times.record_seconds(-1.0);
        assert_eq!(times.quantiles(), None);
        assert!(Slo::default().view(&"x".into(), Some(0.99)).ratio.is_none());
    }

    #[test]
    fn trap_20_a_distribution_stays_small() {
        let mut times = Times::default();
        times.record(Duration::MAX);
        times.record(Duration::ZERO);
        let histogram = times.0.as_ref().unwrap();
        assert!(histogram.distinct_values() * size_of::<u64>() < 300_000, "{}", histogram.distinct_values());
        let quantiles = times.quantiles().unwrap();
        assert!((quantiles.max / LONGEST.as_secs_f64() - 1.0).abs() < 0.001);
    }

    proptest! {
        /// Quantiles are within a tenth of a per cent of the exact ones, merged or not.
        #[test]
        fn quantiles_are_right_to_three_digits(micros in prop::collection::vec(1_u64..1_000_000_000, 1..200)) {
            let (mut left, mut right) = (Times::default(), Times::default());
            for (n, value) in micros.iter().enumerate() {
                let half = if n % 2 == 0 { &mut left } else { &mut right };
                half.record(Duration::from_micros(*value));
            }
            left.add(&right);
            let quantiles = left.quantiles().unwrap();
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            // The smallest value that at least q of all values do not exceed.
            let exact = |q: f64| {
                let rank = (q * sorted.len() as f64).ceil().max(1.0);
                let below = sorted.iter().enumerate().find(|(index, _)| (*index + 1) as f64 >= rank);
                Duration::from_micros(*below.unwrap().1).as_secs_f64()
            };
            prop_assert_eq!(quantiles.count, micros.len() as u64);
            for (q, got) in [(0.5, quantiles.p50), (0.95, quantiles.p95), (0.99, quantiles.p99)] {
                prop_assert!((got / exact(q) - 1.0).abs() <= 0.001 + 1e-9, "{} is {got}, not {}", q, exact(q));
            }
        }
    }
}
