//! The memory of a user has a limit, and the stated limit is right.

use super::*;

/// A scenario that keeps everything that a user can keep.
fn greedy() -> Arc<StageContext> {
    let mut stage = Stage { cookies: true, ..Stage::default() };
    let mut all = stage.http("all", "/{{ 'p' * 16000 }}");
    all.take = vec![take("text", AnswerPart::Text), take("json", at_path("$")), take("again", at_path("$"))];
    let ask = stage.ask("ask", "{{ 'q' * (200000 if iteration % 2 else 90000) }}", 1_000_000);
    let counts = "{% for i in range(64) %}{{ counter('%064d'|format(i)) }}{% endfor %}";
    let counts = stage.post("counts", json!(counts));
    stage.stage_context(vec![all, ask, counts])
}

#[test]
fn a_full_user_stays_within_what_is_stated() {
    let stage_context = greedy();
    let bound = UserSession::most_bytes(&stage_context.scenario);
    let mut driver = Driver::new(&stage_context, 0);
    let empty = driver.user.bytes();
    // JSON of the smallest possible values, which take the most memory when they are parsed.
    let body = format!("[{}0]", "0,".repeat((UserSession::MAX_TAKEN - 5) / 2));
    let mut answer = Answer { body: Some(body), ..Answer::default() };
    for n in 0..200 {
        let path = "p".repeat(n * 9 % 900);
        let value = "v".repeat(UserSession::MAX_COOKIE - 2 * path.len() - 60);
        answer = answer.header("set-cookie", &format!("c{n}={value}; Path=/{path}"));
    }
    let mut most = 0;
    for iteration in 0..20 {
        driver.call(0, iteration);
        driver.take(0, &answer).unwrap();
        driver.ask(1, iteration);
        most = most.max(driver.user.bytes());
        driver.take(1, &Answer::text(&"a".repeat(50_000))).unwrap();
        driver.call(2, iteration);
        most = most.max(driver.user.bytes());
    }
    assert!(most <= bound, "{most} bytes are kept, {bound} are stated");
    assert!(most > bound / 3, "{most} bytes are kept: the user is not full, or {bound} says nothing");
    assert!(bound < 2 << 20, "{bound}");
    driver.user.reset();
    assert!(driver.user.bytes() < empty + 40_000, "what is left is the last path and the counters");
}

#[test]
fn a_scenario_that_keeps_nothing_costs_little() {
    let mut stage = Stage::default();
    let it = stage.http("it", "/");
    let stage_context = stage.stage_context(vec![it]);
    assert!(UserSession::most_bytes(&stage_context.scenario) < 16 << 10);
    assert!(size_of::<UserSession>() < 512, "{}", size_of::<UserSession>());
}
