//! The fields of each dialect that can mark traffic as synthetic.

use super::Api;
use http::HeaderName;

/// The header from which LiteLLM reads tags, in all dialects: <https://docs.litellm.ai/docs/proxy/request_tags>.
pub(super) const TAGS_HEADER: HeaderName = HeaderName::from_static("x-litellm-tags");

/// The fields of a dialect in the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MarkPlaces {
    /// Path of the field for the user.
    pub(super) user: Option<&'static [&'static str]>,
    /// Field for key-value pairs.
    pub(super) metadata: Option<MetadataPlace>,
}

/// A field for key-value pairs, and its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataPlace {
    /// `metadata` of OpenAI: at most 16 pairs, with keys of at most 64 characters and values of at most 512 characters.
    /// <https://platform.openai.com/docs/api-reference/chat/create#chat-create-metadata>
    Metadata,
    /// `labels` of Vertex AI: at most 64 labels. Keys and values have at most 63 lower-case letters, digits, `_` and
    /// `-`. Keys begin with a letter.
    /// <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls>
    Labels,
    /// `requestMetadata` of Bedrock: at most 16 pairs, with names of 1 to 256 characters and texts of at most 256
    /// characters. Both may contain letters, digits, blanks and `:_@$#=/+,-.`.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
    RequestMetadata,
}

impl MarkPlaces {
    /// The fields of an API. `vertex` means that the target is Vertex AI.
    pub(super) fn of(api: Api, vertex: bool) -> Self {
        const USER: Option<&[&str]> = Some(&["user"]);
        match api {
            Api::OpenAiChat | Api::OpenAiResponses => {
                Self { user: USER, metadata: Some(MetadataPlace::Metadata) }
            }
            Api::OpenAiCompletions | Api::OpenAiEmbeddings => Self { user: USER, metadata: None },
            Api::Anthropic => Self { user: Some(&["metadata", "user_id"]), metadata: None },
            Api::Gemini if vertex => Self { user: None, metadata: Some(MetadataPlace::Labels) },
            Api::Bedrock => Self { user: None, metadata: Some(MetadataPlace::RequestMetadata) },
            Api::Gemini
            | Api::OllamaChat
            | Api::OllamaGenerate
            | Api::Tgi
            | Api::RerankCohere
            | Api::RerankJina
            | Api::Http => Self::default(),
        }
    }

    /// The keys of `mark` that the API supports.
    pub(super) fn keys(self, api: Api) -> Vec<&'static str> {
        let keys = [
            ("`user`", self.user.is_some()),
            ("`metadata`", self.metadata.is_some()),
            ("`tags`", api != Api::Http),
            ("`headers`", true),
        ];
        keys.into_iter().filter_map(|(key, there)| there.then_some(key)).collect()
    }
}

impl MetadataPlace {
    /// The key of the field in the body.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Labels => "labels",
            Self::RequestMetadata => "requestMetadata",
        }
    }

    /// Maximum number of pairs.
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Metadata | Self::RequestMetadata => 16,
            Self::Labels => 64,
        }
    }

    /// Returns the reason if a pair is not allowed.
    pub(super) fn refuses(self, name: &str, text: &str) -> Option<&'static str> {
        let label = |text: &str| {
            text.chars().count() <= 63
                && text.chars().all(|c| !c.is_uppercase() && (c.is_alphanumeric() || "_-".contains(c)))
        };
        let plain = |text: &str| {
            text.len() <= 256
                && text.chars().all(|c| {
                    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c)
                })
        };
        match self {
            Self::RequestMetadata if name.is_empty() || !plain(name) || !plain(text) => Some(
                "must be a name of 1 to 256 and a text of at most 256 letters, digits, blanks and `:_@$#=/+,-.`",
            ),
            Self::Metadata if name.is_empty() || name.chars().count() > 64 => {
                Some("must have a key of 1 to 64 characters")
            }
            Self::Metadata if text.chars().count() > 512 => Some("must not be longer than 512 characters"),
            Self::Labels if !label(name) || !name.starts_with(char::is_alphabetic) => Some(
                "must have a key of 1 to 63 lower-case letters, digits, `_` and `-` that begins with a letter",
            ),
            Self::Labels if !label(text) => {
                Some("must be at most 63 lower-case letters, digits, `_` and `-`, because it becomes a label")
            }
            _ => None,
        }
    }
}

/// Whether the path of a base URL belongs to a project in Vertex AI.
pub fn is_vertex(path: &str) -> bool {
    path.contains("/locations/") || path.contains("/projects/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_google_cloud() {
        let fits = |name: &str, text: &str| MetadataPlace::Labels.refuses(name, text).is_none();
        assert!(fits("synthetic", "true") && fits("a_b-1", "") && fits("süß", "ok"));
        for (name, text) in
            [("Synthetic", "true"), ("1a", "x"), ("", "x"), ("a", "X"), ("a", "a b"), ("a.b", "x")]
        {
            assert!(!fits(name, text), "{name}: {text}");
        }
        let [fit, long] = [63, 64].map(|n| "a".repeat(n));
        assert!(fits(&fit, &fit) && !fits(&long, "x") && !fits("a", &long));
    }

    #[test]
    fn request_metadata_is_that_of_bedrock() {
        let fits = |name: &str, text: &str| MetadataPlace::RequestMetadata.refuses(name, text).is_none();
        assert!(fits("synthetic", "true") && fits("team:a", "x, y@z") && fits("a", ""));
        let [fit, long] = [256, 257].map(|n| "a".repeat(n));
        assert!(fits(&fit, &fit) && !fits(&long, "x") && !fits("a", &long));
        assert!(!fits("", "x") && !fits("a!", "x") && !fits("a", "é"));
    }

    #[test]
    fn metadata_has_the_lengths_of_openai() {
        let fits = |name: usize, text: usize| {
            MetadataPlace::Metadata.refuses(&"é".repeat(name), &"é".repeat(text)).is_none()
        };
        assert!(fits(1, 0) && fits(64, 512));
        assert!(!fits(0, 1) && !fits(65, 1) && !fits(1, 513));
    }
}
