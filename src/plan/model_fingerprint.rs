//! Fixed prompts whose answers are compared from run to run, and what requests ask for in each dialect.
//!
//! The names of parameters come from the API references that `docs/dialects.md` lists.

use super::{Api, AskStep, AskText, PairPlan, StepAction};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// How the answers to fixed prompts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModelFingerprint {
    /// Number of most likely tokens whose log-probabilities are asked for.
    pub top: u32,
    /// Number of runs in the reference.
    pub reference: u32,
    /// The greatest probability that a model that never changes is ever said to have changed, over 0 and under 1.
    pub false_alarms: f64,
}

impl ModelFingerprint {
    /// The evidence from which a change is told, as a decimal logarithm.
    pub fn threshold(&self) -> f64 {
        -self.false_alarms.log10()
    }
}

/// Whether answers in a dialect can have the log-probabilities of the most likely tokens.
pub const fn has_top_logprobs(api: Api) -> bool {
    matches!(
        api,
        Api::OpenAiChat
            | Api::OpenAiCompletions
            | Api::OpenAiResponses
            | Api::Gemini
            | Api::OllamaChat
            | Api::OllamaGenerate
            | Api::Tgi
    )
}

/// The parameters of a fingerprint's requests: the most likely token is chosen, and its log-probability is sent along with
/// those of the others. Text Generation Inference refuses temperature 0, and chooses the most likely token by default.
fn parameters(api: Api, top: u32) -> Map<String, Value> {
    let words = match api {
        Api::OpenAiChat => json!({ "temperature": 0, "logprobs": true, "top_logprobs": top }),
        Api::OpenAiCompletions => json!({ "temperature": 0, "logprobs": top }),
        Api::OpenAiResponses => {
            json!({ "temperature": 0, "include": ["message.output_text.logprobs"], "top_logprobs": top })
        }
        Api::Gemini => {
            json!({ "generationConfig": { "temperature": 0, "responseLogprobs": true, "logprobs": top } })
        }
        Api::OllamaChat | Api::OllamaGenerate => {
            json!({ "options": { "temperature": 0 }, "logprobs": true, "top_logprobs": top })
        }
        Api::Tgi => json!({ "parameters": { "details": true, "top_n_tokens": top } }),
        Api::Anthropic => json!({ "temperature": 0 }),
        Api::Bedrock => json!({ "inferenceConfig": { "temperature": 0 } }),
        Api::OpenAiEmbeddings | Api::RerankCohere | Api::RerankJina | Api::Http => Value::Null,
    };
    match words {
        Value::Object(words) => words,
        _ => Map::new(),
    }
}

impl AskStep {
    /// The parameters that a fingerprint adds to those of the target; none without a fingerprint.
    pub(super) fn fingerprint_params(&self, api: Api) -> Map<String, Value> {
        self.fingerprint.map(|it| parameters(api, it.top)).unwrap_or_default()
    }

    /// Index of the prompt of a fingerprint that request number `n` of a run sends; `None` without a fingerprint.
    pub fn fingerprint_prompt(&self, n: u64) -> Option<usize> {
        self.fingerprint?;
        let AskText::Fixed { prompts, .. } = &self.text else { return None };
        usize::try_from(n % (prompts.len() as u64).max(1)).ok()
    }
}

impl PairPlan {
    /// How the answers to fixed prompts are compared, if the profile is a fingerprint.
    pub fn model_fingerprint(&self) -> Option<ModelFingerprint> {
        self.fingerprint_step()?.fingerprint
    }

    /// Number of prompts of its fingerprint; 0 if it is none.
    pub fn fingerprint_prompts(&self) -> usize {
        match self.fingerprint_step().map(|ask| &ask.text) {
            Some(AskText::Fixed { prompts, .. }) => prompts.len(),
            _ => 0,
        }
    }

    fn fingerprint_step(&self) -> Option<&AskStep> {
        match &self.profile.scenario.steps.first()?.action {
            StepAction::Ask(ask) => Some(ask).filter(|ask| ask.fingerprint.is_some()).map(|ask| &**ask),
            StepAction::Http(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;
    use crate::seed::RunSeeds;
    use crate::words::WordList;
    use crate::workload::{RequestNumber, ask};

    fn pair(api: &str, workload: &str) -> std::sync::Arc<PairPlan> {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: {api}, base_url: 'http://127.0.0.1', model: m, params: {{ temperature: 1, top_p: 0.5 }} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ {workload} }} }} }}"
        ));
        std::sync::Arc::clone(&plan.unwrap_or_else(|e| panic!("{e}")).pairs[0])
    }

    #[test]
    fn a_run_sends_each_prompt_once_and_always_the_same() {
        let pair = pair("openai-chat", "fingerprint: { prompts: [a, b, c] }");
        assert_eq!(pair.fingerprint_prompts(), 3);
        assert_eq!(pair.profile.stages[0].shape.bounds().requests, Some(3));
        let step = &pair.profile.scenario.steps[0];
        let asked = |draws, n| {
            let number = RequestNumber { stage: 0, user: Some(0), n };
            let seeds = RunSeeds { draws, nonces: draws };
            ask(&pair, step, seeds, number, WordList::estimated).unwrap()
        };
        for seed in 0..5 {
            let texts: Vec<_> = (0..3).map(|n| asked(seed, n).messages[0].text.to_string()).collect();
            assert_eq!(texts, ["a", "b", "c"]);
        }
        let first = asked(1, 0);
        assert!(!first.stream && first.output_tokens == Some(1));
        let StepAction::Ask(ask) = &step.action else { panic!("a model call") };
        assert_eq!((0..4).map(|n| ask.fingerprint_prompt(n)).collect::<Vec<_>>(), [0, 1, 2, 0].map(Some));
    }

    #[test]
    fn requests_ask_for_log_probabilities_in_the_words_of_the_dialect() {
        let params = |api, workload: &str| {
            let pair = pair(api, workload);
            Value::Object((*pair.params(&pair.profile.scenario.steps[0])).clone())
        };
        let chat = params("openai-chat", "fingerprint: {}");
        assert_eq!(chat, json!({ "temperature": 0, "top_p": 0.5, "logprobs": true, "top_logprobs": 5 }));
        assert_eq!(params("openai-completions", "fingerprint: { top: 3 }")["logprobs"], 3);
        let gemini = params("gemini", "fingerprint: {}");
        assert_eq!(gemini["generationConfig"]["responseLogprobs"], true);
        assert_eq!(params("anthropic", "fingerprint: {}"), json!({ "temperature": 0, "top_p": 0.5 }));
        // The workload's own parameters win.
        let own = params("openai-chat", "fingerprint: {}, params: { temperature: null, top_logprobs: 2 }");
        assert_eq!((&own["temperature"], &own["top_logprobs"]), (&Value::Null, &json!(2)));
        let without = params("openai-chat", "prompts: [x]");
        assert_eq!(without, json!({ "temperature": 1, "top_p": 0.5 }));
    }

    #[test]
    fn every_dialect_that_generates_has_a_way() {
        for api in Api::ALL {
            assert_eq!(parameters(api, 5).is_empty(), !api.generates() || api == Api::Http, "{}", api.name());
            assert!(api.generates() || !has_top_logprobs(api), "{}", api.name());
        }
    }

    #[test]
    fn another_prompt_or_model_is_another_revision() {
        let of = |workload: &str| pair("openai-chat", workload).revision.to_string();
        assert_eq!(of("fingerprint: {}"), of("fingerprint: { reference: 30 }"));
        assert_ne!(of("fingerprint: {}"), of("fingerprint: { prompts: [x] }"));
        assert_ne!(of("fingerprint: {}"), of("fingerprint: { reference: 40 }"));
    }
}
