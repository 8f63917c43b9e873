//! Decodes a byte stream into events. Sans-I/O: bytes are pushed as they arrive, and events come out. This module knows
//! nothing about sockets, clocks or the meaning of an event.

mod detect;
pub mod eventstream;
#[cfg(test)]
mod fuzz;
pub mod json_array;
pub mod ndjson;
pub mod sse;

pub use detect::{Detected, detect};

/// One event of a stream, borrowed while it is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name (`event:` in server-sent events, the type of a message in AWS' event stream), if it has one.
    pub name: Option<&'a str>,
    /// Its data: the joined `data:` lines, the line of newline-delimited JSON, the item of an array, or the payload of a
    /// message.
    pub data: &'a str,
    /// The framing itself says that this is an error. Only AWS' event stream does.
    pub error: bool,
    /// JSON that came without its field, among server-sent events: hardly any server writes anything but errors so.
    pub bare: bool,
    /// The first line since the event before it that does not belong in a stream of server-sent events.
    pub stray: Option<&'a str>,
}

/// The stream violates the framing. The decoder that returned this delivers no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An event, or a single line, exceeds the decoder's limit.
    #[error("an event of the stream is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The data or the name of an event is not UTF-8.
    #[error("an event of the stream is not valid UTF-8")]
    NotUtf8,
    /// The bytes of a binary message are not those that were sent.
    #[error(
        "the checksum of a message of the stream is wrong: its bytes were changed on the way, or are no message"
    )]
    Checksum,
    /// The lengths or the headers of a binary message contradict each other.
    #[error("a message of the stream is malformed")]
    Malformed,
    /// The stream ended within a binary message.
    #[error("the stream ended within a message")]
    Cut,
}
