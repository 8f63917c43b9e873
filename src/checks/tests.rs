mod asked;

use super::*;
use crate::plan::{Check, JsonRule};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use std::time::Duration;
use tokio::time::Instant;

/// An owned answer that [`Evidence`] borrows from.
struct Whole {
    headers: HeaderMap,
    text: String,
    body: Option<String>,
    finish_reason: Option<&'static str>,
    tokens: Tokens,
    marks: Marks,
    streamed: bool,
    tool_calls: Vec<ToolCall>,
    logprobs: u64,
    asked_output_tokens: Option<u64>,
    stop: StopSequences,
}

impl Whole {
    fn text(text: &str) -> Self {
        let now = Instant::now();
        Self {
            headers: HeaderMap::new(),
            text: text.to_owned(),
            body: None,
            finish_reason: None,
            tokens: Tokens::default(),
            marks: Marks::begin(now, now),
            streamed: true,
            tool_calls: Vec::new(),
            logprobs: 0,
            asked_output_tokens: None,
            stop: StopSequences::default(),
        }
    }

    fn body(body: &str) -> Self {
        Self { body: Some(body.to_owned()), streamed: false, ..Self::text("") }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            status: Some(200),
            headers: &self.headers,
            text: &self.text,
            body: self.body.as_ref().map(String::as_bytes),
            finish_reason: self.finish_reason,
            id: None,
            tokens: &self.tokens,
            marks: &self.marks,
            streamed: self.streamed,
            tool_calls: &self.tool_calls,
            logprobs: self.logprobs,
            asked_output_tokens: self.asked_output_tokens,
            stop: &self.stop,
            earlier: None,
        }
    }

    fn passes(&self, rule: Rule) -> bool {
        let checks = vec![Check { name: "it".into(), rule }];
        let failed = failed(&Expect { checks, ..Expect::default() }, &self.evidence());
        assert!(failed.is_empty() || failed == [FailedCheck { name: "it".into(), detail: None }]);
        failed.is_empty()
    }
}

fn json_rule(path: &str, is: JsonRule) -> Rule {
    Rule::Json { path: JsonPath::parse(path).unwrap(), is }
}

fn schema(schema: &Value, of_text: bool) -> Rule {
    let validator = Arc::new(jsonschema::validator_for(schema).unwrap());
    Rule::Schema { schema: Arc::new(schema.clone()), validator, of_text }
}

#[test]
fn the_finish_reason_is_one_of_a_list() {
    let rule = || Rule::FinishReason(vec!["stop".into(), "length".into()]);
    for (reason, passes) in
        [(Some("stop"), true), (Some("length"), true), (Some("Stop"), false), (None, false)]
    {
        let answer = Whole { finish_reason: reason, ..Whole::text("x") };
        assert_eq!(answer.passes(rule()), passes, "{reason:?}");
    }
}

#[test]
fn characters_are_counted_and_not_bytes() {
    let answer = Whole::text("žluťoučký");
    assert!(answer.passes(Rule::MinChars(9)) && !answer.passes(Rule::MinChars(10)));
    assert!(answer.passes(Rule::MaxChars(9)) && !answer.passes(Rule::MaxChars(8)));
    assert!(Whole::text("").passes(Rule::MinChars(0)) && !Whole::text("").passes(Rule::MinChars(1)));
}

#[test]
fn text_contains_and_matches_or_not() {
    let answer = Whole::text("I am sorry, 42 it is");
    let pattern = |pattern| Regex::new(pattern).unwrap();
    assert!(answer.passes(Rule::Contains("sorry".into())) && !answer.passes(Rule::Contains("Sorry".into())));
    assert!(answer.passes(Rule::Matches(pattern(r"\d+"))) && !answer.passes(Rule::Matches(pattern(r"^\d+"))));
    assert!(!answer.passes(Rule::NotMatches(pattern("(?i)SORRY"))));
    assert!(answer.passes(Rule::NotMatches(pattern("never"))));
}

#[test]
fn output_tokens_count_from_any_source() {
    let with = |output| Whole { tokens: Tokens { output, ..Tokens::default() }, ..Whole::text("x") };
    let count = |n, source| Some(Count { n, source });
    assert!(with(count(5, CountSource::Chunks)).passes(Rule::MinOutputTokens(5)));
    assert!(!with(count(4, CountSource::Usage)).passes(Rule::MinOutputTokens(5)));
    assert!(!with(None).passes(Rule::MinOutputTokens(0)));
}

#[test]
fn usage_is_what_the_server_reports_of_both_above_zero() {
    let passes = |input: Option<(u64, CountSource)>, output: Option<(u64, CountSource)>| {
        let count = |(n, source)| Count { n, source };
        let tokens = Tokens { input: input.map(count), output: output.map(count), ..Tokens::default() };
        Whole { tokens, ..Whole::text("x") }.passes(Rule::Usage)
    };
    let usage = Some((3, CountSource::Usage));
    assert!(passes(usage, usage));
    for other in [
        None,
        Some((0, CountSource::Usage)),
        Some((3, CountSource::Tokenizer)),
        Some((3, CountSource::Chunks)),
    ] {
        assert!(!passes(usage, other) && !passes(other, usage), "{other:?}");
    }
}

#[test]
fn the_first_token_comes_in_time_and_in_a_stream() {
    let ms = Duration::from_millis;
    let rule = || Rule::TimeToFirstToken(ms(500));
    let after = |first: Option<Duration>| {
        let mut answer = Whole::text("x");
        let sent = answer.marks.started + ms(20);
        answer.marks.sent = Some(sent);
        answer.marks.first_token = first.map(|first| sent + first);
        answer
    };
    assert!(after(Some(ms(500))).passes(rule()));
    assert!(!after(Some(ms(501))).passes(rule()));
    assert!(!after(None).passes(rule()), "no mark");
    assert!(!Whole { streamed: false, ..after(Some(ms(1))) }.passes(rule()), "no stream");
}

#[test]
fn the_duration_is_that_of_the_request() {
    let ms = Duration::from_millis;
    let mut answer = Whole::text("x");
    // The time in tokenbeat's own queue, before the request was sent, does not count.
    let sent = answer.marks.due + ms(400);
    answer.marks.sent = Some(sent);
    answer.marks.end = sent + ms(100);
    assert!(answer.passes(Rule::Duration(ms(100))) && !answer.passes(Rule::Duration(ms(99))));
}

#[test]
fn a_header_is_there_in_any_case_of_its_name() {
    let mut answer = Whole::text("x");
    let rule = || Rule::Header(HeaderName::from_static("x-request-id"));
    assert!(!answer.passes(rule()));
    answer.headers.insert("X-Request-Id", HeaderValue::from_static(""));
    assert!(answer.passes(rule()));
}

#[test]
fn json_is_the_document_or_else_the_text() {
    let there = || json_rule("$.a", JsonRule { exists: Some(true), ..JsonRule::default() });
    let gone = || json_rule("$.a", JsonRule { exists: Some(false), ..JsonRule::default() });
    for (answer, passes_there, passes_gone) in [
        (Whole::body(r#"{"a":null}"#), true, false),
        (Whole::body(r#"{"b":1}"#), false, true),
        (Whole::text(r#" {"a":1} "#), true, false),
        // The document counts, even if the text is also JSON.
        (Whole { text: r#"{"a":1}"#.into(), ..Whole::body(r#"{"answer":"{}"}"#) }, false, true),
        (Whole { text: r#"{"a":1}"#.into(), ..Whole::body("not json") }, true, false),
        // No JSON at all: every expectation fails.
        (Whole::text("plain"), false, false),
        (Whole::body("<html>"), false, false),
        (Whole::text(""), false, false),
        (Whole::text(&"[".repeat(100_000)), false, false),
    ] {
        assert_eq!(answer.passes(there()), passes_there, "{:?} {}", answer.body, answer.text);
        assert_eq!(answer.passes(gone()), passes_gone, "{:?} {}", answer.body, answer.text);
    }
}

#[test]
fn what_is_read_of_an_answer_can_be_checked() {
    let rule = || json_rule("$.a", JsonRule { equals: Some(json!("b\u{fffd}")), ..JsonRule::default() });
    let object = json!({ "required": ["a"] });
    for answer in ["\u{feff}{\"a\":\"b\\ud83d\"}", r#"{"a":"b\ud83d","n":[NaN,-Infinity]}"#] {
        for answer in [Whole::body(answer), Whole::text(answer)] {
            assert!(answer.passes(rule()), "{:?}", answer.body);
            assert!(answer.passes(schema(&object, false)));
        }
        assert!(Whole::text(answer).passes(schema(&object, true)));
        let arguments = tool_call::parse(answer).unwrap();
        assert_eq!(arguments["a"], "b\u{fffd}");
    }
    assert!(tool_call::parse("{\"a\":").is_err());
}

#[test]
fn each_rule_of_json_holds_or_not() {
    let rule = JsonRule::default;
    let equals = |value| JsonRule { equals: Some(value), ..rule() };
    let (least, most) =
        (|n| JsonRule { min_items: Some(n), ..rule() }, |n| JsonRule { max_items: Some(n), ..rule() });
    let (min, max) = (|n| JsonRule { min: Some(n), ..rule() }, |n| JsonRule { max: Some(n), ..rule() });
    let body = r#"{"list":[1,2],"map":{"k":0},"text":"žž","n":2,"f":2.0,"big":9007199254740993,"huge":12345678901234567891,"null":null,
        "ok":true,"deep":{"x":[1.0,{"y":3}]},"neg":-1.5}"#;
    let answer = Whole::body(body);
    for (path, is, passes) in [
        ("$.list", rule(), true),
        ("$.gone", rule(), false),
        ("$.null", rule(), true),
        ("$.n", equals(json!(2.0)), true),
        ("$.f", equals(json!(2)), true),
        ("$.n", equals(json!(3)), false),
        ("$.n", equals(json!("2")), false),
        ("$.ok", equals(json!(true)), true),
        ("$.null", equals(json!(null)), true),
        ("$.gone", equals(json!(null)), false),
        ("$.big", equals(json!(9_007_199_254_740_993_u64)), true),
        ("$.big", equals(json!(9_007_199_254_740_992_u64)), false),
        ("$.huge", equals(json!(12_345_678_901_234_567_891_u64)), true),
        ("$.huge", equals(json!(12_345_678_901_234_567_890_u64)), false),
        ("$.deep", equals(json!({ "x": [1, { "y": 3.0 }] })), true),
        ("$.deep", equals(json!({ "x": [1, { "y": 4 }] })), false),
        ("$.deep", equals(json!({ "x": [1] })), false),
        ("$.list[*]", equals(json!(1)), true),
        ("$.list", least(2), true),
        ("$.list", least(3), false),
        ("$.list", most(2), true),
        ("$.list", most(1), false),
        ("$.map", least(1), true),
        ("$.text", most(2), true),
        ("$.text", least(3), false),
        ("$.n", least(0), false),
        ("$.null", most(9), false),
        ("$.gone", most(9), false),
        ("$.n", min(2.0), true),
        ("$.n", min(2.1), false),
        ("$.neg", max(-1.5), true),
        ("$.neg", max(-1.6), false),
        ("$.text", min(0.0), false),
        ("$.gone", max(0.0), false),
        ("$.n", JsonRule { min: Some(1.0), max: Some(1.5), ..rule() }, false),
        ("$.n", JsonRule { min: Some(1.0), max: Some(2.5), equals: Some(json!(2)), ..rule() }, true),
    ] {
        assert_eq!(answer.passes(json_rule(path, is.clone())), passes, "{path} {is:?}");
    }
}

#[test]
fn a_schema_is_of_the_answer_or_of_its_text() {
    let wants_a = json!({ "type": "object", "required": ["a"] });
    let answer = Whole { text: r#"{"a":1}"#.into(), ..Whole::body(r#"{"answer":"..."}"#) };
    assert!(answer.passes(schema(&wants_a, true)));
    assert!(!answer.passes(schema(&wants_a, false)));
    assert!(Whole::body(r#"{"a":1}"#).passes(schema(&wants_a, false)));
    assert!(!Whole::body(r#"{"a":1}"#).passes(schema(&wants_a, true)), "there is no text");
    assert!(Whole::text(r#"{"a":1}"#).passes(schema(&wants_a, false)));
    assert!(!Whole::text("no json").passes(schema(&json!(true), true)));
}

#[test]
fn names_come_once_and_in_order() {
    let check = |name: &str, rule| Check { name: name.into(), rule };
    let contains = |text: &str| Rule::Contains(text.into());
    let expect = Expect {
        checks: vec![
            check("contains", contains("a")),
            check("min_chars", Rule::MinChars(3)),
            check("contains", contains("b")),
            check("contains", contains("c")),
            check("fine", contains("a")),
        ],
        ..Expect::default()
    };
    let names = |text: &str| {
        let answer = Whole::text(text);
        let failed = failed(&expect, &answer.evidence());
        failed.iter().map(|check| check.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("abc"), [""; 0]);
    assert_eq!(names("a"), ["min_chars", "contains"]);
    assert_eq!(names("bc"), ["contains", "min_chars", "fine"]);
    assert!(failed(&Expect::default(), &Whole::text("").evidence()).is_empty());
}

proptest! {
    #[test]
    fn length_bounds_meet_at_the_length(text in ".*") {
        let (answer, length) = (Whole::text(&text), text.chars().count() as u64);
        prop_assert!(answer.passes(Rule::MinChars(length)) && answer.passes(Rule::MaxChars(length)));
        prop_assert!(!answer.passes(Rule::MinChars(length + 1)));
        prop_assert_eq!(answer.passes(Rule::MaxChars(length.saturating_sub(1))), length == 0);
    }

    #[test]
    fn a_pattern_matches_or_does_not(text in "[ab]{0,6}", pattern in "[ab]{1,3}") {
        let answer = Whole::text(&text);
        let regex = Regex::new(&pattern).unwrap();
        let matches = answer.passes(Rule::Matches(regex.clone()));
        prop_assert_ne!(matches, answer.passes(Rule::NotMatches(regex)));
        prop_assert_eq!(matches, answer.passes(Rule::Contains(pattern)));
    }

    #[test]
    fn items_and_numbers_meet_their_bounds(len in 0_usize..20, n in -1000_i64..1000) {
        let answer = Whole::body(&json!({ "list": vec![0; len], "n": n }).to_string());
        let items = len as u64;
        let is = JsonRule { min_items: Some(items), max_items: Some(items), ..JsonRule::default() };
        prop_assert!(answer.passes(json_rule("$.list", is)));
        let more = JsonRule { min_items: Some(items + 1), ..JsonRule::default() };
        prop_assert!(!answer.passes(json_rule("$.list", more)));
        let bound = n as f64;
        let is = JsonRule { min: Some(bound), max: Some(bound), equals: Some(json!(bound)), ..JsonRule::default() };
        prop_assert!(answer.passes(json_rule("$.n", is)));
        let (above, below) = (Some(bound + 0.5), Some(bound - 0.5));
        let too_small = answer.passes(json_rule("$.n", JsonRule { min: above, ..JsonRule::default() }));
        let too_large = answer.passes(json_rule("$.n", JsonRule { max: below, ..JsonRule::default() }));
        prop_assert!(!too_small && !too_large);
    }
}
