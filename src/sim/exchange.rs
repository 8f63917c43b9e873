//! One request and its answer, at any endpoint: identity, record, faults, and the answers that need no model.
//!
//! It knows how a request is refused, or answered with something else or a single document, and nothing about its
//! content.

use std::convert::Infallible;
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
use super::dialect::{Endpoint, RateLimitHeaders, Refusal};
use super::effects::{Break, Effects, Instead};
use super::faults::{self, Fault};
use super::limits::Headroom;
use super::rules::Aim;
use super::shared::SimShared;
use super::stream;
use super::truth::{self, Arrival, Mark, Record, Truth};

/// Maximum size of a request body in bytes.
const MAX_BODY: usize = 64 << 20;
/// The request header that carries faults.
const FAULT_HEADER: &str = "x-sim-fault";
const NOT_HTTP: &[u8] = b"\x15\x03\x01 this is no answer in any version of HTTP\r\n\r\n";

/// A request that is being handled.
pub(crate) struct Exchange {
    pub(crate) shared: Arc<SimShared>,
    pub(crate) endpoint: &'static dyn Endpoint,
    pub(crate) record: Arc<Record>,
    /// The id of the request and its answer.
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    path: String,
    control: Arc<Control>,
}

/// An answer as a single document.
pub(crate) struct Whole {
    pub(crate) json: String,
    /// Number of generated tokens in it, and the finish reason; `None` where no model was involved.
    pub(crate) generated: Option<(usize, &'static str)>,
}

/// Records that the client disconnected, unless the answer was handed over.
struct Presence {
    record: Arc<Record>,
    answered: bool,
}

/// Handles a request from its arrival to its answer, which `work` makes from head and body.
pub(crate) async fn receive(
    shared: Arc<SimShared>,
    endpoint: &'static dyn Endpoint,
    request: Request,
    work: impl AsyncFnOnce(Exchange, &Parts, Result<Bytes, Refusal>) -> Response,
) -> Response {
    let (parts, body) = request.into_parts();
    let exchange = Exchange::open(shared, endpoint, &parts);
    let mut presence = Presence { record: Arc::clone(&exchange.record), answered: false };
    let body = to_bytes(body, MAX_BODY).await;
    let unread = |_| Refusal::Invalid("the request body could not be read or is too large".to_owned());
    let response = work(exchange, &parts, body.map_err(unread)).await;
    presence.answered = true;
    response
}

impl Exchange {
    /// Assigns an id to the request and opens its record.
    fn open(shared: Arc<SimShared>, endpoint: &'static dyn Endpoint, parts: &Parts) -> Self {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let id = header("x-request-id").filter(|id| (1..=128).contains(&id.len())).map_or_else(
            || format!("sim-{:012}", shared.requests.fetch_add(1, Ordering::Relaxed)),
            str::to_owned,
        );
        let path = parts.uri.path().to_owned();
        let Arrival(arrival) = parts.extensions.get().copied().unwrap_or_else(Arrival::now);
        let truth = Truth {
            request_id: id.clone(),
            trace_id: header("traceparent").and_then(truth::trace_id),
            dialect: endpoint.name().to_owned(),
            path: path.clone(),
            ..Truth::default()
        };
        let record = shared.truth.open(truth, arrival);
        let control = parts.extensions.get::<Arc<Control>>().cloned().unwrap_or_default();
        Self { shared, endpoint, record, id, headers: parts.headers.clone(), path, control }
    }

    /// Draws the faults and applies those that come before an answer; `Err` if one of them replaces the answer.
    pub(crate) async fn begin(&self, model: Option<String>) -> Result<Effects, Box<Response>> {
        let effects = self.effects(model.as_deref()).map_err(|refusal| Box::new(self.refuse(&refusal)))?;
        self.record.set(|truth| truth.model = model);
        if let Some(time) = effects.stall_headers {
            tokio::time::sleep(time).await;
        }
        match &effects.instead {
            Some(instead) => Err(Box::new(self.instead(instead))),
            None => Ok(effects),
        }
    }

    /// The effects of the active rules and of the request's own header.
    fn effects(&self, model: Option<&str>) -> Result<Effects, Refusal> {
        let service = self.endpoint.service();
        let mut met: Vec<Fault> = self.shared.rules.draw(Aim { service, path: &self.path, model });
        for value in self.headers.get_all(FAULT_HEADER) {
            let text = String::from_utf8_lossy(value.as_bytes());
            met.extend(faults::parse_list(&text).map_err(|error| Refusal::Invalid(error.to_string()))?);
        }
        met.retain(|fault| fault.concerns(service));
        let mut effects = Effects::none(&self.shared.options);
        effects.plain = met.is_empty();
        for fault in &met {
            effects.add(fault);
        }
        self.record.set(|truth| truth.faults = met.iter().map(Fault::to_string).collect());
        Ok(effects)
    }

    /// The connection's control.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The two ends of a body on this connection.
    pub(crate) fn body(&self) -> (Outlet, Channel) {
        body::channel(Arc::clone(&self.control), Arc::clone(&self.record))
    }

    /// Answers with a single document.
    pub(crate) async fn document(&self, status: StatusCode, whole: Whole, effects: Effects) -> Response {
        if let Some((_, time)) = effects.stall {
            tokio::time::sleep(time).await;
        }
        let (mut outlet, channel) = self.body();
        let mut response = head(channel, "application/json", effects.wrong_content_type);
        *response.status_mut() = status;
        self.standard_headers(&mut response, status);
        let error = self.endpoint.error(&Refusal::Stopped).to_string();
        let record = Arc::clone(&self.record);
        self.shared.spawn(async move {
            if whole.write(&mut outlet, &effects, error, &record).await.is_err() {
                record.set(|truth| truth.client_gone = true);
            }
        });
        response
    }

    /// Answers with an error.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Response {
        let json = self.endpoint.error(refusal).to_string();
        let status = self.endpoint.status(refusal);
        let mut response = (status, [(CONTENT_TYPE, "application/json")], json).into_response();
        if let Some(time) = refusal.retry_after() {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            if self.endpoint.rate_limit_headers() == RateLimitHeaders::Azure {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                response.headers_mut().insert("retry-after-ms", HeaderValue::from(millis));
            }
        }
        if let Some((name, value)) = self.endpoint.error_header(refusal) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        self.standard_headers(&mut response, status);
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
        // The client never sees this: the order is carried out when hyper writes the head.
        StatusCode::OK.into_response()
    }

    /// Adds the headers that every answer has, and records the status.
    pub(crate) fn standard_headers(&self, response: &mut Response, status: StatusCode) {
        self.record.set(|truth| truth.status = Some(status.as_u16()));
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert("x-request-id", id);
        }
        let left = self.shared.headroom();
        let style = self.endpoint.rate_limit_headers();
        rate_headers(headers, style, "requests", left.requests);
        rate_headers(headers, style, "tokens", left.tokens);
    }
}

/// An answer with this body.
pub(crate) fn head<B>(body: B, content_type: &'static str, wrong: bool) -> Response
where
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let content_type = if wrong { "text/html; charset=utf-8" } else { content_type };
    ([(CONTENT_TYPE, content_type)], Body::new(body)).into_response()
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
        let mut marks = Vec::new();
        if let Some((tokens, finish)) = self.generated {
            record.set(|truth| truth.finish_reason = Some(finish.to_owned()));
            if tokens > 0 {
                marks.push(Mark::Content { tokens, due: None });
            }
        }
        marks.push(Mark::End);
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

fn rate_headers(headers: &mut HeaderMap, style: RateLimitHeaders, kind: &str, room: Option<Headroom>) {
    let Some(room) = room else { return };
    let mut insert = |what: &str, value: HeaderValue| {
        let name = match style {
            RateLimitHeaders::Azure if what == "reset" => return,
            RateLimitHeaders::OpenAi | RateLimitHeaders::Azure => format!("x-ratelimit-{what}-{kind}"),
            RateLimitHeaders::Anthropic => format!("anthropic-ratelimit-{kind}-{what}"),
            RateLimitHeaders::None => return,
        };
        if let Ok(name) = HeaderName::try_from(name) {
            headers.insert(name, value);
        }
    };
    insert("limit", HeaderValue::from(room.limit));
    insert("remaining", HeaderValue::from(room.remaining));
    let reset = match style {
        RateLimitHeaders::Anthropic => {
            let at = Timestamp::now().checked_add(room.reset).unwrap_or(Timestamp::MAX);
            at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        }
        _ => reset_text(room.reset),
    };
    if let Ok(reset) = HeaderValue::from_str(&reset) {
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
