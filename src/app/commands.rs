//! Executes the server's commands. Each is passed to the part that handles it, and none waits for another.

use super::reload::ReloadReply;
use crate::engine::{self, Engine, Probed, Triggered, TriggeredRun};
use crate::event::Pair;
use crate::schedule::off_grid;
use crate::server::{CommandRefusal, ControlCommand, ProbeResult, RequestedRun};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Passes commands on until it is stopped or the server is gone.
pub(super) async fn serve(
    mut commands: mpsc::Receiver<ControlCommand>,
    reloads: mpsc::Sender<ReloadReply>,
    engine: Arc<Engine>,
    stop: CancellationToken,
) {
    // Each task ends with the engine at the latest. The server limits how many commands wait, and the engine's own
    // limits apply to what they do.
    let tasks = TaskTracker::new();
    while let Some(Some(command)) = stop.run_until_cancelled(commands.recv()).await {
        match command {
            ControlCommand::Reload { reply } => reload(reply, &reloads),
            // The requester may be gone.
            ControlCommand::Run { profile, reply } => {
                let engine = Arc::clone(&engine);
                tasks.spawn(async move { drop(reply.send(run(&engine, &profile).await)) });
            }
            ControlCommand::Probe { pair, nominal, within, reply } => {
                let engine = Arc::clone(&engine);
                let nominal = nominal.unwrap_or_else(|| off_grid((engine::system())()));
                tasks.spawn(async move { drop(reply.send(probe(&engine, &pair, nominal, within).await)) });
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn run(engine: &Engine, profile: &str) -> Result<Vec<RequestedRun>, CommandRefusal> {
    let runs = engine.trigger(profile).await.map_err(refusal)?;
    let asked = |TriggeredRun { pair, what }| {
        let (state, id, reason) = match what {
            Triggered::Started(run) => ("started", Some(run.id.clone()), None),
            Triggered::Queued => ("queued", None, None),
            Triggered::Skipped(reason) => ("skipped", None, Some(reason)),
            Triggered::Failed => ("failed", None, None),
        };
        RequestedRun { pair, state, id, reason }
    };
    Ok(runs.into_iter().map(asked).collect())
}

async fn probe(
    engine: &Engine,
    pair: &Pair,
    nominal: Timestamp,
    within: Duration,
) -> Result<ProbeResult, CommandRefusal> {
    match engine.probe(pair, nominal, within).await.map_err(refusal)? {
        Probed::Ended(request) => Ok(ProbeResult::Ended(request)),
        Probed::Refused { reason, .. } => Ok(ProbeResult::Refused(reason)),
    }
}

fn refusal(error: engine::Error) -> CommandRefusal {
    match error {
        engine::Error::NoProfile(_) | engine::Error::NoPair(_) => CommandRefusal::Unknown(error.to_string()),
        engine::Error::NotRunning => CommandRefusal::Stopping,
        other => CommandRefusal::Busy(other.to_string()),
    }
}

/// Passes a reload request on. If reloads have ended, the reply is dropped, which means that the agent is stopping.
fn reload(reply: ReloadReply, reloads: &mpsc::Sender<ReloadReply>) {
    if let Err(mpsc::error::TrySendError::Full(reply)) = reloads.try_send(reply) {
        // The requester may be gone.
        let _ = reply.send(Err(vec!["too many reloads wait already".to_owned()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Fact, Sink};
    use crate::plan;
    use tokio::sync::oneshot;

    /// An engine with nothing to do.
    fn idle() -> Arc<Engine> {
        struct Deaf;
        impl Sink for Deaf {
            fn record(&self, _: &Fact) {}
        }
        let plan = Arc::new(plan::from_yaml("{}").unwrap());
        let deps = engine::Deps {
            sink: Arc::new(Deaf),
            ledger: Arc::new(crate::state::BudgetLedger::new(&plan, engine::system())),
            callers: std::collections::HashMap::new(),
            dispatcher: Arc::new(engine::dispatch::Timers),
            cpu_pool: crate::cpu_pool::CpuPool::on(&tokio::runtime::Handle::current()),
            wall: engine::system(),
            handle: tokio::runtime::Handle::current(),
            overrun: engine::OVERRUN,
        };
        Arc::new(Engine::new(plan, deps).unwrap())
    }

    #[tokio::test]
    async fn what_the_plan_does_not_have_is_refused() {
        let (ask, commands) = mpsc::channel(8);
        let (reloads, _asked) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(commands, reloads, idle(), stop.clone()));
        let (reply, replied) = oneshot::channel();
        ask.send(ControlCommand::Run { profile: "chat".to_owned(), reply }).await.unwrap();
        let unknown = Err(CommandRefusal::Unknown("there is no profile chat".to_owned()));
        assert_eq!(replied.await.unwrap(), unknown);
        let (reply, replied) = oneshot::channel();
        let pair = Pair { profile: "chat".into(), target: "llama".into() };
        ask.send(ControlCommand::Probe { pair, nominal: None, within: Duration::from_secs(1), reply })
            .await
            .unwrap();
        assert!(matches!(replied.await.unwrap(), Err(CommandRefusal::Unknown(_))));
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn each_reload_is_handed_on_or_answered() {
        let (ask, commands) = mpsc::channel(8);
        let (reloads, mut asked) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(commands, reloads, idle(), stop.clone()));
        let mut pending = Vec::new();
        for _ in 0..2 {
            let (reply, replied) = oneshot::channel();
            ask.send(ControlCommand::Reload { reply }).await.unwrap();
            pending.push(replied);
        }
        let second = pending.pop().unwrap().await.unwrap();
        assert_eq!(second, Err(vec!["too many reloads wait already".to_owned()]));
        let waiting = asked.recv().await.unwrap();
        waiting.send(Ok(crate::server::ReloadChanges::default())).unwrap();
        assert!(pending.pop().unwrap().await.unwrap().is_ok());
        drop(asked);
        let (reply, replied) = oneshot::channel();
        ask.send(ControlCommand::Reload { reply }).await.unwrap();
        assert!(replied.await.is_err(), "nobody is left to answer it");
        stop.cancel();
        serving.await.unwrap();
    }
}
