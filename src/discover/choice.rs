//! Chooses the replicas that are measured, if there are more than may be. Pure.

use crate::plan::Replica;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The chosen replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// In order of their names.
    pub(super) replicas: Vec<Replica>,
    /// Number of those left out.
    pub(super) left_out: usize,
}

/// Chooses at most `max` of the replicas that were found. Those that are known keep their place, so that one more replica
/// ends no series; then they are taken in order of their names. Replicas with the same name are named by their addresses.
pub(super) fn choose(known: &[Replica], found: Vec<Replica>, max: usize) -> Choice {
    let found = distinct(found);
    let is_known = |replica: &Replica| known.iter().any(|known| known.name == replica.name);
    let total = found.len();
    let (mut replicas, others): (Vec<_>, Vec<_>) = found.into_iter().partition(is_known);
    replicas.truncate(max);
    let room = max.saturating_sub(replicas.len());
    replicas.extend(others.into_iter().take(room));
    replicas.sort();
    Choice { left_out: total.saturating_sub(replicas.len()), replicas }
}

/// Each address once, with a name of its own, in order of the names.
fn distinct(mut found: Vec<Replica>) -> Vec<Replica> {
    found.sort();
    found.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
    let mut names: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for replica in &found {
        *names.entry(Arc::clone(&replica.name)).or_default() += 1;
    }
    let own = |replica: Replica| match names.get(&replica.name) {
        Some(1) => replica,
        _ => Replica::new(replica.host, replica.port),
    };
    // An address may also have been given as a name to another replica: the first one keeps it.
    let by_name: BTreeMap<Arc<str>, Replica> =
        found.into_iter().rev().map(own).map(|replica| (Arc::clone(&replica.name), replica)).collect();
    let mut by_address: BTreeMap<_, Replica> = BTreeMap::new();
    for replica in by_name.into_values() {
        by_address.entry((replica.host.clone(), replica.port)).or_insert(replica);
    }
    let mut all: Vec<Replica> = by_address.into_values().collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use url::Host;

    fn replica(name: &str, last: u8) -> Replica {
        Replica { name: name.into(), ..Replica::new(Host::Ipv4([10, 0, 0, last].into()), 80) }
    }

    fn names(choice: &Choice) -> Vec<&str> {
        choice.replicas.iter().map(|replica| &*replica.name).collect()
    }

    #[test]
    fn known_replicas_keep_their_place() {
        let all = |names: &[&str]| names.iter().zip(1..).map(|(name, last)| replica(name, last)).collect();
        let first = choose(&[], all(&["b", "d", "c"]), 2);
        assert_eq!((names(&first), first.left_out), (vec!["b", "c"], 1));
        // One comes whose name is in front.
        let second = choose(&first.replicas, vec![replica("a", 9), replica("b", 1), replica("c", 3)], 2);
        assert_eq!((names(&second), second.left_out), (vec!["b", "c"], 1));
        // One goes, and makes room.
        let third = choose(&second.replicas, vec![replica("a", 9), replica("c", 3)], 2);
        assert_eq!((names(&third), third.left_out), (vec!["a", "c"], 0));
        let none = choose(&third.replicas, Vec::new(), 2);
        assert_eq!((names(&none), none.left_out), (vec![], 0));
    }

    #[test]
    fn replicas_with_one_name_are_named_by_their_addresses() {
        let choice = choose(&[], vec![replica("x", 1), replica("x", 2), replica("y", 3)], 9);
        assert_eq!(names(&choice), ["10.0.0.1:80", "10.0.0.2:80", "y"]);
        let same = choose(&[], vec![replica("x", 1), replica("x", 1)], 9);
        assert_eq!((names(&same), same.left_out), (vec!["x"], 0));
    }

    proptest! {
        #[test]
        fn a_choice_is_sorted_distinct_within_the_limit_and_does_not_depend_on_the_order(
            known in proptest::collection::vec((0_u8..6, 0_u8..6), 0..6),
            found in proptest::collection::vec((0_u8..6, 0_u8..6), 0..12),
            max in 1_usize..5,
        ) {
            let replicas = |of: &[(u8, u8)]| -> Vec<Replica> {
                of.iter().map(|(name, last)| replica(&format!("r{name}"), *last)).collect()
            };
            let known = choose(&[], replicas(&known), max).replicas;
            let all = replicas(&found);
            let choice = choose(&known, all.clone(), max);
            prop_assert!(choice.replicas.len() <= max);
            prop_assert!(choice.replicas.windows(2).all(|pair| pair[0].name < pair[1].name));
            let reversed: Vec<_> = all.into_iter().rev().collect();
            prop_assert_eq!(&choose(&known, reversed.clone(), max), &choice);
            // What was chosen stays chosen.
            prop_assert_eq!(&choose(&choice.replicas, reversed, max).replicas, &choice.replicas);
        }
    }
}
