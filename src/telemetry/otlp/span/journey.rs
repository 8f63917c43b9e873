//! The span of a journey: the root of its requests' trace.

use super::super::key_value::{double, flag, int, text};
use super::{context, link_to, parent, place_attributes, seconds, span, status};
use crate::event::{Journey, Outcome};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;
use std::time::SystemTime;

/// The span of a completed journey: from its first due instant to the end of its last request, including think time.
pub(in super::super) fn of_journey(agent: &str, journey: &Journey) -> SpanData {
    let lasted = journey.end.saturating_duration_since(journey.due);
    let start = journey.ended.checked_sub(lasted).unwrap_or(SystemTime::UNIX_EPOCH);
    let ids = &journey.ids;
    SpanData {
        parent_span_id: parent(ids.parent_id),
        attributes: attributes(journey),
        links: link_to(agent, &journey.run),
        status: status(journey.outcome, journey.detail.as_deref()),
        ..span(
            context(ids.trace_id, ids.span_id, ids.sampled),
            SpanKind::Internal,
            format!("journey {}", journey.place.pair.profile),
            [start, journey.ended],
        )
    }
}

fn attributes(journey: &Journey) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(18);
    place_attributes(&journey.place, &mut all);
    all.push(text("tokenbeat.run.id", &journey.run.id));
    all.push(flag("tokenbeat.warm_up", journey.warm_up));
    all.push(text("tokenbeat.outcome", journey.outcome.label()));
    if let Outcome::Failed(failure) = journey.outcome {
        all.push(text("error.type", failure.label()));
    }
    all.extend(journey.failed_step.as_deref().map(|step| text("tokenbeat.journey.failed_step", step)));
    all.push(int("tokenbeat.journey.user", u64::from(journey.user)));
    all.push(int("tokenbeat.journey.iteration", journey.iteration));
    all.push(int("tokenbeat.journey.requests", journey.requests));
    all.push(seconds("tokenbeat.journey.duration", journey.duration));
    all.push(int("tokenbeat.journey.input_tokens", journey.input_tokens));
    all.push(int("tokenbeat.journey.output_tokens", journey.output_tokens));
    all.extend(journey.cost.map(|cost| double("tokenbeat.journey.cost", cost)));
    all
}

/// The approximate memory usage of a journey in bytes, for the queue.
pub(in super::super) fn weight(journey: &Journey) -> usize {
    size_of::<Journey>() + journey.detail.as_ref().map_or(0, String::len)
}
