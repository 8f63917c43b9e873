//! Newline-delimited JSON (<https://github.com/ndjson/ndjson-spec>, also called JSON Lines): one value on each line.
//! The content of a line is not parsed here.
//!
//! [`NdjsonDecoder::finish`] delivers a last line without a newline. The size of a line is limited. Blank lines, which
//! some servers send to keep a connection alive, are not events.

use super::{Error, Event};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Turns bytes into lines. The lines do not depend on how the bytes are split over [`push`](Self::push) calls.
#[derive(Debug)]
pub struct NdjsonDecoder {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Whether no line has ended yet: a byte order mark may precede the first.
    first: bool,
    limit: usize,
    failed: Option<Error>,
}

impl NdjsonDecoder {
    /// The number of buffered bytes.
    pub fn buffered(&self) -> usize {
        self.line.capacity()
    }

    /// A decoder that buffers at most `limit` bytes of one line.
    pub fn new(limit: usize) -> Self {
        Self { line: Vec::new(), first: true, limit, failed: None }
    }

    /// Pushes the next bytes and delivers the lines that they complete, without surrounding white space. A line that
    /// lies entirely within `bytes` is borrowed, not copied. After an error every call returns the same error.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        self.guard(|decoder| decoder.lines(bytes, &mut each))
    }

    /// Ends the stream: delivers a last line without a newline. Further bytes start a new stream.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        self.guard(|decoder| {
            let line = std::mem::take(&mut decoder.line);
            let result = decoder.deliver(&line, &mut each);
            decoder.first = true;
            result
        })
    }

    fn guard(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = work(self);
        self.failed = result.err();
        result
    }

    fn lines(&mut self, bytes: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = tail.strip_prefix(b"\n").unwrap_or(tail);
            if self.line.is_empty() {
                self.fits(line)?;
                self.deliver(line, each)?;
            } else {
                self.hold(line)?;
                let whole = std::mem::take(&mut self.line);
                self.deliver(&whole, each)?;
                self.line = whole;
                self.line.clear();
            }
        }
        self.hold(rest)
    }

    /// Checks that the current line may grow by these bytes.
    fn fits(&self, part: &[u8]) -> Result<(), Error> {
        if part.len() > self.limit.saturating_sub(self.line.len()) {
            return Err(Error::TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), Error> {
        self.fits(part)?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Handles a complete line, without its line ending.
    fn deliver(&mut self, line: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let first = std::mem::replace(&mut self.first, false);
        let line = line.strip_prefix(BOM).filter(|_| first).unwrap_or(line).trim_ascii();
        if !line.is_empty() {
            let data = std::str::from_utf8(line).map_err(|_| Error::NotUtf8)?;
            each(Event { data, ..Event::default() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines and the result for bytes that arrive in these pieces.
    fn decode<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        limit: usize,
    ) -> (Vec<String>, Result<(), Error>) {
        let mut decoder = NdjsonDecoder::new(limit);
        let mut lines = Vec::new();
        let mut each = |event: Event<'_>| {
            assert_eq!(event.name, None);
            lines.push(event.data.to_owned());
        };
        let mut result = Ok(());
        for piece in pieces {
            result = decoder.push(piece, &mut each);
            if result.is_err() {
                break;
            }
        }
        let result = result.and_then(|()| decoder.finish(&mut each));
        (lines, result)
    }

    fn lines(text: &str) -> Vec<String> {
        let (lines, result) = decode([text.as_bytes()], 1 << 20);
        assert_eq!(result, Ok(()));
        lines
    }

    #[test]
    fn many_lines_in_one_read_and_line_ends_of_both_kinds() {
        assert_eq!(lines("{\"a\":1}\n{\"a\":2}\r\n3\n"), ["{\"a\":1}", "{\"a\":2}", "3"]);
    }

    #[test]
    fn blank_lines_are_no_events() {
        assert_eq!(lines("\n\r\n 1 \n\n  \n\t2\n"), ["1", "2"]);
        assert!(lines("").is_empty() && lines(" \r").is_empty());
    }

    #[test]
    fn a_last_line_without_its_newline() {
        assert_eq!(lines("1\n{\"a\":"), ["1", "{\"a\":"]);
    }

    #[test]
    fn a_byte_order_mark_stands_before_the_first_line_only() {
        let text = "\u{feff}1\n2\n".as_bytes();
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(decode([head, tail], 64).0, ["1", "2"]);
        }
        assert_eq!(lines("1\n\u{feff}2\n"), ["1", "\u{feff}2"]);
    }

    #[test]
    fn a_line_of_megabytes_is_an_error() {
        let limit = 10;
        let too_long = Err(Error::TooLong { limit });
        assert_eq!(decode([&b"1\n01234567890\n2\n"[..]], limit), (vec!["1".to_owned()], too_long));
        assert_eq!(decode([&b"1\n012345"[..], b"67890"], limit), (vec!["1".to_owned()], too_long));
        // The limit applies to one line, not to the stream.
        let many = b"0123456789\n".repeat(100);
        assert_eq!(decode([many.as_slice()], limit).0.len(), 100);
    }

    #[test]
    fn invalid_utf8_is_an_error_and_stays_one() {
        let mut decoder = NdjsonDecoder::new(64);
        let mut seen = 0;
        assert_eq!(decoder.push(b"1\n\xff\n2\n", |_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(decoder.push(b"3\n", |_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(decoder.finish(|_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(seen, 1);
    }

    #[test]
    fn after_its_end_a_new_stream_may_start() {
        let mut decoder = NdjsonDecoder::new(64);
        let mut seen = Vec::new();
        for text in ["\u{feff}1", "\u{feff}2\n"] {
            decoder.push(text.as_bytes(), |event| seen.push(event.data.to_owned())).unwrap();
            decoder.finish(|event| seen.push(event.data.to_owned())).unwrap();
        }
        assert_eq!(seen, ["1", "2"]);
    }

    /// Streams built from significant pieces, so that random tests reach unusual combinations.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b" ".to_vec()),
            Just(BOM.to_vec()),
            Just("\"h\u{e9}llo \u{1f600}\"".as_bytes().to_vec()),
            Just(b"{\"a\":1}".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            bytes in stream(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
            limit in prop_oneof![Just(24_usize), Just(1 << 16)],
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            let whole = decode([bytes.as_slice()], limit);
            prop_assert_eq!(&whole, &decode(pieces, limit));
            prop_assert_eq!(&whole, &decode(bytes.chunks(1), limit));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), limit in 0_usize..100) {
            let _ = decode(bytes.chunks(7), limit);
        }
    }
}
