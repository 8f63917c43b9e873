//! One job inside the engine: how much of it is computed and generated, and the blocks it holds. Pure, like the engine.

use std::time::Duration;

use super::super::kv::Holding;
use super::{Job, JobId, Times, Update};

/// One job.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: JobId,
    pub(super) job: Job,
    pub(super) arrived: Duration,
    pub(super) admitted: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Option<Duration>,
    /// Tokens whose keys and values are in its blocks.
    pub(super) computed: usize,
    /// Number of tokens generated.
    pub(super) emitted: usize,
    /// The KV blocks it holds.
    pub(super) held: Holding,
    work: Option<Work>,
}

/// What a sequence is computing at present.
#[derive(Clone, Copy, Debug)]
struct Work {
    tokens: usize,
    ready: Duration,
}

impl Sequence {
    /// A job that has arrived and waits.
    pub(super) fn new(id: JobId, job: Job, arrived: Duration) -> Self {
        Self {
            id,
            job,
            arrived,
            admitted: None,
            first_token: None,
            last_token: None,
            computed: 0,
            emitted: 0,
            held: Holding::default(),
            work: None,
        }
    }

    /// Number of tokens to compute before the next one is generated.
    pub(super) fn missing(&self) -> usize {
        (self.job.prompt + self.emitted).saturating_sub(self.computed).max(1)
    }

    /// Whether it is computing.
    pub(super) fn busy(&self) -> bool {
        self.work.is_some()
    }

    /// When the computation will be ready.
    pub(super) fn ready(&self) -> Option<Duration> {
        self.work.map(|work| work.ready)
    }

    /// Adds `tokens` to the step that is being composed.
    pub(super) fn plan(&mut self, tokens: usize) {
        self.work = Some(Work { tokens, ready: Duration::MAX });
    }

    /// Discards everything that was computed.
    pub(super) fn forget(&mut self) {
        self.computed = 0;
        self.work = None;
    }

    /// Starts the planned computation, in a step of this duration.
    pub(super) fn start(&mut self, now: Duration, step: Duration) {
        let slow = self.job.slow_down.max(1.0);
        if let Some(work) = self.work.as_mut().filter(|work| work.ready == Duration::MAX) {
            let own = Duration::try_from_secs_f64(step.as_secs_f64() * slow).unwrap_or(step);
            work.ready = now.saturating_add(if slow > 1.0 { own } else { step });
        }
    }

    /// Takes the result of the computation: a token, if the prompt and all earlier tokens are computed.
    pub(super) fn advance(&mut self, now: Duration, updates: &mut Vec<Update>) {
        let Some(work) = self.work.take() else { return };
        self.computed += work.tokens;
        if self.computed < self.job.prompt + self.emitted {
            return;
        }
        self.emitted += 1;
        let age = now.saturating_sub(self.arrived);
        let gap = self.last_token.map(|last| now.saturating_sub(last));
        let prefill =
            self.first_token.is_none().then(|| now.saturating_sub(self.admitted.unwrap_or(self.arrived)));
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        updates.push(Update::Token { id: self.id, age, gap, prefill });
    }

    /// How its time was divided between the phases.
    pub(super) fn times(&self) -> Times {
        let admitted = self.admitted.unwrap_or(self.arrived);
        let first = self.first_token.unwrap_or(admitted);
        Times {
            queued: admitted.saturating_sub(self.arrived),
            prefill: first.saturating_sub(admitted),
            decode: self.last_token.unwrap_or(first).saturating_sub(first),
        }
    }
}
