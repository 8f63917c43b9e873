//! The prompt-cache canary: a scenario of two requests that begin with the same prefix.

use super::{AskStep, AskText, Expect, Scenario, Think};
use std::sync::Arc;
use std::time::Duration;

/// The step that sends a prefix for the first time.
const COLD_STEP: &str = "cold";
/// The step that sends it again.
const WARM_STEP: &str = "warm";

impl Scenario {
    /// Creates the scenario of a cache pair: the request twice, `gap` after the end of the first answer. The random words
    /// of both are the same, because they do not depend on the step. `None` if the request has no synthetic prompt with a
    /// question.
    pub fn of_cache_pair(ask: &AskStep, gap: Duration, expect: &Expect) -> Option<Self> {
        let mut steps = Vec::new();
        for (number, name) in [COLD_STEP, WARM_STEP].into_iter().enumerate() {
            let mut ask = ask.again(ask.stream)?;
            let AskText::Synthetic(prompts) = &mut ask.text else { return None };
            // The questions differ, because a gateway may have a cache of whole answers.
            prompts.question = Some(format!("{}. {}", number + 1, prompts.question.as_deref()?).into());
            let mut step = Self::step(name, number, ask, expect.clone());
            let pause = if number == 0 { Duration::ZERO } else { gap };
            step.think = Think { min: pause, max: pause };
            steps.push(Arc::new(step));
        }
        Some(Self { journeys: true, ..Self::of_steps(steps) })
    }

    /// Whether it is the scenario of a cache pair.
    pub fn is_cache_pair(&self) -> bool {
        let names = self.steps.iter().map(|step| &*step.name);
        names.eq([COLD_STEP, WARM_STEP]) && self.setup.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Rule, StepAction, from_yaml};

    #[test]
    fn a_pair_is_a_journey_of_two_steps_with_the_same_prefix_and_different_questions() {
        let plan = from_yaml(
            "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1' } }\n\
             profiles: { p: { targets: [t], schedule: { manual: {} }, expect: { text: { min_chars: 1 } }, \
             workload: { cache_pair: { prefix_tokens: 2000, gap: 7s, question: Why? }, output_tokens: 9 } } }",
        );
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let scenario = &plan.profiles[0].scenario;
        assert!(scenario.journeys && scenario.setup.is_empty() && scenario.is_cache_pair());
        let steps: Vec<_> = scenario.steps.iter().collect();
        let names: Vec<_> =
            steps.iter().map(|step| (step.number, &*step.name, step.think.min.as_secs())).collect();
        assert_eq!(names, [(0, "cold", 0), (1, "warm", 7)]);
        let questions: Vec<_> = steps
            .iter()
            .map(|step| {
                assert!(matches!(step.expect.checks[0].rule, Rule::MinChars(1)) && step.is_fixed());
                let StepAction::Ask(ask) = &step.action else { panic!("a model call") };
                let AskText::Synthetic(prompts) = &ask.text else { panic!("synthetic") };
                assert_eq!(
                    (prompts.range().min, prompts.range().max, ask.output_tokens),
                    (2000, 2000, Some(9))
                );
                prompts.question.as_deref().unwrap().to_owned()
            })
            .collect();
        assert_eq!(questions, ["1. Why?", "2. Why?"]);
    }
}
