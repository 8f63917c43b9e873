//! Credentials from a local token server: when they are fetched, for how many requests, and how failures are handled.
//! The clock is paused in tests without a network.

use super::keeper::{CredentialRenewer, Fetch};
use super::*;
use crate::plan::{AwsSource, ClientAuth, Gcp, OAuth2};
use crate::secret::{Secret, SecretOrigin};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use wiremock::matchers::{body_string_contains, header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn secret(text: &str) -> Secret {
    Secret::new(SecretOrigin::Literal(Exposed::new(text)))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Plays one step per attempt, and repeats the last one.
struct Script {
    steps: Vec<Step>,
    attempts: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Step {
    /// After a delay, a token with this lifetime.
    Gives(Duration, Duration),
    Fails,
    Hangs,
}

impl Fetch for Script {
    fn fetch(&self) -> BoxFuture<'_, Result<Issued, Error>> {
        let n = self.attempts.fetch_add(1, Ordering::SeqCst);
        let step = self.steps[n.min(self.steps.len() - 1)].clone();
        async move {
            let from = Instant::now();
            match step {
                Step::Gives(after, lifetime) => {
                    tokio::time::sleep(after).await;
                    let token = Credential::Bearer(Exposed::new(format!("token-{n}")));
                    Ok(Issued::new(token, from, Some(lifetime)))
                }
                Step::Fails => Err(Error::new(format!("refused {n}"))),
                Step::Hangs => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn scripted(steps: Vec<Step>) -> (Credentials, Arc<AtomicUsize>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let script = Script { steps, attempts: Arc::clone(&attempts) };
    let keeper = CredentialRenewer::start(Box::new(script), "t".into()).unwrap();
    (Credentials(CredentialSource::Fetched(keeper)), attempts)
}

fn bearer(issued: &Issued) -> String {
    match &issued.credential {
        Credential::Bearer(token) => token.expose().to_owned(),
        Credential::Aws(_) => panic!("not a token"),
    }
}

fn said(known: Option<Result<Arc<Issued>, Error>>) -> String {
    match known {
        None => "wait".to_owned(),
        Some(Ok(issued)) => bearer(&issued),
        Some(Err(error)) => error.to_string(),
    }
}

const HOUR: Duration = Duration::from_hours(1);
const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_its_end_and_nobody_waits() {
    let (credentials, attempts) = scripted(vec![Step::Gives(seconds(2), HOUR)]);
    assert_eq!(said(credentials.present()), "wait");
    assert_eq!(bearer(&credentials.get().await.unwrap()), "token-0");
    tokio::time::sleep(seconds(3600 - 301)).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    // The next token is fetched five minutes before this one expires; until it arrives, this one is used.
    tokio::time::sleep(seconds(2)).await;
    assert_eq!((attempts.load(Ordering::SeqCst), said(credentials.present())), (2, "token-0".to_owned()));
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(said(credentials.present()), "token-1");
    for _ in 0..200 {
        tokio::time::sleep(seconds(60)).await;
        assert!(matches!(credentials.present(), Some(Ok(_))), "there is always one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_wait_for_one() {
    let (credentials, attempts) = scripted(vec![Step::Gives(seconds(3), HOUR)]);
    let credentials = Arc::new(credentials);
    let waiting = (0..1000).map(|_| {
        let credentials = Arc::clone(&credentials);
        tokio::spawn(async move { bearer(&credentials.get().await.unwrap()) })
    });
    let all = futures_util::future::join_all(waiting.collect::<Vec<_>>()).await;
    assert!(all.into_iter().all(|token| token.unwrap() == "token-0"));
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_at_once_and_tried_again_ever_more_slowly() {
    let (credentials, attempts) = scripted(vec![Step::Fails]);
    assert_eq!(credentials.get().await.unwrap_err().to_string(), "refused 0");
    assert_eq!(said(credentials.present()), "refused 0", "nobody waits for the pause to end");
    // Pauses of 1, 2, 4, 8 and 16 seconds, and then of 30.
    let began = Instant::now();
    for (at, expected) in [(1, 2), (3, 3), (7, 4), (15, 5), (31, 6), (61, 7), (91, 8)] {
        tokio::time::sleep_until(began + seconds(at) + Duration::from_millis(100)).await;
        assert_eq!(attempts.load(Ordering::SeqCst), expected, "after {at} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_leaves_the_present_token_until_its_end() {
    let (credentials, _) = scripted(vec![Step::Gives(AT_ONCE, seconds(100)), Step::Fails]);
    credentials.get().await.unwrap();
    tokio::time::sleep(seconds(99)).await;
    assert_eq!(said(credentials.present()), "token-0");
    tokio::time::sleep(seconds(2)).await;
    assert!(said(credentials.present()).starts_with("refused "), "{}", said(credentials.present()));
    // The credentials recover by themselves.
    let (credentials, _) = scripted(vec![Step::Fails, Step::Gives(AT_ONCE, HOUR)]);
    assert!(credentials.get().await.is_err());
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(said(credentials.present()), "token-1");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up() {
    let (credentials, _) = scripted(vec![Step::Hangs, Step::Gives(AT_ONCE, HOUR)]);
    let began = Instant::now();
    assert_eq!(credentials.get().await.unwrap_err().to_string(), "no credentials came within 15s");
    assert_eq!(began.elapsed(), seconds(15));
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(said(credentials.present()), "token-1");
}

#[tokio::test(start_paused = true)]
async fn refused_tokens_are_replaced_but_not_again_and_again() {
    let (credentials, attempts) = scripted(vec![Step::Gives(Duration::from_millis(1), HOUR)]);
    let first = credentials.get().await.unwrap();
    // However many requests are refused.
    for _ in 0..100 {
        credentials.refused(&first);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let second = credentials.get().await.unwrap();
    assert_eq!((bearer(&second), attempts.load(Ordering::SeqCst)), ("token-1".to_owned(), 2));
    // A refusal of the old token changes nothing.
    credentials.refused(&first);
    tokio::time::sleep(seconds(100)).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    // A target that refuses everything costs few tokens.
    let began = Instant::now();
    while began.elapsed() < Duration::from_mins(10) {
        if let Some(Ok(present)) = credentials.present() {
            credentials.refused(&present);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spent = attempts.load(Ordering::SeqCst);
    assert!((20..=30).contains(&spent), "{spent} tokens in ten minutes");
    assert!(matches!(credentials.present(), Some(Ok(_))));
}

fn oauth2(server: &MockServer, client_auth: ClientAuth) -> Auth {
    Auth::OAuth2(Box::new(OAuth2 {
        token_url: format!("{}/token", server.uri()).parse().unwrap(),
        client_id: "me & you".into(),
        client_secret: secret("s3cr/et"),
        scope: Some("a b".into()),
        audience: Some("https://api.example.net".into()),
        params: [("resource".to_owned(), "r".to_owned())].into(),
        client_auth,
        ca_file: None,
    }))
}

async fn fetched(auth: &Auth) -> Result<Arc<Issued>, String> {
    let credentials = Credentials::of(auth, &"t".into()).unwrap().unwrap();
    credentials.get().await.map_err(|error| error.to_string())
}

/// Answers every request of a kind with this template.
async fn answers(server: &MockServer, template: ResponseTemplate) {
    Mock::given(method("POST")).respond_with(template).mount(server).await;
}

fn token(text: &str) -> ResponseTemplate {
    let body = serde_json::json!({ "access_token": text, "token_type": "Bearer", "expires_in": 3599 });
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn a_client_says_who_it_is_in_both_ways() {
    let server = MockServer::start().await;
    answers(&server, token("tok")).await;
    assert_eq!(bearer(&fetched(&oauth2(&server, ClientAuth::Basic)).await.unwrap()), "tok");
    assert_eq!(bearer(&fetched(&oauth2(&server, ClientAuth::Body)).await.unwrap()), "tok");
    let requests = server.received_requests().await.unwrap();
    let common = "grant_type=client_credentials&audience=https%3A%2F%2Fapi.example.net&resource=r&scope=a+b";
    let body = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    assert_eq!(body(&requests[0]), common);
    // `me+%26+you:s3cr%2Fet`
    assert_eq!(requests[0].headers["authorization"], "Basic bWUrJTI2K3lvdTpzM2NyJTJGZXQ=");
    assert_eq!(body(&requests[1]), format!("{common}&client_id=me+%26+you&client_secret=s3cr%2Fet"));
    assert!(!requests[1].headers.contains_key("authorization"));
}

#[tokio::test]
async fn errors_quote_the_server_without_the_secret() {
    let server = MockServer::start().await;
    let body =
        serde_json::json!({ "error": "invalid_client", "error_description": "no s3cr/et, s3cr%2Fet\nhere" });
    answers(&server, ResponseTemplate::new(401).set_body_json(body)).await;
    let error = fetched(&oauth2(&server, ClientAuth::Body)).await.unwrap_err();
    assert_eq!(error, "the token endpoint answered HTTP 401: invalid_client, no ***, *** here");
    server.reset().await;
    answers(&server, ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/")).await;
    let error = fetched(&oauth2(&server, ClientAuth::Body)).await.unwrap_err();
    assert_eq!(error, "the token endpoint answered HTTP 302", "no secret follows a redirect");
    server.reset().await;
    answers(&server, ResponseTemplate::new(200).set_body_string("x".repeat(1 << 20))).await;
    let error = fetched(&oauth2(&server, ClientAuth::Body)).await.unwrap_err();
    assert_eq!(error, "the answer of the token endpoint is longer than 262144 bytes");
    let Auth::OAuth2(mut gone) = oauth2(&server, ClientAuth::Body) else { panic!() };
    gone.token_url = "http://127.0.0.1:9/token?key=hunter2".parse().unwrap();
    let error = fetched(&Auth::OAuth2(gone)).await.unwrap_err();
    assert!(
        error.starts_with("the token endpoint cannot be reached: ") && !error.contains("hunter2"),
        "{error}"
    );
    let Auth::OAuth2(mut unset) = oauth2(&server, ClientAuth::Body) else { panic!() };
    unset.client_secret = Secret::new(SecretOrigin::Env("TOKENBEAT_TEST_NOT_SET".into()));
    let error = fetched(&Auth::OAuth2(unset)).await.unwrap_err();
    assert_eq!(error, "the environment variable TOKENBEAT_TEST_NOT_SET is not set");
}

#[tokio::test]
async fn a_service_account_exchanges_an_assertion() {
    let server = MockServer::start().await;
    let text = include_str!("../../tests/keys/service-account.json");
    let text = text.replace("https://oauth2.googleapis.com/token", &format!("{}/token", server.uri()));
    let gcp = |text: &str, audience: Option<&str>| {
        let audience = audience.map(str::to_owned);
        Auth::Gcp(Box::new(Gcp { service_account: secret(text), scope: "s".into(), audience }))
    };
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey";
    Mock::given(body_string_contains(grant)).respond_with(token("ya29")).mount(&server).await;
    assert_eq!(bearer(&fetched(&gcp(&text, None)).await.unwrap()), "ya29");
    let error = fetched(&gcp(&text, Some("https://run.example.net"))).await.unwrap_err();
    assert_eq!(error, "the answer of the token endpoint has no `id_token`");
    let error = fetched(&gcp("{\"private_key\": \"hunter2\"}", None)).await.unwrap_err();
    assert!(error.contains("is not the JSON file of a service account") && !error.contains("hunter2"));
}

fn aws(source: AwsSource) -> Auth {
    Auth::Aws(Box::new(crate::plan::Aws { region: "r".into(), service: "bedrock".into(), source }))
}

fn key_id(issued: &Issued) -> &str {
    match &issued.credential {
        Credential::Aws(keys) => &keys.access_key_id,
        Credential::Bearer(_) => panic!("not keys"),
    }
}

#[tokio::test]
async fn keys_of_aws_from_each_source() {
    let server = MockServer::start().await;
    let xml =
        "<AccessKeyId>STS</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>";
    Mock::given(method("POST"))
        .and(body_string_contains("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Ar"))
        .and(body_string_contains("WebIdentityToken=idtok"))
        .respond_with(ResponseTemplate::new(200).set_body_string(xml))
        .mount(&server)
        .await;
    let json = r#"{"AccessKeyId":"ECS","SecretAccessKey":"s","Token":"t"}"#;
    Mock::given(path("/creds"))
        .and(header("authorization", "c-token"))
        .respond_with(ResponseTemplate::new(200).set_body_string(json))
        .mount(&server)
        .await;
    let identity = AwsSource::WebIdentity {
        role_arn: "arn:r".into(),
        token: secret("idtok"),
        session_name: "tokenbeat".into(),
        sts_url: server.uri().parse().unwrap(),
    };
    assert_eq!(key_id(&fetched(&aws(identity)).await.unwrap()), "STS");
    let url = format!("{}/creds", server.uri()).parse().unwrap();
    let container = AwsSource::Container { url, token: Some(secret("c-token")) };
    assert_eq!(key_id(&fetched(&aws(container)).await.unwrap()), "ECS");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(&file, "[p]\naws_access_key_id=FILE\naws_secret_access_key=s\n").unwrap();
    let profile = |name: &str| aws(AwsSource::Profile { name: name.into(), file: Some(file.clone()) });
    assert_eq!(key_id(&fetched(&profile("p")).await.unwrap()), "FILE");
    assert!(fetched(&profile("q")).await.unwrap_err().ends_with("has no profile \"q\""));
    let keys = AwsSource::Keys {
        access_key_id: secret("STATIC"),
        secret_access_key: secret("s"),
        session_token: None,
    };
    let credentials = Credentials::of(&aws(keys), &"t".into()).unwrap().unwrap();
    let [one, two] = [0, 1].map(|_| credentials.present().unwrap().unwrap());
    assert!(key_id(&one) == "STATIC" && Arc::ptr_eq(&one, &two));
}

#[test]
fn credentials_need_a_runtime_and_other_ways_to_authenticate_none() {
    assert!(Credentials::of(&Auth::Bearer(secret("k")), &"t".into()).unwrap().is_none());
    let script = Script { steps: vec![Step::Fails], attempts: Arc::default() };
    assert!(matches!(CredentialRenewer::start(Box::new(script), "t".into()), Err(SetupError::NoRuntime)));
}

#[tokio::test]
async fn nothing_prints_a_credential() {
    let keys = SigningKeys {
        access_key_id: "AKIA".into(),
        secret_access_key: Exposed::new("hunter2"),
        session_token: Some(Exposed::new("hunter3")),
    };
    let shown = format!("{:?}", Issued::new(Credential::Aws(keys), Instant::now(), None));
    assert!(!shown.contains("hunter") && shown.contains("AKIA"), "{shown}");
}
