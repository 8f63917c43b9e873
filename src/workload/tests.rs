use super::*;
use crate::dataset::{Dataset, RowContent};
use crate::files::Files;
use crate::plan::{
    AskStep, ChatTemplate, JointLengths, LengthCurve, LengthDistribution, OutputLength, PrefixSet,
    SyntheticPrompts, TraceReplay,
};
use crate::testing::{Build, prompts};
use crate::vocabulary::{DatasetFormat, RowOrder};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A pair with a workload.
struct Workload(Arc<PairPlan>);

impl Workload {
    fn ask(&self, run_seed: u64, number: RequestNumber) -> Ask {
        self.due(run_seed, run_seed, number)
    }

    /// The same request in a run that is due at another time, which changes its nonces.
    fn due(&self, draws: u64, nonces: u64, number: RequestNumber) -> Ask {
        ask(
            &self.0,
            &self.0.profile.scenario.steps[0],
            RunSeeds { draws, nonces },
            number,
            WordList::estimated,
        )
        .unwrap()
    }
}

fn workloads(build: Build) -> Vec<Workload> {
    build.plan().pairs.iter().map(|pair| Workload(Arc::clone(pair))).collect()
}

fn number(n: u64) -> RequestNumber {
    RequestNumber { stage: 0, user: None, n }
}

fn texts(ask: &Ask) -> Vec<(Role, String)> {
    ask.messages.iter().map(|message| (message.role, message.text.to_string())).collect()
}

fn set_system(ask: &mut AskStep, text: &str) {
    let AskText::Fixed { system, .. } = &mut ask.text else { panic!("a template") };
    *system = Some(text.into());
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn every_target_is_asked_the_same() {
    let prompts = prompts(&["a", "b", "c", "d", "e"]);
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let asked = |workload: &Workload, seed| {
        (0..200).map(|n| texts(&workload.ask(seed, number(n)))).collect::<Vec<_>>()
    };
    assert_eq!(asked(&two[0], 1), asked(&two[1], 1));
    assert_ne!(asked(&two[0], 1), asked(&two[0], 2));
    let mut seen = asked(&two[0], 1);
    seen.sort_by(|a, b| a[0].1.cmp(&b[0].1));
    seen.dedup();
    assert_eq!(seen.len(), 5, "each prompt comes up");
}

#[test]
fn draws_are_golden() {
    let one = workloads(Build { prompts: prompts(&["a", "b", "c", "d", "e"]), ..Build::default() });
    let drawn: String = (0..12).map(|n| one[0].ask(7, number(n)).messages[0].text.to_string()).collect();
    assert_eq!(drawn, "abecbedddaba");
}

#[test]
fn the_nonce_comes_first_and_differs_per_request_and_target() {
    let mut prompts = prompts(&["Hello"]);
    prompts.cache = Cache::Bust;
    set_system(&mut prompts, "Be brief.");
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let ask = two[0].ask(7, number(0));
    let (role, text) = texts(&ask)[0].clone();
    assert_eq!(role, Role::System);
    assert!(text.starts_with('[') && text.ends_with("] Be brief.") && text.len() == 15 + 9, "{text}");
    assert!(text[1..13].bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(texts(&ask)[1], (Role::User, "Hello".into()));
    assert_eq!(ask, two[0].ask(7, number(0)), "replayable");
    for other in [two[0].ask(7, number(1)), two[0].ask(8, number(0)), two[1].ask(7, number(0))] {
        assert_ne!(texts(&other)[0], texts(&ask)[0]);
    }
    let again = texts(&two[0].due(7, 8, number(0)));
    assert_eq!(again[1], texts(&ask)[1], "a replay asks the same");
    assert_ne!(again[0], texts(&ask)[0], "and finds nothing in the cache");
    let user = RequestNumber { stage: 0, user: Some(0), n: 0 };
    assert_ne!(texts(&two[0].ask(7, user))[0], texts(&ask)[0], "user 0 is not the open loop");
}

#[test]
fn without_a_system_prompt_the_nonce_is_in_the_users() {
    let mut prompts = prompts(&["Hello"]);
    prompts.cache = Cache::Bust;
    let one = workloads(Build { prompts, ..Build::default() });
    let asked = texts(&one[0].ask(7, number(0)));
    assert_eq!(asked.len(), 1);
    assert!(asked[0].1.ends_with("] Hello"));
}

#[test]
fn the_profiles_parameters_are_merged_on_top_of_the_targets() {
    let mut prompts = prompts(&["Hello"]);
    prompts.params = map(&json!({ "temperature": 0.3, "format": { "type": "json" } }));
    let target_params = map(&json!({ "temperature": 1, "format": { "schema": 1 }, "top_p": 0.5 }));
    let one = workloads(Build { prompts, target_params, ..Build::default() });
    let ask = one[0].ask(7, number(0));
    let merged = json!({ "temperature": 0.3, "format": { "schema": 1, "type": "json" }, "top_p": 0.5 });
    assert_eq!(*ask.params, map(&merged));
    assert_eq!((ask.stream, ask.output_tokens), (true, Some(100)));
}

/// A length between 30 and 60 tokens.
fn drawn() -> LengthDistribution {
    LengthDistribution::within(vec![(1.0, LengthCurve::Between { from: 30, to: 60 })], 1, 1000).unwrap()
}

fn written(lengths: PromptLengths, prefix: Option<PrefixSet>, cache: Cache) -> AskStep {
    let text = AskText::Synthetic(SyntheticPrompts { lengths, prefix, question: None });
    AskStep { text, cache, ..prompts(&[]) }
}

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

fn user_text(ask: &Ask) -> String {
    assert_eq!(ask.messages.len(), 1);
    ask.messages[0].text.to_string()
}

#[test]
fn a_synthetic_prompt_has_as_many_words_as_are_drawn_and_is_the_same_for_each_target() {
    let prompts = written(PromptLengths::Input(drawn()), None, Cache::Reuse);
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let asked = |workload: &Workload, seed| {
        (0..50).map(|n| user_text(&workload.ask(seed, number(n)))).collect::<Vec<_>>()
    };
    let texts = asked(&two[0], 7);
    assert_eq!(texts, asked(&two[1], 7));
    assert_eq!(texts, asked(&two[0], 7), "replayable");
    assert_ne!(texts, asked(&two[0], 8));
    let lengths: std::collections::BTreeSet<_> = texts.iter().map(|text| words(text).len()).collect();
    assert!(lengths.len() > 15 && lengths.iter().all(|n| (30..=60).contains(n)), "{lengths:?}");
}

#[test]
fn the_chat_template_and_the_nonce_are_part_of_the_count() {
    for cache in [Cache::Bust, Cache::Reuse] {
        let prompts = written(PromptLengths::Input(LengthDistribution::fixed(100)), None, cache);
        let plan = Build { prompts, ..Build::default() }.plan();
        let template = Some(ChatTemplate { message: 4, request: 3 });
        let target = crate::plan::Target { chat_template: template, ..crate::testing::target("llama") };
        let profile = Arc::clone(&plan.pairs[0].profile);
        let one = Workload(Arc::new(PairPlan::new(profile, Arc::new(target), "r".into())));
        assert_eq!(words(&user_text(&one.ask(7, number(0)))).len(), 93);
    }
}

#[test]
fn the_nonce_of_a_synthetic_prompt_comes_first_and_the_rest_stays() {
    let prompts = written(PromptLengths::Input(LengthDistribution::fixed(100)), None, Cache::Bust);
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let text = user_text(&two[0].ask(7, number(0)));
    let again = user_text(&two[0].due(7, 8, number(0)));
    let other = user_text(&two[1].ask(7, number(0)));
    for different in [&again, &other] {
        assert_ne!(words(&text)[..4], words(different)[..4]);
        assert_eq!(words(&text)[12..], words(different)[12..], "a replay asks the same");
    }
    assert_ne!(words(&user_text(&two[0].ask(7, number(1))))[12..], words(&text)[12..]);
}

#[test]
fn prefixes_are_shared_from_run_to_run() {
    let prefix = PrefixSet { tokens: 20, count: 3, zipf: 1.0 };
    let prompts = written(PromptLengths::Input(drawn()), Some(prefix), Cache::Reuse);
    let one = workloads(Build { prompts, ..Build::default() });
    let prefixes = |seed| {
        let begins = |n| words(&user_text(&one[0].ask(seed, number(n))))[..20].join(" ");
        (0..100).map(begins).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(prefixes(1).len(), 3);
    assert_eq!(prefixes(1), prefixes(2));
    let rests: std::collections::BTreeSet<_> =
        (0..100).map(|n| words(&user_text(&one[0].ask(1, number(n))))[20..].join(" ")).collect();
    assert_eq!(rests.len(), 100);
}

#[test]
fn output_lengths_are_drawn_and_pairs_stay_together() {
    let mut prompts = prompts(&["Hello"]);
    prompts.output = OutputLength { lengths: Some(drawn()), ..OutputLength::default() };
    let one = workloads(Build { prompts, ..Build::default() });
    let asked: Vec<_> = (0..50).map(|n| one[0].ask(7, number(n)).output_tokens.unwrap()).collect();
    assert!(asked.iter().all(|n| (30..=60).contains(n)));
    assert!(asked.iter().collect::<std::collections::BTreeSet<_>>().len() > 15);

    let joint = JointLengths::new(vec![(10, 1), (50, 5)], String::new()).unwrap();
    let prompts = written(PromptLengths::Joint(joint), None, Cache::Reuse);
    let one = workloads(Build { prompts, ..Build::default() });
    for n in 0..20 {
        let ask = one[0].ask(7, number(n));
        assert_eq!(words(&user_text(&ask)).len() as u64, 10 * ask.output_tokens.unwrap());
    }
}

#[test]
fn an_end_that_is_forced_is_asked_for_beneath_what_the_operator_passes_through() {
    let mut prompts = prompts(&["Hello"]);
    prompts.output_tokens = Some(64);
    prompts.output = OutputLength { lengths: None, min_tokens: Some(80), ignore_eos: true };
    let params = |prompts: AskStep| {
        let one = workloads(Build { prompts, ..Build::default() });
        Value::Object(one[0].ask(7, number(0)).params.as_ref().clone())
    };
    let at_most_what_is_allowed = json!({ "ignore_eos": true, "min_tokens": 64 });
    assert_eq!(params(AskStep { params: Map::new(), ..prompts }), at_most_what_is_allowed);
    let mut prompts = self::prompts(&["Hello"]);
    prompts.output = OutputLength { lengths: None, min_tokens: Some(80), ignore_eos: true };
    prompts.params = map(&json!({ "ignore_eos": false }));
    assert_eq!(params(prompts), json!({ "ignore_eos": false, "min_tokens": 80 }));
}

/// A dataset of these prompts.
fn dataset(texts: &[String], order: RowOrder) -> (tempfile::TempDir, AskStep) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, texts.join("\n")).unwrap();
    let dataset =
        Dataset::read(&path, DatasetFormat::Jsonl, RowContent::Prompt, false, &mut Files::default()).unwrap();
    let text = AskText::Dataset { dataset: Arc::new(dataset), order, system: Some("S".into()) };
    (folder, AskStep { text, output_tokens: Some(9), ..prompts(&[]) })
}

fn rows() -> Vec<String> {
    (0..10).map(|n| json!({ "prompt": n.to_string() }).to_string()).collect()
}

fn asked(workload: &Workload, seed: u64, numbers: impl Iterator<Item = RequestNumber>) -> String {
    numbers.map(|number| workload.ask(seed, number).messages[1].text.to_string()).collect()
}

#[test]
fn rows_are_asked_in_their_order() {
    let (_folder, prompts) = dataset(&rows(), RowOrder::Sequential);
    let one = workloads(Build { prompts, ..Build::default() });
    assert_eq!(asked(&one[0], 7, (0..12).map(number)), "012345678901");
}

#[test]
fn shuffled_rows_come_once_each_and_are_the_same_for_each_target_and_in_a_replay() {
    let (_folder, prompts) = dataset(&rows(), RowOrder::Shuffled);
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let first = asked(&two[0], 7, (0..30).map(number));
    assert_eq!(first, asked(&two[1], 7, (0..30).map(number)));
    assert_ne!(first, asked(&two[0], 8, (0..30).map(number)));
    for pass in [&first[..10], &first[10..20], &first[20..]] {
        let mut sorted: Vec<_> = pass.chars().collect();
        sorted.sort_unstable();
        assert_eq!(sorted.iter().collect::<String>(), "0123456789");
    }
    assert_ne!(first[..10], first[10..20]);
}

#[test]
fn weighted_rows_come_by_their_weight() {
    let rows = [r#"{"prompt": "a", "weight": 9}"#.to_owned(), r#"{"prompt": "b"}"#.to_owned()];
    let (_folder, prompts) = dataset(&rows, RowOrder::Weighted);
    let one = workloads(Build { prompts, ..Build::default() });
    let share = asked(&one[0], 7, (0..2000).map(number)).matches('a').count() as f64 / 2000.0;
    assert!((share / 0.9 - 1.0).abs() < 0.03, "{share}");
}

#[test]
fn a_row_has_its_own_messages_and_length_and_the_workloads_where_it_has_none() {
    let rows = [
        r#"{"prompt": "a", "max_tokens": 5}"#.to_owned(),
        r#"{"messages": [{"role": "system", "content": "T"}, {"role": "user", "content": "b"}]}"#.to_owned(),
    ];
    let (folder, mut prompts) = dataset(&rows, RowOrder::Sequential);
    prompts.output = OutputLength { lengths: Some(LengthDistribution::fixed(9)), ..OutputLength::default() };
    let one = workloads(Build { prompts, ..Build::default() });
    let (first, second) = (one[0].ask(7, number(0)), one[0].ask(7, number(1)));
    let said = |role, text: &str| (role, text.to_owned());
    assert_eq!(texts(&first), [said(Role::System, "S"), said(Role::User, "a")]);
    assert_eq!(texts(&second), [said(Role::System, "T"), said(Role::User, "b")]);
    assert_eq!((first.output_tokens, second.output_tokens), (Some(5), Some(9)));
    // A file that was modified is an error, and no request is created.
    std::fs::write(folder.path().join("rows.jsonl"), "x").unwrap();
    let pair = &one[0].0;
    let seeds = RunSeeds { draws: 7, nonces: 7 };
    let refused = ask(pair, &pair.profile.scenario.steps[0], seeds, number(0), WordList::estimated);
    assert!(refused.unwrap_err().to_string().ends_with("it was changed since it was read"));
}

#[test]
fn a_question_follows_a_prefix_that_is_counted_alone_and_that_both_steps_share() {
    let lengths = PromptLengths::Input(LengthDistribution::fixed(100));
    let text = AskText::Synthetic(SyntheticPrompts { lengths, prefix: None, question: Some("Why?".into()) });
    let prompts = AskStep { text, cache: Cache::Bust, ..prompts(&[]) };
    let scenario = crate::plan::Scenario::of_cache_pair(
        &prompts,
        std::time::Duration::ZERO,
        &crate::plan::Expect::default(),
    );
    let plan = Build { scenario: scenario.map(Arc::new), ..Build::default() }.plan();
    let seeds = RunSeeds { draws: 7, nonces: 8 };
    let asked = |step: usize, number| {
        let pair = &plan.pairs[0];
        let ask = ask(pair, &pair.profile.scenario.steps[step], seeds, number, WordList::estimated).unwrap();
        let texts: Vec<_> =
            ask.messages.iter().map(|message| (message.role, message.text.to_string())).collect();
        assert!(ask.cache_system);
        texts
    };
    let (cold, warm) = (asked(0, number(0)), asked(1, number(0)));
    assert_eq!((cold[0].0, words(&cold[0].1).len()), (Role::System, 100));
    assert_eq!(cold[0], warm[0]);
    assert_eq!((cold[1].1.as_str(), warm[1].1.as_str()), ("1. Why?", "2. Why?"));
    let next = asked(0, number(1));
    assert_ne!(words(&next[0].1)[..12], words(&cold[0].1)[..12], "the nonce comes first");
}

/// A workload that replays a trace of this many requests.
fn traced(count: u64, cache: Cache, scale: f64) -> Vec<Workload> {
    let times: Vec<u64> = (0..count).map(|n| n * 1000).collect();
    let replay = crate::testing::replay(&times, 1.0, scale, true);
    let prompts = AskStep { text: AskText::Trace { replay, system: None }, cache, ..prompts(&[]) };
    workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() })
}

/// The words of a prompt.
fn words_of(ask: &Ask) -> Vec<String> {
    ask.messages[0].text.split(' ').map(str::to_owned).collect()
}

#[test]
fn requests_of_a_trace_share_the_blocks_that_they_shared() {
    let [one, other] = traced(3, Cache::Bust, 1.0).try_into().unwrap_or_else(|_| panic!("two targets"));
    let (first, second) = (one.ask(7, number(0)), one.ask(7, number(1)));
    assert_eq!((first.output_tokens, second.output_tokens), (Some(1), Some(2)));
    let (first, second) = (words_of(&first), words_of(&second));
    assert_eq!((first.len(), second.len()), (1000, 1000));
    assert_eq!(first[..512], second[..512]);
    assert_ne!(first[512..], second[512..]);
    // The same request again, in the same run.
    assert_eq!(first, words_of(&one.ask(7, number(0))));
    // Another pass, another run and another target begin with an empty cache.
    assert_ne!(first[..12], words_of(&one.ask(7, number(3)))[..12]);
    assert_ne!(first[..12], words_of(&one.due(7, 8, number(0)))[..12]);
    assert_ne!(first[..12], words_of(&other.ask(7, number(0)))[..12]);
    // A copy shares with copies.
    let copy = |n| words_of(&one.ask(7, number(TraceReplay::number(n, 1))));
    assert_ne!(first[..12], copy(0)[..12]);
    assert_eq!(copy(0)[..512], copy(1)[..512]);
}

#[test]
fn the_blocks_of_a_trace_can_stay_the_same_from_run_to_run() {
    let workloads = traced(3, Cache::Reuse, 1.0);
    let first = words_of(&workloads[0].ask(7, number(0)));
    assert_eq!(first, words_of(&workloads[1].due(8, 9, number(3))));
}

#[test]
fn lines_without_blocks_have_random_words_and_a_nonce() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,40,10\n2023-11-16 18:17:04,2,7\n";
    let trace = Arc::new(crate::testing::trace(text));
    let replay = Arc::new(TraceReplay { trace, speed: 1.0, scale: 1.0, repeats: false });
    let text = AskText::Trace { replay, system: None };
    let prompts = AskStep { text, cache: Cache::Bust, ..prompts(&[]) };
    let one = workloads(Build { prompts, ..Build::default() });
    let (now, then) = (words_of(&one[0].ask(7, number(0))), words_of(&one[0].due(7, 8, number(0))));
    assert_eq!((now.len(), words_of(&one[0].ask(7, number(1))).len()), (40, 2));
    assert_ne!(now[..12], then[..12]);
    assert_eq!(now[12..], then[12..], "a replay asks the same, apart from the nonce");
}

#[test]
fn recorded_texts_are_asked_as_they_are() {
    let text =
        r#"[{"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "12345678"}]}]"#;
    let trace = Arc::new(crate::testing::trace(text));
    let replay = Arc::new(TraceReplay { trace, speed: 1.0, scale: 1.0, repeats: false });
    let text = AskText::Trace { replay, system: Some("S".into()) };
    let one = workloads(Build { prompts: AskStep { text, ..prompts(&[]) }, ..Build::default() });
    let ask = one[0].ask(7, number(5));
    assert_eq!(texts(&ask), [(Role::System, "S".to_owned()), (Role::User, "Why?".to_owned())]);
    assert_eq!(ask.output_tokens, Some(2));
}
