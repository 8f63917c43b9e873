//! Writes a streamed answer to its body: grouped, held back, stalled, cut off or corrupted, depending on the request's
//! effects.
//!
//! It knows the effects, the generation and the body, and no dialect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::body::{Gone, Outlet};
use super::conn::Order;
use super::dialect::{Answer, Delta, Refusal};
use super::effects::{Break, Effects, UsageStyle};
use super::generation::{Generation, Kind, Piece, Usage};
use super::truth::{Mark, Record};
use super::wire::{self, Event, Framer, Framing};

/// Bytes that are neither an event nor JSON nor UTF-8.
const GARBAGE: &[u8] = b"\x00\xff\xfe{{{]] not json \xc3(\n\ndata: {\"choices\": [\xf0\x28\n\n";
/// Bytes that are not a valid chunk size.
const NO_CHUNK: &[u8] = b"\r\nzz-this-is-no-chunk-size\r\n\r\n";

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    /// The client disconnected.
    Gone,
    /// A fault breaks it off.
    Break(Break),
}

/// Writes one streamed answer.
pub(crate) struct StreamWriter {
    outlet: Outlet,
    framer: Framer,
    answer: Box<dyn Answer>,
    effects: Effects,
    record: Arc<Record>,
    held: PendingEvents,
    opened: bool,
    /// The kind of the last content.
    kind: Option<Kind>,
    usage: Usage,
    contents: usize,
    /// When the content that is being written was due.
    due: Option<Instant>,
}

/// Events that are held back to be written together.
#[derive(Debug, Default)]
struct PendingEvents {
    events: usize,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

impl From<Gone> for Early {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl StreamWriter {
    pub(crate) fn new(
        outlet: Outlet,
        framing: Framing,
        answer: Box<dyn Answer>,
        effects: Effects,
        record: Arc<Record>,
    ) -> Self {
        let framer = Framer::new(framing, effects.form);
        Self {
            outlet,
            framer,
            answer,
            effects,
            record,
            held: PendingEvents::default(),
            opened: false,
            kind: None,
            usage: Usage::default(),
            contents: 0,
            due: None,
        }
    }

    /// Writes the whole stream, or as much of it as faults and client allow.
    pub(crate) async fn run(mut self, mut generation: Generation) {
        let written = match self.content(&mut generation).await {
            Ok(()) => self.end(&mut generation).await,
            Err(Early::Break(how)) => self.break_off(how).await,
            Err(Early::Gone) => Err(Gone),
        };
        if written.is_err() {
            self.record.set(|truth| truth.client_gone = true);
        }
    }

    /// Writes everything up to the end of the content.
    async fn content(&mut self, generation: &mut Generation) -> Result<(), Early> {
        self.usage = generation.ending(&self.effects).usage;
        if self.effects.role_first || self.effects.empty_chunks > 0 || self.answer.opens_early() {
            self.open().await?;
            for _ in 0..self.effects.empty_chunks {
                self.event(&self.answer.empty()).await?;
            }
            self.flush().await?;
        }
        let mut group: Option<Delta> = None;
        loop {
            let piece = tokio::select! {
                piece = generation.next() => piece,
                gone = self.outlet.gone() => return Err(gone.into()),
            };
            self.record.set(|truth| generation.report(truth));
            self.usage = generation.ending(&self.effects).usage;
            let Some(piece) = piece else { break };
            // What a fault holds back is late by intention.
            self.due = generation.due.filter(|_| self.effects.plain);
            if let Some(mut delta) =
                grouped(&mut group, &piece, self.effects.tokens_per_chunk, generation.logprobs)
            {
                delta.likely = generation.likely_of(delta.kind);
                self.delta(&delta).await?;
            }
        }
        if let Some(mut delta) = group {
            delta.likely = generation.likely_of(delta.kind);
            self.delta(&delta).await?;
        }
        if !generation.complete() {
            return Err(Early::Break(Break::Error));
        }
        match self.effects.broken {
            Some((_, how)) => Err(Early::Break(how)),
            None => Ok(()),
        }
    }

    /// Writes one content event, after the faults that come before it.
    async fn delta(&mut self, delta: &Delta) -> Result<(), Early> {
        match self.effects.broken {
            Some((after, how)) if self.contents >= after => return Err(Early::Break(how)),
            _ => {}
        }
        self.open().await?;
        match self.effects.stall {
            Some((after, time)) if self.contents == after => self.stall(time).await?,
            _ => {}
        }
        if self.kind.replace(delta.kind) != Some(delta.kind) {
            for event in self.answer.begin(delta.kind) {
                self.event(&event).await?;
            }
        }
        let mut event = self.answer.delta(delta);
        if let Some(bytes) = self.effects.huge_line.take() {
            event.data = wire::padded(&event.data, bytes);
        }
        self.contents += 1;
        self.event(&event).await?;
        Ok(())
    }

    async fn stall(&mut self, time: Duration) -> Result<(), Gone> {
        self.flush().await?;
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            gone = self.outlet.gone() => Err(gone),
        }
    }

    async fn open(&mut self) -> Result<(), Gone> {
        if !self.opened {
            self.opened = true;
            let usage = Some(self.usage).filter(|_| self.effects.usage != UsageStyle::Absent);
            for event in self.answer.open(usage) {
                self.event(&event).await?;
            }
        }
        Ok(())
    }

    async fn event(&mut self, event: &Event) -> Result<(), Gone> {
        self.hold(event, false);
        if self.held.events >= self.effects.events_per_write { self.flush().await } else { Ok(()) }
    }

    fn hold(&mut self, event: &Event, last: bool) {
        self.held.events += 1;
        self.held.bytes.extend(self.framer.frame(event, last));
        if event.tokens > 0 {
            // Of what is written together, the last has not waited for others.
            if let Some(Mark::Content { due, .. }) = self.held.marks.last_mut() {
                *due = None;
            }
            self.held.marks.push(Mark::Content { tokens: event.tokens, due: self.due });
        }
    }

    /// Writes the events that are held back.
    async fn flush(&mut self) -> Result<(), Gone> {
        let held = std::mem::take(&mut self.held);
        if held.events == 0 {
            return Ok(());
        }
        let bytes = Bytes::from(held.bytes);
        match self.effects.bytes_per_write {
            None => self.outlet.write(bytes, held.marks).await,
            Some(size) => self.split(bytes, size, held.marks).await,
        }
    }

    /// Writes `bytes` in pieces, each after the previous one has reached the socket; the marks go with the last piece.
    async fn split(&mut self, mut bytes: Bytes, size: usize, marks: Vec<Mark>) -> Result<(), Gone> {
        while bytes.len() > size {
            self.outlet.write_through(bytes.split_to(size), Vec::new()).await?;
        }
        self.outlet.write_through(bytes, marks).await
    }

    /// Ends the stream normally.
    async fn end(&mut self, generation: &mut Generation) -> Result<(), Gone> {
        self.open().await?;
        let mut events = self.answer.close(&generation.ending(&self.effects), &self.effects);
        if !self.effects.no_terminal {
            events.extend(self.answer.terminal());
        }
        self.record.set(|truth| truth.finish_reason = Some(generation.finish.name().to_owned()));
        self.answer.completed(&generation.text);
        generation.store();
        let last = events.pop();
        for event in &events {
            self.event(event).await?;
        }
        if let Some(last) = last {
            self.hold(&last, true);
        }
        self.held.marks.push(Mark::End);
        self.last().await
    }

    /// Writes the events that are held back, as the last ones of the stream.
    async fn last(&mut self) -> Result<(), Gone> {
        let mut held = std::mem::take(&mut self.held);
        let mut bytes = Bytes::from(held.bytes);
        if let Some(size) = self.effects.bytes_per_write {
            let tail = bytes.split_off(bytes.len().saturating_sub(size));
            if !bytes.is_empty() {
                self.split(bytes, size, Vec::new()).await?;
            }
            bytes = tail;
        }
        self.outlet.end(bytes, std::mem::take(&mut held.marks), self.effects.close).await
    }

    /// Ends the stream with a fault.
    async fn break_off(&mut self, how: Break) -> Result<(), Gone> {
        if how == Break::Error {
            self.open().await?;
            let refusal = Refusal::Stopped;
            let terminal = self.answer.terminal_after_error().filter(|_| !self.effects.no_terminal);
            self.hold(&self.answer.error(&refusal), terminal.is_none());
            if let Some(terminal) = terminal {
                self.hold(&terminal, true);
            }
        }
        let held = std::mem::take(&mut self.held);
        break_off(&mut self.outlet, how, Bytes::from(held.bytes), held.marks).await
    }
}

/// Writes `before` and then aborts the body.
pub(crate) async fn break_off(
    outlet: &mut Outlet,
    how: Break,
    before: Bytes,
    mut marks: Vec<Mark>,
) -> Result<(), Gone> {
    let order = match how {
        Break::End | Break::Error => {
            marks.push(Mark::End);
            return outlet.end(before, marks, None).await;
        }
        Break::Garbage => {
            marks.push(Mark::End);
            return outlet.end([before.as_ref(), GARBAGE].concat().into(), marks, None).await;
        }
        Break::Reset => Order::Reset,
        Break::Framing => Order::Raw(NO_CHUNK.to_vec()),
    };
    outlet.write(before, marks).await?;
    outlet.break_off(order).await
}

/// Adds a token to the group, and returns the group once it is full or the token is of another kind.
pub(super) fn grouped(
    group: &mut Option<Delta>,
    piece: &Piece,
    size: usize,
    logprobs: bool,
) -> Option<Delta> {
    // Hidden tokens, and the token that only ends an answer, take time and produce no output.
    if piece.kind == Kind::Hidden || piece.text.is_empty() {
        return None;
    }
    let other = group.take_if(|delta| delta.kind != piece.kind);
    let delta = group.get_or_insert_with(|| Delta { logprobs, ..Delta::of(piece.kind) });
    delta.text.push_str(&piece.text);
    delta.tokens += 1;
    // Never two groups at once: one is left over only where groups have two tokens or more.
    if other.is_some() { other } else { group.take_if(|delta| delta.tokens >= size) }
}
