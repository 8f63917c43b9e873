//! Results that are saved and compared, by the real binary against the simulator.

use crate::harness::Simulator;
use crate::process::{Ended, Process, bare};
use std::path::Path;
use tempfile::TempDir;

/// Answers that are long enough for a pace.
const ANSWERS: &str =
    "schedule: { manual: {} }, seed: 1, workload: { prompts: [hello], output_tokens: 8, ignore_eos: true }";

/// A profile `gate` of forty requests, and others that are compared with nothing.
fn config(simulator: &Simulator, thresholds: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: openai-chat, base_url: 'http://{}/v1', model: m, auth: {{ bearer: {{ value: hunter2 }} }} }} }}\n\
         profiles:\n  \
           gate: {{ targets: [t], {ANSWERS}, load: [{{ requests: 40, users: 2 }}], baseline: {{ {thresholds} }} }}\n  \
           other: {{ targets: [t], {ANSWERS} }}\n  \
           search: {{ targets: [t], {ANSWERS}, search: {{ over: users, from: 1, to: 2, hold: 1s }}, \
             slo: [{{ name: up, metric: availability, objective: 99% }}] }}\n",
        simulator.address
    )
}

/// A simulator that takes 15 ms for a token, and about 50 ms for a prompt of a few, so that the noise of a busy machine is
/// small beside both.
fn simulator() -> Simulator {
    let step_time = std::time::Duration::from_millis(15);
    Simulator::with(tokenbeat::sim::Options { step_time, prefill_rate: 80.0, ..crate::harness::quick() })
}

/// Runs the binary in a folder that is kept.
async fn run(folder: &Path, config: &str, arguments: &[&str]) -> Ended {
    let place = tempfile::tempdir_in(folder).unwrap();
    std::fs::write(place.path().join("tokenbeat.yaml"), config).unwrap();
    let mut all = arguments.to_vec();
    all.extend(["--config.file", "tokenbeat.yaml"]);
    Process::start(place, &all, &[]).ended().await
}

/// The lines of a table by quantity: the last word of each is its verdict.
fn verdicts(out: &str) -> Vec<(String, String)> {
    let (_, table) = out.split_once("Compared with").unwrap_or(("", out));
    let rows = table.lines().filter(|line| line.starts_with('│') && !line.contains("quantity"));
    let cells =
        rows.map(|row| row.trim_matches('│').split("  ").map(str::trim).filter(|cell| !cell.is_empty()));
    cells
        .map(|cells| cells.map(str::to_owned).collect::<Vec<_>>())
        .map(|cells| (cells[1].clone(), cells[cells.len() - 1].clone()))
        .collect()
}

fn file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// A machine that others use may change a time by a tenth; what the test causes is many times that.
const WIDE: &str = "min_change: 60%, failures: 20%";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_compared_with_a_saved_one() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (file(&folder, "before.json"), file(&folder, "after.json"));
    let (before, after) = (before.as_str(), after.as_str());
    let config = config(&simulator, WIDE);

    let saved = run(folder.path(), &config, &["run", "gate", "--save-baseline", before]).await;
    assert_eq!(saved.code, 0, "{saved:?}");
    assert!(saved.err.contains(&format!("saved the result as {before}\n")), "{}", saved.err);
    let text = std::fs::read_to_string(before).unwrap();
    assert!(
        text.contains("\"id\":\"gate/t/seed-1\"") && !text.contains("hunter2") && !text.contains("hello"),
        "{text}"
    );

    let same = run(folder.path(), &config, &["run", "gate", "--baseline", before]).await;
    assert_eq!(same.code, 0, "{same:?}");
    let found = verdicts(&same.out);
    assert_eq!(found.len(), 5, "{}", same.out);
    assert!(found.iter().all(|(_, verdict)| verdict != "worse" && verdict != "better"), "{}", same.out);

    // Five times as slow.
    simulator.inject("slow_down;factor=5");
    let arguments = ["run", "gate", "--baseline", before, "--save-baseline", after];
    let slow = run(folder.path(), &config, &arguments).await;
    assert_eq!(slow.code, 2, "{slow:?}");
    let found = verdicts(&slow.out);
    for quantity in ["output pace", "request duration", "chunk gap"] {
        assert!(found.contains(&(quantity.to_owned(), "worse".to_owned())), "{quantity}: {}", slow.out);
        let why = format!("failed: gate on t: {quantity} worse: ");
        assert!(slow.err.contains(&why), "{why} in {}", slow.err);
    }

    // The same out of the two files, in both directions, and shown.
    let diff = bare(&["report", "diff", before, after]).await;
    assert_eq!((diff.code, verdicts(&diff.out)), (2, found), "{diff:?}");
    let faster = bare(&["report", "diff", after, before, "--format", "json"]).await;
    assert_eq!(faster.code, 0, "{faster:?}");
    let json: serde_json::Value = serde_json::from_str(&faster.out).unwrap();
    let pace = json["changes"].as_array().unwrap().iter().find(|it| it["quantity"] == "output_pace").unwrap();
    assert_eq!((&pace["verdict"], &pace["min_change"]), (&"better".into(), &0.6.into()), "{pace}");
    assert!(pace["change_low"].as_f64() > Some(0.0) && pace["before"]["samples"] == 40, "{pace}");
    let shown = bare(&["report", before]).await;
    assert!(
        shown.code == 0 && shown.out.contains("gate on t (m)") && shown.out.contains("needs 662"),
        "{shown:?}"
    );

    // A baseline that each run renews does not take in what is worse.
    let kept =
        run(folder.path(), &config, &["run", "gate", "--baseline", before, "--save-baseline", before]).await;
    assert!(
        kept.code == 2 && kept.err.contains("keeps the baseline, because the result is worse"),
        "{kept:?}"
    );
    assert_eq!(std::fs::read_to_string(before).unwrap(), text);
}

#[tokio::test]
async fn what_cannot_be_compared_is_told_before_anything_is_sent() {
    let simulator = simulator();
    let folder = tempfile::tempdir().unwrap();
    let (good, broken, newer) =
        (file(&folder, "good.json"), file(&folder, "broken.json"), file(&folder, "newer.json"));
    let config = config(&simulator, "min_change: 5%");
    let saved = run(folder.path(), &config, &["run", "other", "--save-baseline", good.as_str()]).await;
    assert_eq!(saved.code, 0, "{saved:?}");
    let text = std::fs::read_to_string(&good).unwrap();
    std::fs::write(&broken, &text[..text.len() / 2]).unwrap();
    std::fs::write(&newer, text.replace("\"version\":2", "\"version\":9")).unwrap();
    let sent = simulator.truth().len();

    let (missing, nowhere) = (file(&folder, "missing.json"), file(&folder, "no/where.json"));
    for (profile, option, path, said) in [
        ("other", "--baseline", &missing, "--baseline: cannot read "),
        ("other", "--baseline", &broken, "is not a saved result: EOF while parsing"),
        (
            "other",
            "--baseline",
            &newer,
            "has version 9 of the format, and this tokenbeat reads versions 1 to 2",
        ),
        ("gate", "--baseline", &good, "has no result of gate on t, only other on t; save a new result"),
        ("search", "--baseline", &good, "search is a capacity search, whose many loads are not compared"),
        ("other", "--save-baseline", &nowhere, "--save-baseline: there is no folder "),
    ] {
        let ended = run(folder.path(), &config, &["run", profile, option, path.as_str()]).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{ended:?}");
        assert!(ended.err.contains("error: ") && ended.err.contains(said), "{said}: {}", ended.err);
    }
    let changed = config.replace("output_tokens: 8", "output_tokens: 9");
    let ended = run(folder.path(), &changed, &["run", "other", "--baseline", good.as_str()]).await;
    assert!(
        ended.code == 64 && ended.err.contains("with another workload, load or model (revision "),
        "{ended:?}"
    );
    assert_eq!(simulator.truth().len(), sent, "nothing was sent");

    for (words, said) in [
        (vec!["report", "diff", good.as_str(), broken.as_str()], "is not a saved result"),
        (vec!["report", missing.as_str()], "cannot read "),
        (vec!["report", "diff", good.as_str()], "error: the following required arguments were not provided"),
    ] {
        let ended = bare(&words).await;
        assert!(ended.code == 64 && ended.err.contains(said), "{words:?}: {ended:?}");
    }
    // One request says nothing, which is no failure.
    let diff = bare(&["report", "diff", good.as_str(), good.as_str()]).await;
    assert!(diff.code == 0 && diff.out.contains("too few samples"), "{diff:?}");
}
