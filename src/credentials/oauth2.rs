//! OAuth 2.0 client credentials (RFC 6749, section 4.4).

use super::keeper::Fetch;
use super::token_client::{TokenAnswer, TokenClient, send};
use super::{Credential, Error, Issued, SetupError};
use crate::plan::{ClientAuth, OAuth2};
use crate::secret::{Exposed, Secret, SecretOrigin};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

/// Token types other than Bearer that are registered with IANA (OAuth Access Token Types) or common.
const TOKEN_TYPES: [&str; 4] = ["mac", "dpop", "pop", "N_A"];

/// Lifetime of a token if the server does not report one.
const UNTOLD: Duration = Duration::from_mins(10);

/// Maximum lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 365);

/// Requests tokens as one client.
pub(super) struct ClientCredentials {
    client: TokenClient,
    url: Url,
    id: String,
    secret: Secret,
    by: ClientAuth,
    params: BTreeMap<String, String>,
}

impl ClientCredentials {
    pub(super) fn new(of: &OAuth2) -> Result<Self, SetupError> {
        let mut params = of.params.clone();
        let own = [("scope", &of.scope), ("audience", &of.audience)];
        params.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        Ok(Self {
            client: TokenClient::new(of.ca_file.as_deref())?,
            url: of.token_url.clone(),
            id: of.client_id.clone(),
            secret: again(&of.client_secret),
            by: of.client_auth,
            params,
        })
    }

    async fn ask(&self) -> Result<Issued, Error> {
        let secret = read(&self.secret)?;
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(self.params.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        if self.by == ClientAuth::Body {
            fields.extend([("client_id", self.id.as_str()), ("client_secret", secret.expose())]);
        }
        let mut request = self.client.form(&self.url, fields).header(ACCEPT, "application/json");
        let mut hidden = vec![secret.clone()];
        if self.by == ClientAuth::Basic {
            // Both are form-encoded first (section 2.3.1).
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encoded(&self.id), encoded(secret.expose())));
            let mut value = HeaderValue::try_from(format!("Basic {pair}"))
                .map_err(|_| Error::new("the client's id and secret are not valid in a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
            hidden.push(Exposed::new(pair));
        }
        let from = Instant::now();
        let answer = send(request, "the token endpoint", &hidden).await?;
        token(&answer, "access_token", from)
    }
}

impl Fetch for ClientCredentials {
    fn fetch(&self) -> BoxFuture<'_, Result<Issued, Error>> {
        Box::pin(self.ask())
    }
}

/// Clones a secret for a task that outlives a borrow of the plan.
pub(super) fn again(secret: &Secret) -> Secret {
    Secret::new(match secret.origin() {
        SecretOrigin::Env(name) => SecretOrigin::Env(name.clone()),
        SecretOrigin::File(path) => SecretOrigin::File(path.clone()),
        SecretOrigin::Literal(value) => SecretOrigin::Literal(value.clone()),
    })
}

/// The value of a secret.
pub(super) fn read(secret: &Secret) -> Result<Exposed, Error> {
    secret.read().map_err(|error| Error::new(error.to_string()))
}

/// The token in an answer (RFC 6749, section 5.1) that was requested at `from`.
pub(super) fn token(answer: &TokenAnswer, key: &str, from: Instant) -> Result<Issued, Error> {
    let value: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| Error::new("the answer of the token endpoint is no JSON"))?;
    let token = value.get(key).and_then(Value::as_str).filter(|token| !token.is_empty());
    let token =
        token.ok_or_else(|| Error::new(format!("the answer of the token endpoint has no `{key}`")))?;
    let kind = value.get("token_type").and_then(Value::as_str).unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        // Quoted only if it is one of the registered types: a server could put anything there, even our secret.
        let known = TOKEN_TYPES.iter().find(|known| kind.eq_ignore_ascii_case(known));
        let said = known.map_or_else(|| "another type".to_owned(), |known| format!("the type \"{known}\""));
        return Err(Error::new(format!("the token endpoint gives tokens of {said}, not Bearer")));
    }
    if HeaderValue::try_from(token).is_err() {
        return Err(Error::new("the token is not valid in a header"));
    }
    // Some servers write the number as text.
    let lifetime = value.get("expires_in").and_then(|it| it.as_f64().or_else(|| it.as_str()?.parse().ok()));
    let lifetime = lifetime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let lifetime = lifetime.unwrap_or(UNTOLD).clamp(Duration::from_secs(1), MAX_LIFETIME);
    Ok(Issued::new(Credential::Bearer(Exposed::new(token)), from, Some(lifetime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Issued, String> {
        let answer = TokenAnswer { body: body.as_bytes().to_vec() };
        token(&answer, "access_token", Instant::now()).map_err(|error| error.to_string())
    }

    #[test]
    fn lifetimes() {
        let lifetime = |body| of(body).unwrap().lifetime.unwrap().as_secs();
        assert_eq!(lifetime(r#"{"access_token":"t","token_type":"bearer","expires_in":3599}"#), 3599);
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":"3599"}"#), 3599);
        assert_eq!(lifetime(r#"{"access_token":"t"}"#), 600);
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":-1}"#), 600);
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":0}"#), 1);
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":1e300}"#), 600);
    }

    #[test]
    fn answers_without_a_token() {
        assert_eq!(of("<html>").unwrap_err(), "the answer of the token endpoint is no JSON");
        let none = "the answer of the token endpoint has no `access_token`";
        for body in ["{}", "[]", r#"{"access_token":""}"#, r#"{"access_token":7}"#] {
            assert_eq!(of(body).unwrap_err(), none, "{body}");
        }
        let mac = of(r#"{"access_token":"t","token_type":"mac"}"#).unwrap_err();
        assert_eq!(mac, "the token endpoint gives tokens of the type \"mac\", not Bearer");
        let echo = of(r#"{"access_token":"t","token_type":"our-client-secret"}"#).unwrap_err();
        assert_eq!(echo, "the token endpoint gives tokens of another type, not Bearer");
        assert!(of("{\"access_token\":\"a\\nb\"}").is_err());
    }
}
