//! Arrival processes in unit-rate time, in which one arrival per unit is due on average.

use super::weibull;
use crate::plan::Arrivals;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A stationary process with one arrival per unit of time on average.
#[derive(Debug)]
pub(super) enum Process {
    /// Evenly spread; the first arrival is at `phase`.
    Constant { phase: f64, n: u64 },
    /// Independent gaps with the same distribution.
    Renewal { gaps: GapDistribution, at: Option<f64> },
    /// Several processes as one.
    Clients(Superposition),
}

/// A distribution of gaps with mean 1.
#[derive(Debug)]
pub(super) enum GapDistribution {
    Exponential,
    Gamma { gap: Gamma<f64>, biased: Gamma<f64> },
    Weibull { scale: f64, exponent: f64, biased: Gamma<f64> },
}

/// Independent processes, merged in the order of their arrivals.
#[derive(Debug)]
pub(super) struct Superposition {
    clients: Vec<MergedClient>,
    next: BinaryHeap<Reverse<NextArrival>>,
}

#[derive(Debug)]
struct MergedClient {
    process: Process,
    rate: f64,
}

/// The next arrival of a client; ordered by time, then by client.
#[derive(Clone, Copy, Debug)]
struct NextArrival {
    at: f64,
    client: usize,
}

impl Process {
    /// The process of a stage. Evenly spread requests begin with the stage, so that consecutive stages have no gap
    /// between them.
    pub(super) fn new(arrivals: &Arrivals, rng: &mut ChaCha8Rng) -> Self {
        let gaps = match arrivals {
            Arrivals::Constant => None,
            Arrivals::Poisson => Some(GapDistribution::Exponential),
            Arrivals::Gamma { cv } => GapDistribution::gamma(*cv),
            Arrivals::Weibull { cv } => GapDistribution::weibull(*cv),
            Arrivals::Clients(groups) => {
                let clients =
                    groups.iter().flat_map(|group| group.rates().map(|rate| (&group.arrivals, rate)));
                return Self::Clients(Superposition::new(clients, rng));
            }
        };
        gaps.map_or(Self::Constant { phase: 0.0, n: 0 }, |gaps| Self::Renewal { gaps, at: None })
    }

    /// The process of one client among others, which is in an arbitrary state when the stage begins.
    fn of_client(arrivals: &Arrivals, rng: &mut ChaCha8Rng) -> Self {
        match Self::new(arrivals, rng) {
            Self::Constant { n, .. } => Self::Constant { phase: rng.random(), n },
            other => other,
        }
    }

    /// The next arrival.
    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Constant { phase, n } => {
                let at = *phase + *n as f64;
                *n += 1;
                at
            }
            Self::Renewal { gaps, at } => {
                let next = match at {
                    // The start of a stage falls into a gap that has already begun: a part of a length-biased gap.
                    // Otherwise a bursty stage would offer (cv^2 - 1) / 2 requests too many.
                    None => gaps.rest_of_first(rng),
                    Some(at) => *at + gaps.sample(rng),
                };
                *at = Some(next);
                next
            }
            Self::Clients(clients) => clients.next(rng),
        }
    }
}

impl GapDistribution {
    /// Shape 1/cv^2 and scale cv^2; `None` if the cv is too small for a shape, which means constant arrivals.
    fn gamma(cv: f64) -> Option<Self> {
        let scale = cv * cv;
        let gap = Gamma::new(scale.recip(), scale).ok()?;
        Some(Self::Gamma { gap, biased: Gamma::new(scale.recip() + 1.0, scale).ok()? })
    }

    /// A gap is `scale * e^exponent` of an exponential e, with the exponent 1/shape. In a length-biased gap, e is
    /// gamma-distributed with shape 1 + exponent, because the density x * f(x) is that of a power of such a variable.
    fn weibull(cv: f64) -> Option<Self> {
        let exponent = weibull::exponent(cv)?;
        let scale = (-weibull::ln_gamma(1.0 + exponent)).exp();
        Some(Self::Weibull { scale, exponent, biased: Gamma::new(1.0 + exponent, 1.0).ok()? })
    }

    fn sample(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Exponential => Exp1.sample(rng),
            Self::Gamma { gap, .. } => gap.sample(rng),
            Self::Weibull { scale, exponent, .. } => {
                let unit: f64 = Exp1.sample(rng);
                scale * unit.powf(*exponent)
            }
        }
    }

    fn rest_of_first(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            // Its rest is distributed like the gap.
            Self::Exponential => Exp1.sample(rng),
            Self::Gamma { biased, .. } => rng.random::<f64>() * biased.sample(rng),
            Self::Weibull { scale, exponent, biased } => {
                rng.random::<f64>() * scale * biased.sample(rng).powf(*exponent)
            }
        }
    }
}

impl Superposition {
    fn new<'a>(clients: impl Iterator<Item = (&'a Arrivals, f64)>, rng: &mut ChaCha8Rng) -> Self {
        let mut merged = Self { clients: Vec::new(), next: BinaryHeap::new() };
        for (client, (arrivals, rate)) in clients.filter(|(_, rate)| *rate > 0.0).enumerate() {
            let mut process = Process::of_client(arrivals, rng);
            merged.next.push(Reverse(NextArrival { at: process.next(rng) / rate, client }));
            merged.clients.push(MergedClient { process, rate });
        }
        merged
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let Some(Reverse(NextArrival { at, client })) = self.next.pop() else { return f64::INFINITY };
        if let Some(MergedClient { process, rate }) = self.clients.get_mut(client) {
            self.next.push(Reverse(NextArrival { at: process.next(rng) / *rate, client }));
        }
        at
    }
}

impl Ord for NextArrival {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.client.cmp(&other.client))
    }
}

impl PartialOrd for NextArrival {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for NextArrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for NextArrival {}
