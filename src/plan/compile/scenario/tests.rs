//! Each key of a scenario has the documented effect.

use crate::plan::{
    AnswerPart, AskStep, AskText, BodyForm, BodyTemplate, Cache, Done, HttpStep, JsonRule, JsonTemplate,
    Plan, Rule, Scenario, Shape, StatusRange, StatusSet, Step, StepAction, Think, from_yaml,
};
use crate::secret::SecretOrigin;
use crate::template::Template;
use http::Method;
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::Duration;

const TARGETS: &str = "targets: { app: { api: http, base_url: 'http://127.0.0.1:8000' }, \
     model: { api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', params: { top_p: 1 } }, \
     plain: { api: openai-chat, base_url: 'http://127.0.0.1:8000/v1' } }\n";

fn plan_of(target: &str, rest: &str, scenario: &str) -> Plan {
    let text = format!(
        "{TARGETS}profiles: {{ p: {{ targets: [{target}], schedule: {{ manual: {{}} }}, {rest} scenario: {scenario} }} }}"
    );
    from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn scenario(written: &str) -> Arc<Scenario> {
    Arc::clone(&plan_of("app", "", written).profiles[0].scenario)
}

/// The only step, with these keys.
fn step(keys: &str) -> Arc<Step> {
    let target = if keys.contains("ask:") { "model" } else { "app" };
    let plan = plan_of(target, "", &format!("{{ vars: {{ v: 1, w: 2 }}, steps: [{{ name: s, {keys} }}] }}"));
    Arc::clone(&plan.profiles[0].scenario.steps[0])
}

fn http(step: &Step) -> &HttpStep {
    match &step.action {
        StepAction::Http(http) => http,
        StepAction::Ask(_) => panic!("an ask"),
    }
}

fn texts(ask: &AskStep) -> (&Template, Option<&Template>) {
    let AskText::Template { system, prompt } = &ask.text else { panic!("fixed") };
    (prompt, system.as_ref())
}

fn ask(step: &Step) -> &AskStep {
    match &step.action {
        StepAction::Ask(ask) => ask,
        StepAction::Http(_) => panic!("an HTTP step"),
    }
}

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).unwrap()
}

#[test]
fn the_least_step_has_its_defaults() {
    let step = step("get: /x");
    assert_eq!((&*step.name, step.number, step.repeat, step.turns), ("s", 0, 1, false));
    assert_eq!(step.think, Think { min: Duration::ZERO, max: Duration::ZERO });
    assert!(step.timeout.is_none() && step.take.is_empty() && step.expect.names().is_empty());
    let http = http(&step);
    assert_eq!((&http.method, &*http.path.source, &*http.route), (&Method::GET, "/x", "GET /x"));
    assert!(http.headers.is_empty() && matches!(http.body, BodyTemplate::None) && http.reading.is_none());
    assert_eq!((http.reserve.input_tokens, http.reserve.output_tokens), (0, 0));
}

#[test]
fn methods_and_paths_are_those_that_are_written() {
    let methods = [
        ("get: /x", Method::GET),
        ("post: /x", Method::POST),
        ("put: /x", Method::PUT),
        ("patch: /x", Method::PATCH),
        ("delete: /x", Method::DELETE),
        ("head: /x", Method::HEAD),
        ("request: { method: OPTIONS, path: /x }", Method::OPTIONS),
    ];
    for (keys, method) in methods {
        let step = step(keys);
        let http = http(&step);
        assert_eq!((&http.method, &*http.path.source), (&method, "/x"), "{keys}");
        assert_eq!(*http.route, *format!("{method} /x"));
    }
    let made = step("post: '/x/{{ v }}?api_key=hunter2&q={{ w }}'");
    assert_eq!(&*http(&made).path.source, "/x/{{ v }}?api_key=hunter2&q={{ w }}");
    assert_eq!(&*http(&made).route, "POST /x/{{ v }}?api_key=***&q={{ w }}");
}

#[test]
fn headers_and_bodies_are_templates() {
    let made = step("post: /x, headers: { X-A: '{{ v }}', X-B: b }");
    let headers: Vec<_> =
        http(&made).headers.iter().map(|(name, value)| (name.as_str(), &*value.source)).collect();
    assert_eq!(headers, [("x-a", "{{ v }}"), ("x-b", "b")]);
    let made = step("post: /x, form: { a: '{{ v }}', b: c }");
    let BodyTemplate::Form(fields) = &http(&made).body else { panic!("a form") };
    assert_eq!((&*fields[0].0, &*fields[0].1.source, &*fields[1].0), ("a", "{{ v }}", "b"));
    let made = step("post: /x, body: 'a {{ v }}'");
    let BodyTemplate::Raw { content_type, text } = &http(&made).body else { panic!("raw") };
    assert_eq!((content_type.to_str().unwrap(), &*text.source), ("text/plain; charset=utf-8", "a {{ v }}"));
    let made = step("post: /x, body: a, content_type: text/csv");
    let BodyTemplate::Raw { content_type, .. } = &http(&made).body else { panic!("raw") };
    assert_eq!(content_type, "text/csv");
}

#[test]
fn json_keeps_what_has_no_template_as_it_is() {
    let made = step("post: /x, json: { a: '{{ v }}', b: [1, { c: 'd {{ w }}' }], e: { f: null } }");
    let BodyTemplate::Json(JsonTemplate::Object(fields)) = &http(&made).body else { panic!("an object") };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "e"]);
    assert!(matches!(&fields[0].1, JsonTemplate::Template(template) if &*template.source == "{{ v }}"));
    let JsonTemplate::Array(items) = &fields[1].1 else { panic!("an array") };
    assert!(matches!(&items[0], JsonTemplate::Literal(Value::Number(_))));
    assert!(matches!(&items[1], JsonTemplate::Object(_)));
    assert!(matches!(&fields[2].1, JsonTemplate::Literal(value) if *value == json!({ "f": null })));
    let made = step("post: /x, json: [1, 2]");
    assert!(
        matches!(&http(&made).body, BodyTemplate::Json(JsonTemplate::Literal(value)) if *value == json!([1, 2]))
    );
}

#[test]
fn times_repeats_turns_and_reserves_are_those_that_are_written() {
    let made = step(
        "get: /x, think: 500ms..1s, timeout: 90s, repeat: 3, turns: true, reserve: { input_tokens: 4, output_tokens: 5 }",
    );
    assert_eq!(made.think, Think { min: Duration::from_millis(500), max: Duration::from_secs(1) });
    assert_eq!((made.timeout, made.repeat, made.turns), (Some(Duration::from_secs(90)), 3, true));
    assert_eq!((http(&made).reserve.input_tokens, http(&made).reserve.output_tokens), (4, 5));
}

#[test]
fn an_ask_is_a_call_of_the_dialect() {
    let made = step(
        "ask: { prompt: 'p {{ v }}', system: s, output_tokens: 128, stream: false, cache: reuse, params: { a: 1 }, history: 8 }",
    );
    let asked = ask(&made);
    let (prompt, system) = texts(asked);
    assert_eq!((&*prompt.source, &*system.unwrap().source), ("p {{ v }}", "s"));
    assert_eq!((asked.output_tokens, asked.stream, asked.cache), (Some(128), false, Cache::Reuse));
    assert_eq!((Value::from(asked.params.clone()), asked.history), (json!({ "a": 1 }), 8));
    assert!(made.turns, "a conversation has turns");
    let made = step("ask: { prompt: p }");
    let asked = ask(&made);
    assert!(texts(asked).1.is_none() && asked.output_tokens.is_none() && asked.params.is_empty());
    assert_eq!((asked.stream, asked.cache, asked.history, made.turns), (true, Cache::Bust, 0, false));
    assert!(step("ask: { prompt: p }, turns: true").turns);
}

#[test]
fn a_reading_has_every_path() {
    let made = step(
        "get: /x, read: { as: sse, text: $.a, reasoning: $.b, finish: $.c, input_tokens: $.d, output_tokens: $.e, \
         cached_input_tokens: $.f, reasoning_tokens: $.g, error: $.h, done: '[DONE]' }",
    );
    assert!(made.streams());
    let reading = http(&made).reading.as_ref().unwrap();
    assert_eq!(reading.form, Some(BodyForm::Sse));
    let paths = [
        &reading.text,
        &reading.reasoning,
        &reading.finish,
        &reading.input_tokens,
        &reading.output_tokens,
        &reading.cached_input_tokens,
        &reading.reasoning_tokens,
        &reading.error,
    ];
    for (found, name) in paths.into_iter().zip("abcdefgh".chars()) {
        assert_eq!(*found, Some(path(&format!("$.{name}"))), "{name}");
    }
    assert!(matches!(&reading.done, Some(Done::Data(data)) if data == "[DONE]"));
    let reading =
        |keys: &str| Arc::clone(http(&step(&format!("get: /x, read: {keys}"))).reading.as_ref().unwrap());
    assert_eq!(reading("{}").form, None);
    for (word, form) in [("json", BodyForm::Json), ("ndjson", BodyForm::Ndjson), ("text", BodyForm::Text)] {
        assert_eq!(reading(&format!("{{ as: {word} }}")).form, Some(form));
    }
    assert!(
        matches!(&reading("{ as: sse, done: { event: e } }").done, Some(Done::Event(name)) if name == "e")
    );
    let by_path = reading("{ as: ndjson, done: { path: $.done } }");
    assert!(matches!(&by_path.done, Some(Done::Path(place)) if *place == path("$.done")));
}

#[test]
fn takes_are_taken_from_where_they_say() {
    let text = "{ steps: [{ name: s, get: /x, take: { a: $.a, b: { json: $.b, default: null }, c: { header: X-C }, \
         d: { regex: 'id=(\\d+)' }, e: { cookie: sid }, f: { text: true, default: [1] } } }] }";
    let scenario = scenario(text);
    let takes = &scenario.steps[0].take;
    let names: Vec<&str> = takes.iter().map(|take| &*take.name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
    assert!(matches!(&takes[0].from, AnswerPart::Json(place) if *place == path("$.a")));
    assert!(matches!(&takes[1].from, AnswerPart::Json(place) if *place == path("$.b")));
    assert!(matches!(&takes[2].from, AnswerPart::Header(name) if name == "x-c"));
    assert!(matches!(&takes[3].from, AnswerPart::Regex(pattern) if pattern.as_str() == r"id=(\d+)"));
    assert!(matches!(&takes[4].from, AnswerPart::Cookie(name) if name == "sid"));
    assert!(matches!(&takes[5].from, AnswerPart::Text));
    let defaults: Vec<_> = takes.iter().map(|take| take.default.clone()).collect();
    assert_eq!(defaults, [None, Some(Value::Null), None, None, None, Some(json!([1]))]);
}

#[test]
fn what_is_shared_by_the_steps_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let people = folder.path().join("people.csv");
    std::fs::write(&people, "email\na@x\n").unwrap();
    let scenario = scenario(&format!(
        "{{ vars: {{ top_k: 5, list: [a, null] }}, data: {{ people: {{ file: '{}' }} }}, \
         secrets: {{ password: {{ env: HOME }}, key: {{ value: x }} }}, cookies: true, \
         setup: [{{ name: one, post: /x, json: ['{{{{ secret.password }}}}', '{{{{ people }}}}'], take: {{ token: $.t }} }}], \
         steps: [{{ name: two, get: '/{{{{ token }}}}' }}, {{ name: three, get: /x }}] }}",
        people.display()
    ));
    assert_eq!(scenario.vars.names().collect::<Vec<_>>(), ["list", "people", "top_k"]);
    let secrets: Vec<_> = scenario.secrets.iter().map(|(name, secret)| (&**name, secret.origin())).collect();
    assert_eq!(secrets[1], ("password", &SecretOrigin::Env("HOME".to_owned())));
    assert!(secrets[0].0 == "key" && matches!(secrets[0].1, SecretOrigin::Literal(_)));
    assert!(scenario.cookies);
    let numbers: Vec<_> = scenario.all().map(|step| (&*step.name, step.number)).collect();
    assert_eq!(numbers, [("one", 0), ("two", 1), ("three", 2)]);
    assert_eq!((scenario.setup.len(), scenario.steps.len()), (1, 2));
    // None of it is printed.
    assert!(!format!("{scenario:?}").contains("a@x"));
}

#[test]
fn pairs_have_a_place_for_each_step_and_turn() {
    let plan = plan_of(
        "model",
        "load: [{ name: a, requests: 1 }, { name: b, requests: 1 }],",
        "{ setup: [{ name: login, get: /x }], steps: [{ name: chat, ask: { prompt: p, history: 2 } }] }",
    );
    let pair = &plan.pairs[0];
    assert_eq!(pair.steps.len(), 4);
    assert_eq!(&*pair.step_place(1, 0, 7).unwrap().step, "login");
    let third = pair.step_place(1, 1, 3).unwrap();
    assert_eq!((&*third.stage, &*third.step, &*third.turn), ("b", "chat", "3-4"));
}

fn spawn(rest: &str, scenario: bool) -> Duration {
    let what =
        if scenario { "scenario: { steps: [{ name: a, get: /x }] }" } else { "workload: { prompts: [x] }" };
    let target = if scenario { "app" } else { "model" };
    let text = format!(
        "{TARGETS}profiles: {{ p: {{ targets: [{target}], schedule: {{ manual: {{}} }}, load: [{rest}], {what} }} }}"
    );
    let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
    match plan.profiles[0].stages[0].shape {
        Shape::Users { spawn, .. } => spawn,
        Shape::Rate { .. } | Shape::Trace { .. } => panic!("users"),
    }
}

#[test]
fn users_begin_one_after_the_other() {
    let millis = Duration::from_millis;
    assert_eq!(spawn("{ for: 60s, users: 2000 }", true), millis(20_000));
    assert_eq!(spawn("{ for: 10s, users: 2000 }", true), millis(5_000));
    assert_eq!(spawn("{ requests: 5, users: 300 }", true), millis(3_000));
    assert_eq!(spawn("{ for: 60s, users: { from: 1, to: 100 } }", true), millis(10));
    assert_eq!(spawn("{ for: 60s, users: 100, spawn: 0s }", true), Duration::ZERO);
    assert_eq!(spawn("{ for: 60s, users: 100, spawn: 60s }", true), millis(60_000));
    assert_eq!(spawn("{ for: 60s, users: 256 }", false), millis(256));
    assert_eq!(spawn("{ requests: 1 }", false), Duration::ZERO);
    assert_eq!(spawn("{ for: 60s, users: 100, spawn: 2s }", false), millis(2_000));
}

#[test]
fn every_check_is_a_rule_with_its_name() {
    let made = step(
        "get: /x, read: { text: $.a, finish: $.f, input_tokens: $.i, output_tokens: $.o }, \
         expect: { status: [200, 4xx], finish_reason: [stop], text: { min_chars: 1, max_chars: 9, contains: [x, { name: y, value: z }], \
         matches: ['\\d'], not_matches: [{ name: no, value: sorry }] }, \
         json: [{ path: $.c, min_items: 1, max_items: 2 }, { name: n, path: $.n, min: 0, max: 1.5 }, { path: $.e, equals: null }, { path: $.g, exists: false }, { path: $.h }], \
         schema: { inline: { type: object } }, output_tokens: { min: 5 }, usage: true, time_to_first_token: 5s, duration: 60s, headers: [X-Request-Id] }",
    );
    let ranges = vec![StatusRange { from: 200, to: 200 }, StatusRange { from: 400, to: 499 }];
    assert_eq!(made.expect.status, Some(StatusSet(ranges)));
    let names: Vec<_> = made.expect.checks.iter().map(|check| check.name.to_string()).collect();
    let right = "finish_reason min_chars max_chars contains y matches no $.c n $.e $.g $.h schema output_tokens usage \
                 time_to_first_token duration header:x-request-id";
    assert_eq!(names.join(" "), right);
    let mut rules = made.expect.checks.iter().map(|check| &check.rule);
    let mut next = || rules.next().unwrap();
    assert!(matches!(next(), Rule::FinishReason(fine) if *fine == ["stop"]));
    assert!(matches!(next(), Rule::MinChars(1)));
    assert!(matches!(next(), Rule::MaxChars(9)));
    assert!(matches!(next(), Rule::Contains(text) if text == "x"));
    assert!(matches!(next(), Rule::Contains(text) if text == "z"));
    assert!(matches!(next(), Rule::Matches(pattern) if pattern.as_str() == r"\d"));
    assert!(matches!(next(), Rule::NotMatches(pattern) if pattern.as_str() == "sorry"));
    let places = [
        ("$.c", JsonRule { min_items: Some(1), max_items: Some(2), ..JsonRule::default() }),
        ("$.n", JsonRule { min: Some(0.0), max: Some(1.5), ..JsonRule::default() }),
        ("$.e", JsonRule { equals: Some(Value::Null), ..JsonRule::default() }),
        ("$.g", JsonRule { exists: Some(false), ..JsonRule::default() }),
        ("$.h", JsonRule { exists: Some(true), ..JsonRule::default() }),
    ];
    for (place, right) in places {
        assert!(
            matches!(next(), Rule::Json { path: found, is } if *found == path(place) && *is == right),
            "{place}"
        );
    }
    let Rule::Schema { validator, of_text: false, .. } = next() else { panic!("a schema of the answer") };
    assert!(validator.is_valid(&json!({})) && !validator.is_valid(&json!([])));
    assert!(matches!(next(), Rule::MinOutputTokens(5)));
    assert!(matches!(next(), Rule::Usage));
    assert!(matches!(next(), Rule::TimeToFirstToken(most) if *most == Duration::from_secs(5)));
    assert!(matches!(next(), Rule::Duration(most) if *most == Duration::from_mins(1)));
    assert!(matches!(next(), Rule::Header(name) if name == "x-request-id"));
}

#[test]
fn a_schema_is_about_the_answer_of_an_application_and_the_text_of_a_model() {
    let of_text = |keys: &str| match &step(keys).expect.checks[0].rule {
        Rule::Schema { of_text, .. } => *of_text,
        other => panic!("{other:?}"),
    };
    assert!(!of_text("get: /x, expect: { schema: { inline: {} } }"));
    assert!(of_text("get: /x, read: { text: $.x }, expect: { schema: { inline: {}, of: text } }"));
    assert!(!of_text("get: /x, read: { text: $.x }, expect: { schema: { inline: {}, of: answer } }"));
    assert!(of_text("ask: { prompt: x }, expect: { schema: { inline: true } }"));
    assert!(of_text("ask: { prompt: x }, expect: { schema: { inline: {}, of: text } }"));
}

#[test]
fn revisions_follow_what_a_scenario_does_and_not_where_its_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let revision = |vars: &str, data: &str, schema: &str, keys: &str| {
        let written = format!(
            "{{ vars: {{ v: {vars} }}, data: {{ d: {{ file: '{data}' }} }}, secrets: {{ s: {{ env: A }} }}, \
             steps: [{{ name: a, post: /x, json: {{ api_key: abc, v: '{{{{ v }}}}{{{{ d }}}}{{{{ secret.s }}}}' }}, \
             expect: {{ schema: {{ {schema} }} }}{keys} }}] }}"
        );
        let plan = plan_of("app", "", &written);
        (plan.profiles[0].revision.to_string(), plan.pairs[0].fingerprint())
    };
    let data = file("a.txt", "one\n");
    let base = revision("1", &data, "inline: { type: object }", "");
    let same = [
        revision("1", &file("b.txt", "\none\n\n"), "inline: { type: object }", ""),
        revision("1", &data, &format!("file: '{}'", file("schema.json", "{\"type\":\"object\"}")), ""),
        revision("1", &data, "inline: { type: object }", ", repeat: 1"),
    ];
    for (index, other) in same.into_iter().enumerate() {
        assert!(other == base, "{index}");
    }
    let others = [
        revision("2", &data, "inline: { type: object }", ""),
        revision("1", &file("c.txt", "two\n"), "inline: { type: object }", ""),
        revision("1", &data, "inline: { type: array }", ""),
        revision("1", &data, &format!("file: '{}'", file("other.json", "{}")), ""),
        revision("1", &data, "inline: { type: object }", ", repeat: 2"),
        revision("1", &data, "inline: { type: object }", ", headers: { authorization: a }"),
        revision("1", &data, "inline: { type: object }", ", headers: { authorization: b }"),
    ];
    let mut seen = std::collections::HashSet::from([base.0]);
    for (index, other) in others.into_iter().enumerate() {
        assert!(seen.insert(other.0) && other.1 != base.1, "{index}");
    }
}

#[test]
fn another_origin_of_a_secret_is_another_pair_of_the_same_revision() {
    let of = |secret: &str| {
        let written = format!(
            "{{ secrets: {{ s: {secret} }}, steps: [{{ name: a, post: /x, body: '{{{{ secret.s }}}}' }}] }}"
        );
        let plan = plan_of("app", "", &written);
        (plan.profiles[0].revision.to_string(), plan.pairs[0].fingerprint())
    };
    let (base, first) = of("{ env: A }");
    for other in ["{ env: B }", "{ file: /a }", "{ value: x }"] {
        let (revision, fingerprint) = of(other);
        assert!(revision == base && fingerprint != first, "{other}");
    }
}

#[test]
fn the_params_of_a_target_and_spawn_are_in_the_revision() {
    let revision = |target: &str, load: &str| {
        let plan =
            plan_of(target, &format!("load: [{load}],"), "{ steps: [{ name: a, ask: { prompt: x } }] }");
        (plan.profiles[0].revision.to_string(), plan.pairs[0].revision.to_string())
    };
    let base = revision("plain", "{ for: 60s, users: 10 }");
    let other = revision("model", "{ for: 60s, users: 10 }");
    assert!(base.0 == other.0 && base.1 != other.1);
    assert_ne!(revision("plain", "{ for: 60s, users: 10, spawn: 1s }").0, base.0);
    assert_eq!(revision("plain", "{ for: 60s, users: 10, spawn: 100ms }").0, base.0);
}
