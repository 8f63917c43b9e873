//! Reads the layers of a config from files, folders, text and the environment, and merges them in order.

use super::merge::merge;
use super::path::KeyPath;
use super::problem::{Located, Problem};
use super::schema::{Schema, SchemaNode};
use super::tree::{Node, Position, TreeEntry, Value};
use super::validate::{list, nearest};
use super::{tables, yaml};
use crate::files::{self, Files};
use crate::limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefix of the environment variables that override the config. Two underscores separate levels.
const PREFIX: &str = "TOKENBEAT__";
/// The sections that the environment may override.
const FROM_ENVIRONMENT: [&str; 3] = ["agent", "server", "telemetry"];

/// One layer of the config.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// A file (`.yaml`, `.yml` or `.toml`), or a folder. From a folder, all such files are read in the order of their
    /// names.
    Path(PathBuf),
    /// Text, read like a YAML file with this name in the current directory.
    Text {
        /// The name in error messages.
        name: String,
        /// The YAML.
        text: String,
    },
}

/// The result of reading all sources.
pub(crate) struct ReadConfig {
    /// The values that could be read.
    pub(crate) tree: Node,
    /// The problems found so far.
    pub(crate) problems: Vec<Located>,
    /// Whether a source could not be read. It may contain the keys that seem to be missing.
    pub(crate) incomplete: bool,
    /// The files that were read.
    pub(crate) files: Files,
}

/// Reads all sources and the environment into one tree.
pub(crate) fn read(sources: &[ConfigSource], environment: &[(String, String)]) -> ReadConfig {
    let schema = Schema::get();
    let shape = schema.root();
    let mut reading =
        ReadConfig { tree: Node::empty(), problems: Vec::new(), incomplete: false, files: Files::default() };
    let mut layers = Vec::new();
    for source in sources {
        match read_source(source, &mut reading) {
            Some(layer) => layers.push(layer),
            None => reading.incomplete = true,
        }
    }
    let variables = environment.iter();
    layers.extend(
        variables.filter_map(|(name, value)| read_variable(name, value, &shape, &mut reading.problems)),
    );
    if layers.iter().map(Node::count).sum::<usize>() > limits::CONFIG_VALUES {
        let message = format!("has more than {} values in all its files together", limits::CONFIG_VALUES);
        reading.problems.push(Problem::new(KeyPath::root(), message).at(Position::Nowhere));
        reading.incomplete = true;
        layers.clear();
    }
    reading.tree = merge(&layers, &shape);
    shape.make_whole(&mut reading.tree);
    reading
}

fn read_source(source: &ConfigSource, reading: &mut ReadConfig) -> Option<Node> {
    match source {
        ConfigSource::Text { name, text } => {
            let mut node = keep(yaml::read(&Arc::from(name.as_str()), text), &mut reading.problems)?;
            if says_nothing(&node) {
                node.value = Value::Map(BTreeMap::new());
            }
            Some(node)
        }
        ConfigSource::Path(path) if files::is_folder(path) => read_folder(path, reading),
        ConfigSource::Path(path) => read_file(path, reading),
    }
}

/// What a file says: a key without a value says nothing.
fn keep(read: Result<Node, Vec<Located>>, problems: &mut Vec<Located>) -> Option<Node> {
    let mut node = read.map_err(|found| problems.extend(found)).ok()?;
    node.drop_nulls(&Schema::get().root());
    Some(node)
}

fn read_file(path: &Path, reading: &mut ReadConfig) -> Option<Node> {
    let name: Arc<str> = Arc::from(path.to_string_lossy());
    let text = match reading.files.read_config(path) {
        Ok(text) => text,
        Err(error) => {
            reading.problems.push(about_file(&name, format!("cannot be read: {error}")));
            return None;
        }
    };
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    let (read, nothing) = if toml {
        (tables::read(&name, &text), "A table without keys, such as `[agent]`,")
    } else {
        (yaml::read(&name, &text), "An empty map, `{}`,")
    };
    let mut node = keep(read, &mut reading.problems)?;
    if says_nothing(&node) || toml && node.count() == 1 {
        let message = format!(
            "is empty, but for comments perhaps: it may have been cut. {nothing} says that nothing is meant"
        );
        reading.problems.push(about_file(&name, message));
        return None;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    Schema::get().root().resolve_paths(&mut node, folder);
    Some(node)
}

/// Whether a file holds null or no value at all, without even an empty map. An interrupted write, or a template without
/// values, may leave such a file, and loading it would remove the whole configuration.
const fn says_nothing(node: &Node) -> bool {
    matches!(node.value, Value::Null)
}

fn read_folder(path: &Path, reading: &mut ReadConfig) -> Option<Node> {
    let name: Arc<str> = Arc::from(path.to_string_lossy());
    let files = match reading.files.list(path) {
        Ok(files) => files,
        Err(error) => {
            reading.problems.push(about_file(&name, format!("cannot be read: {error}")));
            return None;
        }
    };
    if files.is_empty() {
        reading.problems.push(about_file(&name, "holds no *.yaml, *.yml or *.toml file".to_owned()));
        return None;
    }
    let mut tree = Node::empty();
    let mut values = 0;
    for file in files {
        let read = read_file(&file, reading);
        values += read.as_ref().map_or(0, Node::count);
        if values > limits::CONFIG_VALUES {
            let message = format!("holds more than {} values in its files", limits::CONFIG_VALUES);
            reading.problems.push(about_file(&name, message));
            return None;
        }
        match read {
            Some(node) => tree.join(node, &Schema::get().root(), &KeyPath::root(), &mut reading.problems),
            None => reading.incomplete = true,
        }
    }
    Some(tree)
}

fn about_file(name: &Arc<str>, message: String) -> Located {
    Problem::new(KeyPath::root(), message).at(Position::Whole(Arc::clone(name)))
}

/// Reads an environment variable as a layer. Returns `None` if the variable does not have our prefix, says nothing or is
/// invalid.
fn read_variable(name: &str, text: &str, root: &SchemaNode<'_>, problems: &mut Vec<Located>) -> Option<Node> {
    let rest = name.strip_prefix(PREFIX)?;
    let keys: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    let at = Position::Whole(Arc::from(name));
    let mut fail = |message: String| {
        problems.push(Problem::new(KeyPath::root(), message).at(at.clone()));
        None
    };
    let section = keys.first().map_or("", String::as_str);
    if !FROM_ENVIRONMENT.contains(&section) {
        return fail(format!("is not a setting: the environment overrides {} only", list(&FROM_ENVIRONMENT)));
    }
    let mut shape = root.clone();
    for key in &keys {
        let known = shape.keys();
        let below = shape.key(key);
        if below.is_unknown() {
            let near = nearest(key, known.iter().copied());
            let hint = near.map_or_else(
                || format!("there are {}", list(&known)),
                |near| format!("did you mean `{near}`?"),
            );
            return fail(format!("is not a setting: there is no key `{key}`; {hint}"));
        }
        shape = below;
    }
    let value = match yaml::scalar(text) {
        Ok(value @ (Value::String(_) | Value::Null)) => value,
        // The value of `TOKENBEAT__AGENT__ID=7` is text, because the key requires text.
        _ if shape.takes("string") => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(message) => return fail(message.to_owned()),
    };
    if matches!(value, Value::Null) {
        return None;
    }
    let leaf = Node { at: at.clone(), value };
    Some(keys.into_iter().rev().fold(leaf, |node, key| {
        let entry = TreeEntry { key_at: at.clone(), node };
        Node { at: at.clone(), value: Value::Map(BTreeMap::from([(key, entry)])) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Errors, load};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn said(errors: &Errors, folder: &Path) -> String {
        errors.to_string().replace(&folder.display().to_string(), "F")
    }

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_folder_is_every_config_file_in_it() {
        let folder = folder(&[
            ("a.yaml", "agent: { location: here, labels: { a: x } }"),
            ("b.yml", "agent: { labels: { b: y } }"),
            ("c.toml", "[server]\nlisten = '127.0.0.1:1'"),
            (".hidden.yaml", "agent: { location: there }"),
            ("notes.txt", "not: [yaml"),
        ]);
        std::fs::create_dir(folder.path().join("..data.yaml")).unwrap();
        let config = load(&[ConfigSource::Path(folder.path().to_owned())], [])
            .unwrap_or_else(|e| panic!("{e}"))
            .config;
        assert_eq!(config.agent.location, "here");
        assert_eq!(config.agent.labels.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(config.server.listen.0.port(), 1);
    }

    #[test]
    fn two_files_of_a_folder_must_not_set_the_same_key() {
        let profile = "{ targets: [t], workload: { prompts: [x] }, schedule: { every: 1m } }";
        let folder = folder(&[
            ("a.yaml", &format!("agent:\n  location: here\nprofiles:\n  p: {profile}\n")),
            ("b.yaml", "agent:\n  location: there\nprofiles: { p: { schedule: { jitter: 1s } } }\n"),
        ]);
        let errors = load(&[ConfigSource::Path(folder.path().to_owned())], []).err().unwrap();
        assert_eq!(
            said(&errors, folder.path()),
            "F/b.yaml:2:3: agent.location: is set twice in the same folder, here and at F/a.yaml:2:3\n\
             F/b.yaml:3:18: profiles.p.schedule: is set twice in the same folder, here and at F/a.yaml:4:50"
        );
        // In two layers, the later one overrides the earlier one.
        let [a, b] = ["a.yaml", "b.yaml"].map(|name| ConfigSource::Path(folder.path().join(name)));
        assert_eq!(load(&[a, b], []).err().map(|errors| said(&errors, folder.path())), None);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let folder = folder(&[]);
        let missing = folder.path().join("missing.yaml");
        let errors = load(&[ConfigSource::Path(missing), ConfigSource::Path(folder.path().to_owned())], [])
            .err()
            .unwrap();
        assert_eq!(
            said(&errors, folder.path()),
            "F: holds no *.yaml, *.yml or *.toml file\n\
             F/missing.yaml: cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_file_of_a_folder_that_cannot_be_read_is_an_error() {
        let folder = folder(&[("a.yaml", "agent: { location: here }")]);
        std::os::unix::fs::symlink("nowhere", folder.path().join("b.yaml")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("c.yaml")).status();
        assert!(made.unwrap().success());
        std::fs::write(folder.path().join("d.yaml"), b"agent:\n  location: K\xf6ln\n").unwrap();
        let errors = load(&[ConfigSource::Path(folder.path().to_owned())], []).err().unwrap();
        assert_eq!(
            said(&errors, folder.path()),
            "F/b.yaml: cannot be read: No such file or directory (os error 2)\n\
             F/c.yaml: cannot be read: it is a named pipe, not a regular file\n\
             F/d.yaml: cannot be read: line 2 is not UTF-8, as it must be"
        );
    }

    #[test]
    fn a_file_that_says_nothing_is_an_error() {
        let of = |name: &str, text: &str| {
            let folder = folder(&[(name, text)]);
            let errors = load(&[ConfigSource::Path(folder.path().join(name))], []).err();
            errors.map(|errors| errors.to_string()).unwrap_or_default()
        };
        let yaml =
            ["", "# a\n", "---\n", "null\n", "~", "--- ~ # none\n", "\u{feff}# a\n---\nNull # b\n...\n"];
        for nothing in yaml.into_iter().chain(["%YAML 1.2\n---\n", "&a", "--- !!null null", "--- &a ~\n"]) {
            let said = of("a.yaml", nothing);
            assert!(said.contains("a.yaml: is empty") && said.contains("`{}`, says"), "{nothing:?}: {said}");
        }
        for nothing in ["", "# a\n"] {
            let said = of("a.toml", nothing);
            assert!(
                said.contains("a.toml: is empty") && said.contains("`[agent]`, says"),
                "{nothing:?}: {said}"
            );
        }
        for (name, something) in
            [("a.yaml", "{}"), ("a.yaml", "--- {}"), ("a.yaml", "agent: ~"), ("a.toml", "[agent]\n")]
        {
            assert!(!of(name, something).contains("is empty"), "{something}");
        }
    }

    #[test]
    fn a_path_must_not_be_empty() {
        // As where a variable is not set that a file is filled with.
        let text = "agent: { state: '' }\nserver: { web_config: '' }\ntelemetry: { otlp: { endpoint: 'http://127.0.0.1:4317', tls: { ca_file: '' } } }\n\
             targets: { t: { api: openai-chat, base_url: 'https://127.0.0.1', tokenizer: { file: '' }, discover: { file_sd: [''] }, auth: { bearer: { file: '' } } } }\n\
             profiles: { p: { targets: [t], schedule: { manual: {} }, workload: { prompts: [{ file: '' }] } } }";
        let source = ConfigSource::Text { name: "t".into(), text: text.into() };
        let errors = load(&[source], environment(&[("TOKENBEAT__AGENT__STATE", "")])).err().unwrap();
        let empty = ": must not be empty";
        let mut said: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
        assert!(said.iter().all(|line| line.ends_with(empty)), "{said:?}");
        for line in &mut said {
            let path = line.trim_end_matches(empty).rsplit(": ").next().unwrap_or_default();
            *line = path.to_owned();
        }
        said.sort();
        assert_eq!(
            said,
            [
                "agent.state",
                "profiles.p.workload.prompts[0].file",
                "server.web_config",
                "targets.t.auth.bearer.file",
                "targets.t.discover.file_sd[0]",
                "targets.t.tokenizer.file",
                "telemetry.otlp.tls.ca_file",
            ]
        );
    }

    #[test]
    fn a_section_without_settings_says_nothing_in_any_layer() {
        let lower = "agent: { location: here, budget: { requests: 5 } }\n\
             targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1', headers: { a: b }, params: { stop: x } } }\n\
             profiles: { p: { targets: [t], schedule: { every: 1m }, workload: { prompts: [x] } } }\n";
        // As after commenting out what stands below the keys.
        let upper = "agent:\n  # location: there\nprofiles:\ntargets:\n  t:\n    headers:\n    params: { stop: null }\n\
             server:\n  listen: ~\n";
        let folder = folder(&[("a.yaml", lower), ("b.yaml", upper)]);
        let [a, b] = ["a.yaml", "b.yaml"].map(|name| ConfigSource::Path(folder.path().join(name)));
        let loaded = load(&[a, b], environment(&[("TOKENBEAT__AGENT__LOCATION", "~")]));
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}")).config;
        assert_eq!(loaded.agent.location, "here");
        assert!(loaded.agent.budget.is_some() && loaded.profiles.contains_key("p"));
        assert!(loaded.targets["t"].headers.contains_key("a"));
        // There, null is a value.
        assert_eq!(loaded.targets["t"].params["stop"], serde_json::Value::Null);
        let upper = upper.replace("    params: { stop: null }\n", "");
        std::fs::write(folder.path().join("b.yaml"), upper).unwrap();
        let both = load(&[ConfigSource::Path(folder.path().to_owned())], []);
        let both = both.unwrap_or_else(|e| panic!("{e}")).config;
        assert_eq!((both.agent.location.as_str(), both.profiles.len()), ("here", 1));
        assert!(both.agent.budget.is_some());
    }

    #[test]
    fn what_stands_in_a_file_that_cannot_be_read_is_not_missed() {
        let folder = folder(&[
            ("a.yaml", "targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1' }\n"),
            ("b.yaml", "profiles:\n  p: { targets: [t], schedule: {}, shedule: {} }\n"),
        ]);
        let errors = crate::config::read(&[ConfigSource::Path(folder.path().to_owned())], []).problems;
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("a.yaml:2:1: is not valid YAML: "), "{said:?}");
        assert!(said[1].contains("b.yaml:2:36: profiles.p.shedule: is not a key here"), "{said:?}");
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let folder = folder(&[(
            "a.yaml",
            "targets:\n  t:\n    api: openai-chat\n    base_url: https://127.0.0.1\n    \
             tls: { ca_file: ca.pem }\n    tokenizer: { file: /abs/t.json }\n    \
             auth: { bearer: { file: keys/k } }\n    headers: { x-path: { file: h }, y: plain.txt }\n",
        )]);
        let loaded =
            load(&[ConfigSource::Path(folder.path().join("a.yaml"))], []).unwrap_or_else(|e| panic!("{e}"));
        let shown = loaded.config.to_yaml().replace(&folder.path().display().to_string(), "F");
        for path in ["F/ca.pem", "/abs/t.json", "F/keys/k", "F/h", " plain.txt"] {
            assert!(shown.contains(path), "{path} in {shown}");
        }
        let text = ConfigSource::Text { name: "t".into(), text: "targets: { t: { api: openai-chat, base_url: 'https://127.0.0.1', tls: { ca_file: ca.pem } } }".into() };
        let loaded = load(&[text], []).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.config.targets["t"].tls.ca_file.as_deref(), Some(Path::new("ca.pem")));
    }

    #[test]
    fn the_environment_overrides_the_sections_of_the_process() {
        let file = ConfigSource::Text { name: "t".into(), text: "server: { listen: '127.0.0.1:1' }".into() };
        let environment = environment(&[
            ("TOKENBEAT__SERVER__LISTEN", "0.0.0.0:2"),
            ("TOKENBEAT__AGENT__ID", "7"),
            ("TOKENBEAT__AGENT__LIMITS__IN_FLIGHT", "9"),
            ("TOKENBEAT__AGENT__LABELS__REGION", "eu"),
            ("TOKENBEAT__TELEMETRY__PROMETHEUS__EXEMPLARS", "false"),
            ("TOKENBEAT_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ]);
        let config = load(&[file], environment).unwrap_or_else(|e| panic!("{e}")).config;
        assert_eq!(config.server.listen.0.to_string(), "0.0.0.0:2");
        assert_eq!(config.agent.id.as_deref(), Some("7"));
        assert_eq!(config.agent.limits.in_flight.get(), 9);
        assert_eq!(config.agent.labels["region"], "eu");
        assert!(!config.telemetry.prometheus.exemplars);
    }

    #[test]
    fn a_wrong_variable_is_an_error_that_names_it() {
        let wrong = environment(&[
            ("TOKENBEAT__TARGETS__T__MODEL", "m"),
            ("TOKENBEAT__SERVER__LISTN", "0.0.0.0:2"),
            ("TOKENBEAT__AGENT__STAT", "/var"),
            ("TOKENBEAT__AGENT__LIMITS__IN_FLIGHT", "many"),
            ("TOKENBEAT__AGENT__BUDGET__COST", ".inf"),
        ]);
        assert_eq!(
            load(&[], wrong).err().unwrap().to_string(),
            "TOKENBEAT__AGENT__BUDGET__COST: must be a finite number\n\
             TOKENBEAT__AGENT__LIMITS__IN_FLIGHT: agent.limits.in_flight: must be a whole number, not text\n\
             TOKENBEAT__AGENT__STAT: is not a setting: there is no key `stat`; did you mean `state`?\n\
             TOKENBEAT__SERVER__LISTN: is not a setting: there is no key `listn`; did you mean `listen`?\n\
             TOKENBEAT__TARGETS__T__MODEL: is not a setting: the environment overrides `agent`, `server` and \
             `telemetry` only"
        );
    }
}
