//! Merges the layers of a config with figment. Later layers take precedence: maps are merged and all other values are
//! replaced. Each value keeps its position in the layer that it came from. This module does not know about files or the
//! meaning of values.

use super::path::Segment;
use super::schema::SchemaNode;
use super::tree::{Node, Position, TreeEntry, Value as TreeValue};
use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider, Source};
use serde_json::Number;
use std::collections::BTreeMap;

/// Merges layers in ascending order of precedence. They hold no nulls, except where null is a value.
pub(super) fn merge(layers: &[Node], shape: &SchemaNode<'_>) -> Node {
    let mut figment = Figment::new();
    for (index, node) in layers.iter().enumerate() {
        figment = figment.merge(Layer { index, node, shape });
    }
    // This cannot fail, because the layers are already read.
    let mut merged = figment.data().unwrap_or_default();
    let root = merged.remove(&Profile::Default).unwrap_or_default();
    let at = layers.last().map_or(Position::Nowhere, |layer| layer.at.clone());
    let reader = MergedReader { figment: &figment, layers };
    Node { at, value: TreeValue::Map(reader.entries(root, shape, &mut Vec::new())) }
}

/// A layer as a figment provider.
struct Layer<'a> {
    /// The index of the layer, by which the layer of a merged value is found.
    index: usize,
    node: &'a Node,
    shape: &'a SchemaNode<'a>,
}

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from(self.node.at.to_string(), Source::Custom(self.index.to_string()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let TreeValue::Map(entries) = &self.node.value else { return Ok(Map::new()) };
        let dict = entries.iter().map(|(key, entry)| (key.clone(), value(&entry.node, &self.shape.key(key))));
        Ok(Map::from([(Profile::Default, dict.collect())]))
    }
}

/// Converts a value for figment. figment merges maps and replaces lists, so a map that must be replaced as a whole is
/// wrapped in a list of one item.
fn value(node: &Node, shape: &SchemaNode<'_>) -> Value {
    let plain = match &node.value {
        TreeValue::Null => Value::Empty(Tag::Default, Empty::Unit),
        TreeValue::Bool(bool) => Value::from(*bool),
        TreeValue::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(negative)) => Value::from(negative),
            (None, None) => Value::from(number.as_f64().unwrap_or_default()),
        },
        TreeValue::String(text) => Value::from(text.clone()),
        TreeValue::Array(items) => {
            let shape = shape.item();
            Value::Array(Tag::Default, items.iter().map(|item| value(item, &shape)).collect())
        }
        TreeValue::Map(map) => {
            let entries = map.iter().map(|(key, entry)| (key.clone(), value(&entry.node, &shape.key(key))));
            Value::Dict(Tag::Default, entries.collect())
        }
    };
    if shape.is_replaced_whole() { Value::Array(Tag::Default, vec![plain]) } else { plain }
}

/// Converts merged values back and looks up their positions in their layers.
struct MergedReader<'a> {
    figment: &'a Figment,
    layers: &'a [Node],
}

impl MergedReader<'_> {
    fn entries(
        &self,
        dict: Dict,
        shape: &SchemaNode<'_>,
        path: &mut Vec<Segment>,
    ) -> BTreeMap<String, TreeEntry> {
        let mut entries = BTreeMap::new();
        for (key, value) in dict {
            path.push(Segment::Key(key.clone()));
            let key_at = self.key_position(value.tag(), path);
            let node = self.node(value, &shape.key(&key), path);
            path.pop();
            entries.insert(key, TreeEntry { key_at, node });
        }
        entries
    }

    fn node(&self, value: Value, shape: &SchemaNode<'_>, path: &mut Vec<Segment>) -> Node {
        let at = self.written(value.tag(), path).map_or(Position::Nowhere, |node| node.at.clone());
        let plain = match value {
            Value::Array(tag, mut only) if shape.is_replaced_whole() => {
                only.pop().unwrap_or(Value::Empty(tag, Empty::Unit))
            }
            other => other,
        };
        let value = match plain {
            Value::Empty(..) => TreeValue::Null,
            Value::Bool(_, bool) => TreeValue::Bool(bool),
            Value::String(_, text) => TreeValue::String(text),
            Value::Char(_, char) => TreeValue::String(char.to_string()),
            Value::Num(_, number) => number_of(number).map_or(TreeValue::Null, TreeValue::Number),
            Value::Array(_, items) => {
                let shape = shape.item();
                let mut nodes = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    path.push(Segment::Index(index));
                    nodes.push(self.node(item, &shape, path));
                    path.pop();
                }
                TreeValue::Array(nodes)
            }
            Value::Dict(_, dict) => TreeValue::Map(self.entries(dict, shape, path)),
        };
        Node { at, value }
    }

    /// Returns the layer that a value came from.
    fn layer(&self, tag: Tag) -> Option<&Node> {
        match self.figment.get_metadata(tag)?.source.as_ref()? {
            Source::Custom(index) => self.layers.get(index.parse::<usize>().ok()?),
            _ => None,
        }
    }

    fn written(&self, tag: Tag, path: &[Segment]) -> Option<&Node> {
        path.iter().try_fold(self.layer(tag)?, |node, segment| node.child(segment))
    }

    fn key_position(&self, tag: Tag, path: &[Segment]) -> Position {
        let layer = self.layer(tag);
        layer.map_or(Position::Nowhere, |layer| layer.key_position(&path.iter().cloned().collect()))
    }
}

fn number_of(number: figment::value::Num) -> Option<Number> {
    let whole = number.to_u128().and_then(|it| u64::try_from(it).ok()).map(Number::from);
    let negative = || number.to_i128().and_then(|it| i64::try_from(it).ok()).map(Number::from);
    whole.or_else(negative).or_else(|| number.to_f64().and_then(Number::from_f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::path::KeyPath;
    use crate::config::schema::Schema;
    use crate::config::yaml;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn tree(name: &str, text: &str) -> Node {
        yaml::read(&Arc::from(name), text).unwrap()
    }

    fn layered(lower: &str, upper: &str) -> serde_json::Value {
        let schema = Schema::get();
        let root = schema.root();
        let mut layers = [tree("lower.yaml", lower), tree("upper.yaml", upper)];
        for layer in &mut layers {
            layer.drop_nulls(&root);
        }
        merge(&layers, &root).to_json()
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
    fn null_says_nothing_but_is_a_value_in_params() {
        let merged = layered(
            "targets: { t: { price: { input: 1, output: 2 }, params: { stop: x } } }",
            "targets: { t: { price: null, params: { stop: null } } }",
        );
        assert_eq!(
            merged["targets"]["t"],
            serde_json::json!({ "price": { "input": 1, "output": 2 }, "params": { "stop": null } })
        );
    }

    #[test]
    fn positions_follow_the_layer_that_won() {
        let lower = tree("lower.yaml", "targets:\n  t:\n    model: m\n    price: { input: 1, output: 2 }\n");
        let upper = tree("upper.yaml", "targets:\n  t:\n    price:\n      output: 3\n");
        let node = merge(&[lower, upper], &Schema::get().root());
        let at = |path: KeyPath| node.position(&path).to_string();
        assert_eq!(at(KeyPath::of(["targets", "t", "model"])), "lower.yaml:3:12");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "input"])), "lower.yaml:4:21");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "output"])), "upper.yaml:4:15");
        assert_eq!(at(KeyPath::of(["targets", "t", "price", "missing"])), "upper.yaml:3:5");
    }

    #[test]
    fn what_is_replaced_as_a_whole_may_have_any_form() {
        // A list of one map in place of a map stays a list, so that it is reported.
        let merged = layered(
            "profiles: { p: { schedule: { every: 1m } } }",
            "profiles: { p: { schedule: [{ cron: x }] } }",
        );
        assert_eq!(merged["profiles"]["p"]["schedule"], serde_json::json!([{ "cron": "x" }]));
        assert_eq!(layered("agent: { id: a }", "agent: 5")["agent"], 5);
    }

    proptest! {
        /// A single layer, alone or over an empty one, is unchanged and keeps its positions.
        #[test]
        fn a_layer_alone_is_itself(n in any::<i64>(), u in any::<u64>(), f in any::<f64>().prop_filter("finite", |f| f.is_finite()), text in "[ -~]{0,12}") {
            let json = serde_json::json!({ "targets": { "t": { "params": { "n": n, "u": u, "f": f, "text": text, "list": [null, true, [1, { "a": -1 }]] } } } });
            let node = tree("a.yaml", &json.to_string());
            let schema = Schema::get();
            let root = schema.root();
            for layers in [vec![node.clone()], vec![Node::empty(), node.clone()], vec![node.clone(), node.clone()]] {
                let merged = merge(&layers, &root);
                prop_assert_eq!(merged.to_json(), node.to_json());
                let path = KeyPath::of(["targets", "t", "params", "list"]).index(2).index(1).key("a");
                prop_assert_eq!(merged.position(&path), node.position(&path));
            }
        }
    }
}
