//! Attributes of metric points, in OTLP's types. It must not know any attribute's name.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// Maximum length of a text value in bytes, because external texts must not make a record large.
pub(super) const MAX_TEXT: usize = 1024;

fn value(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text, truncated to a maximum length.
pub(super) fn text(key: &str, text: &str) -> KeyValue {
    value(key, Value::StringValue(cut(text, MAX_TEXT).to_owned()))
}

/// A whole number, saturating at the maximum of an `i64`.
pub(super) fn int(key: &str, n: u64) -> KeyValue {
    value(key, Value::IntValue(i64::try_from(n).unwrap_or(i64::MAX)))
}

/// The longest prefix of `text` with at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("aä", 9), cut("", 0)), ("a", "aä", "aä", ""));
        let long = "ä".repeat(MAX_TEXT);
        let Some(Value::StringValue(kept)) = text("k", &long).value.unwrap().value else { panic!("no text") };
        assert_eq!(kept.len(), MAX_TEXT);
    }

    #[test]
    fn numbers_too_large_are_the_largest() {
        assert_eq!(int("k", u64::MAX).value.unwrap().value, Some(Value::IntValue(i64::MAX)));
    }
}
