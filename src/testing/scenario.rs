//! Builds scenarios for tests.

use crate::plan::{
    AnswerPart, AskStep, AskText, BodyTemplate, Cache, Expect, HttpStep, Reserve, Scenario, Step, StepAction,
    Take, Think,
};
use crate::template::{Templates, Vars};
use http::{HeaderValue, Method};
use serde_json::{Map, Value, json};
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::Duration;

/// A step of a scenario. Without a prompt it is an HTTP call: a GET without a body, a POST with one.
#[derive(Clone)]
pub(crate) struct StepBuild {
    pub(crate) name: &'static str,
    /// Template of the path.
    pub(crate) path: &'static str,
    /// Template of the JSON body.
    pub(crate) body: Option<&'static str>,
    /// Template of the prompt of a model call.
    pub(crate) prompt: Option<&'static str>,
    pub(crate) think: Think,
    pub(crate) repeat: u32,
    pub(crate) turns: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) expect: Expect,
    pub(crate) reserve: Reserve,
    /// Variables to extract, with their paths in the answer.
    pub(crate) take: Vec<(&'static str, &'static str)>,
}

/// A step that requests `/NAME`.
pub(crate) fn step(name: &'static str) -> StepBuild {
    StepBuild {
        name,
        path: "",
        body: None,
        prompt: None,
        think: Think { min: Duration::ZERO, max: Duration::ZERO },
        repeat: 1,
        turns: false,
        timeout: None,
        expect: Expect::default(),
        reserve: Reserve::default(),
        take: Vec::new(),
    }
}

impl StepBuild {
    pub(crate) fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    pub(crate) fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn prompt(mut self, prompt: &'static str) -> Self {
        self.prompt = Some(prompt);
        self
    }

    pub(crate) fn thinks(mut self, time: Duration) -> Self {
        self.think = Think { min: time, max: time };
        self
    }

    pub(crate) fn times(mut self, repeat: u32) -> Self {
        self.repeat = repeat;
        self
    }

    pub(crate) fn turns(mut self) -> Self {
        self.turns = true;
        self
    }

    pub(crate) fn expects(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    pub(crate) fn takes(mut self, name: &'static str, path: &'static str) -> Self {
        self.take.push((name, path));
        self
    }

    pub(crate) fn reserves(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        self.reserve = Reserve { input_tokens, output_tokens };
        self
    }

    fn build(self, number: usize, templates: &mut Templates) -> Arc<Step> {
        let action = match self.prompt {
            Some(prompt) => StepAction::Ask(Box::new(AskStep {
                text: AskText::Template { system: None, prompt: templates.add(prompt).unwrap() },
                output_tokens: Some(100),
                output: crate::plan::OutputLength::default(),
                cache: Cache::Reuse,
                stream: true,
                params: Map::new(),
                history: 0,
                stateful: false,
                fingerprint: None,
            })),
            None => self.http(templates),
        };
        let take = |(name, path): &(&str, &str)| Take {
            name: (*name).into(),
            from: AnswerPart::Json(JsonPath::parse(path).unwrap()),
            default: None,
        };
        Arc::new(Step {
            name: self.name.into(),
            number,
            action,
            think: self.think,
            repeat: self.repeat,
            turns: self.turns,
            timeout: self.timeout,
            expect: self.expect,
            take: self.take.iter().map(take).collect(),
            comparison: None,
        })
    }

    fn http(&self, templates: &mut Templates) -> StepAction {
        let path = if self.path.is_empty() { format!("/{}", self.name) } else { self.path.to_owned() };
        let method = if self.body.is_some() { Method::POST } else { Method::GET };
        let content_type = HeaderValue::from_static("application/json");
        let text = self.body.map(|body| templates.add(body).unwrap());
        StepAction::Http(Box::new(HttpStep {
            route: format!("{method} {path}").into(),
            method,
            path: templates.add(&path).unwrap(),
            headers: Vec::new(),
            body: text.map_or(BodyTemplate::None, |text| BodyTemplate::Raw { content_type, text }),
            reading: None,
            reserve: self.reserve,
        }))
    }
}

/// A scenario with these steps, a list `colours` and a number `three`.
pub(crate) fn scenario(setup: Vec<StepBuild>, steps: Vec<StepBuild>) -> Arc<Scenario> {
    let mut templates = Templates::default();
    let set_ups = setup.len();
    let mut all = Vec::new();
    for (number, step) in setup.into_iter().chain(steps).enumerate() {
        all.push(step.build(number, &mut templates));
    }
    let steps = all.split_off(set_ups);
    let vars: Map<String, Value> =
        [("colours".to_owned(), json!(["red", "green", "blue"])), ("three".to_owned(), json!(3))]
            .into_iter()
            .collect();
    Arc::new(Scenario {
        journeys: true,
        setup: all,
        steps,
        templates,
        vars: Vars::from(vars),
        secrets: Vec::new(),
        cookies: false,
        summary: None,
        variables: std::collections::BTreeMap::new(),
    })
}
