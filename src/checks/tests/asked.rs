//! Checks of what a request asked for: tools, limits, and the same answer again.

use super::*;
use crate::plan::{ArgumentsSchema, Comparison, HonouredParam};

/// What a failing check says; `None` if it passes.
fn said(rule: Rule, evidence: &Evidence<'_>) -> Option<String> {
    let checks = vec![Check { name: "it".into(), rule }];
    let mut failed = failed(&Expect { checks, ..Expect::default() }, evidence);
    let only = failed.pop();
    assert!(failed.is_empty());
    only.map(|check| check.detail.unwrap_or_default())
}

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { name: name.to_owned(), arguments: arguments.to_owned() }
}

fn tool_call(calls: &[ToolCall], schema: Option<Value>) -> Option<String> {
    let arguments = schema.map(|schema| ArgumentsSchema {
        validator: Arc::new(jsonschema::validator_for(&schema).unwrap()),
        schema: Arc::new(schema),
    });
    let answer = Whole { tool_calls: calls.to_vec(), ..Whole::text("") };
    said(Rule::ToolCall { name: "get_weather".to_owned(), arguments }, &answer.evidence())
}

#[test]
fn a_tool_of_that_name_is_called() {
    assert_eq!(tool_call(&[call("get_weather", "no JSON")], None), None);
    assert_eq!(tool_call(&[call("other", ""), call("get_weather", "")], None), None);
    assert_eq!(tool_call(&[], None).unwrap(), "no tool was called");
    let others: Vec<ToolCall> = (0..6).map(|n| call(&format!("f{n}"), "{}")).collect();
    assert_eq!(
        tool_call(&others, None).unwrap(),
        "`get_weather` was not called, but `f0`, `f1`, `f2`, `f3` and 2 more"
    );
    let long = tool_call(&[call(&"é".repeat(5000), "")], None).unwrap();
    assert_eq!(long.chars().count(), "`get_weather` was not called, but ``".len() + 64);
}

#[test]
fn all_arguments_of_the_tool_are_valid() {
    let schema = || {
        Some(json!({ "type": "object", "required": ["location"],
            "properties": { "location": { "type": "string" }, "days": { "maximum": 7 } } }))
    };
    let good = call("get_weather", r#"{"location": "Paris", "days": 3}"#);
    assert_eq!(tool_call(std::slice::from_ref(&good), schema()), None);
    let cut = tool_call(&[good.clone(), call("get_weather", r#"{"location": "Par"#)], schema()).unwrap();
    assert_eq!(
        cut,
        "the arguments of `get_weather` are not JSON: EOF while parsing a string at line 1 column 17, of 17 bytes"
    );
    // What two calls become where a server does not tell them apart.
    let joined = tool_call(&[call("get_weather", r#"{"location": "a"}{"location": "b"}"#)], schema());
    assert!(joined.unwrap().contains("trailing characters"));
    let wrong = tool_call(&[call("get_weather", r#"{"location": "hush", "days": 9999}"#)], schema()).unwrap();
    assert!(wrong.starts_with("the arguments of `get_weather` are not valid at /days: "), "{wrong}");
    assert!(!wrong.contains("9999") && !wrong.contains("hush"), "{wrong}");
    let none = tool_call(&[call("get_weather", " ")], schema()).unwrap();
    assert!(none.starts_with("the arguments of `get_weather` are not valid: "), "{none}");
    // A function without parameters.
    assert_eq!(tool_call(&[call("get_weather", "")], Some(json!({ "type": "object" }))), None);
    let deep = "[".repeat(100_000);
    assert!(tool_call(&[call("get_weather", &deep)], schema()).unwrap().contains("not JSON"));
}

fn counted(n: u64, source: CountSource) -> Tokens {
    Tokens { output: Some(Count { n, source }), ..Tokens::default() }
}

#[test]
fn no_more_tokens_than_asked_for() {
    let check = |tokens: Tokens, finish_reason| {
        let answer = Whole { tokens, finish_reason, asked_output_tokens: Some(8), ..Whole::text("x") };
        said(Rule::Honours(HonouredParam::MaxTokens), &answer.evidence())
    };
    let usage = |n| counted(n, CountSource::Usage);
    assert_eq!(check(usage(8), Some("length")), None);
    assert_eq!(check(usage(8), Some("MAX_TOKENS")), None);
    assert_eq!(check(usage(5), Some("stop")), None);
    let more = "9 output tokens, and at most 8 were asked for";
    for finish in [Some("stop"), Some("length"), None] {
        assert_eq!(check(usage(9), finish).as_deref(), Some(more));
    }
    assert_eq!(check(counted(9, CountSource::Chunks), Some("length")).as_deref(), Some(more));
    let silent = check(usage(8), Some("stop")).unwrap();
    assert_eq!(
        silent,
        "it has all of the 8 output tokens that were asked for, and the finish reason means `stop`"
    );
    assert_eq!(check(counted(8, CountSource::Chunks), Some("stop")), None);
    assert_eq!(check(Tokens::default(), Some("length")), None);
    assert!(check(Tokens::default(), Some("stop")).unwrap().contains("not known"));
}

#[test]
fn the_text_ends_before_a_stop_sequence() {
    let check = |text: &str, finish_reason, kept| {
        let stop = StopSequences { sequences: vec!["END".to_owned(), "§".to_owned()], kept };
        let answer = Whole { finish_reason, stop, ..Whole::text(text) };
        said(Rule::Honours(HonouredParam::Stop), &answer.evidence())
    };
    assert_eq!(check("one two ", Some("stop"), false), None);
    assert_eq!(check("one two ", Some("stop_sequence"), false), None);
    let on = "the text goes on to a stop sequence, after 4 characters";
    assert_eq!(check("éne END two", Some("stop"), false).as_deref(), Some(on));
    assert_eq!(check("éne END", Some("stop"), false).as_deref(), Some(on));
    assert_eq!(check("éne END", Some("stop"), true), None);
    assert_eq!(check("éne END END", Some("stop"), true).as_deref(), Some(on));
    assert_eq!(check("a§", Some("stop"), false).unwrap(), on.replace('4', "1"));
    assert_eq!(
        check("one", Some("length"), false).unwrap(),
        "the text holds no stop sequence, but the finish reason means `length`"
    );
    assert!(check("one", None, false).unwrap().ends_with("there is no finish reason"));
}

#[test]
fn there_is_a_log_probability_for_each_token() {
    let check = |logprobs, tokens: Tokens, finish| {
        let answer = Whole { logprobs, tokens, finish_reason: Some(finish), ..Whole::text("x") };
        said(Rule::Honours(HonouredParam::Logprobs), &answer.evidence())
    };
    let usage = |n| counted(n, CountSource::Usage);
    assert_eq!(check(0, usage(5), "stop").unwrap(), "there are none");
    assert_eq!(check(0, Tokens::default(), "stop").unwrap(), "there are none");
    for came in [18, 20, 22] {
        assert_eq!(check(came, usage(20), "stop"), None, "{came}");
    }
    assert_eq!(check(17, usage(20), "stop").unwrap(), "they came for 17 tokens, and the answer has 20");
    assert!(check(23, usage(20), "stop").is_some());
    // Only the server knows how many there are.
    assert_eq!(check(1, counted(20, CountSource::Chunks), "stop"), None);
    assert_eq!(check(1, usage(20), "tool_calls"), None);
    // Those of reasoning may be left out.
    for came in [5, 20] {
        assert_eq!(check(came, Tokens { reasoning: Some(15), ..usage(20) }, "stop"), None);
    }
    assert!(check(2, Tokens { reasoning: Some(15), ..usage(20) }, "stop").is_some());
}

#[test]
fn two_answers_are_the_same() {
    let check = |(text, calls): (&str, &[ToolCall]), (before, called): (&str, &[ToolCall]), comparison| {
        let answer = Whole { tool_calls: calls.to_vec(), ..Whole::text(text) };
        let earlier = Some(EarlierAnswer { text: before, tool_calls: called });
        said(Rule::SameAnswer(comparison), &Evidence { earlier, ..answer.evidence() })
    };
    assert_eq!(check(("", &[]), ("", &[]), Comparison::Unary), None);
    assert_eq!(check(("a b", &[]), ("a b", &[]), Comparison::Seed), None);
    assert_eq!(
        check(("aéc", &[]), ("aéd!", &[]), Comparison::Unary).unwrap(),
        "the text of 3 characters differs from the streamed one, of 4, after 2 characters"
    );
    let cut = check(("ab", &[]), ("abc", &[]), Comparison::Seed).unwrap();
    assert!(cut.contains("the first one with the same seed, of 3, after 2 characters"), "{cut}");
    let spaced = [call("f", r#"{"a": 1, "b": 2}"#)];
    let dense = [call("f", r#"{"b":2,"a":1}"#)];
    assert_eq!(check(("", &spaced), ("", &dense), Comparison::Unary), None);
    for other in [vec![], vec![call("g", "{}")], vec![call("f", "{")], vec![spaced[0].clone(), call("f", "")]]
    {
        let said = check(("", &spaced), ("", &other), Comparison::Unary);
        assert_eq!(said.as_deref(), Some("the calls of tools differ from those of the streamed one"));
    }
    let alone = Whole::text("a");
    assert!(said(Rule::SameAnswer(Comparison::Unary), &alone.evidence()).is_some());
}
