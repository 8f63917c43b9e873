//! `targets[].auth`, as written.

use super::sensitive::{SecretSource, UrlText};
use crate::vocabulary::ClientAuth;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How requests are authenticated: `none`, or exactly one of `bearer`, `header`, `basic`, `oauth2`, `gcp` and `aws`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Auth {
    /// A word.
    Word(AuthWord),
    /// A method.
    Method(Box<AuthMethod>),
}

impl Default for Auth {
    fn default() -> Self {
        Self::Word(AuthWord::None)
    }
}

/// Authentication that takes no more than a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthWord {
    /// None.
    None,
}

/// Authentication method. Exactly one key must be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct AuthMethod {
    /// Sends `Authorization: Bearer` with this secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretSource>,
    /// Sends a secret in a header of any name, such as `api-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
    /// `Authorization: Basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// Sends `Authorization: Bearer` with a token that is obtained with OAuth 2.0 client credentials (RFC 6749, section
    /// 4.4), for Entra ID, Keycloak, Auth0, Okta and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// Sends `Authorization: Bearer` with a token of a Google service account, for Vertex AI and Cloud Run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp: Option<Gcp>,
    /// Signs requests with AWS credentials (Signature Version 4), for Bedrock and API Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
}

/// A header that authenticates.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderAuth {
    /// Name of the header, such as `api-key`.
    pub name: String,
    /// Value of the header.
    pub value: SecretSource,
}

/// User and password.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user.
    pub username: String,
    /// The password.
    pub password: SecretSource,
}

/// OAuth 2.0 client credentials. The token is fetched when the target is set up. It is renewed before it expires, and
/// when the target answers with 401.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// The token endpoint, such as `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`. No proxy is used.
    pub token_url: UrlText,
    /// The client's id.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// The client's secret.
    pub client_secret: SecretSource,
    /// Scopes of the token, separated by spaces, such as `https://cognitiveservices.azure.com/.default`. Default: the
    /// server decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub scope: Option<String>,
    /// The audience of the token, where the server requires it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub audience: Option<String>,
    /// Additional parameters of the token request, as plain text, such as `{ resource: "https://api.example.net" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 20))]
    pub params: BTreeMap<String, String>,
    /// How the client authenticates itself. Default: basic.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// PEM file with root certificates for the token endpoint, used instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
}

/// A Google service account. Its file names the token endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gcp {
    /// The key of the service account: the JSON file from Google.
    pub service_account: SecretSource,
    /// Scopes of the token, separated by spaces. Default: `https://www.googleapis.com/auth/cloud-platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub scope: Option<String>,
    /// URL of the service, for services that require an identity token, such as those of Cloud Run. Used instead of
    /// `scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub audience: Option<String>,
}

/// AWS credentials, from at most one of `keys`, `profile`, `web_identity` and `container`. If none is set, they come
/// from the first of these that the environment has: `AWS_ACCESS_KEY_ID`, `AWS_WEB_IDENTITY_TOKEN_FILE`,
/// `AWS_CONTAINER_CREDENTIALS_*`, the profile `AWS_PROFILE` or `default`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The region of the service, such as `eu-west-1`.
    #[schemars(length(min = 1))]
    pub region: String,
    /// The name of the service that requests are signed for, such as `bedrock`, `sagemaker` or `execute-api`. Default:
    /// bedrock.
    #[serde(default = "bedrock")]
    #[schemars(length(min = 1))]
    pub service: String,
    /// Static access keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<AwsKeys>,
    /// A profile of the shared credentials file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<AwsProfile>,
    /// A role assumed with a token of another identity provider, as in EKS with service accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_identity: Option<AwsWebIdentity>,
    /// The endpoint for credentials of ECS tasks and EKS pod identities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<AwsContainer>,
}

fn bedrock() -> String {
    "bedrock".to_owned()
}

/// Access keys.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsKeys {
    /// The access key's id.
    pub access_key_id: SecretSource,
    /// The secret key.
    pub secret_access_key: SecretSource,
    /// The session token of temporary keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretSource>,
}

/// A profile with `aws_access_key_id` and `aws_secret_access_key`. The file is reloaded when it changes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsProfile {
    /// Name of the profile.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The file. Default: `AWS_SHARED_CREDENTIALS_FILE`, or `~/.aws/credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub file: Option<PathBuf>,
}

/// A role, and the token with which it is assumed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsWebIdentity {
    /// The role, such as `arn:aws:iam::123456789012:role/prober`.
    #[schemars(length(min = 1))]
    pub role_arn: String,
    /// The token, usually a file that is replaced from time to time.
    pub token: SecretSource,
    /// Name of the session, as it appears in AWS logs. Default: tokenbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 64))]
    pub session_name: Option<String>,
    /// The token service. Default: `https://sts.REGION.amazonaws.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sts_url: Option<UrlText>,
}

/// An endpoint that provides credentials to containers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsContainer {
    /// URL of the endpoint, which must use `https` or be on this machine.
    pub url: UrlText,
    /// Value of the `Authorization` header for the endpoint. Default: the header is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSource>,
}
