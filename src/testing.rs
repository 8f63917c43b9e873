//! Plans built by hand for tests of the modules that play them.

use crate::event::{Pair, Place};
use crate::plan::{
    Agent, Api, Arrivals, Auth, Bounds, Budget, Cache, ConnectionMode, Expect, HttpVersion, Objective,
    Overlap, PairPlan, Plan, Price, Profile, Prompts, Ramp, Schedule, Server, Shape, Stage, Target,
    Telemetry, Think, Timeouts, TlsOptions, Trigger, Window,
};
use jiff::tz::TimeZone;
use serde_json::Map;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A profile `chat` against targets, as its tests want it.
pub(crate) struct Build {
    pub(crate) targets: Vec<&'static str>,
    pub(crate) trigger: Trigger,
    pub(crate) overlap: Overlap,
    pub(crate) windows: Vec<Window>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) prompts: Prompts,
    pub(crate) expect: Expect,
    pub(crate) slos: Vec<Objective>,
    pub(crate) budget: Option<Budget>,
    pub(crate) in_flight: u32,
    pub(crate) price: Option<Price>,
    pub(crate) target_params: Map<String, serde_json::Value>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            targets: vec!["llama"],
            trigger: Trigger::Manual,
            overlap: Overlap::Skip,
            windows: Vec::new(),
            stages: vec![requests(1)],
            prompts: prompts(&["Hello"]),
            expect: Expect::default(),
            slos: Vec::new(),
            budget: None,
            in_flight: 1000,
            price: None,
            target_params: Map::new(),
        }
    }
}

impl Build {
    pub(crate) fn plan(self) -> Arc<Plan> {
        let schedule = Schedule {
            trigger: self.trigger,
            timezone: TimeZone::UTC,
            windows: self.windows,
            overlap: self.overlap,
            jitter: Duration::ZERO,
        };
        let profile = Arc::new(Profile {
            name: "chat".into(),
            schedule,
            stages: self.stages,
            workload: self.prompts,
            seed: 7,
            expect: self.expect,
            slos: self.slos,
            budget: self.budget,
            revision: "r1".into(),
        });
        let targets: Vec<Arc<Target>> = self
            .targets
            .iter()
            .map(|name| {
                Arc::new(Target { price: self.price, params: self.target_params.clone(), ..target(name) })
            })
            .collect();
        let pairs = targets.iter().map(|target| Arc::new(pair(&profile, target))).collect();
        Arc::new(Plan {
            agent: agent(self.in_flight),
            server: server(),
            telemetry: telemetry(),
            targets,
            profiles: vec![profile],
            pairs,
        })
    }
}

/// A stage that offers this many requests one after the other.
pub(crate) fn requests(n: u64) -> Stage {
    users(1.0, Duration::ZERO, Bounds { time: None, requests: Some(n) })
}

/// An open-loop stage of constant arrivals.
pub(crate) fn rate(per_second: f64, seconds: u64) -> Stage {
    let bounds = Bounds { time: Some(Duration::from_secs(seconds)), requests: None };
    let rate = Ramp { from: per_second, to: per_second };
    stage(Shape::Rate { rate, arrivals: Arrivals::Constant, bounds })
}

/// A closed-loop stage.
pub(crate) fn users(n: f64, think: Duration, bounds: Bounds) -> Stage {
    let (users, think) = (Ramp { from: n, to: n }, Think { min: think, max: think });
    stage(Shape::Users { users, think, bounds })
}

fn stage(shape: Shape) -> Stage {
    Stage { name: "".into(), warm_up: false, shape }
}

pub(crate) fn prompts(texts: &[&str]) -> Prompts {
    Prompts {
        prompts: texts.iter().map(|text| (*text).into()).collect(),
        system: None,
        output_tokens: Some(100),
        cache: Cache::Reuse,
        stream: true,
        params: Map::new(),
    }
}

fn target(name: &str) -> Target {
    let second = Duration::from_secs(1);
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
        propagate: true,
        timeouts: Timeouts {
            connect: second * 5,
            first_token: second * 30,
            stall: second * 15,
            total: second * 120,
        },
        stall_threshold: None,
        price: None,
        tokenizer: None,
        params: Map::new(),
    }
}

fn pair(profile: &Arc<Profile>, target: &Arc<Target>) -> PairPlan {
    let pair = Pair { profile: profile.name.clone(), target: target.name.clone() };
    let place = |stage: &Stage| {
        let (model, stage) = (target.model.clone(), stage.name.clone());
        Arc::new(Place { pair: pair.clone(), model, stage, step: "".into() })
    };
    PairPlan {
        places: profile.stages.iter().map(place).collect(),
        pair: pair.clone(),
        profile: Arc::clone(profile),
        target: Arc::clone(target),
        revision: "r1".into(),
    }
}

fn agent(in_flight: u32) -> Agent {
    Agent {
        id: "probe-1".into(),
        location: "".into(),
        labels: BTreeMap::new(),
        currency: "usd".into(),
        in_flight: NonZeroU32::new(in_flight).unwrap(),
        budget: None,
    }
}

fn server() -> Server {
    Server { listen: "127.0.0.1:0".parse().unwrap() }
}

fn telemetry() -> Telemetry {
    Telemetry { exemplars: true, disable: Vec::new() }
}
