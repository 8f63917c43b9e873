//! The tables of an HTML report: text in columns.

use crate::event::{LoadUnit, LoadVerdict};
use crate::report::cases::{CaseEnd, CaseGroup};
use crate::report::result_file::SavedResult;
use crate::report::result_pair::ResultPair;
use crate::report::server_account::{account_rows, account_sentence, levels};
use crate::report::tables::{ABSENT, counts, name, percent, seconds, with_parts};
use crate::report::view::{DistributionSummary, PairReport, StageReport};
use crate::vocabulary::{exact_percent, money};
use serde::Serialize;

/// A table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HtmlTable {
    caption: String,
    header: Vec<String>,
    /// Number of columns of text; the others are numbers.
    left: usize,
    rows: Vec<Vec<String>>,
}

impl HtmlTable {
    fn new(caption: impl Into<String>, left: usize, header: &[&str], rows: Vec<Vec<String>>) -> Option<Self> {
        let header = header.iter().map(|cell| (*cell).to_owned()).collect();
        (!rows.is_empty()).then(|| Self { caption: caption.into(), header, left, rows })
    }
}

fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| ABSENT.to_owned(), show)
}

fn decimal(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Average, p50, p95, p99, maximum.
fn distribution(of: Option<&DistributionSummary>) -> [String; 5] {
    let bound = |value: Option<f64>, most: Option<f64>| {
        optional(value.zip(most), |(seen, most)| format!("{} ≤ {}", seconds(seen), seconds(most)))
    };
    match of {
        None => std::array::from_fn(|_| ABSENT.to_owned()),
        Some(it) => [
            seconds(it.mean),
            seconds(it.p50),
            bound(it.p95, it.p95_at_most),
            bound(it.p99, it.p99_at_most),
            seconds(it.max),
        ],
    }
}

/// A row for each pair.
pub(super) fn overview(result: &SavedResult, views: &[PairReport]) -> HtmlTable {
    let currency = &result.environment.currency;
    let rows = result.pairs.iter().zip(views).map(|(pair, view)| {
        let verdict = match (pair.is_cancelled(), pair.reasons.is_empty()) {
            (true, _) => "stopped",
            (false, true) => "passed",
            (false, false) => "failed",
        };
        let total = &view.total;
        let ended: u64 = total.requests.values().sum();
        let ok = total.requests.get("ok").copied().unwrap_or(0);
        let quantile = |of: Option<DistributionSummary>, q: fn(&DistributionSummary) -> Option<f64>| {
            optional(of.as_ref().and_then(q), seconds)
        };
        let (first, whole) = (total.time_to_first_token_seconds, total.response_time_seconds);
        vec![
            pair.profile.to_string(),
            pair.target.to_string(),
            verdict.to_owned(),
            ended.to_string(),
            (ended - ok).to_string(),
            quantile(first, |it| Some(it.p50)),
            quantile(first, |it| it.p95),
            quantile(first, |it| it.p99),
            quantile(whole, |it| Some(it.p50)),
            quantile(whole, |it| it.p95),
            quantile(whole, |it| it.p99),
            optional(total.output_pace_p50_tokens_per_second, decimal),
            optional(total.throughput, |it| decimal(it.requests_per_second)),
            optional(total.throughput, |it| decimal(it.output_tokens_per_second)),
            optional(total.cost, money),
        ]
    });
    let cost = format!("cost ({currency})");
    let header = [
        "profile",
        "target",
        "verdict",
        "requests",
        "failed",
        "TTFT p50",
        "p95",
        "p99",
        "response time p50",
        "p95",
        "p99",
        "tokens/s of an answer",
        "requests/s",
        "output tokens/s",
        &cost,
    ];
    let header = header.map(str::to_owned).to_vec();
    HtmlTable { caption: "Overview".to_owned(), header, left: 3, rows: rows.collect() }
}

/// All tables of a pair.
pub(super) fn of_pair(
    pair: &ResultPair,
    view: &PairReport,
    group: &CaseGroup,
    currency: &str,
) -> Vec<HtmlTable> {
    let tables = [
        judged(group),
        latency(view),
        failures(view),
        throughput(view, currency),
        journeys(view, currency),
        search(pair),
        account(pair),
    ];
    let tables = tables.into_iter().chain(server_accounts(pair)).chain([runs(pair)]);
    tables.flatten().collect()
}

fn judged(group: &CaseGroup) -> Option<HtmlTable> {
    let rows = group.cases.iter().map(|case| {
        let (end, why) = match &case.end {
            CaseEnd::Passed => ("passed", ""),
            CaseEnd::Failed(why) => ("failed", why.as_str()),
            CaseEnd::Skipped(why) => ("not judged", why.as_str()),
            CaseEnd::Stopped => ("stopped", "stopped before the end"),
        };
        vec![case.name.clone(), end.to_owned(), why.to_owned()]
    });
    HtmlTable::new("Objectives and checks", 3, &["what", "result", "why"], rows.collect())
}

/// The measured stages with their parts, and the total if there is more than one stage.
fn measured(view: &PairReport) -> Vec<&StageReport> {
    let stages: Vec<&StageReport> = view.stages.iter().filter(|stage| !stage.warm_up).collect();
    let total = (stages.len() > 1).then_some(&view.total);
    stages.into_iter().flat_map(with_parts).chain(total).collect()
}

fn latency(view: &PairReport) -> Option<HtmlTable> {
    let rows = measured(view).into_iter().flat_map(|stage| {
        let all = [
            ("time to first token", stage.time_to_first_token_seconds.as_ref()),
            ("chunk gap", stage.chunk_gap_seconds.as_ref()),
            ("time per output token", stage.time_per_output_token_seconds.as_ref()),
            ("reader idle", stage.reader_idle_seconds.as_ref()),
            ("request duration", stage.request_duration_seconds.as_ref()),
            ("response time", stage.response_time_seconds.as_ref()),
            ("dispatch lag", stage.dispatch_lag_seconds.as_ref()),
        ];
        all.into_iter().filter_map(move |(quantity, of)| {
            let count = of?.count.to_string();
            let cells = [name(stage), quantity.to_owned(), count].into_iter().chain(distribution(of));
            Some(cells.collect())
        })
    });
    let header = ["stage", "quantity", "count", "average", "p50", "p95", "p99", "max"];
    HtmlTable::new("Latency", 2, &header, rows.collect())
}

fn failures(view: &PairReport) -> Option<HtmlTable> {
    let rows = measured(view).into_iter().map(|stage| {
        let kinds = stage.failure_kinds();
        let other = stage.requests.iter().filter(|(outcome, _)| **outcome != "ok");
        let other = other.map(|(outcome, n)| (*outcome, *n)).collect();
        vec![
            name(stage),
            stage.offered.to_string(),
            stage.requests.get("ok").copied().unwrap_or(0).to_string(),
            percent(stage.availability),
            percent(kinds.error_rate),
            percent(kinds.timeout_rate),
            kinds.rate_limited.to_string(),
            kinds.server_errors.to_string(),
            kinds.resets.to_string(),
            stage.stalls.to_string(),
            counts(&other),
            counts(&stage.skipped),
        ]
    });
    let header = [
        "stage",
        "offered",
        "ok",
        "available",
        "error rate",
        "timeout rate",
        "429",
        "5xx",
        "resets",
        "stalls",
        "all failures",
        "skipped",
    ];
    HtmlTable::new("Requests and failures", 1, &header, rows.collect())
}

fn throughput(view: &PairReport, currency: &str) -> Option<HtmlTable> {
    let rows = measured(view).into_iter().map(|stage| {
        let tokens = &stage.tokens;
        let per_second = |of: fn(&crate::report::Throughput) -> f64| {
            optional(stage.throughput.as_ref(), |it| decimal(of(it)))
        };
        vec![
            name(stage),
            counts(&tokens.input),
            counts(&tokens.output),
            tokens.cached_input.to_string(),
            tokens.reasoning.to_string(),
            per_second(|it| it.requests_per_second),
            per_second(|it| it.input_tokens_per_second),
            per_second(|it| it.output_tokens_per_second),
            per_second(|it| it.input_tokens_per_second + it.output_tokens_per_second),
            optional(stage.output_pace_p50_tokens_per_second, decimal),
            optional(stage.average_in_flight(), decimal),
            optional(stage.cost, money),
        ]
    });
    let cost = format!("cost ({currency})");
    let header = [
        "stage",
        "tokens in",
        "tokens out",
        "cached",
        "reasoning",
        "requests/s",
        "in/s",
        "out/s",
        "tokens/s",
        "tokens/s of an answer",
        "complete answers in flight",
        &cost,
    ];
    HtmlTable::new("Tokens, throughput and cost", 1, &header, rows.collect())
}

fn journeys(view: &PairReport, currency: &str) -> Option<HtmlTable> {
    let stages: Vec<&StageReport> = view.stages.iter().filter(|stage| stage.journeys.is_some()).collect();
    let total = (stages.len() > 1).then_some(&view.total);
    let rows = stages.into_iter().chain(total).filter_map(|stage| {
        let journeys = stage.journeys.as_ref()?;
        let mut row = vec![name(stage), journeys.ended.to_string(), counts(&journeys.outcomes)];
        row.extend(distribution(journeys.duration_seconds.as_ref()));
        row.push(optional(journeys.input_tokens_per_journey, decimal));
        row.push(optional(journeys.output_tokens_per_journey, decimal));
        row.push(optional(journeys.cost_per_journey, money));
        Some(row)
    });
    let cost = format!("cost/journey ({currency})");
    let header = [
        "stage",
        "journeys",
        "outcomes",
        "average",
        "p50",
        "p95",
        "p99",
        "max",
        "in/journey",
        "out/journey",
        &cost,
    ];
    HtmlTable::new("Journeys", 1, &header, rows.collect())
}

fn search(pair: &ResultPair) -> Option<HtmlTable> {
    let found = pair.runs.iter().find_map(|run| run.found.as_ref())?;
    let mut curve: Vec<_> = found.curve.iter().collect();
    curve.sort_by(|a, b| a.load.total_cmp(&b.load));
    let rows = curve.into_iter().map(|it| {
        let verdict = match it.verdict {
            LoadVerdict::Missed => format!("missed {}", it.missed.join(", ")),
            other => other.label().replace('_', " "),
        };
        vec![
            decimal(it.load),
            verdict,
            it.samples.to_string(),
            decimal(it.requests_per_second),
            decimal(it.output_tokens_per_second),
            optional(it.time_to_first_token_p95_seconds, seconds),
            optional(it.output_pace_p50_tokens_per_second, decimal),
        ]
    });
    let unit = match found.unit {
        LoadUnit::Users => "users",
        LoadUnit::RequestsPerSecond => "requests/s offered",
        LoadUnit::JourneysPerSecond => "journeys/s offered",
    };
    let header =
        [unit, "objectives", "samples", "requests/s", "output tokens/s", "TTFT p95", "tokens/s of an answer"];
    HtmlTable::new(format!("Capacity: {}", found.summary), 0, &header, rows.collect())
}

/// What the answers say about the server.
fn account(pair: &ResultPair) -> Option<HtmlTable> {
    let trail = &pair.requests;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |what: String, value: String| rows.push(vec![what, value]);
    for server in &trail.servers {
        row("server".to_owned(), server.clone());
    }
    for (status, n) in &trail.http_responses {
        row(format!("answers with status {status}"), n.to_string());
    }
    for (reason, n) in &trail.broken_streams {
        row(format!("streams that broke after the first token: {reason}"), n.to_string());
    }
    for (kind, limit) in &trail.rate_limits {
        let (least, of) = (optional(limit.least_remaining, decimal), optional(limit.limit, decimal));
        row(
            format!("rate limit on {}: least that was left", kind.replace('_', " ")),
            format!("{least} of {of}"),
        );
    }
    if let Some(answers) = pair.server_health {
        row("asked for its health, it".to_owned(), answers.sentence());
    }
    HtmlTable::new("What the server says", 1, &["", ""], rows)
}

/// The server's own account of each run, beside what its client measured.
fn server_accounts(pair: &ResultPair) -> impl Iterator<Item = Option<HtmlTable>> {
    pair.runs.iter().filter_map(|run| Some((run, run.server.as_ref()?))).map(|(run, account)| {
        let rows = account_rows(account).into_iter();
        let mut rows: Vec<Vec<String>> =
            rows.map(|row| vec![row.what.to_owned(), row.count, row.mean, row.p50, row.p95]).collect();
        let blank = || vec![String::new(); 4];
        rows.extend(
            levels(account).into_iter().map(|level| [vec![format!("server: {level}")], blank()].concat()),
        );
        if rows.is_empty() {
            rows.push([vec!["nothing".to_owned()], blank()].concat());
        }
        let engine = if account.engine.is_empty() { "the server" } else { &account.engine };
        let caption = format!("Account of {engine} over the run {}: {}", run.id, account_sentence(account));
        HtmlTable::new(caption, 1, &["", "count", "average", "p50", "p95"], rows)
    })
}

fn runs(pair: &ResultPair) -> Option<HtmlTable> {
    let rows = pair.runs.iter().map(|run| {
        let all = [&run.id, &run.agent, &run.location, &run.shard, &run.started, &run.ended, &run.result];
        let mut row: Vec<String> = all.into_iter().cloned().collect();
        row.push(run.reason.clone().unwrap_or_default());
        row.push(run.seed.to_string());
        row
    });
    let header = ["run", "agent", "location", "shard", "started", "ended", "result", "reason", "seed"];
    HtmlTable::new("Runs", 8, &header, rows.collect())
}

/// Comparisons of targets, and with a baseline.
pub(super) fn comparisons(result: &SavedResult) -> Vec<HtmlTable> {
    let compared = result.comparisons.iter().map(|it| {
        let rows = it.quantities.iter().map(|of| {
            let quantity = of.quantity.replace('_', " ");
            let verdict = of.verdict.label().to_owned();
            vec![quantity, verdict, of.change.clone(), of.interval.clone(), of.pairs.to_string()]
        });
        let caption = format!(
            "{}: {} against {}: {} ({} pairs, {} confidence)",
            it.profile,
            it.treatment,
            it.control,
            it.verdict.label(),
            it.pairs,
            exact_percent(it.confidence)
        );
        HtmlTable::new(caption, 2, &["quantity", "verdict", "change", "interval", "pairs"], rows.collect())
    });
    let baseline = result.baseline.iter().map(|it| {
        let rows = it.diff.changes.iter().map(|change| {
            let pair = format!("{} on {}", change.profile, change.target);
            std::iter::once(pair).chain(change.cells()).collect()
        });
        let header = ["", "stage", "quantity", "before", "after", "change", "interval", "matters", "verdict"];
        let caption =
            format!("Changes since {} (saved {}): {}", it.file, it.environment.saved, it.diff.verdict.name());
        HtmlTable::new(caption, 3, &header, rows.collect())
    });
    compared.chain(baseline).flatten().collect()
}
