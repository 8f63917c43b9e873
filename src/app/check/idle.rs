//! Finds profiles with `after_idle` that never run, because other profiles never leave their target alone for that long.

use crate::config::{Located, show_duration};
use crate::plan::{LoadedPlan, PairPlan, Plan, Trigger};
use crate::schedule::{Timetable, cycle_length};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// How far ahead schedules are followed: a week, so that windows by weekday are seen, and a day more.
const HORIZON: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How many uses of a target are followed at most. With more of them there is no verdict.
const MAX_USES: usize = 5000;

/// The runs of another profile against the same target.
struct OtherRuns<'a> {
    profile: &'a Arc<str>,
    table: Timetable,
    /// How long a run offers load, as far as it is known.
    length: Duration,
}

/// A warning for each profile and target whose runs never start.
pub(super) fn warnings(loaded: &LoadedPlan, now: Timestamp) -> Vec<Located> {
    let mut warnings = Vec::new();
    for (index, pair) in loaded.plan.pairs.iter().enumerate() {
        if let Trigger::AfterIdle(after) = pair.profile.schedule.trigger
            && let Some(why) = why_never(&loaded.plan, index, pair, after, now)
        {
            let message = format!("may never start a run on the target `{}`: {why}", pair.target.name);
            warnings.push(loaded.warn_of_idle(&pair.profile.name, message));
        }
    }
    warnings
}

fn why_never(plan: &Plan, index: usize, pair: &PairPlan, after: Duration, now: Timestamp) -> Option<String> {
    let beside = || {
        plan.pairs
            .iter()
            .enumerate()
            .filter(|(other, it)| *other != index && it.target.name == pair.target.name)
    };
    // Of two that wait for the same time, only the first is sure to come.
    let sooner = beside().find_map(|(other, it)| match it.profile.schedule.trigger {
        Trigger::AfterIdle(time) if it.profile.schedule.windows.is_empty() => {
            ((time, other) < (after, index)).then_some((&it.profile.name, time))
        }
        _ => None,
    });
    if let Some((name, time)) = sooner {
        let what = if time < after { "uses it" } else { "waits as long, and may be the first" };
        return Some(format!("`{name}` {what}, after {}", show_duration(time)));
    }
    let others: Vec<OtherRuns<'_>> = beside().map(|(_, it)| OtherRuns::of(it)).collect();
    let own = timetable(pair);
    if is_ever_left_alone(&own, after, &others, now) != Some(false) {
        return None;
    }
    let names: Vec<String> = others.iter().map(|other| format!("`{}`", other.profile)).collect();
    let leave = if names.len() == 1 { "never leaves" } else { "never leave" };
    Some(format!("{} {leave} it alone for {}", names.join(" and "), show_duration(after)))
}

fn timetable(pair: &PairPlan) -> Timetable {
    let profile = &pair.profile;
    Timetable::new(&profile.schedule, profile.seed, &pair.pair, &profile.stages)
}

impl<'a> OtherRuns<'a> {
    fn of(pair: &'a PairPlan) -> Self {
        let length = cycle_length(&pair.profile.stages).unwrap_or_default();
        Self { profile: &pair.profile.name, table: timetable(pair), length }
    }

    /// The end of a run that starts after `from` and not after `until`, and of a late one if there are several.
    fn end_of_use(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let whole = until.duration_since(from);
        let mut back = whole.checked_div(1024)?;
        loop {
            back = back.min(whole);
            let slot = self.table.next_open(until.checked_sub(back).ok()?);
            if let Some(slot) = slot.filter(|slot| slot.at <= until) {
                return slot.at.checked_add(self.length).ok();
            }
            if back >= whole {
                return None;
            }
            back = back.checked_mul(4)?;
        }
    }
}

/// Whether a run may ever start; `None` if that takes too long to find out.
fn is_ever_left_alone(
    own: &Timetable,
    after: Duration,
    others: &[OtherRuns<'_>],
    now: Timestamp,
) -> Option<bool> {
    let horizon = now.checked_add(HORIZON).ok()?;
    let mut at = now;
    for _ in 0..MAX_USES {
        if at > horizon {
            return Some(false);
        }
        let until = at.checked_add(after).ok()?;
        let used = others.iter().filter_map(|other| other.end_of_use(at, until)).max();
        if let Some(end) = used.filter(|end| *end > at) {
            at = end;
            continue;
        }
        let Some(open) = own.opening(until) else { return Some(false) };
        let next = others.iter().filter_map(|other| other.table.next_open(until)).min_by_key(|slot| slot.at);
        match next.filter(|next| next.at <= open) {
            None => return Some(true),
            Some(next) => at = next.at,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigSource;
    use crate::plan::load;

    /// The warnings about a cold start after 30 minutes beside these profiles.
    fn said(after: &str, others: &str) -> Vec<String> {
        let text = format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1' }}, u: {{ api: openai-chat, base_url: 'http://127.0.0.1' }} }}\n\
             profiles:\n  cold: {{ targets: [t], schedule: {{ {after} }}, workload: {{ prompts: [x] }} }}\n{others}"
        );
        let loaded =
            load(&[ConfigSource::Text { name: "c.yaml".into(), text }], []).unwrap_or_else(|e| panic!("{e}"));
        // A Friday.
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        warnings(&loaded, now).iter().map(ToString::to_string).collect()
    }

    fn other(name: &str, target: &str, schedule: &str, load: &str) -> String {
        format!(
            "  {name}: {{ targets: [{target}], schedule: {{ {schedule} }}, load: [{load}], workload: {{ prompts: [x] }} }}\n"
        )
    }

    fn runs(others: &str) -> bool {
        said("after_idle: 30m", others).is_empty()
    }

    #[test]
    fn a_target_that_is_never_left_alone_is_told() {
        let warning = said("after_idle: 30m", &other("a", "t", "every: 10m", "{ requests: 1 }"));
        let [warning] = warning.as_slice() else { panic!("{warning:?}") };
        assert!(warning.starts_with("c.yaml:3:"), "{warning}");
        assert!(
            warning.ends_with("profiles.cold.schedule.after_idle: may never start a run on the target `t`: `a` never leaves it alone for 30m"),
            "{warning}"
        );
        assert!(!runs(&other("a", "t", "continuous: {}", "{ for: 1m, rate: 1 }")));
        assert!(!runs(&other("a", "t", "cron: '*/30 * * * *'", "{ requests: 1 }")));
        // The load takes most of the hour.
        assert!(!runs(&other("a", "t", "every: 1h", "{ for: 35m, rate: 1 }")));
        // Each leaves it alone, but not at the same time.
        let both = other("a", "t", "cron: '0 * * * *'", "{ requests: 1 }")
            + &other("b", "t", "cron: '29 * * * *'", "{ requests: 1 }")
            + &other("c", "t", "cron: '45 * * * *'", "{ requests: 1 }");
        let warning = said("after_idle: 30m", &both);
        assert!(warning[0].ends_with("`a` and `b` and `c` never leave it alone for 30m"), "{warning:?}");
    }

    #[test]
    fn a_target_that_is_left_alone_at_some_time_is_not() {
        assert!(runs(""));
        assert!(runs(&other("a", "u", "every: 10m", "{ requests: 1 }")));
        assert!(runs(&other("a", "t", "manual: {}", "{ requests: 1 }")));
        assert!(runs(&other("a", "t", "every: 1h", "{ for: 20m, rate: 1 }")));
        assert!(runs(&other("a", "t", "cron: '0,45 * * * *'", "{ requests: 1 }")));
        let windows = "every: 1m, windows: [{ from: '08:00', to: '18:00' }]";
        let office = other("a", "t", windows, "{ requests: 1 }");
        assert!(runs(&office));
        let within = "after_idle: 30m, windows: [{ from: '09:00', to: '17:00' }]";
        assert_eq!(said(within, &office).len(), 1, "its window is that of the other's load");
    }

    #[test]
    fn of_two_that_wait_the_shorter_one_runs() {
        let sooner = said("after_idle: 30m", &other("a", "t", "after_idle: 10m", "{ requests: 1 }"));
        assert!(
            sooner[0].ends_with("may never start a run on the target `t`: `a` uses it, after 10m"),
            "{sooner:?}"
        );
        let later = said("after_idle: 30m", &other("z", "t", "after_idle: 30m", "{ requests: 1 }"));
        assert!(
            later.len() == 1 && later[0].ends_with("`cold` waits as long, and may be the first, after 30m"),
            "{later:?}"
        );
    }
}
