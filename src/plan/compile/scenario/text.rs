//! Texts of a scenario: literals that look like secrets, and what of a text stands outside of its templates.

use crate::config::{KeyPath, is_template};
use crate::plan::compile::Findings;
use serde_json::Value;

/// Ends of the names of credentials. Fewer than are masked when the config is shown: a warning must be worth it.
const CREDENTIALS: [&str; 8] =
    ["apikey", "api_key", "authorization", "credential", "credentials", "password", "secret", "token"];

/// What is said of a literal that looks like a secret.
pub(super) const LITERAL_SECRET: &str =
    "looks like a secret in the config itself; put it into `secrets` and write {{ secret.NAME }}";

/// Warns of texts under the name of a credential that hold no template.
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

/// Whether a field of this name surely holds a credential.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    CREDENTIALS.iter().any(|end| name.ends_with(end))
}

/// A text without its expressions, statements and comments.
pub(super) fn outside_templates(text: &str) -> String {
    split(text).0
}

/// The expressions and statements of a text, without the texts that are quoted in them.
pub(super) fn code_of(text: &str) -> String {
    let mut quote = None;
    let mut code = String::new();
    for c in split(text).1.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => continue,
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
        code.push(c);
    }
    code
}

/// What stands outside of templates, and what inside.
fn split(text: &str) -> (String, String) {
    let (mut outside, mut inside) = (String::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        outside.push_str(before);
        let closing = match from.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                outside.push('{');
                rest = from.strip_prefix('{').unwrap_or_default();
                continue;
            }
        };
        let (code, after) = from.split_once(closing).unwrap_or((from, ""));
        if closing != "#}" {
            inside.push_str(code);
            inside.push('\n');
        }
        rest = after;
    }
    outside.push_str(rest);
    (outside, inside)
}

/// Letters, digits and underscores, and no digit in front.
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
    fn what_stands_outside_of_templates_is_what_is_sent_as_it_is() {
        assert_eq!(outside_templates("/a/{{ b }}?c={% if x %}#{# d #}{e}"), "/a/?c=#{e}");
        assert_eq!(outside_templates("{{ unclosed"), "");
        assert_eq!(outside_templates("plain {"), "plain {");
    }

    #[test]
    fn code_is_what_templates_do() {
        let code = |text: &str| code_of(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code("a {{ b }} c {% if d %}{# e #} f"), "{{ b {% if d");
        assert_eq!(code("{{ x['a.b'] ~ \"c\" }}"), "{{ x[''] ~ \"\"");
    }

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
