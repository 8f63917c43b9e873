//! Tokens of a Google service account: a signed assertion (RFC 7523) is exchanged for a token.

use super::keeper::Fetch;
use super::oauth2::{again, read, token};
use super::token_client::{TokenClient, send};
use super::{Error, Issued, SetupError};
use crate::plan::Gcp;
use crate::secret::{Exposed, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use url::Url;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Lifetime of an assertion in seconds, the maximum that Google accepts.
const ASSERTION: u64 = 3600;

/// Requests tokens for one service account.
pub(super) struct ServiceAccount {
    client: TokenClient,
    key: Secret,
    scope: String,
    audience: Option<String>,
}

/// The relevant fields of a service account's file. It has no `Debug`, because it contains a private key.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

impl ServiceAccount {
    pub(super) fn new(of: &Gcp) -> Result<Self, SetupError> {
        Ok(Self {
            client: TokenClient::new(None)?,
            key: again(&of.service_account),
            scope: of.scope.clone(),
            audience: of.audience.clone(),
        })
    }

    async fn ask(&self) -> Result<Issued, Error> {
        let text = read(&self.key)?;
        // The parser's message could quote a part of the key.
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|_| {
            let wanted = "with `client_email`, `private_key` and `token_uri`";
            Error::new(format!("{} is not the JSON file of a service account {wanted}", self.key.origin()))
        })?;
        let url = Url::parse(&file.token_uri)
            .map_err(|_| Error::new("`token_uri` of the service account is not a URL"))?;
        let what = match &self.audience {
            Some(audience) => ("target_audience", audience),
            None => ("scope", &self.scope),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let assertion = assertion(&file, what, now)?;
        let request = self.client.form(&url, [("grant_type", GRANT), ("assertion", &assertion)]);
        let from = Instant::now();
        let answer = send(request, "the token endpoint", &[Exposed::new(&*assertion)]).await?;
        let key = if self.audience.is_some() { "id_token" } else { "access_token" };
        token(&answer, key, from)
    }
}

impl Fetch for ServiceAccount {
    fn fetch(&self) -> BoxFuture<'_, Result<Issued, Error>> {
        Box::pin(self.ask())
    }
}

/// A JSON Web Token that the account signs with RS256.
fn assertion(file: &KeyFile, (claim, value): (&str, &String), now: u64) -> Result<String, Error> {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": file.private_key_id });
    let claims = json!({
        "iss": file.client_email,
        "aud": file.token_uri,
        claim: value,
        "iat": now,
        "exp": now + ASSERTION,
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = sign(&file.private_key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// RSASSA-PKCS1-v1_5 with SHA-256.
fn sign(pem: &str, message: &[u8]) -> Result<Vec<u8>, Error> {
    let unusable = || Error::new("`private_key` of the service account is not a private RSA key in PEM form");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())?;
    let key = any_supported_type(&key).map_err(|_| unusable())?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(unusable)?;
    signer.sign(message).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// A key made for this test, and a signature that OpenSSL made with it.
    const KEY: &str = include_str!("../../tests/keys/service-account.json");
    const SIGNATURE: &str = include_str!("../../tests/keys/service-account.signature");

    #[test]
    fn signatures_are_those_of_openssl() {
        let file: KeyFile = serde_json::from_str(KEY).unwrap();
        let signature = sign(&file.private_key, b"header.claims").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), SIGNATURE.trim());
        assert!(sign("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"x").is_err());
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(sign(&elliptic, b"x").unwrap_err().to_string().contains("RSA"));
    }

    #[test]
    fn an_assertion_says_who_asks_for_what() {
        let file: KeyFile = serde_json::from_str(KEY).unwrap();
        let jwt = assertion(&file, ("scope", &"a b".to_owned()), 1_700_000_000).unwrap();
        let parts: Vec<Value> = jwt
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
        assert_eq!(
            parts[1],
            json!({
                "iss": file.client_email, "aud": file.token_uri, "scope": "a b",
                "iat": 1_700_000_000, "exp": 1_700_003_600,
            })
        );
    }
}
