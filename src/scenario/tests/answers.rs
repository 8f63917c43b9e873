//! What is extracted from an answer.

use super::*;
use crate::plan::AnswerMapping;
use proptest::prelude::*;
use regex::Regex;

fn pattern(pattern: &str) -> AnswerPart {
    AnswerPart::Regex(Regex::new(pattern).unwrap())
}

/// Extracts one value `v` from an answer to a model call, or to an HTTP step that reads no text.
fn taken(from: AnswerPart, is_ask: bool, answer: &Answer) -> Result<Value, String> {
    let mut stage = Stage::default();
    let mut it = if is_ask { stage.ask("it", "x", 0) } else { stage.http("it", "/") };
    it.take = vec![take("v", from)];
    let shows = stage.post("shows", json!("{{ v }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![it, shows]), 0);
    driver.take(0, answer)?;
    Ok(driver.body(1, 0))
}

#[test]
fn json_is_taken_from_the_document_or_the_text_with_its_type() {
    let document = json!({ "id": 7, "list": [{ "a": "x" }, { "a": "y" }], "none": null });
    let answer = Answer::json(&document);
    for (path, value) in [
        ("$.id", json!(7)),
        ("$.list", json!([{ "a": "x" }, { "a": "y" }])),
        ("$.list[*].a", json!("x")),
        ("$.none", json!(null)),
    ] {
        assert_eq!(taken(at_path(path), false, &answer), Ok(value), "{path}");
    }
    assert_eq!(taken(at_path("$.id"), true, &Answer::text(r#"{"id":"t"}"#)), Ok(json!("t")));
    let error = taken(at_path("$.gone"), false, &answer).unwrap_err();
    assert_eq!(error, "there is no value for `v`: nothing in the answer is at $.gone");
    let error = taken(at_path("$.id"), false, &Answer::text("hello")).unwrap_err();
    assert_eq!(error, "there is no value for `v`: the answer is not JSON");
}

#[test]
fn headers_cookies_and_patterns_are_texts() {
    let answer = Answer { body: Some("<a id=\"42\">".into()), ..Answer::text("said 7 words") }
        .header("x-session", "s1")
        .header("set-cookie", "sid=abc; Path=/; HttpOnly")
        .header("set-cookie", "other=1");
    let header = |name| AnswerPart::Header(HeaderName::from_static(name));
    assert_eq!(taken(header("x-session"), false, &answer), Ok(json!("s1")));
    assert!(
        taken(header("x-gone"), false, &answer).unwrap_err().ends_with("the answer has no header x-gone")
    );
    assert_eq!(taken(AnswerPart::Cookie("sid".into()), false, &answer), Ok(json!("abc")));
    let error = taken(AnswerPart::Cookie("gone".into()), false, &answer).unwrap_err();
    assert!(error.ends_with("the answer sets no cookie gone"));
    // From the body if no text is read, otherwise from the text.
    assert_eq!(taken(pattern(r#"id="(\d+)""#), false, &answer), Ok(json!("42")));
    assert_eq!(taken(pattern(r"\d+"), true, &answer), Ok(json!("7")));
    let error = taken(pattern(r"(gone)|\d+"), true, &answer).unwrap_err();
    assert!(error.ends_with("the group takes no part in the match of the pattern"), "{error}");
    let error = taken(pattern("secret.*"), true, &answer).unwrap_err();
    assert_eq!(error, "there is no value for `v`: the pattern matches nowhere in the answer");
}

#[test]
fn the_text_is_what_a_step_reads_as_such() {
    let answer = Answer { body: Some(r#"{"a":"hi"}"#.into()), ..Answer::text("hi") };
    assert_eq!(taken(AnswerPart::Text, true, &answer), Ok(json!("hi")));
    assert_eq!(taken(AnswerPart::Text, false, &answer), Ok(json!(r#"{"a":"hi"}"#)));
    assert!(
        taken(AnswerPart::Text, true, &Answer::text("")).unwrap_err().ends_with("the answer has no text")
    );
    let mut stage = Stage::default();
    let mut reads = stage.http("reads", "/");
    let text = serde_json_path::JsonPath::parse("$.a").ok();
    http(&mut reads).reading = Some(Arc::new(AnswerMapping { text, ..AnswerMapping::default() }));
    reads.take = vec![take("v", AnswerPart::Text)];
    let shows = stage.post("shows", json!("{{ v }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![reads, shows]), 0);
    driver.take(0, &answer).unwrap();
    assert_eq!(driver.body(1, 0), "hi");
}

#[test]
fn a_default_stands_in_and_all_values_are_taken_or_none() {
    let mut stage = Stage::default();
    let mut it = stage.http("it", "/");
    let default = |name, path, default| Take { default: Some(default), ..take(name, at_path(path)) };
    it.take = vec![
        take("a", at_path("$.a")),
        default("b", "$.b", json!([1])),
        default("c", "$.c", json!(null)),
        take("d", at_path("$.d")),
    ];
    let shows = stage.post("shows", json!("{{ [a, b, c, d] }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![it, shows]), 0);
    driver.take(0, &Answer::json(&json!({ "a": 1, "c": 3, "d": 4 }))).unwrap();
    assert_eq!(driver.body(1, 0), json!([1, [1], 3, 4]));
    driver.take(0, &Answer::json(&json!({ "a": "new", "b": "new" }))).unwrap_err();
    assert_eq!(driver.body(1, 0), json!([1, [1], 3, 4]));
    driver.take(0, &Answer::json(&json!({ "a": 5, "b": 6, "d": null }))).unwrap();
    assert_eq!(driver.body(1, 0), json!([5, 6, null, null]));
    driver.user.reset();
    let missing = driver.try_prepare(1, 0).unwrap_err();
    assert!(matches!(missing, Unbuildable::Taken(_)) && missing.to_string().contains("undefined value"));
}

#[test]
fn values_have_a_bound_and_errors_do_not_quote_them() {
    let most = UserSession::MAX_TAKEN;
    // Two quotes are part of the JSON of a string, and a quote in it is escaped with two bytes.
    assert!(taken(AnswerPart::Text, true, &Answer::text(&"x".repeat(most - 2))).is_ok());
    for long in ["x".repeat(most - 1), "\"".repeat(most / 2)] {
        let error = taken(AnswerPart::Text, true, &Answer::text(&long)).unwrap_err();
        assert!(error.starts_with("the value for `v` is too long: ") && error.len() < 100, "{error}");
    }
    let list: Vec<u32> = vec![7; most / 2];
    assert!(taken(at_path("$"), false, &Answer::json(&json!(list))).is_err());
}

#[test]
fn what_was_taken_is_hidden_and_not_printed() {
    let mut stage = Stage { cookies: true, ..Stage::default() };
    let mut it = stage.http("it", "/");
    let places = [("token", "$.token"), ("short", "$.short"), ("deep", "$.deep")];
    it.take = places.map(|(name, path)| take(name, at_path(path))).into();
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    driver.try_prepare(0, 0).unwrap();
    let body = json!({ "token": "tok-12345", "short": "abc", "deep": { "x": ["inner-123", 5, "s"] } });
    driver.take(0, &Answer::json(&body).header("set-cookie", "sid=cookie-123")).unwrap();
    let mut hidden = driver.hidden(0);
    hidden.sort();
    assert_eq!(hidden, ["cookie-123", "inner-123", "tok-12345"]);
    let hidden = driver.try_prepare(0, 0).unwrap().hidden;
    let shown = format!("{:?} {hidden:?}", driver.user);
    assert!(shown.contains("token"), "{shown}");
    assert!(!shown.contains("tok-12345") && !shown.contains("inner-123") && !shown.contains("cookie-123"));
}

#[test]
fn a_taken_value_does_not_stand_in_an_error() {
    let mut stage = Stage::default();
    let mut it = stage.http("it", "/");
    it.take = vec![take("token", AnswerPart::Text)];
    let bad = stage.post("bad", json!("{{ token|int }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![it, bad]), 0);
    driver.take(0, &Answer { body: Some("tok-12345".into()), ..Answer::default() }).unwrap();
    let error = driver.try_prepare(1, 0).unwrap_err().to_string();
    assert!(!error.contains("tok-12345"), "{error}");
}

proptest! {
    #[test]
    fn any_value_is_taken_as_it_is(text in ".*", n in any::<i64>(), f in -1e9..1e9_f64) {
        let value = json!({ "text": text, "list": [n, f, null, [text]] });
        let answer = Answer::json(&json!({ "it": value, "text": text }));
        prop_assert_eq!(taken(at_path("$.it"), false, &answer), Ok(value));
        prop_assert_eq!(taken(at_path("$.text"), false, &answer), Ok(json!(text)));
    }
}
