//! What the requests of a pair may use beyond their bounds. A gateway may add tokens to a prompt that the client
//! never sees; how many is learned from the requests that have been settled, and reserved for the next ones.

use super::settle::{ReservedAmounts, TokenCounts};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Input tokens that are reserved beyond the bound of a model call while nothing is known: the largest system prompts
/// that gateways are seen to add.
const UNKNOWN: u64 = 4096;

/// The excess falls by this part of the difference with each request that has less: a single wrong report of a server
/// is soon forgotten, and one request without the addition among many with it changes little.
const FORGET: u64 = 4;

/// The learned excess of a pair.
#[derive(Default)]
pub(super) struct Margins(Mutex<Learned>);

#[derive(Default)]
struct Learned {
    /// Of input tokens, by the size of the bound (its number of binary digits). The bound of a long prompt has more
    /// room in it, so what was learned from it does not hold for a shorter one; the other way round it does.
    input: BTreeMap<u32, u64>,
    /// Of output tokens.
    output: u64,
    /// Requests that are reserving, or have reserved and are not settled.
    open: u64,
}

/// Counts a request of the pair until it is settled.
pub(super) struct OpenRequest<'a> {
    margins: &'a Margins,
    /// Whether it is the only one of its pair.
    pub(super) alone: bool,
    /// What is reserved beyond its bound.
    pub(super) margin: TokenCounts,
    /// What requests like it used beyond their bounds, as far as that is known.
    pub(super) known: TokenCounts,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        let mut learned = self.margins.lock();
        learned.open = learned.open.saturating_sub(1);
    }
}

impl Margins {
    /// Begins a request.
    pub(super) fn open(&self, asked: ReservedAmounts) -> OpenRequest<'_> {
        let mut learned = self.lock();
        learned.open += 1;
        let seen = learned.input.range(..=size(asked.most.input)).next_back().map(|(_, excess)| *excess);
        // What an HTTP step reserves was chosen by the operator.
        let unknown = if asked.declared { 0 } else { UNKNOWN };
        let counts = |input| TokenCounts { input, output: learned.output };
        let (margin, known) = (counts(seen.unwrap_or(unknown)), counts(seen.unwrap_or(0)));
        OpenRequest { margins: self, alone: learned.open == 1, margin, known }
    }

    /// Learns from a complete answer. Counts that the server does not report are taken to be within their bounds.
    pub(super) fn learn(&self, asked: ReservedAmounts, input: Option<u64>, output: Option<u64>) {
        let excess = |used: Option<u64>, most: u64| used.map_or(0, |used| used.saturating_sub(most));
        let mut learned = self.lock();
        let known = learned.input.entry(size(asked.most.input)).or_default();
        *known = next(*known, excess(input, asked.most.input));
        learned.output = next(learned.output, excess(output, asked.most.output));
    }

    fn lock(&self) -> MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn size(bound: u64) -> u32 {
    u64::BITS - bound.leading_zeros()
}

const fn next(known: u64, seen: u64) -> u64 {
    if seen >= known { seen } else { known - (known - seen).div_ceil(FORGET) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asked(input: u64) -> ReservedAmounts {
        ReservedAmounts { most: TokenCounts { input, output: 100 }, declared: false }
    }

    fn margin(margins: &Margins, asked: ReservedAmounts) -> (u64, u64) {
        let TokenCounts { input, output } = margins.open(asked).margin;
        (input, output)
    }

    #[test]
    fn what_is_not_known_is_provided_for() {
        let margins = Margins::default();
        assert_eq!(margin(&margins, asked(300)), (UNKNOWN, 0));
        assert_eq!(margins.open(asked(300)).known.input, 0);
        assert_eq!(margin(&margins, ReservedAmounts { declared: true, ..asked(300) }), (0, 0));
        margins.learn(asked(300), Some(20), Some(7));
        assert_eq!(margin(&margins, asked(300)), (0, 0));
        // A server that reports nothing teaches nothing.
        let silent = Margins::default();
        silent.learn(asked(300), None, None);
        assert_eq!(margin(&silent, asked(300)), (0, 0));
    }

    #[test]
    fn the_excess_is_learned_and_forgotten() {
        let margins = Margins::default();
        margins.learn(asked(300), Some(1300), Some(150));
        assert_eq!(margin(&margins, asked(310)), (1000, 50));
        // One request that the gateway added nothing to is not taken for the rule.
        margins.learn(asked(300), Some(20), Some(100));
        assert_eq!(margin(&margins, asked(300)), (750, 37));
        margins.learn(asked(300), Some(1300), Some(100));
        assert_eq!(margin(&margins, asked(300)), (1000, 27));
        for _ in 0..40 {
            margins.learn(asked(300), Some(20), Some(100));
        }
        assert_eq!(margin(&margins, asked(300)), (0, 0));
    }

    #[test]
    fn a_longer_prompt_does_not_speak_for_a_shorter_one() {
        let margins = Margins::default();
        // 2000 tokens are added, which the bound of the long prompt hides.
        margins.learn(asked(40_000), Some(12_000), None);
        assert_eq!(margin(&margins, asked(50_000)), (0, 0));
        assert_eq!(margin(&margins, asked(300)), (UNKNOWN, 0));
        margins.learn(asked(300), Some(2020), None);
        assert_eq!(margin(&margins, asked(300)), (1720, 0));
        assert_eq!(margin(&margins, asked(1000)), (1720, 0));
        assert_eq!(margin(&margins, asked(50_000)), (0, 0));
    }

    #[test]
    fn a_request_knows_whether_it_is_alone() {
        let margins = Margins::default();
        let first = margins.open(asked(1));
        assert!(first.alone && !margins.open(asked(1)).alone);
        drop(first);
        assert!(margins.open(asked(1)).alone);
    }
}
