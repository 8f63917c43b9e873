//! Whether the process is up, and whether it still accepts work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The state of the process, shared by the code that changes it and the endpoint that reports it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// The phases in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecyclePhase {
    /// Starting: not everything is running yet.
    Starting,
    /// Ready: playing its schedules.
    Ready,
    /// Stopping: no new runs are started, open requests finish.
    Draining,
}

impl Readiness {
    /// Changes to another phase.
    pub fn set(&self, phase: LifecyclePhase) {
        let code = match phase {
            LifecyclePhase::Starting => 0,
            LifecyclePhase::Ready => 1,
            LifecyclePhase::Draining => 2,
        };
        self.0.store(code, Ordering::Release);
    }

    /// The current phase.
    pub fn phase(&self) -> LifecyclePhase {
        match self.0.load(Ordering::Acquire) {
            0 => LifecyclePhase::Starting,
            1 => LifecyclePhase::Ready,
            _ => LifecyclePhase::Draining,
        }
    }
}

impl LifecyclePhase {
    /// The text for the endpoint.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}
