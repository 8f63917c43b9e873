//! When runs start, in steps of equal length: the load of a schedule over hours, days and months.

use super::View;
use super::open_times::OpenTimes;
use crate::plan::canonical::sha256_of;
use crate::plan::{Profile, Schedule, Stage, Trigger, next_occurrence, run_time};
use crate::vocabulary::Overlap;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Maximum number of cron runs counted one by one; as many are assumed for each open minute of the rest of the time.
const MAX_COUNTED: u32 = 4096;

/// Number of starts in a sample.
const MAX_SAMPLED: usize = 300;

/// Tells schedules apart whose runs start at other times, or take another time. Many profiles share one, and to follow it
/// through a month takes a millisecond and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScheduleKey([u8; 32]);

impl ScheduleKey {
    pub(super) fn of(profile: &Profile) -> Self {
        Self(sha256_of(&(&profile.schedule, run_time(&profile.stages))))
    }
}

/// The runs that offer load in each step, as fractions of a run: a run that takes several steps is spread over them.
/// `None` if their number depends on the target.
pub(super) type StepLoads = Option<Rc<[f64]>>;

/// The loads of schedules that were asked for.
#[derive(Debug, Default)]
pub(super) struct KnownLoads(HashMap<(ScheduleKey, Steps, View), StepLoads>);

impl KnownLoads {
    pub(super) fn of(&mut self, profile: &Profile, steps: Steps, view: View) -> StepLoads {
        // Of these, both views are the same.
        let view = if matches!(profile.schedule.trigger, Trigger::Cron(_)) { View::Most } else { view };
        let key = (ScheduleKey::of(profile), steps, view);
        self.0.entry(key).or_insert_with(|| load(profile, steps, view)).clone()
    }
}

/// A time range divided into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Steps {
    pub(super) from: Timestamp,
    pub(super) length: SignedDuration,
    pub(super) count: usize,
}

impl Steps {
    /// Divides the time between two instants into steps; the last one may extend beyond the end.
    pub(super) fn new(from: Timestamp, to: Timestamp, length: SignedDuration) -> Self {
        let count = from.duration_until(to).as_secs_f64() / length.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
        let count = count.ceil() as usize;
        Self { from, length, count }
    }

    /// When a step starts; a fraction gives an instant within it.
    pub(super) fn at(self, step: f64) -> Timestamp {
        let into = SignedDuration::try_from_secs_f64(self.length.as_secs_f64() * step).unwrap_or_default();
        self.from.saturating_add(into).unwrap_or(Timestamp::MAX)
    }

    fn index(self, at: Timestamp) -> usize {
        let steps = self.from.duration_until(at).as_secs_f64() / self.length.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
        let index = steps as usize;
        index
    }
}

/// The time between the starts of two runs; `None` if it depends on the target, or if there is none.
pub(super) fn interval(schedule: &Schedule, stages: &[Stage], view: View) -> Option<Duration> {
    let time = run_time(stages);
    match &schedule.trigger {
        Trigger::Manual | Trigger::Cron(_) => None,
        Trigger::Continuous => time,
        Trigger::AfterIdle(after) => Some(*after),
        Trigger::Every { period, .. } => match time.filter(|time| time > period && view == View::Expected) {
            None => Some(*period),
            Some(time) if schedule.overlap == Overlap::Queue => Some(time),
            // Runs that are due meanwhile are skipped.
            Some(time) => {
                let slots = (time.as_secs_f64() / period.as_secs_f64()).ceil();
                Some(period.mul_f64(slots))
            }
        },
    }
}

/// When runs start in the coming days, as a sample; empty for runs on request, and if it depends on the target. The
/// offset of each pair is ignored.
pub(super) fn upcoming(schedule: &Schedule, stages: &[Stage], now: Timestamp) -> Vec<Timestamp> {
    let end = super::end_of_week(now);
    let open = OpenTimes::of(schedule, now, end);
    let is_open = |at: &Timestamp| open.contains(*at);
    match (&schedule.trigger, interval(schedule, stages, View::Most)) {
        (Trigger::Cron(cron), _) => {
            let from = now.to_zoned_datetime(schedule.timezone.clone());
            let next = |at: &jiff::ZonedDateTime| next_occurrence(cron, at);
            let times = std::iter::successors(next(&from), next).map(|at| at.timestamp());
            times.take_while(|at| *at < end).filter(is_open).take(MAX_SAMPLED).collect()
        }
        (Trigger::Every { .. } | Trigger::Continuous, Some(interval)) if !interval.is_zero() => {
            let interval = i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX);
            let first = now.as_nanosecond().div_euclid(interval).saturating_add(1);
            let slots = (end.as_nanosecond() - now.as_nanosecond()) / interval + 1;
            let step = slots / MAX_SAMPLED as i128 + 1;
            let at = |n: i128| {
                Timestamp::from_nanosecond(first.saturating_add(n * step).checked_mul(interval)?).ok()
            };
            (0..=slots / step).filter_map(at).filter(is_open).collect()
        }
        _ => Vec::new(),
    }
}

fn load(profile: &Profile, steps: Steps, view: View) -> StepLoads {
    let schedule = &profile.schedule;
    let open = OpenTimes::of(schedule, steps.from, steps.at(steps.count as f64));
    let starts = match &schedule.trigger {
        Trigger::Manual => vec![0.0; steps.count],
        Trigger::Cron(cron) => by_cron(schedule, cron, &open, steps),
        Trigger::Every { .. } | Trigger::Continuous | Trigger::AfterIdle(_) => {
            by_interval(&open, interval(schedule, &profile.stages, view)?, steps)
        }
    };
    Some(spread(&starts, run_time(&profile.stages).unwrap_or_default(), steps).into())
}

/// Starts on a grid aligned to the epoch. The offset of each pair is ignored.
fn by_interval(open: &OpenTimes, interval: Duration, steps: Steps) -> Vec<f64> {
    let mut starts = vec![0.0; steps.count];
    let (interval, length) = (interval.as_secs_f64(), steps.length.as_secs_f64());
    if interval <= length {
        for (index, starts) in starts.iter_mut().enumerate() {
            *starts = length / interval * open.share(steps.at(index as f64), steps.length);
        }
        return starts;
    }
    let epoch = steps.from.as_duration().as_secs_f64();
    let mut into = (epoch / interval).ceil() * interval - epoch;
    while into < length * steps.count as f64 {
        let at = steps.at(into / length);
        if open.contains(at)
            && let Some(starts) = starts.get_mut(steps.index(at))
        {
            *starts += 1.0;
        }
        into += interval;
    }
    starts
}

fn by_cron(schedule: &Schedule, cron: &croner::Cron, open: &OpenTimes, steps: Steps) -> Vec<f64> {
    let mut starts = vec![0.0; steps.count];
    // An occurrence exactly at the start counts.
    let before = steps.from.checked_sub(SignedDuration::from_secs(1)).unwrap_or(steps.from);
    let mut at = before.to_zoned_datetime(schedule.timezone.clone());
    for _ in 0..MAX_COUNTED {
        let Some(next) = next_occurrence(cron, &at) else { return starts };
        let Some(count) = starts.get_mut(steps.index(next.timestamp())) else { return starts };
        if open.contains(next.timestamp()) {
            *count += 1.0;
        }
        at = next;
    }
    let counted = steps.index(at.timestamp());
    let share = |index: usize| open.share(steps.at(index as f64), steps.length);
    let of_open = starts.iter().take(counted).sum::<f64>() / (0..counted).map(share).sum::<f64>();
    // Where no window has opened yet, as many are assumed as were due outside.
    let passed = steps.from.duration_until(at.timestamp()).as_secs_f64() / steps.length.as_secs_f64();
    let of_all = f64::from(MAX_COUNTED) / passed;
    let each = if of_open.is_finite() { of_open } else { of_all };
    starts.iter_mut().enumerate().skip(counted).for_each(|(index, count)| *count = each * share(index));
    starts
}

/// Spreads the runs that start in a step evenly over the steps that a run takes.
fn spread(starts: &[f64], time: Duration, steps: Steps) -> Vec<f64> {
    let over = (time.as_secs_f64() / steps.length.as_secs_f64()).ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
    let width = over as usize;
    let mut sum = 0.0;
    let ended =
        |index: usize| index.checked_sub(width).and_then(|index| starts.get(index)).copied().unwrap_or(0.0);
    let running = starts.iter().enumerate().map(|(index, started)| {
        sum += started - ended(index);
        sum / over
    });
    running.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;
    use std::sync::Arc;

    fn profile(schedule: &str, load: &str) -> Arc<Profile> {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1' }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {schedule}, workload: {{ prompts: [x] }}, load: [{load}] }} }}"
        ));
        Arc::clone(&plan.unwrap_or_else(|e| panic!("{e}")).profiles[0])
    }

    fn loads(schedule: &str, stage: &str) -> Vec<f64> {
        // A Thursday, in steps of an hour.
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let day = from + SignedDuration::from_hours(24);
        let steps = Steps::new(from, day, SignedDuration::from_hours(1));
        load(&profile(schedule, stage), steps, View::Expected).unwrap().to_vec()
    }

    fn at(loads: &[f64]) -> Vec<(usize, f64)> {
        loads.iter().copied().enumerate().filter(|(_, load)| *load > 0.0).collect()
    }

    #[test]
    fn runs_stand_where_they_start() {
        assert_eq!(
            at(&loads("{ every: 6h }", "{ requests: 1 }")),
            [(0, 1.0), (6, 1.0), (12, 1.0), (18, 1.0)]
        );
        assert_eq!(loads("{ every: 15m }", "{ requests: 1 }"), [4.0; 24]);
        assert_eq!(at(&loads("{ cron: '30 7,8 * * *' }", "{ requests: 1 }")), [(7, 1.0), (8, 1.0)]);
        assert_eq!(at(&loads("{ cron: '0 0 * * *' }", "{ requests: 1 }")), [(0, 1.0)]);
        assert_eq!(loads("{ manual: {} }", "{ requests: 1 }"), [0.0; 24]);
        let windows = "windows: [{ days: [mon-fri], from: '08:00', to: '10:00' }]";
        let open = at(&loads(&format!("{{ every: 15m, {windows} }}"), "{ requests: 1 }"));
        assert_eq!(open, [(8, 4.0), (9, 4.0)]);
        // Windows that are narrower than a step, wherever they lie in it.
        for window in
            ["from: '08:00', to: '08:15'", "from: '08:15', to: '08:30'", "from: '08:40', to: '08:55'"]
        {
            for schedule in ["every: 1m", "cron: '* * * * *'"] {
                let open = loads(&format!("{{ {schedule}, windows: [{{ {window} }}] }}"), "{ requests: 1 }");
                assert_eq!(at(&open), [(8, 15.0)], "{schedule} {window}");
            }
        }
        // More times of a cron expression than are counted, before the window opens and within it.
        for (window, from) in [("from: '20:00', to: '23:00'", 20), ("from: '00:30', to: '03:30'", 0)] {
            let schedule = format!("{{ cron: '* * * * * *', windows: [{{ {window} }}] }}");
            let open = loads(&schedule, "{ requests: 1 }");
            let sum = open.iter().sum::<f64>();
            assert!((sum - 10_800.0).abs() < 200.0 && at(&open)[0].0 == from, "{sum} {open:?}");
        }
        let each_second = loads("{ cron: '* * * * * *' }", "{ requests: 1 }")[20];
        assert!((each_second - 3600.0).abs() < 1.0, "{each_second}");
    }

    #[test]
    fn long_runs_are_spread_and_displace_others() {
        assert_eq!(at(&loads("{ cron: '0 6 * * *' }", "{ for: 2h, rate: 1 }")), [(6, 0.5), (7, 0.5)]);
        let runs = |schedule: &str| loads(schedule, "{ for: 90m, rate: 1 }").iter().sum::<f64>();
        // Every second slot is skipped, or one run follows the other.
        assert!((runs("{ every: 1h }") - 12.0).abs() < 1e-9, "{}", runs("{ every: 1h }"));
        assert!((runs("{ every: 1h, overlap: queue }") - 16.0).abs() < 1e-9);
        assert!((runs("{ continuous: {} }") - 16.0).abs() < 1e-9);
    }

    #[test]
    fn profiles_of_one_schedule_share_what_is_known_and_others_do_not() {
        let steps = Steps { from: Timestamp::UNIX_EPOCH, length: SignedDuration::from_hours(1), count: 24 };
        let mut known = KnownLoads::default();
        let alike = ["{ for: 10s, rate: 1/s }", "{ for: 10s, users: 3 }"];
        for (schedule, stage, shares) in [
            ("{ every: 10m }", alike[0], false),
            ("{ every: 10m }", alike[1], true),
            ("{ every: 10m }", "{ for: 2h, rate: 1/s }", false),
            ("{ every: 20m }", alike[0], false),
            ("{ cron: '*/5 * * * *' }", alike[0], false),
            (
                "{ cron: '*/5 * * * *', windows: [{ days: [mon-fri], from: '08:00', to: '09:00' }] }",
                alike[0],
                false,
            ),
            ("{ cron: '*/5 * * * *', timezone: Asia/Kathmandu }", alike[0], false),
        ] {
            let profile = profile(schedule, stage);
            for view in [View::Most, View::Expected] {
                let (before, said) = (known.0.len(), known.of(&profile, steps, view));
                assert_eq!(said, load(&profile, steps, view), "{schedule} {stage}");
                let is_cron = matches!(profile.schedule.trigger, Trigger::Cron(_));
                let is_known = shares || (is_cron && view == View::Expected);
                assert_eq!(known.0.len() == before, is_known, "{schedule} {stage}");
            }
        }
    }
}
