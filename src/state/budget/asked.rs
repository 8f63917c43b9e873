//! What pairs asked the budgets for last, so that it can be told at any moment whether a budget holds a pair
//! back.

use super::Amounts;
use crate::event::Pair;
use crate::plan::Plan;
use std::collections::HashMap;

/// The least that a request takes, for a pair that has not asked for anything yet.
const LEAST: Amounts = Amounts { requests: 1, tokens: 1, cost: 0 };

/// Bounded by the plan: its pairs are kept, and those that have left it go with the next plan.
#[derive(Default)]
pub(super) struct AskedFor {
    /// What the last run of each pair needed to begin.
    runs: HashMap<Pair, Amounts>,
    /// Requests that were refused, for pairs whose last request was.
    refused: HashMap<Pair, Amounts>,
}

impl AskedFor {
    /// A run is about to begin.
    pub(super) fn run(&mut self, pair: &Pair, amounts: Amounts) {
        self.runs.insert(pair.clone(), amounts);
        self.refused.remove(pair);
    }

    /// A request was refused.
    pub(super) fn refused(&mut self, pair: &Pair, amounts: Amounts) {
        self.refused.insert(pair.clone(), amounts);
    }

    /// A request was granted what it asked for.
    pub(super) fn granted(&mut self, pair: &Pair) {
        if !self.refused.is_empty() {
            self.refused.remove(pair);
        }
    }

    /// What the pair is expected to ask for next.
    pub(super) fn of(&self, pair: &Pair) -> Amounts {
        self.refused.get(pair).or_else(|| self.runs.get(pair)).copied().unwrap_or(LEAST)
    }

    /// Forgets the pairs that are not in the plan.
    pub(super) fn keep(&mut self, plan: &Plan) {
        let planned: std::collections::HashSet<&Pair> = plan.pairs.iter().map(|pair| &pair.pair).collect();
        self.runs.retain(|pair, _| planned.contains(pair));
        self.refused.retain(|pair, _| planned.contains(pair));
    }
}
