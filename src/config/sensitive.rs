//! Values that are secret, or may be: they deserialise as written and serialise masked, so that the config can
//! be shown.

use super::text::{Text, text};
use crate::secret::{Exposed, Secret, SecretOrigin};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// What a secret looks like from outside.
pub(super) const MASK: &str = "***";

/// Parts of the names of headers that carry credentials.
const CREDENTIAL_WORDS: [&str; 9] =
    ["auth", "key", "token", "secret", "cookie", "credential", "password", "session", "signature"];

/// Where a secret comes from: exactly one of the three. Whitespace and byte order marks around
/// it are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct SecretSource {
    /// Name of an environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<VariableName>,
    /// File that contains the secret. The file is reloaded when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub file: Option<PathBuf>,
    /// The secret itself. This causes a warning, because secrets should not be in the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Hidden>,
}

impl SecretSource {
    /// The origins that are written; one is right.
    pub fn origins(&self) -> Vec<SecretOrigin> {
        let env = self.env.iter().map(|name| SecretOrigin::Env(name.0.clone()));
        let file = self.file.iter().map(|path| SecretOrigin::File(path.clone()));
        let value = self.value.iter().map(|value| SecretOrigin::Literal(value.0.clone()));
        env.chain(file).chain(value).collect()
    }

    /// The secret, where exactly one origin is written.
    pub fn secret(&self) -> Option<Secret> {
        let mut origins = self.origins();
        let only = origins.pop()?;
        origins.is_empty().then(|| Secret::new(only))
    }
}

/// Name of an environment variable. Its form is checked so that most secrets written in its place are refused,
/// and not printed as the name of something that is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableName(pub String);

impl Text for VariableName {
    const FORMAT: &'static str = "variable-name";
    const EXAMPLES: &'static [&'static str] = &["LLM_API_KEY"];

    fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be the name of an environment variable: letters, digits and underscores".to_owned())
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
text!(VariableName);

/// Text that is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden(pub Exposed);

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|value| Self(Exposed::new(value)))
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// A header's value: text, or a secret.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderText {
    /// Text in the clear.
    Plain(String),
    /// A secret.
    Secret(SecretSource),
}

impl HeaderText {
    /// Where it comes from; plain text is a literal.
    pub fn origins(&self) -> Vec<SecretOrigin> {
        match self {
            Self::Plain(text) => vec![SecretOrigin::Literal(Exposed::new(text))],
            Self::Secret(source) => source.origins(),
        }
    }
}

impl HeaderText {
    /// Whether a header of this name with this value is a credential.
    pub fn is_credential(&self, name: &str) -> bool {
        matches!(self, Self::Secret(_)) || names_a_credential(name)
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str(MASK),
            Self::Secret(source) => source.fmt(f),
        }
    }
}

/// Whether a header of this name usually carries a credential.
pub fn names_a_credential(header: &str) -> bool {
    let lower = header.to_ascii_lowercase();
    CREDENTIAL_WORDS.iter().any(|word| lower.contains(word))
}

/// Serialises headers: plain values of headers that are named like a credential are masked too.
pub(crate) fn masked_headers<S: Serializer>(
    headers: &std::collections::BTreeMap<String, HeaderText>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| (name, MaskedHeader { name, value })))
}

struct MaskedHeader<'a> {
    name: &'a str,
    value: &'a HeaderText,
}

impl Serialize for MaskedHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            HeaderText::Plain(_) if names_a_credential(self.name) => serializer.serialize_str(MASK),
            HeaderText::Plain(text) => serializer.serialize_str(text),
            HeaderText::Secret(source) => source.serialize(serializer),
        }
    }
}

/// A URL as written. Credentials and queries do not belong into it and are refused later; until then, and where
/// it is shown, they are masked.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct UrlText(pub String);

impl UrlText {
    /// The URL without what may be secret in it.
    pub fn masked(&self) -> String {
        let (rest, fragment) =
            self.0.split_once('#').map_or((self.0.as_str(), ""), |(rest, _)| (rest, "#***"));
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
        // A password may hold any character, so all up to the last `@` is taken for one.
        let rest = match rest.rsplit_once('@') {
            Some((before, after)) => {
                let scheme =
                    before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
                format!("{scheme}{MASK}@{after}")
            }
            None => rest.to_owned(),
        };
        format!("{rest}{query}{fragment}")
    }
}

impl UrlText {
    /// Scheme, host and port, for a URL whose path may be secret as well.
    pub(super) fn origin(&self) -> String {
        let shown = self.masked();
        let Some((scheme, rest)) = shown.split_once("://") else { return MASK.to_owned() };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}://{host}/{MASK}")
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for UrlText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_credentials() {
        let shown = |url: &str| UrlText(url.to_owned()).masked();
        assert_eq!(shown("https://llm.example.net/v1"), "https://llm.example.net/v1");
        assert_eq!(shown("https://me:hunter2@llm.example.net/v1"), "https://***@llm.example.net/v1");
        assert_eq!(shown("https://me:a@b/c@llm.example.net"), "https://***@llm.example.net");
        assert_eq!(shown("me:hunter2@host"), "***@host");
        assert_eq!(shown("https://host/v1?key=hunter2#x"), "https://host/v1?***#***");
    }

    #[test]
    fn urls_whose_path_is_secret_are_shown_without_it() {
        let shown = |url: &str| UrlText(url.to_owned()).origin();
        assert_eq!(shown("https://hooks.example.net/services/hunter2"), "https://hooks.example.net/***");
        assert_eq!(shown("https://me:a/b@host:8443?hunter2#x"), "https://***@host:8443/***");
        assert_eq!(shown("https://me:hun/ter2@host/a@b"), "https://***@b/***");
        assert_eq!(shown("hunter2"), "***");
    }

    #[test]
    fn a_secret_in_the_place_of_a_name_is_refused() {
        assert!(VariableName::parse("LLM_KEY_2").is_ok());
        for bad in ["sk-proj-123", "AKIA/X", "", "2X", "two words"] {
            assert!(VariableName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credential_headers_are_known_by_name() {
        for name in
            ["Authorization", "api-key", "X-Api-Key", "Cookie", "X-Auth-Token", "Ocp-Apim-Subscription-Key"]
        {
            assert!(names_a_credential(name), "{name}");
        }
        for name in ["X-Tenant-ID", "User-Agent", "Accept-Language"] {
            assert!(!names_a_credential(name), "{name}");
        }
    }

    #[test]
    fn exactly_one_origin_makes_a_secret() {
        let both: SecretSource = serde_json::from_str(r#"{"env": "A", "value": "b"}"#).unwrap();
        assert_eq!(both.origins().len(), 2);
        assert!(both.secret().is_none());
        assert!(SecretSource::default().secret().is_none());
    }
}
