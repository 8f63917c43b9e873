//! Detects the format of a body from its first bytes, because servers send a wrong content type, or none.

const BOM: &[u8] = b"\xef\xbb\xbf";
/// The fields of a server-sent event.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Server-sent events.
    Sse,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
    /// Messages of AWS' event stream: the length of a message, whose first byte is 0, comes first.
    EventStream,
    /// None of these.
    Neither,
    /// More bytes are needed.
    Undecided,
}

/// Examines the bytes received so far. White space at the start may have been sent to keep the connection alive.
pub fn detect(bytes: &[u8]) -> Detected {
    let start = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
    match start.first() {
        None => Detected::Undecided,
        Some(b'{') => Detected::Object,
        Some(b'[') => Detected::Array,
        Some(b':') => Detected::Sse,
        Some(0) => Detected::EventStream,
        Some(_) if BOM.starts_with(start) => Detected::Undecided,
        Some(_) => {
            let mut undecided = false;
            for field in FIELDS {
                match start.strip_prefix(field) {
                    Some(rest) if matches!(rest.first(), Some(b':' | b'\r' | b'\n')) => return Detected::Sse,
                    Some([]) => undecided = true,
                    Some(_) => {}
                    None => undecided |= field.starts_with(start),
                }
            }
            if undecided { Detected::Undecided } else { Detected::Neither }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, detected) in [
            ("data: a", Detected::Sse),
            ("data\n", Detected::Sse),
            (" \r\n\u{feff}", Detected::Undecided),
            ("\u{feff}event:x", Detected::Sse),
            (": ping", Detected::Sse),
            ("\n\n  {\"error\"", Detected::Object),
            ("[{", Detected::Array),
            ("\0\0\0\u{1f}", Detected::EventStream),
            ("<html>", Detected::Neither),
            ("database", Detected::Neither),
            ("Internal Server Error", Detected::Neither),
            ("da", Detected::Undecided),
            ("event", Detected::Undecided),
            ("  \n", Detected::Undecided),
            ("", Detected::Undecided),
        ] {
            assert_eq!(detect(bytes.as_bytes()), detected, "{bytes:?}");
        }
        assert_eq!(detect(b"\xef\xbb"), Detected::Undecided);
    }
}
