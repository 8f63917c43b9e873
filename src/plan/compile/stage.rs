//! Compiles the load.

use super::target::is_local;
use super::{Findings, arrivals, load_curve, name, trace::FollowedTrace};
use crate::config::{self, Config, KeyPath};
use crate::plan::{
    Arrivals, AtLimit, LoadCurve, Profile, Shape, Stage, StageBounds, StageLimit, Target, Think, is_unlimited,
};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Default time between the starts of two users of a scenario, whose set-up may be a login.
const SPAWN_SCENARIO: Duration = Duration::from_millis(10);

/// Default time between the starts of two users of a workload. Without it, hundreds of requests would be due at the same
/// instant, and the last of them would be sent late.
const SPAWN_WORKLOAD: Duration = Duration::from_millis(1);

/// What a closed loop without think time does.
pub(super) const UNLIMITED: &str = "sends as many requests as the target answers, and nothing limits them";

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
        let Some(stage) = stage(written, journeys, trace.as_deref_mut(), &path, findings) else { continue };
        if stage.shape.follows_clock() && stages.iter().any(|before: &Stage| before.shape.ends_by_requests())
        {
            let message = "follows the wall clock after a stage that ends with its requests: targets and replays differ";
            findings.warn(&path, message);
        }
        stages.push(stage);
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
    if written.at_limit.is_some() && written.in_flight.is_none() {
        findings.error(&path.key("at_limit"), "goes with `in_flight`");
    }
    let limit = written
        .in_flight
        .map(|in_flight| StageLimit { in_flight, at_limit: written.at_limit.unwrap_or_default() });
    Some(Stage {
        name: written.name.as_deref().unwrap_or_default().into(),
        warm_up: written.warm_up.is_some(),
        shape,
        limit,
    })
}

/// Default time between the starts of two users.
pub(super) const fn spawn_of_each(journeys: bool) -> Duration {
    if journeys { SPAWN_SCENARIO } else { SPAWN_WORKLOAD }
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
        let each = spawn_of_each(journeys);
        // The number of users is small and whole.
        let all = each.mul_f64(users.first().max(1.0));
        bounds.time.map_or(all, |time| all.min(time / 2))
    };
    let spawn = match written.spawn {
        Some(spawn) => spawn.0,
        // One user has nobody to wait for, and the revision of its profile stays what it was.
        None if !journeys && users.first() < 2.0 => Duration::ZERO,
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
    let bounds = bounds?;
    let rate = load_curve::compile(rate, config::Rate::per_second, bounds, &path.key("rate"), findings);
    let arrivals = match &written.arrivals {
        Some(written) => arrivals::compile(written, &path.key("arrivals"), findings),
        None => Some(Arrivals::Constant),
    };
    Some(Shape::Rate { rate: rate?, arrivals: arrivals?, bounds })
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
    let bounds = bounds?;
    let number = |users: config::Users| f64::from(users.0.get());
    let users = match users {
        Some(users) => load_curve::compile(users, number, bounds, &path.key("users"), findings)?,
        None => LoadCurve::constant(1.0),
    };
    let think = written.think.map_or(Think { min: Duration::ZERO, max: Duration::ZERO }, |think| Think {
        min: think.min,
        max: think.max,
    });
    Some(Shape::Users { users, think, bounds, spawn: Duration::ZERO })
}

/// Maximum number of requests in flight to one target. If there are other targets, a quarter is reserved for them.
pub(super) fn in_flight_per_target(config: &Config) -> NonZeroU32 {
    let limits = &config.agent.limits;
    let targets: BTreeSet<&String> =
        config.profiles.values().flat_map(config::Profile::target_names).collect();
    let all = limits.in_flight.get();
    let several = targets.len() > 1 || config.targets.values().any(|target| target.discover.is_some());
    let share = if several { all - all.div_ceil(4) } else { all };
    let most = limits.in_flight_per_target.map_or(share, NonZeroU32::get);
    NonZeroU32::new(most.min(all)).unwrap_or(NonZeroU32::MIN)
}

/// Warns of more users than requests allowed in flight: some would be skipped again and again. Also warns of a limit that
/// is never reached.
pub(super) fn check_in_flight(config: &Config, findings: &mut Findings) {
    let most = in_flight_per_target(config);
    let key = if most < config.agent.limits.in_flight { "in_flight_per_target" } else { "in_flight" };
    for (name, profile) in &config.profiles {
        for (index, stage) in profile.stages().iter().enumerate() {
            let at = KeyPath::of(["profiles", name, "load"]).index(index);
            if stage.in_flight.is_some_and(|in_flight| in_flight > most) {
                let message = format!("is more than `agent.limits.{key}`, {most}: that limit applies");
                findings.warn(&at.key("in_flight"), message);
            }
            if stage.in_flight.is_some() && stage.at_limit == Some(AtLimit::Queue) {
                // Users wait, so none is skipped.
                continue;
            }
            let own = stage.in_flight.filter(|own| *own < most);
            let (most, key) =
                own.map_or((most, format!("agent.limits.{key}")), |own| (own, "in_flight".to_owned()));
            let users = stage.users.as_ref().map(config::Moving::values).unwrap_or_default();
            if users.iter().any(|users| users.0 > most) {
                let message = format!("are more than `{key}`, {most}: requests will be skipped");
                findings.warn(&at.key("users"), message);
            }
        }
    }
}

/// Warns of closed loops that nothing limits, if somebody may have to pay for what they send: if a target has a price or
/// is on another machine.
pub(super) fn check_unlimited(
    config: &Config,
    profiles: &BTreeMap<String, Arc<Profile>>,
    targets: &BTreeMap<String, Arc<Target>>,
    findings: &mut Findings,
) {
    for (name, profile) in profiles {
        let Some(written) = config.profiles.get(name) else { continue };
        let is_elsewhere = |target: &Target| target.discovery.is_some() || !is_local(&target.base_url);
        let costs = |target: &Arc<Target>| target.price.is_some() || is_elsewhere(target);
        let mut played = written.target_names().filter_map(|target| targets.get(target));
        let is_bounded = profile.budget.is_some() || config.agent.budget.is_some();
        if is_bounded || profile.search.is_some() || !played.any(costs) {
            continue;
        }
        for (index, stage) in profile.stages.iter().enumerate() {
            if is_unlimited(stage, &profile.scenario) {
                let path = KeyPath::of(["profiles", name, "load"]).index(index);
                let message =
                    format!("{UNLIMITED}: give the profile a `budget`, or the stage `think` or `requests`");
                findings.warn(&path, message);
            }
        }
    }
}

/// The time for which a run offers load; `None` if that depends on draws or on the target.
pub(in crate::plan) fn run_time(stages: &[Stage]) -> Option<Duration> {
    stages.iter().map(|stage| stage.shape.time()).sum()
}
