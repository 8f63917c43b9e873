//! What one of several shards plays of a config: the table of `check` is that of all of them.

use crate::event::BudgetUnit;
use crate::plan::{Budget, Plan, Shard};
use std::fmt::Write as _;

/// Lines about the share; nothing for an agent that plays everything.
pub(super) fn describe(plan: &Plan) -> String {
    let shard = plan.agent.shard;
    let mut text = String::new();
    if shard.is_whole() {
        return text;
    }
    let _ = writeln!(
        text,
        "Shard {shard}: this agent plays one request or user of {count} in turn; the numbers above are those of all {count} \
         shards together",
        count = shard.count()
    );
    for profile in plan.profiles.iter().filter(|profile| !profile.is_divided()) {
        let owner = profile.first_shard() % u64::from(shard.count());
        let own = if profile.share(shard).is_some() { "this one" } else { "another one" };
        let _ = writeln!(text, "{} is not divided: shard {owner} plays all of it, {own}", profile.name);
    }
    let agent = plan.agent.budget.iter().map(|budget| ("agent".to_owned(), Some((budget, shard))));
    let profiles = plan.profiles.iter().filter_map(|profile| {
        let budget = profile.budget.as_ref()?;
        Some((format!("profile/{}", profile.name), profile.share(shard).map(|shard| (budget, shard))))
    });
    for (scope, own) in agent.chain(profiles) {
        let part = own.map_or_else(|| "nothing".to_owned(), |(budget, shard)| amounts(budget, shard));
        let _ = writeln!(text, "Its part of the budget of {scope}: {part}");
    }
    text
}

fn amounts(budget: &Budget, shard: Shard) -> String {
    let part = budget.part(shard);
    let number = |unit: BudgetUnit, amount: Option<u64>| Some(format!("{} {}", amount?, unit.label()));
    let cost = part.cost.map(|cost| format!("{} {cost:.6}", BudgetUnit::Cost.label()));
    let parts = [number(BudgetUnit::Requests, part.requests), number(BudgetUnit::Tokens, part.tokens), cost];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    #[test]
    fn a_shard_is_told_what_it_plays() {
        let text = "agent: { budget: { requests: 10 } }\n\
            targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:8000' } }\n\
            profiles:\n  a: { targets: [t], schedule: { every: 1h }, workload: { prompts: [x], output_tokens: 9 }, budget: { tokens: 7 } }\n  \
            cold: { targets: [t], schedule: { after_idle: 1h }, workload: { prompts: [x], output_tokens: 9 }, budget: { requests: 5 } }";
        let mut plan = from_yaml(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(describe(&plan), "");
        let mut said = Vec::new();
        for index in 0..3 {
            plan.agent.shard = Shard::parse(&format!("{index}/3"), "").unwrap();
            said.push(describe(&plan));
        }
        assert!(
            said[0].contains("Shard 0/3: this agent plays one request or user of 3 in turn"),
            "{}",
            said[0]
        );
        let lines = |start: &str| {
            said.iter()
                .map(|text| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let part = "Its part of the budget of ";
        assert_eq!(lines(part), [4, 3, 3].map(|n| format!("{part}agent: {n} requests")));
        let of_a = format!("{part}profile/a: ");
        assert_eq!(lines(&of_a), [3, 2, 2].map(|n| format!("{of_a}{n} tokens")));
        let cold = lines(&format!("{part}profile/cold: "));
        assert_eq!(cold.iter().filter(|line| line.ends_with(": 5 requests")).count(), 1, "{cold:?}");
        assert_eq!(cold.iter().filter(|line| line.ends_with(": nothing")).count(), 2, "{cold:?}");
        let owners = lines("cold is not divided: shard ");
        assert_eq!(
            owners.iter().filter(|line| line.ends_with("plays all of it, this one")).count(),
            1,
            "{owners:?}"
        );
    }
}
