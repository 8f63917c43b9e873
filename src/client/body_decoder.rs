//! Decodes the body of an answer from bytes to events: framing, parsing, limits. Pure: every frame comes with its
//! timestamp, which was taken before anything here runs.

mod expected;
mod stream;

pub(super) use expected::{EVENT_STREAM, Expected, Mode, is_json};

use super::answer::{AnswerBuilder, EndedAnswer};
use super::dialect::{self, Decoder, Malformed, StreamEnd};
use super::memory::Charge;
use super::sought::Sought;
use crate::event::{Failure, Outcome};
use crate::exchange::Delta;
use crate::framing::Event;
use crate::plan::Api;
use bytes::Bytes;
use std::sync::Arc;
use stream::{EventSink, Framing, add_failure};
use tokio::time::Instant;

/// Maximum size of an answer's body in bytes; more is a `protocol` failure.
pub(super) const MAX_BODY: usize = 64 << 20;
/// Maximum size of an event of a stream in bytes; more is a `protocol` failure.
pub(super) const MAX_EVENT: usize = 4 << 20;
/// Longer documents are not decoded on the threads that take timestamps; see [`BodyDecoder::long_document`].
const MAX_INLINE: usize = 16 << 10;

/// A body that is being received.
pub(super) struct BodyDecoder {
    decoder: Arc<dyn Decoder>,
    expected: Expected,
    form: BodyState,
    reading: AnswerBuilder,
    sought: Sought,
    events: u64,
    first_byte: Option<Instant>,
    last_frame: Option<Instant>,
    /// Time of the last progress: see [`Self::progress`].
    progress: Option<Instant>,
    most: usize,
    room: usize,
    charge: Option<Charge>,
}

enum BodyState {
    /// The first bytes, as long as they do not show what the body is.
    Undecided(Vec<u8>),
    Stream(Framing),
    Whole(Vec<u8>),
    /// A complete body, and the time at which it was complete.
    Came(Instant, Bytes),
}

/// A complete body that has not been decoded yet.
pub(super) struct Undecoded {
    decoder: Arc<dyn Decoder>,
    body: Bytes,
}

impl Undecoded {
    /// Decodes it. This takes milliseconds for a long document.
    pub(super) fn decode(&self) -> Result<Delta, Malformed> {
        self.decoder.decode_whole(&self.body)
    }
}

impl BodyDecoder {
    /// A body before its first byte.
    pub(super) fn new(decoder: Arc<dyn Decoder>, expected: impl Into<Expected>) -> Self {
        let (expected, demands) = (expected.into(), decoder.demands());
        let mut body_decoder = Self {
            decoder,
            form: BodyState::Undecided(Vec::new()),
            reading: AnswerBuilder::new(expected.mode() != Mode::Whole, demands),
            sought: Sought::default(),
            events: 0,
            first_byte: None,
            last_frame: None,
            progress: None,
            most: MAX_BODY,
            room: MAX_BODY,
            charge: None,
            expected,
        };
        if let Expected::Known(mode) = body_decoder.expected {
            body_decoder.decide(mode);
        }
        body_decoder
    }

    /// Sets the form of the body, once it is known.
    fn decide(&mut self, mode: Mode) {
        self.reading.set_streamed(mode != Mode::Whole);
        self.form = Framing::of(mode).map_or_else(|| BodyState::Whole(Vec::new()), BodyState::Stream);
        if mode == Mode::Whole {
            let received = self.received();
            self.most = self.decoder.demands().most_whole;
            self.room = self.most.saturating_sub(received);
        }
    }

    /// Inspects the first bytes. Returns the bytes to decode, once the form of the body is known.
    fn detect(&mut self, mark: Instant, bytes: &[u8]) -> Option<Vec<u8>> {
        let BodyState::Undecided(held) = &mut self.form else { return None };
        held.extend_from_slice(bytes);
        match self.expected.detect(held) {
            Some(Ok(mode)) => {
                let held = std::mem::take(held);
                self.decide(mode);
                return Some(held);
            }
            Some(Err(said)) => self.reading.fail(mark, Failure::Protocol, said),
            // Some servers send white space to keep the connection alive.
            None if held.trim_ascii_start().is_empty() => held.clear(),
            None => {}
        }
        None
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
        if matches!(self.form, BodyState::Undecided(_)) {
            if let Some(held) = self.detect(mark, bytes) {
                self.decode(mark, &held);
            }
        } else {
            self.decode(mark, bytes);
        }
        self.account(mark);
    }

    fn decode(&mut self, mark: Instant, bytes: &[u8]) {
        match &mut self.form {
            BodyState::Stream(framing) => {
                let (reading, sought, events) = (&mut self.reading, &mut self.sought, &mut self.events);
                let mut sink = EventSink { decoder: &*self.decoder, reading, sought, events };
                let (progress, awaits) = (&mut self.progress, sink.decoder.demands().awaits);
                let each = |event: Event<'_>| {
                    if sink.take(mark, event) || !awaits {
                        *progress = Some(mark);
                    }
                };
                if let Err(error) = framing.push(bytes, each) {
                    self.reading.fail(mark, Failure::Protocol, error.to_string());
                }
            }
            // Some servers send white space before a document to keep the connection alive.
            BodyState::Whole(body) => {
                body.extend_from_slice(bytes);
                if self.progress.is_some() || !bytes.trim_ascii_start().is_empty() {
                    self.progress = Some(mark);
                }
            }
            BodyState::Undecided(_) | BodyState::Came(..) => {}
        }
    }

    /// Accounts for the memory of this body in `charge`.
    pub(super) fn charging(mut self, charge: Charge) -> Self {
        self.charge = Some(charge);
        self
    }

    /// Keeps the calls of tools one by one, if they are `wanted`.
    pub(super) fn keeping_tool_calls(mut self, wanted: bool) -> Self {
        if wanted {
            self.reading.keep_tool_calls();
        }
        self
    }

    /// Takes the charge, to be kept for as long as the answer.
    pub(super) fn take_charge(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    fn account(&mut self, mark: Instant) {
        let held = match &self.form {
            BodyState::Stream(framing) => framing.buffered() + self.reading.held(),
            BodyState::Undecided(body) | BodyState::Whole(body) => body.capacity(),
            BodyState::Came(_, body) => body.len(),
        };
        if let Some(charge) = &mut self.charge
            && !charge.hold(held)
        {
            self.reading.fail(mark, Failure::Internal, charge.refusal());
        }
    }

    /// Handles a clean end of the body.
    pub(super) fn end_of_body(&mut self, mark: Instant) {
        if let BodyState::Undecided(held) = &mut self.form {
            let (held, came) = (std::mem::take(held), self.last_frame.unwrap_or(mark));
            self.decide(self.expected.mode());
            self.decode(came, &held);
        }
        match &mut self.form {
            BodyState::Stream(framing) => {
                let (reading, sought, events) = (&mut self.reading, &mut self.sought, &mut self.events);
                let mut sink = EventSink { decoder: &*self.decoder, reading, sought, events };
                let came = self.last_frame.unwrap_or(mark);
                // An unterminated event may be complete or cut short.
                let mut cut = None;
                let framed = framing.finish(|event| cut = sink.try_take(came, event).err());
                let cut = cut.map(|error| error.to_string()).or(framed.err().map(|error| error.to_string()));
                // Where a stream must mark its end, the missing mark already shows that it was cut short.
                if let Some(said) = cut.filter(|_| self.decoder.demands().end == StreamEnd::Body) {
                    let detail = format!("the body ended within an event: {said}");
                    self.reading.fail(mark, Failure::Truncated, detail);
                }
                self.reading.end_of_body(mark, framing.unknown());
            }
            BodyState::Whole(body) if !self.reading.ended() => {
                self.form = BodyState::Came(mark, std::mem::take(body).into());
            }
            BodyState::Undecided(_) | BodyState::Whole(_) | BodyState::Came(..) => {}
        }
    }

    /// A complete body so long that decoding it here would delay the timestamps of other requests. Decode it on another
    /// thread and pass the result to [`Self::decoded`]. Shorter ones are decoded by [`Self::close`].
    pub(super) fn long_document(&self) -> Option<Undecoded> {
        match &self.form {
            BodyState::Came(_, body) if body.len() > MAX_INLINE && !self.reading.ended() => {
                Some(Undecoded { decoder: Arc::clone(&self.decoder), body: body.clone() })
            }
            _ => None,
        }
    }

    /// Handles the content of the whole body.
    pub(super) fn decoded(&mut self, mut result: Result<Delta, Malformed>) {
        let BodyState::Came(mark, body) = &self.form else { return };
        let (mark, body) = (*mark, body.clone());
        let nothing = match &result {
            Ok(delta) => delta.content.is_empty() && delta.error.is_none(),
            Err(_) => true,
        };
        add_failure(&*self.decoder, &mut result, nothing, &body, true);
        match result {
            Ok(delta) => {
                self.reading.event(mark, delta);
            }
            Err(error) => self.decode_as_stream(mark, &body, &error),
        }
    }

    /// Tries to read a document that cannot be decoded as a stream whose events all arrived before it was decoded.
    fn decode_as_stream(&mut self, mark: Instant, body: &[u8], error: &Malformed) {
        let stream = match &self.expected {
            Expected::Detect { media_type, .. } if media_type == "text/event-stream" => {
                Framing::of(Mode::Sse)
            }
            _ => None,
        };
        if let Some(mut framing) = stream {
            let mut deltas = Vec::new();
            let mut each = |event: Event<'_>| deltas.extend(stream::decode_event(&*self.decoder, event));
            let framed = framing.push(body, &mut each).and_then(|()| framing.finish(&mut each));
            if framed.is_ok() && deltas.iter().any(|delta| *delta != Delta::default()) {
                self.reading.set_streamed(true);
                for delta in deltas {
                    self.reading.event(mark, delta);
                }
                return self.reading.end_of_body(mark, framing.unknown());
            }
        }
        let failure = if error.is_cut() { Failure::Truncated } else { Failure::Protocol };
        self.reading.fail(mark, failure, error.to_string());
    }

    /// Records that reading stopped with this failure.
    pub(super) fn fail(&mut self, at: Instant, failure: Failure, detail: String) {
        self.reading.fail(at, failure, detail);
    }

    /// The number of bytes of the body received so far.
    pub(super) fn received(&self) -> usize {
        self.most - self.room
    }

    /// Whether the outcome is decided and the rest only needs to be drained.
    pub(super) fn ended(&self) -> bool {
        self.reading.ended()
    }

    /// Whether the timeout of the first token has ended, or does not apply.
    pub(super) fn has_content(&self) -> bool {
        self.reading.has_content() || !self.streams() || !self.decoder.demands().awaits
    }

    /// The time from which the stall timeout runs; `None` before it starts. A stream progresses with each event that
    /// carries something (content, finish reason, usage), starting with its first content: comments and empty events
    /// keep a connection alive while the user still waits. A stream of a dialect without content progresses with each
    /// event, and a document with each of its bytes.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.progress.filter(|_| self.has_content())
    }

    /// Time of the first byte of the body.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.first_byte
    }

    /// The finished answer.
    pub(super) fn close(mut self, now: Instant) -> EndedAnswer {
        if let BodyState::Came(_, body) = &self.form
            && !self.reading.ended()
        {
            let result = self.decoder.decode_whole(body);
            self.decoded(result);
        }
        let body = match self.form {
            BodyState::Came(_, body) => Some(body),
            BodyState::Undecided(_) | BodyState::Stream(_) | BodyState::Whole(_) => None,
        };
        let mut read = EndedAnswer { body, ..self.reading.close(now) };
        if read.outcome == Outcome::Failed(Failure::Empty)
            && let Some(places) = self.decoder.places(read.body.is_some())
        {
            read.detail = Some(self.sought.detail(&places, read.body.as_deref()));
        }
        read
    }

    fn streams(&self) -> bool {
        match self.form {
            BodyState::Undecided(_) => self.expected.mode() != Mode::Whole,
            BodyState::Stream(_) => true,
            BodyState::Whole(_) | BodyState::Came(..) => false,
        }
    }
}

/// Decodes a streamed answer that comes in these reads. Returns the number of events with content; `None` if the API has
/// no streams, or if the answer is not complete.
pub fn decode_reads<'a>(api: Api, reads: impl IntoIterator<Item = &'a [u8]>) -> Option<usize> {
    let dialect = dialect::of(api)?;
    let framing = Expected::Known(dialect.framing());
    let mut body_decoder = BodyDecoder::new(dialect, framing);
    let mark = Instant::now();
    for read in reads {
        body_decoder.frame(mark, read);
    }
    body_decoder.end_of_body(mark);
    let answer = body_decoder.close(mark);
    (answer.outcome == Outcome::Ok).then(|| answer.gaps.len() + 1)
}
