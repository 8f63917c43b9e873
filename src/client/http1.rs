//! Drives an HTTP/1.1 connection from the task that waits for its answer, so that a chunk wakes one task and not two,
//! and is handed over within the poll that read it.

use super::connection::Body;
use super::observed::ObservedStream;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio_util::task::task_tracker::TaskTrackerToken;

type Http1Connection = Connection<TokioIo<ObservedStream>, Body>;

/// The part of a connection that reads and writes. It makes progress only while it is polled.
pub(super) struct Http1Driver {
    /// `None` once the connection is closed.
    connection: Option<Pin<Box<Http1Connection>>>,
    /// Tells the client's tracker that the connection is open.
    _open: TaskTrackerToken,
}

/// Says goodbye: hyper shuts a connection down that nobody can send on any more. A TLS server takes anything else for a
/// truncation (RFC 8446, section 6.1).
impl Drop for Http1Driver {
    fn drop(&mut self) {
        self.poll_now();
    }
}

impl Http1Driver {
    pub(super) fn new(connection: Http1Connection, open: TaskTrackerToken) -> Self {
        Self { connection: Some(Box::pin(connection)), _open: open }
    }

    /// Reads and writes as much as is possible now. The request concerned gets the error of a connection that breaks;
    /// without a request, the error affects nothing.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Polls once without waiting, and outside of the budget of the task that happens to do it: many connections may be
    /// dropped or looked at by one task.
    fn poll_now(&mut self) {
        let once = std::future::poll_fn(|cx| {
            self.poll(cx);
            Poll::Ready(())
        });
        let _ =
            std::pin::pin!(tokio::task::unconstrained(once)).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Whether an idle connection is still open and free, as far as is known at this moment: a close by the server is
    /// noticed here, because nothing else reads an idle connection.
    pub(super) fn is_ready(&mut self, sender: &SendRequest<Body>) -> bool {
        self.poll_now();
        sender.is_ready()
    }

    /// Waits until the connection is free for another request; `false` if it is closed.
    pub(super) async fn ready(&mut self, sender: &mut SendRequest<Body>) -> bool {
        std::future::poll_fn(|cx| {
            self.poll(cx);
            sender.poll_ready(cx).map(|result| result.is_ok())
        })
        .await
    }

    /// Polls something that this connection makes progress with.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Poll::Ready(it) = poll(cx) {
            return Poll::Ready(it);
        }
        self.poll(cx);
        poll(cx)
    }
}
