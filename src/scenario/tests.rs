mod answers;
mod bounds;
mod conversations;
mod cookies;
mod journeys;
mod requests;

use super::*;
use crate::event::{Marks, Tokens};
use crate::plan::{
    AnswerPart, Api, AskStep, AskText, BodyTemplate, Cache, Expect, HttpStep, JsonTemplate, Profile, Reserve,
    StopSequences, Take, Target, Think,
};
use crate::secret::{Secret, SecretOrigin};
use crate::template::{Template, Templates};
use crate::testing::{profile, stage, target};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

const _: () = {
    const fn sendable<T: Send>() {}
    sendable::<UserSession>();
};

/// Builds steps, and a scenario of them.
struct Stage {
    templates: Templates,
    vars: Value,
    secrets: Vec<(&'static str, SecretOrigin)>,
    cookies: bool,
    base_url: &'static str,
    params: Value,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            templates: Templates::default(),
            vars: json!({}),
            secrets: Vec::new(),
            cookies: false,
            base_url: "http://app.test/v1/",
            params: json!({}),
        }
    }
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value}") };
    map
}

impl Stage {
    fn template(&mut self, source: &str) -> Template {
        self.templates.add(source).unwrap()
    }

    /// `POST` to a path.
    fn http(&mut self, name: &str, path: &str) -> Step {
        let http = HttpStep {
            method: Method::POST,
            path: self.template(path),
            headers: Vec::new(),
            body: BodyTemplate::None,
            reading: None,
            reserve: Reserve::default(),
            route: format!("POST {path}").into(),
        };
        step(name, StepAction::Http(Box::new(http)))
    }

    /// `POST` of a JSON body.
    fn post(&mut self, name: &str, body: Value) -> Step {
        let body = BodyTemplate::Json(self.json(body));
        let mut step = self.http(name, "/x");
        http(&mut step).body = body;
        step
    }

    fn ask(&mut self, name: &str, prompt: &str, history: u32) -> Step {
        let ask = AskStep {
            text: AskText::Template { system: None, prompt: self.template(prompt) },
            output_tokens: Some(128),
            output: crate::plan::OutputLength::default(),
            cache: Cache::Reuse,
            stream: true,
            params: Map::new(),
            history,
            stateful: false,
            fingerprint: None,
        };
        Step { turns: history > 0, ..step(name, StepAction::Ask(Box::new(ask))) }
    }

    fn json(&mut self, value: Value) -> JsonTemplate {
        match value {
            Value::String(text) if text.contains("{{") => JsonTemplate::Template(self.template(&text)),
            Value::Array(items) => {
                JsonTemplate::Array(items.into_iter().map(|item| self.json(item)).collect())
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(key, field)| (key, self.json(field)));
                JsonTemplate::Object(fields.collect())
            }
            other => JsonTemplate::Literal(other),
        }
    }

    /// The context of a stage that plays these steps against a target.
    fn cast_of(self, steps: Vec<Step>, target_name: &str) -> Arc<StageContext> {
        let numbered = steps.into_iter().enumerate().map(|(number, step)| Arc::new(Step { number, ..step }));
        let secrets = self.secrets.into_iter();
        let scenario = Arc::new(Scenario {
            journeys: true,
            setup: Vec::new(),
            steps: numbered.collect(),
            templates: self.templates,
            vars: map(self.vars).into(),
            secrets: secrets.map(|(name, origin)| (name.into(), Arc::new(Secret::new(origin)))).collect(),
            cookies: self.cookies,
            summary: None,
            variables: BTreeMap::new(),
        });
        let profile =
            Profile { scenario: Arc::clone(&scenario), ..profile("shop", vec![stage("steady", false)]) };
        let target = Target {
            api: Api::Http,
            base_url: self.base_url.parse().unwrap(),
            params: map(self.params),
            ..target(target_name)
        };
        let pair = Arc::new(PairPlan::new(Arc::new(profile), Arc::new(target), "r".into()));
        let seeds = RunSeeds { draws: 7, nonces: 7 };
        let run = "run-1".to_owned();
        Arc::new(StageContext { pair, scenario, seeds, run, stage_number: 3, stage: "steady".into() })
    }

    fn stage_context(self, steps: Vec<Step>) -> Arc<StageContext> {
        self.cast_of(steps, "app")
    }
}

fn step(name: &str, action: StepAction) -> Step {
    Step {
        name: name.into(),
        number: 0,
        action,
        think: Think { min: Duration::ZERO, max: Duration::ZERO },
        repeat: 1,
        turns: false,
        timeout: None,
        expect: Expect::default(),
        take: Vec::new(),
        comparison: None,
    }
}

fn http(step: &mut Step) -> &mut HttpStep {
    let StepAction::Http(http) = &mut step.action else { panic!("not HTTP") };
    http
}

fn take(name: &str, from: AnswerPart) -> Take {
    Take { name: name.into(), from, default: None }
}

fn at_path(path: &str) -> AnswerPart {
    AnswerPart::Json(serde_json_path::JsonPath::parse(path).unwrap())
}

/// A user and the steps of its scenario, in their order.
struct Driver {
    user: UserSession,
    steps: Vec<Arc<Step>>,
}

impl Driver {
    fn new(stage_context: &Arc<StageContext>, index: u32) -> Self {
        Self {
            user: UserSession::new(Arc::clone(stage_context), index),
            steps: stage_context.scenario.all().cloned().collect(),
        }
    }

    fn try_prepare(&mut self, step: usize, iteration: u64) -> Result<Outgoing, Unbuildable> {
        let step = Arc::clone(&self.steps[step]);
        let turn = self.user.turn(&step, 0);
        self.user.prepare(&step, iteration, turn, "2024-07-11T01:14:00Z".parse().unwrap())
    }

    fn call(&mut self, step: usize, iteration: u64) -> Call {
        match self.try_prepare(step, iteration).unwrap().draft {
            Draft::Call(call) => call,
            Draft::Ask(ask) => panic!("{ask:?}"),
        }
    }

    fn ask(&mut self, step: usize, iteration: u64) -> Ask {
        match self.try_prepare(step, iteration).unwrap().draft {
            Draft::Ask(ask) => ask,
            Draft::Call(call) => panic!("{call:?}"),
        }
    }

    fn body(&mut self, step: usize, iteration: u64) -> Value {
        serde_json::from_slice(&self.call(step, iteration).body).unwrap()
    }

    fn hidden(&mut self, step: usize) -> Vec<String> {
        let outgoing = self.try_prepare(step, 0).unwrap();
        outgoing.hidden.iter().map(|hidden| hidden.expose().to_owned()).collect()
    }

    fn take(&mut self, step: usize, answer: &Answer) -> Result<(), String> {
        let step = Arc::clone(&self.steps[step]);
        answer.given(|evidence| self.user.take(&step, evidence)).map_err(|error| error.to_string())
    }
}

/// The data that [`Evidence`] borrows.
#[derive(Default)]
struct Answer {
    headers: HeaderMap,
    text: String,
    body: Option<String>,
    id: Option<String>,
    tokens: Tokens,
}

impl Answer {
    fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    fn json(body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..Self::default() }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn given<T>(&self, look: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let marks = Marks::begin(Instant::now(), Instant::now());
        look(&Evidence {
            status: Some(200),
            headers: &self.headers,
            text: &self.text,
            body: self.body.as_ref().map(String::as_bytes),
            finish_reason: None,
            id: self.id.as_deref(),
            tokens: &self.tokens,
            marks: &marks,
            streamed: false,
            tool_calls: &[],
            logprobs: 0,
            asked_output_tokens: None,
            stop: &StopSequences::default(),
            earlier: None,
        })
    }
}
