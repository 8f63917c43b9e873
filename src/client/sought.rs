//! Records where generated content was expected but not found, for the detail of an `empty` answer. Knows neither
//! dialects nor secrets.

use crate::answer_json;
use serde_json::Value;

/// Maximum length in bytes of a quoted event or document.
const MAX_QUOTED: usize = 16 << 10;
/// Longer texts within a quoted value are replaced by their length. They are never truncated, because a part of a
/// secret cannot be redacted.
const MAX_TEXT: usize = 80;
/// A text is masked if its key contains one of these: an answer may hand out secrets that are not yet known to be
/// secret.
const SECRET_KEYS: [&str; 8] =
    ["token", "secret", "password", "passwd", "api_key", "apikey", "authorization", "cookie"];

/// The events in which no generated content was found.
#[derive(Debug, Default)]
pub(super) struct Sought {
    events: u64,
    last: String,
    last_bytes: usize,
}

impl Sought {
    /// Whether no event was recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Records an event without content.
    pub(super) fn missed(&mut self, data: &str) {
        self.events += 1;
        self.last_bytes = data.len();
        self.last.clear();
        if data.len() <= MAX_QUOTED {
            self.last.push_str(data);
        }
    }

    /// Describes where content was expected and what was received; `body` is the body of an answer that was not a
    /// stream.
    pub(super) fn detail(&self, places: &str, body: Option<&[u8]>) -> String {
        let what = "the answer is complete and has no generated content: looked at";
        match (body, self.events) {
            (Some(body), _) => {
                let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_QUOTED);
                format!("{what} {places} in {}", quoted("answer", text, body.len()))
            }
            (None, 0) => format!("{what} {places}, but no event came"),
            (None, 1) => format!("{what} {places} in one event: {}", self.quoted()),
            (None, n) => format!("{what} {places} in {n} events; the last was {}", self.quoted()),
        }
    }

    fn quoted(&self) -> String {
        quoted("event", Some(&*self.last).filter(|last| last.len() == self.last_bytes), self.last_bytes)
    }
}

/// A text as quoted in a message, or its length.
fn quoted(kind: &str, text: Option<&str>, bytes: usize) -> String {
    match text {
        Some(text) if text.trim().is_empty() => format!("an empty {kind}"),
        Some(text) => match answer_json::parse_text(text) {
            Ok(value) => told(value).to_string(),
            Err(_) if text.len() <= MAX_TEXT => format!("`{}`", text.trim()),
            Err(_) => format!("an {kind} of {bytes} bytes that is not JSON"),
        },
        None => format!("an {kind} of {bytes} bytes"),
    }
}

fn told(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => format!("<{} bytes>", text.len()).into(),
        Value::Array(items) => items.into_iter().map(told).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = if is_secret(&key) && value.is_string() { "***".into() } else { told(value) };
                (key, value)
            })
            .collect(),
        other => other,
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "the answer is complete and has no generated content: looked at `$.delta`";

    fn missed(events: &[&str]) -> String {
        let mut sought = Sought::default();
        for event in events {
            sought.missed(event);
        }
        sought.detail("`$.delta`", None)
    }

    #[test]
    fn the_last_event_is_told() {
        let event = r#"{"text":"Hello","type":"delta"}"#;
        assert_eq!(missed(&[]), format!("{BASE}, but no event came"));
        assert_eq!(missed(&[event]), format!("{BASE} in one event: {event}"));
        assert_eq!(missed(&["1", "2", event]), format!("{BASE} in 3 events; the last was {event}"));
        assert_eq!(missed(&[event, "ping"]), format!("{BASE} in 2 events; the last was `ping`"));
        assert_eq!(missed(&[event, ""]), format!("{BASE} in 2 events; the last was an empty event"));
    }

    #[test]
    fn what_is_long_is_told_by_its_length_and_never_cut() {
        let long = format!(r#"{{"a":["{}"],"b":1}}"#, "x".repeat(100));
        assert!(missed(&[&long]).ends_with(r#": {"a":["<100 bytes>"],"b":1}"#));
        let longer = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_QUOTED));
        assert!(missed(&[&long, &longer]).ends_with("the last was an event of 16392 bytes"));
        assert!(missed(&["word ".repeat(30).as_str()]).ends_with("an event of 150 bytes that is not JSON"));
    }

    #[test]
    fn what_an_answer_hands_out_is_masked() {
        let event = r#"{"a":{"Access_Token":"sesame","n":1},"completion_tokens":7,"token":{"text":"Hi"}}"#;
        let told = r#": {"a":{"Access_Token":"***","n":1},"completion_tokens":7,"token":{"text":"Hi"}}"#;
        assert!(missed(&[event]).ends_with(told), "{}", missed(&[event]));
    }

    #[test]
    fn a_document_is_told() {
        let detail = |body: &[u8]| Sought::default().detail("`$.answer`", Some(body));
        assert!(detail(br#"{"reply":"Hi"}"#).ends_with(r#"looked at `$.answer` in {"reply":"Hi"}"#));
        assert!(detail(&[0xff; 3]).ends_with("in an answer of 3 bytes"));
        assert!(detail(b"").ends_with("in an empty answer"));
    }
}
