//! What is known about the model of one target, by one profile. It reads no clock.

use crate::detect::{
    AnswerComparison, ModelAlarm, ModelChangeOptions, ModelVerdict, ModelWatch, PromptAnswer, TokenLogprob,
};
use crate::event::{FingerprintAnswer, ModelChange, ModelSign};
use crate::plan::PairPlan;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;

/// Number of names that are remembered of each kind; servers behind a balancer have several.
const MAX_NAMES: usize = 16;

/// What is known about the model of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownModel {
    /// The revision of the pair: with other prompts or another model, everything begins anew.
    revision: Arc<str>,
    watch: ModelWatch,
    /// When the evidence began to rise; `None` while there is none.
    rising: Option<SystemTime>,
    /// The names that answers had, the latest one last.
    models: Vec<String>,
    fingerprints: Vec<String>,
    /// When a change was last told, and what was seen.
    told: Option<(SystemTime, String)>,
    /// Number of the last runs that could not be compared.
    #[serde(default)]
    incomparable: u32,
}

/// What is known about the model of a target, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelView {
    /// By what its answers are compared; null before the first run.
    pub comparison: Option<AnswerComparison>,
    /// Number of runs in the reference.
    pub reference: u32,
    /// Number of runs that the reference needs.
    pub needed: u32,
    /// The evidence of a change, as a decimal logarithm.
    pub evidence: f64,
    /// The evidence from which a change is told.
    pub threshold: f64,
    /// Whether a change was told, and the reference of the new model is not complete.
    pub changed: bool,
    /// Number of the last runs that could not be compared: a prompt had no answer, or an answer lacked what the reference
    /// has.
    pub incomparable: u32,
    /// When a change was last told; `None` if never.
    #[serde(skip)]
    pub last_change: Option<SystemTime>,
    /// What was seen then.
    pub why: Option<String>,
    /// The model that the last answers named.
    pub model: Option<String>,
    /// The `system_fingerprint` of the last answers.
    pub system_fingerprint: Option<String>,
}

impl ModelView {
    /// It as a clause for humans.
    pub fn sentence(&self) -> String {
        let Self { reference, needed, evidence, threshold, .. } = self;
        match &self.why {
            Some(why) if self.changed => format!("it has changed: {why}"),
            _ if self.incomparable > 0 => format!(
                "the last {} could not be compared: a prompt had no answer, or an answer lacks what the reference has",
                if self.incomparable == 1 { "run".to_owned() } else { format!("{} runs", self.incomparable) }
            ),
            _ if reference < needed => format!("{reference} of {needed} runs of the reference are known"),
            _ => format!("no change (evidence {evidence:.1} of {threshold:.1})"),
        }
    }
}

impl KnownModel {
    /// Nothing yet; `None` if the profile of the pair is no fingerprint.
    pub(super) fn nothing(pair: &PairPlan) -> Option<Self> {
        let plan = pair.model_fingerprint()?;
        let options = ModelChangeOptions { reference: plan.reference, false_alarms: plan.false_alarms };
        Some(Self {
            revision: Arc::clone(&pair.revision),
            watch: ModelWatch::new(pair.fingerprint_prompts(), options),
            rising: None,
            models: Vec::new(),
            fingerprints: Vec::new(),
            told: None,
            incomparable: 0,
        })
    }

    /// What was saved; `None` if it cannot be read, or is about something else than `now`.
    pub(super) fn of_saved(saved: &str, now: &Self) -> Option<Self> {
        let known: Self = serde_json::from_str(saved).ok()?;
        known.is_like(now).then_some(known)
    }

    /// Whether both are about the same prompts and the same test.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let of = |known: &Self| (known.watch.prompts(), known.watch.options());
        self.revision == other.revision && of(self) == of(other)
    }

    /// It as JSON.
    pub(super) fn saved(&self) -> Arc<str> {
        // It consists of maps with string keys and plain values, all of which JSON can represent.
        serde_json::to_string(self).unwrap_or_default().into()
    }

    /// Number of prompts.
    pub(super) const fn prompts(&self) -> usize {
        self.watch.prompts()
    }

    pub(super) fn evidence(&self) -> f64 {
        self.watch.evidence()
    }

    pub(super) fn threshold(&self) -> f64 {
        self.watch.threshold()
    }

    pub(super) fn view(&self) -> ModelView {
        let (reference, needed) = self.watch.learned();
        ModelView {
            comparison: self.watch.comparison(),
            reference,
            needed,
            evidence: self.evidence(),
            threshold: self.threshold(),
            changed: self.watch.is_standing(),
            incomparable: self.incomparable,
            last_change: self.told.as_ref().map(|(at, _)| *at),
            why: self.told.as_ref().map(|(_, why)| why.clone()),
            model: self.models.last().cloned(),
            system_fingerprint: self.fingerprints.last().cloned(),
        }
    }

    /// Takes the answers of a run that ended now, in the order of the prompts. Returns what changed.
    pub(super) fn take(
        &mut self,
        answers: Vec<Option<FingerprintAnswer>>,
        now: SystemTime,
    ) -> Vec<ModelChange> {
        let mut changes = Vec::new();
        for answer in answers.iter().flatten() {
            let signs = [
                (ModelSign::ResponseModel, &mut self.models, &answer.model),
                (ModelSign::SystemFingerprint, &mut self.fingerprints, &answer.system_fingerprint),
            ];
            for (what, known, name) in signs {
                let before = name.as_ref().and_then(|name| another(known, name));
                if let Some((before, name)) = before.zip(name.as_ref()) {
                    let why = format!("the answers' `{}` was {before} and is {name}", field(what));
                    changes.push(ModelChange { what, since: now, why });
                }
            }
        }
        let answers = answers.into_iter().map(|answer| answer.map(compared)).collect();
        let verdict = self.watch.take(answers);
        let is_lost = verdict == ModelVerdict::Incomplete;
        self.incomparable = if is_lost { self.incomparable.saturating_add(1) } else { 0 };
        if let ModelVerdict::Changed(alarm) = verdict {
            let why = said(&alarm);
            let since = self.rising.take().unwrap_or(now);
            self.told = Some((now, why.clone()));
            changes.push(ModelChange { what: ModelSign::Answers, since, why });
        } else if self.evidence() <= 0.0 || self.watch.is_standing() {
            self.rising = None;
        } else {
            self.rising.get_or_insert(now);
        }
        changes
    }
}

/// The field of an answer that shows it.
const fn field(sign: ModelSign) -> &'static str {
    match sign {
        ModelSign::Answers => "choices",
        ModelSign::SystemFingerprint => "system_fingerprint",
        ModelSign::ResponseModel => "model",
    }
}

/// Notes a name. If others were known and not this one, returns the latest of them.
fn another(known: &mut Vec<String>, name: &str) -> Option<String> {
    let was = known.iter().position(|it| it == name);
    let before = known.last().filter(|_| was.is_none()).cloned();
    if let Some(was) = was {
        known.remove(was);
    } else if known.len() >= MAX_NAMES {
        known.remove(0);
    }
    known.push(name.to_owned());
    before
}

fn compared(answer: FingerprintAnswer) -> PromptAnswer {
    let token = |(token, logprob): (String, f64)| TokenLogprob { token: token.into(), logprob };
    PromptAnswer { top: answer.top.into_iter().map(token).collect(), text: answer.text.into() }
}

fn said(alarm: &ModelAlarm) -> String {
    let runs = if alarm.runs == 1 { "run lies".to_owned() } else { format!("{} runs lie", alarm.runs) };
    let by = match alarm.comparison {
        AnswerComparison::Logprobs => "log-probabilities",
        AnswerComparison::Text => "texts",
    };
    format!(
        "by the {by} of their answers, the last {runs} {:.1} times as far from the reference as its own runs do (evidence \
         1:{:.0})",
        alarm.distance,
        10_f64.powf(alarm.evidence.min(300.0))
    )
}
