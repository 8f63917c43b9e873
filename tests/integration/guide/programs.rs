//! Each program without faults: its contents, its metrics, and their agreement with the server's record.

use super::program::{
    ALL, BASELINE, Program, RAG, RAG_STREAMED, SESSION, STREAMING, Seen, options, simulator,
};
use crate::scrape::Scrape;
use serde_json::{Value, json};
use tokenbeat::sim;

/// The requirements of the guide, checked against the files.
#[test]
fn the_programs_are_those_of_the_guide() {
    let [baseline, session, rag, rag_streamed, streaming] = ALL.map(Program::as_written);
    for chat in [&baseline, &streaming] {
        let (target, workload) = (chat.target(), &chat.profile()["workload"]);
        assert_eq!(target["headers"]["X-Tenant-ID"], "acme");
        assert!(target["auth"]["bearer"].is_object() && workload["system"].is_string());
        assert_eq!(
            (&workload["params"]["temperature"], &workload["output_tokens"]),
            (&json!(0.3), &json!(180))
        );
        assert_eq!(chat.profile()["expect"]["status"], 200);
    }
    assert_eq!(baseline.profile()["workload"]["stream"], false);
    assert_eq!(streaming.profile()["workload"]["stream"], true);
    assert_eq!(streaming.target()["timeouts"]["total"], "120s");
    assert_eq!(streaming.profile()["expect"]["time_to_first_token"], "5s");
    let step = |program: &Program, at: usize| program.profile()["scenario"]["steps"][at].clone();
    let message = step(&session, 0);
    assert_eq!((&message["turns"], &message["json"]["include_history"]), (&json!(true), &json!(true)));
    assert_eq!(session.profile()["scenario"]["setup"][1]["expect"]["status"], 201);
    assert_eq!(message["expect"]["text"]["min_chars"], 10);
    for query in [step(&rag, 0), step(&rag_streamed, 0)] {
        assert_eq!((&query["timeout"], &query["json"]["return_citations"]), (&json!("90s"), &json!(true)));
        assert_eq!(query["expect"]["text"]["min_chars"], 20);
    }
    assert!(step(&rag, 0)["json"]["filters"].is_object());
    let thinks = [("1s..3s", &baseline), ("2s..5s", &session), ("1s..4s", &rag), ("1s..3s", &streaming)];
    for (think, program) in thinks {
        let load = program.profile()["load"].as_array().unwrap();
        assert!(load.iter().all(|stage| stage["think"] == think), "{}", program.profile);
    }
}

/// The pitfalls that the guide warns of.
#[test]
fn no_program_falls_into_a_pitfall_of_the_guide() {
    for program in ALL.map(Program::as_written) {
        let profile = program.profile();
        let load = profile["load"].as_array().unwrap();
        assert!(load[0].get("warm_up").is_some(), "{}: no warm-up", program.profile);
        let gradual = |stage: &Value| stage.get("spawn").is_some() || stage["users"].get("from").is_some();
        assert!(load[1..].iter().all(gradual), "{}: a cold jump", program.profile);
        assert!(
            profile["slo"].as_array().is_some_and(|slos| slos.len() >= 2),
            "{}: no gate",
            program.profile
        );
        for cap in ["requests", "tokens", "cost"] {
            assert!(profile["budget"][cap].is_number(), "{}: no budget of {cap}", program.profile);
        }
        let expects = profile.get("expect").or_else(|| profile["scenario"]["steps"][0].get("expect"));
        assert!(expects.unwrap()["text"]["min_chars"].is_number(), "{}: 200 is success", program.profile);
    }
}

/// Everything succeeded, something was measured besides the warm-up, and the objectives and budgets exist.
fn all_well<'a>(scrape: &'a Scrape, profile: &'static str) -> Seen<'a> {
    let seen = Seen { scrape, profile };
    let outcomes = seen.by("tokenbeat_requests_total", "outcome");
    assert!(matches!(outcomes.as_slice(), [("ok", count)] if *count >= 5.0), "{profile}: {outcomes:?}");
    assert!(seen.metric("tokenbeat_warm_up_requests_total").sum() > 0.0, "{profile}");
    assert_eq!(seen.metric("tokenbeat_check_failures_total").sum(), 0.0, "{profile}");
    assert!(seen.metric("tokenbeat_cost_total").sum() > 0.0, "{profile}");
    let availability = seen.metric("tokenbeat_slo_events_total").label("slo", "availability").sum();
    assert!(availability > 0.0, "{profile}");
    seen
}

/// Tokens as counted by the server, over all requests of a dialect.
fn counted(truth: &[sim::Truth]) -> (f64, f64) {
    let sum = |of: fn(&sim::Truth) -> usize| truth.iter().map(of).sum::<usize>() as f64;
    (sum(|it| it.input_tokens), sum(|it| it.output_tokens))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_chat_counts_its_tokens() {
    let simulator = simulator();
    let scrape = Program::of(BASELINE).hurried().play(&simulator).await;
    let seen = all_well(&scrape, "baseline-chat");
    let truth = simulator.finished().await;
    assert_eq!((seen.tokens("input"), seen.tokens("output")), counted(&truth));
    assert!(truth.iter().all(|it| !it.streamed && it.output_tokens == 180));
    // Prompts of many lengths.
    let mut input: Vec<usize> = truth.iter().map(|it| it.input_tokens).collect();
    input.sort_unstable();
    input.dedup();
    assert!(input.len() >= 4, "{input:?}");
    assert!(seen.metric("tokenbeat_request_duration_seconds_count").label("stage", "ramp").sum() > 0.0);
    assert!(seen.metric("tokenbeat_request_duration_seconds_count").label("stage", "steady").sum() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streamed_chat_has_a_first_token() {
    let simulator = simulator();
    let scrape = Program::of(STREAMING).hurried().play(&simulator).await;
    let seen = all_well(&scrape, "streaming");
    let truth = simulator.finished().await;
    assert!(truth.iter().all(|it| it.streamed && it.chunks.len() == 180));
    assert_eq!((seen.tokens("input"), seen.tokens("output")), counted(&truth));
    let ok = seen.metric("tokenbeat_requests_total").label("outcome", "ok").sum();
    assert_eq!(seen.metric("tokenbeat_time_to_first_token_seconds_count").sum(), ok);
    let gaps = seen.metric("tokenbeat_chunk_gap_seconds_count").sum();
    assert_eq!(gaps, ok * 179.0);
    assert!(seen.metric("tokenbeat_slo_events_total").label("slo", "ttft").sum() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_session_goes_through_its_load() {
    let simulator = simulator();
    let scrape = Program::of(SESSION).hurried().play(&simulator).await;
    let seen = all_well(&scrape, "chat-session");
    let truth = simulator.finished().await;
    let of = |dialect: &str| truth.iter().filter(|it| it.dialect == dialect).count();
    // Each of the 2 and 10 users logs in once, and then talks in one session.
    let (logins, sessions) = (of("app-login"), of("app-new-session"));
    assert!((2..=12).contains(&logins) && sessions <= logins, "{logins} {sessions}");
    assert!(of("app-message") > 20, "{}", of("app-message"));
    assert_eq!((seen.tokens("input"), seen.tokens("output")), counted(&truth));
    let steps = seen.by("tokenbeat_requests_total", "step");
    let steps: Vec<&str> = steps.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, ["login", "message", "session"]);
    let journeys = seen.by("tokenbeat_journeys_total", "outcome");
    assert!(matches!(journeys.as_slice(), [("ok", count)] if *count >= 10.0), "{journeys:?}");
    assert_eq!(seen.metric("tokenbeat_journey_duration_seconds_count").sum(), journeys[0].1);
    assert!(seen.metric("tokenbeat_journey_cost_total").sum() > 0.0);
}

/// One conversation of ten turns with a slow prefill: tokens and latency grow, and the label `turn` shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_grows_and_its_turns_show_it() {
    crate::harness::undisturbed(grows).await;
}

/// Plays a conversation whose turns become longer.
async fn grows() -> anyhow::Result<()> {
    let simulator = crate::harness::Simulator::with(sim::Options { prefill_rate: 1_000.0, ..options() });
    let load = json!([{"users": 1, "requests": 10}]);
    let scrape = Program::of(SESSION).load(load).play(&simulator).await;
    let seen = Seen { scrape: &scrape, profile: "chat-session" };
    assert_eq!(seen.by("tokenbeat_journeys_total", "outcome"), [("ok", 10.0)]);
    let of = |name: &'static str, turn: &'static str| {
        seen.metric(name).label("step", "message").label("turn", turn).label("type", "input")
    };
    let turns = [("1", 1.0), ("2", 1.0), ("3-4", 2.0), ("5-8", 4.0), ("9-16", 2.0)];
    let input = turns.map(|(turn, count)| of("tokenbeat_tokens_total", turn).sum() / count);
    assert!(input.is_sorted_by(|a, b| a + 100.0 < *b), "each turn adds an answer of 120 tokens: {input:?}");
    let mean = |turn: &'static str, count: f64| {
        let of = |name: &'static str| seen.metric(name).label("step", "message").label("turn", turn).sum();
        assert_eq!(of("tokenbeat_request_duration_seconds_count"), count, "{turn}");
        of("tokenbeat_request_duration_seconds_sum") / count
    };
    let [first, .., last] = turns.map(|(turn, count)| mean(turn, count));
    assert_eq!(seen.metric("tokenbeat_requests_total").label("turn", "17+").sum(), 0.0);
    anyhow::ensure!(
        last > 2.0 * first,
        "a prefill of 1000 tokens takes a second, one of 50 does not: {first} {last}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_with_citations() {
    let simulator = simulator();
    let scrape = Program::of(RAG).hurried().play(&simulator).await;
    let seen = all_well(&scrape, "rag-query");
    let truth = simulator.finished().await;
    assert_eq!((seen.tokens("input"), seen.tokens("output")), counted(&truth));
    let queries: Vec<_> = truth.iter().filter(|it| it.dialect == "app-rag").collect();
    assert!(queries.iter().all(|it| it.input_tokens > 200 && it.retrieval_seconds.is_some()));
    assert!(queries.len() >= 5);
    assert!(seen.by("tokenbeat_journeys_total", "outcome").iter().all(|(outcome, _)| *outcome == "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_has_its_first_token_after_its_citations() {
    let simulator = simulator();
    let scrape = Program::of(RAG_STREAMED).hurried().play(&simulator).await;
    let seen = all_well(&scrape, "rag-streamed");
    let truth = simulator.finished().await;
    assert_eq!((seen.tokens("input"), seen.tokens("output")), counted(&truth));
    assert!(truth.iter().filter(|it| it.dialect == "app-rag").all(|it| it.streamed));
    let of = |name: &'static str| seen.metric(name).label("step", "query").sum();
    let queries = seen.metric("tokenbeat_requests_total").label("step", "query").label("outcome", "ok").sum();
    assert_eq!(of("tokenbeat_time_to_first_token_seconds_count"), queries);
    // The first chunk has the citations; the first text comes only after retrieval.
    let [chunk, token] = ["chunk", "token"].map(|what| match what {
        "chunk" => of("tokenbeat_time_to_first_chunk_seconds_sum"),
        _ => of("tokenbeat_time_to_first_token_seconds_sum"),
    });
    assert!(token >= queries * 0.02 && chunk <= token, "{chunk} {token}");
}
