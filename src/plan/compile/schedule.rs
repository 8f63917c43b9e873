//! Compiles schedules, and checks that the load fits into them.

use super::{Findings, stage};
use crate::config::{self, KeyPath, show_duration};
use crate::limits;
use crate::plan::{Overlap, Schedule, Stage, Trigger, Weekdays, Window, next_occurrence};
use jiff::tz::TimeZone;
use std::time::Duration;

/// Compiles a schedule.
pub(super) fn compile(
    written: &config::Schedule,
    stages: &[Stage],
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Schedule> {
    let kinds = [
        ("every", written.every.is_some()),
        ("cron", written.cron.is_some()),
        ("continuous", written.continuous.is_some()),
        ("after_idle", written.after_idle.is_some()),
        ("manual", written.manual.is_some()),
    ];
    let kind = findings.only_one(path, &kinds)?;
    let windows = windows(written, path, findings);
    companions(written, kind, path, findings);
    let jitter = written.jitter.map_or(Duration::ZERO, |jitter| jitter.0);
    let trigger = if let Some(every) = written.every {
        every_trigger(every.0, jitter, written.at_start.unwrap_or(false), stages, path, findings)?
    } else if let Some(cron) = &written.cron {
        if jitter > LONGEST_CRON_JITTER {
            let message = format!("must be at most {}", show_duration(LONGEST_CRON_JITTER));
            findings.error(&path.key("jitter"), message);
        }
        cron_trigger(cron, path, findings)?
    } else if written.continuous.is_some() {
        if stages.iter().any(|stage| stage.shape.bounds().time.is_none()) {
            let message = "plays the stages in cycles by the clock, so every stage needs `for` or `warm_up`";
            findings.error(&path.key("continuous"), message);
            return None;
        }
        if stage::run_time(stages).is_some_and(|time| time < limits::SHORTEST_INTERVAL) {
            findings
                .error(&path.key("continuous"), too_short("plays the stages in cycles, and a cycle must be"));
            return None;
        }
        Trigger::Continuous
    } else if let Some(after) = written.after_idle {
        idle_trigger(after.0, stages, &path.key("after_idle"), findings)?
    } else {
        Trigger::Manual
    };
    Some(Schedule {
        trigger,
        timezone: written.timezone.as_ref().map_or(TimeZone::UTC, config::Zone::zone),
        windows,
        overlap: written.overlap.unwrap_or(Overlap::Skip),
        jitter,
    })
}

/// Rejects keys that have no effect with this kind of schedule, so that nobody relies on them.
fn companions(written: &config::Schedule, kind: &str, path: &KeyPath, findings: &mut Findings) {
    let clocked = kind == "every" || kind == "cron";
    let rules = [
        ("at_start", written.at_start.is_some(), kind == "every", "`every`"),
        ("jitter", written.jitter.is_some(), clocked, "`every` and `cron`"),
        ("overlap", written.overlap.is_some(), clocked, "`every` and `cron`"),
        (
            "windows",
            !written.windows.is_empty(),
            kind != "manual",
            "`every`, `cron`, `continuous` and `after_idle`",
        ),
        (
            "timezone",
            written.timezone.is_some(),
            kind == "cron" || !written.windows.is_empty(),
            "`cron` and `windows`",
        ),
    ];
    for (key, there, fits, with) in rules {
        if there && !fits {
            findings.error(&path.key(key), format!("goes with {with} only"));
        }
    }
}

fn every_trigger(
    period: Duration,
    jitter: Duration,
    at_start: bool,
    stages: &[Stage],
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Trigger> {
    if period.is_zero() {
        findings.error(&path.key("every"), "must be more than 0s");
        return None;
    }
    if period < limits::SHORTEST_INTERVAL {
        findings.error(&path.key("every"), too_short("must be"));
        return None;
    }
    if jitter >= period {
        findings.error(&path.key("jitter"), "must be shorter than `every`");
    }
    if let Some(time) = stage::run_time(stages)
        && time > period
    {
        let message = format!(
            "is shorter than the {} that a run takes: runs will overlap, and by default be skipped",
            show_duration(time)
        );
        findings.warn(&path.key("every"), message);
    }
    Some(Trigger::Every { period, at_start })
}

/// The times of a cron expression may be uneven, so there is no period that would bound its jitter; and each look-up goes
/// through as many of them as fit into it.
const LONGEST_CRON_JITTER: Duration = Duration::from_hours(24);

/// The shortest time that counts as idle.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

fn idle_trigger(
    after: Duration,
    stages: &[Stage],
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Trigger> {
    if after < SHORTEST_IDLE {
        findings.error(path, format!("must be {} or longer", show_duration(SHORTEST_IDLE)));
        return None;
    }
    if stages.iter().any(|stage| stage.warm_up) {
        findings.error(path, "does not go with a stage of `warm_up`: the target would be warm by then");
        return None;
    }
    let one = matches!(stages, [stage] if stage.shape.bounds().requests == Some(1));
    if !one {
        let message =
            "meets an idle target only with the first request of a run; write `load: [{ requests: 1 }]`";
        findings.warn(path, message);
    }
    Some(Trigger::AfterIdle(after))
}

fn too_short(what: &str) -> String {
    format!("{what} {} or longer; more load is what `load` is for", show_duration(limits::SHORTEST_INTERVAL))
}

fn cron_trigger(cron: &config::CronExpression, path: &KeyPath, findings: &mut Findings) -> Option<Trigger> {
    // The search covers thousands of years.
    if !findings.spend(1, &path.key("cron")) {
        return None;
    }
    // Any start will do.
    let epoch = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    if next_occurrence(cron.cron(), &epoch).is_none() {
        findings.error(&path.key("cron"), "names a date that never comes");
        return None;
    }
    Some(Trigger::Cron(Box::new(cron.cron().clone())))
}

fn windows(written: &config::Schedule, path: &KeyPath, findings: &mut Findings) -> Vec<Window> {
    let path = path.key("windows");
    let mut windows = Vec::new();
    for (index, window) in written.windows.iter().enumerate() {
        let days = if window.days.is_empty() {
            Weekdays::ALL
        } else {
            Weekdays::of(window.days.iter().flat_map(|days| days.each()))
        };
        let compiled = Window { days, from: window.from.0, to: window.to.0 };
        if windows.contains(&compiled) {
            findings.error(&path.index(index), "stands here twice");
        }
        windows.push(compiled);
    }
    windows
}
