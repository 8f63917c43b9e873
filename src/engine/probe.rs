//! A probe: a single request or journey, sent now, independently of any schedule. Its facts go only to the
//! caller. It is subject to the budgets and the in-flight limit like any other request.

use super::run::Start;
use super::stage::RunningStage;
use super::user::{ScenarioUser, UserId};
use super::{Engine, Error};
use crate::event::{Journey, Outcome, Pair, Request, SeriesKey, SkipReason};
use crate::fact::{Fact, Sink};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The result of a probe's request, or of one request of its journey.
#[derive(Clone, Debug)]
pub enum Probed {
    /// It was sent and has ended; `cancelled` if the journey was stopped after it, or if work on it exceeded its time
    /// limit.
    Ended(Arc<Request>),
    /// It was not sent.
    Refused {
        /// The series it belongs to.
        place: Arc<SeriesKey>,
        /// Why it was not sent.
        reason: SkipReason,
    },
}

/// How long a probe may take beyond its time limit to end by itself, and at most half of that limit: its timeouts have
/// passed then.
const WIND_UP: Duration = Duration::from_millis(200);

/// Collects the results of the requests.
#[derive(Default)]
struct Private(Mutex<Vec<Probed>>);

impl Private {
    fn lock(&self) -> MutexGuard<'_, Vec<Probed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A journey stopped between two requests has no request to report that, so its last one does.
    fn cut_short(&self, journey: &Journey) {
        if let Some(Probed::Ended(request)) = self.lock().last_mut()
            && request.outcome == Outcome::Ok
        {
            let request = Arc::make_mut(request);
            let detail =
                journey.detail.clone().or_else(|| Some("the journey was stopped after it".to_owned()));
            (request.outcome, request.detail) = (journey.outcome, detail);
        }
    }
}

impl Sink for Private {
    fn record(&self, fact: &Fact) {
        let probed = match fact {
            Fact::Ended { request, .. } => Probed::Ended(Arc::clone(request)),
            Fact::Skipped { place, reason, .. } => {
                Probed::Refused { place: Arc::clone(place.key()), reason: *reason }
            }
            Fact::JourneyEnded { journey, .. } if journey.outcome != Outcome::Ok => {
                return self.cut_short(journey);
            }
            _ => return,
        };
        self.lock().push(probed);
    }
}

impl Engine {
    /// Sends the first request of a profile's first stage to a target, now. For a scenario, a fresh user
    /// plays one journey (its set-up, then each step with its repetitions) without think time; the result is
    /// then the request that failed, or the last one. Its timeouts end `within` that time. What does not end by itself is
    /// cancelled a little later; what it reserved from the budgets then stays spent.
    ///
    /// What is drawn derives from the profile's seed and the nominal instant: probes of several targets with the same
    /// instant ask the same.
    pub async fn probe(&self, pair: &Pair, nominal: Timestamp, within: Duration) -> Result<Probed, Error> {
        let mut probed = self.probe_all(pair, nominal, within).await?;
        let is_ok = |it: &Probed| matches!(it, Probed::Ended(request) if request.outcome == Outcome::Ok);
        let compares = self.runtime(pair)?.plan.profile.scenario.compares();
        // Those that follow a request to be compared with it are not what is measured.
        if compares && probed.iter().all(is_ok) {
            probed.truncate(1);
        }
        probed.pop().ok_or_else(|| Error::Setup(Arc::clone(&pair.profile)))
    }

    /// Like [`Self::probe`], but returns the result of every request, in order. There is at least one.
    pub async fn probe_all(
        &self,
        pair: &Pair,
        nominal: Timestamp,
        within: Duration,
    ) -> Result<Vec<Probed>, Error> {
        let runtime = self.runtime(pair)?;
        let shared = Arc::clone(&runtime.shared);
        let at = Instant::now();
        let private = Arc::new(Private::default());
        let start = Start { seed: nominal.into(), due: (shared.wall)(), at, join: None };
        let setup = || Error::Setup(Arc::clone(&pair.profile));
        let run = runtime.probe_into(start, Arc::<Private>::clone(&private));
        let place = runtime.plan.places.first().cloned().ok_or_else(setup)?;
        let stop = runtime.gate.stop.clone();
        let stage = Arc::new(RunningStage {
            run,
            other: None,
            place,
            index: 0,
            number: 0,
            warm_up: false,
            limit: None,
            settled: None,
            stop,
            start: at,
            end: None,
        });
        // Dropping the future does not lose the outcome: the guards of request and journey record it.
        let (until, most) = (at.checked_add(within), within.saturating_add(WIND_UP.min(within / 2)));
        let asking = async move { drop(tokio::time::timeout(most, ask(stage, until)).await) };
        // Spawned on the traffic runtime, so that a shutdown waits for it.
        shared.tasks.spawn_on(asking, &shared.handle).await.map_err(|_| setup())?;
        let probed = std::mem::take(&mut *private.lock());
        if probed.is_empty() { Err(setup()) } else { Ok(probed) }
    }
}

async fn ask(stage: Arc<RunningStage>, until: Option<Instant>) {
    let context = stage.context();
    let user = ScenarioUser::new(stage, context, UserId::Arrival(0));
    let mut user = user.without_think_time().ending(until);
    // Probes are not scheduled, so the request is due as soon as it is ready.
    user.get_ready(Instant::now()).await;
    user.play(Instant::now()).await;
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
        match world.engine.probe(pair, Timestamp::UNIX_EPOCH, Duration::from_secs(5)).await.unwrap() {
            Probed::Ended(request) => Ok(request.outcome.label()),
            Probed::Refused { reason, .. } => Err(reason),
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
    async fn the_timeouts_of_a_probe_end_before_it_is_cancelled() {
        let (world, pair) = world(Duration::from_mins(1));
        let began = Instant::now();
        assert_eq!(outcome(&world, &pair).await, Ok("cancelled"));
        let until = world.sent()[0].options.until.unwrap();
        assert_eq!(until - began, Duration::from_secs(5));
        assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_plan_does_not_have_is_not_probed() {
        let (world, _) = world(Duration::ZERO);
        let pair = Pair { profile: "chat".into(), target: "nobody".into() };
        let refused = world.engine.probe(&pair, Timestamp::UNIX_EPOCH, Duration::from_secs(5)).await;
        assert_eq!(refused.unwrap_err(), Error::NoPair(pair));
    }
}
