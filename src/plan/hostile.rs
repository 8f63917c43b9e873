//! Malicious configs. None of them crashes the process, and each error is reported with its place.

use super::{PlanLoadAttempt, attempt, from_yaml};
use crate::config::ConfigSource;

fn said(text: &str) -> String {
    from_yaml(text).err().map(|errors| errors.to_string()).unwrap_or_default()
}

/// A config with this profile.
fn with(profile: &str) -> String {
    format!(
        "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1', model: m }}, h: {{ api: http, base_url: 'http://127.0.0.1' }} }}\n\
         profiles: {{ p: {{ schedule: {{ every: 1m }}, {profile} }} }}\n"
    )
}

/// A config with a single step that has these keys.
fn step(keys: &str) -> String {
    with(&format!("targets: [h], scenario: {{ steps: [{{ name: s, get: /, {keys} }}] }}"))
}

/// Text as a double-quoted YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn take(path: &str) -> String {
    step(&format!("take: {{ a: {} }}", quoted(path)))
}

fn template(source: &str) -> String {
    step(&format!("json: {{ a: {} }}", quoted(source)))
}

fn schema(json: &str) -> String {
    step(&format!("expect: {{ schema: {{ inline: {json} }} }}"))
}

fn pattern(text: &str) -> String {
    step(&format!("take: {{ a: {{ regex: {} }} }}", quoted(text)))
}

#[test]
fn a_path_that_would_overflow_the_stack_or_take_for_ever_is_an_error() {
    for nested in ["(", "!(", "[?(", "f(", "[?@"] {
        let said = said(&take(&format!("$[?{}@.a", nested.repeat(1500))));
        let right = "config:2:";
        assert!(said.starts_with(right) && said.contains("profiles.p.scenario.steps[0].take.a: "), "{said}");
    }
    let said = said(&take(&format!("$[?@{}.a{}]", "[?@".repeat(22), "]".repeat(22))));
    assert!(said.contains("take.a: nests filters and calls more than 4 deep"), "{said}");
}

#[test]
fn chains_and_nesting_of_a_template_are_bounded() {
    for (part, count) in
        [("{% if a %}", 100_000), ("{{ ((", 1), ("{% for a in a %}", 50_000), ("{% macro a() %}", 50_000)]
    {
        assert!(said(&template(&part.repeat(count))).contains("is not a template"), "{part}");
    }
    for (begin, part, end) in [
        ("{{ 1", " + 1", " }}"),
        ("{{ 1", "|abs", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ ", "not ", "1 }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ ", "(", "1 }}"),
        ("{{ ", "[", "1 }}"),
        ("{{ ", "{1:", "1 }}"),
        ("{{ 1", " if 1 else 1", " }}"),
        ("{{ 1", " ~ 1", " }}"),
        ("{{ 1", " is odd", " }}"),
        ("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        ("{{ 1", "(1)", " }}"),
    ] {
        // At the limit it is compiled or refused without overflowing the stack; beyond the limit it is not parsed at
        // all.
        for count in [900, 4000, 20_000] {
            let said = said(&template(&format!("{begin}{}{end}", part.repeat(count))));
            assert!(count < 20_000 || said.contains("is not a template"), "{part}: {said}");
        }
    }
}

#[test]
fn schemas_and_patterns_are_bounded() {
    let back = schema("{ $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } }");
    assert!(
        said(&back).contains("schema.inline: has more than 32 schemas one behind the other"),
        "{}",
        said(&back)
    );
    for text in [
        "(".repeat(8000),
        "a{1000}{1000}{1000}".to_owned(),
        "(?:a|".repeat(1500),
        "[".repeat(8000),
        "\\w{9}".repeat(1600),
        "a".repeat(9000),
    ] {
        assert!(said(&pattern(&text)).contains("take.a.regex: is "), "{text}");
    }
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(said(&schema(&format!("{{ const: {} }}", nested(40)))).is_empty());
    assert!(said(&schema(&format!("{{ const: {} }}", nested(100)))).contains("is nested more than 64 deep"));
}

#[test]
fn what_is_compiled_is_bounded_in_all() {
    let takes: Vec<String> = (0..5000).map(|n| format!("a{n}: '$.a{n}'")).collect();
    let all = said(&step(&format!("take: {{ {} }}", takes.join(", "))));
    assert_eq!(all.matches("is too much: all patterns").count(), 1, "{all}");
    // A large pattern counts as many small ones.
    let takes: Vec<String> = (0..200).map(|n| format!("a{n}: {{ regex: '\\w{{9}}' }}")).collect();
    assert!(said(&step(&format!("take: {{ {} }}", takes.join(", ")))).contains("is too much: all patterns"));
}

#[test]
fn hundreds_of_thousands_of_keys_are_one_error() {
    let keys = |n: usize| (0..n).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join("\n");
    let many = said(&keys(300_000));
    assert_eq!(many, "config:50000:9: holds more than 100000 values, those of aliases included");
    let fewer = said(&keys(40_000));
    assert_eq!(fewer.lines().count(), crate::limits::PROBLEMS, "{fewer}");
    let long = said(&format!("{}: 1", "a".repeat(600)));
    assert_eq!(long, "config:1:1: has a key of more than 256 bytes");
}

#[test]
fn what_is_sent_or_shown_each_time_is_bounded() {
    let keys = |n: usize| (0..n).map(|n| format!("k{n}: x")).collect::<Vec<_>>().join(", ");
    let target = |headers: &str| {
        format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1', model: m, headers: {{ {headers} }} }} }}"
        )
    };
    for (text, place) in [
        (
            format!("agent: {{ labels: {{ {} }} }}", keys(45_000)),
            "agent.labels: must not have more than 64 keys",
        ),
        (target(&keys(45_000)), "targets.t.headers: must not have more than 100 keys"),
        (
            step(&format!("headers: {{ {} }}", keys(45_000))),
            "steps[0].headers: must not have more than 100 keys",
        ),
        (
            format!(
                "telemetry: {{ otlp: {{ endpoint: 'http://127.0.0.1:4317', headers: {{ {} }} }} }}",
                keys(101)
            ),
            "telemetry.otlp.headers: must not have more than 100 keys",
        ),
        (
            format!("telemetry: {{ disable: [{}] }}", "tokenbeat_x, ".repeat(45_000)),
            "telemetry.disable: must not have more than 500 items",
        ),
    ] {
        let said = said(&text);
        assert!(said.contains(place), "{said}");
        assert!(said.lines().count() <= crate::limits::PROBLEMS);
    }
    assert_eq!(said(&target(&keys(100))), "");
}

#[test]
fn a_text_that_is_too_large_is_not_even_parsed() {
    for text in [
        format!("a: {}", "x".repeat(5 << 20)),
        "#\n".repeat(3 << 20),
        "\n".repeat(5 << 20),
        format!("a: \"{}\"", "\\x41".repeat(2 << 20)),
        format!("? {}\n: 1", "k".repeat(5 << 20)),
    ] {
        assert_eq!(said(&text), "config: holds more than 4 MiB");
    }
}

#[test]
fn texts_of_a_form_of_their_own_are_short() {
    for (key, text) in [
        ("every", "1s".repeat(100_000)),
        ("cron", "1,".repeat(100_000) + "1 * * * *"),
        ("timezone", "x".repeat(100_000)),
    ] {
        let said = said(&with(&format!(
            "targets: [t], workload: {{ prompts: [x] }}, schedule: {{ every: 1m, {key}: '{text}' }}"
        )));
        let said = if said.contains("duplicated") {
            self::said(&format!("profiles: {{ p: {{ schedule: {{ {key}: '{text}' }} }} }}"))
        } else {
            said
        };
        assert!(said.contains(&format!("{key}: must not be longer than 256 bytes")), "{said}");
    }
}

#[test]
fn files_that_are_too_large_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4 {
        let keys: String = (0..30_000).map(|k| format!("k{n}x{k}: 1\n")).collect::<Vec<_>>().concat();
        std::fs::write(folder.path().join(format!("{n}.yaml")), keys).unwrap();
    }
    let all = |sources: &[ConfigSource]| {
        let PlanLoadAttempt { result, files } = attempt(sources, [], &|_| Vec::new());
        assert!(files.paths().count() >= 4);
        result.unwrap_err().to_string()
    };
    let said = all(&[ConfigSource::Path(folder.path().to_owned())]);
    assert!(said.contains("holds more than 100000 values in its files"), "{said}");
    let each: Vec<ConfigSource> =
        (0..4).map(|n| ConfigSource::Path(folder.path().join(format!("{n}.yaml")))).collect();
    assert!(all(&each).contains("has more than 100000 values in all its files together"));
}
