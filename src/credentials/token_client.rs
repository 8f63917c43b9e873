//! HTTP to servers that issue credentials, with limited answers.

use super::{Error, SetupError};
use crate::redactor::Redactor;
use crate::secret::Exposed;
use crate::unmeasured::{self, chain};
use jiff::Timestamp;
use reqwest::RequestBuilder;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use url::Url;
use url::form_urlencoded;

/// Maximum length of an answer in bytes.
const MAX_ANSWER: usize = 256 << 10;

const FORM: &str = "application/x-www-form-urlencoded";

/// A client for one kind of server.
pub(super) struct TokenClient(reqwest::Client);

/// An answer with a success status.
pub(super) struct TokenAnswer {
    pub(super) body: Vec<u8>,
}

impl TokenClient {
    /// Trusts the system's root certificates, or those in the file. Blocks while it reads them.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, SetupError> {
        Ok(Self(unmeasured::client(ca_file)?))
    }

    /// Builds a POST of a form.
    pub(super) fn form<'a>(
        &self,
        url: &Url,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.0.post(url.clone()).header(http::header::CONTENT_TYPE, FORM).body(body)
    }

    /// Builds a GET.
    pub(super) fn get(&self, url: &Url) -> RequestBuilder {
        self.0.get(url.clone())
    }
}

/// Sends a request and reads its answer. If the server quotes a value of `hidden`, it is redacted in the error. `from`
/// names the source of the credentials, for the error.
pub(super) async fn send(
    request: RequestBuilder,
    from: &str,
    hidden: &[Exposed],
) -> Result<TokenAnswer, Error> {
    let broke = |error: reqwest::Error| Error::new(format!("{from} cannot be reached: {}", chain(error)));
    let mut answer = request.send().await.map_err(broke)?;
    let status = answer.status();
    let (body, whole) = unmeasured::read_at_most(&mut answer, MAX_ANSWER).await.map_err(broke)?;
    if !whole {
        return Err(Error::new(format!("the answer of {from} is longer than {MAX_ANSWER} bytes")));
    }
    if status.is_success() {
        return Ok(TokenAnswer { body });
    }
    let said = Redactor::new(hidden.to_vec()).clean(&said(&body));
    let colon = if said.is_empty() { "" } else { ": " };
    Err(Error::new(format!("{from} answered HTTP {}{colon}{said}", status.as_u16())))
}

/// The message of an error answer: `error` and `error_description` (RFC 6749, section 5.2), or the beginning of the
/// body.
fn said(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => format!("{error}, {description}"),
        (Some(error), None) => error.to_owned(),
        (None, _) => String::from_utf8_lossy(body.get(..2000).unwrap_or(body)).into_owned(),
    }
}

/// The time until an RFC 3339 instant, such as `2026-01-01T00:00:00Z`.
pub(super) fn until(instant: &str) -> Option<Duration> {
    let at: Timestamp = instant.trim().parse().ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}
