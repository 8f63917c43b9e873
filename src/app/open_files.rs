//! Whether the limit of open files of this process fits what the configuration asks of it.

use crate::config::{KeyPath, Located, Position};
use crate::plan::Plan;
use rustix::process::{Resource, getrlimit};

/// Descriptors for everything but requests: connections to the web port, files of secrets and of the configuration,
/// export, the runtime.
const BESIDE_REQUESTS: u64 = 256;

/// A warning if `agent.limits.in_flight` requests, each with a connection of its own, are more than this process may open.
/// The soft limit can be raised up to the hard one, so that one decides.
pub(super) fn warning(plan: &Plan) -> Option<Located> {
    short_of(plan.agent.in_flight.get().into(), getrlimit(Resource::Nofile).maximum)
}

fn short_of(in_flight: u64, limit: Option<u64>) -> Option<Located> {
    let limit = limit?;
    let needed = in_flight + BESIDE_REQUESTS;
    if needed <= limit {
        return None;
    }
    let message = format!(
        "{in_flight} requests in flight need up to {needed} file descriptors and this process may open {limit}: requests \
         beyond that will end as `internal`. Raise the limit (ulimit -n, LimitNOFILE), or set this to {} or less",
        limit.saturating_sub(BESIDE_REQUESTS).max(1)
    );
    let path = KeyPath::of(["agent", "limits", "in_flight"]);
    Some(Located { position: Position::Nowhere, path, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_does_not_fit_is_told_with_one_that_does() {
        assert_eq!(short_of(4096, None), None);
        assert_eq!(short_of(4096, Some(4096 + BESIDE_REQUESTS)), None);
        let said = short_of(4096, Some(1024)).unwrap().to_string();
        assert!(said.contains("agent.limits.in_flight: 4096 requests in flight need up to 4352"), "{said}");
        assert!(said.ends_with("or set this to 768 or less"), "{said}");
        assert!(short_of(1, Some(64)).is_some());
    }
}
