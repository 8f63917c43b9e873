//! How long the comparisons of a plan take to tell a change.

use crate::config::show_duration;
use crate::detect::pairs_to_tell;
use crate::plan::{Forecast, Plan, TargetComparison};
use std::fmt::Write as _;
use std::time::Duration;

/// The change that is spoken of, as a factor.
const CHANGE: f64 = 1.1;

/// How much the latencies of a target are assumed to vary.
const SPREAD: f64 = 0.2;

/// A line for each comparison.
pub(super) fn describe(plan: &Plan, forecast: &Forecast) -> String {
    let mut text = String::new();
    for (pair, forecast) in plan.pairs.iter().zip(&forecast.pairs) {
        let control = pair.compared.as_ref().is_some_and(|compared| !compared.is_treatment);
        let Some(comparison) = pair.profile.comparison.as_ref().filter(|_| control) else { continue };
        let per_day = forecast.daily.takes.expected.requests.value();
        let _ = writeln!(text, "{}", sentence(&pair.profile.name, comparison, per_day));
    }
    text
}

fn sentence(profile: &str, comparison: &TargetComparison, pairs_per_day: Option<f64>) -> String {
    let TargetComparison { control, treatment, .. } = comparison;
    let subject = format!("Comparison {profile} of {treatment} with {control}");
    let Some(pairs) = pairs_to_tell(CHANGE, SPREAD, comparison.error_of_each()) else {
        return format!("{subject}: a latency that is 10% higher is not told");
    };
    let told = format!("a latency that is 10% higher and varies by 20% is told after about {pairs} pairs");
    let days = pairs_per_day.filter(|per_day| *per_day > 0.0).map(|per_day| pairs as f64 / per_day);
    let time = days.and_then(|days| Duration::try_from_secs_f64(days * 86_400.0).ok());
    match time {
        // Minutes are precise enough, and less than one is a minute.
        Some(time) => {
            let time = Duration::from_mins(time.as_secs().div_ceil(60).max(1));
            let beyond = time > comparison.window.saturating_mul(2);
            let forgotten = if beyond { ", which `window` forgets before: make it longer" } else { "" };
            format!("{subject}: {told}, in about {}{forgotten}", show_duration(time))
        }
        None => format!("{subject}: {told}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{forecast, from_yaml};
    use jiff::Timestamp;

    fn shown(schedule: &str, window: &str) -> String {
        let plan = from_yaml(&format!(
            "targets: {{ a: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }}, b: {{ api: openai-chat, base_url: \
             'http://127.0.0.1:8001' }} }}\nprofiles: {{ p: {{ compare: {{ control: a, treatment: b{window} }}, schedule: \
             {schedule}, load: [{{ requests: 10 }}], workload: {{ prompts: [x] }} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        describe(&plan, &forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None))
    }

    #[test]
    fn pairs_and_time_are_told() {
        let told =
            "Comparison p of b with a: a latency that is 10% higher and varies by 20% is told after about ";
        let every = shown("{ every: 1h }", "");
        assert!(every.starts_with(told) && every.ends_with("h\n") || every.ends_with("m\n"), "{every}");
        assert_eq!(every.lines().count(), 1);
        let rare = shown("{ every: 12h }", "");
        assert!(rare.ends_with(", which `window` forgets before: make it longer\n"), "{rare}");
        assert!(!shown("{ every: 12h }", ", window: 30d").contains("forgets"));
        assert!(shown("{ manual: {} }", "").ends_with(" pairs\n"));
    }
}
