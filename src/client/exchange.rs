//! One request and its answer: the steps of an exchange in order, with their timing.

mod decode;
mod explain;
mod send;

use super::body::{self, ResponseBody};
use super::body_decoder::{BodyDecoder, Expected, Mode};
use super::classify::{self, CallError};
use super::connection::{Body, Connection};
use super::deadlines::Deadlines;
use super::dialect::{Decoder, Dialect};
use super::http::Client;
use super::mapped::MappedDecoder;
use super::recording::CallRecording;
use super::{Answer, AnswerForm, Context, fingerprint, rate_limit, response, wall_clock};
use crate::cpu_pool;
use crate::credentials::Issued;
use crate::event::{ConnectionRecord, Failure, FinishReason, Marks, Outcome, UsagePart};
use crate::exchange::Call;
use crate::plan::{AnswerMapping, ConnectionMode};
use crate::redactor::Redactor;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of bytes read from an error answer for its details.
const MAX_ERROR: usize = 64 << 10;
/// How long a connection may take to become idle after its answer has been read.
const REST_WITHIN: Duration = Duration::from_millis(100);

/// How the answer of a request is interpreted.
enum AnswerFormat {
    Dialect(Arc<dyn Dialect>),
    Http(Option<Arc<AnswerMapping>>),
}

/// How an answer is read, given its status.
enum StatusVerdict {
    /// As a success.
    Success,
    /// As a success, although another status was expected; with a description.
    Unexpected(String),
    /// As an error.
    Error(Failure),
}

/// One request that is being sent.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    call: Call,
    context: Context,
    form: AnswerFormat,
    deadlines: Deadlines,
    marks: Marks,
    connection: ConnectionRecord,
    redactor: Redactor,
    /// The credentials that it is sent with, if they have to be fetched.
    credentials: Option<Arc<Issued>>,
    recording: Option<Box<CallRecording>>,
}

impl<'a> Exchange<'a> {
    /// Starts the timestamps of the request, at the moment when the engine begins to handle it.
    pub(super) fn new(client: &'a Client, call: Call, mut context: Context) -> Self {
        let marks = Marks::begin(context.due, Instant::now());
        let redactor = Redactor::new(std::mem::take(&mut context.options.hidden));
        let options = &context.options;
        let deadlines = Deadlines::new(client.target.timeouts, options.timeout, context.cancel.clone())
            .ending(options.until);
        let form = match (&options.form, &client.dialect) {
            (AnswerForm::Dialect, Some(dialect)) => AnswerFormat::Dialect(Arc::clone(dialect)),
            (AnswerForm::Dialect, None) => AnswerFormat::Http(None),
            (AnswerForm::Http(reading), _) => AnswerFormat::Http(reading.clone()),
        };
        let connection = ConnectionRecord::default();
        Self {
            client,
            call,
            context,
            form,
            deadlines,
            marks,
            connection,
            redactor,
            credentials: None,
            recording: None,
        }
    }

    /// Runs the exchange to its end, whatever the outcome. What comes before the answer and after it is boxed: its future
    /// would otherwise take memory for as long as the answer is being read, which is most of the time.
    pub(super) async fn play(&mut self) -> Answer {
        match Box::pin(self.begin()).await {
            Ok((response, link)) => self.read(response, link).await,
            Err(broken) => self.failed(&broken),
        }
    }

    /// Sends the request, and waits until its answer begins.
    async fn begin(&mut self) -> Result<(Response<Incoming>, Connection), CallError> {
        self.credentials = self.obtain_credentials().await?;
        let request = self.compose()?;
        self.open(request).await
    }

    fn compose(&mut self) -> Result<Request<Body>, CallError> {
        let credentials = self.credentials.as_deref();
        let request =
            self.client.composer.compose(&self.call, &self.context, credentials, &mut self.redactor)?;
        let recording = CallRecording::start(self.context.options.record, &request, &self.call.body);
        self.recording = recording.map(Box::new);
        Ok(request)
    }

    fn is_cold(&self) -> bool {
        self.client.target.connection == ConnectionMode::Cold
    }

    /// Reads the answer.
    async fn read(&mut self, response: Response<Incoming>, link: Connection) -> Answer {
        let sent = self.marks.sent.unwrap_or(self.marks.started);
        let (mut body, status, headers) = ResponseBody::of(response, link, sent);
        let unexpected = match self.verdict(status) {
            StatusVerdict::Success => None,
            StatusVerdict::Unexpected(said) => Some(said),
            StatusVerdict::Error(failure) => {
                return Box::pin(self.refused(failure, status, headers, body)).await;
            }
        };
        let (decoder, expected) = match self.decoder(status, &headers) {
            Ok(by) => by,
            Err(mut broken) => {
                self.name_page(&headers, &[], &mut broken.detail);
                let answer = self.answer(status, headers);
                return self.finish(answer, &broken, None);
            }
        };
        let headers = if expected.mode() == Mode::Whole { headers } else { response::detached(headers) };
        let mut body_decoder = BodyDecoder::new(decoder, expected)
            .charging(self.client.memory.charge())
            .keeping_tool_calls(self.context.options.tool_calls);
        let complete = body::read(&mut body, &mut body_decoder, &self.deadlines).await;
        let (read_lag, over) = (body.read_lag(), body.over());
        self.release(body.into_connection(), complete).await;
        self.marks.first_byte = body_decoder.first_byte();
        Box::pin(async {
            let until = cpu_pool::deadline(sent, self.deadlines.timeouts.total);
            decode::decode_aside(&self.client.cpu_pool, &mut body_decoder, until).await;
            let mut answer = self.answer(status, headers);
            answer.observed.read_lag = Some(read_lag);
            answer.drained = over;
            self.fill(answer, body_decoder, unexpected).await
        })
        .await
    }

    /// Reads an error answer.
    async fn refused(
        &mut self,
        failure: Failure,
        status: StatusCode,
        headers: HeaderMap,
        mut body: ResponseBody,
    ) -> Answer {
        let known = self.marks.headers;
        let mut answer = self.answer(status, headers);
        if status == StatusCode::UNAUTHORIZED
            && let (Some(all), Some(refused)) = (&self.client.credentials, &self.credentials)
        {
            all.refused(refused);
        }
        let (bytes, complete) = body::some(&mut body, MAX_ERROR, &self.deadlines).await;
        answer.drained = body.over();
        answer.observed.retry_after = rate_limit::retry_after(&answer.headers, wall_clock::now());
        let said = self.said(status, &answer, &bytes);
        if let Some(recording) = &mut self.recording {
            recording.error(status.as_u16(), &answer.headers, &bytes);
        }
        self.release(body.into_connection(), complete).await;
        self.finish(answer, &CallError::new(failure, said), known)
    }

    /// An answer of which only the head is known.
    fn answer(&self, status: StatusCode, headers: HeaderMap) -> Answer {
        let mut answer = Answer::failed(Failure::Internal, "", self.marks.clone());
        answer.observed.status = Some(status.as_u16());
        answer.observed.limits = rate_limit::limits(&headers);
        answer.headers = headers;
        answer
    }

    /// How to read an answer with this status. A status that a step expects is a success, even if it is an error
    /// elsewhere.
    fn verdict(&self, status: StatusCode) -> StatusVerdict {
        let expected = self.context.options.status.as_ref();
        if expected.is_some_and(|set| set.contains(status.as_u16())) {
            return StatusVerdict::Success;
        }
        // To a request in absolute form, this status is the proxy's own answer.
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && self.client.dialer.absolute_form() {
            return StatusVerdict::Error(Failure::Proxy);
        }
        match (classify::status(status), expected) {
            (Some(failure), _) => StatusVerdict::Error(failure),
            (None, Some(set)) => StatusVerdict::Unexpected(response::unexpected(status, set)),
            (None, None) => StatusVerdict::Success,
        }
    }

    /// How to interpret the body of a success, and its framing.
    fn decoder(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(Arc<dyn Decoder>, Expected), CallError> {
        let empty = response::has_no_body(&self.call.method, status);
        if !empty {
            response::uncompressed(headers)?;
        }
        match &self.form {
            AnswerFormat::Dialect(dialect) => {
                let expected = response::expected(headers, dialect.framing(), self.call.stream);
                Ok((Arc::<dyn Dialect>::clone(dialect), expected))
            }
            AnswerFormat::Http(reading) => {
                let reading = MappedDecoder::new(reading.clone(), &response::media_type(headers), empty);
                let expected = reading.expected(&response::media_type(headers));
                Ok((Arc::new(reading), expected))
            }
        }
    }

    /// Returns the connection to the pool for the next request, if it can be reused.
    async fn release(&self, mut link: Connection, complete: bool) {
        if self.is_cold() || !complete || link.lease().is_some() {
            return;
        }
        if tokio::time::timeout(REST_WITHIN, link.ready()).await == Ok(true) {
            self.client.keep(link);
        }
    }

    /// Completes an answer that was read; its tokens are counted last.
    async fn fill(
        &mut self,
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
        if let Some(reason) = read.finish.as_deref().filter(|it| FinishReason::of(it) == FinishReason::Other)
        {
            self.client.tell_of_finish(&self.redactor.clean(reason));
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
        answer.observed.sizes = read.sizes;
        // Only after the body has been read: redaction must not delay a timestamp.
        answer.observed.server = response::server(&answer.headers, &self.redactor);
        answer.observed.finish_reason = read.finish.as_deref().map(|reason| self.redactor.clean(reason));
        let prompt = match &self.form {
            AnswerFormat::Dialect(dialect)
                if self.client.counter.is_some() && read.evidence.lacks_input() =>
            {
                Some(dialect.prompt_texts(&self.call.body))
            }
            AnswerFormat::Dialect(_) | AnswerFormat::Http(_) => None,
        };
        let counted = self.client.count(prompt, &read.generated).await;
        let tokens = read.evidence.tokens(counted);
        let start = read.evidence.pace_start(tokens.hidden);
        if start.events_before > 0 {
            self.marks.pace_start = start.at;
            answer.observed.sizes = answer.observed.sizes.from_event(start.events_before);
        }
        answer.observed.tokens = tokens;
        answer.observed.tokens.reports = read.evidence.reports(|part| self.could_report(part));
        answer.observed.reasoning_chars = read.generated.reasoning.chars().count() as u64;
        if self.context.options.excerpt {
            // The text only, and not the body: the body of a login response contains a token that is not yet known to
            // be a secret.
            answer.excerpt = Some(self.redactor.excerpt(&read.generated.text));
        }
        if let (Some(prompt), AnswerFormat::Dialect(dialect)) = (self.context.options.fingerprint, &self.form)
        {
            let (body, text) = (read.body.as_deref(), &read.generated.text);
            let shown = fingerprint::of(prompt, body, text, &**dialect, &self.redactor);
            answer.observed.fingerprint = Some(Box::new(shown));
        }
        if let (Some(recording), Some(status)) = (&mut self.recording, answer.observed.status) {
            recording.answer(status, &answer.headers, read.body.as_ref(), &read.generated);
        }
        answer.text = read.generated.text;
        answer.logprobs = read.logprobs;
        answer.tool_calls = read.tool_calls;
        for call in &mut answer.tool_calls {
            // A check may quote it.
            call.name = self.redactor.mask(&call.name);
        }
        answer.id = read.id;
        answer.memory = charge.map(Arc::new);
        answer.body = read.body.filter(|_| matches!(self.form, AnswerFormat::Http(_)));
        self.hand_over(&mut answer);
        answer
    }

    /// Whether the answer could say this part of its usage.
    fn could_report(&self, part: UsagePart) -> bool {
        match &self.form {
            AnswerFormat::Dialect(_) => {
                self.client.target.api.generates()
                    || matches!(part, UsagePart::Input | UsagePart::CachedInput)
            }
            AnswerFormat::Http(reading) => reading.as_ref().is_some_and(|reading| reading.tells(part)),
        }
    }

    fn finish(&mut self, mut answer: Answer, broken: &CallError, end: Option<Instant>) -> Answer {
        self.marks.end = end.unwrap_or_else(Instant::now);
        answer.outcome = Outcome::Failed(broken.failure);
        answer.detail = Some(self.redactor.clean(&broken.detail));
        answer.observed.server = response::server(&answer.headers, &self.redactor);
        self.hand_over(&mut answer);
        answer
    }

    /// Hands over what was noted of the exchange, which has ended.
    fn hand_over(&mut self, answer: &mut Answer) {
        let redactor = std::mem::take(&mut self.redactor);
        answer.recording = self.recording.take().map(|recording| Arc::new(recording.with(redactor)));
        answer.observed.marks = self.marks.clone();
        answer.observed.connection = std::mem::take(&mut self.connection);
    }

    /// The answer of a request that received none.
    fn failed(&mut self, broken: &CallError) -> Answer {
        let blank = Answer::failed(broken.failure, "", self.marks.clone());
        self.finish(blank, broken, None)
    }
}
