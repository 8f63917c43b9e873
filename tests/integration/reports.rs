//! Reports of a run, by the real binary against the simulator.

use crate::harness::Simulator;
use crate::process::{Ended, Process, bare, folder};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const HOSTILE: &str = "</script><b>&\"'|`";

/// A profile that meets its objectives, one that misses one, and one that fails a check. The key and the prompts are those
/// of nobody else.
fn config(simulator: &Simulator, agent: &str) -> String {
    let address = simulator.address;
    format!(
        "agent: {{ id: {agent} }}\n\
         server: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: openai-chat, base_url: 'http://{address}/v1', model: m, \
           auth: {{ bearer: {{ value: hunter2 }} }}, price: {{ input: 1, output: 2 }} }} }}\n\
         profiles:\n  \
           good: {{ targets: [t], schedule: {{ manual: {{}} }}, seed: 1, load: [{{ name: warm, warm_up: 300ms, rate: 10/s }}, {{ name: steady, requests: 20, users: 2 }}], \
             workload: {{ prompts: [\"{prompt}\"], output_tokens: 8 }}, slo: [{{ name: up, metric: availability, objective: 99% }}] }}\n  \
           bad: {{ targets: [t], schedule: {{ manual: {{}} }}, load: [{{ requests: 4 }}], workload: {{ prompts: [hello], output_tokens: 8 }}, \
             slo: [{{ name: fast, metric: request_duration, below: 1ms, objective: 99% }}] }}\n  \
           checked: {{ targets: [t], schedule: {{ manual: {{}} }}, load: [{{ requests: 4 }}], workload: {{ prompts: [hello], output_tokens: 8 }}, \
             expect: {{ text: {{ min_chars: 100000 }} }} }}\n  \
           long: {{ targets: [t], schedule: {{ manual: {{}} }}, load: [{{ for: 1h, rate: 20/s }}], workload: {{ prompts: [hello], output_tokens: 8 }} }}\n",
        prompt = HOSTILE.replace('"', "\\\""),
    )
}

/// Runs the binary in a folder that is kept.
async fn run(kept: &Path, config: &str, arguments: &[&str]) -> Ended {
    let place = tempfile::tempdir_in(kept).unwrap();
    std::fs::write(place.path().join("tokenbeat.yaml"), config).unwrap();
    let mut all = vec!["run"];
    all.extend(arguments);
    all.extend(["--config.file", "tokenbeat.yaml"]);
    Process::start(place, &all, &[]).ended().await
}

fn file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_report_that_programs_read() {
    let simulator = Simulator::start();
    let kept = tempfile::tempdir().unwrap();
    let path = file(&kept, "out.json");
    let ended =
        run(kept.path(), &config(&simulator, "a"), &["good", "--report", &path, "--report", "-"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains(&format!("wrote {path}\n")), "{}", ended.err);
    let (text, out) = (read(&path), json(&ended.out));
    assert_eq!(json(&text), out, "stdout has the same, and nothing else");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(
        (&out["format"], &out["version"], &out["verdict"]),
        (&"tokenbeat-result".into(), &2.into(), &"ok".into())
    );
    let total = &out["summary"]["pairs"][0]["total"];
    assert_eq!(total["requests"]["ok"], 20);
    assert!(total["warm_up_requests"].as_u64() > Some(0), "{total}");
    assert!(total["time_to_first_token_seconds"]["mean"].as_f64() > Some(0.0), "{total}");
    assert!(out["pairs"][0]["runs"][0]["seed"].is_u64(), "{out}");
    assert_eq!(out["pairs"][0]["requests"]["samples"].as_array().unwrap().len(), 20);
    assert!(out["config"].as_str().unwrap().contains("min_chars"), "{}", out["config"]);
    let replay = out["replay"][0].as_str().unwrap();
    assert!(replay.starts_with("tokenbeat run good ") && replay.contains(" --seed 1"), "{replay}");
    // It is a baseline, and can be shown.
    let again =
        run(kept.path(), &config(&simulator, "a"), &["good", "--baseline", &path, "--format", "json"]).await;
    let compared = json(&again.out);
    assert_eq!(compared["baseline"]["file"], "out.json", "{again:?}");
    // By chance one of the two may be slower; the exit code is what the report says.
    let worse = compared["baseline"]["diff"]["verdict"] == "worse";
    let expected = if worse { (2, "failed") } else { (0, "ok") };
    assert_eq!((again.code, compared["verdict"].as_str().unwrap()), expected, "{again:?}");
    let shown = bare(&["report", &path]).await;
    assert!(shown.code == 0 && shown.out.contains("good on t (m)"), "{shown:?}");
    let json_again = bare(&["report", &path, "--format", "json"]).await;
    assert_eq!(json(&json_again.out), out, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_also_for_people_and_for_ci() {
    let simulator = Simulator::start();
    let kept = tempfile::tempdir().unwrap();
    let files = ["out.json", "out.xml", "out.md", "out.html"].map(|name| file(&kept, name));
    let mut arguments = vec!["good", "bad", "checked"];
    for file in &files {
        arguments.extend(["--report", file.as_str()]);
    }
    let ended = run(kept.path(), &config(&simulator, "a"), &arguments).await;
    assert!(ended.code == 2 && ended.out.contains("good"), "{ended:?}");
    let [_, xml, markdown, html] = files.each_ref().map(|file| read(file));
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suites: Vec<_> = document.root_element().children().filter(roxmltree::Node::is_element).collect();
    let failures: Vec<_> =
        suites.iter().map(|it| (it.attribute("name").unwrap(), it.attribute("failures").unwrap())).collect();
    assert_eq!(failures, [("good on t", "0"), ("bad on t", "1"), ("checked on t", "2")], "{xml}");
    assert!(xml.contains("objective fast: request_duration below 0.001 s"), "{xml}");
    assert!(markdown.starts_with("## tokenbeat: ❌ failed"), "{markdown}");
    assert!(markdown.contains("| ✅ | good | t |") && markdown.contains("| ❌ | bad | t |"), "{markdown}");
    assert!(
        html.contains("Content-Security-Policy") && html.contains("script&gt;&lt;b&gt;"),
        "the config is text"
    );
    assert!(!html.contains("<b>&") && !html.contains("hunter2"));
    // A saved result renders the same later.
    let again = file(&kept, "again.xml");
    let rendered = bare(&["report", &files[0], "--report", &again]).await;
    assert_eq!((rendered.code, read(&again)), (0, xml), "{rendered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_failed_or_was_stopped_has_a_report_too() {
    let simulator = Simulator::start();
    let kept = tempfile::tempdir().unwrap();
    let path = file(&kept, "out.json");
    let ended = run(kept.path(), &config(&simulator, "a"), &["bad", "checked", "--report", &path]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let out = json(&read(&path));
    assert_eq!(out["verdict"], "failed");
    let reason = |pair: usize| out["pairs"][pair]["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason(0).contains("objective fast") && reason(1).contains("checks failed"), "{out}");
    assert!(ended.err.contains(&reason(0)) && ended.err.contains(&reason(1)), "as said: {}", ended.err);

    let place = folder(&config(&simulator, "a"));
    let arguments = ["run", "bad", "long", "--report", &path, "--config.file", "tokenbeat.yaml"];
    let process = Process::start(place, &arguments, &[]);
    crate::harness::until("requests", async || (simulator.truth().len() > 20).then_some(())).await;
    process.signal("INT").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let out = json(&read(&path));
    assert_eq!((&out["verdict"], &out["pairs"][1]["profile"]), (&"stopped".into(), &"long".into()));
    assert!(out["summary"]["pairs"][1]["total"]["requests"]["ok"].as_u64() > Some(0), "{out}");
    // What had ended before is judged, and what was stopped is not.
    let reasons = |pair: usize| out["pairs"][pair]["reasons"].as_array().unwrap().len();
    assert!(reasons(0) > 0 && reasons(1) == 0, "{out}");
    assert!(ended.err.contains("failed: bad on t: objective fast"), "{}", ended.err);
    let xml = file(&kept, "stopped.xml");
    assert_eq!(bare(&["report", &path, "--report", &xml]).await.code, 0);
    let xml = read(&xml);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!((root.attribute("failures"), root.attribute("errors")), (Some("1"), Some("1")), "{xml}");
    // A stopped sum is compared with nothing.
    let merged = bare(&["report", "merge", &path, "--baseline", &path]).await;
    assert!(merged.code == 1 && merged.err.contains("the sum is not compared"), "{merged:?}");
}

/// `tokenbeat run ... 2>&1 | head`: whoever reads has left. Or what is printed goes to a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_needs_to_read_what_a_run_says() {
    let simulator = Simulator::start();
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let closed = || Stdio::from(closed.try_clone().unwrap());
    for (out, err, code) in [(closed(), closed(), 2), (full(), Stdio::null(), 1), (Stdio::null(), full(), 2)]
    {
        let place = folder(&config(&simulator, "a"));
        let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokenbeat"));
        run.args(["run", "bad", "good", "--report", "out.json", "--save-baseline", "saved.json"])
            .args(["--config.file", "tokenbeat.yaml"])
            .current_dir(place.path())
            .env_clear()
            .env("NOT_OURS", OsStr::from_bytes(b"\xff"))
            .stdout(out)
            .stderr(err);
        let status = run.status().await.unwrap();
        assert_eq!(status.code(), Some(code), "{status}");
        for name in ["out.json", "saved.json"] {
            let saved = json(&read(place.path().join(name).to_str().unwrap()));
            assert_eq!(saved["verdict"], "failed", "{name}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_told_before_anything_is_sent() {
    let simulator = Simulator::start();
    let kept = tempfile::tempdir().unwrap();
    let (nowhere, place) = (file(&kept, "no/where.json"), kept.path().join("folder.json"));
    std::fs::create_dir(&place).unwrap();
    let twice = file(&kept, "twice.json");
    for (files, said) in [
        (vec!["out.pdf"], "a report is one of .json"),
        (vec![nowhere.as_str()], "--report: there is no folder "),
        (vec![place.to_str().unwrap()], "folder.json is a folder"),
        (vec![twice.as_str(), twice.as_str()], "twice.json is named twice"),
        (vec!["again.json", "./again.json"], "again.json is named twice"),
        (vec!["./saved.json"], "saved.json is the file of --save-baseline; name another one"),
    ] {
        let mut arguments = vec!["good", "--save-baseline", "saved.json"];
        for file in files {
            arguments.extend(["--report", file]);
        }
        let ended = run(kept.path(), &config(&simulator, "a"), &arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{ended:?}");
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
    assert!(simulator.truth().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_several_agents_add_up() {
    let simulator = Simulator::start();
    let kept = tempfile::tempdir().unwrap();
    let [one, two, sum] = ["one.json", "two.json", "sum.json"].map(|name| file(&kept, name));
    for (agent, path) in [("a", &one), ("b", &two)] {
        let ended = run(kept.path(), &config(&simulator, agent), &["good", "bad", "--report", path]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
    }
    let merged = bare(&["report", "merge", &one, &two, "--out", &sum, "--format", "json"]).await;
    assert_eq!(merged.code, 2, "{merged:?}");
    assert!(merged.err.contains("failed: bad on t: objective fast"), "{}", merged.err);
    let out = json(&read(&sum));
    assert_eq!(out, json(&merged.out));
    let totals = |of: &Value| of["summary"]["pairs"][0]["total"]["requests"]["ok"].as_u64().unwrap();
    assert_eq!((totals(&out), totals(&json(&read(&one)))), (40, 20));
    assert_eq!(out["merged"].as_array().unwrap().len(), 2);
    // The sum is a result like others.
    let good = bare(&["report", "merge", &sum, "--baseline", &one]).await;
    assert!(good.code == 2 && good.out.contains("Compared with "), "{good:?}");

    for (arguments, said) in [
        (vec![one.as_str(), one.as_str()], "it would count twice"),
        (vec![sum.as_str(), two.as_str()], "of agent b is in number 2 and before"),
        (vec![one.as_str(), "/no/such.json"], "cannot read /no/such.json"),
    ] {
        let mut all = vec!["report", "merge"];
        all.extend(arguments);
        let ended = bare(&all).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{ended:?}");
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
    let changed = config(&simulator, "c").replace("output_tokens: 8", "output_tokens: 9");
    let three = file(&kept, "three.json");
    let ended = run(kept.path(), &changed, &["good", "--report", &three]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = bare(&["report", "merge", &one, &three]).await;
    assert!(
        ended.code == 64 && ended.err.contains("has another workload, load or model in number 2"),
        "{ended:?}"
    );
    // A pair that cannot be compared is no pass, and the sum is written all the same.
    let ended = bare(&["report", "merge", &one, "--baseline", &three, "--out", &sum]).await;
    assert_eq!(ended.code, 64, "{ended:?}");
    for said in
        ["good on t with another workload, load or model", "has no result of bad on t, only good on t"]
    {
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
    assert_eq!(totals(&json(&read(&sum))), 20);
    let both = bare(&["report", &one, &two, "--report", &sum]).await;
    assert!(both.code == 64 && both.err.contains("a report is about one result"), "{both:?}");
}

/// The gate of the documentation, played twice: without a baseline, and with the one that it saved.
#[tokio::test(flavor = "multi_thread")]
async fn the_gate_of_the_documentation_works() {
    let simulator = Simulator::start();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md")).unwrap();
    let script = page.split("```bash\n").nth(1).unwrap().split("```").next().unwrap();
    // Eight requests are too few to judge a latency, so that only failures are: a machine may be busy.
    let config = config(&simulator, "a").replace("  good:", "  gate:").replace("requests: 20", "requests: 8");
    let kept = folder(&config);
    std::fs::create_dir(kept.path().join("gate")).unwrap();
    std::fs::rename(kept.path().join("tokenbeat.yaml"), kept.path().join("gate/tokenbeat.yaml")).unwrap();
    std::fs::write(kept.path().join("gate.sh"), script).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_tokenbeat")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binaries.display());
    let play = async || {
        let mut shell = tokio::process::Command::new("bash");
        shell.arg("gate.sh").current_dir(kept.path()).env_clear().env("PATH", &path);
        let output = shell.output().await.unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (code, said) = play().await;
    assert_eq!(code, Some(0), "{said}");
    let saved: Vec<_> = std::fs::read_dir(kept.path().join("next")).unwrap().map(Result::unwrap).collect();
    assert_eq!(saved.len(), 1, "{said}");
    std::fs::rename(saved[0].path(), kept.path().join("baseline").join(saved[0].file_name())).unwrap();
    let (code, said) = play().await;
    assert!(code == Some(0) && said.contains("Compared with baseline/baseline-"), "{code:?} {said}");
    let markdown = read(kept.path().join("report/tokenbeat.md").to_str().unwrap());
    assert!(
        markdown.starts_with("## tokenbeat: ✅ passed") && markdown.contains("Changes since baseline-"),
        "{markdown}"
    );

    // What a config reads is part of what is measured.
    std::fs::write(kept.path().join("gate/prompts.txt"), "more").unwrap();
    let (code, said) = play().await;
    assert!(code == Some(0) && !said.contains("Compared with "), "{code:?} {said}");

    // It fails where something is wrong, and says so.
    simulator.inject("error_500");
    let (code, said) = play().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        read(kept.path().join("report/tokenbeat.md").to_str().unwrap())
            .starts_with("## tokenbeat: ❌ failed")
    );
}
