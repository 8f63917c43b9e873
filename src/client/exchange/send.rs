//! Gets a connection for a request, new or reused, and sends the request on it. Knows nothing about the answer beyond
//! its headers.

use super::{AnswerFormat, Exchange};
use crate::client::classify::CallError;
use crate::client::connection::{Body, Connection, Lost};
use crate::client::mapped;
use crate::credentials::Issued;
use crate::event::Failure;
use crate::plan::HttpVersion;
use http::{Request, Response, header};
use hyper::body::Incoming;
use std::sync::Arc;
use tokio::time::Instant;

impl Exchange<'_> {
    /// Returns the credentials to send, if they have to be fetched. Present ones are used without waiting; waiting for
    /// new ones counts as set-up and ends before the request is sent. A step with an `Authorization` header of its own
    /// needs none.
    pub(super) async fn obtain_credentials(&mut self) -> Result<Option<Arc<Issued>>, CallError> {
        let Some(credentials) = &self.client.credentials else { return Ok(None) };
        if matches!(self.form, AnswerFormat::Http(_)) && self.call.headers.contains_key(header::AUTHORIZATION)
        {
            return Ok(None);
        }
        let known = if let Some(known) = credentials.present() {
            known
        } else {
            let began = Instant::now();
            let until = self.deadlines.credentials(began);
            let waited = self.deadlines.wait(until, credentials.get()).await;
            self.marks.setup += began.elapsed();
            waited?
        };
        known.map(Some).map_err(|error| CallError::new(Failure::Credentials, error.to_string()))
    }

    /// Whether the timeout of the first token applies: a stream is requested, and content is expected in it.
    fn awaits_content(&self) -> bool {
        let looked_for = match &self.form {
            AnswerFormat::Dialect(_) => true,
            AnswerFormat::Http(reading) => reading.as_deref().is_some_and(mapped::awaits),
        };
        self.call.stream && looked_for
    }

    /// Sends the request on a ready connection and waits for the response headers.
    pub(super) async fn open(
        &mut self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Connection), CallError> {
        let began = Instant::now();
        if self.is_cold() {
            self.marks.sent = Some(began);
        }
        let mut link = self.obtain(began).await?;
        // A new connection is never replaced, so its request need not be kept.
        let spare = link.reused().then(|| request.clone());
        let sent = *self.marks.sent.get_or_insert_with(Instant::now);
        let lost = match self.send(&mut link, request, sent).await? {
            Ok(response) => return Ok((response, link)),
            Err(lost) => lost,
        };
        let Some(request) = spare.filter(|_| lost.stale) else { return Err(lost.broken) };
        self.connection.stale = true;
        let mut link = self.replace(sent).await?;
        match self.send(&mut link, request, sent).await? {
            Ok(response) => Ok((response, link)),
            Err(lost) => Err(lost.broken),
        }
    }

    async fn send(
        &mut self,
        link: &mut Connection,
        request: Request<Body>,
        sent: Instant,
    ) -> Result<Result<Response<Incoming>, Lost>, CallError> {
        let until = self.deadlines.content(sent, self.awaits_content());
        let result = self.deadlines.wait(until, link.send(request)).await.map_err(|mut late| {
            if !matches!(late.failure, Failure::Cancelled | Failure::Internal) {
                late.detail.push_str(if link.most_streams() == 0 {
                    ": the server takes no requests on this connection (SETTINGS_MAX_CONCURRENT_STREAMS is 0)"
                } else {
                    ": the request was sent, and no answer has begun"
                });
            }
            late
        });
        if let Ok(Ok(_)) = &result {
            self.marks.headers = Some(link.last_arrival().at.min(Instant::now()).max(sent));
        }
        result
    }

    /// Returns a ready connection, reused or new. Set-up time is recorded before `sent`, even if another request opened
    /// the connection and this one waited for it.
    async fn obtain(&mut self, began: Instant) -> Result<Connection, CallError> {
        if self.is_cold() {
            return self.connect(began).await;
        }
        if let Some(link) = self.client.pool.take() {
            return Ok(link);
        }
        let link = self.connect(began).await;
        self.marks.setup += began.elapsed();
        link
    }

    /// Opens a connection; on HTTP/2, takes one that another request is already opening.
    async fn connect(&mut self, began: Instant) -> Result<Connection, CallError> {
        let until = self.deadlines.connection(began, self.marks.sent, self.awaits_content());
        let client = self.client;
        let alone = self.is_cold() || client.target.http == HttpVersion::Http1;
        let connection = &mut self.connection;
        let work = async {
            if alone {
                return client.dialer.dial(connection).await;
            }
            let _turn = client.pool.opening().await;
            if let Some(link) = client.pool.take() {
                return Ok(link);
            }
            let link = client.dialer.dial(connection).await?;
            client.pool.offer(&link);
            Ok(link)
        };
        let waited = self.deadlines.wait(until, work).await;
        waited.map_err(|mut late| {
            let is_theirs = !matches!(late.failure, Failure::Cancelled | Failure::Internal);
            if is_theirs && self.connection.phases.is_some() {
                late.detail.push_str(": ");
                late.detail.push_str(client.dialer.whereabouts(self.connection.step));
            }
            late
        })?
    }

    /// Opens a connection that replaces a stale one.
    async fn replace(&mut self, sent: Instant) -> Result<Connection, CallError> {
        let until = self.deadlines.connection(Instant::now(), Some(sent), self.awaits_content());
        let link = self.deadlines.wait(until, self.client.dialer.dial(&mut self.connection)).await??;
        self.client.pool.offer(&link);
        Ok(link)
    }
}
