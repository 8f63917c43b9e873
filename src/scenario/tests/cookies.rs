//! Cookies are sent only where RFC 6265 allows.

use super::*;

/// A user with a step for each path, which extracts nothing.
fn driver(base_url: &'static str, paths: &[&str]) -> Driver {
    let mut stage = Stage { cookies: true, base_url, ..Stage::default() };
    let steps = paths.iter().map(|path| stage.http(path, path)).collect();
    Driver::new(&stage.stage_context(steps), 0)
}

fn sent(driver: &mut Driver, step: usize) -> Option<String> {
    let call = driver.call(step, 0);
    call.headers.get("cookie").map(|value| value.to_str().unwrap().to_owned())
}

fn set(driver: &mut Driver, step: usize, cookies: &[&str]) {
    driver.call(step, 0);
    let answer = cookies.iter().fold(Answer::default(), |answer, cookie| answer.header("set-cookie", cookie));
    driver.take(step, &answer).unwrap();
}

#[test]
fn a_cookie_comes_back_until_it_is_replaced_removed_or_the_user_starts_over() {
    let mut driver = driver("http://app.test/v1/", &["/a", "/b?q=1"]);
    assert_eq!(sent(&mut driver, 0), None);
    set(&mut driver, 0, &["sid=1; Path=/", "lang=en; Path=/"]);
    assert_eq!(sent(&mut driver, 1).as_deref(), Some("lang=en; sid=1"));
    set(&mut driver, 1, &["sid=2; Path=/"]);
    assert_eq!(sent(&mut driver, 0).as_deref(), Some("lang=en; sid=2"));
    set(&mut driver, 0, &["lang=; Path=/; Max-Age=0"]);
    assert_eq!(sent(&mut driver, 0).as_deref(), Some("sid=2"));
    driver.user.reset();
    assert_eq!(sent(&mut driver, 0), None);
}

#[test]
fn paths_are_those_of_the_whole_url() {
    let mut driver = driver("http://app.test/v1", &["/auth/login", "/auth/me", "/rag"]);
    // Without a path, a cookie applies to the folder of the request.
    set(&mut driver, 0, &["default=1", "all=1; Path=/", "v1=1; Path=/v1", "below=1; Path=/auth"]);
    assert_eq!(sent(&mut driver, 1).as_deref(), Some("default=1; v1=1; all=1"), "longer paths first");
    assert_eq!(sent(&mut driver, 2).as_deref(), Some("v1=1; all=1"));
}

#[test]
fn foreign_domains_are_refused_and_secure_cookies_stay_on_tls() {
    let cookies =
        ["a=1; Domain=test", "b=1; Domain=app.test", "c=1; Domain=other.test", "d=1; Secure; Path=/"];
    let mut plain = driver("http://app.test/", &["/x"]);
    set(&mut plain, 0, &cookies);
    assert_eq!(sent(&mut plain, 0).as_deref(), Some("a=1; b=1"));
    let mut tls = driver("https://app.test/", &["/x"]);
    set(&mut tls, 0, &cookies);
    assert_eq!(sent(&mut tls, 0).as_deref(), Some("a=1; b=1; d=1"));
}

#[test]
fn cookies_are_kept_only_where_they_are_wanted() {
    let mut stage = Stage::default();
    let step = stage.http("a", "/a");
    let mut driver = Driver::new(&stage.stage_context(vec![step]), 0);
    set(&mut driver, 0, &["sid=1; Path=/"]);
    assert_eq!(sent(&mut driver, 0), None);
}

#[test]
fn a_steps_own_cookie_header_is_left_alone() {
    let mut stage = Stage { cookies: true, ..Stage::default() };
    let plain = stage.http("plain", "/a");
    let mut own = stage.http("own", "/a");
    http(&mut own).headers = vec![(HeaderName::from_static("cookie"), stage.template("mine=1"))];
    let mut driver = Driver::new(&stage.stage_context(vec![plain, own]), 0);
    set(&mut driver, 0, &["sid=1; Path=/"]);
    assert_eq!(sent(&mut driver, 1).as_deref(), Some("mine=1"));
    assert_eq!(sent(&mut driver, 0).as_deref(), Some("sid=1"));
}

#[test]
fn the_answer_to_an_ask_may_set_cookies_too() {
    let mut stage = Stage { cookies: true, base_url: "http://app.test/v1/", ..Stage::default() };
    let steps =
        vec![stage.http("deep", "/very/deep/path"), stage.ask("ask", "x", 0), stage.http("flat", "/flat")];
    let mut driver = Driver::new(&stage.stage_context(steps), 0);
    driver.call(0, 0);
    driver.ask(1, 0);
    driver.take(1, &Answer::text("y").header("set-cookie", "sid=1")).unwrap();
    assert_eq!(sent(&mut driver, 2).as_deref(), Some("sid=1"));
}

#[test]
fn there_are_so_many_cookies_and_no_more() {
    let mut driver = driver("http://app.test/", &["/x"]);
    let many = (0..UserSession::MAX_COOKIES + 9).map(|n| format!("c{n:03}=1; Path=/; Max-Age=900"));
    let many: Vec<String> = many.collect();
    set(&mut driver, 0, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let kept = sent(&mut driver, 0).unwrap();
    assert!(kept.starts_with("c000=1; c001=1;") && !kept.contains("c064"), "{kept}");
    assert_eq!(kept.split("; ").count(), UserSession::MAX_COOKIES);
    // A known cookie is replaced, and an expired one makes room.
    let more = ["c003=new; Path=/", "c000=; Path=/; Max-Age=0", "more=1; Path=/", "too-many=1; Path=/"];
    set(&mut driver, 0, &more);
    let kept = sent(&mut driver, 0).unwrap();
    assert!(kept.contains("c003=new") && kept.contains("more=1") && !kept.contains("too-many"), "{kept}");
    assert_eq!(kept.split("; ").count(), UserSession::MAX_COOKIES);
}

#[test]
fn a_cookie_that_is_too_long_is_not_kept() {
    let mut driver = driver("http://app.test/", &["/x"]);
    set(&mut driver, 0, &[&format!("long={}", "x".repeat(UserSession::MAX_COOKIE)), "short=1"]);
    assert_eq!(sent(&mut driver, 0).as_deref(), Some("short=1"));
}
