//! Plays a capacity search: offers one load after another, observes each, and lets [`CapacitySearcher`] decide.
//!
//! Between two loads, every request ends: none is judged under a load that it did not meet, and a target that was
//! overloaded recovers.

use super::level::LoadObserver;
use super::play::{offer_stage, until};
use super::result::Offered;
use super::run::Run;
use super::stage::RunningStage;
use crate::capacity::{CapacitySearcher, NextLoad};
use crate::plan::CapacitySearch;
use crate::schedule::LOOKAHEAD;
use std::sync::Arc;
use tokio::time::Instant;

/// Plays the search of a run, at most until `cut`, and leaves its report with the run.
pub(super) async fn offer(run: &Arc<Run>, search: &CapacitySearch, cut: Option<Instant>) -> Offered {
    let mut searcher = CapacitySearcher::new(search, run.runtime.plan.profile.scenario.journeys);
    let mut level = Arc::new(LoadObserver::new(&run.runtime.gate.stop));
    let mut at = run.start.at;
    for number in 0.. {
        let whole = round(run, search, Round { load: searcher.load(), number, at, cut }, &level).await;
        let slos = &run.runtime.plan.profile.slos;
        let observed = level.observed(searcher.objectives(slos), whole);
        match searcher.step(observed) {
            NextLoad::Again => {}
            NextLoad::Play(load) => {
                tracing::debug!(run = run.ident.id, load, "next load of the search");
                level = Arc::new(LoadObserver::new(&run.runtime.gate.stop));
            }
            NextLoad::Done(report) => {
                tracing::info!(
                    run = run.ident.id,
                    end = report.end.label(),
                    "search ended: {}",
                    report.summary
                );
                run.found(*report);
                break;
            }
        }
        // What is prepared ahead is not late.
        at = Instant::now() + LOOKAHEAD;
    }
    run.record.observe(None);
    if run.runtime.gate.stop.is_cancelled() { Offered::Stopped } else { Offered::Whole }
}

/// One round of a load.
struct Round {
    load: f64,
    /// Its number in the run, from 0.
    number: u32,
    at: Instant,
    cut: Option<Instant>,
}

/// Plays a round, and waits until every request has ended. Returns whether it was played to its end.
async fn round(run: &Arc<Run>, search: &CapacitySearch, round: Round, level: &Arc<LoadObserver>) -> bool {
    let Some(place) = run.runtime.plan.places.first() else { return false };
    let shape = search.shape(round.load);
    let settled = round.at + search.settle;
    let planned = settled + search.hold;
    let end = round.cut.map_or(planned, |cut| cut.min(planned));
    run.record.observe(Some(Arc::clone(level)));
    let stage = Arc::new(RunningStage {
        run: Arc::clone(run),
        other: None,
        place: Arc::clone(place),
        index: 0,
        number: round.number,
        warm_up: false,
        limit: None,
        settled: Some(settled),
        stop: level.stop.clone(),
        start: round.at,
        end: Some(end),
    });
    let stop = level.stop.clone();
    let offering = async {
        offer_stage(stage, &shape).await;
        until(&stop, end).await
    };
    let settling = async {
        let settled = until(&stop, settled.min(end)).await;
        (settled, level.progress(), Instant::now())
    };
    let (offered, (was_settled, before, began)) = tokio::join!(offering, settling);
    if was_settled {
        level.measured(before, Instant::now().saturating_duration_since(began));
    }
    run.tasks.close();
    run.tasks.wait().await;
    run.tasks.reopen();
    offered && end >= planned
}
