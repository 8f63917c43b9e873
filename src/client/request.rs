//! The head of a request: address form, headers, credentials; and the care that no secret leaves by a detail.

use super::BuildError;
use super::classify::Broken;
use super::dial;
use super::link::Body;
use crate::event::{Failure, TraceIds};
use crate::exchange::Call;
use crate::plan::{Auth, HttpVersion, Target};
use crate::secret::{Exposed, Secret};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri};
use std::sync::Arc;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tokenbeat/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Characters of a detail that are kept.
const MOST_DETAIL: usize = 300;
/// Shorter secrets are not searched for: they would be found in every other word.
const LEAST_SECRET: usize = 4;

/// Makes requests to one target.
pub(super) struct Composer {
    target: Arc<Target>,
    /// `scheme://authority` where the request line wants it.
    origin: String,
    path: String,
    query: String,
    /// The `Host` header; HTTP/2 has it in the address.
    host: Option<HeaderValue>,
    absolute_form: bool,
}

impl Composer {
    /// `absolute_form` is what an HTTP proxy reads.
    pub(super) fn new(target: Arc<Target>, absolute_form: bool) -> Result<Self, BuildError> {
        let url = &target.base_url;
        let host = url.host_str().ok_or(BuildError::NoHost)?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let http2 = target.http == HttpVersion::Http2;
        let origin =
            if http2 || absolute_form { format!("{}://{authority}", url.scheme()) } else { String::new() };
        let path = url.path().trim_end_matches('/').to_owned();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let host = HeaderValue::try_from(authority).map_err(|_| BuildError::NoHost)?;
        let host = (!http2).then_some(host);
        Ok(Self { target, origin, path, query, host, absolute_form })
    }

    /// The request, with everything that the target wants on it. Later headers win: the dialect's, then the
    /// target's, then its authentication.
    pub(super) fn compose(&self, call: &Call, ids: &TraceIds) -> Result<(Request<Body>, Scrub), Broken> {
        let uri = format!("{}{}{}{}", self.origin, self.path, call.path, self.query);
        let uri = Uri::try_from(uri)
            .map_err(|error| Broken::by(Failure::Internal, "the request's address", &error))?;
        let mut scrub = Scrub::default();
        let mut headers = call.headers.clone();
        if let Some(host) = &self.host {
            headers.insert(header::HOST, host.clone());
        }
        headers.insert(header::USER_AGENT, USER_AGENT);
        if self.target.propagate
            && let Ok(value) = HeaderValue::try_from(ids.traceparent())
        {
            headers.insert(TRACEPARENT, value);
        }
        for (name, secret) in &self.target.headers {
            let (value, exposed) = header_value(secret, "")?;
            scrub.add(exposed);
            headers.insert(name.clone(), value);
        }
        self.authorize(&mut headers, &mut scrub)?;
        let mut request = Request::new(Body::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok((request, scrub))
    }

    fn authorize(&self, headers: &mut HeaderMap, scrub: &mut Scrub) -> Result<(), Broken> {
        let (name, (value, exposed)) = match &self.target.auth {
            Auth::None => return self.authorize_proxy(headers, scrub),
            Auth::Bearer(secret) => (header::AUTHORIZATION, header_value(secret, "Bearer ")?),
            Auth::Header { name, value } => (name.clone(), header_value(value, "")?),
            Auth::Basic { username, password } => (header::AUTHORIZATION, dial::basic(username, password)?),
        };
        scrub.add(exposed);
        scrub.add_basic(&value);
        headers.insert(name, value);
        self.authorize_proxy(headers, scrub)
    }

    fn authorize_proxy(&self, headers: &mut HeaderMap, scrub: &mut Scrub) -> Result<(), Broken> {
        let proxy = self.target.proxy.as_ref().filter(|_| self.absolute_form);
        if let Some((value, exposed)) = proxy.and_then(dial::authorization).transpose()? {
            scrub.add(exposed);
            scrub.add_basic(&value);
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        Ok(())
    }
}

/// A secret as the value of a header.
fn header_value(secret: &Secret, prefix: &str) -> Result<(HeaderValue, Exposed), Broken> {
    let exposed = secret.read().map_err(|error| Broken::new(Failure::Credentials, error.to_string()))?;
    let mut value = HeaderValue::try_from(format!("{prefix}{}", exposed.expose())).map_err(|_| {
        let detail = format!("the secret from {:?} cannot stand in a header", secret.origin());
        Broken::new(Failure::Credentials, detail)
    })?;
    value.set_sensitive(true);
    Ok((value, exposed))
}

/// The secrets of one request: servers quote them in error messages.
#[derive(Debug, Default)]
pub(super) struct Scrub(Vec<Exposed>);

impl Scrub {
    fn add(&mut self, secret: Exposed) {
        if secret.expose().len() >= LEAST_SECRET {
            self.0.push(secret);
        }
    }

    fn add_basic(&mut self, value: &HeaderValue) {
        if let Some(encoded) = value.to_str().ok().and_then(|value| value.strip_prefix("Basic ")) {
            self.add(Exposed::new(encoded));
        }
    }

    /// A detail that may be shown: on one line, without secrets, shortened.
    pub(super) fn clean(&self, detail: &str) -> String {
        let mut clean = detail.to_owned();
        for secret in &self.0 {
            clean = clean.replace(secret.expose(), "***");
        }
        shorten(&clean, MOST_DETAIL)
    }
}

/// Printable characters on one line, at most so many.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
    }
}
