//! The evidence that a model changed.

use super::*;
use crate::event::ModelObservation;
use crate::plan::from_yaml;

fn fingerprint(workload: &str) -> Plan {
    let plan = from_yaml(&format!(
        "targets: {{ llama: {{ api: openai-chat, base_url: 'http://127.0.0.1' }} }}\n\
         profiles: {{ chat: {{ targets: [llama], schedule: {{ every: 1h }}, workload: {{ {workload} }} }} }}"
    ));
    plan.unwrap_or_else(|e| panic!("{e}"))
}

fn value(fixture: &Fixture, metric: Metric) -> Option<f64> {
    let values = fixture.values();
    (values.series(metric, "") > 0).then(|| values.sum(metric, ""))
}

#[test]
fn the_evidence_is_that_of_the_last_observation() {
    let mut fixture = Fixture::of(fingerprint("fingerprint: { false_alarms: 1% }"));
    assert_eq!(value(&fixture, Metric::ModelChangeEvidence), Some(0.0));
    assert_eq!(value(&fixture, Metric::ModelChangeThreshold), Some(2.0));
    let observe = |fixture: &Fixture, evidence| {
        let observation = ModelObservation {
            pair: fixture.plan.pairs[0].pair.clone(),
            at: UNIX_EPOCH,
            evidence,
            threshold: 2.0,
            changes: Vec::new(),
            known: "{}".into(),
        };
        fixture.store.record(&Fact::ModelObserved(Arc::new(observation)));
    };
    observe(&fixture, 2.5);
    assert_eq!(value(&fixture, Metric::ModelChangeEvidence), Some(2.5));
    // A reload keeps it, and takes over the new threshold.
    fixture.change_to(fingerprint("fingerprint: { false_alarms: 10% }"));
    assert_eq!(value(&fixture, Metric::ModelChangeEvidence), Some(2.5));
    assert_eq!(value(&fixture, Metric::ModelChangeThreshold), Some(1.0));
    // Without a fingerprint in the plan there is none.
    fixture.change_to(fingerprint("prompts: [x]"));
    assert_eq!(value(&fixture, Metric::ModelChangeEvidence), None);
    assert_eq!(value(&fixture, Metric::ModelChangeThreshold), None);
    assert_eq!(value(&Fixture::small(), Metric::ModelChangeEvidence), None);
}
