//! An HTTP/2 server built from frames, so that it can break off after any of them.

use super::servers::{Peer, hang, script, send};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Frame types (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113, section 7).
pub(super) const CODES: [(&str, u32); 15] = [
    ("no_error", 0),
    ("protocol_error", 1),
    ("internal_error", 2),
    ("flow_control_error", 3),
    ("settings_timeout", 4),
    ("stream_closed", 5),
    ("frame_size_error", 6),
    ("refused_stream", 7),
    ("cancel", 8),
    ("compression_error", 9),
    ("connect_error", 10),
    ("enhance_your_calm", 11),
    ("inadequate_security", 12),
    ("http_1_1_required", 13),
    ("unknown_code", 99),
];

/// What the server sends in response to a request, in order.
#[derive(Clone)]
pub(super) enum Step {
    /// Response headers with status 200 and this content type.
    Headers(&'static str),
    /// A piece of the body.
    Data(Vec<u8>),
    /// The last piece of it.
    LastData(Vec<u8>),
    /// Resets the stream with this code.
    Reset(u32),
    /// Sends GOAWAY with this code, and as last stream id the request's (`true`) or none (`false`).
    GoAway(u32, bool),
    /// Closes the connection.
    Close,
    /// Sends frames again and again.
    Flood(Vec<u8>),
}

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// An empty SETTINGS frame.
pub(super) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// Waits for the end of a request; returns its stream id.
async fn request(io: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    loop {
        let mut header = [0; 9];
        io.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        io.read_exact(&mut payload).await.ok()?;
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Some(u32::from_be_bytes(stream));
        }
    }
}

/// A header block in HPACK: status 200 and a content type, both from the static table.
fn header_block(content_type: &str) -> Vec<u8> {
    let length = u8::try_from(content_type.len()).unwrap();
    [&[0x88, 0x0f, 0x10, length], content_type.as_bytes()].concat()
}

/// Plays the steps in response to each request.
pub(super) fn steps(steps: Vec<Step>) -> Peer {
    let steps = Arc::new(steps);
    script(move |_, mut io| {
        let steps = Arc::clone(&steps);
        async move {
            let mut preface = [0; 24];
            if io.read_exact(&mut preface).await.is_err() || !send(&mut io, settings()).await {
                return;
            }
            while let Some(stream) = request(&mut io).await {
                for step in &*steps {
                    let bytes = match step {
                        Step::Headers(kind) => frame(HEADERS, END_HEADERS, stream, &header_block(kind)),
                        Step::Data(bytes) => frame(DATA, 0, stream, bytes),
                        Step::LastData(bytes) => frame(DATA, END_STREAM, stream, bytes),
                        Step::Reset(code) => frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
                        Step::GoAway(code, seen) => {
                            let last = if *seen { stream } else { 0 };
                            frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
                        }
                        Step::Flood(bytes) => {
                            while send(&mut io, bytes).await {}
                            return;
                        }
                        Step::Close => return,
                    };
                    // Each step must arrive separately.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if !send(&mut io, bytes).await {
                        return;
                    }
                    if matches!(step, Step::GoAway(..)) {
                        hang(&mut io).await;
                        return;
                    }
                }
            }
        }
    })
}
