//! What a file has, and that nothing is lost in it.

use super::*;
use crate::event::{Failure, Outcome, RunResult};
use crate::report::testing::{environment, played, reset_of};
use crate::testing::search_report;

#[test]
fn a_result_is_a_golden_file() {
    let mut saved = SavedResult::of(&played(30), environment());
    reset_of(&mut saved);
    saved.pairs[0].reasons = vec!["objective ttft missed".into()];
    saved.config = Some("profiles: {}\n".into());
    let mut value: serde_json::Value = serde_json::from_str(&saved.to_json().unwrap()).unwrap();
    value.sort_all_objects();
    let text = serde_json::to_string_pretty(&value).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/result.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text.clone() + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(text + "\n", golden, "run the test with UPDATE_GOLDEN=1 and look at the difference");
}

#[test]
fn the_summary_that_is_read_is_the_one_that_was_saved() {
    let summary = played(30);
    let saved = SavedResult::of(&summary, environment());
    let read = SavedResult::from_json(&saved.to_json().unwrap()).unwrap();
    let json = |report: Report| serde_json::to_value(report).unwrap();
    assert_eq!(json(read.report()), json(saved.report()));
    assert_eq!(json(read.report())["pairs"], json(summary.report())["pairs"]);
    assert_eq!(read.report().tables(), summary.report().tables());
    assert_eq!(read.pairs[0].requests, saved.pairs[0].requests);
    assert_eq!(read.pairs[0].requests.samples.len(), 30);
    assert_eq!((read.pairs[0].runs[0].agent.as_str(), read.pairs[0].objectives.len()), ("probe-1", 3));
}

#[test]
fn what_a_server_said_is_text_and_moves_no_cursor() {
    let hostile = "\u{1b}[2J\u{9b}31m\u{202e}evil\u{7}";
    let mut saved = SavedResult::of(&played(3), environment());
    saved.pairs[0].reasons = vec![format!("http_5xx: {hostile}\r\nnext \"line\" C:\\b \u{1f600}")];
    saved.models = vec![hostile.into()];
    saved.pairs[0].model = hostile.into();
    let json = saved.to_json().unwrap();
    // Characters may be written as they are, or as escapes.
    let escaped = json.replace('\u{202e}', "\\u202E").replace('\u{1f600}', "\\ud83d\\ude00");
    for json in [&json, &escaped] {
        let read = SavedResult::from_json(json).unwrap();
        assert_eq!(read.models, [" [2J 31m evil "]);
        assert_eq!(read.pairs[0].reasons, ["http_5xx:  [2J 31m evil  \nnext \"line\" C:\\b \u{1f600}"]);
        let shown = [read.report().tables(), read.to_html().unwrap(), read.to_markdown()];
        assert!(
            shown.iter().all(|text| !text.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{7}'])),
            "{shown:?}"
        );
    }
    // What was not read from a file is shown in the same way.
    for text in [saved.to_html().unwrap(), saved.to_markdown()] {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text}");
    }
}

#[test]
fn version_1_is_read() {
    let tally = |ok: u64, seconds: f64| {
        format!(
            "{{\"offered\":[{ok},0],\"ended\":{{\"ok\":[{ok},0]}},\"load_active_seconds\":{seconds},\
             \"first_token\":[[200000,{ok}]],\"judged\":{{\"ttft\":[{ok},0]}}}}"
        )
    };
    let part = |stage: &str, step: &str, tally: String| {
        format!("{{\"stage\":\"{stage}\",\"step\":\"{step}\",\"tally\":{tally}}}")
    };
    let pair = |name: &str, parts: &[String]| {
        format!(
            "{{\"profile\":\"{name}\",\"target\":\"t\",\"model\":\"m\",\"revision\":\"r\",\"runs\":[{{\"id\":\"x\",\
             \"seed\":1,\"started\":\"2026-11-20T10:01:00.000Z\",\"ended\":\"2026-11-20T10:02:00.000Z\",\
             \"result\":\"ok\",\"degraded\":null,\"search\":false}}],\"thresholds\":{{\"chunk_gap\":0.05}},\
             \"parts\":[{}]}}",
            parts.join(",")
        )
    };
    let text = format!(
        "{{\"format\":\"tokenbeat-result\",\"version\":1,\"environment\":{{\"tokenbeat\":\"0.1.0\",\
         \"saved\":\"2026-11-20T10:01:00Z\",\"agent\":\"a\",\"location\":\"\",\"platform\":\"linux\",\
         \"currency\":\"usd\"}},\"pairs\":[{},{}]}}",
        pair("chat", &[part("steady", "", tally(12, 10.0)), part("peak", "", tally(30, 5.0))]),
        pair("rag", &[part("steady", "login", tally(2, 10.0)), part("steady", "query", tally(4, 10.0))]),
    );
    let read = SavedResult::from_json(&text).unwrap();
    let parts = |pair: &ResultPair| -> Vec<(String, String, u64, f64)> {
        let parts = pair.parts().into_iter();
        let seconds = |part: &crate::report::ResultPart| part.tally.load_active.as_secs_f64();
        parts.map(|it| (it.stage.to_string(), it.step.to_string(), it.tally.ok(), seconds(&it))).collect()
    };
    let of = |stage: &str, step: &str, ok, seconds| (stage.to_owned(), step.to_owned(), ok, seconds);
    assert_eq!(parts(&read.pairs[0]), [of("steady", "", 12, 10.0), of("peak", "", 30, 5.0)]);
    assert_eq!(parts(&read.pairs[1]), [of("steady", "login", 2, 10.0), of("steady", "query", 4, 10.0)]);
    let report = read.report();
    let total = |pair: usize| report.pairs[pair].total.throughput.unwrap();
    assert!((total(0).load_active_seconds - 15.0).abs() < 1e-9);
    assert!((total(1).requests_per_second - 0.6).abs() < 1e-9, "the steps share the time of their stage");
    assert_eq!(read.pairs[0].runs[0].agent, "a");
    // It is written as the present version, and reads the same.
    let again = SavedResult::from_json(&read.to_json().unwrap()).unwrap();
    assert_eq!(again.to_json().unwrap(), read.to_json().unwrap());
    assert_eq!(parts(&again.pairs[1]), parts(&read.pairs[1]));
}

#[test]
fn a_verdict_is_the_worst_of_what_is_known() {
    let mut saved = SavedResult::of(&played(3), environment());
    assert_eq!(saved.verdict(), ResultVerdict::Ok);
    saved.pairs[0].reasons.push("nothing was sent".into());
    assert_eq!(saved.verdict(), ResultVerdict::Failed);
    saved.pairs[0].runs[0].result = RunResult::Cancelled.label().into();
    assert_eq!(saved.verdict(), ResultVerdict::Stopped);
    let json: serde_json::Value = serde_json::from_str(&saved.to_json().unwrap()).unwrap();
    assert_eq!(json["verdict"], "stopped");
}

#[test]
fn a_baseline_holds_no_config() {
    let mut saved = SavedResult::of(&played(3), environment());
    saved.config = Some("prompts: [hunter2]".into());
    saved.replay = vec!["tokenbeat run --config.file /home/me/x.yaml".into()];
    let text = saved.as_baseline().to_json().unwrap();
    assert!(!text.contains("hunter2") && !text.contains("/home/me"), "{text}");
}

#[test]
fn what_a_search_found_is_kept() {
    let mut saved = SavedResult::of(&played(3), environment());
    let run = &mut saved.pairs[0].runs[0];
    (run.search, run.found) = (true, Some(Arc::new(search_report())));
    let read = SavedResult::from_json(&saved.to_json().unwrap()).unwrap();
    assert_eq!(read.pairs[0].runs[0].found.as_deref(), Some(&search_report()));
    assert!(read.report().tables().contains("throughput stops growing in proportion at 2 users"));
}

#[test]
fn a_failed_request_is_in_the_trail() {
    let summary = played(3);
    let saved = SavedResult::of(&summary, environment());
    let trail = &saved.pairs[0].requests;
    let mut slot = crate::report::TimelineSlot::default();
    trail.timeline.slots.values().for_each(|it| slot.add(*it));
    assert_eq!((slot.offered, slot.ended, slot.ok, slot.failed), (3, 3, 3, 0));
    assert_eq!((trail.http_responses[&200], trail.broken_streams.len()), (3, 0));
    assert!(trail.samples.iter().all(|it| it.first_token == Some(0.3) && it.input_tokens == Some(20)));
    let failing = crate::report::testing::played_with(2, Outcome::Failed(Failure::Reset), |request| {
        request.observed.server = Some("nginx".into());
    });
    let trail = &SavedResult::of(&failing, environment()).pairs[0].requests;
    assert_eq!(trail.broken_streams["reset"], 2);
    assert_eq!(trail.servers.iter().collect::<Vec<_>>(), ["nginx"]);
    assert!(trail.timeline.slots.values().all(|slot| slot.ok == 0) && !trail.samples[0].is_answered());
}
