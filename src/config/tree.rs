//! The raw values that were read, each with its position. `merge` keeps the positions when it combines layers, so that
//! every later error can report where its value was written.

use super::path::{KeyPath, Segment};
use super::problem::{Located, Problem};
use super::schema::SchemaNode;
use crate::limits;
use serde_json::{Map, Number};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt;
use std::sync::Arc;

/// The error for a key that is too long. It does not contain the key.
pub(crate) fn long_key(key: &str) -> Option<String> {
    let most = limits::KEY_BYTES;
    (key.len() > most).then(|| format!("has a key of more than {most} bytes"))
}

/// The error for values that are nested too deep.
pub(crate) fn too_deep() -> String {
    format!("is nested more than {} deep", limits::CONFIG_DEPTH)
}

/// The error for too many values.
pub(crate) fn too_many_values() -> String {
    format!("holds more than {} values, those of aliases included", limits::CONFIG_VALUES)
}

/// The error for too much text.
pub(crate) fn too_large() -> String {
    format!("holds more than {} MiB", limits::CONFIG_BYTES >> 20)
}

/// The position at which a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// In a file or in named text.
    File {
        /// The name.
        name: Arc<str>,
        /// The line, starting at 1.
        line: usize,
        /// The column in characters, starting at 1.
        column: usize,
    },
    /// An environment variable, or a file or folder as a whole.
    Whole(Arc<str>),
    /// The config as a whole.
    Nowhere,
}

impl Position {
    /// Sorts the positions in a file by line and column.
    fn order(&self) -> (&str, usize, usize) {
        match self {
            Self::File { name, line, column } => (name, *line, *column),
            Self::Whole(name) => (name, 0, 0),
            Self::Nowhere => ("", 0, 0),
        }
    }
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

/// A value and its position. It has no `Debug` implementation, because it may be a secret.
#[derive(Clone)]
pub(crate) struct Node {
    /// The position of its first character.
    pub(crate) at: Position,
    /// The value.
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    /// Null, which is a value only where any may stand, and otherwise says nothing.
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
    Map(BTreeMap<String, TreeEntry>),
}

/// An entry of a map.
#[derive(Clone)]
pub(crate) struct TreeEntry {
    /// The position of the key.
    pub(crate) key_at: Position,
    /// The value.
    pub(crate) node: Node,
}

impl Node {
    /// An empty map without a position.
    pub(crate) fn empty() -> Self {
        Self { at: Position::Nowhere, value: Value::Map(BTreeMap::new()) }
    }

    /// The value without positions.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(bool) => (*bool).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.clone().into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(map) => {
                // As written: a model answers in the order of the keys of a schema that is sent to it.
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(_, entry)| entry.key_at.order());
                let entries = entries.into_iter().map(|(key, entry)| (key.clone(), entry.node.to_json()));
                entries.collect::<Map<_, _>>().into()
            }
        }
    }

    /// The number of values in this node, including itself.
    pub(crate) fn count(&self) -> usize {
        match &self.value {
            Value::Array(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Value::Map(map) => 1 + map.values().map(|entry| entry.node.count()).sum::<usize>(),
            _ => 1,
        }
    }

    /// The child node at this segment.
    pub(crate) fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::Map(map), Segment::Key(key)) => map.get(key).map(|entry| &entry.node),
            (Value::Array(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Sets the value at a path and creates missing maps on the way. `None` removes an entry of a map. It has no effect
    /// on items of a list, which keep their indices.
    pub(crate) fn set(&mut self, path: &[Segment], value: Option<serde_json::Value>) {
        let at = self.at.clone();
        match (path, &mut self.value) {
            ([], _) => {
                if let Some(value) = value {
                    *self = Self::from_json(value, &at);
                }
            }
            ([Segment::Key(key)], Value::Map(map)) if value.is_none() => drop(map.remove(key)),
            ([Segment::Key(key), below @ ..], Value::Map(map)) => {
                let new = || TreeEntry { key_at: at.clone(), node: Self { at: at.clone(), ..Self::empty() } };
                map.entry(key.clone()).or_insert_with(new).node.set(below, value);
            }
            ([Segment::Index(index), below @ ..], Value::Array(items)) => {
                if let Some(item) = items.get_mut(*index) {
                    item.set(below, value);
                }
            }
            _ => {}
        }
    }

    fn from_json(json: serde_json::Value, at: &Position) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(bool) => Value::Bool(bool),
            serde_json::Value::Number(number) => Value::Number(number),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| Self::from_json(item, at)).collect())
            }
            serde_json::Value::Object(map) => {
                let entry = |json| TreeEntry { key_at: at.clone(), node: Self::from_json(json, at) };
                Value::Map(map.into_iter().map(|(key, json)| (key, entry(json))).collect())
            }
        };
        Self { at: at.clone(), value }
    }

    /// Removes an entry of a map and returns its value.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Self> {
        match &mut self.value {
            Value::Map(map) => map.remove(key).map(|entry| entry.node),
            _ => None,
        }
    }

    /// The position of a path, or of the longest part of it that exists. For a map, an array or null it is the position
    /// of the key, for other values that of the value.
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

    /// The position of the last key in a path.
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

    /// Merges another file of the same folder into this one, both without nulls that say nothing. A key that both files
    /// set is an error.
    pub(crate) fn join(
        &mut self,
        other: Self,
        shape: &SchemaNode<'_>,
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

    /// Removes entries that are null, so that a key without a value, such as a section whose settings are all commented
    /// out, says nothing: neither in its own file nor about what another one says. Where the schema allows any value,
    /// null is a regular value and is kept.
    pub(crate) fn drop_nulls(&mut self, shape: &SchemaNode<'_>) {
        match &mut self.value {
            Value::Map(map) => {
                map.retain(|key, entry| {
                    let below = shape.key(key);
                    entry.node.drop_nulls(&below);
                    // A key that the schema does not define is kept, so that it is reported.
                    !matches!(entry.node.value, Value::Null) || below.takes_anything() || below.is_unknown()
                });
            }
            Value::Array(items) => items.iter_mut().for_each(|item| item.drop_nulls(&shape.item())),
            _ => {}
        }
    }
}
