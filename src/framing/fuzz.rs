//! Hostile streams: no input makes a decoder panic, and events do not depend on how the bytes are split.

use super::{Error, Event, eventstream, ndjson, sse};
use crate::testing::fuzz::{Fuzz, seeds};

type Events = (Vec<(Option<String>, String)>, Option<Error>);

const LIMIT: usize = 4096;

fn events(
    pieces: &[&[u8]],
    mut push: impl FnMut(Option<&[u8]>, &mut dyn FnMut(Event<'_>)) -> Result<(), Error>,
) -> Events {
    let mut events = Vec::new();
    let mut take = |event: Event<'_>| events.push((event.name.map(str::to_owned), event.data.to_owned()));
    let mut all = pieces.iter().map(|piece| Some(*piece)).chain([None]);
    let error = all.find_map(|piece| push(piece, &mut take).err());
    (events, error)
}

fn check(input: &[u8], decode: &dyn Fn(&[&[u8]]) -> Events) {
    let whole = decode(&[input]);
    assert!(whole.0.iter().all(|(_, data)| data.len() <= LIMIT));
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    let sevens: Vec<&[u8]> = input.chunks(7).collect();
    assert_eq!(decode(&bytes), whole);
    assert_eq!(decode(&sevens), whole);
}

#[test]
fn server_sent_events() {
    let tokens = &[
        "data: ",
        "data:",
        "event: x\n",
        ":\n",
        "\n\n",
        "\r\n\r\n",
        "\r",
        "\u{feff}",
        "[DONE]",
        "id: 1\n",
        "{\"a\":1}",
    ];
    Fuzz { name: "sse", seeds: seeds("tests/streams", &["sse"]), tokens, inputs: 150 }.run(|input| {
        check(input, &|pieces| {
            let mut decoder = sse::SseDecoder::new(LIMIT);
            events(pieces, |piece, take| match piece {
                Some(bytes) => decoder.push(bytes, take),
                None => decoder.finish(take),
            })
        });
    });
}

#[test]
fn lines_of_json() {
    let tokens = &["{\"a\":1}\n", "\n", "\r\n", "[", "{", "\u{feff}", " "];
    let seeds = vec![b"{\"a\":1}\n{\"b\":\"\xc3\xbc\"}\n".to_vec()];
    Fuzz { name: "ndjson", seeds, tokens, inputs: 300 }.run(|input| {
        check(input, &|pieces| {
            let mut decoder = ndjson::NdjsonDecoder::new(LIMIT);
            events(pieces, |piece, take| match piece {
                Some(bytes) => decoder.push(bytes, take),
                None => decoder.finish(take),
            })
        });
    });
}

#[test]
fn binary_messages() {
    let tokens = &["\0\0\0\u{10}", ":message-type", "\u{7}", "{}", "\0"];
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = eventstream::EventStreamDecoder::new(LIMIT);
        events(pieces, |piece, take| match piece {
            Some(bytes) => decoder.push(bytes, take),
            None => decoder.finish(take),
        })
    };
    Fuzz { name: "eventstream", seeds: seeds("tests/streams", &["eventstream"]), tokens, inputs: 150 }.run(
        |input| {
            check(input, &decode);
            check(&message_of(input), &decode);
        },
    );
}

/// A message with sound checksums that has these bytes as its headers: checksums would keep all else from their parser.
fn message_of(headers: &[u8]) -> Vec<u8> {
    let length = u32::try_from(headers.len()).unwrap();
    let mut message = [(length + 16).to_be_bytes(), length.to_be_bytes()].concat();
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(headers);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}
