//! Forecasts the journeys of a scenario; those of a workload have one request. A journey that fails ends early, and its
//! user starts the next one sooner: expected is that every journey is completed, and the maximum is that of whichever way
//! to end takes the most in the same time.

use super::conversation::{self, ConversationCall};
use super::model_call::{InputTokens, ModelCall, TokenCounter};
use super::{Amount, TokenForecast, View, arrivals_in, of_area, turns_of_users};
use crate::plan::{
    ConversationTexts, HttpStep, PairPlan, Scenario, Shape, Stage, StageBounds, Step, StepAction, Think,
    TraceReplay,
};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What a run offers.
pub(super) struct RunAmounts {
    /// Number of journeys.
    pub(super) journeys: Amount,
    /// Number of their requests, and of those of the set-ups.
    pub(super) requests: Amount,
    /// The tokens of these requests.
    pub(super) tokens: TokenForecast,
    /// The source of the input tokens.
    pub(super) input_tokens: InputTokens,
}

/// What a run of a pair offers.
///
/// `starts` are the instants at which runs start, for load that follows the wall clock.
pub(super) fn of_run(
    pair: &PairPlan,
    view: View,
    starts: &[Timestamp],
    count: TokenCounter<'_>,
) -> RunAmounts {
    let scenario = &pair.profile.scenario;
    let setup = JourneyPart::of(&scenario.setup, pair, view, count);
    let steps = JourneyPart::of(&scenario.steps, pair, view, count);
    let input_tokens = setup.input_tokens.max(steps.input_tokens);
    let (journeys, requests, tokens) = (Amount::ZERO, Amount::ZERO, TokenForecast::ZERO);
    let mut run = RunAmounts { journeys, requests, tokens, input_tokens };
    let mut starts = starts.to_vec();
    let early = if view == View::Most { early_ends(pair, count) } else { Vec::new() };
    for stage in &pair.profile.stages {
        let (journeys, users) = of_stage(stage, scenario, view, &starts);
        let time = stage.shape.time().unwrap_or_default();
        for start in &mut starts {
            *start = start.saturating_add(time).unwrap_or(*start);
        }
        run.journeys = run.journeys + journeys;
        let played = steps.times(journeys, view);
        let played = match most_in_time(stage, &steps, &early) {
            Some(most) if view == View::Most => played.at_most(most),
            _ => played,
        };
        for taken in [setup.times(users, view), played] {
            run.requests = run.requests + taken.requests;
            run.tokens = run.tokens + taken.tokens;
        }
    }
    // Each further attempt is a request like the first.
    if let (View::Most, Some(retry)) = (view, &pair.profile.retry) {
        let attempts = Amount::AtMost(f64::from(retry.attempts.max(1)));
        (run.requests, run.tokens) = (run.requests.times(attempts), run.tokens.times(attempts));
    }
    if pair.profile.search.is_some() {
        // How far it goes depends on the target.
        run.journeys = run.journeys.at_most();
        run.requests = run.requests.at_most();
        run.tokens = TokenForecast { input: run.tokens.input.at_most(), output: run.tokens.output.at_most() };
    }
    run
}

/// What the budgets must have left before a run of a pair starts. Unknown amounts count as zero.
pub(super) fn least(pair: &PairPlan) -> (Amount, TokenForecast) {
    let known = |amount: Amount| Amount::Exact(amount.value().unwrap_or(0.0));
    let (mut requests, mut most) =
        (0.0, TokenForecast { input: Amount::Exact(0.0), output: Amount::Exact(0.0) });
    let mut largest = 0.0;
    for step in pair.profile.scenario.all() {
        requests += step.least_plays() as f64;
        let tokens = match &step.action {
            StepAction::Ask(ask) => ModelCall { ask, step, pair, params: &pair.params(step) }.least(),
            StepAction::Http(http) => {
                let reserved = |tokens: u64| Amount::Exact(tokens as f64);
                TokenForecast {
                    input: reserved(http.reserve.input_tokens),
                    output: reserved(http.reserve.output_tokens),
                }
            }
        };
        let tokens = TokenForecast { input: known(tokens.input), output: known(tokens.output) };
        let size = (tokens.input + tokens.output).value().unwrap_or(0.0);
        if size > largest {
            (largest, most) = (size, tokens);
        }
    }
    (Amount::Exact(requests), most)
}

/// The number of journeys, and of set-ups: one for each user, and in [`View::Most`] those that are played again after a
/// failure.
pub(super) fn of_stage(
    stage: &Stage,
    scenario: &Scenario,
    view: View,
    starts: &[Timestamp],
) -> (Amount, Amount) {
    match &stage.shape {
        // Each arrival is a new user.
        Shape::Rate { rate, arrivals, bounds } => {
            let journeys = arrivals_in(rate, arrivals, *bounds, starts, view);
            (journeys, journeys)
        }
        Shape::Trace { replay, from, bounds } => {
            let journeys = traced(replay, *from, *bounds, view);
            (journeys, journeys)
        }
        Shape::Users { users, think, bounds, spawn: _ } => {
            let most = users.max();
            let mean = bounds.time.and_then(|time| {
                let area = of_area(users, time, starts, View::Expected, |area| area);
                area.value().map(|area| area / time.as_secs_f64())
            });
            let mean = mean.unwrap_or(most);
            let users = if view == View::Expected { mean } else { most.floor() };
            let (own, within) = (thought(*think, view), thinking(&scenario.steps, view));
            let between = match view {
                View::Expected => own + within,
                // The journey may fail before its user thinks.
                View::Most => (own + within).min(own.max(Scenario::FAILED_PAUSE)),
            };
            let variance = if view == View::Expected { thinking_variance(*think, scenario) } else { 0.0 };
            let journeys = turns_of_users(users.max(1.0), between, variance, *bounds);
            let set_ups = match view {
                View::Expected => Amount::Exact(most.floor().max(1.0)),
                View::Most => turns_of_users(users.max(1.0), own.max(Scenario::SET_UP_PAUSE), 0.0, *bounds),
            };
            // Each is part of a journey.
            let fewer = match (set_ups.value(), journeys.value()) {
                (Some(set_ups), Some(journeys)) => Some(set_ups.min(journeys)),
                (set_ups, journeys) => set_ups.or(journeys),
            };
            (journeys, fewer.map_or(Amount::Unknown, Amount::AtMost))
        }
    }
}

/// The number of requests in a part of a replay. A fraction of a scale is drawn.
fn traced(replay: &TraceReplay, from: Duration, bounds: StageBounds, view: View) -> Amount {
    let requests = bounds.time.map(|time| {
        let end = from.saturating_add(time);
        replay.before(end).saturating_sub(replay.before(from)) as f64
    });
    let cap = bounds.requests.map_or(f64::INFINITY, |cap| cap as f64);
    let times = |scale: f64| requests.map_or(cap, |requests| (requests * scale).min(cap));
    match view {
        _ if (replay.scale - 1.0).abs() < f64::EPSILON => Amount::Exact(times(1.0)),
        View::Expected => Amount::About(times(replay.scale)),
        View::Most => {
            // The request before the stage may have copies in it.
            let before = if from.is_zero() { 0.0 } else { (replay.scale.ceil() - 1.0).max(0.0) };
            Amount::AtMost(
                requests.map_or(cap, |requests| (requests * replay.scale.ceil() + before).min(cap)),
            )
        }
    }
}

/// The think time: the shortest, or the mean.
fn thought(think: Think, view: View) -> Duration {
    if view == View::Expected { (think.min + think.max) / 2 } else { think.min }
}

/// A way for a journey to end: with its last request, or before that because one has failed.
struct EarlyEnd {
    /// What it took up to there.
    taken: JourneyPart,
    /// The shortest think time up to there.
    thought: Duration,
    /// Whether it was completed.
    complete: bool,
}

/// The ways to end that may take the most for their time: after the first play of a step, or after its last. What a step
/// takes grows with its plays at least as fast as its think time, so none of those between them takes more.
fn early_ends(pair: &PairPlan, count: TokenCounter<'_>) -> Vec<EarlyEnd> {
    let steps = &pair.profile.scenario.steps;
    let mut ends = Vec::new();
    let mut before = JourneyPart::NOTHING;
    for (index, step) in steps.iter().enumerate() {
        let so_far = steps.get(..index).unwrap_or_default();
        let (whole, one) = JourneyPart::of_step(step, pair, View::Most, count);
        let first = if index == 0 { Duration::ZERO } else { step.think.min };
        let thought = thinking(so_far, View::Most) + first;
        let mut taken = before;
        taken.add(one);
        ends.push(EarlyEnd { taken, thought, complete: false });
        before.add(whole);
        let thought = thinking(steps.get(..=index).unwrap_or_default(), View::Most);
        ends.push(EarlyEnd { taken: before, thought, complete: index + 1 == steps.len() });
    }
    ends
}

/// The most that users take in a stage with a time: in all of it, as much as the way to end takes that takes the most in its
/// time, and then one more journey, which may begin before the end. `None` if no time limits that.
fn most_in_time(stage: &Stage, journey: &JourneyPart, ends: &[EarlyEnd]) -> Option<JourneyPart> {
    let Shape::Users { users, think, bounds, .. } = &stage.shape else { return None };
    let (time, users) = (bounds.time?.as_secs_f64(), users.max().floor().max(1.0));
    let most = |of: &dyn Fn(&JourneyPart) -> Amount| {
        let rates = ends.iter().map(|end| {
            let pause = if end.complete { think.min } else { think.min.max(Scenario::FAILED_PAUSE) };
            let length = (end.thought + pause).as_secs_f64();
            of(&end.taken).value().filter(|_| length > 0.0).map(|taken| taken / length)
        });
        let rate = rates.collect::<Option<Vec<f64>>>()?.into_iter().fold(0.0, f64::max);
        let last = of(journey).value()?;
        // A part of a token or of a request is none, but rounding must not take one away.
        Some(Amount::AtMost(users * ((time * rate + 1e-6).floor() + last)))
    };
    let unknown = |amount: Option<Amount>| amount.unwrap_or(Amount::Unknown);
    let tokens = TokenForecast {
        input: unknown(most(&|part| part.tokens.input)),
        output: unknown(most(&|part| part.tokens.output)),
    };
    let requests = unknown(most(&|part| part.requests));
    Some(JourneyPart { requests, tokens, input_tokens: journey.input_tokens })
}

/// The think time of a user within the steps of one journey.
fn thinking(steps: &[Arc<Step>], view: View) -> Duration {
    let thoughts = steps.iter().enumerate().map(|(index, step)| {
        // There is no think time before the first step of a journey.
        let plays =
            if view == View::Expected { conversation::plays(step) } else { step.least_plays() as f64 };
        thought(step.think, view).mul_f64((plays - f64::from(u8::from(index == 0))).max(0.0))
    });
    thoughts.sum()
}

/// The variance of the think time of one journey and of the pause after it, in square seconds; at most so much where the
/// number of turns is drawn.
fn thinking_variance(own: Think, scenario: &Scenario) -> f64 {
    let of_one = |think: Think| think.max.saturating_sub(think.min).as_secs_f64().powi(2) / 12.0;
    let steps = scenario.steps.iter().enumerate().map(|(index, step)| {
        let thoughts = (conversation::plays(step) - f64::from(u8::from(index == 0))).max(0.0);
        let turns = step.conversation().map(|plan| plan.turns());
        let of_turns =
            turns.map_or(0.0, |turns| (turns.max as f64 - turns.mean) * (turns.mean - turns.min as f64));
        thoughts * of_one(step.think) + of_turns * thought(step.think, View::Expected).as_secs_f64().powi(2)
    });
    of_one(own) + steps.sum::<f64>()
}

/// What one pass through the set-up, or through the steps, takes.
#[derive(Clone, Copy)]
pub(super) struct JourneyPart {
    pub(super) requests: Amount,
    pub(super) tokens: TokenForecast,
    pub(super) input_tokens: InputTokens,
}

impl JourneyPart {
    const NOTHING: Self =
        Self { requests: Amount::ZERO, tokens: TokenForecast::ZERO, input_tokens: InputTokens::Reserved };

    fn of(steps: &[Arc<Step>], pair: &PairPlan, view: View, count: TokenCounter<'_>) -> Self {
        let mut part = Self::NOTHING;
        for step in steps {
            part.add(Self::of_step(step, pair, view, count).0);
        }
        part
    }

    /// What a step takes, and what its first play takes of that at most.
    fn of_step(step: &Step, pair: &PairPlan, view: View, count: TokenCounter<'_>) -> (Self, Self) {
        let params = &pair.params(step);
        if let (StepAction::Ask(ask), Some(plan)) = (&step.action, step.conversation()) {
            let call = ModelCall { ask, step, pair, params };
            let output = if view == View::Expected { call.expected_output() } else { call.output() };
            let whole = ConversationCall { plan, ask, target: &pair.target, params, output }.of(view, count);
            let one = Self { requests: Amount::Exact(1.0), ..whole };
            // No turn takes less than the first one. The longest conversation of a dataset need not have the longest turn.
            let of_file = matches!(plan.texts, ConversationTexts::Dataset { .. });
            let share =
                if of_file { one.requests } else { Amount::Exact(1.0 / plan.turns().max.max(1) as f64) };
            return (whole, Self { tokens: whole.tokens.times(share), ..one });
        }
        let repeat = Amount::Exact(f64::from(step.repeat));
        let (tokens, input_tokens) = match &step.action {
            StepAction::Ask(ask) => {
                let ask = ModelCall { ask, step, pair, params };
                if view == View::Expected { ask.expected(count) } else { ask.most() }
            }
            StepAction::Http(http) => (of_http(http, view), InputTokens::Reserved),
        };
        let one = Self { requests: Amount::Exact(1.0), tokens, input_tokens };
        (Self { requests: repeat, tokens: tokens.times(repeat), input_tokens }, one)
    }

    /// That many times the same.
    fn times(&self, times: Amount, view: View) -> Self {
        Self { requests: times.times(self.requests(view)), tokens: self.tokens.times(times), ..*self }
    }

    /// The same, but each amount at most as in another bound.
    fn at_most(self, most: Self) -> Self {
        let least = |one: Amount, other: Amount| match (one.value(), other.value()) {
            (_, Some(b)) if one.value().is_none_or(|a| b < a) => other,
            _ => one,
        };
        let input = least(self.tokens.input, most.tokens.input);
        let output = least(self.tokens.output, most.tokens.output);
        Self {
            requests: least(self.requests, most.requests),
            tokens: TokenForecast { input, output },
            ..self
        }
    }

    fn add(&mut self, other: Self) {
        self.requests = self.requests + other.requests;
        self.tokens = self.tokens + other.tokens;
        self.input_tokens = self.input_tokens.max(other.input_tokens);
    }

    /// A journey may end early, but not before its first request.
    fn requests(&self, view: View) -> Amount {
        let several = self.requests.value().is_none_or(|requests| requests > 1.0);
        if view == View::Most && several { self.requests.at_most() } else { self.requests }
    }
}

/// The maximum number of tokens by its configuration.
fn of_http(http: &HttpStep, view: View) -> TokenForecast {
    let told = |named: bool, reserve: u64| match (named, reserve) {
        (true, 0) => Amount::Unknown,
        (_, 0) => Amount::ZERO,
        (_, most) if view == View::Expected => Amount::About(most as f64),
        (_, most) => Amount::AtMost(most as f64),
    };
    let reading = http.reading.as_ref();
    let input = told(reading.is_some_and(|it| it.input_tokens.is_some()), http.reserve.input_tokens);
    let output = told(reading.is_some_and(|it| it.output_tokens.is_some()), http.reserve.output_tokens);
    TokenForecast { input, output }
}
