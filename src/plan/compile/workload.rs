//! Compiles workloads.

use super::{Findings, pattern};
use crate::config::{self, KeyPath, Prompt};
use crate::files::LARGEST;
use crate::limits;
use crate::plan::{AskStep, AskText, OUTPUT_CAPS, param};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// Compiles a workload to its model call.
pub(super) fn compile(
    written: &config::Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskStep> {
    let mut prompts: Vec<Arc<str>> = Vec::new();
    let at = path.key("prompts");
    for (index, prompt) in written.prompts.iter().enumerate() {
        let path = at.index(index);
        match prompt {
            Prompt::Text(text) if text.trim().is_empty() => findings.error(&path, "must not be empty"),
            Prompt::Text(text) => prompts.push(text.as_str().into()),
            Prompt::File(file) => match lines(&file.file, findings) {
                Ok(lines) => prompts.extend(lines),
                Err(message) => findings.error(&path.key("file"), message),
            },
        }
    }
    if prompts.len() > limits::ITEMS {
        findings
            .error(&at, format!("has {} prompts, and at most {} are allowed", prompts.len(), limits::ITEMS));
    }
    if written.prompts.is_empty() {
        findings.error(&at, "must have at least one item");
    }
    check_params(&written.params, "workload", &path.key("params"), findings);
    (!prompts.is_empty()).then(|| AskStep {
        text: AskText::Fixed { system: written.system.as_deref().map(Arc::from), prompts },
        output_tokens: written.output_tokens.map(std::num::NonZeroU64::get),
        cache: written.cache,
        stream: written.stream,
        params: written.params.clone(),
        history: 0,
        stateful: false,
    })
}

/// Checks that parameters, which are merged into the body, do not contradict what is measured and limited. `owner` is
/// the key (`workload`, `ask`) with the fields that decide what is measured.
pub(super) fn check_params(
    params: &Map<String, Value>,
    owner: &str,
    path: &KeyPath,
    findings: &mut Findings,
) {
    let prompt = if owner == "ask" { "prompt" } else { "prompts" };
    let own = [
        ("messages", format!("`{owner}.{prompt}` and `{owner}.system`")),
        ("model", "the target's `model`".to_owned()),
        ("stream", format!("`{owner}.stream`")),
    ];
    for (name, place) in own {
        if params.contains_key(name) {
            findings.error(&path.key(name), format!("is set by {place}"));
        }
    }
    // Servers use different names for the limit, so it may be set here instead of by `output_tokens`.
    for keys in OUTPUT_CAPS {
        if param(params, keys).is_some_and(|cap| cap.as_u64().is_none_or(|cap| cap == 0)) {
            let path = keys.iter().fold(path.clone(), |path, key| path.key(key));
            findings.error(&path, "must be a whole number of 1 or more");
        }
    }
    if params.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        findings.error(&path.key("n"), "must be 1: one answer to each request is measured and budgeted");
    }
}

/// The non-blank lines of a file.
fn lines(path: &Path, findings: &mut Findings) -> Result<Vec<Arc<str>>, String> {
    let text = pattern::text_file(path, LARGEST, findings)?;
    let lines: Vec<Arc<str>> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Arc::from).collect();
    let shown = path.display();
    findings.hold(0, lines.len(), &shown)?;
    if lines.is_empty() { Err(format!("{shown} holds no prompt")) } else { Ok(lines) }
}
