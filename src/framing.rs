//! Framings of a byte stream into events. Sans-I/O: bytes go in as they arrive, events come out. Nothing here
//! knows sockets, clocks or what an event means.

pub mod ndjson;
pub mod sse;

/// One event of a stream, borrowed for the moment of its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name (`event:` in server-sent events), if it has one.
    pub name: Option<&'a str>,
    /// Its data: the joined `data:` lines, or the line of newline-delimited JSON.
    pub data: &'a str,
}

/// The stream breaks the framing's rules. The decoder that said so gives no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An event, or a single line, is longer than the decoder was allowed to hold.
    #[error("an event of the stream is longer than {limit} bytes")]
    TooLong {
        /// The bound, bytes.
        limit: usize,
    },
    /// The data or the name of an event is not UTF-8.
    #[error("an event of the stream is not valid UTF-8")]
    NotUtf8,
}
