//! Compiles the datasets of workloads.

use super::Findings;
use crate::config::{self, KeyPath};
use crate::dataset::{Dataset, RowContent};
use crate::plan::AskText;
use crate::vocabulary::DatasetFormat;
use std::path::Path;
use std::sync::Arc;

/// Compiles a dataset of prompts.
pub(super) fn compile(
    written: &config::DatasetFile,
    system: Option<&str>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    let format = format(written, path, findings)?;
    let dataset = read(written, format, RowContent::Prompt, path, findings)?;
    Some(AskText::Dataset { dataset, order: written.order, system: system.map(Arc::from) })
}

/// The format of a dataset.
pub(super) fn format(
    written: &config::DatasetFile,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<DatasetFormat> {
    let format = written.format.or_else(|| by_name(&written.file));
    if format.is_none() {
        findings.error(path, "needs `format`: the name of the file does not tell it");
    }
    format
}

/// Reads a dataset and validates each of its rows.
pub(super) fn read(
    written: &config::DatasetFile,
    format: DatasetFormat,
    content: RowContent,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Arc<Dataset>> {
    let at = path.key("file");
    let shown = written.file.display();
    let read = Dataset::read(&written.file, format, content, written.skip_bad_lines, &mut findings.files);
    let read = read.map_err(|why| format!("{shown}: {why}"));
    let dataset = read
        .and_then(|dataset| findings.hold(dataset.held(), 0, &shown).map(|()| dataset))
        .map_err(|message| findings.error(&at, message))
        .ok()?;
    let skipped = dataset.skipped();
    if let Some(first) = &skipped.first {
        let all = dataset.rows() + skipped.count;
        let message = format!("{shown}: {} of {all} rows are left out; the first: {first}", skipped.count);
        findings.warn(&at, message);
    }
    Some(Arc::new(dataset))
}

fn by_name(file: &Path) -> Option<DatasetFormat> {
    match file.extension()?.to_string_lossy().to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(DatasetFormat::Jsonl),
        "csv" => Some(DatasetFormat::Csv),
        "json" => Some(DatasetFormat::Sharegpt),
        "txt" => Some(DatasetFormat::Lines),
        _ => None,
    }
}
