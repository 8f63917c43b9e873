//! The guard that makes sure an offered request results in exactly one `Skipped` or `Ended`, on every path.
//! If it is dropped (a cancelled task, a panic), an outcome is still recorded.

use super::{Fact, Sink};
use crate::event::{Failure, Marks, Observed, Outcome, Place, Request, RunRef, SkipReason, TraceIds};
use std::sync::Arc;
use tokio::time::Instant;

/// An offered request that does not have an outcome yet.
#[must_use = "an offered request needs an outcome"]
pub struct OfferedRequest {
    sink: Arc<dyn Sink>,
    open: Option<UnsettledRequest>,
}

struct UnsettledRequest {
    place: Arc<Place>,
    run: Arc<RunRef>,
    seq: u64,
    warm_up: bool,
    ids: TraceIds,
    route: Option<Arc<str>>,
    attempt: u32,
    first_attempt: Option<u64>,
    due: Instant,
}

impl OfferedRequest {
    /// Records that the request was offered; an outcome is guaranteed to follow.
    pub fn offer(
        sink: Arc<dyn Sink>,
        place: Arc<Place>,
        run: Arc<RunRef>,
        seq: u64,
        warm_up: bool,
        ids: TraceIds,
        due: Instant,
    ) -> Self {
        sink.record(&Fact::Offered { place: Arc::clone(&place), warm_up });
        Self {
            sink,
            open: Some(UnsettledRequest {
                place,
                run,
                seq,
                warm_up,
                ids,
                route: None,
                attempt: 1,
                first_attempt: None,
                due,
            }),
        }
    }

    /// Sets the route of a scenario's HTTP step (see [`Request::route`]).
    pub fn by_route(mut self, route: Option<Arc<str>>) -> Self {
        if let Some(open) = &mut self.open {
            open.route = route;
        }
        self
    }

    /// Sets the number of this attempt at the same request, and which request was the first one (see
    /// [`Request::attempt`] and [`Request::first_attempt`]).
    pub fn as_attempt(mut self, number: u32, first: Option<u64>) -> Self {
        if let Some(open) = &mut self.open {
            open.attempt = number;
            open.first_attempt = first;
        }
        self
    }

    /// Records that the request is not sent.
    pub fn skip(mut self, reason: SkipReason) {
        if let Some(open) = self.open.take() {
            self.sink.record(&Fact::Skipped { place: open.place, warm_up: open.warm_up, reason });
        }
    }

    /// Records that the request has ended. Its identity (place, run, number, warm-up, ids, route, attempt) is known;
    /// `fill` completes the rest of the blank record.
    pub fn finish(mut self, fill: impl FnOnce(&mut Request)) -> Option<Arc<Request>> {
        let open = self.open.take()?;
        let place = Arc::clone(&open.place);
        let mut request = open.blank(Failure::Internal);
        fill(&mut request);
        let request = Arc::new(request);
        self.sink.record(&Fact::Ended { request: Arc::clone(&request), place });
        Some(request)
    }
}

impl UnsettledRequest {
    fn blank(self, failure: Failure) -> Request {
        let now = Instant::now();
        Request {
            place: Arc::clone(self.place.key()),
            run: self.run,
            seq: self.seq,
            warm_up: self.warm_up,
            ids: self.ids,
            route: self.route,
            attempt: self.attempt,
            first_attempt: self.first_attempt,
            outcome: Outcome::Failed(failure),
            detail: None,
            observed: Observed::nothing(Marks::begin(self.due, now)),
            stalls: 0,
            token_deadlines: None,
            asked_stream: false,
            asked_output_tokens: None,
            cost: None,
            text_chars: 0,
            failed_checks: Vec::new(),
            recorded: None,
            verdicts: Vec::new(),
        }
    }
}

impl Drop for OfferedRequest {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // A panic is a bug of tokenbeat; otherwise the task was dropped, which means it was stopped.
            let failure = if std::thread::panicking() { Failure::Internal } else { Failure::Cancelled };
            let place = Arc::clone(&open.place);
            self.sink.record(&Fact::Ended { request: Arc::new(open.blank(failure)), place });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Pair, SeriesKey};
    use std::sync::Mutex;
    use std::time::SystemTime;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Sink for Seen {
        fn record(&self, fact: &Fact) {
            let line = match fact {
                Fact::Offered { .. } => "offered".to_owned(),
                Fact::Skipped { reason, .. } => format!("skipped {}", reason.label()),
                Fact::Ended { request, .. } => request.outcome.label().to_owned(),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(line);
        }
    }

    fn offered(seen: &Arc<Seen>) -> OfferedRequest {
        let pair = Pair { profile: "p".into(), target: "t".into() };
        let place = SeriesKey {
            pair: pair.clone(),
            model: "m".into(),
            stage: "".into(),
            step: "".into(),
            turn: "".into(),
        };
        let run = RunRef { pair, id: "r".into(), seed: 1, scheduled: SystemTime::UNIX_EPOCH };
        let ids = TraceIds::from_random([1; 24], true);
        let sink: Arc<dyn Sink> = Arc::<Seen>::clone(seen);
        OfferedRequest::offer(sink, Arc::new(Place::new(place)), Arc::new(run), 0, false, ids, Instant::now())
    }

    fn lines(seen: &Seen) -> Vec<String> {
        seen.0.lock().unwrap().clone()
    }

    #[test]
    fn each_path_gives_one_outcome() {
        let seen = Arc::new(Seen::default());
        offered(&seen).skip(SkipReason::Budget);
        offered(&seen).finish(|request| request.outcome = Outcome::Ok);
        drop(offered(&seen));
        let lines = lines(&seen);
        assert_eq!(lines, ["offered", "skipped budget", "offered", "ok", "offered", "cancelled"]);
    }

    #[test]
    fn the_route_is_known_on_every_path() {
        let seen = Arc::new(Seen::default());
        let routed = offered(&seen).by_route(Some("POST /login".into()));
        let request = routed.finish(|request| request.outcome = Outcome::Ok).unwrap();
        assert_eq!(request.route.as_deref(), Some("POST /login"));
    }

    #[test]
    fn a_panic_is_our_own_fault() {
        let seen = Arc::new(Seen::default());
        let held = offered(&seen);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = held;
            panic!("in the engine");
        }));
        assert!(result.is_err());
        assert_eq!(lines(&seen), ["offered", "internal"]);
    }
}
