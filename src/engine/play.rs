//! Plays a run through its stages, until its last request has ended.

use super::result::Offered;
use super::run::Run;
use super::stage::RunningStage;
use super::{closed, open, search};
use crate::event::RunSummary;
use crate::pacing::{ArrivalTimes, TraceArrivals};
use crate::plan::Shape;
use crate::schedule::MIN_CYCLE;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Plays a run: offers its load, signals when all of it has been offered, and waits for the last request.
/// With `time`, the stages are cut off at that point, or repeated until then. In a comparison, the run against the
/// treatment is played with it; its record comes second.
pub(super) async fn play(run: Arc<Run>, time: Option<Duration>) -> Vec<RunSummary> {
    let offering = AssertUnwindSafe(offer(&run, time)).catch_unwind().await;
    let offered = offering.unwrap_or(Offered::Broken);
    let both: Vec<&Arc<Run>> = std::iter::once(&run).chain(&run.other).collect();
    for run in &both {
        run.offered.cancel();
        run.tasks.close();
    }
    for run in &both {
        run.tasks.wait().await;
    }
    both.into_iter().map(|run| run.finish(offered)).collect()
}

async fn offer(run: &Arc<Run>, time: Option<Duration>) -> Offered {
    let stages = &run.runtime.plan.profile.stages;
    if run.runtime.share(run.first_shard, 0).is_nothing() {
        return Offered::Whole;
    }
    let cut = time.map(|time| run.start.at + time);
    if let Some(search) = &run.runtime.plan.profile.search {
        return search::offer(run, search, cut).await;
    }
    let again: Vec<usize> = run.runtime.plan.profile.repeated_stages().collect();
    let mut begin = run.start.at;
    let mut number = 0;
    loop {
        let chosen = |index: &usize| number == 0 || again.contains(index);
        let indices: Vec<usize> = (0..stages.len()).filter(chosen).collect();
        let Some(end) = offer_cycle(run, &indices, &mut number, begin, cut).await else {
            return Offered::Stopped;
        };
        let whole = cut.is_none_or(|cut| end >= cut) || indices.is_empty();
        // The end of a stage is known ahead of time, so wait for it.
        let waited = until(&run.runtime.gate.stop, end).await;
        if whole || !waited {
            return if waited { Offered::Whole } else { Offered::Stopped };
        }
        let timed =
            indices.iter().filter_map(|index| stages.get(*index)).all(|s| s.shape.bounds().time.is_some());
        begin = if timed && end > begin {
            end
        } else {
            match idle(run, begin, cut).await {
                Some(begin) => begin,
                None => {
                    return if run.runtime.gate.stop.is_cancelled() {
                        Offered::Stopped
                    } else {
                        Offered::Whole
                    };
                }
            }
        };
    }
}

/// Plays these stages one after the other, starting at `begin`. Returns the end of the last one, which may be
/// slightly in the future; `None` if the run was stopped.
async fn offer_cycle(
    run: &Arc<Run>,
    indices: &[usize],
    number: &mut u32,
    begin: Instant,
    cut: Option<Instant>,
) -> Option<Instant> {
    let plan = &run.runtime.plan;
    let mut at = begin;
    for index in indices {
        let Some(stage) = plan.profile.stages.get(*index) else { continue };
        if cut.is_some_and(|cut| at >= cut) {
            break;
        }
        let end = stage.shape.bounds().time.map(|time| at + time);
        let end = end.map_or(cut, |end| Some(cut.map_or(end, |cut| end.min(cut))));
        let played = |run: &Arc<Run>, other| {
            let place = run.runtime.plan.places.get(*index)?;
            Some(Arc::new(RunningStage {
                run: Arc::clone(run),
                other,
                place: Arc::clone(place),
                index: *index,
                number: *number,
                warm_up: stage.warm_up,
                limit: run.runtime.stage_limits.get(*index).cloned().flatten(),
                settled: None,
                stop: run.runtime.gate.stop.clone(),
                start: at,
                end,
            }))
        };
        let other = run.other.as_ref().and_then(|other| played(other, None));
        let Some(played) = played(run, other) else { continue };
        *number += 1;
        at = offer_stage(played, &stage.shape).await?;
    }
    Some(at)
}

/// Offers the load of a stage. Returns its end, which may be slightly in the future; `None` if it was stopped.
pub(super) async fn offer_stage(stage: Arc<RunningStage>, shape: &Shape) -> Option<Instant> {
    if stage.end.is_some_and(|end| end <= stage.begins()) {
        // A run that joins a cycle skips the stages that are already over.
        return stage.end;
    }
    let tell = tell_activity(&stage, stage.shards(shape));
    match shape {
        Shape::Rate { rate, arrivals, bounds } => {
            let (from, seed) = (stage.wall_start(), stage.arrival_seed());
            let mut arrivals = ArrivalTimes::new(rate, arrivals, *bounds, from, seed);
            let last = open::offer(&stage, (0_u64..).zip(arrivals.by_ref()), *bounds).await?;
            let whole = arrivals.end_of_requests().map(|time| stage.start + time);
            let whole = whole.map(|whole| stage.end.map_or(whole, |end| whole.min(end)));
            let ended = whole.map_or(last, |whole| whole.max(last));
            // The receiver is gone if the run was stopped.
            let _ = tell.send(ended);
            Some(ended)
        }
        Shape::Trace { replay, from, bounds } => {
            let arrivals = TraceArrivals::new(replay, *from, *bounds, stage.trace_seed());
            let ended = open::offer(&stage, arrivals, *bounds).await?;
            let _ = tell.send(ended);
            Some(ended)
        }
        Shape::Users { users, think, bounds, spawn } => {
            let crowd = closed::ClosedLoop { users, spawn: *spawn, think: *think };
            closed::offer(&stage, crowd, *bounds, tell).await
        }
    }
}

/// Starts to record for how long the stage offers load, against both targets in a comparison. The result takes the end of
/// the stage, once it is known.
fn tell_activity(stage: &Arc<RunningStage>, shards: u32) -> oneshot::Sender<Instant> {
    let handle = &stage.run.runtime.shared.handle;
    let start = |stage: &Arc<RunningStage>| {
        let (tell, end) = oneshot::channel();
        stage.run.tasks.spawn_on(Arc::clone(stage).tell_activity(shards, end), handle);
        tell
    };
    let own = start(stage);
    let Some(other) = stage.other.as_ref().map(start) else { return own };
    let (tell, end) = oneshot::channel();
    let pass_on = async move {
        if let Ok(end) = end.await {
            // The receivers are gone if the run was stopped.
            let _ = (own.send(end), other.send(end));
        }
    };
    stage.run.tasks.spawn_on(pass_on, handle);
    tell
}

/// Waits until an instant; returns false if it was stopped first.
pub(super) async fn until(stop: &CancellationToken, at: Instant) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep_until(at) => true,
    }
}

/// Waits until every request of the run has ended and a second has passed since `begin`. Returns the instant
/// at which the stages may start again, or `None` if the run ends before that.
async fn idle(run: &Run, begin: Instant, cut: Option<Instant>) -> Option<Instant> {
    run.tasks.close();
    let waited = async {
        run.tasks.wait().await;
        tokio::time::sleep_until(begin + MIN_CYCLE).await;
    };
    let over = async {
        match cut {
            Some(cut) => tokio::time::sleep_until(cut).await,
            None => std::future::pending().await,
        }
    };
    let idle = tokio::select! {
        biased;
        () = run.runtime.gate.stop.cancelled() => false,
        () = waited => true,
        () = over => false,
    };
    run.tasks.reopen();
    idle.then(Instant::now)
}
