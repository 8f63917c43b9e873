//! Authentication to a target.

use super::serialize;
use crate::secret::Secret;
use crate::vocabulary::ClientAuth;
use http::HeaderName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// How requests are authenticated.
#[derive(Clone, Debug, Serialize)]
pub enum Auth {
    /// Without credentials.
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
    /// A bearer token obtained with OAuth 2.0 client credentials.
    OAuth2(Box<OAuth2>),
    /// A bearer token of a Google service account.
    Gcp(Box<Gcp>),
    /// A signature with AWS credentials.
    Aws(Box<Aws>),
}

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Clone, Debug, Serialize)]
pub struct OAuth2 {
    /// The token endpoint.
    #[serde(serialize_with = "serialize::text")]
    pub token_url: Url,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The requested scope.
    pub scope: Option<String>,
    /// The audience of the token.
    pub audience: Option<String>,
    /// More parameters of the request.
    pub params: BTreeMap<String, String>,
    /// How the client authenticates to the token endpoint.
    pub client_auth: ClientAuth,
    /// Root certificates in place of the system's, as a PEM file.
    #[serde(serialize_with = "serialize::optional_path")]
    pub ca_file: Option<PathBuf>,
}

/// A Google service account.
#[derive(Clone, Debug, Serialize)]
pub struct Gcp {
    /// Its key: the JSON file as issued by Google.
    pub service_account: Secret,
    /// The requested scope.
    pub scope: String,
    /// The audience of an identity token, which then takes the place of an access token for the scope.
    pub audience: Option<String>,
}

/// AWS credentials, and the service that requests are signed for.
#[derive(Clone, Debug, Serialize)]
pub struct Aws {
    /// The region of the service.
    pub region: String,
    /// The name of the service.
    pub service: String,
    /// The source of the credentials.
    pub source: AwsSource,
}

/// The source of AWS credentials.
#[derive(Clone, Debug, Serialize)]
pub enum AwsSource {
    /// The first other source that the environment describes.
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
        /// The file, in place of the default one.
        #[serde(serialize_with = "serialize::optional_path")]
        file: Option<PathBuf>,
    },
    /// A role assumed with the token of another identity provider.
    WebIdentity {
        /// The role.
        role_arn: String,
        /// The token.
        token: Secret,
        /// The name of the session.
        session_name: String,
        /// The token service.
        #[serde(serialize_with = "serialize::text")]
        sts_url: Url,
    },
    /// An endpoint that provides credentials to containers.
    Container {
        /// Its URL.
        #[serde(serialize_with = "serialize::text")]
        url: Url,
        /// The value of `Authorization` that it requires.
        token: Option<Secret>,
    },
}

impl Auth {
    /// Whether this sets the header `Authorization`.
    pub const fn is_authorization(&self) -> bool {
        !matches!(self, Self::None | Self::Header { .. })
    }
}
