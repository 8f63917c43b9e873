//! The marks of one request and the durations between them. The doc comments are the normative definitions.

use super::compact::CompactNumbers;
use std::time::Duration;
use tokio::time::Instant;

/// The instants of one request, on one monotonic clock. A mark of an answer is when its bytes arrived at this
/// machine: as the kernel says, or where it does not, when they were read, before they are parsed. All events of
/// one frame share its mark.
#[derive(Clone, Debug)]
pub struct Marks {
    /// When the arrival process scheduled it; for a closed-loop user, the end of its think time.
    pub due: Instant,
    /// How long it waited because the in-flight limit of its stage was reached.
    pub queued: Duration,
    /// When the engine started working on it (took permits, began to look for a connection).
    pub started: Instant,
    /// Warm: when the request is sent on a ready connection, after any set-up. Cold: before the DNS look-up.
    /// Absent if no connection could be obtained for a warm request.
    pub sent: Option<Instant>,
    /// Connection set-up time before `sent` (warm), or before the failure.
    pub setup: Duration,
    /// When the status line and headers arrived.
    pub headers: Option<Instant>,
    /// When the first byte of the body arrived.
    pub first_byte: Option<Instant>,
    /// When the first event of the stream arrived, whatever it contains.
    pub first_chunk: Option<Instant>,
    /// When the first event with generated content arrived: non-empty text, reasoning, refusal or tool-call
    /// arguments.
    pub first_token: Option<Instant>,
    /// When the first event with non-empty visible text arrived (reasoning is not visible).
    pub first_text: Option<Instant>,
    /// When the first event arrived whose tokens count for the pace, if that is not `first_token`: where reasoning was
    /// not streamed in full, the first event with other content.
    pub pace_start: Option<Instant>,
    /// When the last event with generated content arrived.
    pub last_token: Option<Instant>,
    /// When the terminal event arrived, or the clean end of the body after a finish reason; for an answer
    /// that is not streamed, the end of the body; for a failure, when it was detected.
    pub end: Instant,
}

impl Marks {
    /// Marks at the start of a request; all other marks are absent.
    pub fn begin(due: Instant, started: Instant) -> Self {
        Self {
            due,
            queued: Duration::ZERO,
            started,
            sent: None,
            setup: Duration::ZERO,
            headers: None,
            first_byte: None,
            first_chunk: None,
            first_token: None,
            first_text: None,
            pace_start: None,
            last_token: None,
            end: started,
        }
    }

    /// Time from the send to a mark.
    fn since_sent(&self, mark: Option<Instant>) -> Option<Duration> {
        Some(mark?.saturating_duration_since(self.sent?))
    }

    /// `first_byte - sent`.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        self.since_sent(self.first_byte)
    }

    /// `first_chunk - sent`; streamed answers only.
    pub fn time_to_first_chunk(&self) -> Option<Duration> {
        self.since_sent(self.first_chunk)
    }

    /// `first_token - sent`; streamed answers only.
    pub fn time_to_first_token(&self) -> Option<Duration> {
        self.since_sent(self.first_token)
    }

    /// `first_text - sent`; streamed answers only.
    pub fn time_to_first_text(&self) -> Option<Duration> {
        self.since_sent(self.first_text)
    }

    /// `end - sent`; if nothing was sent, `end - started`.
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.sent.unwrap_or(self.started))
    }

    /// `end - due`: what a user who arrived on time would have waited.
    pub fn response_time(&self) -> Duration {
        self.end.saturating_duration_since(self.due)
    }

    /// `sent - due`, less connection set-up and the time in the queue: how late the prober itself was.
    pub fn dispatch_lag(&self) -> Duration {
        match self.sent {
            Some(sent) => sent.saturating_duration_since(self.due).saturating_sub(self.setup + self.queued),
            None => self.started.saturating_duration_since(self.due).saturating_sub(self.queued),
        }
    }

    /// `last_token - first_token`, or from `pace_start` where that is another event.
    pub fn decode_time(&self) -> Option<Duration> {
        Some(self.last_token?.saturating_duration_since(self.pace_start.or(self.first_token)?))
    }
}

/// The times between consecutive content events of one request, in order, to the nanosecond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(CompactNumbers);

impl Gaps {
    /// Maximum number of gaps kept for one request (a few MiB); for longer streams, only the first ones are kept.
    const MAX: usize = 262_144;

    /// Appends a gap.
    pub fn push(&mut self, gap: Duration) {
        if self.0.len() < Self::MAX {
            self.0.push(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// All gaps in order.
    pub fn iter(&self) -> impl Iterator<Item = Duration> + Clone + '_ {
        self.0.iter().map(Duration::from_nanos)
    }

    /// All gaps in order, as a list.
    pub fn to_vec(&self) -> Vec<Duration> {
        let mut gaps = Vec::with_capacity(self.len());
        gaps.extend(self.iter());
        gaps
    }

    /// Number of gaps.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that they occupy, in bytes.
    pub const fn held(&self) -> usize {
        self.0.held()
    }

    /// The longest gap; `None` if there are fewer than two content events.
    pub fn longest(&self) -> Option<Duration> {
        self.iter().max()
    }

    /// The middle gap, the lower one of two; `None` if there are fewer than two content events.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.to_vec();
        let (_, median, _) = sorted.select_nth_unstable(self.len().checked_sub(1)? / 2);
        Some(*median)
    }

    /// Number of gaps above the stall threshold: the given one, or 10 times the request's own median but at
    /// least 1 s.
    pub fn stalls(&self, threshold: Option<Duration>) -> u64 {
        let Some(threshold) = threshold.or_else(|| self.own_threshold()) else { return 0 };
        self.iter().filter(|gap| *gap > threshold).count() as u64
    }

    fn own_threshold(&self) -> Option<Duration> {
        let median = self.median()?;
        Some(median.saturating_mul(10).max(Duration::from_secs(1)))
    }
}

/// The sizes of the content events of one answer, by which its tokens are divided among them: a server reports how
/// many tokens an answer has, and hardly ever how many of them are in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSizes {
    /// Bytes of content, in order; as many events are kept as [`Gaps`] keeps gaps between them.
    each: CompactNumbers,
    /// Bytes of content of all events, including those that are not kept.
    total: u64,
}

impl EventSizes {
    /// Appends an event with this many bytes of content.
    pub fn push(&mut self, bytes: usize) {
        self.total = self.total.saturating_add(bytes as u64);
        if self.each.len() <= Gaps::MAX {
            self.each.push(bytes as u64);
        }
    }

    /// The memory that they take, in bytes.
    pub const fn held(&self) -> usize {
        self.each.held()
    }

    /// The same events, of which the first so many have no tokens.
    #[must_use]
    pub fn from_event(&self, events: u64) -> Self {
        let mut kept = Self { total: self.total, ..Self::default() };
        for (index, bytes) in (0_u64..).zip(self.each.iter()) {
            let counts = index >= events;
            kept.each.push(if counts { bytes } else { 0 });
            kept.total = kept.total.saturating_sub(if counts { 0 } else { bytes });
        }
        kept
    }

    /// The number of tokens in each event, in order. `all` tokens are divided in proportion to the bytes and rounded
    /// such that the first event with bytes has one, except that it has the number of tokens `first` if that is known. If
    /// `all` is unknown, each event with bytes counts as one token.
    pub fn tokens(&self, all: Option<u64>, first: Option<u64>) -> impl Iterator<Item = u64> + '_ {
        let first = first.zip(all).map(|(first, all)| first.min(all));
        let (at, first_bytes) = self.each.iter().enumerate().find(|(_, bytes)| *bytes > 0).unwrap_or((0, 0));
        let first_bytes = first.map_or(0, |_| first_bytes);
        let tokens = all.unwrap_or(0).saturating_sub(first.unwrap_or(0));
        let bytes = self.total.saturating_sub(first_bytes).max(1);
        let (mut bytes_so_far, mut tokens_so_far) = (0_u64, 0_u64);
        self.each.iter().enumerate().map(move |(index, size)| {
            if all.is_none() {
                return u64::from(size > 0);
            }
            if let Some(first) = first.filter(|_| index == at) {
                return first;
            }
            bytes_so_far = bytes_so_far.saturating_add(size);
            let due = (u128::from(tokens) * u128::from(bytes_so_far)).div_ceil(u128::from(bytes));
            let due = u64::try_from(due).unwrap_or(u64::MAX);
            due.saturating_sub(std::mem::replace(&mut tokens_so_far, due))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(sizes: &[usize], all: Option<u64>, first: Option<u64>) -> Vec<u64> {
        let mut events = EventSizes::default();
        for size in sizes {
            events.push(*size);
        }
        events.tokens(all, first).collect()
    }

    #[test]
    fn tokens_are_divided_among_events_by_their_size() {
        assert_eq!(spread(&[4, 4, 4, 4], Some(4), None), [1, 1, 1, 1]);
        // A proxy that collects the rest of the answer.
        assert_eq!(spread(&[5, 5, 90], Some(20), None), [1, 1, 18]);
        // Fewer tokens than events: an event can be a part of a token.
        assert_eq!(spread(&[3, 3, 3, 3], Some(2), None), [1, 0, 1, 0]);
        // The server says how many came first.
        assert_eq!(spread(&[10, 10, 10], Some(12), Some(8)), [8, 2, 2]);
        assert_eq!(spread(&[10, 10], Some(3), Some(8)), [3, 0]);
        // Unknown: one for each event, whatever its size.
        assert_eq!(spread(&[1, 50, 3], None, Some(2)), [1, 1, 1]);
        assert_eq!(spread(&[], Some(7), None), [0; 0]);
        // A summary of reasoning before them has none of them.
        assert_eq!(spread(&[0, 0, 10, 10], Some(9), Some(5)), [0, 0, 5, 4]);
        assert_eq!(spread(&[0, 4, 4], Some(2), None), [0, 1, 1]);
        for all in 1..50 {
            let tokens = spread(&[7, 1, 30, 2, 2, 11], Some(all), None);
            assert_eq!(tokens.iter().sum::<u64>(), all);
            assert!(tokens[0] > 0);
        }
    }

    #[test]
    fn events_that_are_not_kept_have_their_share_of_the_tokens() {
        let mut events = EventSizes::default();
        for _ in 0..=2 * Gaps::MAX + 1 {
            events.push(4);
        }
        let kept = events.tokens(Some(2 * Gaps::MAX as u64 + 2), None);
        assert_eq!(kept.sum::<u64>(), Gaps::MAX as u64 + 1);
    }

    fn gaps(millis: &[u64]) -> Gaps {
        let mut gaps = Gaps::default();
        for millis in millis {
            gaps.push(Duration::from_millis(*millis));
        }
        gaps
    }

    #[test]
    fn quantiles_of_nothing_do_not_panic() {
        assert_eq!(gaps(&[]).longest(), None);
        assert_eq!(gaps(&[]).stalls(None), 0);
    }

    #[test]
    fn a_stall_is_ten_medians_and_a_second() {
        // Ten medians are 200 ms here, so the minimum of one second applies.
        assert_eq!(gaps(&[20, 20, 20, 900]).stalls(None), 0);
        assert_eq!(gaps(&[20, 20, 20, 1001]).stalls(None), 1);
        // A slow stream has a high threshold: 10 * 300 ms.
        assert_eq!(gaps(&[300, 300, 300, 2900]).stalls(None), 0);
        assert_eq!(gaps(&[300, 300, 300, 3100]).stalls(None), 1);
        assert_eq!(gaps(&[300, 300, 300, 600]).stalls(Some(Duration::from_millis(500))), 1);
    }

    #[test]
    fn lag_leaves_connection_setup_out() {
        let due = Instant::now();
        let mut marks = Marks::begin(due, due + Duration::from_millis(2));
        marks.setup = Duration::from_millis(30);
        marks.sent = Some(due + Duration::from_millis(33));
        marks.end = due + Duration::from_millis(133);
        assert_eq!(marks.dispatch_lag(), Duration::from_millis(3));
        assert_eq!(marks.duration(), Duration::from_millis(100));
        assert_eq!(marks.response_time(), Duration::from_millis(133));
    }
}
