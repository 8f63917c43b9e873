//! Forecasts what one request of a model call takes: the tokens of its prompt, and those of its answer.

use super::conversation;
use super::{Amount, TokenForecast};
use crate::plan::scenario::ENVIRONMENT;
use crate::plan::{
    AskStep, AskText, Cache, LONGEST_WORD, LengthDistribution, LengthRange, PairPlan, PromptLengths,
    Scenario, Step, SyntheticPrompts, Target,
};
use crate::template::Template;
use serde_json::{Map, Value};
use std::sync::Arc;

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

/// A model call of a pair.
pub(super) struct ModelCall<'a> {
    pub(super) ask: &'a AskStep,
    pub(super) step: &'a Step,
    pub(super) pair: &'a PairPlan,
    pub(super) params: &'a Map<String, Value>,
}

impl ModelCall<'_> {
    pub(super) fn output(&self) -> Amount {
        let cap = self.pair.output_cap(self.step);
        cap.map_or(Amount::Unknown, |cap| Amount::AtMost(cap as f64))
    }

    pub(super) fn most(&self) -> (TokenForecast, InputTokens) {
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
    pub(super) fn least(&self) -> TokenForecast {
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

    pub(super) fn expected(&self, count: TokenCounter<'_>) -> (TokenForecast, InputTokens) {
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
    pub(super) fn expected_output(&self) -> Amount {
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
