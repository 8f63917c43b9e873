//! Arrivals as recorded in a trace. A scale thins or multiplies them: each request is kept, or gets copies, with a seeded
//! probability, so that the rate keeps its shape. Copies are due at random times before the next request.

use crate::limits;
use crate::plan::{StageBounds, TraceReplay};
use crate::seed;
use rand::Rng as _;
use std::sync::Arc;
use std::time::Duration;

/// The arrivals of a stage: the number of each request, as in [`TraceReplay::number`], and its due time as an offset from
/// the start of the stage, in order. The sequence depends only on the trace, the load and the seed. It ends with the
/// stage (exclusive), with the trace, or after a number of requests.
#[derive(Debug)]
pub struct TraceArrivals {
    replay: Arc<TraceReplay>,
    /// Where in the replay the stage begins and ends.
    from: Duration,
    to: Duration,
    most: u64,
    seed: u64,
    /// The next request of the trace.
    n: u64,
    /// Copies of the previous one, latest first.
    copies: Vec<(Duration, u64)>,
}

impl TraceArrivals {
    /// The arrivals of a stage that begins at `from` in a replay.
    pub fn new(replay: &Arc<TraceReplay>, from: Duration, bounds: StageBounds, seed: u64) -> Self {
        let time = bounds.time.unwrap_or(limits::LONGEST);
        Self {
            replay: Arc::clone(replay),
            from,
            to: from.saturating_add(time),
            most: bounds.requests.unwrap_or(u64::MAX),
            seed,
            // The request before the stage may have copies in it.
            n: replay.before(from).saturating_sub(1),
            copies: Vec::new(),
        }
    }

    /// Draws the copies of the next request; `None` if the trace is over.
    fn advance(&mut self) -> Option<()> {
        let n = self.n;
        let due = self.replay.due(n).filter(|due| *due < self.to)?;
        self.n += 1;
        let scale = self.replay.scale;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to MAX_SCALE")]
        let whole = scale as u32;
        if scale.fract() == 0.0 && whole == 1 {
            self.copies.push((due, TraceReplay::number(n, 0)));
            return Some(());
        }
        let mut rng = seed::rng("trace", &[self.seed, n]);
        let more = rng.random::<f64>() < scale.fract();
        let gap = self.replay.gap(n);
        for copy in 0..whole + u32::from(more) {
            let after = if copy == 0 { Duration::ZERO } else { gap.mul_f64(rng.random()) };
            self.copies.push((due + after, TraceReplay::number(n, copy)));
        }
        self.copies.sort_unstable_by(|one, other| other.cmp(one));
        Some(())
    }
}

impl Iterator for TraceArrivals {
    type Item = (u64, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        while self.most > 0 {
            let Some((due, number)) = self.copies.pop() else {
                self.advance()?;
                continue;
            };
            if let Some(offset) = due.checked_sub(self.from)
                && due < self.to
            {
                self.most -= 1;
                return Some((number, offset));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
