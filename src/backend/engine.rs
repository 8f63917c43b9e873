//! What a page of metrics says, in the same terms for every engine. The names come from `names`, which has those of the
//! dashboards.

use super::names::ENGINES;
use super::page::PageSample;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use strum::VariantArray;

/// The time at which a process began, as Prometheus' client libraries export it.
const STARTED: &str = "process_start_time_seconds";

/// What the names of a family's samples end in.
const PARTS: [&str; 4] = ["", "_bucket", "_sum", "_count"];

/// What is read of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub(super) enum EngineSignal {
    Waiting,
    Running,
    KvCache,
    PrefixCache,
    FirstToken,
    PredictedFirstToken,
    Queue,
    PerOutputToken,
    Preemptions,
    Prefill,
    Decode,
    PrefillPerToken,
    DecodePerToken,
}

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    Histogram,
    Gauge,
    Counter,
}

/// Which part of a histogram is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyPart {
    Whole,
    Sum,
}

/// A family of metrics, as it appears on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct FamilyName {
    pub(super) name: &'static str,
    pub(super) kind: FamilyKind,
    pub(super) part: FamilyPart,
    /// Labels with their values.
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// To base units.
    pub(super) scale: f64,
}

/// How a signal is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum SignalReading {
    /// A family.
    One(FamilyName),
    /// A sum of one divided by the sums of others: a share, or a mean.
    Per(FamilyName, &'static [FamilyName]),
}

/// The names of an engine's metrics.
#[derive(Debug)]
pub(super) struct EngineNames {
    /// Its name for humans.
    pub(super) title: &'static str,
    /// The label with the model's name; empty if there is none.
    pub(super) model: &'static str,
    pub(super) signals: &'static [(EngineSignal, SignalReading)],
}

/// Cumulative counts by upper bound, ascending; the last bound is infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReadBuckets {
    pub(super) counts: Vec<(f64, f64)>,
    pub(super) sum: f64,
}

/// What a page says of a signal, in base units.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SignalValue {
    /// It goes up and down.
    Level(f64),
    /// It only increases.
    Total(f64),
    /// Two totals, of which the quotient matters.
    Quotient(f64, f64),
    /// The times of a histogram.
    Times(ReadBuckets),
}

/// What a page says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EngineReading {
    pub(super) engine: &'static str,
    /// When the process began, in seconds since the epoch, if it says so.
    pub(super) started: Option<f64>,
    pub(super) values: BTreeMap<EngineSignal, SignalValue>,
    /// Those that count one model only. The others count all models of the server: a gateway may name a model only once it
    /// has served it.
    pub(super) of_model: BTreeSet<EngineSignal>,
}

/// Every family that is looked for.
pub(super) fn wanted() -> HashSet<&'static str> {
    let families =
        ENGINES.iter().flat_map(|engine| engine.signals).flat_map(|(_, reading)| reading.families());
    families.map(|family| family.name).chain([STARTED]).collect()
}

/// Reads a page of a server with this model; `None` if it has no metric of a known engine.
pub(super) fn read(samples: &[PageSample<'_>], model: &str) -> Option<EngineReading> {
    let read = |names: &'static EngineNames| {
        let page = EnginePage { names, samples, model };
        let of_model =
            names.signals.iter().filter(|(_, reading)| reading.families().any(|it| page.names_model(it)));
        EngineReading {
            engine: names.title,
            started: samples.iter().find(|sample| sample.name == STARTED).map(|sample| sample.value),
            values: page.values(),
            of_model: of_model.map(|(signal, _)| *signal).collect(),
        }
    };
    // A gateway's page may have a metric of the engine behind it; the one with most is meant, the first of equals.
    let found = ENGINES.iter().map(read).rev().max_by_key(|reading| reading.values.len());
    found.filter(|reading| !reading.values.is_empty())
}

impl SignalReading {
    fn families(&self) -> impl Iterator<Item = &FamilyName> {
        let (first, rest) = match self {
            Self::One(family) => (family, [].as_slice()),
            Self::Per(above, below) => (above, *below),
        };
        std::iter::once(first).chain(rest)
    }
}

/// A page, and whose it is.
struct EnginePage<'a> {
    names: &'static EngineNames,
    samples: &'a [PageSample<'a>],
    model: &'a str,
}

impl EnginePage<'_> {
    fn values(&self) -> BTreeMap<EngineSignal, SignalValue> {
        let value = |(signal, reading): &(EngineSignal, SignalReading)| {
            Some((*signal, self.value(*signal, reading)?))
        };
        self.names.signals.iter().filter_map(value).collect()
    }

    /// Whether a family has a series of the model, so that [`Self::of`] tells its models apart. Names are compared as they
    /// are: `llama-3` is not `llama-3-70b`. A server may have another name for a model than its clients, such as that of
    /// the base of a `LoRA` adapter; then everything that the page counts is taken.
    fn names_model(&self, family: &FamilyName) -> bool {
        let mut parts = PARTS.iter().flat_map(|suffix| self.all_of(family, suffix));
        parts.any(|sample| self.is_of_model(sample))
    }

    fn is_of_model(&self, sample: &PageSample<'_>) -> bool {
        sample.label(self.names.model) == Some(self.model)
    }

    /// The samples of a family with this suffix, of all models.
    fn all_of(&self, family: &FamilyName, suffix: &str) -> impl Iterator<Item = &PageSample<'_>> {
        self.samples.iter().filter(move |sample| {
            sample.name.strip_prefix(family.name) == Some(suffix)
                && family.labels.iter().all(|(name, value)| sample.label(name) == Some(value))
        })
    }

    fn value(&self, signal: EngineSignal, reading: &SignalReading) -> Option<SignalValue> {
        match reading {
            SignalReading::Per(above, below) => {
                let below: Option<Vec<f64>> = below.iter().map(|family| self.total(family)).collect();
                Some(SignalValue::Quotient(self.total(above)?, below?.iter().sum()))
            }
            SignalReading::One(family) => match family.kind {
                FamilyKind::Histogram if family.part == FamilyPart::Whole => {
                    self.buckets(family).map(SignalValue::Times)
                }
                FamilyKind::Gauge => self.level(signal, family).map(SignalValue::Level),
                FamilyKind::Histogram | FamilyKind::Counter => self.total(family).map(SignalValue::Total),
            },
        }
    }

    /// The samples of a family with this suffix; of one model, if the page tells models apart and knows it.
    fn of(&self, family: &FamilyName, suffix: &str) -> Vec<&PageSample<'_>> {
        let all: Vec<_> = self.all_of(family, suffix).collect();
        let (ours, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|sample| self.is_of_model(sample));
        if ours.is_empty() { others } else { ours }
    }

    fn total(&self, family: &FamilyName) -> Option<f64> {
        let suffix = match family.part {
            FamilyPart::Whole => "",
            FamilyPart::Sum => "_sum",
        };
        let samples = self.of(family, suffix);
        // A part of a total is none: it would rise by the rest with the next reading.
        let sum: f64 = samples.iter().map(|sample| sample.value).sum();
        (!samples.is_empty() && sum.is_finite()).then_some(sum * family.scale)
    }

    /// Numbers of requests add up over ranks and replicas; of shares, the fullest matters.
    fn level(&self, signal: EngineSignal, family: &FamilyName) -> Option<f64> {
        let values = self.of(family, "").into_iter().map(|sample| sample.value);
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let adds_up = matches!(signal, EngineSignal::Waiting | EngineSignal::Running);
        let level = if adds_up { Some(values.iter().sum()) } else { values.iter().copied().reduce(f64::max) };
        level.filter(|_| !values.is_empty()).map(|level: f64| level * family.scale)
    }

    fn buckets(&self, family: &FamilyName) -> Option<ReadBuckets> {
        let mut bounds: Vec<(f64, f64)> = Vec::new();
        for sample in self.of(family, "_bucket") {
            let le: f64 = sample.label("le")?.parse().ok().filter(|le: &f64| !le.is_nan())?;
            bounds.push((le * family.scale, sample.value));
        }
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let series = bounds.iter().filter(|(le, _)| le.is_infinite()).count();
        let mut counts: Vec<(f64, f64, usize)> = Vec::new();
        for (le, count) in bounds {
            match counts.last_mut().filter(|last| last.0.total_cmp(&le).is_eq()) {
                Some(last) => *last = (le, last.1 + count, last.2 + 1),
                None => counts.push((le, count, 1)),
            }
        }
        // A bound that not all series have cannot be added up.
        counts.retain(|(_, _, of)| *of == series);
        let counts: Vec<(f64, f64)> = counts.into_iter().map(|(le, count, _)| (le, count)).collect();
        let sum = self.total(&FamilyName { part: FamilyPart::Sum, ..*family })?;
        (series > 0 && counts.iter().all(|(_, count)| count.is_finite()))
            .then_some(ReadBuckets { counts, sum })
    }
}

impl ReadBuckets {
    /// Number of times.
    pub(super) fn count(&self) -> f64 {
        self.counts.last().map_or(0.0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::page::samples;

    fn page(text: &str, model: &str) -> Option<EngineReading> {
        read(&samples(text, &wanted()).unwrap(), model)
    }

    #[test]
    fn a_model_that_was_not_served_yet_is_not_told_apart() {
        let of = |text: &str| {
            let reading = page(text, "m").unwrap();
            let running = reading.values.get(&EngineSignal::Running).cloned();
            (running, reading.of_model.contains(&EngineSignal::Running))
        };
        let other = "vllm:num_requests_running{model_name=\"other\"} 5\n";
        assert_eq!(of(other), (Some(SignalValue::Level(5.0)), false));
        let both = format!("{other}vllm:num_requests_running{{model_name=\"m\"}} 2\n");
        assert_eq!(of(&both), (Some(SignalValue::Level(2.0)), true));
    }

    #[test]
    fn a_family_of_several_signals_tells_models_apart_for_each() {
        let text = "nv_trt_llm_request_metrics{model=\"other\",request_type=\"waiting\"} 5\n\
                    nv_trt_llm_request_metrics{model=\"m\",request_type=\"active\"} 2\n";
        let reading = page(text, "m").unwrap();
        assert_eq!(reading.values[&EngineSignal::Waiting], SignalValue::Level(5.0), "of all models");
        assert_eq!(reading.of_model, BTreeSet::from([EngineSignal::Running]));
    }

    #[test]
    fn a_total_that_is_no_number_is_absent() {
        let of = |sum: &str| {
            let text = format!(
                "vllm:time_to_first_token_seconds_bucket{{model_name=\"m\",le=\"+Inf\"}} 5\n\
                 vllm:time_to_first_token_seconds_count{{model_name=\"m\"}} 5\n\
                 vllm:time_to_first_token_seconds_sum{{model_name=\"m\"}} {sum}\n"
            );
            page(&text, "m").is_some_and(|reading| reading.values.contains_key(&EngineSignal::FirstToken))
        };
        assert!(of("2.5"));
        for sum in ["NaN", "+Inf"] {
            assert!(!of(sum), "{sum}");
        }
    }

    #[test]
    fn a_name_that_begins_alike_is_another_model() {
        let text = "vllm:num_requests_running{model_name=\"llama-3-70b\"} 5\n\
                    vllm:num_requests_running{model_name=\"llama-3\"} 2\n";
        assert_eq!(page(text, "llama-3").unwrap().values[&EngineSignal::Running], SignalValue::Level(2.0));
        let adapter = page(text, "llama-3-sql").unwrap();
        assert_eq!(adapter.values[&EngineSignal::Running], SignalValue::Level(7.0), "all that there is");
        assert!(adapter.of_model.is_empty());
    }

    #[test]
    fn every_engine_is_recognised_by_its_own_names() {
        for engine in ENGINES {
            let lines = engine.signals.iter().flat_map(|(_, reading)| reading.families()).map(|family| {
                let labels: Vec<String> =
                    family.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                let (name, labels) = (family.name, labels.join(","));
                if family.kind == FamilyKind::Histogram {
                    format!(
                        "{name}_bucket{{{labels},le=\"1\"}} 1\n{name}_bucket{{{labels},le=\"+Inf\"}} 2\n\
                         {name}_sum{{{labels}}} 3\n{name}_count{{{labels}}} 2\n"
                    )
                } else {
                    format!("{name}{{{labels}}} 1\n")
                }
            });
            let text: String = lines.collect();
            let found = page(&text, "m").unwrap();
            assert_eq!(found.engine, engine.title);
            let signals: Vec<EngineSignal> = engine.signals.iter().map(|(signal, _)| *signal).collect();
            assert!(signals.iter().all(|signal| found.values.contains_key(signal)), "{}", engine.title);
        }
        assert_eq!(page("# TYPE x gauge\nx 1\n", "m"), None);
    }

    #[test]
    fn replicas_and_ranks_are_one_server_and_models_are_not() {
        let text = "vllm:num_requests_running{model_name=\"a\",engine=\"0\"} 3\n\
                    vllm:num_requests_running{model_name=\"a\",engine=\"1\"} 4\n\
                    vllm:num_requests_running{model_name=\"b\",engine=\"0\"} 50\n\
                    vllm:kv_cache_usage_perc{model_name=\"a\",engine=\"0\"} 0.5\n\
                    vllm:kv_cache_usage_perc{model_name=\"a\",engine=\"1\"} 0.25\n";
        let of = |model: &str, signal: EngineSignal| page(text, model).unwrap().values[&signal].clone();
        assert_eq!(of("a", EngineSignal::Running), SignalValue::Level(7.0));
        assert_eq!(of("a", EngineSignal::KvCache), SignalValue::Level(0.5));
        assert_eq!(of("unknown there", EngineSignal::Running), SignalValue::Level(57.0), "all that there is");
    }

    #[test]
    fn histograms_of_several_series_add_up_where_their_bounds_agree() {
        let text = "process_start_time_seconds 17\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.1\"} 1\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"0.5\"} 2\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 3\n\
                    vllm:time_to_first_token_seconds_sum{engine=\"0\"} 1.5\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"0.50\"} 10\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"+Inf\"} 10\n\
                    vllm:time_to_first_token_seconds_sum{engine=\"1\"} 2\n";
        let found = page(text, "m").unwrap();
        assert_eq!(found.started, Some(17.0));
        let buckets = ReadBuckets { counts: vec![(0.5, 12.0), (f64::INFINITY, 13.0)], sum: 3.5 };
        assert_eq!(found.values[&EngineSignal::FirstToken], SignalValue::Times(buckets));
    }

    #[test]
    fn units_are_base_units() {
        let text = "nv_inference_queue_duration_us{model=\"m\"} 3000000\nnv_inference_request_success{model=\"m\"} 2\n";
        let found = page(text, "m").unwrap();
        assert_eq!(found.values[&EngineSignal::Queue], SignalValue::Quotient(3.0, 2.0));
    }
}
