//! The scenarios of workloads: single requests, and conversations.

use super::{AskStep, AskText, OutputLength, Scenario, Step, StepAction};
use crate::plan::{Check, Comparison, Expect, Rule, Think};
use crate::template::{Templates, Vars};
use crate::vocabulary::SummaryBy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Scenario {
    /// Creates the scenario of a workload: independent requests, each followed by those that it is compared with.
    pub fn of_workload(ask: AskStep, expect: Expect, comparisons: &[Comparison]) -> Self {
        let again = |(index, comparison): (usize, &Comparison)| {
            let check = Check { name: comparison.check(), rule: Rule::SameAnswer(*comparison) };
            let expect = Expect { status: expect.status.clone(), checks: vec![check] };
            let ask = ask.again(ask.stream && *comparison != Comparison::Unary)?;
            let step = Self::step(comparison.step(), index + 1, ask, expect);
            Some(Arc::new(Step { comparison: Some(*comparison), ..step }))
        };
        let compared: Vec<_> = comparisons.iter().enumerate().filter_map(again).collect();
        Self::of_steps([Arc::new(Self::step("", 0, ask, expect))].into_iter().chain(compared).collect())
    }

    /// Creates the scenario of conversations: the turns, and the summaries that a model writes. `None` if `ask` is no
    /// turn of a conversation.
    pub fn of_conversation(ask: AskStep, think: Think, expect: Expect) -> Option<Self> {
        let AskText::Conversation(plan) = &ask.text else { return None };
        let repeat = u32::try_from(plan.turns().max).unwrap_or(u32::MAX);
        let rule = plan.summarize.as_ref().filter(|rule| rule.by == SummaryBy::Model);
        let summary = rule.map(|rule| AskStep {
            text: AskText::Summary(Arc::clone(plan)),
            output_tokens: Some(rule.tokens),
            output: OutputLength::default(),
            cache: ask.cache,
            stream: ask.stream,
            params: ask.params.clone(),
            history: 0,
            stateful: false,
            fingerprint: None,
        });
        let summary = summary.map(|ask| Self::step("summary", 1, ask, Expect::default()));
        let turn = Step { think, repeat, turns: true, ..Self::step("turn", 0, ask, expect) };
        let summary = summary.map(Arc::new);
        Some(Self { journeys: true, summary, ..Self::of_steps(vec![Arc::new(turn)]) })
    }

    /// A step that sends one request of a workload.
    pub(in crate::plan) fn step(name: &str, number: usize, ask: AskStep, expect: Expect) -> Step {
        Step {
            name: name.into(),
            number,
            action: StepAction::Ask(Box::new(ask)),
            think: Think { min: Duration::ZERO, max: Duration::ZERO },
            repeat: 1,
            turns: false,
            timeout: None,
            expect,
            take: Vec::new(),
            comparison: None,
        }
    }

    /// A scenario of these steps without set-up, variables and journeys.
    pub(in crate::plan) fn of_steps(steps: Vec<Arc<Step>>) -> Self {
        Self {
            journeys: false,
            setup: Vec::new(),
            steps,
            summary: None,
            templates: Templates::default(),
            vars: Vars::default(),
            secrets: Vec::new(),
            variables: BTreeMap::new(),
            cookies: false,
        }
    }
}

impl AskStep {
    /// The same call, streamed or not; `None` if its texts are templates.
    pub(in crate::plan) fn again(&self, stream: bool) -> Option<Self> {
        let text = match &self.text {
            AskText::Fixed { system, prompts } => {
                AskText::Fixed { system: system.clone(), prompts: prompts.clone() }
            }
            // Draws depend on the number of the request, not on the step.
            AskText::Synthetic(prompts) => AskText::Synthetic(prompts.clone()),
            AskText::Dataset { dataset, order, system } => {
                AskText::Dataset { dataset: Arc::clone(dataset), order: *order, system: system.clone() }
            }
            AskText::Trace { replay, system } => {
                AskText::Trace { replay: Arc::clone(replay), system: system.clone() }
            }
            // Each of these requests depends on what came before it.
            AskText::Template { .. } | AskText::Conversation(_) | AskText::Summary(_) => return None,
        };
        let Self { text: _, output_tokens, output, cache, stream: _, params, history, stateful, fingerprint } =
            self;
        let (output_tokens, cache, history, stateful) = (*output_tokens, *cache, *history, *stateful);
        Some(Self {
            text,
            output_tokens,
            output: output.clone(),
            cache,
            stream,
            params: params.clone(),
            history,
            stateful,
            fingerprint: *fingerprint,
        })
    }
}
