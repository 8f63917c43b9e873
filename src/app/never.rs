//! Finds schedules that never come because all of their times lie outside of their windows.

use crate::config::{KeyPath, Located};
use crate::plan::{LoadedPlan, PairPlan};
use crate::schedule::{MAX_SLOTS, Timetable};
use jiff::Timestamp;

/// How many are tried of all pairs together. Pairs for which none are left get no verdict.
const TRIED_IN_ALL: u32 = 20 * MAX_SLOTS;

/// A warning for each profile and target whose runs never start.
pub(super) fn warnings(loaded: &LoadedPlan, now: Timestamp) -> Vec<Located> {
    let mut left = TRIED_IN_ALL;
    let mut warnings = Vec::new();
    for pair in loaded.plan.pairs.iter().filter(|pair| !pair.profile.schedule.windows.is_empty()) {
        let Some(first) = first_of_none(pair, now, &mut left) else { continue };
        let path = KeyPath::of(["profiles", &*pair.profile.name, "schedule", "windows"]);
        let message = format!(
            "may never let a run on the target `{}` start: none of its next {MAX_SLOTS} times, of which the first is {}, lies in \
             {}",
            pair.target.name,
            first.to_zoned_datetime(pair.profile.schedule.timezone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z"),
            shown_windows(pair)
        );
        warnings.push(loaded.locate(path, message));
    }
    warnings
}

/// The first time of a pair, if none of the times that are tried is in a window.
fn first_of_none(pair: &PairPlan, now: Timestamp, left: &mut u32) -> Option<Timestamp> {
    let profile = &pair.profile;
    let table = Timetable::new(&profile.schedule, profile.seed, &pair.pair, &profile.stages);
    let first = table.next(now)?;
    let mut from = now;
    for _ in 0..MAX_SLOTS {
        *left = left.checked_sub(1)?;
        match table.next_or_opening(from) {
            Ok(_) => return None,
            Err(Some(later)) => from = later,
            Err(None) => break,
        }
    }
    Some(first.at)
}

fn shown_windows(pair: &PairPlan) -> String {
    let windows = &pair.profile.schedule.windows;
    let [only] = windows.as_slice() else { return format!("one of the {} windows", windows.len()) };
    format!("the window {} to {}", only.from.strftime("%H:%M"), only.to.strftime("%H:%M"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigSource;
    use crate::plan::load;

    fn said(schedule: &str) -> Vec<String> {
        let text = format!(
            "targets:\n  t: {{ api: openai-chat, base_url: 'http://127.0.0.1' }}\nprofiles:\n  p:\n    targets: [t]\n    \
             load: [{{ for: 24h, rate: 1/h }}]\n    workload: {{ prompts: [x] }}\n    schedule:\n      {schedule}\n"
        );
        let loaded = load(&[ConfigSource::Text { name: "c".to_owned(), text }], []);
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        warnings(&loaded, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_time_outside_of_the_windows_is_told() {
        let morning = "windows: [{ from: '08:00', to: '08:01' }]";
        let zone = "timezone: Europe/Berlin";
        assert_eq!(
            said(&format!("cron: '0 3 * * *'\n      {zone}\n      {morning}")),
            [
                "c:11:7: profiles.p.schedule.windows: may never let a run on the target `t` start: none of its next 1000 \
              times, of which the first is 2026-11-21 03:00:00 CET, lies in the window 08:00 to 08:01"
            ]
        );
        // The stable offset of the pair decides.
        let daily = said(&format!("every: 24h\n      {morning}"));
        assert!(daily.len() == 1 && daily[0].contains("in the window 08:00 to 08:01"), "{daily:?}");
        // The cycles are those of UTC.
        assert_eq!(said(&format!("continuous: {{}}\n      {morning}")).len(), 1);
        let several =
            "windows: [{ from: '08:00', to: '08:01' }, { days: [sat], from: '09:00', to: '10:00' }]";
        let several = said(&format!("cron: '0 3 * * *'\n      {several}"));
        assert!(several[0].ends_with("lies in one of the 2 windows"), "{several:?}");
    }

    #[test]
    fn a_time_that_comes_some_day_is_not() {
        for schedule in [
            "every: 24h",
            "cron: '0 3 * * *'",
            "cron: '0 3 * * *'\n      windows: [{ from: '03:00', to: '03:01' }]",
            "cron: '0 3 29 2 *'\n      windows: [{ days: [tue], from: '00:00', to: '06:00' }]",
            "every: 5h\n      windows: [{ from: '08:00', to: '09:00' }]",
            "manual: {}",
            "after_idle: 1h\n      windows: [{ from: '08:00', to: '08:01' }]",
        ] {
            assert_eq!(said(schedule), [""; 0], "{schedule}");
        }
    }
}
