//! Reads what servers say of themselves while profiles are run once.

use crate::backend::{AccountReader, AccountTask, HealthPoller};
use crate::fact::{Fanout, Sink};
use crate::plan::Plan;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The readers, before they read.
pub(super) struct Backends {
    health: Arc<HealthPoller>,
    accounts: AccountTask,
    reader: Arc<AccountReader>,
    /// Who is told what the servers say, and what happens.
    report: Arc<dyn Sink>,
}

/// The readers at work.
pub(super) struct BackendReading {
    health: Arc<HealthPoller>,
    report: Arc<dyn Sink>,
    stop: CancellationToken,
    polling: AbortOnDropHandle<()>,
    accounting: AbortOnDropHandle<()>,
}

impl Backends {
    /// Creates them in front of a sink.
    pub(super) fn new(plan: &Arc<Plan>, report: Arc<dyn Sink>) -> Self {
        let (reader, accounts) = AccountReader::new(Arc::clone(plan));
        Self { health: HealthPoller::new(Arc::clone(plan)), accounts, reader, report }
    }

    /// Where the engine reports to.
    pub(super) fn sink(&self) -> Arc<dyn Sink> {
        let reader: Arc<dyn Sink> = Arc::<AccountReader>::clone(&self.reader);
        Arc::new(Fanout::new(vec![Arc::clone(&self.report), reader]))
    }

    /// Starts to read: once now, before anything is played, unless it is to be stopped. Must be called on a runtime.
    pub(super) async fn start(self, drain: &CancellationToken) -> BackendReading {
        let Self { health, mut accounts, report, .. } = self;
        drain.run_until_cancelled(accounts.prepare()).await;
        let stop = CancellationToken::new();
        let polling = tokio::spawn(Arc::clone(&health).run(Arc::clone(&report), stop.clone()));
        let accounting = tokio::spawn(accounts.run(Arc::clone(&report), stop.clone()));
        let [polling, accounting] = [polling, accounting].map(AbortOnDropHandle::new);
        BackendReading { health, report, stop, polling, accounting }
    }
}

impl BackendReading {
    /// Reads everything once more, for the runs that have just ended, unless everything is to stop `now`.
    pub(super) async fn finish(self, now: &CancellationToken) {
        self.stop.cancel();
        let last = async {
            // Neither task panics; if one did, there would be no account, and the measurement would be as good.
            let _ = tokio::join!(self.polling, self.accounting, self.health.ask_once(&*self.report));
        };
        now.run_until_cancelled(last).await;
    }
}
