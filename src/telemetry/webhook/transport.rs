//! Posts one message to the webhook, with the settings that are in force at that moment. It must not know which incidents
//! are told, and never retries.

use crate::plan::Agent;
use crate::plan::webhook::{Webhook, WebhookIncident, address};
use crate::redactor::Redactor;
use crate::secret::Exposed;
use crate::telemetry::export::{Accepted, SendError, Transport, retry_after, secret_headers};
use crate::unmeasured::{self, chain, read_at_most};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use reqwest::RequestBuilder;
use std::sync::Arc;
use tokio::sync::watch;

/// Maximum number of bytes that are read of an answer.
const MAX_ANSWER: usize = 4096;

/// Identifies a message, so that a receiver can tell a repeated one.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The settings in force.
#[derive(Clone, Debug, Default)]
pub(super) struct WebhookSettings {
    /// The webhook; absent if there is none any more.
    pub(super) webhook: Option<Arc<Webhook>>,
    /// The agent, as part of each message.
    pub(super) agent: Option<Arc<Agent>>,
}

/// Sends messages over HTTP.
pub(super) struct WebhookTransport {
    settings: watch::Receiver<WebhookSettings>,
    /// The client, and the settings that it was built for.
    client: Option<(Arc<Webhook>, reqwest::Client)>,
    /// The webhook that the last attempt went to.
    attempted: Option<Arc<Webhook>>,
}

impl WebhookTransport {
    pub(super) fn new(settings: watch::Receiver<WebhookSettings>) -> Self {
        Self { settings, client: None, attempted: None }
    }

    /// The client for these settings. Building one reads files.
    async fn client(&mut self, webhook: &Arc<Webhook>) -> Result<reqwest::Client, SendError> {
        if let Some((of, client)) = &self.client
            && Arc::ptr_eq(of, webhook)
        {
            return Ok(client.clone());
        }
        let ca_file = webhook.ca_file.clone();
        let built = tokio::task::spawn_blocking(move || unmeasured::client(ca_file.as_deref())).await;
        let client = match built {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(SendError::later(error.to_string())),
            Err(_) => return Err(SendError::later("the client could not be built")),
        };
        self.client = Some((Arc::clone(webhook), client.clone()));
        Ok(client)
    }

    /// The request, and a redactor for what is secret in it.
    async fn request(
        &mut self,
        webhook: &Arc<Webhook>,
        agent: &Agent,
        incident: &WebhookIncident,
    ) -> Result<(RequestBuilder, Redactor), SendError> {
        let (mut headers, mut redactor) = secret_headers(&webhook.headers)?;
        let text = webhook.url.read().map_err(|error| SendError::later(format!("url: {error}")))?;
        let url = address(text.expose()).map_err(|why| SendError::later(format!("url: it {why}")))?;
        redactor.add(text);
        redactor.add(Exposed::new(url.path()));
        if let Some(query) = url.query() {
            redactor.add(Exposed::new(query));
        }
        let fields = incident.fields(agent);
        let id = fields.get("id").and_then(serde_json::Value::as_str).map(HeaderValue::from_str);
        if let Some(Ok(id)) = id {
            headers.entry(IDEMPOTENCY_KEY).or_insert(id);
        }
        // Another attempt would not change it.
        let form = webhook.form.render(fields);
        let (content_type, body) = form.map_err(|error| SendError::Never { why: error.to_string() })?;
        headers.insert(CONTENT_TYPE, content_type);
        let client = self.client(webhook).await?;
        Ok((client.post(url).headers(headers).body(body), redactor))
    }

    async fn post(&mut self, incident: &WebhookIncident) -> Result<Accepted, SendError> {
        let settings = self.settings.borrow_and_update().clone();
        self.attempted.clone_from(&settings.webhook);
        let WebhookSettings { webhook: Some(webhook), agent: Some(agent) } = settings else {
            return Err(SendError::Never { why: "the webhook is no longer in the config".to_owned() });
        };
        let (request, redactor) = self.request(&webhook, &agent, incident).await?;
        let exchange = async {
            let mut answer = request.send().await.map_err(|error| SendError::later(chain(error)))?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            // A receiver that has accepted a message need not end its answer well.
            let body = read_at_most(&mut answer, MAX_ANSWER).await.map(|(body, _)| body).unwrap_or_default();
            verdict(status, &headers, &body, Timestamp::now())
        };
        let within = webhook.timeout;
        match tokio::time::timeout(within, exchange).await {
            Ok(sent) => sent.map_err(|failed| failed.redacted(&redactor)),
            Err(_) => Err(SendError::later(format!("no complete answer within {within:?}"))),
        }
    }
}

impl Transport for WebhookTransport {
    type Body = Arc<WebhookIncident>;

    /// With the back-off they take about ten minutes: a receiver that is restarted or deployed is not out for longer.
    const ATTEMPTS: u32 = 30;
    const CANNOT: &'static str = "cannot call the webhook";
    const AGAIN: &'static str = "the webhook works again";

    async fn send(&mut self, body: Self::Body) -> Result<Accepted, SendError> {
        self.post(&body).await
    }

    async fn receiver_changed(&mut self) {
        loop {
            if self.settings.changed().await.is_err() {
                return std::future::pending().await;
            }
            let present = self.settings.borrow_and_update().webhook.clone();
            let is_same = match (&present, &self.attempted) {
                (Some(present), Some(attempted)) => present.has_receiver_of(attempted),
                (present, attempted) => present.is_none() && attempted.is_none(),
            };
            if !is_same {
                return;
            }
        }
    }
}

/// What an answer means: 2xx is success. A message is sent again if the receiver is too busy (408, 425, 429), or has failed
/// itself (5xx, except 501 and 505, which do not pass).
fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Accepted, SendError> {
    if status.is_success() {
        return Ok(Accepted::default());
    }
    let said = String::from_utf8_lossy(body);
    let why = format!("HTTP {status}: {said}").trim_end_matches([':', ' ']).to_owned();
    match status.as_u16() {
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => {
            Err(SendError::Later { after: retry_after(headers, now), why })
        }
        _ => Err(SendError::Never { why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_answers_may_be_tried_again() {
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            verdict(status, &HeaderMap::new(), b"busy", Timestamp::UNIX_EPOCH)
        };
        assert_eq!((of(200), of(204)), (Ok(Accepted::default()), Ok(Accepted::default())));
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(of(status), Err(SendError::Later { after: None, .. })), "{status}");
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 413, 501, 505] {
            assert!(matches!(of(status), Err(SendError::Never { .. })), "{status}");
        }
        assert_eq!(of(503).unwrap_err().why(), "HTTP 503 Service Unavailable: busy");
    }
}
