//! Requests that are offered, skipped and ended by several threads while their counts are read.

use super::offer;
use crate::event::{Outcome, Place, SkipReason};
use crate::fact::Sink;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Number of times the counts are read.
const LOOKS: usize = 60;
/// Number of threads that move requests.
const MOVERS: u64 = 3;

/// The counts at one time, excluding warm-up.
pub(crate) struct ObservedCounts {
    pub(crate) offered: f64,
    pub(crate) skipped: f64,
    pub(crate) in_flight: f64,
    pub(crate) ended: f64,
}

/// Reads the counts again and again while requests move, and checks each time that *offered = skipped + in flight +
/// ended*.
pub(crate) fn while_requests_move(
    sink: &Arc<dyn Sink>,
    places: &[Arc<Place>],
    look: impl Fn() -> ObservedCounts,
) {
    let (done, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..MOVERS {
            let (done, moved) = (&done, &moved);
            scope.spawn(move || {
                let mut turn = usize::try_from(n).unwrap();
                while !done.load(SeqCst) {
                    turn += 1;
                    let offered = offer(sink, &places[turn % places.len()], false);
                    match turn % 3 {
                        0 => offered.skip(SkipReason::InFlight),
                        1 => drop(offered),
                        _ => drop(offered.finish(|request| request.outcome = Outcome::Ok)),
                    }
                    moved.fetch_add(1, SeqCst);
                }
            });
        }
        let mut seen = BTreeSet::new();
        for _ in 0..LOOKS {
            let before = moved.load(SeqCst);
            // Each of them may have offered one already that it has not counted as moved.
            while moved.load(SeqCst) <= before + MOVERS {
                std::thread::yield_now();
            }
            let ObservedCounts { offered, skipped, in_flight, ended } = look();
            let told = skipped + in_flight + ended;
            let same = (offered - told).abs() < 0.5;
            if !same {
                done.store(true, SeqCst);
            }
            assert!(same, "{offered} offered, and {skipped} skipped, {in_flight} in flight, {ended} ended");
            seen.insert(offered.to_bits());
        }
        done.store(true, SeqCst);
        assert!(seen.len() == LOOKS, "requests moved between looks: {}", seen.len());
    });
}
