//! Closed-loop users: how many of them are active, and when each of the initial ones starts.

use crate::plan::{CurveSegment, CurveSegments, LoadCurve};
use jiff::Timestamp;
use std::iter::Peekable;
use std::time::Duration;

/// Tolerance for rounding, so that a curve computed elsewhere loses no user.
const ROUNDING: f64 = 1e-9;

/// From when on there are so many users. User k, counted from 0, is active while there are more than k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLevel {
    /// An offset from the start of the stage.
    pub at: Duration,
    /// Their number.
    pub users: u32,
}

/// How many users a stage has that begins at `start`, over time: the value of the curve rounded down, but at least one.
/// The first level is that of the start. A further one may be the same as the one before it: a curve that repeats
/// without an end may never change, and looking for its next change would not end either.
pub fn user_levels(
    curve: &LoadCurve,
    time: Option<Duration>,
    start: Timestamp,
) -> impl Iterator<Item = UserLevel> + use<> {
    let segments = curve.segments(time, start);
    let crossings = Crossings { segments, now: None, users: None, start: Duration::ZERO };
    LastingLevels { levels: crossings.peekable(), time }
}

/// When one of `users` initial users sends its first request, as an offset from the start of the stage: they start one
/// after another, evenly spread over `spawn`.
pub fn spawn_offset(user: u32, users: u32, spawn: Duration) -> Duration {
    spawn.mul_f64(f64::from(user) / f64::from(users.max(1)))
}

/// The number of users at a value.
fn whole(value: f64) -> u32 {
    let users = (value + ROUNDING).floor().clamp(1.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u32 above")]
    let users = users as u32;
    users
}

/// Every level that the curve comes to, in order of time. Several may be at the same time.
struct Crossings {
    segments: CurveSegments,
    /// The present segment, and the users at its end.
    now: Option<(CurveSegment, u32)>,
    /// The users so far.
    users: Option<u32>,
    /// When the present segment begins.
    start: Duration,
}

impl Iterator for Crossings {
    type Item = UserLevel;

    fn next(&mut self) -> Option<UserLevel> {
        if let (Some((segment, end)), Some(users)) = (&self.now, self.users) {
            if users != *end {
                // A user comes when the curve reaches its level, and goes when the curve leaves it.
                let (level, next) = if users < *end { (users + 1, users + 1) } else { (users, users - 1) };
                let into = Duration::try_from_secs_f64(segment.time_of_value(f64::from(level))).ok()?;
                let into = into.min(segment.length.unwrap_or(Duration::MAX));
                self.users = Some(next);
                return Some(UserLevel { at: self.start + into, users: next });
            }
            self.start += segment.length?;
        }
        let segment = self.segments.next()?;
        let (from, to) = segment.ends();
        let end = whole(if segment.length.is_some() { to } else { from });
        self.now = Some((segment, end));
        self.users = Some(whole(from));
        Some(UserLevel { at: self.start, users: whole(from) })
    }
}

/// Leaves out levels that do not last.
struct LastingLevels<I: Iterator<Item = UserLevel>> {
    levels: Peekable<I>,
    time: Option<Duration>,
}

impl<I: Iterator<Item = UserLevel>> Iterator for LastingLevels<I> {
    type Item = UserLevel;

    fn next(&mut self) -> Option<UserLevel> {
        loop {
            let level = self.levels.next()?;
            let is_passing = self.levels.peek().is_some_and(|next| next.at <= level.at);
            let is_over = self.time.is_some_and(|time| level.at >= time);
            if is_over {
                return None;
            }
            if !is_passing {
                return Some(level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CurveForm, CurvePiece, PiecewiseCurve, Ramp, Recurrence};
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    /// Levels, with times in milliseconds.
    fn levels(curve: &LoadCurve, seconds: u64) -> Vec<(u64, u32)> {
        let time = (seconds > 0).then(|| Duration::from_secs(seconds));
        let millis = |at: Duration| u64::try_from((at + Duration::from_micros(500)).as_millis()).unwrap();
        let levels = user_levels(curve, time, Timestamp::UNIX_EPOCH);
        let mut changes: Vec<_> = levels.map(|level| (millis(level.at), level.users)).collect();
        changes.dedup_by_key(|(_, users)| *users);
        changes
    }

    fn ramp(from: f64, to: f64) -> LoadCurve {
        Ramp { from, to }.into()
    }

    #[test]
    fn a_constant_number_is_there_from_the_start() {
        assert_eq!(levels(&ramp(3.0, 3.0), 10), [(0, 3)]);
        assert_eq!(levels(&ramp(3.0, 3.0), 0), [(0, 3)]);
        assert_eq!(levels(&ramp(0.4, 0.4), 10), [(0, 1)], "at least one");
    }

    #[test]
    fn users_come_and_go_with_the_ramp() {
        assert_eq!(levels(&ramp(1.0, 5.0), 8), [(0, 1), (2000, 2), (4000, 3), (6000, 4)]);
        // The fourth user would go as soon as it came.
        assert_eq!(levels(&ramp(4.0, 2.0), 5), [(0, 3), (2500, 2)]);
        assert_eq!(levels(&ramp(2.0, 0.0), 10), [(0, 1)]);
    }

    #[test]
    fn users_come_again_with_a_curve_that_repeats() {
        let half = Duration::from_secs(2);
        let piece = |from, to| CurvePiece { length: half, from, to, form: CurveForm::HalfCosine };
        let recurrence = Some(Recurrence { offset: Duration::ZERO, timezone: TimeZone::UTC });
        let pieces = [piece(1.0, 3.0), piece(3.0, 1.0)].into();
        let wave = LoadCurve::Pieces(PiecewiseCurve { pieces, recurrence });
        // The middle of the wave is at 1 and 3 seconds of each period. The top does not last.
        assert_eq!(levels(&wave, 8), [(0, 1), (1000, 2), (3000, 1), (5000, 2), (7000, 1)]);
        let steps = [2.0, 5.0, 2.0].map(|users| CurvePiece::constant(half, users)).into();
        let steps = LoadCurve::Pieces(PiecewiseCurve { pieces: steps, recurrence: None });
        assert_eq!(levels(&steps, 9), [(0, 2), (2000, 5), (4000, 2)]);
    }

    #[test]
    fn a_curve_that_repeats_without_end_is_followed_step_by_step() {
        let half = Duration::from_secs(2);
        let recurrence = Some(Recurrence { offset: Duration::ZERO, timezone: TimeZone::UTC });
        for (low, high) in [(1.0, 2.0), (3.0, 3.0)] {
            let piece = |from, to| CurvePiece { length: half, from, to, form: CurveForm::HalfCosine };
            let pieces = [piece(low, high), piece(high, low)].into();
            let wave = LoadCurve::Pieces(PiecewiseCurve { pieces, recurrence: recurrence.clone() });
            // The higher number is reached for a moment only.
            let few: Vec<u32> =
                user_levels(&wave, None, Timestamp::UNIX_EPOCH).take(5).map(|level| level.users).collect();
            assert_eq!(few, [whole(low); 5]);
        }
    }

    #[test]
    fn users_that_are_there_from_the_start_begin_evenly_over_the_spawn_time() {
        let starts = (0..4).map(|user| spawn_offset(user, 4, Duration::from_secs(2)).as_millis());
        assert_eq!(starts.collect::<Vec<_>>(), [0, 500, 1000, 1500]);
        assert_eq!(spawn_offset(0, 0, Duration::from_secs(2)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn as_many_are_there_as_the_ramp_says(from in 0.0..40.0_f64, to in 0.0..40.0_f64, share in 0.01..0.99_f64) {
            let now = 100_000.0 * share;
            let value = from + (to - from) * share;
            // Not at the edge of a step, where rounding decides.
            prop_assume!((value - value.round()).abs() > 1e-4);
            let levels = levels(&ramp(from, to), 100);
            let there = levels.iter().rev().find(|(at, _)| (*at as f64) <= now).unwrap().1;
            prop_assert_eq!(there, whole(value.floor()));
        }
    }
}
