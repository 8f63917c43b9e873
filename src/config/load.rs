//! From sources to a typed config, with every problem of reading and of form.

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

/// A config that is right in form, and where each of its values was written.
pub struct LoadedConfig {
    /// The config.
    pub config: Config,
    /// The files that it was read from.
    pub files: Files,
    tree: Node,
}

/// Shows the config alone: the tree holds its secrets in the clear.
impl std::fmt::Debug for LoadedConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LoadedConfig {
    /// Where a key was written, or as much of its path as there is.
    pub fn position(&self, path: &KeyPath) -> Position {
        self.tree.position(path)
    }

    /// Gives a problem its place.
    pub fn locate(&self, problem: Problem) -> Located {
        problem.located(&self.tree)
    }
}

/// What had to be left out of a config because its form is wrong. What refers to it is not wrong for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokenParts {
    /// A whole file: what it holds is not known, so nothing can be said to be missing.
    pub unread: bool,
    /// Whole sections (`agent`, `server`, `telemetry`), which have their defaults in the config.
    pub sections: BTreeSet<String>,
    /// Names of targets.
    pub targets: BTreeSet<String>,
    /// Names of profiles.
    pub profiles: BTreeSet<String>,
}

/// Loads a config and fails with every error of form. `environment` is what
/// `std::env::vars` gives.
pub fn load(
    sources: &[ConfigSource],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<LoadedConfig, Errors> {
    let Reading { loaded, problems, .. } = read(sources, environment);
    Errors::of(problems).map_or(Ok(loaded), Err)
}

/// Loads a config from YAML text, without the environment. `name` is what errors call it.
pub fn load_str(name: &str, text: &str) -> Result<LoadedConfig, Errors> {
    load(&[ConfigSource::Text { name: name.to_owned(), text: text.to_owned() }], [])
}

/// What came of reading a config.
pub struct Reading {
    /// The config; without what is wrong with it, it may mean anything.
    pub loaded: LoadedConfig,
    /// Every error of form.
    pub problems: Vec<Located>,
    /// The config whose meaning can be judged: what was written, with as little as possible in the place of what is
    /// wrong in form.
    pub least: Variant,
    /// Where something is wrong in form: configs that differ from it in that place. What is wrong with each
    /// of them is wrong with the config, whatever was meant there.
    pub others: Vec<Variant>,
}

/// A config that is right in form.
pub struct Variant {
    /// The config.
    pub config: Config,
    /// What had to be left out of it.
    pub broken: BrokenParts,
    /// Where it says something else than what was written: nothing can be said about these places.
    pub changed: Vec<KeyPath>,
}

/// Loads a config with every error of form, and what is left of it to be judged, so that all errors can be shown at
/// once.
pub fn read(sources: &[ConfigSource], environment: impl IntoIterator<Item = (String, String)>) -> Reading {
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    environment.sort();
    let ReadConfig { tree, mut problems, incomplete, files } = layers::read(sources, &environment);
    let misfits = validate(&tree, incomplete);
    let mut variant = |Repaired { tree, mut broken, changed }| {
        let config = typed(&tree, &mut broken, &mut problems);
        Variant { config, broken, changed }
    };
    // Of too many errors the rest is not known, and neither is what the config would mean without them.
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
    /// Leaves out the smallest part that has a name and holds this key.
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

/// Reads each section, target and profile on its own.
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

/// One part as its type. The schema was generated from the type and has passed, so a refusal is our own fault;
/// serde's message is left out because it quotes values.
fn value<T: DeserializeOwned>(node: &Node, path: &KeyPath, problems: &mut Vec<Located>) -> Option<T> {
    serde_json::from_value(node.to_json())
        .map_err(|_| {
            let message = "fits the schema and cannot be read all the same; this is a fault in tokenbeat";
            problems.push(Problem::new(path.clone(), message).at(node.at.clone()));
        })
        .ok()
}
