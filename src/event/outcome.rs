//! The closed list of outcomes. Labels are stable, because dashboards and alerts refer to them.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Why a request failed. The list is closed, so that the number of series is known; details go to the log and
/// to the recent requests, never into a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Failure {
    /// The name did not resolve.
    Dns,
    /// The TCP connect failed.
    Connect,
    /// The TLS handshake failed, certificate errors included.
    Tls,
    /// The proxy could not be reached, or it refused or broke the tunnel.
    Proxy,
    /// DNS, TCP and TLS together took longer than `timeouts.connect`.
    ConnectTimeout,
    /// No content arrived within `timeouts.first_token` of the send.
    FirstTokenTimeout,
    /// Nothing but keep-alives arrived for `timeouts.stall` in the middle of an answer.
    StallTimeout,
    /// The whole request took longer than `timeouts.total`.
    TotalTimeout,
    /// One of our own credentials or secrets could not be obtained or read.
    Credentials,
    /// Status 401 or 403.
    Auth,
    /// Status 429.
    RateLimited,
    /// Status 503 or 529.
    Overloaded,
    /// Any 3xx status: redirects are not followed.
    Redirect,
    /// Any other 4xx status.
    #[strum(serialize = "http_4xx")]
    Http4xx,
    /// Any other 5xx status.
    #[strum(serialize = "http_5xx")]
    Http5xx,
    /// The connection was lost after the request was written.
    Reset,
    /// The body ended with neither a terminal event nor a finish reason.
    Truncated,
    /// An error object in the body of a 200 answer.
    StreamError,
    /// Bytes that the dialect does not allow.
    Protocol,
    /// A complete answer without generated content.
    Empty,
    /// Hidden reasoning used up the output token limit that we set before anything visible arrived.
    Exhausted,
    /// A value to be extracted from the answer was missing.
    Extract,
    /// A configured check failed.
    Check,
    /// We stopped it because of a shutdown.
    Cancelled,
    /// Our own fault: out of file descriptors, ports or memory, a missing configuration value, or a bug.
    Internal,
}

impl Failure {
    /// All failures, in the order of the documentation.
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
    /// It failed for this reason.
    Failed(Failure),
}

impl Outcome {
    /// Iterates over `ok` and then all failures.
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

    /// Whether the answer is complete: `ok`, or a failed check on a complete answer. Latency histograms
    /// contain exactly these, so that a check such as "TTFT under 5 s" does not cut off the tail of the
    /// histogram.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Ok | Self::Failed(Failure::Check))
    }

    /// Whether the outcome says something about the target. This is the single definition: all other outcomes
    /// concern only the prober and are excluded from availability, error ratio and SLO events. Rules,
    /// dashboards and documentation are tested against it.
    pub const fn judges_target(self) -> bool {
        match self {
            Self::Ok => true,
            Self::Failed(failure) => !matches!(
                failure,
                Failure::Cancelled | Failure::Internal | Failure::Credentials | Failure::Exhausted
            ),
        }
    }

    /// Whether the outcome with this label says something about the target; one that is not known does.
    pub fn label_judges_target(label: &str) -> bool {
        Self::by_label(label).is_none_or(Self::judges_target)
    }

    /// Looks up an outcome by its label.
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
