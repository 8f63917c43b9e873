//! What the characters of a text may stand for. Programs that quote a value escape its characters, each program in its
//! own way, and what quotes them escapes those again. Nothing here knows secrets.

use super::entities;
use memchr::memrchr3_iter;
use std::ops::RangeInclusive;

/// Maximum length in bytes of what stands for one character: enough for a surrogate pair in JSON in JSON in JSON.
const MAX_ESCAPE: usize = 40;
/// Maximum number of escapes that are read at one place. Only long runs of backslashes have more.
const MAX_READINGS: usize = 10;
/// Maximum number of digits of a character's number.
const MAX_DIGITS: usize = 8;
/// The bytes of a character after the first.
const CONTINUATION: RangeInclusive<u8> = 0x80..=0xbf;

/// A text, and every escape in it: of JSON and of programming languages (`\/`, `\n`, `\u00e9`, `\xe9`), of URLs (`%C3%A9`)
/// and of HTML (`&amp;`, `&#233;`, `&#xe9;`). Each part of an escape may be escaped itself (`%252F`, `\\u00e9`,
/// `\u0026amp;`). Where an escape begins, the character itself may be meant all the same, so both are offered.
#[derive(Debug)]
pub(super) struct TextReadings<'a> {
    text: &'a str,
    /// The escapes, the last one first.
    escapes: Vec<Escape>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Escape {
    start: usize,
    end: usize,
    meant: char,
}

impl<'a> TextReadings<'a> {
    /// Reads a text.
    pub(super) fn new(text: &'a str) -> Self {
        let mut readings = Self { text, escapes: Vec::new() };
        // From the end, so that an escape is made of what has been read already.
        for start in memrchr3_iter(b'\\', b'%', b'&', text.as_bytes()) {
            readings.read_escapes(start);
        }
        readings
    }

    /// The text itself.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Each character that may be meant at a position, and where what stands for it ends.
    pub(super) fn at(&self, position: usize) -> impl Iterator<Item = (char, usize)> {
        let itself = self.text.get(position..).and_then(|rest| rest.chars().next());
        let itself = itself.map(|c| (c, position + c.len_utf8()));
        let is_start = itself.is_some_and(|(c, _)| is_introducer(c));
        let first = if is_start { self.first(position) } else { self.escapes.len() };
        let escapes = self.escapes.iter().skip(first).take_while(move |escape| escape.start == position);
        itself.into_iter().chain(escapes.map(|escape| (escape.meant, escape.end)))
    }

    /// Whether the text ends at a position, or in the middle of what stands for the next character.
    pub(super) fn is_cut(&self, position: usize) -> bool {
        let Some(rest) = self.text.get(position..) else { return false };
        match rest.chars().next() {
            None => true,
            Some(char::REPLACEMENT_CHARACTER) => rest.chars().nth(1).is_none(),
            Some(c) if is_introducer(c) => {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '#' || c == ';' || is_introducer(c);
                rest.len() < MAX_ESCAPE
                    && rest.chars().all(part)
                    && self.at(position).all(|(meant, _)| is_introducer(meant))
            }
            Some(_) => false,
        }
    }

    /// The index of the first escape at a position.
    fn first(&self, position: usize) -> usize {
        self.escapes.partition_point(|escape| escape.start > position)
    }

    /// Reads all escapes that start at a position, the inner ones first: `%252F` means `%2F`, and that means `/`.
    fn read_escapes(&mut self, start: usize) {
        let mut next = self.escapes.len();
        let last = next + MAX_READINGS;
        let mut introducer = self.at(start).next();
        while let Some((c, end)) = introducer {
            for (meant, end) in self.unescaped(c, end) {
                let escape = Escape { start, end, meant };
                let known = self.escapes.iter().rev().take_while(|known| known.start == start);
                if end - start <= MAX_ESCAPE
                    && self.escapes.len() < last
                    && !known.into_iter().any(|known| *known == escape)
                {
                    self.escapes.push(escape);
                }
            }
            let inner =
                self.escapes.iter().enumerate().skip(next).find(|(_, escape)| is_introducer(escape.meant));
            introducer = inner.map(|(_, escape)| (escape.meant, escape.end));
            next = inner.map_or(next, |(index, _)| index + 1);
        }
    }

    /// What may be meant by an escape, from after its first character.
    fn unescaped(&self, introducer: char, at: usize) -> Vec<(char, usize)> {
        match introducer {
            '\\' => self.at(at).flat_map(|(c, end)| self.after_backslash(c, end)).collect(),
            '%' => self.utf8(at, '%', "").into_iter().collect(),
            '&' => self.entity(at),
            _ => Vec::new(),
        }
    }

    fn after_backslash(&self, c: char, end: usize) -> Vec<(char, usize)> {
        match c {
            'b' => vec![('\u{8}', end)],
            'f' => vec![('\u{c}', end)],
            'n' => vec![('\n', end)],
            'r' => vec![('\r', end)],
            't' => vec![('\t', end)],
            'u' => self.utf16(end).into_iter().collect(),
            // The number of a character in JavaScript, a byte in Python and in the log of nginx.
            'x' => {
                let one = self.hex(end, 2).and_then(char::from_u32).map(|c| (c, end + 2));
                one.into_iter().chain(self.utf8(end, '\\', "x")).collect()
            }
            _ if c.is_ascii_punctuation() => vec![(c, end)],
            _ => Vec::new(),
        }
    }

    /// The character of one or two UTF-16 code units.
    fn utf16(&self, at: usize) -> Option<(char, usize)> {
        let unit = |at| self.hex(at, 4).and_then(|unit| u16::try_from(unit).ok());
        let first = unit(at)?;
        let of = |units: &[u16]| char::decode_utf16(units.iter().copied()).next()?.ok();
        let pair = |at| of(&[first, unit(at)?]).map(|c| (c, at + 4));
        match of(&[first]) {
            Some(c) => Some((c, at + 4)),
            None => self.after(at + 4, '\\', "u").find_map(pair),
        }
    }

    /// The character of one to four UTF-8 bytes in hexadecimal. The further ones come after `introducer` and `then`.
    fn utf8(&self, at: usize, introducer: char, then: &str) -> Option<(char, usize)> {
        let byte = |at| self.hex(at, 2).and_then(|byte| u8::try_from(byte).ok()).map(|byte| (byte, at + 2));
        let (first, mut end) = byte(at)?;
        let mut bytes = vec![first];
        for _ in 1..first.leading_ones().min(4) {
            let more = |at| byte(at).filter(|(byte, _)| CONTINUATION.contains(byte));
            let (byte, after) = self.after(end, introducer, then).find_map(more)?;
            bytes.push(byte);
            end = after;
        }
        Some((std::str::from_utf8(&bytes).ok()?.chars().next()?, end))
    }

    /// The character of an HTML entity, by name or by number.
    fn entity(&self, at: usize) -> Vec<(char, usize)> {
        let numbers = self.after(at, '#', "").filter_map(|at| {
            let (at, radix) = match self.text.get(at..)?.strip_prefix(['x', 'X']) {
                Some(_) => (at + 1, 16),
                None => (at, 10),
            };
            let digits = self.word(at).filter(|digits| digits.len() <= MAX_DIGITS)?;
            let meant = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
            Some((meant, at + digits.len()))
        });
        let named = self.word(at).and_then(|name| Some((entities::named(name)?, at + name.len())));
        let ends = |(meant, at)| self.after(at, ';', "").map(move |end| (meant, end));
        numbers.chain(named).flat_map(ends).collect()
    }

    /// The letters and digits at a position.
    fn word(&self, at: usize) -> Option<&'a str> {
        let rest = self.text.get(at..)?;
        let length = rest.bytes().take(MAX_ESCAPE).take_while(u8::is_ascii_alphanumeric).count();
        rest.get(..length)
    }

    /// The positions after a character and the text that follows it.
    fn after(&self, at: usize, c: char, then: &str) -> impl Iterator<Item = usize> {
        let end = move |(meant, end)| {
            (meant == c && self.text.get(end..)?.starts_with(then)).then_some(end + then.len())
        };
        self.at(at).filter_map(end)
    }

    /// A number of so many hexadecimal digits.
    fn hex(&self, at: usize, digits: usize) -> Option<u32> {
        let digits = self.text.get(at..at + digits)?;
        // A sign is no digit.
        let digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)?;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// Whether a character may begin an escape.
fn is_introducer(c: char) -> bool {
    matches!(c, '\\' | '%' | '&')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be meant by a whole text.
    fn meant(text: &str) -> Vec<char> {
        let readings = TextReadings::new(text);
        readings.at(0).filter(|(_, end)| *end == text.len()).map(|(c, _)| c).collect()
    }

    #[test]
    fn an_escape_stands_for_its_character() {
        for (text, c) in [
            ("\\/", '/'),
            ("\\n", '\n'),
            ("\\\\", '\\'),
            ("\\u002b", '+'),
            ("\\u002B", '+'),
            ("\\u00e9", 'é'),
            ("\\xe9", 'é'),
            ("\\xc3\\xa9", 'é'),
            ("\\ud83d\\uDE00", '😀'),
            ("%2f", '/'),
            ("%C3%a9", 'é'),
            ("%f0%9f%98%80", '😀'),
            ("&amp;", '&'),
            ("&eacute;", 'é'),
            ("&#43;", '+'),
            ("&#043;", '+'),
            ("&#x2B;", '+'),
        ] {
            assert_eq!(meant(text), [c], "{text}");
        }
    }

    #[test]
    fn an_escape_may_be_escaped_again() {
        for (text, c) in [
            ("%252F", '/'),
            ("%25252f", '/'),
            ("%25C3%25A9", 'é'),
            ("\\\\u002b", '+'),
            ("\\\\\\\\u002b", '+'),
            ("\\\\\\/", '/'),
            ("\\\\/", '/'),
            ("\\\\\\\"", '"'),
            ("\\\\ud83d\\\\ude00", '😀'),
            ("\\u0026amp;", '&'),
            ("&amp;#43;", '+'),
            ("%26%2343%3B", '+'),
            ("\\u005cu002b", '+'),
        ] {
            assert!(meant(text).contains(&c), "{text}: {:?}", meant(text));
        }
    }

    #[test]
    fn what_is_no_escape_stands_for_itself_only() {
        for text in [
            "\\", "\\q", "\\u12", "\\u+123", "\\ud83d", "%", "%4", "%zz", "%C3", "%C3A9", "&", "&amp",
            "&no;", "&#;",
        ] {
            let readings = TextReadings::new(text);
            assert_eq!(readings.at(0).collect::<Vec<_>>(), [(text.chars().next().unwrap(), 1)], "{text}");
        }
    }

    #[test]
    fn a_text_may_end_within_an_escape() {
        for text in [
            "",
            "\\",
            "\\u00",
            "\\ud83d",
            "\\ud83d\\",
            "%",
            "%4",
            "%C3%",
            "%252",
            "&",
            "&am",
            "&#x2",
            "\u{fffd}",
        ] {
            assert!(TextReadings::new(text).is_cut(0), "{text}");
        }
        for text in ["a", "\\n", "%41", "&amp; ", "% of", "\\n\\", "& more", "\u{fffd}a"] {
            assert!(!TextReadings::new(text).is_cut(0), "{text}");
        }
    }

    #[test]
    fn a_long_run_of_backslashes_is_read_quickly() {
        let readings_of = |length: usize| TextReadings::new(&"\\".repeat(length)).escapes.len();
        assert!(readings_of(1 << 14) <= MAX_READINGS << 14);
    }
}
