//! What is told of a series: changes with their time and size, and the regression that stands.

use super::measure::Measure;
use super::step::ChangeSize;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, Serialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ChangeKind {
    /// A regression began.
    Regressed,
    /// A regression that had ended less than a day before is back.
    Returned,
    /// A regression that stands became worse.
    Worsened,
    /// A regression that stands became smaller.
    Eased,
    /// A regression ended: the series is back at its baseline, or better.
    Recovered,
    /// A regression has stood for so long that it is the new baseline.
    Accepted,
    /// The series became better, which is the new baseline.
    Improved,
}

impl ChangeKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is bad news.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Regressed | Self::Returned | Self::Worsened)
    }
}

/// When something changed, in milliseconds since the epoch, with an interval of about 95%.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeTime {
    /// Not earlier.
    pub earliest: i64,
    /// The first value after the change.
    pub at: i64,
    /// Not later.
    pub latest: i64,
}

/// The level after a change by its baseline, with an interval of about 95%.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangeRatio {
    /// The lower end.
    pub low: f64,
    /// The estimate.
    pub mid: f64,
    /// The upper end.
    pub high: f64,
}

impl ChangeRatio {
    /// Of a change of this size from `level`, compared with a baseline.
    pub(super) fn of(measure: Measure, level: f64, size: ChangeSize, baseline: f64, min_share: f64) -> Self {
        let ratio = |size: f64| measure.ratio(level + size, baseline, min_share);
        let (a, b) = (ratio(size.low), ratio(size.high));
        Self { low: a.min(b), mid: ratio(size.mid), high: a.max(b) }
    }
}

/// A change that a value showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectedChange {
    /// What it means.
    pub kind: ChangeKind,
    /// When it happened.
    pub time: ChangeTime,
    /// The time of the value that showed it, in milliseconds since the epoch.
    pub told_at: i64,
    /// Its size.
    pub ratio: ChangeRatio,
}

/// A regression that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// When it first began.
    pub(super) since: i64,
    /// When it was told.
    pub(super) told_at: i64,
    /// The level before it.
    pub(super) baseline: f64,
    /// The values before it.
    pub(super) before: Vec<f64>,
}

/// A regression that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndedRegression {
    /// When it first began.
    pub(super) since: i64,
    /// When it ended.
    pub(super) at: i64,
}
