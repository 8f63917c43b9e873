//! `tokenbeat report`: shows, compares and adds up saved results.

use super::report_files::ReportFiles;
use super::{baseline, print, run, terminal};
use crate::cli::{DiffFormat, DiffOptions, Exit, MergeOptions, ReportCommand, ReportOptions};
use crate::event::Pair;
use crate::report::{ResultDiff, ResultPair, ResultVerdict, SavedResult};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Runs one of its commands; without one, shows the files.
pub(super) fn report(options: &ReportOptions) -> anyhow::Result<Exit> {
    match &options.command {
        Some(ReportCommand::Diff(options)) => diff(options),
        Some(ReportCommand::Merge(options)) => merge(options),
        None => show(options),
    }
}

fn show(options: &ReportOptions) -> anyhow::Result<Exit> {
    let files = match ReportFiles::open(&options.output, None, &[]) {
        Ok(files) => files,
        Err(problems) => return Ok(usage(&problems)),
    };
    let mut results = Vec::new();
    for path in &options.files {
        let Some(saved) = read(path) else { return Ok(Exit::Usage) };
        results.push((path, saved));
    }
    if let [(_, result)] = &results[..]
        && !files.is_empty()
    {
        files.write(result)?;
    } else if !files.is_empty() {
        return Ok(usage(
            &["a report is about one result: add them up with `report merge` first".to_owned()],
        ));
    }
    for what in results.iter().flat_map(|(_, result)| result.missing_shards()) {
        eprintln!("warning: the sum is without {what}");
    }
    if files.takes_stdout() {
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for (path, saved) in &results {
        let it = &saved.environment;
        let location = if it.location.is_empty() { String::new() } else { format!(" in {}", it.location) };
        let shard = if it.shard.is_empty() { String::new() } else { format!(", shard {}", it.shard) };
        writeln!(
            text,
            "{}: saved {} by tokenbeat {} (agent {}{location}{shard}, {})\n\n{}",
            path.display(),
            it.saved,
            it.tokenbeat,
            it.agent,
            it.platform,
            saved.report().tables()
        )?;
    }
    print(&text)
}

fn merge(options: &MergeOptions) -> anyhow::Result<Exit> {
    let taken = [("--baseline", options.baseline.as_deref())];
    let files = match ReportFiles::open(&options.output, options.out.as_deref(), &taken) {
        Ok(files) => files,
        Err(problems) => return Ok(usage(&problems)),
    };
    let mut results = Vec::new();
    for path in &options.files {
        let Some(saved) = read(path) else { return Ok(Exit::Usage) };
        results.push(saved);
    }
    let before = match options.baseline.as_deref().map(|path| Some((path, read(path)?))) {
        Some(None) => return Ok(Exit::Usage),
        before => before.flatten(),
    };
    let merged = match SavedResult::merge(results) {
        Ok(merged) => merged,
        Err(error) => return Ok(usage(&[format!("these results cannot be added up: {error}")])),
    };
    for what in &merged.left_out {
        say!("warning: the sum is without {what}");
    }
    let mut result = merged.result;
    judge(&mut result);
    let shows_tables = !files.takes_stdout();
    if shows_tables {
        print(&result.report().tables())?;
    }
    let compared = before.map(|(path, before)| compare(&mut result, path, &before, shows_tables));
    tell(&result);
    // Also where there was nothing to compare.
    files.write(&result)?;
    if let Some(refusals) = compared.transpose()?.filter(|refusals| !refusals.is_empty()) {
        return Ok(usage(&refusals));
    }
    Ok(match result.verdict() {
        ResultVerdict::Ok => Exit::Ok,
        ResultVerdict::Failed => Exit::Missed,
        ResultVerdict::Stopped => Exit::Failed,
    })
}

/// Compares a sum, or says why it cannot be compared.
fn compare(
    sum: &mut SavedResult,
    path: &Path,
    before: &SavedResult,
    show: bool,
) -> anyhow::Result<Vec<String>> {
    if sum.verdict() == ResultVerdict::Stopped {
        say!("warning: the sum is not compared, because a run of it was stopped");
        return Ok(Vec::new());
    }
    let refusals = baseline::refusals(path, before, sum);
    if refusals.is_empty() {
        baseline::warn_of_differences(before, sum);
        baseline::compare(sum, path, before, show)?;
    }
    Ok(refusals)
}

/// Says why pairs failed of which that is not known: those that were added up, and those of the first version.
fn judge(result: &mut SavedResult) {
    let unknown = result.report().pairs.into_iter().zip(&result.pairs);
    // What was stopped has missed nothing yet, and what is for other shards is judged where they are added up.
    let is_judged = |pair: &ResultPair| !pair.is_cancelled() && !pair.is_of_other_shards();
    let unknown = unknown.filter(|(_, pair)| pair.reasons.is_empty() && is_judged(pair));
    let reasons = unknown.map(|(pair, _)| {
        let why = run::reasons(&pair, None, None);
        (Pair { profile: Arc::clone(&pair.profile), target: Arc::clone(&pair.target) }, why)
    });
    let reasons: Vec<(Pair, Vec<String>)> = reasons.collect();
    result.explain(&reasons);
}

fn tell(result: &SavedResult) {
    for pair in &result.pairs {
        for why in &pair.reasons {
            terminal::tell(&format!("failed: {}: {why}", pair.name()));
        }
    }
}

fn usage(problems: &[String]) -> Exit {
    for problem in problems {
        say!("error: {problem}");
    }
    Exit::Usage
}

fn diff(options: &DiffOptions) -> anyhow::Result<Exit> {
    let (Some(before), Some(after)) = (read(&options.before), read(&options.after)) else {
        return Ok(Exit::Usage);
    };
    baseline::warn_of_differences(&before, &after);
    baseline::warn_of_late(&after, "second");
    let diff = ResultDiff::of(&before, &after);
    baseline::warn_of_left_out(diff.left_out.iter());
    match options.format {
        DiffFormat::Table => print(&diff.tables())?,
        DiffFormat::Json => print(&format!("{}\n", serde_json::to_string_pretty(&diff)?))?,
    };
    if diff.changes.iter().all(|it| it.change.is_none()) {
        say!("error: the two results have nothing in common that could be compared");
        return Ok(Exit::Usage);
    }
    Ok(if diff.is_worse() { Exit::Missed } else { Exit::Ok })
}

fn read(path: &Path) -> Option<SavedResult> {
    let mut result = baseline::read(path).inspect_err(|why| say!("error: {why}")).ok()?;
    judge(&mut result);
    Some(result)
}
