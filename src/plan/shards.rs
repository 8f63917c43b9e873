//! What is wrong with a config for one of several shards: limits that cannot be divided, and budgets of which it gets
//! nothing.

use super::{Budget, LoadedPlan, Shard};
use crate::config::{self, Config, KeyPath, Located, Problem};
use crate::event::{BudgetScope, BudgetUnit};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An error for each limit on requests in flight of which a shard would get nothing, so that it could not send anything.
pub fn indivisible(config: &Config, shard: Shard) -> Vec<Problem> {
    let agent = KeyPath::of(["agent", "limits"]);
    let limits = &config.agent.limits;
    let mut found = vec![
        (agent.key("in_flight"), Some(limits.in_flight)),
        (agent.key("in_flight_per_target"), limits.in_flight_per_target),
    ];
    for (name, profile) in config.profiles.iter().filter(|(_, profile)| !is_whole(profile)) {
        let load = KeyPath::of(["profiles", name, "load"]);
        let stages = profile.load.iter().enumerate();
        found.extend(stages.map(|(index, stage)| (load.index(index).key("in_flight"), stage.in_flight)));
    }
    let too_small = |(path, limit): (KeyPath, Option<NonZeroU32>)| {
        let limit = limit.filter(|limit| limit.get() < shard.count())?;
        let count = shard.count();
        let message = format!(
            "cannot be divided: {limit} for {count} shards leaves some without any; it must be at least {count}"
        );
        Some(Problem::new(path, message))
    };
    found.into_iter().filter_map(too_small).collect()
}

/// Whether one shard plays a profile whole, with all of its own limits. As [`Profile::is_divided`](super::Profile::is_divided)
/// says, except for capacity searches, which have no load.
fn is_whole(profile: &config::Profile) -> bool {
    let is_fingerprint = |workload: &config::Workload| workload.fingerprint.is_some();
    profile.schedule.after_idle.is_some() || profile.workload.as_ref().is_some_and(is_fingerprint)
}

/// A warning for each limit of a budget that is so small that this shard gets nothing of it.
pub fn empty_parts(loaded: &LoadedPlan) -> Vec<Located> {
    let (plan, shard) = (&loaded.plan, loaded.plan.agent.shard);
    let agent = plan.agent.budget.iter().map(|budget| (BudgetScope::Agent, budget, shard));
    let profiles = plan.profiles.iter().filter_map(|profile| {
        let scope = BudgetScope::Profile(Arc::clone(&profile.name));
        Some((scope, profile.budget.as_ref()?, profile.share(shard)?))
    });
    let empty = |(scope, budget, shard): (BudgetScope, &Budget, Shard)| {
        let part = budget.part(shard);
        let is_empty = [
            (BudgetUnit::Requests, part.requests == Some(0)),
            (BudgetUnit::Tokens, part.tokens == Some(0)),
            (BudgetUnit::Cost, part.cost == Some(0.0)),
        ];
        let message =
            format!("is so small that nothing of it is left for shard {shard}, which sends nothing");
        let units = is_empty.into_iter().filter(|(_, is_empty)| *is_empty);
        units.map(|(unit, _)| loaded.warn_of_budget(&scope, unit, message.clone())).collect::<Vec<_>>()
    };
    agent.chain(profiles).flat_map(empty).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigSource;
    use crate::plan::attempt;

    const CONFIG: &str =
        "agent: { limits: { in_flight: 9, in_flight_per_target: 3 }, budget: { requests: 3, tokens: 9000 } }
targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:1', model: m, price: { input: 1, output: 1 } } }
profiles:
  a:
    targets: [t]
    schedule: { every: 1m }
    load: [{ for: 1s, rate: 9 }, { for: 1s, rate: 9, in_flight: 3 }]
    workload: { prompts: [x], output_tokens: 9 }
    budget: { cost: 0.000000000003 }
  cold:
    targets: [t]
    schedule: { after_idle: 1h }
    load: [{ requests: 1, users: 1, in_flight: 1 }]
    workload: { prompts: [x], output_tokens: 9 }
    budget: { requests: 1 }
";

    fn load(shard: &str) -> Result<Vec<String>, String> {
        let shard = Shard::parse(shard, "").unwrap();
        let source = ConfigSource::Text { name: "c".to_owned(), text: CONFIG.to_owned() };
        let loaded = attempt(&[source], [], &|config| indivisible(config, shard)).result;
        let mut loaded = loaded.map_err(|errors| errors.to_string())?;
        loaded.plan.agent.shard = shard;
        Ok(empty_parts(&loaded).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_limit_in_flight_that_leaves_a_shard_without_any_is_an_error() {
        assert_eq!(load("0/3"), Ok(Vec::new()));
        let said = load("0/4").unwrap_err();
        for (line, key) in [(1, "agent.limits.in_flight_per_target"), (7, "profiles.a.load[1].in_flight")] {
            let message = format!(
                "{key}: cannot be divided: 3 for 4 shards leaves some without any; it must be at least 4"
            );
            assert!(said.contains(&message) && said.contains(&format!("c:{line}:")), "{said}");
        }
        assert!(!said.contains("limits.in_flight:"), "{said}");
        assert!(load("0/10").unwrap_err().contains("agent.limits.in_flight: cannot be divided"));
    }

    #[test]
    fn a_shard_is_told_that_nothing_of_a_budget_is_left_for_it() {
        let whole: Vec<Vec<String>> = (0..3).map(|index| load(&format!("{index}/3")).unwrap()).collect();
        assert!(whole.iter().all(Vec::is_empty), "{whole:?}");
        let text = CONFIG
            .replace("in_flight_per_target: 3", "in_flight_per_target: 9")
            .replace("in_flight: 3 ", "in_flight: 9 ");
        let shard = Shard::parse("3/4", "").unwrap();
        let source = ConfigSource::Text { name: "c".to_owned(), text };
        let mut loaded = attempt(&[source], [], &|_| Vec::new()).result.unwrap();
        loaded.plan.agent.shard = shard;
        let said: Vec<String> = empty_parts(&loaded).iter().map(ToString::to_string).collect();
        let what = "is so small that nothing of it is left for shard 3/4, which sends nothing";
        assert_eq!(said.len(), 2, "a cold start is not divided: {said:?}");
        assert!(said[0].contains("agent.budget.requests") && said[0].contains(what), "{said:?}");
        assert!(said[1].contains("profiles.a.budget.cost") && said[1].contains(what), "{said:?}");
    }
}
