//! Texts of others, such as what a server answered, as they are shown: on a terminal, on a page and in a report.

use std::borrow::Cow;

/// Whether a character is no text, and would change how the text around it is shown: control characters, of which the
/// escape sequences of terminals consist, line separators, and marks that turn the direction of writing.
pub fn is_unshown(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text, in which those are spaces, except for line breaks and tabs.
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_replaced = |c: char| is_unshown(c) && !matches!(c, '\n' | '\t');
    if text.contains(is_replaced) { Cow::Owned(text.replace(is_replaced, " ")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_not_shown() {
        for (text, expected) in [
            (
                "plain, \u{e9}\u{4e2d} \u{1f468}\u{200d}\u{1f469}\n\tnext",
                "plain, \u{e9}\u{4e2d} \u{1f468}\u{200d}\u{1f469}\n\tnext",
            ),
            ("\u{1b}[31mred\u{7}", " [31mred "),
            ("\u{9b}2J\u{7f}\r\n", " 2J  \n"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{feff}", "a b c d e "),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }
}
