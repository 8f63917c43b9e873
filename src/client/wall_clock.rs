//! The wall clock, used only for headers: a signature contains the time, and `Retry-After` may be a date. No duration
//! is measured with it.

use jiff::Timestamp;
use std::time::SystemTime;

/// The system clock's current time.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// The current time in the type that the AWS crates take.
pub(super) fn system_now() -> SystemTime {
    SystemTime::now()
}
