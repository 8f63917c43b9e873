use super::*;
use crate::event::Failure;
use crate::fact::Sink;
use crate::plan::Plan;
use crate::testing;
use std::time::Duration;

struct Into(Recorder);

impl Sink for Into {
    fn record(&self, fact: &crate::fact::Fact) {
        if let crate::fact::Fact::Ended(request) = fact {
            self.0.record(request);
        }
    }
}

fn recorder(set: GenAi, form: Histograms) -> (Plan, Arc<Into>) {
    let plan = testing::small_plan();
    let targets = Arc::new(Targets::of(&plan));
    (plan, Arc::new(Into(Recorder::new(set, form, targets))))
}

fn play(plan: &Plan, sink: &Arc<Into>, outcome: Outcome, change: impl FnOnce(&mut Request)) {
    let sink: Arc<dyn Sink> = Arc::<Into>::clone(sink);
    testing::play(&sink, &plan.pairs[0].places[1], outcome, change);
}

/// Every series as `name{attributes} value`; a histogram's value is its count and sum.
fn shown(sink: &Into) -> Vec<String> {
    let mut lines = Vec::new();
    for family in sink.0.families() {
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
                Value::Int(n) => n.to_string(),
                Value::Explicit { counts, sum, .. } => format!("{} {sum:.2}", counts.iter().sum::<u64>()),
                Value::Exponential { native, .. } => format!("{} {:.2}", native.count(), native.sum()),
                Value::Double(number) => number.to_string(),
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
    let (plan, sink) = recorder(GenAi::Current, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |request| request.tokens.reasoning = Some(3));
    play(&plan, &sink, Outcome::Failed(Failure::Reset), |request| {
        request.tokens = crate::event::Tokens::default();
    });
    assert_eq!(
        shown(&sink),
        expected(&[
            "gen_ai.client.inference.duration{C} 1 0.51",
            "gen_ai.client.inference.duration{C,error.type=reset} 1 0.51",
            "gen_ai.client.inference.time_to_first_chunk{C} 1 0.20",
            "gen_ai.client.inference.time_per_output_chunk{C} 4 0.20",
            "gen_ai.client.inference.operation.input_tokens{C} 1 20.00",
            // What the provider did not say counts as 0.
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
    let (plan, sink) = recorder(GenAi::Legacy, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |_| {});
    play(&plan, &sink, Outcome::Failed(Failure::Http5xx), |request| request.tokens.input = None);
    assert_eq!(
        shown(&sink),
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
        let (plan, sink) = recorder(set, Histograms::Explicit);
        play(&plan, &sink, Outcome::Ok, |_| {});
        sink.0.families().len()
    };
    let counts = [GenAi::Current, GenAi::Legacy, GenAi::Both, GenAi::None].map(count);
    assert_eq!(counts, [9, 4, 13, 0]);
}

#[test]
fn the_attributes_name_the_server() {
    let (plan, sink) = recorder(GenAi::Current, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |_| {});
    let attributes = sink.0.families()[0].series[0].attributes.clone();
    assert!(attributes.contains(&("server.address".into(), Attribute::Text("127.0.0.1".to_owned()))));
    assert!(attributes.contains(&("server.port".into(), Attribute::Int(1))));
    assert!(attributes.contains(&("gen_ai.operation.name".into(), Attribute::Text("chat".to_owned()))));
}

#[test]
fn warm_up_uses_tokens_and_is_no_operation() {
    let (plan, sink) = recorder(GenAi::Both, Histograms::Explicit);
    let into: Arc<dyn Sink> = Arc::<Into>::clone(&sink);
    let ticket = testing::offer(&into, &plan.pairs[0].places[0], true);
    ticket.finish(testing::answer);
    let lines = shown(&sink);
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
    let (plan, sink) = recorder(GenAi::Both, Histograms::Exponential);
    play(&plan, &sink, Outcome::Ok, |_| {});
    let families = sink.0.families();
    let histograms = families.iter().filter(|family| family.kind == Kind::Histogram);
    for series in histograms.flat_map(|family| &family.series) {
        assert!(matches!(series.value, Value::Exponential { .. }), "{series:?}");
    }
    assert!(shown(&sink).contains(&expected(&["gen_ai.client.inference.duration{C} 1 0.51"])[0]));
}

#[test]
fn sampled_requests_leave_exemplars() {
    let (plan, sink) = recorder(GenAi::Current, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |request| request.ids.sampled = false);
    let exemplars = |sink: &Into| match &sink.0.families()[0].series[0].value {
        Value::Explicit { exemplars, .. } => exemplars.clone(),
        _ => panic!("not explicit"),
    };
    assert!(exemplars(&sink).is_empty());
    play(&plan, &sink, Outcome::Ok, |_| {});
    assert_eq!(exemplars(&sink)[0].trace_id, testing::ids().trace_id);
}

#[test]
fn an_http_step_is_no_operation_of_a_model() {
    let (plan, sink) = recorder(GenAi::Both, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |request| request.route = Some("POST /api/rag/query".into()));
    assert_eq!(shown(&sink), [""; 0]);
}

#[test]
fn series_of_a_removed_target_go_and_its_late_requests_make_none() {
    let (plan, sink) = recorder(GenAi::Current, Histograms::Explicit);
    play(&plan, &sink, Outcome::Ok, |_| {});
    let next = testing::plan(&[], vec![]);
    sink.0.targets.install(&next);
    sink.0.prune();
    assert!(sink.0.families().is_empty());
    play(&plan, &sink, Outcome::Ok, |_| {});
    assert!(sink.0.families().is_empty());
    // The spans of those late requests still know where they went.
    assert!(sink.0.targets.get("llama").is_some());
    sink.0.targets.install(&next);
    assert!(sink.0.targets.get("llama").is_none());
}

#[test]
fn failed_answers_count_no_chunk_times() {
    let (plan, sink) = recorder(GenAi::Current, Histograms::Explicit);
    play(&plan, &sink, Outcome::Failed(Failure::Truncated), |request| {
        request.gaps.push(Duration::from_mins(1));
    });
    let chunks: Vec<_> = shown(&sink).into_iter().filter(|line| line.contains("chunk")).collect();
    assert!(chunks.iter().all(|line| line.contains("} 0 ")) && chunks.len() == 2, "{chunks:?}");
}

#[test]
fn names_are_distinct_and_no_metric_claims_to_be_a_server() {
    let mut names: Vec<_> = TABLE.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
    assert!(names.iter().all(|name| name.starts_with("gen_ai.client.")));
}
