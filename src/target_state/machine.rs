//! Decides the state of one target from what its requests show, one after the other. Pure: it reads no clock, and
//! knows neither profiles nor plans.
//!
//! A state is left only after several requests in a row say so: `failing_after` to a worse state, `recovered_after` to a
//! better one. Requests that alternate therefore change nothing, and one missed deadline of a saturated engine is not
//! an engine that hangs.

use crate::event::TargetState;
use std::num::NonZeroU32;
use std::time::Duration;

/// What one request shows about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It succeeded in time.
    Good,
    /// It succeeded and missed an objective on latency.
    Slow,
    /// It failed.
    Failed,
    /// It timed out before its first token.
    TimedOut,
    /// It failed through the prober's own fault.
    OwnFault,
}

/// How many signs in a row change the state, and how long they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// Signs in a row that make a state worse.
    pub(super) failing: NonZeroU32,
    /// Signs in a row that make it better.
    pub(super) recovered: NonZeroU32,
    /// Without a sign for this long, nothing is known.
    pub(super) silence: Duration,
}

/// Numbers of signs in a row, up to the last one.
#[derive(Clone, Copy, Debug, Default)]
struct Streaks {
    good: u32,
    /// Good or slow.
    answered: u32,
    /// Slow or worse.
    not_good: u32,
    /// Failed or timed out.
    failed: u32,
    timed_out: u32,
    /// Failed otherwise.
    refused: u32,
    own_fault: u32,
}

/// The state of a target.
#[derive(Debug, Default)]
pub(super) struct StateMachine {
    state: TargetState,
    streaks: Streaks,
    /// When the last sign came that says something about the target.
    last_sign: Option<Duration>,
}

/// A change to `to`, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: TargetState,
    pub(super) to: TargetState,
    pub(super) why: String,
}

impl StateMachine {
    /// The present state.
    pub(super) const fn state(&self) -> TargetState {
        self.state
    }

    /// When the last request ended that says something about the target; `None` after a long silence.
    pub(super) const fn last_sign(&self) -> Option<Duration> {
        self.last_sign
    }

    /// Takes what a request shows that ended at `now`, a time since any fixed instant.
    pub(super) fn take(&mut self, sign: Sign, now: Duration, thresholds: Thresholds) -> Option<Transition> {
        self.streaks.add(sign);
        let worse = thresholds.failing.get();
        if sign == Sign::OwnFault {
            let why = said(self.streaks.own_fault, "failed through the prober's own fault");
            return (self.streaks.own_fault >= worse)
                .then(|| self.change(TargetState::Unknown, why))
                .flatten();
        }
        self.last_sign = Some(now);
        let (to, why) = self.judge(worse, thresholds.recovered.get())?;
        self.change(to, why)
    }

    /// Takes that time has passed.
    pub(super) fn tick(&mut self, now: Duration, thresholds: Thresholds) -> Option<Transition> {
        let last = self.last_sign?;
        if now.saturating_sub(last) <= thresholds.silence {
            return None;
        }
        (self.streaks, self.last_sign) = (Streaks::default(), None);
        let silence = thresholds.silence.as_secs_f64();
        let (n, unit) = if silence < 120.0 { (silence, "seconds") } else { (silence / 60.0, "minutes") };
        self.change(TargetState::Unknown, format!("no request of the last {n:.0} {unit} says anything"))
    }

    /// The state that the streaks call for.
    fn judge(&self, worse: u32, better: u32) -> Option<(TargetState, String)> {
        let it = &self.streaks;
        if it.timed_out >= worse {
            return Some((TargetState::Hung, said(it.timed_out, "timed out before their first token")));
        }
        // A target that hangs and now and then refuses a request still hangs.
        let failing = if self.state == TargetState::Hung { it.refused } else { it.failed };
        if failing >= worse {
            return Some((TargetState::Failing, said(failing, "failed")));
        }
        // Nothing is known that would have to be outweighed.
        let better = if self.state == TargetState::Unknown { 1 } else { better };
        if it.good >= better {
            return Some((TargetState::Ok, said(it.good, "succeeded")));
        }
        if self.state.is_down() && it.answered >= better {
            return Some((TargetState::Slow, said(it.answered, "succeeded, but not all in time")));
        }
        if !self.state.is_down() && it.not_good >= worse {
            return Some((TargetState::Slow, said(it.not_good, "were slow or failed")));
        }
        None
    }

    fn change(&mut self, to: TargetState, why: String) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then_some(Transition { from, to, why })
    }
}

fn said(n: u32, what: &str) -> String {
    let requests = if n == 1 { "request".to_owned() } else { format!("{n} requests") };
    format!("the last {requests} {what}")
}

impl Streaks {
    fn add(&mut self, sign: Sign) {
        let count = |streak: &mut u32, on: bool| *streak = if on { streak.saturating_add(1) } else { 0 };
        count(&mut self.own_fault, sign == Sign::OwnFault);
        if sign == Sign::OwnFault {
            // It says nothing about the target.
            return;
        }
        count(&mut self.good, sign == Sign::Good);
        count(&mut self.answered, matches!(sign, Sign::Good | Sign::Slow));
        count(&mut self.not_good, sign != Sign::Good);
        count(&mut self.failed, matches!(sign, Sign::Failed | Sign::TimedOut));
        count(&mut self.timed_out, sign == Sign::TimedOut);
        count(&mut self.refused, sign == Sign::Failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thresholds() -> Thresholds {
        let number = |n| NonZeroU32::new(n).unwrap();
        Thresholds { failing: number(3), recovered: number(2), silence: Duration::from_mins(10) }
    }

    fn sign(letter: char) -> Sign {
        match letter {
            'g' => Sign::Good,
            's' => Sign::Slow,
            'f' => Sign::Failed,
            't' => Sign::TimedOut,
            _ => Sign::OwnFault,
        }
    }

    /// The state after each sign; a sign comes each second.
    fn play(signs: &str) -> Vec<&'static str> {
        let mut machine = StateMachine::default();
        let step = |(n, letter)| {
            machine.take(sign(letter), Duration::from_secs(n), thresholds());
            machine.state().label()
        };
        (0..).zip(signs.chars()).map(step).collect()
    }

    fn last(signs: &str) -> &'static str {
        play(signs).pop().unwrap()
    }

    #[test]
    fn one_missed_deadline_is_not_dead_and_three_in_a_row_are() {
        assert_eq!(play("gttgtttt"), ["ok", "ok", "ok", "ok", "ok", "ok", "hung", "hung"]);
        assert_eq!(play("gffgfff"), ["ok", "ok", "ok", "ok", "ok", "ok", "failing"]);
        assert_eq!(play("gtftf")[1..], ["ok", "ok", "failing", "failing"], "mixed failures are failures");
        assert_eq!(play("gssgsss"), ["ok", "ok", "ok", "ok", "ok", "ok", "slow"]);
    }

    #[test]
    fn recovery_takes_two_in_a_row() {
        assert_eq!(play("tttgtgg"), ["unknown", "unknown", "hung", "hung", "hung", "hung", "ok"]);
        assert_eq!(last("fffgs"), "slow", "it answers, and late");
        assert_eq!(last("fffss"), "slow");
        assert_eq!(last("sssgg"), "ok");
        assert_eq!(last("sssg"), "slow");
    }

    #[test]
    fn a_target_that_hangs_and_now_and_then_refuses_still_hangs() {
        assert_eq!(last("tttf"), "hung");
        assert_eq!(last("tttff"), "hung");
        assert_eq!(last("tttfff"), "failing", "now it refuses");
        assert_eq!(last("fffttt"), "hung");
        assert_eq!(last("ssst"), "slow");
    }

    #[test]
    fn our_own_faults_say_nothing_about_the_target() {
        assert_eq!(last("goo"), "ok");
        assert_eq!(last("gooo"), "unknown");
        assert_eq!(last("gooog"), "ok", "one answer is enough where nothing is known");
        assert_eq!(last("gttot"), "hung", "they interrupt no streak");
    }

    #[test]
    fn silence_makes_a_state_unknown() {
        let mut machine = StateMachine::default();
        let (minute, thresholds) = (Duration::from_mins(1), thresholds());
        assert_eq!(machine.tick(minute * 60, thresholds), None, "it was unknown");
        machine.take(Sign::Good, minute * 60, thresholds);
        assert_eq!(machine.tick(minute * 70, thresholds), None);
        let change = machine.tick(minute * 71, thresholds).unwrap();
        assert_eq!((change.from, change.to), (TargetState::Ok, TargetState::Unknown));
        assert_eq!(change.why, "no request of the last 10 minutes says anything");
        assert_eq!(machine.tick(minute * 90, thresholds), None, "told once");
        // What was before the silence counts no longer.
        let timed_out = || Sign::TimedOut;
        machine.take(timed_out(), minute * 91, thresholds);
        machine.take(timed_out(), minute * 91, thresholds);
        assert_eq!(machine.state(), TargetState::Unknown);
    }

    proptest! {
        /// A state that was left does not come back with the next sign.
        #[test]
        fn states_do_not_flap(signs in "[gsft]{1,200}") {
            let states = play(&signs);
            for three in states.windows(3) {
                prop_assert!(three[0] != three[2] || three[0] == three[1], "{} {:?}", signs, three);
            }
        }

        /// A state is worse only after three bad signs in a row, and better only after two good ones.
        #[test]
        fn every_change_has_its_streak(signs in "[gsft]{1,200}") {
            let states = play(&signs);
            let signs: Vec<char> = signs.chars().collect();
            for (n, pair) in states.windows(2).enumerate() {
                let ended = |n_signs: usize, of: &str| {
                    let upto = &signs[..n + 2];
                    upto.len() >= n_signs && upto[upto.len() - n_signs..].iter().all(|sign| of.contains(*sign))
                };
                if pair[0] == pair[1] {
                    continue;
                }
                let known = pair[0] != "unknown";
                let good = if known { 2 } else { 1 };
                match pair[1] {
                    "hung" => prop_assert!(ended(3, "t")),
                    "failing" => prop_assert!(ended(3, "tf")),
                    "ok" => prop_assert!(ended(good, "g")),
                    "slow" => prop_assert!(ended(3, "sft") || ended(2, "gs")),
                    _ => prop_assert!(false, "only silence and own faults make it unknown"),
                }
            }
        }

        /// One success in each three requests is enough never to be down.
        #[test]
        fn a_target_that_answers_now_and_then_is_never_down(bad in prop::collection::vec("[sft]{0,2}", 1..50)) {
            let signs = bad.join("g") + "g";
            prop_assert!(play(&signs).iter().all(|state| !matches!(*state, "failing" | "hung")));
        }
    }
}
