//! Compiles fingerprints of models.

use super::Findings;
use crate::config::{self, KeyPath, Workload};
use crate::plan::{AskText, ModelFingerprint};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The prompts of a fingerprint, in the order in which each run sends them.
pub(super) fn compile(
    written: &config::FingerprintWorkload,
    workload: &Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    if workload.cache.is_some() {
        let message = "does not go with `fingerprint`: its prompts are the same each time";
        findings.error(&path.key("cache"), message);
    }
    if workload.output_tokens.is_some() && workload.fixed_output_tokens().is_none() {
        let message =
            "must be a number with `fingerprint`: answers of different lengths are no basis for a comparison";
        findings.error(&path.key("output_tokens"), message);
    }
    let at = path.key("fingerprint").key("prompts");
    let mut prompts: Vec<Arc<str>> = Vec::new();
    let mut known = BTreeSet::new();
    for (index, text) in written.texts().into_iter().enumerate() {
        if text.trim().is_empty() {
            findings.error(&at.index(index), "must not be empty");
        } else if !known.insert(text) {
            findings.error(&at.index(index), "is there twice");
        } else {
            prompts.push(text.into());
        }
    }
    let system = workload.system.as_deref().map(Arc::from);
    (!prompts.is_empty()).then_some(AskText::Fixed { system, prompts })
}

/// How its answers are compared.
pub(super) fn settings(written: &config::FingerprintWorkload) -> ModelFingerprint {
    let config::FingerprintWorkload { prompts: _, top, reference, false_alarms } = written;
    ModelFingerprint { top: *top, reference: *reference, false_alarms: false_alarms.0 }
}

/// Checks the rest of a profile that is a fingerprint.
pub(super) fn check_profile(written: &config::Profile, path: &KeyPath, findings: &mut Findings) {
    if !written.load.is_empty() {
        let message = "does not go with `fingerprint`: each run sends each of its prompts once";
        findings.error(&path.key("load"), message);
    }
    if written.search.is_some() {
        findings.error(&path.key("search"), "does not go with `fingerprint`: it needs no load");
    }
    if written.compare.is_some() {
        let message = "does not go with `fingerprint`: each target is compared with its own reference";
        findings.error(&path.key("compare"), message);
    }
    if written.schedule.continuous.is_some() {
        let message = "does not go with `fingerprint`, whose runs are compared: use `every` or `cron`";
        findings.error(&path.key("schedule").key("continuous"), message);
    }
    if !super::expect::comparisons(&written.expect).is_empty() {
        let message = "must not send requests again with `fingerprint`: leave out `seed` and `same_as_unary`";
        findings.error(&path.key("expect"), message);
    }
}
