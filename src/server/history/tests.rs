//! What the history answers, with and without a state file.

use super::*;
use crate::event::Outcome;
use crate::fact::Sink;
use crate::server::tests::views::{body, views};
use crate::state::{BudgetLedger, Restored, RetentionLimits};
use crate::testing::{Build, play, small_plan};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::atomic::{AtomicI64, Ordering};

async fn ask(views: &Views, query: &str) -> (StatusCode, String) {
    let uri: http::Uri = format!("/?{query}").parse().unwrap();
    let wanted = Query::<WantedHistory>::try_from_uri(&uri).unwrap();
    let answer = history(State(views.clone()), HeaderMap::new(), wanted).await;
    // What can be compressed says that it depends on what the caller accepts.
    let varies = answer.headers().get(http::header::VARY).is_some_and(|it| it == "accept-encoding");
    assert_eq!(varies, answer.status() == StatusCode::OK, "{query}");
    body(answer).await
}

#[tokio::test]
async fn without_a_state_file_a_chart_has_what_is_in_memory() {
    let (views, _parts) = views();
    let sink: Arc<dyn Sink> = Arc::<crate::state::HistoryRecorder>::clone(&views.history);
    let place = Arc::clone(&small_plan().pairs[0].places[1]);
    for _ in 0..3 {
        play(&sink, &place, Outcome::Ok, |_| {});
    }
    play(&sink, &place, Outcome::Failed(crate::event::Failure::Reset), |_| {});
    let (status, text) = ask(&views, "profile=chat&target=llama&step=60&hours=1").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["source"], &answer["truncated"]), (&"memory".into(), &false.into()));
    let [point] = &answer["points"].as_array().unwrap()[..] else { panic!("{text}") };
    assert_eq!(point["requests"], serde_json::json!({ "ok": 3, "reset": 1 }));
    assert_eq!(point["time_to_first_token_seconds"]["count"], 3);
    assert!((point["time_to_first_token_seconds"]["p99"].as_f64().unwrap() - 0.3).abs() < 1e-3, "{text}");
    assert_eq!(ask(&views, "profile=chat&target=other&step=60").await.1.matches("start").count(), 0);
    let (status, text) = ask(&views, "profile=chat&target=llama").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("agent.state") && text.contains("`step`"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said() {
    let (views, _parts) = views();
    for (query, why) in [
        ("step=60&profile=chat", "give `profile` and `target`"),
        ("step=60&profile=chat&target=llama&from=yesterday", "neither a time like"),
        ("hours=1&from=0", "exclude each other"),
    ] {
        let (status, text) = ask(&views, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(text.contains(why), "{query}: {text}");
    }
}

#[tokio::test]
async fn minutes_that_are_read_in_chunks_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Build { targets: vec!["a", "b", "c"], ..Build::default() }.plan();
    let minute = Arc::new(AtomicI64::new(100));
    let now = Arc::clone(&minute);
    let wall: crate::event::WallClock =
        Arc::new(move || Timestamp::from_second(now.load(Ordering::Relaxed) * 60).unwrap());
    let start = || {
        let kept = RetentionLimits { retention: Duration::from_hours(24), max_bytes: 1 << 20 };
        let restored = Restored::open(dir.path(), kept, wall()).unwrap();
        let ledger = Arc::new(BudgetLedger::new(&plan, Arc::clone(&wall)));
        StateKeeper::start(restored, ledger, Arc::clone(&wall), |_| {}).unwrap()
    };
    let keeper = start();
    let sink: Arc<dyn Sink> = Arc::<StateKeeper>::clone(&keeper);
    for at in 100..105 {
        minute.store(at, Ordering::Relaxed);
        for pair in &plan.pairs {
            play(&sink, &pair.places[0], Outcome::Ok, |_| {});
        }
    }
    assert!(keeper.stop(Duration::from_secs(20)));
    let keeper = start();
    let all: Vec<_> =
        (100..105).flat_map(|at| ["a", "b", "c"].map(|target| (at, target.to_owned()))).collect();
    for chunk in [1, 2, 3, 4, 5, 7, 15, 16, CHUNK] {
        let wanted = WantedMinutes { from: 0, ..WantedMinutes::default() };
        let read = newest(&keeper, wanted, chunk).await.unwrap();
        let read: Vec<_> = read.iter().map(|saved| (saved.minute, saved.pair.target.to_string())).collect();
        assert_eq!(read, all, "in chunks of {chunk}");
    }
    assert!(keeper.stop(Duration::from_secs(20)));
}
