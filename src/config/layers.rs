//! Where a config comes from: files, folders, text, and the environment; and the order in which they are laid
//! over each other.

use super::path::KeyPath;
use super::problem::{Located, Problem};
use super::schema::{Schema, Shape};
use super::tree::{Entry, Node, Position, Value};
use super::validate::{list, nearest};
use super::{tables, yaml};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefix of the variables that override the config; two underscores go one level down.
const PREFIX: &str = "TOKENBEAT__";
/// The sections that the environment may override.
const FROM_ENVIRONMENT: [&str; 3] = ["agent", "server", "telemetry"];

/// One layer of the config.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file (`.yaml`, `.yml` or `.toml`), or a folder: every such file in it, in the order of their names.
    Path(PathBuf),
    /// Text, as if it were a YAML file of this name in the present folder.
    Text {
        /// What errors call it.
        name: String,
        /// The YAML.
        text: String,
    },
}

/// Reads all sources and the environment into one tree. As much of it as can be read comes back beside the
/// problems.
pub(crate) fn read(sources: &[Source], environment: &[(String, String)]) -> (Node, Vec<Located>) {
    let shape = Schema::get().root();
    let mut problems = Vec::new();
    let mut tree = Node::empty();
    for source in sources {
        if let Some(layer) = read_source(source, &mut problems) {
            tree.overlay(layer, &shape);
        }
    }
    for (name, value) in environment {
        if let Some(layer) = read_variable(name, value, &shape, &mut problems) {
            tree.overlay(layer, &shape);
        }
    }
    tree.drop_nulls(&shape);
    shape.make_whole(&mut tree);
    (tree, problems)
}

fn read_source(source: &Source, problems: &mut Vec<Located>) -> Option<Node> {
    match source {
        Source::Text { name, text } => keep(yaml::read(&Arc::from(name.as_str()), text), problems),
        Source::Path(path) if path.is_dir() => read_folder(path, problems),
        Source::Path(path) => read_file(path, problems),
    }
}

fn keep(read: Result<Node, Vec<Located>>, problems: &mut Vec<Located>) -> Option<Node> {
    read.map_err(|found| problems.extend(found)).ok()
}

fn read_file(path: &Path, problems: &mut Vec<Located>) -> Option<Node> {
    let name: Arc<str> = Arc::from(path.to_string_lossy());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(about_file(&name, format!("cannot be read: {error}")));
            return None;
        }
    };
    let toml = path.extension().is_some_and(|extension| extension == "toml");
    let read = if toml { tables::read(&name, &text) } else { yaml::read(&name, &text) };
    let mut node = keep(read, problems)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Schema::get().root().resolve_paths(&mut node, folder);
    Some(node)
}

fn read_folder(path: &Path, problems: &mut Vec<Located>) -> Option<Node> {
    let name: Arc<str> = Arc::from(path.to_string_lossy());
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(about_file(&name, format!("cannot be read: {error}")));
            return None;
        }
    };
    for entry in entries.flatten() {
        let file = entry.path();
        let suffix = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "toml");
        // Kubernetes keeps its own files in mounted folders, under names with a dot in front.
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if suffix && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        problems.push(about_file(&name, "holds no *.yaml, *.yml or *.toml file".to_owned()));
        return None;
    }
    let mut tree = Node::empty();
    for file in files {
        if let Some(node) = read_file(&file, problems) {
            tree.join(node, &Schema::get().root(), &KeyPath::root(), problems);
        }
    }
    Some(tree)
}

fn about_file(name: &Arc<str>, message: String) -> Located {
    Problem::new(KeyPath::root(), message).at(Position::Whole(Arc::clone(name)))
}

/// One variable as a layer, if it is one of ours.
fn read_variable(name: &str, text: &str, root: &Shape<'_>, problems: &mut Vec<Located>) -> Option<Node> {
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
    let Some(mut value) = yaml::scalar(text) else {
        return fail("must be a finite number".to_owned());
    };
    // `TOKENBEAT__AGENT__ID=7` is text where text is wanted.
    let text_only = shape.takes("string") && !matches!(value, Value::String(_) | Value::Null);
    if text_only {
        value = Value::String(text.to_owned());
    }
    let leaf = Node { at: at.clone(), value };
    Some(keys.into_iter().rev().fold(leaf, |node, key| {
        let entry = Entry { key_at: at.clone(), node };
        Node { at: at.clone(), value: Value::Map(BTreeMap::from([(key, entry)])) }
    }))
}
