//! Takes what does not fit the schema out of the way, so that the rest of a config can be judged beside it.
//!
//! Nobody knows what a broken value was meant to be. So the config is judged several times, each time with other
//! values that fit in its place, and once without it: what is wrong every time is wrong whatever was meant.

use super::load::BrokenParts;
use super::path::{KeyPath, Segment};
use super::schema::Schema;
use super::tree::Node;
use super::validate::{Misfit, Repair, nearest, validate};
use crate::limits;
use serde_json::Value;

/// How often a config is judged at most: the words of the longest closed list, and the config without them.
const MAX_VARIANTS: usize = 11;

/// A replacement may itself lack something; after this number of rounds the part is left out.
const ROUNDS: usize = 4;

/// How deep maps and lists are that are put in the place of a value.
const DEPTH: usize = 4;

/// A config that fits the schema.
pub(super) struct Repaired {
    pub(super) tree: Node,
    /// What could not be repaired.
    pub(super) broken: BrokenParts,
    /// Places at which nothing is as it was written.
    pub(super) changed: Vec<KeyPath>,
}

impl Repaired {
    /// A tree that fits as it is.
    pub(super) fn unchanged(tree: &Node) -> Self {
        Self { tree: tree.clone(), broken: BrokenParts::default(), changed: Vec::new() }
    }
}

/// The tree with as little as possible in the place of its misfits, and with one choice of values after the other.
pub(super) fn variants(tree: &Node, misfits: &[Misfit]) -> (Repaired, Vec<Repaired>) {
    let repairs: Vec<Repair> = misfits.iter().map(|misfit| misfit.repair.clone()).collect();
    let root = Schema::get().root();
    let choices = repairs.iter().map(|repair| match repair {
        Repair::Remove(path) => meant(tree, path).len(),
        Repair::Fill(path) => root.at(path).examples(DEPTH).len(),
    });
    let affordable = (limits::GUESSED_VALUES / tree.count().max(1)).min(MAX_VARIANTS - 1);
    let count = choices.max().unwrap_or(1).clamp(1, MAX_VARIANTS - 1).min(affordable);
    let others = (0..count).map(|choice| repaired(tree, &repairs, Some(choice))).collect();
    (repaired(tree, &repairs, None), others)
}

/// The tree with the values of one choice, or with as little as possible.
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
            // At first without it, and with the first value that fits where one must be there.
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

/// What an unknown key may have been meant to be: the keys that its map does not have yet, the nearest first.
fn meant(tree: &Node, unknown: &KeyPath) -> Vec<KeyPath> {
    let Some((Segment::Key(written), above)) = unknown.segments().split_last() else { return Vec::new() };
    let map: KeyPath = above.iter().cloned().collect();
    let known = Schema::get().root().at(&map).keys();
    let near = nearest(written, known.iter().copied());
    let absent = |key: &&str| {
        let path = map.key(key);
        path.segments().iter().try_fold(tree, |node, segment| node.child(segment)).is_none()
    };
    let mut absent: Vec<&str> = known.into_iter().filter(absent).collect();
    absent.sort_by_key(|key| Some(*key) != near);
    absent.into_iter().map(|key| map.key(key)).collect()
}

/// One after the other, and from the beginning again.
fn pick<T>(from: Vec<T>, wanted: usize) -> Option<T> {
    let index = wanted.checked_rem(from.len())?;
    from.into_iter().nth(index)
}
