//! The guard that makes sure each journey that began ends exactly once. If it is dropped (a cancelled task, a panic),
//! it still records an outcome.

use super::{Fact, Sink};
use crate::event::{Failure, Journey, Outcome, Place, Request, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A journey that has not ended, and may not have begun. Its totals become its record.
#[must_use = "a journey that began needs an end"]
pub struct OpenJourney {
    sink: Arc<dyn Sink>,
    place: Arc<Place>,
    /// Absent once it has ended.
    record: Option<Journey>,
    begun: bool,
    /// The current step.
    step: Option<Arc<str>>,
}

impl OpenJourney {
    /// Creates a journey before its first request, with nothing reported yet. Of `record`, only the identity,
    /// `due`, and `ended` (the wall clock at `due`) are used; its end and totals are filled in as things
    /// happen.
    pub fn new(sink: Arc<dyn Sink>, place: Arc<Place>, record: Journey) -> Self {
        let record = Journey {
            end: record.due,
            outcome: Outcome::Ok,
            failed_step: None,
            detail: None,
            duration: Duration::ZERO,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost: None,
            verdicts: Vec::new(),
            ..record
        };
        Self { sink, place, record: Some(record), begun: false, step: None }
    }

    /// Records that the journey began, when called for the first time: when its first request is offered.
    pub fn begin(&mut self) {
        if let Some(record) = self.record.as_ref().filter(|_| !self.begun) {
            let place = Arc::clone(&self.place);
            self.sink.record(&Fact::JourneyStarted { place, warm_up: record.warm_up });
            self.begun = true;
        }
    }

    /// Sets the current step.
    pub fn at(&mut self, step: &Arc<str>) {
        self.step = Some(Arc::clone(step));
    }

    /// Adds a request that has ended. `waited`: the request belongs to the `steps` and not to the set-up, so its
    /// response time counts.
    pub fn add(&mut self, request: &Request, waited: bool) {
        let Some(record) = &mut self.record else { return };
        record.end = record.end.max(request.observed.marks.end);
        record.duration += if waited { request.observed.marks.response_time() } else { Duration::ZERO };
        record.requests += 1;
        record.input_tokens += request.observed.tokens.input.map_or(0, |count| count.n);
        record.output_tokens += request.observed.tokens.output.map_or(0, |count| count.n);
        if let Some(cost) = request.cost {
            *record.cost.get_or_insert(0.0) += cost;
        }
    }

    /// Ends the journey, and lets `judge` compare the complete record with the objectives. Returns `None` if it never
    /// began; then nothing is reported.
    pub fn end(
        mut self,
        outcome: Outcome,
        detail: Option<String>,
        judge: impl FnOnce(&Journey) -> Vec<Verdict>,
    ) -> Option<Arc<Journey>> {
        self.close(outcome, detail, judge)
    }

    fn close(
        &mut self,
        outcome: Outcome,
        detail: Option<String>,
        judge: impl FnOnce(&Journey) -> Vec<Verdict>,
    ) -> Option<Arc<Journey>> {
        let mut record = self.record.take().filter(|_| self.begun)?;
        if record.requests == 0 {
            record.end = Instant::now();
        }
        // Measured with the monotonic clock since `due`, so that setting the clock in between does not change
        // the duration.
        record.ended += record.end.saturating_duration_since(record.due);
        record.failed_step = self.step.take().filter(|_| outcome != Outcome::Ok);
        (record.outcome, record.detail) = (outcome, detail);
        record.verdicts = judge(&record);
        let record = Arc::new(record);
        let place = Arc::clone(&self.place);
        self.sink.record(&Fact::JourneyEnded { journey: Arc::clone(&record), place });
        Some(record)
    }
}

impl Drop for OpenJourney {
    fn drop(&mut self) {
        // A panic is a bug of tokenbeat; otherwise the task was dropped, which means it was stopped.
        let failure = if std::thread::panicking() { Failure::Internal } else { Failure::Cancelled };
        // Neither says anything about the target.
        self.close(Outcome::Failed(failure), None, |_| Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::super::OfferedRequest;
    use super::*;
    use crate::event::{Count, CountSource, Pair, RunRef, SeriesKey, TraceIds};
    use std::sync::Mutex;
    use std::time::SystemTime;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Sink for Seen {
        fn record(&self, fact: &Fact) {
            let line = match fact {
                Fact::JourneyStarted { warm_up, .. } => format!("began {warm_up}"),
                Fact::JourneyEnded { journey, .. } => {
                    format!("{} {}", journey.outcome.label(), journey.failed_step.as_deref().unwrap_or("-"))
                }
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(line);
        }
    }

    fn place() -> Arc<Place> {
        let pair = Pair { profile: "p".into(), target: "t".into() };
        let empty: Arc<str> = "".into();
        let (stage, step) = (Arc::clone(&empty), Arc::clone(&empty));
        Arc::new(Place::new(SeriesKey { pair, model: "m".into(), stage, step, turn: empty }))
    }

    fn blank() -> Journey {
        let place = place();
        let pair = place.pair.clone();
        let due = Instant::now();
        Journey {
            place: Arc::clone(place.key()),
            run: Arc::new(RunRef { pair, id: "r".into(), seed: 1, scheduled: SystemTime::UNIX_EPOCH }),
            warm_up: false,
            ids: TraceIds::from_random([1; 24], true),
            user: 3,
            iteration: 4,
            outcome: Outcome::Ok,
            failed_step: None,
            detail: None,
            due,
            end: due,
            ended: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost: None,
            verdicts: Vec::new(),
        }
    }

    /// A request that was due and ended at these times after the start of the journey, in milliseconds.
    fn request(journey: &Journey, due: u64, end: u64) -> Arc<Request> {
        let at = |millis| journey.due + Duration::from_millis(millis);
        let sink: Arc<dyn Sink> = Arc::new(Seen::default());
        let ids = journey.ids.child([1; 8]);
        let offered = OfferedRequest::offer(sink, place(), Arc::clone(&journey.run), 0, false, ids, at(due));
        let ended = offered.finish(|request| {
            request.outcome = Outcome::Ok;
            request.observed.marks.end = at(end);
            request.observed.tokens.input = Some(Count { n: 5, source: CountSource::Usage });
            request.cost = Some(0.5);
        });
        ended.unwrap()
    }

    fn open(seen: &Arc<Seen>) -> OpenJourney {
        let sink: Arc<dyn Sink> = Arc::<Seen>::clone(seen);
        let mut journey = OpenJourney::new(sink, place(), blank());
        journey.at(&"login".into());
        journey
    }

    fn begun(seen: &Arc<Seen>) -> OpenJourney {
        let mut journey = open(seen);
        journey.begin();
        journey.begin();
        journey
    }

    #[test]
    fn each_path_gives_one_end_to_what_began() {
        let seen = Arc::new(Seen::default());
        drop(open(&seen));
        assert!(open(&seen).end(Outcome::Ok, None, |_| Vec::new()).is_none());
        begun(&seen).end(Outcome::Ok, None, |_| Vec::new());
        begun(&seen).end(Outcome::Failed(Failure::Check), None, |_| Vec::new());
        drop(begun(&seen));
        let held = begun(&seen);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = held;
            panic!("in the engine");
        }));
        assert!(result.is_err());
        let began = "began false";
        let ends = [began, "ok -", began, "check login", began, "cancelled login", began, "internal login"];
        assert_eq!(*seen.0.lock().unwrap(), ends);
    }

    #[test]
    fn it_adds_up_what_its_requests_took() {
        let (seen, blank) = (Arc::new(Seen::default()), blank());
        let sink: Arc<dyn Sink> = seen;
        let requests = [request(&blank, 0, 100), request(&blank, 100, 300), request(&blank, 1300, 1350)];
        let mut journey = OpenJourney::new(sink, place(), blank);
        journey.begin();
        for (n, request) in requests.iter().enumerate() {
            journey.add(request, n > 0);
        }
        let judge = |journey: &Journey| {
            vec![Verdict { slo: "short".into(), met: journey.duration < Duration::from_millis(251) }]
        };
        let journey = journey.end(Outcome::Ok, None, judge).unwrap();
        assert!(journey.verdicts[0].met, "judged by the whole record");
        assert_eq!(journey.duration, Duration::from_millis(250), "without the set-up and without thinking");
        assert_eq!((journey.requests, journey.input_tokens, journey.output_tokens), (3, 15, 0));
        assert_eq!(journey.cost, Some(1.5));
        assert_eq!(journey.end - journey.due, Duration::from_millis(1350));
        assert_eq!(journey.ended, SystemTime::UNIX_EPOCH + Duration::from_millis(1350));
        assert_eq!((journey.user, journey.iteration, &journey.failed_step), (3, 4, &None));
    }
}
