//! Values of scenarios that may hold a credential although there is a better place for it: they are shown with
//! everything masked that stands under a credential's name, unless it is a template.

use super::sensitive::{MASK, names_a_credential};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Whether text has a template in it: an expression, a statement or a comment.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|opening| text.contains(opening))
}

/// Text that is shown under this name.
fn shown<'a>(name: &str, text: &'a str) -> &'a str {
    if names_a_credential(name) && !is_template(text) && !text.is_empty() { MASK } else { text }
}

/// A value that is shown under this name: all of its texts are masked where the name, or a name further down, is
/// that of a credential.
fn shown_value(credential: bool, value: &Value) -> Value {
    match value {
        Value::String(text) if credential => shown("key", text).into(),
        Value::Array(items) => items.iter().map(|item| shown_value(credential, item)).collect(),
        Value::Object(map) => shown_map(credential, map).into(),
        plain => plain.clone(),
    }
}

fn shown_map(credential: bool, map: &Map<String, Value>) -> Map<String, Value> {
    let entries = map
        .iter()
        .map(|(name, value)| (name.clone(), shown_value(credential || names_a_credential(name), value)));
    entries.collect()
}

/// Serialises and prints as what `masked` gives.
macro_rules! shown_masked {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.masked().serialize(serializer)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.masked().fmt(f)
            }
        }
    };
}

/// Texts by name: headers, fields of a form.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Texts(pub BTreeMap<String, String>);

impl Texts {
    /// Without what may be secret in them.
    pub fn masked(&self) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, text)| (name.as_str(), shown(name, text))).collect()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
shown_masked!(Texts);

/// Any JSON value.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Json(pub Value);

impl Json {
    /// Without what may be secret in it.
    pub fn masked(&self) -> Value {
        shown_value(false, &self.0)
    }
}
shown_masked!(Json);

/// Values by name.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Values(pub Map<String, Value>);

impl Values {
    /// Without what may be secret in them.
    pub fn masked(&self) -> Map<String, Value> {
        shown_map(false, &self.0)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
shown_masked!(Values);

/// The path of a request, with its query.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PathText(pub String);

impl PathText {
    /// Without what may be secret in its query.
    pub fn masked(&self) -> String {
        let Some((path, query)) = self.0.split_once('?') else { return self.0.clone() };
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((name, value)) => format!("{name}={}", shown(name, value)),
            None => part.to_owned(),
        });
        format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
    }
}
shown_masked!(PathText);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_under_a_credentials_name_is_masked_unless_it_is_a_template() {
        let written = json!({
            "email": "me@example.net",
            "password": "hunter2",
            "nested": [{ "api_key": "hunter2", "n": 1, "token": "{{ token }}", "secret": "" }],
            "keys": { "a": ["hunter2", 5, null], "b": "{% if x %}y{% endif %}" },
        });
        let right = json!({
            "email": "me@example.net",
            "password": "***",
            "nested": [{ "api_key": "***", "n": 1, "token": "{{ token }}", "secret": "" }],
            "keys": { "a": ["***", 5, null], "b": "{% if x %}y{% endif %}" },
        });
        assert_eq!(Json(written.clone()).masked(), right);
        let values = Values(written.as_object().unwrap().clone());
        assert_eq!(Value::from(values.masked()), right);
        assert!(!format!("{values:?} {:?}", Json(written)).contains("hunter2"));
    }

    #[test]
    fn headers_forms_and_queries_are_masked_by_name() {
        let texts = Texts(BTreeMap::from([
            ("Authorization".to_owned(), "Bearer hunter2".to_owned()),
            ("X-Auth".to_owned(), "{{ token }}".to_owned()),
            ("Accept".to_owned(), "text/plain".to_owned()),
        ]));
        let shown = serde_json::to_value(&texts).unwrap();
        let right = json!({ "Authorization": "***", "X-Auth": "{{ token }}", "Accept": "text/plain" });
        assert_eq!(shown, right);
        assert!(!format!("{texts:?}").contains("hunter2"));
        let path = |text: &str| PathText(text.to_owned()).masked();
        assert_eq!(path("/a?lang=en&api_key=hunter2&x"), "/a?lang=en&api_key=***&x");
        assert_eq!(path("/a?token={{ token }}"), "/a?token={{ token }}");
        assert_eq!(path("/keys/{{ id }}"), "/keys/{{ id }}");
    }
}
