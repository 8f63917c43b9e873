//! How the requests of an open loop are spread over time.

use serde::Serialize;
use std::sync::Arc;

/// Tolerance for rounding where requests are counted: a billionth of one.
pub const ROUNDING: f64 = 1e-9;

/// The number of evenly spread requests of a stage under a rate with this integral: one is due at its start, and one
/// each time that the integral has grown by 1, before its end. A part of a request at the end is thus a whole one.
pub(super) fn evenly_spread(area: f64) -> f64 {
    (area - ROUNDING).ceil().max(0.0)
}

/// How open-loop requests are spread: a stationary process with the mean rate 1, which follows the stage's rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// Exponential gaps, as of many independent users.
    Poisson,
    /// Gamma-distributed gaps.
    Gamma {
        /// Coefficient of variation of the gaps: 1 is Poisson, more is burstier, less is more even.
        cv: f64,
    },
    /// Weibull-distributed gaps, whose tail is heavier than that of a gamma distribution with the same `cv` over 1.
    Weibull {
        /// Coefficient of variation of the gaps, as for gamma.
        cv: f64,
    },
    /// The superposition of independent clients.
    Clients(Arc<[ClientGroup]>),
}

/// Clients that are alike in how their requests are spread. They differ in how many of them they send.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientGroup {
    /// Share of the stage's rate; the shares of all groups add up to 1.
    pub share: f64,
    /// Number of clients, at least one.
    pub count: u32,
    /// Exponent of Zipf's law: the n-th client sends 1 / n^zipf times as often as the first. 0: all equally often.
    pub zipf: f64,
    /// How the requests of each client are spread.
    pub arrivals: Arrivals,
}

impl ClientGroup {
    /// The mean rate of each client, as a share of the stage's rate.
    pub fn rates(&self) -> impl Iterator<Item = f64> + '_ {
        let weight = |n: u32| f64::from(n).powf(-self.zipf);
        let total: f64 = (1..=self.count).map(weight).sum();
        (1..=self.count).map(move |n| self.share * weight(n) / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_of_a_group_share_its_rate_by_the_law_of_zipf() {
        let group = |count, zipf| ClientGroup { share: 0.6, count, zipf, arrivals: Arrivals::Poisson };
        let rates: Vec<f64> = group(3, 1.0).rates().collect();
        // 1 : 1/2 : 1/3 are 6/11, 3/11 and 2/11.
        for (rate, expected) in rates.iter().zip([6.0, 3.0, 2.0]) {
            assert!((rate - 0.6 * expected / 11.0).abs() < 1e-12, "{rates:?}");
        }
        assert!(group(1000, 0.0).rates().all(|rate| (rate - 0.0006).abs() < 1e-12));
    }
}
