//! No secret leaks. Every place of the config that takes a secret contains a canary, and every server that receives one
//! quotes it in all parts of an answer. No canary may appear in anything that tokenbeat writes, shows or exports.

use crate::harness::{ONCE, until};
use crate::http::{Reply, ask};
use crate::process::{Ended, Process};
use crate::scrape::Scrape;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokenbeat::config::{ConfigSource, schema};
use tokio_util::task::AbortOnDropHandle;

/// A part of all canaries, in any case. The other characters vary where they are encoded.
const MARK: &str = "sesame";

/// The password of the web port.
const WEB_PASSWORD: &str = "Web/+SeSame";

/// The origin of the secrets in a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Value,
    Env,
    File,
}

/// Writes numbered secrets into a config.
struct Planter {
    origin: Origin,
    planted: usize,
    /// Secrets that are only used to derive others, and never sent.
    unsent: Vec<usize>,
    /// What precedes the canary in secrets that consist of more.
    beginnings: BTreeMap<usize, String>,
}

impl Planter {
    fn canary(number: usize) -> String {
        format!("Canary{number:02}/+SeSame")
    }

    fn new(origin: Origin) -> Self {
        Self { origin, planted: 0, unsent: Vec::new(), beginnings: BTreeMap::new() }
    }

    /// A secret's text.
    fn text(&self, number: usize) -> String {
        let beginning = self.beginnings.get(&number).map_or("", String::as_str);
        format!("{beginning}{}", Self::canary(number))
    }

    /// A secret that begins with this, such as a URL that contains a key.
    fn secret_after(&mut self, beginning: String) -> String {
        self.beginnings.insert(self.planted + 1, beginning);
        self.secret()
    }

    fn secret(&mut self) -> String {
        self.planted += 1;
        let number = self.planted;
        match self.origin {
            Origin::Value => format!("{{ value: '{}' }}", self.text(number)),
            Origin::Env => format!("{{ env: SECRET_{number} }}"),
            Origin::File => format!("{{ file: secret_{number} }}"),
        }
    }

    /// A secret that is never sent itself, because requests are signed with it.
    fn unsent(&mut self) -> String {
        let text = self.secret();
        self.unsent.push(self.planted);
        text
    }

    /// A literal text in place of a secret, which only causes a warning.
    fn literal(&mut self) -> String {
        self.planted += 1;
        format!("'{}'", Self::canary(self.planted))
    }

    fn environment(&self) -> Vec<(String, String)> {
        (1..=self.planted).map(|number| (format!("SECRET_{number}"), self.text(number))).collect()
    }
}

fn own_account(planter: &mut Planter, echo: SocketAddr) -> String {
    format!(
        "backend: {{ metrics: 'http://{echo}/app/metrics', health: 'http://{echo}/app/health', \
         headers: {{ Authorization: {}, X-Auth-Token: {} }} }}",
        planter.secret(),
        planter.literal()
    )
}

/// A config with a canary in each place. `echo` quotes what it receives; it acts as the targets' server, their proxy
/// and the collector.
fn config(planter: &mut Planter, echo: SocketAddr) -> String {
    let target = |name: &str, rest: String| {
        format!("  {name}: {{ api: openai-chat, base_url: 'http://{echo}/{name}', model: m, {rest} }}\n")
    };
    let otlp = format!("{{ Authorization: {}, X-Api-Key: {} }}", planter.secret(), planter.literal());
    let url = planter.secret_after(format!("http://{echo}/hook?key="));
    let webhook = format!(
        "{{ url: {url}, headers: {{ Authorization: {}, X-Auth-Token: {} }} }}",
        planter.secret(),
        planter.literal()
    );
    let targets = [
        target("bearer", format!("auth: {{ bearer: {} }}, connection: cold", planter.secret())),
        target("basic", format!("auth: {{ basic: {{ username: me, password: {} }} }}", planter.secret())),
        target("header", format!("auth: {{ header: {{ name: api-key, value: {} }} }}", planter.secret())),
        target("own-account", own_account(planter, echo)),
        target("second", format!("http: '2', auth: {{ bearer: {} }}", planter.secret())),
        target(
            "headers",
            format!("headers: {{ X-Auth-Token: {}, X-Other: {} }}", planter.literal(), planter.secret()),
        ),
        target(
            "proxied",
            format!(
                "proxy: {{ url: 'http://{echo}', auth: {{ username: me, password: {} }} }}",
                planter.secret()
            ),
        ),
    ];
    let oauth2 = |planter: &mut Planter, way: &str| {
        let secret = planter.secret();
        format!(
            "auth: {{ oauth2: {{ token_url: 'http://{echo}/app/{way}', client_id: me, client_secret: {secret}, \
             client_auth: {way} }} }}"
        )
    };
    let keys = [planter.secret(), planter.unsent(), planter.secret()];
    let fetched = [
        target("by-body", oauth2(planter, "body")),
        target("google", format!("auth: {{ gcp: {{ service_account: {} }} }}", planter.unsent())),
        target(
            "keys",
            format!(
                "auth: {{ aws: {{ region: r, keys: {{ access_key_id: {}, secret_access_key: {}, session_token: {} }} }} }}",
                keys[0], keys[1], keys[2]
            ),
        ),
        target(
            "identity",
            format!(
                "auth: {{ aws: {{ region: r, web_identity: {{ role_arn: arn, sts_url: 'http://{echo}/app/sts', \
                 token: {} }} }} }}",
                planter.secret()
            ),
        ),
        target(
            "container",
            format!(
                "auth: {{ aws: {{ region: r, container: {{ url: 'http://{echo}/app/container', token: {} }} }} }}",
                planter.secret()
            ),
        ),
    ];
    let chat = |stream: bool| {
        format!(
            "targets: [bearer, basic, header, own-account, second, headers, proxied], schedule: {ONCE}, record: all, \
             load: [{{ users: 1, requests: {} }}], \
             workload: {{ prompts: [Say hi], output_tokens: 8, stream: {stream} }}, \
             expect: {{ finish_reason: [stop], text: {{ not_matches: [a] }} }}",
            TELLINGS.len()
        )
    };
    format!(
        "agent: {{ id: test, state: state.db }}\n\
         server: {{ listen: 127.0.0.1:0, web_config: web.yaml, probe: {{ min_interval: 1ms }} }}\n\
         telemetry: {{ otlp: {{ endpoint: 'http://{echo}/otlp', protocol: http, interval: 100ms, \
           headers: {otlp}, traces: {{ sample: 100% }} }}, webhook: {webhook} }}\n\
         targets:\n{}  app: {{ api: http, base_url: 'http://{echo}/app' }}\n\
         profiles:\n  streamed: {{ {} }}\n  whole: {{ {} }}\n\
         \x20 fetched: {{ targets: [by-body, google, keys, identity, container], schedule: {ONCE}, record: all, \
           load: [{{ users: 1, requests: 4 }}], workload: {{ prompts: [Say hi] }} }}\n\
         \x20 app:\n    targets: [app]\n    schedule: {ONCE}\n    record: all\n    load: [{{ users: 1, requests: {} }}]\n\
         \x20   scenario:\n      secrets: {{ key: {} }}\n      cookies: true\n\
         \x20     setup: [{{ name: login, post: '/login?api_key={{{{ secret.key }}}}', json: {{ password: '{{{{ secret.key }}}}' }}, \
           take: {{ token: $.token }} }}]\n\
         \x20     steps: [{{ name: step, post: '/step?api_key={{{{ secret.key }}}}', \
           headers: {{ Authorization: 'Bearer {{{{ token }}}}', X-Key: '{{{{ secret.key }}}}' }}, \
           form: {{ key: '{{{{ secret.key }}}}' }}, read: {{ text: $.text, finish: $.finish, error: $.error }} }}]\n",
        targets.concat() + &fetched.concat(),
        chat(true),
        chat(false),
        TELLINGS.len(),
        planter.secret(),
    )
}

/// How the server quotes what it received; each way is used in turn.
#[derive(Clone, Copy, Debug)]
enum Telling {
    Refusal,
    Page,
    PlainError,
    Redirect,
    FinishReason,
    ErrorInStream,
    NothingGenerated,
    OddDocument,
    OddEvent,
    MediaType,
    Encoding,
    Limits,
}

const TELLINGS: [Telling; 12] = [
    Telling::Refusal,
    Telling::Page,
    Telling::PlainError,
    Telling::Redirect,
    Telling::FinishReason,
    Telling::ErrorInStream,
    Telling::NothingGenerated,
    Telling::OddDocument,
    Telling::OddEvent,
    Telling::MediaType,
    Telling::Encoding,
    Telling::Limits,
];

#[derive(Default)]
struct Told {
    /// Number of requests by path.
    asked: BTreeMap<String, usize>,
    /// Everything received, headers and bodies.
    seen: String,
    /// The exports received.
    exported: BTreeMap<String, Vec<Bytes>>,
}

type Shared = Arc<Mutex<Told>>;

struct Echo {
    address: SocketAddr,
    told: Shared,
    _serving: AbortOnDropHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Shared::default();
        let router = Router::new().fallback(echo).with_state(Arc::clone(&told));
        let serving = tokio::spawn(serve(listener, router));
        Self { address, told, _serving: AbortOnDropHandle::new(serving) }
    }

    fn seen(&self) -> String {
        self.told.lock().unwrap().seen.clone()
    }

    fn exports(&self, signal: &str) -> Vec<Bytes> {
        self.told.lock().unwrap().exported.get(&format!("/otlp/v1/{signal}")).cloned().unwrap_or_default()
    }
}

/// HTTP/1 and HTTP/2 on one port.
async fn serve(listener: tokio::net::TcpListener, router: Router) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::service::TowerToHyperService;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn echo(State(told): State<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    let quoted = quoted(&head.headers, &head.uri.to_string(), &body);
    let count = {
        let mut told = told.lock().unwrap();
        told.seen.push_str(&quoted);
        let count = told.asked.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    if path.starts_with("/otlp/") {
        // Each signal is first delayed, then refused, then accepted.
        let status = match count {
            0 => 503,
            1 => 401,
            _ => 200,
        };
        if status == 200 {
            told.lock().unwrap().exported.entry(path).or_default().push(body);
            return answer(200, "application/x-protobuf", &quoted, "");
        }
        return answer(status, "text/plain", &quoted, &quoted);
    }
    if path == "/app/login" {
        return answer(200, "application/json", &quoted, &json!({ "token": "Taken/+SeSame" }).to_string());
    }
    let streamed = !path.starts_with("/app") && String::from_utf8_lossy(&body).contains("\"stream\":true");
    tell(TELLINGS[count % TELLINGS.len()], streamed, &quoted)
}

/// Everything that was received, on one line.
fn quoted(headers: &HeaderMap, uri: &str, body: &[u8]) -> String {
    let headers = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let headers = headers.collect::<Vec<_>>().join(", ");
    format!("{uri} {headers} {}", String::from_utf8_lossy(body).replace(['\r', '\n'], " "))
}

fn tell(telling: Telling, streamed: bool, quoted: &str) -> Response<Body> {
    let chunk = |choice: Value| json!({ "id": quoted, "model": quoted, "choices": [choice] });
    let document = |value: Value| {
        let media_type = if streamed { "text/event-stream" } else { "application/json" };
        let text = if streamed { format!("data: {value}\n\ndata: [DONE]\n\n") } else { value.to_string() };
        answer(200, media_type, quoted, &text)
    };
    let said = |content: &str, finish: &str| {
        let message = json!({ "content": content });
        let mut value = chunk(json!({ "delta": message, "message": message, "finish_reason": finish }));
        // The application's own error format.
        value["text"] = content.into();
        value["finish"] = finish.into();
        value
    };
    match telling {
        Telling::Refusal => {
            let error = json!({ "error": { "message": format!("wrong: {quoted}"), "code": quoted } });
            answer(401, "application/json", quoted, &error.to_string())
        }
        Telling::Page => answer(404, "text/html", quoted, &format!("<title>{}</title>", last(quoted))),
        Telling::PlainError => answer(500, "text/plain", quoted, quoted),
        Telling::Redirect => {
            let mut answer = answer(302, "text/plain", quoted, "");
            let to = format!("/{}", quoted.replace(' ', "/"));
            answer.headers_mut().insert(header::LOCATION, HeaderValue::try_from(to).unwrap());
            answer
        }
        Telling::FinishReason => document(said(quoted, quoted)),
        Telling::ErrorInStream => document(json!({ "error": { "message": quoted, "type": quoted } })),
        Telling::NothingGenerated => {
            document(chunk(json!({ "delta": { "note": last(quoted) }, "note": quoted })))
        }
        Telling::OddDocument => answer(200, "application/json", quoted, quoted),
        Telling::OddEvent => answer(200, "text/event-stream", quoted, &format!("data: {}\n\n", last(quoted))),
        Telling::MediaType => answer(200, last(quoted), quoted, quoted),
        Telling::Encoding => {
            let mut answer = document(said("hello", "stop"));
            answer
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::try_from(last(quoted)).unwrap());
            answer
        }
        Telling::Limits => {
            let mut answer = document(said("hello", "stop"));
            for name in ["x-ratelimit-remaining-requests", "retry-after", "x-request-id", "set-cookie"] {
                answer.headers_mut().insert(name, HeaderValue::try_from(quoted).unwrap());
            }
            answer
        }
    }
}

/// A short part of the request that contains a secret: a header's value.
fn last(quoted: &str) -> &str {
    let parts = quoted.split([' ', ',', '"']).filter(|part| part.to_lowercase().contains(MARK));
    parts.min_by_key(|part| part.len()).unwrap_or("nothing")
}

fn answer(status: u16, media_type: &str, server: &str, body: &str) -> Response<Body> {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, media_type);
    // The label is short, and so is a key that fills it.
    builder.header(header::SERVER, last(server)).body(Body::from(body.to_owned())).unwrap()
}

/// Whether a text contains a canary: literally, URL-encoded, or in base64, alone or after a user name.
fn leaks(text: &[u8], planted: usize) -> Option<String> {
    let lower = String::from_utf8_lossy(text).to_lowercase();
    let whole = String::from_utf8_lossy(text);
    let found = |at: usize| {
        let from = lower.floor_char_boundary(at.saturating_sub(300));
        lower[from..lower.floor_char_boundary(at + 100)].to_owned()
    };
    if let Some(at) = lower.find(MARK) {
        return Some(found(at));
    }
    (1..=planted).find_map(|number| {
        let canary = Planter::canary(number);
        let encoded = [canary.clone(), format!("me:{canary}")].map(|text| STANDARD.encode(text));
        let encoded = encoded.iter().map(|text| text.trim_end_matches('='));
        encoded.into_iter().find_map(|encoded| whole.find(encoded)).map(found)
    })
}

/// The key paths of the schema that take a secret; `*` stands for any name, `#` for any index.
fn places(schema: &Value) -> BTreeSet<String> {
    fn walk(schema: &Value, node: &Value, path: &str, within: &[&str], found: &mut BTreeSet<String>) {
        if let Some(name) = node["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
            if name == "SecretSource" {
                found.insert(path.to_owned());
            } else if !within.contains(&name) {
                walk(schema, &schema["$defs"][name], path, &[within, &[name]].concat(), found);
            }
        }
        for (key, value) in node["properties"].as_object().into_iter().flatten() {
            walk(schema, value, &format!("{path}/{key}"), within, found);
        }
        for (key, step) in [("additionalProperties", "/*"), ("items", "/#")] {
            if let Some(value) = node.get(key) {
                walk(schema, value, &format!("{path}{step}"), within, found);
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for value in node[key].as_array().into_iter().flatten() {
                walk(schema, value, path, within, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(schema, schema, "", &[], &mut found);
    found
}

/// The values at a key path.
fn values<'a>(config: &'a Value, place: &str) -> Vec<&'a Value> {
    place.split('/').skip(1).fold(vec![config], |found, step| match step {
        "*" => found.iter().filter_map(|it| it.as_object()).flat_map(|it| it.values()).collect(),
        "#" => found.iter().filter_map(|it| it.as_array()).flatten().collect(),
        key => found.iter().filter_map(|it| it.get(key)).collect(),
    })
}

/// A folder with the config, its secret files and the web configuration.
fn folder(planter: &Planter, config: &str) -> tempfile::TempDir {
    let folder = crate::process::folder(config);
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    if planter.origin == Origin::File {
        (1..=planter.planted)
            .for_each(|it| write(&format!("secret_{it}"), format!("{}\n", planter.text(it))));
    }
    let hash = bcrypt::hash(WEB_PASSWORD, 4).unwrap();
    write("web.yaml", format!("basic_auth_users: {{ me: '{hash}' }}\n"));
    folder
}

fn start(planter: &Planter, config: &str, arguments: &[&str]) -> Process {
    let environment = if planter.origin == Origin::Env { planter.environment() } else { Vec::new() };
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let arguments = [arguments, &["--config.file", "tokenbeat.yaml", "--log.level", "trace"]].concat();
    Process::start(folder(planter, config), &arguments, &environment)
}

fn assert_silent(what: &str, text: impl AsRef<[u8]>, planter: &Planter) {
    if let Some(found) = leaks(text.as_ref(), planter.planted) {
        panic!("{what} with secrets by {:?} tells one: {found}", planter.origin);
    }
}

fn assert_all_silent(what: &str, ended: &Ended, planter: &Planter) {
    assert_silent(&format!("{what} on stdout"), &ended.out, planter);
    assert_silent(&format!("{what} on stderr"), &ended.err, planter);
}

async fn page(address: SocketAddr, method: &str, path: &str, accept: &str) -> Reply {
    let authorization = STANDARD.encode(format!("me:{WEB_PASSWORD}"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nauthorization: Basic {authorization}\r\n"
    );
    ask(address, &head).await
}

/// Every page, in every format.
async fn pages(address: SocketAddr, planter: &Planter) -> String {
    let mut all = String::new();
    let openmetrics = "application/openmetrics-text; version=1.0.0";
    for (path, accept) in [
        ("/", "text/html"),
        ("/?profile=streamed&target=bearer", "text/html"),
        ("/config", "*/*"),
        ("/metrics", "*/*"),
        ("/metrics", openmetrics),
        ("/api/v1/status", "*/*"),
        ("/api/v1/runs", "*/*"),
        ("/api/v1/requests", "*/*"),
        ("/api/v1/requests?failed=true", "*/*"),
        ("/api/v1/history", "*/*"),
        ("/api/v1/history?profile=streamed&target=bearer&step=60", "*/*"),
    ] {
        let reply = page(address, "GET", path, accept).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert_silent(path, format!("{}{}", reply.head, reply.body), planter);
        all.push_str(&reply.body);
    }
    all.push_str(&recorded_pages(address, planter).await);
    for target in ["bearer", "basic", "header", "second", "headers", "proxied", "app"] {
        for telling in TELLINGS {
            let profile = if target == "app" { "app" } else { "streamed" };
            let path = format!("/probe?target={target}&profile={profile}&debug=true");
            let reply = page(address, "GET", &path, "*/*").await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            assert_silent(&format!("{path}, {telling:?}"), format!("{}{}", reply.head, reply.body), planter);
            all.push_str(&reply.body);
        }
    }
    all
}

/// The pages of every remembered request, all of which are recorded.
async fn recorded_pages(address: SocketAddr, planter: &Planter) -> String {
    let listed = page(address, "GET", "/api/v1/requests?limit=1000", "*/*").await.json();
    let (mut all, mut sent, mut received, mut withheld) = (String::new(), 0, 0, 0);
    for request in listed["requests"].as_array().unwrap() {
        let id = request["id"].as_str().unwrap();
        let single = page(address, "GET", &format!("/api/v1/requests/{id}"), "*/*").await;
        let shown = page(address, "GET", &format!("/?request={id}"), "text/html").await;
        // The requests of a run that is still going on push out older ones.
        if single.status == 404 || shown.status == 404 {
            continue;
        }
        assert_silent(&format!("request {request}"), &single.body, planter);
        assert_silent(&format!("the page of request {request}"), &shown.body, planter);
        let single = single.json();
        sent += usize::from(single["sent"].is_object());
        received +=
            usize::from(single["received"]["body"].is_object() || single["received"]["text"].is_object());
        withheld += usize::from(single["received"]["withheld"] == true);
        all.push_str(&shown.body);
    }
    assert!(
        sent > 50 && received > 30 && withheld > 0,
        "{sent} sent, {received} received, {withheld} withheld"
    );
    all
}

/// Number of requests that the profiles make: a chat on six targets, twice, and a login with its steps.
const REQUESTS: usize = 2 * 6 * TELLINGS.len();

async fn served(planter: &Planter, config: &str, echo: &Echo) {
    let process = start(planter, config, &["serve"]);
    let address: SocketAddr = process.says("listening address=").await.parse().unwrap();
    until("all requests", async || {
        let scrape = Scrape::read(&page(address, "GET", "/metrics", "*/*").await.ok());
        let ended = scrape.metric("tokenbeat_requests_total").sum();
        (ended > REQUESTS as f64 && scrape.metric("tokenbeat_run_active").sum() == 0.0).then_some(())
    })
    .await;
    for signal in ["metrics", "traces", "logs"] {
        // Exports so far were refused; more requests are made until one is accepted.
        until(&format!("an export of {signal}"), async || {
            page(address, "POST", "/api/v1/profiles/app/run", "*/*").await;
            (echo.exports(signal).len() > 1).then_some(())
        })
        .await;
        for export in echo.exports(signal) {
            assert_silent(&format!("an export of {signal}"), export, planter);
        }
    }
    let all = pages(address, planter).await;
    assert!(all.contains("***"), "they have been told, and were masked");
    let folder = process.folder().to_owned();
    process.signal("TERM").await;
    process.says("asked to stop").await;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("state.db") {
            // The file of what is not yet written through goes when the process ends.
            let content = std::fs::read(folder.join(&name));
            if !content.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                assert_silent(&name, content.unwrap(), planter);
            }
        }
    }
    assert!(folder.join("state.db").exists());
    let ended = process.ended().await;
    assert_all_silent("serve", &ended, planter);
    assert!(ended.err.contains("TRACE") && ended.err.contains("HTTP 401"), "{}", ended.err.len());
    assert!(ended.err.contains("OTLP"), "the refusal of an export is told");
}

async fn no_canary_gets_out(origin: Origin) {
    let echo = Echo::start().await;
    let mut planter = Planter::new(origin);
    let config = config(&mut planter, echo.address);
    let parsed: Value = serde_saphyr::from_str(&config).unwrap();
    for place in places(&schema()) {
        let key = match origin {
            Origin::Value => "value",
            Origin::Env => "env",
            Origin::File => "file",
        };
        let there = values(&parsed, &place).into_iter().any(|it| it.get(key).is_some());
        assert!(there, "{place} takes a secret, and no canary is planted there: add one to the config");
    }
    served(&planter, &config, &echo).await;
    for arguments in [&["check"][..], &["check", "--probe", "--show-answer"], &["run", "app", "whole"]] {
        let ended = start(&planter, &config, arguments).ended().await;
        assert!(!ended.err.contains("in the config\n") && !ended.out.is_empty(), "{ended:?}");
        assert_all_silent(&arguments.join(" "), &ended, &planter);
    }
    // All of them were sent.
    let seen = echo.seen();
    for number in (1..=planter.planted).filter(|number| !planter.unsent.contains(number)) {
        let canary = Planter::canary(number);
        let sent = seen.contains(&canary)
            || seen.contains(&canary.replace('/', "%2F").replace('+', "%2B"))
            || seen.contains(STANDARD.encode(format!("me:{canary}")).trim_end_matches('='));
        assert!(sent, "{canary} was sent to nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_written_as_a_value_gets_out() {
    no_canary_gets_out(Origin::Value).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_from_the_environment_gets_out() {
    no_canary_gets_out(Origin::Env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_from_a_file_gets_out() {
    no_canary_gets_out(Origin::File).await;
}

/// Panics and failed assertions print values by their `Debug` form.
#[test]
fn the_debug_form_of_config_and_plan_has_no_secret() {
    let mut planter = Planter::new(Origin::Value);
    let text = config(&mut planter, "127.0.0.1:9".parse().unwrap()).replace(", web_config: web.yaml", "");
    let source = ConfigSource::Text { name: "test.yaml".to_owned(), text };
    let loaded = tokenbeat::plan::load(&[source], []).unwrap_or_else(|errors| panic!("{errors}"));
    assert_silent("the plan's debug form", format!("{:?}", loaded.plan), &planter);
    assert_silent("the warnings", format!("{:?}", loaded.warnings), &planter);
    assert_silent("the config", loaded.config.to_yaml(), &planter);
}

/// Environment variables that every OTLP program reads.
#[tokio::test]
async fn no_secret_in_a_variable_or_a_broken_file_gets_into_an_error() {
    let run = async |config: &str, files: &[(&str, &str)], environment: &[(&str, &str)]| {
        let folder = crate::process::folder(config);
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let arguments = ["check", "--config.file", "tokenbeat.yaml", "--log.level", "trace"];
        let ended = Process::start(folder, &arguments, environment).ended().await;
        let planter = Planter::new(Origin::Value);
        assert_all_silent(&format!("check with {files:?} and {environment:?}"), &ended, &planter);
        ended
    };
    let fine = "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:9/v1', model: m } }\n\
         profiles: { p: { targets: [t], schedule: { manual: {} }, workload: { prompts: [x] } } }\n";
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer SeSame\u{1}"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "SeSame"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:SeSame@127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[SeSame"),
        ("TOKENBEAT__TELEMETRY__OTLP__HEADERS", "SeSame"),
        ("TOKENBEAT__TELEMETRY__OTLP__HEADERS", "{ a: [SeSame"),
        ("TOKENBEAT__TELEMETRY__OTLP__HEADERS", "{ Authorization: { value: [SeSame] } }"),
        ("TOKENBEAT__TELEMETRY__OTLP__ENDPOINT", "http://me:SeSame@127.0.0.1:9"),
    ] {
        let with = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), (name, value)];
        let ended = run(fine, &[], &with).await;
        assert_eq!(ended.code, 64, "{name}={value}: {ended:?}");
    }
    let pem = "-----BEGIN PRIVATE KEY-----\nSeSame!\n-----END PRIVATE KEY-----\n";
    for file in [pem, "SeSame", "-----BEGIN SeSame-----\n"] {
        let tls = fine
            .replace("http:", "https:")
            .replace("model: m", "model: m, tls: { client_cert_file: cert.pem, client_key_file: key.pem }");
        let ended = run(&tls, &[("cert.pem", file), ("key.pem", file)], &[]).await;
        assert_eq!(ended.code, 64, "{ended:?}");
        let server = format!("server: {{ web_config: web.yaml }}\n{fine}");
        let web = "tls_server_config: { cert_file: cert.pem, key_file: key.pem }\n";
        let ended = run(&server, &[("web.yaml", web), ("cert.pem", file), ("key.pem", file)], &[]).await;
        assert_eq!(ended.code, 64, "{ended:?}");
    }
    for web in [
        "basic_auth_users: { me: SeSame }\n",
        "basic_auth_users: SeSame\n",
        "basic_auth_users: [SeSame]\n",
        "basic_auth_users: { me: SeSame\n",
        "basic_auth_users: { me: { SeSame: x } }\n",
        "SeSame\n",
    ] {
        let server = format!("server: {{ web_config: web.yaml }}\n{fine}");
        let ended = run(&server, &[("web.yaml", web)], &[]).await;
        assert_eq!(ended.code, 64, "{web}: {ended:?}");
    }
}

#[test]
fn the_schema_names_places_of_secrets() {
    let places = places(&schema());
    for place in ["/targets/*/auth/bearer", "/telemetry/otlp/headers/*", "/profiles/*/scenario/secrets/*"] {
        assert!(places.contains(place), "{place} in {places:?}");
    }
}
