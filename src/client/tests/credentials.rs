//! Requests to targets whose credentials have to be fetched first.

use super::server::*;
use crate::client::{Answer, Caller, Client};
use crate::event::{Failure, Outcome};
use crate::plan::{Auth, Aws, AwsSource, ClientAuth, ConnectionMode, OAuth2, Target};
use crate::secret::{Exposed, Secret, SecretOrigin};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

fn secret(text: &str) -> Secret {
    Secret::new(SecretOrigin::Literal(Exposed::new(text)))
}

/// A token server that gives `token-0`, `token-1` and so on.
async fn tokens(delay: Duration) -> (MockServer, Arc<AtomicUsize>) {
    let (server, given) = (MockServer::start().await, Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&given);
    let answer = move |_: &wiremock::Request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        let body = serde_json::json!({ "access_token": format!("token-{n}"), "expires_in": 3600 });
        ResponseTemplate::new(200).set_body_json(body).set_delay(delay)
    };
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    (server, given)
}

fn oauth2(token_url: &str) -> Auth {
    Auth::OAuth2(Box::new(OAuth2 {
        token_url: token_url.parse().unwrap(),
        client_id: "me".into(),
        client_secret: secret("s3cret"),
        scope: None,
        audience: None,
        params: std::collections::BTreeMap::default(),
        client_auth: ClientAuth::Basic,
        ca_file: None,
    }))
}

fn with(target: Target, auth: Auth) -> Client {
    client(Target { auth, ..target })
}

fn bearer(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "))
}

#[tokio::test]
async fn a_thousand_requests_wait_for_one_token() {
    let (tokens, given) = tokens(Duration::from_millis(200)).await;
    let server = Server::always(good_stream()).await;
    let client = with(server.target(), oauth2(&tokens.uri()));
    let answers = join_all((0..1000).map(|_| call(&client))).await;
    assert!(answers.iter().all(|answer| answer.outcome == Outcome::Ok), "{:?}", answers[0]);
    assert_eq!(given.load(Ordering::SeqCst), 1);
    assert!(server.requests().iter().all(|request| bearer(request) == Some("token-0")));
    // The wait is set-up: it comes before the send, and does not count as dispatch lag.
    let marks = &answers[0].observed.marks;
    assert!(marks.setup >= Duration::from_millis(150), "{marks:?}");
    assert!(marks.dispatch_lag() < marks.setup, "{marks:?}");
    // The mocks are checked when their server is dropped, under a lock that asks for some of this task's budget.
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn a_target_that_answers_401_gets_another_token() {
    let (tokens, given) = tokens(Duration::ZERO).await;
    let server = Server::start(|_, mut wire| async move {
        while let Some(request) = wire.request().await {
            let is_known = bearer(&request) == Some("token-1");
            let refused = whole("401 Unauthorized", "", "expired: token-0");
            wire.send(if is_known { good_stream() } else { refused }).await;
        }
    })
    .await;
    let client = with(server.target(), oauth2(&tokens.uri()));
    let first = call(&client).await;
    assert_eq!(first.outcome, Outcome::Failed(Failure::Auth), "nothing is sent twice behind one's back");
    assert_eq!(first.detail.as_deref(), Some("HTTP 401 Unauthorized: expired: ***"));
    until(|| given.load(Ordering::SeqCst) == 2).await;
    assert_eq!(call(&client).await.outcome, Outcome::Ok);
}

/// The failure is ours, whatever the token server did, and nothing goes to the target.
fn ours(answer: &Answer, detail: &str) {
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Credentials));
    let said = answer.detail.as_deref().unwrap();
    assert!(said.starts_with(detail) && !said.contains("s3cret"), "{said}");
    assert_eq!((answer.observed.marks.sent, answer.observed.status), (None, None));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = Server::always(good_stream()).await;
    for connection in [ConnectionMode::Warm, ConnectionMode::Cold] {
        let tokens = MockServer::start().await;
        let no = ResponseTemplate::new(400)
            .set_body_string(r#"{"error":"invalid_client","error_description":"s3cret"}"#);
        Mock::given(method("POST")).respond_with(no).mount(&tokens).await;
        let target = Target { connection, ..server.target() };
        let client = with(target, oauth2(&tokens.uri()));
        ours(&call(&client).await, "the token endpoint answered HTTP 400: invalid_client, ***");
        let target = Target { connection, ..server.target() };
        ours(
            &call(&with(target, oauth2("http://127.0.0.1:9"))).await,
            "the token endpoint cannot be reached",
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_slow_token_server_takes_no_longer_than_the_request_may() {
    let (tokens, _) = tokens(Duration::from_mins(1)).await;
    let server = Server::always(good_stream()).await;
    let mut target = server.target();
    target.timeouts.total = Duration::from_millis(60);
    ours(&call(&with(target, oauth2(&tokens.uri()))).await, "no credentials within 60ms");
    // A cancelled request ends at once.
    let client = with(server.target(), oauth2(&tokens.uri()));
    let context = context();
    context.cancel.cancel();
    let answer = client.call(client.prepare(&ask(true)), context).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Cancelled));
}

#[tokio::test]
async fn requests_are_signed_for_aws() {
    let server = Server::always(good_stream()).await;
    let source = AwsSource::Keys {
        access_key_id: secret("AKIDEXAMPLE"),
        secret_access_key: secret("s3cret-key"),
        session_token: Some(secret("s3ssion")),
    };
    let aws = Aws { region: "eu-west-1".into(), service: "bedrock".into(), source };
    let answer = call(&with(server.target(), Auth::Aws(Box::new(aws)))).await;
    assert_eq!(answer.outcome, Outcome::Ok);
    let request = server.requests().remove(0);
    let header = |name: &str| {
        request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().to_owned()
    };
    let authorization = header("authorization");
    let scope = "/eu-west-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains(scope), "{authorization}");
    assert_eq!(header("x-amz-security-token"), "s3ssion");
    assert!(!request.contains("s3cret-key"));
}
