//! What is kept of the requests of a pair: a bounded sample of them, and exact counts, in slots of time. It must not know
//! what is concluded from them.

use super::sample::{RequestSample, SamplePlace};
use crate::event::{Failure, Outcome, Request, SeriesKey, ServerAccount, SkipReason};
use crate::fact::Fact;
use crate::plan::{PairPlan, Step};
use enum_map::EnumMap;
use rand::Rng as _;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// The time that a slot covers.
    pub(super) slot: Duration,
    /// Number of slots, including the current one.
    pub(super) slots: u64,
    /// Number of requests that are kept of each slot; of more, a uniform random selection.
    pub(super) requests: usize,
}

/// Exact counts, of requests outside of warm-ups.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounts {
    /// Requests that were due.
    pub(super) offered: u64,
    /// Those that were not sent.
    pub(super) skipped: EnumMap<SkipReason, u64>,
    /// Those that ended.
    pub(super) ended: EnumMap<Outcome, u64>,
    /// Those that have a cost, and its sum.
    pub(super) priced: (u64, f64),
    /// The longest time that a server asked us to wait.
    pub(super) retry_after: Option<Duration>,
    /// The smallest part of a rate limit that was left.
    pub(super) headroom: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct RequestSlot {
    number: u64,
    seen: u64,
    samples: Vec<RequestSample>,
    counts: RequestCounts,
}

/// The window of a pair, while it is filled.
#[derive(Debug)]
pub(super) struct RequestWindow {
    plan: Arc<PairPlan>,
    retention: Retention,
    /// Oldest first; slots in which nothing happened are omitted.
    slots: VecDeque<RequestSlot>,
    /// When each stage of the present run began.
    stage_starts: Vec<Option<Instant>>,
    /// The server's account of the last run that has one.
    account: Option<Arc<ServerAccount>>,
}

/// The requests of a pair within the window.
#[derive(Clone, Debug)]
pub(super) struct PairRequests {
    pub(super) plan: Arc<PairPlan>,
    /// In the order in which they were due.
    pub(super) samples: Vec<RequestSample>,
    pub(super) counts: RequestCounts,
    /// The server's account of the last run that has one.
    pub(super) account: Option<Arc<ServerAccount>>,
}

impl RequestCounts {
    fn ended(&mut self, request: &Request) {
        self.ended[request.outcome] += 1;
        if let Some(cost) = request.cost {
            self.priced = (self.priced.0 + 1, self.priced.1 + cost);
        }
        self.retry_after = self.retry_after.max(request.observed.retry_after);
        let left = request
            .observed
            .limits
            .iter()
            .filter_map(|it| Some(it.remaining? / it.limit.filter(|it| *it > 0.0)?));
        self.headroom = left.chain(self.headroom).min_by(f64::total_cmp);
    }

    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        other.skipped.iter().for_each(|(reason, n)| self.skipped[reason] += n);
        other.ended.iter().for_each(|(outcome, n)| self.ended[outcome] += n);
        self.priced = (self.priced.0 + other.priced.0, self.priced.1 + other.priced.1);
        self.retry_after = self.retry_after.max(other.retry_after);
        self.headroom = self.headroom.into_iter().chain(other.headroom).min_by(f64::total_cmp);
    }

    /// Requests that ended and say something about the target.
    pub(super) fn judging(&self) -> u64 {
        self.ended.iter().filter(|(outcome, _)| outcome.judges_target()).map(|(_, n)| n).sum()
    }

    /// Those of them that failed.
    pub(super) fn failed(&self) -> u64 {
        self.judging() - self.ended[Outcome::Ok]
    }
}

impl RequestWindow {
    pub(super) fn new(plan: &Arc<PairPlan>, retention: Retention) -> Self {
        let stage_starts = vec![None; plan.profile.stages.len()];
        Self { plan: Arc::clone(plan), retention, slots: VecDeque::new(), stage_starts, account: None }
    }

    /// Whether the requests of a pair can be compared with those in this window.
    pub(super) fn continues(&self, plan: &PairPlan) -> bool {
        self.plan.pair == plan.pair && self.plan.revision == plan.revision
    }

    /// Takes over the plan of the pair; its requests are the same.
    pub(super) fn set_plan(&mut self, plan: &Arc<PairPlan>) {
        self.plan = Arc::clone(plan);
    }

    /// Takes a fact about the pair. `began`: when the recorder did.
    pub(super) fn take(&mut self, fact: &Fact, began: Instant) {
        match fact {
            Fact::RunStarted { .. } => self.stage_starts.fill(None),
            Fact::BackendAccounted(accounted) => self.account = Some(Arc::clone(&accounted.account)),
            Fact::Offered { place, warm_up } => {
                let stage = self.stage_of(place).and_then(|stage| self.stage_starts.get_mut(stage));
                if let Some(start) = stage {
                    start.get_or_insert_with(Instant::now);
                }
                if let Some(slot) = self.slot(began).filter(|_| !warm_up) {
                    slot.counts.offered += 1;
                }
            }
            Fact::Skipped { warm_up: false, reason, .. } => {
                if let Some(slot) = self.slot(began) {
                    slot.counts.skipped[*reason] += 1;
                }
            }
            Fact::Ended { request, .. } if !request.warm_up => self.ended(request, began),
            _ => {}
        }
    }

    fn ended(&mut self, request: &Request, began: Instant) {
        let sample = self.sample_of(request, began);
        let kept = self.retention.requests;
        let Some(slot) = self.slot(began) else { return };
        slot.counts.ended(request);
        if let Some(sample) = sample {
            slot.keep(sample, kept);
        }
    }

    fn sample_of(&self, request: &Request, began: Instant) -> Option<RequestSample> {
        let marks = &request.observed.marks;
        let exhausted = request.outcome == Outcome::Failed(Failure::Exhausted);
        marks.sent.filter(|_| exhausted || request.outcome.judges_target())?;
        let stage = self.stage_of(&request.place)?;
        let step = self.plan.profile.scenario.all().find(|step| step.name == request.place.step)?.number;
        let start = self.stage_starts.get(stage).copied().flatten();
        let offset = start.and_then(|start| marks.due.checked_duration_since(start));
        let at = marks.due.saturating_duration_since(began);
        Some(RequestSample::of(request, SamplePlace { stage, step, offset, at }))
    }

    fn stage_of(&self, place: &SeriesKey) -> Option<usize> {
        self.plan.profile.stages.iter().position(|stage| stage.name == place.stage)
    }

    /// The current slot; there always is one.
    fn slot(&mut self, began: Instant) -> Option<&mut RequestSlot> {
        let number = slot_number(began, self.retention);
        self.forget(number);
        if self.slots.back().is_none_or(|newest| newest.number < number) {
            self.slots.push_back(RequestSlot { number, ..RequestSlot::default() });
        }
        self.slots.back_mut()
    }

    fn forget(&mut self, number: u64) {
        let slots = self.retention.slots;
        while self.slots.front().is_some_and(|oldest| oldest.number.saturating_add(slots) <= number) {
            self.slots.pop_front();
        }
    }

    /// A copy of what is within the window now.
    pub(super) fn requests(&mut self, began: Instant) -> PairRequests {
        self.forget(slot_number(began, self.retention));
        let mut counts = RequestCounts::default();
        self.slots.iter().for_each(|slot| counts.add(&slot.counts));
        let mut samples: Vec<_> = self.slots.iter().flat_map(|slot| slot.samples.iter().copied()).collect();
        samples.sort_by(|a, b| a.at.total_cmp(&b.at));
        // What a server said of requests that are forgotten is forgotten, too.
        let account = self.account.clone().filter(|_| !self.slots.is_empty());
        PairRequests { plan: Arc::clone(&self.plan), samples, counts, account }
    }
}

fn slot_number(began: Instant, retention: Retention) -> u64 {
    u64::try_from(began.elapsed().as_nanos() / retention.slot.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl RequestSlot {
    /// Keeps a uniform random selection (Vitter's algorithm R).
    fn keep(&mut self, sample: RequestSample, most: usize) {
        self.seen += 1;
        if self.samples.len() < most {
            self.samples.push(sample);
            return;
        }
        let at = usize::try_from(rand::rng().random_range(0..self.seen)).unwrap_or(most);
        if let Some(place) = self.samples.get_mut(at) {
            *place = sample;
        }
    }
}

impl PairRequests {
    /// The steps of the profile, with their requests that match.
    pub(super) fn by_step(
        &self,
        matches: impl Fn(&RequestSample) -> bool,
    ) -> impl Iterator<Item = (&Arc<Step>, Vec<&RequestSample>)> {
        self.plan.profile.scenario.all().filter_map(move |step| {
            let of_step = |sample: &&RequestSample| sample.step == step.number && matches(sample);
            let samples: Vec<_> = self.samples.iter().filter(of_step).collect();
            (!samples.is_empty()).then_some((step, samples))
        })
    }

    /// The requests whose answers are complete.
    pub(super) fn answered(&self) -> impl Iterator<Item = &RequestSample> {
        self.samples.iter().filter(|sample| sample.answered())
    }
}
