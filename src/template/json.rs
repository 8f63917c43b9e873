//! Serializes the value of an expression as JSON.

use minijinja::value::{Value, ValueKind};
use serde::ser::{Error as _, Serialize, Serializer};
use std::io;

/// Maximum size of a value as JSON in bytes, because a small template can create a very large list.
const MAX: usize = 16 << 20;

/// The JSON of a value; an error if part of it is undefined. The value is serialized to text first, because only the
/// size of text can be limited.
pub(super) fn from(value: &Value) -> Result<serde_json::Value, String> {
    if let Some(text) = value.as_str() {
        return Ok(text.into());
    }
    let mut bounded = Bounded(Vec::new());
    serde_json::to_writer(&mut bounded, &Defined(value.clone())).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bounded.0).map_err(|error| error.to_string())
}

/// Fails on undefined values, which the template engine would serialize as null.
struct Defined(Value);

impl Serialize for Defined {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = &self.0;
        match value.kind() {
            ValueKind::Undefined => Err(S::Error::custom("undefined value")),
            ValueKind::Seq | ValueKind::Iterable => {
                serializer.collect_seq(value.try_iter().map_err(S::Error::custom)?.map(Self))
            }
            ValueKind::Map => {
                let keys = value.try_iter().map_err(S::Error::custom)?;
                let entries = keys.map(|key| value.get_item(&key).map(|item| (key, Self(item))));
                let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(S::Error::custom)?;
                serializer.collect_map(entries)
            }
            _ => value.serialize(serializer),
        }
    }
}

/// Accepts up to [`MAX`] bytes.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX {
            return Err(io::Error::other(format!("the value is longer than {MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
