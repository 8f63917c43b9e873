//! What is kept of the requests of a pair beside their totals: how they went over time, a sample of them for plots, and
//! what the server says about itself. All of it is bounded, and two of them add up to what one would have kept. It must
//! not know how it is shown.

use crate::event::{LimitKind, Outcome, Request};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Maximum number of slots of a timeline; with more, each becomes twice as long.
const MAX_SLOTS: usize = 400;

/// Maximum number of requests of a pair that are kept for plots.
const MAX_SAMPLES: usize = 800;

/// Maximum number of names by which the servers behind a target call themselves.
const MAX_SERVERS: usize = 8;

/// Relates monotonic time to the wall clock, as it was when this was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockOrigin {
    monotonic: Instant,
    wall: SystemTime,
}

/// The requests of a pair outside of warm-ups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestTrail {
    /// How many there were over time.
    pub timeline: RequestTimeline,
    /// Number of requests that [`Self::samples`] were selected from.
    pub sampled_from: u64,
    /// A uniform random selection of those that were sent.
    pub samples: Vec<PlottedRequest>,
    /// Number of answers by HTTP status.
    pub http_responses: BTreeMap<u16, u64>,
    /// Number of streamed answers that failed after their first token, by reason.
    pub broken_streams: BTreeMap<String, u64>,
    /// The names by which the servers call themselves (`server` header); of more than 8, the first in the alphabet.
    pub servers: BTreeSet<String>,
    /// The rate limits that the server reports, by kind.
    pub rate_limits: BTreeMap<String, ReportedHeadroom>,
}

/// Requests in slots of equal length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestTimeline {
    /// The length of a slot in seconds: a power of two.
    pub slot_seconds: u64,
    /// The slots in which something happened, by their number since the epoch.
    pub slots: BTreeMap<u64, TimelineSlot>,
}

/// What happened in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimelineSlot {
    /// Requests that became due.
    pub offered: u64,
    /// Requests that were not sent.
    pub skipped: u64,
    /// Requests that ended.
    pub ended: u64,
    /// Those of them that are `ok`.
    pub ok: u64,
    /// Those of them that failed because of the target.
    pub failed: u64,
    /// Output tokens of the requests that ended.
    pub output_tokens: u64,
}

/// A request for a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlottedRequest {
    /// The id of its span, in hex: random, and what the selection goes by.
    pub span: String,
    /// The id of its trace, in hex.
    pub trace: String,
    /// When it was due, in seconds since the epoch.
    pub at: f64,
    /// Its stage; empty if it has no name.
    pub stage: Arc<str>,
    /// Its step; empty for a workload.
    pub step: Arc<str>,
    /// How it ended.
    pub outcome: String,
    /// Time to first token of a streamed answer, in seconds.
    pub first_token: Option<f64>,
    /// From the send to the end, in seconds.
    pub duration: f64,
    /// Tokens of the prompt, if known.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, if known.
    pub output_tokens: Option<u64>,
}

/// What a server says about a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportedHeadroom {
    /// The highest limit that was named.
    pub limit: Option<f64>,
    /// The least that was left.
    pub least_remaining: Option<f64>,
}

impl ClockOrigin {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since the epoch.
    pub(super) fn since_epoch(self, at: Instant) -> Duration {
        let wall = match at.checked_duration_since(self.monotonic) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.monotonic.saturating_duration_since(at)),
        };
        wall.and_then(|wall| wall.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
    }

    /// Seconds since the epoch, to the millisecond.
    fn seconds(self, at: Instant) -> f64 {
        self.since_epoch(at).as_millis() as f64 / 1e3
    }
}

impl RequestTrail {
    pub(super) fn offered(&mut self, origin: ClockOrigin) {
        self.timeline.slot(origin.seconds(Instant::now()), |slot| slot.offered += 1);
    }

    pub(super) fn skipped(&mut self, origin: ClockOrigin) {
        self.timeline.slot(origin.seconds(Instant::now()), |slot| slot.skipped += 1);
    }

    /// Counts a request that has ended, outside of warm-ups.
    pub(super) fn ended(&mut self, request: &Request, origin: ClockOrigin) {
        let observed = &request.observed;
        let output = observed.tokens.output.map(|count| count.n);
        let ok = request.outcome == Outcome::Ok;
        self.timeline.slot(origin.seconds(observed.marks.end), |slot| {
            slot.ended += 1;
            slot.ok += u64::from(ok);
            slot.failed += u64::from(!ok && request.outcome.judges_target());
            slot.output_tokens += output.unwrap_or(0);
        });
        if let Some(status) = observed.status {
            *self.http_responses.entry(status).or_default() += 1;
        }
        if observed.streamed && observed.marks.first_token.is_some() && !request.outcome.is_answered() {
            *self.broken_streams.entry(request.outcome.label().to_owned()).or_default() += 1;
        }
        self.name_servers(observed.server.iter());
        for limit in &observed.limits {
            let known = self.rate_limits.entry(limit.kind.label().to_owned()).or_default();
            known.add(ReportedHeadroom { limit: limit.limit, least_remaining: limit.remaining });
        }
        if observed.marks.sent.is_some() {
            self.sampled_from += 1;
            // The selection goes by the id, which is random.
            let id = request.ids.span_hex();
            if self.selects(&id) {
                self.keep(PlottedRequest::of(request, id, origin));
            }
        }
    }

    /// Adds what was kept elsewhere: the same as if all requests had been seen here.
    pub(super) fn add(&mut self, other: &Self) {
        self.timeline.add(&other.timeline);
        self.sampled_from += other.sampled_from;
        for sample in &other.samples {
            if self.selects(&sample.span) {
                self.keep(sample.clone());
            }
        }
        for (status, n) in &other.http_responses {
            *self.http_responses.entry(*status).or_default() += n;
        }
        for (reason, n) in &other.broken_streams {
            *self.broken_streams.entry(reason.clone()).or_default() += n;
        }
        self.name_servers(other.servers.iter());
        for (kind, limit) in other.rate_limits.iter().filter(|(kind, _)| is_limit(kind)) {
            self.rate_limits.entry(kind.clone()).or_default().add(*limit);
        }
    }

    fn name_servers<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names.filter(|name| !name.is_empty()) {
            if !self.servers.contains(name) {
                self.servers.insert(name.clone());
            }
        }
        while self.servers.len() > MAX_SERVERS {
            self.servers.pop_last();
        }
    }

    /// The requests with the smallest ids are kept, in their order: a uniform selection, whoever saw them.
    fn selects(&self, id: &str) -> bool {
        self.samples.len() < MAX_SAMPLES || self.samples.last().is_none_or(|last| id < last.span.as_str())
    }

    fn keep(&mut self, sample: PlottedRequest) {
        let at = self.samples.partition_point(|known| known.span < sample.span);
        self.samples.insert(at, sample);
        self.samples.truncate(MAX_SAMPLES);
    }
}

fn is_limit(kind: &str) -> bool {
    LimitKind::ALL.iter().any(|known| known.label() == kind)
}

impl ReportedHeadroom {
    fn add(&mut self, other: Self) {
        self.limit = self.limit.into_iter().chain(other.limit).max_by(f64::total_cmp);
        let least = self.least_remaining.into_iter().chain(other.least_remaining);
        self.least_remaining = least.min_by(f64::total_cmp);
    }
}

impl PlottedRequest {
    fn of(request: &Request, span: String, origin: ClockOrigin) -> Self {
        let observed = &request.observed;
        let (marks, tokens) = (&observed.marks, &observed.tokens);
        let first_token = marks.time_to_first_token().filter(|_| observed.streamed);
        Self {
            span,
            trace: request.ids.trace_hex(),
            at: origin.seconds(marks.due),
            stage: Arc::clone(&request.place.stage),
            step: Arc::clone(&request.place.step),
            outcome: request.outcome.label().to_owned(),
            first_token: first_token.map(|it| it.as_secs_f64()),
            duration: marks.duration().as_secs_f64(),
            input_tokens: tokens.input.map(|count| count.n),
            output_tokens: tokens.output.map(|count| count.n),
        }
    }

    /// Whether the answer is complete.
    pub(super) fn is_answered(&self) -> bool {
        Outcome::by_label(&self.outcome).is_some_and(Outcome::is_answered)
    }
}

impl Default for RequestTimeline {
    fn default() -> Self {
        Self { slot_seconds: 1, slots: BTreeMap::new() }
    }
}

impl RequestTimeline {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since the epoch")]
    fn slot(&mut self, seconds: f64, count: impl FnOnce(&mut TimelineSlot)) {
        count(self.slots.entry(seconds as u64 / self.slot_seconds.max(1)).or_default());
        self.shrink();
    }

    /// Makes slots longer until there are few enough.
    fn shrink(&mut self) {
        while self.slots.len() > MAX_SLOTS {
            self.coarsen(self.slot_seconds.saturating_mul(2));
        }
    }

    fn coarsen(&mut self, slot_seconds: u64) {
        let times = (slot_seconds / self.slot_seconds.max(1)).max(1);
        let mut slots: BTreeMap<u64, TimelineSlot> = BTreeMap::new();
        for (number, slot) in &self.slots {
            slots.entry(number / times).or_default().add(*slot);
        }
        (self.slots, self.slot_seconds) = (slots, slot_seconds);
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        let longest = self.slot_seconds.max(other.slot_seconds);
        self.coarsen(longest);
        other.coarsen(longest);
        for (number, slot) in &other.slots {
            self.slots.entry(*number).or_default().add(*slot);
        }
        self.shrink();
    }
}

impl TimelineSlot {
    pub(super) fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.skipped += other.skipped;
        self.ended += other.ended;
        self.ok += other.ok;
        self.failed += other.failed;
        self.output_tokens += other.output_tokens;
    }
}
