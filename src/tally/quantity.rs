//! What a tally says about the quantities that are watched for changes.

use super::{RunTally, Times, ratio};
use crate::event::{Outcome, Request};
use crate::vocabulary::Quantity;
use enum_map::EnumMap;
use std::time::Duration;

/// What one request says of each quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestValues {
    /// Times in seconds and paces in tokens per second, of a complete answer; the gap is the median one. Nothing of
    /// [`Quantity::Failures`], and nothing of a warm-up.
    pub measured: EnumMap<Quantity, Option<f64>>,
    /// Whether it failed; `None` if it says nothing about the target, and in a warm-up.
    pub failed: Option<bool>,
}

impl RequestValues {
    /// Reads the record of a request.
    pub fn of(request: &Request) -> Self {
        if request.warm_up {
            return Self::default();
        }
        let failed = request.outcome.judges_target().then_some(request.outcome != Outcome::Ok);
        if !request.outcome.is_answered() {
            return Self { measured: EnumMap::default(), failed };
        }
        let (observed, marks) = (&request.observed, &request.observed.marks);
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let measured = EnumMap::from_fn(|quantity| match quantity {
            Quantity::TimeToFirstToken => seconds(marks.time_to_first_token()),
            Quantity::OutputPace => observed.output_pace(),
            Quantity::ChunkGap => seconds(observed.gaps.median()),
            Quantity::RequestDuration => Some(marks.duration().as_secs_f64()),
            Quantity::Failures => None,
        });
        Self { measured, failed }
    }
}

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
    use crate::event::Failure;
    use crate::fact::{Fanout, Sink};
    use crate::tally::Distribution as _;
    use crate::testing::{play, small_plan};
    use std::sync::Arc;

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

    #[test]
    fn a_request_says_what_it_measured_and_whether_it_failed() {
        let plan = small_plan();
        let sink: Arc<dyn Sink> = Arc::new(Fanout::new(Vec::new()));
        let values = |outcome, warm_up| {
            let change = |request: &mut Request| request.warm_up = warm_up;
            RequestValues::of(&play(&sink, &plan.pairs[0].places[1], outcome, change))
        };
        let ok = values(Outcome::Ok, false);
        assert_eq!(ok.failed, Some(false));
        assert!(ok.measured[Quantity::RequestDuration].unwrap() > 0.0);
        assert!(
            ok.measured[Quantity::TimeToFirstToken].is_some() && ok.measured[Quantity::Failures].is_none()
        );
        // A failed check is a complete answer; another failure has no latency.
        let checked = values(Outcome::Failed(Failure::Check), false);
        assert_eq!((checked.failed, checked.measured), (Some(true), ok.measured));
        let reset = values(Outcome::Failed(Failure::Reset), false);
        assert!(reset.failed == Some(true) && reset.measured.values().all(Option::is_none));
        assert_eq!(values(Outcome::Failed(Failure::Cancelled), false).failed, None);
        assert_eq!(values(Outcome::Ok, true), RequestValues::default());
    }
}
