//! Judges a load by its objectives, and tells a miss from chance.

use crate::detect::binomial::at_least;
use std::sync::Arc;

/// A miss is taken for chance if a target that just meets the objective has as many bad requests with at least this
/// probability (a one-sided binomial test).
const CHANCE: f64 = 0.05;

/// The requests of a load by one objective.
#[derive(Clone, Debug)]
pub struct JudgedObjective {
    /// The objective's name.
    pub name: Arc<str>,
    /// Share of requests that must be good, in (0, 1).
    pub objective: f64,
    /// Number of requests judged.
    pub events: u64,
    /// Number of these that were bad.
    pub errors: u64,
}

/// What the objectives together say about a load.
pub(super) struct Judgement {
    /// Requests judged by the objective that judged fewest.
    pub(super) samples: u64,
    /// Names of the objectives that were missed.
    pub(super) missed: Vec<String>,
    /// Whether every miss may be chance.
    pub(super) is_chance: bool,
}

pub(super) fn judge(judged: &[JudgedObjective]) -> Judgement {
    let missed: Vec<&JudgedObjective> = judged.iter().filter(|it| it.is_missed()).collect();
    Judgement {
        samples: judged.iter().map(|it| it.events).min().unwrap_or(0),
        is_chance: missed.iter().all(|it| it.chance() >= CHANCE),
        missed: missed.iter().map(|it| it.name.to_string()).collect(),
    }
}

impl JudgedObjective {
    /// One bad request alone is no miss if so few were judged that the objective allows less than one.
    fn is_missed(&self) -> bool {
        let allowed = (1.0 - self.objective) * self.events as f64;
        let lone = self.errors == 1 && allowed < 1.0;
        self.errors as f64 > allowed + 1e-9 && !lone
    }

    /// The probability that a target which just meets the objective has at least this many bad requests.
    fn chance(&self) -> f64 {
        at_least(self.errors, self.events, 1.0 - self.objective)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(objective: f64, events: u64, errors: u64) -> Judgement {
        judge(&[JudgedObjective { name: "up".into(), objective, events, errors }])
    }

    #[test]
    fn a_miss_may_be_chance() {
        assert!(judged(0.95, 100, 5).missed.is_empty());
        let close = judged(0.95, 100, 6);
        assert!(close.missed == ["up"] && close.is_chance);
        let clear = judged(0.95, 100, 20);
        assert!(clear.missed == ["up"] && !clear.is_chance);
    }

    #[test]
    fn one_bad_request_of_a_few_is_no_miss() {
        assert!(judged(0.99, 30, 1).missed.is_empty());
        assert_eq!(judged(0.99, 30, 2).missed, ["up"]);
        assert!(judged(0.99, 1, 1).missed.is_empty(), "the only one neither");
        let all = judged(0.99, 2, 2);
        assert!(all.missed == ["up"] && !all.is_chance);
        assert_eq!(judged(0.999, 2000, 3).missed, ["up"]);
    }

    #[test]
    fn the_samples_are_those_of_the_objective_that_has_fewest() {
        let objective = |events| JudgedObjective { name: "a".into(), objective: 0.9, events, errors: 0 };
        assert_eq!(judge(&[objective(7), objective(3)]).samples, 3);
        assert_eq!(judge(&[]).samples, 0);
    }
}
