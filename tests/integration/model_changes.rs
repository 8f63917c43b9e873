//! Fingerprints of models against the simulator: a model that stays, one that drifts, and one under another name.

use crate::harness::{PATIENCE, Running, Simulator, load, one};
use crate::player::engine_of;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokenbeat::engine::{Engine, Once};
use tokenbeat::event::{ModelObservation, ModelSign};
use tokenbeat::fact::{Fact, Sink};
use tokenbeat::model_changes::ModelChanges;
use tokenbeat::plan::Plan;
use tokio::runtime::Handle;

/// What was said of the model.
#[derive(Default)]
struct Said(Mutex<Vec<Arc<ModelObservation>>>);

impl Sink for Said {
    fn record(&self, fact: &Fact) {
        if let Fact::ModelObserved(observation) = fact {
            self.0.lock().unwrap().push(Arc::clone(observation));
        }
    }
}

/// Plays runs of a fingerprint one after the other.
struct Fingerprint {
    simulator: Simulator,
    plan: Arc<Plan>,
    engine: Engine,
    changes: Arc<ModelChanges>,
    said: Arc<Said>,
}

impl Fingerprint {
    fn start(target: &str) -> Self {
        let simulator = Simulator::start();
        let profile = "schedule: { manual: {} }, workload: { fingerprint: { reference: 20 } }";
        let yaml = one("", profile).replace("api: openai-chat, base_url: 'http://{SIM}/v1'", target);
        let plan = Arc::new(load(&yaml, simulator.address).plan);
        let said = Arc::new(Said::default());
        let changes = ModelChanges::new(&plan, &BTreeMap::new(), Arc::<Said>::clone(&said));
        let engine = engine_of(&plan, Handle::current(), Arc::<ModelChanges>::clone(&changes));
        Self { simulator, plan, engine, changes, said }
    }

    /// Plays a run and returns what changed.
    async fn run(&self) -> Vec<ModelSign> {
        self.said.0.lock().unwrap().clear();
        let playing = self.engine.run_once(&self.plan.pairs[0].pair, Once::default());
        let summary = tokio::time::timeout(PATIENCE, playing).await.expect("the run does not end").unwrap();
        assert_eq!((summary.offered, summary.ok), (6, 6), "{summary:?}");
        let said = std::mem::take(&mut *self.said.0.lock().unwrap());
        said.iter().flat_map(|observation| &observation.changes).map(|change| change.what).collect()
    }

    async fn stays_the_same(&self, runs: u32) {
        for _ in 0..runs {
            assert_eq!(self.run().await, [], "{:?}", self.changes.view());
        }
    }

    /// Number of runs after which a change of the answers is told.
    async fn told_after(&self) -> u32 {
        for run in 1..=30 {
            if self.run().await.contains(&ModelSign::Answers) {
                return run;
            }
        }
        panic!("not told: {:?}", self.changes.view());
    }
}

const DIALECTS: [&str; 4] = [
    "api: openai-chat, base_url: 'http://{SIM}/v1'",
    "api: openai-completions, base_url: 'http://{SIM}/v1'",
    "api: gemini, base_url: 'http://{SIM}/v1beta'",
    "api: ollama-chat, base_url: 'http://{SIM}'",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_small_drift_is_told_in_each_dialect_that_has_log_probabilities() {
    for target in DIALECTS {
        let fingerprint = Fingerprint::start(target);
        fingerprint.stays_the_same(60).await;
        let view = fingerprint.changes.view().into_values().next().unwrap();
        assert_eq!(serde_json::to_value(&view).unwrap()["comparison"], "logprobs", "{target}");
        fingerprint.simulator.inject("model_drift;strength=0.2");
        let runs = fingerprint.told_after().await;
        assert!((3..=15).contains(&runs), "{target}: {runs}");
        let view = fingerprint.changes.view().into_values().next().unwrap();
        assert!(view.changed && view.evidence >= view.threshold && view.why.is_some(), "{view:?}");
        // The drifted model is the reference from now on.
        fingerprint.stays_the_same(30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_log_probabilities_another_model_is_told_by_its_texts() {
    let fingerprint = Fingerprint::start("api: anthropic, base_url: 'http://{SIM}'");
    fingerprint.stays_the_same(40).await;
    let view = fingerprint.changes.view().into_values().next().unwrap();
    assert_eq!(serde_json::to_value(&view).unwrap()["comparison"], "text");
    fingerprint.simulator.inject("model_drift;strength=2");
    let runs = fingerprint.told_after().await;
    assert!((3..=20).contains(&runs), "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_in_the_answers_is_told_at_once_and_is_no_alarm() {
    let fingerprint = Fingerprint::start(DIALECTS[0]);
    fingerprint.simulator.inject("served_by;as=m;fingerprint=fp_1");
    fingerprint.stays_the_same(2).await;
    fingerprint.simulator.handle.clear_faults();
    fingerprint.simulator.inject("served_by;as=m-2;fingerprint=fp_2");
    let changed = fingerprint.run().await;
    assert_eq!(changed, [ModelSign::ResponseModel, ModelSign::SystemFingerprint]);
    fingerprint.stays_the_same(2).await;
    let view = fingerprint.changes.view().into_values().next().unwrap();
    assert_eq!((view.model.as_deref(), view.system_fingerprint.as_deref()), (Some("m-2"), Some("fp_2")));
    assert!(!view.changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_with_the_reference_after_a_restart() {
    let (simulator, folder) = (Simulator::start(), tempfile::tempdir().unwrap());
    let profile = "schedule: { every: 1s }, workload: { fingerprint: {} }";
    let state = format!("id: test, state: '{}'", folder.path().join("state.db").display());
    let yaml = one("", profile).replace("id: test", &state);
    let learned = async |daemon: &Running, least: u64| {
        crate::harness::until("runs of the reference", async || {
            let status = daemon.json("/api/v1/status").await;
            let model = status["pairs"][0]["model_change"].clone();
            (model["reference"].as_u64()? >= least).then_some(model)
        })
        .await
    };
    let daemon = Running::start(&yaml, &simulator).await;
    assert_eq!(daemon.before.metric("tokenbeat_model_change_evidence").value(), 0.0);
    assert_eq!(daemon.before.metric("tokenbeat_model_change_threshold").value(), 3.0);
    let model = learned(&daemon, 2).await;
    assert_eq!(
        (&model["comparison"], &model["needed"], &model["changed"]),
        (&"logprobs".into(), &30.into(), &false.into())
    );
    assert_eq!(model["last_change"], serde_json::Value::Null);
    daemon.drain().await;
    let daemon = Running::start(&yaml, &simulator).await;
    let status = daemon.json("/api/v1/status").await;
    assert!(status["pairs"][0]["model_change"]["reference"].as_u64() >= Some(2), "{status}");
    learned(&daemon, 3).await;
    daemon.drain().await;
    // A profile that is no fingerprint has no such series.
    let other = one("", "schedule: { every: 1h }, workload: { prompts: [x] }");
    let daemon = Running::start(&other, &simulator).await;
    assert!(daemon.before.metric("tokenbeat_model_change_evidence").all().is_empty());
    let status = daemon.json("/api/v1/status").await;
    assert!(status["pairs"][0].get("model_change").is_none(), "{status}");
    daemon.drain().await;
}
