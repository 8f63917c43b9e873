//! The users of a scenario: what they do next, what they send, and what they keep of the answers. Pure: the engine
//! drives it; it is independent of clock, transport and budgets.

mod conversation;
mod cookies;
mod draft;
mod kept;
mod progress;
mod taken;
mod talk;

pub use progress::{
    Continuation, JourneyEnd, JourneyStep, REFUSED_PAUSE, UserAction, UserEvent, UserProgress,
};

use crate::checks::{Documents, Evidence};
use crate::exchange::{Ask, Call};
use crate::plan::{AskStep, PairPlan, Scenario, Step, StepAction};
use crate::secret::Exposed;
use crate::seed::{self, RunSeeds};
use crate::template::{Counters, RenderError};
use conversation::ConversationState;
use cookies::Jar;
use draft::Renderer;
use jiff::Timestamp;
use kept::KeptConversations;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use taken::Taken;
use talk::{HistoryLimit, PastAnswer, Talk};

/// Extracted values shorter than this are not masked: they would match parts of ordinary words.
const MIN_HIDDEN: usize = 8;
/// Overhead of an entry in a map or a list in bytes, in addition to its content; a generous upper bound.
const ENTRY: usize = 128;

/// What all users of a stage share.
#[derive(Debug)]
pub struct StageContext {
    /// The pair; its profile has a scenario.
    pub pair: Arc<PairPlan>,
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Seeds of the run.
    pub seeds: RunSeeds,
    /// Id of the run.
    pub run: String,
    /// The number of the stage in the run; random draws depend on it.
    pub stage_number: u32,
    /// The stage's name.
    pub stage: Arc<str>,
}

/// One user: the values it extracted from answers, its cookies and its conversations. Its memory is limited; see
/// [`UserSession::most_bytes`].
pub struct UserSession {
    stage_context: Arc<StageContext>,
    index: u32,
    taken: Taken,
    /// `None` unless the scenario keeps cookies.
    jar: Option<Jar>,
    talk: Talk,
    /// The nonces of the conversations in `talk`, by [`Step::number`].
    nonces: BTreeMap<usize, u64>,
    kept: KeptConversations,
    conversation: ConversationState,
    /// Number of turns answered since the set-up, by [`Step::number`].
    turns: BTreeMap<usize, u32>,
    counters: Counters,
    last: Option<Play>,
}

/// Identifies one request in an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Play {
    iteration: u64,
    step: usize,
    /// How often the step was played before in this iteration.
    n: u64,
}

/// A request before it is encoded.
#[derive(Debug)]
pub enum Draft {
    /// Encoded already.
    Call(Call),
    /// To be encoded by the target's dialect.
    Ask(Ask),
}

/// A request that a user is about to send.
#[derive(Debug)]
pub struct Outgoing {
    /// The request.
    pub draft: Draft,
    /// Values to redact: the scenario's secrets, the user's extracted values and its cookies.
    pub hidden: Vec<Exposed>,
}

/// The reason why a request cannot be built. It quotes no secret.
#[derive(Debug, thiserror::Error)]
pub enum Unbuildable {
    /// A secret of the scenario cannot be read.
    #[error("{0}")]
    Secret(String),
    /// The values in the config do not form a request.
    #[error("{0}")]
    Config(String),
    /// Values extracted from earlier answers do not form a request.
    #[error("{0}")]
    Taken(String),
}

/// A value to extract was missing. It quotes nothing of the answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotThere(pub String);

impl UserSession {
    /// Maximum number of bytes of an extracted value, as JSON.
    pub const MAX_TAKEN: usize = 64 << 10;
    /// Maximum number of cookies; further ones are not kept.
    pub const MAX_COOKIES: usize = 64;
    /// Maximum number of bytes of a cookie as sent by the server, including its path and domain. Longer ones are not
    /// kept.
    pub const MAX_COOKIE: usize = 4 << 10;
    /// Maximum number of bytes of earlier questions and answers; the oldest turns are dropped.
    pub const MAX_HISTORY: usize = 256 << 10;

    /// A user that has not done anything yet.
    pub fn new(stage_context: Arc<StageContext>, index: u32) -> Self {
        let jar = stage_context.scenario.cookies.then(Jar::default);
        Self {
            stage_context,
            index,
            taken: Taken::default(),
            jar,
            talk: Talk::default(),
            nonces: BTreeMap::new(),
            kept: KeptConversations::default(),
            conversation: ConversationState::default(),
            turns: BTreeMap::new(),
            counters: Counters::default(),
            last: None,
        }
    }

    /// The maximum number of bytes that a user keeps between its requests: values, cookies, conversations, counters.
    /// The scenario itself and the request in flight are not included.
    pub fn most_bytes(scenario: &Scenario) -> usize {
        let names: BTreeSet<_> = scenario.all().flat_map(|step| &step.take).map(|take| &take.name).collect();
        let taken = names.len() * (Self::MAX_TAKEN + ENTRY);
        let talk = Talk::most_bytes(scenario.all().map(|step| history_bytes(step)).max().unwrap_or(0));
        let is_of_conversation = |step: &Arc<Step>| step.is_of_conversation();
        let summary = if scenario.all().any(is_of_conversation) { Self::MAX_TAKEN + ENTRY } else { 0 };
        let kept =
            KeptConversations::most_bytes(scenario.all().filter(|step| stateful(step).is_some()).count());
        let jar = if scenario.cookies { Jar::MAX_BYTES } else { 0 };
        let turns = scenario.all().filter(|step| step.turns).count() * ENTRY;
        let nonces = scenario.all().filter(|step| history_bytes(step) > 0).count() * ENTRY;
        let counters = Counters::MAX * (Counters::MAX_NAME + ENTRY);
        size_of::<Self>() + taken + talk + summary + kept + jar + turns + nonces + counters
    }

    /// Starts over before the set-up is played (again): extracted values, cookies and conversations are dropped.
    /// Counters continue.
    pub fn reset(&mut self) {
        self.taken = Taken::default();
        self.talk = Talk::default();
        self.nonces.clear();
        self.kept = KeptConversations::default();
        self.conversation = ConversationState::default();
        self.turns.clear();
        if let Some(jar) = &mut self.jar {
            jar.clear();
        }
    }

    /// The turn of a step's next play, from 1; always 1 for a step without turns. `repeat` is the number of the play in
    /// a row, from 0. A turn whose answer was not ok is played again under the same number.
    pub fn turn(&self, step: &Step, repeat: u32) -> u32 {
        if step.conversation().is_some() {
            return repeat.saturating_add(1);
        }
        match (step.turns, stateful(step)) {
            (false, _) => 1,
            (true, _) if step.repeat > 1 => repeat.saturating_add(1),
            (true, Some(ask)) => self.kept.turns(step.number, ask.history).saturating_add(1),
            (true, None) => self.turns.get(&step.number).map_or(1, |turns| turns.saturating_add(1)),
        }
    }

    /// Builds a step's request. `iteration` counts from 0, `turn` from 1. Random draws depend on the run's seed, the
    /// stage, the user, the iteration, the step and the number of the play in a row, but not on the target or on
    /// earlier answers. The error contains no hidden value.
    pub fn prepare(
        &mut self,
        step: &Step,
        iteration: u64,
        turn: u32,
        now: Timestamp,
    ) -> Result<Outgoing, Unbuildable> {
        let play = self.next_play(iteration, step.number);
        if turn <= 1 {
            self.talk.forget(step.number);
            self.kept.forget(step.number);
        }
        if draft::uses_secrets(step) {
            self.check_secrets()?;
        }
        let hidden = self.hidden();
        let draft = self.draft(step, play, turn, now);
        let draft = draft.map_err(|RenderError(message)| {
            let message = scrub(message, &hidden);
            if self.uses_taken(step) { Unbuildable::Taken(message) } else { Unbuildable::Config(message) }
        })?;
        Ok(Outgoing { draft, hidden })
    }

    fn check_secrets(&self) -> Result<(), Unbuildable> {
        let mut secrets = self.stage_context.scenario.secrets.iter();
        secrets.try_for_each(|(name, secret)| match secret.read() {
            Ok(_) => Ok(()),
            Err(error) => Err(Unbuildable::Secret(format!("the secret `{name}` of the scenario: {error}"))),
        })
    }

    /// Whether the step's templates read a value extracted from an answer, so that the answer may be the reason why
    /// they cannot be rendered.
    fn uses_taken(&self, step: &Step) -> bool {
        let mut takes = self.stage_context.scenario.all().flat_map(|step| &step.take);
        takes.any(|take| draft::uses(step, &take.name))
    }

    fn next_play(&mut self, iteration: u64, step: usize) -> Play {
        let n = match self.last {
            Some(last) if last.iteration == iteration && last.step == step => last.n + 1,
            _ => 0,
        };
        *self.last.insert(Play { iteration, step, n })
    }

    fn draft(&mut self, step: &Step, play: Play, turn: u32, now: Timestamp) -> Result<Draft, RenderError> {
        let stage_context = Arc::clone(&self.stage_context);
        let parts = [
            stage_context.seeds.draws,
            stage_context.stage_number.into(),
            self.index.into(),
            play.iteration,
            play.step as u64,
            play.n,
        ];
        let mut renderer =
            Renderer::new(&stage_context, self.index, &self.counters, (seed::hash("play", &[], &parts), now));
        renderer.set_scope(step, &self.taken, play.iteration, turn)?;
        match &step.action {
            StepAction::Http(http) => {
                let mut call = renderer.call(http)?;
                if let Some(jar) = &mut self.jar {
                    jar.send(&stage_context.pair.target.base_url, &mut call);
                }
                Ok(Draft::Call(call))
            }
            StepAction::Ask(ask) => {
                let going_on = ask.stateful.then(|| self.kept.go_on(step.number, ask.history));
                let params = stage_context.pair.params(step);
                // The first turn's nonce, so that a later one finds its own conversation in a cache, and no other.
                let is_later_turn = self.talk.of(step.number).next().is_some();
                let begun = self.nonces.get(&step.number).filter(|_| is_later_turn);
                let nonce = begun.copied().unwrap_or_else(|| renderer.nonce());
                if history_bytes(step) > 0 {
                    self.nonces.insert(step.number, nonce);
                }
                let past = (self.talk.of(step.number), nonce);
                let (ask, question) = renderer.ask(ask, params, past, going_on)?;
                if ask.conversation.is_some() {
                    self.kept.asked(&ask);
                }
                if let Some(jar) = &mut self.jar {
                    jar.asked_at("");
                }
                if let Some(question) = question {
                    self.talk.asked(step.number, question, Self::MAX_HISTORY);
                }
                Ok(Draft::Ask(ask))
            }
        }
    }

    /// The values to redact. A secret that cannot be read is not in a request either.
    fn hidden(&self) -> Vec<Exposed> {
        let secrets = self.stage_context.scenario.secrets.iter().filter_map(|(_, secret)| secret.read().ok());
        let mut kept = self.taken.strings();
        kept.extend(self.jar.iter().flat_map(Jar::values));
        kept.retain(|value| value.len() >= MIN_HIDDEN);
        secrets.chain(kept.into_iter().map(Exposed::new)).collect()
    }

    /// Keeps the results of an answer that was ok (its checks passed): cookies, the conversation, extracted values. If
    /// one value is missing, none of this answer's values is kept, and the turn has failed: it is no part of the
    /// conversation.
    pub fn take(&mut self, step: &Step, answer: &Evidence<'_>) -> Result<(), NotThere> {
        if let Some(jar) = &mut self.jar {
            jar.receive(&self.stage_context.pair.target.base_url, answer.headers);
        }
        let ask = match &step.action {
            StepAction::Ask(ask) if step.is_of_conversation() => return self.conversed(ask, answer),
            StepAction::Ask(ask) => Some(ask),
            StepAction::Http(_) => None,
        };
        let is_kept = ask.is_some_and(|ask| ask.stateful);
        let last = if is_kept { self.kept.answered(step.number, answer)? } else { None };
        self.taken.take(step, answer, &Documents::new(answer))?;
        if let Some(ask) = ask {
            let past = PastAnswer { text: answer.text.into(), tokens: None };
            let limit = HistoryLimit { turns: ask.history, bytes: Self::MAX_HISTORY };
            self.talk.answered(step.number, past, limit);
        }
        if let Some(last) = last {
            self.kept.keep(step.number, last);
        }
        if step.turns {
            let turns = self.turns.entry(step.number).or_default();
            *turns = turns.saturating_add(1);
        }
        Ok(())
    }

    /// The number of bytes kept, measured like [`Self::most_bytes`].
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let jar = self.jar.as_ref().map_or(0, Jar::bytes);
        let counters = self.counters.names() * (Counters::MAX_NAME + ENTRY);
        size_of::<Self>()
            + self.taken.bytes()
            + self.talk.bytes()
            + self.kept.bytes()
            + self.conversation.bytes()
            + jar
            + (self.turns.len() + self.nonces.len()) * ENTRY
            + counters
    }
}

/// Names and numbers only: values may be secret.
impl fmt::Debug for UserSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("index", &self.index).field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// Maximum number of bytes of the earlier turns of a step that are kept, in order to be sent along.
fn history_bytes(step: &Step) -> usize {
    match &step.action {
        StepAction::Ask(ask) if ask.history == 0 || ask.stateful => 0,
        StepAction::Ask(_) if step.is_of_conversation() => UserSession::MAX_CONVERSATION,
        StepAction::Ask(_) => UserSession::MAX_HISTORY,
        StepAction::Http(_) => 0,
    }
}

/// The model call of a step whose conversation the server keeps.
fn stateful(step: &Step) -> Option<&AskStep> {
    match &step.action {
        StepAction::Ask(ask) if ask.stateful => Some(ask),
        StepAction::Ask(_) | StepAction::Http(_) => None,
    }
}

fn scrub(message: String, hidden: &[Exposed]) -> String {
    let hidden = hidden.iter().map(Exposed::expose).filter(|value| !value.is_empty());
    hidden.fold(message, |message, value| message.replace(value, "***"))
}

#[cfg(test)]
mod tests;
