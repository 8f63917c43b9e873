//! One request now, beside every schedule, whose facts go to nobody but the one who asked: a probe. It keeps to
//! the budgets and the in-flight limit like any other request.

use super::run::Start;
use super::stage::Stage;
use super::{Engine, Error};
use crate::event::{Fact, Pair, Request, Sink, SkipReason};
use crate::workload::Number;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What came of a probe.
#[derive(Clone, Debug)]
pub enum Probed {
    /// It was sent, and has ended; `cancelled` if it took longer than it was given.
    Ended(Arc<Request>),
    /// It was not sent.
    Refused(SkipReason),
}

/// Keeps what became of the one request.
#[derive(Default)]
struct Private(Mutex<Option<Probed>>);

impl Sink for Private {
    fn record(&self, fact: &Fact) {
        let probed = match fact {
            Fact::Ended(request) => Probed::Ended(Arc::clone(request)),
            Fact::Skipped { reason, .. } => Probed::Refused(*reason),
            _ => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(probed);
    }
}

impl Engine {
    /// Sends the first request of a profile's first stage to a target, now. It is cancelled after `within`; what
    /// it reserved of the budgets then stays spent.
    pub async fn probe(&self, pair: &Pair, within: Duration) -> Result<Probed, Error> {
        let player = self.player(pair)?;
        let shared = Arc::clone(&player.shared);
        let nominal: Timestamp = (shared.wall)();
        let at = Instant::now();
        let private = Arc::new(Private::default());
        let start = Start { nominal, due: nominal, at, join: None };
        let setup = || Error::Setup(Arc::clone(&pair.profile));
        let run = player.run_into(start, Arc::<Private>::clone(&private)).ok_or_else(setup)?;
        let place = player.plan.places.first().cloned().ok_or_else(setup)?;
        let prepared = player.prepare(run.ident.seed, Number { stage: 0, user: None, n: 0 });
        let asking = async move {
            let stage = Stage { run, place, number: 0, warm_up: false, start: at, end: None };
            // A future that is dropped leaves its outcome behind: the ticket records it.
            let _ = tokio::time::timeout(within, stage.send(Instant::now(), prepared)).await;
        };
        // On the runtime that carries the traffic, and awaited by a shutdown.
        shared.tasks.spawn_on(asking, &shared.handle).await.map_err(|_| setup())?;
        let probed = private.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        probed.ok_or_else(setup)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, takes};
    use super::*;
    use crate::plan::Budget;
    use crate::testing::{Build, budget};

    fn world(time: Duration) -> (World, Pair) {
        let budget = Some(Budget { requests: Some(1), ..budget() });
        let build = Build { budget, ..Build::default() };
        (World::new(build, takes(time)), Pair { profile: "chat".into(), target: "llama".into() })
    }

    async fn outcome(world: &World, pair: &Pair) -> Result<&'static str, SkipReason> {
        match world.engine.probe(pair, Duration::from_secs(5)).await.unwrap() {
            Probed::Ended(request) => Ok(request.outcome.label()),
            Probed::Refused(reason) => Err(reason),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_seen_by_nobody_else_and_keeps_to_the_budget() {
        let (world, pair) = world(Duration::from_secs(1));
        assert_eq!(outcome(&world, &pair).await, Ok("ok"));
        assert_eq!(outcome(&world, &pair).await, Err(SkipReason::Budget));
        assert_eq!(world.facts.offered(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_takes_too_long_is_cancelled_and_stays_spent() {
        let (world, pair) = world(Duration::from_mins(1));
        assert_eq!(outcome(&world, &pair).await, Ok("cancelled"));
        assert_eq!(outcome(&world, &pair).await, Err(SkipReason::Budget));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_plan_does_not_have_is_not_probed() {
        let (world, _) = world(Duration::ZERO);
        let pair = Pair { profile: "chat".into(), target: "nobody".into() };
        let refused = world.engine.probe(&pair, Duration::from_secs(5)).await;
        assert_eq!(refused.unwrap_err(), Error::NoPair(pair));
    }
}
