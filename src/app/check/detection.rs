//! What the detection of regressions amounts to: how the rate of false alarms is divided, and how soon a change is told.

use crate::config::show_duration;
use crate::detect::values_until_told;
use crate::plan::{DetectionBounds, PairPlan, Plan};
use jiff::Timestamp;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The change whose delay is told.
const CHANGE: f64 = 0.2;

/// A line for each profile and target whose runs are compared.
pub(super) fn describe(plan: &Plan, now: Timestamp) -> String {
    let (mut text, mut delays) = (String::new(), Delays::default());
    for pair in &plan.pairs {
        if let Some(bounds) = plan.detection_bounds(pair, now) {
            let told = delays.of(&bounds);
            let _ = writeln!(text, "{}", sentence(plan, pair, &bounds, told));
        }
    }
    text
}

/// The delays that were simulated, by the least change and the step of the rate of false alarms.
#[derive(Default)]
struct Delays(HashMap<(u64, i32), Option<usize>>);

impl Delays {
    /// The number of values until the change is told. A simulation takes milliseconds, and there may be thousands of
    /// pairs, so rates that differ by a few percent share one: the delay grows with their logarithm.
    fn of(&mut self, bounds: &DetectionBounds) -> Option<usize> {
        const STEP: f64 = 1.05;
        let min_change = bounds.detection.min_change;
        #[expect(clippy::cast_possible_truncation, reason = "float casts saturate")]
        let step = bounds.values_per_false_alarm.log(STEP).round() as i32;
        let delay = || values_until_told(CHANGE, min_change, STEP.powi(step));
        *self.0.entry((min_change.to_bits(), step)).or_insert_with(delay)
    }
}

fn sentence(plan: &Plan, pair: &PairPlan, bounds: &DetectionBounds, told: Option<usize>) -> String {
    let each = bounds.interval.as_secs_f64() * bounds.values_per_false_alarm;
    let told = told.and_then(|values| u32::try_from(values).ok()).map_or_else(
        || "takes thousands of runs to be told".to_owned(),
        |values| {
            let time = show_duration(Duration::from_secs((bounds.interval * values).as_secs()));
            // Runs that come too often are taken together, so the values are no runs.
            let after = if bounds.slot.is_zero() {
                format!("{values} runs ({time})")
            } else {
                format!("{time} of runs")
            };
            format!("is told after about {after} if they differ by 10%")
        },
    );
    format!(
        "Regressions of {} on {}: each of its {} series gives a false alarm at most once in {}, the {} of the \
         config together once in {}; a change of 20% {told}",
        pair.pair.profile,
        pair.pair.target,
        pair.quantities().count(),
        period(each),
        plan.watched_series(),
        period(bounds.detection.per_false_alarm.as_secs_f64()),
    )
}

/// A number of seconds in days, or in hours or minutes if it is short.
fn period(seconds: f64) -> String {
    let (unit, name) = match seconds {
        _ if seconds >= 2.0 * 86_400.0 => (86_400.0, "days"),
        _ if seconds >= 2.0 * 3600.0 => (3600.0, "hours"),
        _ => (60.0, "minutes"),
    };
    format!("{:.0} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    #[test]
    fn a_delay_is_simulated_once_and_is_that_of_the_rate() {
        let text = "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:8000' } }\nprofiles:\n";
        let profile = |index| {
            let change = if index % 2 == 0 { "5%" } else { "10%" };
            format!(
                "  p{index}: {{ targets: [t], schedule: {{ every: 10m }}, workload: {{ prompts: [x] }}, detect: {{ min_change: {change} }} }}\n"
            )
        };
        let text = (0..6).map(profile).fold(text.to_owned(), |text, profile| text + &profile);
        let plan = from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let mut delays = Delays::default();
        for pair in &plan.pairs {
            let bounds = plan.detection_bounds(pair, Timestamp::UNIX_EPOCH).unwrap();
            let told = delays.of(&bounds).unwrap();
            let exact = values_until_told(CHANGE, bounds.detection.min_change, bounds.values_per_false_alarm);
            assert!(told.abs_diff(exact.unwrap()) <= 1, "{told} {exact:?}");
        }
        assert_eq!(delays.0.len(), 2);
    }

    #[test]
    fn a_short_period_is_not_zero_days() {
        let said = [90.0 * 86_400.0, 86_400.0, 3600.0].map(period);
        assert_eq!(said, ["90 days", "24 hours", "60 minutes"]);
    }

    #[test]
    fn the_rate_is_divided_and_the_delay_is_told() {
        let text = "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:8000' } }\n\
                    profiles:\n  a: { targets: [t], schedule: { every: 10m }, workload: { prompts: [x] } }\n  \
                    b: { targets: [t], schedule: { every: 10m }, workload: { prompts: [x] }, detect: off }\n  \
                    c: { targets: [t], schedule: { every: 1h }, workload: { prompts: [x] }, detect: { min_change: 20% } }\n";
        let plan = from_yaml(text).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = describe(&plan, Timestamp::UNIX_EPOCH);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 2, "{shown}");
        assert!(
            lines[0].starts_with(
                "Regressions of a on t: each of its 5 series gives a false alarm at most once in 900 days, the 10 of the \
                 config together once in 90 days; "
            ),
            "{shown}"
        );
        assert!(lines[0].contains("a change of 20% is told after about "), "{shown}");
        assert!(lines[0].contains(" runs ("), "{shown}");
        assert!(lines[1].ends_with("a change of 20% takes thousands of runs to be told"), "{shown}");
        let often =
            from_yaml(&text.replace("every: 10m", "every: 10s")).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = describe(&often, Timestamp::UNIX_EPOCH);
        assert!(shown.contains(" of runs if they differ by 10%"), "runs are taken together: {shown}");
    }
}
