//! Asks an HTTP server once: a list of addresses in Prometheus' `http_sd_configs` format, or anything else as JSON.

use super::source::LookError;
use crate::event::LookFailure;
use crate::secret::Exposed;
use crate::unmeasured;
use reqwest::Client;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use std::time::Duration;
use url::Url;

/// Time for an answer, including its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum size of an answer in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The text at a URL. Errors name it without its query, which may hold a secret.
pub(super) async fn get(client: &Client, url: &Url, token: Option<&Exposed>) -> Result<String, LookError> {
    let failed = |failure, said| LookError::Http { place: shown(url), said, failure };
    let unreachable = |error| failed(LookFailure::Unreachable, unmeasured::chain(error));
    let mut request = client.get(url.clone()).header(ACCEPT, "application/json").timeout(PATIENCE);
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut value =
            value.map_err(|_| failed(LookFailure::Refused, "the token is no header".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let mut answer = request.send().await.map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(failed(LookFailure::Refused, format!("HTTP {}", answer.status())));
    }
    let (body, whole) = unmeasured::read_at_most(&mut answer, MAX_BYTES).await.map_err(unreachable)?;
    if !whole {
        return Err(failed(
            LookFailure::Invalid,
            format!("the answer is larger than {} MiB", MAX_BYTES >> 20),
        ));
    }
    String::from_utf8(body).map_err(|_| failed(LookFailure::Invalid, "the answer is no text".to_owned()))
}

/// A URL without its query.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.into()
}
