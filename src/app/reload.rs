//! Reloads the config of a running daemon, either as a whole or not at all.
//!
//! There is one reload at a time. Requests that arrive during a reload are answered by the next one, all together. When
//! the replicas of a target change, the plan is switched in the same way, with the config that is in force.

mod folders;
mod ready;
mod watch;

pub use watch::Pace;

use super::assembly::Clients;
use super::sources::{self, ConfigLoadAttempt};
use super::spare_memory;
use crate::config::ConfigSource;
use crate::discover::{Discoverer, FreshAnswer};
use crate::engine::{Engine, PlanChanges};
use crate::files::Files;
use crate::plan::{Plan, Shard};
use crate::server::{ConfigStatus, Current, ReloadChanges, Reloaded};
use crate::state::Timeline;
use crate::telemetry::{Exposition, Store};
pub(super) use ready::Started;
use ready::{Before, Ready, ReadyPlan};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// Maximum back-off of a failed load, as a multiple of the poll interval.
const MAX_BACK_OFF: u32 = 16;

/// Receives the result of a reload.
pub(super) type ReloadReply = oneshot::Sender<Reloaded>;

/// The origin of a daemon's config, for reloads.
#[derive(Clone, Debug)]
pub struct ConfigOrigin {
    /// Files, folders and text.
    pub sources: Vec<ConfigSource>,
    /// The files that the load of the current config read.
    pub files: Files,
    /// The shard that the agent is, whatever the files say.
    pub shard: Shard,
    /// How the files are watched; without it, only a signal or a request triggers a reload.
    pub watch: Option<Pace>,
}

/// The parts that a new config changes, apart from the sinks, which receive the plan from the engine.
pub(super) struct Parts {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Store>,
    pub(super) timeline: Arc<Timeline>,
    pub(super) clients: Arc<Clients>,
    pub(super) current: tokio::sync::watch::Sender<Current>,
}

/// Reloads the config on request and when its files change.
pub(super) struct Reloader {
    parts: Parts,
    sources: Option<Arc<[ConfigSource]>>,
    shard: Shard,
    /// The files that the last attempt read.
    files: Files,
    watch: Option<Watch>,
    /// The retry after a failure.
    retry: Option<LoadRetry>,
    started: Arc<Started>,
    replicas: Replicas,
}

/// The replicas of the targets that discover them.
pub(super) struct Replicas {
    /// The plan in force as compiled, without replicas.
    base: Arc<Plan>,
    discoverer: Discoverer,
    /// Whether the engine plays a plan with other replicas, because the last switch failed.
    behind: bool,
    /// The errors of that switch, so that they are logged once.
    errors: Vec<String>,
}

impl Replicas {
    /// Replicas of this plan that are being played.
    pub(super) fn new(base: Arc<Plan>, discoverer: Discoverer) -> Self {
        Self { base, discoverer, behind: false, errors: Vec::new() }
    }
}

/// The retry of a failed load. The cause may not be in a watched file: for example a secret, or a lack of file
/// descriptors.
struct LoadRetry {
    at: Instant,
    /// The wait after the next failure.
    wait: Duration,
    /// The errors that were reported, so that they are not reported again.
    errors: Vec<String>,
}

impl Reloader {
    /// Creates the reloader of a daemon that was started with these parts.
    pub(super) fn new(parts: Parts, started: Started, replicas: Replicas) -> Self {
        Self {
            parts,
            sources: None,
            shard: Shard::WHOLE,
            files: Files::default(),
            watch: None,
            retry: None,
            started: Arc::new(started),
            replicas,
        }
    }

    /// Sets the origin, which makes the config reloadable.
    pub(super) fn set_origin(&mut self, origin: ConfigOrigin) {
        self.parts.current.send_modify(|current| {
            Arc::make_mut(&mut current.status).files = shown(&origin.files);
        });
        self.sources = Some(origin.sources.into());
        self.shard = origin.shard;
        self.files = origin.files.clone();
        self.watch = origin.watch.map(Watch::new);
        if let Some(clients) = Arc::get_mut(&mut self.parts.clients) {
            clients.were_made_of(origin.files);
        }
    }

    /// Reloads on request until it is stopped. A signal notifies `hangup`.
    pub(super) async fn run(
        mut self,
        asked: mpsc::Receiver<ReloadReply>,
        hangup: Arc<Notify>,
        stop: CancellationToken,
    ) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.serve(asked, hangup) => {}
        }
    }

    async fn serve(&mut self, mut asked: mpsc::Receiver<ReloadReply>, hangup: Arc<Notify>) {
        self.follow().await;
        self.replicas.discoverer.follow(&self.replicas.base);
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                Some(reply) = asked.recv() => waiting.push(reply),
                () = hangup.notified() => tracing::info!("asked to reload the config by a signal"),
                () = stirred(self.watch.as_ref()) => {
                    if !self.look().await {
                        continue;
                    }
                    tracing::info!("the config's files changed");
                }
                () = due(self.retry.as_ref()) => {}
                fresh = self.replicas.discoverer.next() => {
                    self.discovered(fresh).await;
                    continue;
                }
            }
            while let Ok(reply) = asked.try_recv() {
                waiting.push(reply);
            }
            let outcome = self.reload().await;
            for reply in waiting {
                // The requester may be gone.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    /// Whether the files have changed since the last load. Also adjusts the watches to where the files are now.
    async fn look(&mut self) -> bool {
        let (mut watch, mut files) = (self.watch.take(), std::mem::take(&mut self.files));
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(watch) = &mut watch {
                watch.follow(&files);
            }
            let changed = files.changed();
            (watch, files, changed)
        });
        let (watch, files, changed) = whole(looked.await);
        (self.watch, self.files) = (watch, files);
        changed
    }

    /// Loads the config and switches to it. On any error nothing changes.
    async fn reload(&mut self) -> Reloaded {
        let Some(sources) = self.sources.clone() else {
            return Err(vec![
                "the config of this agent is built in: there is nothing to load again".to_owned(),
            ]);
        };
        let before = self.before();
        let shard = self.shard;
        let engine = Arc::clone(&self.parts.engine);
        let tried = tokio::task::spawn_blocking(move || {
            let tried = sources::attempt(&sources, shard);
            // Before the runs that the new config starts.
            spare_memory::give_back_after_load(engine.is_idle());
            tried
        });
        let ConfigLoadAttempt { result, files } = whole(tried.await);
        let ready = match result {
            Ok(loaded) => {
                let (read, known) = (files.clone(), self.replicas.discoverer.known(&loaded.plan));
                let tried = tokio::task::spawn_blocking(move || before.prepare(loaded, &read, &known));
                whole(tried.await)
            }
            Err(errors) => Err(errors),
        };
        // A load that ended in a bug of tokenbeat reports no files; those of the previous load are still relevant.
        if files.paths().next().is_some() {
            self.files = files;
        }
        let outcome = match ready {
            Ok(ready) => {
                self.retry = None;
                Ok(self.change_to(ready).await)
            }
            Err(errors) => Err(self.stay(errors)),
        };
        self.follow().await;
        outcome
    }

    fn before(&self) -> Before {
        let Parts { engine, store, clients, .. } = &self.parts;
        Before {
            engine: Arc::clone(engine),
            store: Arc::clone(store),
            clients: Arc::clone(clients),
            started: Arc::clone(&self.started),
        }
    }

    /// Takes an answer about replicas, and all that wait behind it, and switches to a plan with the replicas that are
    /// there now.
    async fn discovered(&mut self, fresh: FreshAnswer) {
        let Replicas { discoverer, behind, .. } = &mut self.replicas;
        let mut next = Some(fresh);
        while let Some(fresh) = next {
            if let Some(taken) = discoverer.take(fresh) {
                self.parts.store.discovery_looked(&taken.look, SystemTime::now());
                *behind |= taken.changed;
            }
            next = discoverer.next_now();
        }
        if !self.replicas.behind {
            return;
        }
        let (base, before) = (Arc::clone(&self.replicas.base), self.before());
        let (known, files) = (self.replicas.discoverer.known(&base), self.parts.clients.files());
        let tried =
            tokio::task::spawn_blocking(move || before.prepare_plan(base.with_replicas(&known), &files));
        match whole(tried.await) {
            Ok(ready) => {
                (self.replicas.behind, self.replicas.errors) = (false, Vec::new());
                self.switch_to(ready, |now, plan, exposition| Current { plan, exposition, ..now.clone() })
                    .await;
            }
            Err(errors) => {
                if errors != self.replicas.errors {
                    tracing::error!(errors = errors.join("; "), "the replicas found cannot be measured");
                    self.replicas.errors = errors;
                }
            }
        }
    }

    /// Watches the files of the last load, which may have changed before they were watched.
    async fn follow(&mut self) {
        if self.watch.is_some() && self.look().await {
            self.watch.iter().for_each(Watch::stir);
        }
    }

    async fn change_to(&mut self, ready: Ready) -> ReloadChanges {
        let Ready { base, plan, config, warnings } = ready;
        let status = Arc::new(ConfigStatus::loaded(warnings.clone(), shown(&self.files)));
        let shown = |_: &Current, plan, exposition| Current { plan, exposition, config, status };
        let changes = self.switch_to(plan, shown).await;
        let Parts { store, timeline, .. } = &self.parts;
        store.config_loaded(Some(SystemTime::now()));
        timeline.reloaded(summary(&changes));
        self.replicas.discoverer.follow(&base);
        (self.replicas.base, self.replicas.behind) = (base, false);
        for warning in &warnings {
            tracing::warn!("the config: {warning}");
        }
        tracing::info!(
            added = changes.added.len(),
            removed = changes.removed.len(),
            changed = changes.changed.len(),
            unchanged = changes.unchanged.len(),
            "config reloaded"
        );
        let PlanChanges { added, removed, changed, unchanged } = changes;
        ReloadChanges { added, removed, changed, unchanged: unchanged.len(), warnings }
    }

    /// Plays another plan; `shown` makes what is shown of it from what was shown before.
    async fn switch_to(
        &mut self,
        ready: ReadyPlan,
        shown: impl FnOnce(&Current, Arc<Plan>, Arc<Exposition>) -> Current,
    ) -> PlanChanges {
        let ReadyPlan { plan, next, clients, exposition } = ready;
        let changes = self.parts.engine.change_to(next).await;
        // Nothing below waits, so the change is visible as a whole.
        self.parts.current.send_modify(|now| *now = shown(now, plan, exposition));
        self.parts.clients = clients;
        changes
    }

    /// Reports everywhere that the old config remains in force.
    fn stay(&mut self, errors: Vec<String>) -> Vec<String> {
        let known = self.retry.take();
        if known.as_ref().is_none_or(|known| known.errors != errors) {
            for error in &errors {
                tracing::error!("the config: {error}");
            }
            tracing::error!(errors = errors.len(), "the config was not reloaded, the old one stays");
        }
        if let Some(watch) = &self.watch {
            let wait = known.map_or(watch.poll(), |known| known.wait);
            let next = (wait * 2).min(watch.poll() * MAX_BACK_OFF);
            self.retry = Some(LoadRetry { at: Instant::now() + wait, wait: next, errors: errors.clone() });
        }
        self.parts.store.config_loaded(None);
        self.parts.timeline.reload_failed(&errors);
        self.parts.current.send_modify(|current| {
            Arc::make_mut(&mut current.status).failed(errors.clone(), shown(&self.files));
        });
        errors
    }
}

/// What a new config changed, for humans.
fn summary(changes: &PlanChanges) -> String {
    let PlanChanges { added, removed, changed, unchanged } = changes;
    let parts = [("added", added), ("removed", removed), ("changed", changed), ("unchanged", unchanged)];
    let counts = parts.map(|(what, pairs)| format!("{} {what}", pairs.len()));
    format!("profiles against targets: {}", counts.join(", "))
}

async fn due(retry: Option<&LoadRetry>) {
    match retry {
        Some(retry) => tokio::time::sleep_until(retry.at).await,
        None => std::future::pending().await,
    }
}

async fn stirred(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.stirred().await,
        None => std::future::pending().await,
    }
}

/// The result of work on another thread. A panic there is propagated: the process ends rather than continuing with
/// inconsistent state.
fn whole<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(cancelled) => unreachable!("blocking work is not cancelled: {cancelled}"),
    })
}

fn shown(files: &Files) -> Vec<String> {
    files.paths().map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_load_is_not_swallowed() {
        let loading = tokio::task::spawn_blocking(|| -> u32 { panic!("scripted panic") });
        let loaded = tokio::spawn(async { whole(loading.await) }).await;
        assert!(loaded.unwrap_err().is_panic());
        assert_eq!(whole(tokio::task::spawn_blocking(|| 1).await), 1);
    }
}
