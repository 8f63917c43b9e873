//! Seeded random draws: every random choice of a load is derived from a seed and a purpose, so that a run can be
//! replayed and all replicas draw the same. It does not know what is drawn, and imports no other module of this crate.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The seeds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSeeds {
    /// The seed of all random draws except nonces.
    pub draws: u64,
    /// The seed of the nonces that bust caches; it differs when the run is replayed.
    pub nonces: u64,
}

/// A 64-bit hash of `texts` and `numbers` for the purpose `domain`. Stable across versions and platforms: SHA-256 over
/// the parts, each prefixed with its length, so that different lists of parts cannot collide by concatenation.
pub fn hash(domain: &str, texts: &[&str], numbers: &[u64]) -> u64 {
    let digest = digest(domain, texts, numbers);
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// A generator for the purpose `domain` that depends only on `numbers`. It is seeded with all 32 bytes instead of
/// `seed_from_u64`, whose expansion may change with `rand_core`.
pub fn rng(domain: &str, numbers: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(digest(domain, &[], numbers))
}

fn digest(domain: &str, texts: &[&str], numbers: &[u64]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for text in std::iter::once(&domain).chain(texts) {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text.as_bytes());
    }
    for number in numbers {
        sha.update(number.to_le_bytes());
    }
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore as _;

    #[test]
    fn draws_are_golden() {
        // Changing these numbers changes every replay, so it must not happen through an upgrade.
        assert_eq!(hash("test", &["chat", "llama"], &[7]), 8_706_928_933_600_865_024);
        assert_eq!(rng("test", &[7, 1]).next_u64(), 17_072_257_887_256_103_506);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash("d", &["ab", "c"], &[]), hash("d", &["a", "bc"], &[]));
        assert_ne!(hash("d", &[], &[1]), hash("e", &[], &[1]));
        assert_ne!(hash("d", &[], &[1, 2]), hash("d", &[], &[2, 1]));
    }
}
