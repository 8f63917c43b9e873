//! What was found out about an endpoint: the values that become a config, and the sentences about them.

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
    /// It stood in the address, which no config may repeat.
    Address(Exposed),
    /// User and password stood in the address.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Exposed,
    },
}

impl KeySource {
    /// Whether it stood in the address, and has to be put where a config can refer to it.
    pub const fn is_in_address(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Basic { .. })
    }
}

/// How the endpoint takes our key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAuth {
    /// The place of the key in a request.
    pub scheme: AuthScheme,
    /// Where it comes from.
    pub key: KeySource,
}

/// How the number of output tokens is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// The limit of each answer, in tokens.
    pub tokens: u64,
    /// It is called `max_completion_tokens` there: `max_tokens` is refused.
    pub as_max_completion_tokens: bool,
}

/// What could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPoint {
    /// What it is about.
    pub what: &'static str,
    /// What is not known, and the line of the config to change.
    pub text: String,
}

/// Everything that was found out.
#[derive(Clone, Debug)]
pub struct EndpointFindings {
    /// The address that was asked, without credentials.
    pub asked: String,
    /// A name for the target.
    pub name: String,
    /// The dialect.
    pub api: Api,
    /// Its base URL.
    pub base_url: Url,
    /// The model; empty if none is named.
    pub model: String,
    /// The models that are listed.
    pub listed: Vec<String>,
    /// What serves it.
    pub server: Option<ServerFinding>,
    /// The server's own account.
    pub account: BackendAccount,
    /// How we authenticate.
    pub auth: Option<TargetAuth>,
    /// Roots that it is trusted by.
    pub ca_file: Option<PathBuf>,
    /// Whether it streams.
    pub streams: bool,
    /// The limit of output tokens; `None` where nothing is generated.
    pub limit: Option<OutputLimit>,
    /// `stream_options` is refused and left out.
    pub without_stream_options: bool,
    /// The tokenizer that fits.
    pub tokenizer: Option<&'static str>,
    /// A sentence about each thing that was found out, with what it is about.
    pub facts: Vec<(&'static str, String)>,
    /// What was not.
    pub open: Vec<OpenPoint>,
    /// What the small requests showed.
    pub measured: Measurement,
}

impl EndpointFindings {
    /// What is not known, and the line of the config that says it.
    pub fn leave_open(&mut self, what: &'static str, text: impl Into<String>) {
        self.open.push(OpenPoint { what, text: text.into() });
    }

    /// Names the target after its software, or after its host.
    pub fn name_target(&mut self, host: Option<&str>) {
        self.name = target_name(self.server.as_ref(), host);
    }
}

/// A name for a target: of the software, or of the host.
fn target_name(server: Option<&ServerFinding>, host: Option<&str>) -> String {
    if let Some(server) = server {
        return server.software.slug().to_owned();
    }
    // Of `api.example.net` the second label says more.
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
