//! A trace for tests.

use crate::files::Files;
use crate::plan::{RequestTrace, TraceReplay};
use crate::trace::TracePart;
use std::fmt::Write as _;
use std::sync::Arc;

/// The replay of requests at these times in milliseconds. Each has 1000 tokens in two blocks of 512, the first of which
/// all of them share, and answers of 1, 2, 3 and so on tokens.
pub(crate) fn replay(times: &[u64], speed: f64, scale: f64, repeats: bool) -> Arc<TraceReplay> {
    let mut text = String::new();
    for (n, at) in times.iter().enumerate() {
        let ids = format!("[7, {}]", 100 + n);
        let line = format!(r#""input_length": 1000, "output_length": {}, "hash_ids": {ids}"#, n + 1);
        writeln!(text, "{{\"timestamp\": {at}, {line}}}").unwrap();
    }
    Arc::new(TraceReplay { trace: Arc::new(trace(&text)), speed, scale, repeats })
}

/// A trace with this content. Its file stays open.
pub(crate) fn trace(text: &str) -> RequestTrace {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    RequestTrace::read(file.path(), None, &TracePart::default(), false, &mut Files::default(), |_| {})
        .unwrap()
}
