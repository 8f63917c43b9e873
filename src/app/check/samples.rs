//! After how long a profile has sent enough requests for what its objectives claim.

use crate::config::show_duration;
use crate::detect::quantile::{CONFIDENCE, needed};
use crate::plan::{Amount, Daily, Forecast, Objective, PairPlan, Plan};
use crate::vocabulary::exact_percent;
use std::fmt::Write as _;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// A line for each pair with objectives. A search counts its samples itself.
pub(super) fn describe(plan: &Plan, forecast: &Forecast) -> String {
    let mut text = String::new();
    for (pair, forecast) in plan.pairs.iter().zip(&forecast.pairs) {
        let strictest = pair.profile.slos.iter().max_by(|a, b| a.objective.total_cmp(&b.objective));
        if let Some(strictest) = strictest.filter(|_| pair.profile.search.is_none()) {
            let _ = writeln!(text, "{}", sentence(pair, strictest, per_day(&forecast.daily, strictest)));
        }
    }
    text
}

/// What an objective judges in a day, warm-up included. A step may be repeated, so its requests are at least as many as
/// the journeys.
fn per_day(daily: &Daily, objective: &Objective) -> Amount {
    let of_journeys = objective.metric.is_of_journeys() || objective.step.is_some();
    daily.journeys.filter(|_| of_journeys).unwrap_or(daily.takes.expected.requests)
}

fn sentence(pair: &PairPlan, strictest: &Objective, per_day: Amount) -> String {
    let samples = needed(strictest.objective, CONFIDENCE);
    let what = if strictest.metric.is_of_journeys() { "journeys" } else { "requests" };
    let after = match per_day {
        Amount::Unknown => "how long that takes depends on how fast the target answers".to_owned(),
        Amount::Exact(0.0) => "no run is due by itself".to_owned(),
        Amount::AtMost(per_day) => format!("after at least {}", time(samples, per_day)),
        Amount::Exact(per_day) | Amount::About(per_day) => format!("after about {}", time(samples, per_day)),
    };
    format!(
        "Objectives of {} on {}: {samples} {what} carry all of them with {} confidence (`{}`: {}); {after}",
        pair.pair.profile,
        pair.pair.target,
        exact_percent(CONFIDENCE),
        strictest.name,
        exact_percent(strictest.objective),
    )
}

/// How long so many requests take, in days, hours and minutes as fits.
fn time(requests: u64, per_day: f64) -> String {
    let days = requests as f64 / per_day;
    match Duration::try_from_secs_f64(days * DAY.as_secs_f64()) {
        Ok(time) if time < Duration::from_mins(2) => {
            show_duration(Duration::from_secs(time.as_secs().max(1)))
        }
        Ok(time) if time < 2 * DAY => show_duration(Duration::from_mins(time.as_secs().div_ceil(60))),
        _ => format!("{days:.0} days"),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{forecast, from_yaml};
    use jiff::Timestamp;

    fn shown(profile: &str) -> String {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }} }}\n\
             profiles: {{ p: {{ targets: [t], workload: {{ prompts: [x], stream: true }}, {profile} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        super::describe(&plan, &forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None))
    }

    #[test]
    fn journeys_and_steps_come_as_often_as_journeys() {
        let of = |slo: &str| {
            let plan = from_yaml(&format!(
                "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }} }}\n\
                 profiles: {{ p: {{ targets: [t], schedule: {{ every: 1m }}, slo: [{{ name: a, objective: 99%, {slo} }}], \
                 scenario: {{ steps: [{{ name: list, get: /a }}, {{ name: query, get: /b }}] }} }} }}"
            ));
            let plan = plan.unwrap_or_else(|e| panic!("{e}"));
            super::describe(&plan, &forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None))
        };
        let journeys = of("metric: journey_availability");
        assert!(journeys.contains("662 journeys") && journeys.ends_with("after about 11h2m\n"), "{journeys}");
        let step = of("metric: availability, step: query");
        assert!(step.contains("662 requests") && step.ends_with("after about 11h2m\n"), "{step}");
        let all = of("metric: availability");
        assert!(all.ends_with("after about 5h31m\n") || all.ends_with("after at least 5h31m\n"), "{all}");
    }

    #[test]
    fn the_strictest_objective_says_how_many_and_the_forecast_when() {
        let slo = "slo: [{ name: ttft, metric: time_to_first_token, below: 1s, objective: 95% }, \
                   { name: up, metric: availability, objective: 99% }]";
        let of = |schedule: &str| shown(&format!("schedule: {schedule}, {slo}"));
        let said = |after: &str| {
            format!(
                "Objectives of p on t: 662 requests carry all of them with 99% confidence (`up`: 99%); {after}\n"
            )
        };
        assert_eq!(of("{ every: 1m }"), said("after about 11h2m"));
        assert_eq!(of("{ every: 1h }"), said("after about 28 days"));
        assert_eq!(of("{ manual: {} }"), said("no run is due by itself"));
        assert_eq!(of("{ every: 1m }, load: [{ rate: 20/s, for: 50s }]"), said("after about 39s"));
        let users = of("{ every: 1m }, load: [{ users: 2, for: 10s }]");
        assert_eq!(users, said("how long that takes depends on how fast the target answers"));
        assert_eq!(shown("schedule: { every: 1m }"), "", "without objectives, nothing is claimed");
        let strict =
            shown("schedule: { every: 1m }, slo: [{ name: up, metric: availability, objective: 99.9% }]");
        assert!(
            strict.contains("6636 requests") && strict.contains("(`up`: 99.9%); after about 5 days"),
            "{strict}"
        );
    }
}
