//! The faults injected into the demo's simulator, in turn, and how they are announced.

use crate::server::Notice;
use crate::sim::{self, FaultRule};
use std::time::Duration;
use tokio::time::Instant;

/// The first fault comes early, so that a failure is visible within the first minute.
const FIRST: Duration = Duration::from_secs(8);
/// Time between the starts of two faults in the first round: all of them occur within two minutes.
const EARLY: Duration = Duration::from_secs(18);
/// The same in later rounds: long enough for a minute without failures in between.
const LATER: Duration = Duration::from_secs(90);

/// A fault for the simulator, its description, and its visible effect.
struct DemoFault {
    rule: &'static str,
    what: &'static str,
    effect: &'static str,
}

const TROUBLES: [DemoFault; 6] = [
    DemoFault {
        rule: "slow_down;factor=5;lasts=8s",
        what: "the simulator is slowed down by 5",
        effect: "Watch TTFT rise above its objective, and duration with it; nothing fails.",
    },
    DemoFault {
        rule: "unavailable_503;probability=0.5;lasts=6s",
        what: "the simulator refuses half of the requests with status 503",
        effect: "They count as “overloaded”.",
    },
    DemoFault {
        rule: "reset_mid;after=5;probability=0.4;lasts=6s",
        what: "the simulator drops 40% of the connections in the middle of an answer",
        effect: "They count as “reset”; the answers that are whole look as fast as ever.",
    },
    DemoFault {
        rule: "stall;after=8;for=5s;probability=0.4;lasts=6s",
        what: "40% of the streams fall silent after a few tokens",
        effect: "After 3 s of silence they count as “stall_timeout”.",
    },
    DemoFault {
        rule: "rate_limited;retry_after=2s;probability=0.5;lasts=6s",
        what: "the simulator says “too many requests” to half of them (status 429)",
        effect: "They count as “rate_limited”.",
    },
    DemoFault {
        rule: "error_in_stream;after=3;probability=0.4;lasts=6s",
        what: "40% of the answers begin well and then carry an error object, under status 200",
        effect: "They count as “stream_error”: the status alone would call them fine.",
    },
];

/// When each fault begins, relative to the start; endless.
fn times() -> impl Iterator<Item = (Duration, &'static DemoFault)> {
    let early = (0..).zip(&TROUBLES).map(|(n, trouble)| (FIRST + EARLY * n, trouble));
    let after = FIRST + EARLY * u32::try_from(TROUBLES.len()).unwrap_or(0);
    early.chain((1..).zip(TROUBLES.iter().cycle()).map(move |(n, trouble)| (after + LATER * n, trouble)))
}

/// Injects one fault after another, forever, and announces each.
pub(super) async fn inject(sim: sim::Handle, notice: &Notice) {
    let start = Instant::now();
    for (at, trouble) in times() {
        tokio::time::sleep_until(start + at).await;
        let rule: FaultRule = match trouble.rule.parse() {
            Ok(rule) => rule,
            Err(error) => {
                tracing::error!(fault = trouble.rule, %error, "the demo's own fault is wrong");
                continue;
            }
        };
        let lasts = rule.lasts.unwrap_or_default();
        match sim.inject(rule) {
            Ok(()) => {
                tracing::info!(fault = trouble.rule, "the demo injects a fault");
                notice.happens(trouble.what, trouble.effect, lasts);
            }
            Err(error) => tracing::warn!(fault = trouble.rule, %error, "the demo cannot inject a fault"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_troubles_are_sound_and_end_before_the_next() {
        for trouble in &TROUBLES {
            let rule: FaultRule = trouble.rule.parse().unwrap();
            assert!(rule.lasts.is_some_and(|lasts| lasts < EARLY), "{}", trouble.rule);
        }
    }

    #[test]
    fn the_first_comes_within_ten_seconds_and_all_within_two_minutes() {
        let all: Vec<_> = times().take(3 * TROUBLES.len()).collect();
        assert!(all[0].0 <= Duration::from_secs(10));
        assert!(all[TROUBLES.len() - 1].0 <= Duration::from_secs(110));
        assert!(all.windows(2).all(|two| two[0].0 + EARLY <= two[1].0), "they do not overlap");
        assert_eq!(all[TROUBLES.len()].1.rule, TROUBLES[0].rule, "in turn");
    }
}
