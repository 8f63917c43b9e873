//! Results for the tests of this module.

use super::{
    BaselineChanges, ComparedQuantity, Diagnosis, DiagnosisPattern, EvidenceNumber, EvidenceUnit,
    MeasuredSide, QuantityChange, ResultComparison, ResultDiff, ResultEnvironment, SavedResult, Summary,
};
use crate::detect::change::ChangeVerdict;
use crate::event::ComparisonVerdict;
use crate::event::{Outcome, Pair, Request, RunResult, RunSummary};
use crate::fact::{Fact, Sink};
use crate::testing::{answer, offer, play, run, small_plan};
use crate::vocabulary::Quantity;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

pub(super) fn environment() -> ResultEnvironment {
    ResultEnvironment {
        tokenbeat: "0.1.0".into(),
        saved: "2026-11-20T10:01:00Z".into(),
        agent: "probe-1".into(),
        location: "eu".into(),
        shard: String::new(),
        platform: "linux".into(),
        processors: Some(4),
        currency: "usd".into(),
    }
}

/// A summary after a run of the small plan with this many answers, and one of a warm-up.
pub(super) fn played(answers: u64) -> Arc<Summary> {
    played_with(answers, Outcome::Ok, |_| {})
}

/// The same with this outcome, and these changes to each answer.
pub(super) fn played_with(answers: u64, outcome: Outcome, change: impl Fn(&mut Request)) -> Arc<Summary> {
    let plan = small_plan();
    let summary = Summary::new(&plan);
    let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
    let [warm, place] = &plan.pairs[0].places[..] else { panic!("two stages") };
    offer(&sink, warm, true).finish(answer).unwrap();
    for n in 0..answers {
        play(&sink, place, outcome, |request| {
            request.detail = Some("hunter2".into());
            request.ids.span_id = (n + 1).to_be_bytes();
            change(request);
        });
    }
    sink.record(&ended(&plan.pairs[0].pair));
    summary
}

pub(super) fn ended(pair: &Pair) -> Fact {
    let summary = RunSummary {
        run: run(pair),
        started: UNIX_EPOCH,
        ended: UNIX_EPOCH,
        result: RunResult::Ok,
        reason: None,
        degraded: Some("2 of 30 requests were late".into()),
        search: None,
        offered: 30,
        skipped: 0,
        ok: 30,
    };
    Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() }
}

/// Sets what differs each time: the wall clock.
pub(super) fn reset_of(saved: &mut SavedResult) {
    for pair in &mut saved.pairs {
        pair.requests.samples.truncate(2);
        pair.requests.samples.iter_mut().for_each(|sample| sample.at = 1000.5);
        let slots = std::mem::take(&mut pair.requests.timeline.slots);
        let mut sum = super::TimelineSlot::default();
        for slot in slots.values() {
            sum.add(*slot);
        }
        pair.requests.timeline.slots.insert(1000, sum);
    }
}

/// A comparison whose treatment is worse.
pub(super) fn worse_comparison() -> ResultComparison {
    let quantity = ComparedQuantity {
        quantity: "time_to_first_token".into(),
        verdict: ComparisonVerdict::Worse,
        pairs: 200,
        low: Some(1.12),
        mid: Some(1.231),
        high: Some(1.315),
        change: "+23.1%".into(),
        interval: "+12.0% to +31.5%".into(),
    };
    ResultComparison {
        profile: "canary".into(),
        control: "old".into(),
        treatment: "new".into(),
        verdict: ComparisonVerdict::Worse,
        confidence: 0.99,
        pairs: 200,
        since: "2026-11-20T10:01:00Z".into(),
        quantities: vec![quantity],
    }
}

/// Changes since a baseline: the first token of the small plan takes a fifth longer.
pub(super) fn worse_baseline() -> BaselineChanges {
    let change = QuantityChange {
        profile: "chat".into(),
        target: "llama".into(),
        stage: "steady".into(),
        step: "".into(),
        quantity: Quantity::TimeToFirstToken,
        before: MeasuredSide { value: Some(0.25), samples: 30 },
        after: MeasuredSide { value: Some(0.3), samples: 30 },
        change: Some(0.2),
        change_low: Some(0.1),
        change_high: Some(0.3),
        min_change: 0.05,
        verdict: ChangeVerdict::Worse,
    };
    let diff = ResultDiff {
        confidence: 0.99,
        verdict: ChangeVerdict::Worse,
        changes: vec![change],
        left_out: Vec::new(),
    };
    BaselineChanges { file: "before.json".into(), environment: environment(), diff }
}

/// A pattern.
pub(super) fn found() -> Diagnosis {
    Diagnosis {
        pattern: DiagnosisPattern::DecodeBound,
        profile: "chat".into(),
        target: "llama".into(),
        step: "".into(),
        summary: "answers begin soon and go on slowly".into(),
        evidence: vec![EvidenceNumber {
            name: "time_to_first_token".into(),
            value: 0.0123,
            unit: EvidenceUnit::Seconds,
        }],
    }
}
