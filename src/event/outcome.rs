//! The closed list of outcomes. Labels are stable: dashboards and alerts name them.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Why a request failed. The list is closed, so that the number of series is known; detail goes to the log and
/// to the recent requests, never into a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Failure {
    /// The name did not resolve.
    Dns,
    /// TCP connect failed.
    Connect,
    /// The TLS handshake failed, certificate errors included.
    Tls,
    /// The proxy could not be reached, or refused or broke the tunnel.
    Proxy,
    /// DNS, TCP and TLS together took longer than `timeouts.connect`.
    ConnectTimeout,
    /// No content arrived within `timeouts.first_token` of the send.
    FirstTokenTimeout,
    /// Nothing but keep-alives arrived for `timeouts.stall` in the middle of an answer.
    StallTimeout,
    /// The whole request took longer than `timeouts.total`.
    TotalTimeout,
    /// We could not get or read a credential or secret of ours.
    Credentials,
    /// 401 or 403.
    Auth,
    /// 429.
    RateLimited,
    /// 503 or 529.
    Overloaded,
    /// Any 3xx: none is followed.
    Redirect,
    /// Another 4xx.
    #[strum(serialize = "http_4xx")]
    Http4xx,
    /// Another 5xx.
    #[strum(serialize = "http_5xx")]
    Http5xx,
    /// The connection was lost after the request was written.
    Reset,
    /// The body ended with neither a terminal event nor a finish reason.
    Truncated,
    /// An error object inside a 200 answer.
    StreamError,
    /// Bytes that the dialect does not allow.
    Protocol,
    /// A complete answer without generated content.
    Empty,
    /// The limit of output tokens that we set was used up by hidden reasoning before anything visible came.
    Exhausted,
    /// A value to take from the answer was not there.
    Extract,
    /// A configured check failed.
    Check,
    /// We stopped it: shutdown.
    Cancelled,
    /// Our own fault: no file descriptor, port or memory, a value of the configuration that is not there, a bug.
    Internal,
}

impl Failure {
    /// Every failure, in the order of the documentation.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum)]
pub enum Outcome {
    /// The answer is complete and passed every check.
    Ok,
    /// It failed, for this reason.
    Failed(Failure),
}

impl Outcome {
    /// `ok`, then every failure.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Ok).chain(Failure::ALL.iter().copied().map(Self::Failed))
    }

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(failure) => failure.label(),
        }
    }

    /// The answer is complete: `ok`, or a failed check on a complete answer. Latency histograms hold these, so
    /// that a check "TTFT under 5 s" does not cut the tail off the histogram.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Ok | Self::Failed(Failure::Check))
    }

    /// The outcome says something about the target. This is the one rule on it: all others are the prober's own, and
    /// are left out of availability, error ratio and SLO events; rules, dashboards and documentation are tested
    /// against it.
    pub const fn judges_target(self) -> bool {
        match self {
            Self::Ok => true,
            Self::Failed(failure) => !matches!(
                failure,
                Failure::Cancelled | Failure::Internal | Failure::Credentials | Failure::Exhausted
            ),
        }
    }

    /// The outcome with this label.
    pub fn by_label(label: &str) -> Option<Self> {
        Self::all().find(|outcome| outcome.label() == label)
    }
}

impl From<Outcome> for &'static str {
    fn from(outcome: Outcome) -> Self {
        outcome.label()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_distinct() {
        let labels: BTreeSet<_> = Outcome::all().map(Outcome::label).collect();
        assert_eq!(labels.len(), Failure::ALL.len() + 1);
        assert!(Outcome::all().all(|outcome| Outcome::by_label(outcome.label()) == Some(outcome)));
        assert_eq!(Outcome::by_label("unknown"), None);
    }
}
