//! Splits a stream into events, and decodes them.

use super::{AnswerBuilder, Decoder, MAX_EVENT, Malformed, Mode, Sought};
use crate::event::Failure;
use crate::exchange::Delta;
use crate::framing::{self, Event, eventstream, json_array, ndjson, sse};
use tokio::time::Instant;

/// Splits a stream into events.
pub(super) enum Framing {
    Sse(sse::SseDecoder),
    Ndjson(ndjson::NdjsonDecoder),
    JsonArray(json_array::JsonArrayDecoder),
    EventStream(eventstream::EventStreamDecoder),
}

impl Framing {
    /// The framing of a stream; `None` for a document.
    pub(super) fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Sse => Some(Self::Sse(sse::SseDecoder::new(MAX_EVENT))),
            Mode::Ndjson => Some(Self::Ndjson(ndjson::NdjsonDecoder::new(MAX_EVENT))),
            Mode::JsonArray => Some(Self::JsonArray(json_array::JsonArrayDecoder::new(MAX_EVENT))),
            Mode::EventStream => Some(Self::EventStream(eventstream::EventStreamDecoder::new(MAX_EVENT))),
            Mode::Whole => None,
        }
    }

    /// A line that does not belong in such a stream, for messages.
    pub(super) fn unknown(&self) -> Option<String> {
        match self {
            Self::Sse(decoder) => decoder.unknown(),
            Self::Ndjson(_) | Self::JsonArray(_) | Self::EventStream(_) => None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], each: impl FnMut(Event<'_>)) -> Result<(), framing::Error> {
        match self {
            Self::Sse(decoder) => decoder.push(bytes, each),
            Self::Ndjson(decoder) => decoder.push(bytes, each),
            Self::JsonArray(decoder) => decoder.push(bytes, each),
            Self::EventStream(decoder) => decoder.push(bytes, each),
        }
    }

    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::Sse(decoder) => decoder.buffered(),
            Self::Ndjson(decoder) => decoder.buffered(),
            Self::JsonArray(decoder) => decoder.buffered(),
            Self::EventStream(decoder) => decoder.buffered(),
        }
    }

    pub(super) fn finish(&mut self, each: impl FnMut(Event<'_>)) -> Result<(), framing::Error> {
        match self {
            Self::Sse(decoder) => decoder.finish(each),
            Self::Ndjson(decoder) => decoder.finish(each),
            Self::JsonArray(decoder) => decoder.finish(each),
            Self::EventStream(decoder) => decoder.finish(each),
        }
    }
}

/// What was decoded, with the error that an event or a document tells, whatever else is in it.
pub(super) fn with_failure(
    decoder: &dyn Decoder,
    read: Result<Delta, Malformed>,
    nothing: bool,
    json: &[u8],
) -> Result<Delta, Malformed> {
    if nothing && let Some(said) = decoder.decode_failure(json) {
        return Ok(Delta { error: Some(said), ..Delta::default() });
    }
    let mut delta = read?;
    if !nothing && delta.error.is_none() {
        delta.error = decoder.failure_beside(json);
    }
    Ok(delta)
}

/// Decodes the events of a stream.
pub(super) struct EventSink<'a> {
    pub(super) decoder: &'a dyn Decoder,
    pub(super) reading: &'a mut AnswerBuilder,
    pub(super) sought: &'a mut Sought,
    pub(super) events: &'a mut u64,
}

impl EventSink<'_> {
    /// Handles an event, and returns whether it was progress; a malformed one is a failure.
    pub(super) fn take(&mut self, mark: Instant, event: Event<'_>) -> bool {
        self.try_take(mark, event).unwrap_or_else(|error| {
            self.reading.fail(mark, Failure::Protocol, error.to_string());
            false
        })
    }

    pub(super) fn try_take(&mut self, mark: Instant, event: Event<'_>) -> Result<bool, Malformed> {
        *self.events += 1;
        let decoded = self.decoder.decode_event(event);
        let nothing = decoded.as_ref().map_or(true, |delta| *delta == Delta::default());
        let delta = with_failure(self.decoder, decoded, nothing, event.data.as_bytes())
            .map_err(|error| error.at_event(*self.events))?;
        // Remembers an event without content until there is some. A terminal event is expected to have none.
        let missed = delta.content.is_empty() && delta.repeated.is_empty() && !delta.terminal;
        if missed && !self.reading.has_content() && !self.reading.ended() {
            self.sought.missed(event.data);
        }
        Ok(self.reading.event(mark, delta))
    }
}
