//! The documentation: its examples work, its links resolve, and the metrics that it names exist.

use clap::Parser as _;
use std::path::{Path, PathBuf};
use tokenbeat::catalogue::Metric;
use tokenbeat::cli::Cli;
use tokenbeat::config::ConfigSource;
use tokenbeat::plan;

/// A page, by its path in the repository.
pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and the pages in `docs`.
pub(crate) fn pages() -> Vec<Page> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut all: Vec<Page> = pages
        .chain([root().join("README.md")])
        .map(|path| Page { text: std::fs::read_to_string(&path).unwrap(), path })
        .collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(all.len() > 5, "only {} pages", all.len());
    all
}

impl Page {
    /// The code blocks in this language.
    pub(crate) fn blocks(&self, language: &str) -> Vec<String> {
        let opening = format!("\n```{language}\n");
        let blocks = self.text.split(&opening).skip(1);
        blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 200);
}

#[test]
fn configs_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("people.csv"), "email\nprobe@example.net\n").unwrap();
    std::fs::write(folder.path().join("prompts.txt"), "What is a token?\n").unwrap();
    let mut found = 0;
    for page in pages() {
        for (n, text) in page.blocks("yaml").into_iter().enumerate() {
            let file = folder.path().join(format!("{n}.yaml"));
            std::fs::write(&file, text).unwrap();
            let secrets = ["DEMO_PASSWORD", "PROBE_PASSWORD"].map(|name| (name.to_owned(), "x".to_owned()));
            let loaded = plan::load(&[ConfigSource::Path(file)], secrets);
            assert!(loaded.is_ok(), "{}, example {}: {:?}", page.name(), n + 1, loaded.err());
            found += 1;
        }
    }
    assert!(found >= 3, "only {found} examples");
}

#[test]
fn commands_are_accepted() {
    let mut found = 0;
    for page in pages() {
        for block in page.blocks("sh") {
            let block = block.replace("\\\n", " ").replace("cargo run --release -- ", "tokenbeat ");
            for line in block.lines().filter(|line| line.starts_with("tokenbeat ")) {
                let words = words(line.split(" #").next().unwrap());
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{}: {line}: {}", page.name(), parsed.unwrap_err());
                found += 1;
            }
        }
    }
    assert!(found >= 5, "only {found} commands");
}

#[test]
fn pipelines_are_yaml_and_play_the_script_that_is_shown() {
    let pages = pages();
    let page = pages.iter().find(|page| page.name() == "docs/ci.md").unwrap();
    let pipelines: Vec<serde_json::Value> =
        page.blocks("yml").iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    let [github, gitlab] = &pipelines[..] else { panic!("two pipelines") };
    let steps = github["jobs"]["gate"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["run"].is_string() != step["uses"].is_string()), "{steps:?}");
    assert!(steps.iter().any(|step| step["run"] == "ci/gate.sh"));
    assert_eq!(gitlab["gate"]["script"], serde_json::json!(["ci/gate.sh"]));
    assert_eq!(gitlab["gate"]["artifacts"]["reports"]["junit"], "report/tokenbeat.xml");
    let [script] = &page.blocks("bash")[..] else { panic!("one script") };
    let mut lines: Vec<String> = script.replace("\\\n", " ").lines().map(str::to_owned).collect();
    lines.retain(|line| line.starts_with("tokenbeat "));
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let words = words(&line.replace("\"${compare[@]}\"", "--baseline x.json").replace('"', ""));
        assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
    }
    // What the steps refer to is what the script writes.
    for file in ["report/tokenbeat.md", "report/tokenbeat.xml"] {
        assert!(script.contains(file) && page.blocks("yml").iter().any(|text| text.contains(file)), "{file}");
    }
}

/// The words of a command line, with single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The cells of each row of the table of dialects.
fn dialects() -> Vec<Vec<String>> {
    let table = std::fs::read_to_string(root().join("docs/dialects.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn who_proved_a_dialect_is_who_the_suite_plays() {
    let path = root().join("tests/e2e/dialects/proofs.json");
    let proofs: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for row in dialects() {
        let name = row[0].trim_matches('`');
        for (server, targets) in proofs["servers"].as_object().unwrap() {
            let speaks = targets.as_object().unwrap().values().any(|target| target["api"] == name);
            assert_eq!(row[8].contains(server), speaks, "{server} and {name}: {}", row[8]);
        }
        for (client, proof) in proofs["clients"].as_object().unwrap() {
            let speaks = proof["apis"].as_array().unwrap().iter().any(|api| api == name);
            assert_eq!(row[8].contains(client), speaks, "{client} and {name}: {}", row[8]);
        }
    }
}

#[test]
fn every_dialect_has_its_row() {
    let rows = dialects();
    let names: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names, plan::Api::ALL.map(plan::Api::name));
    for (row, api) in rows.iter().zip(plan::Api::ALL) {
        assert!(row.len() == 10 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        assert!(api.path().is_none_or(|path| row[1].contains(path)), "{row:?}");
    }
}

#[test]
fn links_lead_to_files() {
    for page in pages() {
        let links = page.text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = page.path.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(file.exists(), "{} links to {link}", page.name());
        }
    }
}

#[test]
fn metrics_exist() {
    for page in pages() {
        let names = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with("tokenbeat_") && !name.ends_with('_')) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let known =
                [Some(name), family].into_iter().flatten().any(|it| Metric::of_prometheus_name(it).is_some());
            assert!(known, "{} names {name}", page.name());
        }
    }
}
