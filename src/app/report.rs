//! `tokenbeat report`: shows and compares saved results.

use super::{baseline, print};
use crate::cli::{DiffFormat, DiffOptions, Exit, ReportCommand, ReportOptions};
use crate::report::{ResultDiff, SavedResult};
use std::fmt::Write as _;
use std::path::Path;

/// Runs one of its commands; without one, shows the files.
pub(super) fn report(options: &ReportOptions) -> anyhow::Result<Exit> {
    match &options.command {
        Some(ReportCommand::Diff(options)) => diff(options),
        None => show(options),
    }
}

fn show(options: &ReportOptions) -> anyhow::Result<Exit> {
    let mut text = String::new();
    for path in &options.files {
        let Some(saved) = read(path) else { return Ok(Exit::Usage) };
        let it = &saved.environment;
        let location = if it.location.is_empty() { String::new() } else { format!(" in {}", it.location) };
        writeln!(
            text,
            "{}: saved {} by tokenbeat {} (agent {}{location}, {})\n\n{}",
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
        eprintln!("error: the two results have nothing in common that could be compared");
        return Ok(Exit::Usage);
    }
    Ok(if diff.is_worse() { Exit::Missed } else { Exit::Ok })
}

fn read(path: &Path) -> Option<SavedResult> {
    baseline::read(path).inspect_err(|why| eprintln!("error: {why}")).ok()
}
