//! One request and its answer: the steps of an exchange in order, with their timing.

use super::body_decoder::BodyDecoder;
use super::body_decoder::Mode;
use super::classify::{self, CallError};
use super::connection::{Body, Connection, Lost};
use super::deadlines::Deadlines;
use super::dialect::{Decoder, Dialect};
use super::http::Client;
use super::mapped::{self, MappedDecoder};
use super::redactor::Redactor;
use super::{Answer, AnswerForm, Context, body, response};
use crate::cpu_pool::{self, CpuPool, Unfinished};
use crate::event::{ConnectionRecord, Failure, Marks, Outcome};
use crate::exchange::Call;
use crate::plan::{AnswerMapping, ConnectionMode, HttpVersion};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of bytes of an error answer that are read for its details.
const MAX_ERROR: usize = 64 << 10;
/// How long a connection may take to become idle after its answer was read.
const REST_WITHIN: Duration = Duration::from_millis(100);

/// How the answer of a request is interpreted.
enum Form {
    Dialect(Arc<dyn Dialect>),
    Http(Option<Arc<AnswerMapping>>),
}

/// What the status means for an answer.
enum Verdict {
    /// It is read as a success.
    Success,
    /// It is read as a success, although another status was expected, with this description.
    Unexpected(String),
    /// It is an error.
    Error(Failure),
}

/// One request that is being sent.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    call: Call,
    context: Context,
    form: Form,
    deadlines: Deadlines,
    marks: Marks,
    connection: ConnectionRecord,
    redactor: Redactor,
}

impl<'a> Exchange<'a> {
    /// When the engine began to handle the request.
    pub(super) fn new(client: &'a Client, call: Call, mut context: Context) -> Self {
        let marks = Marks::begin(context.due, Instant::now());
        let redactor = Redactor::new(std::mem::take(&mut context.options.hidden));
        let options = &context.options;
        let deadlines = Deadlines::new(client.target.timeouts, options.timeout, context.cancel.clone());
        let form = match (&options.form, &client.dialect) {
            (AnswerForm::Dialect, Some(dialect)) => Form::Dialect(Arc::clone(dialect)),
            (AnswerForm::Dialect, None) => Form::Http(None),
            (AnswerForm::Http(reading), _) => Form::Http(reading.clone()),
        };
        let connection = ConnectionRecord::default();
        Self { client, call, context, form, deadlines, marks, connection, redactor }
    }

    /// Runs the exchange to its end, whatever the outcome.
    pub(super) async fn play(mut self) -> Answer {
        let composed = self.client.composer.compose(&self.call, &self.context, &mut self.redactor);
        let opened = match composed {
            Ok(request) => self.open(request).await,
            Err(broken) => Err(broken),
        };
        match opened {
            Ok((response, link)) => self.read(response, link).await,
            Err(broken) => self.failed(&broken),
        }
    }

    /// Whether the timeout of the first token applies: a stream is requested, and content is looked for in it.
    fn awaits_content(&self) -> bool {
        let looked_for = match &self.form {
            Form::Dialect(_) => true,
            Form::Http(reading) => reading.as_deref().is_some_and(mapped::awaits),
        };
        self.call.stream && looked_for
    }

    fn is_cold(&self) -> bool {
        self.client.target.connection == ConnectionMode::Cold
    }

    /// Sends the request on a ready connection and waits for the response headers.
    async fn open(&mut self, request: Request<Body>) -> Result<(Response<Incoming>, Connection), CallError> {
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
        let result = self.deadlines.wait(until, link.send(request)).await;
        let now = Instant::now();
        if let Ok(Ok(_)) = &result {
            self.marks.headers = Some(now);
        }
        result
    }

    /// A ready connection, reused or new. Set-up time is recorded before `sent`, also if another request opened the
    /// connection and this one waited for it.
    async fn obtain(&mut self, began: Instant) -> Result<Connection, CallError> {
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

    /// A new connection, or on HTTP/2 one that another request is just opening.
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
            if let Some(phases) = self.connection.phases.filter(|_| late.failure != Failure::Cancelled) {
                late.detail.push_str(": ");
                late.detail.push_str(client.dialer.whereabouts(phases));
            }
            late
        })?
    }

    /// A new connection that replaces a stale one.
    async fn replace(&mut self, sent: Instant) -> Result<Connection, CallError> {
        let until = self.deadlines.connection(Instant::now(), Some(sent), self.awaits_content());
        let link = self.deadlines.wait(until, self.client.dialer.dial(&mut self.connection)).await??;
        self.client.pool.offer(&link);
        Ok(link)
    }

    /// Reads the answer.
    async fn read(mut self, response: Response<Incoming>, link: Connection) -> Answer {
        let (head, mut body) = response.into_parts();
        let mut answer = Answer::failed(Failure::Internal, "", self.marks.clone());
        answer.observed.status = Some(head.status.as_u16());
        answer.observed.server = response::server(&head.headers);
        answer.observed.limits = response::limits(&head.headers);
        answer.headers = head.headers;

        let unexpected = match self.verdict(head.status) {
            Verdict::Success => None,
            Verdict::Unexpected(said) => Some(said),
            Verdict::Error(failure) => {
                let known = self.marks.headers;
                let (bytes, complete) = body::some(&mut body, MAX_ERROR, &self.deadlines).await;
                let said = self.said(head.status, &answer.headers, &bytes);
                self.release(link, complete).await;
                return self.finish(answer, &CallError::new(failure, said), known);
            }
        };
        let (decoder, mode) = match self.decoder(head.status, &answer.headers) {
            Ok(by) => by,
            Err(mut broken) => {
                self.name_page(&answer.headers, &[], &mut broken.detail);
                return self.finish(answer, &broken, None);
            }
        };
        let sent = self.marks.sent.unwrap_or(self.marks.started);
        let mut body_decoder = BodyDecoder::new(decoder, mode).charging(self.client.memory.charge());
        let complete =
            body::read(&mut body, &mut body_decoder, &self.deadlines, sent, &link.progress()).await;
        drop(body);
        self.release(link, complete).await;
        self.marks.first_byte = body_decoder.first_byte();
        let until = cpu_pool::deadline(sent, self.deadlines.timeouts.total);
        decode_aside(&self.client.cpu_pool, &mut body_decoder, until).await;
        self.fill(answer, body_decoder, unexpected).await
    }

    /// What the status means. A status that a step expects is a success, even if it means an error elsewhere.
    fn verdict(&self, status: StatusCode) -> Verdict {
        let expected = self.context.options.status.as_ref();
        if expected.is_some_and(|set| set.contains(status.as_u16())) {
            return Verdict::Success;
        }
        // In absolute form, this status is the proxy's own answer.
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && self.client.dialer.absolute_form() {
            return Verdict::Error(Failure::Proxy);
        }
        match (classify::status(status), expected) {
            (Some(failure), _) => Verdict::Error(failure),
            (None, Some(set)) => Verdict::Unexpected(response::unexpected(status, set)),
            (None, None) => Verdict::Success,
        }
    }

    /// How the body of a success is interpreted, and its framing.
    fn decoder(
        &self,
        status: StatusCode,
        headers: &header::HeaderMap,
    ) -> Result<(Arc<dyn Decoder>, Mode), CallError> {
        let empty = response::has_no_body(&self.call.method, status);
        if !empty {
            response::uncompressed(headers)?;
        }
        match &self.form {
            Form::Dialect(dialect) => {
                let mode = response::mode(headers, self.call.stream)?;
                Ok((Arc::<dyn Dialect>::clone(dialect), mode))
            }
            Form::Http(reading) => {
                let reading = MappedDecoder::new(reading.clone(), &response::media_type(headers), empty);
                let mode = reading.mode();
                Ok((Arc::new(reading), mode))
            }
        }
    }

    fn said(&self, status: StatusCode, headers: &header::HeaderMap, body: &[u8]) -> String {
        let status_line = response::status_line(status);
        if !status.is_redirection()
            && let Some(page) = response::page(headers, body)
        {
            let hint = if status.is_server_error() {
                "a proxy or gateway in front may have answered".to_owned()
            } else {
                format!("is the path right? {}", self.tried())
            };
            return format!("{status_line}, with {page}: {hint}");
        }
        let text = match &self.form {
            Form::Dialect(dialect) => dialect.decode_error(body),
            Form::Http(_) => mapped::decode_error(body),
        };
        let mut text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into());
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            text = if text.is_empty() { self.tried() } else { format!("{text}; {}", self.tried()) };
        }
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.filter(|_| status.is_redirection()) {
            // Without query and fragment, which may contain tokens.
            Some(to) => {
                let to = to.split(['?', '#']).next().unwrap_or_default();
                format!(
                    "{status_line}, to {to}: none is followed, so that no credentials go elsewhere; {}",
                    self.tried()
                )
            }
            None if text.is_empty() => status_line,
            None => format!("{status_line}: {text}"),
        }
    }

    /// The address that was asked, without its query, which may contain secrets.
    fn tried(&self) -> String {
        let url = &self.client.target.base_url;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let base = url.path().trim_end_matches('/');
        let path = self.call.path.split('?').next().unwrap_or_default();
        format!("tried {} {}://{host}{port}{base}{path}", self.call.method, url.scheme())
    }

    /// Adds to the failure of an answer that is a page for people what that means.
    fn name_page(&self, headers: &header::HeaderMap, body: &[u8], detail: &mut String) {
        if let Some(page) = response::page(headers, body) {
            for part in ["; it is ", &page, ": is the path right? ", &self.tried()] {
                detail.push_str(part);
            }
        }
    }

    /// Returns the connection to the pool for the next request, if possible.
    async fn release(&self, mut link: Connection, complete: bool) {
        if self.is_cold() || !complete || link.lease().is_some() {
            return;
        }
        if tokio::time::timeout(REST_WITHIN, link.ready()).await == Ok(true) {
            self.client.pool.put(link);
        }
    }

    /// Everything about an answer that was read; its tokens are counted last.
    async fn fill(
        mut self,
        mut answer: Answer,
        mut body_decoder: BodyDecoder,
        unexpected: Option<String>,
    ) -> Answer {
        let received = body_decoder.received();
        let charge = body_decoder.take_charge();
        let mut read = body_decoder.close(Instant::now());
        if let (Outcome::Failed(Failure::Protocol | Failure::Truncated | Failure::Empty), Some(detail)) =
            (read.outcome, &mut read.detail)
        {
            self.name_page(&answer.headers, read.body.as_deref().unwrap_or_default(), detail);
        }
        if read.evidence.refuse_usage(received, self.call.output_tokens) {
            self.client.tell_of_usage();
        }
        if let Some(allowed) = self.call.output_tokens {
            read.limit_output(allowed);
        }
        if let Some(said) = unexpected {
            read.reject(said);
        }
        self.marks.first_chunk = read.marks.first_chunk;
        self.marks.first_token = read.marks.first_token;
        self.marks.first_text = read.marks.first_text;
        self.marks.last_token = read.marks.last_token;
        self.marks.end = read.end;
        answer.outcome = read.outcome;
        answer.detail = read.detail.as_deref().map(|detail| self.redactor.clean(detail));
        answer.observed.streamed = read.streamed;
        answer.observed.gaps = read.gaps;
        answer.observed.finish_reason = read.finish;
        let prompt = match &self.form {
            Form::Dialect(dialect) if self.client.counter.is_some() && read.evidence.lacks_input() => {
                Some(dialect.prompt_texts(&self.call.body))
            }
            Form::Dialect(_) | Form::Http(_) => None,
        };
        let counted = self.client.count(prompt, &read.generated).await;
        answer.observed.tokens = read.evidence.tokens(counted);
        if self.context.options.excerpt {
            // Not the body: that of a log-in has a token, which nobody knows yet to be a secret.
            answer.excerpt = Some(self.redactor.excerpt(&read.generated.text));
        }
        answer.text = read.generated.text;
        answer.memory = charge.map(Arc::new);
        answer.body = read.body.filter(|_| matches!(self.form, Form::Http(_)));
        answer.observed.marks = self.marks;
        answer.observed.connection = self.connection;
        answer
    }

    fn finish(mut self, mut answer: Answer, broken: &CallError, end: Option<Instant>) -> Answer {
        self.marks.end = end.unwrap_or_else(Instant::now);
        answer.outcome = Outcome::Failed(broken.failure);
        answer.detail = Some(self.redactor.clean(&broken.detail));
        answer.observed.marks = self.marks;
        answer.observed.connection = self.connection;
        answer
    }

    /// The answer of a request that got none.
    fn failed(self, broken: &CallError) -> Answer {
        let blank = Answer::failed(broken.failure, "", self.marks.clone());
        self.finish(blank, broken, None)
    }
}

/// Decodes a long document, after all its timestamps were taken, on a thread where it delays no other request.
async fn decode_aside(cpu_pool: &CpuPool, body_decoder: &mut BodyDecoder, until: Instant) {
    let Some(document) = body_decoder.long_document() else { return };
    let (failure, said) = match cpu_pool.run_exclusive_within(until, move || document.decode()).await {
        Ok(result) => return body_decoder.decoded(result),
        Err(Unfinished::Panicked) => (Failure::Internal, "decoding the answer panicked"),
        Err(Unfinished::NotStarted) => {
            (Failure::Internal, "the answer was not decoded in time, because this agent was busy")
        }
        Err(Unfinished::TooLong) => {
            (Failure::TotalTimeout, "the answer came in time, and was still being decoded at the timeout")
        }
    };
    body_decoder.fail(Instant::now(), failure, said.into());
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Malformed;
    use super::*;
    use crate::exchange::Delta;
    use crate::framing::Event;

    /// A decoder with a bug.
    struct Faulty;

    impl Decoder for Faulty {
        fn decode_event(&self, _: Event<'_>) -> Result<Delta, Malformed> {
            panic!("a bug")
        }

        fn decode_whole(&self, _: &[u8]) -> Result<Delta, Malformed> {
            panic!("a bug")
        }

        fn places(&self, _: bool) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn a_decoder_that_panics_is_our_own_fault() {
        let now = Instant::now();
        let mut body_decoder = BodyDecoder::new(Arc::new(Faulty), Mode::Whole);
        body_decoder.frame(now, &vec![b'1'; 20 << 10]);
        body_decoder.end_of_body(now);
        decode_aside(&CpuPool::start().unwrap(), &mut body_decoder, now + Duration::from_hours(1)).await;
        let read = body_decoder.close(now);
        assert_eq!(read.outcome, Outcome::Failed(Failure::Internal));
        assert_eq!(read.detail.as_deref(), Some("decoding the answer panicked"));
    }

    /// Takes until somebody lets it go on.
    struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

    impl Decoder for Slow {
        fn decode_event(&self, _: Event<'_>) -> Result<Delta, Malformed> {
            Ok(Delta::default())
        }

        fn decode_whole(&self, _: &[u8]) -> Result<Delta, Malformed> {
            let _ = self.0.lock().unwrap().recv();
            Ok(Delta::default())
        }

        fn places(&self, _: bool) -> Option<String> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_decoded_within_the_time_of_its_request() {
        let (release, held) = std::sync::mpsc::channel();
        let now = Instant::now();
        let mut body_decoder = BodyDecoder::new(Arc::new(Slow(std::sync::Mutex::new(held))), Mode::Whole);
        body_decoder.frame(now, &vec![b'1'; 20 << 10]);
        body_decoder.end_of_body(now);
        let cpu_pool = CpuPool::start().unwrap();
        decode_aside(&cpu_pool, &mut body_decoder, now + Duration::from_secs(30)).await;
        assert_eq!(now.elapsed(), Duration::from_secs(30));
        let read = body_decoder.close(now);
        assert_eq!(read.outcome, Outcome::Failed(Failure::TotalTimeout));
        assert!(read.detail.unwrap().contains("still being decoded at the timeout"));
        drop(release);
    }
}
