//! The whole export against a scripted receiver, over both transports.

mod delivery;
mod tls;
mod trouble;

use super::receiver::{ReceivedRequest, Receiver, ScriptedReply};
use super::*;
use crate::event::{Failure, Request, RunResult, RunSummary};
use crate::plan::otlp::{OtlpSettings, Protocol, TracedFailures, resolve};
use crate::telemetry::export::Dropped;
use crate::testing;
use std::net::SocketAddr;
use std::time::SystemTime;
use tokio_util::task::AbortOnDropHandle;

/// Both transports: the client's behaviour must not depend on which one it is.
const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

/// A daemon's export without the daemon.
struct Rig {
    plan: Plan,
    store: Arc<Store>,
    stats: Arc<Stats>,
    export: Export,
    tap: LogTap,
    work: AbortOnDropHandle<()>,
}

/// The config section: plain text, and a timeout that is reached only if something hangs.
fn section(protocol: Protocol, address: SocketAddr) -> OtlpSettings {
    OtlpSettings {
        endpoint: Some(format!("http://{address}").parse().unwrap()),
        protocol: Some(protocol),
        interval: Some(Duration::from_millis(100)),
        timeout: Some(LONG),
        traces: Some(Some(Sampling { ratio: 0.1, failures: TracedFailures::Always })),
        ..OtlpSettings::default()
    }
}

fn rig(written: OtlpSettings) -> Rig {
    rig_in(written, &[])
}

fn rig_in(written: OtlpSettings, environment: &[(&str, &str)]) -> Rig {
    let get = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, it)| (*it).to_owned());
    let otlp = resolve(Some(written), &get).unwrap().unwrap();
    let plan = testing::small_plan();
    let (store, tap) = (Store::new(&plan), LogTap::new());
    let (export, work) = build(&otlp, &plan, &store, &tap).unwrap();
    let stats = Arc::clone(export.stats());
    let work = AbortOnDropHandle::new(tokio::spawn(work.run()));
    Rig { plan, store, stats, export, tap, work }
}

impl Rig {
    /// Plays a request into the store and the export, as the engine's fan-out does.
    fn play(&self, outcome: Outcome, change: impl FnOnce(&mut Request)) -> Arc<Request> {
        testing::play(&self.fanout(), &self.plan.pairs[0].places[1], outcome, change)
    }

    fn fanout(&self) -> Arc<dyn Sink> {
        let sinks: Vec<Arc<dyn Sink>> = vec![Arc::<Store>::clone(&self.store), self.export.sink()];
        Arc::new(crate::fact::Fanout::new(sinks))
    }

    fn end_run(&self) -> Arc<RunSummary> {
        let now = SystemTime::now();
        let summary = Arc::new(RunSummary {
            run: testing::run(&self.plan.pairs[0].pair),
            started: now,
            ended: now,
            result: RunResult::Ok,
            reason: None,
            degraded: None,
            search: None,
            offered: 1,
            skipped: 0,
            ok: 1,
        });
        self.export.sink().record(&Fact::RunEnded { summary: Arc::clone(&summary), tally: Arc::default() });
        summary
    }

    /// Logs a line like a module of tokenbeat.
    fn log(&self, log: impl FnOnce()) {
        use tracing_subscriber::layer::SubscriberExt as _;
        let _capture = testing::LogCapture::start(tracing_subscriber::registry().with(self.tap.layer()));
        log();
    }

    /// Flushes, and waits for the end.
    async fn finish(self, within: Duration) -> Arc<Stats> {
        self.export.shutdown(within);
        self.work.await.unwrap();
        self.stats
    }

    /// Waits until the counters satisfy a condition.
    async fn until(&self, reached: impl Fn(&Stats) -> bool) {
        let reached = async {
            while !reached(&self.stats) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), reached).await.expect("the counter never came so far");
    }
}

fn of(seen: &[ReceivedRequest], signal: Signal) -> Vec<&ReceivedRequest> {
    seen.iter().filter(|it| it.signal == signal).collect()
}

const LONG: Duration = Duration::from_secs(30);
