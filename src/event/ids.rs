//! W3C trace context ids, generated before the span exists because `traceparent` is sent with the request.

/// Length of a `traceparent` header of version 00 in bytes.
const TRACEPARENT_LENGTH: usize = 55;

/// Ids of the span that a request will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceIds {
    /// 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// The parent span; `None` for a root span.
    pub parent_id: Option<[u8; 8]>,
    /// Whether the trace is recorded; `traceparent` passes this on to the backend.
    pub sampled: bool,
}

impl TraceIds {
    /// Ids from 24 random bytes. All-zero ids are invalid in W3C trace context, so one bit is set in them.
    pub fn from_random(random: [u8; 24], sampled: bool) -> Self {
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        for (to, from) in trace_id.iter_mut().chain(span_id.iter_mut()).zip(random) {
            *to = from;
        }
        if trace_id == [0; 16] {
            trace_id = 1_u128.to_be_bytes();
        }
        if span_id == [0; 8] {
            span_id = 1_u64.to_be_bytes();
        }
        Self { trace_id, span_id, parent_id: None, sampled }
    }

    /// Ids of a child span in the same trace. In an all-zero id, one bit is set.
    #[must_use]
    pub fn child(&self, random: [u8; 8]) -> Self {
        let span_id = if random == [0; 8] { 1_u64.to_be_bytes() } else { random };
        Self { span_id, parent_id: Some(self.span_id), ..*self }
    }

    /// The trace id in lower-case hex.
    pub fn trace_hex(&self) -> String {
        hex(&self.trace_id)
    }

    /// The span id in lower-case hex.
    pub fn span_hex(&self) -> String {
        hex(&self.span_id)
    }

    /// The id of the parent span in lower-case hex.
    pub fn parent_hex(&self) -> Option<String> {
        self.parent_id.map(|id| hex(&id))
    }

    /// The `traceparent` header, version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    pub fn traceparent(&self) -> String {
        let mut out = String::with_capacity(TRACEPARENT_LENGTH);
        out.push_str("00-");
        push_hex(&mut out, &self.trace_id);
        out.push('-');
        push_hex(&mut out, &self.span_id);
        out.push('-');
        push_hex(&mut out, &[u8::from(self.sampled)]);
        out
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

/// Without `write!`, which takes ten times as many instructions, between the due time of a request and its send.
fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

/// A digit below 16.
fn digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'a' - 10 + value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_has_the_w3c_form() {
        let ids = TraceIds::from_random(std::array::from_fn(|i| u8::try_from(i).unwrap()), true);
        assert_eq!(ids.traceparent(), "00-000102030405060708090a0b0c0d0e0f-1011121314151617-01");
        assert_eq!(ids.traceparent().len(), TRACEPARENT_LENGTH);
        let high = TraceIds::from_random([0xf9; 24], true);
        assert_eq!(high.trace_hex(), "f9".repeat(16));
    }

    #[test]
    fn a_child_is_in_the_trace_of_its_parent() {
        let root = TraceIds::from_random(std::array::from_fn(|i| u8::try_from(i).unwrap()), true);
        let child = root.child([7; 8]);
        assert_eq!((child.trace_hex(), child.span_hex()), (root.trace_hex(), "0707070707070707".to_owned()));
        assert_eq!((child.parent_hex(), root.parent_hex()), (Some(root.span_hex()), None));
        assert_eq!(root.child([0; 8]).span_hex(), "0000000000000001");
    }

    #[test]
    fn all_zero_ids_are_never_sent() {
        let ids = TraceIds::from_random([0; 24], false);
        assert_eq!(ids.traceparent(), "00-00000000000000000000000000000001-0000000000000001-00");
    }
}
