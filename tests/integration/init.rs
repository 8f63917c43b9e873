//! `tokenbeat init` and `tokenbeat watch`: for every dialect that the simulator speaks, the config passes `check
//! --strict` and runs. Also tests their messages if no endpoint is found.

use crate::harness::{Simulator, quick, until};
use crate::http::get;
use crate::process::{Ended, Process};
use crate::reserved_port::ReservedPort;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokenbeat::sim;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A temporary folder for the files of `tokenbeat`.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn tokenbeat(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        // The process runs in its own folder. Files in this folder are passed by their paths.
        Process::start(tempfile::tempdir().unwrap(), arguments, environment).ended().await
    }

    fn file(&self) -> String {
        self.0.path().join("made.yaml").display().to_string()
    }

    /// Runs `init` with three measuring requests. Its output is a file in this folder.
    async fn init(&self, url: &str, more: &[&str], environment: &[(&str, &str)]) -> Ended {
        let file = self.file();
        let mut arguments = vec!["init", url, "--requests", "3", "--output", &file];
        arguments.extend(more);
        self.tokenbeat(&arguments, environment).await
    }

    fn made(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }

    /// Checks that the config passes `check` unchanged and that its probe is answered.
    async fn works(&self, environment: &[(&str, &str)]) {
        let file = self.file();
        let checked = self.tokenbeat(&["check", "--strict", "--config.file", &file], environment).await;
        assert_eq!(checked.code, 0, "{checked:?}\n{}", self.made());
        let probed = self.tokenbeat(&["check", "--probe", "--config.file", &file], environment).await;
        assert_eq!(probed.code, 0, "{probed:?}\n{}", self.made());
        // On a busy machine, a request may be skipped because it is too late.
        let run = until("a run that sent its request", async || {
            let run = self.tokenbeat(&["run", "--details", "--config.file", &file], environment).await;
            (!run.out.contains("overrun")).then_some(run)
        })
        .await;
        assert!(run.code == 0 || run.code == 2, "an objective may be missed: {run:?}");
        assert!(run.out.contains("100.00%"), "it was available: {run:?}");
    }
}

fn failed(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{ended:?}");
    let last = ended.err.lines().last().unwrap();
    for part in said {
        assert!(last.contains(part), "{part:?} in {}", ended.err);
    }
    assert!(last.starts_with("error: "), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_of_the_simulator_becomes_a_config_that_works() {
    let simulator = Simulator::start();
    for (operation, api) in [
        ("", "openai-chat"),
        ("/v1", "openai-chat"),
        ("/v1/chat/completions", "openai-chat"),
        ("/v1/completions", "openai-completions"),
        ("/v1/responses", "openai-responses"),
        ("/v1/embeddings", "openai-embeddings"),
        ("/v1/messages", "anthropic"),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", "gemini"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:generateContent", "gemini"),
        ("/api/chat", "ollama-chat"),
        ("/api/generate", "ollama-generate"),
        ("/generate_stream", "tgi"),
        ("/v2/rerank", "rerank-cohere"),
        ("/v1/rerank", "rerank-jina"),
    ] {
        let place = Workplace::new();
        let ended = place.init(&format!("http://{}{operation}", simulator.address), &[], &[]).await;
        assert_eq!(ended.code, 0, "{operation}: {ended:?}");
        let made = place.made();
        assert!(made.contains(&format!("\n    api: {api}\n")), "{operation}: {made}");
        assert!(
            made.contains("\n  simulator:\n") && made.contains("\n    model: m\n"),
            "{operation}: {made}"
        );
        assert!(made.contains("/metrics (vllm:*)"), "{operation}: {made}");
        place.works(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_simulator_does_is_found_out_and_bounded() {
    let simulator = Simulator::start();
    let place = Workplace::new();
    let ended = place.init(&simulator.address.to_string(), &[], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let made = place.made();
    for line in [
        "#   model       m, the only one",
        "#   server      tokenbeat's simulator, by its list of models",
        "#   streaming   yes",
        "#   usage       reported in streams and in whole answers",
        "#   cached      input tokens from a cache are reported",
        "#   max_tokens  honoured: 32 came of 32",
        "#   seed        honoured",
        "#   measured    3 of 3 requests were answered; time to first token",
        "#   price       targets.simulator.price",
        "      - { name: availability, metric: availability, objective: 99% }   # seen: 3 of 3",
    ] {
        assert!(made.contains(line), "{line:?} in {made}");
        // Each fact is also printed to stderr.
        if let Some(fact) = line.strip_prefix("#   ").filter(|_| !line.contains("price")) {
            assert!(ended.err.contains(fact), "{fact:?} in {}", ended.err);
        }
    }
    let sent = simulator.finished().await.len();
    assert!(sent <= 43, "{sent} requests were sent");
    assert!(ended.err.contains("At most 43 small requests"), "{}", ended.err);
    assert!(ended.err.contains(&format!("{sent} requests, ")), "what was spent is what came: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_used_and_never_written() {
    let options = sim::Options { api_keys: vec!["sesame-opens".to_owned()], ..quick() };
    let simulator = Simulator::with(options);
    let url = format!("http://{}", simulator.address);
    let place = Workplace::new();
    let without = place.init(&url, &[], &[]).await;
    failed(&without, 1, &["needs a key", "--key-env NAME", "--key-file FILE"]);
    let wrong = place.init(&url, &["--key-env", "K"], &[("K", "sesame-shuts")]).await;
    failed(&wrong, 1, &["the key is refused"]);
    assert!(!wrong.err.contains("sesame"), "{}", wrong.err);
    let unset = place.init(&url, &["--key-env", "K"], &[]).await;
    failed(&unset, 64, &["the environment variable K is not set"]);
    // As of a variable that is not set: `--model "$MODEL"`.
    let nameless = place.init(&url, &["--model", ""], &[]).await;
    assert!(nameless.code == 64 && nameless.err.contains("'--model <NAME>'"), "{nameless:?}");
    assert!(place.is_empty());
    for operation in ["", "/v1/messages", "/v1beta/models/m:generateContent"] {
        let key = [("K", "sesame-opens\n")];
        let place = Workplace::new();
        let ended = place.init(&format!("{url}{operation}"), &["--key-env", "K"], &key).await;
        assert_eq!(ended.code, 0, "{operation}: {ended:?}");
        assert!(place.made().contains("{ env: K }"), "{}", place.made());
        assert!(!place.made().contains("sesame") && !ended.err.contains("sesame"), "{ended:?}");
        place.works(&key).await;
    }
    let file = place.0.path().join("key");
    std::fs::write(&file, "sesame-opens\n").unwrap();
    let ended = place.init(&url, &["--key-file", file.to_str().unwrap()], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    place.works(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_address_is_used_and_taken_out() {
    let options = sim::Options { api_keys: vec!["sesame-opens".to_owned()], ..quick() };
    let simulator = Simulator::with(options);
    let place = Workplace::new();
    let url = format!("http://{}/v1?key=sesame-opens", simulator.address);
    let ended = place.init(&url, &[], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("set it before you use the config"), "{}", ended.err);
    for text in [&place.made(), &ended.err, &ended.out] {
        assert!(!text.contains("sesame"), "{text}");
    }
    place.works(&[("LLM_API_KEY", "sesame-opens")]).await;
    let both = place.init(&url, &["--force", "--key-env", "K"], &[("K", "x")]).await;
    failed(&both, 64, &["there is a key in the address, and another one is named"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_replaced_and_stdout_gets_the_config_alone() {
    let simulator = Simulator::start();
    let url = format!("http://{}", simulator.address);
    let place = Workplace::new();
    std::fs::write(place.file(), "mine").unwrap();
    failed(&place.init(&url, &[], &[]).await, 64, &["exists", "--force"]);
    assert_eq!(place.made(), "mine");
    assert_eq!(simulator.truth().len(), 0, "nothing was sent for nothing");
    let forced = place.init(&url, &["--force"], &[]).await;
    assert_eq!((forced.code, forced.out.as_str()), (0, ""), "{forced:?}");
    assert!(place.made().contains("targets:"));
    let piped = place.tokenbeat(&["init", &url, "--requests", "3", "--output", "-"], &[]).await;
    assert_eq!(piped.code, 0, "{piped:?}");
    assert!(piped.out.starts_with("# Written by tokenbeat on "), "{}", piped.out);
    std::fs::write(place.file(), &piped.out).unwrap();
    place.works(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_stream_or_has_a_strange_name_is_taken_as_it_is() {
    let name = "it's \"a: b\" #7\t{x}";
    let simulator = Simulator::with(sim::Options { models: vec![name.to_owned()], ..quick() });
    let place = Workplace::new();
    let ended = place.init(&format!("http://{}", simulator.address), &[], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    place.works(&[]).await;
    assert!(simulator.finished().await.iter().all(|truth| truth.model.as_deref() == Some(name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_that_a_model_refuses_are_left_out() {
    let server = MockServer::start().await;
    let answer = serde_json::json!({
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 1 },
    });
    let refuse = |words: &str| {
        ResponseTemplate::new(400).set_body_json(serde_json::json!({ "error": { "message": words } }))
    };
    let has = |key: &'static str| {
        move |request: &wiremock::Request| {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
            body.get(key).is_some_and(|value| *value != serde_json::Value::Bool(false))
        }
    };
    let on = |matches: &'static str, words: &str| {
        Mock::given(method("POST"))
            .and(path("/v1/chat/completions"))
            .and(has(matches))
            .respond_with(refuse(words))
    };
    on("max_tokens", "Use 'max_completion_tokens' instead.").with_priority(1).mount(&server).await;
    on("stream_options", "stream_options: extra fields not permitted").with_priority(2).mount(&server).await;
    on("stream", "streaming is not supported").with_priority(3).mount(&server).await;
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .with_priority(4)
        .mount(&server)
        .await;
    let place = Workplace::new();
    let ended = place.init(&server.uri(), &[], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let made = place.made();
    assert!(
        made.contains("params: { max_completion_tokens: 32 }") && made.contains("stream: false"),
        "{made}"
    );
    assert!(made.contains("{ name: duration, metric: request_duration"), "{made}");
    place.works(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_endpoint_is_told_as_what_it_is() {
    let nothing = MockServer::start().await;
    let page = MockServer::start().await;
    let html = "<!DOCTYPE html><html><head><title>Open WebUI</title></head></html>";
    let everything = ResponseTemplate::new(200).set_body_raw(html, "text/html");
    Mock::given(wiremock::matchers::any()).respond_with(everything).mount(&page).await;
    let moved = MockServer::start().await;
    let to = ResponseTemplate::new(308).insert_header("location", "https://llm.example.net/");
    Mock::given(wiremock::matchers::any()).respond_with(to).mount(&moved).await;
    let closed = ReservedPort::new();
    for (url, said) in [
        (nothing.uri(), &["speaks no dialect that is known here", "--api NAME"][..]),
        (page.uri(), &["serves a web page (\"Open WebUI\")"]),
        (moved.uri(), &["redirects to https://llm.example.net/"]),
        (format!("http://{}", closed.address), &["cannot be reached", "is it running"]),
    ] {
        let place = Workplace::new();
        let ended = place.init(&url, &[], &[]).await;
        failed(&ended, 1, said);
        assert!(place.is_empty());
    }
    let place = Workplace::new();
    for (url, said) in
        [("ftp://h", "must begin with http:// or https://"), ("http://me@h", "user without a password")]
    {
        failed(&place.init(url, &[], &[]).await, 64, &[said]);
    }
    let ended = place.init("http://h", &["--api", "http"], &[]).await;
    assert!(ended.code == 64 && ended.err.contains("there are openai-chat, "), "{ended:?}");
    let ended = place.init("http://127.0.0.1:1", &["--ca-file", "/nonexistent/ca.pem"], &[]).await;
    failed(&ended, 64, &["cannot read /nonexistent/ca.pem"]);
}

/// Starts a server that accepts connections and never answers.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.flush().await;
            kept.push(stream);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for_as_long_as_it_was_said() {
    let place = Workplace::new();
    let ended = place.init(&format!("http://{}", silent().await), &["--timeout", "100ms"], &[]).await;
    failed(&ended, 1, &["cannot be reached", "no answer within 100 ms", "--timeout 60s"]);
    // The server lists its models immediately, but a model call takes longer than the timeout.
    let simulator = Simulator::start();
    simulator.inject("stall_headers;for=1h");
    let ended = place.init(&format!("http://{}", simulator.address), &["--timeout", "3s"], &[]).await;
    failed(&ended, 1, &["did not answer"]);
    assert!(place.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_search_leaves_nothing() {
    let place = Workplace::new();
    let file = place.file();
    let url = format!("http://{}", silent().await);
    let arguments = ["init", &url, "--output", &file];
    let process = Process::start(tempfile::tempdir().unwrap(), &arguments, &[]);
    process.says("Asking").await;
    process.signal("INT").await;
    failed(&process.ended().await, 1, &["stopped: nothing was written"]);
    assert!(place.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_is_given_as_a_file() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let simulator = Simulator::with(sim::Options { tls: Some(std::sync::Arc::new(tls)), ..quick() });
    let url = format!("https://{}", simulator.address);
    let place = Workplace::new();
    failed(&place.init(&url, &[], &[]).await, 1, &["cannot be reached", "--ca-file FILE"]);
    assert!(place.is_empty());
    let file = place.0.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let ended = place.init(&url, &["--ca-file", file.to_str().unwrap()], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    place.works(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_serves_at_once_and_shows_no_key() {
    let options = sim::Options { api_keys: vec!["sesame-opens".to_owned()], ..quick() };
    let simulator = Simulator::with(options);
    let url = format!("http://{}/v1?key=sesame-opens", simulator.address);
    let arguments =
        ["watch", &url, "--requests", "3", "--every", "1h", "--web.listen-address", "127.0.0.1:0"];
    let process = Process::start(tempfile::tempdir().unwrap(), &arguments, &[]);
    let page = process.says("status page   http://").await;
    let address: SocketAddr = page.trim_end_matches('/').parse().unwrap();
    let scraped = until("the first probe", async || {
        let text = get(address, "/metrics").await.body;
        let sent = |line: &str| line.starts_with("tokenbeat_requests_total{") && line.ends_with(" 1");
        text.lines().any(|line| sent(line) && line.contains("outcome=\"ok\"")).then_some(text)
    })
    .await;
    assert!(scraped.contains("target=\"simulator\""));
    let config = get(address, "/config").await.ok();
    assert!(config.contains("probe") && !config.contains("sesame"), "{config}");
    assert!(!process.folder().read_dir().unwrap().any(|_| true), "nothing was written");
    process.signal("INT").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.out.contains("sesame") && !ended.err.contains("sesame"), "{ended:?}");
}
