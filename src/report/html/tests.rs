//! That a report is whole, loads nothing, and that nothing in it is markup of others.

use super::*;
use crate::event::{Failure, Outcome};
use crate::report::testing::{environment, found, played, played_with, worse_baseline, worse_comparison};
use crate::testing::search_report;
use std::sync::Arc;

const HOSTILE: &str = "</script><script>alert(1)</script><!--\"'&{{ title }}";

fn saved() -> SavedResult {
    SavedResult::of(&played(200), environment())
}

/// The text of the elements of this name.
fn elements<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let all = html.split(&open).skip(1);
    all.map(|rest| rest.split_once('>').unwrap().1.split(&close).next().unwrap()).collect()
}

#[test]
fn it_has_all_numbers_in_tables() {
    let mut result = saved();
    result.comparisons = vec![worse_comparison()];
    result.baseline = Some(worse_baseline());
    result.diagnosis = vec![found()];
    result.config = Some("profiles:\n  chat: {}\n".into());
    result.replay = vec!["tokenbeat run chat --seed 1".into()];
    let html = result.to_html().unwrap();
    for text in [
        "<h1>tokenbeat: chat</h1>",
        ">failed</p>",
        "agent probe-1 in eu",
        "<td class=\"number\">300 ms</td>",
        "300 ms ≤ 300 ms",
        "objective ttft: time_to_first_token below 0.8 s for 99%",
        "answers with status 200",
        "decode bound",
        "answers begin soon",
        "Changes since before.json (saved 2026-11-20T10:01:00Z): worse",
        "canary: new against old: worse (200 pairs, 99% confidence)",
        "tokenbeat run chat --seed 1",
        "profiles:\n  chat: {}",
        "<caption>Requests and failures</caption>",
        ">stalls</th>",
        ">timeout rate</th>",
    ] {
        assert!(html.contains(text), "{text}: {}", html.split("<main>").nth(1).unwrap());
    }
    // Each row has a cell for each column.
    for table in elements(&html, "table") {
        let columns = table.matches("<th ").count();
        for row in elements(elements(table, "tbody")[0], "tr") {
            assert_eq!(row.matches("<td").count(), columns, "{table}");
        }
    }
    let data: serde_json::Value = serde_json::from_str(elements(&html, "script")[0]).unwrap();
    let plots = data[0]["plots"].as_array().unwrap();
    let titles: Vec<&str> = plots.iter().map(|plot| plot["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        ["Requests", "Latency over time", "Distributions", "First token by prompt", "Duration by answer"]
    );
    for plot in plots {
        assert!(html.contains(&format!("id=\"{}\"", plot["id"].as_str().unwrap())));
        for series in plot["series"].as_array().unwrap() {
            let x: Vec<f64> = series["x"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            assert!(x.is_sorted() && x.len() == series["y"].as_array().unwrap().len(), "{series}");
        }
    }
    assert_eq!(plots[3]["series"][0]["y"].as_array().unwrap().len(), 200);
}

#[test]
fn it_loads_nothing_and_allows_only_its_own_scripts() {
    let html = saved().to_html().unwrap();
    for loads in ["src=", "href=", "url(", "@import", "fetch(", "http-equiv=\"refresh"] {
        assert!(!html.contains(loads), "{loads}");
    }
    assert!(!html.contains("style=\""), "the policy refuses it");
    let policy =
        html.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split("\">").next().unwrap();
    assert!(policy.starts_with("default-src &#x27;none&#x27;; script-src &#x27;sha256-"), "{policy}");
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    let allowed = policy.replace("&#x2f;", "/");
    for own in [&elements(&html, "script")[1..], &elements(&html, "style")[..]].concat() {
        assert!(allowed.contains(&hash(own)), "{policy}");
    }
    assert_eq!((elements(&html, "script").len(), elements(&html, "style").len()), (3, 2));
}

#[test]
fn nothing_in_it_is_markup_of_others() {
    let summary = played_with(5, Outcome::Failed(Failure::Check), |request| {
        request.failed_checks = vec![HOSTILE.into()];
        request.observed.server = Some(HOSTILE.into());
    });
    let mut result = SavedResult::of(&summary, environment());
    let pair = &mut result.pairs[0];
    (pair.profile, pair.target, pair.model) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
    pair.reasons = vec![HOSTILE.into()];
    (pair.runs[0].id, pair.runs[0].reason) = (HOSTILE.into(), Some(HOSTILE.into()));
    pair.requests.samples.iter_mut().for_each(|it| it.step = HOSTILE.into());
    pair.stages[1].stage = HOSTILE.into();
    result.environment.agent = HOSTILE.into();
    (result.config, result.replay) = (Some(HOSTILE.into()), vec![HOSTILE.into()]);
    result.diagnosis = vec![crate::report::Diagnosis { summary: HOSTILE.into(), ..found() }];
    result.models = vec![HOSTILE.into()];
    let mut baseline = worse_baseline();
    baseline.file = HOSTILE.into();
    result.baseline = Some(baseline);
    let html = result.to_html().unwrap();
    assert!(!html.contains("<script>alert") && !html.contains("<!--"), "{html}");
    // The data and the two scripts, each of which ends once.
    assert_eq!((html.matches("<script").count(), html.matches("</script").count()), (3, 3));
    assert!(html.matches("&lt;script&gt;alert").count() > 12);
    assert!(html.contains("{{ title }}"), "it is no template either");
    let data: serde_json::Value = serde_json::from_str(elements(&html, "script")[0]).unwrap();
    assert!(data.to_string().contains("alert(1)"));
}

#[test]
fn a_search_shows_its_curve() {
    let mut result = saved();
    let run = &mut result.pairs[0].runs[0];
    (run.search, run.found) = (true, Some(Arc::new(search_report())));
    let html = result.to_html().unwrap();
    assert!(
        html.contains("Capacity: up to 2 users met the objectives") && html.contains(">missed ttft</td>")
    );
    let data: serde_json::Value = serde_json::from_str(elements(&html, "script")[0]).unwrap();
    let plot =
        data[0]["plots"].as_array().unwrap().iter().find(|it| it["title"] == "Throughput by load").unwrap();
    assert_eq!(plot["series"][0]["x"], serde_json::json!([1.0, 2.0, 4.0]));
    assert_eq!((&plot["x"]["label"], &plot["right"]["label"]), (&"users".into(), &"output tokens/s".into()));
}

#[test]
fn an_empty_result_is_a_page() {
    let html =
        SavedResult::of(&crate::report::Summary::new(&crate::testing::small_plan()), environment()).to_html();
    assert!(html.unwrap().contains("Overview"));
    let html = SavedResult::of(&played(0), environment()).to_html().unwrap();
    assert!(html.contains("chat on llama") && !html.contains("NaN"));
}
