//! Streams with a schedule of their own: a chunk at a fixed interval from the request's arrival on, whatever the others
//! do, or as fast as the connection takes them. It stands in for the engine where the simulator is to be a server of a
//! known, precise load.
//!
//! The connection's own task makes and writes each chunk when it is due; no other task and no queue lies in between.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::Instant;

use super::conn::Control;
use super::dialect::{Answer, Delta, Ending};
use super::effects::Effects;
use super::engine::Times;
use super::generation::{Kind, Piece, Planned, Usage};
use super::metrics::Sizes;
use super::shared::SimShared;
use super::stream::grouped;
use super::truth::{Mark, Record};
use super::wire::{Event, Framer, Framing};

/// When the chunks of each answer are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From the arrival of the request to its first chunk.
    pub(crate) first: Duration,
    /// From one chunk to the next; zero is as fast as the connection takes them.
    pub(crate) next: Duration,
}

/// The body of one streamed answer.
pub(crate) struct SteadyBody {
    shared: Arc<SimShared>,
    control: Arc<Control>,
    record: Arc<Record>,
    answer: Box<dyn Answer>,
    framer: Framer,
    effects: Effects,
    pace: Pace,
    begun: Instant,
    pieces: std::vec::IntoIter<Piece>,
    group: Option<Delta>,
    kind: Option<Kind>,
    planned: Ended,
    logprobs: bool,
    likely: Vec<(String, f64)>,
    /// Number of writes so far.
    writes: u32,
    /// Bytes were returned, and are to be written before the next.
    unflushed: bool,
    done: bool,
}

/// What is known of its end from the start.
struct Ended {
    ending: Ending,
    sizes: Sizes,
}

impl Pace {
    /// When write `number`, from 0, of an answer that began at `begun` is due.
    fn due(self, begun: Instant, number: u32) -> Instant {
        begun + self.first + self.next.saturating_mul(number)
    }

    /// The time that a whole answer of `tokens` tokens takes.
    pub(crate) fn whole(self, tokens: usize) -> Duration {
        let others = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first + self.next.saturating_mul(others)
    }
}

impl SteadyBody {
    pub(crate) fn new(
        (shared, control, record): (Arc<SimShared>, Arc<Control>, Arc<Record>),
        (answer, framing): (Box<dyn Answer>, Framing),
        effects: Effects,
        (pace, planned, likely): (Pace, Planned, Vec<(String, f64)>),
    ) -> Self {
        record.set(|truth| {
            truth.queue_seconds = Some(0.0);
            truth.prefill_seconds = Some(pace.first.as_secs_f64());
        });
        let ending = Ending {
            finish: planned.finish,
            usage: planned.usage,
            retrieval: None,
            generation: pace.whole(planned.usage.output),
        };
        Self {
            begun: record.arrival(),
            planned: Ended { ending, sizes: planned.sizes() },
            logprobs: planned.logprobs,
            pieces: planned.pieces.into_iter(),
            framer: Framer::new(framing, effects.form),
            shared,
            control,
            record,
            answer,
            effects,
            pace,
            likely,
            group: None,
            kind: None,
            writes: 0,
            unflushed: false,
            done: false,
        }
    }

    /// The bytes of the next write, and what they mean.
    fn next_write(&mut self, due: Instant) -> (Bytes, Vec<Mark>) {
        let (mut bytes, mut marks) = (Vec::with_capacity(256), Vec::with_capacity(1));
        if self.writes == 0 {
            let usage: Option<Usage> = Some(self.planned.ending.usage);
            let opening = self.answer.open(usage);
            self.frame(&opening, false, &mut bytes);
        }
        self.writes = self.writes.saturating_add(1);
        let due = Some(due).filter(|_| !self.pace.next.is_zero());
        while marks.len() < self.effects.events_per_write {
            let Some(mut delta) = self.next_delta() else {
                self.close(&mut bytes);
                marks.push(Mark::End);
                break;
            };
            if delta.kind == Kind::Text {
                delta.likely = std::mem::take(&mut self.likely);
            }
            if self.kind.replace(delta.kind) != Some(delta.kind) {
                let beginning = self.answer.begin(delta.kind);
                self.frame(&beginning, false, &mut bytes);
            }
            let event = self.answer.delta(&delta);
            self.frame(&[event], false, &mut bytes);
            marks.push(Mark::Content { tokens: delta.tokens, due });
        }
        (bytes.into(), marks)
    }

    fn next_delta(&mut self) -> Option<Delta> {
        for piece in self.pieces.by_ref() {
            if let Some(delta) =
                grouped(&mut self.group, &piece, self.effects.tokens_per_chunk, self.logprobs)
            {
                return Some(delta);
            }
        }
        self.group.take()
    }

    fn close(&mut self, bytes: &mut Vec<u8>) {
        self.done = true;
        let Ended { ending, sizes } = &self.planned;
        let mut events = self.answer.close(ending, &self.effects);
        events.extend(self.answer.terminal());
        let decode = ending.generation.saturating_sub(self.pace.first);
        let times = Times { queued: Duration::ZERO, prefill: self.pace.first, decode };
        self.shared.metrics.finished(ending.finish.name(), times, *sizes);
        self.record.set(|truth| truth.finish_reason = Some(ending.finish.name().to_owned()));
        self.frame(&events, true, bytes);
    }

    /// Frames events; after the last of them nothing follows if `last`.
    fn frame(&mut self, events: &[Event], last: bool, bytes: &mut Vec<u8>) {
        let count = events.len();
        for (number, event) in events.iter().enumerate() {
            bytes.extend(self.framer.frame(event, last && number + 1 == count));
        }
    }

    /// When the next write is due: the end follows its last content at once.
    fn due(&self) -> Instant {
        let at_end = self.writes > 0 && self.group.is_none() && self.pieces.as_slice().is_empty();
        self.pace.due(self.begun, if at_end { self.writes - 1 } else { self.writes })
    }
}

impl Body for SteadyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let due = self.due();
        if due > Instant::now() {
            self.unflushed = false;
            self.shared.pacer.wake_at(due, cx.waker().clone());
            return Poll::Pending;
        }
        if std::mem::take(&mut self.unflushed) {
            // hyper writes what it has once the body has no more for it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (bytes, marks) = self.next_write(due);
        self.control.expect(&self.record, marks, None);
        self.unflushed = true;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for SteadyBody {
    fn drop(&mut self) {
        if !self.done {
            self.record.set(|truth| truth.client_gone = true);
        }
    }
}
