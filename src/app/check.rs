//! `tokenbeat check`: validates the config and forecasts what it will do.

mod comparisons;
mod detection;
mod fingerprints;
mod idle;
mod reasoning;
mod samples;
mod searches;
mod series;
mod shards;
mod traces;

use super::runtimes::Runtimes;
use super::{budgets, print, probe, replicas, sources};
use crate::cli::{CheckOptions, Exit};
use crate::client::TextCounter;
use crate::config::{KeyPath, Located};
use crate::plan::{
    Amount, Daily, Estimate, Forecast, InputTokens, LoadedPlan, Outlook, Plan, Target, forecast, outlooks,
};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

/// Validates the config and prints what it will do per day, and how long its budgets last; with `--probe`, sends one
/// request to each target.
pub(super) fn check(options: &CheckOptions) -> anyhow::Result<Exit> {
    let loaded = match sources::load(&options.config) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let refused = |count: usize| {
        say!("{count} {} in the config", if count == 1 { "warning" } else { "warnings" });
        Ok(Exit::Usage)
    };
    if options.strict && !loaded.warnings.is_empty() {
        return refused(loaded.warnings.len());
    }
    let now = Timestamp::now();
    let (counters, unfit) = counters(&loaded);
    if !unfit.is_empty() {
        for error in &unfit {
            say!("error: {error}");
        }
        say!("{} {} in the config", unfit.len(), if unfit.len() == 1 { "error" } else { "errors" });
        return Ok(Exit::Usage);
    }
    let count = |target: &Target, text: &str| counters.get(&target.name)?.count(text);
    let mut forecast = forecast(&loaded.plan, now, &count);
    let outlooks = outlooks(&loaded.plan, &forecast, now);
    let mut warnings = budgets::warnings(&loaded, &outlooks);
    warnings.extend(idle::warnings(&loaded, now));
    warnings.extend(estimated_lengths(&loaded, &counters, &mut forecast));
    let (series, many) = series::describe(&loaded.plan)?;
    warnings.extend(many);
    for warning in &warnings {
        say!("warning: {warning}");
    }
    let plan = Arc::new(loaded.plan);
    print(&(describe(&plan, &forecast, &outlooks, now) + &series))?;
    if options.strict && !warnings.is_empty() {
        return refused(warnings.len());
    }
    if !options.probe {
        return print("ok\n");
    }
    let runtimes = Runtimes::start(plan.agent.traffic_priority)?;
    let traffic = runtimes.traffic();
    let (plan, mut told) = runtimes.first(replicas::found(Plan::clone(&plan), |_| true))?;
    let plan = Arc::new(plan);
    let probes = runtimes.block_on(probe::probe(&plan, traffic, options.show_answer))?;
    print(&format!("\nOne request, or one journey, to each target, now:\n{}\n", probes.table))?;
    for warning in &probes.warnings {
        say!("warning: {warning}");
    }
    told.extend(probes.warnings);
    match (probes.all_well, options.strict && !told.is_empty()) {
        (true, false) => print("ok\n"),
        (true, true) => refused(told.len()),
        (false, _) => Ok(Exit::Failed),
    }
}

/// The tokenizers of the targets that have one, and an error for each that cannot be loaded: the daemon would not start.
/// Targets that no profile uses are passed over, as it passes over them.
fn counters(loaded: &LoadedPlan) -> (HashMap<Arc<str>, TextCounter>, Vec<Located>) {
    let (mut counters, mut errors) = (HashMap::new(), Vec::new());
    let used: BTreeMap<&Arc<str>, &Arc<Target>> =
        loaded.plan.pairs.iter().map(|pair| (&pair.target.name, &pair.target)).collect();
    for (name, target) in used {
        match target.tokenizer.as_ref().map(TextCounter::load) {
            None => {}
            Some(Ok(counter)) => drop(counters.insert(Arc::clone(name), counter)),
            Some(Err(error)) => {
                let path = KeyPath::of(["targets", &**name, "tokenizer", "file"]);
                errors.push(loaded.locate(path, error.to_string()));
            }
        }
    }
    (counters, errors)
}

/// A tokenizer without words that are one token each writes no texts of exact lengths. Marks the forecasts of such texts as
/// estimates, and warns of each tokenizer.
fn estimated_lengths(
    loaded: &LoadedPlan,
    counters: &HashMap<Arc<str>, TextCounter>,
    forecast: &mut Forecast,
) -> Vec<Located> {
    let mut fit: BTreeMap<&Arc<str>, bool> = BTreeMap::new();
    for (pair, forecast) in loaded.plan.pairs.iter().zip(&mut forecast.pairs) {
        let name = &pair.target.name;
        let Some(counter) = counters.get(name).filter(|_| pair.profile.scenario.has_words()) else {
            continue;
        };
        if !*fit.entry(name).or_insert_with(|| counter.has_words()) {
            forecast.input_tokens = InputTokens::Estimated;
        }
    }
    let unfit = fit.into_iter().filter(|(_, fit)| !fit).map(|(name, _)| {
        let path = KeyPath::of(["targets", &**name, "tokenizer", "file"]);
        let message = "has too few words that are one token each: texts that are written of words have a word for each \
                       token, which is an estimate";
        loaded.locate(path, message.to_owned())
    });
    unfit.collect()
}

fn describe(plan: &Plan, forecast: &Forecast, outlooks: &[Outlook], now: Timestamp) -> String {
    let table = table(forecast, &plan.agent.currency);
    let mut text = format!("Per day, budgets aside:\n{table}\n");
    text.push_str(&shards::describe(plan));
    text.extend(reasoning::assumption(plan));
    text.push_str(&searches::describe(plan, forecast));
    text.push_str(&traces::describe(plan));
    text.push_str(&samples::describe(plan, forecast));
    text.push_str(&comparisons::describe(plan, forecast));
    text.push_str(&fingerprints::describe(plan, forecast, now));
    text.push_str(&detection::describe(plan, now));
    for outlook in outlooks {
        let _ = writeln!(
            text,
            "Budget of {}: {}",
            outlook.scope.label(),
            budgets::sentence(outlook, &plan.agent.currency)
        );
    }
    text
}

fn table(forecast: &Forecast, currency: &str) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    // Without a scenario there are no journeys to show.
    let journeys = forecast.total.journeys.is_some();
    let shown = |cells: [String; 8]| {
        let cells = cells.into_iter().enumerate();
        cells.filter(move |(index, _)| journeys || *index != JOURNEYS).map(|(_, cell)| cell)
    };
    let columns =
        ["profile", "target", "runs", "journeys", "requests", "input tokens", "output tokens", currency];
    table.set_header(shown(columns.map(str::to_owned)));
    for pair in &forecast.pairs {
        let source = match pair.input_tokens {
            InputTokens::Reserved => "",
            InputTokens::Counted => ", by the tokenizer",
            InputTokens::Estimated => ", an estimate",
        };
        table.add_row(shown(row(&pair.pair.profile, &pair.pair.target, &pair.daily, source)));
    }
    if forecast.pairs.len() > 1 {
        table.add_row(shown(row("total", "", &forecast.total, "")));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Index of the column that is omitted if no profile has a scenario.
const JOURNEYS: usize = 3;

fn row(profile: &str, target: &str, daily: &Daily, source: &str) -> [String; 8] {
    let Estimate { most, expected } = daily.takes;
    let cost = most.cost.zip(expected.cost);
    [
        profile.to_owned(),
        target.to_owned(),
        format!("{}", daily.runs),
        daily.journeys.map_or_else(String::new, |journeys| journeys.to_string()),
        cell(most.requests, expected.requests, "", |amount| amount.to_string()),
        cell(most.input_tokens, expected.input_tokens, source, |amount| amount.to_string()),
        cell(most.output_tokens, expected.output_tokens, "", |amount| amount.to_string()),
        cost.map_or_else(
            || "no price".to_owned(),
            |(most, expected)| cell(most, expected, "", budgets::money),
        ),
    ]
}

/// The maximum, and below it the expected number if it differs.
fn cell(most: Amount, expected: Amount, source: &str, show: impl Fn(Amount) -> String) -> String {
    let number = |amount: Amount| show(Amount::Exact(amount.value().unwrap_or_default()));
    match (most.value(), expected.value()) {
        (_, None) => show(most),
        (Some(_), Some(_)) if number(most) == number(expected) => show(most),
        (_, Some(_)) => {
            let bound = if matches!(expected, Amount::AtMost(_)) { "at most " } else { "" };
            format!("{}\nexpected {bound}{}{source}", show(most), number(expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigSource;
    use crate::plan::from_yaml;

    fn shown(profiles: &str) -> String {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:8000' }} }}\nprofiles: {{ {profiles} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        table(&forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None), "usd").to_string()
    }

    #[test]
    fn a_tokenizer_that_stops_the_start_is_an_error_at_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenizer.json");
        std::fs::write(&file, "{}").unwrap();
        let target = format!(
            "{{ api: openai-chat, base_url: 'http://127.0.0.1', tokenizer: {{ file: '{}' }} }}",
            file.display()
        );
        let text = format!(
            "targets:\n  t: {target}\n  unused: {target}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ every: 1h }}, workload: {{ prompts: [x] }} }} }}"
        );
        let loaded = crate::plan::load(&[ConfigSource::Text { name: "c".to_owned(), text }], []);
        let (counters, errors) = counters(&loaded.unwrap_or_else(|e| panic!("{e}")));
        assert!(counters.is_empty());
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        let said = error.to_string();
        let start = format!("targets.t.tokenizer.file: cannot read the tokenizer {}: ", file.display());
        assert!(said.starts_with("c:2:") && said.contains(&start), "{said}");
    }

    #[test]
    fn lengths_are_estimates_where_the_tokenizer_has_no_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenizer.json");
        // It has one token for any text.
        let tokenizer = r#"{ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": { "?": 0 }, "unk_token": "?" } }"#;
        std::fs::write(&file, tokenizer).unwrap();
        let target = "api: openai-chat, base_url: 'http://127.0.0.1', tokenizer:";
        let profile = |targets: &str, workload: &str| {
            format!("{{ targets: [{targets}], schedule: {{ every: 1h }}, workload: {{ {workload} }} }}")
        };
        let text = format!(
            "targets:\n  one: {{ {target} {{ file: '{}' }} }}\n  two: {{ {target} o200k_base }}\n\
             profiles:\n  p: {}\n  q: {}\n",
            file.display(),
            profile("one, two", "synthetic: { input_tokens: 100 }"),
            profile("one", "prompts: [x]")
        );
        let loaded = crate::plan::load(&[ConfigSource::Text { name: "c".to_owned(), text }], []);
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
        let (counters, errors) = counters(&loaded);
        assert!(errors.is_empty(), "{errors:?}");
        let count = |target: &Target, text: &str| counters.get(&target.name)?.count(text);
        let mut forecast = forecast(&loaded.plan, Timestamp::UNIX_EPOCH, &count);
        let warnings = estimated_lengths(&loaded, &counters, &mut forecast);
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        let said = warning.to_string();
        assert!(
            said.starts_with("c:2:") && said.contains("targets.one.tokenizer.file: has too few words"),
            "{said}"
        );
        let sources: Vec<InputTokens> = forecast.pairs.iter().map(|pair| pair.input_tokens).collect();
        assert_eq!(sources, [InputTokens::Estimated, InputTokens::Counted, InputTokens::Counted]);
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

    #[test]
    fn what_is_expected_stands_below_the_most() {
        let plain = shown(
            "a: { targets: [t], schedule: { every: 24h }, workload: { prompts: [Say hi], output_tokens: 8 } }",
        );
        assert!(plain.contains("at most 294 "), "{plain}");
        assert!(plain.contains("expected 14, an estimate"), "{plain}");
        assert!(plain.contains("at most 8 ") && !plain.contains("expected 8"), "{plain}");
    }
}
