//! Rules about the way to the target: connections, and what collects tokens on the way.

use super::evidence::{EvidenceUnit, MIN_REQUESTS, median, number, requests, surely_more};
use super::sample::RequestSample;
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found, strongest};

/// Setting up a connection costs something from this part of the wait on, and from this time on in seconds.
const SETUP: (f64, f64) = (0.2, 0.001);

/// Surely more than this share of requests pays it.
const PAYING: f64 = 0.1;

/// A buffer passes on at least this many events at once, in most answers.
const BATCH: f64 = 4.0;

/// Most answers: surely more than this share of them.
const MOST: f64 = 0.5;

/// A reader notices pauses between batches from this time on, in seconds.
const PAUSE: f64 = 0.02;

/// An answer that arrives as a whole after less than this time, in seconds, need not have been buffered.
const WHOLE: f64 = 0.2;

/// The set-up of connections is a large part of the wait of many requests.
pub(super) fn cold_connections(pair: &PairRequests) -> Option<Diagnosis> {
    let samples: Vec<_> = pair.answered().collect();
    // Before the send, it is no part of the wait that is measured from there.
    let part = |sample: &RequestSample| {
        let (setup, before) = sample.setup?;
        Some(setup / (sample.wait() + if before { setup } else { 0.0 }).max(f64::EPSILON))
    };
    let pays = |sample: &&&RequestSample| {
        sample.setup.is_some_and(|(setup, _)| setup >= SETUP.1)
            && part(sample).is_some_and(|part| part >= SETUP.0)
    };
    let (paying, all) = (samples.iter().filter(pays).count(), samples.len());
    if paying < MIN_REQUESTS || !surely_more(paying as u64, all as u64, PAYING) {
        return None;
    }
    let opened = samples.iter().filter(|sample| sample.setup.is_some()).count();
    let setup = median(samples.iter().filter_map(|sample| sample.setup).map(|(setup, _)| setup))?;
    let share = median(samples.iter().filter_map(|sample| part(sample)))?;
    let summary = format!(
        "{:.0}% of requests open a connection, which takes {:.0}% of their wait",
        opened as f64 / all as f64 * 100.0,
        share * 100.0
    );
    let mut evidence = vec![
        number("opened_a_connection", opened as f64 / all as f64, EvidenceUnit::Share),
        number("setup_p50", setup, EvidenceUnit::Seconds),
        number("setup_part_of_wait", share, EvidenceUnit::Share),
    ];
    let reused = median(samples.iter().filter(|sample| sample.setup.is_none()).map(|sample| sample.wait()));
    evidence.extend(reused.map(|wait| number("wait_on_kept_connections", wait, EvidenceUnit::Seconds)));
    evidence.push(requests("requests", all));
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::ColdConnections, summary, evidence))
}

/// The events of a stream come in batches.
pub(super) fn proxy_buffering(pair: &PairRequests) -> Option<Diagnosis> {
    let known = |sample: &RequestSample| {
        sample.answered() && sample.arrivals.is_some_and(|it| it.events >= 2.0 * BATCH)
    };
    strongest(pair.by_step(known).filter_map(|(step, samples)| {
        let batch = |sample: &RequestSample| sample.arrivals.map(|it| it.events / it.reads);
        let is_buffered = |sample: &&&RequestSample| {
            let pause = sample.arrivals.and_then(|it| it.pause);
            let noticed = pause.map_or(sample.wait() >= WHOLE, |pause| pause >= PAUSE);
            noticed && batch(sample).is_some_and(|batch| batch >= BATCH)
        };
        let (hits, all) = (samples.iter().filter(is_buffered).count(), samples.len());
        if all < MIN_REQUESTS || !surely_more(hits as u64, all as u64, MOST) {
            return None;
        }
        let events = median(samples.iter().filter_map(|sample| batch(sample)))?;
        let summary = format!(
            "tokens arrive in batches, {events:.0} events at once: a proxy or gateway on the way collects them"
        );
        let mut evidence = vec![
            number("events_at_once", events, EvidenceUnit::Events),
            number("answers_in_batches", hits as f64 / all as f64, EvidenceUnit::Share),
        ];
        let pause = median(samples.iter().filter_map(|sample| sample.arrivals?.pause));
        evidence.extend(pause.map(|pause| number("pause_between_batches", pause, EvidenceUnit::Seconds)));
        evidence.push(requests("requests", all));
        let strength = hits as f64 / all as f64;
        Some((strength, found(&pair.plan, &step.name, DiagnosisPattern::ProxyBuffering, summary, evidence)))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::sample::Arrival;
    use super::super::testing::{Requests, numbers};
    use super::*;

    const RATE: &str = "load: [{ for: 1m, rate: 10/s }]";

    #[test]
    fn connections_that_cost_a_large_part_of_the_wait_are_told() {
        let cold = |sample: &mut RequestSample| sample.setup = Some((0.1, true));
        let found = cold_connections(&Requests::new(RATE).with(60, cold)).unwrap();
        assert_eq!(numbers(&found, ["opened_a_connection", "setup_p50"]), [1.0, 0.1]);
        assert!((0.3..0.37).contains(&numbers(&found, ["setup_part_of_wait"])[0]), "a third: {found:?}");
        // Within the wait, the same set-up is half of it.
        let inside = |sample: &mut RequestSample| sample.setup = Some((0.1, false));
        let found = cold_connections(&Requests::new(RATE).with(60, inside)).unwrap();
        assert!((0.45..0.55).contains(&numbers(&found, ["setup_part_of_wait"])[0]), "{found:?}");
        assert!(cold_connections(&Requests::new(RATE).healthy(60)).is_none());
        assert!(cold_connections(&Requests::new(RATE).with(19, cold)).is_none(), "too few");
        let cheap = |sample: &mut RequestSample| sample.setup = Some((0.01, true));
        assert!(cold_connections(&Requests::new(RATE).with(600, cheap)).is_none(), "a twentieth of the wait");
        let rare = |sample: &mut RequestSample| {
            if (sample.at * 10.0).round().rem_euclid(20.0) < 0.5 {
                cold(sample);
            }
        };
        assert!(
            cold_connections(&Requests::new(RATE).with(600, rare)).is_none(),
            "a twentieth of the requests"
        );
    }

    #[test]
    fn batches_of_events_are_told_from_single_ones() {
        let buffered = |sample: &mut RequestSample| {
            sample.arrivals = Some(Arrival { events: 64.0, reads: 8.0, pause: Some(0.16) });
        };
        let found = proxy_buffering(&Requests::new(RATE).with(60, buffered)).unwrap();
        assert_eq!(numbers(&found, ["events_at_once", "pause_between_batches"]), [8.0, 0.16]);
        assert!(proxy_buffering(&Requests::new(RATE).healthy(60)).is_none());
        assert!(proxy_buffering(&Requests::new(RATE).with(19, buffered)).is_none(), "too few");
        let whole = |sample: &mut RequestSample| {
            sample.arrivals = Some(Arrival { events: 64.0, reads: 1.0, pause: None });
            sample.first_token = Some(1.5);
        };
        assert!(proxy_buffering(&Requests::new(RATE).with(60, whole)).is_some(), "all at once, in the end");
        let fast = |sample: &mut RequestSample| {
            sample.arrivals = Some(Arrival { events: 64.0, reads: 8.0, pause: Some(0.002) });
        };
        assert!(
            proxy_buffering(&Requests::new(RATE).with(60, fast)).is_none(),
            "an engine that is this fast"
        );
        let some = |sample: &mut RequestSample| {
            if (sample.at * 10.0).round().rem_euclid(3.0) < 0.5 {
                buffered(sample);
            }
        };
        assert!(proxy_buffering(&Requests::new(RATE).with(600, some)).is_none(), "a third of the answers");
    }
}
