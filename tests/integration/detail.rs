//! The levels of detail: how many series each has, that `check` says so, and that the shipped dashboards and rules ask
//! for nothing that the default level leaves out.

use super::docs::pages;
use super::harness::{ONCE, Running, Simulator, load, one};
use super::scrape::Scrape;
use std::collections::BTreeSet;
use std::path::Path;
use tokenbeat::catalogue::{Metric, SeriesExposure};
use tokenbeat::telemetry::{SeriesCount, series_count};
use tokenbeat::vocabulary::TelemetryDetail;

/// A streamed profile with all that adds series: a price, a tokenizer, a check, objectives and a warm-up.
fn rich(detail: TelemetryDetail) -> String {
    let profile = format!(
        "schedule: {ONCE}, load: [{{ warm_up: 100ms, rate: 20/s }}, {{ for: 200ms, rate: 20/s }}], \
         workload: {{ prompts: [hello], output_tokens: 8 }}, expect: {{ text: {{ min_chars: 1 }} }}, \
         slo: [{{ name: ttft, metric: time_to_first_token, below: 10s, objective: 99% }}, \
         {{ name: total, metric: request_duration, below: 30s, objective: 99% }}]"
    );
    let target = ", price: { input: 1, output: 2 }, tokenizer: o200k_base";
    format!("telemetry: {{ detail: {} }}\n{}", detail.name(), one(target, &profile))
}

/// All series of a scrape, and those of the profile and target.
fn counted(scrape: &Scrape) -> (usize, usize) {
    let of_pair = scrape.series().iter().filter(|series| series.labels.contains_key("profile"));
    (scrape.series().len(), of_pair.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_has_the_series_that_check_says_and_no_more_than_its_level_allows() {
    for (detail, most) in [(TelemetryDetail::Lean, 120), (TelemetryDetail::Standard, 300)] {
        let simulator = Simulator::start();
        simulator.inject("error_500;probability=0.3");
        let yaml = rich(detail);
        let (all, pair): (SeriesCount, SeriesCount) =
            series_count(&load(&yaml, simulator.address).plan).unwrap();
        let daemon = Running::start(&yaml, &simulator).await;
        assert_eq!(counted(&daemon.before), (all.start, pair.start), "{detail:?}");
        daemon
            .scrape_until("the end of the run", |scrape| scrape.metric("tokenbeat_runs_total").sum() >= 1.0)
            .await;
        let (_, after) = counted(&daemon.drain().await);
        assert!(pair.start <= after && after <= most, "{detail:?}: {} and then {after}", pair.start);
        assert!(after <= pair.most, "{detail:?}: {after} are more than {}", pair.most);
    }
}

/// The shipped dashboards, and the rules.
fn shipped(extension: &str, folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == extension));
    files.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// The names of samples in a text, with the functions that they are the first argument of.
fn names(text: &str) -> BTreeSet<(String, String)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("tokenbeat_") {
        let (before, rest) = text.split_at(at);
        if before.ends_with(word) {
            continue;
        }
        let name: String = rest.chars().take_while(|c| word(*c)).collect();
        let function = before.strip_suffix('(').unwrap_or_default();
        let function = &function[function.rfind(|c| !word(c)).map_or(0, |at| at + 1)..];
        found.insert((function.to_owned(), name));
    }
    found
}

/// The metric of a sample, and whether the sample is one of its buckets.
fn metric(name: &str) -> Option<(Metric, bool)> {
    let exact = Metric::of_prometheus_name(name).map(|metric| (metric, false));
    let part = |suffix: &str| Metric::of_prometheus_name(name.strip_suffix(suffix)?);
    exact.or_else(|| {
        let whole = part("_sum").or_else(|| part("_count")).map(|metric| (metric, false));
        whole.or_else(|| Some((part("_bucket")?, true)))
    })
}

#[test]
fn nothing_shipped_asks_for_what_the_default_level_leaves_out() {
    let level = TelemetryDetail::default();
    let docs = pages().into_iter().map(|page| (page.name(), page.text().to_owned()));
    let mut asked = BTreeSet::new();
    let shipped = shipped("json", "dashboards").into_iter().chain(shipped("yaml", "dashboards/prometheus"));
    for (file, text) in shipped.chain(docs) {
        for (_, name) in names(&text) {
            let Some((metric, is_bucket)) = metric(&name) else { continue };
            assert_ne!(metric.shown(level), SeriesExposure::Never, "{file} asks for {name}");
            let bounds = metric.bounds(level).unwrap_or_default();
            assert!(!is_bucket || !bounds.is_empty(), "{file} asks for {name}, which has no buckets");
            asked.insert(name);
        }
    }
    assert!(asked.len() > 100, "only {} names: {asked:?}", asked.len());
}

/// A series that appears with its first value has no increase then.
#[test]
fn what_rules_take_an_increase_of_is_there_from_the_start() {
    let mut found = 0;
    for (file, text) in shipped("yaml", "dashboards/prometheus") {
        for (function, name) in names(&text) {
            if let ("rate" | "increase", Some((metric, _))) = (function.as_str(), metric(&name)) {
                assert_eq!(
                    metric.shown(TelemetryDetail::default()),
                    SeriesExposure::Always,
                    "{file}: {name}"
                );
                found += 1;
            }
        }
    }
    assert!(found > 20, "only {found}");
}
