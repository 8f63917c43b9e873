//! Simulated servers, whose log-probabilities are not the same twice.

use crate::detect::model_change::{PromptAnswer, TokenLogprob};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Normal};

/// Number of tokens that a simulated model knows.
const TOKENS: usize = 12;
/// Number of tokens that an answer lists.
const TOP: usize = 5;
pub(super) const PROMPTS: usize = 5;

/// How a server varies from answer to answer.
#[derive(Clone, Copy)]
pub(super) struct Noise {
    /// Standard deviation of each logit, in nats.
    pub(super) jitter: f64,
    /// Share of answers whose jitter is twenty times as great.
    pub(super) outliers: f64,
    /// Standard deviation of the logits between the replicas behind a balancer, of which there are three.
    pub(super) replicas: f64,
}

pub(super) const STILL: Noise = Noise { jitter: 0.0, outliers: 0.0, replicas: 0.0 };
pub(super) const JITTER: Noise = Noise { jitter: 0.03, ..STILL };
pub(super) const OUTLIERS: Noise = Noise { outliers: 0.02, ..JITTER };
pub(super) const REPLICAS: Noise = Noise { replicas: 0.1, ..JITTER };

/// A model behind a server.
pub(super) struct Simulated {
    rng: ChaCha8Rng,
    noise: Noise,
    /// The logits of each prompt's tokens.
    logits: Vec<Vec<f64>>,
    /// What each replica adds to them.
    replicas: Vec<Vec<Vec<f64>>>,
}

impl Simulated {
    pub(super) fn new(seed: u64, noise: Noise) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let logits = table(&mut rng, 2.0);
        let replicas = (0..3).map(|_| table(&mut rng, noise.replicas)).collect();
        Self { rng, noise, logits, replicas }
    }

    /// Another model takes its place, whose logits differ by this standard deviation, in nats.
    pub(super) fn shift(&mut self, by: f64) {
        let shift = table(&mut self.rng, by);
        for (logits, shift) in self.logits.iter_mut().flatten().zip(shift.iter().flatten()) {
            *logits += shift;
        }
    }

    /// The answers to all prompts, one after the other.
    pub(super) fn run(&mut self) -> Vec<Option<PromptAnswer>> {
        (0..PROMPTS).map(|prompt| Some(self.answer(prompt))).collect()
    }

    fn answer(&mut self, prompt: usize) -> PromptAnswer {
        let wild = self.rng.random_bool(self.noise.outliers);
        let jitter = self.noise.jitter * if wild { 20.0 } else { 1.0 };
        let normal = Normal::new(0.0, jitter).unwrap();
        let replica = self.rng.random_range(0..self.replicas.len());
        let offsets = &self.replicas[replica][prompt];
        let logits: Vec<f64> = self.logits[prompt]
            .iter()
            .zip(offsets)
            .map(|(logit, offset)| logit + offset + normal.sample(&mut self.rng))
            .collect();
        let total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let mut top: Vec<_> = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| TokenLogprob { token: token.to_string().into(), logprob: logit - total })
            .collect();
        top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
        top.truncate(TOP);
        let text = top[0].token.clone();
        PromptAnswer { top, text }
    }
}

fn table(rng: &mut ChaCha8Rng, deviation: f64) -> Vec<Vec<f64>> {
    let normal = Normal::new(0.0, deviation).unwrap();
    (0..PROMPTS).map(|_| (0..TOKENS).map(|_| normal.sample(rng)).collect()).collect()
}
