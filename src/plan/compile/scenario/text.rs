//! Checks texts of a scenario: literals that look like secrets, and names for use in templates.

use crate::config::{KeyPath, is_template};
use crate::plan::compile::Findings;
use serde_json::Value;

/// Suffixes of names of credentials. They are fewer than those masked when the config is shown, because false warnings
/// are a nuisance.
const CREDENTIALS: [&str; 8] =
    ["apikey", "api_key", "authorization", "credential", "credentials", "password", "secret", "token"];

/// The warning for a literal that looks like a secret.
pub(super) const LITERAL_SECRET: &str =
    "looks like a secret in the config itself; put it into `secrets` and write {{ secret.NAME }}";

/// Warns of literal texts, not templates, under the name of a credential.
pub(super) fn literal_secret(name: &str, value: &Value, path: &KeyPath, findings: &mut Findings) {
    match value {
        Value::String(text) if !text.is_empty() && !is_template(text) && is_credential(name) => {
            findings.warn(path, LITERAL_SECRET);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                literal_secret(name, item, &path.index(index), findings);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                literal_secret(name, value, &path.key(name), findings);
            }
        }
        _ => {}
    }
}

/// Whether a field of this name certainly contains a credential.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    CREDENTIALS.iter().any(|end| name.ends_with(end))
}

/// Checks that a name has only letters, digits and underscores, and no leading digit.
pub(super) fn check_identifier(name: &str, path: &KeyPath, findings: &mut Findings) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let right = first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !right {
        let message = "is not a name for templates: letters, digits and underscores, and no digit in front";
        findings.error(path, message);
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_the_end_of_their_name() {
        for name in ["password", "X-Api-Key", "access_token", "Proxy-Authorization", "client_secret"] {
            assert!(is_credential(name), "{name}");
        }
        for name in ["max_tokens", "author", "keywords", "session_id", "token_type"] {
            assert!(!is_credential(name), "{name}");
        }
    }
}
