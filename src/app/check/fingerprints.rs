//! How the fingerprints of a plan find out whether a model changed, and what that costs.

use crate::config::show_duration;
use crate::plan::{Amount, Forecast, PairForecast, PairPlan, Plan, has_top_logprobs};
use crate::vocabulary::money;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

/// Days of a month, in the mean.
const MONTH: f64 = 30.4;
/// A reference should take this long at least.
const DAY: Duration = Duration::from_hours(24);

/// A line for each fingerprint and target.
pub(super) fn describe(plan: &Plan, forecast: &Forecast, now: Timestamp) -> String {
    let mut text = String::new();
    for (pair, forecast) in plan.pairs.iter().zip(&forecast.pairs) {
        if let Some(sentence) = sentence(pair, forecast, &plan.agent.currency, now) {
            let _ = writeln!(text, "{sentence}");
        }
    }
    if !text.is_empty() && plan.agent.state.is_none() {
        text.push_str("Without `agent.state`, each restart begins a new reference.\n");
    }
    text
}

fn sentence(pair: &PairPlan, forecast: &PairForecast, currency: &str, now: Timestamp) -> Option<String> {
    let fingerprint = pair.model_fingerprint()?;
    let (profile, target) = (&pair.pair.profile, &pair.pair.target);
    let method = if has_top_logprobs(pair.target.api) {
        format!("log-probabilities of {} tokens", fingerprint.top)
    } else {
        format!("exact texts (`{}` has no log-probabilities), which find less", pair.target.api.name())
    };
    let runs = fingerprint.reference;
    let learned = match pair.profile.interval_after(now).map(|interval| interval.saturating_mul(runs)) {
        None => format!("after {runs} runs"),
        Some(time) if time < DAY => {
            let time = show_duration(time);
            format!(
                "after {time}: less than a day, in which servers vary with their load; take more runs, or rarer ones"
            )
        }
        Some(time) => format!("after {}", show_duration(time)),
    };
    let month = |day: f64| day * MONTH;
    let cost = match forecast.daily.takes.expected.cost.map(Amount::value) {
        Some(Some(cost)) => format!("{} {currency} a month", money(month(cost))),
        Some(None) => "an unknown cost".to_owned(),
        None => {
            let requests = forecast.daily.takes.expected.requests.value();
            requests.map_or_else(
                || "an unknown number of requests".to_owned(),
                |requests| format!("{:.0} requests a month (there is no price)", month(requests)),
            )
        }
    };
    Some(format!(
        "Fingerprint {profile} of {target}: {} prompts, compared by the {method}; {cost}; the reference is complete \
         {learned}",
        pair.fingerprint_prompts()
    ))
}

#[cfg(test)]
mod tests {
    use crate::plan::{forecast, from_yaml};
    use jiff::Timestamp;

    fn shown(agent: &str, target: &str, schedule: &str) -> String {
        let plan = from_yaml(&format!(
            "agent: {{ {agent} }}\ntargets: {{ t: {{ base_url: 'http://127.0.0.1:8000', {target} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {schedule}, workload: {{ fingerprint: {{ prompts: [aaaa, bbbb], reference: 20 }} }} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        super::describe(&plan, &forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_method_the_price_and_the_time_are_said() {
        let priced = "api: openai-chat, price: { input: 0, output: 1000 }";
        assert_eq!(
            shown("state: /tmp/x", priced, "{ every: 2h }"),
            // 12 runs of two requests with one output token each, for a thousandth of a dollar.
            "Fingerprint p of t: 2 prompts, compared by the log-probabilities of 5 tokens; 0.7296 usd a month; the \
             reference is complete after 40h\n"
        );
        let text = shown("", "api: anthropic", "{ every: 10m }");
        assert!(
            text.contains(
                "by the exact texts (`anthropic` has no log-probabilities), which find less; 8755 requests"
            ),
            "{text}"
        );
        assert!(text.contains("after 3h20m: less than a day"), "{text}");
        assert!(text.ends_with("Without `agent.state`, each restart begins a new reference.\n"), "{text}");
        assert!(shown("", "api: anthropic", "{ manual: {} }").contains("after 20 runs"));
    }
}
