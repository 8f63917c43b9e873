//! Builds the head of a request: request target, headers, credentials.

use super::classify::CallError;
use super::connection::Body;
use super::{AnswerForm, BuildError, Context, aws, dial, wall_clock};
use crate::credentials::{Credential, Issued};
use crate::event::Failure;
use crate::exchange::{self, Call};
use crate::plan::{Auth, HttpVersion, Propagate, Target};
use crate::redactor::Redactor;
use crate::secret::{Exposed, Secret};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use std::sync::Arc;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tokenbeat/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Builds requests to one target.
pub(super) struct Composer {
    target: Arc<Target>,
    /// `scheme://authority`, if the request line requires it.
    origin: String,
    path: String,
    query: String,
    /// The `Host` header; `None` on HTTP/2, which has the host in the request target.
    host: Option<HeaderValue>,
    absolute_form: bool,
}

impl Composer {
    /// Builds a composer. Requests to an HTTP proxy need `absolute_form`.
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

    /// Builds the request, with everything that the target adds. Later headers win: the dialect's, then the target's,
    /// then its authentication, and finally those of a scenario's HTTP step. Secrets are added to `redactor`, even if
    /// this fails.
    pub(super) fn compose(
        &self,
        call: &Call,
        context: &Context,
        credentials: Option<&Issued>,
        redactor: &mut Redactor,
    ) -> Result<Request<Body>, CallError> {
        let mut headers = HeaderBuilder::of(call, &context.options.form);
        if let Some(host) = &self.host {
            headers.put(header::HOST, host.clone());
        }
        headers.put(header::USER_AGENT, USER_AGENT);
        // Otherwise a server may compress, which delays and merges the chunks that are timed.
        headers.put(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.target.propagate == Propagate::W3c
            && let Ok(value) = HeaderValue::try_from(context.ids.traceparent())
        {
            headers.put(TRACEPARENT, value);
        }
        for (name, secret) in &self.target.headers {
            if headers.takes(name) {
                let (value, exposed) = header_value(secret, "")?;
                redactor.add_header(exposed.expose());
                headers.put(name.clone(), value);
            }
        }
        for (name, value) in &self.target.mark_headers {
            headers.put(name.clone(), value.clone());
        }
        for (name, value) in &context.options.headers {
            headers.put(name.clone(), value.clone());
        }
        for secret in credentials.iter().flat_map(|issued| issued.secrets()) {
            redactor.add(secret);
        }
        self.authorize(&mut headers, credentials, redactor)?;
        self.authorize_proxy(&mut headers, redactor)?;
        let mut request = Request::new(Body::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = self.address(&call.path, &context.options.form)?;
        // A method that is for a body says that there is none: some servers answer 411 otherwise (RFC 9110, section 8.6).
        if call.body.is_empty() && matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
            headers.map.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let is_free = headers.takes(&header::AUTHORIZATION);
        *request.headers_mut() = headers.map;
        if let (Auth::Aws(aws), Some(Credential::Aws(keys))) =
            (&self.target.auth, credentials.map(|issued| &issued.credential))
            && is_free
        {
            aws::authorize(&mut request, &call.body, keys, aws, wall_clock::system_now())?;
        }
        Ok(request)
    }

    /// The URL of a path, with its own query and that of the base URL.
    fn address(&self, path: &str, form: &AnswerForm) -> Result<Uri, CallError> {
        let own = matches!(form, AnswerForm::Http(_));
        if own && !path.starts_with('/') {
            let detail = format!("the path \"{path}\" does not begin with a slash");
            return Err(CallError::new(Failure::Extract, detail));
        }
        let path = exchange::escaped_path(path);
        let query = match self.query.strip_prefix('?') {
            Some(query) if path.contains('?') => format!("&{query}"),
            _ => self.query.clone(),
        };
        Uri::try_from(format!("{}{}{path}{query}", self.origin, self.path)).map_err(|error| {
            let failure = if own { Failure::Extract } else { Failure::Internal };
            CallError::by(failure, "the request's address", &error)
        })
    }

    /// Adds the header that authenticates. A signature covers the whole request, so it is added later.
    fn authorize(
        &self,
        headers: &mut HeaderBuilder<'_>,
        credentials: Option<&Issued>,
        redactor: &mut Redactor,
    ) -> Result<(), CallError> {
        let name = match &self.target.auth {
            Auth::None | Auth::Aws(_) => return Ok(()),
            Auth::Header { name, .. } => name.clone(),
            Auth::Bearer(_) | Auth::Basic { .. } | Auth::OAuth2(_) | Auth::Gcp(_) => header::AUTHORIZATION,
        };
        if !headers.takes(&name) {
            return Ok(());
        }
        let (value, exposed) = match &self.target.auth {
            Auth::None | Auth::Aws(_) => return Ok(()),
            Auth::Bearer(secret) => header_value(secret, "Bearer ")?,
            Auth::Header { value, .. } => header_value(value, "")?,
            Auth::Basic { username, password } => dial::basic(username, password)?,
            Auth::OAuth2(_) | Auth::Gcp(_) => match credentials.map(|issued| &issued.credential) {
                Some(Credential::Bearer(token)) => {
                    let unfit = || CallError::new(Failure::Credentials, "the token is not valid in a header");
                    let mut value =
                        HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| unfit())?;
                    value.set_sensitive(true);
                    (value, token.clone())
                }
                _ => return Err(CallError::new(Failure::Internal, "the request has no credentials")),
            },
        };
        redactor.add_header(exposed.expose());
        if let Ok(value) = value.to_str() {
            redactor.add_header(value);
        }
        headers.put(name, value);
        Ok(())
    }

    fn authorize_proxy(
        &self,
        headers: &mut HeaderBuilder<'_>,
        redactor: &mut Redactor,
    ) -> Result<(), CallError> {
        let proxy = self.target.proxy.as_ref().filter(|_| self.absolute_form);
        if let Some((value, exposed)) = proxy.and_then(dial::authorization).transpose()? {
            redactor.add(exposed);
            if let Ok(value) = value.to_str() {
                redactor.add_header(value);
            }
            headers.put(header::PROXY_AUTHORIZATION, value);
        }
        Ok(())
    }
}

/// The headers of a request that is being built.
struct HeaderBuilder<'a> {
    map: HeaderMap,
    /// Headers that are not overridden: those of a step, whose author wrote them for this request.
    fixed: Option<&'a HeaderMap>,
}

impl<'a> HeaderBuilder<'a> {
    fn of(call: &'a Call, form: &AnswerForm) -> Self {
        let mut map = call.headers.clone();
        let fixed = match form {
            AnswerForm::Dialect => None,
            AnswerForm::Http(_) => {
                // The transport decides the framing of the body; a wrong length would break the connection.
                map.remove(header::CONTENT_LENGTH);
                map.remove(header::TRANSFER_ENCODING);
                Some(&call.headers)
            }
        };
        Self { map, fixed }
    }

    /// Whether this header may still be set.
    fn takes(&self, name: &HeaderName) -> bool {
        self.fixed.is_none_or(|fixed| !fixed.contains_key(name))
    }

    fn put(&mut self, name: HeaderName, value: HeaderValue) {
        if self.takes(&name) {
            self.map.insert(name, value);
        }
    }
}

/// Reads a secret as a header value.
fn header_value(secret: &Secret, prefix: &str) -> Result<(HeaderValue, Exposed), CallError> {
    let exposed = secret.read().map_err(|error| CallError::new(Failure::Credentials, error.to_string()))?;
    let mut value = HeaderValue::try_from(format!("{prefix}{}", exposed.expose())).map_err(|_| {
        let detail = format!("the secret from {} is not valid in a header", secret.origin());
        CallError::new(Failure::Credentials, detail)
    })?;
    value.set_sensitive(true);
    Ok((value, exposed))
}
