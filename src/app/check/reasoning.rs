//! The assumptions of `check` about reasoning.

use crate::plan::{PairPlan, Plan, ReasoningEffort, StepAction};
use std::collections::BTreeMap;

/// Maximum number of pairs that are listed by name.
const MAX_NAMED: usize = 6;

/// Returns a line about reasoning if any model may reason.
pub(super) fn assumption(plan: &Plan) -> Option<String> {
    let mut asked: BTreeMap<ReasoningEffort, Vec<String>> = BTreeMap::new();
    for pair in plan.pairs.iter().filter(|pair| may_reason(pair)) {
        let name = format!("{} on {}", pair.pair.profile, pair.pair.target);
        asked.entry(pair.reasoning()).or_default().push(name);
    }
    let asked: Vec<String> = asked.into_iter().map(|(effort, pairs)| clause(effort, &pairs)).collect();
    if asked.is_empty() {
        return None;
    }
    Some(format!(
        "Reasoning is billed as output, and is assumed to stay within the limits above. Effort: {}\n",
        asked.join("; ")
    ))
}

fn may_reason(pair: &PairPlan) -> bool {
    let mut steps = pair.profile.scenario.all();
    pair.target.api.generates() && steps.any(|step| matches!(step.action, StepAction::Ask(_)))
}

fn clause(effort: ReasoningEffort, pairs: &[String]) -> String {
    let named = pairs.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match pairs.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match effort {
        ReasoningEffort::Default => format!("chosen by the model for {named}{more}"),
        other => format!("`{}` for {named}{more}", other.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    fn told(profiles: &str) -> Option<String> {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', reasoning: low }}, \
             e: {{ api: openai-embeddings, base_url: 'http://127.0.0.1:1/v1' }}, \
             u: {{ api: anthropic, base_url: 'http://127.0.0.1:1' }} }}\nprofiles: {{ {profiles} }}"
        ));
        assumption(&plan.unwrap_or_else(|e| panic!("{e}")))
    }

    #[test]
    fn what_is_asked_is_told_by_pair() {
        let profile = |name: &str, targets: &str, more: &str| {
            format!(
                "{name}: {{ targets: [{targets}], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }}{more} }}, "
            )
        };
        let two = profile("a", "t, u, e", "") + &profile("b", "t, u", ", reasoning: off");
        assert_eq!(
            told(&two).unwrap(),
            "Reasoning is billed as output, and is assumed to stay within the limits above. Effort: chosen by the model for a \
             on u; `off` for b on t, b on u; `low` for a on t\n"
        );
        assert_eq!(told(&profile("a", "e", "")), None);
        let many: String = (0..9).map(|n| profile(&format!("p{n}"), "u", "")).collect();
        assert!(told(&many).unwrap().contains("p5 on u and 3 more"));
    }
}
