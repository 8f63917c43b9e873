//! Estimates how much memory a JSON text takes once it is parsed into values: hundreds of bytes for an object of a few
//! bytes. Pure. It measures text before it is parsed, and uses no other module.

/// Maximum memory of one parsed document in bytes.
pub const MAX: usize = 64 << 20;

/// Texts up to this length always fit.
const SMALL: usize = 64 << 10;
/// A map and its first allocation, in bytes.
const OBJECT: usize = 540;
/// A list and its first allocation, in bytes.
const ARRAY: usize = 320;
/// A further value, with its share of preallocated memory, in bytes.
const VALUE: usize = 150;
/// What a value in a map takes beyond that, for its key and its place in the order of keys, in bytes.
const ENTRY: usize = 100;

/// Whether a text may be parsed: its values take at most [`MAX`].
pub fn fits(text: &[u8]) -> bool {
    text.len() <= SMALL || most_parsed_bytes(text) <= MAX || parsed_bytes(text) <= MAX
}

/// An upper bound that also counts the characters inside strings. It is never lower than [`parsed_bytes`] and an order
/// of magnitude faster, and it decides for nearly every text.
fn most_parsed_bytes(text: &[u8]) -> usize {
    // The sum of a chunk fits into a byte, which lets the compiler vectorize the loop.
    let count_in = |chunk: &[u8], wanted: u8| chunk.iter().map(|byte| u8::from(*byte == wanted)).sum::<u8>();
    let count = |wanted| text.chunks(255).map(|chunk| usize::from(count_in(chunk, wanted))).sum::<usize>();
    text.len() + count(b'{') * OBJECT + count(b'[') * ARRAY + count(b',') * VALUE + count(b':') * ENTRY
}

/// An approximate upper bound of the memory that the values of a text take.
fn parsed_bytes(text: &[u8]) -> usize {
    let (mut bytes, mut in_string, mut escaped) = (text.len(), false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => bytes += OBJECT,
            b'[' => bytes += ARRAY,
            b',' => bytes += VALUE,
            b':' => bytes += ENTRY,
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_larger_than_counted() {
        // Allocations grow by doubling, so up to half of one is not used.
        let value = size_of::<serde_json::Value>();
        assert!(2 * value <= VALUE && 4 * value <= ARRAY, "{value}");
        let entry = size_of::<(usize, String, serde_json::Value)>();
        assert!(2 * (entry + size_of::<usize>()) <= VALUE + ENTRY && 4 * entry <= OBJECT, "{entry}");
    }

    #[test]
    fn small_objects_take_much_more_than_their_text() {
        let objects = format!("[{}0]", "{\"a\":0},".repeat(800_000));
        assert!(objects.len() < 8 << 20 && !fits(objects.as_bytes()));
        let numbers = format!("[{}0]", "0,".repeat(400_000));
        assert!(fits(numbers.as_bytes()));
        let text = format!("[\"{}\"]", "{,[\\\"".repeat(1_000_000));
        assert!(fits(text.as_bytes()), "what stands in a string is no value");
    }
}
