//! The ground truth of each request: what the simulator did and when, measured by its own clock.
//!
//! A bounded ring of records. It knows nothing about how answers are generated or sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::timing::Timing;

/// The ground truth of one request. Offsets are seconds from its arrival.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The id, which the answer carries, too.
    pub request_id: String,
    /// The trace id of the W3C `traceparent` header, if there was one.
    pub trace_id: Option<String>,
    /// The dialect of the endpoint.
    pub dialect: String,
    /// The path of the request.
    #[serde(default)]
    pub path: String,
    /// The model of the request, if it could be read.
    pub model: Option<String>,
    /// Wall-clock time at which the request's head arrived at this machine: its last byte, as the kernel noted it
    /// (Linux), or when it was read. On HTTP/2, where the frames of many requests are read together, that of the last
    /// byte that was read with it.
    #[serde(with = "wall")]
    pub arrived: Timestamp,
    /// The status of the answer; `None` if there was no HTTP answer.
    pub status: Option<u16>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Duration of the retrieval before the model was called, in seconds.
    #[serde(default)]
    pub retrieval_seconds: Option<f64>,
    /// Time in the engine's queue, in seconds.
    pub queue_seconds: Option<f64>,
    /// Time from admission to the first token, in seconds.
    pub prefill_seconds: Option<f64>,
    /// When the first generated content was handed to the socket.
    pub first_token: Option<f64>,
    /// When each content event was handed to the socket.
    pub chunks: Vec<Chunk>,
    /// How late the latest of them was handed to the socket, in seconds; `None` if none had a schedule (they were held
    /// back by a fault, say).
    #[serde(default)]
    pub late_seconds: Option<f64>,
    /// When the end of the answer was handed to the socket.
    pub finished: Option<f64>,
    /// Number of prompt tokens.
    pub input_tokens: usize,
    /// Number of planned output tokens, including reasoning.
    pub output_tokens: usize,
    /// Number of prompt tokens found in the prefix cache.
    pub cached_tokens: usize,
    /// Number of output tokens that are reasoning, sent or not.
    pub reasoning_tokens: usize,
    /// The finish reason, `stop` or `length`, once the answer is complete.
    pub finish_reason: Option<String>,
    /// The faults that were applied.
    pub faults: Vec<String>,
    /// Whether the client disconnected before the end.
    pub client_gone: bool,
}

/// When the head of a request arrived at this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival(pub(crate) Instant);

impl Arrival {
    /// For a request that came by no socket.
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

/// One content event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// When it was handed to the socket, in seconds from arrival.
    pub at: f64,
    /// Number of tokens in it.
    pub tokens: usize,
}

/// What a write to the socket contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A content event.
    Content {
        /// Number of tokens in it.
        tokens: usize,
        /// When it was due, if it had a schedule.
        due: Option<Instant>,
    },
    /// The end of the answer.
    End,
}

/// The record of a request, which may still be running.
#[derive(Debug)]
pub(crate) struct Record {
    arrival: Instant,
    truth: Mutex<Truth>,
    timing: Arc<Timing>,
}

/// The most recent records.
#[derive(Debug)]
pub(crate) struct Ring {
    capacity: usize,
    timing: Arc<Timing>,
    records: Mutex<VecDeque<Arc<Record>>>,
}

impl Record {
    /// Updates the record.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Truth)) {
        change(&mut self.truth.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns a copy.
    pub(crate) fn get(&self) -> Truth {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the head of the request arrived.
    pub(crate) fn arrival(&self) -> Instant {
        self.arrival
    }

    /// Records that `mark` was handed to the socket at `when`.
    pub(crate) fn mark(&self, mark: Mark, when: Instant) {
        let at = self.since_arrival(when).as_secs_f64();
        self.set(|truth| match mark {
            Mark::Content { tokens, due } => {
                if let Some(due) = due {
                    let late = when.saturating_duration_since(due);
                    self.timing.count(late);
                    truth.late_seconds = Some(truth.late_seconds.unwrap_or(0.0).max(late.as_secs_f64()));
                }
                truth.first_token.get_or_insert(at);
                truth.chunks.push(Chunk { at, tokens });
            }
            Mark::End => {
                truth.finished.get_or_insert(at);
            }
        });
    }

    fn since_arrival(&self, when: Instant) -> Duration {
        when.saturating_duration_since(self.arrival)
    }
}

impl Ring {
    pub(crate) fn new(capacity: usize, timing: Arc<Timing>) -> Self {
        Self { capacity, timing, records: Mutex::new(VecDeque::new()) }
    }

    /// Opens the record of a request that arrived then; drops the oldest record if there is no room.
    pub(crate) fn open(&self, mut truth: Truth, arrival: Instant) -> Arc<Record> {
        // In this order, a pause between the two makes it later, and never earlier than it was.
        let age = arrival.elapsed();
        let now = Timestamp::now();
        truth.arrived = now.checked_sub(age).unwrap_or(now);
        let record = Arc::new(Record { arrival, truth: Mutex::new(truth), timing: Arc::clone(&self.timing) });
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        while records.len() >= self.capacity.max(1) {
            records.pop_front();
        }
        records.push_back(Arc::clone(&record));
        record
    }

    /// All records, newest last.
    pub(crate) fn all(&self) -> Vec<Truth> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        records.iter().map(|record| record.get()).collect()
    }

    /// Removes all records.
    pub(crate) fn clear(&self) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The trace id in a `traceparent` header, if it is valid.
pub(crate) fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let valid = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| id.to_ascii_lowercase())
}

/// A point in time as RFC 3339.
mod wall {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_ring_keeps_the_newest_and_marks_count_from_arrival() {
        let metric = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("lag", "lag")).unwrap();
        let ring = Ring::new(2, Arc::new(Timing::new(false, metric.clone())));
        for id in ["a", "b", "c"] {
            let truth = Truth { request_id: id.to_owned(), ..Truth::default() };
            let record = ring.open(truth, Instant::now());
            tokio::time::advance(Duration::from_millis(250)).await;
            let due = Instant::now() - Duration::from_millis(2);
            record.mark(Mark::Content { tokens: 2, due: Some(due) }, Instant::now());
            record.mark(Mark::End, Instant::now());
        }
        let all = ring.all();
        assert_eq!(all.iter().map(|truth| truth.request_id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(all[0].chunks, [Chunk { at: 0.25, tokens: 2 }]);
        assert_eq!((all[0].first_token, all[0].finished), (Some(0.25), Some(0.25)));
        assert_eq!((all[0].late_seconds, metric.get_sample_count()), (Some(0.002), 3));
        ring.clear();
        assert!(ring.all().is_empty());
    }

    #[test]
    fn a_trace_id_is_taken_only_from_a_traceparent() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(parent).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace_id("00-short-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id("nothing"), None);
    }
}
