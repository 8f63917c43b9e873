//! Loads sources into a typed config and collects all errors in reading and form.

use super::layers::{self, ConfigSource, ReadConfig};
use super::path::KeyPath;
use super::problem::{Errors, Located, Problem};
use super::repair::{self, Repaired};
use super::tree::{Node, Value};
use super::validate::validate;
use super::{Config, Position};
use crate::files::Files;
use crate::limits;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// A config with valid form, and the position of each of its values.
pub struct LoadedConfig {
    /// The config.
    pub config: Config,
    /// The files that were read.
    pub files: Files,
    tree: Node,
}

/// Shows only the config, because the tree contains its secrets in plain text.
impl std::fmt::Debug for LoadedConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LoadedConfig {
    /// The position of a key, or of the longest part of its path that exists.
    pub fn position(&self, path: &KeyPath) -> Position {
        self.tree.position(path)
    }

    /// Adds the position to a problem.
    pub fn locate(&self, problem: Problem) -> Located {
        problem.located(&self.tree)
    }
}

/// The parts of a config that were left out because their form is invalid. References to them are not errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokenParts {
    /// Whether a whole file is left out. Its content is unknown, so nothing is reported as missing.
    pub unread: bool,
    /// Whole sections (`agent`, `server`, `telemetry`). The config has their defaults.
    pub sections: BTreeSet<String>,
    /// Names of targets.
    pub targets: BTreeSet<String>,
    /// Names of profiles.
    pub profiles: BTreeSet<String>,
}

/// Loads a config. Fails with all errors in its form. `environment` has the form of `std::env::vars`.
pub fn load(
    sources: &[ConfigSource],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<LoadedConfig, Errors> {
    let Reading { loaded, problems, .. } = read(sources, environment);
    Errors::of(problems).map_or(Ok(loaded), Err)
}

/// Loads a config from YAML text, without the environment. Error messages refer to the text by `name`.
pub fn load_str(name: &str, text: &str) -> Result<LoadedConfig, Errors> {
    load(&[ConfigSource::Text { name: name.to_owned(), text: text.to_owned() }], [])
}

/// The result of reading a config.
pub struct Reading {
    /// The config. If there are problems, the invalid parts are left out and its meaning is undefined.
    pub loaded: LoadedConfig,
    /// All errors in the form.
    pub problems: Vec<Located>,
    /// The config for checks of its meaning: the written config, with as little as possible in place of invalid parts.
    pub least: Variant,
    /// If there are invalid parts: configs with different values in their place. An error that all of them have is an
    /// error of the config, whatever the invalid parts were meant to be.
    pub others: Vec<Variant>,
}

/// A config with valid form.
pub struct Variant {
    /// The config.
    pub config: Config,
    /// The parts that were left out.
    pub broken: BrokenParts,
    /// Paths whose values differ from what was written. Nothing is reported about them.
    pub changed: Vec<KeyPath>,
}

/// Loads a config and collects all errors in its form. Also returns the configs for checks of its meaning, so that all
/// errors can be shown at once.
pub fn read(sources: &[ConfigSource], environment: impl IntoIterator<Item = (String, String)>) -> Reading {
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    environment.sort();
    let ReadConfig { tree, mut problems, incomplete, files } = layers::read(sources, &environment);
    let misfits = validate(&tree, incomplete);
    let mut variant = |Repaired { tree, mut broken, changed }| {
        let config = typed(&tree, &mut broken, &mut problems);
        Variant { config, broken, changed }
    };
    // If there are too many errors, the remaining ones are unknown, so the meaning of the config cannot be checked.
    let (least, others) = if incomplete || misfits.len() >= limits::PROBLEMS {
        let broken = BrokenParts { unread: true, ..BrokenParts::default() };
        (Variant { config: Config::default(), broken, changed: Vec::new() }, Vec::new())
    } else if misfits.is_empty() {
        (variant(Repaired::unchanged(&tree)), Vec::new())
    } else {
        let (least, others) = repair::variants(&tree, &misfits);
        (variant(least), others.into_iter().map(variant).collect())
    };
    problems.extend(misfits.into_iter().map(|misfit| misfit.problem));
    Reading { loaded: LoadedConfig { config: least.config.clone(), files, tree }, problems, least, others }
}

impl BrokenParts {
    /// Leaves out the smallest named part that contains this key.
    pub(super) fn add(&mut self, path: &KeyPath) {
        let section = path.key_at(0).unwrap_or_default();
        let Some(name) = path.key_at(1).filter(|_| section == "targets" || section == "profiles") else {
            self.sections.insert(section.to_owned());
            return;
        };
        let names = if section == "targets" { &mut self.targets } else { &mut self.profiles };
        names.insert(name.to_owned());
    }
}

/// Deserialises each section, target and profile separately.
fn typed(tree: &Node, broken: &mut BrokenParts, problems: &mut Vec<Located>) -> Config {
    let mut tree = tree.clone();
    let mut config = Config::default();
    let root = KeyPath::root();
    let mut section = |name: &str| tree.remove(name).filter(|_| !broken.sections.contains(name));
    let (agent, server, telemetry) = (section("agent"), section("server"), section("telemetry"));
    let (targets, profiles) = (section("targets"), section("profiles"));
    if let Some(agent) = agent.and_then(|node| value(&node, &root.key("agent"), problems)) {
        config.agent = agent;
    }
    if let Some(server) = server.and_then(|node| value(&node, &root.key("server"), problems)) {
        config.server = server;
    }
    if let Some(telemetry) = telemetry.and_then(|node| value(&node, &root.key("telemetry"), problems)) {
        config.telemetry = telemetry;
    }
    config.targets = named(targets, &root.key("targets"), &mut broken.targets, problems);
    config.profiles = named(profiles, &root.key("profiles"), &mut broken.profiles, problems);
    config
}

fn named<T: DeserializeOwned>(
    section: Option<Node>,
    path: &KeyPath,
    broken: &mut BTreeSet<String>,
    problems: &mut Vec<Located>,
) -> BTreeMap<String, T> {
    let Some(Node { value: Value::Map(entries), .. }) = section else { return BTreeMap::new() };
    let mut named = BTreeMap::new();
    for (name, entry) in entries {
        if broken.contains(&name) {
            continue;
        }
        match value(&entry.node, &path.key(&name), problems) {
            Some(value) => drop(named.insert(name, value)),
            None => drop(broken.insert(name)),
        }
    }
    named
}

/// Deserialises one part. The part matches the schema that was generated from its type, so a failure is a bug in
/// tokenbeat. serde's message is left out because it quotes values.
fn value<T: DeserializeOwned>(node: &Node, path: &KeyPath, problems: &mut Vec<Located>) -> Option<T> {
    serde_json::from_value(node.to_json())
        .map_err(|_| {
            let message = "fits the schema and cannot be read all the same; this is a fault in tokenbeat";
            problems.push(Problem::new(path.clone(), message).at(node.at.clone()));
        })
        .ok()
}
