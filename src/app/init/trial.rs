//! Sends requests to the endpoint before there is a config. They use the client and the engine of the daemon and share
//! one budget.

use crate::app::assembly;
use crate::client::{Answer, Caller, Context};
use crate::cpu_pool::CpuPool;
use crate::engine::{OVERRUN, Once};
use crate::event::{Request, SkipReason, TraceIds};
use crate::exchange::{Ask, Call};
use crate::fact::{Fact, Sink};
use crate::identify::{
    AuthScheme, EndpointFindings, KeySource, TargetAuth, TrialJudgement, TrialOutcome, judge,
};
use crate::plan::{self, LoadedPlan, Plan};
use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Maximum number of runs of a trial until a request is sent. On a busy machine, a request may be skipped because it is
/// too late.
const MAX_RUNS: usize = 5;

/// The maximum number of requests, and of tokens in prompts and answers together.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrialLimits {
    pub(super) requests: u64,
    pub(super) tokens: u64,
}

/// Sends trial requests.
pub(super) struct TrialRunner {
    traffic: Handle,
    cpu_pool: CpuPool,
    limits: TrialLimits,
    sent: u64,
    tokens: u64,
    /// Timeout of each request.
    timeout: Duration,
}

/// The content of a trial.
#[derive(Clone, Debug)]
pub(super) struct TrialAsk {
    pub(super) prompts: Vec<String>,
    pub(super) stream: bool,
    /// Whether prompts start with a nonce, so that no cache answers.
    pub(super) bust: bool,
    pub(super) params: Map<String, Value>,
    pub(super) requests: u64,
    /// Time after which no further request is sent.
    pub(super) within: Duration,
}

impl TrialAsk {
    /// A single request, as a probe would send it.
    pub(super) fn one(findings: &EndpointFindings, prompt: &str) -> Self {
        Self {
            prompts: vec![prompt.to_owned()],
            stream: findings.streams,
            bust: false,
            params: Map::new(),
            requests: 1,
            within: Duration::from_mins(5),
        }
    }
}

/// A request that was sent, and the text of its answer.
#[derive(Clone, Debug)]
pub(super) struct TrialAnswer {
    pub(super) request: Arc<Request>,
    pub(super) text: String,
}

impl TrialAnswer {
    /// Judges the answer.
    pub(super) fn judged(&self) -> TrialJudgement {
        judge(&TrialOutcome {
            status: self.request.observed.status,
            outcome: self.request.outcome,
            detail: self.request.detail.clone().unwrap_or_default(),
        })
    }

    /// A short description of the failure.
    pub(super) fn failure(&self) -> String {
        let label = self.request.outcome.label();
        match (&self.request.detail, self.request.observed.status) {
            (Some(detail), _) => format!("{label}: {detail}"),
            (None, Some(status)) => format!("{label}: HTTP {status}"),
            (None, None) => label.to_owned(),
        }
    }
}

impl TrialRunner {
    pub(super) fn new(traffic: Handle, limits: TrialLimits, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self { traffic, cpu_pool: assembly::cpu_pool()?, limits, sent: 0, tokens: 0, timeout })
    }

    /// The number of requests sent so far, and of the tokens that they are known to have used.
    pub(super) fn spent(&self) -> (u64, u64) {
        (self.sent, self.tokens)
    }

    /// Sends requests, one after the other.
    pub(super) async fn play(
        &mut self,
        findings: &EndpointFindings,
        ask: &TrialAsk,
    ) -> anyhow::Result<Vec<TrialAnswer>> {
        let TrialLimits { requests, tokens } = self.limits;
        let left = (requests.saturating_sub(self.sent), tokens.saturating_sub(self.tokens));
        if left.0 == 0 || left.1 == 0 {
            bail!(
                "the most that is sent to find out about an endpoint, {requests} requests and {tokens} tokens, is used up"
            );
        }
        let plan = Arc::new(load(&self.config(findings, ask, left))?.plan);
        for _ in 0..MAX_RUNS {
            let record = self.run(&plan).await?;
            let answers = record.answers();
            self.sent += answers.len() as u64;
            self.tokens += answers.iter().map(|it| it.request.observed.tokens.total()).sum::<u64>();
            if !answers.is_empty() {
                return Ok(answers);
            }
            if record.lock().over_budget {
                bail!(
                    "the next request could exceed the {tokens} tokens that are spent at most to find out about an endpoint"
                );
            }
        }
        bail!("this machine is too busy: no request left in time")
    }

    /// Runs the plan of a trial once.
    async fn run(&self, plan: &Arc<Plan>) -> anyhow::Result<Arc<TrialRecord>> {
        let pair = plan.pairs.first().context("the trial has no target")?.pair.clone();
        let mut callers = assembly::callers(plan, &self.cpu_pool)?;
        let record = Arc::new(TrialRecord::default());
        for caller in callers.values_mut() {
            *caller = Arc::new(TextKeeper { inner: Arc::clone(caller), record: Arc::clone(&record) });
        }
        let sink: Arc<dyn Sink> = Arc::<TrialRecord>::clone(&record);
        let (ledger, cpu_pool) = (assembly::ledger(plan), self.cpu_pool.clone());
        let (plan, traffic) = (Arc::clone(plan), self.traffic.clone());
        let engine = assembly::engine(plan, sink, ledger, callers, cpu_pool, traffic, OVERRUN)?;
        engine.run_once(&pair, Once::default()).await?;
        Ok(record)
    }

    fn config(&self, findings: &EndpointFindings, ask: &TrialAsk, (requests, tokens): (u64, u64)) -> Value {
        let total = format!("{}ms", self.timeout.as_millis().max(1));
        let tls = findings.ca_file.as_ref().map(|file| json!({ "ca_file": file.to_string_lossy() }));
        let refused = findings.without_stream_options.then(|| json!({ "stream_options": null }));
        let target = json!({
            "api": findings.api.name(),
            "base_url": findings.base_url.as_str(),
            "model": findings.model,
            "auth": findings.auth.as_ref().map_or_else(|| json!("none"), auth),
            "tls": tls.unwrap_or_else(|| json!({})),
            "params": refused.unwrap_or_else(|| json!({})),
            "timeouts": { "connect": total, "first_token": total, "stall": total, "total": total },
        });
        let mut params = ask.params.clone();
        let mut workload = Map::new();
        match findings.limit {
            Some(limit) if limit.as_max_completion_tokens => {
                params.insert("max_completion_tokens".to_owned(), limit.tokens.into());
            }
            Some(limit) => drop(workload.insert("output_tokens".to_owned(), limit.tokens.into())),
            None => {}
        }
        workload.extend([
            ("prompts".to_owned(), ask.prompts.clone().into()),
            ("stream".to_owned(), ask.stream.into()),
            ("cache".to_owned(), if ask.bust { "bust" } else { "reuse" }.into()),
            ("params".to_owned(), params.into()),
        ]);
        let within = format!("{}ms", ask.within.as_millis().max(1));
        json!({
            "agent": { "id": "init", "budget": { "requests": requests, "tokens": tokens } },
            "targets": { "endpoint": target },
            "profiles": { "trial": {
                "targets": ["endpoint"],
                "schedule": { "manual": {} },
                "load": [{ "requests": ask.requests, "for": within }],
                "workload": workload,
            } },
        })
    }
}

fn auth(auth: &TargetAuth) -> Value {
    let secret = match &auth.key {
        KeySource::Env(name) => json!({ "env": name }),
        KeySource::File(path) => json!({ "file": path.to_string_lossy() }),
        KeySource::Address(key) => json!({ "value": key.expose() }),
        KeySource::Basic { username, password } => {
            return json!({ "basic": { "username": username, "password": { "value": password.expose() } } });
        }
    };
    match auth.scheme {
        AuthScheme::Header(name) => json!({ "header": { "name": name, "value": secret } }),
        AuthScheme::Bearer | AuthScheme::Basic => json!({ "bearer": secret }),
    }
}

/// Loads a config from JSON, without the environment of this process.
fn load(config: &Value) -> anyhow::Result<LoadedPlan> {
    let source =
        crate::config::ConfigSource::Text { name: "the trial".to_owned(), text: ascii(&config.to_string()) };
    plan::load(&[source], []).map_err(|errors| anyhow!("the endpoint cannot be a target: {errors}"))
}

/// Converts JSON to YAML by escaping all characters outside ASCII. They occur only in strings, where YAML does not
/// allow some unprintable characters unescaped.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\U{:08X}", u32::from(c));
        }
    }
    out
}

/// The requests in the order in which they ended, and the texts of their answers. Both are limited by the number of
/// requests of the trial.
#[derive(Default)]
struct TrialRecord(Mutex<TrialRecordParts>);

#[derive(Default)]
struct TrialRecordParts {
    requests: Vec<Arc<Request>>,
    texts: Vec<(TraceIds, String)>,
    /// Whether a request was skipped because of the budget.
    over_budget: bool,
}

impl TrialRecord {
    fn lock(&self) -> MutexGuard<'_, TrialRecordParts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> Vec<TrialAnswer> {
        let parts = self.lock();
        let text = |ids| parts.texts.iter().find(|(it, _)| *it == ids).map(|(_, text)| text.clone());
        let answer = |request: &Arc<Request>| TrialAnswer {
            request: Arc::clone(request),
            text: text(request.ids).unwrap_or_default(),
        };
        parts.requests.iter().map(answer).collect()
    }
}

impl Sink for TrialRecord {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::Ended { request, .. } => self.lock().requests.push(Arc::clone(request)),
            Fact::Skipped { reason: SkipReason::Budget, .. } => self.lock().over_budget = true,
            _ => {}
        }
    }
}

/// A caller that also records the texts of answers.
struct TextKeeper {
    inner: Arc<dyn Caller>,
    record: Arc<TrialRecord>,
}

impl Caller for TextKeeper {
    fn prepare(&self, ask: &Ask) -> Call {
        self.inner.prepare(ask)
    }

    fn call(&self, call: Call, context: Context) -> BoxFuture<'_, Answer> {
        let ids = context.ids;
        async move {
            let answer = self.inner.call(call, context).await;
            self.record.lock().texts.push((ids, answer.text.clone()));
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_yaml_whatever_is_in_its_strings() {
        for text in ["\u{85}\u{2028}\u{feff}\u{7f}\u{1f600}é\"\\\n: #", "", "~", "{a}"] {
            let read: Value = serde_saphyr::from_str(&ascii(&json!({ "a": text }).to_string())).unwrap();
            assert_eq!(read, json!({ "a": text }));
        }
    }
}
