//! What is kept of one request for the diagnosis: a few numbers. It knows nothing about other requests.

use crate::event::{FinishReason, Outcome, Request};
use std::time::Duration;

/// Events that follow within this time came with the same read, whatever the pace of the answer.
const SAME_READ: f64 = 0.000_2;

/// A request outside of warm-ups that was sent and says something about its target or its own limits. Times are in
/// seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSample {
    /// When it was due, since the recorder began.
    pub(super) at: f64,
    /// Its stage, as an index into the profile's stages.
    pub(super) stage: usize,
    /// Its step, as in [`crate::plan::Step::number`].
    pub(super) step: usize,
    /// When it was due, since its stage began; unknown if that was not seen.
    pub(super) offset: Option<f64>,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// Time to first token, from the send.
    pub(super) first_token: Option<f64>,
    /// Time from the send to the end.
    pub(super) duration: f64,
    /// Time from the first to the last token.
    pub(super) decode: Option<f64>,
    /// Time per output token.
    pub(super) per_token: Option<f64>,
    /// How late the prober was.
    pub(super) lag: f64,
    /// How long it waited at the limit of its stage on requests in flight.
    pub(super) queued: f64,
    /// Set-up of the connection that it opened, and whether that lies before the send.
    pub(super) setup: Option<(f64, bool)>,
    /// Tokens of the prompt.
    pub(super) input: Option<f64>,
    /// Part of them that came from a cache.
    pub(super) cached: Option<f64>,
    /// Tokens of the answer.
    pub(super) output: Option<f64>,
    /// Part of them that was reasoning.
    pub(super) reasoning: f64,
    /// Limit on the tokens of the answer that was sent.
    pub(super) asked: Option<f64>,
    /// Whether a limit on the output ended the answer.
    pub(super) cut: bool,
    /// How its content arrived.
    pub(super) arrivals: Option<Arrival>,
    /// Its cost.
    pub(super) cost: Option<f64>,
}

/// How the content of a streamed answer arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arrival {
    /// Content events.
    pub(super) events: f64,
    /// Reads that they came in.
    pub(super) reads: f64,
    /// Mean time between two reads; absent if there was only one.
    pub(super) pause: Option<f64>,
}

/// Where a request belongs: stage, step, and its due time since the stage and since the recorder began.
#[derive(Clone, Copy, Debug)]
pub(super) struct SamplePlace {
    pub(super) stage: usize,
    pub(super) step: usize,
    pub(super) offset: Option<Duration>,
    pub(super) at: Duration,
}

impl RequestSample {
    pub(super) fn of(request: &Request, place: SamplePlace) -> Self {
        let observed = &request.observed;
        let (marks, tokens) = (&observed.marks, &observed.tokens);
        let finish = observed.finish_reason.as_deref().map(FinishReason::of);
        Self {
            at: place.at.as_secs_f64(),
            stage: place.stage,
            step: place.step,
            offset: place.offset.map(|it| it.as_secs_f64()),
            outcome: request.outcome,
            first_token: marks.time_to_first_token().filter(|_| observed.streamed).map(|it| it.as_secs_f64()),
            duration: marks.duration().as_secs_f64(),
            decode: marks.decode_time().filter(|_| observed.streamed).map(|it| it.as_secs_f64()),
            per_token: observed.time_per_output_token(),
            lag: marks.dispatch_lag().as_secs_f64(),
            queued: marks.queued.as_secs_f64(),
            setup: setup(request),
            input: tokens.input.map(|it| it.n as f64),
            cached: tokens.cached_input.map(|n| n as f64),
            output: tokens.output.map(|it| it.n as f64),
            reasoning: tokens.reasoning.unwrap_or(0) as f64,
            asked: request.asked_output_tokens.map(|n| n as f64),
            cut: finish == Some(FinishReason::Length),
            arrivals: Arrival::of(&observed.gaps.to_vec()).filter(|_| observed.streamed),
            cost: request.cost,
        }
    }

    /// Whether the answer is complete.
    pub(super) const fn answered(&self) -> bool {
        self.outcome.is_answered()
    }

    /// How long its user waited for anything, from the send: for the first token of a streamed answer, else for the whole.
    pub(super) fn wait(&self) -> f64 {
        self.first_token.unwrap_or(self.duration)
    }

    /// Part of the prompt that came from a cache; 0 if the server reports none.
    pub(super) fn cached_share(&self) -> Option<f64> {
        let input = self.input.filter(|input| *input > 0.0)?;
        Some(self.cached.unwrap_or(0.0) / input)
    }
}

fn setup(request: &Request) -> Option<(f64, bool)> {
    let connection = &request.observed.connection;
    let phases = connection.phases.filter(|_| connection.opened)?;
    let time: Duration = phases.each().into_iter().filter_map(|(_, time)| time).sum();
    Some((time.as_secs_f64(), !request.observed.marks.setup.is_zero()))
}

impl Arrival {
    /// From the times between the events; `None` if there are fewer than two events.
    fn of(gaps: &[Duration]) -> Option<Self> {
        let total: Duration = gaps.iter().sum();
        let mean = total.as_secs_f64() / gaps.len().max(1) as f64;
        let pauses = gaps.iter().filter(|gap| gap.as_secs_f64() > SAME_READ.max(mean / 10.0));
        let (count, time) = pauses.fold((0_u32, 0.0), |(n, sum), gap| (n + 1, sum + gap.as_secs_f64()));
        let pause = (count > 0).then(|| time / f64::from(count));
        let (events, reads) = (gaps.len() as f64 + 1.0, f64::from(count) + 1.0);
        (!gaps.is_empty()).then_some(Self { events, reads, pause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(micros: &[u64]) -> Option<Arrival> {
        Arrival::of(&micros.iter().copied().map(Duration::from_micros).collect::<Vec<_>>())
    }

    #[test]
    fn events_of_one_read_are_told_from_events_in_a_row() {
        assert_eq!(arrival(&[]), None);
        let even = arrival(&[5000; 9]).unwrap();
        assert_eq!((even.events, even.reads), (10.0, 10.0));
        let buffered = arrival(&[10, 0, 30, 40_000, 0, 20, 0, 40_000, 0, 0, 5]).unwrap();
        assert_eq!((buffered.events, buffered.reads), (12.0, 3.0));
        assert!((buffered.pause.unwrap() - 0.04).abs() < 1e-6);
        assert_eq!(arrival(&[0; 30]).unwrap(), Arrival { events: 31.0, reads: 1.0, pause: None });
    }
}
