//! One request from arrival to answer, in whatever dialect: faults, key, model, limits, queue, then the answer.
//!
//! Every generating endpoint goes through [`answer`]. It knows the order of these steps and leaves each to its module.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::body::{self, Channel, Gone, Outlet};
use super::conn::{Control, Order};
use super::dialect::{Delta, Dialect, Read, Refusal};
use super::effects::{Break, Effects, Instead};
use super::faults::{self, Fault};
use super::generation::{Generation, Planned};
use super::limits::Headroom;
use super::shared::Shared;
use super::stream::{self, StreamWriter};
use super::truth::{self, Mark, Record, Truth};

/// Bytes of a request body, at most.
const MOST_BODY: usize = 64 << 20;
/// Faults by header.
const FAULT_HEADER: &str = "x-sim-fault";
const NOT_HTTP: &[u8] = b"\x15\x03\x01 this is no answer in any version of HTTP\r\n\r\n";

/// One request on its way.
struct Exchange {
    shared: Arc<Shared>,
    dialect: &'static dyn Dialect,
    control: Arc<Control>,
    record: Arc<Record>,
    id: String,
    headers: HeaderMap,
}

/// Says that the client went, unless the answer was handed over.
struct Presence {
    record: Arc<Record>,
    answered: bool,
}

/// Answers a request.
pub(crate) async fn answer(shared: Arc<Shared>, dialect: &'static dyn Dialect, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (id, record) = open(&shared, dialect, &parts);
    let mut presence = Presence { record: Arc::clone(&record), answered: false };
    let control = parts.extensions.get::<Arc<Control>>().cloned().unwrap_or_default();
    let exchange = Exchange { shared, dialect, control, record, id, headers: parts.headers.clone() };
    let body = match to_bytes(body, MOST_BODY).await {
        Ok(body) => exchange.dialect.read(&parts, &body, &exchange.id, Timestamp::now().as_second()),
        Err(_) => Err(Refusal::Invalid("the request body could not be read or is too large".to_owned())),
    };
    let response = exchange.respond(body).await;
    presence.answered = true;
    response
}

impl Exchange {
    async fn respond(self, read: Result<Read, Refusal>) -> Response {
        let model = read.as_ref().ok().map(|read| read.ask.model.clone());
        let effects = match self.effects(model.as_deref()) {
            Ok(effects) => effects,
            Err(refusal) => return self.refuse(&refusal),
        };
        self.record.set(|truth| truth.model = model);
        if let Some(time) = effects.stall_headers {
            tokio::time::sleep(time).await;
        }
        if let Some(instead) = &effects.instead {
            return self.instead(instead);
        }
        match self.generate(read, &effects) {
            Ok((read, generation)) if read.ask.stream => self.stream(read, effects, generation),
            Ok((read, generation)) => self.whole(read, effects, generation).await,
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// The effects of the rules in force and of the request's own header.
    fn effects(&self, model: Option<&str>) -> Result<Effects, Refusal> {
        let mut met: Vec<Fault> = self.shared.rules.draw(model);
        for value in self.headers.get_all(FAULT_HEADER) {
            let text = String::from_utf8_lossy(value.as_bytes());
            met.extend(faults::parse_list(&text).map_err(|error| Refusal::Invalid(error.to_string()))?);
        }
        let mut effects = Effects::none(self.shared.options.tokens_per_chunk);
        for fault in &met {
            effects.add(fault);
        }
        self.record.set(|truth| truth.faults = met.iter().map(Fault::to_string).collect());
        Ok(effects)
    }

    /// Checks the request and puts it in the queue.
    fn generate(
        &self,
        read: Result<Read, Refusal>,
        effects: &Effects,
    ) -> Result<(Read, Generation), Refusal> {
        if !self.shared.key_fits(&self.headers) {
            return Err(Refusal::Unauthorized);
        }
        let read = read?;
        self.record.set(|truth| truth.streamed = read.ask.stream);
        if !self.shared.options.models.contains(&read.ask.model) {
            return Err(Refusal::UnknownModel(read.ask.model));
        }
        let planned = Planned::new(&read.ask, effects, &self.shared.options)?;
        self.shared.take(planned.billed).map_err(|retry_after| Refusal::RateLimited { retry_after })?;
        let usage = planned.usage;
        self.record.set(|truth| {
            truth.input_tokens = usage.input;
            truth.output_tokens = usage.output;
            truth.reasoning_tokens = usage.reasoning;
        });
        let generation = planned.submit(&self.shared.driver)?;
        Ok((read, generation))
    }

    fn stream(self, read: Read, effects: Effects, generation: Generation) -> Response {
        let (outlet, channel) = self.body();
        let framing = self.dialect.framing();
        let mut response = head(channel, framing.content_type(), effects.wrong_content_type);
        self.standard_headers(&mut response, StatusCode::OK);
        let writer = StreamWriter::new(outlet, framing, read.answer, effects, self.record);
        self.shared.spawn(writer.run(generation));
        response
    }

    async fn whole(self, read: Read, effects: Effects, mut generation: Generation) -> Response {
        let mut parts: Vec<Delta> = Vec::new();
        while let Some(piece) = generation.next().await {
            match parts.last_mut().filter(|part| part.kind == piece.kind) {
                Some(part) => {
                    part.text.push_str(&piece.text);
                    part.tokens += 1;
                }
                None => parts.push(Delta { kind: piece.kind, text: piece.text, tokens: 1 }),
            }
        }
        self.record.set(|truth| generation.report(truth));
        if !generation.complete() {
            return self.refuse(&Refusal::Stopped);
        }
        if let Some((_, time)) = effects.stall {
            tokio::time::sleep(time).await;
        }
        let json = read.answer.whole(&parts, generation.finish, generation.usage, effects.usage).to_string();
        let (mut outlet, channel) = self.body();
        let mut response = head(channel, "application/json", effects.wrong_content_type);
        self.standard_headers(&mut response, StatusCode::OK);
        let output = Whole { json, tokens: generation.usage.output, finish: generation.finish.name() };
        let error = self.dialect.error(&Refusal::Stopped).to_string();
        let record = Arc::clone(&self.record);
        self.shared.spawn(async move {
            if output.write(&mut outlet, &effects, error, &record).await.is_err() {
                record.set(|truth| truth.client_gone = true);
            }
        });
        response
    }

    fn body(&self) -> (Outlet, Channel) {
        body::channel(Arc::clone(&self.control), Arc::clone(&self.record))
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        let json = self.dialect.error(refusal).to_string();
        let mut response = (refusal.status(), [(CONTENT_TYPE, "application/json")], json).into_response();
        if let Some(time) = refusal.retry_after() {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        self.standard_headers(&mut response, refusal.status());
        response
    }

    fn instead(&self, instead: &Instead) -> Response {
        let order = match instead {
            Instead::Status { code, retry_after } => {
                let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return self.refuse(&Refusal::Status { code, retry_after: *retry_after });
            }
            Instead::Redirect(location) => {
                let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
                if let Ok(location) = HeaderValue::from_str(location) {
                    response.headers_mut().insert(LOCATION, location);
                }
                self.standard_headers(&mut response, StatusCode::TEMPORARY_REDIRECT);
                return response;
            }
            Instead::Reset => Order::Reset,
            Instead::Close => Order::Close,
            Instead::NotHttp => Order::Raw(NOT_HTTP.to_vec()),
        };
        self.control.order(order);
        // Never seen: the order is obeyed when hyper writes its head.
        StatusCode::OK.into_response()
    }

    /// The headers that every answer has, and the status in the record.
    fn standard_headers(&self, response: &mut Response, status: StatusCode) {
        self.record.set(|truth| truth.status = Some(status.as_u16()));
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert("x-request-id", id);
        }
        let left = self.shared.headroom();
        rate_headers(headers, "requests", left.requests);
        rate_headers(headers, "tokens", left.tokens);
    }
}

fn head(channel: Channel, content_type: &'static str, wrong: bool) -> Response {
    let content_type = if wrong { "text/html; charset=utf-8" } else { content_type };
    ([(CONTENT_TYPE, content_type)], Body::new(channel)).into_response()
}

/// An answer in one piece.
struct Whole {
    json: String,
    tokens: usize,
    finish: &'static str,
}

impl Whole {
    async fn write(
        self,
        outlet: &mut Outlet,
        effects: &Effects,
        error: String,
        record: &Record,
    ) -> Result<(), Gone> {
        if let Some((_, how)) = effects.broken {
            let before = match how {
                Break::Error => error,
                Break::Garbage => String::new(),
                _ => self.json.get(..self.json.len() / 2).unwrap_or_default().to_owned(),
            };
            return stream::break_off(outlet, how, before.into(), Vec::new()).await;
        }
        record.set(|truth| truth.finish_reason = Some(self.finish.to_owned()));
        let marks = vec![Mark::Content(self.tokens), Mark::End];
        let mut bytes = Bytes::from(self.json);
        if let Some(size) = effects.bytes_per_write {
            while bytes.len() > size {
                outlet.write_through(bytes.split_to(size), Vec::new()).await?;
            }
        }
        outlet.end(bytes, marks, effects.close).await
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.answered {
            self.record.set(|truth| truth.client_gone = true);
        }
    }
}

/// Names the request and opens its record.
fn open(shared: &Shared, dialect: &dyn Dialect, parts: &Parts) -> (String, Arc<Record>) {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let id = header("x-request-id").filter(|id| (1..=128).contains(&id.len())).map_or_else(
        || format!("sim-{:012}", shared.requests.fetch_add(1, Ordering::Relaxed)),
        str::to_owned,
    );
    let record = shared.truth.open(Truth {
        request_id: id.clone(),
        trace_id: header("traceparent").and_then(truth::trace_id),
        dialect: dialect.name().to_owned(),
        arrived: Timestamp::now(),
        ..Truth::default()
    });
    (id, record)
}

fn rate_headers(headers: &mut HeaderMap, kind: &str, room: Option<Headroom>) {
    let Some(room) = room else { return };
    let mut insert = |what: &str, value: HeaderValue| {
        if let Ok(name) = HeaderName::try_from(format!("x-ratelimit-{what}-{kind}")) {
            headers.insert(name, value);
        }
    };
    insert("limit", HeaderValue::from(room.limit));
    insert("remaining", HeaderValue::from(room.remaining));
    if let Ok(reset) = HeaderValue::from_str(&reset_text(room.reset)) {
        insert("reset", reset);
    }
}

/// A time as `OpenAI` writes it in `x-ratelimit-reset-*`: `120ms`, `7.5s`, `6m0s`.
fn reset_text(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{}ms", time.as_millis()),
        (0, _) => format!("{:.3}s", time.as_secs_f64()),
        _ => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_times_are_written_as_openai_does() {
        assert_eq!(reset_text(Duration::from_millis(120)), "120ms");
        assert_eq!(reset_text(Duration::from_millis(7500)), "7.500s");
        assert_eq!(reset_text(Duration::from_mins(6)), "6m0s");
    }
}
