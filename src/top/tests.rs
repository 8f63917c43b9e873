//! Screens, keys and addresses.

use super::columns::{ago, span};
use super::*;
use jiff::{SignedDuration, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-29T10:00:00Z".parse().unwrap()
}

fn pair(profile: &str, target: &str) -> Value {
    let slot = |ok: u64, p50: f64| {
        json!({ "ok": ok, "failed": ok / 9, "output_tokens": 90, "time_to_first_token_seconds": { "p50": p50, "p95": p50 * 2.0 },
                "request_duration_seconds": { "p50": 1.5, "p95": 2.0 } })
    };
    let objective = json!({ "slo": "ttft", "objective_ratio": 0.99, "good_ratio": 0.995, "met": true });
    let window = json!({
        "ok": 120, "failed": 0, "requests_per_second": 2.0, "output_tokens_per_second": 96.4,
        "output_pace_p50_tokens_per_second": 41.25, "objectives": [objective],
        "time_to_first_token_seconds": { "p50": 0.12, "p95": 0.31 },
        "request_duration_seconds": { "p50": 1.5, "p95": null },
    });
    json!({
        "profile": profile, "target": target, "model": "sim-8b", "schedule": "every", "in_flight": 3,
        "active_runs": [{ "id": "x" }], "next_run": "2026-11-29T10:00:42Z",
        "last_run": { "result": "ok", "reason": null, "ended": "2026-11-29T09:58:00Z" },
        "regressions": [], "held_back": null, "requests": { "ok": 120 },
        "history": { "load": "every 2 min: 2 requests/s for 1 min", "minute": window, "window": window,
                     "slots": (0..30_u32).map(|n| slot(n.into(), 0.1 + f64::from(n % 7) / 50.0)).collect::<Vec<_>>() },
    })
}

/// A daemon with a pair that is well, one that is not, and one of which nothing is known.
fn snapshot() -> TopSnapshot {
    let mut bad = pair("chat", "other");
    bad["history"]["minute"]["failed"] = json!(7);
    bad["history"]["minute"]["time_to_first_token_seconds"] = json!({ "p50": 2.5, "p95": null });
    bad["history"]["window"]["objectives"][0]["met"] = json!(false);
    bad["last_run"] =
        json!({ "result": "failed", "reason": "ttft: 50% of 99%", "ended": "2026-11-29T09:59:30Z" });
    bad["regressions"] =
        json!([{ "quantity": "time_to_first_token", "since": "2026-11-29T08:00:00Z", "ratio": 1.4 }]);
    let idle = json!({ "profile": "nightly", "target": "llama", "model": "m", "schedule": "cron", "history": null,
                       "held_back": { "message": "the budget of profile/nightly is spent until 00:00" } });
    let failure = |seconds: u32| {
        json!({ "profile": "chat", "target": "other", "outcome": "first_token_timeout", "detail": "no token in 30 s\nmore",
                "ended": format!("2026-11-29T09:59:{seconds}Z") })
    };
    serde_json::from_value(json!({
        "agent": { "id": "probe-1", "location": "eu-west-1", "version": "0.1.0", "new": 1 }, "phase": "running",
        "config": { "ok": true, "errors": [] },
        "budgets": [{ "scope": "agent", "unit": "requests", "spent": 190.0, "limit": 200.0 }],
        "pairs": [pair("chat", "llama"), bad, idle],
        "targets": [{ "target": "llama", "state": "ok", "why": "" }, { "target": "other", "state": "failing", "why": "3 of 3 failed" }],
        "failures": [failure(50), failure(20)],
    }))
    .unwrap()
}

fn state() -> TopState {
    let mut state = TopState::new("http://127.0.0.1:9464".to_owned(), true, now());
    state.answered(Ok(snapshot()), now());
    state
}

fn screen(state: &TopState, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(state, frame)).unwrap();
    let text = terminal.backend().to_string();
    // The backend quotes its lines.
    text.lines().map(|line| line.trim_matches('"').trim_end().to_owned() + "\n").collect()
}

fn press(state: &mut TopState, keys: &[KeyCode]) {
    for key in keys {
        state.key(KeyEvent::new(*key, KeyModifiers::NONE));
    }
}

fn chars(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn names(state: &TopState) -> Vec<String> {
    state.rows().iter().map(|row| format!("{} {}", row.pair.profile, row.pair.target)).collect()
}

#[test]
fn pairs_are_a_table_that_fits() {
    insta::assert_snapshot!("wide", screen(&state(), 160, 10));
    insta::assert_snapshot!("narrow", screen(&state(), 60, 10));
}

#[test]
fn a_pair_has_details() {
    let mut state = state();
    press(&mut state, &[KeyCode::Down, KeyCode::Enter]);
    insta::assert_snapshot!("detail", screen(&state, 100, 30));
    press(&mut state, &[KeyCode::Esc]);
    assert!(!screen(&state, 100, 30).contains("last failures"));
}

#[test]
fn a_daemon_that_does_not_answer_is_shown_with_the_age_of_what_is_known() {
    let mut unknown = TopState::new("http://127.0.0.1:9464".to_owned(), true, now());
    assert!(screen(&unknown, 80, 8).contains("waiting for the first answer"));
    unknown.answered(Err("connection refused".to_owned()), now());
    assert!(screen(&unknown, 80, 8).contains("no answer: connection refused; trying again"));
    let mut lost = state();
    let later = now() + SignedDuration::from_secs(12);
    lost.tick(later);
    assert!(screen(&lost, 80, 8).contains("this is 12 s old; waiting"));
    lost.answered(Err("connection refused".to_owned()), later);
    let shown = screen(&lost, 80, 8);
    assert!(shown.contains("no answer: connection refused; this is 12 s old"), "{shown}");
    assert!(shown.contains("nightly"), "what is known stays: {shown}");
    lost.answered(Ok(snapshot()), later);
    assert!(!screen(&lost, 80, 8).contains("no answer"));
}

#[test]
fn keys_filter_sort_and_find() {
    let mut state = state();
    assert_eq!(names(&state), ["chat llama", "chat other", "nightly llama"]);
    press(&mut state, &chars("f"));
    assert_eq!(names(&state), ["chat other", "nightly llama"], "what is held back is not well either");
    press(&mut state, &chars("f/NIGHT"));
    assert_eq!(names(&state), ["nightly llama"]);
    assert!(!state.quits());
    press(&mut state, &[KeyCode::Char('q')]);
    assert!(!state.quits(), "it is part of the text");
    press(&mut state, &[KeyCode::Esc]);
    press(&mut state, &chars("s"));
    assert_eq!(names(&state), ["chat other", "nightly llama", "chat llama"]);
    press(&mut state, &chars("s"));
    assert_eq!(names(&state), ["chat other", "chat llama", "nightly llama"]);
    press(&mut state, &chars("?"));
    assert!(screen(&state, 80, 20).contains("q, Ctrl-C"));
    press(&mut state, &chars("?q"));
    assert!(state.quits());
    let mut state = self::state();
    state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(state.quits());
}

#[test]
fn the_selection_stays_with_its_pair_and_a_thousand_pairs_scroll() {
    let mut all = snapshot();
    let pairs = (0..50).flat_map(|p| (0..20).map(move |t| pair(&format!("p{p:02}"), &format!("t{t:02}"))));
    all.pairs = pairs.map(|pair| serde_json::from_value(pair).unwrap()).collect();
    let mut state = state();
    state.answered(Ok(all), now());
    press(&mut state, &[KeyCode::End]);
    let shown = screen(&state, 100, 20);
    assert!(shown.contains("p49") && !shown.contains("p00"), "{shown}");
    press(&mut state, &[KeyCode::Up, KeyCode::Up]);
    assert_eq!(state.selected_row(&state.rows()), Some(997));
    // Its row is another one among those that are found.
    press(&mut state, &chars("/t17"));
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!((state.rows().len(), state.selected_row(&state.rows())), (50, Some(49)));
    press(&mut state, &[KeyCode::Home, KeyCode::PageDown]);
    assert_eq!(state.selected_row(&state.rows()), Some(10));
    // The smallest screens do not panic.
    for (width, height) in [(1, 1), (5, 2), (20, 3), (300, 4)] {
        press(&mut state, &[KeyCode::Enter]);
        screen(&state, width, height);
    }
}

#[test]
fn without_colours_there_are_none() {
    let has_color = |color: bool| {
        let mut state = state();
        state.color = color;
        let mut terminal = Terminal::new(TestBackend::new(120, 20)).unwrap();
        terminal.draw(|frame| view(&state, frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        buffer.content().iter().any(|cell| cell.fg != ratatui::style::Color::Reset)
    };
    assert!(has_color(true) && !has_color(false));
}

#[test]
fn on_paper_every_column_is_there() {
    let text = plain(&snapshot(), now());
    let first = text.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(first, "chat llama ok running 120 ms 310 ms 41.2 0 2.00 96.4 3 ok 2 min ago 42 s");
    assert!(text.contains("time to first token +40%"), "{text}");
}

#[test]
fn spans_have_one_unit() {
    let text = |seconds| span(SignedDuration::from_secs(seconds));
    assert_eq!([-5, 0, 1, 99, 100].map(text), ["now", "now", "1 s", "99 s", "1 min"]);
    assert_eq!([5999, 6000, 172_799, 172_800].map(text), ["99 min", "1 h", "47 h", "2 d"]);
    let text = |seconds| ago(SignedDuration::from_secs(seconds));
    assert_eq!([-5, 0, 1, 100].map(text), ["now", "now", "1 s ago", "1 min ago"]);
}

#[test]
fn addresses_hide_their_password() {
    let shown = |text: &str| TopAddress::parse(text, None).map(|it| it.shown().to_owned());
    for (text, address) in [
        ("http://127.0.0.1:9464", "http://127.0.0.1:9464"),
        ("localhost:9464", "http://localhost:9464"),
        ("https://me:secret@probe.example.net/tokenbeat?x#y", "https://probe.example.net/tokenbeat"),
    ] {
        assert_eq!(shown(text).unwrap(), address);
    }
    for text in ["ftp://x", "http://", "me:secret@host:port"] {
        let error = shown(text).unwrap_err().to_string();
        assert!(error.contains("is no address of a daemon") && !error.contains("secret"), "{error}");
    }
}
