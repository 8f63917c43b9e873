//! The address that the user gave: an origin, a base URL with a version, or the full path of an operation. Credentials
//! are removed from it and never shown.

use crate::config::names_a_credential;
use crate::secret::Exposed;
use crate::vocabulary::Api;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Paths of operations and the dialect of each. A path that is a suffix of another path comes after it.
const OPERATIONS: [(&str, Option<Api>); 15] = [
    ("/chat/completions", Some(Api::OpenAiChat)),
    ("/completions", Some(Api::OpenAiCompletions)),
    ("/responses", Some(Api::OpenAiResponses)),
    ("/embeddings", Some(Api::OpenAiEmbeddings)),
    ("/messages", Some(Api::Anthropic)),
    ("/api/chat", Some(Api::OllamaChat)),
    ("/api/generate", Some(Api::OllamaGenerate)),
    ("/api/tags", Some(Api::OllamaChat)),
    ("/generate_stream", Some(Api::Tgi)),
    ("/generate", Some(Api::Tgi)),
    ("/v2/rerank", Some(Api::RerankCohere)),
    ("/rerank", Some(Api::RerankJina)),
    ("/models", None),
    ("/metrics", None),
    ("/health", None),
];

/// Why an address cannot be used. The message never quotes the address, because the address may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address is not a URL.
    #[error("the address is not a URL, such as http://127.0.0.1:8000 or https://llm.example.net/v1")]
    NotUrl,
    /// The scheme is neither `http` nor `https`.
    #[error("the address must begin with http:// or https://")]
    Scheme,
    /// The address contains a user without a password.
    #[error("the address holds a user without a password; give a key with --key-env or --key-file")]
    UserOnly,
    /// The address contains more than one credential.
    #[error(
        "the address holds more than one credential; give the one that is meant with --key-env or --key-file"
    )]
    SeveralCredentials,
}

/// A credential that was part of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressCredential {
    /// A key from the query.
    Key(Exposed),
    /// A user and a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Exposed,
    },
}

/// The address of an endpoint, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// The base URL: the path that the operations are below, without a trailing slash, and the query that each request
    /// repeats.
    base: Url,
    /// The dialect whose operation the path ended with.
    api: Option<Api>,
    /// The model that the path names.
    model: Option<String>,
    /// The credential that was removed from the address.
    credential: Option<AddressCredential>,
}

impl EndpointAddress {
    /// Parses an address. If it has no scheme, the scheme is `http` for localhost, IP addresses and names with a port,
    /// and `https` for all others.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let mut url = Url::parse(&with_scheme(text)).map_err(|_| AddressError::NotUrl)?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(AddressError::Scheme);
        }
        let credential = take_credential(&mut url)?;
        url.set_fragment(None);
        let (path, api, model) = split_operation(url.path());
        url.set_path(&path);
        Ok(Self { base: url, api, model, credential })
    }

    /// The address in a form that can be shown.
    pub fn shown(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The credential that was removed from the address.
    pub fn credential(&self) -> Option<&AddressCredential> {
        self.credential.as_ref()
    }

    /// The dialect of the operation that the path ended with.
    pub fn api(&self) -> Option<Api> {
        self.api
    }

    /// The model that the path names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The host name, unless the host is an IP address or localhost.
    pub fn host_name(&self) -> Option<&str> {
        match self.base.host() {
            Some(Host::Domain(name)) if name != "localhost" => Some(name),
            _ => None,
        }
    }

    /// Whether the path belongs to an Azure OpenAI deployment, which serves one model.
    pub fn is_deployment(&self) -> bool {
        self.path().contains("/deployments/")
    }

    /// The URL of a path below the root, which is the base URL without its version.
    pub fn below_root(&self, path: &str) -> Url {
        self.with_path(&format!("{}{path}", self.root()))
    }

    /// The base URLs to try for a dialect, most likely first.
    pub fn bases(&self, api: Api) -> Vec<Url> {
        let (path, root) = (self.path(), self.root());
        let paths = match api {
            Api::OpenAiChat | Api::OpenAiCompletions | Api::OpenAiResponses | Api::OpenAiEmbeddings => {
                let names_it = self.api == Some(api) || self.is_deployment() || is_versioned(path);
                if names_it { vec![path.to_owned()] } else { vec![format!("{path}/v1"), path.to_owned()] }
            }
            Api::Gemini if path.contains("/projects/") || is_versioned(path) => vec![path.to_owned()],
            Api::Gemini => vec![format!("{path}/v1beta")],
            // The other dialects add their version themselves.
            _ => vec![root.to_owned()],
        };
        paths.iter().map(|path| self.with_path(path)).collect()
    }

    fn with_path(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    fn path(&self) -> &str {
        self.base.path().trim_end_matches('/')
    }

    fn root(&self) -> &str {
        let path = self.path();
        // In paths of Vertex AI projects, the version comes before the project.
        let path = path.split_once("/projects/").map_or(path, |(before, _)| before);
        match path.rsplit_once('/') {
            Some((root, _)) if is_versioned(path) => root,
            _ => path.strip_suffix("/api").unwrap_or(path),
        }
    }
}

/// Whether a path ends with a version, such as `v1` or `v1beta`.
fn is_versioned(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn with_scheme(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let authority = text.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let near = host.contains(':')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok();
    format!("{}://{text}", if near { "http" } else { "https" })
}

/// Removes the user, the password and all query parameters with the name of a credential from a URL.
fn take_credential(url: &mut Url) -> Result<Option<AddressCredential>, AddressError> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut found = Vec::new();
    match (url.username(), url.password()) {
        ("", None) => {}
        (_, None) => return Err(AddressError::UserOnly),
        (user, Some(password)) => found.push(AddressCredential::Basic {
            username: decoded(user),
            password: Exposed::new(decoded(password)),
        }),
    }
    let (mut kept, mut keys) = (Vec::new(), Vec::new());
    for (name, value) in url.query_pairs() {
        // Gemini's full paths end with `alt=sse`. The dialect adds it itself.
        match &*name {
            "alt" if value == "sse" => {}
            "key" => keys.push(value.into_owned()),
            name if names_a_credential(name) => keys.push(value.into_owned()),
            _ => kept.push((name.into_owned(), value.into_owned())),
        }
    }
    found.extend(keys.into_iter().map(|key| AddressCredential::Key(Exposed::new(key))));
    // These calls cannot fail, because the URL has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(AddressError::SeveralCredentials),
    }
}

/// The path that the operations are below, the dialect of the operation that the path ended with, and the model that
/// the path named.
fn split_operation(path: &str) -> (String, Option<Api>, Option<String>) {
    let path = path.trim_end_matches('/');
    if let Some((base, method)) = path.rsplit_once("/models/")
        && let Some((model, method)) = method.split_once(':')
        && ["generateContent", "streamGenerateContent"].contains(&method)
    {
        let model = percent_decode_str(model).decode_utf8_lossy().into_owned();
        let (base, model) = match base.rsplit_once("/publishers/") {
            Some((base, "google")) => (base, model),
            Some((base, publisher)) => (base, format!("publishers/{publisher}/models/{model}")),
            None => (base, model),
        };
        return (base.to_owned(), Some(Api::Gemini), Some(model));
    }
    let operation = OPERATIONS.iter().find_map(|(end, api)| Some((path.strip_suffix(end)?, *end, *api)));
    let (base, api) = match operation {
        // The version tells the two rerank APIs apart. It is part of the base URL of both.
        Some((base, "/v2/rerank", api)) => (format!("{base}/v2"), api),
        Some((base, _, api)) => (base.to_owned(), api),
        None => (path.to_owned(), None),
    };
    let deployment = base.split_once("/deployments/").and_then(|(_, rest)| rest.split('/').next());
    let model = deployment.filter(|name| !name.is_empty());
    let model = model.map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
    (base, api, model)
}

#[cfg(test)]
mod tests;
