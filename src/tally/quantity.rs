//! What a tally says about the quantities that are watched for changes.

use super::{RunTally, Times, ratio};
use crate::vocabulary::Quantity;

impl RunTally {
    /// The quantity in this tally: its median in seconds, or in tokens per second; for failures, their share among the
    /// requests that say something about the target. `None` if nothing was measured.
    pub fn quantity(&self, quantity: Quantity) -> Option<f64> {
        let median = |times: &Times<2>| times.quantile(0.5).map(|time| time.as_secs_f64());
        match quantity {
            Quantity::TimeToFirstToken => median(&self.first_token),
            Quantity::ChunkGap => median(&self.chunk_gap),
            Quantity::RequestDuration => median(&self.duration),
            Quantity::OutputPace => median(&self.whole_per_token).filter(|time| *time > 0.0).map(f64::recip),
            Quantity::Failures => ratio(self.failed(), self.judging()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Outcome};
    use crate::tally::Distribution as _;
    use std::time::Duration;

    #[test]
    fn quantities_are_medians_paces_and_shares() {
        let mut tally = RunTally::default();
        assert!(Quantity::ALL.iter().all(|quantity| tally.quantity(*quantity).is_none()));
        for millis in [100, 200, 900] {
            tally.first_token.record(Duration::from_millis(millis));
            tally.whole_per_token.record(Duration::from_millis(millis / 10));
        }
        tally.ended[Outcome::Ok].measured = 3;
        tally.ended[Outcome::Failed(Failure::Reset)].measured = 1;
        tally.ended[Outcome::Failed(Failure::Cancelled)].measured = 5;
        let close = |quantity, to: f64| {
            let value = tally.quantity(quantity).unwrap();
            assert!((value / to - 1.0).abs() < 0.01, "{value} for {to}");
        };
        close(Quantity::TimeToFirstToken, 0.2);
        close(Quantity::OutputPace, 50.0);
        close(Quantity::Failures, 0.25);
        assert_eq!(tally.quantity(Quantity::ChunkGap), None);
    }
}
