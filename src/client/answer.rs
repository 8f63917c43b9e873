//! Builds the result of an answer: a state machine over the content of its events and their timestamps. Pure:
//! timestamps are passed in with the events, and no clock, transport or dialect is known here.

use super::dialect::{Demands, StreamEnd};
use crate::answer_json::surrogates;
use crate::event::{
    Count, CountSource, EventSizes, Failure, FinishReason, Gaps, Outcome, Tokens, UsagePart, UsageReports,
};
use crate::exchange::{Content, Delta, HiddenReasoning, ToolCall, ToolCallPiece, ToolCalls, Usage};
use bytes::Bytes;
use tokio::time::Instant;

/// An answer that is being received.
///
/// The first thing that ends it decides the outcome: the terminal event, a failure, or the end of the body. Later
/// events change no timestamp and add no text; only usage is still read, because it may follow a failure.
#[derive(Debug)]
pub(super) struct AnswerBuilder {
    streamed: bool,
    demands: Demands,
    /// The choice that is the answer: the first one that says something. There is only one, but some servers do not count
    /// from 0.
    choice: Option<u64>,
    marks: StreamMarks,
    gaps: Gaps,
    sizes: EventSizes,
    generated: Generated,
    content_events: u64,
    /// So far, all content came in events that repeat the content before them.
    repeats: bool,
    finish: Option<String>,
    /// The calls of tools, where somebody wants them.
    tool_calls: Option<ToolCalls>,
    /// Whether they came piece by piece, so that an event that repeats them adds nothing.
    calls_came: bool,
    logprobs: u64,
    id: Option<String>,
    usage: Usage,
    hidden: HiddenReasoning,
    first: PaceStart,
    first_answer: PaceStart,
    /// What came since the last content that is no part of an answer and may be an error.
    remark: Option<String>,
    end: Option<End>,
}

/// Where the pace of an answer begins: at its first content, or if reasoning was not streamed in full, at its first content
/// that is no reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PaceStart {
    /// When that event arrived.
    pub(super) at: Option<Instant>,
    /// Number of content events before it.
    pub(super) events_before: u64,
    /// Number of tokens known to be in it, if the server reports usage as it goes.
    tokens: Option<u64>,
}

/// The timestamps inside a stream; none of them is set for an answer that is not streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamMarks {
    pub(super) first_chunk: Option<Instant>,
    pub(super) first_token: Option<Instant>,
    pub(super) first_text: Option<Instant>,
    pub(super) last_token: Option<Instant>,
}

/// Everything that the model generated, in full: tokens are never counted chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct Generated {
    /// Visible text, including refusals.
    pub(super) text: String,
    /// Streamed reasoning.
    pub(super) reasoning: String,
    /// Names and arguments of tool calls.
    pub(super) tool_calls: String,
}

#[derive(Debug)]
struct End {
    at: Instant,
    failure: Option<(Failure, String)>,
}

/// An answer that has ended.
#[derive(Debug)]
pub(super) struct EndedAnswer {
    pub(super) outcome: Outcome,
    pub(super) detail: Option<String>,
    pub(super) end: Instant,
    pub(super) streamed: bool,
    pub(super) marks: StreamMarks,
    pub(super) gaps: Gaps,
    pub(super) sizes: EventSizes,
    pub(super) finish: Option<String>,
    /// Its id, where a later request can name it.
    pub(super) id: Option<String>,
    pub(super) generated: Generated,
    /// The calls of tools, where somebody wants them; see [`AnswerBuilder::keep_tool_calls`].
    pub(super) tool_calls: Vec<ToolCall>,
    /// Number of tokens whose log probability came.
    pub(super) logprobs: u64,
    pub(super) evidence: TokenEvidence,
    /// The body, if it came whole and not as a stream.
    pub(super) body: Option<Bytes>,
}

/// The token counts that are known before a tokenizer has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenEvidence {
    usage: Usage,
    content_events: u64,
    /// Bytes of content, and of them those of reasoning.
    content_bytes: u64,
    reasoning_bytes: u64,
    hidden: HiddenReasoning,
    first: PaceStart,
    first_answer: PaceStart,
    streamed: bool,
}

/// Token counts of a tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
}

impl AnswerBuilder {
    /// An answer before its first byte.
    pub(super) fn new(streamed: bool, demands: Demands) -> Self {
        Self {
            streamed,
            demands,
            choice: None,
            marks: StreamMarks::default(),
            gaps: Gaps::default(),
            sizes: EventSizes::default(),
            generated: Generated::default(),
            content_events: 0,
            repeats: true,
            finish: None,
            tool_calls: None,
            calls_came: false,
            logprobs: 0,
            id: None,
            usage: Usage::default(),
            hidden: HiddenReasoning::default(),
            first: PaceStart::default(),
            first_answer: PaceStart::default(),
            remark: None,
            end: None,
        }
    }

    /// Keeps the calls of tools one by one. Otherwise only their text is kept, to be counted.
    pub(super) fn keep_tool_calls(&mut self) {
        self.tool_calls.get_or_insert_default();
    }

    /// Handles an event of a stream, or a whole answer. Returns whether it was progress: an event without content,
    /// finish reason or usage shows that the server is alive, but is not progress.
    pub(super) fn event(&mut self, mark: Instant, mut delta: Delta) -> bool {
        let choice = std::mem::take(&mut delta.choice);
        if delta.says() && *self.choice.get_or_insert(choice) != choice {
            delta = delta.without_choice();
        }
        self.hidden = self.hidden.max(std::mem::take(&mut delta.hidden));
        let remark = delta.remark.take();
        let progress = delta != Delta::default();
        if let Some(usage) = delta.usage {
            self.usage.update(usage);
        }
        if self.ended() {
            return progress;
        }
        if self.streamed {
            self.marks.first_chunk.get_or_insert(mark);
        }
        // What the model goes on after was no failure.
        if !delta.content.is_empty() || !delta.repeated.is_empty() {
            self.remark = None;
        } else {
            self.remark = self.remark.take().or(remark);
        }
        if !delta.content.is_empty() {
            self.repeats = false;
            self.take_content(mark, &delta.content);
        }
        if !delta.repeated.is_empty() {
            self.take_repeated(mark, &delta.repeated);
        }
        self.take_tool_calls(&delta.tool_calls, &delta.repeated_tool_calls);
        self.logprobs = self.logprobs.saturating_add(delta.logprobs);
        if delta.finish.is_some() {
            self.finish = delta.finish;
        }
        self.id = delta.id.or(self.id.take());
        let gave_up = self.finish.as_deref().filter(|reason| FinishReason::of(reason) == FinishReason::Error);
        if let Some(said) = delta.error {
            self.fail(mark, Failure::StreamError, said);
        } else if let Some(reason) = gave_up {
            let said = format!("the server gave up: the finish reason is \"{reason}\"");
            let why = delta.finish_message.map(|why| format!(": {why}")).unwrap_or_default();
            self.fail(mark, Failure::StreamError, said + &why);
        } else if delta.terminal {
            self.complete(mark);
        }
        progress
    }

    /// Sets whether the answer is a stream, once its body has shown that.
    pub(super) fn set_streamed(&mut self, streamed: bool) {
        self.streamed = streamed;
    }

    /// Handles a clean end of the body. An answer with a finish reason is complete even without a terminal event, and
    /// so is a stream of a dialect that does not mark its end. `unknown` is a line of the body that no stream has, for
    /// the message.
    pub(super) fn end_of_body(&mut self, at: Instant, unknown: Option<String>) {
        if self.ended() {
            return;
        }
        if self.finish.is_some() || self.demands.end == StreamEnd::Body {
            self.complete(at);
        } else {
            let detail = "the body ended with neither a terminal event nor a finish reason";
            let line = unknown.map(|line| format!("; a line of it is no event: `{line}`"));
            let line = line.or_else(|| self.remark.take().map(|said| format!("; it ends with: {said}")));
            self.fail(at, Failure::Truncated, format!("{detail}{}", line.unwrap_or_default()));
        }
    }

    /// Records a failure. It becomes the outcome, unless the answer had already ended.
    pub(super) fn fail(&mut self, at: Instant, failure: Failure, detail: String) {
        self.end.get_or_insert(End { at, failure: Some((failure, detail)) });
    }

    /// Whether the outcome is decided.
    pub(super) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// The number of bytes that its texts occupy.
    pub(super) fn held(&self) -> usize {
        let Generated { text, reasoning, tool_calls } = &self.generated;
        let calls = self.tool_calls.as_ref().map_or(0, ToolCalls::bytes);
        let remark = self.remark.as_ref().map_or(0, String::capacity);
        text.capacity() + reasoning.capacity() + tool_calls.capacity() + calls + remark
    }

    /// Whether any generated content was received.
    pub(super) fn has_content(&self) -> bool {
        self.content_events > 0
    }

    /// The finished answer. `now` is the end of an answer that nothing ended, which would be a bug in tokenbeat.
    pub(super) fn close(mut self, now: Instant) -> EndedAnswer {
        let Generated { text, reasoning, tool_calls } = &mut self.generated;
        for text in [text, reasoning, tool_calls] {
            surrogates::finish(text);
        }
        self.fail(now, Failure::Internal, "the answer was not read to its end".into());
        let (end, failure) = self.end.map_or((now, None), |end| (end.at, end.failure));
        let (outcome, detail) = match failure {
            None => (Outcome::Ok, None),
            Some((failure, detail)) => (Outcome::Failed(failure), Some(detail)),
        };
        let Generated { text, reasoning, tool_calls } = &self.generated;
        let evidence = TokenEvidence {
            usage: self.usage.total(),
            content_events: self.content_events,
            content_bytes: (text.len() + reasoning.len() + tool_calls.len()) as u64,
            reasoning_bytes: reasoning.len() as u64,
            hidden: self.hidden,
            first: self.first,
            first_answer: self.first_answer,
            streamed: self.streamed,
        };
        EndedAnswer {
            outcome,
            detail,
            end,
            streamed: self.streamed,
            marks: self.marks,
            gaps: self.gaps,
            sizes: self.sizes,
            finish: self.finish,
            id: self.id,
            generated: self.generated,
            tool_calls: self.tool_calls.map(ToolCalls::finish).unwrap_or_default(),
            logprobs: self.logprobs,
            evidence,
            body: None,
        }
    }

    fn complete(&mut self, at: Instant) {
        // Gateways end a stream that broke off as if it were complete, but they know no finish reason for it.
        let remark =
            self.remark.take().filter(|_| self.demands.end == StreamEnd::WithReason && self.finish.is_none());
        if let Some(said) = remark {
            let detail = format!(
                "the stream ended without a finish reason, after what is no part of an answer: {said}"
            );
            self.fail(at, Failure::Truncated, detail);
        } else if self.has_content() || !self.demands.content {
            self.end = Some(End { at, failure: None });
        } else {
            self.fail(at, Failure::Empty, "the answer is complete and has no generated content".into());
        }
    }

    /// Takes the new part of content that repeats everything before it. If all content came this way, an event that
    /// does not begin with the earlier content is taken as a continuation.
    fn take_repeated(&mut self, mark: Instant, content: &[Content]) {
        // Content that was already received piece by piece is repeated here.
        if !self.repeats {
            return;
        }
        let mut all = Generated::default();
        for piece in content {
            all.append(piece);
        }
        let before = &self.generated;
        let new = |all: String, before: &str| match all.strip_prefix(before) {
            Some(new) => new.to_owned(),
            None => all,
        };
        let pieces = [
            Content::Reasoning(new(all.reasoning, &before.reasoning)),
            Content::Text(new(all.text, &before.text)),
            Content::ToolCall(new(all.tool_calls, &before.tool_calls)),
        ];
        let new: Vec<_> = pieces.into_iter().filter(|piece| !piece.text().is_empty()).collect();
        if !new.is_empty() {
            self.take_content(mark, &new);
        }
    }

    /// Events that repeat all calls so far count only where nothing came piece by piece.
    fn take_tool_calls(&mut self, pieces: &[ToolCallPiece], repeated: &[ToolCallPiece]) {
        let Some(calls) = &mut self.tool_calls else { return };
        if !pieces.is_empty() {
            self.calls_came = true;
            for piece in pieces {
                calls.add(piece);
            }
        } else if !repeated.is_empty() && !self.calls_came {
            *calls = ToolCalls::default();
            for piece in repeated {
                calls.add(piece);
            }
        }
    }

    fn take_content(&mut self, mark: Instant, content: &[Content]) {
        let visible = content.iter().any(|piece| matches!(piece, Content::Text(_) | Content::Refusal(_)));
        for piece in content {
            self.generated.append(piece);
        }
        let events_before = self.content_events;
        self.content_events += 1;
        if !self.streamed {
            return;
        }
        self.sizes.push(content.iter().map(|piece| piece.text().len()).sum());
        if let Some(last) = self.marks.last_token {
            self.gaps.push(mark.saturating_duration_since(last));
        } else {
            let hidden =
                if self.generated.reasoning.is_empty() { self.usage.total().reasoning } else { None };
            self.first = PaceStart { at: Some(mark), events_before, tokens: self.tokens_so_far(hidden) };
        }
        if self.first_answer.at.is_none() && content.iter().any(|it| !matches!(it, Content::Reasoning(_))) {
            let tokens = self.tokens_so_far(self.usage.total().reasoning);
            self.first_answer = PaceStart { at: Some(mark), events_before, tokens };
        }
        self.marks.first_token.get_or_insert(mark);
        self.marks.last_token = Some(mark);
        if visible {
            self.marks.first_text.get_or_insert(mark);
        }
    }

    /// The number of tokens streamed so far, if the server reports usage as it goes, without those that are `hidden`.
    fn tokens_so_far(&self, hidden: Option<u64>) -> Option<u64> {
        let output = self.usage.total().output?;
        Some(output.saturating_sub(hidden.unwrap_or(0))).filter(|n| *n > 0)
    }
}

impl Generated {
    fn append(&mut self, piece: &Content) {
        let all = match piece {
            Content::Text(_) | Content::Refusal(_) => &mut self.text,
            Content::Reasoning(_) => &mut self.reasoning,
            Content::ToolCall(_) => &mut self.tool_calls,
        };
        surrogates::append(all, piece.text());
    }
}

impl EndedAnswer {
    /// Applies the output limit of the request, in tokens. An answer without content that ended because hidden
    /// reasoning used up the limit says nothing about the server: the limit was too low.
    pub(super) fn limit_output(&mut self, allowed: u64) {
        let cut = self.finish.as_deref().map(FinishReason::of) == Some(FinishReason::Length);
        let usage = &self.evidence.usage;
        // Servers round what was reasoning, leave it out, or count nothing at all.
        let hidden = match (usage.output, usage.reasoning) {
            (None, _) => true,
            (Some(output), reasoning) => {
                let reasoning = reasoning.unwrap_or(0);
                output >= allowed || (reasoning > 0 && reasoning >= output - output / 4)
            }
        };
        if self.outcome == Outcome::Failed(Failure::Empty) && cut && hidden {
            self.outcome = Outcome::Failed(Failure::Exhausted);
            self.detail = Some(format!(
                "hidden reasoning used up the {allowed} output tokens that the request allows before anything visible came: \
                 raise output_tokens, or ask for less reasoning"
            ));
        }
    }

    /// Fails the answer because its status was not the expected one. An incomplete answer keeps its own failure.
    pub(super) fn reject(&mut self, said: String) {
        let complete =
            self.body.is_some() || matches!(self.outcome, Outcome::Ok | Outcome::Failed(Failure::Empty));
        if complete {
            self.outcome = Outcome::Failed(Failure::Check);
            self.detail = Some(said);
        } else if let Some(detail) = &mut self.detail {
            *detail = format!("{said}: {detail}");
        }
    }
}

/// Maximum number of input tokens of one request that is believed: more than any model accepts.
const MAX_INPUT: u64 = 1 << 24;
/// Maximum number of hidden output tokens that is believed if the request sets no limit: more than any model generates.
const MAX_HIDDEN: u64 = 1 << 20;
/// Output tokens of a stream that add nothing to its content: those that mark turns, channels and ends.
const MAX_WITHOUT_TEXT: u64 = 64;
/// Output tokens that need not be visible in the body: those that mark turns, tools and ends.
const MAX_INVISIBLE: u64 = 1024;

impl TokenEvidence {
    /// Drops counts of the server that cannot be true, so that one bad answer neither spends a budget nor spoils a
    /// counter. Returns whether there were any. A visible token takes at least one byte of the body, so the rest must
    /// be hidden reasoning: as many tokens as the server reports, or else twice the limit of the request (which some
    /// servers do not apply to reasoning). A part is never larger than its whole.
    pub(super) fn refuse_usage(&mut self, received: usize, allowed: Option<u64>) -> bool {
        let hidden = match (self.usage.reasoning, allowed) {
            (Some(reasoning), _) => reasoning,
            (None, Some(allowed)) => allowed.saturating_mul(2),
            (None, None) => MAX_HIDDEN,
        };
        let most = hidden.min(MAX_HIDDEN).saturating_add(MAX_INVISIBLE).saturating_add(received as u64);
        let before = self.usage;
        self.usage.input = self.usage.input.filter(|n| *n <= MAX_INPUT);
        self.usage.output = self.usage.output.filter(|n| *n <= most);
        self.usage.reasoning =
            self.usage.reasoning.filter(|n| self.usage.output.is_some_and(|all| *n <= all));
        self.usage.cached_input =
            self.usage.cached_input.filter(|n| self.usage.input.is_some_and(|all| *n <= all));
        if self.usage.output.is_none() {
            (self.first.tokens, self.first_answer.tokens) = (None, None);
        }
        let refused = |before: Option<u64>, now: Option<u64>| before.is_some() && now.is_none();
        refused(before.input, self.usage.input) || refused(before.output, self.usage.output)
    }

    /// The counts, each from its most trusted source: usage, then the tokenizer, then the number of content events. A
    /// usage of zero although there was a prompt or content comes from a server that does not count, and is ignored;
    /// the events of an answer that was not streamed give no estimate.
    pub(super) fn tokens(&self, counted: Counted) -> Tokens {
        let from = |source| move |n| Count { n, source };
        let said = self.usage.output.filter(|n| *n > 0 || self.content_events == 0);
        let events = Some(self.content_events).filter(|n| *n > 0 && self.streamed);
        let output = said
            .map(from(CountSource::Usage))
            .or(counted.output.map(from(CountSource::Tokenizer)))
            .or(events.map(from(CountSource::Chunks)));
        let input = self.usage.input.filter(|n| *n > 0).map(from(CountSource::Usage));
        // A tokenizer counts what was streamed.
        let hidden = said.map_or(Some(0), |output| self.hidden(output));
        Tokens {
            input: input.or(counted.input.map(from(CountSource::Tokenizer))),
            output,
            cached_input: self.usage.cached_input,
            // Reasoning is a part of the server's count, and not of a count from another source.
            reasoning: self.usage.reasoning.filter(|_| said.is_some()),
            hidden,
            tokenizer_output: counted.output.filter(|_| said.is_some()),
            first_event: self.pace_start(hidden).tokens,
            reports: UsageReports::default(),
        }
    }

    /// Number of output tokens of the server's count that were not streamed; `None` if that is unknown.
    fn hidden(&self, output: u64) -> Option<u64> {
        // Reasoning of so few bytes per token is not the whole of it: a token has at least one byte, and where something
        // says that there is more, the two of the tersest text.
        let least = match self.hidden {
            HiddenReasoning::Untold => Some(1),
            HiddenReasoning::Possible => Some(2),
            HiddenReasoning::Certain => None,
        };
        let whole =
            |bytes: u64, tokens: u64| least.is_some_and(|least| bytes >= tokens.saturating_mul(least));
        let hidden = match self.usage.reasoning {
            Some(tokens)
                if self.streamed && self.reasoning_bytes > 0 && whole(self.reasoning_bytes, tokens) =>
            {
                0
            }
            Some(tokens) => tokens,
            None if self.hidden == HiddenReasoning::Untold || whole(self.content_bytes, output) => 0,
            None => return None,
        };
        // More tokens than bytes were not streamed, whatever they were.
        let shown = self.content_bytes.saturating_add(MAX_WITHOUT_TEXT);
        (!self.streamed || output.saturating_sub(hidden) <= shown).then_some(hidden)
    }

    /// Where the pace begins, if so many tokens were not streamed.
    pub(super) fn pace_start(&self, hidden: Option<u64>) -> PaceStart {
        if hidden == Some(0) { self.first } else { self.first_answer }
    }

    /// Which counts the server reported, of those that the answer could report.
    pub(super) fn reports(&self, could: impl Fn(UsagePart) -> bool) -> UsageReports {
        UsageReports::from_fn(|part| {
            let count = match part {
                UsagePart::Input => self.usage.input,
                UsagePart::Output => self.usage.output,
                UsagePart::CachedInput => self.usage.cached_input,
                UsagePart::Reasoning => self.usage.reasoning,
            };
            could(part).then(|| count.is_some().into())
        })
    }

    /// Whether the server did not report the length of the prompt.
    pub(super) fn lacks_input(&self) -> bool {
        self.usage.input.is_none_or(|n| n == 0)
    }
}
