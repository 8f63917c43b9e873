//! Plans and facts for tests of several modules.

use crate::event::{Count, Gaps, Outcome, Pair, Place, Request, RunRef, Sink, Source, Ticket, TraceIds};
use crate::plan::*;
use crate::secret::{Exposed, Origin, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

pub(crate) fn target(name: &str) -> Arc<Target> {
    Arc::new(Target {
        name: name.into(),
        api: Api::OpenAiChat,
        base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
        model: "m".into(),
        auth: Auth::Bearer(Secret::new(Origin::Literal(Exposed::new("hunter2")))),
        headers: Vec::new(),
        tls: TlsOptions::default(),
        http: HttpVersion::Http1,
        connection: ConnectionMode::Warm,
        proxy: None,
        propagate: true,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(30),
            stall: Duration::from_secs(15),
            total: Duration::from_mins(2),
        },
        stall_threshold: None,
        price: Some(Price { input: 1.0, cached_input: 0.5, output: 2.0 }),
        tokenizer: Some(TokenizerSpec::Cl100kBase),
        params: serde_json::Map::new(),
    })
}

pub(crate) fn stage(name: &str, warm_up: bool) -> Stage {
    let rate = Ramp { from: 1.0, to: 1.0 };
    let bounds = Bounds { time: Some(Duration::from_secs(10)), requests: None };
    let shape = Shape::Rate { rate, arrivals: Arrivals::Constant, bounds };
    Stage { name: name.into(), warm_up, shape }
}

pub(crate) fn profile(name: &str, stages: Vec<Stage>) -> Profile {
    let slo = |name: &str, metric, bound| Objective { name: name.into(), metric, bound, objective: 0.99 };
    Profile {
        name: name.into(),
        schedule: Schedule {
            trigger: Trigger::Every { period: Duration::from_mins(2), at_start: false },
            timezone: jiff::tz::TimeZone::UTC,
            windows: Vec::new(),
            overlap: Overlap::Skip,
            jitter: Duration::ZERO,
        },
        stages,
        workload: Prompts {
            prompts: vec!["hello".into()],
            system: None,
            output_tokens: Some(128),
            cache: Cache::Bust,
            stream: true,
            params: serde_json::Map::new(),
        },
        seed: 7,
        expect: Expect { min_chars: Some(10), ..Expect::default() },
        slos: vec![
            slo("ttft", SloMetric::TimeToFirstToken, Some(Bound::Below(0.8))),
            slo("pace", SloMetric::OutputPace, Some(Bound::Above(20.0))),
            slo("availability", SloMetric::Availability, None),
        ],
        budget: Some(budget()),
        revision: "r1".into(),
    }
}

pub(crate) fn budget() -> Budget {
    let timezone = jiff::tz::TimeZone::UTC;
    Budget { period: Period::Day, timezone, requests: Some(1000), tokens: None, cost: Some(2.0) }
}

/// Each profile with each target.
pub(crate) fn plan(targets: &[&str], profiles: Vec<Profile>) -> Plan {
    let targets: Vec<Arc<Target>> = targets.iter().map(|name| target(name)).collect();
    let profiles: Vec<Arc<Profile>> = profiles.into_iter().map(Arc::new).collect();
    let pairs = profiles.iter().flat_map(|profile| targets.iter().map(move |target| pair(profile, target)));
    Plan {
        agent: Agent {
            id: "probe-1".into(),
            location: "eu".into(),
            labels: BTreeMap::from([("environment".to_owned(), "prod".to_owned())]),
            currency: "usd".into(),
            in_flight: 64.try_into().unwrap(),
            budget: None,
        },
        server: Server { listen: "127.0.0.1:0".parse().unwrap() },
        telemetry: Telemetry { exemplars: true, disable: Vec::new() },
        pairs: pairs.collect(),
        targets,
        profiles,
    }
}

fn pair(profile: &Arc<Profile>, target: &Arc<Target>) -> Arc<PairPlan> {
    let pair = Pair { profile: Arc::clone(&profile.name), target: Arc::clone(&target.name) };
    let place = |stage: &Stage| {
        let (pair, stage, step) = (pair.clone(), Arc::clone(&stage.name), "".into());
        Arc::new(Place { pair, model: Arc::clone(&target.model), stage, step })
    };
    Arc::new(PairPlan {
        pair: pair.clone(),
        places: profile.stages.iter().map(place).collect(),
        profile: Arc::clone(profile),
        target: Arc::clone(target),
        revision: "rev".into(),
    })
}

/// One profile `chat` (a warm-up and a stage `steady`) against the target `llama`.
pub(crate) fn small_plan() -> Plan {
    plan(&["llama"], vec![profile("chat", vec![stage("warm", true), stage("steady", false)])])
}

pub(crate) fn run(pair: &Pair) -> Arc<RunRef> {
    Arc::new(RunRef {
        pair: pair.clone(),
        id: "run-1".into(),
        seed: 1,
        scheduled: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
    })
}

pub(crate) fn ids() -> TraceIds {
    TraceIds::from_random(std::array::from_fn(|i| u8::try_from(i).unwrap()), true)
}

pub(crate) fn offer(sink: &Arc<dyn Sink>, place: &Arc<Place>, warm_up: bool) -> Ticket {
    Ticket::offer(Arc::clone(sink), Arc::clone(place), run(&place.pair), 0, warm_up, ids(), Instant::now())
}

/// Ends a fresh request at `place` with this outcome and these changes to a typical streamed answer.
pub(crate) fn play(
    sink: &Arc<dyn Sink>,
    place: &Arc<Place>,
    outcome: Outcome,
    change: impl FnOnce(&mut Request),
) -> Arc<Request> {
    offer(sink, place, false)
        .finish(|request| {
            answer(request);
            request.outcome = outcome;
            change(request);
        })
        .unwrap()
}

/// Fills in a streamed answer: due at 0, sent at 10 ms, first token at 310 ms, 4 gaps of 50 ms, end at 520 ms; 20
/// tokens in (5 of them cached), 11 out.
pub(crate) fn answer(request: &mut Request) {
    let due = request.marks.due;
    let at = |millis| due + Duration::from_millis(millis);
    request.outcome = Outcome::Ok;
    request.status = Some(200);
    request.streamed = true;
    request.marks.started = at(1);
    request.marks.sent = Some(at(10));
    request.marks.headers = Some(at(200));
    request.marks.first_byte = Some(at(210));
    request.marks.first_chunk = Some(at(210));
    request.marks.first_token = Some(at(310));
    request.marks.first_text = Some(at(310));
    request.marks.last_token = Some(at(510));
    request.marks.end = at(520);
    request.gaps = Gaps::default();
    for _ in 0..4 {
        request.gaps.push(Duration::from_millis(50));
    }
    request.tokens.input = Some(Count { n: 20, source: Source::Usage });
    request.tokens.output = Some(Count { n: 11, source: Source::Usage });
    request.tokens.cached_input = Some(5);
    request.asked_output_tokens = Some(128);
    request.cost = Some(0.25);
}
