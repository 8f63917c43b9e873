//! Budgets, and whether they can be enforced: a limit on cost needs prices, and a limit on cost or tokens needs an
//! upper bound on the tokens of an answer.

use super::{Findings, scenario};
use crate::config::{self, Config, KeyPath, Profile, Target};
use crate::plan::{Budget, compose_patches, output_cap};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Compiles a budget.
pub(super) fn compile(written: &config::Budget, path: &KeyPath, findings: &mut Findings) -> Option<Budget> {
    if written.requests.is_none() && written.tokens.is_none() && written.cost.is_none() {
        findings.error(path, "needs at least one of `requests`, `tokens`, `cost`");
        return None;
    }
    if written.cost.is_some_and(|cost| !(cost.is_finite() && cost > 0.0)) {
        findings.error(&path.key("cost"), "must be more than 0");
        return None;
    }
    Some(Budget {
        period: written.period,
        timezone: written.timezone.as_ref().map_or(TimeZone::UTC, config::Zone::zone),
        requests: written.requests,
        tokens: written.tokens,
        cost: written.cost,
    })
}

/// Checks that every budget can be enforced for all profiles that it covers.
pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    let agent = config.agent.budget.as_ref();
    for (name, profile) in &config.profiles {
        let path = KeyPath::of(["profiles", name]);
        let own = profile.budget.as_ref();
        let covers =
            |part: fn(&config::Budget) -> bool| match (own.is_some_and(part), agent.is_some_and(part)) {
                (true, _) => Some("its own"),
                (false, true) => Some("the agent's"),
                _ => None,
            };
        let cost = covers(|budget| budget.cost.is_some());
        let tokens = covers(|budget| budget.tokens.is_some());
        let counted = cost.map(|whose| (whose, "cost")).or_else(|| tokens.map(|whose| (whose, "tokens")));
        if let Some((whose, what)) = counted {
            let why = format!("or {whose} budget of {what} cannot be kept");
            let targets: Vec<_> =
                profile.target_names().filter_map(|name| config.targets.get(name)).collect();
            for (path, missing) in uncapped(profile, &targets, &path) {
                findings.error(&path, format!("{missing}, {why}"));
            }
        }
        let Some(whose) = cost else { continue };
        for (target, at) in profile.played(&path) {
            if config.targets.get(target).is_some_and(|target| target.price.is_none()) {
                let message = format!(
                    "the target `{target}` needs a `price`, or {whose} budget of cost cannot be kept"
                );
                findings.error(&at, message);
            }
        }
    }
}

/// The places where the tokens of an answer have no upper bound, and what to set there.
fn uncapped(profile: &Profile, targets: &[&Target], path: &KeyPath) -> Vec<(KeyPath, &'static str)> {
    const SET: &str = "set `output_tokens`";
    let capped = |params: &Map<String, Value>, own: bool| {
        let own = own.then_some(1);
        targets.iter().all(|target| {
            !target.api.generates() || output_cap(&compose_patches(&target.params, params), own).is_some()
        })
    };
    let mut found = Vec::new();
    if let Some(workload) = &profile.workload
        && !capped(&workload.params, workload.asks_for_lengths())
    {
        found.push((path.key("workload"), SET));
    }
    let Some(scenario) = &profile.scenario else { return found };
    let path = path.key("scenario");
    for (number, step) in scenario.setup.iter().chain(&scenario.steps).enumerate() {
        let path = scenario::path_of(scenario, number, &path);
        if let Some(ask) = &step.ask
            && !capped(&ask.params, ask.output_tokens.is_some())
        {
            found.push((path.key("ask"), SET));
        }
        let Some(read) = &step.read else { continue };
        let reserve = step.reserve.unwrap_or_default();
        if read.input_tokens.is_some() && reserve.input_tokens == 0 {
            found.push((path.key("read"), "set `reserve.input_tokens`"));
        }
        if read.output_tokens.is_some() && reserve.output_tokens == 0 {
            found.push((path.key("read"), "set `reserve.output_tokens`"));
        }
    }
    found
}
