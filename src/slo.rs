//! Whether a finished request or journey met the objectives of its profile: a pure function of the record. It knows
//! nothing about how the verdicts are counted.

use crate::event::{Journey, Outcome, Request, Verdict};
use crate::plan::{Bound, Objective, SloMetric};

/// Name of the verdict over all objectives on requests together: goodput.
pub const ALL: &str = "all";

/// The verdicts on a finished request: one per objective that it counts for, then [`ALL`]. An objective of another step,
/// or on journeys, is not one of them.
///
/// A failed request, including one with a failed check, misses every objective. An answer without the measured mark
/// does not count for that objective, nor does one whose input tokens are unknown for an objective that grows with them:
/// neither the server reported their number, nor has the target a tokenizer. Outcomes that say nothing about the target (`internal`, `cancelled`) and warm-up
/// requests do not count at all. Without objectives, `all` also exists and equals the availability.
pub fn verdicts(objectives: &[Objective], request: &Request) -> Vec<Verdict> {
    if request.warm_up || !request.outcome.judges_target() {
        return Vec::new();
    }
    let mut verdicts: Vec<Verdict> = objectives
        .iter()
        .filter(|objective| objective.judges_requests_of(&request.place.step))
        .filter_map(|objective| Some(Verdict { slo: objective.name.clone(), met: met(objective, request)? }))
        .collect();
    let all = request.outcome == Outcome::Ok && verdicts.iter().all(|verdict| verdict.met);
    verdicts.push(Verdict { slo: ALL.into(), met: all });
    verdicts
}

/// The verdicts on a finished journey: one per objective on journeys. One that failed misses every objective. Warm-up
/// journeys, those that were cancelled, and those that ended by our own fault do not count.
pub fn journey_verdicts(objectives: &[Objective], journey: &Journey) -> Vec<Verdict> {
    if journey.warm_up || !journey.outcome.judges_target() {
        return Vec::new();
    }
    let duration = journey.duration.as_secs_f64();
    let objectives = objectives.iter().filter(|objective| objective.metric.is_of_journeys());
    let verdict = |objective: &Objective| {
        let within = objective.bound.and_then(Bound::below).is_none_or(|(bound, _)| duration < bound);
        Verdict { slo: objective.name.clone(), met: journey.outcome == Outcome::Ok && within }
    };
    objectives.map(verdict).collect()
}

/// Whether the request met an objective; `None` if the request does not count for it.
fn met(objective: &Objective, request: &Request) -> Option<bool> {
    if request.outcome != Outcome::Ok {
        return Some(false);
    }
    match objective.bound {
        None => Some(true),
        Some(Bound::BelowByPrompt { base, per_input_token }) => {
            let tokens = request.observed.tokens.input?.n as f64;
            Some(value(objective.metric, request)? < base + per_input_token * tokens)
        }
        Some(Bound::Below(bound)) => Some(value(objective.metric, request)? < bound),
        Some(Bound::Above(bound)) => Some(value(objective.metric, request)? > bound),
    }
}

/// The measured value for an objective, in the unit of its metric; `None` if the answer lacks the mark.
fn value(metric: SloMetric, request: &Request) -> Option<f64> {
    let marks = &request.observed.marks;
    let streamed = |mark: Option<std::time::Duration>| mark.filter(|_| request.observed.streamed);
    let duration = match metric {
        SloMetric::Availability | SloMetric::JourneyAvailability | SloMetric::JourneyDuration => return None,
        SloMetric::TimePerOutputToken => return request.observed.time_per_output_token(),
        SloMetric::OutputPace => return request.observed.output_pace(),
        SloMetric::TimeToFirstByte => marks.time_to_first_byte(),
        SloMetric::TimeToFirstChunk => streamed(marks.time_to_first_chunk()),
        SloMetric::TimeToFirstToken => streamed(marks.time_to_first_token()),
        SloMetric::TimeToFirstText => streamed(marks.time_to_first_text()),
        SloMetric::LongestChunkGap => streamed(request.observed.gaps.longest()),
        SloMetric::RequestDuration => Some(marks.duration()),
        SloMetric::ResponseTime => Some(marks.response_time()),
    };
    duration.map(|duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
