//! Hostile configs: loading one yields a plan, or errors that say where they are.

use super::{attempt, forecast, outlooks};
use crate::config::ConfigSource;
use crate::testing::fuzz::{Fuzz, seeds};

const YAML: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "- ",
    "? ",
    ": ",
    "\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "|\n",
    ">\n",
    "'",
    "\"",
    "%",
    "@",
    "#",
    "---\n",
    "...\n",
    ", ",
    "a: ",
    "profiles:\n",
    "targets:\n",
    "load: ",
    "users: 4294967295",
    "rate: 1e12",
    "every: 1us",
    "'$[?@[?@.a]]'",
    "'{{ a'",
    "for: 1s",
    "null",
    "~",
    "1e999",
    "-1",
    "0x7fffffffffffffff",
    "\u{feff}",
    "\t",
    "requests: 9007199254740992",
    "repeat: 10000",
];

const TOML: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "a.",
    "a = ",
    "\"",
    "'''",
    "\"\"\"",
    "=",
    "\n",
    "#",
    ",",
    "[a.b]\n",
    "1979-05-27T07:32:00Z",
    "inf",
    "0xff",
];

/// Loads the input as a config file.
fn load(input: &[u8], extension: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("config.{extension}"));
    std::fs::write(&path, input).unwrap();
    match attempt(&[ConfigSource::Path(path)], [], &|_| Vec::new()).result {
        Ok(loaded) => {
            let now = jiff::Timestamp::UNIX_EPOCH;
            drop(outlooks(&loaded.plan, &forecast(&loaded.plan, now, &|_, _| None), now));
        }
        Err(errors) => {
            let said = errors.to_string();
            assert!(!said.is_empty() && !said.contains("a fault in tokenbeat"), "{said}");
        }
    }
}

#[test]
fn configs_in_yaml() {
    let mut all = seeds("config/examples", &["yaml"]);
    all.extend(seeds("tests/config", &["yaml", "yml"]));
    Fuzz { name: "config-yaml", seeds: all, tokens: YAML, inputs: 40 }.run(|input| load(input, "yaml"));
}

#[test]
fn configs_in_toml() {
    let mut all = seeds("tests/config", &["toml"]);
    all.push(b"[targets.t]\napi = 'openai-chat'\nbase_url = 'http://127.0.0.1'\n".to_vec());
    Fuzz { name: "config-toml", seeds: all, tokens: TOML, inputs: 60 }.run(|input| load(input, "toml"));
}
