//! AWS's event stream (`application/vnd.amazon.eventstream`): binary messages with headers and a payload. One checksum
//! covers the lengths of a message, another the whole message. The type of a message is in one of its headers.
//!
//! Format: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use super::{Error, Event};
use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use aws_smithy_types::str_bytes::StrBytes;

/// Size in bytes of the prelude of a message: two lengths and their checksum.
const PRELUDE: usize = 12;
/// Size of a checksum in bytes.
const CHECKSUM: usize = 4;

/// Turns bytes into the messages of an event stream. The messages do not depend on how the bytes are split over
/// [`push`](Self::push) calls.
///
/// The name of an event is its `:event-type`. An exception is an event with [`error`](Event::error) and its
/// `:exception-type`.
#[derive(Debug)]
pub struct EventStreamDecoder {
    /// The beginning of an incomplete message.
    message: Vec<u8>,
    /// The length of that message, once its prelude is complete.
    length: Option<usize>,
    limit: usize,
    failed: Option<Error>,
}

impl EventStreamDecoder {
    /// Creates a decoder for messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { message: Vec::new(), length: None, limit, failed: None }
    }

    /// Size of the buffer for incomplete messages, in bytes.
    pub fn buffered(&self) -> usize {
        self.message.capacity()
    }

    /// Pushes the next bytes and delivers the messages that they complete. After an error every call returns the same
    /// error.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !bytes.is_empty() {
            let missing = self.length.unwrap_or(PRELUDE).saturating_sub(self.message.len());
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.message.extend_from_slice(taken);
            bytes = rest;
            let result = match self.length {
                None if self.message.len() == PRELUDE => self.prelude(),
                Some(length) if self.message.len() == length => self.deliver(&mut each),
                _ => Ok(()),
            };
            if let Err(error) = result {
                self.failed = Some(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the stream: an incomplete message is an error.
    pub fn finish(&mut self, _each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        match self.failed {
            Some(error) => Err(error),
            None if self.message.is_empty() => Ok(()),
            None => Err(Error::Cut),
        }
    }

    /// Reads the lengths. Their checksum is verified before they are used, because with a wrong length the following
    /// messages would be read as part of this one.
    fn prelude(&mut self) -> Result<(), Error> {
        let [total, headers, checksum] = [0, 4, 8].map(|at| word(&self.message, at));
        let lengths = self.message.get(..PRELUDE - CHECKSUM).unwrap_or_default();
        if crc32fast::hash(lengths) != checksum {
            return Err(Error::Checksum);
        }
        let total = total as usize;
        match total.checked_sub(PRELUDE + CHECKSUM) {
            Some(room) if headers as usize <= room => {}
            _ => return Err(Error::Malformed),
        }
        if total > self.limit {
            return Err(Error::TooLong { limit: self.limit });
        }
        self.length = Some(total);
        Ok(())
    }

    fn deliver(&mut self, each: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.message);
        self.length = None;
        let before = bytes.len().saturating_sub(CHECKSUM);
        if crc32fast::hash(bytes.get(..before).unwrap_or_default()) != word(&bytes, before) {
            return Err(Error::Checksum);
        }
        let message = read_message_from(bytes.as_slice()).map_err(|_| Error::Malformed)?;
        let header = |name: &str| {
            let found = message.headers().iter().find(|header| header.name().as_str() == name)?;
            found.value().as_string().ok().map(StrBytes::as_str)
        };
        let data = std::str::from_utf8(message.payload()).map_err(|_| Error::NotUtf8)?;
        each(match header(":message-type") {
            Some("exception") => {
                Event { name: header(":exception-type"), data, error: true, ..Event::default() }
            }
            // An error that the service's model does not describe has no payload.
            Some("error") => {
                let data = header(":error-message").unwrap_or(data);
                Event { name: header(":error-code"), data, error: true, ..Event::default() }
            }
            _ => Event { name: header(":event-type"), data, ..Event::default() },
        });
        bytes.clear();
        self.message = bytes;
        Ok(())
    }
}

/// The big-endian number at this offset; 0 if there are not enough bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    four.map_or(0, |four| u32::from_be_bytes(*four))
}

/// Encodes a message with a payload and headers, all of which are strings. [`Error::TooLong`] if a header is longer
/// than the format allows (32,767 bytes).
pub fn encode(headers: &[(&'static str, &'static str)], payload: &[u8]) -> Result<Vec<u8>, Error> {
    let headers = headers
        .iter()
        .map(|(name, value)| Header::new(*name, HeaderValue::String((*value).into())))
        .collect();
    let mut bytes = Vec::new();
    write_message_to(&Message::new_from_parts(headers, payload.to_vec()), &mut bytes)
        .map_err(|_| Error::TooLong { limit: i16::MAX as usize })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(Option<String>, String, bool)>, Result<(), Error>);

    fn read(pieces: &[&[u8]], limit: usize) -> Read {
        let mut decoder = EventStreamDecoder::new(limit);
        let mut events = Vec::new();
        let mut take = |event: Event<'_>| {
            events.push((event.name.map(str::to_owned), event.data.to_owned(), event.error));
        };
        let pushed = pieces.iter().try_for_each(|piece| decoder.push(piece, &mut take));
        let result = pushed.and_then(|()| decoder.finish(&mut take));
        (events, result)
    }

    fn event(name: &'static str, data: &str) -> Vec<u8> {
        encode(&[(":event-type", name), (":message-type", "event")], data.as_bytes()).unwrap()
    }

    fn stream() -> Vec<u8> {
        let exception = [(":exception-type", "throttlingException"), (":message-type", "exception")];
        let error = [(":error-code", "500"), (":error-message", "boom"), (":message-type", "error")];
        [
            event("messageStart", "{\"role\":\"assistant\"}"),
            event("contentBlockDelta", "{\"delta\":{\"text\":\"h\u{e9}llo\"}}"),
            encode(&exception, b"{\"message\":\"Too many requests\"}").unwrap(),
            encode(&error, b"").unwrap(),
            encode(&[], b"{}").unwrap(),
        ]
        .concat()
    }

    #[test]
    fn messages_have_a_type_and_a_payload() {
        let (events, result) = read(&[&stream()], 1000);
        let of = |name: Option<&str>, data: &str, error| (name.map(str::to_owned), data.to_owned(), error);
        let expected = [
            of(Some("messageStart"), "{\"role\":\"assistant\"}", false),
            of(Some("contentBlockDelta"), "{\"delta\":{\"text\":\"h\u{e9}llo\"}}", false),
            of(Some("throttlingException"), "{\"message\":\"Too many requests\"}", true),
            of(Some("500"), "boom", true),
            of(None, "{}", false),
        ];
        assert_eq!((events, result), (expected.to_vec(), Ok(())));
    }

    /// The message without headers from the tests of AWS's own C library.
    #[test]
    fn a_published_message_is_read_and_written() {
        const BYTES: &[u8] = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36";
        assert_eq!(read(&[BYTES], 100).0, [(None, "{'foo':'bar'}".to_owned(), false)]);
        assert_eq!(encode(&[], b"{'foo':'bar'}").unwrap(), BYTES);
    }

    #[test]
    fn a_message_is_delivered_when_it_is_complete() {
        let mut decoder = EventStreamDecoder::new(1000);
        let mut seen = 0;
        decoder.push(&event("a", "{}"), |_| seen += 1).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let good = stream();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let (_, result) = read(&[&bad], 1 << 30);
            assert_eq!(result, Err(Error::Checksum), "byte {at}");
        }
    }

    #[test]
    fn a_message_that_lies_about_its_lengths_is_refused() {
        let prelude = |total: u32, headers: u32| {
            let lengths = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            [lengths.as_slice(), &crc32fast::hash(&lengths).to_be_bytes()].concat()
        };
        for (total, headers, error) in [
            (15, 0, Error::Malformed),
            (0, 0, Error::Malformed),
            (20, 5, Error::Malformed),
            (101, 0, Error::TooLong { limit: 100 }),
            (u32::MAX, u32::MAX - 16, Error::TooLong { limit: 100 }),
            (100, 84, Error::Cut),
        ] {
            assert_eq!(read(&[&prelude(total, headers)], 100).1, Err(error), "{total} {headers}");
        }
        let with_headers = |headers: &[u8]| {
            let length = u32::try_from(headers.len()).unwrap();
            let mut bytes = prelude(16 + length, length);
            bytes.extend_from_slice(headers);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            bytes
        };
        for headers in [&b"\xff"[..], b"\x01a\x60", b"\x01a\x07\xff\xffx", b"\x01\xff\x00"] {
            assert_eq!(read(&[&with_headers(headers)], 100).1, Err(Error::Malformed), "{headers:?}");
        }
        assert_eq!(read(&[&encode(&[], b"\xff").unwrap()], 100).1, Err(Error::NotUtf8));
    }

    proptest! {
        #[test]
        fn trap_09_any_split_gives_the_same_messages(at in 0..stream().len()) {
            let stream = stream();
            let (head, tail) = stream.split_at(at);
            prop_assert_eq!(read(&[head, tail], 1000), read(&[&stream], 1000));
            prop_assert_eq!(read(&[head], 1000).1.is_ok(), read(&[tail], 1000).1.is_ok());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in 0_usize..100) {
            let _ = read(&[&bytes], limit);
        }
    }
}
