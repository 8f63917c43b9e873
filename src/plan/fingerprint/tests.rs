use crate::plan::{PairPlan, from_yaml};
use std::sync::Arc;

const BASE: &str = "
targets:
  t:
    api: openai-chat
    base_url: http://127.0.0.1:8000/v1
    model: m
    auth: { bearer: { value: hunter2 } }
    headers: { x-tenant: acme }
    proxy: { url: 'http://127.0.0.1:3128', auth: { username: me, password: { value: hunter2 } } }
    timeouts: { connect: 5s, first_token: 30s, stall: 15s, total: 120s }
    price: { input: 1, cached_input: 0.5, output: 2 }
    params: { top_p: 1 }
profiles:
  p:
    targets: [t]
    schedule: { every: 1m, jitter: 1s, overlap: skip, windows: [{ from: '08:00', to: '18:00' }] }
    load: [{ name: steady, for: 10s, rate: 1/s, arrivals: poisson }]
    workload: { prompts: [x], system: s, output_tokens: 10, cache: bust, stream: true, params: { a: 1 } }
    seed: 7
    expect: { finish_reason: [stop], text: { min_chars: 1, max_chars: 100 } }
    slo: [{ name: ttft, metric: request_duration, below: 800ms, objective: 99% }]
    budget: { period: day, requests: 10 }
";

fn pair(text: &str) -> Arc<PairPlan> {
    Arc::clone(&from_yaml(text).unwrap_or_else(|e| panic!("{e}\n{text}")).pairs[0])
}

/// The base config with one piece replaced, which must be present.
fn with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1)
}

#[test]
fn whatever_a_run_depends_on_makes_another_pair() {
    let base = pair(BASE);
    let of_target = [
        ("base_url: http://127.0.0.1:8000/v1", "base_url: http://127.0.0.1:8000/v2"),
        ("model: m", "model: n"),
        ("bearer: { value: hunter2 }", "bearer: { value: hunter3 }"),
        ("bearer: { value: hunter2 }", "bearer: { env: HOME }"),
        ("bearer: { value: hunter2 }", "bearer: { file: /etc/hostname }"),
        ("{ bearer: { value: hunter2 } }", "{ header: { name: x-key, value: { value: hunter2 } } }"),
        ("{ bearer: { value: hunter2 } }", "{ basic: { username: u, password: { value: hunter2 } } }"),
        ("{ bearer: { value: hunter2 } }", "none"),
        ("x-tenant: acme", "x-tenant: acme2"),
        ("x-tenant: acme", "x-other: acme"),
        ("3128", "3129"),
        ("username: me, password: { value: hunter2 }", "username: me, password: { value: other }"),
        ("connect: 5s", "connect: 4s"),
        ("first_token: 30s", "first_token: 31s"),
        ("stall: 15s", "stall: 14s"),
        ("total: 120s", "total: 121s"),
        ("    params: { top_p: 1 }", "    stall_threshold: 2s\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    http: '2'\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    connection: cold\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    propagate: none\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    reasoning: low\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    mark: { user: me }\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    mark: { headers: { x-mark: a } }\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    mark: { headers: { x-mark: b } }\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    mark: { tags: [a] }\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    tokenizer: o200k_base\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    tls: { server_name: llm }\n    params: { top_p: 1 }"),
        ("    params: { top_p: 1 }", "    tls: { insecure_skip_verify: true }\n    params: { top_p: 1 }"),
        ("top_p: 1", "top_p: 0.9"),
        ("input: 1,", "input: 1.5,"),
        ("cached_input: 0.5", "cached_input: 0.6"),
        ("output: 2 }", "output: 3 }"),
    ];
    let of_profile = [
        ("every: 1m, jitter: 1s", "every: 2m, jitter: 1s"),
        ("every: 1m, jitter: 1s", "every: 1m, at_start: true, jitter: 1s"),
        ("every: 1m, jitter: 1s", "cron: '* * * * *', jitter: 1s"),
        ("every: 1m, jitter: 1s", "cron: '*/2 * * * *', jitter: 1s"),
        ("every: 1m, jitter: 1s", "cron: '* * * * *', timezone: Europe/Berlin, jitter: 1s"),
        ("jitter: 1s", "jitter: 2s"),
        ("overlap: skip", "overlap: queue"),
        ("from: '08:00'", "from: '09:00'"),
        ("from: '08:00'", "days: [mon], from: '08:00'"),
        ("name: steady", "name: calm"),
        ("rate: 1/s", "rate: 2/s"),
        ("for: 10s", "warm_up: 10s"),
        ("prompts: [x]", "prompts: [x, y]"),
        ("system: s", "system: t"),
        ("output_tokens: 10", "output_tokens: 11"),
        ("cache: bust", "cache: reuse"),
        ("stream: true", "stream: false"),
        ("params: { a: 1 }", "params: { a: 2 }"),
        ("seed: 7", "reasoning: low\n    seed: 7"),
        ("seed: 7", "seed: 8"),
        ("finish_reason: [stop]", "finish_reason: [stop, length]"),
        ("min_chars: 1,", "min_chars: 2,"),
        ("max_chars: 100", "max_chars: 101"),
        ("finish_reason: [stop],", "finish_reason: [stop], status: 200,"),
        ("finish_reason: [stop],", "finish_reason: [stop], usage: true,"),
        ("finish_reason: [stop],", "finish_reason: [stop], output_tokens: { min: 5 },"),
        ("finish_reason: [stop],", "finish_reason: [stop], time_to_first_token: 5s,"),
        ("finish_reason: [stop],", "finish_reason: [stop], duration: 5s,"),
        ("finish_reason: [stop],", "finish_reason: [stop], headers: [server],"),
        ("finish_reason: [stop],", "finish_reason: [stop], json: [{ path: $.a, equals: null }],"),
        ("finish_reason: [stop],", "finish_reason: [stop], json: [{ path: $.a, equals: 1 }],"),
        ("finish_reason: [stop],", "finish_reason: [stop], schema: { inline: { type: object } },"),
        ("max_chars: 100", "max_chars: 100, contains: [a]"),
        ("max_chars: 100", "max_chars: 100, matches: [a]"),
        ("max_chars: 100", "max_chars: 100, not_matches: [{ name: no, value: a }]"),
        ("name: ttft", "name: first"),
        ("metric: request_duration", "metric: response_time"),
        ("below: 800ms", "below: 900ms"),
        ("objective: 99%", "objective: 98%"),
    ];
    let mut seen = std::collections::HashSet::from([base.fingerprint()]);
    for (from, to) in of_target.into_iter().chain(of_profile) {
        let changed = pair(&with(from, to));
        assert!(seen.insert(changed.fingerprint()), "{to} makes no other pair");
        let target_too = of_target.contains(&(from, to));
        assert_eq!(changed.target.fingerprint() != base.target.fingerprint(), target_too, "{to}");
    }
}

#[test]
fn what_a_run_does_not_depend_on_makes_no_other_pair() {
    let base = pair(BASE);
    let same = [
        // The ledger picks it up without interrupting a run.
        ("budget: { period: day, requests: 10 }", "budget: { period: week, tokens: 20 }"),
        ("  p:\n", "  a: { targets: [t], schedule: { manual: {} }, workload: { prompts: [y] } }\n  p:\n"),
        // Different spellings of the same value.
        ("every: 1m", "every: 60s"),
        ("rate: 1/s", "rate: { from: 60/m, to: 1 }"),
        ("timeouts: { connect: 5s, first_token: 30s, stall: 15s, total: 120s }", "timeouts: {}"),
        ("/v1", "/v1/"),
    ];
    for (from, to) in same {
        let plan = from_yaml(&with(from, to)).unwrap_or_else(|e| panic!("{e}"));
        let again = plan.pairs.iter().find(|pair| &*pair.pair.profile == "p").unwrap();
        assert_eq!(again.fingerprint(), base.fingerprint(), "{to}");
    }
}

const SCENARIO: &str = "
targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:8000/v1', model: m } }
profiles:
  p:
    targets: [t]
    schedule: { manual: {} }
    load: [{ for: 10s, users: 2, think: 1s..2s, spawn: 1s }]
    scenario:
      vars: { v: 1, w: [1, 2] }
      secrets: { s: { value: hunter2 } }
      cookies: true
      setup:
        - { name: login, post: '/login?{{ v }}', headers: { x-key: '{{ secret.s }}' }, json: { a: '{{ v }}', b: [1] }, take: { k: { json: $.k, default: 1 }, c: { cookie: sid } } }
      steps:
        - { name: form, put: /f, form: { a: '{{ k }}' }, think: 1s, repeat: 2, turns: true, timeout: 5s }
        - { name: raw, request: { method: PATCH, path: /r }, body: '{{ pick(w) }}{{ c }}', read: { as: sse, text: $.text, output_tokens: $.n, done: '[DONE]' }, reserve: { output_tokens: 9 }, expect: { json: [{ path: $.a, min_items: 1 }] } }
        - { name: talk, ask: { system: s, prompt: '{{ v }}', output_tokens: 5, history: 1, cache: reuse, params: { a: 1 } } }
";

#[test]
fn whatever_a_scenario_does_makes_another_pair() {
    let changes = [
        ("users: 2", "users: 3"),
        ("think: 1s..2s", "think: 1s..3s"),
        ("spawn: 1s", "spawn: 2s"),
        ("v: 1,", "v: 2,"),
        ("w: [1, 2]", "w: [1, 3]"),
        ("hunter2", "hunter3"),
        ("{ value: hunter2 }", "{ env: HOME }"),
        ("name: login", "name: enter"),
        ("post: '/login?{{ v }}'", "post: '/enter?{{ v }}'"),
        ("post: '/login?{{ v }}'", "put: '/login?{{ v }}'"),
        ("x-key: ", "x-other: "),
        ("x-key: '{{", "x-key: 'Bearer {{"),
        ("json: { a: ", "json: { c: "),
        ("b: [1]", "b: ['1']"),
        ("json: $.k", "json: $.l"),
        ("default: 1", "default: null"),
        (", default: 1", ""),
        ("json: $.k", "header: k"),
        ("cookie: sid", "cookie: other"),
        ("cookie: sid", "regex: sid"),
        ("form: { a: ", "form: { b: "),
        ("think: 1s, repeat", "think: 2s, repeat"),
        ("repeat: 2", "repeat: 3"),
        ("turns: true", "turns: false"),
        ("timeout: 5s", "timeout: 6s"),
        ("method: PATCH", "method: POST"),
        ("body: '{{", "body: ' {{"),
        ("as: sse", "as: ndjson"),
        ("text: $.text", "text: $.other"),
        ("'[DONE]'", "{ event: end }"),
        ("output_tokens: 9", "output_tokens: 8"),
        ("min_items: 1", "min_items: 2"),
        ("min_items: 1", "min_items: 1, equals: null"),
        ("system: s", "system: t"),
        ("prompt: '{{ v }}'", "prompt: 'x{{ v }}'"),
        ("output_tokens: 5", "output_tokens: 6"),
        ("history: 1", "history: 2"),
        ("cache: reuse", "cache: bust"),
        ("params: { a: 1 }", "params: { a: 2 }"),
    ];
    let mut seen = std::collections::HashSet::from([pair(SCENARIO).fingerprint()]);
    for (from, to) in changes {
        assert!(SCENARIO.contains(from), "{from}");
        assert!(seen.insert(pair(&SCENARIO.replacen(from, to, 1)).fingerprint()), "{to} makes no other pair");
    }
}

#[test]
fn what_is_serialised_holds_no_literal_secret() {
    for text in [BASE, SCENARIO] {
        let serialised = serde_json::to_string(&*pair(text)).unwrap();
        assert!(!serialised.contains("hunter2"), "{serialised}");
    }
}

#[test]
fn a_fingerprint_shows_nothing() {
    assert_eq!(format!("{:?}", pair(BASE).fingerprint()), "Fingerprint(..)");
}

#[test]
fn the_files_of_a_client_are_those_that_it_reads_once() {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["llm".to_owned()]).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("ca.pem", &certified.cert.pem());
    write("cert.pem", &certified.cert.pem());
    write("key.pem", &certified.signing_key.serialize_pem());
    write("tokenizer.json", "{}");
    write("bearer", "hunter2");
    write(
        "c.yaml",
        "targets: { t: { api: openai-chat, base_url: 'https://127.0.0.1', auth: { bearer: { file: bearer } }, \
         tls: { ca_file: ca.pem, client_cert_file: cert.pem, client_key_file: key.pem }, \
         tokenizer: { file: tokenizer.json } } }",
    );
    let sources = [crate::config::ConfigSource::Path(dir.path().join("c.yaml"))];
    let plan = crate::plan::load(&sources, []).unwrap_or_else(|e| panic!("{e}")).plan;
    let names: Vec<_> =
        plan.targets[0].files().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["ca.pem", "cert.pem", "key.pem", "tokenizer.json"]);
    let before = plan.targets[0].fingerprint();
    let renewed = rcgen::generate_simple_self_signed(["llm".to_owned()]).unwrap();
    write("cert.pem", &renewed.cert.pem());
    write("key.pem", &renewed.signing_key.serialize_pem());
    let after =
        crate::plan::load(&sources, []).unwrap_or_else(|e| panic!("{e}")).plan.targets[0].fingerprint();
    assert_eq!(before, after);
}
