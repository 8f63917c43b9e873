//! Hashes of JSON values that do not depend on formatting: sorted keys, no spaces.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// The first bytes of [`sha256_of`], in hexadecimal.
pub(super) fn hex_of(value: &impl Serialize, bytes: usize) -> String {
    let mut hex = String::with_capacity(2 * bytes);
    for byte in sha256_of(value).iter().take(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// SHA-256 of the canonical form of a serialised value.
pub(super) fn sha256_of(value: &impl Serialize) -> [u8; 32] {
    // Serialising parts of the plan never fails: see `plan::serialize`.
    let value = serde_json::to_value(value).unwrap_or_else(|error| error.to_string().into());
    let mut hasher = Hasher(Sha256::new());
    // Writing to a hasher cannot fail.
    let _ = write(&value, &mut hasher);
    hasher.0.finalize().into()
}

/// SHA-256 of a serialised value in which the order of keys counts.
pub(super) fn sha256_in_order_of(value: &impl Serialize) -> [u8; 32] {
    let value = serde_json::to_value(value).unwrap_or_else(|error| error.to_string().into());
    let mut hasher = Hasher(Sha256::new());
    let _ = write!(hasher, "{value}");
    hasher.0.finalize().into()
}

/// Hashes what is written to it, so that large workloads are not copied into memory as text.
struct Hasher(Sha256);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// Writes JSON with sorted keys, whatever the order in the map.
fn write(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.write_char('{')?;
            for key in keys {
                write!(out, "{}:", Value::from(key.as_str()))?;
                write(map.get(key).unwrap_or(&Value::Null), out)?;
                out.write_char(',')?;
            }
            out.write_char('}')
        }
        Value::Array(items) => {
            out.write_char('[')?;
            for item in items {
                write(item, out)?;
                out.write_char(',')?;
            }
            out.write_char(']')
        }
        plain => write!(out, "{plain}"),
    }
}
