//! Plans and facts for the tests of several modules: the basic parts are here, custom profiles in `build`, a playable
//! scenario in `scenario`, facts of requests in `facts`, facts of a scenario in `journeys`, ports in `reserved_port`, and what a test logs
//! in `log`.

mod build;
mod facts;
pub(crate) mod fuzz;
mod journeys;
mod log;
mod moving;
mod reserved_port;
pub(crate) mod scenario;
mod trace;

pub(crate) use build::{Build, prompts, rate, requests, users};
pub(crate) use facts::{answer, change_plan, ids, offer, play, run, search_report};
pub(crate) use journeys::{journey, post, rag_plan, rag_plan_of, scenario, step, step_place, travel};
pub(crate) use log::{LogBuffer, LogCapture};
pub(crate) use moving::{ObservedCounts, while_requests_move};
pub(crate) use reserved_port::ReservedPort;
pub(crate) use trace::{replay, trace};

use crate::plan::{
    Agent, Api, Arrivals, AskStep, Auth, BackendOptions, BaselineThresholds, Bound, Budget, Cache, Check,
    ConnectionMode, Expect, HttpVersion, LoadCurve, Objective, Overlap, PairPlan, Period, Plan, Price,
    Profile, RecordMode, Rule, Scenario, Schedule, Server, Shape, Shard, SloMetric, Stage, StageBounds,
    StepAction, Target, TargetHealth, Telemetry, Timeouts, TlsOptions, Tokenizer, Trigger,
};
use crate::secret::{Exposed, Secret, SecretOrigin};

use crate::vocabulary::{TelemetryDetail, TrafficPriority};
use jiff::tz::TimeZone;
use serde_json::Map;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A target with default settings.
pub(crate) fn target(name: &str) -> Target {
    Target {
        name: name.into(),
        api: Api::OpenAiChat,
        base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
        model: "m".into(),
        auth: Auth::None,
        headers: Vec::new(),
        tls: TlsOptions::default(),
        http: HttpVersion::Http1,
        connection: ConnectionMode::Warm,
        proxy: None,
        propagate: crate::plan::Propagate::W3c,
        slo_headers: crate::vocabulary::SloHeaders::None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(30),
            stall: Duration::from_secs(15),
            total: Duration::from_mins(2),
        },
        stall_threshold: None,
        price: None,
        tokenizer: None,
        chat_template: None,
        params: Map::new(),
        reasoning: crate::plan::ReasoningEffort::Default,
        mark: Map::new(),
        mark_headers: Vec::new(),
        health: TargetHealth::default(),
        backend: BackendOptions::default(),
        discovery: None,
        replica: None,
    }
}

/// A target with a secret, a price and a tokenizer, so that everything exportable is present.
fn rich_target(name: &str) -> Target {
    Target {
        auth: Auth::Bearer(Secret::new(SecretOrigin::Literal(Exposed::new("hunter2")))),
        price: Some(Price { input: 1.0, cached_input: Some(0.5), output: 2.0 }),
        tokenizer: Some(Tokenizer::Cl100kBase),
        ..target(name)
    }
}

/// A stage of ten seconds with one request per second.
pub(crate) fn stage(name: &str, warm_up: bool) -> Stage {
    let rate = LoadCurve::constant(1.0);
    let bounds = StageBounds { time: Some(Duration::from_secs(10)), requests: None };
    let shape = Shape::Rate { rate, arrivals: Arrivals::Constant, bounds };
    Stage { name: name.into(), warm_up, shape, limit: None }
}

/// A profile with a check, objectives of each kind and a budget.
pub(crate) fn profile(name: &str, stages: Vec<Stage>) -> Profile {
    let slo = |name: &str, metric, bound| Objective {
        name: name.into(),
        metric,
        step: None,
        bound,
        objective: 0.99,
    };
    Profile {
        name: name.into(),
        schedule: schedule(Trigger::Every { period: Duration::from_mins(2), at_start: false }),
        stages,
        search: None,
        comparison: None,
        scenario: workload(
            AskStep { output_tokens: Some(128), cache: Cache::Bust, ..prompts(&["hello"]) },
            min_chars(10),
        ),
        seed: 7,
        reasoning: None,
        slos: vec![
            slo("ttft", SloMetric::TimeToFirstToken, Some(Bound::Below(0.8))),
            slo("pace", SloMetric::OutputPace, Some(Bound::Above(20.0))),
            slo("availability", SloMetric::Availability, None),
        ],
        retry: None,
        fluidity: None,
        record: RecordMode::Off,
        baseline: thresholds(),
        detect: None,
        budget: Some(budget()),
        revision: "r1".into(),
    }
}

/// 5% of everything.
pub(crate) fn thresholds() -> BaselineThresholds {
    BaselineThresholds::new(|_| 0.05)
}

pub(crate) fn budget() -> Budget {
    let timezone = TimeZone::UTC;
    Budget { period: Period::Day, timezone, requests: Some(1000), tokens: None, cost: Some(2.0) }
}

/// Pairs each profile with each target.
pub(crate) fn plan(targets: &[&str], profiles: Vec<Profile>) -> Plan {
    let targets: Vec<Arc<Target>> = targets.iter().map(|name| Arc::new(rich_target(name))).collect();
    labelled(assemble(targets, profiles, 64))
}

/// Adds a location and a custom label of the agent.
fn labelled(plan: Plan) -> Plan {
    let labels = BTreeMap::from([("environment".to_owned(), "prod".to_owned())]);
    Plan { agent: Agent { location: "eu".into(), labels, ..plan.agent }, ..plan }
}

/// One profile `chat` (a warm-up and a stage `steady`) against the target `llama`.
pub(crate) fn small_plan() -> Plan {
    plan(&["llama"], vec![profile("chat", vec![stage("warm", true), stage("steady", false)])])
}

fn schedule(trigger: Trigger) -> Schedule {
    Schedule {
        trigger,
        timezone: TimeZone::UTC,
        windows: Vec::new(),
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
    }
}

fn assemble(targets: Vec<Arc<Target>>, profiles: Vec<Profile>, in_flight: u32) -> Plan {
    let profiles: Vec<Arc<Profile>> = profiles.into_iter().map(Arc::new).collect();
    let pairs = profiles
        .iter()
        .flat_map(|profile| targets.iter().map(|target| pair(profile, target, &targets)))
        .collect();
    Plan {
        agent: Agent {
            id: "probe-1".into(),
            location: "".into(),
            labels: BTreeMap::new(),
            currency: "usd".into(),
            shard: Shard::WHOLE,
            in_flight: NonZeroU32::new(in_flight).unwrap(),
            in_flight_per_target: NonZeroU32::new(in_flight).unwrap(),
            traffic_priority: TrafficPriority::Normal,
            budget: None,
            state: None,
        },
        server: Server {
            listen: "127.0.0.1:0".parse().unwrap(),
            web_config: None,
            allowed_hosts: Vec::new(),
            proxies: Vec::new(),
            probe_interval: Duration::from_secs(10),
            read_only: false,
        },
        telemetry: Telemetry {
            detail: TelemetryDetail::Full,
            otlp: None,
            webhook: None,
            exemplars: true,
            native_histograms: false,
            disable: Vec::new(),
        },
        pairs,
        targets,
        discovered: Vec::new(),
        profiles,
    }
}

fn pair(profile: &Arc<Profile>, target: &Arc<Target>, all: &[Arc<Target>]) -> Arc<PairPlan> {
    let pair = PairPlan::new(Arc::clone(profile), Arc::clone(target), "rev".into());
    match all.iter().find(|other| other.name != target.name) {
        Some(other) => Arc::new(pair.compared_with(other)),
        None => Arc::new(pair),
    }
}

/// A workload, and the expectations of its answers.
pub(crate) fn workload(ask: AskStep, expect: Expect) -> Arc<Scenario> {
    Arc::new(Scenario::of_workload(ask, expect, &[]))
}

/// The model call of a profile with a workload, for tests to change.
pub(crate) fn ask_of(profile: &mut Profile) -> &mut AskStep {
    let step = Arc::get_mut(&mut profile.scenario).unwrap().steps.first_mut().unwrap();
    let StepAction::Ask(ask) = &mut Arc::get_mut(step).unwrap().action else {
        panic!("it has no model call")
    };
    ask
}

/// Expects at least this many characters.
pub(crate) fn min_chars(least: u64) -> Expect {
    expect(vec![("min_chars", Rule::MinChars(least))])
}

/// Expects these checks.
pub(crate) fn expect(checks: Vec<(&str, Rule)>) -> Expect {
    let check = |(name, rule): (&str, Rule)| Check { name: name.into(), rule };
    Expect { checks: checks.into_iter().map(check).collect(), ..Expect::default() }
}
