//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).
//!
//! It deviates from the standard because of existing servers. [`SseDecoder::finish`] delivers a last event that was not
//! ended by a blank line. An event with a name but without data is delivered. JSON without `data:`, which is how some
//! servers send an error, is an event, and the field `error` (llama.cpp) is the data of an event of that name. Comments
//! in an event named `error` (NVIDIA Dynamo) are its data, if it has no other. The size of an event is limited. `id` and
//! `retry` are meant for browsers that reconnect; they are ignored.

use super::{Error, Event};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// Maximum length in bytes of a line that [`SseDecoder::unknown`] keeps.
const MAX_UNKNOWN: usize = 512;

/// Turns bytes into events. The events do not depend on how the bytes are split over [`push`](Self::push) calls.
#[derive(Debug)]
pub struct SseDecoder {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Data of the current event so far; its lines joined by LF.
    data: Vec<u8>,
    /// Whether the current event has a `data` field, which may be empty.
    has_data: bool,
    /// Name of the current event so far.
    name: Vec<u8>,
    /// Lines that begin like JSON and are not fields.
    bare: Vec<u8>,
    /// The first line that is neither a field, a comment nor JSON, truncated.
    unknown: Vec<u8>,
    /// The first such line since the last event, unless it may be a field that the standard does not have.
    stray: String,
    /// Whether the last byte was a CR: an LF right after it belongs to the same line ending.
    after_cr: bool,
    /// Number of bytes of a byte order mark seen at the start; `None` after the start.
    bom: Option<usize>,
    limit: usize,
    failed: Option<Error>,
}

impl SseDecoder {
    /// The number of buffered bytes.
    pub fn buffered(&self) -> usize {
        self.line.capacity() + self.data.capacity() + self.name.capacity() + self.bare.capacity()
    }

    /// A decoder that buffers at most `limit` bytes of one event.
    pub fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            bare: Vec::new(),
            unknown: Vec::new(),
            stray: String::new(),
            after_cr: false,
            bom: Some(0),
            limit,
            failed: None,
        }
    }

    /// The first line that does not belong in an event stream, if there was one, for messages.
    pub fn unknown(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.unknown);
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Pushes the next bytes and delivers the events that they complete. An event that lies entirely within `bytes` is
    /// borrowed, not copied. After an error every call returns the same error.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        self.guard(|decoder| decoder.lines(bytes, &mut each))
    }

    /// Ends the stream: delivers an event that was not ended by a blank line. Further bytes start a new stream.
    pub fn finish(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        self.guard(|decoder| {
            let line = std::mem::take(&mut decoder.line);
            if !line.is_empty() {
                decoder.line(&line, &mut each)?;
            }
            decoder.after_cr = false;
            decoder.bom = Some(0);
            if !decoder.has_data {
                // A name without data may have been cut short.
                decoder.name.clear();
            }
            decoder.dispatch(&mut each)
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
        let mut rest = self.skip_bom(bytes);
        loop {
            if self.after_cr
                && let Some((first, after)) = rest.split_first()
            {
                self.after_cr = false;
                rest = if *first == b'\n' { after } else { rest };
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { return self.hold(rest) };
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = self.line_end(tail);
            if !self.line.is_empty() {
                self.hold(line)?;
                let whole = std::mem::take(&mut self.line);
                self.line(&whole, each)?;
                self.line = whole;
                self.line.clear();
            } else if let Some(data) = self.lone_data(line, rest) {
                self.deliver(data, each)?;
                self.data.clear();
                self.name.clear();
                rest = self.line_end(rest);
            } else {
                self.line(line, each)?;
            }
        }
    }

    /// Skips one line ending: LF, CR, or CRLF, whose LF may arrive with the next bytes.
    fn line_end<'a>(&mut self, tail: &'a [u8]) -> &'a [u8] {
        match tail {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
            [b'\r', rest @ ..] => {
                self.after_cr = rest.is_empty();
                rest
            }
            other => other,
        }
    }

    /// The fast path: `line` is the only data of its event, because a blank line follows directly.
    fn lone_data<'a>(&self, line: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
        let blank_follows = matches!(rest.first(), Some(b'\n' | b'\r'));
        if !blank_follows || self.has_data || !self.bare.is_empty() || line.len() > self.room() {
            return None;
        }
        let data = line.strip_prefix(b"data:")?;
        Some(data.strip_prefix(b" ").unwrap_or(data))
    }

    /// Removes a byte order mark at the start of the stream, even if it arrives in pieces.
    fn skip_bom<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let (Some(seen), Some((first, after))) = (self.bom, rest.split_first()) {
            if BOM.get(seen) == Some(first) {
                self.bom = Some(seen + 1).filter(|seen| *seen < BOM.len());
                rest = after;
            } else {
                self.line.extend_from_slice(BOM.get(..seen).unwrap_or_default());
                self.bom = None;
            }
        }
        rest
    }

    /// Number of bytes by which the current event may still grow.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.data.len() + self.name.len() + self.line.len() + self.bare.len())
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), Error> {
        if part.len() > self.room() {
            return Err(Error::TooLong { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Handles a complete line, without its line ending.
    fn line(&mut self, line: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        if line.is_empty() {
            return self.dispatch(each);
        }
        if line.len() > self.room() {
            return Err(Error::TooLong { limit: self.limit });
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_error = line.strip_prefix(b"error:").is_some_and(|value| !value.trim_ascii().is_empty());
        if is_error || matches!(name, b"" | b"data" | b"event" | b"id" | b"retry") {
            self.deliver_bare(each)?;
            self.field(line);
        } else if !self.bare.is_empty() || matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
            self.bare.extend_from_slice(line);
            self.bare.push(b'\n');
        } else {
            self.note_unknown(line);
        }
        Ok(())
    }

    /// Delivers JSON that was sent without `data:`.
    fn deliver_bare(&mut self, each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        if self.bare.is_empty() {
            return Ok(());
        }
        let bare = std::mem::take(&mut self.bare);
        let data = std::str::from_utf8(&bare).map_err(|_| Error::NotUtf8)?.trim();
        if serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok() {
            each(Event { data, bare: true, stray: self.stray(), ..Event::default() });
            self.stray.clear();
        } else {
            self.note_unknown(&bare);
        }
        Ok(())
    }

    fn note_unknown(&mut self, line: &[u8]) {
        let begin = line.get(..MAX_UNKNOWN).unwrap_or(line);
        if self.unknown.is_empty() {
            self.unknown.extend(begin);
        }
        // Readers ignore the fields that they do not know: `x-trace: 7`.
        let is_field = || {
            let name = memchr::memchr(b':', line).and_then(|colon| line.get(..colon)).unwrap_or_default();
            let in_name =
                |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'_');
            !name.is_empty() && name.iter().all(in_name)
        };
        if self.stray.is_empty() && !is_field() {
            self.stray.push_str(String::from_utf8_lossy(begin).trim());
        }
    }

    fn stray(&self) -> Option<&str> {
        Some(self.stray.as_str()).filter(|line| !line.is_empty())
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) {
            Some((name, value)) => {
                let value = value.strip_prefix(b":").unwrap_or(value);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match name {
            b"data" | b"error" => {
                if name == b"error" {
                    self.name.clear();
                    self.name.extend_from_slice(name);
                }
                if self.has_data {
                    self.data.push(b'\n');
                } else {
                    self.data.clear();
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // A comment, as which some servers (NVIDIA Dynamo) write what the error is.
            b"" if self.name.eq_ignore_ascii_case(b"error") && !self.has_data => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // Another comment, `id` or `retry`.
            _ => {}
        }
    }

    /// Handles a blank line: delivers the current event, if it has data or a name.
    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        self.deliver_bare(each)?;
        let result = if self.has_data || !self.name.is_empty() {
            let data = std::mem::take(&mut self.data);
            let result = self.deliver(&data, each);
            self.data = data;
            result
        } else {
            Ok(())
        };
        self.data.clear();
        self.name.clear();
        self.has_data = false;
        result
    }

    fn deliver(&mut self, data: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8);
        let name = if self.name.is_empty() { None } else { Some(utf8(&self.name)?) };
        each(Event { name, data: utf8(data)?, stray: self.stray(), ..Event::default() });
        self.stray.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<String>, String);

    /// The events and the result for bytes that arrive in these pieces.
    fn decode<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        limit: usize,
    ) -> (Vec<Owned>, Result<(), Error>) {
        let mut decoder = SseDecoder::new(limit);
        let mut events = Vec::new();
        let mut each = |event: Event<'_>| events.push((event.name.map(str::to_owned), event.data.to_owned()));
        let mut result = Ok(());
        for piece in pieces {
            result = decoder.push(piece, &mut each);
            if result.is_err() {
                break;
            }
        }
        let result = result.and_then(|()| decoder.finish(&mut each));
        (events, result)
    }

    fn data(text: &str) -> Vec<String> {
        let (events, result) = decode([text.as_bytes()], 1 << 20);
        assert_eq!(result, Ok(()));
        events.into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn trap_09_many_events_in_one_read() {
        assert_eq!(data("data: a\n\ndata: b\n\ndata: c\n\n"), ["a", "b", "c"]);
    }

    #[test]
    fn trap_09_line_ends_of_every_kind() {
        for (end, name) in [("\n", "LF"), ("\r\n", "CRLF"), ("\r", "CR")] {
            let text = "data: a~~data:b~data: c~~: comment~~event: x~data~data: ~~".replace('~', end);
            assert_eq!(data(&text), ["a", "b\nc", "\n"], "{name}");
        }
        assert_eq!(data("data: a\r\n\rdata: b\n\r\ndata: c\r\r"), ["a", "b", "c"], "mixed");
    }

    #[test]
    fn trap_09_a_lone_cr_does_not_wait_for_more_bytes() {
        let mut decoder = SseDecoder::new(64);
        let mut seen = Vec::new();
        decoder.push(b"data: a\r\r", |event| seen.push(event.data.to_owned())).unwrap();
        assert_eq!(seen, ["a"]);
    }

    #[test]
    fn trap_09_a_space_after_the_colon_is_optional_and_only_one_is_removed() {
        assert_eq!(data("data:a\n\ndata: a\n\ndata:  a\n\n"), ["a", "a", " a"]);
    }

    #[test]
    fn trap_09_comments_and_unknown_fields_are_no_events() {
        assert_eq!(data(": ping\n\n:\n\nid: 7\nretry: 10\nfoo: bar\n\ndata: a\nid: 8\n\n"), ["a"]);
    }

    #[test]
    fn names_belong_to_one_event() {
        let text = "event: error\ndata: a\n\ndata: b\n\nevent: alone\n\ndata: c\nevent: late\n\n";
        let (events, _) = decode([text.as_bytes()], 64);
        let names: Vec<_> = events.iter().map(|(name, _)| name.as_deref()).collect();
        assert_eq!(names, [Some("error"), None, Some("alone"), Some("late")]);
    }

    #[test]
    fn trap_24_json_without_its_field_is_an_event() {
        let error = "{\"error\": {\n  \"message\": \"boom\"\n}}";
        for text in [
            format!("data: a\n\n{error}\n\ndata: b\n\n"),
            format!("data: a\n\n{error}\ndata: b\n\n"),
            format!("data: a\n\n{error}\n: c\n\ndata: b\n\n"),
        ] {
            assert_eq!(data(&text), ["a", error, "b"], "{text}");
        }
        assert_eq!(data(error), [error]);
        assert_eq!(data("{\"cut\": \n\ndata: a\n\n"), ["a"]);
    }

    #[test]
    fn trap_24_the_field_error_is_an_event_of_that_name() {
        let error = (Some("error".to_owned()), r#"{"code":500}"#.to_owned());
        for end in ["\n\n", "\n", "", "\r\n\r\n"] {
            let text = format!("data: a\n\nerror: {}{end}", error.1);
            let (events, result) = decode([text.as_bytes()], 64);
            assert_eq!((events, result), (vec![(None, "a".to_owned()), error.clone()], Ok(())), "{text:?}");
        }
        assert_eq!(decode([&b"error:boom\n\ndata: a\n\n"[..]], 64).0.len(), 2);
        for text in ["error\n\n", "error: \n\n", "errors: a\n\n"] {
            assert_eq!(decode([text.as_bytes()], 64).0, [], "{text}");
        }
    }

    #[test]
    fn trap_24_comments_are_the_data_of_an_error_without_any() {
        for (text, error) in [
            ("event: error\n: engine worker died\n: twice\n\n", "engine worker died\ntwice"),
            ("event: error\n: ping\ndata: boom\n\n", "boom"),
            ("event: error\n: ping\ndata: boom\ndata: twice\n\n", "boom\ntwice"),
            ("event: error\n\n", ""),
            ("event: error\ndata:\n: ping\n\n", ""),
        ] {
            let text = format!("{text}data: a\n: c\n\nevent: x\n: c\n\n");
            let (events, _) = decode([text.as_bytes()], 64);
            let expected = [(Some("error"), error), (None, "a"), (Some("x"), "")];
            let expected = expected.map(|(name, data)| (name.map(str::to_owned), data.to_owned()));
            assert_eq!(events, expected, "{text:?}");
            assert_eq!(decode(text.as_bytes().chunks(1), 64).0, expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_no_event_stream_has_is_kept_for_messages() {
        let mut decoder = SseDecoder::new(1000);
        decoder.push(b"id: 7\n: ping\ndata: a\n\n", |_| {}).unwrap();
        assert_eq!(decoder.unknown(), None);
        decoder.push(b"Internal Server Error\nmore\n", |_| {}).unwrap();
        assert_eq!(decoder.unknown().as_deref(), Some("Internal Server Error"));
    }

    #[test]
    fn trap_24_what_came_without_a_field_is_told_with_its_event() {
        for (text, expected) in [
            ("data: a\n\n{\"b\":1}\n\ndata: c\n\n", "a - -|{\"b\":1} bare -|c - -"),
            ("<p>502</p>\nmore\n\ndata: a\n\ndata: b\n\n", "a - <p>502</p>|b - -"),
            (
                "data: a\n\nUpstream error: reset\n{\"b\":1}\n\ndata: c\n\n",
                "a - -|{\"b\":1} bare Upstream error: reset|c - -",
            ),
            ("data: a\nError: boom\nevent: x\n\n", "a - Error: boom"),
            ("{\"cut\":\n\ndata: a\n\n", "a - {\"cut\":"),
            // Fields that the standard does not have, comments, and what it has.
            ("x-trace: 7\nfoo_2:\n: ping\nid: 7\nretry: 1\n\ndata: a\n\n", "a - -"),
        ] {
            let mut decoder = SseDecoder::new(64);
            let mut seen = Vec::new();
            let each = |event: Event<'_>| {
                let bare = if event.bare { "bare" } else { "-" };
                seen.push(format!("{} {bare} {}", event.data, event.stray.unwrap_or("-")));
            };
            decoder.push(text.as_bytes(), each).unwrap();
            assert_eq!(seen.join("|"), expected, "{text}");
        }
    }

    #[test]
    fn trap_09_a_byte_order_mark_may_come_in_pieces() {
        let text = "\u{feff}data: a\n\n".as_bytes();
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(decode([head, tail], 64).0, [(None, "a".to_owned())]);
        }
        // An incomplete mark is not a mark: the line is an unknown field.
        assert_eq!(decode([&b"\xef\xbbdata: a\n\n"[..]], 64).0, []);
    }

    #[test]
    fn trap_09_no_blank_line_at_the_end() {
        assert_eq!(data("data: a\n\ndata: [DONE]\n"), ["a", "[DONE]"]);
        assert_eq!(data("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
        assert_eq!(data("data: a\n\nevent: x\n"), ["a"]);
    }

    #[test]
    fn trap_09_a_line_of_megabytes_is_an_error() {
        let limit = 1000;
        let (events, result) = decode([b"data: a\n\n".as_slice(), b"data: ", &[b'x'; 2000]], limit);
        assert_eq!((events.len(), result), (1, Err(Error::TooLong { limit })));
        let lines = b"data: 0123456789\n".repeat(200);
        assert_eq!(decode([lines.as_slice()], limit).1, Err(Error::TooLong { limit }));
        // The limit applies to one event, not to the stream.
        let events = b"data: 0123456789\n\n".repeat(200);
        assert_eq!(decode([events.as_slice()], limit).0.len(), 200);
    }

    #[test]
    fn invalid_utf8_is_an_error_and_stays_one() {
        let mut decoder = SseDecoder::new(64);
        let mut seen = 0;
        assert_eq!(decoder.push(b"data: a\n\ndata: \xff\n\ndata: b\n\n", |_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(seen, 1);
        assert_eq!(decoder.push(b"data: c\n\n", |_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(decoder.finish(|_| seen += 1), Err(Error::NotUtf8));
        assert_eq!(seen, 1);
    }

    /// Streams built from significant pieces, so that random tests reach unusual combinations.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"data:".to_vec()),
            Just(b"event: e".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b": keep-alive".to_vec()),
            Just(BOM.to_vec()),
            Just("h\u{e9}llo \u{1f600}".as_bytes().to_vec()),
            Just(b"{\"a\":1}".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn trap_09_any_split_gives_the_same_events(
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
