//! Forecasts what a plan will do in a day: runs, requests, tokens, cost. Pure; the current time is passed in.
//!
//! A day is the mean of the next seven, so that windows and cron expressions by weekday are weighted. Budgets are not
//! applied: the forecast tells what they would have to allow, and the outlook how long they would last.

mod conversation;
mod journey;
mod model_call;
mod open_times;
mod outlook;
mod starts;

pub use model_call::{InputTokens, TokenCounter};
pub use outlook::{Outlook, outlooks};

use super::{Arrivals, LoadCurve, PairPlan, Plan, Price, Profile, Scenario, Schedule, Stage, StageBounds};
use super::{Trigger, evenly_spread, next_occurrence, run_time};
use crate::event::Pair;
use jiff::{SignedDuration, Timestamp};
use open_times::OpenTimes;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// Number of days considered.
const DAYS: f64 = 7.0;
/// The same time.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Maximum number of cron runs counted one by one; the remaining days are assumed to be like those before.
const MAX_COUNTED: u32 = 20_000;

/// An amount and its certainty, in descending order of certainty.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Amount {
    /// It follows from the config, except for rounding at the ends of stages and days.
    Exact(f64),
    /// The mean of a random quantity.
    About(f64),
    /// An upper bound. If random draws are involved, it holds for the mean of many days.
    AtMost(f64),
    /// It depends on how fast the target answers, or how much.
    Unknown,
}

impl Amount {
    /// Zero, exactly.
    pub const ZERO: Self = Self::Exact(0.0);

    /// The number, if there is one.
    pub const fn value(self) -> Option<f64> {
        match self {
            Self::Exact(value) | Self::About(value) | Self::AtMost(value) => Some(value),
            Self::Unknown => None,
        }
    }

    /// Multiplies two amounts; the result is as certain as the less certain of the two.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        // Zero times anything is zero, however uncertain the other factor.
        if self.value() == Some(0.0) || other.value() == Some(0.0) {
            return Self::ZERO;
        }
        self.combine(other, |a, b| a * b)
    }

    /// The same number, marked as a bound.
    #[must_use]
    pub const fn at_most(self) -> Self {
        match self {
            Self::Exact(value) | Self::About(value) | Self::AtMost(value) => Self::AtMost(value),
            Self::Unknown => Self::Unknown,
        }
    }

    /// Assumes that a bound is reached.
    const fn expected(self) -> Self {
        match self {
            Self::AtMost(value) => Self::About(value),
            other => other,
        }
    }

    fn combine(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        let (Some(a), Some(b)) = (self.value(), other.value()) else { return Self::Unknown };
        let value = with(a, b);
        match (self, other) {
            (Self::Exact(_), Self::Exact(_)) => Self::Exact(value),
            (Self::AtMost(_), _) | (_, Self::AtMost(_)) => Self::AtMost(value),
            _ => Self::About(value),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.combine(other, |a, b| a + b)
    }
}

/// Prints `288`, `about 288`, `at most 288` or `unknown`; a precision (`{:.2}`) applies to the number.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(0);
        match self {
            Self::Exact(value) => write!(f, "{value:.precision$}"),
            Self::About(value) => write!(f, "about {value:.precision$}"),
            Self::AtMost(value) => write!(f, "at most {value:.precision$}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// What a plan will do.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Each profile with each of its targets.
    pub pairs: Vec<PairForecast>,
    /// All pairs together.
    pub total: Daily,
}

/// The forecast of a profile with one of its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct PairForecast {
    /// The pair.
    pub pair: Pair,
    /// Per run; of a target whose replicas are discovered, per run of one of them.
    pub run: Estimate,
    /// How many replicas there may be, each with runs of its own, if they are discovered.
    pub replicas: Option<usize>,
    /// What the budgets must have left before a run starts: the requests of one journey, and the tokens of its largest
    /// request; if there are several prompts, with the shortest one.
    pub least: ForecastUsage,
    /// Per day. Of a target whose replicas are discovered: for as many of them as there may be.
    pub daily: Daily,
    /// The source of the expected number of input tokens.
    pub input_tokens: InputTokens,
}

/// Amounts per day, warm-up included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Daily {
    /// Runs; manual runs are not included.
    pub runs: Amount,
    /// Journeys of scenarios, at most, also those that fail; `None` without a scenario.
    pub journeys: Option<Amount>,
    /// The usage of these runs.
    pub takes: Estimate,
}

/// The maximum and the expected usage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The maximum, as far as the config limits it.
    pub most: ForecastUsage,
    /// The usage if all answers have their maximum length and none fails. An upper bound if it depends on how fast the
    /// target answers.
    pub expected: ForecastUsage,
}

/// Requests, tokens and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastUsage {
    /// Requests. For a scenario, those of its journeys and set-ups.
    pub requests: Amount,
    /// Input tokens. Maximum: one token for each byte of the longest prompt and of the parameters (tools are part of
    /// the prompt), plus what a chat template adds; no tokenizer makes more. Expected: the tokens of the mean prompt by
    /// the target's tokenizer, or else one for every four bytes, as for English text. For an HTTP step: what it
    /// reserves.
    pub input_tokens: Amount,
    /// Output tokens: the limit of every answer, or what an HTTP step reserves. The actual length is up to the model.
    pub output_tokens: Amount,
    /// The cost of these tokens in the agent's currency; `None` without a price. In a total, only targets with a price
    /// count.
    pub cost: Option<Amount>,
}

/// The sum, or the only one that is known.
fn sum(one: Option<Amount>, other: Option<Amount>) -> Option<Amount> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

impl Daily {
    /// The same for so many replicas, which may be fewer.
    fn at_most(self, replicas: usize) -> Self {
        let times = |amount: Amount| amount.times(Amount::Exact(replicas as f64)).at_most();
        let usage = |usage: ForecastUsage| ForecastUsage {
            requests: times(usage.requests),
            input_tokens: times(usage.input_tokens),
            output_tokens: times(usage.output_tokens),
            cost: usage.cost.map(times),
        };
        let Self { runs, journeys, takes: Estimate { most, expected } } = self;
        let takes = Estimate { most: usage(most), expected: usage(expected) };
        Self { runs: times(runs), journeys: journeys.map(times), takes }
    }
}

impl Add for Daily {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            journeys: sum(self.journeys, other.journeys),
            takes: self.takes + other.takes,
        }
    }
}

impl Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { most: self.most + other.most, expected: self.expected + other.expected }
    }
}

impl ForecastUsage {
    const NOTHING: Self =
        Self { requests: Amount::ZERO, input_tokens: Amount::ZERO, output_tokens: Amount::ZERO, cost: None };

    fn times(self, times: Amount) -> Self {
        Self {
            requests: times.times(self.requests),
            input_tokens: times.times(self.input_tokens),
            output_tokens: times.times(self.output_tokens),
            cost: self.cost.map(|cost| times.times(cost)),
        }
    }
}

impl Add for ForecastUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cost: sum(self.cost, other.cost),
        }
    }
}

/// Whether to forecast the maximum or the expected usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum View {
    Most,
    Expected,
}

/// Forecasts what a plan will do from `now` on. `count` counts the tokens of texts for targets with a tokenizer.
pub fn forecast(plan: &Plan, now: Timestamp, count: TokenCounter<'_>) -> Forecast {
    let mut known = HashMap::new();
    let pairs = plan.pairs.iter().map(|pair| {
        let key = starts::ScheduleKey::of(&pair.profile);
        let runs = known.entry(key).or_insert_with(|| ScheduledRuns::of(&pair.profile, now));
        of_pair(pair, runs, count)
    });
    let pairs: Vec<PairForecast> = pairs.collect();
    let nothing = Daily {
        runs: Amount::ZERO,
        journeys: None,
        takes: Estimate { most: ForecastUsage::NOTHING, expected: ForecastUsage::NOTHING },
    };
    let total = pairs.iter().fold(nothing, |total, pair| total + pair.daily);
    Forecast { pairs, total }
}

/// Whether nothing but the speed of the target limits what a stage sends.
pub(super) fn is_unlimited(stage: &Stage, scenario: &Scenario) -> bool {
    let (journeys, _) = journey::of_stage(stage, scenario, View::Most, &[]);
    journeys == Amount::Unknown
}

/// Input and output tokens.
#[derive(Clone, Copy, Debug)]
struct TokenForecast {
    input: Amount,
    output: Amount,
}

impl TokenForecast {
    const ZERO: Self = Self { input: Amount::ZERO, output: Amount::ZERO };

    fn times(self, times: Amount) -> Self {
        Self { input: times.times(self.input), output: times.times(self.output) }
    }
}

impl Add for TokenForecast {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { input: self.input + other.input, output: self.output + other.output }
    }
}

/// The runs of a schedule in the coming week.
struct ScheduledRuns {
    /// When they start, as a sample.
    starts: Vec<Timestamp>,
    /// Their number per day, at most.
    most: Amount,
    /// Their number per day, as expected.
    expected: Amount,
}

impl ScheduledRuns {
    fn of(profile: &Profile, now: Timestamp) -> Self {
        let Profile { schedule, stages, .. } = profile;
        let starts = starts::upcoming(schedule, stages, now);
        let most = runs(schedule, stages, now, View::Most);
        // How long a run takes makes no difference to a cron expression.
        let is_cron = matches!(schedule.trigger, Trigger::Cron(_));
        let expected = if is_cron { most } else { runs(schedule, stages, now, View::Expected) };
        Self { starts, most, expected }
    }
}

fn of_pair(pair: &PairPlan, runs: &ScheduledRuns, count: TokenCounter<'_>) -> PairForecast {
    let [most, expected] =
        [View::Most, View::Expected].map(|view| journey::of_run(pair, view, &runs.starts, count));
    let usage = |run: &journey::RunAmounts| ForecastUsage {
        requests: run.requests,
        input_tokens: run.tokens.input,
        output_tokens: run.tokens.output,
        cost: pair.target.price.map(|price| cost(price, run.tokens)),
    };
    let run = Estimate { most: usage(&most), expected: usage(&expected) };
    let (requests, tokens) = journey::least(pair);
    let cost = pair.target.price.map(|price| cost(price, tokens));
    let least = ForecastUsage { requests, input_tokens: tokens.input, output_tokens: tokens.output, cost };
    let daily = Daily {
        runs: runs.most,
        journeys: pair.profile.scenario.journeys.then(|| runs.most.times(most.journeys)),
        takes: Estimate { most: run.most.times(runs.most), expected: run.expected.times(runs.expected) },
    };
    let replicas = pair.most_replicas();
    let daily = match replicas {
        Some(most) => daily.at_most(most),
        None => daily,
    };
    PairForecast { pair: pair.pair.clone(), run, replicas, least, daily, input_tokens: expected.input_tokens }
}

fn cost(price: Price, tokens: TokenForecast) -> Amount {
    let million = |tokens: Amount, price: f64| tokens.times(Amount::Exact(price / 1e6));
    // A cached token can cost more than a fresh one if a provider charges for writing its cache.
    million(tokens.input, price.input.max(price.cached_input())) + million(tokens.output, price.output)
}

/// What follows from the integral of a curve over a stage that begins at one of these instants, each as likely as the
/// others. More never follows from less.
fn of_area(
    curve: &LoadCurve,
    time: Duration,
    starts: &[Timestamp],
    view: View,
    follows: impl Fn(f64) -> f64,
) -> Amount {
    let Some(mean) = curve.mean_of_period() else {
        return Amount::Exact(follows(curve.area(time, Timestamp::UNIX_EPOCH)));
    };
    if view == View::Most {
        return Amount::AtMost(follows(curve.most_area(time)));
    }
    if starts.is_empty() {
        return Amount::About(follows(mean * time.as_secs_f64()));
    }
    let all: f64 = starts.iter().map(|start| follows(curve.area(time, *start))).sum();
    Amount::About(all / starts.len() as f64)
}

/// The number of arrivals in an open loop.
fn arrivals_in(
    rate: &LoadCurve,
    arrivals: &Arrivals,
    bounds: StageBounds,
    starts: &[Timestamp],
    view: View,
) -> Amount {
    let expected = |area| if *arrivals == Arrivals::Constant { evenly_spread(area) } else { area };
    let area = bounds.time.map(|time| of_area(rate, time, starts, view, expected));
    let capped = |area: Amount, cap: u64| area.combine(Amount::Exact(cap as f64), f64::min);
    match (area, bounds.requests, arrivals) {
        (Some(area), None, Arrivals::Constant) => area,
        (Some(area), Some(cap), Arrivals::Constant) => capped(area, cap),
        (Some(area), None, _) => area.combine(Amount::About(0.0), |area, _| area),
        (Some(area), Some(cap), _) if view == View::Expected => {
            capped(area, cap).combine(Amount::About(0.0), |area, _| area)
        }
        (Some(_), Some(cap), _) => Amount::AtMost(cap as f64),
        (None, Some(cap), _) => Amount::Exact(cap as f64),
        (None, None, _) => Amount::Unknown,
    }
}

/// The number of requests (or journeys) in a closed loop. Users ask as fast as they are answered, so only their think
/// time limits them: one request at the start, and one more after each think time. `variance` is that of the think time,
/// in square seconds, where `think` is its mean: short ones come first for some users, so that more of them fit into the
/// time (Lorden's bound of a renewal process).
fn turns_of_users(users: f64, think: Duration, variance: f64, bounds: StageBounds) -> Amount {
    let cap = bounds.requests.map(|cap| cap as f64);
    let by_think = bounds.time.filter(|_| !think.is_zero()).map(|time| {
        let (time, think) = (time.as_secs_f64(), think.as_secs_f64());
        let thoughts = time / think;
        let later = if variance > 0.0 { thoughts + variance / think.powi(2) } else { thoughts.floor() };
        users * (later + 1.0)
    });
    match (bounds.time, cap, by_think) {
        (None, Some(cap), _) => Amount::Exact(cap),
        (_, Some(cap), Some(most)) => Amount::AtMost(cap.min(most)),
        (_, Some(cap), None) => Amount::AtMost(cap),
        (_, None, Some(most)) => Amount::AtMost(most),
        (_, None, None) => Amount::Unknown,
    }
}

/// Runs per day.
fn runs(schedule: &Schedule, stages: &[Stage], now: Timestamp, view: View) -> Amount {
    let by_period = |period: Duration| {
        let runs = 86_400.0 / period.as_secs_f64();
        if schedule.windows.is_empty() {
            Amount::Exact(runs)
        } else {
            let open = OpenTimes::of(schedule, now, end_of_week(now));
            Amount::About(runs * open.share(now, WEEK))
        }
    };
    match (&schedule.trigger, starts::interval(schedule, stages, view)) {
        (Trigger::Manual, _) => Amount::ZERO,
        (Trigger::Cron(cron), _) => cron_runs(schedule, cron, now),
        // At least this time lies between two runs, and any use of the target makes it longer.
        (Trigger::AfterIdle(after), _) => by_period(*after).at_most(),
        (Trigger::Continuous | Trigger::Every { .. }, None) => Amount::Unknown,
        (Trigger::Continuous | Trigger::Every { .. }, Some(interval)) => {
            // A run that takes longer than the interval displaces others.
            let displaced = matches!(schedule.trigger, Trigger::Every { period, .. }
                if run_time(stages).is_some_and(|time| time > period));
            let runs = by_period(interval);
            if displaced && view == View::Most { runs.at_most() } else { runs }
        }
    }
}

/// When the days end that are considered.
fn end_of_week(now: Timestamp) -> Timestamp {
    now.saturating_add(WEEK).unwrap_or(Timestamp::MAX)
}

fn cron_runs(schedule: &Schedule, cron: &croner::Cron, now: Timestamp) -> Amount {
    let mut at = now.to_zoned_datetime(schedule.timezone.clone());
    let end = end_of_week(now);
    let (mut counted, mut runs) = (0_u32, 0.0);
    let open = OpenTimes::of(schedule, now, end);
    while let Some(next) = next_occurrence(cron, &at) {
        if next.timestamp() > end {
            break;
        }
        if open.contains(next.timestamp()) {
            runs += 1.0;
        }
        counted += 1;
        at = next;
        if counted == MAX_COUNTED {
            let time = now.duration_until(at.timestamp());
            let (so_far, all) = (open.share(now, time), open.share(now, WEEK));
            // Where no window has opened yet, as many are assumed as were due outside.
            let of_open = if so_far > 0.0 { runs / so_far } else { f64::from(counted) };
            return Amount::About(of_open * all * 86_400.0 / time.as_secs_f64());
        }
    }
    Amount::Exact(runs / DAYS)
}

/// The maximum number of bytes of a value rendered into a text: rendering may add more blanks and quotes than JSON.
pub(super) fn printed_bytes(value: &Value) -> u64 {
    let bytes = value.as_str().map_or_else(|| 2 * value.to_string().len(), str::len);
    bytes as u64
}

#[cfg(test)]
mod tests;
