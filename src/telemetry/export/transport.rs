//! One attempt to send something, and its result.

use crate::redactor::Redactor;
use crate::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Makes attempts to send what an exporter delivers.
pub(in crate::telemetry) trait Transport: Send {
    /// What is sent; cheap to clone, because each attempt takes one.
    type Body: Clone + Send;
    /// Maximum number of attempts to send one body.
    const ATTEMPTS: u32;
    /// What an attempt that failed could not do, for the log.
    const CANNOT: &'static str;
    /// That attempts succeed again, for the log.
    const AGAIN: &'static str;

    /// Makes one attempt, which is bounded in time.
    fn send(&mut self, body: Self::Body) -> impl Future<Output = Result<Accepted, SendError>> + Send;

    /// Completes when the next attempt would go to another receiver than the last one.
    fn receiver_changed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// The reason why a request was not accepted.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::telemetry) enum SendError {
    /// It may be sent again.
    Later {
        /// The minimum wait, if the receiver stated one.
        after: Option<Duration>,
        /// A description of the failure.
        why: String,
    },
    /// It would be rejected again.
    Never {
        /// A description of the failure.
        why: String,
    },
}

impl SendError {
    /// A failure after which it may be sent again at any time.
    pub(in crate::telemetry) fn later(why: impl Into<String>) -> Self {
        Self::Later { after: None, why: why.into() }
    }

    /// Redacts secrets that a receiver may have quoted.
    pub(in crate::telemetry) fn redacted(self, redactor: &Redactor) -> Self {
        match self {
            Self::Later { after, why } => Self::Later { after, why: redactor.clean(&why) },
            Self::Never { why } => Self::Never { why: redactor.clean(&why) },
        }
    }

    /// A description of the failure, for the log.
    pub(in crate::telemetry) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::Never { why } => why,
        }
    }
}

/// The receiver accepted the request, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::telemetry) struct Accepted {
    /// Number of rejected items.
    pub(in crate::telemetry) rejected: u64,
    /// The receiver's message about the rejection, or a warning.
    pub(in crate::telemetry) message: String,
}

impl Accepted {
    /// Redacts secrets that a receiver may have quoted.
    pub(in crate::telemetry) fn redacted(self, redactor: &Redactor) -> Self {
        Self { message: redactor.clean(&self.message), ..self }
    }
}

/// The present values of headers, and a redactor for them.
pub(in crate::telemetry) fn secret_headers(
    headers: &[(HeaderName, Arc<Secret>)],
) -> Result<(HeaderMap, Redactor), SendError> {
    let mut values = HeaderMap::with_capacity(headers.len());
    let mut redactor = Redactor::default();
    for (name, secret) in headers {
        let value = secret.read().map_err(|error| SendError::later(format!("header {name}: {error}")))?;
        redactor.add_header(value.expose());
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| SendError::later(format!("header {name}: the value is no header value")))?;
        value.set_sensitive(true);
        values.insert(name.clone(), value);
    }
    Ok((values, redactor))
}
