//! Rules about the load: queues, refusals, errors that no load explains, and a prober that does not keep up.

use super::evidence::{
    EvidenceNumber, EvidenceUnit, Excess, MIN_REQUESTS, deviations, median, number, quantile, requests,
    surely_more,
};
use super::sample::RequestSample;
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found, strongest};
use crate::event::{Failure, Outcome, SkipReason};
use crate::plan::{Shape, Stage};

/// A queue makes the last third of a stage wait this many times as long as the first one, and by this much.
const QUEUE: (f64, f64) = (1.5, 0.05);

/// A wait that grows in proportion to the time per token is a slow engine and no queue.
const BEYOND_PACE: f64 = 2.0;

/// Answers are as fast as ever while their median wait is within this factor of their fastest tenth.
const EVEN: f64 = 1.5;

/// Failures, and requests that the prober delayed or left out, are told from this share on.
const FEW: f64 = 0.01;

/// Limits of the prober's lag, as for a degraded run: this part of the wait, but not less and not more than these times.
const LAG: (f64, f64, f64) = (0.05, 0.002, 0.05);

/// Failures that a pool, a limit or a timeout on the way causes as well as an overloaded engine.
const CAUSED_BY_LOAD: [Failure; 11] = [
    Failure::Connect,
    Failure::Proxy,
    Failure::ConnectTimeout,
    Failure::FirstTokenTimeout,
    Failure::StallTimeout,
    Failure::TotalTimeout,
    Failure::Overloaded,
    Failure::Http5xx,
    Failure::Reset,
    Failure::Truncated,
    Failure::StreamError,
];

/// At a constant rate, the wait grows over a stage: more arrives than is worked off.
pub(super) fn queueing(pair: &PairRequests) -> Option<Diagnosis> {
    let stages = pair.plan.profile.stages.iter().enumerate();
    let grown = stages.filter_map(|(index, stage)| Some((index, constant_rate(pair, stage)?)));
    strongest(grown.flat_map(|(index, rate)| {
        let here = move |sample: &RequestSample| sample.stage == index && waited(sample) && sample.offset.is_some();
        pair.by_step(here).filter_map(move |(step, samples)| {
            let (z, evidence) = grows(&samples, rate)?;
            let summary = "requests wait longer and longer although the rate is constant: more arrive than the target \
                           works off, and a queue builds up";
            Some((z, found(&pair.plan, &step.name, DiagnosisPattern::Queueing, summary.to_owned(), evidence)))
        })
    }))
}

/// The rate of a stage whose requests can be told from those of others, if it does not change.
fn constant_rate(pair: &PairRequests, stage: &Stage) -> Option<f64> {
    let Shape::Rate { rate, .. } = &stage.shape else { return None };
    let of_name = pair.plan.profile.stages.iter().filter(|it| it.name == stage.name).count();
    let is_constant = rate.min().total_cmp(&rate.max()).is_eq() && !rate.follows_clock();
    (is_constant && of_name == 1 && !stage.warm_up).then(|| rate.max())
}

/// Whether the wait of a request is known: a request that timed out has waited at least that long, and without it only
/// the lucky ones would be seen.
fn waited(sample: &RequestSample) -> bool {
    let timeouts = [Failure::FirstTokenTimeout, Failure::TotalTimeout];
    sample.answered() || matches!(sample.outcome, Outcome::Failed(failure) if timeouts.contains(&failure))
}

fn grows(samples: &[&RequestSample], rate: f64) -> Option<(f64, Vec<EvidenceNumber>)> {
    let offset = |sample: &RequestSample| sample.offset.unwrap_or(0.0);
    let length = samples.iter().map(|sample| offset(sample)).max_by(f64::total_cmp)?;
    let third = |from: f64, to: f64| {
        let within = move |sample: &&&RequestSample| (from * length..to * length).contains(&offset(sample));
        samples.iter().filter(within).copied().collect::<Vec<_>>()
    };
    let (early, late) = (third(-1.0, 1.0 / 3.0), third(2.0 / 3.0, 1.1));
    let waits = |part: &[&RequestSample]| part.iter().map(|sample| sample.wait()).collect::<Vec<_>>();
    let excess = Excess::of(&waits(&late), &waits(&early), QUEUE.0)?;
    let pace = |part: &[&RequestSample]| median(part.iter().filter_map(|sample| sample.per_token));
    let slower = pace(&late).zip(pace(&early)).map_or(1.0, |(late, early)| (late / early).max(1.0));
    if excess.high - excess.low < QUEUE.1 || excess.ratio() < BEYOND_PACE * slower && slower > 1.2 {
        return None;
    }
    let evidence = vec![
        number("wait_in_first_third", excess.low, EvidenceUnit::Seconds),
        number("wait_in_last_third", excess.high, EvidenceUnit::Seconds),
        number("time_per_token_grew", slower, EvidenceUnit::Times),
        number("rate", rate, EvidenceUnit::RequestsPerSecond),
        requests("requests", early.len() + late.len()),
        deviations(excess.z),
    ];
    Some((excess.z, evidence))
}

/// Requests fail, and those that do not are as fast as the fastest.
pub(super) fn errors_before_saturation(pair: &PairRequests) -> Option<Diagnosis> {
    let failures: u64 = CAUSED_BY_LOAD.iter().map(|it| pair.counts.ended[Outcome::Failed(*it)]).sum();
    let all = pair.counts.judging();
    if !surely_more(failures, all, FEW) || queueing(pair).is_some() {
        return None;
    }
    let (fastest, wait, answered) = even_wait(pair)?;
    let (_, most) = CAUSED_BY_LOAD
        .iter()
        .map(|it| (pair.counts.ended[Outcome::Failed(*it)], it.label()))
        .max_by_key(|(n, _)| *n)?;
    let share = failures as f64 / all as f64;
    let summary = format!(
        "{:.1}% of requests fail ({most} most often) while the others are as fast as ever: not the load, but a pool, \
         a limit or a timeout on the way",
        share * 100.0
    );
    let evidence = vec![
        number("failed", share, EvidenceUnit::Share),
        number("failures", failures as f64, EvidenceUnit::Requests),
        number("wait_of_answered", wait, EvidenceUnit::Seconds),
        number("wait_of_fastest_tenth", fastest, EvidenceUnit::Seconds),
        requests("answered", answered),
    ];
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::ErrorsBeforeSaturation, summary, evidence))
}

/// The fastest tenth and the median of the waits, if they show no saturated target: they hardly differ, and the first token
/// of a stream does not take longer than the rest.
fn even_wait(pair: &PairRequests) -> Option<(f64, f64, usize)> {
    let (_, samples) = pair.by_step(RequestSample::answered).max_by_key(|(_, samples)| samples.len())?;
    let waits = || samples.iter().map(|sample| sample.wait());
    let (fastest, wait) = (quantile(waits(), 0.1)?, median(waits())?);
    let decode = median(samples.iter().filter_map(|sample| sample.decode));
    let is_even = wait <= EVEN * fastest && decode.is_none_or(|decode| wait <= decode);
    (samples.len() >= MIN_REQUESTS && is_even).then_some((fastest, wait, samples.len()))
}

/// The target says that there are too many requests.
pub(super) fn rate_limited(pair: &PairRequests) -> Option<Diagnosis> {
    let refused = pair.counts.ended[Outcome::Failed(Failure::RateLimited)];
    let all = pair.counts.judging();
    if !surely_more(refused, all, FEW) {
        return None;
    }
    let share = refused as f64 / all as f64;
    let summary =
        format!("the target refuses {:.1}% of requests with status 429: a rate limit", share * 100.0);
    let mut evidence = vec![
        number("rate_limited", share, EvidenceUnit::Share),
        number("refused", refused as f64, EvidenceUnit::Requests),
    ];
    let after = pair.counts.retry_after.map(|it| it.as_secs_f64());
    evidence.extend(after.map(|after| number("longest_retry_after", after, EvidenceUnit::Seconds)));
    let headroom = pair.counts.headroom;
    evidence.extend(headroom.map(|left| number("smallest_headroom", left, EvidenceUnit::Share)));
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::RateLimited, summary, evidence))
}

/// The prober leaves requests out, holds them back, or sends them late.
pub(super) fn prober_limited(pair: &PairRequests) -> Option<Diagnosis> {
    let limits = [SkipReason::InFlight, SkipReason::StageInFlight, SkipReason::Overrun];
    let skipped: u64 = limits.iter().map(|reason| pair.counts.skipped[*reason]).sum();
    let wait = median(pair.answered().map(RequestSample::wait)).unwrap_or(f64::INFINITY);
    let (part, least, most) = LAG;
    let limit = (part * wait).clamp(least, most);
    let count = |of: fn(&RequestSample) -> f64| {
        pair.samples.iter().filter(|sample| of(sample) > limit).count() as u64
    };
    let (late, queued) = (count(|sample| sample.lag), count(|sample| sample.queued));
    let (offered, sent) = (pair.counts.offered, pair.samples.len() as u64);
    let causes: Vec<&str> = [
        (surely_more(skipped, offered, FEW), "leaves requests out at a limit of its own"),
        (surely_more(queued, sent, FEW), "holds requests back at a limit of its own"),
        (surely_more(late, sent, FEW), "sends requests late"),
    ]
    .into_iter()
    .filter_map(|(is_so, what)| is_so.then_some(what))
    .collect();
    if causes.is_empty() {
        return None;
    }
    let share = |n: u64, all: u64| n as f64 / all.max(1) as f64;
    let lag = quantile(pair.samples.iter().map(|sample| sample.lag), 0.99);
    let mut evidence = vec![
        number("left_out", share(skipped, offered), EvidenceUnit::Share),
        number("held_back", share(queued, sent), EvidenceUnit::Share),
        number("late", share(late, sent), EvidenceUnit::Share),
        number("late_means_more_than", limit, EvidenceUnit::Seconds),
        number("offered", offered as f64, EvidenceUnit::Requests),
    ];
    evidence.extend(lag.map(|lag| number("lag_p99", lag, EvidenceUnit::Seconds)));
    let summary = format!(
        "the prober {}: the target got less load, or got it later, than the profile says",
        causes.join(" and ")
    );
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::ProberLimited, summary, evidence))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Requests, numbers};
    use super::*;

    const RATE: &str = "load: [{ name: steady, for: 1m, rate: 10/s }]";

    #[test]
    fn a_queue_is_a_wait_that_grows_at_a_constant_rate() {
        let growing = |sample: &mut RequestSample| {
            let wait = 0.2 + sample.offset.unwrap() / 10.0;
            (sample.first_token, sample.duration) = (Some(wait), wait + 1.0);
        };
        let found = queueing(&Requests::new(RATE).with(600, growing)).unwrap();
        assert_eq!((found.pattern, &*found.step), (DiagnosisPattern::Queueing, ""));
        let [early, late] = numbers(&found, ["wait_in_first_third", "wait_in_last_third"]);
        assert!((1.1..1.3).contains(&early) && (5.0..5.4).contains(&late), "{found:?}");
        // A stage of which only a part was played so far.
        assert!(queueing(&Requests::new(RATE).with(120, growing)).is_some());
        assert!(queueing(&Requests::new(RATE).with(40, growing)).is_none(), "too few");
        // Timeouts have waited; without them the queue would seem to end.
        let timing_out = |sample: &mut RequestSample| {
            growing(sample);
            if sample.offset.unwrap() > 30.0 {
                sample.outcome = Outcome::Failed(Failure::FirstTokenTimeout);
                (sample.first_token, sample.duration) = (None, 3.2);
            }
        };
        assert!(queueing(&Requests::new(RATE).with(600, timing_out)).is_some());
    }

    #[test]
    fn a_wait_that_does_not_grow_or_has_another_reason_is_no_queue() {
        let growing =
            |sample: &mut RequestSample| sample.first_token = Some(0.2 + sample.offset.unwrap() / 10.0);
        assert!(queueing(&Requests::new(RATE).healthy(600)).is_none());
        let ramp = "load: [{ name: steady, for: 1m, rate: { from: 1/s, to: 20/s } }]";
        assert!(queueing(&Requests::new(ramp).with(600, growing)).is_none(), "the load grows");
        let users = "load: [{ name: steady, for: 1m, users: 4 }]";
        assert!(queueing(&Requests::new(users).with(600, growing)).is_none(), "users wait for each other");
        let slower = |sample: &mut RequestSample| {
            growing(sample);
            sample.per_token = Some(0.02 + sample.offset.unwrap() / 100.0);
        };
        assert!(queueing(&Requests::new(RATE).with(600, slower)).is_none(), "the engine itself is slower");
        let little =
            |sample: &mut RequestSample| sample.first_token = Some(0.001 + sample.offset.unwrap() / 1e4);
        assert!(queueing(&Requests::new(RATE).with(600, little)).is_none(), "milliseconds");
    }

    #[test]
    fn errors_beside_fast_answers_are_told_from_an_overload() {
        let third_fails = |sample: &mut RequestSample| {
            if (sample.at * 10.0).round().rem_euclid(3.0) < 0.5 {
                sample.outcome = Outcome::Failed(Failure::Overloaded);
            }
        };
        let found = errors_before_saturation(&Requests::new(RATE).with(300, third_fails)).unwrap();
        assert!(
            found.summary.starts_with("33.3% of requests fail (overloaded most often)"),
            "{}",
            found.summary
        );
        assert_eq!(numbers(&found, ["failures", "answered"]), [100.0, 200.0]);
        assert!(errors_before_saturation(&Requests::new(RATE).healthy(300)).is_none());
        // Waits that differ much, or are longer than the answer itself, come from a load.
        let uneven = |sample: &mut RequestSample| {
            sample.first_token = Some(0.05 + sample.first_token.unwrap() * (sample.at % 7.0));
            third_fails(sample);
        };
        assert!(errors_before_saturation(&Requests::new(RATE).with(300, uneven)).is_none());
        let saturated = |sample: &mut RequestSample| {
            sample.first_token = Some(20.0);
            third_fails(sample);
        };
        assert!(errors_before_saturation(&Requests::new(RATE).with(300, saturated)).is_none());
        let checks = |sample: &mut RequestSample| sample.outcome = Outcome::Failed(Failure::Check);
        assert!(
            errors_before_saturation(&Requests::new(RATE).with(300, checks)).is_none(),
            "a matter of content"
        );
    }

    #[test]
    fn refusals_are_counted() {
        let mut refused = Requests::new(RATE).healthy(195);
        refused.counts.ended[Outcome::Failed(Failure::RateLimited)] = 5;
        assert!(rate_limited(&refused).is_none(), "5 of 200 may be fewer than 1%");
        refused.counts.ended[Outcome::Failed(Failure::RateLimited)] = 40;
        refused.counts.retry_after = Some(std::time::Duration::from_secs(2));
        refused.counts.headroom = Some(0.0);
        let found = rate_limited(&refused).unwrap();
        assert!((numbers(&found, ["rate_limited"])[0] - 40.0 / 235.0).abs() < 1e-9);
        assert_eq!(numbers(&found, ["longest_retry_after", "smallest_headroom"]), [2.0, 0.0]);
        assert!(rate_limited(&Requests::new(RATE).healthy(300)).is_none());
    }

    #[test]
    fn a_prober_that_does_not_keep_up_says_so() {
        assert!(prober_limited(&Requests::new(RATE).healthy(300)).is_none());
        let mut skipping = Requests::new(RATE).healthy(300);
        skipping.counts.offered += 100;
        skipping.counts.skipped[SkipReason::InFlight] = 100;
        let found = prober_limited(&skipping).unwrap();
        assert_eq!(numbers(&found, ["left_out", "late"]), [0.25, 0.0]);
        // 5% of 200 ms.
        let late = prober_limited(&Requests::new(RATE).with(300, |sample| sample.lag = 0.015)).unwrap();
        assert!(
            late.summary.contains("sends requests late") && numbers(&late, ["late"]) == [1.0],
            "{late:?}"
        );
        assert!(prober_limited(&Requests::new(RATE).with(300, |sample| sample.lag = 0.005)).is_none());
        let held = prober_limited(&Requests::new(RATE).with(300, |sample| sample.queued = 0.3)).unwrap();
        assert!(held.summary.contains("holds requests back"), "{}", held.summary);
        // A budget is no limit of the prober.
        let mut budget = Requests::new(RATE).healthy(300);
        budget.counts.skipped[SkipReason::Budget] = 300;
        assert!(prober_limited(&budget).is_none());
    }
}
