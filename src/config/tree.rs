//! What was read, before it means anything: values with the place where each was written. Layers are laid over
//! each other here, so that every later error can say where its value came from.

use super::path::{KeyPath, Segment};
use super::problem::{Located, Problem};
use super::schema::Shape;
use serde_json::{Map, Number};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// In a file (or text with a name).
    File {
        /// Its name.
        name: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable, or about a file or folder as a whole.
    Whole(Arc<str>),
    /// Nowhere: it is about the whole.
    Nowhere,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Whole(name) => f.write_str(name),
            Self::Nowhere => f.write_str("config"),
        }
    }
}

/// A value and where it was written. It may be a secret, so it does not print.
#[derive(Clone)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) at: Position,
    /// The value.
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    /// Nothing: as if it had not been written.
    Null,
    /// A boolean.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Text.
    String(String),
    /// An array.
    Array(Vec<Node>),
    /// A map.
    Map(BTreeMap<String, Entry>),
}

/// An entry of a map.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Where its key was written.
    pub(crate) key_at: Position,
    /// Its value.
    pub(crate) node: Node,
}

impl Node {
    /// An empty map that is written nowhere.
    pub(crate) fn empty() -> Self {
        Self { at: Position::Nowhere, value: Value::Map(BTreeMap::new()) }
    }

    /// The value without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => (*bool).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.clone().into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(map) => {
                let entries = map.iter().map(|(key, entry)| (key.clone(), entry.node.to_json()));
                entries.collect::<Map<_, _>>().into()
            }
        }
    }

    /// What stands at one step down.
    pub(crate) fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::Map(map), Segment::Key(key)) => map.get(key).map(|entry| &entry.node),
            (Value::Array(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Takes an entry of a map out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Self> {
        match &mut self.value {
            Value::Map(map) => map.remove(key).map(|entry| entry.node),
            _ => None,
        }
    }

    /// Where a path was written, or as much of it as there is. For a map or an array that is where its key
    /// stands, for a plain value where the value does.
    pub(crate) fn position(&self, path: &KeyPath) -> Position {
        let mut node = self;
        let mut at = &self.at;
        for segment in path.segments() {
            let Some(child) = node.child(segment) else { break };
            at = match (&node.value, segment, &child.value) {
                (Value::Map(map), Segment::Key(key), Value::Map(_) | Value::Array(_) | Value::Null) => {
                    map.get(key).map_or(&child.at, |entry| &entry.key_at)
                }
                _ => &child.at,
            };
            node = child;
        }
        at.clone()
    }

    /// Where the key that a path ends in was written.
    pub(crate) fn key_position(&self, path: &KeyPath) -> Position {
        let Some((Segment::Key(last), before)) = path.segments().split_last() else {
            return self.position(path);
        };
        let parent = before.iter().try_fold(self, |node, segment| node.child(segment));
        match parent.map(|node| &node.value) {
            Some(Value::Map(map)) => map.get(last).map_or_else(|| self.position(path), |e| e.key_at.clone()),
            _ => self.position(path),
        }
    }

    /// Lays `upper` over this layer: maps merge, all else is replaced, and so are maps whose schema says so
    /// (exactly one of their keys may be there). A null takes away what a lower layer wrote.
    pub(crate) fn overlay(&mut self, upper: Self, shape: &Shape<'_>) {
        match (&mut self.value, upper.value) {
            (Value::Map(lower), Value::Map(entries)) if !shape.is_replaced_whole() => {
                for (key, entry) in entries {
                    let below = shape.key(&key);
                    match lower.entry(key) {
                        MapEntry::Vacant(vacant) => {
                            vacant.insert(entry);
                        }
                        MapEntry::Occupied(mut occupied) => {
                            let target = occupied.get_mut();
                            target.key_at = entry.key_at;
                            target.node.overlay(entry.node, &below);
                        }
                    }
                }
                // The upper layer's place is the one that an operator looks at first.
                if upper.at != Position::Nowhere {
                    self.at = upper.at;
                }
            }
            (_, value) => *self = Self { at: upper.at, value },
        }
    }

    /// Lays a file beside this one, of the same folder: a key that both set is an error.
    pub(crate) fn join(
        &mut self,
        other: Self,
        shape: &Shape<'_>,
        path: &KeyPath,
        problems: &mut Vec<Located>,
    ) {
        let (Value::Map(mine), Value::Map(theirs)) = (&mut self.value, other.value) else { return };
        for (key, entry) in theirs {
            let path = path.key(&key);
            let below = shape.key(&key);
            match mine.entry(key) {
                MapEntry::Vacant(vacant) => {
                    vacant.insert(entry);
                }
                MapEntry::Occupied(mut occupied) => {
                    let first = occupied.get_mut();
                    match (&first.node.value, &entry.node.value) {
                        (Value::Null, _) => *first = entry,
                        (_, Value::Null) => {}
                        (Value::Map(_), Value::Map(_)) if !below.is_replaced_whole() => {
                            first.node.join(entry.node, &below, &path, problems);
                        }
                        _ => {
                            let message =
                                format!("is set twice in the same folder, here and at {}", first.key_at);
                            problems.push(Problem::new(path, message).at(entry.key_at));
                        }
                    }
                }
            }
        }
    }

    /// Removes entries that say nothing, so that `headers:` with nothing below it means its default. Where the
    /// schema takes anything, null is a value like others and stays.
    pub(crate) fn drop_nulls(&mut self, shape: &Shape<'_>) {
        match &mut self.value {
            Value::Map(map) => {
                map.retain(|key, entry| {
                    let below = shape.key(key);
                    entry.node.drop_nulls(&below);
                    // A key that the schema does not know stays, to be told of.
                    !matches!(entry.node.value, Value::Null) || below.takes_anything() || below.is_unknown()
                });
            }
            Value::Array(items) => items.iter_mut().for_each(|item| item.drop_nulls(&shape.item())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Schema;
    use crate::config::yaml;

    fn tree(name: &str, text: &str) -> Node {
        yaml::read(&Arc::from(name), text).unwrap()
    }

    fn layered(lower: &str, upper: &str) -> serde_json::Value {
        let schema = Schema::get();
        let mut node = tree("lower.yaml", lower);
        node.overlay(tree("upper.yaml", upper), &schema.root());
        node.drop_nulls(&schema.root());
        node.to_json()
    }

    #[test]
    fn maps_merge_and_arrays_are_replaced() {
        let merged = layered(
            "targets: { a: { model: m, timeouts: { connect: 1s, stall: 2s } } }\ntelemetry: { disable: [x, y] }",
            "targets: { a: { timeouts: { stall: 9s } }, b: { model: n } }\ntelemetry: { disable: [z] }",
        );
        assert_eq!(merged["targets"]["a"]["model"], "m");
        assert_eq!(merged["targets"]["a"]["timeouts"], serde_json::json!({ "connect": "1s", "stall": "9s" }));
        assert_eq!(merged["targets"]["b"]["model"], "n");
        assert_eq!(merged["telemetry"]["disable"], serde_json::json!(["z"]));
    }

    #[test]
    fn maps_of_which_one_key_counts_are_replaced_whole() {
        let merged = layered(
            "profiles: { p: { schedule: { every: 1m, jitter: 1s }, workload: { prompts: [a], system: s } } }\n\
             targets: { t: { auth: { bearer: { env: A } }, headers: { x: { env: B } } } }",
            "profiles: { p: { schedule: { cron: '* * * * *' }, workload: { prompts: [b] } } }\n\
             targets: { t: { auth: { basic: { username: u } }, headers: { x: { file: f } } } }",
        );
        assert_eq!(merged["profiles"]["p"]["schedule"], serde_json::json!({ "cron": "* * * * *" }));
        assert_eq!(merged["profiles"]["p"]["workload"], serde_json::json!({ "prompts": ["b"] }));
        assert_eq!(merged["targets"]["t"]["auth"], serde_json::json!({ "basic": { "username": "u" } }));
        assert_eq!(merged["targets"]["t"]["headers"]["x"], serde_json::json!({ "file": "f" }));
    }

    #[test]
    fn null_takes_away_what_a_lower_layer_wrote_but_is_a_value_in_params() {
        let merged = layered(
            "targets: { t: { price: { input: 1, output: 2 }, params: { stop: x } } }",
            "targets: { t: { price: null, params: { stop: null } } }",
        );
        assert_eq!(merged["targets"]["t"], serde_json::json!({ "params": { "stop": null } }));
    }

    #[test]
    fn positions_follow_the_layer_that_won() {
        let schema = Schema::get();
        let mut node =
            tree("lower.yaml", "targets:\n  t:\n    model: m\n    price: { input: 1, output: 2 }\n");
        node.overlay(tree("upper.yaml", "targets:\n  t:\n    price:\n      output: 3\n"), &schema.root());
        let at = |path: KeyPath| node.position(&path).to_string();
        assert_eq!(at(KeyPath::of(["targets", "t", "model"])), "lower.yaml:3:12");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "input"])), "lower.yaml:4:21");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "output"])), "upper.yaml:4:15");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "missing"])), "upper.yaml:3:5");
    }
}
