//! Compiles the trace of a workload, and the stages that follow it.

use super::Findings;
use crate::config::{self, KeyPath, Workload, show_duration};
use crate::limits;
use crate::plan::{AskText, MAX_SCALE, MIN_SCALE, RequestTrace, Shape, StageBounds, TraceReplay};
use crate::trace::{TraceDoubts, TracePart};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Reads a trace and validates each of its lines.
pub(super) fn compile(
    written: &config::TraceFile,
    workload: &Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    if workload.output_tokens.is_some() {
        let message = "does not go with `trace`, which says how long each answer is";
        findings.error(&path.key("output_tokens"), message);
    }
    let at = path.key("trace");
    let mut within = |value: Option<f64>, key: &str, range: RangeInclusive<f64>| {
        let value = value.unwrap_or(1.0);
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (range.start(), range.end());
        let least = if *least < MIN_SCALE { "more than 0".to_owned() } else { format!("{least} or more") };
        findings.error(&at.key(key), format!("must be {least}, and at most {most}"));
        None
    };
    let speed = within(written.speed, "speed", f64::MIN_POSITIVE..=10_000.0);
    let scale = within(written.scale, "scale", MIN_SCALE..=f64::from(MAX_SCALE));
    let trace = read(written, &at, findings)?;
    let format = trace.format();
    if workload.system.is_some() && format.has_times() {
        let message = "does not go with `trace`: a prompt has as many tokens as were recorded";
        findings.error(&path.key("system"), message);
    }
    if !format.has_times() {
        for (key, is_set) in [
            ("speed", written.speed.is_some()),
            ("scale", written.scale.is_some()),
            ("window", written.window.is_some()),
            ("loop", written.repeats),
        ] {
            if is_set {
                findings.error(&at.key(key), format!("needs times, which `{}` does not have", format.name()));
            }
        }
    }
    if written.repeats && format.has_times() && trace.has_no_length() {
        findings.error(&at.key("loop"), "needs requests at different times, or a `window` with an end");
        return None;
    }
    let replay =
        TraceReplay { trace: Arc::new(trace), speed: speed?, scale: scale?, repeats: written.repeats };
    if replay.length() > limits::LONGEST {
        let most = show_duration(limits::LONGEST);
        findings.error(&at, format!("takes longer than {most} at this speed: choose a part with `window`"));
        return None;
    }
    let system = workload.system.as_deref().map(Arc::from);
    Some(AskText::Trace { replay: Arc::new(replay), system })
}

fn read(written: &config::TraceFile, at: &KeyPath, findings: &mut Findings) -> Option<RequestTrace> {
    let time = |time: Option<config::Length>| time.map(|time| time.0);
    let window = written.window.map(|window| (time(window.from), time(window.to)));
    let (from, to) = window.unwrap_or_default();
    let part = TracePart { from: from.unwrap_or_default(), to, models: written.models.clone() };
    if to.is_some_and(|to| to <= part.from) {
        findings.error(&at.key("window"), "must not end before it begins");
        return None;
    }
    let shown = written.file.display();
    let files = &mut findings.files;
    let read =
        RequestTrace::read(&written.file, written.format, &part, written.skip_bad_lines, files, |_| {});
    let trace = read
        .map_err(|why| format!("{shown}: {why}"))
        .and_then(|trace| findings.hold(trace.held(), 0, &shown).map(|()| trace))
        .map_err(|message| findings.error(&at.key("file"), message))
        .ok()?;
    if !written.models.is_empty() && !trace.format().has_models() {
        let message = format!("needs the names of models, which `{}` does not have", trace.format().name());
        findings.error(&at.key("models"), message);
        return None;
    }
    if let Some(first) = &trace.skipped().first {
        let count = trace.skipped().count;
        let message = format!("{shown}: {count} malformed lines are left out; the first: {first}");
        findings.warn(&at.key("file"), message);
    }
    if trace.failed() > 0 {
        let message = format!(
            "{shown}: {} requests without tokens are left out: they failed when they were recorded",
            trace.failed()
        );
        findings.warn(&at.key("file"), message);
    }
    warn_of_doubts(&trace, written, at, findings);
    Some(trace)
}

/// Tells what is probably not meant, although it is possible.
fn warn_of_doubts(trace: &RequestTrace, written: &config::TraceFile, at: &KeyPath, findings: &mut Findings) {
    let TraceDoubts { has_fractions, unasked, over, before } = trace.doubts();
    if *has_fractions && written.format.is_none() {
        let message = format!(
            "{}: has times with fractions, and they are read as milliseconds: say `format: bailian` if they are \
             seconds, and `format: mooncake` if they are not",
            written.file.display()
        );
        findings.warn(&at.key("file"), message);
    }
    for index in unasked {
        let message = "is a model that no request of the trace asks, or none in its `window`";
        findings.warn(&at.key("models").index(*index), message);
    }
    // A trace that starts again may have a pause before it.
    if let (Some(over), false) = (over, written.repeats) {
        let message =
            format!("is later than the end of the trace, {} after its first line", show_duration(*over));
        findings.warn(&at.key("window").key("to"), message);
    }
    if *before > 0 {
        let lines = if *before == 1 { "line is" } else { "lines are" };
        let message =
            format!("begins with the first line of the trace, and {before} {lines} earlier: sort it by time");
        findings.warn(&at.key("window"), message);
    }
}

/// The trace of a profile, while its stages are compiled.
pub(super) struct FollowedTrace<'a> {
    replay: &'a Arc<TraceReplay>,
    /// Where the next stage begins.
    next: Duration,
    /// Whether a stage ends by its number of requests, so that the next one has no beginning.
    has_open_end: bool,
    /// Whether any stage follows the trace.
    is_followed: bool,
}

impl<'a> FollowedTrace<'a> {
    pub(super) fn new(replay: &'a Arc<TraceReplay>) -> Self {
        Self { replay, next: Duration::ZERO, has_open_end: false, is_followed: false }
    }

    /// Compiles a stage whose requests are due as recorded. It goes on where the previous one of this kind ended.
    pub(super) fn shape(
        &mut self,
        written: &config::Stage,
        path: &KeyPath,
        findings: &mut Findings,
    ) -> Option<Shape> {
        self.is_followed = true;
        let with_rate = "goes with `rate`; without it, requests are due when the trace says";
        let with_users = "goes with `users`; without it, requests are due when the trace says";
        for (key, is_set, message) in [
            ("arrivals", written.arrivals.is_some(), with_rate),
            ("think", written.think.is_some(), with_users),
        ] {
            if is_set {
                findings.error(&path.key(key), message);
            }
        }
        if !self.replay.trace.format().has_times() {
            let name = self.replay.trace.format().name();
            findings.error(path, format!("needs `rate` or `users`: a trace of `{name}` has no times"));
            return None;
        }
        if self.has_open_end {
            let message =
                "would not know where to go on in the trace: the stage before it ends by its `requests`";
            findings.error(path, message);
            return None;
        }
        let (key, time) = match written.time {
            Some(time) => ("for", Some(time.0)),
            None => ("warm_up", written.warm_up.map(|time| time.0)),
        };
        let requests = written.requests.map(std::num::NonZeroU64::get);
        self.has_open_end = requests.is_some();
        let from = self.next;
        let bounds = self.bounds((key, time), requests, path, findings)?;
        self.next = from.saturating_add(bounds.time.unwrap_or_default());
        Some(Shape::Trace { replay: Arc::clone(self.replay), from, bounds })
    }

    /// When a stage ends. Its time has the key that it is written under.
    fn bounds(
        &self,
        (key, time): (&str, Option<Duration>),
        requests: Option<u64>,
        path: &KeyPath,
        findings: &mut Findings,
    ) -> Option<StageBounds> {
        if self.replay.repeats {
            if time.is_none() && requests.is_none() {
                let message = "needs an end: `for`, `warm_up` or `requests`, because the trace starts again";
                findings.error(path, message);
                return None;
            }
            return Some(StageBounds { time, requests });
        }
        let length = self.replay.length();
        let left = length.saturating_sub(self.next);
        if left.is_zero() {
            let message = format!("begins when the trace is over, after {}", show_duration(length));
            findings.error(path, message);
            return None;
        }
        if time.is_some_and(|time| time > left) {
            let message =
                format!("is longer than the rest of the trace: the stage ends after {}", show_duration(left));
            findings.warn(&path.key(key), message);
        }
        Some(StageBounds { time: Some(time.map_or(left, |time| time.min(left))), requests })
    }

    /// Rejects keys that have no effect.
    pub(super) fn check_used(&self, written: &config::TraceFile, path: &KeyPath, findings: &mut Findings) {
        if self.is_followed || !self.replay.trace.format().has_times() {
            return;
        }
        for (key, is_set) in [
            ("speed", written.speed.is_some()),
            ("scale", written.scale.is_some()),
            ("loop", written.repeats),
        ] {
            if is_set {
                let message =
                    "goes with a stage without `rate` and `users`, in which requests are due as recorded";
                findings.error(&path.key(key), message);
            }
        }
    }
}
