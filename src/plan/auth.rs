//! How we authenticate to a target.

use super::serialize;
use crate::secret::Secret;
use crate::vocabulary::ClientAuth;
use http::HeaderName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// How we authenticate.
#[derive(Debug, Serialize)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer ...`.
    Bearer(Secret),
    /// A header of any name.
    Header {
        /// Its name.
        #[serde(serialize_with = "serialize::text")]
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: Basic ...`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token that OAuth 2.0 client credentials give.
    OAuth2(Box<OAuth2>),
    /// A bearer token for a Google service account.
    Gcp(Box<Gcp>),
    /// Signed with AWS credentials.
    Aws(Box<Aws>),
}

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Debug, Serialize)]
pub struct OAuth2 {
    /// The token endpoint.
    #[serde(serialize_with = "serialize::text")]
    pub token_url: Url,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// What the token is for.
    pub scope: Option<String>,
    /// Whom the token is for.
    pub audience: Option<String>,
    /// More parameters of the request.
    pub params: BTreeMap<String, String>,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// Roots in place of the system's, PEM.
    #[serde(serialize_with = "serialize::optional_path")]
    pub ca_file: Option<PathBuf>,
}

/// A Google service account.
#[derive(Debug, Serialize)]
pub struct Gcp {
    /// Its key: the JSON file as Google gives it.
    pub service_account: Secret,
    /// What the token is for.
    pub scope: String,
    /// Whom an identity token is for, in place of an access token for the scope.
    pub audience: Option<String>,
}

/// AWS credentials, and what requests are signed for.
#[derive(Debug, Serialize)]
pub struct Aws {
    /// The region of the service.
    pub region: String,
    /// The name of the service.
    pub service: String,
    /// Where the credentials come from.
    pub source: AwsSource,
}

/// Where AWS credentials come from.
#[derive(Debug, Serialize)]
pub enum AwsSource {
    /// The first of the others that the environment describes.
    Environment,
    /// These keys.
    Keys {
        /// The access key's id.
        access_key_id: Secret,
        /// The secret key.
        secret_access_key: Secret,
        /// The session token of temporary keys.
        session_token: Option<Secret>,
    },
    /// A profile of the shared credentials file.
    Profile {
        /// Its name.
        name: String,
        /// The file, in place of the usual one.
        #[serde(serialize_with = "serialize::optional_path")]
        file: Option<PathBuf>,
    },
    /// A role that a token of another identity provider stands for.
    WebIdentity {
        /// The role.
        role_arn: String,
        /// The token.
        token: Secret,
        /// Name of the session.
        session_name: String,
        /// The token service.
        #[serde(serialize_with = "serialize::text")]
        sts_url: Url,
    },
    /// An endpoint that gives credentials to containers.
    Container {
        /// Its address.
        #[serde(serialize_with = "serialize::text")]
        url: Url,
        /// The value of `Authorization` that it wants.
        token: Option<Secret>,
    },
}

impl Auth {
    /// Whether it sets the header `Authorization`.
    pub const fn is_authorization(&self) -> bool {
        !matches!(self, Self::None | Self::Header { .. })
    }
}
