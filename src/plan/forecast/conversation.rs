//! Forecasts conversations. The requests of a conversation contain its earlier turns, so their tokens grow with each
//! turn. All conversations are assumed to be completed.

use super::journey::JourneyPart;
use super::model_call::{
    BYTES_PER_TOKEN, InputTokens, MAX_MESSAGE, MAX_NONCE, MAX_PREAMBLE, MESSAGE_TYPICAL, NONCE_TYPICAL,
    TokenCounter, params_bytes,
};
use super::{Amount, TokenForecast, View};
use crate::dataset::ConversationSums;
use crate::plan::{
    AskStep, Cache, ConversationPlan, ConversationTexts, HistoryAnswers, LONGEST_WORD, SUMMARY_HEAD, Step,
    SummaryBy, SummaryRule, SyntheticTurns, Target,
};
use serde_json::{Map, Value};

/// The turns of a pair's conversations.
pub(super) struct ConversationCall<'a> {
    pub(super) plan: &'a ConversationPlan,
    pub(super) ask: &'a AskStep,
    pub(super) target: &'a Target,
    pub(super) params: &'a Map<String, Value>,
    /// Tokens of an answer.
    pub(super) output: Amount,
}

/// Tokens per unit of the texts of a plan.
struct TextUnits<'a> {
    view: View,
    /// Counts the tokens of a text, if the target has a tokenizer.
    count: &'a dyn Fn(&str) -> Option<u64>,
}

impl TextUnits<'_> {
    /// The tokens of this many bytes.
    fn bytes(&self, bytes: f64) -> f64 {
        if self.view == View::Expected { bytes / BYTES_PER_TOKEN } else { bytes }
    }

    /// The tokens of this many words that are one token each with the right tokenizer. No tokenizer makes more tokens
    /// than there are bytes.
    fn words(&self, words: f64) -> f64 {
        if self.view == View::Expected { words } else { words * LONGEST_WORD as f64 }
    }

    fn text(&self, text: &str) -> f64 {
        let counted = (self.count)(text).filter(|_| self.view == View::Expected);
        counted.map_or_else(|| self.bytes(text.len() as f64), |tokens| tokens as f64)
    }
}

/// The mean number of times that a step is played in a journey.
pub(super) fn plays(step: &Step) -> f64 {
    step.conversation().map_or_else(|| f64::from(step.repeat), |plan| plan.turns().mean)
}

/// The number of bytes or words of the shortest first request, as far as it is known.
pub(super) fn least(plan: &ConversationPlan) -> f64 {
    let system = plan.system.as_ref().map_or(0, |system| system.len() as u64);
    let texts = match &plan.texts {
        ConversationTexts::Given(turns) => {
            system + turns.first().map_or(0, |turn| turn.question.len() as u64)
        }
        ConversationTexts::Synthetic(SyntheticTurns { first, prefix, .. }) => {
            system + first.min() + prefix.map_or(0, |prefix| prefix.tokens)
        }
        ConversationTexts::Dataset { .. } => 0,
    };
    texts as f64
}

impl ConversationCall<'_> {
    /// What one conversation takes.
    pub(super) fn of(&self, view: View, count: TokenCounter<'_>) -> JourneyPart {
        let count = |text: &str| count(self.target, text);
        let units = TextUnits { view, count: &count };
        let sums = self.sums(&units);
        let source = self.source(&count);
        let amount =
            |value: f64| if view == View::Expected { Amount::About(value) } else { Amount::AtMost(value) };
        let turns = Amount::Exact(sums.turns);
        let range = self.plan.turns();
        let requests = if range.min == range.max { turns } else { amount(sums.turns) };
        let known = sums.system + sums.questions + sums.answers + self.overhead(view, sums);
        let input = amount(known) + amount(sums.unknown_answers).times(self.unknown_answer(view));
        let tokens = TokenForecast { input, output: requests.times(self.output) };
        let plain = JourneyPart { requests, tokens, input_tokens: source };
        match &self.plan.summarize {
            None => plain,
            Some(rule) if view == View::Expected => self.summarized(rule, sums, plain, &units),
            Some(rule) => self.most_summarized(rule, sums, plain, &units),
        }
    }

    fn source(&self, count: &dyn Fn(&str) -> Option<u64>) -> InputTokens {
        let is_counted = match &self.plan.texts {
            ConversationTexts::Given(turns) => turns.iter().all(|turn| count(&turn.question).is_some()),
            ConversationTexts::Synthetic(_) => self.target.tokenizer.is_some(),
            ConversationTexts::Dataset { .. } => false,
        };
        if is_counted { InputTokens::Counted } else { InputTokens::Estimated }
    }

    /// The tokens of texts in all requests of a conversation.
    fn sums(&self, units: &TextUnits<'_>) -> ConversationSums {
        let is_recorded = self.plan.answers == HistoryAnswers::Recorded;
        let system = self.plan.system.as_ref().map_or(0.0, |system| units.text(system));
        match &self.plan.texts {
            ConversationTexts::Given(turns) => {
                let answer = |text| Some(units.text(text)).filter(|_| is_recorded);
                let turns = turns.iter();
                ConversationSums::sum(
                    system,
                    turns.map(|turn| (units.text(&turn.question), turn.answer.as_deref().and_then(answer))),
                )
            }
            ConversationTexts::Synthetic(SyntheticTurns { turns, first, later, prefix }) => {
                let is_expected = units.view == View::Expected;
                let earlier = |turns: u64| (turns * turns.saturating_sub(1)) as f64 / 2.0;
                let (turns, earlier) = if is_expected {
                    (turns.mean(), turns.mean_of(earlier))
                } else {
                    (turns.max() as f64, earlier(turns.max()))
                };
                let [first, later] = [first, later].map(|lengths| {
                    units.words(if is_expected { lengths.mean() } else { lengths.max() as f64 })
                });
                let system = system + prefix.map_or(0.0, |prefix| units.words(prefix.tokens as f64));
                ConversationSums {
                    turns,
                    earlier,
                    system: turns * system,
                    questions: turns * first + earlier * later,
                    answers: 0.0,
                    unknown_answers: earlier,
                }
            }
            ConversationTexts::Dataset { dataset, order } => {
                let size = &dataset.size(*order).conversations;
                let (of, without) = match units.view {
                    View::Expected => (size.mean, size.without_system),
                    View::Most => (size.max, f64::from(u8::from(size.without_system > 0.0))),
                };
                ConversationSums {
                    system: units.bytes(of.system) + without * of.turns * system,
                    questions: units.bytes(of.questions),
                    answers: if is_recorded { units.bytes(of.answers) } else { 0.0 },
                    unknown_answers: if is_recorded { of.unknown_answers } else { of.earlier },
                    ..of
                }
            }
        }
    }

    /// The tokens of an answer in the history whose text is unknown. Random words are as many as the answer may have
    /// tokens, by the target's tokenizer.
    fn unknown_answer(&self, view: View) -> Amount {
        let of_words = self.plan.answers == HistoryAnswers::Recorded && view == View::Most;
        let per_token = if of_words { LONGEST_WORD as f64 } else { 1.0 };
        self.output.times(Amount::Exact(per_token))
    }

    /// The tokens that a template adds for a message.
    fn message(&self, view: View) -> f64 {
        match (view, self.target.chat_template) {
            (View::Most, _) => MAX_MESSAGE,
            (View::Expected, Some(template)) => template.message as f64,
            (View::Expected, None) => MESSAGE_TYPICAL,
        }
    }

    /// The tokens of each request that are in no text.
    fn request(&self, view: View) -> f64 {
        let is_busted = self.ask.cache == Cache::Bust;
        let nonce = |tokens: f64| if is_busted { tokens } else { 0.0 };
        match view {
            View::Most => nonce(MAX_NONCE) + MAX_PREAMBLE + params_bytes(self.params),
            View::Expected => {
                nonce(NONCE_TYPICAL) + self.target.chat_template.map_or(0.0, |it| it.request as f64)
            }
        }
    }

    /// The tokens of all requests that are in no text: of the messages, and of the requests themselves.
    fn overhead(&self, view: View, sums: ConversationSums) -> f64 {
        let system = if sums.system > 0.0 { 1.0 } else { 0.0 };
        let messages = (1.0 + system) * sums.turns + 2.0 * sums.earlier;
        messages * self.message(view) + sums.turns * self.request(view)
    }

    /// With summaries, by playing a conversation of mean length whose turns are all alike.
    fn summarized(
        &self,
        rule: &SummaryRule,
        sums: ConversationSums,
        plain: JourneyPart,
        units: &TextUnits<'_>,
    ) -> JourneyPart {
        let Some(output) = self.output.value() else { return plain };
        let view = View::Expected;
        let question = sums.questions / (sums.turns + sums.earlier);
        let answers = sums.answers + sums.unknown_answers * output;
        let turn = question + if sums.earlier > 0.0 { answers / sums.earlier } else { 0.0 };
        let (system, message, request) = (sums.system / sums.turns, self.message(view), self.request(view));
        let (mut history, mut summary, mut summaries, mut input) = (0_u32, 0.0, 0.0, 0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 100 turns")]
        let turns = (sums.turns.round() as u32).max(1);
        for number in 1..=turns {
            let has_system = f64::from(u8::from(system + summary > 0.0));
            let text = system + summary + f64::from(history) * turn + question;
            let messages = 1.0 + has_system + 2.0 * f64::from(history);
            input += text + messages * message + request;
            history += 1;
            if number < turns && rule.applies(history, text) {
                let folded = f64::from(history - rule.keep);
                if rule.by == SummaryBy::Model {
                    summaries += 1.0;
                    let asked = system + summary + folded * turn + units.text(&rule.prompt);
                    input += asked + (1.0 + has_system + 2.0 * folded) * message + request;
                }
                summary = rule.tokens as f64;
                history = rule.keep;
            }
        }
        // The mean number of turns is no whole number.
        let scale = sums.turns / f64::from(turns);
        let about = |value: f64| Amount::About(value * scale);
        let (requests, output) = if summaries > 0.0 {
            let output = about(summaries * rule.tokens as f64);
            (plain.requests + about(summaries), plain.tokens.output + output)
        } else {
            (plain.requests, plain.tokens.output)
        };
        JourneyPart { requests, tokens: TokenForecast { input: about(input), output }, ..plain }
    }

    /// With summaries, at most: no turn becomes shorter, each contains a summary, and each but the last is followed by
    /// the request for one, with the same turns.
    fn most_summarized(
        &self,
        rule: &SummaryRule,
        sums: ConversationSums,
        plain: JourneyPart,
        units: &TextUnits<'_>,
    ) -> JourneyPart {
        let most = |value: f64| Amount::AtMost(value);
        let by_model = rule.by == SummaryBy::Model;
        let tokens = rule.tokens as f64;
        // With an empty line between the system prompt and the summary.
        let frame = SUMMARY_HEAD.len() as f64 + 2.0;
        let summary = MAX_MESSAGE + frame + if by_model { tokens } else { units.words(tokens) };
        let turns = plain.tokens.input + most(sums.turns * summary);
        if !by_model {
            return JourneyPart { tokens: TokenForecast { input: turns, ..plain.tokens }, ..plain };
        }
        let summaries = (sums.turns - 1.0).max(0.0);
        let answer = self.unknown_answer(View::Most);
        let asked =
            most(summaries * (units.text(&rule.prompt) + MAX_MESSAGE)) + most(summaries).times(answer);
        let tokens = TokenForecast {
            input: turns.times(Amount::Exact(2.0)) + asked,
            output: plain.tokens.output + most(summaries * tokens),
        };
        JourneyPart { requests: plain.requests + most(summaries), tokens, ..plain }
    }
}
