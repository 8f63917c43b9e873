//! Keeps the log readable when the same event repeats: a limited number of lines per period, then a count.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Lines per second of a pair of profile and target.
const LINES: u32 = 5;

/// Allows a number of lines per period and counts the rest.
#[derive(Debug)]
pub struct LogThrottle {
    lines: u32,
    within: Duration,
    window: Mutex<ThrottleWindow>,
}

#[derive(Debug, Default)]
struct ThrottleWindow {
    opened: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Default for LogThrottle {
    /// Five lines per second.
    fn default() -> Self {
        Self::new(LINES, Duration::from_secs(1))
    }
}

impl LogThrottle {
    /// Allows `lines` lines in each period of `within`.
    pub fn new(lines: u32, within: Duration) -> Self {
        Self { lines, within, window: Mutex::default() }
    }

    /// Whether a line may be written now; if so, returns the number of lines suppressed since the last one.
    pub fn line(&self) -> Option<u64> {
        let now = Instant::now();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.opened.is_none_or(|opened| now.saturating_duration_since(opened) >= self.within) {
            window.opened = Some(now);
            window.lines = 0;
        }
        if window.lines >= self.lines {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_lines_per_second_and_a_count() {
        let log_throttle = LogThrottle::default();
        let lines: Vec<_> = (0..8).map(|_| log_throttle.line()).collect();
        assert_eq!(lines, [Some(0), Some(0), Some(0), Some(0), Some(0), None, None, None]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((log_throttle.line(), log_throttle.line()), (Some(3), Some(0)));
    }
}
