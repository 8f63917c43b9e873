//! Writes text from other sources, such as model names and server messages, as YAML scalars and comments.

use crate::vocabulary::is_unshown;
use std::fmt::Write as _;
use std::time::Duration;

/// Words that YAML 1.1 or 1.2 does not read as strings.
const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];

/// Writes a text as a scalar: plain if every YAML parser reads it as this text, otherwise in double quotes. The scalar
/// can be used in flow collections.
pub(super) fn scalar(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    if starts && plain && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Writes a text in double quotes on one line and escapes all characters that are not printable.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if prints(c) => out.push(c),
            // Writing to a String cannot fail.
            c => drop(write!(out, "\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Whether a character is printable and not a line break in any version of YAML.
fn prints(c: char) -> bool {
    !is_unshown(c)
        && !matches!(c, '\u{200b}'..='\u{200d}' | '\u{fff0}'..='\u{ffff}' | '\u{e000}'..='\u{f8ff}')
}

/// Writes a text on one line, for a comment.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || !prints(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Formats a duration in the syntax of the config.
pub(super) fn length(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 if !time.is_zero() => format!("{}us", time.as_micros()),
        millis if millis % 60_000 == 0 && millis > 0 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for plain in ["llama-3.1", "org/Model_7B.gguf", "/run/secrets/key"] {
            assert_eq!(scalar(plain), plain);
        }
        for text in ["", "7b", "yes", "NULL", "a: b", "a #b", "- a", "{a}", "a,b", "llama3.2:1b", "~", "é"] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        assert_eq!(quoted("a\"\\\n\u{85}\u{7}\u{202e}"), r#""a\"\\\n\U00000085\U00000007\U0000202E""#);
    }

    #[test]
    fn a_comment_has_one_line() {
        assert_eq!(one_line(" a\n# b\u{2028}c\u{0}d "), "a # b c d");
    }

    #[test]
    fn lengths_have_a_unit() {
        for (millis, text) in [(50, "50ms"), (1500, "1500ms"), (2000, "2s"), (60_000, "1m"), (90_000, "90s")]
        {
            assert_eq!(length(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{0,20}|[\\x00-\\x{2100}]{0,20}|.{0,20}") {
            let read: Vec<String> = serde_saphyr::from_str(&format!("[{}, {}]", scalar(&text), quoted(&text))).unwrap();
            prop_assert_eq!(read, [text.clone(), text]);
        }
    }
}
