//! The findings about an endpoint: the values for the config and the sentences that describe them.

use super::{AuthScheme, BackendAccount, Measurement, ServerFinding};
use crate::secret::Exposed;
use crate::vocabulary::Api;
use std::path::PathBuf;
use url::Url;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// The key was in the address. A config must not repeat it.
    Address(Exposed),
    /// The user and the password were in the address.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Exposed,
    },
}

impl KeySource {
    /// Whether the key was in the address and has to be stored where a config can refer to it.
    pub const fn is_in_address(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Basic { .. })
    }
}

/// How the endpoint accepts the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAuth {
    /// How the key is sent in a request.
    pub scheme: AuthScheme,
    /// Where the key comes from.
    pub key: KeySource,
}

/// How the number of output tokens is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// The limit of each answer, in tokens.
    pub tokens: u64,
    /// Whether the limit is sent as `max_completion_tokens`, because the endpoint refuses `max_tokens`.
    pub as_max_completion_tokens: bool,
}

/// Something that could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPoint {
    /// The topic.
    pub what: &'static str,
    /// What is unknown, and the line of the config to change.
    pub text: String,
}

/// All findings about an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointFindings {
    /// The address of the endpoint, without credentials.
    pub asked: String,
    /// The name of the target.
    pub name: String,
    /// The dialect.
    pub api: Api,
    /// The base URL.
    pub base_url: Url,
    /// The model. Empty if requests name none.
    pub model: String,
    /// The models that the endpoint lists.
    pub listed: Vec<String>,
    /// The software that serves the endpoint.
    pub server: Option<ServerFinding>,
    /// The URLs of the server's own metrics and health.
    pub account: BackendAccount,
    /// How requests are authenticated.
    pub auth: Option<TargetAuth>,
    /// File with the root certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Whether the endpoint streams.
    pub streams: bool,
    /// The limit of output tokens. `None` if the dialect does not generate text.
    pub limit: Option<OutputLimit>,
    /// Whether `stream_options` is left out because the endpoint refuses it.
    pub without_stream_options: bool,
    /// The tokenizer whose counts match the server's.
    pub tokenizer: Option<&'static str>,
    /// A topic and a sentence for each thing that was found out.
    pub facts: Vec<(&'static str, String)>,
    /// What could not be found out.
    pub open: Vec<OpenPoint>,
    /// The results of the measuring requests.
    pub measured: Measurement,
}

impl EndpointFindings {
    /// Records something that is unknown, with the line of the config to change.
    pub fn leave_open(&mut self, what: &'static str, text: impl Into<String>) {
        self.open.push(OpenPoint { what, text: text.into() });
    }

    /// Names the target after its software, or after its host if the software is unknown.
    pub fn name_target(&mut self, host: Option<&str>) {
        self.name = target_name(self.server.as_ref(), host);
    }
}

/// A target name, taken from the software or, if that is unknown, from the host.
fn target_name(server: Option<&ServerFinding>, host: Option<&str>) -> String {
    if let Some(server) = server {
        return server.software.slug().to_owned();
    }
    // In a name such as `api.example.net`, the second label is more descriptive.
    let labels: Vec<&str> = host.unwrap_or_default().split('.').collect();
    let label = match labels.as_slice() {
        ["api" | "www" | "llm", second, _, ..] => second,
        [first, ..] => first,
        [] => "",
    };
    let label: String = label.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let label = label.trim_matches('-').to_ascii_lowercase();
    if label.is_empty() { "endpoint".to_owned() } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_after_its_host_where_the_software_is_not_known() {
        for (host, name) in [
            (Some("api.deepinfra.com"), "deepinfra"),
            (Some("vllm"), "vllm"),
            (Some("llm-1.prod.svc"), "llm-1"),
            (Some("-"), "endpoint"),
            (None, "endpoint"),
        ] {
            assert_eq!(target_name(None, host), name);
        }
    }
}
