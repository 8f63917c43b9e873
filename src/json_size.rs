//! How much memory a JSON text takes once it is parsed into values: hundreds of bytes for an object of a few. Pure, and a
//! leaf: it measures text before a parser sees it.

/// Most memory of one parsed document, in bytes.
pub const MAX: usize = 64 << 20;

/// Texts up to this length fit, whatever they hold.
const SMALL: usize = 64 << 10;
/// A map with its first node.
const OBJECT: usize = 640;
/// A list with its first allocation.
const ARRAY: usize = 160;
/// A further value, with its key and its share of what is allocated ahead.
const VALUE: usize = 110;

/// Whether a text may be parsed: it takes at most [`MAX`].
pub fn fits(text: &[u8]) -> bool {
    text.len() <= SMALL || most_parsed_bytes(text) <= MAX || parsed_bytes(text) <= MAX
}

/// The same as if nothing stood in a string: never less, and an order of magnitude faster. It decides nearly every text.
fn most_parsed_bytes(text: &[u8]) -> usize {
    // The sum of a chunk fits into a byte, so that the compiler adds up whole vectors of them.
    let count_in = |chunk: &[u8], wanted: u8| chunk.iter().map(|byte| u8::from(*byte == wanted)).sum::<u8>();
    let count = |wanted| text.chunks(255).map(|chunk| usize::from(count_in(chunk, wanted))).sum::<usize>();
    text.len() + count(b'{') * OBJECT + count(b'[') * ARRAY + count(b',') * VALUE
}

/// An upper bound, roughly, of the memory that the values of a text take.
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
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

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
