use super::*;
use crate::identify::{BackendAccount, Measurement, OpenPoint, OutputLimit, TargetAuth};
use crate::plan::{self, LoadedPlan, Shape};
use crate::secret::Exposed;
use proptest::prelude::*;
use std::path::PathBuf;
use url::Url;

fn findings(api: Api) -> EndpointFindings {
    let times = vec![Duration::from_millis(40); 20];
    EndpointFindings {
        asked: "http://127.0.0.1:8000".to_owned(),
        name: "vllm".to_owned(),
        api,
        base_url: Url::parse("http://127.0.0.1:8000/v1").unwrap(),
        model: "m".to_owned(),
        listed: vec!["m".to_owned()],
        server: None,
        account: BackendAccount::default(),
        auth: None,
        ca_file: None,
        streams: true,
        limit: Some(OutputLimit { tokens: 32, as_max_completion_tokens: false }),
        without_stream_options: false,
        tokenizer: None,
        facts: vec![("model", "m, the only one".to_owned())],
        open: vec![OpenPoint { what: "price", text: "targets.vllm.price".to_owned() }],
        measured: Measurement {
            sent: 20,
            ok: 20,
            first_token: times.clone(),
            per_token: times.clone(),
            duration: times,
            ..Measurement::default()
        },
    }
}

fn settings() -> ProbeSettings {
    ProbeSettings {
        every: Duration::from_mins(1),
        at_start: false,
        tokens_per_day: Some(700_000),
        secrets: false,
        date: "2026-11-20".to_owned(),
    }
}

fn load(text: &str) -> LoadedPlan {
    let environment = [("LLM_API_KEY".to_owned(), "x".to_owned())];
    let source = crate::config::ConfigSource::Text { name: "t.yaml".to_owned(), text: text.to_owned() };
    plan::load(&[source], environment).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

#[test]
fn the_config_says_what_was_found() {
    let text = render(&findings(Api::OpenAiChat), &settings());
    let loaded = load(&text);
    assert_eq!(loaded.warnings, [], "{text}");
    let [pair] = &loaded.plan.pairs[..] else { panic!("{text}") };
    assert_eq!((&*pair.target.name, &*pair.target.model, pair.target.api), ("vllm", "m", Api::OpenAiChat));
    assert!(matches!(pair.profile.stages[0].shape, Shape::Users { .. }) && pair.profile.scenario.streams());
    let names: Vec<&str> = pair.profile.slos.iter().map(|slo| &*slo.name).collect();
    assert_eq!(names, ["ttft", "tpot", "availability"]);
    assert!(text.contains("below: 80ms, objective: 99% }   # 95% of those seen: 40.0 ms"), "{text}");
    assert!(text.contains("requests: 1800 ") && text.contains("# the probe sends 1440"), "{text}");
    assert!(text.contains("tokens: 700000"), "{text}");
    assert!(text.contains("#   price       targets.vllm.price"), "{text}");
}

#[test]
fn every_dialect_and_what_it_refuses_can_be_written() {
    for api in Api::ALL.into_iter().filter(|api| *api != Api::Http && !api.name().starts_with("bedrock")) {
        let mut findings = findings(api);
        if !api.generates() {
            findings.limit = None;
        }
        findings.streams = false;
        findings.measured.first_token.clear();
        findings.tokenizer = Some("o200k_base");
        if let Some(limit) = &mut findings.limit {
            limit.as_max_completion_tokens = api == Api::OpenAiChat;
        }
        findings.without_stream_options = api == Api::OpenAiChat;
        let loaded = load(&render(&findings, &settings()));
        assert!(!api.generates() || !loaded.plan.pairs[0].profile.scenario.streams(), "{api:?}");
    }
}

#[test]
fn a_key_is_referred_to_and_not_written() {
    let with = |scheme, key| {
        let auth = Some(TargetAuth { scheme, key });
        render(&EndpointFindings { auth, ..findings(Api::OpenAiChat) }, &settings())
    };
    let key = || KeySource::Address(Exposed::new("sesame"));
    let basic = KeySource::Basic { username: "me: #1".to_owned(), password: Exposed::new("sesame") };
    for (text, line) in [
        (with(AuthScheme::Bearer, KeySource::Env("MY_KEY".to_owned())), "auth: { bearer: { env: MY_KEY } }"),
        (
            with(AuthScheme::Header("api-key"), KeySource::File(PathBuf::from("/run/key"))),
            "auth: { header: { name: api-key, value: { file: /run/key } } }",
        ),
        (with(AuthScheme::Bearer, key()), "auth: { bearer: { env: LLM_API_KEY } }"),
        (
            with(AuthScheme::Basic, basic),
            "auth: { basic: { username: \"me: #1\", password: { env: LLM_API_KEY } } }",
        ),
    ] {
        assert!(text.contains(line) && !text.contains("sesame"), "{text}");
    }
    // For a config in memory, nobody could set an environment variable.
    let settings = ProbeSettings { secrets: true, ..settings() };
    let auth = Some(TargetAuth { scheme: AuthScheme::Bearer, key: key() });
    let text = render(&EndpointFindings { auth, ..findings(Api::OpenAiChat) }, &settings);
    assert!(text.contains("{ value: \"sesame\" }"), "{text}");
    assert!(!load(&text).config.to_yaml().contains("sesame"));
}

#[test]
fn a_slow_endpoint_gets_the_time_that_it_needs() {
    let mut findings = findings(Api::OpenAiChat);
    assert!(!render(&findings, &settings()).contains("timeouts"));
    findings.measured.first_token = vec![Duration::from_secs(20)];
    findings.measured.duration = vec![Duration::from_secs(90)];
    let loaded = load(&render(&findings, &settings()));
    let timeouts = loaded.plan.targets[0].timeouts;
    let wanted = (Duration::from_secs(40), Duration::from_mins(3));
    assert_eq!((timeouts.first_token, timeouts.total, loaded.warnings), (wanted.0, wanted.1, vec![]));
}

#[test]
fn failures_are_told_beside_the_objectives() {
    let mut findings = findings(Api::OpenAiChat);
    findings.measured.ok = 17;
    findings.measured.failures.insert("rate_limited", (3, "slow\ndown: #1".to_owned()));
    let text = render(&findings, &settings());
    assert!(text.contains("    # 3 of 20 failed with rate_limited: slow down: #1\n"), "{text}");
    assert!(text.contains("objective: 99% }   # seen: 17 of 20"), "{text}");
    load(&text);
}

proptest! {
    #[test]
    fn whatever_a_model_is_called_it_is_asked_for(name in "\\PC{1,30}|[\\x00-\\x{2100}]{1,30}|[:#'\"{}\\[\\],&*!|>%@`\n -]{1,12}") {
        let mut findings = findings(Api::OpenAiChat);
        findings.listed = vec![name.clone(), format!("{name}2")];
        findings.facts.push(("model", name.clone()));
        findings.model = name.clone();
        let loaded = load(&render(&findings, &settings()));
        prop_assert_eq!(&*loaded.plan.targets[0].model, name.as_str());
    }
}
