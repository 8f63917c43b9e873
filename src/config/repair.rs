//! Replaces values that do not match the schema, so that the rest of a config can be checked as well.
//!
//! It is unknown what an invalid value was meant to be. The config is therefore checked several times, each time with
//! different valid values in its place, and once without it. An error that occurs every time is an error whatever was
//! meant.

use super::load::BrokenParts;
use super::path::{KeyPath, Segment};
use super::schema::Schema;
use super::tree::Node;
use super::validate::{Misfit, Repair, nearest, validate};
use crate::limits;
use serde_json::Value;

/// Maximum number of variants of a config: one for each word of the longest enum, and more than that for the keys that an
/// unknown one may have been meant to be; and one without the value.
const MAX_VARIANTS: usize = 13;

/// Maximum number of rounds of repair. A replacement may itself be incomplete. After the last round the part is left
/// out.
const ROUNDS: usize = 4;

/// Maximum depth of the maps and lists that replace a value.
const DEPTH: usize = 4;

/// A config that matches the schema.
pub(super) struct Repaired {
    pub(super) tree: Node,
    /// The parts that could not be repaired.
    pub(super) broken: BrokenParts,
    /// Paths whose values differ from what was written.
    pub(super) changed: Vec<KeyPath>,
}

impl Repaired {
    /// A tree that already matches the schema.
    pub(super) fn unchanged(tree: &Node) -> Self {
        Self { tree: tree.clone(), broken: BrokenParts::default(), changed: Vec::new() }
    }
}

/// Returns the tree with as little as possible in place of its misfits, and variants of it with different choices of
/// values.
pub(super) fn variants(tree: &Node, misfits: &[Misfit]) -> (Repaired, Vec<Repaired>) {
    let repairs: Vec<Repair> = misfits.iter().map(|misfit| misfit.repair.clone()).collect();
    let schema = Schema::get();
    let root = schema.root();
    let choices = repairs.iter().map(|repair| match repair {
        Repair::Remove(path) => meant(tree, path).len(),
        Repair::Fill(path) => root.at(path).examples(DEPTH).len(),
    });
    let affordable = (limits::GUESSED_VALUES / tree.count().max(1)).min(MAX_VARIANTS - 1);
    let count = choices.max().unwrap_or(1).clamp(1, MAX_VARIANTS - 1).min(affordable);
    let others = (0..count).map(|choice| repaired(tree, &repairs, Some(choice))).collect();
    (repaired(tree, &repairs, None), others)
}

/// Returns the tree with the values of one choice, or with as little as possible.
fn repaired(tree: &Node, repairs: &[Repair], choice: Option<usize>) -> Repaired {
    let mut all = Repaired::unchanged(tree);
    let mut left: Vec<Repair> = repairs.to_vec();
    for round in 0..ROUNDS {
        for repair in &left {
            all.apply(repair, choice, round);
        }
        left = validate(&all.tree, false).into_iter().map(|misfit| misfit.repair).collect();
        if left.is_empty() {
            return all;
        }
    }
    for repair in &left {
        all.broken.add(repair.path());
    }
    all
}

impl Repaired {
    fn apply(&mut self, repair: &Repair, choice: Option<usize>, round: usize) {
        match (repair, choice) {
            (Repair::Remove(path), _) => {
                let meant = meant(&self.tree, path);
                self.set(path, None);
                if let Some(meant) = choice.and_then(|choice| pick(meant, choice)) {
                    self.fill(&meant, round);
                }
            }
            // The first round removes the value. If a value is required, later rounds insert a valid one.
            (Repair::Fill(path), None) if round == 0 => self.set(path, None),
            (Repair::Fill(path), _) => self.fill(path, choice.unwrap_or(0) + round),
        }
    }

    fn fill(&mut self, path: &KeyPath, wanted: usize) {
        let value = pick(Schema::get().root().at(path).examples(DEPTH), wanted);
        self.set(path, value);
    }

    fn set(&mut self, path: &KeyPath, value: Option<Value>) {
        self.tree.set(path.segments(), value);
        self.changed.push(path.clone());
    }
}

/// The keys that an unknown key may have been meant to be: all known keys that its map does not have, the nearest
/// first.
fn meant(tree: &Node, unknown: &KeyPath) -> Vec<KeyPath> {
    let Some((Segment::Key(written), above)) = unknown.segments().split_last() else { return Vec::new() };
    let map: KeyPath = above.iter().cloned().collect();
    let schema = Schema::get();
    let known = schema.root().at(&map).keys();
    let near = nearest(written, known.iter().copied());
    let absent = |key: &&str| {
        let path = map.key(key);
        path.segments().iter().try_fold(tree, |node, segment| node.child(segment)).is_none()
    };
    let mut absent: Vec<&str> = known.into_iter().filter(absent).collect();
    absent.sort_by_key(|key| Some(*key) != near);
    absent.into_iter().map(|key| map.key(key)).collect()
}

/// Returns the item at an index, modulo the number of items.
fn pick<T>(from: Vec<T>, wanted: usize) -> Option<T> {
    let index = wanted.checked_rem(from.len())?;
    from.into_iter().nth(index)
}
