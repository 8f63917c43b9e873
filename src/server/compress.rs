//! Compresses answers for callers that accept it (RFC 9110, section 12.5.3). It must not know what the answers say.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header, response};
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;

/// Smaller answers, in bytes, fit into one packet anyway.
const MIN_BYTES: usize = 1400;

/// Whether the caller accepts gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let codings = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut any = false;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // A weight that cannot be read is taken as a refusal, because plain answers suit everybody.
        let wanted =
            weight.is_none_or(|weight| weight.trim().parse::<f64>().is_ok_and(|weight| weight > 0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= name == "*" && wanted;
    }
    any
}

/// Compresses the body of an answer and says so in its headers, if that makes it smaller.
pub(super) fn gzip(parts: &mut response::Parts, body: Bytes) -> Bytes {
    if body.len() < MIN_BYTES || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return body;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let compressed = encoder.write_all(&body).and_then(|()| encoder.finish());
    let Some(mut compressed) = compressed.ok().filter(|compressed| compressed.len() < body.len()) else {
        return body;
    };
    // What is held for slow readers is counted by its length.
    compressed.shrink_to_fit();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    compressed.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::Response;
    use std::io::Read as _;

    #[test]
    fn gzip_is_sent_only_to_callers_that_accept_it() {
        let accepts = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            accepts_gzip(&headers)
        };
        for yes in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br;q=1.0, *;q=0.1", "gzip; q=1", "x-gzip"] {
            assert!(accepts(&[yes]), "{yes}");
        }
        for no in ["", "identity", "br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzip;q=x", "gzipped"] {
            assert!(!accepts(&[no]), "{no}");
        }
        assert!(!accepts(&[]));
        assert!(accepts(&["br", "gzip"]));
    }

    #[test]
    fn large_answers_are_compressed_and_others_are_left_alone() {
        let parts = || Response::builder().header(header::CONTENT_LENGTH, 1).body(()).unwrap().into_parts().0;
        let text = "tokenbeat_requests_total{profile=\"chat\"} 1\n".repeat(1000);
        let mut head = parts();
        let sent = gzip(&mut head, Bytes::from(text.clone()));
        assert!(sent.len() < text.len() / 10);
        assert_eq!(head.headers[header::CONTENT_ENCODING], "gzip");
        assert!(!head.headers.contains_key(header::CONTENT_LENGTH), "it is the plain one's");
        let mut read = String::new();
        flate2::read::GzDecoder::new(&*sent).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        // Too small, and not compressible.
        let noise: Vec<u8> = (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for body in [Bytes::from_static(b"healthy\n"), Bytes::from(gzip_of(&noise))] {
            let mut head = parts();
            assert_eq!(gzip(&mut head, body.clone()), body);
            assert!(!head.headers.contains_key(header::CONTENT_ENCODING));
        }
    }

    fn gzip_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}
