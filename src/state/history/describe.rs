//! A short human-readable description of a profile's load.

use crate::plan::{Arrivals, LoadCurve, Profile, Ramp, Scenario, Shape, Stage, StageBounds, Trigger};
use std::time::Duration;

/// For example `every 20 s: 4 requests/s for 6 s in bursts`; warm-ups are left out.
pub(super) fn load(profile: &Profile) -> String {
    let when = match &profile.schedule.trigger {
        Trigger::Every { period, .. } => format!("every {}", time(*period)),
        Trigger::Cron(cron) => format!("at {}", cron.pattern),
        Trigger::Continuous => "all the time".to_owned(),
        Trigger::AfterIdle(after) => format!("after {} without use", time(*after)),
        Trigger::Manual => "when asked".to_owned(),
    };
    let scenario = profile.scenario.journeys.then_some(&profile.scenario);
    if let Some(search) = &profile.search {
        let of = search.unit(scenario.is_some()).words();
        let steps = scenario.map_or_else(String::new, |scenario| format!("; {}", steps(scenario)));
        return format!("{when}: a search for capacity, {} to {} {of}{steps}", search.from, search.to);
    }
    let measured = profile.stages.iter().filter(|stage| !stage.warm_up);
    let stages: Vec<String> = measured.map(|it| stage(it, scenario.is_some())).collect();
    let steps = scenario.map_or_else(String::new, |scenario| format!("; {}", steps(scenario)));
    format!("{when}: {}{steps}", stages.join(", then "))
}

/// For example `a journey: query, talk 3 times`.
fn steps(scenario: &Scenario) -> String {
    let steps = scenario.steps.iter().map(|step| match step.repeat {
        0 | 1 => step.name.to_string(),
        times => format!("{} {times} times", step.name),
    });
    format!("a journey: {}", steps.collect::<Vec<_>>().join(", "))
}

fn stage(stage: &Stage, journeys: bool) -> String {
    match &stage.shape {
        Shape::Rate { rate, arrivals, bounds } => {
            let spread = match arrivals {
                Arrivals::Constant => "evenly spread".to_owned(),
                Arrivals::Poisson => "at random times".to_owned(),
                Arrivals::Gamma { .. } | Arrivals::Weibull { .. } => "in bursts".to_owned(),
                Arrivals::Clients(groups) => {
                    let clients: u32 = groups.iter().map(|group| group.count).sum();
                    format!("from {clients} client{}", s(clients == 1))
                }
            };
            let rate = curve(rate);
            let what = if journeys { "journey" } else { "request" };
            format!("{rate} {what}{}/s {spread}{}", s(rate != "1"), until(*bounds))
        }
        Shape::Trace { replay, bounds, .. } => {
            let times = |number: f64, what: &str| {
                if (number - 1.0).abs() < f64::EPSILON {
                    String::new()
                } else {
                    format!(", {number} times as {what}")
                }
            };
            let (fast, many) = (times(replay.speed, "fast"), times(replay.scale, "many"));
            format!("requests as recorded in a trace{fast}{many}{}", until(*bounds))
        }
        Shape::Users { users, bounds, .. } => {
            let one = users.max() <= 1.0;
            let what = if journeys { "go" } else { "read" };
            let then = if journeys { "on journeys" } else { "each answer" };
            let ending = if journeys && one { "es" } else { s(one) };
            format!("{} user{} who {what}{ending} {then}{}", curve(users), s(!one), until(*bounds))
        }
    }
}

const fn s(wanted: bool) -> &'static str {
    if wanted { "s" } else { "" }
}

fn curve(curve: &LoadCurve) -> String {
    match curve {
        LoadCurve::Ramp(it) => ramp(*it),
        LoadCurve::Pieces(_) => format!("between {} and {}", curve.min(), curve.max()),
    }
}

fn ramp(ramp: Ramp) -> String {
    if (ramp.from - ramp.to).abs() < f64::EPSILON {
        format!("{}", ramp.from)
    } else {
        format!("{} to {}", ramp.from, ramp.to)
    }
}

fn until(bounds: StageBounds) -> String {
    let bounds = [
        bounds.time.map(|length| format!(" for {}", time(length))),
        bounds.requests.map(|n| format!(", {n} in all")),
    ];
    bounds.into_iter().flatten().collect()
}

/// In the largest unit that gives an integer.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole =
        |unit: u64| time.subsec_nanos() == 0 && time.as_secs() > 0 && time.as_secs().is_multiple_of(unit);
    match () {
        () if whole(3600) => format!("{} h", time.as_secs() / 3600),
        () if whole(60) => format!("{} min", time.as_secs() / 60),
        () => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Expect, Step};
    use crate::testing::{Build, post, profile, rag_plan_of, rate, requests, scenario, step, users};

    fn said(stages: Vec<Stage>, trigger: Trigger) -> String {
        load(&Build { trigger, stages, ..Build::default() }.plan().profiles[0])
    }

    #[test]
    fn a_load_is_said_in_words() {
        assert_eq!(
            said(vec![rate(4.0, 90)], Trigger::Continuous),
            "all the time: 4 requests/s evenly spread for 90 s"
        );
        assert_eq!(
            said(vec![requests(3)], Trigger::Manual),
            "when asked: 1 user who reads each answer, 3 in all"
        );
        let bounds = StageBounds { time: Some(Duration::from_mins(2)), requests: None };
        let mut some = users(1.0, Duration::ZERO, bounds);
        if let Shape::Users { users, .. } = &mut some.shape {
            *users = Ramp { from: 1.0, to: 4.0 }.into();
        }
        let warm_up = Stage { warm_up: true, ..requests(9) };
        assert_eq!(
            said(
                vec![warm_up, some, rate(0.5, 3600)],
                Trigger::Every { period: Duration::from_millis(500), at_start: true }
            ),
            "every 0.5 s: 1 to 4 users who read each answer for 2 min, then 0.5 requests/s evenly spread for 1 h"
        );
    }

    #[test]
    fn a_scenario_is_said_in_journeys() {
        let bounds = StageBounds { time: None, requests: Some(9) };
        let stages = vec![users(4.0, Duration::ZERO, bounds), rate(0.5, 60)];
        assert_eq!(
            load(&rag_plan_of(stages).profiles[0]),
            "every 2 min: 4 users who go on journeys, 9 in all, then 0.5 journeys/s evenly spread for 1 min; \
             a journey: query, talk"
        );
        let search = Step { repeat: 3, ..step("search", post("/s", None), Expect::default()) };
        let one = scenario(profile("p", vec![requests(1)]), vec![], vec![search]);
        assert_eq!(
            load(&one),
            "every 2 min: 1 user who goes on journeys, 1 in all; a journey: search 3 times"
        );
    }
}
