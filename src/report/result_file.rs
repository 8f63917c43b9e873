//! The result of a run as a file: one format for reports, for baselines, and for parts that are added up. It holds the
//! totals of each stage with whole histograms, what they were measured with, and what was concluded from them, and holds
//! neither answers nor secrets. Prompts and addresses are in it only as part of the config, where that is kept.

use super::Summary;
use super::diagnosis::Diagnosis;
use super::diff::ResultDiff;
use super::result_pair::ResultPair;
use super::view::Report;
use crate::event::{ComparisonReport, ComparisonVerdict, Pair};
use crate::state::Time;
use crate::vocabulary::{is_unshown, shown};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the file says that it is.
const FORMAT: &str = "tokenbeat-result";

/// Version of the format. It changes when a reader of the old version would misread the new one.
const VERSION: u32 = 2;

/// The oldest version that is read.
const OLDEST: u32 = 1;

/// A saved result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedResult {
    format: String,
    version: u32,
    /// What measured it; of several that were added up, the first.
    pub environment: ResultEnvironment,
    /// What measured the parts that were added up; empty for the result of one invocation.
    #[serde(default)]
    pub merged: Vec<ResultEnvironment>,
    /// Each profile with each of its targets that was played.
    pub pairs: Vec<ResultPair>,
    /// What the comparisons of targets say.
    #[serde(default)]
    pub comparisons: Vec<ResultComparison>,
    /// The patterns that the requests show.
    #[serde(default)]
    pub diagnosis: Vec<Diagnosis>,
    /// What changed since a baseline; absent without one.
    #[serde(default)]
    pub baseline: Option<BaselineChanges>,
    /// What the fingerprints say about models, in sentences.
    #[serde(default)]
    pub models: Vec<String>,
    /// The commands that repeat the runs.
    #[serde(default)]
    pub replay: Vec<String>,
    /// The config that was played, as YAML with its secrets masked; absent in a saved baseline.
    #[serde(default)]
    pub config: Option<String>,
}

/// What measured a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultEnvironment {
    /// Version of tokenbeat.
    pub tokenbeat: String,
    /// When the result was saved, as RFC 3339.
    pub saved: String,
    /// The agent's id.
    pub agent: String,
    /// The agent's location; empty without one.
    pub location: String,
    /// The shard of the schedule that it played, such as `1/3`; empty if it played all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shard: String,
    /// Operating system and processor.
    pub platform: String,
    /// Number of processors that it may use; absent if unknown.
    #[serde(default)]
    pub processors: Option<usize>,
    /// Currency of the costs.
    pub currency: String,
}

/// What a comparison of two targets says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultComparison {
    /// The profile that compares.
    pub profile: Arc<str>,
    /// The target that is known to be good.
    pub control: Arc<str>,
    /// The target that is judged.
    pub treatment: Arc<str>,
    /// The verdict on all quantities together.
    pub verdict: ComparisonVerdict,
    /// The probability with which the verdicts hold, from 0 to 1.
    pub confidence: f64,
    /// Number of pairs of requests that say something about both targets.
    pub pairs: u64,
    /// When the first of them may have been sent, as RFC 3339.
    pub since: String,
    /// Each quantity that is compared.
    pub quantities: Vec<ComparedQuantity>,
}

/// JSON whose texts are as they may be shown. Texts of servers are in a result, and anybody may have written the file.
fn shown_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(&shown(before));
        let hex = escape.strip_prefix('u').and_then(|it| it.get(..4));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let (c, length) = match (escape.chars().next(), code) {
            (_, Some(code)) => (char::from_u32(code), 5),
            (Some('b' | 'f' | 'r'), None) => (Some('\r'), 1),
            (Some(other), None) => (None, other.len_utf8()),
            (None, None) => (None, 0),
        };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        if c.is_some_and(|c| is_unshown(c) && !matches!(c, '\n' | '\t')) {
            out.push(' ');
        } else {
            out.extend(["\\", escape]);
        }
        rest = after;
    }
    out.push_str(&shown(rest));
    out
}

/// What a comparison says about one quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedQuantity {
    /// Its name.
    pub quantity: String,
    /// The verdict on it.
    pub verdict: ComparisonVerdict,
    /// Number of pairs in which both targets have a value.
    pub pairs: u64,
    /// The lower bound of the treatment divided by the control; of failures, 1 plus the difference of the shares.
    pub low: Option<f64>,
    /// The estimate of the same.
    pub mid: Option<f64>,
    /// The upper bound of the same.
    pub high: Option<f64>,
    /// The estimated change in words, such as `+23.1%`.
    pub change: String,
    /// The interval of the change in words.
    pub interval: String,
}

/// The changes since a baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaselineChanges {
    /// The name of the file, without its folder.
    pub file: String,
    /// What measured the baseline.
    pub environment: ResultEnvironment,
    /// The changes.
    pub diff: ResultDiff,
}

/// Why a file is not a result that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultFileError {
    /// It is something else, or damaged.
    #[error("is not a saved result: {0}")]
    NotAResult(String),
    /// It was saved by a version with another format.
    #[error(
        "has version {0} of the format, and this tokenbeat reads versions {OLDEST} to {VERSION}: save it again with this one"
    )]
    Version(u32),
}

/// The part of a file that all versions have.
#[derive(Deserialize)]
struct ResultFileHead {
    format: String,
    version: u32,
}

/// A file as it is written: with the numbers that follow from the histograms, for programs that do not add up.
#[derive(Serialize)]
struct WrittenResult<'a> {
    #[serde(flatten)]
    result: &'a SavedResult,
    verdict: ResultVerdict,
    summary: Report,
}

/// What a result amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultVerdict {
    /// All is well.
    Ok,
    /// An objective, a check or a comparison failed, or nothing was measured.
    Failed,
    /// It was stopped before the end.
    Stopped,
}

impl SavedResult {
    /// Whether each pair has a request that says something about its target.
    pub fn says_something(&self) -> bool {
        !self.pairs.is_empty() && self.pairs.iter().all(ResultPair::says_something)
    }

    /// What a summary has so far, of the pairs that had a run.
    pub fn of(summary: &Summary, environment: ResultEnvironment) -> Self {
        let mut pairs = summary.results();
        pairs.retain(|pair| !pair.runs.is_empty());
        for pair in &mut pairs {
            pair.measured_by(&environment);
        }
        let diagnosis = summary.diagnosis.diagnose();
        Self { diagnosis, ..Self::new(environment, pairs) }
    }

    pub(super) fn new(environment: ResultEnvironment, pairs: Vec<ResultPair>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            environment,
            merged: Vec::new(),
            pairs,
            comparisons: Vec::new(),
            diagnosis: Vec::new(),
            baseline: None,
            models: Vec::new(),
            replay: Vec::new(),
            config: None,
        }
    }

    /// Reads the contents of a file.
    pub fn from_json(text: &str) -> Result<Self, ResultFileError> {
        let not = |error: serde_json::Error| ResultFileError::NotAResult(error.to_string());
        let head: ResultFileHead = serde_json::from_str(text).map_err(not)?;
        if head.format != FORMAT {
            return Err(ResultFileError::NotAResult(format!("its `format` is not `{FORMAT}`")));
        }
        if !(OLDEST..=VERSION).contains(&head.version) {
            return Err(ResultFileError::Version(head.version));
        }
        let mut read: Self = serde_json::from_str(&shown_json(text)).map_err(not)?;
        read.version = VERSION;
        for pair in &mut read.pairs {
            pair.upgrade();
            pair.assume_active();
            pair.measured_by(&read.environment);
        }
        Ok(read)
    }

    /// The contents of a file, with a trailing newline.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let written = WrittenResult { result: self, verdict: self.verdict(), summary: self.report() };
        serde_json::to_string(&written).map(|text| text + "\n")
    }

    /// The same to be compared with: without the config, which has prompts and addresses, and without what was concluded.
    #[must_use]
    pub fn as_baseline(&self) -> Self {
        let kept = self.clone();
        Self { config: None, baseline: None, replay: Vec::new(), ..kept }
    }

    /// Says why pairs failed.
    pub fn explain(&mut self, reasons: &[(Pair, Vec<String>)]) {
        for (failed, why) in reasons {
            let its = |pair: &&mut ResultPair| pair.profile == failed.profile && pair.target == failed.target;
            if let Some(pair) = self.pairs.iter_mut().find(its) {
                pair.reasons.clone_from(why);
            }
        }
    }

    /// The result as a summary.
    pub fn report(&self) -> Report {
        Report {
            currency: self.environment.currency.as_str().into(),
            pairs: self.pairs.iter().map(ResultPair::view).collect(),
            diagnosis: self.diagnosis.clone(),
        }
    }

    /// What it amounts to: the same as the exit code of the run.
    pub fn verdict(&self) -> ResultVerdict {
        let stopped = self.pairs.iter().any(ResultPair::is_cancelled);
        let worse = self.comparisons.iter().any(|it| it.verdict == ComparisonVerdict::Worse)
            || self.baseline.as_ref().is_some_and(|it| it.diff.is_worse());
        if stopped {
            ResultVerdict::Stopped
        } else if worse || self.pairs.iter().any(|pair| !pair.reasons.is_empty()) {
            ResultVerdict::Failed
        } else {
            ResultVerdict::Ok
        }
    }

    /// The result of a pair, if it is there.
    pub fn pair(&self, profile: &str, target: &str) -> Option<&ResultPair> {
        self.pairs.iter().find(|pair| &*pair.profile == profile && &*pair.target == target)
    }
}

impl From<&ComparisonReport> for ResultComparison {
    fn from(report: &ComparisonReport) -> Self {
        let quantities = report.quantities.iter().map(|it| ComparedQuantity {
            quantity: it.quantity.to_owned(),
            verdict: it.verdict,
            pairs: it.pairs,
            low: it.low,
            mid: it.mid,
            high: it.high,
            change: it.estimate(),
            interval: it.interval(),
        });
        Self {
            profile: Arc::clone(&report.profile),
            control: Arc::clone(&report.control),
            treatment: Arc::clone(&report.treatment),
            verdict: report.verdict,
            confidence: report.confidence,
            pairs: report.pairs,
            since: Time(report.since).to_string(),
            quantities: quantities.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
