//! What discovery says about the replicas of a target, and how replicas are named.

use enum_map::Enum;
use std::sync::Arc;
use strum::{IntoStaticStr, VariantArray};

/// What is between the name of a target and that of its replica. The name of a target does not contain it.
const AT: char = '@';

/// The name of a replica as a target: `target@replica`.
pub fn replica_name(target: &str, replica: &str) -> String {
    format!("{target}{AT}{replica}")
}

/// The configured name in the name of a target, and the name of the replica if it is one.
pub fn split_replica(name: &str) -> (&str, Option<&str>) {
    name.split_once(AT).map_or((name, None), |(target, replica)| (target, Some(replica)))
}

/// Why a source of addresses gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LookFailure {
    /// The file cannot be read.
    Unreadable,
    /// There is no answer.
    Unreachable,
    /// The answer is an error.
    Refused,
    /// What it says is not in its format.
    Invalid,
}

impl LookFailure {
    /// All failures.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The result of asking the source of a target's replicas once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryLook {
    /// The configured name of the target.
    pub target: Arc<str>,
    /// Number of replicas from now on.
    pub replicas: usize,
    /// Number of replicas that were found and left out.
    pub left_out: usize,
    /// Why nothing was found out, if so: the replicas stay as they were.
    pub failure: Option<LookFailure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_replica_tells_its_target() {
        assert_eq!(split_replica(&replica_name("llm", "[::1]:80")), ("llm", Some("[::1]:80")));
        assert_eq!(split_replica("llm"), ("llm", None));
        assert_eq!(split_replica("llm@a@b"), ("llm", Some("a@b")));
    }
}
