//! The wall clock, for what stands in headers alone: a signature holds the time, and `Retry-After` may be a date. No
//! duration is measured with it.

use jiff::Timestamp;
use std::time::SystemTime;

/// What the system's clock shows.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// The same as the type that the AWS crates take.
pub(super) fn system_now() -> SystemTime {
    SystemTime::now()
}
