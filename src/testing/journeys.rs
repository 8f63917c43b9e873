//! A scenario and its journeys, built by hand as input for sinks.

use super::{assemble, expect, facts, labelled, profile, rich_target, stage};
use crate::event::{Journey, Outcome, Place, RunRef};
use crate::fact::{Fact, Sink};
use crate::plan::{
    AnswerMapping, AskStep, AskText, BodyForm, BodyTemplate, Cache, Expect, HttpStep, JsonRule, PairPlan,
    Plan, Profile, Reserve, Rule, Scenario, StatusRange, StatusSet, Step, StepAction, Target, Think,
};
use crate::template::{Template, Templates, Vars};
use http::Method;
use serde_json::Map;
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A template without an expression.
fn template(source: &str) -> Template {
    Templates::default().add(source).unwrap()
}

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).unwrap()
}

/// A step without think time that is played once.
pub(crate) fn step(name: &str, action: StepAction, expect: Expect) -> Step {
    let think = Think { min: Duration::ZERO, max: Duration::ZERO };
    Step {
        name: name.into(),
        number: 0,
        action,
        think,
        repeat: 1,
        turns: false,
        timeout: None,
        expect,
        take: Vec::new(),
        comparison: None,
    }
}

/// A `POST` without a body.
pub(crate) fn post(to: &str, reading: Option<AnswerMapping>) -> StepAction {
    StepAction::Http(Box::new(HttpStep {
        method: Method::POST,
        path: template(to),
        headers: Vec::new(),
        body: BodyTemplate::None,
        reading: reading.map(Arc::new),
        reserve: Reserve::default(),
        route: format!("POST {to}").into(),
    }))
}

/// A streamed model call with at most 128 tokens.
fn ask() -> StepAction {
    StepAction::Ask(Box::new(AskStep {
        text: AskText::Template { system: None, prompt: template("hello") },
        output_tokens: Some(128),
        output: crate::plan::OutputLength::default(),
        cache: Cache::Reuse,
        stream: true,
        params: Map::new(),
        history: 0,
        stateful: false,
        fingerprint: None,
    }))
}

/// A profile with these steps.
pub(crate) fn scenario(profile: Profile, setup: Vec<Step>, steps: Vec<Step>) -> Profile {
    let number = |(number, step): (usize, Step)| Arc::new(Step { number, ..step });
    let before = setup.len();
    let mut all = setup.into_iter().chain(steps).enumerate().map(number);
    let setup = all.by_ref().take(before).collect();
    let scenario = Scenario {
        journeys: true,
        setup,
        steps: all.collect(),
        templates: Templates::default(),
        vars: Vars::default(),
        secrets: Vec::new(),
        cookies: false,
        summary: None,
        variables: std::collections::BTreeMap::new(),
    };
    Profile { scenario: Arc::new(scenario), ..profile }
}

/// Profile `rag` (stages `warm` and `steady`) against the target `app`: once `login`, which reads nothing; then
/// `query`, which reads text and tokens of a JSON answer and requires citations; then `talk`, a streamed, multi-turn
/// model call.
pub(crate) fn rag_plan() -> Plan {
    rag_plan_of(vec![stage("warm", true), stage("steady", false)])
}

/// Like [`rag_plan`], with other stages.
pub(crate) fn rag_plan_of(stages: Vec<crate::plan::Stage>) -> Plan {
    let login =
        Expect { status: Some(StatusSet(vec![StatusRange { from: 200, to: 200 }])), ..Expect::default() };
    let reading = AnswerMapping {
        form: Some(BodyForm::Json),
        text: Some(path("$.answer")),
        input_tokens: Some(path("$.usage.prompt_tokens")),
        output_tokens: Some(path("$.usage.completion_tokens")),
        ..AnswerMapping::default()
    };
    let cited =
        Rule::Json { path: path("$.citations"), is: JsonRule { min_items: Some(1), ..JsonRule::default() } };
    let query = expect(vec![("$.citations", cited), ("min_chars", Rule::MinChars(20))]);
    let talk = Step { turns: true, ..step("talk", ask(), expect(vec![("min_chars", Rule::MinChars(10))])) };
    let rag = scenario(
        profile("rag", stages),
        vec![step("login", post("/api/auth/login", None), login)],
        vec![step("query", post("/api/rag/query", Some(reading)), query), talk],
    );
    let target: Arc<Target> = Arc::new(rich_target("app"));
    labelled(assemble(vec![target], vec![rag], 64))
}

/// The place of the requests of a step in a stage.
pub(crate) fn step_place(pair: &PairPlan, stage: usize, name: &str, turn: u32) -> Arc<Place> {
    let step = pair.profile.scenario.all().find(|step| &*step.name == name).unwrap();
    Arc::clone(pair.step_place(stage, step.number, turn).unwrap())
}

/// A journey of three requests over 4 s, with a user-visible duration of 2.5 s, 120 input and 30 output tokens.
pub(crate) fn journey(place: &Arc<Place>, outcome: Outcome) -> Journey {
    let due = Instant::now();
    let run: Arc<RunRef> = facts::run(&place.pair);
    Journey {
        place: Arc::clone(place.key()),
        run,
        warm_up: false,
        ids: facts::ids(),
        user: 3,
        iteration: 7,
        outcome,
        failed_step: None,
        detail: None,
        due,
        end: due + Duration::from_secs(4),
        ended: SystemTime::UNIX_EPOCH + Duration::from_secs(2000),
        duration: Duration::from_millis(2500),
        requests: 3,
        input_tokens: 120,
        output_tokens: 30,
        cost: Some(0.5),
        verdicts: Vec::new(),
    }
}

/// Records a journey that starts and ends.
pub(crate) fn travel(
    sink: &Arc<dyn Sink>,
    place: &Arc<Place>,
    outcome: Outcome,
    change: impl FnOnce(&mut Journey),
) -> Arc<Journey> {
    let mut journey = journey(place, outcome);
    change(&mut journey);
    let journey = Arc::new(journey);
    sink.record(&Fact::JourneyStarted { place: Arc::clone(place), warm_up: journey.warm_up });
    sink.record(&Fact::JourneyEnded { journey: Arc::clone(&journey), place: Arc::clone(place) });
    journey
}
