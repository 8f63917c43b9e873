//! The process's limit of open files, and whether it suffices for the config.

use crate::config::{KeyPath, Located, Position};
use crate::plan::Plan;
use crate::server::max_connections;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors for everything except requests and connections to the web port: files of secrets and config,
/// export, the runtime.
const OTHERS: u64 = 128;

/// Raises the soft limit to the hard limit. The soft limit protects programs that use `select`, which is not used here.
/// If it cannot be raised, it stays.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(
            from = current,
            to = maximum.map_or_else(|| "unlimited".to_owned(), |most| most.to_string()),
            "raised the limit of open files from the soft to the hard one"
        ),
        Err(error) => tracing::warn!(%error, limit = current, "cannot raise the limit of open files"),
    }
}

/// The number of files that this process may open; `None` means unlimited.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Warns if `agent.limits.in_flight` requests, each with its own connection, need more files than this process may
/// open. The hard limit decides, because the soft limit is raised to it.
pub(super) fn warning(plan: &Plan) -> Option<Located> {
    short_of(plan.agent.in_flight.get().into(), getrlimit(Resource::Nofile).maximum)
}

fn short_of(in_flight: u64, limit: Option<u64>) -> Option<Located> {
    let beside = u64::try_from(max_connections(limit)).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let limit = limit?;
    let needed = in_flight.saturating_add(beside);
    if needed <= limit {
        return None;
    }
    let message = format!(
        "{in_flight} requests in flight need up to {needed} file descriptors and this process may open {limit}: requests \
         beyond that will end as `internal`. Raise the limit (ulimit -n, LimitNOFILE), or set this to {} or less",
        limit.saturating_sub(beside).max(1)
    );
    let path = KeyPath::of(["agent", "limits", "in_flight"]);
    Some(Located { position: Position::Nowhere, path, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_limit();
        assert_eq!(limit(), getrlimit(Resource::Nofile).maximum);
    }

    #[test]
    fn a_limit_that_does_not_fit_is_told_with_one_that_does() {
        assert_eq!(short_of(4096, None), None);
        assert_eq!(short_of(4096, Some(4096 + 512 + OTHERS)), None);
        let said = short_of(4096, Some(1024)).unwrap().to_string();
        assert!(said.contains("agent.limits.in_flight: 4096 requests in flight need up to 4352"), "{said}");
        assert!(said.ends_with("or set this to 768 or less"), "{said}");
        assert!(short_of(1, Some(64)).is_some());
    }
}
