//! Forecasts how long each budget lasts. Manual runs, and what is already spent, are not considered.

use super::starts::{KnownLoads, StepLoads, Steps};
use super::{Amount, Forecast, ForecastUsage, View};
use crate::event::{BudgetScope, BudgetUnit};
use crate::plan::{Budget, Plan, Profile};
use crate::vocabulary::Period;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Number of days considered for periods of an hour or a day: a week, so that every weekday is included.
const DAYS: i64 = 7;

/// One limit of a budget, and the load expected against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The owner of the budget.
    pub scope: BudgetScope,
    /// Its period.
    pub period: Period,
    /// The time zone of the period.
    pub timezone: TimeZone,
    /// The unit of the limit.
    pub unit: BudgetUnit,
    /// The limit.
    pub limit: f64,
    /// The maximum usage in a period.
    pub most: Amount,
    /// The expected usage in a period. For an hour or a day, in the one with the highest usage of a week.
    pub expected: Amount,
    /// When the budget will be spent in that period, if it is expected to be; the earliest time if the usage is a
    /// bound.
    pub spent_at: Option<Timestamp>,
    /// A profile whose runs never start, because a single one needs more than the limit.
    pub blocked: Option<Blocked>,
}

impl Outlook {
    /// The first instant of the budget's period that contains `at`.
    pub fn begins_of_period(&self, at: Timestamp) -> Timestamp {
        let (period, timezone) = (self.period, self.timezone.clone());
        Budget { period, timezone, requests: None, tokens: None, cost: None }.period_start(at)
    }
}

/// A profile that a budget does not allow at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// Its name.
    pub profile: Arc<str>,
    /// What must be left for a run to start.
    pub needs: f64,
}

/// The outlook of each limit of each budget, in the order of the ledger.
pub fn outlooks(plan: &Plan, forecast: &Forecast, now: Timestamp) -> Vec<Outlook> {
    let agent = plan.agent.budget.iter().map(|budget| (BudgetScope::Agent, budget, plan.profiles.as_slice()));
    let profiles = plan.profiles.iter().filter_map(|profile| {
        Some((
            BudgetScope::Profile(Arc::clone(&profile.name)),
            profile.budget.as_ref()?,
            std::slice::from_ref(profile),
        ))
    });
    let mut known = KnownLoads::default();
    agent
        .chain(profiles)
        .flat_map(|(scope, budget, covers)| of_budget(&scope, budget, covers, forecast, now, &mut known))
        .collect()
}

fn of_budget(
    scope: &BudgetScope,
    budget: &Budget,
    covers: &[Arc<Profile>],
    forecast: &Forecast,
    now: Timestamp,
    known: &mut KnownLoads,
) -> Vec<Outlook> {
    let limits = [
        (BudgetUnit::Requests, budget.requests.map(|limit| limit as f64)),
        (BudgetUnit::Tokens, budget.tokens.map(|limit| limit as f64)),
        (BudgetUnit::Cost, budget.cost),
    ];
    let horizon = Horizon::of(budget, now);
    let [most, expected] = [View::Most, View::Expected].map(|view| {
        let loads = covers.iter().map(|profile| (profile, known.of(profile, horizon.steps, view)));
        loads.collect::<Vec<_>>()
    });
    let limits = limits.into_iter().filter_map(|(unit, limit)| Some((unit, limit?)));
    let of_limit = |(unit, limit): (BudgetUnit, f64)| {
        let amounts = |loads: &[(&Arc<Profile>, StepLoads)], view| {
            total(loads, horizon.steps.count, |name| of_run(forecast, name, unit, view))
        };
        let (most, expected) = (amounts(&most, View::Most), amounts(&expected, View::Expected));
        let bounded = covers.iter().any(|profile| {
            matches!(of_run(forecast, &profile.name, unit, View::Expected), Amount::AtMost(_))
        });
        let fullest = horizon.fullest(expected.as_deref());
        let blocked = covers.iter().find_map(|profile| {
            let needs = least_of(forecast, &profile.name, unit).filter(|needs| *needs > limit)?;
            Some(Blocked { profile: Arc::clone(&profile.name), needs })
        });
        Outlook {
            scope: scope.clone(),
            period: budget.period,
            timezone: budget.timezone.clone(),
            unit,
            limit,
            most: horizon
                .fullest(most.as_deref())
                .map_or(Amount::Unknown, |period| Amount::AtMost(period.takes)),
            expected: fullest.map_or(Amount::Unknown, |period| {
                if bounded { Amount::AtMost(period.takes) } else { Amount::About(period.takes) }
            }),
            spent_at: fullest
                .zip(expected.as_deref())
                .and_then(|(period, expected)| horizon.reaches(period, expected, limit)),
            blocked,
        }
    };
    limits.map(of_limit).collect()
}

/// The usage of one run of a profile on all its targets together, and on as many of their replicas as there may be: they
/// share the budget.
fn of_run(forecast: &Forecast, profile: &str, unit: BudgetUnit, view: View) -> Amount {
    let pairs = forecast.pairs.iter().filter(|pair| &*pair.pair.profile == profile);
    let usage = pairs.map(|pair| {
        let run = if view == View::Most { pair.run.most } else { pair.run.expected };
        let one = counted(&run, unit);
        pair.replicas.map_or(one, |most| one.times(Amount::Exact(most as f64)).at_most())
    });
    usage.fold(Amount::ZERO, |total, one| total + one)
}

fn counted(usage: &ForecastUsage, unit: BudgetUnit) -> Amount {
    match unit {
        BudgetUnit::Requests => usage.requests,
        BudgetUnit::Tokens => usage.input_tokens + usage.output_tokens,
        // Without a price the cost is unknown; the config does not allow that with a budget of cost.
        BudgetUnit::Cost => usage.cost.unwrap_or(Amount::Unknown),
    }
}

/// The minimum that must be left for a run of a profile to start on any of its targets, as far as it is known.
fn least_of(forecast: &Forecast, profile: &str, unit: BudgetUnit) -> Option<f64> {
    let pairs = forecast.pairs.iter().filter(|pair| &*pair.pair.profile == profile);
    let least = pairs.map(|pair| counted(&pair.least, unit).value());
    least.flatten().reduce(f64::min)
}

/// The total load of several profiles; `None` if one of them is unknown.
fn total(
    loads: &[(&Arc<Profile>, StepLoads)],
    count: usize,
    of_run: impl Fn(&str) -> Amount,
) -> Option<Vec<f64>> {
    let mut total = vec![0.0; count];
    for (profile, load) in loads {
        let run = of_run(&profile.name);
        if run.value() == Some(0.0) {
            continue;
        }
        let load = load.as_ref()?;
        if load.iter().all(|load| *load == 0.0) {
            continue;
        }
        let run = run.value()?;
        total.iter_mut().zip(load.iter()).for_each(|(total, load)| *total += load * run);
    }
    Some(total)
}

/// The time considered, and its periods.
struct Horizon {
    steps: Steps,
    /// For each period, its first step and the step after its last one.
    periods: Vec<(usize, usize)>,
}

/// A period and its usage.
#[derive(Clone, Copy)]
struct FullPeriod {
    first: usize,
    end: usize,
    takes: f64,
}

impl Horizon {
    /// Starts with the current period.
    fn of(budget: &Budget, now: Timestamp) -> Self {
        let from = budget.period_start(now);
        let (until, length) = match budget.period {
            Period::Hour | Period::Day => (from.saturating_add(SignedDuration::from_hours(24 * DAYS)), 5),
            Period::Week | Period::Month => (Ok(budget.period_end(now)), 30),
        };
        let until = until.unwrap_or(Timestamp::MAX);
        let length = SignedDuration::from_mins(length);
        let mut ends = vec![0];
        let mut at = from;
        while at < until {
            at = budget.period_end(at);
            ends.push(Steps::new(from, at, length).count);
        }
        let periods = ends.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
        Self { steps: Steps::new(from, at, length), periods: periods.collect() }
    }

    /// The period with the highest usage.
    fn fullest(&self, amounts: Option<&[f64]>) -> Option<FullPeriod> {
        let amounts = amounts?;
        let takes = |(first, end): (usize, usize)| {
            let takes = amounts.get(first..end).unwrap_or_default().iter().sum();
            FullPeriod { first, end, takes }
        };
        let all = self.periods.iter().copied().map(takes);
        // The first of several that are equal, except for rounding.
        all.reduce(|full, next| if next.takes > full.takes * (1.0 + 1e-9) { next } else { full })
    }

    /// When the usage in a period reaches the limit.
    fn reaches(&self, period: FullPeriod, amounts: &[f64], limit: f64) -> Option<Timestamp> {
        let mut taken = 0.0;
        for (step, amount) in amounts.iter().enumerate().take(period.end).skip(period.first) {
            // Sums of cost are not exact.
            if taken + amount > limit * (1.0 + 1e-9) {
                return Some(self.steps.at(step as f64 + (limit - taken).max(0.0) / amount));
            }
            taken += amount;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{forecast, from_yaml};

    /// The outlook of the budgets of a profile that sends one request of at most 100 tokens, 10 to 20 of them expected,
    /// at a price of 1 per token.
    fn outlooks_of(budget: &str, schedule: &str, now: &str) -> Vec<Outlook> {
        let plan = from_yaml(&format!(
            "agent: {{ currency: eur, budget: {{ {budget} }} }}\n\
             targets: {{ t: {{ api: http, base_url: 'http://127.0.0.1', price: {{ input: 1000000, output: 1000000 }} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {schedule}, scenario: {{ steps: [{{ name: a, get: /, \
             read: {{ input_tokens: $.i, text: $.t }}, reserve: {{ input_tokens: 100 }} }}] }} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let now = now.parse().unwrap();
        outlooks(&plan, &forecast(&plan, now, &|_, _| None), now)
    }

    fn told(budget: &str, schedule: &str, now: &str) -> (f64, Option<String>) {
        let outlook = outlooks_of(budget, schedule, now).remove(0);
        (outlook.expected.value().unwrap().round(), outlook.spent_at.map(|at| at.to_string()))
    }

    /// A Thursday.
    const NOW: &str = "2026-01-01T10:20:00Z";

    #[test]
    fn a_budget_lasts_until_its_limit_is_reached() {
        let every = "{ every: 1m }";
        assert_eq!(told("requests: 1441", every, NOW), (1440.0, None));
        assert_eq!(told("requests: 1440", every, NOW), (1440.0, None));
        assert_eq!(told("requests: 720", every, NOW), (1440.0, Some("2026-01-01T12:00:00Z".to_owned())));
        assert_eq!(told("tokens: 72000", every, NOW), (144_000.0, Some("2026-01-01T12:00:00Z".to_owned())));
        assert_eq!(told("cost: 36000", every, NOW), (144_000.0, Some("2026-01-01T06:00:00Z".to_owned())));
        assert_eq!(
            told("period: hour, requests: 30", every, NOW),
            (60.0, Some("2026-01-01T10:30:00Z".to_owned()))
        );
        assert_eq!(
            told("period: week, requests: 1440", every, NOW),
            (10_080.0, Some("2025-12-30T00:00:00Z".to_owned()))
        );
        // February has 28 days, March 31.
        let of_month = |now| told("period: month, requests: 14400", every, now);
        assert_eq!(of_month("2026-02-28T23:59:59Z"), (40_320.0, Some("2026-02-11T00:00:00Z".to_owned())));
        assert_eq!(of_month("2026-03-01T00:00:00Z"), (44_640.0, Some("2026-03-11T00:00:00Z".to_owned())));
    }

    #[test]
    fn periods_are_those_of_the_time_zone() {
        let berlin = "timezone: Europe/Berlin, requests: 720";
        assert_eq!(told(berlin, "{ every: 1m }", NOW), (1440.0, Some("2026-01-01T11:00:00Z".to_owned())));
        let kathmandu = "timezone: Asia/Kathmandu, requests: 720";
        assert_eq!(told(kathmandu, "{ every: 1m }", NOW), (1440.0, Some("2026-01-01T06:15:00Z".to_owned())));
        // A day of 25 hours has the highest usage of its week.
        let (most, at) = told(berlin, "{ every: 1m }", "2026-10-22T10:00:00Z");
        assert_eq!((most, at.as_deref()), (1500.0, Some("2026-10-25T10:00:00Z")));
    }

    #[test]
    fn the_fullest_hour_or_day_counts() {
        // Saturdays only.
        let cron = "{ cron: '* 12 * * sat' }";
        assert_eq!(told("requests: 50", cron, NOW), (60.0, Some("2026-01-03T12:50:00Z".to_owned())));
        let hour = told("period: hour, requests: 50", cron, NOW);
        assert_eq!(hour, (60.0, Some("2026-01-03T12:50:00Z".to_owned())));
        let windows = "{ every: 1m, windows: [{ days: [mon-fri], from: '08:00', to: '09:00' }] }";
        assert_eq!(told("requests: 30", windows, NOW), (60.0, Some("2026-01-01T08:30:00Z".to_owned())));
    }

    #[test]
    fn discovered_replicas_share_the_budget() {
        let plan = from_yaml(
            "targets: { t: { api: openai-chat, base_url: 'http://llm.prod/v1', discover: { dns: { name: llm.prod, type: a, \
             port: 80 }, max: 5 } }, one: { api: openai-chat, base_url: 'http://127.0.0.1' } }\n\
             profiles: { p: { targets: [t, one], schedule: { every: 1h }, load: [{ requests: 12 }], \
             workload: { prompts: [x] }, budget: { requests: 300 } } }",
        );
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let now = NOW.parse().unwrap();
        let outlook = outlooks(&plan, &forecast(&plan, now, &|_, _| None), now).remove(0);
        let all = Amount::AtMost(24.0 * 12.0 * (5.0 + 1.0));
        assert_eq!((outlook.most, outlook.expected), (all, all));
        assert_eq!(outlook.spent_at.map(|at| at.to_string()).as_deref(), Some("2026-01-01T04:00:50Z"));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let plan = from_yaml(
            "agent: { budget: { requests: 10 } }\ntargets: { t: { api: openai-chat, base_url: 'http://127.0.0.1' } }\n\
             profiles: { p: { targets: [t], schedule: { every: 1m }, workload: { prompts: [x] }, load: [{ for: 9s, users: 4 }] } }",
        );
        let plan = plan.unwrap();
        let now = NOW.parse().unwrap();
        let outlook = outlooks(&plan, &forecast(&plan, now, &|_, _| None), now).remove(0);
        assert_eq!(
            (outlook.expected, outlook.most, outlook.spent_at),
            (Amount::Unknown, Amount::Unknown, None)
        );
        assert_eq!(told("requests: 1", "{ manual: {} }", NOW), (0.0, None));
    }

    #[test]
    fn a_budget_that_is_smaller_than_a_request_blocks_its_profile() {
        let blocked = |budget| outlooks_of(budget, "{ every: 1m }", NOW).remove(0).blocked;
        assert_eq!(blocked("tokens: 99"), Some(Blocked { profile: "p".into(), needs: 100.0 }));
        assert_eq!((blocked("tokens: 100"), blocked("requests: 1")), (None, None));
        assert_eq!(blocked("cost: 99").map(|blocked| blocked.needs.round()), Some(100.0));
    }
}
