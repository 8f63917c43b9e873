//! Decodes the body of an answer from bytes to events: framing, parsing, limits. Pure: every frame comes with its
//! timestamp, which was taken before anything here runs.

use super::answer::{AnswerBuilder, Read};
use super::dialect::{Decoder, Malformed};
use super::memory::Charge;
use super::sought::Sought;
use crate::event::{Failure, Outcome};
use crate::exchange::Delta;
use crate::framing::{self, Event, ndjson, sse};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// Maximum size of an answer's body in bytes; more is a `protocol` failure.
pub(super) const MAX_BODY: usize = 64 << 20;
/// Maximum size of an event of a stream in bytes; more is a `protocol` failure.
pub(super) const MAX_EVENT: usize = 4 << 20;
/// Longer documents are decoded off the threads that take timestamps: see [`BodyDecoder::long_document`].
const MAX_INLINE: usize = 16 << 10;

/// The form in which an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As a stream of server-sent events.
    Sse,
    /// As a stream of newline-delimited JSON.
    Ndjson,
    /// As a single document.
    Whole,
}

/// A body that is being received.
pub(super) struct BodyDecoder {
    decoder: Arc<dyn Decoder>,
    form: Form,
    reading: AnswerBuilder,
    sought: Sought,
    first_byte: Option<Instant>,
    last_frame: Option<Instant>,
    /// Time of the last progress: see [`Self::progress`].
    progress: Option<Instant>,
    most: usize,
    room: usize,
    charge: Option<Charge>,
}

enum Form {
    Stream(Framing),
    Whole(Vec<u8>),
    /// When the whole body had been received.
    Came(Instant, Bytes),
}

/// Splits a stream into events.
enum Framing {
    Sse(sse::Decoder),
    Ndjson(ndjson::Decoder),
}

impl Framing {
    fn push(&mut self, bytes: &[u8], each: impl FnMut(Event<'_>)) -> Result<(), framing::Error> {
        match self {
            Self::Sse(decoder) => decoder.push(bytes, each),
            Self::Ndjson(decoder) => decoder.push(bytes, each),
        }
    }

    fn buffered(&self) -> usize {
        match self {
            Self::Sse(decoder) => decoder.buffered(),
            Self::Ndjson(decoder) => decoder.buffered(),
        }
    }

    fn finish(&mut self, each: impl FnMut(Event<'_>)) -> Result<(), framing::Error> {
        match self {
            Self::Sse(decoder) => decoder.finish(each),
            Self::Ndjson(decoder) => decoder.finish(each),
        }
    }
}

/// A whole body that is not decoded yet.
pub(super) struct Undecoded {
    decoder: Arc<dyn Decoder>,
    body: Bytes,
}

impl Undecoded {
    /// Decodes it. Takes milliseconds if it is long.
    pub(super) fn decode(&self) -> Result<Delta, Malformed> {
        self.decoder.decode_whole(&self.body)
    }
}

impl BodyDecoder {
    /// A body of which nothing was received.
    pub(super) fn new(decoder: Arc<dyn Decoder>, mode: Mode) -> Self {
        let demands = decoder.demands();
        let (form, most) = match mode {
            Mode::Sse => (Form::Stream(Framing::Sse(sse::Decoder::new(MAX_EVENT))), MAX_BODY),
            Mode::Ndjson => (Form::Stream(Framing::Ndjson(ndjson::Decoder::new(MAX_EVENT))), MAX_BODY),
            Mode::Whole => (Form::Whole(Vec::new()), demands.most_whole),
        };
        let reading = AnswerBuilder::new(mode != Mode::Whole, demands);
        Self {
            decoder,
            form,
            reading,
            sought: Sought::default(),
            first_byte: None,
            last_frame: None,
            progress: None,
            most,
            room: most,
            charge: None,
        }
    }

    /// Handles a frame of the body.
    pub(super) fn frame(&mut self, mark: Instant, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.first_byte.get_or_insert(mark);
        self.last_frame = Some(mark);
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            let detail = format!("the answer is longer than {} bytes", self.most);
            return self.reading.fail(mark, Failure::Protocol, detail);
        };
        self.room = room;
        match &mut self.form {
            Form::Stream(framing) => {
                let (reading, progress, decoder) = (&mut self.reading, &mut self.progress, &*self.decoder);
                let sought = &mut self.sought;
                let each = |event: Event<'_>| take_event(decoder, (reading, sought), progress, mark, event);
                if let Err(error) = framing.push(bytes, each) {
                    self.reading.fail(mark, Failure::Protocol, error.to_string());
                }
            }
            // Some servers send white space before a document to keep the connection alive.
            Form::Whole(body) => {
                body.extend_from_slice(bytes);
                if self.progress.is_some() || !bytes.trim_ascii_start().is_empty() {
                    self.progress = Some(mark);
                }
            }
            Form::Came(..) => {}
        }
        self.account(mark);
    }

    /// What it holds counts in this charge.
    pub(super) fn charging(mut self, charge: Charge) -> Self {
        self.charge = Some(charge);
        self
    }

    /// The charge, for as long as what was read is kept.
    pub(super) fn take_charge(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    fn account(&mut self, mark: Instant) {
        let held = match &self.form {
            Form::Stream(framing) => framing.buffered() + self.reading.held(),
            Form::Whole(body) => body.capacity(),
            Form::Came(_, body) => body.len(),
        };
        if let Some(charge) = &mut self.charge
            && !charge.hold(held)
        {
            self.reading.fail(mark, Failure::Internal, charge.refusal());
        }
    }

    /// Handles a clean end of the body.
    pub(super) fn end_of_body(&mut self, mark: Instant) {
        match &mut self.form {
            Form::Stream(framing) => {
                let (reading, sought, decoder) = (&mut self.reading, &mut self.sought, &*self.decoder);
                let came = self.last_frame.unwrap_or(mark);
                // An unterminated event may be complete, or cut short.
                let mut cut = None;
                let framed = framing.finish(|event| match decoder.decode_event(event) {
                    Ok(delta) => {
                        seek(reading, sought, event, &delta);
                        reading.event(came, delta);
                    }
                    Err(error) => cut = Some(error.to_string()),
                });
                let cut = cut.or(framed.err().map(|error| error.to_string()));
                // Where a stream has to mark its end, a missing mark shows that it was cut short.
                if let Some(said) = cut.filter(|_| !decoder.demands().end) {
                    let detail = format!("the body ended within an event: {said}");
                    self.reading.fail(mark, Failure::Truncated, detail);
                }
                self.reading.end_of_body(mark);
            }
            Form::Whole(body) if !self.reading.ended() => {
                self.form = Form::Came(mark, std::mem::take(body).into());
            }
            Form::Whole(_) | Form::Came(..) => {}
        }
    }

    /// A whole body that is so long that decoding it here would delay the timestamps of other requests. Decode it on
    /// another thread and pass the result to [`Self::decoded`]. A shorter one is decoded by [`Self::close`].
    pub(super) fn long_document(&self) -> Option<Undecoded> {
        match &self.form {
            Form::Came(_, body) if body.len() > MAX_INLINE && !self.reading.ended() => {
                Some(Undecoded { decoder: Arc::clone(&self.decoder), body: body.clone() })
            }
            _ => None,
        }
    }

    /// Handles the content of the whole body.
    pub(super) fn decoded(&mut self, result: Result<Delta, Malformed>) {
        let Form::Came(mark, _) = self.form else { return };
        match result {
            Ok(delta) => {
                self.reading.event(mark, delta);
            }
            Err(error) => {
                let failure = if error.is_cut() { Failure::Truncated } else { Failure::Protocol };
                self.reading.fail(mark, failure, error.to_string());
            }
        }
    }

    /// Reading stopped with this failure.
    pub(super) fn fail(&mut self, at: Instant, failure: Failure, detail: String) {
        self.reading.fail(at, failure, detail);
    }

    /// Number of bytes of the body that were received.
    pub(super) fn received(&self) -> usize {
        self.most - self.room
    }

    /// Whether the outcome is decided, so that the rest is only drained.
    pub(super) fn ended(&self) -> bool {
        self.reading.ended()
    }

    /// Whether the timeout of the first token no longer runs, or never did.
    pub(super) fn has_content(&self) -> bool {
        self.reading.has_content() || !self.streams() || !self.decoder.demands().awaits
    }

    /// The time from which the stall timeout runs, once it does. A stream progresses with each event that carries
    /// something (content, finish reason, usage), starting with its first content: comments and empty events keep a
    /// connection alive while the user still waits. A stream in which no content is looked for progresses with each
    /// event, and a whole answer with every byte of its document.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.progress.filter(|_| self.has_content())
    }

    /// Time of the first byte of the body.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.first_byte
    }

    /// The finished answer.
    pub(super) fn close(mut self, now: Instant) -> Read {
        if let Form::Came(_, body) = &self.form
            && !self.reading.ended()
        {
            let result = self.decoder.decode_whole(body);
            self.decoded(result);
        }
        let body = match self.form {
            Form::Came(_, body) => Some(body),
            Form::Stream(_) | Form::Whole(_) => None,
        };
        let mut read = Read { body, ..self.reading.close(now) };
        if read.outcome == Outcome::Failed(Failure::Empty)
            && let Some(places) = self.decoder.places(read.body.is_some())
        {
            read.detail = Some(self.sought.detail(&places, read.body.as_deref()));
        }
        read
    }

    fn streams(&self) -> bool {
        matches!(self.form, Form::Stream(_))
    }
}

fn take_event(
    decoder: &dyn Decoder,
    (reading, sought): (&mut AnswerBuilder, &mut Sought),
    progress: &mut Option<Instant>,
    mark: Instant,
    event: Event<'_>,
) {
    match decoder.decode_event(event) {
        Ok(delta) => {
            seek(reading, sought, event, &delta);
            if reading.event(mark, delta) || !decoder.demands().awaits {
                *progress = Some(mark);
            }
        }
        Err(error) => reading.fail(mark, Failure::Protocol, error.to_string()),
    }
}

/// Remembers an event without content, until there is some. A terminal event is expected to have none.
fn seek(reading: &AnswerBuilder, sought: &mut Sought, event: Event<'_>, delta: &Delta) {
    if !reading.has_content() && !reading.ended() && delta.content.is_empty() && !delta.terminal {
        sought.missed(event.data);
    }
}
