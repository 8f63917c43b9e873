//! Limits per period, and the part of them that a shard has. What was spent is not known here.

use super::Shard;
use crate::vocabulary::Period;
use jiff::tz::TimeZone;

/// Money is divided and counted in integer units of 10^-12, so that parts add up and releasing a reservation restores
/// the exact amount.
pub const PICO: f64 = 1e12;

/// Limits per period. At least one of the three is set.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// The time zone of the period.
    pub timezone: TimeZone,
    /// Maximum number of requests.
    pub requests: Option<u64>,
    /// Maximum number of tokens, input and output.
    pub tokens: Option<u64>,
    /// Maximum cost.
    pub cost: Option<f64>,
}

impl Budget {
    /// The part of a shard. The parts of all shards add up to the budget; one of nothing allows nothing.
    #[must_use]
    pub fn part(&self, shard: Shard) -> Self {
        if shard.is_whole() {
            return self.clone();
        }
        Self {
            requests: self.requests.map(|requests| shard.part_of_number(requests)),
            tokens: self.tokens.map(|tokens| shard.part_of_number(tokens)),
            cost: self.cost.map(|cost| shard.part(pico(cost)) as f64 / PICO),
            ..self.clone()
        }
    }
}

/// Money as an integer, in units of 10^-12; values that are not a valid amount count as zero.
pub fn pico(cost: f64) -> u128 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate; NaN is 0"
    )]
    let whole = (cost * PICO).round() as u128;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::budget;
    use proptest::prelude::*;

    fn parts(budget: &Budget, count: u32) -> Vec<Budget> {
        let shard = |index| Shard::parse(&format!("{index}/{count}"), "").unwrap();
        (0..count).map(|index| budget.part(shard(index))).collect()
    }

    #[test]
    fn a_part_of_nothing_is_a_limit_of_nothing() {
        let whole = Budget { requests: Some(3), tokens: Some(1), cost: Some(1e-12), ..budget() };
        let four = parts(&whole, 4);
        assert_eq!(
            four.iter().map(|part| part.requests).collect::<Vec<_>>(),
            [Some(1), Some(1), Some(1), Some(0)]
        );
        assert_eq!(
            four.iter().map(|part| part.tokens).collect::<Vec<_>>(),
            [Some(1), Some(0), Some(0), Some(0)]
        );
        assert_eq!(
            four.iter().map(|part| part.cost).collect::<Vec<_>>(),
            [Some(1e-12), Some(0.0), Some(0.0), Some(0.0)]
        );
        let none = Budget { requests: None, tokens: Some(9), cost: None, ..budget() };
        assert!(parts(&none, 2).iter().all(|part| part.requests.is_none() && part.cost.is_none()));
    }

    proptest! {
        #[test]
        fn parts_of_a_budget_add_up(count in 1_u32..=20, requests: u64, cents in 1_u64..100_000) {
            let cost = cents as f64 / 100.0;
            let whole = Budget { requests: Some(requests), tokens: None, cost: Some(cost), ..budget() };
            let parts = parts(&whole, count);
            let sum: u128 = parts.iter().map(|part| u128::from(part.requests.unwrap())).sum();
            prop_assert_eq!(sum, u128::from(requests));
            let sum: u128 = parts.iter().map(|part| pico(part.cost.unwrap())).sum();
            prop_assert_eq!(sum, pico(cost));
        }
    }
}
