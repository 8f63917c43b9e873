//! The requests that are sent.

use super::*;
use crate::plan::{AnswerMapping, BodyForm};
use crate::secret::Exposed;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_json_step_is_rendered_with_types() {
    let mut stage = Stage { vars: json!({ "top_k": 5, "queries": ["a"] }), ..Stage::default() };
    let deep = json!([{ "n": "{{ user }}" }]);
    let body = json!({ "query": "{{ pick(queries) }}!", "top_k": "{{ top_k }}", "deep": deep, "yes": true });
    let mut query = stage.post("query", body);
    http(&mut query).path = stage.template("/rag/{{ step }}?lang=en&i={{ iteration }}");
    let auth = stage.template("Bearer {{ run }}");
    http(&mut query).headers = vec![(HeaderName::from_static("authorization"), auth)];
    let call = Driver::new(&stage.stage_context(vec![query]), 4).call(0, 2);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/rag/query?lang=en&i=2"));
    let sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(sent, json!({ "query": "a!", "top_k": 5, "deep": [{ "n": 4 }], "yes": true }));
    assert_eq!(header(&call, "content-type"), Some("application/json"));
    assert_eq!(header(&call, "accept"), Some("*/*"));
    assert_eq!(header(&call, "authorization"), Some("Bearer run-1"));
    assert_eq!((call.stream, call.output_tokens), (false, None));
    assert_eq!((call.most_input_tokens, call.most_output_tokens), (0, Some(0)));
}

#[test]
fn every_name_of_the_environment_is_there() {
    let mut stage = Stage::default();
    let names = ["user", "iteration", "turn", "profile", "target", "model", "stage", "step", "run"];
    let all = format!("{{{{ [{}] }}}}", names.join(", "));
    let post = stage.post("it", json!(all));
    let stage_context = stage.stage_context(vec![post]);
    let sent = Driver::new(&stage_context, 1).body(0, 9);
    assert_eq!(sent, json!([1, 9, 1, "shop", "app", "m", "steady", "it", "run-1"]));
}

#[test]
fn a_name_in_an_unusual_place_is_there_too() {
    let mut stage = Stage::default();
    let renamed = stage.post("renamed", json!("{% set run = run %}{{ run }}"));
    let filtered = stage.post("filtered", json!("{% filter replace('x', step) %}a x{% endfilter %}{{ '' }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![renamed, filtered]), 0);
    assert_eq!(driver.body(0, 0), "run-1");
    assert_eq!(driver.body(1, 0), "a filtered");
}

#[test]
fn forms_and_raw_bodies_have_their_types() {
    let mut stage = Stage { vars: json!({ "who": "a&b c=č" }), ..Stage::default() };
    let fields = [("name x", "{{ who }}"), ("plain", "1")];
    let fields = fields.map(|(key, field)| (key.to_owned(), stage.template(field)));
    let mut form = stage.http("form", "/f");
    http(&mut form).body = BodyTemplate::Form(fields.into());
    let mut raw = stage.http("raw", "/r");
    let content_type = HeaderValue::from_static("text/csv");
    http(&mut raw).body = BodyTemplate::Raw { content_type, text: stage.template("a,b\n{{ who }}\n") };
    let mut none = stage.http("none", "/n");
    http(&mut none).method = Method::GET;
    let mut driver = Driver::new(&stage.stage_context(vec![form, raw, none]), 0);
    let call = driver.call(0, 0);
    assert_eq!(call.body, "name+x=a%26b+c%3D%C4%8D&plain=1");
    assert_eq!(header(&call, "content-type"), Some("application/x-www-form-urlencoded"));
    let call = driver.call(1, 0);
    assert_eq!(call.body, "a,b\na&b c=č\n");
    assert_eq!(header(&call, "content-type"), Some("text/csv"));
    let call = driver.call(2, 0);
    assert_eq!((call.method.as_str(), call.body.len(), header(&call, "content-type")), ("GET", 0, None));
}

#[test]
fn we_ask_for_what_we_read() {
    let forms = [
        (Some(BodyForm::Json), "application/json", false),
        (Some(BodyForm::Sse), "text/event-stream", true),
        (Some(BodyForm::Ndjson), "application/x-ndjson", true),
        (Some(BodyForm::Text), "*/*", false),
        (None, "*/*", false),
    ];
    for (form, accept, stream) in forms {
        let mut stage = Stage::default();
        let mut it = stage.http("it", "/");
        http(&mut it).reading = Some(Arc::new(AnswerMapping { form, ..AnswerMapping::default() }));
        http(&mut it).reserve = Reserve { input_tokens: 4000, output_tokens: 500 };
        let call = Driver::new(&stage.stage_context(vec![it]), 0).call(0, 0);
        assert_eq!((header(&call, "accept"), call.stream), (Some(accept), stream));
        assert_eq!((call.most_input_tokens, call.most_output_tokens), (4000, Some(500)));
    }
}

#[test]
fn a_steps_own_headers_win_over_ours() {
    let mut stage = Stage::default();
    let mut it = stage.post("it", json!({}));
    let headers =
        [("content-type", "application/vnd.api+json"), ("accept", "a/b"), ("x-a", "1"), ("x-a", "2")];
    http(&mut it).headers =
        headers.map(|(name, value)| (HeaderName::from_static(name), stage.template(value))).into();
    let call = Driver::new(&stage.stage_context(vec![it]), 0).call(0, 0);
    assert_eq!(header(&call, "content-type"), Some("application/vnd.api+json"));
    assert_eq!(header(&call, "accept"), Some("a/b"));
    assert_eq!(call.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_path_is_escaped_only_where_it_must_be() {
    let mut stage = Stage { vars: json!({ "q": "a b/č?x=1&y=[2]%20#\"<>" }), ..Stage::default() };
    let it = stage.http("it", "/s/{{ q }}");
    let call = Driver::new(&stage.stage_context(vec![it]), 0).call(0, 0);
    assert_eq!(call.path, "/s/a%20b/%C4%8D?x=1&y=[2]%20%23%22%3C%3E");
}

#[test]
fn what_cannot_be_sent_is_an_error_that_says_why() {
    let vars = json!({ "rel": "x", "long": "x".repeat(20_000), "line": "a\nb", "none": {} });
    let cases = [
        ("{{ rel }}", "a", "does not begin with /"),
        ("/{{ long }}", "a", "has 20001 bytes"),
        ("/", "{{ line }}", "the header x-a cannot have the value"),
        ("/{{ none.gone }}", "a", "undefined value"),
    ];
    for (path, value, expected) in cases {
        let mut stage = Stage { vars: vars.clone(), ..Stage::default() };
        let mut it = stage.http("it", path);
        http(&mut it).headers = vec![(HeaderName::from_static("x-a"), stage.template(value))];
        let error = Driver::new(&stage.stage_context(vec![it]), 0).try_prepare(0, 0).unwrap_err();
        assert!(matches!(error, Unbuildable::Config(_)) && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_rendered_hidden_and_never_in_an_error() {
    let secret = |value: &str| SecretOrigin::Literal(Exposed::new(value));
    let secrets = vec![("password", secret("hunter2")), ("key", secret("k3y"))];
    let mut stage = Stage { secrets, ..Stage::default() };
    let good = stage.post("good", json!({ "p": "{{ secret.password }}" }));
    let bad = stage.post("bad", json!("{{ secret.password|int }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![good, bad]), 0);
    assert_eq!(driver.body(0, 0), json!({ "p": "hunter2" }));
    assert_eq!(driver.hidden(0), ["hunter2", "k3y"]);
    let error = driver.try_prepare(1, 0).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    assert_eq!(scrub("a hunter2 b".into(), &[Exposed::new("hunter2"), Exposed::new("")]), "a *** b");
}

#[test]
fn a_secret_that_cannot_be_read_fails_the_steps_that_use_it() {
    let secrets = vec![("gone", SecretOrigin::File("/nonexistent/secret".into()))];
    let mut stage = Stage { secrets, ..Stage::default() };
    let uses = stage.post("uses", json!("{{ secret.gone }}"));
    let does_not = stage.post("does_not", json!("{{ user }}"));
    let mut driver = Driver::new(&stage.stage_context(vec![uses, does_not]), 0);
    let error = driver.try_prepare(0, 0).unwrap_err();
    let told = "the secret `gone` of the scenario: cannot read the secret file /nonexistent/secret";
    assert!(matches!(error, Unbuildable::Secret(_)) && error.to_string().starts_with(told), "{error}");
    assert_eq!(driver.body(1, 0), json!(0));
    assert!(driver.hidden(1).is_empty());
}

/// The bodies of a step with random draws, in three iterations of a user, with the step played twice in each.
fn drawn(target: &str, change: impl FnOnce(&mut StageContext), index: u32, answered: bool) -> Vec<Value> {
    let mut stage = Stage::default();
    let draws = stage.post("draws", json!(["{{ uuid() }}", "{{ uuid() }}"]));
    let mut stage_context = Arc::into_inner(stage.cast_of(vec![draws], target)).unwrap();
    change(&mut stage_context);
    let mut driver = Driver::new(&Arc::new(stage_context), index);
    let mut bodies = Vec::new();
    for iteration in [0, 0, 1, 1, 2, 2] {
        bodies.push(driver.body(0, iteration));
        if answered {
            driver.take(0, &Answer::text("x")).unwrap();
        }
    }
    bodies
}

#[test]
fn draws_differ_by_all_but_the_target_and_the_answers() {
    let base = drawn("app", |_| {}, 0, true);
    let uuids = base.iter().flat_map(|body| body.as_array().unwrap()).map(|uuid| uuid.as_str().unwrap());
    let uuids: BTreeSet<&str> = uuids.collect();
    assert_eq!(uuids.len(), 12, "each rendering, repetition and iteration draws its own");
    assert_eq!(base, drawn("app", |_| {}, 0, true), "replayable");
    assert_eq!(base, drawn("other", |_| {}, 0, true), "targets compare");
    assert_eq!(base, drawn("app", |_| {}, 0, false), "whatever became of earlier requests");
    for other in [
        drawn("app", |_| {}, 1, true),
        drawn("app", |stage_context| stage_context.seeds.draws = 8, 0, true),
        drawn("app", |stage_context| stage_context.stage_number = 4, 0, true),
    ] {
        assert!(base.iter().zip(&other).all(|(a, b)| a != b));
    }
}

#[test]
fn counters_are_the_users_and_run_on() {
    let mut stage = Stage::default();
    let it = stage.post("it", json!("{{ counter('c') }}"));
    let stage_context = stage.stage_context(vec![it]);
    let mut driver = Driver::new(&stage_context, 0);
    assert_eq!([driver.body(0, 0), driver.body(0, 1)], [1, 2]);
    driver.user.reset();
    assert_eq!(driver.body(0, 2), 3);
    assert_eq!(Driver::new(&stage_context, 1).body(0, 0), 1);
}

proptest! {
    #[test]
    fn any_text_reaches_a_body_as_it_is_and_a_path_as_a_url(text in ".*") {
        let mut stage = Stage { vars: json!({ "x": text }), ..Stage::default() };
        let mut it = stage.post("it", json!({ "x": "{{ x }}" }));
        http(&mut it).path = stage.template("/{{ x }}");
        let call = Driver::new(&stage.stage_context(vec![it]), 0).call(0, 0);
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        prop_assert_eq!(&body["x"], &json!(text));
        let url = format!("http://app.test{}", call.path);
        prop_assert!(::http::Uri::try_from(&url).is_ok(), "{url}");
    }
}
