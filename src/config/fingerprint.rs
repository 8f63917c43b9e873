//! The key `fingerprint` of a workload, as written.

use super::text::Percentage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// The default prompts: short, and with many likely answers, so that the probabilities say much about the model.
const PROMPTS: [&str; 6] = [
    "Pick a number from 1 to 100. Answer with the number only.",
    "Name an animal. Answer with one word.",
    "Name a city. Answer with one word.",
    "Write any word that begins with the letter s. Answer with one word.",
    "Continue the sentence: The old man looked at the sea and",
    "Is it better to be early or late? Answer with one word.",
];

/// Fixed prompts whose answers are compared from run to run, to find out whether the provider changed the model. Each run
/// sends each prompt once, at temperature 0, and asks for the log-probabilities of the first token where the API has them;
/// else texts are compared. All keys have defaults: `fingerprint: {}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FingerprintWorkload {
    /// The prompts. A change of them begins a new reference. Default: six short built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub prompts: Option<Vec<String>>,
    /// Number of most likely tokens whose log-probabilities are compared. Some APIs allow no more than 5. Default: 5.
    #[serde(default = "top")]
    #[schemars(range(min = 2, max = 20))]
    pub top: u32,
    /// Number of runs that make up the reference, with which later runs are compared. It should take a day at least,
    /// because servers vary with their load. Default: 30.
    #[serde(default = "reference")]
    #[schemars(range(min = 12, max = 500))]
    pub reference: u32,
    /// Probability that a model that never changes is ever said to have changed, at most, for each reference. Smaller
    /// values take longer to tell a change. Default: 0.1%.
    #[serde(default = "false_alarms")]
    pub false_alarms: Percentage,
}

const fn top() -> u32 {
    5
}

const fn reference() -> u32 {
    30
}

const fn false_alarms() -> Percentage {
    Percentage(0.001)
}

impl FingerprintWorkload {
    /// The prompts, or the default ones.
    pub fn texts(&self) -> Vec<&str> {
        match &self.prompts {
            Some(prompts) => prompts.iter().map(String::as_str).collect(),
            None => PROMPTS.to_vec(),
        }
    }

    /// Number of requests of a run.
    pub fn requests(&self) -> NonZeroU64 {
        NonZeroU64::new(self.texts().len() as u64).unwrap_or(NonZeroU64::MIN)
    }
}
