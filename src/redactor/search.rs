//! Finds values in a text, however their characters are escaped, and replaces them.

use super::readings::TextReadings;
use super::{MASK, MIN_SECRET};

/// Maximum number of characters that are compared for each byte of a text. Only values and texts that were made for it
/// need more, and then the rest of the text is replaced.
const MAX_COMPARED: usize = 256;

/// A search in one text.
pub(super) struct Search<'a> {
    readings: TextReadings<'a>,
    /// What to look for, sorted.
    values: &'a [String],
    /// The bytes at which a value may begin.
    begins: [bool; 256],
    open: Vec<Match>,
    next: Vec<Match>,
    compared: usize,
}

/// A part of a text that agrees with the beginning of some values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    /// The first of the values.
    first: usize,
    /// The one after the last of them.
    last: usize,
    /// Length of their common beginning in bytes.
    known: usize,
    /// Where the part of the text ends.
    end: usize,
}

impl<'a> Search<'a> {
    /// Prepares a search. The values are sorted, and each is there once.
    pub(super) fn new(text: &'a str, values: &'a [String]) -> Self {
        let mut begins = [false; 256];
        let bytes = values.iter().filter_map(|value| value.bytes().next());
        for byte in bytes.chain(*b"\\%&") {
            if let Some(begin) = begins.get_mut(usize::from(byte)) {
                *begin = true;
            }
        }
        let (readings, open, next) = (TextReadings::new(text), Vec::new(), Vec::new());
        Self { readings, values, begins, open, next, compared: 0 }
    }

    /// The text with its values replaced.
    pub(super) fn masked(mut self) -> String {
        let text = self.readings.text();
        let (mut masked, mut end) = (String::with_capacity(text.len()), 0);
        for (at, byte) in text.bytes().enumerate() {
            if end == text.len() {
                break;
            }
            if !self.begins.get(usize::from(byte)).is_some_and(|begin| *begin) {
                continue;
            }
            let Some(found) = self.longest(at) else { continue };
            // What begins within another value is replaced together with it.
            if at >= end {
                masked.push_str(text.get(end..at).unwrap_or_default());
                masked.push_str(MASK);
            }
            end = end.max(found);
        }
        masked.push_str(text.get(end..).unwrap_or_default());
        masked
    }

    /// The end of the longest value at a position; of the text, if that ends with the beginning of a value: bodies are
    /// read up to a limit, which may fall inside a secret.
    fn longest(&mut self, at: usize) -> Option<usize> {
        let mut longest = None;
        self.open.clear();
        self.open.push(Match { first: 0, last: self.values.len(), known: 0, end: at });
        while !self.open.is_empty() {
            self.next.clear();
            for open in &mut self.open {
                // The shortest value comes first.
                if self.values.get(open.first).is_some_and(|value| value.len() == open.known) {
                    longest = longest.max(Some(open.end));
                    open.first += 1;
                }
                if open.first == open.last {
                    continue;
                }
                let is_cut = open.known >= MIN_SECRET && self.readings.is_cut(open.end);
                if is_cut || self.compared / MAX_COMPARED > self.readings.text().len() {
                    return Some(self.readings.text().len());
                }
                for (meant, end) in self.readings.at(open.end) {
                    self.next.extend(open.narrowed(self.values, meant, end));
                    if meant == '+' {
                        // Forms write a space as a plus sign.
                        self.next.extend(open.narrowed(self.values, ' ', end));
                    }
                    self.compared += 1;
                }
            }
            // The same escapes can be read in several ways.
            if self.next.len() > 1 {
                self.next.sort_unstable();
                self.next.dedup();
            }
            std::mem::swap(&mut self.open, &mut self.next);
        }
        longest
    }
}

impl Match {
    /// The match with one more character.
    fn narrowed(self, values: &[String], c: char, end: usize) -> Option<Self> {
        let next = |value: &String| value.get(self.known..).and_then(|rest| rest.chars().next());
        let values = values.get(self.first..self.last)?;
        let (skipped, taken) = match values {
            [only] => (0, usize::from(next(only) == Some(c))),
            several => {
                let skipped = several.partition_point(|value| next(value) < Some(c));
                (skipped, several.get(skipped..)?.partition_point(|value| next(value) == Some(c)))
            }
        };
        let first = self.first + skipped;
        (taken > 0).then(|| Self { first, last: first + taken, known: self.known + c.len_utf8(), end })
    }
}
