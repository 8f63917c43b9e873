//! A response body fed through a channel: what is written, what it means, and whether the client is still reading.
//!
//! It knows bytes and marks, and nothing about dialects or faults.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{mpsc, oneshot};

use super::conn::{Control, Order};
use super::faults::CloseWhen;
use super::truth::{Mark, Record};

/// The number of frames that may wait for the connection.
const FRAMES: usize = 8;

/// The client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The writing half of a body.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::Sender<Part>,
    control: Arc<Control>,
    /// Notified when the last bytes sent have reached the socket.
    last: Option<oneshot::Receiver<()>>,
}

/// The body that hyper reads.
#[derive(Debug)]
pub(crate) struct Channel {
    parts: mpsc::Receiver<Part>,
    control: Arc<Control>,
    record: Arc<Record>,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    marks: Vec<Mark>,
    written: Option<oneshot::Sender<()>>,
    close: Option<CloseWhen>,
}

/// A body on the connection behind `control`, whose marks go to `record`.
pub(crate) fn channel(control: Arc<Control>, record: Arc<Record>) -> (Outlet, Channel) {
    let (sender, parts) = mpsc::channel(FRAMES);
    (Outlet { sender, control: Arc::clone(&control), last: None }, Channel { parts, control, record })
}

impl Outlet {
    /// Writes bytes; more may be queued before they reach the socket.
    pub(crate) async fn write(&mut self, bytes: Bytes, marks: Vec<Mark>) -> Result<(), Gone> {
        self.send(bytes, marks, None).await
    }

    /// Writes bytes and waits until they have reached the socket.
    pub(crate) async fn write_through(&mut self, bytes: Bytes, marks: Vec<Mark>) -> Result<(), Gone> {
        self.write(bytes, marks).await?;
        self.written().await
    }

    /// Writes the last bytes. The connection closes afterwards if `close` is set.
    pub(crate) async fn end(
        &mut self,
        bytes: Bytes,
        marks: Vec<Mark>,
        close: Option<CloseWhen>,
    ) -> Result<(), Gone> {
        self.send(bytes, marks, close).await
    }

    /// Aborts the connection once everything written before has been sent.
    pub(crate) async fn break_off(&mut self, order: Order) -> Result<(), Gone> {
        self.written().await?;
        self.control.order(order);
        // The order is carried out at the next write, so there has to be one.
        self.send(Bytes::from_static(b"\n"), Vec::new(), None).await
    }

    /// Waits until the reading half is gone.
    pub(crate) async fn gone(&self) -> Gone {
        self.sender.closed().await;
        Gone
    }

    /// Waits until everything has reached the socket.
    async fn written(&mut self) -> Result<(), Gone> {
        match self.last.take() {
            Some(written) => written.await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    async fn send(&mut self, bytes: Bytes, marks: Vec<Mark>, close: Option<CloseWhen>) -> Result<(), Gone> {
        // Without bytes there is no write to wait for; their marks go with whatever hyper writes next.
        let written = (!bytes.is_empty()).then(|| {
            let (written, heard) = oneshot::channel();
            self.last = Some(heard);
            written
        });
        self.sender.send(Part { bytes, marks, written, close }).await.map_err(|_| Gone)
    }
}

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(part) = ready!(self.parts.poll_recv(cx)) else { return Poll::Ready(None) };
        if !part.marks.is_empty() || part.written.is_some() {
            self.control.expect(&self.record, part.marks, part.written);
        }
        if let Some(when) = part.close {
            self.control.close(when);
        }
        Poll::Ready(Some(Ok(Frame::data(part.bytes))))
    }
}
