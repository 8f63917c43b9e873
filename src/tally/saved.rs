//! A tally as JSON, to be kept in a file: counts by label, times as the recorded buckets of their histograms. When it
//! is read, unknown labels are ignored.

use super::{JourneyTally, JudgedCounts, Spent, Split, Tally, Times};
use crate::event::{CountSource, Outcome, SkipReason};
use enum_map::{Enum, EnumMap};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type ByLabel<V> = BTreeMap<String, V>;

/// The largest number of times of a distribution: 2^53, up to which a number with a fraction is exact. The histograms do not
/// come to an end with much larger ones, which no run has.
const MOST: u64 = 1 << 53;

/// The buckets of a distribution: the largest time of each in microseconds, and its count.
#[derive(Serialize, Default)]
#[serde(transparent)]
struct SavedBuckets(Vec<(u64, u64)>);

impl SavedBuckets {
    fn of<const DIGITS: u8>(times: &Times<DIGITS>) -> Self {
        Self(times.buckets())
    }

    fn times<const DIGITS: u8>(&self) -> Times<DIGITS> {
        Times::of_buckets(&self.0)
    }
}

impl<'de> Deserialize<'de> for SavedBuckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let buckets = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let all = buckets.iter().fold(0_u64, |all, (_, count)| all.saturating_add(*count));
        if all > MOST {
            return Err(D::Error::custom(format!("{all} times are more than the largest number, {MOST}")));
        }
        Ok(Self(buckets))
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Saved {
    offered: (u64, u64),
    skipped: ByLabel<(u64, u64)>,
    ended: ByLabel<(u64, u64)>,
    load_active_seconds: f64,
    first_token: SavedBuckets,
    chunk_gap: SavedBuckets,
    longest_gap: SavedBuckets,
    per_token: SavedBuckets,
    whole_per_token: SavedBuckets,
    stalls: u64,
    token_deadlines: u64,
    token_deadlines_missed: u64,
    reader_idle: SavedBuckets,
    duration: SavedBuckets,
    response_time: SavedBuckets,
    dispatch_lag: SavedBuckets,
    input_tokens: ByLabel<u64>,
    output_tokens: ByLabel<u64>,
    cached_input_tokens: u64,
    reasoning_tokens: u64,
    cost: Option<f64>,
    failed_checks: BTreeMap<Arc<str>, u64>,
    judged: BTreeMap<Arc<str>, (u64, u64)>,
}

/// The counts that `save` returns a value for, by label.
fn labelled<K: Enum + Into<&'static str>, V: Copy, S>(
    counts: &EnumMap<K, V>,
    save: impl Fn(V) -> Option<S>,
) -> ByLabel<S> {
    let saved = counts.iter().filter_map(|(key, count)| {
        let label: &'static str = key.into();
        Some((label.to_owned(), save(*count)?))
    });
    saved.collect()
}

fn of_labels<K: Enum, V: Default, S>(
    all: impl Iterator<Item = K>,
    label: impl Fn(&K) -> &'static str,
    mut saved: ByLabel<S>,
    load: impl Fn(S) -> V,
) -> EnumMap<K, V> {
    let mut counts = EnumMap::default();
    for key in all {
        if let Some(count) = saved.remove(label(&key)) {
            counts[key] = load(count);
        }
    }
    counts
}

fn split(split: Split) -> Option<(u64, u64)> {
    (split != Split::default()).then_some((split.measured, split.warm_up))
}

fn of_split((measured, warm_up): (u64, u64)) -> Split {
    Split { measured, warm_up }
}

fn count(n: u64) -> Option<u64> {
    (n > 0).then_some(n)
}

impl<const DIGITS: u8> From<&Tally<Times<DIGITS>>> for Saved {
    fn from(tally: &Tally<Times<DIGITS>>) -> Self {
        Self {
            offered: (tally.offered.measured, tally.offered.warm_up),
            skipped: labelled(&tally.skipped, split),
            ended: labelled(&tally.ended, split),
            load_active_seconds: tally.load_active.as_secs_f64(),
            first_token: SavedBuckets::of(&tally.first_token),
            chunk_gap: SavedBuckets::of(&tally.chunk_gap),
            longest_gap: SavedBuckets::of(&tally.longest_gap),
            per_token: SavedBuckets::of(&tally.per_token),
            whole_per_token: SavedBuckets::of(&tally.whole_per_token),
            stalls: tally.stalls,
            token_deadlines: tally.token_deadlines,
            token_deadlines_missed: tally.token_deadlines_missed,
            reader_idle: SavedBuckets::of(&tally.reader_idle),
            duration: SavedBuckets::of(&tally.duration),
            response_time: SavedBuckets::of(&tally.response_time),
            dispatch_lag: SavedBuckets::of(&tally.dispatch_lag),
            input_tokens: labelled(&tally.spent.input, count),
            output_tokens: labelled(&tally.spent.output, count),
            cached_input_tokens: tally.spent.cached_input,
            reasoning_tokens: tally.spent.reasoning,
            cost: tally.spent.cost,
            failed_checks: tally.failed_checks.clone(),
            judged: tally.judged.iter().map(|(slo, it)| (Arc::clone(slo), (it.events, it.errors))).collect(),
        }
    }
}

impl<const DIGITS: u8> From<Saved> for Tally<Times<DIGITS>> {
    fn from(saved: Saved) -> Self {
        let sources = || CountSource::ALL.iter().copied();
        let spent = Spent {
            input: of_labels(sources(), |source| source.label(), saved.input_tokens, |n| n),
            output: of_labels(sources(), |source| source.label(), saved.output_tokens, |n| n),
            cached_input: saved.cached_input_tokens,
            reasoning: saved.reasoning_tokens,
            cost: saved.cost,
        };
        let reasons = SkipReason::ALL.iter().copied();
        let judged = saved.judged.into_iter();
        Tally {
            offered: of_split(saved.offered),
            skipped: of_labels(reasons, |reason| reason.label(), saved.skipped, of_split),
            ended: of_labels(Outcome::all(), |outcome| outcome.label(), saved.ended, of_split),
            load_active: Duration::try_from_secs_f64(saved.load_active_seconds).unwrap_or_default(),
            first_token: saved.first_token.times(),
            chunk_gap: saved.chunk_gap.times(),
            longest_gap: saved.longest_gap.times(),
            per_token: saved.per_token.times(),
            whole_per_token: saved.whole_per_token.times(),
            stalls: saved.stalls,
            token_deadlines: saved.token_deadlines,
            token_deadlines_missed: saved.token_deadlines_missed,
            reader_idle: saved.reader_idle.times(),
            duration: saved.duration.times(),
            response_time: saved.response_time.times(),
            dispatch_lag: saved.dispatch_lag.times(),
            spent,
            failed_checks: saved.failed_checks,
            judged: judged.map(|(slo, (events, errors))| (slo, JudgedCounts { events, errors })).collect(),
        }
    }
}

impl<const DIGITS: u8> Serialize for Tally<Times<DIGITS>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved::from(self).serialize(serializer)
    }
}

impl<'de, const DIGITS: u8> Deserialize<'de> for Tally<Times<DIGITS>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Saved::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct SavedJourneys {
    ended: ByLabel<u64>,
    duration: SavedBuckets,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<f64>,
}

impl<const DIGITS: u8> Serialize for JourneyTally<Times<DIGITS>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = SavedJourneys {
            ended: labelled(&self.ended, count),
            duration: SavedBuckets::of(&self.duration),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost: self.cost,
        };
        saved.serialize(serializer)
    }
}

impl<'de, const DIGITS: u8> Deserialize<'de> for JourneyTally<Times<DIGITS>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let saved = SavedJourneys::deserialize(deserializer)?;
        Ok(Self {
            ended: of_labels(Outcome::all(), |outcome| outcome.label(), saved.ended, |n| n),
            duration: saved.duration.times(),
            input_tokens: saved.input_tokens,
            output_tokens: saved.output_tokens,
            cost: saved.cost,
        })
    }
}
