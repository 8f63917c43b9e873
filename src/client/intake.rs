//! The body of an answer, from bytes to events: framing, dialect, bounds. Pure: every frame comes with its mark,
//! which was taken before anything here ran.

use super::answer::{Read, Reading};
use super::dialect::Dialect;
use crate::event::Failure;
use crate::framing::{Event, sse};
use tokio::time::Instant;

/// Most bytes of one answer's body; more is a `protocol` failure.
pub(super) const MOST_BODY: usize = 64 << 20;
/// Most bytes of one event of a stream; more is a `protocol` failure.
pub(super) const MOST_EVENT: usize = 4 << 20;

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As a stream of events.
    Stream,
    /// As one document.
    Whole,
}

/// A body while it arrives.
pub(super) struct Intake {
    dialect: &'static dyn Dialect,
    form: Form,
    reading: Reading,
    first_byte: Option<Instant>,
    last_frame: Option<Instant>,
    /// Last progress: see [`Self::progress`].
    progress: Option<Instant>,
    room: usize,
}

enum Form {
    Stream(sse::Decoder),
    Whole(Vec<u8>),
}

impl Intake {
    /// A body of which nothing has come.
    pub(super) fn new(dialect: &'static dyn Dialect, mode: Mode) -> Self {
        let form = match mode {
            Mode::Stream => Form::Stream(sse::Decoder::new(MOST_EVENT)),
            Mode::Whole => Form::Whole(Vec::new()),
        };
        let reading = Reading::new(mode == Mode::Stream);
        Self { dialect, form, reading, first_byte: None, last_frame: None, progress: None, room: MOST_BODY }
    }

    /// Takes a frame of the body.
    pub(super) fn frame(&mut self, mark: Instant, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.first_byte.get_or_insert(mark);
        self.last_frame = Some(mark);
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            let detail = format!("the answer is longer than {MOST_BODY} bytes");
            return self.reading.fail(mark, Failure::Protocol, detail);
        };
        self.room = room;
        match &mut self.form {
            Form::Stream(decoder) => {
                let (reading, progress, dialect) = (&mut self.reading, &mut self.progress, self.dialect);
                let each = |event: Event<'_>| take_event(dialect, reading, progress, mark, event);
                if let Err(error) = decoder.push(bytes, each) {
                    self.reading.fail(mark, Failure::Protocol, error.to_string());
                }
            }
            // White space before a document is how some servers say that they are alive.
            Form::Whole(body) => {
                let rest = if body.is_empty() { bytes.trim_ascii_start() } else { bytes };
                body.extend_from_slice(rest);
                if !body.is_empty() {
                    self.progress = Some(mark);
                }
            }
        }
    }

    /// The body ended cleanly.
    pub(super) fn end_of_body(&mut self, mark: Instant) {
        match &mut self.form {
            Form::Stream(decoder) => {
                let (reading, dialect) = (&mut self.reading, self.dialect);
                let came = self.last_frame.unwrap_or(mark);
                // An event without its blank line may be a whole event, or one that was cut. The latter is told by
                // what the body lacks, so an error here says nothing new.
                let _ = decoder.finish(|event| {
                    if let Ok(delta) = dialect.decode_event(event) {
                        reading.event(came, delta);
                    }
                });
                self.reading.end_of_body(mark);
            }
            Form::Whole(body) => match self.dialect.decode_whole(body) {
                Ok(delta) => {
                    self.reading.event(mark, delta);
                }
                Err(error) => {
                    let failure = if error.is_cut() { Failure::Truncated } else { Failure::Protocol };
                    self.reading.fail(mark, failure, error.to_string());
                }
            },
        }
    }

    /// Reading stopped because of this.
    pub(super) fn fail(&mut self, at: Instant, failure: Failure, detail: String) {
        self.reading.fail(at, failure, detail);
    }

    /// The outcome is decided; what still comes is drained.
    pub(super) fn ended(&self) -> bool {
        self.reading.ended()
    }

    /// The time to the first token has ended, or never ran.
    pub(super) fn has_content(&self) -> bool {
        self.reading.has_content() || matches!(self.form, Form::Whole(_))
    }

    /// The instant from which the stall timeout runs, once it does. A stream progresses with each event that says
    /// something (content, finish reason, usage), from its first content on: comments and empty events keep a
    /// connection alive, and a user waiting. A whole answer progresses with every byte of its document.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.progress.filter(|_| self.has_content())
    }

    /// First byte of the body.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.first_byte
    }

    /// What it amounts to.
    pub(super) fn close(self, now: Instant) -> Read {
        self.reading.close(now)
    }
}

fn take_event(
    dialect: &dyn Dialect,
    reading: &mut Reading,
    progress: &mut Option<Instant>,
    mark: Instant,
    event: Event<'_>,
) {
    match dialect.decode_event(event) {
        Ok(delta) => {
            if reading.event(mark, delta) {
                *progress = Some(mark);
            }
        }
        Err(error) => reading.fail(mark, Failure::Protocol, error.to_string()),
    }
}
