//! The key `mark` of a target, as written in the config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the traffic is marked as synthetic, in the fields that the dialect has for that. A key that the dialect does not
/// support is an error.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficMark {
    /// The user of the requests: `user` in OpenAI's APIs, `metadata.user_id` in Anthropic's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// Key-value pairs: `metadata` in OpenAI's chat completions and responses, `labels` in Vertex AI. OpenAI accepts
    /// them in chat completions only with `params: { store: true }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub metadata: BTreeMap<String, String>,
    /// Tags for LiteLLM, sent in the header `x-litellm-tags`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tags: Vec<String>,
    /// Headers of every request, as plain text that is not masked. Secrets belong in the target's `headers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
}

impl TrafficMark {
    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        let Self { user, metadata, tags, headers } = self;
        user.is_none() && metadata.is_empty() && tags.is_empty() && headers.is_empty()
    }
}
