//! What a run knows of itself: it listens to its own facts on their way to the sinks, so that its numbers are
//! right on every path by which a request can end.

use crate::event::{Failure, Outcome, Request, RunResult, SkipReason};
use crate::fact::{Fact, Sink};
use crate::plan::Objective;
use enum_map::EnumMap;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Dispatch lag above which a run is degraded whatever it measured.
const MAX_LAG: Duration = Duration::from_millis(50);

/// Dispatch lag above which a run is degraded, as a share of its median time to first token.
const LAG_SHARE: f64 = 0.05;

/// Whether the load was offered to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Every stage came to its end.
    Whole,
    /// It was stopped before.
    Stopped,
    /// A fault of our own ended it.
    Broken,
}

/// The record of a run in progress.
pub(super) struct Record {
    sink: Arc<dyn Sink>,
    counts: Mutex<Counts>,
}

/// The numbers of a run. A warm-up is in the first four and in the skips, and in nothing that judges the target.
#[derive(Debug)]
pub(super) struct Counts {
    /// Requests offered.
    pub(super) offered: u64,
    /// Of these: skipped.
    pub(super) skipped: u64,
    /// Of these: ended.
    pub(super) ended: u64,
    /// Requests that were `ok`, warm-up included.
    pub(super) ok: u64,
    /// Requests by failure.
    failures: BTreeMap<Failure, u64>,
    /// Requests that were skipped, by reason.
    skips: EnumMap<SkipReason, u64>,
    /// Requests of the measured stages that were offered.
    measured: u64,
    /// Events and errors by SLO.
    slos: BTreeMap<Arc<str>, (u64, u64)>,
    /// Dispatch lag, microseconds.
    lags: Histogram<u64>,
    /// Time to first token, microseconds.
    ttfts: Histogram<u64>,
}

impl Record {
    pub(super) fn new(sink: Arc<dyn Sink>) -> Result<Self, hdrhistogram::CreationError> {
        let counts = Counts {
            offered: 0,
            skipped: 0,
            ended: 0,
            ok: 0,
            failures: BTreeMap::new(),
            skips: EnumMap::default(),
            measured: 0,
            slos: BTreeMap::new(),
            lags: Histogram::new(3)?,
            ttfts: Histogram::new(3)?,
        };
        Ok(Self { sink, counts: Mutex::new(counts) })
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that have been offered and have no outcome yet.
    pub(super) fn in_flight(&self) -> u64 {
        let counts = self.counts();
        counts.offered.saturating_sub(counts.skipped + counts.ended)
    }
}

impl Sink for Record {
    fn record(&self, fact: &Fact) {
        self.counts().take(fact);
        self.sink.record(fact);
    }
}

impl Counts {
    fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::Offered { warm_up, .. } => {
                self.offered += 1;
                self.measured += u64::from(!warm_up);
            }
            Fact::Skipped { reason, .. } => {
                self.skipped += 1;
                self.skips[*reason] += 1;
            }
            Fact::Ended { request, .. } => {
                self.ended += 1;
                self.ok += u64::from(request.outcome == Outcome::Ok);
                if !request.warm_up {
                    self.measure(request);
                }
            }
            _ => {}
        }
    }

    fn measure(&mut self, request: &Request) {
        if let Outcome::Failed(failure) = request.outcome {
            *self.failures.entry(failure).or_default() += 1;
        }
        for verdict in &request.verdicts {
            let (events, errors) = self.slos.entry(Arc::clone(&verdict.slo)).or_default();
            *events += 1;
            *errors += u64::from(!verdict.met);
        }
        note(&mut self.lags, request.observed.marks.dispatch_lag());
        if request.observed.streamed
            && request.outcome.is_answered()
            && let Some(ttft) = request.observed.marks.time_to_first_token()
        {
            note(&mut self.ttfts, ttft);
        }
    }

    /// How the run ended, and why. The first that applies: `cancelled` (a run that was cut short says nothing of
    /// its load), `degraded` (a late prober's numbers judge nobody), `failed`, `ok`. The reason names everything
    /// that was found.
    pub(super) fn result(&self, offered: Offered, slos: &[Objective]) -> (RunResult, Option<String>) {
        let cancelled = self.cancelled(offered);
        let degraded = self.degraded();
        let failed = self.failed(slos);
        let result = match (&cancelled, &degraded, &failed) {
            (Some(_), _, _) => RunResult::Cancelled,
            (None, Some(_), _) => RunResult::Degraded,
            (None, None, Some(_)) => RunResult::Failed,
            (None, None, None) => RunResult::Ok,
        };
        let reasons: Vec<String> = [cancelled, degraded, failed].into_iter().flatten().collect();
        (result, (!reasons.is_empty()).then(|| reasons.join("; ")))
    }

    fn cancelled(&self, offered: Offered) -> Option<String> {
        match offered {
            Offered::Stopped => return Some("it was stopped before its load was offered".to_owned()),
            Offered::Broken => return Some("a fault of the prober ended it".to_owned()),
            Offered::Whole => {}
        }
        let open = self.failures.get(&Failure::Cancelled)?;
        Some(format!("{open} requests were cancelled at shutdown"))
    }

    fn degraded(&self) -> Option<String> {
        let overrun = self.skips[SkipReason::Overrun];
        if overrun > 0 {
            return Some(format!("{overrun} requests were skipped because their time had passed"));
        }
        if self.lags.is_empty() {
            return None;
        }
        let lag = self.lags.value_at_quantile(0.99);
        let said = |bound: String| format!("the dispatch lag's p99 of {} is over {bound}", shown(lag));
        if lag > micros(MAX_LAG) {
            return Some(said(shown(micros(MAX_LAG))));
        }
        let ttft = (!self.ttfts.is_empty()).then(|| self.ttfts.value_at_quantile(0.5))?;
        let late = lag as f64 > ttft as f64 * LAG_SHARE;
        late.then(|| said(format!("5% of the median time to first token of {}", shown(ttft))))
    }

    fn failed(&self, slos: &[Objective]) -> Option<String> {
        let (budget, in_flight) = (self.skips[SkipReason::Budget], self.skips[SkipReason::InFlight]);
        if self.offered > 0 && self.offered == self.skipped {
            return Some(format!(
                "nothing was sent: {budget} for the budget, {in_flight} for the in-flight limit"
            ));
        }
        if self.measured == 0 {
            return None;
        }
        if slos.is_empty() {
            let failures = self.failures.iter().filter(|(failure, _)| **failure != Failure::Cancelled);
            let failures: Vec<String> =
                failures.map(|(failure, n)| format!("{n} {}", failure.label())).collect();
            return (!failures.is_empty()).then(|| format!("failed requests: {}", failures.join(", ")));
        }
        if self.slos.is_empty() {
            return Some("no request says anything about the target".to_owned());
        }
        let missed: Vec<String> = slos.iter().filter_map(|slo| self.missed(slo)).collect();
        (!missed.is_empty()).then(|| format!("missed objectives: {}", missed.join(", ")))
    }

    fn missed(&self, slo: &Objective) -> Option<String> {
        let (events, errors) = self.slos.get(&slo.name)?;
        let good = (events - errors) as f64 / *events as f64;
        (good < slo.objective).then(|| format!("{} {errors} of {events} bad", slo.name))
    }
}

/// Adds a time to a histogram, which grows with its largest value: an hour is as good as any more.
fn note(histogram: &mut Histogram<u64>, time: Duration) {
    if let Err(error) = histogram.record(micros(time.min(Duration::from_hours(1)))) {
        tracing::error!(%error, "a time was not counted in the run's record");
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn shown(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1e3)
}
