//! AWS credentials, from the same sources as the AWS SDKs: keys, a profile, a web identity, a container endpoint.

use super::keeper::Fetch;
use super::oauth2::{again, read};
use super::token_client::{TokenClient, send, until};
use super::{Credential, Error, Issued, SetupError, aws_profile};
use crate::files::{Files, Watched};
use crate::plan::{Aws, AwsSource};
use crate::secret::{Exposed, Secret, SecretOrigin};
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Maximum size of a credentials file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The endpoint from which ECS tasks get their credentials.
const ECS: &str = "http://169.254.170.2";

/// Keys that requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeys {
    /// The access key id, which is not secret.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: Exposed,
    /// The session token of temporary keys.
    pub session_token: Option<Exposed>,
}

/// Keys that are available locally.
pub(super) struct Local {
    from: LocalSource,
    /// The latest keys. As long as they do not change, the same [`Issued`] is returned.
    latest: Mutex<Option<(SigningKeys, Arc<Issued>)>>,
}

enum LocalSource {
    Keys { access_key_id: Secret, secret_access_key: Secret, session_token: Option<Secret> },
    Profile(Watched<Result<SigningKeys, Error>>),
}

/// Keys that a server provides.
pub(super) struct Remote {
    client: TokenClient,
    from: RemoteSource,
}

enum RemoteSource {
    WebIdentity { role_arn: String, token: Secret, session_name: String, sts_url: Url },
    Container { url: Url, token: Option<Secret> },
}

/// A source of keys.
pub(super) enum AwsKeySource {
    Local(Local),
    Remote(Remote),
}

/// The source of a target's keys. Blocks while it reads files.
pub(super) fn source(of: &Aws) -> Result<AwsKeySource, SetupError> {
    Ok(match &of.source {
        AwsSource::Keys { access_key_id, secret_access_key, session_token } => local(LocalSource::Keys {
            access_key_id: again(access_key_id),
            secret_access_key: again(secret_access_key),
            session_token: session_token.as_ref().map(again),
        }),
        AwsSource::Profile { name, file } => profile(name, file.clone()),
        AwsSource::WebIdentity { role_arn, token, session_name, sts_url } => {
            remote(RemoteSource::WebIdentity {
                role_arn: role_arn.clone(),
                token: again(token),
                session_name: session_name.clone(),
                sts_url: sts_url.clone(),
            })?
        }
        AwsSource::Container { url, token } => {
            remote(RemoteSource::Container { url: url.clone(), token: token.as_ref().map(again) })?
        }
        AwsSource::Environment => {
            environment(&of.region, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?
        }
    })
}

/// The first source that the environment describes, in the order of the AWS SDKs.
fn environment(region: &str, var: &dyn Fn(&str) -> Option<String>) -> Result<AwsKeySource, SetupError> {
    let env = |name: &str| Secret::new(SecretOrigin::Env(name.to_owned()));
    let file = |path: String| Secret::new(SecretOrigin::File(PathBuf::from(path)));
    if var("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(local(LocalSource::Keys {
            access_key_id: env("AWS_ACCESS_KEY_ID"),
            secret_access_key: env("AWS_SECRET_ACCESS_KEY"),
            session_token: var("AWS_SESSION_TOKEN").map(|_| env("AWS_SESSION_TOKEN")),
        }));
    }
    let sts_url = Url::parse(&format!("https://sts.{region}.amazonaws.com")).ok();
    if let (Some(path), Some(role_arn), Some(sts_url)) =
        (var("AWS_WEB_IDENTITY_TOKEN_FILE"), var("AWS_ROLE_ARN"), sts_url)
    {
        let session_name = var("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "tokenbeat".to_owned());
        return remote(RemoteSource::WebIdentity { role_arn, token: file(path), session_name, sts_url });
    }
    let full = var("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = || Some(format!("{ECS}{}", var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?));
    if let Some(url) = full.or_else(relative).and_then(|url| Url::parse(&url).ok()) {
        let by_file = var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(file);
        let by_value =
            || var("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|_| env("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        return remote(RemoteSource::Container { url, token: by_file.or_else(by_value) });
    }
    Ok(profile(&var("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()), None))
}

fn local(from: LocalSource) -> AwsKeySource {
    AwsKeySource::Local(Local { from, latest: Mutex::default() })
}

fn remote(from: RemoteSource) -> Result<AwsKeySource, SetupError> {
    Ok(AwsKeySource::Remote(Remote { client: TokenClient::new(None)?, from }))
}

fn profile(name: &str, file: Option<PathBuf>) -> AwsKeySource {
    let path = file.or_else(aws_profile::usual_file).unwrap_or_default();
    let mut files = Files::default();
    let first = read_profile(&path, name, &mut files);
    let name = name.to_owned();
    let again = move |_: &_, files: &mut Files| Some(read_profile(&path, &name, files));
    local(LocalSource::Profile(Watched::new(first, files, again)))
}

fn read_profile(path: &Path, name: &str, files: &mut Files) -> Result<SigningKeys, Error> {
    let text = files.read_text_at_most(path, MAX_FILE);
    let text = text.map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))?;
    aws_profile::keys(&text, name, path)
}

impl Local {
    /// The current keys. Does not block.
    pub(super) fn read(&self) -> Result<Arc<Issued>, Error> {
        let keys = match &self.from {
            LocalSource::Keys { access_key_id, secret_access_key, session_token } => SigningKeys {
                access_key_id: read(access_key_id)?.expose().to_owned(),
                secret_access_key: read(secret_access_key)?,
                session_token: session_token.as_ref().map(read).transpose()?,
            },
            LocalSource::Profile(file) => file.latest().as_ref().clone()?,
        };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, issued)) = &*latest
            && *before == keys
        {
            return Ok(Arc::clone(issued));
        }
        let issued = Arc::new(Issued::new(Credential::Aws(keys.clone()), Instant::now(), None));
        *latest = Some((keys, Arc::clone(&issued)));
        Ok(issued)
    }
}

impl Remote {
    async fn ask(&self) -> Result<Issued, Error> {
        match &self.from {
            RemoteSource::WebIdentity { role_arn, token, session_name, sts_url } => {
                let token = read(token)?;
                let fields = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", role_arn),
                    ("RoleSessionName", session_name),
                    ("WebIdentityToken", token.expose()),
                ];
                let request = self.client.form(sts_url, fields).header(ACCEPT, "application/xml");
                let answer = send(request, "the token service of AWS", std::slice::from_ref(&token)).await?;
                of_sts(&String::from_utf8_lossy(&answer.body), Instant::now())
            }
            RemoteSource::Container { url, token } => {
                let mut request = self.client.get(url).header(ACCEPT, "application/json");
                let token = token.as_ref().map(read).transpose()?;
                if let Some(token) = &token {
                    let mut value = HeaderValue::try_from(token.expose())
                        .map_err(|_| Error::new("the container's token is not valid in a header"))?;
                    value.set_sensitive(true);
                    request = request.header(AUTHORIZATION, value);
                }
                let hidden: Vec<_> = token.into_iter().collect();
                let answer = send(request, "the container's credentials endpoint", &hidden).await?;
                of_container(&answer.body, Instant::now())
            }
        }
    }
}

impl Fetch for Remote {
    fn fetch(&self) -> BoxFuture<'_, Result<Issued, Error>> {
        Box::pin(self.ask())
    }
}

/// The keys in an answer of the token service (STS).
fn of_sts(xml: &str, now: Instant) -> Result<Issued, Error> {
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim()).filter(|text| !text.is_empty())
    };
    let needed = |name: &str| {
        element(name)
            .ok_or_else(|| Error::new(format!("the answer of the token service of AWS has no {name}")))
    };
    let keys = SigningKeys {
        access_key_id: needed("AccessKeyId")?.to_owned(),
        secret_access_key: Exposed::new(needed("SecretAccessKey")?),
        session_token: Some(Exposed::new(needed("SessionToken")?)),
    };
    Ok(issued(keys, element("Expiration"), now))
}

/// The keys in an answer of a container endpoint.
fn of_container(body: &[u8], now: Instant) -> Result<Issued, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct ContainerKeys {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
        expiration: Option<String>,
    }
    // The parser's message could quote a key.
    let written: ContainerKeys = serde_json::from_slice(body)
        .map_err(|_| Error::new("the answer of the container's credentials endpoint has no keys"))?;
    let keys = SigningKeys {
        access_key_id: written.access_key_id,
        secret_access_key: Exposed::new(written.secret_access_key),
        session_token: written.token.filter(|token| !token.is_empty()).map(Exposed::new),
    };
    Ok(issued(keys, written.expiration.as_deref(), now))
}

/// Keys with the lifetime until this instant; 15 minutes if the instant is missing or has passed by the local clock.
fn issued(keys: SigningKeys, expiration: Option<&str>, now: Instant) -> Issued {
    let lifetime = expiration.and_then(until).unwrap_or(Duration::from_mins(15));
    Issued::new(Credential::Aws(keys), now, Some(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_asked_in_the_order_of_the_sdks() {
        let of = |vars: &[(&str, &str)]| {
            let var = |name: &str| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            match environment("eu-west-1", &var).unwrap() {
                AwsKeySource::Local(Local { from: LocalSource::Keys { session_token, .. }, .. }) => {
                    format!("keys {}", session_token.is_some())
                }
                AwsKeySource::Local(Local { from: LocalSource::Profile(file), .. }) => {
                    file.latest().as_ref().clone().unwrap_err().to_string()
                }
                AwsKeySource::Remote(Remote {
                    from: RemoteSource::WebIdentity { role_arn, sts_url, .. },
                    ..
                }) => {
                    format!("{role_arn} {sts_url}")
                }
                AwsKeySource::Remote(Remote { from: RemoteSource::Container { url, token }, .. }) => {
                    format!("{url} {}", token.is_some())
                }
            }
        };
        let container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x");
        let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent"), ("AWS_ROLE_ARN", "arn:r")];
        assert_eq!(of(&[("AWS_ACCESS_KEY_ID", "a"), identity[0], identity[1]]), "keys false");
        assert_eq!(of(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SESSION_TOKEN", "t")]), "keys true");
        assert_eq!(of(&[container, identity[0], identity[1]]), "arn:r https://sts.eu-west-1.amazonaws.com/");
        // A token without a role is ignored.
        assert_eq!(of(&[container, identity[0]]), "http://169.254.170.2/v2/credentials/x false");
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/c");
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x");
        assert_eq!(of(&[container, full, token]), "http://127.0.0.1:1/c true");
        assert!(of(&[("AWS_PROFILE", "no such profile, surely")]).contains(".aws/credentials"));
    }

    #[test]
    fn answers_of_the_token_service() {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let xml = format!(
            "<R><Credentials><AccessKeyId>ASIA1</AccessKeyId>\n<SecretAccessKey>s/+=</SecretAccessKey>\
             <SessionToken>t==</SessionToken><Expiration>{soon}</Expiration></Credentials></R>"
        );
        let issued = of_sts(&xml, Instant::now()).unwrap();
        let Credential::Aws(keys) = &issued.credential else { panic!() };
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose()), ("ASIA1", "s/+="));
        assert!((3590..=3600).contains(&issued.lifetime.unwrap().as_secs()));
        let said = of_sts("<R><AccessKeyId>a</AccessKeyId></R>", Instant::now()).unwrap_err();
        assert_eq!(said.to_string(), "the answer of the token service of AWS has no SecretAccessKey");
    }

    #[test]
    fn answers_of_a_container() {
        let body = br#"{"AccessKeyId":"ASIA2","SecretAccessKey":"s2","Token":"t2","Expiration":"2020-01-01T00:00:00Z"}"#;
        let issued = of_container(body, Instant::now()).unwrap();
        assert_eq!(issued.lifetime, Some(Duration::from_mins(15)), "an end that has passed is not believed");
        assert!(issued.secrets().iter().any(|secret| secret.expose() == "t2"));
        assert!(
            of_container(b"{\"SecretAccessKey\":\"hunter2\"}", Instant::now())
                .is_err_and(|error| { !error.to_string().contains("hunter2") })
        );
    }
}
