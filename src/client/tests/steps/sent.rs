//! Requests as sent: a step's headers take precedence over its target's, and paths are rendered from templates.

use super::*;

#[tokio::test]
async fn a_request_that_could_have_a_body_says_that_it_has_none() {
    let server = Server::always(whole("200 OK", JSON, "{}")).await;
    let client = client(app(&server));
    let none: [&str; 0] = [];
    for (method, length) in [
        (Method::POST, &["0"][..]),
        (Method::PUT, &["0"]),
        (Method::PATCH, &["0"]),
        (Method::DELETE, &none),
        (Method::GET, &none),
    ] {
        ok(&play(&client, step(method.clone(), "/"), reads(None)).await);
        assert_eq!(sent(&server, "content-length"), length, "{method}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_steps_headers_win() {
    let server = Server::always(whole("200 OK", JSON, "{}")).await;
    let mut target = app(&server);
    target.auth = Auth::Bearer(secret("of-the-target"));
    target.propagate = crate::plan::Propagate::W3c;
    for (name, value) in [("x-tenant", "acme"), ("accept", "text/html"), ("cookie", "a=1")] {
        target.headers.push((HeaderName::from_static(name), Arc::new(secret(value))));
    }
    let client = client(target);
    ok(&play(&client, step(Method::GET, "/"), reads(None)).await);
    assert_eq!(sent(&server, "authorization"), ["Bearer of-the-target"]);
    assert_eq!(
        (sent(&server, "x-tenant"), sent(&server, "cookie")),
        (vec!["acme".into()], vec!["a=1".into()])
    );

    let mut call = post("{}");
    for (name, value) in [
        ("authorization", "Bearer of-the-user"),
        ("cookie", "sid=9"),
        ("x-tag", "one"),
        ("x-tag", "two"),
        ("user-agent", "a-browser"),
        ("host", "app.example"),
        ("traceparent", "00-01010101010101010101010101010101-0101010101010101-00"),
        ("content-length", "999"),
        ("transfer-encoding", "chunked"),
    ] {
        call.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    ok(&play(&client, call.clone(), reads(None)).await);
    for (name, values) in [
        ("authorization", &["Bearer of-the-user"][..]),
        ("cookie", &["sid=9"]),
        ("x-tag", &["one", "two"]),
        ("user-agent", &["a-browser"]),
        ("host", &["app.example"]),
        ("traceparent", &["00-01010101010101010101010101010101-0101010101010101-00"]),
        ("x-tenant", &["acme"]),
        ("accept", &["text/html"]),
        ("content-length", &["2"]),
        ("transfer-encoding", &[]),
    ] {
        assert_eq!(sent(&server, name), values, "{name}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_step_with_its_own_authorization_needs_no_credentials_of_the_target() {
    let server = Server::always(whole("200 OK", JSON, "{}")).await;
    let mut target = app(&server);
    target.auth = Auth::Bearer(Secret::new(SecretOrigin::File("/nonexistent/key".into())));
    let client = client(target);
    let mut call = step(Method::GET, "/");
    let answer = play(&client, call.clone(), reads(None)).await;
    assert_eq!(answer.outcome, Outcome::Failed(Failure::Credentials));
    call.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
    ok(&play(&client, call, reads(None)).await);
}

#[tokio::test]
async fn paths_with_whatever_templates_put_into_them() {
    let server = Server::always(whole("200 OK", "", "")).await;
    let client = client(app(&server));
    for (path, line) in [
        ("/", "/v1/"),
        ("/a/b?lang=en&x=1", "/v1/a/b?lang=en&x=1"),
        ("/say hello?q=h\u{e9} \"x\"#1\n", "/v1/say%20hello?q=h%C3%A9%20%22x%22%231%0A"),
        ("/a%20b/[1]|{2}\\", "/v1/a%20b/[1]%7C%7B2%7D%5C"),
        ("//else.example/x", "/v1//else.example/x"),
        ("/?q=a?b", "/v1/?q=a?b"),
    ] {
        let answer = play(&client, step(Method::GET, path), reads(None)).await;
        ok(&answer);
        let request = server.requests().pop().unwrap();
        assert_eq!(request.lines().next(), Some(&*format!("GET {line} HTTP/1.1")), "{path:?}");
    }
    let mut target = app(&server);
    target.base_url.set_query(Some("v=2"));
    let client = super::super::server::client(target);
    for (path, line) in [("/a", "/v1/a?v=2"), ("/a?b=1", "/v1/a?b=1&v=2")] {
        ok(&play(&client, step(Method::GET, path), reads(None)).await);
        let request = server.requests().pop().unwrap();
        assert_eq!(request.lines().next(), Some(&*format!("GET {line} HTTP/1.1")), "{path:?}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_sent_is_not_our_fault() {
    let server = Server::always(whole("200 OK", "", "")).await;
    let client = client(app(&server));
    for (path, detail) in [
        ("http://else.example/***", "the path \"http://else.example/***\" does not begin with a slash"),
        ("", "the path \"\" does not begin with a slash"),
    ] {
        let options = CallOptions { hidden: vec![Exposed::new("hidden")], ..reads(None) };
        let answer = play(&client, step(Method::GET, &path.replace("***", "hidden")), options).await;
        failed(&answer, Failure::Extract, detail);
        assert_eq!((answer.observed.marks.sent, answer.observed.status), (None, None));
    }
    let long = format!("/{}", "x".repeat(70_000));
    let answer = play(&client, step(Method::GET, &long), reads(None)).await;
    failed(&answer, Failure::Extract, "the request's address: uri too long");
    assert_eq!(server.connections(), 0);
}
