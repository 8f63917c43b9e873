//! A result as Markdown for a pull request or a job's summary: the verdict first, one table, what failed and why, and the
//! rest folded. GitHub's and GitLab's flavour. It must not know how numbers come about.

use super::result_file::{ResultVerdict, SavedResult};
use super::result_pair::ResultPair;
use super::server_account::named_sentence;
use super::tables::{ABSENT, good, name, percent, seconds, wanted, with_parts};
use super::view::{DistributionSummary, PairReport, StageReport};
use crate::detect::change::ChangeVerdict;
use crate::vocabulary::{is_unshown, money};
use std::fmt::Write as _;

impl SavedResult {
    /// The result as Markdown, with a trailing newline.
    pub fn to_markdown(&self) -> String {
        let verdict = match self.verdict() {
            ResultVerdict::Ok => "✅ passed",
            ResultVerdict::Failed => "❌ failed",
            ResultVerdict::Stopped => "⚠️ stopped before the end",
        };
        let mut out = format!("## tokenbeat: {verdict}\n\n");
        let views: Vec<PairReport> = self.pairs.iter().map(ResultPair::view).collect();
        overview(&mut out, self, &views);
        failures(&mut out, self);
        comparisons(&mut out, self);
        diagnosis(&mut out, self);
        servers(&mut out, self);
        changes(&mut out, self);
        stages(&mut out, &views);
        origin(&mut out, self);
        out
    }
}

fn overview(out: &mut String, result: &SavedResult, views: &[PairReport]) {
    let mut header =
        vec!["", "profile", "target", "TTFT p50", "p95", "p99", "tokens/s", "requests", "failed", "cost"];
    if result.baseline.is_some() {
        header.push("since the baseline");
    }
    let rows = result.pairs.iter().zip(views).map(|(pair, view)| {
        let mark = match (pair.is_cancelled(), pair.reasons.is_empty()) {
            (true, _) => "⚠️",
            (false, true) => "✅",
            (false, false) => "❌",
        };
        let mut row = vec![mark.to_owned(), escape(&pair.profile), escape(&pair.target)];
        row.extend(numbers(&view.total, &result.environment.currency));
        if result.baseline.is_some() {
            row.push(since(result, pair));
        }
        row
    });
    table(out, &header, rows);
}

/// TTFT p50, p95, p99; pace; requests; failures; cost.
fn numbers(stage: &StageReport, currency: &str) -> [String; 7] {
    let first_token = stage.time_to_first_token_seconds.as_ref();
    let [p50, p95, p99] = quantiles(first_token);
    let ended: u64 = stage.requests.values().sum();
    let (failed, judged) = stage.failed_of_judged();
    let share = crate::tally::ratio(failed, judged).filter(|_| failed > 0);
    let failed =
        share.map_or_else(|| failed.to_string(), |share| format!("{failed} ({})", percent(Some(share))));
    let pace = stage.output_pace_p50_tokens_per_second;
    [
        p50,
        p95,
        p99,
        pace.map_or_else(|| ABSENT.to_owned(), |pace| format!("{pace:.1}")),
        ended.to_string(),
        failed,
        stage.cost.map_or_else(|| ABSENT.to_owned(), |cost| format!("{} {}", money(cost), escape(currency))),
    ]
}

fn quantiles(of: Option<&DistributionSummary>) -> [String; 3] {
    let values = of.map_or([None; 3], |of| [Some(of.p50), of.p95, of.p99]);
    values.map(|value| value.map_or_else(|| ABSENT.to_owned(), seconds))
}

/// What of a pair changed, in a few words.
fn since(result: &SavedResult, pair: &ResultPair) -> String {
    let changes = result.baseline.iter().flat_map(|it| &it.diff.changes);
    let its: Vec<_> = changes.filter(|it| it.profile == pair.profile && it.target == pair.target).collect();
    let told = its.iter().filter(|it| [ChangeVerdict::Worse, ChangeVerdict::Better].contains(&it.verdict));
    let told: Vec<String> = told.map(|it| escape(&it.in_short())).collect();
    if !told.is_empty() {
        told.join("<br>")
    } else if its.is_empty() {
        ABSENT.to_owned()
    } else if its.iter().all(|it| it.verdict == ChangeVerdict::Same) {
        "same".to_owned()
    } else {
        "nothing certain".to_owned()
    }
}

fn failures(out: &mut String, result: &SavedResult) {
    let (mut lines, mut doubts) = (Vec::new(), Vec::new());
    for pair in &result.pairs {
        lines.extend(pair.reasons.iter().map(|why| format!("{}: {why}", pair.name())));
        let late = pair.runs.iter().filter_map(|run| run.degraded.as_ref());
        doubts.extend(late.map(|why| format!("{}: the prober was late: {why}", pair.name())));
    }
    doubts.extend(result.missing_shards().iter().map(|what| format!("the sum is without {what}")));
    let worse = result.baseline.iter().flat_map(|it| &it.diff.changes);
    let worse = worse.filter(|it| it.verdict == ChangeVerdict::Worse);
    lines.extend(worse.map(|it| format!("{}: {}", it.name(), it.sentence())));
    list(out, "What failed", &lines);
    list(out, "Numbers to take with care", &doubts);
}

fn comparisons(out: &mut String, result: &SavedResult) {
    let lines = result.comparisons.iter().map(|it| {
        let quantities =
            it.quantities.iter().map(|it| format!("{} {} ({})", it.quantity, it.change, it.interval));
        let quantities: Vec<String> = quantities.collect();
        let (treatment, control, verdict) = (&it.treatment, &it.control, it.verdict.label());
        format!("{}: {treatment} against {control}: {verdict}: {}", it.profile, quantities.join(", "))
    });
    list(out, "Comparisons", &lines.chain(result.models.iter().cloned()).collect::<Vec<_>>());
}

fn diagnosis(out: &mut String, result: &SavedResult) {
    let lines = result.diagnosis.iter().map(|it| {
        let step = if it.step.is_empty() { String::new() } else { format!(", step {}", it.step) };
        let pattern = it.pattern.label().replace('_', " ");
        format!("{} on {}{step}: {pattern}: {} ({})", it.profile, it.target, it.summary, it.numbers())
    });
    list(out, "Diagnosis", &lines.collect::<Vec<_>>());
}

/// What the servers say of themselves.
fn servers(out: &mut String, result: &SavedResult) {
    let lines = result.pairs.iter().flat_map(|pair| {
        let account = pair.runs.iter().find_map(|run| run.server.as_ref());
        let account = account.map(|account| format!("{}: {}", pair.name(), named_sentence(account)));
        let health = pair.server_health.map(|answers| format!("{}: {}", pair.name(), answers.sentence()));
        account.into_iter().chain(health)
    });
    list(out, "What the servers say", &lines.collect::<Vec<_>>());
}

fn changes(out: &mut String, result: &SavedResult) {
    let Some(baseline) = &result.baseline else { return };
    folded(out, &format!("Changes since {}", baseline.file), |out| {
        let rows = baseline.diff.changes.iter().map(|it| {
            let cells = it.cells();
            let pair = format!("{} on {}", it.profile, it.target);
            std::iter::once(pair).chain(cells).map(|cell| escape(&cell)).collect()
        });
        let header = ["", "stage", "quantity", "before", "after", "change", "interval", "matters", "verdict"];
        table(out, &header, rows);
    });
}

fn stages(out: &mut String, views: &[PairReport]) {
    folded(out, "Stages, failures and objectives", |out| {
        latencies(out, views);
        out.push('\n');
        kinds_of_failures(out, views);
        objectives(out, views);
    });
}

/// The measured stages with their parts, each with the name of its pair.
fn measured(views: &[PairReport]) -> impl Iterator<Item = (String, &StageReport)> {
    views.iter().flat_map(|view| {
        let pair = escape(&format!("{} on {}", view.profile, view.target));
        let stages = view.stages.iter().filter(|stage| !stage.warm_up).flat_map(with_parts);
        stages.map(move |stage| (pair.clone(), stage))
    })
}

fn latencies(out: &mut String, views: &[PairReport]) {
    let average =
        |of: Option<&DistributionSummary>| of.map_or_else(|| ABSENT.to_owned(), |it| seconds(it.mean));
    let per_second = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), |it| format!("{it:.1}"));
    let rows = measured(views).map(|(pair, stage)| {
        let mut row = vec![pair, escape(&name(stage))];
        for of in [&stage.time_to_first_token_seconds, &stage.response_time_seconds] {
            row.push(average(of.as_ref()));
            row.extend(quantiles(of.as_ref()));
        }
        row.push(per_second(stage.throughput.map(|it| it.requests_per_second)));
        row.push(per_second(stage.throughput.map(|it| it.output_tokens_per_second)));
        row
    });
    let header = [
        "",
        "stage",
        "TTFT average",
        "p50",
        "p95",
        "p99",
        "response time average",
        "p50",
        "p95",
        "p99",
        "requests/s",
        "output tokens/s",
    ];
    table(out, &header, rows);
}

fn kinds_of_failures(out: &mut String, views: &[PairReport]) {
    let rows = measured(views).map(|(pair, stage)| {
        let kinds = stage.failure_kinds();
        vec![
            pair,
            escape(&name(stage)),
            percent(kinds.error_rate),
            percent(kinds.timeout_rate),
            kinds.rate_limited.to_string(),
            kinds.server_errors.to_string(),
            kinds.resets.to_string(),
            stage.stalls.to_string(),
        ]
    });
    let header = ["", "stage", "error rate", "timeout rate", "429", "5xx", "resets", "stalls"];
    table(out, &header, rows);
}

fn objectives(out: &mut String, views: &[PairReport]) {
    let rows = views.iter().flat_map(|view| {
        let pair = escape(&format!("{} on {}", view.profile, view.target));
        let judged = view.objectives.iter().filter(|it| it.objective.is_some());
        judged.map(move |it| {
            let met = it.met.map_or(ABSENT, |met| if met { "met" } else { "missed" });
            vec![
                pair.clone(),
                escape(&it.name),
                it.events.to_string(),
                it.errors.to_string(),
                good(it),
                wanted(it.objective),
                met.to_owned(),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        out.push('\n');
        table(out, &["", "objective", "judged", "bad", "good", "wanted", ""], rows.into_iter());
    }
}

fn origin(out: &mut String, result: &SavedResult) {
    folded(out, "How it was measured", |out| {
        let environments = if result.merged.is_empty() {
            std::slice::from_ref(&result.environment)
        } else {
            result.merged.as_slice()
        };
        for it in environments {
            let location =
                if it.location.is_empty() { String::new() } else { format!(" in {}", it.location) };
            let shard = if it.shard.is_empty() { String::new() } else { format!(", shard {}", it.shard) };
            let line = format!(
                "tokenbeat {} on {}, agent {}{location}{shard}, saved {}",
                it.tokenbeat, it.platform, it.agent, it.saved
            );
            let _ = writeln!(out, "- {}", escape(&line));
        }
        for pair in &result.pairs {
            for run in &pair.runs {
                let line =
                    format!("run {}, revision {}, seed {}: {}", run.id, pair.revision, run.seed, run.result);
                let _ = writeln!(out, "- {}", escape(&line));
            }
        }
        for command in &result.replay {
            let _ = write!(out, "\n<pre>{}</pre>\n", html(command));
        }
    });
}

fn table(out: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let rule: Vec<String> = header.iter().map(|_| "---".to_owned()).collect();
    let _ = writeln!(out, "{}\n{}", line(&header), line(&rule));
    for row in rows {
        let _ = writeln!(out, "{}", line(&row));
    }
}

/// A list under a heading; nothing without lines.
fn list(out: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(out, "\n**{heading}**\n\n");
    for line in lines {
        let _ = writeln!(out, "- {}", escape(line));
    }
}

fn folded(out: &mut String, heading: &str, write: impl FnOnce(&mut String)) {
    let _ = write!(out, "\n<details><summary>{}</summary>\n\n", html(heading));
    write(out);
    out.push_str("\n</details>\n");
}

/// Text in a line or a cell, in which nothing is markup, a link or a mention.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' => escaped.push_str("&#64;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '#' | '!' | '$' => escaped.extend(['\\', c]),
            c if is_unshown(c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text within an element of HTML; empty lines would end it.
fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('@', "&#64;")
        .replace(is_unshown, " ")
}

#[cfg(test)]
mod tests;
