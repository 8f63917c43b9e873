//! Forecasts the journeys of a scenario; those of a workload have one request. A journey that fails ends early, and its
//! user starts the next one sooner: expected is that every journey is completed, and the maximum is that of whichever way
//! to end takes the most in the same time.

use super::conversation::{self, ConversationCall};
use super::{Amount, TokenForecast, View, arrivals_in, of_area, turns_of_users};
use crate::plan::scenario::ENVIRONMENT;
use crate::plan::{
    AskStep, AskText, Cache, ConversationTexts, HttpStep, LONGEST_WORD, LengthDistribution, LengthRange,
    PairPlan, PromptLengths, Scenario, Shape, Stage, StageBounds, Step, StepAction, SyntheticPrompts, Target,
    Think, TraceReplay,
};
use crate::template::Template;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of tokens that a chat template adds for a message.
pub(super) const MAX_MESSAGE: f64 = 16.0;
/// Typical number of tokens that a chat template adds for a message.
pub(super) const MESSAGE_TYPICAL: f64 = 4.0;
/// Maximum number of tokens that a chat template adds once (a default system prompt).
pub(super) const MAX_PREAMBLE: f64 = 256.0;
/// Maximum number of tokens of the nonce that busts prefix caches.
pub(super) const MAX_NONCE: f64 = 16.0;
/// Typical number of tokens of the nonce: hex digits are short tokens.
pub(super) const NONCE_TYPICAL: f64 = 8.0;
/// Typical number of bytes per token.
pub(super) const BYTES_PER_TOKEN: f64 = 4.0;
/// Maximum number of bytes of the names and numbers that a template knows about its step.
const LONGEST_NAME: u64 = 256;
/// Number of prompts of a list that a tokenizer counts, as a sample.
const COUNTED: usize = 64;

/// Counts the tokens of a text with a target's tokenizer; `None` if it has none or the text is too long.
pub type TokenCounter<'a> = &'a dyn Fn(&Target, &str) -> Option<u64>;

/// The source of an expected number of input tokens, better sources first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputTokens {
    /// The reservation of HTTP steps.
    Reserved,
    /// The target's tokenizer.
    Counted,
    /// The length of texts, at least partly.
    Estimated,
}

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

/// A model call of a pair.
struct ModelCall<'a> {
    ask: &'a AskStep,
    step: &'a Step,
    pair: &'a PairPlan,
    params: &'a Map<String, Value>,
}

impl ModelCall<'_> {
    fn output(&self) -> Amount {
        let cap = self.pair.output_cap(self.step);
        cap.map_or(Amount::Unknown, |cap| Amount::AtMost(cap as f64))
    }

    fn most(&self) -> (TokenForecast, InputTokens) {
        let output = self.output();
        let TextBytes { longest, messages, .. } = TextBytes::of(&self.ask.text, &self.pair.profile.scenario);
        let is_nonce_apart = generated(&self.ask.text).is_none();
        let bust = if self.ask.cache == Cache::Bust && is_nonce_apart { 1.0 } else { 0.0 };
        // Each earlier turn is a question and an answer.
        let turn = longest.prompt + output + Amount::AtMost(2.0 * MAX_MESSAGE);
        let history = Amount::Exact(f64::from(self.ask.history)).times(turn);
        let overhead = params_bytes(self.params) + bust * MAX_NONCE + messages * MAX_MESSAGE + MAX_PREAMBLE;
        let input = longest.prompt + longest.system + history + Amount::AtMost(overhead);
        (TokenForecast { input, output }, InputTokens::Estimated)
    }

    /// The tokens with the shortest prompt and without a nonce. The length of a template is unknown before it is
    /// rendered.
    fn least(&self) -> TokenForecast {
        let input = match &self.ask.text {
            AskText::Fixed { system, prompts } => {
                let shortest = prompts.iter().map(|prompt| prompt.len()).min().unwrap_or(0);
                let texts = (shortest + system.as_ref().map_or(0, |system| system.len())) as f64;
                Amount::Exact(texts + messages(system.is_some()) * MAX_MESSAGE + MAX_PREAMBLE)
            }
            AskText::Synthetic(prompts) => {
                let question =
                    prompts.question.as_ref().map_or(0.0, |question| question.len() as f64 + MAX_MESSAGE);
                Amount::Exact(prompts.range().min as f64 + question + MAX_MESSAGE + MAX_PREAMBLE)
            }
            AskText::Dataset { dataset, order, system } => {
                let system = system.as_ref().map(|system| system.len() as u64);
                let (texts, _) = dataset.size(*order).texts(system);
                Amount::Exact(texts.min_bytes as f64 + MAX_MESSAGE + MAX_PREAMBLE)
            }
            AskText::Trace { replay, .. } => {
                Amount::Exact(replay.trace.size().min_input as f64 + MAX_MESSAGE + MAX_PREAMBLE)
            }
            AskText::Conversation(plan) => {
                Amount::Exact(conversation::least(plan) + MAX_MESSAGE + MAX_PREAMBLE)
            }
            AskText::Template { .. } | AskText::Summary(_) => Amount::ZERO,
        };
        TokenForecast { input, output: self.output() }
    }

    fn expected(&self, count: TokenCounter<'_>) -> (TokenForecast, InputTokens) {
        let output = self.expected_output();
        if let Some(lengths) = generated(&self.ask.text) {
            let target = &self.pair.target;
            let source =
                if target.tokenizer.is_some() { InputTokens::Counted } else { InputTokens::Estimated };
            let question = question(&self.ask.text);
            let template = match (question, target.chat_template) {
                (None, Some(_)) => 0.0,
                (None, None) => MESSAGE_TYPICAL,
                (Some(_), Some(template)) => template.added(2) as f64,
                (Some(_), None) => 2.0 * MESSAGE_TYPICAL,
            };
            let question = question.map_or(0.0, |question| {
                count(target, question)
                    .map_or(question.len() as f64 / BYTES_PER_TOKEN, |tokens| tokens as f64)
            });
            let input = Amount::About(lengths.mean + question + template);
            return (TokenForecast { input, output }, source);
        }
        let texts = TextBytes::of(&self.ask.text, &self.pair.profile.scenario);
        let counted = counted(&self.ask.text, &self.pair.target, count);
        let by_bytes = |bytes: Amount| match bytes.value() {
            Some(bytes) => Amount::About(bytes / BYTES_PER_TOKEN),
            None => Amount::Unknown,
        };
        let (system, prompt, source) = match counted {
            Some((system, prompt)) => (Amount::About(system), Amount::About(prompt), InputTokens::Counted),
            None => (by_bytes(texts.longest.system), by_bytes(texts.typical_prompt), InputTokens::Estimated),
        };
        let bust = if self.ask.cache == Cache::Bust { NONCE_TYPICAL } else { 0.0 };
        let turn = prompt + output + Amount::About(2.0 * MESSAGE_TYPICAL);
        let history = Amount::About(self.earlier_turns()).times(turn);
        let overhead = Amount::About(bust + texts.messages * MESSAGE_TYPICAL);
        (TokenForecast { input: system + prompt + history + overhead, output }, source)
    }

    /// As long as the cap where nothing more is known.
    fn expected_output(&self) -> Amount {
        let drawn = match &self.ask.text {
            AskText::Synthetic(SyntheticPrompts { lengths: PromptLengths::Joint(joint), .. }) => {
                Some(joint.output().mean)
            }
            AskText::Trace { replay, .. } => Some(replay.trace.size().mean_output),
            AskText::Dataset { dataset, order, .. } => {
                let (mean, share) = dataset.size(*order).output_tokens;
                let rest = self.ask.output.lengths.as_ref().map(LengthDistribution::mean);
                let rest = rest.or((share >= 1.0).then_some(0.0));
                rest.map(|rest| share * mean + (1.0 - share) * rest)
            }
            _ => self.ask.output.lengths.as_ref().map(LengthDistribution::mean),
        };
        let output = self.output();
        match drawn.filter(|_| output != Amount::ZERO) {
            Some(mean) => Amount::About(mean),
            None => output.expected(),
        }
    }

    /// Number of earlier turns that are sent along, on average over the repetitions of the step.
    fn earlier_turns(&self) -> f64 {
        let most = f64::from(self.ask.history);
        let repeat = f64::from(self.step.repeat);
        if repeat <= 1.0 {
            return most;
        }
        // 0, 1, 2 and so on, up to the number that is kept.
        let rising = most.min(repeat);
        (rising * (rising - 1.0) / 2.0 + (repeat - rising) * most) / repeat
    }
}

/// The tokens of the system prompt and of an average prompt, by the target's tokenizer.
fn counted(text: &AskText, target: &Target, count: TokenCounter<'_>) -> Option<(f64, f64)> {
    let AskText::Fixed { system, prompts } = text else { return None };
    let tokens = |text: &str| count(target, text).map(|tokens| tokens as f64);
    let system = system.as_deref().map_or(Some(0.0), tokens)?;
    let some = prompts.iter().step_by(prompts.len().div_ceil(COUNTED).max(1));
    let each: Vec<f64> = some.map(|prompt| tokens(prompt)).collect::<Option<_>>()?;
    Some((system, each.iter().sum::<f64>() / each.len().max(1) as f64))
}

/// The bytes of the texts of a model call.
struct TextBytes {
    longest: Longest,
    /// The mean of all prompts.
    typical_prompt: Amount,
    messages: f64,
}

/// The bytes of the longest texts.
struct Longest {
    system: Amount,
    prompt: Amount,
}

impl TextBytes {
    /// Prompts of words, perhaps with a question after them.
    fn of_generated(range: &LengthRange, question: Option<&str>) -> Self {
        let bytes = |tokens: f64| tokens * LONGEST_WORD as f64;
        let of_question = question.map_or(0.0, |question| question.len() as f64);
        let longest = bytes(range.max as f64) + of_question;
        Self {
            longest: Longest { system: Amount::ZERO, prompt: Amount::AtMost(longest) },
            typical_prompt: Amount::About(bytes(range.mean) + of_question),
            messages: messages(question.is_some()),
        }
    }

    /// Prompts in a file, each with this system prompt.
    fn of_file(max_bytes: u64, mean_bytes: f64, max_messages: u64, system: Option<&Arc<str>>) -> Self {
        let of_system = system.map_or(0.0, |system| system.len() as f64);
        let prompt = Amount::AtMost(max_bytes as f64);
        Self {
            longest: Longest { system: Amount::Exact(of_system), prompt },
            typical_prompt: Amount::About(mean_bytes),
            messages: max_messages as f64 + messages(system.is_some()) - 1.0,
        }
    }

    fn of(text: &AskText, scenario: &Scenario) -> Self {
        match text {
            AskText::Fixed { system, prompts } => {
                let bytes = |text: &Arc<str>| text.len() as f64;
                let lengths = prompts.iter().map(bytes);
                let longest = lengths.clone().fold(0.0, f64::max);
                let mean = lengths.sum::<f64>() / prompts.len().max(1) as f64;
                let of_system = system.as_ref().map_or(0.0, bytes);
                Self {
                    longest: Longest { system: Amount::Exact(of_system), prompt: Amount::AtMost(longest) },
                    typical_prompt: Amount::About(mean),
                    messages: messages(system.is_some()),
                }
            }
            AskText::Synthetic(prompts) => Self::of_generated(&prompts.range(), question(text)),
            AskText::Trace { replay, system } => {
                if let Some(lengths) = generated(text) {
                    return Self::of_generated(&lengths, None);
                }
                let size = replay.trace.size();
                Self::of_file(size.max_input, size.mean_input, size.max_messages, system.as_ref())
            }
            AskText::Dataset { dataset, order, system } => {
                // The system prompt is that of rows that have none, and is counted there.
                let system = system.as_ref().map(|system| system.len() as u64);
                let (texts, mean) = dataset.size(*order).texts(system);
                Self::of_file(texts.max_bytes, mean, texts.max_messages, None)
            }
            // These depend on the turn; see `conversation`.
            AskText::Conversation(_) | AskText::Summary(_) => Self {
                longest: Longest { system: Amount::Unknown, prompt: Amount::Unknown },
                typical_prompt: Amount::Unknown,
                messages: 0.0,
            },
            AskText::Template { system, prompt } => {
                let bytes = |template: &Template| {
                    longest(template, scenario).map_or(Amount::Unknown, |bytes| Amount::AtMost(bytes as f64))
                };
                let prompt = bytes(prompt);
                let of_system = system.as_ref().map_or(Amount::ZERO, bytes);
                Self {
                    longest: Longest { system: of_system, prompt },
                    typical_prompt: prompt,
                    messages: messages(system.is_some()),
                }
            }
        }
    }
}

/// The question that follows a generated prompt, if there is one.
fn question(text: &AskText) -> Option<&str> {
    match text {
        AskText::Synthetic(prompts) => prompts.question.as_deref(),
        _ => None,
    }
}

/// The lengths of prompts that are generated, in tokens.
fn generated(text: &AskText) -> Option<LengthRange> {
    match text {
        AskText::Synthetic(prompts) => Some(prompts.range()),
        AskText::Trace { replay, .. } if replay.has_generated_texts() => {
            let size = replay.trace.size();
            Some(LengthRange { min: size.min_input, mean: size.mean_input, max: size.max_input })
        }
        _ => None,
    }
}

fn messages(system: bool) -> f64 {
    if system { 2.0 } else { 1.0 }
}

pub(super) fn params_bytes(params: &Map<String, Value>) -> f64 {
    params.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>() as f64
}

/// The maximum number of bytes that a template renders; `None` if it is unknown, because the template contains more
/// than text and values from the config.
fn longest(template: &Template, scenario: &Scenario) -> Option<u64> {
    let mut bytes = 0;
    let mut rest = &*template.source;
    while let Some((before, from)) = rest.split_once("{{") {
        let (expression, after) = from.split_once("}}")?;
        bytes += before.len() as u64 + of_expression(expression.trim(), scenario)?;
        rest = after;
    }
    let plain = !rest.contains("{%") && !template.source.contains("{%");
    plain.then_some(bytes + rest.len() as u64)
}

/// The length of `name`, `name.field`, `pick(name)` or `cycle(name).field`.
fn of_expression(expression: &str, scenario: &Scenario) -> Option<u64> {
    let inner = ["pick(", "cycle("].iter().find_map(|function| expression.strip_prefix(function));
    let path = match inner {
        Some(inner) => {
            let (name, fields) = inner.split_once(')')?;
            format!("{}{fields}", name.trim())
        }
        None => expression.to_owned(),
    };
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    let name = path.split('.').next().filter(|_| plain)?;
    if ENVIRONMENT.contains(&name) {
        return Some(LONGEST_NAME);
    }
    // The length of an extracted value depends on the answer.
    if scenario.all().flat_map(|step| &step.take).any(|take| &*take.name == name) {
        return None;
    }
    let known = scenario.variables.get(name)?;
    // One item of a list is picked, or the whole list is printed.
    known.longest_item.filter(|_| inner.is_some()).or(known.printed)
}
