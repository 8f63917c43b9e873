//! What the answers to the prompts of a fingerprint show about a target's model, and what is made of them.

use super::Pair;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

/// The answer to one prompt of a fingerprint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FingerprintAnswer {
    /// Index of the prompt, from 0.
    pub prompt: u32,
    /// The most likely tokens for the first place with the natural logarithms of their probabilities, the most likely one
    /// first; empty if the server did not say.
    pub top: Vec<(String, f64)>,
    /// The text, shortened.
    pub text: String,
    /// The model that the answer names.
    pub model: Option<String>,
    /// What OpenAI's APIs call `system_fingerprint`: a name for the configuration of the servers.
    pub system_fingerprint: Option<String>,
}

/// What a run of a fingerprint says about the model of its target.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelObservation {
    /// The profile and target.
    pub pair: Pair,
    /// When the run ended.
    pub at: SystemTime,
    /// The evidence of a change: the decimal logarithm of the e-value, 0 if it is below 1.
    pub evidence: f64,
    /// The evidence from which a change is told.
    pub threshold: f64,
    /// What changed with this run.
    pub changes: Vec<ModelChange>,
    /// Everything that is known, as JSON, to go on with after a restart.
    pub known: Arc<str>,
}

/// A change of a target's model, or a hint of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChange {
    /// What changed.
    pub what: ModelSign,
    /// Since when, as far as is known.
    pub since: SystemTime,
    /// What was seen, for humans.
    pub why: String,
}

/// What shows that a model changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSign {
    /// Its answers to the prompts.
    Answers,
    /// A `system_fingerprint` that was not seen before.
    SystemFingerprint,
    /// A model in the answers that was not seen before.
    ResponseModel,
}

impl ModelSign {
    /// Its name in logs and events.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::SystemFingerprint => "system_fingerprint",
            Self::ResponseModel => "response_model",
        }
    }
}
