//! Hostile paths, schemas and patterns: each is refused, or compiled and used within its limits.

use super::{Findings, json_path, json_schema, pattern};
use crate::config::KeyPath;
use crate::testing::fuzz::Fuzz;
use serde_json::{Value, json};

fn document() -> Value {
    json!({ "a": [{ "b": 1, "c": "x" }, { "b": [1, [2, [3]]] }], "d": { "e": null, "f": "ab".repeat(50) } })
}

#[test]
fn paths() {
    let tokens = &[
        "$", "@", ".", "..", "*", "[", "]", "(", ")", "[?", "[?@", "!", "&&", "||", "==", "<", "'a'",
        "\"b\"", ".a", "0", "-1", ":", ",", "length(", "count(", "match(", "search(", "value(", "\\", " ",
        "$.a", "1e9", "null",
    ];
    let seeds = [
        "$.a[?@.b == 1].c",
        "$..b",
        "$.a[?match(@.c, 'x.*')]",
        "$['a'][0:2]['b', 'c']",
        "$[?count(@.*) > 1 || !@.a]",
    ];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let document = document();
    Fuzz { name: "json-path", seeds, tokens, inputs: 2000 }.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(path) = json_path::parse(text) {
            path.query(&document).first();
        }
    });
}

#[test]
fn schemas() {
    let tokens = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"$ref\":\"#\"",
        "\"$ref\":\"#/$defs/a\"",
        "\"$defs\":",
        "\"a\":",
        "\"allOf\":[",
        "\"anyOf\":[",
        "\"not\":",
        "\"items\":",
        "\"pattern\":\"(a|a)*$\"",
        "\"properties\":",
        "\"if\":",
        "\"then\":",
        "true",
        "\"$id\":\"x\"",
        "\"$anchor\":\"n\"",
        "\"$ref\":\"#n\"",
        "\"dependentSchemas\":",
        "\"unevaluatedProperties\":false",
        "\"$dynamicRef\":\"#n\"",
        "\"$dynamicAnchor\":\"n\"",
        "\"type\":\"object\"",
    ];
    let seeds = [
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/a"}},{"type":"null"}]}}}"##,
        r#"{"properties":{"a":{"type":"array","contains":{"pattern":"^x"}}},"unevaluatedProperties":false}"#,
        r##"{"$defs":{"a":{"$dynamicAnchor":"n","not":{"$dynamicRef":"#n"}}},"$ref":"#/$defs/a"}"##,
        r#"{"$id":"https://x/y","$ref":"z","$defs":{"z":{"$id":"z","allOf":[{"$ref":"https://x/y"}]}}}"#,
    ];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    let document = document();
    Fuzz { name: "json-schema", seeds, tokens, inputs: 400 }.run(|input| {
        let Ok(schema) = serde_json::from_slice::<Value>(input) else { return };
        let mut findings = Findings::default();
        if let Some(validator) = json_schema::compile(&schema, &KeyPath::root(), &mut findings) {
            let _ = validator.is_valid(&document);
        }
    });
}

#[test]
fn patterns() {
    let tokens = &[
        "(", ")", "[", "]", "{9}", "{1000}", "*", "+", "?", "|", "\\w", "\\pL", "(?:", "(?i)", "a", "^", "$",
        ".", "\\b", "[^a]",
    ];
    let seeds = vec![b"(\\w+)@x".to_vec(), b"(a|b)*c".to_vec()];
    Fuzz { name: "pattern", seeds, tokens, inputs: 100 }.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Some(pattern) = pattern::regex(text, &KeyPath::root(), &mut Findings::default()) {
            pattern.is_match("abcabc@x");
        }
    });
}
