//! One request and its answer: in order, what happens to it and when.

use super::classify::{self, Broken};
use super::http::Client;
use super::intake::Intake;
use super::link::{Body, Link, Lost};
use super::patience::Patience;
use super::request::Scrub;
use super::{Answer, Context, body, response};
use crate::event::{Connection, Failure, Marks, Outcome};
use crate::exchange::Call;
use crate::plan::{ConnectionMode, HttpVersion};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::Instant;

/// Most bytes of an error answer that are read for its detail.
const MOST_ERROR: usize = 64 << 10;
/// How long a connection may take to come back to rest after its answer was read.
const REST_WITHIN: Duration = Duration::from_millis(100);

/// One request while it is played.
pub(super) struct Round<'a> {
    client: &'a Client,
    call: Call,
    context: Context,
    patience: Patience,
    marks: Marks,
    connection: Connection,
    scrub: Scrub,
}

impl<'a> Round<'a> {
    /// The engine has turned to the request.
    pub(super) fn new(client: &'a Client, call: Call, context: Context) -> Self {
        let marks = Marks::begin(context.due, Instant::now());
        let patience = Patience { timeouts: client.target.timeouts, cancel: context.cancel.clone() };
        let (connection, scrub) = (Connection::default(), Scrub::default());
        Self { client, call, context, patience, marks, connection, scrub }
    }

    /// To its end, whatever that is.
    pub(super) async fn play(mut self) -> Answer {
        let request = match self.client.composer.compose(&self.call, &self.context.ids) {
            Ok((request, scrub)) => {
                self.scrub = scrub;
                request
            }
            Err(broken) => return self.failed(&broken),
        };
        match self.open(request).await {
            Ok((response, link)) => self.read(response, link).await,
            Err(broken) => self.failed(&broken),
        }
    }

    fn is_cold(&self) -> bool {
        self.client.target.connection == ConnectionMode::Cold
    }

    /// Sends the request on a ready connection and waits for the head of the answer.
    async fn open(&mut self, request: Request<Body>) -> Result<(Response<Incoming>, Link), Broken> {
        let began = Instant::now();
        if self.is_cold() {
            self.marks.sent = Some(began);
        }
        let mut link = self.obtain(began).await?;
        // A fresh connection is never replaced, so its request need not be kept.
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
        link: &mut Link,
        request: Request<Body>,
        sent: Instant,
    ) -> Result<Result<Response<Incoming>, Lost>, Broken> {
        let until = self.patience.content(sent, self.call.stream);
        let result = self.patience.wait(until, link.send(request)).await;
        let now = Instant::now();
        if let Ok(Ok(_)) = &result {
            self.marks.headers = Some(now);
        }
        result
    }

    /// A ready connection, kept or new. Set-up before `sent` is noted, also where another request opened the
    /// connection and this one waited for it.
    async fn obtain(&mut self, began: Instant) -> Result<Link, Broken> {
        if self.is_cold() {
            return self.connect(began).await;
        }
        if let Some(link) = self.client.pool.take() {
            return Ok(link);
        }
        let link = self.connect(began).await;
        self.marks.setup = began.elapsed();
        link
    }

    /// A new connection, or on HTTP/2 one that another request opens just now.
    async fn connect(&mut self, began: Instant) -> Result<Link, Broken> {
        let until = self.patience.connection(began, self.marks.sent, self.call.stream);
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
        self.patience.wait(until, work).await?
    }

    /// A new connection in place of a stale one.
    async fn replace(&mut self, sent: Instant) -> Result<Link, Broken> {
        let until = self.patience.connection(Instant::now(), Some(sent), self.call.stream);
        let link = self.patience.wait(until, self.client.dialer.dial(&mut self.connection)).await??;
        self.client.pool.offer(&link);
        Ok(link)
    }

    /// Reads the answer.
    async fn read(mut self, response: Response<Incoming>, link: Link) -> Answer {
        let (head, mut body) = response.into_parts();
        let mut answer = Answer::failed(Failure::Internal, "", self.marks.clone());
        answer.status = Some(head.status.as_u16());
        answer.server = response::server(&head.headers);
        answer.limits = response::limits(&head.headers);

        let mode = match self.refusal(head.status) {
            Some(failure) => {
                let known = self.marks.headers;
                let (bytes, complete) = body::some(&mut body, MOST_ERROR, &self.patience).await;
                let said = self.said(head.status, &head.headers, &bytes);
                self.release(link, complete).await;
                return self.finish(answer, &Broken::new(failure, said), known);
            }
            None => match response::mode(&head.headers, self.call.stream) {
                Ok(mode) => mode,
                Err(broken) => return self.finish(answer, &broken, None),
            },
        };
        let sent = self.marks.sent.unwrap_or(self.marks.started);
        let mut intake = Intake::new(self.client.dialect, mode);
        let complete = body::read(&mut body, &mut intake, &self.patience, sent).await;
        drop(body);
        self.release(link, complete).await;
        self.marks.first_byte = intake.first_byte();
        self.fill(answer, intake).await
    }

    /// What the status says against the answer.
    fn refusal(&self, status: StatusCode) -> Option<Failure> {
        // In absolute form the proxy answers for itself with this one.
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && self.client.dialer.absolute_form() {
            return Some(Failure::Proxy);
        }
        classify::status(status)
    }

    fn said(&self, status: StatusCode, headers: &header::HeaderMap, body: &[u8]) -> String {
        let text =
            self.client.dialect.decode_error(body).unwrap_or_else(|| String::from_utf8_lossy(body).into());
        // Codes like 529 have no words of their own.
        let words = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        let status_line = format!("HTTP {}{words}", status.as_u16());
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.filter(|_| status.is_redirection()) {
            // Without its query, which may carry tokens of its own.
            Some(to) => format!("{status_line}, to {}", to.split('?').next().unwrap_or_default()),
            None if text.is_empty() => status_line,
            None => format!("{status_line}: {text}"),
        }
    }

    /// Keeps the connection for the next request, if it can be.
    async fn release(&self, mut link: Link, complete: bool) {
        if self.is_cold() || !complete || link.lease().is_some() {
            return;
        }
        if tokio::time::timeout(REST_WITHIN, link.ready()).await == Ok(true) {
            self.client.pool.put(link);
        }
    }

    /// Everything about an answer that was read, its tokens counted last.
    async fn fill(mut self, mut answer: Answer, intake: Intake) -> Answer {
        let read = intake.close(Instant::now());
        self.marks.first_chunk = read.marks.first_chunk;
        self.marks.first_token = read.marks.first_token;
        self.marks.first_text = read.marks.first_text;
        self.marks.last_token = read.marks.last_token;
        self.marks.end = read.end;
        answer.outcome = read.outcome;
        answer.detail = read.detail.as_deref().map(|detail| self.scrub.clean(detail));
        answer.streamed = read.streamed;
        answer.gaps = read.gaps;
        answer.finish_reason = read.finish;
        let counted = self.client.count(&self.call, &read.generated, read.evidence.lacks_input()).await;
        answer.tokens = read.evidence.tokens(counted);
        answer.text = read.generated.text;
        answer.marks = self.marks;
        answer.connection = self.connection;
        answer
    }

    fn finish(mut self, mut answer: Answer, broken: &Broken, end: Option<Instant>) -> Answer {
        self.marks.end = end.unwrap_or_else(Instant::now);
        answer.outcome = Outcome::Failed(broken.failure);
        answer.detail = Some(self.scrub.clean(&broken.detail));
        answer.marks = self.marks;
        answer.connection = self.connection;
        answer
    }

    /// Nothing came back.
    fn failed(self, broken: &Broken) -> Answer {
        let blank = Answer::failed(broken.failure, "", self.marks.clone());
        self.finish(blank, broken, None)
    }
}
