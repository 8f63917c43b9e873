//! The numbers that show a pattern, and the few statistics that all rules share.

use crate::detect::{binomial, rank_sum};
use crate::report::tables;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// By how many standard deviations something must differ from chance: once in 30,000 looks at data without a pattern, if
/// they are independent. Latencies are not, so each rule asks for a size of the effect as well.
pub(super) const SIGNIFICANT: f64 = 4.0;

/// The probability of that.
pub(super) const CHANCE: f64 = 3.2e-5;

/// Number of requests that a statement about a group of them needs.
pub(super) const MIN_REQUESTS: usize = 20;

/// Number of failures, or of other rare events, that a statement about them needs.
pub(super) const MIN_EVENTS: u64 = 5;

/// What a number counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceUnit {
    /// Seconds.
    Seconds,
    /// A share, from 0 to 1.
    Share,
    /// How many times as much as something else.
    Times,
    /// Requests.
    Requests,
    /// Events of a stream.
    Events,
    /// Requests per second.
    RequestsPerSecond,
    /// Tokens.
    Tokens,
    /// Tokens per second.
    TokensPerSecond,
    /// Money, in the agent's currency.
    Cost,
    /// Standard deviations from what chance gives.
    Deviations,
}

/// A number that shows a pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceNumber {
    /// What it is, in `snake_case`; stable.
    pub name: Cow<'static, str>,
    /// The number, in its unit.
    pub value: f64,
    /// Its unit.
    pub unit: EvidenceUnit,
}

/// Creates a number.
pub(super) const fn number(name: &'static str, value: f64, unit: EvidenceUnit) -> EvidenceNumber {
    EvidenceNumber { name: Cow::Borrowed(name), value, unit }
}

/// Creates a number of requests.
pub(super) fn requests(name: &'static str, n: usize) -> EvidenceNumber {
    number(name, n as f64, EvidenceUnit::Requests)
}

/// Creates the result of a test.
pub(super) const fn deviations(z: f64) -> EvidenceNumber {
    number("beyond_chance", z, EvidenceUnit::Deviations)
}

impl fmt::Display for EvidenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name.replace('_', " "))?;
        let value = self.value;
        match self.unit {
            EvidenceUnit::Seconds => write!(f, "{}", tables::seconds(value)),
            EvidenceUnit::Share => write!(f, "{:.1}%", value * 100.0),
            EvidenceUnit::Times => write!(f, "{value:.1} times"),
            EvidenceUnit::Requests | EvidenceUnit::Events => write!(f, "{value:.0}"),
            EvidenceUnit::RequestsPerSecond => write!(f, "{value:.2}/s"),
            EvidenceUnit::Tokens => write!(f, "{value:.0} tokens"),
            EvidenceUnit::TokensPerSecond => write!(f, "{value:.0} tokens/s"),
            EvidenceUnit::Cost => write!(f, "{value:.6}"),
            EvidenceUnit::Deviations => write!(f, "{value:.1} deviations"),
        }
    }
}

/// The value below which this share of the values lies, by rank; `None` if there are none.
pub(super) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    // The rank is found by counting, because it need not be a whole number.
    let below = |rank: usize| (rank as f64 + 1.0) < share * values.len() as f64 - 1e-9;
    let rank = (0..values.len()).find(|rank| !below(*rank))?;
    values.get(rank).copied()
}

/// The median; `None` if there are no values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// Values that are greater than others by more than chance gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excess {
    /// The median of the greater ones.
    pub(super) high: f64,
    /// The median of the others.
    pub(super) low: f64,
    /// How far that is beyond chance, in standard deviations.
    pub(super) z: f64,
}

impl Excess {
    /// Whether, and by how much, `high` is greater than `low`, if both have enough values. The medians must differ by
    /// `times`.
    pub(super) fn of(high: &[f64], low: &[f64], times: f64) -> Option<Self> {
        if high.len().min(low.len()) < MIN_REQUESTS {
            return None;
        }
        let z = rank_sum(high, low)?;
        let found = Self { high: median(high.iter().copied())?, low: median(low.iter().copied())?, z };
        (z >= SIGNIFICANT && found.high >= times * found.low).then_some(found)
    }

    /// The high median divided by the low one.
    pub(super) fn ratio(&self) -> f64 {
        self.high / self.low.max(f64::MIN_POSITIVE)
    }
}

/// Whether surely more than this share of all have the property that `hits` of them had: with this share, chance would
/// hardly ever give as many.
pub(super) fn surely_more(hits: u64, all: u64, share: f64) -> bool {
    hits >= MIN_EVENTS && binomial::at_least(hits, all, share) <= CHANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_rank() {
        let values = || (1..=20).rev().map(f64::from);
        assert_eq!(quantile(values(), 0.1), Some(2.0));
        assert_eq!(median(values()), Some(10.0));
        assert_eq!(quantile(values(), 1.0), Some(20.0));
        assert_eq!(quantile(values(), 0.0), Some(1.0));
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn an_excess_needs_values_a_size_and_a_test() {
        let values = |n: u32, from: f64| (0..n).map(|i| from + f64::from(i) / 100.0).collect::<Vec<_>>();
        let found = Excess::of(&values(30, 2.0), &values(30, 1.0), 1.5).unwrap();
        assert!(found.z > 6.0 && (1.7..1.9).contains(&found.ratio()), "{found:?}");
        assert!(Excess::of(&values(19, 2.0), &values(30, 1.0), 1.5).is_none(), "too few");
        assert!(Excess::of(&values(30, 1.2), &values(30, 1.0), 1.5).is_none(), "too small");
        assert!(Excess::of(&values(30, 1.0), &values(30, 1.0), 1.0).is_none(), "chance");
        assert!(surely_more(30, 100, 0.1) && !surely_more(12, 100, 0.1) && !surely_more(4, 4, 0.01));
    }

    #[test]
    fn numbers_read_as_a_person_says_them() {
        let said = |value, unit| number("time_to_first_token", value, unit).to_string();
        assert_eq!(said(0.0123, EvidenceUnit::Seconds), "time to first token 12.3 ms");
        assert_eq!(said(0.123, EvidenceUnit::Share), "time to first token 12.3%");
        assert_eq!(said(3.21, EvidenceUnit::Times), "time to first token 3.2 times");
        assert_eq!(requests("requests", 12).to_string(), "requests 12");
        assert_eq!(deviations(4.06).to_string(), "beyond chance 4.1 deviations");
    }
}
