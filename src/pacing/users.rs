//! Closed-loop users: when each one starts and stops.

use crate::plan::Ramp;
use std::time::Duration;

/// One user of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacedUser {
    /// Its number, from 0.
    pub index: u32,
    /// When it sends its first request, as an offset from the start of the stage.
    pub start: Duration,
    /// When it stops sending requests, as an offset from the start of the stage; `None`: at the end of the stage.
    pub stop: Option<Duration>,
}

/// The users of a stage, in order of their number. User k is active while the ramp is at k + 1 or above; user 0 is
/// always active. Without a duration there is no ramp, and all users are active from the start. The initial users start
/// one after another, evenly spread over `spawn`: of n users, user k starts at `spawn * k / n`.
pub fn users(ramp: Ramp, time: Option<Duration>, spawn: Duration) -> impl Iterator<Item = PacedUser> {
    let seconds = time.map_or(0.0, |time| time.as_secs_f64());
    let Ramp { from, to } = if seconds > 0.0 { ramp } else { Ramp { from: ramp.from, to: ramp.from } };
    // A tolerance of a billionth, so that a ramp computed elsewhere loses no user to rounding.
    let most = (from.max(to) + 1e-9).floor().clamp(1.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u32 above")]
    let most = most as u32;
    // When the ramp crosses the level, as an offset.
    let crossing = move |level: f64| {
        let share = ((level - from) / (to - from)).clamp(0.0, 1.0);
        Duration::try_from_secs_f64(seconds * share).unwrap_or_default()
    };
    let at_start = (from + 1e-9).floor().clamp(1.0, f64::from(most));
    (0..most)
        .map(move |index| {
            let level = f64::from(index) + 1.0 - 1e-9;
            let there = |users: f64| index == 0 || users >= level;
            let spawned = || spawn.mul_f64(f64::from(index) / at_start);
            PacedUser {
                index,
                start: if there(from) { spawned() } else { crossing(f64::from(index) + 1.0) },
                stop: if there(to) { None } else { Some(crossing(f64::from(index) + 1.0)) },
            }
        })
        // The last user of a rising ramp would start at the end of the stage.
        .filter(move |user| user.start.is_zero() || time.is_none_or(|time| user.start < time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Start and stop in milliseconds.
    fn plan(from: f64, to: f64, seconds: u64) -> Vec<(u128, Option<u128>)> {
        let time = (seconds > 0).then(|| Duration::from_secs(seconds));
        let millis = |offset: Duration| offset.as_millis();
        let users = users(Ramp { from, to }, time, Duration::ZERO);
        users.map(|user| (millis(user.start), user.stop.map(millis))).collect()
    }

    #[test]
    fn a_constant_number_is_there_from_the_start() {
        assert_eq!(plan(3.0, 3.0, 10), [(0, None); 3]);
        assert_eq!(plan(3.0, 3.0, 0), [(0, None); 3]);
        assert_eq!(plan(0.4, 0.4, 10), [(0, None)], "at least one");
    }

    #[test]
    fn users_come_and_go_with_the_ramp() {
        assert_eq!(plan(1.0, 5.0, 8), [(0, None), (2000, None), (4000, None), (6000, None)]);
        assert_eq!(plan(4.0, 2.0, 5), [(0, None), (0, None), (0, Some(2500)), (0, Some(0))]);
        assert_eq!(plan(2.0, 0.0, 10), [(0, None), (0, Some(0))]);
    }

    #[test]
    fn users_that_are_there_from_the_start_begin_evenly_over_the_spawn_time() {
        let starts = |from, to, time: Option<u64>| -> Vec<u128> {
            let time = time.map(Duration::from_secs);
            users(Ramp { from, to }, time, Duration::from_secs(2))
                .map(|user| user.start.as_millis())
                .collect()
        };
        assert_eq!(starts(4.0, 4.0, Some(10)), [0, 500, 1000, 1500]);
        assert_eq!(starts(1.0, 1.0, None), [0]);
        // Users that the ramp adds start with the ramp.
        assert_eq!(starts(2.0, 4.0, Some(10)), [0, 1000, 5000]);
        // Users that would start after the stage are left out.
        assert_eq!(starts(4.0, 4.0, Some(1)), [0, 500]);
    }

    proptest! {
        #[test]
        fn as_many_are_there_as_the_ramp_says(from in 0.0..40.0_f64, to in 0.0..40.0_f64, share in 0.01..0.99_f64) {
            let time = Duration::from_secs(100);
            let now = Duration::from_secs_f64(100.0 * share);
            let value = from + (to - from) * share;
            // Not at the edge of a step, where rounding decides.
            prop_assume!((value - value.round()).abs() > 1e-6);
            let there = users(Ramp { from, to }, Some(time), Duration::ZERO)
                .filter(|user| user.start <= now && user.stop.is_none_or(|stop| now < stop))
                .count();
            prop_assert!((there as f64 - value.floor().max(1.0)).abs() < 0.5);
        }
    }
}
