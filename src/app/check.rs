//! `tokenbeat check`: what the config will do, before it does it.

use super::runtimes::Runtimes;
use super::{print, probe, sources};
use crate::cli::{CheckOptions, Exit};
use crate::event::{Scope, Unit};
use crate::plan::{Amount, Daily, Forecast, Plan, forecast};
use crate::telemetry::series_count;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::sync::Arc;

/// Validates the config and prints what it will do per day; with `--probe` asks each target once.
pub(super) fn check(options: &CheckOptions) -> anyhow::Result<Exit> {
    let loaded = match sources::load(&options.config) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if options.strict && !loaded.warnings.is_empty() {
        let count = loaded.warnings.len();
        eprintln!("{count} {} in the config", if count == 1 { "warning" } else { "warnings" });
        return Ok(Exit::Usage);
    }
    let plan = Arc::new(loaded.plan);
    print(&describe(&plan, &forecast(&plan, Timestamp::now()))?)?;
    if !options.probe {
        return print("ok\n");
    }
    let runtimes = Runtimes::start()?;
    let traffic = runtimes.traffic();
    let (table, all_well) = runtimes.block_on(probe::probe(&plan, traffic, options.show_answer))?;
    print(&format!("\nOne request, or one journey, to each target, now:\n{table}\n"))?;
    if all_well { print("ok\n") } else { Ok(Exit::Failed) }
}

fn describe(plan: &Plan, forecast: &Forecast) -> anyhow::Result<String> {
    let table = table(forecast, &plan.agent.currency);
    let mut text = format!("Per day, budgets aside, input tokens and money at their most:\n{table}\n");
    for (scope, unit, limit) in limits(plan) {
        let _ = writeln!(text, "Budget of {}: {limit} {} per period", scope.label(), unit.label());
    }
    let _ = writeln!(text, "{} series on /metrics", series_count(plan)?);
    Ok(text)
}

fn table(forecast: &Forecast, currency: &str) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    // Without a scenario there are no journeys to speak of.
    let journeys = forecast.total.journeys.is_some();
    let shown = |cells: [String; 8]| {
        let cells = cells.into_iter().enumerate();
        cells.filter(move |(index, _)| journeys || *index != JOURNEYS).map(|(_, cell)| cell)
    };
    let columns =
        ["profile", "target", "runs", "journeys", "requests", "input tokens", "output tokens", currency];
    table.set_header(shown(columns.map(str::to_owned)));
    for pair in &forecast.pairs {
        table.add_row(shown(row(&pair.pair.profile, &pair.pair.target, &pair.daily)));
    }
    if forecast.pairs.len() > 1 {
        table.add_row(shown(row("total", "", &forecast.total)));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The column that is left out where no profile has a scenario.
const JOURNEYS: usize = 3;

fn row(profile: &str, target: &str, daily: &Daily) -> [String; 8] {
    [
        profile.to_owned(),
        target.to_owned(),
        format!("{}", daily.runs),
        daily.journeys.map_or_else(String::new, |journeys| journeys.to_string()),
        format!("{}", daily.requests),
        format!("{}", daily.input_tokens),
        format!("{}", daily.output_tokens),
        daily.cost.map_or_else(|| "no price".to_owned(), money),
    ]
}

/// Money with as many digits as are meaningful.
fn money(amount: Amount) -> String {
    if amount.value().is_some_and(|value| value >= 1.0) {
        format!("{amount:.2}")
    } else {
        format!("{amount:.6}")
    }
}

/// Every limit of every budget.
fn limits(plan: &Plan) -> Vec<(Scope, Unit, String)> {
    let agent = plan.agent.budget.iter().map(|budget| (Scope::Agent, budget));
    let profiles = plan
        .profiles
        .iter()
        .filter_map(|profile| Some((Scope::Profile(profile.name.clone()), profile.budget.as_ref()?)));
    agent
        .chain(profiles)
        .flat_map(|(scope, budget)| {
            let limits = [
                (Unit::Requests, budget.requests.map(|limit| limit.to_string())),
                (Unit::Tokens, budget.tokens.map(|limit| limit.to_string())),
                (Unit::Cost, budget.cost.map(|limit| limit.to_string())),
            ];
            limits.into_iter().filter_map(move |(unit, limit)| Some((scope.clone(), unit, limit?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn shown(profiles: &str) -> String {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }} }}\nprofiles: {{ {profiles} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        table(&forecast(&plan, Timestamp::UNIX_EPOCH), "usd").to_string()
    }

    #[test]
    fn journeys_are_shown_where_there_are_any() {
        let workload = "a: { targets: [t], schedule: { every: 1h }, workload: { prompts: [x] } }";
        let scenario = "b: { targets: [t], schedule: { every: 1h }, \
             scenario: { setup: [{ name: a, get: /a }], steps: [{ name: b, get: /b, repeat: 3 }] } }";
        // Empty cells are dropped.
        let cells = |line: &str| {
            let cells = line.trim_matches('│').split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        let row = |text: &str, name: &str| {
            let line = text.lines().map(cells).find(|cells| cells.iter().any(|cell| cell == name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
        };
        let plain = shown(workload);
        assert!(!plain.contains("journeys"), "{plain}");
        assert_eq!(row(&plain, "a")[..4], ["a", "t", "24", "24"]);
        let both = shown(&format!("{workload}, {scenario}"));
        assert_eq!(row(&both, "profile")[2..5], ["runs", "journeys", "requests"]);
        assert_eq!(row(&both, "a")[..4], ["a", "t", "24", "24"]);
        assert_eq!(row(&both, "b")[2..5], ["24", "24", "at most 96"]);
        assert_eq!(row(&both, "total")[1..4], ["48", "24", "at most 120"]);
    }
}
