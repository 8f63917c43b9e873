//! Filters of our own, in place of ones of the template engine.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

/// All but the unreserved characters of a URL (RFC 3986, section 2.3). The engine's filter also leaves `/`, so that a value
/// could choose another path.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value as a part of a URL: text as one segment of a path or one value of a query, a map as `key=value` pairs.
pub(super) fn urlencode(value: &Value) -> Result<String, Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(String::new());
    }
    if value.kind() != ValueKind::Map {
        return Ok(match value.as_bytes() {
            Some(bytes) => percent_encode(bytes, RESERVED).to_string(),
            None => encoded(value),
        });
    }
    let mut pairs = Vec::new();
    for key in value.try_iter()? {
        let of_key = value.get_item(&key)?;
        if !of_key.is_none() && !of_key.is_undefined() {
            pairs.push(format!("{}={}", encoded(&key), encoded(&of_key)));
        }
    }
    Ok(pairs.join("&"))
}

fn encoded(value: &Value) -> String {
    utf8_percent_encode(&value.to_string(), RESERVED).to_string()
}
