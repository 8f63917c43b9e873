//! The KV cache: which blocks are in use, which hold a reusable prefix, and which are free.
//!
//! Pure accounting. It knows nothing about time, requests or text: a block is a number or the hash of its content.

use std::collections::{BTreeMap, HashMap};

/// All blocks of the cache.
///
/// A block is free, private to one sequence, or shared under the hash of its content. A shared block without users is
/// idle: it keeps its content until its room is needed, and the least recently used one is evicted first.
#[derive(Debug)]
pub(crate) struct Blocks {
    total: usize,
    free: usize,
    shared: HashMap<u64, SharedBlock>,
    idle: BTreeMap<u64, u64>,
    clock: u64,
    reuse: bool,
}

/// The blocks of one sequence, in token order. Return them with [`Blocks::release`].
#[derive(Debug, Default)]
pub(crate) struct Holding {
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct SharedBlock {
    users: usize,
    idle_since: u64,
}

#[derive(Clone, Copy, Debug)]
enum Block {
    Private,
    Shared(u64),
}

impl Blocks {
    /// `total` free blocks; without `reuse`, no content is kept for other sequences.
    pub(crate) fn new(total: usize, reuse: bool) -> Self {
        Self { total, free: total, shared: HashMap::new(), idle: BTreeMap::new(), clock: 0, reuse }
    }

    /// Fraction of all blocks that sequences use, from 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        if self.total == 0 { 0.0 } else { 1.0 - self.available() as f64 / self.total as f64 }
    }

    /// Number of blocks that could be allocated now.
    pub(crate) fn available(&self) -> usize {
        self.free + self.idle.len()
    }

    /// Number of all blocks.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Takes the longest run of leading blocks that is in the cache.
    pub(crate) fn take_prefix(&mut self, hashes: &[u64]) -> Holding {
        let mut holding = Holding::default();
        for hash in hashes {
            let Some(shared) = self.shared.get_mut(hash) else { break };
            if shared.users == 0 {
                self.idle.remove(&shared.idle_since);
            }
            shared.users += 1;
            holding.blocks.push(Block::Shared(*hash));
        }
        holding
    }

    /// Allocates private blocks for `holding` until it has `count`: all of them, or none if there are not enough.
    pub(crate) fn grow(&mut self, holding: &mut Holding, count: usize) -> bool {
        let missing = count.saturating_sub(holding.len());
        if missing > self.available() {
            return false;
        }
        while self.free < missing {
            let Some((_, hash)) = self.idle.pop_first() else { return false };
            self.shared.remove(&hash);
            self.free += 1;
        }
        self.free -= missing;
        holding.blocks.extend(std::iter::repeat_n(Block::Private, missing));
        true
    }

    /// Publishes the first blocks of `holding`, which are full by now, under their hashes for other sequences to find.
    pub(crate) fn publish(&mut self, holding: &mut Holding, hashes: &[u64]) {
        if !self.reuse {
            return;
        }
        // Blocks fill from the front, so only the last ones can be new.
        for (block, hash) in holding.blocks.iter_mut().zip(hashes).rev() {
            if matches!(block, Block::Shared(_)) {
                break;
            }
            // Two sequences may compute the same block at once: the second keeps its own copy.
            if !self.shared.contains_key(hash) {
                self.shared.insert(*hash, SharedBlock { users: 1, idle_since: 0 });
                *block = Block::Shared(*hash);
            }
        }
    }

    /// Releases all blocks of a sequence. Its last block is evicted first.
    pub(crate) fn release(&mut self, holding: Holding) {
        for block in holding.blocks.into_iter().rev() {
            let Block::Shared(hash) = block else {
                self.free += 1;
                continue;
            };
            let Some(shared) = self.shared.get_mut(&hash) else { continue };
            shared.users = shared.users.saturating_sub(1);
            if shared.users == 0 {
                self.clock += 1;
                shared.idle_since = self.clock;
                self.idle.insert(self.clock, hash);
            }
        }
    }
}

impl Holding {
    /// Number of blocks held.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn consistent(blocks: &Blocks, held: &[Holding]) {
        let private = held
            .iter()
            .flat_map(|holding| &holding.blocks)
            .filter(|block| matches!(block, Block::Private))
            .count();
        assert_eq!(blocks.free + private + blocks.shared.len(), blocks.total);
        let idle = blocks.shared.values().filter(|shared| shared.users == 0).count();
        assert_eq!(idle, blocks.idle.len());
        for (hash, shared) in &blocks.shared {
            let users = held
                .iter()
                .flat_map(|holding| &holding.blocks)
                .filter(|block| matches!(block, Block::Shared(other) if other == hash))
                .count();
            assert_eq!(users, shared.users);
        }
    }

    #[test]
    fn a_prefix_is_found_again_after_its_sequence_ended() {
        let mut blocks = Blocks::new(8, true);
        let mut first = blocks.take_prefix(&[1, 2, 3]);
        assert_eq!(first.len(), 0);
        assert!(blocks.grow(&mut first, 4));
        blocks.publish(&mut first, &[1, 2, 3]);
        blocks.release(first);
        assert_eq!(blocks.available(), 8);
        let second = blocks.take_prefix(&[1, 2, 9]);
        assert_eq!(second.len(), 2);
        assert_eq!(blocks.available(), 6);
        blocks.release(second);
    }

    #[test]
    fn the_end_of_a_prefix_is_evicted_before_its_start() {
        let mut blocks = Blocks::new(3, true);
        let mut first = Holding::default();
        assert!(blocks.grow(&mut first, 3));
        blocks.publish(&mut first, &[1, 2, 3]);
        blocks.release(first);
        let mut other = Holding::default();
        assert!(blocks.grow(&mut other, 1));
        assert_eq!(blocks.take_prefix(&[1, 2, 3]).len(), 2);
    }

    #[test]
    fn without_reuse_nothing_is_found() {
        let mut blocks = Blocks::new(4, false);
        let mut first = Holding::default();
        assert!(blocks.grow(&mut first, 2));
        blocks.publish(&mut first, &[1, 2]);
        blocks.release(first);
        assert_eq!(blocks.take_prefix(&[1, 2]).len(), 0);
    }

    proptest! {
        // For every sequence of takes, growths, publications and releases: free, private and shared blocks add up to
        // all blocks, and the user count of each shared block is the number of holdings that contain it.
        #[test]
        fn blocks_add_up(steps in prop::collection::vec((0_u8..4, 0_u64..6, 0_usize..8), 1..80)) {
            let mut blocks = Blocks::new(20, true);
            let mut held: Vec<Holding> = Vec::new();
            for (what, family, size) in steps {
                let hashes: Vec<u64> = (0..size as u64).map(|at| family * 100 + at).collect();
                match what {
                    0 | 1 => {
                        let mut holding = blocks.take_prefix(&hashes);
                        if blocks.grow(&mut holding, size + 1) {
                            if what == 1 {
                                blocks.publish(&mut holding, &hashes);
                            }
                            held.push(holding);
                        } else {
                            blocks.release(holding);
                        }
                    }
                    2 => if let Some(holding) = held.last_mut() {
                        let count = holding.len() + size;
                        let before = blocks.available();
                        let grew = blocks.grow(holding, count);
                        prop_assert_eq!(grew, size <= before);
                    },
                    _ => if !held.is_empty() {
                        blocks.release(held.swap_remove(size % held.len()));
                    },
                }
                consistent(&blocks, &held);
            }
        }
    }
}
