//! Tells whether the answers of a model to fixed prompts have changed: one observation per run, which holds the answer to
//! each prompt. It must not know how answers are obtained, nor when.
//!
//! The first runs are the reference. The first third of it defines what answers look like, and how far they lie from each
//! other; the rest defines how far a further run lies from that. From then on, runs that lie farther than most of
//! the reference are evidence of a change, weighed by an e-process (see [`evidence`]). After an alarm a new reference is
//! learned.
//!
//! Log-probabilities of one token tell models apart at a thousandth of the cost of benchmarks (arXiv 2512.03816). The test
//! is another one, because theirs is made for one look at two samples of a fixed size.

mod distance;
mod evidence;

use distance::{ReferenceAnswers, RunDistance};
use evidence::ChangeEvidence;
use serde::{Deserialize, Serialize};

/// Number of most likely tokens of an answer that are kept; the most that an API returns.
const MAX_TOP: usize = 20;
/// Number of bytes that are kept of a token, and of a text.
const MAX_TEXT: usize = 256;
/// The least number of runs in a reference.
pub const MIN_REFERENCE: u32 = 12;
/// The greatest number of runs in a reference: what is kept of it is bounded.
pub const MAX_REFERENCE: u32 = 500;
/// The greatest number of runs of a reference by which further ones are measured.
const MAX_TRAINING: usize = 30;
/// The share of a reference by which further runs are measured is one of this many.
const TRAINING_SHARE: usize = 3;

/// A token, and the natural logarithm of its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token, as the server shows it.
    pub token: Box<str>,
    /// The natural logarithm of its probability.
    pub logprob: f64,
}

/// The answer to one prompt in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptAnswer {
    /// The most likely tokens for the first place, the most likely one first; empty if the server did not say.
    pub top: Vec<TokenLogprob>,
    /// The text.
    pub text: Box<str>,
}

/// By what answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerComparison {
    /// By the log-probabilities of the most likely tokens.
    Logprobs,
    /// By the text, which is the same or another one.
    Text,
}

/// What is asked of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelChangeOptions {
    /// Number of runs in the reference, between [`MIN_REFERENCE`] and [`MAX_REFERENCE`].
    pub reference: u32,
    /// The greatest probability that a model that never changes is ever said to have changed, for each reference.
    pub false_alarms: f64,
}

/// Watches the answers of one target to a list of prompts. Bounded by the size of the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelWatch {
    options: ModelChangeOptions,
    prompts: usize,
    /// Number of runs taken, over all references; ties are broken by it.
    runs: u64,
    comparison: Option<AnswerComparison>,
    /// The runs by which others are measured, until there are enough of them.
    training: Vec<Vec<PromptAnswer>>,
    reference: Option<ReferenceAnswers>,
    calibration: Vec<RunDistance>,
    evidence: Option<ChangeEvidence>,
    /// The scores since the evidence last was nothing.
    rise: Rise,
    /// The evidence of the last alarm, until a new reference is complete.
    standing: Option<f64>,
}

/// Runs in which the evidence rose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rise {
    runs: u64,
    /// The sum of their distances.
    distance: f64,
}

/// What a run said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ModelVerdict {
    /// It has no answer to some prompt, or answers of another kind than the reference. It changes nothing.
    Incomplete,
    /// It is a part of the reference.
    Learned {
        /// Number of runs in the reference so far.
        have: u32,
        /// Number of runs that it needs.
        need: u32,
    },
    /// It was compared with the reference, and the evidence is not enough.
    Unchanged {
        /// How many times as far it lies from the reference as the reference's own runs do in the median.
        distance: f64,
    },
    /// The model has changed.
    Changed(ModelAlarm),
}

/// Why a model is said to have changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelAlarm {
    /// Decimal logarithm of the e-value.
    pub evidence: f64,
    /// Number of runs in which the evidence rose, this one included: the change is likely to have come with the first.
    pub runs: u64,
    /// How many times as far these lie from the reference as the reference's own runs do in the median.
    pub distance: f64,
    /// By what answers were compared.
    pub comparison: AnswerComparison,
}

impl ModelWatch {
    /// A watch of this many prompts that has seen nothing.
    pub fn new(prompts: usize, options: ModelChangeOptions) -> Self {
        let reference = options.reference.clamp(MIN_REFERENCE, MAX_REFERENCE);
        Self {
            options: ModelChangeOptions { reference, ..options },
            prompts,
            runs: 0,
            comparison: None,
            training: Vec::new(),
            reference: None,
            calibration: Vec::new(),
            evidence: None,
            rise: Rise::default(),
            standing: None,
        }
    }

    /// What is asked of the test.
    pub const fn options(&self) -> ModelChangeOptions {
        self.options
    }

    /// Number of prompts.
    pub const fn prompts(&self) -> usize {
        self.prompts
    }

    /// By what answers are compared; `None` before the first run.
    pub const fn comparison(&self) -> Option<AnswerComparison> {
        self.comparison
    }

    /// Number of runs in the reference, and how many it needs.
    pub fn learned(&self) -> (u32, u32) {
        let trained = self.reference.as_ref().map_or(self.training.len(), ReferenceAnswers::runs);
        let have = u32::try_from(trained + self.calibration.len()).unwrap_or(u32::MAX);
        if self.evidence.is_some() {
            (self.options.reference, self.options.reference)
        } else {
            (have, self.options.reference)
        }
    }

    /// The evidence of a change: the decimal logarithm of the e-value, 0 if it is below 1. After an alarm it stands until
    /// a new reference is complete.
    pub fn evidence(&self) -> f64 {
        let present = self.evidence.as_ref().map(|it| it.value().log10());
        self.standing.or(present).unwrap_or(0.0).max(0.0)
    }

    /// The evidence from which a model is said to have changed, as [`Self::evidence`] is.
    pub fn threshold(&self) -> f64 {
        -self.options.false_alarms.log10()
    }

    /// Whether a change was told and the new reference is not complete.
    pub const fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Takes the answers of a run, in the order of the prompts; `None` for a prompt without an answer.
    pub fn take(&mut self, answers: Vec<Option<PromptAnswer>>) -> ModelVerdict {
        let count = answers.len();
        let answers: Vec<_> = answers.into_iter().flatten().map(PromptAnswer::bounded).collect();
        if count != self.prompts || answers.len() != count || answers.is_empty() {
            return ModelVerdict::Incomplete;
        }
        let all_logprobs = answers.iter().all(|answer| !answer.top.is_empty());
        let kind = if all_logprobs { AnswerComparison::Logprobs } else { AnswerComparison::Text };
        let comparison = *self.comparison.get_or_insert(kind);
        if comparison == AnswerComparison::Logprobs && !all_logprobs {
            return ModelVerdict::Incomplete;
        }
        self.runs += 1;
        let Some(reference) = &self.reference else {
            return self.train(comparison, answers);
        };
        let score = reference.score(&answers, self.runs);
        match &mut self.evidence {
            None => self.calibrate(score),
            Some(evidence) => {
                let usual = evidence.usual();
                evidence.take(score);
                self.judge(score.times(usual), comparison)
            }
        }
    }

    fn train(&mut self, comparison: AnswerComparison, answers: Vec<PromptAnswer>) -> ModelVerdict {
        self.training.push(answers);
        let wanted = (self.options.reference as usize / TRAINING_SHARE).min(MAX_TRAINING);
        if self.training.len() >= wanted {
            self.reference = Some(ReferenceAnswers::of(comparison, std::mem::take(&mut self.training)));
        }
        self.learning()
    }

    fn calibrate(&mut self, score: RunDistance) -> ModelVerdict {
        self.calibration.push(score);
        let verdict = self.learning();
        if let ModelVerdict::Learned { have, need } = verdict
            && have >= need
        {
            self.evidence = Some(ChangeEvidence::new(std::mem::take(&mut self.calibration)));
            self.standing = None;
            self.rise = Rise::default();
        }
        verdict
    }

    fn learning(&self) -> ModelVerdict {
        let (have, need) = self.learned();
        ModelVerdict::Learned { have, need }
    }

    /// Judges a run of this distance, whose evidence has been taken.
    fn judge(&mut self, distance: f64, comparison: AnswerComparison) -> ModelVerdict {
        let evidence = self.evidence();
        if evidence > 0.0 {
            self.rise.runs += 1;
            self.rise.distance += distance;
        } else {
            self.rise = Rise::default();
        }
        if evidence < self.threshold() {
            return ModelVerdict::Unchanged { distance };
        }
        let Rise { runs, distance } = self.rise;
        let distance = distance / runs.max(1) as f64;
        let kept =
            Self { runs: self.runs, standing: Some(evidence), ..Self::new(self.prompts, self.options) };
        *self = kept;
        ModelVerdict::Changed(ModelAlarm { evidence, runs, distance, comparison })
    }
}

impl PromptAnswer {
    /// With bounded texts and finite numbers.
    fn bounded(mut self) -> Self {
        self.top.truncate(MAX_TOP);
        self.top.retain(|it| !it.logprob.is_nan());
        for it in &mut self.top {
            it.logprob = distance::rounded(it.logprob);
            shorten(&mut it.token);
        }
        shorten(&mut self.text);
        self
    }
}

fn shorten(text: &mut Box<str>) {
    if text.len() > MAX_TEXT {
        let end = text.floor_char_boundary(MAX_TEXT);
        *text = text.get(..end).unwrap_or_default().into();
    }
}

#[cfg(test)]
mod tests;
