//! Simulated series for the tests: seeded noise with a memory.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal, StudentT};

/// Noise with mean 0: each value remembers this part of the one before it.
pub(in crate::detect) struct Noise {
    random: ChaCha8Rng,
    memory: f64,
    last: f64,
    heavy: Option<StudentT<f64>>,
}

impl Noise {
    /// Normal noise with variance 1.
    pub(in crate::detect) fn normal(seed: u64, memory: f64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let last = StandardNormal.sample(&mut random);
        Self { random, memory, last, heavy: None }
    }

    /// Noise with heavy tails: innovations from a t distribution with three degrees of freedom, scaled to variance 1.
    pub(in crate::detect) fn heavy(seed: u64, memory: f64) -> Self {
        Self { heavy: StudentT::new(3.0).ok(), ..Self::normal(seed, memory) }
    }

    /// A uniform draw from 0 to 1.
    pub(in crate::detect) fn uniform(&mut self) -> f64 {
        self.random.random()
    }
}

impl Iterator for Noise {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let innovation: f64 = match &self.heavy {
            Some(heavy) => heavy.sample(&mut self.random) / 3.0_f64.sqrt(),
            None => StandardNormal.sample(&mut self.random),
        };
        self.last = self.memory * self.last + (1.0 - self.memory * self.memory).sqrt() * innovation;
        Some(self.last)
    }
}
