//! Turns a request into an answer: plans the output and yields its tokens as the engine generates them.
//!
//! Every dialect builds on this. It knows nothing about JSON, events or HTTP.

#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dialect::{Ending, Refusal};
use super::driver::{Driver, JobUpdate, Label, Ticket};
use super::effects::{Effects, Reasoning};
use super::engine::{Job, Refused};
use super::faults::ReasoningField;
use super::likely;
use super::metrics::Sizes;
use super::options::Options;
use super::output_form::{OutputForm, fitting};
use super::stored::{StoredTurn, Storing};
use super::text::{self, Alphabet, Writer};
use super::truth::Truth;

/// The drift from which on another model writes other texts.
const OTHER_MODEL: f64 = 1.0;

/// A request, independent of the dialect.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate parameter of a request")]
pub(crate) struct Ask {
    /// The model's name.
    pub(crate) model: String,
    /// The prompt, as turns; the simulator's chat template joins them.
    pub(crate) turns: Vec<Turn>,
    /// Number of output tokens; drawn from the configured distribution if `None`.
    pub(crate) max_tokens: Option<usize>,
    /// Stop sequences: the output ends before the first one.
    pub(crate) stop: Vec<String>,
    /// The seed of the generated text.
    pub(crate) seed: u64,
    /// Never stop before `max_tokens` is reached.
    pub(crate) ignore_eos: bool,
    /// Number of reasoning tokens that the request asks for, if it does.
    pub(crate) reasoning: Option<usize>,
    /// That reasoning is counted and not sent.
    pub(crate) hide_reasoning: bool,
    /// The form of the answer.
    pub(crate) form: OutputForm,
    /// Whether log probabilities are sent.
    pub(crate) logprobs: bool,
    /// Number of likely tokens whose log probabilities are sent as well.
    pub(crate) top_logprobs: usize,
    /// What the engine does.
    pub(crate) task: Task,
    /// Where it stands in a conversation that is stored here.
    pub(crate) stored: Option<StoredTurn>,
    /// Whether the answer is streamed.
    pub(crate) stream: bool,
}

/// What the engine does for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Task {
    /// It generates tokens.
    #[default]
    Generate,
    /// It computes something from the prompt alone.
    Prefill,
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) role: String,
    pub(crate) text: String,
}

/// The finish reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model stopped by itself or at a stop sequence.
    Stop,
    /// The requested number of tokens was reached.
    Length,
    /// A tool is called.
    ToolCalls,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Visible text.
    Text,
    /// Visible reasoning, sent in this field.
    Reasoning(ReasoningField),
    /// Reasoning that is counted and never sent.
    Hidden,
    /// Arguments of the tool that is called.
    Arguments,
}

/// One token of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// The text; empty for the token that only ends an answer.
    pub(crate) text: String,
}

/// Token counts of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) cached: usize,
    pub(crate) reasoning: usize,
}

/// Everything that is known about an answer before it is generated.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
    /// Prompt tokens plus requested output tokens, the way rate limits count.
    pub(crate) billed: usize,
    max_tokens: Option<usize>,
    /// Whether log probabilities are sent.
    pub(crate) logprobs: bool,
    top_logprobs: usize,
    drift: f64,
    /// The seed of the text.
    seed: u64,
    hashes: Vec<u64>,
    slow_down: f64,
}

/// An answer that is being generated.
#[derive(Debug)]
pub(crate) struct Generation {
    pieces: std::vec::IntoIter<Piece>,
    ticket: Ticket,
    /// The finish reason it will have.
    pub(crate) finish: Finish,
    /// Its token counts; the cached ones are known once it was admitted.
    pub(crate) usage: Usage,
    /// Time in the queue in seconds, once it was admitted.
    pub(crate) queued: Option<f64>,
    /// Duration of the prefill in seconds, once there is a token.
    pub(crate) prefill: Option<f64>,
    /// The time that retrieval took before, in seconds.
    pub(crate) retrieval: Option<Duration>,
    /// Whether log probabilities are sent.
    pub(crate) logprobs: bool,
    /// The most likely first tokens of its text, until they are sent.
    pub(crate) likely: Vec<(String, f64)>,
    /// The visible text so far.
    pub(crate) text: String,
    /// When its latest token was due.
    pub(crate) due: Option<Instant>,
    /// What is stored once it is complete.
    pub(crate) storing: Option<Storing>,
    begun: Instant,
}

impl Kind {
    /// Whether it is reasoning, sent or not.
    pub(crate) fn is_reasoning(self) -> bool {
        matches!(self, Self::Reasoning(_) | Self::Hidden)
    }
}

impl Finish {
    /// The name in the OpenAI API, which the ground truth and the metrics use, too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

impl Planned {
    /// Plans the whole output, from the seed and the request alone.
    pub(crate) fn new(ask: &Ask, effects: &Effects, options: &Options) -> Result<Self, Refusal> {
        let mut tokens = prompt_tokens(&ask.turns);
        let input = tokens.len();
        let room = options.longest().saturating_sub(input);
        if room == 0 || ask.max_tokens.is_some_and(|wanted| wanted > room) {
            let requested = ask.max_tokens.unwrap_or(0);
            return Err(Refusal::TooLong { longest: options.longest(), input, requested });
        }
        let mut seed = text::hash(options.seed, ask.model.as_bytes());
        let own_seed = if effects.ignore_seed { rand::random() } else { ask.seed };
        seed = text::hash(seed, &own_seed.to_le_bytes());
        seed = tokens.iter().fold(seed, |seed, token| text::hash(seed, &token.to_le_bytes()));
        // Another model writes other texts; one that is only stored in another way does not.
        let own = seed;
        if effects.drift >= OTHER_MODEL {
            seed = text::hash(seed, b"another model");
        }
        let (length, finish) = length(ask, effects, options, seed, room);
        let alphabet = if effects.bytes_per_write.is_some() { Alphabet::Wide } else { Alphabet::Plain };
        let reasoning = effects.reasoning.or_else(|| asked_reasoning(ask));
        let stop: &[String] = if effects.ignore_stop { &[] } else { &ask.stop };
        let (mut pieces, ended) = if effects.no_content || ask.task == Task::Prefill {
            (vec![end_of_answer()], Some(Finish::Stop))
        } else {
            write((&ask.form, stop), reasoning, seed, alphabet, length)
        };
        if ask.stream {
            spoil(&mut pieces, effects);
        }
        let usage = Usage {
            input,
            output: if ask.task == Task::Prefill { 0 } else { pieces.len() },
            cached: 0,
            reasoning: pieces.iter().filter(|piece| piece.kind.is_reasoning()).count(),
        };
        tokens.extend(pieces.iter().map(|piece| text::token_id(&piece.text)));
        Ok(Self {
            hashes: if effects.no_prefix_cache {
                Vec::new()
            } else {
                text::block_hashes(&tokens, options.block_size)
            },
            finish: ended.unwrap_or(finish),
            billed: input + ask.max_tokens.unwrap_or(usage.output),
            max_tokens: ask.max_tokens,
            logprobs: ask.logprobs && !effects.no_logprobs,
            top_logprobs: ask.top_logprobs,
            drift: effects.drift,
            seed: own,
            slow_down: effects.slow_down,
            pieces,
            usage,
        })
    }

    /// The most likely first tokens of its text, if the request asked for them; `draw` is the number of the answer.
    pub(crate) fn likely(&self, draw: u64) -> Vec<(String, f64)> {
        let first = self.pieces.iter().find(|piece| piece.kind == Kind::Text);
        match first {
            Some(first) if self.logprobs && self.top_logprobs > 0 => {
                likely::tokens(&first.text, self.seed, self.drift, draw, self.top_logprobs)
            }
            _ => Vec::new(),
        }
    }

    /// What the metrics record of it.
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes { prompt: self.usage.input, output: self.usage.output, max_tokens: self.max_tokens }
    }

    /// All of it at once, without the engine.
    pub(crate) fn at_once(self) -> Generation {
        let (sender, ticket) = mpsc::channel(self.pieces.len().max(1));
        let due = Instant::now();
        for _ in &self.pieces {
            // There is room for each.
            let _ = sender.try_send(JobUpdate::Token { prefill: None, due });
        }
        self.generation(ticket)
    }

    /// Submits it to the engine.
    pub(crate) fn submit(mut self, driver: &Driver) -> Result<Generation, Refusal> {
        let sizes = self.sizes();
        let job = Job {
            prompt: self.usage.input,
            output: self.pieces.len(),
            hashes: std::mem::take(&mut self.hashes),
            slow_down: self.slow_down,
        };
        let label = Label { finish: self.finish.name(), sizes };
        let ticket = driver.submit(job, label).map_err(|refused| match refused {
            Refused::QueueFull => Refusal::Overloaded,
            Refused::TooLong => Refusal::Invalid("the request does not fit into the KV cache".to_owned()),
        })?;
        Ok(self.generation(ticket))
    }

    fn generation(self, ticket: Ticket) -> Generation {
        let visible = self.pieces.iter().filter(|piece| piece.kind == Kind::Text);
        Generation {
            text: visible.map(|piece| piece.text.as_str()).collect(),
            pieces: self.pieces.into_iter(),
            ticket,
            finish: self.finish,
            usage: self.usage,
            logprobs: self.logprobs,
            likely: Vec::new(),
            queued: None,
            prefill: None,
            retrieval: None,
            storing: None,
            due: None,
            begun: Instant::now(),
        }
    }
}

impl Generation {
    /// The next token, once the engine has generated it; `None` at the end, or if the engine stopped.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        loop {
            match self.ticket.recv().await? {
                JobUpdate::Admitted { queued, cached } => {
                    self.queued = Some(queued.as_secs_f64());
                    self.usage.cached = cached;
                }
                JobUpdate::Token { prefill, due } => {
                    self.due = Some(due);
                    self.prefill = self.prefill.or_else(|| prefill.map(|time| time.as_secs_f64()));
                    return self.pieces.next();
                }
            }
        }
    }

    /// Records in the ground truth what is known by now.
    pub(crate) fn report(&self, truth: &mut Truth) {
        truth.queue_seconds = self.queued;
        truth.prefill_seconds = self.prefill;
        truth.cached_tokens = self.usage.cached;
    }

    /// The finish reason and the usage that the answer reports.
    pub(crate) fn ending(&self, effects: &Effects) -> Ending {
        Ending {
            finish: self.finish,
            usage: if effects.zero_usage { Usage::default() } else { self.usage },
            retrieval: self.retrieval,
            generation: self.begun.elapsed(),
        }
    }

    /// The most likely first tokens of its text, for the first piece of it and then no more.
    pub(crate) fn likely_of(&mut self, kind: Kind) -> Vec<(String, f64)> {
        if kind == Kind::Text { std::mem::take(&mut self.likely) } else { Vec::new() }
    }

    /// The whole answer has been handed over.
    pub(crate) fn store(&mut self) {
        if let Some(storing) = self.storing.take() {
            storing.complete(&self.text);
        }
    }

    /// Whether all tokens were generated.
    pub(crate) fn complete(&self) -> bool {
        self.pieces.as_slice().is_empty()
    }
}

/// The tokens of a conversation under the simulator's chat template: each turn between two marker tokens, then one that
/// prompts for the answer.
fn prompt_tokens(turns: &[Turn]) -> Vec<u64> {
    let mut tokens = Vec::new();
    for turn in turns {
        tokens.push(marker(&turn.role));
        tokens.extend(text::pieces(&turn.text).map(text::token_id));
        tokens.push(marker("end"));
    }
    tokens.push(marker("assistant"));
    tokens
}

/// The length of the output in tokens, and its finish reason.
fn length(ask: &Ask, effects: &Effects, options: &Options, seed: u64, room: usize) -> (usize, Finish) {
    let early = effects.early_finish.filter(|_| !ask.ignore_eos);
    let natural_length = || match ask.form {
        OutputForm::Prose => natural_length(options, seed),
        // They end with the document.
        OutputForm::Json(_) | OutputForm::Call(_) => room,
    };
    let (length, finish) = match (ask.max_tokens, ask.ignore_eos) {
        (Some(wanted), _) if effects.ignore_max_tokens => {
            (natural_length().max(wanted.saturating_mul(2)).min(room), Finish::Stop)
        }
        (Some(wanted), _) => (wanted.max(1), Finish::Length),
        (None, true) => (room, Finish::Length),
        (None, false) => match natural_length() {
            natural if natural < room => (natural, Finish::Stop),
            _ => (room, Finish::Length),
        },
    };
    match early {
        Some(early) if early < length => (early, Finish::Stop),
        _ => (length, finish),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn natural_length(options: &Options, seed: u64) -> usize {
    let draw: f64 = ChaCha8Rng::seed_from_u64(!seed).sample(StandardNormal);
    let tokens = options.output_median * (options.output_sigma * draw).exp();
    (tokens.round() as usize).max(1)
}

/// The tokens of the answer, and how it ended before its length was reached, if it did.
fn write(
    (form, stop): (&OutputForm, &[String]),
    reasoning: Option<Reasoning>,
    seed: u64,
    alphabet: Alphabet,
    length: usize,
) -> (Vec<Piece>, Option<Finish>) {
    let (kind, thinking) = match reasoning {
        Some(Reasoning::Hidden { tokens }) => (Kind::Hidden, tokens.min(length)),
        Some(Reasoning::Visible { field, tokens }) => (Kind::Reasoning(field), tokens.min(length)),
        None => (Kind::Text, 0),
    };
    let mut thoughts = Writer::new(!seed, alphabet);
    let mut pieces: Vec<Piece> = (0..thinking).map(|_| Piece { kind, text: thoughts.piece() }).collect();
    let document = match form {
        OutputForm::Prose => None,
        OutputForm::Json(schema) => Some((Kind::Text, Finish::Stop, schema)),
        OutputForm::Call(tool) => Some((Kind::Arguments, Finish::ToolCalls, &tool.parameters)),
    };
    if let Some((kind, finish, schema)) = document {
        let text = fitting(schema, seed).to_string();
        let all = text::pieces(&text).map(|piece| Piece { kind, text: piece.to_owned() });
        pieces.extend(all);
        let ended = (pieces.len() <= length).then_some(finish);
        pieces.truncate(length);
        return (pieces, ended);
    }
    let mut writer = Writer::new(seed, alphabet);
    let mut written = String::new();
    while pieces.len() < length {
        let piece = writer.piece();
        let before = written.len();
        written.push_str(&piece);
        if let Some(at) = first_stop(&written, before, stop) {
            // The part of the stop sequence inside earlier tokens was already sent, as in a real stream.
            let kept = written.get(before..at).unwrap_or_default();
            pieces.push(Piece { kind: Kind::Text, text: kept.to_owned() });
            return (pieces, Some(Finish::Stop));
        }
        pieces.push(Piece { kind: Kind::Text, text: piece });
    }
    (pieces, None)
}

/// Loses a piece of what is streamed, where a fault says so: of the text, or of a tool's arguments, so that they are no
/// JSON.
fn spoil(pieces: &mut [Piece], effects: &Effects) {
    let is_text = |piece: &Piece| piece.kind == Kind::Text && !piece.text.is_empty();
    let is_argument = |piece: &Piece| piece.kind == Kind::Arguments;
    let is_quote = |piece: &Piece| is_argument(piece) && piece.text.contains('"');
    let word = pieces.iter().rposition(is_text).filter(|_| effects.stream_differs);
    let argument = pieces.iter().rposition(is_quote).or_else(|| pieces.iter().rposition(is_argument));
    for lost in [word, argument.filter(|_| effects.broken_arguments)].into_iter().flatten() {
        if let Some(piece) = pieces.get_mut(lost) {
            piece.text.clear();
        }
    }
}

/// The position of the first stop sequence that ends in what was appended after `before`.
fn first_stop(written: &str, before: usize, stop: &[String]) -> Option<usize> {
    let found = stop.iter().filter(|sequence| !sequence.is_empty()).filter_map(|sequence| {
        let mut from = before.saturating_sub(sequence.len());
        while !written.is_char_boundary(from) {
            from -= 1;
        }
        written.get(from..)?.find(sequence.as_str()).map(|at| from + at)
    });
    found.min()
}

fn asked_reasoning(ask: &Ask) -> Option<Reasoning> {
    let tokens = ask.reasoning.filter(|tokens| *tokens > 0)?;
    if ask.hide_reasoning {
        return Some(Reasoning::Hidden { tokens });
    }
    Some(Reasoning::Visible { field: ReasoningField::default(), tokens })
}

fn end_of_answer() -> Piece {
    Piece { kind: Kind::Text, text: String::new() }
}

/// A token of the chat template, which never occurs in a text.
fn marker(name: &str) -> u64 {
    text::token_id(&format!("<|{name}|>"))
}
