//! When what happened in one request: its phases one after the other, its marks, its chunks and its stalls. A pure
//! function of a finished request; what is kept of it is bounded.
//!
//! All times are in seconds from the send (from the start of the work, if nothing was sent), so that those of the marks
//! are the measured ones: what came before is negative.

use crate::event::{ConnectionPhase, Gaps, Marks, Request, SetUpStep};
use serde::{Serialize, Serializer};
use std::time::Duration;
use strum::IntoStaticStr;
use tokio::time::Instant;

/// Maximum number of chunks of a request whose arrival is kept.
pub(super) const MAX_CHUNKS: usize = 512;

/// Maximum number of stalls of a request that are kept: the longest ones.
pub(super) const MAX_STALLS: usize = 32;

/// What a request is doing at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RequestPhase {
    /// It waits at the in-flight limit of its stage.
    Queued,
    /// It is late because of this agent.
    DispatchLag,
    /// It waits for credentials, for a connection that another request opens, or for the handshake of HTTP/2.
    SetUp,
    /// The name of the target is looked up.
    Dns,
    /// TCP connects, through the proxy if there is one.
    Connect,
    /// The TLS handshake.
    Tls,
    /// It is sent, and no status has come.
    Wait,
    /// The headers of the answer have come, and nothing of its body.
    FirstByte,
    /// The stream has begun, and nothing generated has come.
    FirstToken,
    /// The answer is generated.
    Tokens,
    /// An answer that is not a stream arrives.
    Body,
    /// Everything generated has come; the end of the stream has not.
    End,
    /// Generated content has come, and no more until the request failed.
    Silence,
}

impl RequestPhase {
    /// Its name in the API.
    pub fn label(self) -> &'static str {
        self.into()
    }

    fn of(phase: ConnectionPhase) -> Self {
        match phase {
            ConnectionPhase::Dns => Self::Dns,
            ConnectionPhase::Connect => Self::Connect,
            ConnectionPhase::Tls => Self::Tls,
        }
    }
}

/// A part of the time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PhaseView {
    /// What it was doing.
    pub phase: RequestPhase,
    /// When that began.
    pub start_seconds: f64,
    /// How long it took.
    pub duration_seconds: f64,
}

/// The marks of a request; absent ones were not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MarksView {
    /// When it was due: not after 0.
    pub due_seconds: f64,
    /// When status and headers arrived.
    pub headers_seconds: Option<f64>,
    /// When the first byte of the body arrived.
    pub first_byte_seconds: Option<f64>,
    /// When the first event of the stream arrived.
    pub first_chunk_seconds: Option<f64>,
    /// When the first generated content arrived.
    pub first_token_seconds: Option<f64>,
    /// When the first visible text arrived.
    pub first_text_seconds: Option<f64>,
    /// When the last generated content arrived.
    pub last_token_seconds: Option<f64>,
    /// When it ended.
    pub end_seconds: f64,
}

/// When the events with generated content arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChunksView {
    /// Number of such events.
    pub count: u64,
    /// How many of them are not listed.
    pub left_out: u64,
    /// Their arrival, in order; of many, every nth one and the last one.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub micros: Vec<u32>,
}

/// A gap between two chunks that is a stall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StallView {
    /// When the chunk before it arrived.
    pub start_seconds: f64,
    /// How long it was.
    pub duration_seconds: f64,
}

fn as_seconds<S: Serializer>(micros: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(micros.iter().map(|micros| f64::from(*micros) / 1e6))
}

/// The instant from which the times of a request count.
fn zero(marks: &Marks) -> Instant {
    marks.sent.unwrap_or(marks.started)
}

/// Seconds from `zero` to `at`; negative before it.
fn seconds(zero: Instant, at: Instant) -> f64 {
    match at.checked_duration_since(zero) {
        Some(after) => after.as_secs_f64(),
        None => -zero.saturating_duration_since(at).as_secs_f64(),
    }
}

impl MarksView {
    /// The marks of a request.
    pub(super) fn of(marks: &Marks) -> Self {
        let zero = zero(marks);
        let at = |mark: Option<Instant>| mark.map(|mark| seconds(zero, mark));
        Self {
            due_seconds: seconds(zero, marks.due),
            headers_seconds: at(marks.headers),
            first_byte_seconds: at(marks.first_byte),
            first_chunk_seconds: at(marks.first_chunk),
            first_token_seconds: at(marks.first_token),
            first_text_seconds: at(marks.first_text),
            last_token_seconds: at(marks.last_token),
            end_seconds: seconds(zero, marks.end),
        }
    }
}

impl ChunksView {
    /// The chunks of a request; none if it was not streamed.
    pub(super) fn of(request: &Request) -> Self {
        let observed = &request.observed;
        let first = observed.marks.time_to_first_token().filter(|_| observed.streamed);
        let Some(first) = first else { return Self::default() };
        let count = observed.gaps.len() + 1;
        let every = count.div_ceil(MAX_CHUNKS - 1).max(1);
        let mut micros = Vec::with_capacity(count.min(MAX_CHUNKS));
        for (number, at) in arrivals(first, &observed.gaps).enumerate() {
            if number % every == 0 || number + 1 == count {
                micros.push(u32::try_from(at.as_micros()).unwrap_or(u32::MAX));
            }
        }
        Self { count: count as u64, left_out: (count - micros.len()) as u64, micros }
    }
}

/// When each chunk arrived, from the send.
fn arrivals(first: Duration, gaps: &Gaps) -> impl Iterator<Item = Duration> + '_ {
    let later = gaps.iter().scan(first, |at, gap| {
        *at += gap;
        Some(*at)
    });
    std::iter::once(first).chain(later)
}

/// The stalls of a request in order, of many the longest ones: its longest gaps, as many as were counted.
pub(super) fn stalls(request: &Request) -> Vec<StallView> {
    let stalls = usize::try_from(request.stalls).unwrap_or(usize::MAX).min(MAX_STALLS);
    let Some(first) = request.observed.marks.time_to_first_token().filter(|_| stalls > 0) else {
        return Vec::new();
    };
    let gaps = &request.observed.gaps;
    let mut longest: Vec<_> = arrivals(first, gaps).zip(gaps.iter()).collect();
    longest.sort_by_key(|(_, gap)| std::cmp::Reverse(*gap));
    longest.truncate(stalls);
    longest.sort_by_key(|(start, _)| *start);
    let view = |(start, gap): (Duration, Duration)| StallView {
        start_seconds: start.as_secs_f64(),
        duration_seconds: gap.as_secs_f64(),
    };
    longest.into_iter().map(view).collect()
}

/// The phases of a request, without gaps from when it was due to its end. Those that took no time are left out.
pub(super) fn phases(request: &Request) -> Vec<PhaseView> {
    let marks = &request.observed.marks;
    let mut line = PhaseLine { zero: zero(marks), end: marks.end, at: marks.due, phases: Vec::new() };
    line.until(RequestPhase::Queued, marks.due + marks.queued);
    let begun = match marks.sent {
        Some(sent) => sent.checked_sub(marks.setup).unwrap_or(sent),
        None => marks.started,
    };
    line.until(RequestPhase::DispatchLag, begun);
    line.connect(request);
    if let Some(sent) = marks.sent {
        line.until(RequestPhase::SetUp, sent);
    }
    let reached = [
        (RequestPhase::Wait, marks.headers),
        (RequestPhase::FirstByte, marks.first_byte),
        (RequestPhase::FirstToken, marks.first_token),
        (RequestPhase::Tokens, marks.last_token),
    ];
    for (phase, mark) in reached {
        if let Some(mark) = mark {
            line.until(phase, mark);
        }
    }
    line.until(rest(request), marks.end);
    line.phases
}

/// What a request was doing when it ended.
fn rest(request: &Request) -> RequestPhase {
    let marks = &request.observed.marks;
    match (marks.sent, marks.headers, marks.first_byte, marks.first_token) {
        (None, ..) => RequestPhase::SetUp,
        (_, None, ..) => RequestPhase::Wait,
        (_, _, None, _) => RequestPhase::FirstByte,
        _ if !request.observed.streamed => RequestPhase::Body,
        (_, _, _, None) => RequestPhase::FirstToken,
        _ if request.outcome.is_answered() => RequestPhase::End,
        _ => RequestPhase::Silence,
    }
}

/// The phases so far.
struct PhaseLine {
    zero: Instant,
    end: Instant,
    /// The end of the last one.
    at: Instant,
    phases: Vec<PhaseView>,
}

impl PhaseLine {
    /// Adds a phase that lasted until then.
    fn until(&mut self, phase: RequestPhase, then: Instant) {
        let then = then.min(self.end);
        let Some(took) = then.checked_duration_since(self.at).filter(|took| !took.is_zero()) else { return };
        self.phases.push(PhaseView {
            phase,
            start_seconds: seconds(self.zero, self.at),
            duration_seconds: took.as_secs_f64(),
        });
        self.at = then;
    }

    /// Adds the phases of the connection that the request opened. A warm connection is opened before the send, a cold
    /// one and the replacement of a stale one after it.
    fn connect(&mut self, request: &Request) {
        let observed = &request.observed;
        let (Some(dialled), Some(phases)) = (observed.connection.dialled, observed.connection.phases) else {
            return;
        };
        if let Some(sent) = observed.marks.sent.filter(|_| observed.connection.stale) {
            self.until(RequestPhase::SetUp, sent);
            self.until(RequestPhase::Wait, dialled);
        }
        self.until(RequestPhase::SetUp, dialled);
        for (phase, took) in phases.each() {
            if let Some(took) = took {
                self.until(RequestPhase::of(phase), self.at + took);
            }
        }
        if !observed.connection.opened {
            let phase = match observed.connection.step {
                SetUpStep::Resolve => RequestPhase::Dns,
                SetUpStep::Connect | SetUpStep::Tunnel => RequestPhase::Connect,
                SetUpStep::Secure => RequestPhase::Tls,
                SetUpStep::Start => RequestPhase::SetUp,
            };
            self.until(phase, self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnectionRecord, Failure, Outcome, Phases};
    use crate::fact::Sink;
    use crate::testing::{play, small_plan};
    use proptest::prelude::*;
    use std::sync::Arc;

    struct Nowhere;

    impl Sink for Nowhere {
        fn record(&self, _: &crate::fact::Fact) {}
    }

    /// A typical streamed answer with these changes; see [`crate::testing::answer`].
    fn request(change: impl FnOnce(&mut Request)) -> Arc<Request> {
        let sink: Arc<dyn Sink> = Arc::new(Nowhere);
        play(&sink, &small_plan().pairs[0].places[1], Outcome::Ok, change)
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn told(request: &Request) -> Vec<(&'static str, i64, i64)> {
        let rounded = |seconds: f64| format!("{:.0}", seconds * 1e3).parse().unwrap();
        let phases = phases(request).into_iter();
        phases.map(|it| (it.phase.label(), rounded(it.start_seconds), rounded(it.duration_seconds))).collect()
    }

    /// With a connection whose set-up began this long after the due instant: 3 ms, 5 ms and 12 ms.
    fn dialled(request: &mut Request, after: Duration) {
        let phases = Phases { dns: Some(millis(3)), connect: Some(millis(5)), tls: Some(millis(12)) };
        request.observed.connection = ConnectionRecord {
            phases: Some(phases),
            dialled: Some(request.observed.marks.due + after),
            opened: true,
            ..ConnectionRecord::default()
        };
    }

    #[test]
    fn a_request_on_a_kept_connection() {
        let phases = told(&request(|_| {}));
        let expected = [
            ("dispatch_lag", -10, 10),
            ("wait", 0, 190),
            ("first_byte", 190, 10),
            ("first_token", 200, 100),
            ("tokens", 300, 200),
            ("end", 500, 10),
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn a_warm_connection_is_opened_before_the_send() {
        let request = request(|request| {
            let marks = &mut request.observed.marks;
            (marks.queued, marks.setup) = (millis(7), millis(30));
            marks.sent = Some(marks.due + millis(40));
            dialled(request, millis(14));
        });
        let expected = [
            ("queued", -40, 7),
            ("dispatch_lag", -33, 3),
            ("set_up", -30, 4),
            ("dns", -26, 3),
            ("connect", -23, 5),
            ("tls", -18, 12),
            ("set_up", -6, 6),
            ("wait", 0, 160),
        ];
        assert_eq!(told(&request)[..8], expected);
    }

    #[test]
    fn a_cold_connection_is_opened_after_the_send_and_so_is_the_replacement_of_a_stale_one() {
        let cold = request(|request| dialled(request, millis(10)));
        let expected =
            [("dispatch_lag", -10, 10), ("dns", 0, 3), ("connect", 3, 5), ("tls", 8, 12), ("wait", 20, 170)];
        assert_eq!(told(&cold)[..5], expected);
        let stale = request(|request| {
            dialled(request, millis(15));
            request.observed.connection.stale = true;
        });
        let expected = [("dispatch_lag", -10, 10), ("wait", 0, 5), ("dns", 5, 3)];
        assert_eq!(told(&stale)[..3], expected);
    }

    #[test]
    fn a_failure_ends_in_the_phase_in_which_it_happened() {
        let failed = |failure: Failure, change: fn(&mut Request)| {
            let request = request(|request| {
                request.outcome = Outcome::Failed(failure);
                change(request);
            });
            told(&request).pop().unwrap()
        };
        let unopened = |request: &mut Request| {
            dialled(request, millis(4));
            request.observed.connection.opened = false;
            let phases = request.observed.connection.phases.as_mut().unwrap();
            (phases.connect, phases.tls) = (None, None);
            request.observed.connection.step = SetUpStep::Connect;
            request.observed.marks.sent = None;
        };
        assert_eq!(failed(Failure::Connect, unopened), ("connect", 6, 513));
        for (step, phase) in [
            (SetUpStep::Resolve, "dns"),
            (SetUpStep::Tunnel, "connect"),
            (SetUpStep::Secure, "tls"),
            (SetUpStep::Start, "set_up"),
        ] {
            let request = request(|request| {
                request.outcome = Outcome::Failed(Failure::ConnectTimeout);
                dialled(request, millis(4));
                request.observed.connection.opened = false;
                request.observed.connection.step = step;
                request.observed.marks.sent = None;
            });
            assert_eq!(told(&request).last().map(|(phase, ..)| *phase), Some(phase));
        }
        let nothing_came = |request: &mut Request| {
            let marks = &mut request.observed.marks;
            (marks.headers, marks.first_byte, marks.first_token, marks.last_token) = (None, None, None, None);
        };
        assert_eq!(failed(Failure::FirstTokenTimeout, nothing_came), ("wait", 0, 510));
        let silent = |request: &mut Request| {
            let marks = &mut request.observed.marks;
            (marks.first_token, marks.last_token) = (None, None);
        };
        assert_eq!(failed(Failure::FirstTokenTimeout, silent), ("first_token", 200, 310));
        let stalled = |request: &mut Request| request.observed.marks.end += millis(15_000);
        assert_eq!(failed(Failure::StallTimeout, stalled), ("silence", 500, 15_010));
        let unsent = |request: &mut Request| {
            let (due, started) = (request.observed.marks.due, request.observed.marks.started);
            request.observed.marks = Marks::begin(due, started);
            request.observed.marks.end = started + millis(2);
        };
        assert_eq!(failed(Failure::Credentials, unsent), ("set_up", 0, 2));
    }

    #[test]
    fn an_answer_that_is_no_stream_arrives() {
        let request = request(|request| {
            request.observed.streamed = false;
            let marks = &mut request.observed.marks;
            (marks.first_token, marks.last_token) = (None, None);
        });
        assert_eq!(told(&request).last(), Some(&("body", 200, 310)));
        assert_eq!(ChunksView::of(&request), ChunksView::default());
    }

    #[test]
    fn chunks_are_thinned_and_the_number_left_out_is_told() {
        let chunks = |gaps: usize| {
            let request = request(|request| {
                request.observed.gaps = Gaps::default();
                for _ in 0..gaps {
                    request.observed.gaps.push(millis(1));
                }
            });
            ChunksView::of(&request)
        };
        let few = chunks(4);
        assert_eq!(
            few,
            ChunksView { count: 5, left_out: 0, micros: vec![300_000, 301_000, 302_000, 303_000, 304_000] }
        );
        for gaps in [510, 511, 512, 5000, 100_000] {
            let many = chunks(gaps);
            let kept = many.micros.len();
            assert!(kept <= MAX_CHUNKS && kept > MAX_CHUNKS / 3, "{gaps}: {kept}");
            assert_eq!((many.count, many.left_out + kept as u64), (gaps as u64 + 1, gaps as u64 + 1));
            let last = 300_000 + 1000 * u32::try_from(gaps).unwrap();
            assert_eq!((many.micros.first(), many.micros.last()), (Some(&300_000), Some(&last)));
        }
        let json = serde_json::to_value(&few).unwrap();
        assert_eq!(json["seconds"][1], 0.301);
    }

    #[test]
    fn the_stalls_are_the_longest_gaps() {
        let request = request(|request| {
            request.observed.gaps = Gaps::default();
            for gap in [20, 1500, 20, 1100, 20] {
                request.observed.gaps.push(millis(gap));
            }
            request.stalls = request.observed.gaps.stalls(None);
        });
        let millis = |seconds: f64| (seconds * 1e3).round();
        let told = stalls(&request).into_iter();
        let told: Vec<_> = told.map(|it| (millis(it.start_seconds), millis(it.duration_seconds))).collect();
        assert_eq!(told, [(320.0, 1500.0), (1840.0, 1100.0)]);
    }

    proptest! {
        #[test]
        fn phases_have_no_gaps_and_add_up_to_the_response_time(
            at in proptest::array::uniform8(0_u64..1000),
            present in proptest::array::uniform6(any::<bool>()),
            dial in proptest::option::of((0_u64..1000, 0_u64..300, any::<bool>())),
            queued in 0_u64..500, setup in 0_u64..500,
        ) {
            let request = request(|request| {
                let marks = &mut request.observed.marks;
                let due = marks.due;
                let mark = |n: usize| present[n].then_some(due + millis(at[n]));
                (marks.queued, marks.setup) = (millis(queued), millis(setup));
                marks.started = due + millis(at[6]);
                (marks.sent, marks.headers, marks.first_byte) = (mark(0), mark(1), mark(2));
                (marks.first_token, marks.last_token) = (mark(3), mark(4));
                marks.end = due + millis(at[7]);
                if let Some((after, took, opened)) = dial {
                    dialled(request, millis(after));
                    request.observed.connection.opened = opened;
                    request.observed.connection.phases.as_mut().unwrap().connect = Some(millis(took));
                }
            });
            let phases = phases(&request);
            let total: f64 = phases.iter().map(|it| it.duration_seconds).sum();
            prop_assert!((total - request.observed.marks.response_time().as_secs_f64()).abs() < 1e-9);
            for pair in phases.windows(2) {
                let end = pair[0].start_seconds + pair[0].duration_seconds;
                prop_assert!((end - pair[1].start_seconds).abs() < 1e-9);
            }
        }
    }
}
