//! A capacity search: which loads it may play, and for how long.

use super::{Arrivals, LoadCurve, Ramp, Shape, Stage, StageBounds, Think};
use crate::event::LoadUnit;
use crate::vocabulary::{SearchProgression, SearchVariable};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Number of steps of a linear search.
const LINEAR_STEPS: u32 = 10;

/// A search for the highest load that still meets the objectives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacitySearch {
    /// The load that is varied.
    pub over: SearchVariable,
    /// The first load: users, or requests per second.
    pub from: f64,
    /// The highest load; more than `from`.
    pub to: f64,
    /// How the load increases.
    pub step: SearchProgression,
    /// How long a load is measured.
    pub hold: Duration,
    /// How long it runs before that.
    pub settle: Duration,
    /// Names of the objectives that a load must meet; at least one.
    pub until: Vec<Arc<str>>,
    /// Whether loads between the last two are tried as well.
    pub refine: bool,
    /// Number of judged requests that a load needs to be the answer.
    pub samples: u64,
    /// Time between a user's requests; only for users.
    pub think: Think,
    /// How long it takes for all users to start, for each of them; only for users.
    pub spawn: Duration,
    /// How arrivals are distributed; only for a rate.
    pub arrivals: Arrivals,
}

impl CapacitySearch {
    /// How often a load is held at most.
    pub const MAX_ROUNDS: u32 = 3;

    /// Number of loads that are tried between the last two at most: they divide the step between them into 32 parts.
    pub const MAX_REFINEMENTS: u32 = 5;

    /// The unit of its loads. What arrives at a rate is a user, and some users play `journeys`.
    pub const fn unit(&self, journeys: bool) -> LoadUnit {
        match (self.over, journeys) {
            (SearchVariable::Users, _) => LoadUnit::Users,
            (SearchVariable::Rate, false) => LoadUnit::RequestsPerSecond,
            (SearchVariable::Rate, true) => LoadUnit::JourneysPerSecond,
        }
    }

    /// The loads on the way up, in ascending order; the last one is `to`.
    pub fn loads(&self) -> Vec<f64> {
        let mut loads = vec![self.from];
        loop {
            let last = loads.last().copied().unwrap_or(self.to);
            let next = match self.step {
                SearchProgression::Geometric => last * 2.0,
                // By the number of steps, so that rounding does not add up.
                SearchProgression::Linear => {
                    let step = f64::from(u32::try_from(loads.len()).unwrap_or(u32::MAX));
                    self.from + (self.to - self.from) * step / f64::from(LINEAR_STEPS)
                }
            };
            // A few users have fewer than ten steps between them.
            let next = self.rounded(next).max(self.rounded(last + self.least_step()));
            if next >= self.to * (1.0 - 1e-9) {
                loads.push(self.to);
                return loads;
            }
            loads.push(next);
        }
    }

    /// Users are whole.
    pub fn rounded(&self, load: f64) -> f64 {
        match self.over {
            SearchVariable::Users => load.round(),
            SearchVariable::Rate => load,
        }
    }

    /// The middle of two loads. Users are whole: the lower of two middles, because the lower a load is, the closer it must be
    /// to the next to count as close.
    pub fn between(&self, low: f64, high: f64) -> f64 {
        let middle = f64::midpoint(low, high);
        match self.over {
            SearchVariable::Users => middle.floor(),
            SearchVariable::Rate => middle,
        }
    }

    /// The smallest difference between two loads.
    pub const fn least_step(&self) -> f64 {
        match self.over {
            SearchVariable::Users => 1.0,
            SearchVariable::Rate => 0.0,
        }
    }

    /// The load for one round: it settles, then it is measured.
    pub fn shape(&self, load: f64) -> Shape {
        let (level, bounds) = (
            LoadCurve::from(Ramp { from: load, to: load }),
            StageBounds { time: Some(self.settle + self.hold), requests: None },
        );
        match self.over {
            SearchVariable::Rate => Shape::Rate { rate: level, arrivals: self.arrivals.clone(), bounds },
            SearchVariable::Users => {
                // Users that are answered at the same pace stay as far apart as they started.
                let spawn = self.spawn.mul_f64(load).min(self.settle / 2);
                Shape::Users { users: level, think: self.think, spawn, bounds }
            }
        }
    }

    /// At least as much as any course of the search plays: every load on the way up and every refinement, held as often
    /// as possible. Each round is a stage without a name: it starts its users or its arrivals anew.
    pub fn most(&self) -> Vec<Stage> {
        let mut loads = self.loads();
        let refinements = if self.refine { Self::MAX_REFINEMENTS } else { 0 };
        loads.extend((0..refinements).map(|_| self.to));
        let round = |load| Stage { name: "".into(), warm_up: false, shape: self.shape(load), limit: None };
        loads.into_iter().flat_map(|load| (0..Self::MAX_ROUNDS).map(move |_| round(load))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(over: SearchVariable, from: f64, to: f64, step: SearchProgression) -> CapacitySearch {
        let [hold, settle] = [30, 10].map(Duration::from_secs);
        CapacitySearch {
            over,
            from,
            to,
            step,
            hold,
            settle,
            until: vec!["up".into()],
            refine: true,
            samples: 30,
            think: Think { min: Duration::ZERO, max: Duration::ZERO },
            spawn: Duration::from_millis(1),
            arrivals: Arrivals::Constant,
        }
    }

    #[test]
    fn loads_double_or_go_up_in_ten_steps() {
        use SearchProgression::{Geometric, Linear};
        let loads = |over, from, to, step| search(over, from, to, step).loads();
        assert_eq!(loads(SearchVariable::Users, 1.0, 20.0, Geometric), [1.0, 2.0, 4.0, 8.0, 16.0, 20.0]);
        assert_eq!(loads(SearchVariable::Rate, 0.5, 4.0, Geometric), [0.5, 1.0, 2.0, 4.0]);
        let linear = loads(SearchVariable::Rate, 1.0, 2.0, Linear);
        assert!(
            linear.len() == 11 && (linear[1] - 1.1).abs() < 1e-9 && (linear[10] - 2.0).abs() < 1e-9,
            "{linear:?}"
        );
        // Users are whole, and each load is more than the one before.
        assert_eq!(loads(SearchVariable::Users, 1.0, 5.0, Linear), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(loads(SearchVariable::Users, 10.0, 45.0, Linear).len(), 11);
        for (over, to) in [(SearchVariable::Users, 65_536.0), (SearchVariable::Rate, 1e5)] {
            for step in [Geometric, Linear] {
                let loads = loads(over, 1.0, to, step);
                assert!(loads.len() < 20 && loads.windows(2).all(|pair| pair[0] < pair[1]), "{loads:?}");
            }
        }
    }

    #[test]
    fn the_most_is_every_load_as_often_as_possible() {
        let search = search(SearchVariable::Rate, 1.0, 4.0, SearchProgression::Geometric);
        let stages = search.most();
        // Three on the way up and five between, each in three rounds.
        assert_eq!(stages.len(), 3 * 8);
        let total: Duration = stages.iter().filter_map(|stage| stage.shape.bounds().time).sum();
        assert_eq!(total, 8 * 3 * Duration::from_secs(40));
        assert_eq!(CapacitySearch { refine: false, settle: Duration::ZERO, ..search }.most().len(), 3 * 3);
    }
}
