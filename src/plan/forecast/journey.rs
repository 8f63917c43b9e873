//! What the journeys of a scenario will do; those of a workload have one request. A journey that fails ends early, and
//! its user begins the next one sooner: the numbers assume that every journey is completed.

use super::{Amount, Tokens, arrivals_in, turns_of_users};
use crate::plan::scenario::ENVIRONMENT;
use crate::plan::{
    Action, AskStep, AskText, Cache, HttpStep, PairPlan, Scenario, Shape, Stage, Step, output_cap,
};
use crate::template::Template;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Tokens that a chat template adds for a message, at most.
pub(super) const MAX_MESSAGE: f64 = 16.0;
/// Tokens that a chat template adds for a message, usually.
const MESSAGE_TYPICAL: f64 = 4.0;
/// Tokens that a chat template may add once (a default system prompt), at most.
pub(super) const MAX_PREAMBLE: f64 = 256.0;
/// Tokens of the nonce that busts prefix caches, at most.
const MAX_NONCE: f64 = 16.0;
/// Tokens of the nonce, usually: hex digits are short tokens.
const NONCE_TYPICAL: f64 = 8.0;
/// Bytes of text to a token, usually.
const BYTES_PER_TOKEN: f64 = 4.0;
/// Most bytes of one of the names and numbers that tell a template where its step is played.
const LONGEST_NAME: u64 = 256;

/// What a run offers.
pub(super) struct RunAmounts {
    /// Journeys.
    pub(super) journeys: Amount,
    /// Their requests, and those of the set-ups.
    pub(super) requests: Amount,
    /// What these take.
    pub(super) tokens: Tokens,
}

/// What a run of a pair offers.
pub(super) fn of_run(pair: &PairPlan) -> RunAmounts {
    let scenario = &pair.profile.scenario;
    let setup = Part::of(&scenario.setup, pair);
    let steps = Part::of(&scenario.steps, pair);
    let mut run = RunAmounts { journeys: Amount::ZERO, requests: Amount::ZERO, tokens: Tokens::ZERO };
    for stage in &pair.profile.stages {
        let (journeys, users) = of_stage(stage, thinking(scenario));
        run.journeys = run.journeys + journeys;
        for (part, times) in [(&setup, users), (&steps, journeys)] {
            run.requests = run.requests + times.times(part.requests());
            run.tokens = run.tokens + part.tokens.times(times);
        }
    }
    run
}

/// Journeys, and users that play the set-up. `thinking`: the least time that a journey takes.
fn of_stage(stage: &Stage, thinking: Duration) -> (Amount, Amount) {
    match &stage.shape {
        // Each arrival is a new user.
        Shape::Rate { rate, arrivals, bounds } => {
            let journeys = arrivals_in(*rate, *arrivals, *bounds);
            (journeys, journeys)
        }
        Shape::Users { users, think, bounds, spawn: _ } => {
            let users = users.from.max(users.to).floor().max(1.0);
            let journeys = turns_of_users(users, think.min + thinking, *bounds);
            let fewer = journeys.value().map_or(users, |journeys| users.min(journeys));
            (journeys, Amount::AtMost(fewer))
        }
    }
}

/// Least time that the user of a journey thinks in it.
fn thinking(scenario: &Scenario) -> Duration {
    let thoughts = scenario.steps.iter().enumerate().map(|(index, step)| {
        // The first play of all comes without.
        step.think.min * step.repeat.saturating_sub(u32::from(index == 0))
    });
    thoughts.sum()
}

/// What one play of the set-up, or of the steps, takes.
struct Part {
    requests: f64,
    tokens: Tokens,
}

impl Part {
    fn of(steps: &[Arc<Step>], pair: &PairPlan) -> Self {
        let mut part = Self { requests: 0.0, tokens: Tokens::ZERO };
        for step in steps {
            let repeat = f64::from(step.repeat);
            part.requests += repeat;
            let tokens = match &step.action {
                Action::Ask(ask) => of_ask(ask, &pair.params(step), &pair.profile.scenario),
                Action::Http(http) => of_http(http),
            };
            part.tokens = part.tokens + tokens.times(Amount::Exact(repeat));
        }
        part
    }

    /// A journey may end early, but not before its first request.
    fn requests(&self) -> Amount {
        if self.requests > 1.0 { Amount::AtMost(self.requests) } else { Amount::Exact(self.requests) }
    }
}

/// The most tokens that its config says it may take.
fn of_http(http: &HttpStep) -> Tokens {
    let told = |named: bool, reserve: u64| match (named, reserve) {
        (true, 0) => Amount::Unknown,
        (_, 0) => Amount::ZERO,
        (_, most) => Amount::AtMost(most as f64),
    };
    let reading = http.reading.as_ref();
    let input = told(reading.is_some_and(|it| it.input_tokens.is_some()), http.reserve.input_tokens);
    let output = told(reading.is_some_and(|it| it.output_tokens.is_some()), http.reserve.output_tokens);
    Tokens { input, typical_input: input, output }
}

fn of_ask(ask: &AskStep, params: &Map<String, Value>, scenario: &Scenario) -> Tokens {
    let cap = output_cap(params, ask.output_tokens);
    let output = cap.map_or(Amount::Unknown, |cap| Amount::AtMost(cap as f64));
    let Texts { longest, typical, messages } = Texts::of(&ask.text, scenario);
    let bust = if ask.cache == Cache::Bust { 1.0 } else { 0.0 };
    // Each earlier turn is a question and an answer.
    let turn = longest.prompt + output + Amount::AtMost(2.0 * MAX_MESSAGE);
    let history = Amount::Exact(f64::from(ask.history)).times(turn);
    let overhead = params_bytes(params) + bust * MAX_NONCE + messages * MAX_MESSAGE + MAX_PREAMBLE;
    let by_bytes = typical.times(Amount::About(1.0 / BYTES_PER_TOKEN));
    Tokens {
        input: longest.prompt + longest.system + history + Amount::AtMost(overhead),
        typical_input: by_bytes + history + Amount::About(bust * NONCE_TYPICAL + messages * MESSAGE_TYPICAL),
        output,
    }
}

/// Bytes of the texts of a model call.
struct Texts {
    longest: Longest,
    /// Of all together, as usual.
    typical: Amount,
    messages: f64,
}

/// Bytes of the longest texts.
struct Longest {
    system: Amount,
    prompt: Amount,
}

impl Texts {
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
                    typical: Amount::Exact(of_system + mean),
                    messages: messages(system.is_some()),
                }
            }
            AskText::Template { system, prompt } => {
                let bytes = |template: &Template| {
                    longest(template, scenario).map_or(Amount::Unknown, |bytes| Amount::AtMost(bytes as f64))
                };
                let prompt = bytes(prompt);
                let of_system = system.as_ref().map_or(Amount::ZERO, bytes);
                Self {
                    longest: Longest { system: of_system, prompt },
                    typical: prompt + of_system,
                    messages: messages(system.is_some()),
                }
            }
        }
    }
}

fn messages(system: bool) -> f64 {
    if system { 2.0 } else { 1.0 }
}

fn params_bytes(params: &Map<String, Value>) -> f64 {
    params.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>() as f64
}

/// Bytes of the longest text that a template produces; `None` if that is not known, because it contains more than text
/// and values written in the config.
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

/// Of `name`, `name.field`, `pick(name)` and `cycle(name).field`.
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
    // What a step takes is as long as the answer makes it.
    if scenario.all().flat_map(|step| &step.take).any(|take| &*take.name == name) {
        return None;
    }
    let known = scenario.variables.get(name)?;
    // Of a list, one item is picked, or all of it is printed.
    known.longest_item.filter(|_| inner.is_some()).or(known.printed)
}
