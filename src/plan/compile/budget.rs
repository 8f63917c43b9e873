//! Budgets, and whether they can be kept: a cap on money needs prices, and a cap on money or tokens needs to know
//! the most that an answer can have.

use super::Findings;
use crate::config::{self, Config, KeyPath};
use crate::plan::{Budget, Period, output_cap};
use jiff::tz::TimeZone;

/// A budget.
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
        period: match written.period {
            config::Period::Hour => Period::Hour,
            config::Period::Day => Period::Day,
            config::Period::Week => Period::Week,
            config::Period::Month => Period::Month,
        },
        timezone: written.timezone.as_ref().map_or(TimeZone::UTC, config::Zone::zone),
        requests: written.requests,
        tokens: written.tokens,
        cost: written.cost,
    })
}

/// Whether every budget can be kept for all that it covers.
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
        let targets = || profile.targets.iter().filter_map(|name| config.targets.get(name));
        if let Some((whose, what)) = counted
            && targets().any(|target| !is_capped(profile, target))
        {
            let message = format!("set `output_tokens`, or {whose} budget of {what} cannot be kept");
            findings.error(&path.key("workload"), message);
        }
        let Some(whose) = cost else { continue };
        for (index, target) in profile.targets.iter().enumerate() {
            if config.targets.get(target).is_some_and(|target| target.price.is_none()) {
                let message = format!(
                    "the target `{target}` needs a `price`, or {whose} budget of cost cannot be kept"
                );
                findings.error(&path.key("targets").index(index), message);
            }
        }
    }
}

fn is_capped(profile: &config::Profile, target: &config::Target) -> bool {
    let own = profile.workload.output_tokens.map(std::num::NonZeroU64::get);
    output_cap(&profile.workload.params, &target.params, own).is_some()
}
