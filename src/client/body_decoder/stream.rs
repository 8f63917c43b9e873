//! Splits a stream into events, and decodes them.

use super::{AnswerBuilder, Decoder, MAX_EVENT, Malformed, Mode, Sought};
use crate::client::error_body::{self, LoneMessage};
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

/// Decodes an event, with the error that it tells, whatever else is in it.
pub(super) fn decode_event(decoder: &dyn Decoder, event: Event<'_>) -> Result<Delta, Malformed> {
    let mut read = decoder.decode_event(event);
    let nothing = read.as_ref().map_or(true, |delta| *delta == Delta::default());
    add_failure(decoder, &mut read, nothing, event.data.as_bytes(), event.bare);
    if let Ok(delta) = &mut read {
        // A gateway's own events have names of their own: `event: status`.
        let is_plain = || event.name.is_none_or(|name| name == "message" || error_body::is_failing(name));
        if delta.remark.is_some() && !is_plain() {
            delta.remark = None;
        }
        if let Some(stray) = event.stray {
            delta.remark.get_or_insert_with(|| stray.to_owned());
        }
    }
    read
}

/// Adds the error that an event or a document tells, whatever else is in it, to what was decoded. Where it stands `alone`,
/// any message in place of an answer is an error.
pub(super) fn add_failure(
    decoder: &dyn Decoder,
    read: &mut Result<Delta, Malformed>,
    nothing: bool,
    json: &[u8],
    alone: bool,
) {
    if !nothing {
        if let Ok(delta) = read
            && delta.error.is_none()
        {
            delta.error = decoder.failure_beside(json);
        }
        return;
    }
    match decoder.decode_failure(json) {
        Some(LoneMessage::Unmarked(said)) if !alone && !matches!(read, Err(Malformed::Missing { .. })) => {
            if let Ok(delta) = read {
                delta.remark = Some(said);
            }
        }
        Some(LoneMessage::Error(said) | LoneMessage::Unmarked(said)) => {
            *read = Ok(Delta { error: Some(said), ..Delta::default() });
        }
        None => {}
    }
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
        let delta = decode_event(self.decoder, event).map_err(|error| error.at_event(*self.events))?;
        // Remembers an event without content until there is some. A terminal event is expected to have none, and tells
        // something only where no other came.
        let missed = delta.content.is_empty() && delta.repeated.is_empty();
        let tells = !delta.terminal || (self.sought.is_empty() && event.data.trim_start().starts_with('{'));
        if missed && tells && !self.reading.has_content() && !self.reading.ended() {
            self.sought.missed(event.data);
        }
        Ok(self.reading.event(mark, delta))
    }
}
