//! The inference engine: continuous batching as a pure function of jobs and time.
//!
//! Jobs wait in order of arrival, are admitted when the batch and the KV cache have room, are prefilled in chunks, and
//! then get one token in every step. Time is passed in as a [`Duration`] since the engine started. It knows nothing
//! about text, HTTP or tokio; `driver` gives it a clock.

mod sequence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::kv::Blocks;
use sequence::Sequence;

/// A step never takes less than this fraction of its nominal time, whatever the noise.
const NOISE_FLOOR: f64 = 0.2;

/// The speed and the capacity of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Prefill throughput in tokens per second, shared by all sequences.
    pub(crate) prefill_rate: f64,
    /// Duration of a decode step with a single sequence.
    pub(crate) step: Duration,
    /// Additional duration of a step for each further sequence.
    pub(crate) growth: Duration,
    /// Maximum number of sequences in the batch.
    pub(crate) max_batch: usize,
    /// Maximum number of tokens in one step, prefill and decode together.
    pub(crate) max_step_tokens: usize,
    /// Number of KV blocks.
    pub(crate) blocks: usize,
    /// Tokens per KV block.
    pub(crate) block_size: usize,
    /// Whether prefix caching is on.
    pub(crate) prefix_cache: bool,
    /// Relative standard deviation of the duration of a step.
    pub(crate) noise: f64,
    /// Maximum number of waiting jobs.
    pub(crate) max_queue: usize,
    /// Seed of the noise.
    pub(crate) seed: u64,
}

/// The work that the engine has to do for one request.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Number of prompt tokens, at least 1.
    pub(crate) prompt: usize,
    /// Number of tokens to generate, at least 1.
    pub(crate) output: usize,
    /// Hash chain over the full blocks of prompt and output.
    pub(crate) hashes: Vec<u64>,
    /// Factor by which this job's steps take longer, at least 1.
    pub(crate) slow_down: f64,
}

/// Identifies a job while it is in the engine; increases with arrival.
pub(crate) type JobId = u64;

/// Why a job was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    QueueFull,
    /// Prompt and output would not fit into the KV cache even alone.
    TooLong,
}

/// A change in the state of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Update {
    /// The job entered the batch for the first time.
    Admitted {
        /// The job.
        id: JobId,
        /// Time that it waited in the queue.
        queued: Duration,
        /// Number of tokens of its prompt.
        prompt: usize,
        /// Number of prompt tokens found in the prefix cache.
        cached: usize,
    },
    /// The job got its next token.
    Token {
        /// The job.
        id: JobId,
        /// Time since its arrival.
        age: Duration,
        /// Time since its previous token; `None` for the first.
        gap: Option<Duration>,
        /// Time from admission to this token; `None` unless it is the first.
        prefill: Option<Duration>,
    },
    /// The job was preempted: it lost its blocks to an older one and waits again.
    Preempted,
    /// The job has all its tokens and has left.
    Finished {
        /// The job.
        id: JobId,
        /// How its time was divided between the phases.
        times: Times,
    },
}

/// The phases of a finished job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// From arrival to admission.
    pub(crate) queued: Duration,
    /// From admission to the first token.
    pub(crate) prefill: Duration,
    /// From the first token to the last.
    pub(crate) decode: Duration,
}

/// The result of starting a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The batch computes.
    Compute {
        /// Duration of the step.
        time: Duration,
        /// Number of tokens in it, prefill and decode.
        tokens: usize,
    },
    /// Nothing can be computed before this time has passed, unless a new job arrives.
    Wait(Duration),
}

/// A snapshot of the engine's load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Number of sequences in the batch.
    pub(crate) running: usize,
    /// Number of waiting jobs.
    pub(crate) waiting: usize,
    /// Fraction of the KV blocks that are in use, from 0 to 1.
    pub(crate) kv_usage: f64,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    settings: Settings,
    blocks: Blocks,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    next_id: JobId,
    noise: ChaCha8Rng,
}

/// The step that is being composed.
#[derive(Debug)]
struct Batch {
    budget: usize,
    decodes: usize,
    prefill: usize,
    preempted: usize,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            blocks: Blocks::new(settings.blocks, settings.prefix_cache),
            noise: ChaCha8Rng::seed_from_u64(settings.seed),
            settings,
            waiting: VecDeque::new(),
            running: Vec::new(),
            next_id: 0,
        }
    }

    /// Appends a job to the queue.
    pub(crate) fn submit(&mut self, job: Job, now: Duration) -> Result<JobId, Refused> {
        if self.waiting.len() >= self.settings.max_queue {
            return Err(Refused::QueueFull);
        }
        if self.blocks_for(job.prompt + job.output) > self.blocks.total() {
            return Err(Refused::TooLong);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Sequence::new(id, job, now));
        Ok(id)
    }

    /// Removes a job, whatever its state, and frees what it holds.
    pub(crate) fn cancel(&mut self, id: JobId) {
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(at);
            self.blocks.release(sequence.held);
        } else if let Some(at) = self.waiting.iter().position(|sequence| sequence.id == id) {
            // A waiting job holds nothing.
            self.waiting.remove(at);
        }
    }

    /// Composes the next step; `None` if there is nothing to do. Call [`Engine::complete`] when it is over.
    pub(crate) fn begin(&mut self, now: Duration, updates: &mut Vec<Update>) -> Option<Step> {
        let mut batch =
            Batch { budget: self.settings.max_step_tokens.max(1), decodes: 0, prefill: 0, preempted: 0 };
        self.continue_running(&mut batch);
        updates.extend(std::iter::repeat_n(Update::Preempted, batch.preempted));
        if batch.preempted == 0 {
            self.admit(now, &mut batch, updates);
        }
        if batch.decodes + batch.prefill == 0 {
            let arrival =
                self.waiting.front().map(|sequence| sequence.arrived).filter(|arrival| *arrival > now);
            let next = self.running.iter().filter_map(Sequence::ready).chain(arrival).min()?;
            return Some(Step::Wait(next.saturating_sub(now)));
        }
        let duration = self.step_time(&batch);
        for sequence in &mut self.running {
            sequence.start(now, duration);
        }
        Some(Step::Compute { time: duration, tokens: batch.decodes + batch.prefill })
    }

    /// Collects the results that are ready at `now`; tokens come in order of admission.
    pub(crate) fn complete(&mut self, now: Duration, updates: &mut Vec<Update>) {
        let mut at = 0;
        while let Some(sequence) = self.running.get_mut(at) {
            if sequence.ready().is_none_or(|ready| ready > now) {
                at += 1;
                continue;
            }
            sequence.advance(now, updates);
            let full = sequence.computed / self.settings.block_size.max(1);
            let hashes = sequence.job.hashes.get(..full).unwrap_or(&sequence.job.hashes);
            self.blocks.publish(&mut sequence.held, hashes);
            if sequence.emitted < sequence.job.output {
                at += 1;
                continue;
            }
            let done = self.running.remove(at);
            updates.push(Update::Finished { id: done.id, times: done.times() });
            self.blocks.release(done.held);
        }
    }

    /// The current load: running, waiting and KV use.
    pub(crate) fn load(&self) -> Load {
        Load { running: self.running.len(), waiting: self.waiting.len(), kv_usage: self.blocks.usage() }
    }

    /// Gives each sequence of the batch its share of the step, oldest first; the youngest are preempted when there are
    /// not enough blocks.
    fn continue_running(&mut self, batch: &mut Batch) {
        let mut at = 0;
        while let Some(sequence) = self.running.get(at) {
            if sequence.busy() || batch.budget == 0 {
                at += 1;
                continue;
            }
            let tokens = sequence.missing().min(batch.budget);
            let target = self.blocks_for(sequence.computed + tokens);
            if !self.grow(at, target, batch) {
                // It was the youngest itself and was preempted.
                continue;
            }
            if let Some(sequence) = self.running.get_mut(at) {
                batch.take(sequence, tokens);
            }
            at += 1;
        }
    }

    /// Allocates blocks for the sequence at `at`, preempting others if needed; `false` if it had to be preempted
    /// itself.
    fn grow(&mut self, at: usize, target: usize, batch: &mut Batch) -> bool {
        loop {
            let Some(sequence) = self.running.get_mut(at) else { return false };
            if self.blocks.grow(&mut sequence.held, target) {
                return true;
            }
            let Some(mut youngest) = self.running.pop() else { return false };
            self.blocks.release(std::mem::take(&mut youngest.held));
            youngest.forget();
            self.waiting.push_front(youngest);
            batch.preempted += 1;
        }
    }

    fn admit(&mut self, now: Duration, batch: &mut Batch, updates: &mut Vec<Update>) {
        while self.running.len() < self.settings.max_batch.max(1) && batch.budget > 0 {
            // Where `now` lags behind the clock, a job may have arrived after it.
            let Some(mut sequence) = self.waiting.pop_front_if(|sequence| sequence.arrived <= now) else {
                return;
            };
            let known = sequence.job.prompt + sequence.emitted;
            // The last token is always computed, even if it is cached: generation continues from its result.
            let reusable = known.saturating_sub(1) / self.settings.block_size.max(1);
            let hashes = sequence.job.hashes.get(..reusable).unwrap_or(&sequence.job.hashes);
            let mut held = self.blocks.take_prefix(hashes);
            let cached = held.len() * self.settings.block_size;
            if !self.blocks.grow(&mut held, self.blocks_for(known)) {
                self.blocks.release(held);
                self.waiting.push_front(sequence);
                return;
            }
            sequence.held = held;
            sequence.computed = cached;
            if sequence.admitted.is_none() {
                sequence.admitted = Some(now);
                let queued = now.saturating_sub(sequence.arrived);
                updates.push(Update::Admitted {
                    id: sequence.id,
                    queued,
                    prompt: sequence.job.prompt,
                    cached,
                });
            }
            let tokens = sequence.missing().min(batch.budget);
            batch.take(&mut sequence, tokens);
            self.running.push(sequence);
        }
    }

    fn step_time(&mut self, batch: &Batch) -> Duration {
        let others = u32::try_from(batch.decodes.saturating_sub(1)).unwrap_or(u32::MAX);
        let decode = self.settings.step.saturating_add(self.settings.growth.saturating_mul(others));
        let prefill = batch.prefill as f64 / self.settings.prefill_rate.max(1.0);
        let mut seconds = decode.as_secs_f64() + prefill;
        if self.settings.noise > 0.0 {
            let draw: f64 = self.noise.sample(StandardNormal);
            seconds *= (1.0 + self.settings.noise * draw).max(NOISE_FLOOR);
        }
        Duration::try_from_secs_f64(seconds).unwrap_or(decode)
    }

    fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.settings.block_size.max(1))
    }
}

impl Batch {
    /// Schedules `tokens` of `sequence` in the step; when they are ready is known once the step starts.
    fn take(&mut self, sequence: &mut Sequence, tokens: usize) {
        self.budget = self.budget.saturating_sub(tokens);
        if sequence.emitted > 0 && tokens == 1 {
            self.decodes += 1;
        } else {
            self.prefill += tokens;
        }
        sequence.plan(tokens);
    }
}
