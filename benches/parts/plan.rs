//! A plan of one profile against one target, for the benches.

use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokenbeat::plan;
use tokenbeat::vocabulary::{RecordMode, TelemetryDetail};

/// A plan with one stage of this shape.
pub(crate) fn plan(shape: plan::Shape, scenario: plan::Scenario) -> anyhow::Result<Arc<plan::Plan>> {
    let profile = Arc::new(plan::Profile {
        search: None,
        comparison: None,
        name: "profile".into(),
        schedule: plan::Schedule {
            trigger: plan::Trigger::Manual,
            timezone: TimeZone::UTC,
            windows: Vec::new(),
            overlap: plan::Overlap::Skip,
            jitter: Duration::ZERO,
        },
        stages: vec![plan::Stage { name: "".into(), warm_up: false, shape, limit: None }],
        scenario: Arc::new(scenario),
        seed: 7,
        reasoning: None,
        slos: Vec::new(),
        retry: None,
        fluidity: None,
        detect: None,
        baseline: plan::BaselineThresholds::new(|_| 0.05),
        record: RecordMode::Off,
        budget: None,
        revision: "".into(),
    });
    let target = Arc::new(target()?);
    let pair = plan::PairPlan::new(Arc::clone(&profile), Arc::clone(&target), "".into());
    Ok(Arc::new(plan::Plan {
        agent: agent(),
        server: plan::Server {
            listen: "127.0.0.1:0".parse()?,
            web_config: None,
            allowed_hosts: Vec::new(),
            proxies: Vec::new(),
            probe_interval: Duration::from_secs(10),
            read_only: false,
        },
        telemetry: plan::Telemetry {
            detail: TelemetryDetail::Standard,
            webhook: None,
            otlp: None,
            exemplars: false,
            native_histograms: false,
            disable: Vec::new(),
        },
        targets: vec![target],
        discovered: Vec::new(),
        profiles: vec![profile],
        pairs: vec![Arc::new(pair)],
    }))
}

/// Short prompts, not streamed.
pub(crate) fn prompts() -> plan::Scenario {
    let ask = plan::AskStep {
        text: plan::AskText::Fixed {
            system: Some("You are a concise assistant.".into()),
            prompts: vec!["What is the capital of France?".into(); 8],
        },
        output_tokens: Some(128),
        output: plan::OutputLength::default(),
        cache: plan::Cache::Bust,
        stream: false,
        params: serde_json::Map::new(),
        history: 0,
        stateful: false,
        fingerprint: None,
    };
    plan::Scenario::of_workload(ask, plan::Expect::default(), &[])
}

fn target() -> anyhow::Result<plan::Target> {
    let second = Duration::from_secs(1);
    Ok(plan::Target {
        health: plan::TargetHealth::default(),
        backend: plan::BackendOptions::default(),
        discovery: None,
        replica: None,
        name: "target".into(),
        api: plan::Api::OpenAiChat,
        base_url: "http://127.0.0.1:1/v1".parse()?,
        model: "m".into(),
        auth: plan::Auth::None,
        headers: Vec::new(),
        tls: plan::TlsOptions::default(),
        http: plan::HttpVersion::Http1,
        connection: plan::ConnectionMode::Warm,
        proxy: None,
        propagate: plan::Propagate::W3c,
        slo_headers: tokenbeat::vocabulary::SloHeaders::None,
        timeouts: plan::Timeouts { connect: second, first_token: second, stall: second, total: second },
        stall_threshold: None,
        price: None,
        tokenizer: None,
        chat_template: None,
        params: serde_json::Map::new(),
        reasoning: plan::ReasoningEffort::Default,
        mark: serde_json::Map::new(),
        mark_headers: Vec::new(),
    })
}

fn agent() -> plan::Agent {
    plan::Agent {
        id: "bench".into(),
        location: "".into(),
        labels: BTreeMap::new(),
        currency: "usd".into(),
        shard: plan::Shard::WHOLE,
        in_flight: NonZeroU32::MAX,
        in_flight_per_target: NonZeroU32::MAX,
        traffic_priority: tokenbeat::vocabulary::TrafficPriority::Normal,
        budget: None,
        state: None,
    }
}
