//! Shows the progress of a run on stderr: a bar on a terminal, lines otherwise.

use crate::config::show_duration;
use crate::event::{Outcome, RunSummary};
use crate::fact::{Fact, Sink};
use crate::plan::PairPlan;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Update interval of the bar.
const TICK: Duration = Duration::from_millis(200);
/// Interval of lines without a terminal.
const LINE: Duration = Duration::from_secs(10);

/// Counts the requests of a run for the display.
#[derive(Debug, Default)]
pub(super) struct RunProgress {
    offered: AtomicU64,
    over: AtomicU64,
    failed: AtomicU64,
}

/// The display of a run; ended by [`RunDisplay::finish`].
pub(super) struct RunDisplay {
    bar: Option<ProgressBar>,
    _watch: DropGuard,
}

impl RunProgress {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows the run of a pair, which begins now. Must be called on a runtime.
    pub(super) fn show(self: &Arc<Self>, pair: &PairPlan, time: Option<Duration>) -> RunDisplay {
        let other = pair.compared.as_ref().map(|compared| format!(" and {}", compared.other.name));
        let title = format!("{} on {}{}", pair.pair.profile, pair.pair.target, other.unwrap_or_default());
        let time = time.or_else(|| planned(pair));
        // The runs before this one have ended.
        for count in [&self.offered, &self.over, &self.failed] {
            count.store(0, Ordering::Relaxed);
        }
        let stop = CancellationToken::new();
        let bar = std::io::stderr().is_terminal().then(|| bar(&title, time));
        if bar.is_none() {
            say!("{title}: started{}", planned_load(time));
        }
        tokio::spawn(watch(Arc::clone(self), title, bar.clone(), stop.clone()));
        RunDisplay { bar, _watch: stop.drop_guard() }
    }

    fn line(&self) -> String {
        let [offered, over, failed] =
            [&self.offered, &self.over, &self.failed].map(|count| count.load(Ordering::Relaxed));
        format!("{offered} offered, {} in flight, {failed} failed", offered.saturating_sub(over))
    }
}

impl Sink for RunProgress {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::Offered { .. } => drop(self.offered.fetch_add(1, Ordering::Relaxed)),
            Fact::Skipped { .. } => drop(self.over.fetch_add(1, Ordering::Relaxed)),
            Fact::Ended { request, .. } => {
                self.over.fetch_add(1, Ordering::Relaxed);
                self.failed.fetch_add(u64::from(request.outcome != Outcome::Ok), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl RunDisplay {
    /// Ends the display, and prints the results of the runs that it showed.
    pub(super) fn finish(self, summaries: &[RunSummary]) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        for summary in summaries {
            let pair = &summary.run.pair;
            say!("{} on {}: {}", pair.profile, pair.target, summary.result.label());
        }
    }
}

async fn watch(progress: Arc<RunProgress>, title: String, bar: Option<ProgressBar>, stop: CancellationToken) {
    let started = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(if bar.is_some() { TICK } else { LINE }) => {}
        }
        match &bar {
            Some(bar) => {
                bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
                bar.set_message(progress.line());
            }
            None => say!("{title}: {} s, {}", started.elapsed().as_secs(), progress.line()),
        }
    }
}

/// The total time of all stages, if each has one.
fn planned(pair: &PairPlan) -> Option<Duration> {
    pair.profile.stages.iter().map(|stage| stage.shape.bounds().time).sum()
}

/// Says how long there will be load, to the millisecond.
fn planned_load(time: Option<Duration>) -> String {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    time.map_or_else(String::new, |time| {
        format!(", {} of load", show_duration(Duration::from_millis(millis(time))))
    })
}

fn bar(title: &str, time: Option<Duration>) -> ProgressBar {
    let (bar, template) = match time {
        Some(time) => {
            let length = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            (ProgressBar::new(length), "{prefix} {wide_bar} {elapsed} {msg}")
        }
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {elapsed} {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_prefix(title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_time_is_shown_as_durations_are_written() {
        let shown =
            [3_974_358_999, 90_000_000_000].map(|nanos| planned_load(Some(Duration::from_nanos(nanos))));
        assert_eq!(shown, [", 3s974ms of load", ", 1m30s of load"]);
        assert_eq!(planned_load(None), "");
    }
}
