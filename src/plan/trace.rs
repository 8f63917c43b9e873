//! The replay of a trace: when its requests are due. Times are offsets from the beginning of the replay.

use crate::trace::RequestTrace;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How often a trace may be multiplied.
pub const MAX_SCALE: u32 = 100;

/// The smallest scale of a trace: requests that are left out take time, too.
pub const MIN_SCALE: f64 = 0.001;
/// Bits of the number of a request that say which copy it is.
const COPY_BITS: u32 = 8;

/// A trace, and how it is replayed.
#[derive(Clone, Debug, Serialize)]
pub struct TraceReplay {
    /// The recorded requests.
    pub trace: Arc<RequestTrace>,
    /// How many times faster than recorded.
    pub speed: f64,
    /// How many times as many requests as recorded; less than 1 leaves some out.
    pub scale: f64,
    /// Whether it starts again from the beginning when it is over.
    pub repeats: bool,
}

/// A request of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePlace {
    /// How often the trace was played before.
    pub pass: u64,
    /// Its index in the trace, from 0.
    pub index: u64,
    /// Which copy of the request it is, from 0, if the trace is multiplied.
    pub copy: u64,
}

/// A trace that is read again is another one.
impl PartialEq for TraceReplay {
    fn eq(&self, other: &Self) -> bool {
        let Self { trace, speed, scale, repeats } = self;
        let is_same = Arc::ptr_eq(trace, &other.trace) && *repeats == other.repeats;
        is_same && (*speed, *scale) == (other.speed, other.scale)
    }
}

impl TraceReplay {
    /// Whether its prompts are generated; otherwise their texts are recorded.
    pub fn has_generated_texts(&self) -> bool {
        self.trace.format().has_times()
    }

    /// The number of a copy of the `n`-th request, from 0, where requests count on when the trace starts again. The
    /// first copies have the numbers 0, 1, 2 and so on.
    pub const fn number(n: u64, copy: u32) -> u64 {
        ((copy as u64) << (u64::BITS - COPY_BITS)) | n
    }

    /// The request with this number.
    pub fn place(&self, number: u64) -> TracePlace {
        let copy = number >> (u64::BITS - COPY_BITS);
        let n = number & (u64::MAX >> COPY_BITS);
        let requests = self.trace.requests().max(1);
        TracePlace { pass: n / requests, index: n % requests, copy }
    }

    /// The time that the trace takes once.
    pub fn length(&self) -> Duration {
        self.scaled(self.trace.length())
    }

    /// When the `n`-th request is due; `None` after the last one.
    pub fn due(&self, n: u64) -> Option<Duration> {
        let TracePlace { pass, index, .. } = self.place(n);
        if pass > 0 && !self.repeats {
            return None;
        }
        let before = self.trace.length().saturating_mul(pass);
        Some(self.scaled(before.saturating_add(self.trace.at(index)?)))
    }

    /// The time from the `n`-th request to the next one, or to the end of the trace.
    pub fn gap(&self, n: u64) -> Duration {
        let next = self.due(n + 1).unwrap_or_else(|| self.length());
        next.saturating_sub(self.due(n).unwrap_or(next))
    }

    /// Number of requests that are due before an offset, each counted once.
    pub fn before(&self, offset: Duration) -> u64 {
        let requests = self.trace.requests();
        let passes = if self.repeats {
            let length = self.length().max(Duration::from_nanos(1));
            u64::try_from(offset.as_nanos() / length.as_nanos()).unwrap_or(u64::MAX).saturating_add(2)
        } else {
            1
        };
        // The same function as that of the due times, so that both round alike.
        let (mut low, mut high) = (0, passes.saturating_mul(requests).min(u64::MAX >> COPY_BITS));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(middle).is_some_and(|due| due < offset) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// A time of the trace, in microseconds, at the speed of the replay.
    fn scaled(&self, micros: u64) -> Duration {
        Duration::try_from_secs_f64(micros as f64 / self.speed / 1e6).unwrap_or(Duration::MAX)
    }
}
