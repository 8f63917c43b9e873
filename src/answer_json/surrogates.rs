//! Joins halves of UTF-16 surrogate pairs in JSON. Servers that escape non-ASCII characters split an emoji over two
//! events as `"\ud83d"` and `"\ude00"`, neither of which is Unicode text. Each half is kept as a placeholder until the
//! other one arrives.
//!
//! The placeholders are 2048 characters from the end of a private use area. A model that generates one of them itself
//! has it replaced by U+FFFD.

use std::ops::RangeInclusive;

const HIGH: RangeInclusive<u32> = 0xd800..=0xdbff;
const LOW: RangeInclusive<u32> = 0xdc00..=0xdfff;
/// Added to a half to get its placeholder.
const OFFSET: u32 = 0x10_f000 - 0xd800;
/// The first byte of every placeholder in UTF-8.
const LEAD: u8 = 0xf4;

/// JSON with each lone half replaced by its placeholder; `None` if it has none.
pub fn replaced(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = json;
    let mut found = false;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at_checked(at)?;
        out.extend_from_slice(before);
        let (kept, placeholder) = match (half(escape), half(escape.get(6..).unwrap_or_default())) {
            (Some(first), Some(second)) if HIGH.contains(&first) && LOW.contains(&second) => (12, None),
            (Some(lone), _) => (6, char::from_u32(lone + OFFSET)),
            (None, _) => (2.min(escape.len()), None),
        };
        let (escape, after) = escape.split_at_checked(kept)?;
        match placeholder {
            Some(placeholder) => {
                found = true;
                out.extend_from_slice(placeholder.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => out.extend_from_slice(escape),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    found.then_some(out)
}

/// Appends a piece of text to the text before it, and joins the halves of a pair that was split between them.
pub fn append(text: &mut String, piece: &str) {
    let joined = piece.as_bytes().first().filter(|byte| **byte == LEAD).and_then(|_| {
        let mut chars = piece.chars();
        let high = text.chars().next_back().and_then(original).filter(|half| HIGH.contains(half))?;
        let low = chars.next().and_then(original).filter(|half| LOW.contains(half))?;
        let joined = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?;
        Some((joined, chars.as_str()))
    });
    match joined {
        Some((joined, rest)) => {
            text.pop();
            text.push(joined);
            text.push_str(rest);
        }
        None => text.push_str(piece),
    }
}

/// Replaces the halves whose other half never arrived.
pub fn finish(text: &mut String) {
    if memchr::memchr(LEAD, text.as_bytes()).is_some() && text.chars().any(|c| original(c).is_some()) {
        *text = text.chars().map(|c| original(c).map_or(c, |_| char::REPLACEMENT_CHARACTER)).collect();
    }
}

/// The half that a placeholder represents.
fn original(placeholder: char) -> Option<u32> {
    let half = u32::from(placeholder).checked_sub(OFFSET)?;
    (HIGH.contains(&half) || LOW.contains(&half)).then_some(half)
}

/// The half that an escape sequence at the start of `json` represents.
fn half(json: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(json.strip_prefix(b"\\u")?.get(..4)?).ok()?;
    let unit = u32::from_str_radix(digits, 16).ok()?;
    (HIGH.contains(&unit) || LOW.contains(&unit)).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&str]) -> String {
        let mut text = String::new();
        for piece in pieces {
            let json = replaced(piece.as_bytes()).unwrap_or_else(|| piece.as_bytes().to_vec());
            append(&mut text, &serde_json::from_slice::<String>(&json).unwrap());
        }
        finish(&mut text);
        text
    }

    #[test]
    fn a_pair_that_is_split_over_two_events_is_joined() {
        assert_eq!(text(&[r#""a\ud83d""#, r#""\ude00b""#]), "a\u{1f600}b");
        assert_eq!(text(&[r#""\uD83D""#, r#""""#, r#""\uDE00""#]), "\u{1f600}");
        assert_eq!(text(&[r#""\ud83d\ude00""#]), "\u{1f600}");
    }

    #[test]
    fn a_half_alone_is_replaced() {
        assert_eq!(text(&[r#""a\ud83d""#, r#""b""#]), "a\u{fffd}b");
        assert_eq!(text(&[r#""\ude00""#, r#""\ud83d""#]), "\u{fffd}\u{fffd}");
        assert_eq!(text(&[r#""\ud83d\n\ude00""#]), "\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn other_escapes_are_kept() {
        for json in [r#""\\ud83d""#, r#""\"\u00e9\n""#, r#""\ud83d\ude00""#, "\"h\u{e9}\"", r#""\u12"#, r"\"]
        {
            assert_eq!(replaced(json.as_bytes()), None, "{json}");
        }
        let both = replaced(r#""\\\ud83d\t\ud83d\ude00""#.as_bytes()).unwrap();
        let text: String = serde_json::from_slice(&both).unwrap();
        assert_eq!(text, "\\\u{10f03d}\t\u{1f600}");
    }
}
