//! Invariants of the catalogue.

use super::MetricKind::{Counter, Gauge, Histogram};
use super::buckets::{self, Buckets};
use super::*;
use std::collections::BTreeSet;

/// Families whose distribution matters most.
const FINE: [Metric; 7] = [
    Metric::TimeToFirstToken,
    Metric::ChunkGap,
    Metric::TimePerOutputToken,
    Metric::RequestDuration,
    Metric::ResponseTime,
    Metric::OutputPace,
    Metric::JourneyDuration,
];

fn histograms() -> impl Iterator<Item = (Metric, &'static Buckets)> {
    Metric::ALL.iter().filter_map(|metric| match metric.spec().kind {
        Histogram(buckets) => Some((*metric, buckets)),
        _ => None,
    })
}

#[test]
fn names_are_unique_under_every_rendering() {
    let otel: BTreeSet<_> =
        Metric::ALL.iter().chain(Metric::GENAI).map(|metric| metric.spec().name).collect();
    assert_eq!(otel.len(), Metric::ALL.len() + Metric::GENAI.len());
    // Sample names must not collide either: a histogram `x` owns `x_count`, an OpenMetrics counter owns `x`.
    let mut samples = BTreeSet::new();
    for metric in Metric::ALL {
        let name = metric.spec().prometheus();
        let owned = match metric.spec().kind {
            Counter => vec![name.clone(), name.trim_end_matches("_total").to_owned()],
            Gauge => vec![name],
            Histogram(_) => {
                ["", "_bucket", "_sum", "_count", "_created"].iter().map(|s| format!("{name}{s}")).collect()
            }
        };
        for sample in owned {
            assert!(samples.insert(sample.clone()), "{sample} twice");
        }
    }
}

#[test]
fn otel_names_carry_neither_unit_nor_total() {
    for metric in Metric::ALL {
        let spec = metric.spec();
        let name = spec.name;
        assert!(name.starts_with("tokenbeat."), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.'), "{name}");
        for word in ["total", "seconds", "second", "bucket", "sum", "count"] {
            // `token_count_ratio` is about counts of tokens.
            let allowed = word == "count" && *metric == Metric::TokenCountRatio;
            assert!(allowed || !name.split(['.', '_']).any(|part| part == word), "{name} has {word}");
        }
    }
}

#[test]
fn prometheus_names_follow_the_naming_rules() {
    for metric in Metric::ALL {
        let spec = metric.spec();
        let name = spec.prometheus();
        assert!(name.starts_with("tokenbeat_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let totals = name.split('_').filter(|word| *word == "total").count();
        assert_eq!(totals, usize::from(matches!(spec.kind, Counter)), "{name}");
        assert_eq!(name.ends_with("_total"), matches!(spec.kind, Counter), "{name}");
        let stem = name.trim_end_matches("_total");
        if let Some(unit) = spec.unit.open_metrics() {
            assert!(stem.ends_with(&format!("_{unit}")), "{name} must end in its unit");
        }
        // Base units only.
        for word in ["ms", "milliseconds", "minutes", "percent", "kilobytes"] {
            assert!(!name.split('_').any(|part| part == word), "{name}");
        }
    }
}

#[test]
fn the_contract_names_come_out() {
    let names: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.spec().prometheus()).collect();
    for name in [
        "tokenbeat_offered_requests_total",
        "tokenbeat_time_to_first_token_seconds",
        "tokenbeat_output_pace_tokens_per_second",
        "tokenbeat_tokens_total",
        "tokenbeat_request_input_tokens",
        "tokenbeat_output_length_ratio",
        "tokenbeat_token_count_ratio",
        "tokenbeat_cost_total",
        "tokenbeat_load_active_seconds_total",
        "tokenbeat_journeys_total",
        "tokenbeat_journey_duration_seconds",
        "tokenbeat_journey_tokens_total",
        "tokenbeat_journey_cost_total",
        "tokenbeat_last_run_started_timestamp_seconds",
        "tokenbeat_last_success_timestamp_seconds",
        "tokenbeat_slo_objective_ratio",
        "tokenbeat_slo_threshold_seconds",
        "tokenbeat_slo_threshold_tokens_per_second",
        "tokenbeat_budget_spent_ratio",
        "tokenbeat_tls_certificate_expiry_timestamp_seconds",
        "tokenbeat_config_last_reload_successful",
        "tokenbeat_config_last_reload_success_timestamp_seconds",
        "tokenbeat_runtime_lag_seconds",
        "tokenbeat_build_info",
        "tokenbeat_shard_info",
        "tokenbeat_shards",
    ] {
        assert!(names.contains(name), "{name} is missing");
    }
    assert_eq!(Metric::of_prometheus_name("tokenbeat_stalls_total"), Some(Metric::Stalls));
}

#[test]
fn labels_are_from_the_closed_list_and_distinct() {
    let names: BTreeSet<_> = Key::ALL.iter().map(|key| key.name()).collect();
    assert_eq!(names.len(), Key::ALL.len());
    for name in &names {
        assert!(!["le", "quantile", "job", "instance", "location"].contains(name), "{name} is taken");
    }
    // Labels of GenAI metrics never become Prometheus label names.
    for key in Metric::ALL.iter().flat_map(|metric| metric.spec().keys()) {
        assert!(key.name().chars().all(|c| c.is_ascii_lowercase()), "{}", key.name());
    }
    for metric in Metric::ALL {
        let keys: Vec<_> = metric.spec().keys().collect();
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "{metric:?}");
    }
}

#[test]
fn help_is_one_line_that_ends_in_a_full_stop() {
    for metric in Metric::ALL {
        let help = metric.spec().help;
        assert!(help.ends_with('.') && !help.contains(['\n', '|', '\\', '"']), "{help}");
    }
}

#[test]
fn buckets_are_sorted_and_within_their_limits() {
    for (metric, buckets) in histograms() {
        let bounds = buckets.bounds;
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{metric:?}");
        assert!(bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0), "{metric:?}");
        let most = if FINE.contains(&metric) { Buckets::MAX_FINE } else { Buckets::MAX_COARSE };
        assert!(bounds.len() <= most, "{metric:?} has {} bounds", bounds.len());
    }
}

#[test]
fn growth_is_small_where_it_matters() {
    let ranges = [
        (&buckets::FIRST_TOKEN, 0.08, 7.5),
        (&buckets::GAP, 0.005, 0.3),
        (&buckets::DURATION, 0.4, 75.0),
        (&buckets::PACE, 5.0, 500.0),
        (&buckets::JOURNEY, 1.0, 120.0),
    ];
    for (buckets, from, to) in ranges {
        assert!(buckets.bounds.contains(&from) && buckets.bounds.contains(&to), "{}", buckets.name);
        for pair in buckets.bounds.windows(2).filter(|pair| pair[0] >= from && pair[1] <= to) {
            assert!(pair[1] / pair[0] <= 1.25 + 1e-9, "{}: {pair:?}", buckets.name);
        }
    }
}

#[test]
fn bounds_are_shared_with_vllm() {
    let shared = [
        (&buckets::FIRST_TOKEN, buckets::VLLM_FIRST_TOKEN, 640.0),
        (&buckets::GAP, buckets::VLLM_GAP, 80.0),
        (&buckets::DURATION, buckets::VLLM_DURATION, 960.0),
    ];
    for (ours, theirs, up_to) in shared {
        for bound in theirs.iter().filter(|bound| **bound <= up_to) {
            assert!(ours.bounds.contains(bound), "{} lacks {bound}", ours.name);
        }
    }
    let parts = [(&buckets::FIRST_MARK, &buckets::FIRST_TOKEN), (&buckets::LONGEST_GAP, &buckets::GAP)];
    for (part, whole) in parts {
        assert!(part.bounds.iter().all(|bound| whole.bounds.contains(bound)), "{}", part.name);
    }
}

#[test]
fn trap_17_nothing_that_cannot_be_aggregated() {
    for metric in Metric::ALL {
        let spec = metric.spec();
        let name = spec.prometheus();
        for word in ["quantile", "p", "avg", "mean", "last", "max", "min"] {
            let is_time = name.ends_with("_timestamp_seconds") || name.starts_with("tokenbeat_config_last_");
            assert!(is_time || !name.split('_').any(|part| part == word), "{name}");
        }
        // Everything measured per request is a histogram or a counter, never the last value of a gauge.
        if matches!(spec.kind, Gauge) {
            assert!(!matches!(spec.subject, Subject::Step | Subject::Stage), "{name}");
        }
    }
}

#[test]
fn disabled_names_that_nothing_has_are_found() {
    let names = ["tokenbeat_stalls_total", "process_open_fds", "tokenbeat_stalls"];
    assert_eq!(names.map(is_unknown), [false, false, true]);
}
