//! Credentials that have to be fetched: tokens of OAuth 2.0 and of Google service accounts, and AWS keys. One task per
//! target renews them before they expire. A request takes the current ones, and waits only if there are none. The
//! module knows nothing about requests and their outcomes.

mod aws;
mod aws_profile;
mod google;
mod keeper;
mod oauth2;
mod token_client;

#[cfg(test)]
mod tests;

pub use aws::SigningKeys;

use crate::plan::Auth;
use crate::secret::Exposed;
use keeper::CredentialRenewer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The credentials of one target, renewed for as long as this exists.
pub struct Credentials(CredentialSource);

enum CredentialSource {
    /// Fetched over the network by a task of its own.
    Fetched(CredentialRenewer),
    /// Available locally: a secret, or a watched file.
    Local(Box<aws::Local>),
}

/// A credential that authenticates requests.
#[derive(Debug)]
pub enum Credential {
    /// `Authorization: Bearer` and this token.
    Bearer(Exposed),
    /// Keys that requests are signed with.
    Aws(SigningKeys),
}

/// A credential and its lifetime.
#[derive(Debug)]
pub struct Issued {
    /// The credential.
    pub credential: Credential,
    /// When it was issued.
    from: Instant,
    /// How long it is valid from then on; `None` means until it is refused.
    lifetime: Option<Duration>,
}

/// The reason why there are no credentials. The message contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Arc<str>);

impl Error {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into().into())
    }
}

/// The reason why credentials cannot be set up from the config.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client cannot be built.
    #[error("cannot set up the client that gets the credentials: {0}")]
    Client(#[from] crate::unmeasured::Error),
    /// There is no runtime for the renewal task.
    #[error("credentials need a runtime")]
    NoRuntime,
}

impl Credentials {
    /// Creates the credentials of a target; `None` if its authentication needs none. Fetching starts at once, on the
    /// caller's runtime. Blocks while it reads files. `target` is the target's name, for the log.
    pub fn of(auth: &Auth, target: &Arc<str>) -> Result<Option<Self>, SetupError> {
        let keep = |fetch| CredentialRenewer::start(fetch, Arc::clone(target)).map(CredentialSource::Fetched);
        let source = match auth {
            Auth::OAuth2(oauth2) => keep(Box::new(oauth2::ClientCredentials::new(oauth2)?))?,
            Auth::Gcp(gcp) => keep(Box::new(google::ServiceAccount::new(gcp)?))?,
            Auth::Aws(aws) => match aws::source(aws)? {
                aws::AwsKeySource::Local(local) => CredentialSource::Local(Box::new(local)),
                aws::AwsKeySource::Remote(remote) => keep(Box::new(remote))?,
            },
            Auth::None | Auth::Bearer(_) | Auth::Header { .. } | Auth::Basic { .. } => return Ok(None),
        };
        Ok(Some(Self(source)))
    }

    /// The current credentials, without waiting; `None` if they are still being fetched.
    pub fn present(&self) -> Option<Result<Arc<Issued>, Error>> {
        match &self.0 {
            CredentialSource::Fetched(keeper) => keeper.present(),
            CredentialSource::Local(local) => Some(local.read()),
        }
    }

    /// The current credentials, or those being fetched.
    pub async fn get(&self) -> Result<Arc<Issued>, Error> {
        match &self.0 {
            CredentialSource::Fetched(keeper) => keeper.get().await,
            CredentialSource::Local(local) => local.read(),
        }
    }

    /// Reports that the target refused these credentials. New ones are fetched, unless that has already happened, or
    /// happens so often that the credentials cannot be the cause.
    pub fn refused(&self, refused: &Arc<Issued>) {
        if let CredentialSource::Fetched(keeper) = &self.0 {
            keeper.refused(refused);
        }
    }
}

impl Issued {
    fn new(credential: Credential, from: Instant, lifetime: Option<Duration>) -> Self {
        Self { credential, from, lifetime }
    }

    /// Whether it has expired.
    fn has_ended(&self, now: Instant) -> bool {
        self.lifetime.is_some_and(|lifetime| now.saturating_duration_since(self.from) >= lifetime)
    }

    /// The values that must not be shown.
    pub fn secrets(&self) -> Vec<Exposed> {
        match &self.credential {
            Credential::Bearer(token) => vec![token.clone()],
            Credential::Aws(keys) => {
                let mut all = vec![Exposed::new(&*keys.access_key_id), keys.secret_access_key.clone()];
                all.extend(keys.session_token.clone());
                all
            }
        }
    }
}
