//! Attributes in the OpenTelemetry SDK's types. It must not know any attribute's name.

use super::attribute::{MAX_TEXT, cut};
use opentelemetry::{Array, KeyValue, StringValue, Value};

/// A text, truncated to a maximum length.
pub(super) fn text(key: &'static str, text: &str) -> KeyValue {
    KeyValue::new(key, cut(text, MAX_TEXT).to_owned())
}

/// Several texts.
pub(super) fn texts<'a>(key: &'static str, all: impl IntoIterator<Item = &'a str>) -> KeyValue {
    let values: Vec<StringValue> =
        all.into_iter().map(|text| cut(text, MAX_TEXT).to_owned().into()).collect();
    KeyValue::new(key, Value::Array(Array::String(values)))
}

/// A whole number, saturating at the maximum of an `i64`.
pub(super) fn int(key: &'static str, n: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(n).unwrap_or(i64::MAX))
}

/// A number.
pub(super) fn double(key: &'static str, number: f64) -> KeyValue {
    KeyValue::new(key, number)
}

/// A boolean.
pub(super) fn flag(key: &'static str, yes: bool) -> KeyValue {
    KeyValue::new(key, yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded() {
        let long = "ä".repeat(MAX_TEXT);
        assert_eq!(text("k", &long).value.as_str().len(), MAX_TEXT);
        let Value::Array(Array::String(all)) = texts("k", [long.as_str(), "b"]).value else {
            panic!("no texts")
        };
        assert_eq!(all.iter().map(|it| it.as_str().len()).collect::<Vec<_>>(), [MAX_TEXT, 1]);
        assert_eq!(int("k", u64::MAX).value, Value::I64(i64::MAX));
    }
}
