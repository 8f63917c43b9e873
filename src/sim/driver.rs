//! Drives the engine in real time and hands each token to the request that waits for it.
//!
//! It knows the engine and the metrics, and nothing about text or HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::engine::{Engine, Job, JobId, Refused, Settings, Step, Update};
use super::metrics::{Metrics, Sizes};

/// How far the engine may lag behind the clock (because the machine stalled, say) and still catch up.
const MAX_LAG: Duration = Duration::from_millis(100);

/// An update from the engine about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobUpdate {
    /// It was admitted to the batch.
    Admitted { queued: Duration, cached: usize },
    /// Its next token, which was due at this instant; the first one carries the duration of the prefill.
    Token { prefill: Option<Duration>, due: Instant },
}

/// The receiving end of a job; dropping it cancels the job with the next step.
pub(crate) type Ticket = mpsc::Receiver<JobUpdate>;

/// The engine and the requests that wait for it.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<DriverState>,
    wake: Notify,
    origin: Instant,
    metrics: Arc<Metrics>,
}

/// What the metrics need to know about a job when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    /// The finish reason: `stop` or `length`.
    pub(crate) finish: &'static str,
    pub(crate) sizes: Sizes,
}

#[derive(Debug)]
struct DriverState {
    engine: Engine,
    jobs: HashMap<JobId, (mpsc::Sender<JobUpdate>, Label)>,
}

impl Driver {
    pub(crate) fn new(settings: Settings, metrics: Arc<Metrics>) -> Self {
        let state = DriverState { engine: Engine::new(settings), jobs: HashMap::new() };
        Self { state: Mutex::new(state), wake: Notify::new(), origin: Instant::now(), metrics }
    }

    /// Submits a job to the engine.
    pub(crate) fn submit(&self, job: Job, label: Label) -> Result<Ticket, Refused> {
        // Room for every update of the job, so that a slow reader never blocks the batch.
        let (sender, ticket) = mpsc::channel(job.output + 1);
        self.with(|state| {
            let id = state.engine.submit(job, self.origin.elapsed())?;
            state.jobs.insert(id, (sender, label));
            self.metrics.load(state.engine.load());
            Ok(())
        })?;
        self.wake.notify_one();
        Ok(ticket)
    }

    /// Steps the engine until cancelled.
    pub(crate) async fn run(&self, alarm: Alarm, end: CancellationToken) {
        // The engine's own time: it advances by whole steps, so that late timers do not accumulate.
        let mut time = Duration::ZERO;
        let mut updates = Vec::new();
        loop {
            time = time.max(self.origin.elapsed().saturating_sub(MAX_LAG));
            let step = self.with(|state| {
                state.drop_abandoned(&self.metrics);
                let step = state.engine.begin(time, &mut updates);
                self.metrics.load(state.engine.load());
                step
            });
            // A new job cannot interrupt a step that computes, but it can interrupt an idle wait.
            let (until, joinable) = match step {
                Some(Step::Compute { time: took, tokens }) => {
                    self.metrics.iteration(tokens);
                    (Some(time + took), false)
                }
                Some(Step::Wait(left)) => (Some(time + left), true),
                None => (None, true),
            };
            tokio::select! {
                () = end.cancelled() => break,
                () = self.sleep_until(&alarm, until) => time = until.unwrap_or(time),
                () = self.wake.notified(), if joinable => time = time.max(self.origin.elapsed()),
            }
            self.with(|state| {
                state.engine.complete(time, &mut updates);
                state.tell(&updates, self.origin + time, &self.metrics);
                self.metrics.load(state.engine.load());
            });
            updates.clear();
        }
        self.with(|state| state.jobs.clear());
    }

    async fn sleep_until(&self, alarm: &Alarm, time: Option<Duration>) {
        match time.and_then(|time| self.origin.checked_add(time)) {
            Some(deadline) => alarm.until(deadline).await,
            None => std::future::pending().await,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut DriverState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DriverState {
    /// Cancels the jobs whose receiver was dropped.
    fn drop_abandoned(&mut self, metrics: &Metrics) {
        let engine = &mut self.engine;
        self.jobs.retain(|id, (sender, _)| {
            let abandoned = sender.is_closed();
            if abandoned {
                engine.cancel(*id);
                metrics.aborted();
            }
            !abandoned
        });
    }

    /// Hands out the results of a step that ended at `due`.
    fn tell(&mut self, updates: &[Update], due: Instant, metrics: &Metrics) {
        metrics.step(updates);
        for update in updates {
            match *update {
                Update::Admitted { id, queued, cached, .. } => {
                    self.send(id, JobUpdate::Admitted { queued, cached });
                }
                Update::Token { id, prefill, .. } => self.send(id, JobUpdate::Token { prefill, due }),
                Update::Preempted => {}
                Update::Finished { id, times } => {
                    if let Some((_, label)) = self.jobs.remove(&id) {
                        metrics.finished(label.finish, times, label.sizes);
                    }
                }
            }
        }
    }

    fn send(&self, id: JobId, message: JobUpdate) {
        if let Some((sender, _)) = self.jobs.get(&id) {
            // This fails only when the request is gone, which the next step notices.
            let _ = sender.try_send(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::options::Options;

    fn label() -> Label {
        Label { finish: "length", sizes: Sizes { prompt: 100, output: 5, max_tokens: Some(5) } }
    }

    fn job(output: usize) -> Job {
        Job { prompt: 100, output, hashes: Vec::new(), slow_down: 1.0 }
    }

    fn driver() -> (Arc<Driver>, Arc<Metrics>) {
        let options = Options { noise: 0.0, ..Options::default() };
        let metrics = Arc::new(Metrics::new(&options, &[]).unwrap());
        (Arc::new(Driver::new(options.engine(), Arc::clone(&metrics))), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_come_in_real_time_and_then_the_channel_ends() {
        let (driver, metrics) = driver();
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (driver, stop) = (Arc::clone(&driver), stop.clone());
            async move { driver.run(Alarm::Runtime, stop).await }
        });
        let start = Instant::now();
        let mut ticket = driver.submit(job(5), label()).unwrap();
        let mut messages = Vec::new();
        while let Some(message) = ticket.recv().await {
            messages.push(message);
        }
        let took = start.elapsed();
        assert_eq!(messages.len(), 6);
        // 5 ms of prefill and five steps of 8 ms; the timers are late by a millisecond at most.
        assert!((Duration::from_millis(45)..Duration::from_millis(48)).contains(&took), "{took:?}");
        let text = metrics.text().unwrap();
        assert!(text.contains(
            "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"sim-8b\"} 1"
        ));
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_ticket_frees_its_place() {
        let (driver, metrics) = driver();
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (driver, stop) = (Arc::clone(&driver), stop.clone());
            async move { driver.run(Alarm::Runtime, stop).await }
        });
        let ticket = driver.submit(job(1000), label()).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("vllm:num_requests_running{engine=\"0\",model_name=\"sim-8b\"} 1")
        );
        drop(ticket);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let text = metrics.text().unwrap();
        assert!(text.contains("vllm:num_requests_running{engine=\"0\",model_name=\"sim-8b\"} 0"));
        assert!(text.contains("finished_reason=\"abort\",model_name=\"sim-8b\"} 1"));
        stop.cancel();
        running.await.unwrap();
    }
}
