//! Finds the dialect of an endpoint: first with free queries, then with a small request in each dialect that the
//! endpoint may speak.

use super::trial::{TrialAnswer, TrialAsk, TrialRunner};
use super::{Narrator, UsageError, hint};
use crate::cli::EndpointOptions;
use crate::identify::{
    Adjustment, AuthScheme, DialectCandidate, EndpointAddress, EndpointEvidence, EndpointFindings,
    FetchFailureKind, Inquirer, KeySource, Measurement, OutputLimit, TargetAuth, TrialJudgement,
    auth_schemes, backend_account, candidates, identify_server, model_picks, prompts,
};
use crate::secret::Exposed;
use anyhow::{Context as _, bail};
use std::path::PathBuf;

/// Limit of output tokens for a small request.
const OUTPUT_TOKENS: u64 = 32;
/// Higher limits that are tried in turn if hidden reasoning uses all output tokens.
const MORE_OUTPUT: [u64; 2] = [512, 2048];
/// Maximum number of requests for one dialect, base URL and model.
const MAX_ATTEMPTS: usize = 6;
/// Number of refusals of the key after which the key is considered wrong.
const MAX_KEY_REFUSALS: usize = 2;

/// The result of trying one candidate.
enum CandidateResult {
    Speaks(Box<(EndpointFindings, TrialAnswer)>),
    NotHere(String),
    Refused(String),
    KeyRefused(String),
    Unreachable(String),
}

/// Searches for the dialect.
pub(super) struct Explorer<'a> {
    pub(super) options: &'a EndpointOptions,
    pub(super) address: &'a EndpointAddress,
    pub(super) key: Option<KeySource>,
    pub(super) exposed: Option<Exposed>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) narrator: &'a Narrator,
}

impl Explorer<'_> {
    /// Sends the queries that cost nothing. Fails if none is answered.
    pub(super) async fn gather(&self) -> anyhow::Result<EndpointEvidence> {
        let timeout = self.options.timeout;
        let inquirer =
            Inquirer::new(self.address.clone(), self.exposed.clone(), self.ca_file.as_deref(), timeout)
                .map_err(|error| UsageError(error.to_string()))?;
        let basic = match &self.key {
            Some(KeySource::Basic { username, .. }) => Some(username.as_str()),
            _ => None,
        };
        let evidence = inquirer.gather(basic).await;
        if let Some(failure) = evidence.unreachable() {
            let hint = match failure.kind {
                FetchFailureKind::Connect => "is it running, and is the port right?",
                FetchFailureKind::Tls => {
                    "if its certificate is your own, give it, or that of its authority, with --ca-file FILE"
                }
                FetchFailureKind::Timeout => "if it is only slow, give it more time with --timeout 60s",
                FetchFailureKind::Other => "is this an HTTP server, and is it http or https?",
            };
            bail!("{} cannot be reached: {}; {hint}", self.address.shown(), failure.detail);
        }
        if let Some(to) = evidence.redirect() {
            bail!("{} redirects to {to}: give that address", self.address.shown());
        }
        self.tell(&evidence);
        Ok(evidence)
    }

    fn tell(&self, evidence: &EndpointEvidence) {
        let answered = evidence.answers().filter(|(_, answer)| (200..300).contains(&answer.status)).count();
        let asked = evidence.answers().count();
        self.narrator.say("asked", &format!("{asked} questions that cost nothing; {answered} were answered"));
    }

    /// Sends small requests until a dialect is found.
    pub(super) async fn find(
        &self,
        evidence: &EndpointEvidence,
        trials: &mut TrialRunner,
    ) -> anyhow::Result<(EndpointFindings, TrialAnswer)> {
        let (mut tried, mut refused, mut key_refusals) = (Vec::new(), None, 0);
        for candidate in candidates(self.address, evidence, self.options.api) {
            let wanted = self.options.model.as_deref().or(self.address.model());
            let (picks, listed) = model_picks(evidence, candidate.api, wanted);
            for model in picks {
                let findings = self.findings(evidence, &candidate, &model, &listed);
                let place = format!("{} at {}", candidate.api.name(), candidate.base_url);
                let named = if model.is_empty() { String::new() } else { format!(" with the model {model}") };
                match self.suspect_key(self.attempt(findings, trials).await?, evidence) {
                    CandidateResult::Speaks(found) => return Ok(*found),
                    CandidateResult::NotHere(why) => {
                        tried.push(format!("{place}: {why}"));
                        break;
                    }
                    CandidateResult::Refused(why) => {
                        self.narrator.say("tried", &format!("{place}{named}: {why}"));
                        refused.get_or_insert(format!("{place}{named}: {why}"));
                    }
                    CandidateResult::KeyRefused(why) if self.key.is_none() => {
                        bail!("{place} needs a key ({why}): {}", hint::KEY)
                    }
                    CandidateResult::KeyRefused(why) => {
                        key_refusals += 1;
                        if key_refusals >= MAX_KEY_REFUSALS {
                            bail!("the key is refused: {place}: {why}");
                        }
                        refused.get_or_insert(format!("the key is refused: {place}: {why}"));
                        break;
                    }
                    CandidateResult::Unreachable(why) => bail!("{place} did not answer: {why}"),
                }
            }
        }
        Err(self.nothing_found(evidence, &tried, refused))
    }

    /// If the list of models was also refused, the key is the likely reason for a refused request, whatever the
    /// server's message says.
    fn suspect_key(&self, result: CandidateResult, evidence: &EndpointEvidence) -> CandidateResult {
        match (result, evidence.models_refused()) {
            (CandidateResult::Refused(why), Some(status)) if self.key.is_some() => {
                CandidateResult::KeyRefused(format!(
                    "{why}; the list of models is refused, too, with {status}"
                ))
            }
            (result, _) => result,
        }
    }

    /// Sends the request of a candidate, and repeats it with changes as long as the result suggests one.
    async fn attempt(
        &self,
        mut findings: EndpointFindings,
        trials: &mut TrialRunner,
    ) -> anyhow::Result<CandidateResult> {
        let key = self.key.as_ref();
        let mut schemes = auth_schemes(findings.api, self.address, key).into_iter();
        let with = |scheme: AuthScheme| key.map(|key| TargetAuth { scheme, key: key.clone() });
        findings.auth = schemes.next().and_then(with);
        let prompt = prompts(findings.api).first().copied().context("a dialect has prompts")?;
        let mut last = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let mut answers = trials.play(&findings, &TrialAsk::one(&findings, prompt)).await?;
            let answer = answers.pop().context("a trial has an answer")?;
            last = answer.failure();
            match answer.judged() {
                TrialJudgement::Works => return Ok(CandidateResult::Speaks(Box::new((findings, answer)))),
                TrialJudgement::NotHere => return Ok(CandidateResult::NotHere(last)),
                TrialJudgement::Refused => return Ok(CandidateResult::Refused(last)),
                TrialJudgement::Unreachable => return Ok(CandidateResult::Unreachable(last)),
                TrialJudgement::KeyRefused => match schemes.next().and_then(with) {
                    Some(next) => findings.auth = Some(next),
                    None => return Ok(CandidateResult::KeyRefused(last)),
                },
                TrialJudgement::Adjust(adjustment) => {
                    if !adjust(&mut findings, adjustment) {
                        break;
                    }
                }
            }
        }
        Ok(CandidateResult::Refused(last))
    }

    fn findings(
        &self,
        evidence: &EndpointEvidence,
        candidate: &DialectCandidate,
        model: &str,
        listed: &[String],
    ) -> EndpointFindings {
        let mut findings = EndpointFindings {
            asked: self.address.shown().to_owned(),
            name: String::new(),
            api: candidate.api,
            base_url: candidate.base_url.clone(),
            model: model.to_owned(),
            listed: listed.to_vec(),
            server: identify_server(evidence),
            account: backend_account(evidence),
            auth: None,
            ca_file: self.ca_file.clone(),
            streams: candidate.api.generates(),
            limit: candidate
                .api
                .generates()
                .then_some(OutputLimit { tokens: OUTPUT_TOKENS, as_max_completion_tokens: false }),
            without_stream_options: false,
            tokenizer: None,
            facts: Vec::new(),
            open: Vec::new(),
            measured: Measurement::default(),
        };
        findings.name_target(self.address.host_name());
        findings
    }

    fn nothing_found(
        &self,
        evidence: &EndpointEvidence,
        tried: &[String],
        refused: Option<String>,
    ) -> anyhow::Error {
        let shown = self.address.shown();
        if let Some(refused) = refused {
            let model =
                if self.options.model.is_none() { "; another model may answer: --model NAME" } else { "" };
            return anyhow::anyhow!("no request was answered; {refused}{model}");
        }
        for line in tried {
            self.narrator.say("tried", line);
        }
        if let Some(title) = evidence.web_page() {
            let title = if title.is_empty() { String::new() } else { format!(" (\"{title}\")") };
            return anyhow::anyhow!(
                "{shown} serves a web page{title} and no API that is known here; APIs often are below /v1 or /api, or on \
                 another port"
            );
        }
        anyhow::anyhow!(
            "{shown} speaks no dialect that is known here: {} were tried. {}",
            tried.len(),
            hint::API
        )
    }
}

/// Changes the request. Returns false if it was already changed this way.
fn adjust(findings: &mut EndpointFindings, adjustment: Adjustment) -> bool {
    match (adjustment, &mut findings.limit) {
        (Adjustment::WithoutStreamOptions, _) => {
            !std::mem::replace(&mut findings.without_stream_options, true)
        }
        (Adjustment::NotStreamed, _) => std::mem::replace(&mut findings.streams, false),
        (Adjustment::MaxCompletionTokens, Some(limit)) => {
            !std::mem::replace(&mut limit.as_max_completion_tokens, true)
        }
        (Adjustment::MoreOutput, Some(limit)) => {
            let more = MORE_OUTPUT.into_iter().find(|more| *more > limit.tokens);
            limit.tokens = more.unwrap_or(limit.tokens);
            more.is_some()
        }
        (Adjustment::MaxCompletionTokens | Adjustment::MoreOutput, None) => false,
    }
}
