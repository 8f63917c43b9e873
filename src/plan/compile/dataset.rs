//! Compiles the dataset of a workload.

use super::Findings;
use crate::config::{self, KeyPath};
use crate::dataset::Dataset;
use crate::plan::AskText;
use crate::vocabulary::DatasetFormat;
use std::path::Path;
use std::sync::Arc;

/// Reads a dataset and validates each of its rows.
pub(super) fn compile(
    written: &config::DatasetFile,
    system: Option<&str>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    let at = path.key("file");
    let shown = written.file.display();
    let Some(format) = written.format.or_else(|| by_name(&written.file)) else {
        findings.error(path, "needs `format`: the name of the file does not tell it");
        return None;
    };
    let read = Dataset::read(&written.file, format, written.skip_bad_lines, &mut findings.files);
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
    Some(AskText::Dataset { dataset: Arc::new(dataset), order: written.order, system: system.map(Arc::from) })
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
