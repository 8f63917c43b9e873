//! OpenTelemetry's GenAI metrics, as exported from the store.

use super::*;
use crate::event::{Failure, Outcome, Request};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::plan::otlp::GenAi;
use crate::testing;
use std::time::Duration;

/// A store with a set of GenAI metrics, and their export.
struct Rig {
    plan: Arc<Plan>,
    sink: Arc<dyn Sink>,
    source: FromStore,
}

impl Rig {
    fn new(set: GenAi, form: Histograms) -> Self {
        let plan = Arc::new(testing::small_plan());
        let store = Store::new(&plan);
        store.keep_genai(set);
        let ours: Vec<String> = Metric::ALL.iter().map(|metric| metric.spec().prometheus()).collect();
        let sink: Arc<dyn Sink> = Arc::<Store>::clone(&store);
        Self { plan, sink, source: FromStore::new(store, &ours, form) }
    }

    fn play(&self, outcome: Outcome, change: impl FnOnce(&mut Request)) {
        testing::play(&self.sink, &self.plan.pairs[0].places[1], outcome, change);
    }

    fn families(&self) -> Vec<OtlpFamily> {
        self.source.families()
    }
}

/// Every series as `name{attributes} value`; a histogram's value is its count and sum.
fn shown(rig: &Rig) -> Vec<String> {
    let mut lines = Vec::new();
    for family in rig.families() {
        for series in family.series {
            let attributes: Vec<String> = series
                .attributes
                .iter()
                .filter(|(key, _)| {
                    !["gen_ai.operation.name", "server.address", "server.port"].contains(&&**key)
                })
                .map(|(key, value)| match value {
                    Attribute::Text(text) => format!("{key}={text}"),
                    Attribute::Int(n) => format!("{key}={n}"),
                })
                .collect();
            let value = match series.value {
                OtlpValue::Int(n) => n.to_string(),
                OtlpValue::Explicit { counts, sum, .. } => format!("{} {sum:.2}", counts.iter().sum::<u64>()),
                OtlpValue::Exponential { native, .. } => format!("{} {:.2}", native.count(), native.sum()),
                OtlpValue::Double(number) => number.to_string(),
            };
            lines.push(format!("{}{{{}}} {value}", family.name, attributes.join(",")));
        }
    }
    lines
}

const C: &str = "gen_ai.provider.name=openai,gen_ai.request.model=m";

fn expected(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.replace("C}", &format!("{C}}}")).replace("C,", &format!("{C},"))).collect()
}

#[test]
fn the_current_set_in_full() {
    let rig = Rig::new(GenAi::Current, Histograms::Explicit);
    rig.play(Outcome::Ok, |request| request.observed.tokens.reasoning = Some(3));
    rig.play(Outcome::Failed(Failure::Reset), |request| {
        request.observed.tokens = crate::event::Tokens::default();
    });
    assert_eq!(
        shown(&rig),
        expected(&[
            "gen_ai.client.inference.duration{C} 1 0.51",
            "gen_ai.client.inference.duration{C,error.type=reset} 1 0.51",
            "gen_ai.client.inference.time_to_first_chunk{C} 1 0.20",
            "gen_ai.client.inference.time_per_output_chunk{C} 4 0.20",
            "gen_ai.client.inference.operation.input_tokens{C} 1 20.00",
            // A value that the provider did not report counts as 0.
            "gen_ai.client.inference.operation.input_tokens{C,error.type=reset} 1 0.00",
            "gen_ai.client.inference.operation.output_tokens{C} 1 11.00",
            "gen_ai.client.inference.operation.output_tokens{C,error.type=reset} 1 0.00",
            "gen_ai.client.inference.usage.input_tokens{C,gen_ai.token.modality=unknown} 20",
            "gen_ai.client.inference.usage.output_tokens{C,gen_ai.token.modality=unknown} 11",
            "gen_ai.client.inference.usage.cache_read.input_tokens{C,gen_ai.token.modality=unknown} 5",
            "gen_ai.client.inference.usage.reasoning.output_tokens{C,gen_ai.token.modality=unknown} 3",
        ])
    );
}

#[test]
fn the_legacy_set_in_full() {
    let rig = Rig::new(GenAi::Legacy, Histograms::Explicit);
    rig.play(Outcome::Ok, |_| {});
    rig.play(Outcome::Failed(Failure::Http5xx), |request| request.observed.tokens.input = None);
    assert_eq!(
        shown(&rig),
        expected(&[
            "gen_ai.client.operation.duration{C} 1 0.51",
            "gen_ai.client.operation.duration{C,error.type=http_5xx} 1 0.51",
            "gen_ai.client.operation.time_to_first_chunk{C} 1 0.20",
            "gen_ai.client.operation.time_per_output_chunk{C} 4 0.20",
            "gen_ai.client.token.usage{C,gen_ai.token.type=input} 1 20.00",
            "gen_ai.client.token.usage{C,gen_ai.token.type=output} 2 22.00",
        ])
    );
}

#[test]
fn both_is_both_and_none_is_nothing() {
    let count = |set| {
        let rig = Rig::new(set, Histograms::Explicit);
        rig.play(Outcome::Ok, |_| {});
        rig.families().len()
    };
    let counts = [GenAi::Current, GenAi::Legacy, GenAi::Both, GenAi::None].map(count);
    assert_eq!(counts, [9, 4, 13, 0]);
}

#[test]
fn the_attributes_name_the_server() {
    let rig = Rig::new(GenAi::Current, Histograms::Explicit);
    rig.play(Outcome::Ok, |_| {});
    let attributes = rig.families()[0].series[0].attributes.clone();
    assert!(attributes.contains(&("server.address".into(), Attribute::Text("127.0.0.1".to_owned()))));
    assert!(attributes.contains(&("server.port".into(), Attribute::Int(1))));
    assert!(attributes.contains(&("gen_ai.operation.name".into(), Attribute::Text("chat".to_owned()))));
}

#[test]
fn warm_up_uses_tokens_and_is_no_operation() {
    let rig = Rig::new(GenAi::Both, Histograms::Explicit);
    let ticket = testing::offer(&rig.sink, &rig.plan.pairs[0].places[0], true);
    ticket.finish(testing::answer);
    let lines = shown(&rig);
    assert!(
        lines.iter().any(|line| line.contains("usage.input_tokens") && line.ends_with(" 20")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains(".duration")), "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("time_to_first_chunk") || line.contains("} 0 ")),
        "{lines:?}"
    );
}

#[test]
fn exponential_on_request() {
    let rig = Rig::new(GenAi::Both, Histograms::Exponential);
    rig.play(Outcome::Ok, |_| {});
    let families = rig.families();
    let histograms = families.iter().filter(|family| family.kind == OtlpKind::Histogram);
    for series in histograms.flat_map(|family| &family.series) {
        assert!(matches!(series.value, OtlpValue::Exponential { .. }), "{series:?}");
    }
    assert!(shown(&rig).contains(&expected(&["gen_ai.client.inference.duration{C} 1 0.51"])[0]));
}

#[test]
fn sampled_requests_leave_exemplars() {
    let rig = Rig::new(GenAi::Current, Histograms::Explicit);
    rig.play(Outcome::Ok, |request| request.ids.sampled = false);
    let exemplars = || match &rig.families()[0].series[0].value {
        OtlpValue::Explicit { exemplars, .. } => exemplars.clone(),
        _ => panic!("not explicit"),
    };
    assert!(exemplars().is_empty());
    rig.play(Outcome::Ok, |_| {});
    assert_eq!(exemplars()[0].trace_id, testing::ids().trace_id);
}

#[test]
fn an_http_step_is_no_operation_of_a_model() {
    let rig = Rig::new(GenAi::Both, Histograms::Explicit);
    rig.play(Outcome::Ok, |request| request.route = Some("POST /api/rag/query".into()));
    assert_eq!(shown(&rig), [""; 0]);
}

#[test]
fn series_of_a_removed_target_go_with_its_last_request() {
    let mut rig = Rig::new(GenAi::Current, Histograms::Explicit);
    rig.play(Outcome::Ok, |_| {});
    let open = testing::offer(&rig.sink, &rig.plan.pairs[0].places[1], false);
    rig.plan = Arc::new(testing::plan(&[], vec![]));
    rig.sink.record(&Fact::PlanChanged(Arc::clone(&rig.plan)));
    assert_eq!(rig.families().len(), 9, "a request is open");
    open.finish(testing::answer);
    assert!(rig.families().is_empty());
}

#[test]
fn profiles_that_ask_one_endpoint_for_one_model_share_its_series() {
    let profiles =
        ["chat", "other"].map(|name| testing::profile(name, vec![testing::stage("steady", false)]));
    let plan = Arc::new(testing::plan(&["llama"], profiles.into()));
    let rig = Rig::new(GenAi::Legacy, Histograms::Explicit);
    rig.play(Outcome::Ok, |_| {});
    rig.sink.record(&Fact::PlanChanged(Arc::clone(&plan)));
    for pair in &plan.pairs {
        testing::play(&rig.sink, &pair.places[0], Outcome::Ok, |_| {});
    }
    // A place of the previous plan also had it.
    let duration = &expected(&["gen_ai.client.operation.duration{C} 3 1.53"])[0];
    assert!(shown(&rig).contains(duration), "{:?}", shown(&rig));
}

#[test]
fn failed_answers_count_no_chunk_times() {
    let rig = Rig::new(GenAi::Current, Histograms::Explicit);
    rig.play(Outcome::Failed(Failure::Truncated), |request| {
        request.observed.gaps.push(Duration::from_mins(1));
    });
    let chunks: Vec<_> = shown(&rig).into_iter().filter(|line| line.contains("chunk")).collect();
    assert!(chunks.iter().all(|line| line.contains("} 0 ")) && chunks.len() == 2, "{chunks:?}");
}

#[test]
fn no_metric_claims_to_be_a_server() {
    for metric in Metric::GENAI {
        assert!(metric.spec().name.starts_with("gen_ai.client."), "{metric:?}");
    }
}
