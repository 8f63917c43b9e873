//! Compiles the load.

use super::{Findings, name, trace::FollowedTrace};
use crate::config::{self, Config, KeyPath};
use crate::plan::{Ramp, Shape, Stage, StageBounds, Think};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

/// Default time between the starts of two users of a scenario, whose set-up may be a login.
const SPAWN_SCENARIO: Duration = Duration::from_millis(10);

/// Default time between the starts of two users of a workload. Without it, hundreds of requests would be due at the same
/// instant, and the last of them would be sent late.
const SPAWN_WORKLOAD: Duration = Duration::from_millis(1);

/// Compiles every stage of a load.
///
/// `journeys` means that users play a scenario; by default, their starts are spread more widely. A trace gives the
/// arrivals of stages that say nothing else.
pub(super) fn compile(
    load: &[config::Stage],
    journeys: bool,
    mut trace: Option<&mut FollowedTrace<'_>>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<Stage> {
    let mut names = BTreeSet::new();
    let mut stages = Vec::new();
    for (index, written) in load.iter().enumerate() {
        let path = path.index(index);
        if let Some(stage_name) = &written.name {
            name::check(stage_name, &path.key("name"), findings);
            if !names.insert(stage_name) {
                let message = format!("there is another stage `{stage_name}` in this load");
                findings.error(&path.key("name"), message);
            }
        }
        stages.extend(stage(written, journeys, trace.as_deref_mut(), &path, findings));
    }
    if load.iter().all(|stage| stage.warm_up.is_some()) {
        findings.warn(path, "every stage is warm-up: nothing will be measured");
    }
    stages
}

fn stage(
    written: &config::Stage,
    journeys: bool,
    trace: Option<&mut FollowedTrace<'_>>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Stage> {
    let trace = trace.filter(|_| written.rate.is_none() && written.users.is_none());
    let bounds = bounds(written, trace.is_none(), path, findings);
    let shape = match (&written.rate, &written.users) {
        (None, None) if let Some(trace) = trace => {
            bounds?;
            trace.shape(written, path, findings)
        }
        (Some(_), Some(_)) => {
            findings.error(path, "takes `rate` or `users`, not both");
            None
        }
        (Some(rate), None) => rate_shape(written, rate, bounds, path, findings),
        (None, users) => users_shape(written, users.as_ref(), bounds, path, findings),
    }?;
    let shape = with_spawn(shape, written, journeys, path, findings);
    Some(Stage {
        name: written.name.as_deref().unwrap_or_default().into(),
        warm_up: written.warm_up.is_some(),
        shape,
    })
}

/// Sets when users start.
fn with_spawn(
    shape: Shape,
    written: &config::Stage,
    journeys: bool,
    path: &KeyPath,
    findings: &mut Findings,
) -> Shape {
    let at = path.key("spawn");
    if written.spawn.is_some() && written.users.is_none() {
        findings.error(&at, "goes with `users`");
    }
    let Shape::Users { users, think, bounds, .. } = shape else { return shape };
    if let (Some(spawn), Some(time)) = (written.spawn, bounds.time)
        && spawn.0 > time
    {
        findings.error(&at, "must not be longer than the stage");
    }
    let by_default = || {
        let each = if journeys { SPAWN_SCENARIO } else { SPAWN_WORKLOAD };
        // The number of users is small and whole.
        let all = each.mul_f64(users.from.max(1.0));
        bounds.time.map_or(all, |time| all.min(time / 2))
    };
    let spawn = match written.spawn {
        Some(spawn) => spawn.0,
        // One user has nobody to wait for, and the revision of its profile stays what it was.
        None if !journeys && users.from < 2.0 => Duration::ZERO,
        None => by_default(),
    };
    Shape::Users { users, think, bounds, spawn }
}

/// The end of a stage, which it may need.
fn bounds(
    written: &config::Stage,
    needed: bool,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<StageBounds> {
    let (key, time) = match (written.time, written.warm_up) {
        (Some(_), Some(_)) => {
            findings.error(path, "takes `for` or `warm_up`, not both: each is the time of the stage");
            return None;
        }
        (Some(time), None) => ("for", Some(time.0)),
        (None, warm_up) => ("warm_up", warm_up.map(|time| time.0)),
    };
    if time.is_some_and(|time| time.is_zero()) {
        findings.error(&path.key(key), "must be more than 0s");
        return None;
    }
    let requests = written.requests.map(std::num::NonZeroU64::get);
    if needed && time.is_none() && requests.is_none() {
        findings.error(path, "needs an end: `for`, `warm_up` or `requests`");
        return None;
    }
    Some(StageBounds { time, requests })
}

fn rate_shape(
    written: &config::Stage,
    rate: &config::Moving<config::Rate>,
    bounds: Option<StageBounds>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Shape> {
    if written.think.is_some() {
        findings
            .error(&path.key("think"), "goes with `users`; with `rate`, requests do not wait for answers");
    }
    let (from, to) = rate.ends();
    let (from, to) = (from.per_second(), to.per_second());
    let at_rate = path.key("rate");
    let valid = |rate: f64| rate.is_finite() && rate >= 0.0;
    if !valid(from) || !valid(to) || from + to <= 0.0 {
        findings.error(&at_rate, "must be more than 0");
        return None;
    }
    let bounds = bounds?;
    ramp_has_time(from, to, bounds, &at_rate, findings)?;
    let arrivals = written.arrivals.unwrap_or_default();
    Some(Shape::Rate { rate: Ramp { from, to }, arrivals, bounds })
}

fn users_shape(
    written: &config::Stage,
    users: Option<&config::Moving<config::Users>>,
    bounds: Option<StageBounds>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Shape> {
    if written.arrivals.is_some() {
        findings
            .error(&path.key("arrivals"), "goes with `rate`; users ask again when they have their answer");
    }
    let (from, to) = users.map_or((1, 1), |users| {
        let (from, to) = users.ends();
        (from.0.get(), to.0.get())
    });
    let bounds = bounds?;
    ramp_has_time(f64::from(from), f64::from(to), bounds, &path.key("users"), findings)?;
    let think = written.think.map_or(Think { min: Duration::ZERO, max: Duration::ZERO }, |think| Think {
        min: think.min,
        max: think.max,
    });
    Some(Shape::Users {
        users: Ramp { from: f64::from(from), to: f64::from(to) },
        think,
        bounds,
        spawn: Duration::ZERO,
    })
}

#[expect(clippy::float_cmp, reason = "a ramp is one whose two ends were written differently")]
fn ramp_has_time(
    from: f64,
    to: f64,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<()> {
    if from != to && bounds.time.is_none() {
        findings.error(path, "moves over the time of the stage, and the stage has none: it needs `for`");
        return None;
    }
    Some(())
}

/// Maximum number of requests in flight to one target. If there are other targets, a quarter is reserved for them.
pub(super) fn in_flight_per_target(config: &Config) -> NonZeroU32 {
    let limits = &config.agent.limits;
    let targets: BTreeSet<&String> = config.profiles.values().flat_map(|profile| &profile.targets).collect();
    let all = limits.in_flight.get();
    let share = if targets.len() > 1 { all - all.div_ceil(4) } else { all };
    let most = limits.in_flight_per_target.map_or(share, NonZeroU32::get);
    NonZeroU32::new(most.min(all)).unwrap_or(NonZeroU32::MIN)
}

/// Warns of more users than requests allowed in flight: some would be skipped again and again.
pub(super) fn check_in_flight(config: &Config, findings: &mut Findings) {
    let most = in_flight_per_target(config);
    let key = if most < config.agent.limits.in_flight { "in_flight_per_target" } else { "in_flight" };
    for (name, profile) in &config.profiles {
        for (index, stage) in profile.stages().iter().enumerate() {
            let users = stage.users.as_ref().map(config::Moving::ends);
            if users.is_some_and(|(from, to)| from.0.max(to.0) > most) {
                let path = KeyPath::of(["profiles", name, "load"]).index(index).key("users");
                let message = format!("are more than `agent.limits.{key}`, {most}: requests will be skipped");
                findings.warn(&path, message);
            }
        }
    }
}

/// The time for which a run offers load; `None` if a stage ends only by its number of requests.
pub(in crate::plan) fn run_time(stages: &[Stage]) -> Option<Duration> {
    stages.iter().map(|stage| stage.shape.bounds().time).sum()
}
