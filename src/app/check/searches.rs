//! What the capacity searches of a plan may take at most.

use crate::config::show_duration;
use crate::plan::{Amount, CapacitySearch, Estimate, Forecast, PairPlan, Plan};
use std::fmt::Write as _;
use std::time::Duration;

/// A line for each search.
pub(super) fn describe(plan: &Plan, forecast: &Forecast) -> String {
    let mut text = String::new();
    for (pair, forecast) in plan.pairs.iter().zip(&forecast.pairs) {
        if let Some(search) = &pair.profile.search {
            let _ = writeln!(text, "{}", sentence(pair, search, &forecast.run, &plan.agent.currency));
        }
    }
    text
}

fn sentence(pair: &PairPlan, search: &CapacitySearch, run: &Estimate, currency: &str) -> String {
    let refinements = if search.refine { CapacitySearch::MAX_REFINEMENTS } else { 0 };
    let loads = search.loads().len() + refinements as usize;
    let unit = search.unit(pair.profile.scenario.journeys).words();
    let time: Duration = pair.profile.stages.iter().filter_map(|stage| stage.shape.bounds().time).sum();
    let most = run.most;
    let requests = match most.requests {
        Amount::Unknown => "as many requests as are answered until then".to_owned(),
        requests => format!("{requests} requests"),
    };
    let cost = match most.cost {
        Some(Amount::Unknown) | None => String::new(),
        Some(cost) => format!(" for {cost:.2} {currency}"),
    };
    format!(
        "Each search of {} on {}: at most {loads} loads, the highest of {} {unit}, in {} of load; {requests}{cost}",
        pair.pair.profile,
        pair.pair.target,
        search.to,
        show_duration(time),
    )
}

#[cfg(test)]
mod tests {
    use crate::plan::{forecast, from_yaml};
    use jiff::Timestamp;

    fn shown(search: &str) -> String {
        shown_of(search, "prompts: [x], output_tokens: 100")
    }

    fn shown_of(search: &str, workload: &str) -> String {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000', price: {{ input: 0, output: 10 }} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ cron: '0 3 * * *' }}, search: {{ {search} }}, \
             budget: {{ period: day, requests: 5000 }}, \
             slo: [{{ name: up, metric: availability, objective: 99% }}], \
             workload: {{ {workload} }} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        super::describe(&plan, &forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None))
    }

    #[test]
    fn what_a_search_may_take_is_every_load_as_often_as_possible() {
        // Loads of 1, 2 and 4, five more of at most 4, each for up to three times 20 s + 10 s.
        assert_eq!(
            shown("over: rate, from: 1/s, to: 4/s, hold: 20s, settle: 10s"),
            "Each search of p on t: at most 8 loads, the highest of 4 requests/s, in 12m of load; at most 2430 requests \
             for at most 2.43 usd\n"
        );
        assert_eq!(
            shown("over: rate, from: 1/s, to: 4/s, hold: 20s, settle: 10s, refine: false"),
            "Each search of p on t: at most 3 loads, the highest of 4 requests/s, in 4m30s of load; at most 630 \
             requests for at most 0.63 usd\n"
        );
        // Think times bound what users send.
        let users = "over: users, from: 1, to: 4, hold: 20s, settle: 10s, refine: false";
        assert!(shown(&format!("{users}, think: 1s")).contains("; at most 651 requests"), "{}", shown(users));
        assert!(shown(users).contains("as many requests as are answered until then\n"), "{}", shown(users));
        // What arrives at a rate is a conversation, if there are any.
        let talking = "conversation: { turns: [x, y] }, output_tokens: 100";
        let said = shown_of("over: rate, from: 1/s, to: 4/s, hold: 20s, settle: 10s", talking);
        assert!(said.contains("the highest of 4 journeys/s, in 12m"), "{said}");
    }
}
