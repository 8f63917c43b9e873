//! Metrics of this process that remain available when it has run out of file descriptors, because that is when they are
//! needed. The library's collector opens files for each metric.

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Gauge, MetricFamily};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom, openat, seek};
use std::mem::MaybeUninit;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The metric of the number of open file descriptors.
const OPEN: &str = "process_open_fds";

/// Size in bytes of the buffer for listing descriptors.
const PART: usize = 8192;

/// State for the metrics of this process, independent of the plan.
static KEPT: LazyLock<CollectorState> = LazyLock::new(|| CollectorState {
    descriptors: openat(
        CWD,
        "/proc/self/fd",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
    .map(Mutex::new),
    last: Mutex::default(),
});

struct CollectorState {
    /// The folder of the descriptors. Listing it again needs no new descriptor.
    descriptors: Option<Mutex<OwnedFd>>,
    /// The last collected families.
    last: Mutex<Vec<MetricFamily>>,
}

/// Collects the metrics of this process.
pub(super) struct ProcessMetrics(ProcessCollector);

impl ProcessMetrics {
    /// Opens the descriptor that it needs when called for the first time.
    pub(super) fn new() -> Self {
        LazyLock::force(&KEPT);
        Self(ProcessCollector::for_self())
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        KEPT.completed(self.0.collect())
    }
}

impl CollectorState {
    /// Adds the last known values of what could not be read, and the current number of open descriptors.
    fn completed(&self, mut families: Vec<MetricFamily>) -> Vec<MetricFamily> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for known in last.iter() {
            if !families.iter().any(|family| family.name() == known.name()) {
                families.push(known.clone());
            }
        }
        if let Some(open) = self.open() {
            let counts = families.iter_mut().filter(|family| family.name() == OPEN);
            for metric in counts.flat_map(MetricFamily::mut_metric) {
                let mut gauge = Gauge::default();
                gauge.set_value(open as f64);
                metric.set_gauge(gauge);
            }
        }
        last.clone_from(&families);
        families
    }

    fn open(&self) -> Option<u64> {
        let folder = self.descriptors.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        seek(&*folder, SeekFrom::Start(0)).ok()?;
        let mut part = [MaybeUninit::uninit(); PART];
        let mut entries = RawDir::new(&*folder, &mut part);
        let mut open = 0;
        while let Some(entry) = entries.next() {
            let name = entry.ok()?.file_name().to_bytes().to_owned();
            open += u64::from(name != b"." && name != b"..");
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_fds(families: &[MetricFamily]) -> Option<f64> {
        let family = families.iter().find(|family| family.name() == OPEN)?;
        Some(family.get_metric()[0].get_gauge().value())
    }

    #[test]
    fn what_cannot_be_read_stays_and_descriptors_are_counted() {
        let library = ProcessCollector::for_self();
        let whole = KEPT.completed(library.collect());
        let names = |families: &[MetricFamily]| {
            let mut names: Vec<String> = families.iter().map(|family| family.name().to_owned()).collect();
            names.sort();
            names
        };
        assert!(names(&whole).len() >= 6, "{:?}", names(&whole));
        // The same as if no file could be opened.
        let none = KEPT.completed(Vec::new());
        assert_eq!(names(&none), names(&whole));
        let without =
            whole.iter().filter(|family| family.name() != "process_cpu_seconds_total").cloned().collect();
        assert_eq!(names(&KEPT.completed(without)), names(&whole));
    }

    #[test]
    fn the_count_is_that_of_now() {
        // Other tests open and close files meanwhile, but far fewer than this.
        let before = open_fds(&KEPT.completed(Vec::new()))
            .or_else(|| open_fds(&KEPT.completed(ProcessCollector::for_self().collect())));
        let more: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = open_fds(&KEPT.completed(Vec::new()));
        assert!(after.unwrap() >= before.unwrap() + 100.0, "{before:?} {after:?}");
        drop(more);
    }
}
