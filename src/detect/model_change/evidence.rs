//! The evidence that scores no longer come from where the reference's came from: an e-process, whose probability of ever
//! reaching 1/a is at most a if nothing has changed, however often one looks (Ville's inequality).
//!
//! If nothing has changed, the scores of the reference and of all further runs are exchangeable. Let a threshold be the
//! `j`th greatest of `k` scores of the reference. The next score exceeds it with probability `j / (k + 1)`, and after `n`
//! further scores, of which `s` exceeded it, with probability exactly `(j + s) / (k + 1 + n)`: Pólya's urn. No assumption
//! about the distribution is made. A bet at these odds on "it exceeds, with probability b" multiplies the stake by
//! `b / p` or `(1 - b) / (1 - p)`, 1 in the mean, so each product is a martingale. These are mixed over a few
//! bets, over two thresholds (a small change moves the middle of the distribution, a large one its end), and over the
//! run in which the change comes: run `n` has the weight `1 / (n (n + 1))`, and these add up to 1.
//!
//! See Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, chapter 8 (conformal test martingales); Shin,
//! Ramdas, Rinaldo: E-detectors, arXiv 2203.03532 (mixtures over the time of the change).

use super::distance::RunDistance;
use serde::{Deserialize, Serialize};

/// The probabilities of an exceedance on which is bet.
const BETS: [f64; 3] = [0.3, 0.6, 0.95];
/// The rank of the lower threshold is one of this many scores of the reference.
const LOWER_SHARE: u64 = 4;
/// Far above any threshold of an alarm, and far below infinity.
const MAX_STAKE: f64 = 1e200;

/// The evidence so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ChangeEvidence {
    /// Number of scores in the reference.
    calibration: u64,
    /// The median of these.
    usual: RunDistance,
    /// Number of scores since.
    runs: u64,
    levels: Vec<RankLevel>,
}

/// A threshold, and the bets on exceeding it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RankLevel {
    /// It is the greatest but `rank - 1` of the reference's scores.
    rank: u64,
    threshold: RunDistance,
    /// Number of scores since that were greater.
    exceeded: u64,
    /// What has become of the stakes on each bet.
    stakes: Vec<f64>,
}

impl ChangeEvidence {
    /// Against these scores of a reference, of which there is at least one.
    pub(super) fn new(mut calibration: Vec<RunDistance>) -> Self {
        calibration.sort();
        let k = calibration.len() as u64;
        let level = |rank: u64| {
            let place = usize::try_from(k.saturating_sub(rank)).ok()?;
            let threshold = *calibration.get(place)?;
            Some(RankLevel { rank, threshold, exceeded: 0, stakes: vec![0.0; BETS.len()] })
        };
        let mut ranks = vec![1, (k / LOWER_SHARE).max(1)];
        ranks.dedup();
        let usual = calibration.get(calibration.len() / 2).copied().unwrap_or_default();
        Self { calibration: k, usual, runs: 0, levels: ranks.into_iter().filter_map(level).collect() }
    }

    /// The median score of the reference.
    pub(super) const fn usual(&self) -> RunDistance {
        self.usual
    }

    /// Takes the score of a further run.
    pub(super) fn take(&mut self, score: RunDistance) {
        let places = (self.calibration + 1 + self.runs) as f64;
        self.runs += 1;
        let joins = 1.0 / (self.runs as f64 * (self.runs + 1) as f64);
        for level in &mut self.levels {
            let chance = (level.rank + level.exceeded) as f64 / places;
            let exceeds = score > level.threshold;
            for (stake, bet) in level.stakes.iter_mut().zip(BETS) {
                let factor = if exceeds { bet / chance } else { (1.0 - bet) / (1.0 - chance) };
                *stake = ((*stake + joins) * factor).min(MAX_STAKE);
            }
            level.exceeded += u64::from(exceeds);
        }
    }

    /// The e-value: 1 before the first run, and at most 1 in the mean at any time if nothing has changed.
    pub(super) fn value(&self) -> f64 {
        let stakes = self.levels.iter().flat_map(|level| &level.stakes);
        let n = self.levels.len() * BETS.len();
        // What is not at stake yet.
        let kept = 1.0 / (self.runs + 1) as f64;
        stakes.sum::<f64>() / n.max(1) as f64 + kept
    }
}
