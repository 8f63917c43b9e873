//! Splits a file into rows, piece by piece: lines, records of a CSV file, or the items of a JSON array. Pure, and uses
//! bounded memory. The result does not depend on how the file is split into pieces.

use crate::vocabulary::DatasetFormat;
use memchr::memchr;

/// Maximum size of a row, in bytes.
pub const LONGEST_ROW: usize = 4 << 20;

/// A row of the file.
pub struct FoundRow<'a> {
    /// Its offset in bytes.
    pub offset: u64,
    /// The number of its first line or, in an array, of the item; from 1.
    pub number: u64,
    /// Its content; `None` if it is too long.
    pub bytes: Option<&'a [u8]>,
}

/// Where a byte of a CSV file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CsvField {
    /// At the start of a field.
    Start,
    /// In a field without quotes, in which a quote is a character like any other, or after the end of the quotes.
    Plain,
    /// Within quotes.
    Quoted,
    /// After a quote within quotes: their end, or the first of two that stand for one.
    Quote,
}

impl CsvField {
    /// Where the next byte is. Quotes have a meaning at the start of a field only, as for the parser of the records.
    pub(super) const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Start | Self::Quote, b'"') | (Self::Quoted, _) => Self::Quoted,
            (_, b',' | b'\n') => Self::Start,
            _ => Self::Plain,
        }
    }
}

/// Splits a file; holds the row that is not complete yet.
pub struct RowSplitter {
    format: DatasetFormat,
    row: Vec<u8>,
    /// Whether the row is longer than allowed.
    too_long: bool,
    /// Offset of the next byte. `line` is the number of its line, from 1.
    at: u64,
    line: u64,
    /// The same for the first byte of the row, once it has begun.
    start: Option<(u64, u64)>,
    items: u64,
    field: CsvField,
    quoted: bool,
    escaped: bool,
    depth: u64,
}

impl RowSplitter {
    /// Splits a file of this format.
    pub fn new(format: DatasetFormat) -> Self {
        Self {
            format,
            row: Vec::new(),
            too_long: false,
            at: 0,
            line: 1,
            start: None,
            items: 0,
            field: CsvField::Start,
            quoted: false,
            escaped: false,
            depth: 0,
        }
    }

    /// Takes the next bytes and calls `each` with the rows that they complete. Blank rows are skipped.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(FoundRow<'_>)) {
        let step: fn(&mut Self, u8) -> bool = match self.format {
            DatasetFormat::Jsonl | DatasetFormat::Lines => return self.push_lines(bytes, &mut each),
            DatasetFormat::Csv => Self::record,
            DatasetFormat::Sharegpt => Self::item,
        };
        for byte in bytes {
            let ends = step(self, *byte);
            if *byte == b'\n' {
                self.line += 1;
            }
            self.at += 1;
            if ends {
                self.deliver(&mut each);
            }
        }
    }

    /// Skips bytes before the first row.
    pub const fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Ends the file, and with it the last row, which may have no line end.
    pub fn finish(&mut self, mut each: impl FnMut(FoundRow<'_>)) {
        self.deliver(&mut each);
    }

    fn push_lines(&mut self, mut bytes: &[u8], each: &mut impl FnMut(FoundRow<'_>)) {
        while !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            self.keep(part);
            self.at += part.len() as u64;
            if end.is_some() {
                self.line += 1;
                self.deliver(each);
            }
            bytes = rest;
        }
    }

    fn record(&mut self, byte: u8) -> bool {
        self.field = self.field.after(byte);
        self.keep(&[byte]);
        byte == b'\n' && self.field == CsvField::Start
    }

    /// Finds the objects within the array. Everything outside of them is skipped.
    fn item(&mut self, byte: u8) -> bool {
        if self.depth == 0 {
            if byte != b'{' {
                return false;
            }
            self.items += 1;
        }
        self.keep(&[byte]);
        if self.quoted {
            let ends = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.quoted = !ends;
            return false;
        }
        match byte {
            b'"' => self.quoted = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.start.get_or_insert((self.at, self.line));
        let room = LONGEST_ROW.saturating_sub(self.row.len());
        let (kept, beyond) = bytes.split_at(bytes.len().min(room));
        self.row.extend_from_slice(kept);
        self.too_long |= !beyond.is_empty();
    }

    fn deliver(&mut self, each: &mut impl FnMut(FoundRow<'_>)) {
        let is_blank = self.row.iter().all(u8::is_ascii_whitespace);
        if let Some((offset, line)) = self.start.take()
            && (!is_blank || self.too_long)
        {
            let number = if self.format == DatasetFormat::Sharegpt { self.items } else { line };
            let bytes = (!self.too_long).then_some(self.row.as_slice());
            each(FoundRow { offset, number, bytes });
        }
        self.row.clear();
        self.too_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(format: DatasetFormat, text: &[u8], piece: usize) -> Vec<(u64, u64, String)> {
        let mut splitter = RowSplitter::new(format);
        let mut found = Vec::new();
        let mut each = |row: FoundRow<'_>| {
            let text = row.bytes.map_or("too long".into(), String::from_utf8_lossy);
            found.push((row.offset, row.number, text.trim_end().to_owned()));
        };
        text.chunks(piece).for_each(|piece| splitter.push(piece, &mut each));
        splitter.finish(&mut each);
        found
    }

    fn row(offset: u64, number: u64, text: &str) -> (u64, u64, String) {
        (offset, number, text.to_owned())
    }

    #[test]
    fn rows_are_where_they_begin_and_have_the_number_of_their_line() {
        let lines = b"a\n\n  \r\nbc\r\nd";
        assert_eq!(split(DatasetFormat::Lines, lines, 3), [row(0, 1, "a"), row(7, 4, "bc"), row(11, 5, "d")]);
        let csv = b"prompt\n\"two\nlines, \"\"quoted\"\"\"\nx\n";
        let quoted = row(7, 2, "\"two\nlines, \"\"quoted\"\"\"");
        assert_eq!(split(DatasetFormat::Csv, csv, 4), [row(0, 1, "prompt"), quoted, row(31, 4, "x")]);
        // A quote opens a field, or is a character of it.
        let bare = b"a 5\" pipe,1\n\"b\"c\"\n\"\",\"d\"\"\n\"\r\n \"e\n";
        let found = split(DatasetFormat::Csv, bare, 3).into_iter().map(|row| row.2).collect::<Vec<_>>();
        assert_eq!(found, ["a 5\" pipe,1", "\"b\"c\"", "\"\",\"d\"\"\n\"", " \"e"]);
        let array = br#"[ {"a": "}\"{"},
 {"b": [{}]}]"#;
        let items = [row(2, 1, r#"{"a": "}\"{"}"#), row(18, 2, r#"{"b": [{}]}"#)];
        assert_eq!(split(DatasetFormat::Sharegpt, array, 5), items);
    }

    #[test]
    fn a_row_that_is_too_long_takes_no_more_memory_and_does_not_hide_the_next() {
        let mut text = vec![b'x'; LONGEST_ROW + 5];
        text.extend_from_slice(b"\nshort\n");
        let found = split(DatasetFormat::Lines, &text, 1 << 16);
        assert_eq!(found, [row(0, 1, "too long"), row(LONGEST_ROW as u64 + 6, 2, "short")]);
    }

    proptest! {
        /// The rows do not depend on how the file is split into pieces.
        #[test]
        fn pieces_make_no_difference(text in "[a\"{}\\[\\],:\\\\\n ]{0,60}", piece in 1_usize..9) {
            for format in [DatasetFormat::Lines, DatasetFormat::Csv, DatasetFormat::Sharegpt] {
                prop_assert_eq!(split(format, text.as_bytes(), piece), split(format, text.as_bytes(), 1000));
            }
        }
    }
}
