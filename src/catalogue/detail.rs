//! Which series are exported at each level of detail, and with which buckets. What is not listed here is exported whole
//! at the default level. It must not know how series are stored or rendered.

use super::buckets::{self, Buckets};
use super::{Metric, MetricKind, Subject};
use crate::vocabulary::TelemetryDetail;

/// When the series of a metric are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesExposure {
    /// Never.
    Never,
    /// From their first value above zero on.
    Used,
    /// From the start.
    Always,
}

/// What is left of a profile against a target at the lowest level. The series of targets and of the agent are few.
const LEAN: &[Metric] = &[
    Metric::OfferedRequests,
    Metric::SkippedRequests,
    Metric::Requests,
    Metric::RequestsInFlight,
    Metric::RequestDuration,
    Metric::TimeToFirstToken,
    Metric::TimePerOutputToken,
    Metric::Stalls,
    Metric::Tokens,
    Metric::Cost,
    Metric::DispatchLag,
    Metric::LoadActive,
    Metric::Journeys,
    Metric::JourneyDuration,
    Metric::Runs,
    Metric::DegradedRuns,
    Metric::SkippedRuns,
    Metric::RegressionRatio,
    Metric::ReplicaOutlier,
    Metric::RegressionSince,
    Metric::CapacityUsers,
    Metric::CapacityRequests,
    Metric::CapacitySearches,
    Metric::ModelChangeEvidence,
    Metric::ModelChangeThreshold,
    Metric::LastRunStarted,
    Metric::LastRunCompleted,
    Metric::NextRun,
    Metric::ScheduleInterval,
    Metric::ProfileInfo,
    Metric::SloEvents,
    Metric::SloErrors,
    Metric::SloObjective,
    Metric::SloThreshold,
    Metric::SloThresholdPerToken,
    Metric::SloThresholdTokens,
    Metric::CheckFailures,
    Metric::RateLimitRemaining,
    Metric::RateLimitLimit,
];

/// What has many label values, of which few occur, and of which no rule needs the first increase.
const USED: &[Metric] = &[
    Metric::HttpResponses,
    Metric::FinishReasons,
    Metric::Retries,
    Metric::WarmUpRequests,
    Metric::FailedRequestDuration,
    Metric::ConnectionPhase,
];

/// The same at the lowest level.
const LEAN_USED: &[Metric] = &[Metric::Tokens, Metric::TargetStateChanges];

impl Metric {
    /// When its series are exported.
    pub fn shown(self, detail: TelemetryDetail) -> SeriesExposure {
        let few = matches!(self.spec().subject, Subject::Target | Subject::Agent | Subject::Endpoint);
        match detail {
            TelemetryDetail::Lean if !few && !LEAN.contains(&self) => SeriesExposure::Never,
            TelemetryDetail::Lean if LEAN_USED.contains(&self) => SeriesExposure::Used,
            TelemetryDetail::Standard if USED.contains(&self) => SeriesExposure::Used,
            TelemetryDetail::Lean | TelemetryDetail::Standard | TelemetryDetail::Full => {
                SeriesExposure::Always
            }
        }
    }

    /// The upper bounds of its buckets, without `+Inf`; `None` if it has none.
    pub fn bounds(self, detail: TelemetryDetail) -> Option<&'static [f64]> {
        match self.spec().kind {
            MetricKind::Histogram(_) if detail == TelemetryDetail::Standard && MEANS.contains(&self) => {
                Some(&[])
            }
            MetricKind::Histogram(buckets) => Some(buckets.at(detail)),
            MetricKind::Counter | MetricKind::Gauge => None,
        }
    }
}

/// Distributions of which panels and rules ask only for the mean.
const MEANS: &[Metric] = &[Metric::OutputLengthRatio, Metric::TokenCountRatio];

/// A list of bounds, and the parts of it that are left at the lower levels.
struct ReducedBuckets {
    of: &'static Buckets,
    standard: &'static [f64],
    lean: &'static [f64],
}

/// The lists that are long, or that each profile against a target has several times. The bounds of objectives and
/// thresholds stay: 50 ms of lag, with one above it, without which no quantile exceeds it, and those of vLLM where a panel
/// has both.
static REDUCED: &[ReducedBuckets] = &[
    ReducedBuckets {
        of: &buckets::FIRST_TOKEN,
        standard: &[
            0.02, 0.04, 0.08, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.5, 5.0, 7.5, 10.0, 20.0,
            40.0,
        ],
        lean: &[0.08, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 40.0],
    },
    ReducedBuckets {
        of: &buckets::GAP,
        standard: &[0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5],
        lean: &[0.01, 0.02, 0.04, 0.075, 0.15, 0.3, 1.0],
    },
    ReducedBuckets {
        of: &buckets::DURATION,
        standard: &[0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0],
        lean: &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0],
    },
    ReducedBuckets {
        of: &buckets::JOURNEY,
        standard: &[
            0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 90.0, 120.0,
            300.0, 900.0, 3600.0,
        ],
        lean: &[1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0],
    },
    ReducedBuckets {
        of: &buckets::PACE,
        standard: &[5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0],
        lean: &[10.0, 20.0, 40.0, 75.0, 150.0, 300.0],
    },
    ReducedBuckets { of: &buckets::FIRST_MARK, standard: &[0.04, 0.15, 0.5, 1.0, 5.0], lean: &[0.15, 1.0] },
    ReducedBuckets {
        of: &buckets::LONGEST_GAP,
        standard: &[0.1, 0.2, 0.5, 1.0, 2.5, 10.0],
        lean: &[0.2, 1.0, 10.0],
    },
    ReducedBuckets {
        of: &buckets::READER_IDLE,
        standard: &[0.001, 0.05, 0.25, 1.0, 5.0, 20.0],
        lean: &[0.001, 1.0],
    },
    ReducedBuckets {
        of: &buckets::FAILED_DURATION,
        standard: &[0.1, 1.0, 10.0, 30.0, 120.0],
        lean: &[1.0, 10.0],
    },
    ReducedBuckets {
        of: &buckets::INPUT_TOKENS,
        standard: &[100.0, 1000.0, 5000.0, 20000.0, 100_000.0],
        lean: &[],
    },
    ReducedBuckets {
        of: &buckets::OUTPUT_TOKENS,
        standard: &[20.0, 100.0, 500.0, 1000.0, 5000.0],
        lean: &[],
    },
    ReducedBuckets {
        of: &buckets::CONNECTION,
        standard: &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5],
        lean: &[0.025, 0.5],
    },
    ReducedBuckets {
        of: &buckets::DISPATCH_LAG,
        standard: &[0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25],
        lean: &[0.001, 0.05, 0.25],
    },
    ReducedBuckets {
        of: &buckets::SCHEDULE_LAG,
        standard: &[0.01, 0.1, 1.0, 10.0, 60.0],
        lean: &[1.0, 60.0],
    },
];

impl Buckets {
    /// The bounds that are exported: all of them, or a part, so that the counts of a bound are the same at each level.
    pub fn at(&'static self, detail: TelemetryDetail) -> &'static [f64] {
        let reduced = REDUCED.iter().find(|it| std::ptr::eq(it.of, self));
        match (reduced, detail) {
            (None, _) | (_, TelemetryDetail::Full) => self.bounds,
            (Some(it), TelemetryDetail::Standard) => it.standard,
            (Some(it), TelemetryDetail::Lean) => it.lean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_a_part_of_the_next() {
        let when = |metric: Metric, detail| match metric.shown(detail) {
            SeriesExposure::Never => 0,
            SeriesExposure::Used => 1,
            SeriesExposure::Always => 2,
        };
        for metric in Metric::ALL.iter().copied() {
            for levels in TelemetryDetail::ALL.windows(2) {
                let [less, more] = levels else { unreachable!() };
                assert!(when(metric, *less) <= when(metric, *more), "{metric:?}");
                let Some((less, more)) = metric.bounds(*less).zip(metric.bounds(*more)) else { continue };
                assert!(less.is_sorted_by(|a, b| a < b), "{metric:?}");
                let rest: Vec<_> = less.iter().filter(|bound| !more.contains(bound)).collect();
                // A mean has no buckets, whatever the lowest level would have, and is not in it.
                assert!(rest.is_empty() || when(metric, TelemetryDetail::Lean) == 0, "{metric:?}: {rest:?}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_in_the_catalogue_and_once() {
        for list in [LEAN, USED, LEAN_USED, MEANS] {
            for (index, metric) in list.iter().enumerate() {
                assert!(!list.iter().skip(index + 1).any(|other| other == metric), "{metric:?}");
            }
        }
        for (index, reduced) in REDUCED.iter().enumerate() {
            assert!(REDUCED.iter().skip(index + 1).all(|other| !std::ptr::eq(other.of, reduced.of)));
            for bound in reduced.standard.iter().chain(reduced.lean) {
                assert!(reduced.of.bounds.contains(bound), "{}: {bound}", reduced.of.name);
            }
        }
    }

    #[test]
    fn the_bound_that_degrades_a_run_is_in_each_level() {
        for detail in TelemetryDetail::ALL {
            let bounds = buckets::DISPATCH_LAG.at(*detail);
            assert!(bounds.contains(&0.05), "{detail:?}");
            // A quantile in the last bucket is its lower bound, so that it could not exceed 50 ms.
            assert!(bounds.iter().any(|bound| *bound > 0.05), "{detail:?}");
        }
    }

    #[test]
    fn what_alerts_ask_for_is_there_from_the_start_at_each_level() {
        let asked = [
            Metric::SloThreshold,
            Metric::SloThresholdTokens,
            Metric::SkippedRuns,
            Metric::SkippedRequests,
            Metric::CapacitySearches,
            Metric::RateLimitRemaining,
            Metric::RateLimitLimit,
        ];
        for (metric, detail) in
            asked.iter().flat_map(|it| TelemetryDetail::ALL.iter().map(move |to| (it, to)))
        {
            assert_eq!(metric.shown(*detail), SeriesExposure::Always, "{metric:?} {detail:?}");
        }
    }
}
