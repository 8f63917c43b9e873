//! Chooses the row of a dataset for a request. Pure.

use super::RequestDraws;
use crate::dataset::Dataset;
use crate::seed;
use crate::vocabulary::RowOrder;
use rand::Rng as _;

/// Number of rounds of the permutation that shuffles rows.
const ROUNDS: u64 = 4;

/// The index of the row, from 0.
pub(super) fn row(dataset: &Dataset, order: RowOrder, draws: RequestDraws<'_>) -> u64 {
    let rows = dataset.rows();
    match order {
        RowOrder::Weighted => dataset.weighted(draws.rng("row").random()),
        RowOrder::Sequential => draws.number.n % rows,
        RowOrder::Shuffled => {
            let place = draws.number.n;
            shuffled(place % rows, rows, &[draws.seeds.draws, draws.number.stage.into(), place / rows])
        }
    }
}

/// The position of `place` after `count` positions are shuffled; each position occurs once. No other positions are kept
/// in memory: a Feistel network permutes all numbers below a power of four that is at least `count`, and is applied
/// again until the result is less than `count`.
fn shuffled(place: u64, count: u64, seed: &[u64; 3]) -> u64 {
    let bits = (u64::BITS - count.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << bits) - 1;
    let [draws, stage, epoch] = *seed;
    let mut number = place;
    loop {
        let (mut left, mut right) = (number >> bits, number & mask);
        for round in 0..ROUNDS {
            let mixed = seed::hash("shuffle", &[], &[draws, stage, epoch, round, right]) & mask;
            (left, right) = (right, left ^ mixed);
        }
        number = (left << bits) | right;
        if number < count {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shuffling_gives_each_place_once_and_another_order_for_another_seed() {
        for count in [1, 2, 3, 5, 64, 65, 1000] {
            let order = |seed| (0..count).map(|at| shuffled(at, count, &[seed, 0, 0])).collect::<Vec<_>>();
            let all: BTreeSet<_> = order(1).into_iter().collect();
            assert_eq!(all, (0..count).collect());
            if count > 50 {
                assert_ne!(order(1), order(2));
                assert_ne!(order(1), (0..count).collect::<Vec<_>>());
            }
        }
        // Rows that are close to each other in the file are far apart in the order.
        let order: Vec<_> = (0..1000).map(|at| shuffled(at, 1000, &[7, 0, 0])).collect();
        let near = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count();
        assert!(near < 60, "{near}");
    }
}
