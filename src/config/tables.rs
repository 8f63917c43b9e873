//! Reads TOML into a tree with positions.

use super::path::KeyPath;
use super::problem::{Located, Problem};
use super::tree::{Entry, Node, Position, Value};
use serde_json::Number;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file.
pub(crate) fn read(name: &Arc<str>, text: &str) -> Result<Node, Vec<Located>> {
    let reader = Reader { name, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Located> = errors
        .iter()
        .map(|error| {
            let at = reader.at(error.span().map_or(0, |span| span.start));
            // The error's own `Display` shows the line, which may hold a secret; its message does not.
            Problem::new(KeyPath::root(), format!("is not valid TOML: {}", error.message())).at(at)
        })
        .collect();
    let value = Value::Map(reader.map(table.get_ref(), &KeyPath::root(), &mut problems));
    if problems.is_empty() { Ok(Node { at: reader.at(0), value }) } else { Err(problems) }
}

struct Reader<'a> {
    name: &'a Arc<str>,
    text: &'a str,
}

impl Reader<'_> {
    fn at(&self, offset: usize) -> Position {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Position::File { name: Arc::clone(self.name), line, column }
    }

    fn map(
        &self,
        table: &DeTable<'_>,
        path: &KeyPath,
        problems: &mut Vec<Located>,
    ) -> BTreeMap<String, Entry> {
        let entries = table.iter().map(|(key, value)| {
            let entry = Entry {
                key_at: self.at(key.span().start),
                node: self.node(value, &path.key(key.get_ref()), problems),
            };
            (key.get_ref().to_string(), entry)
        });
        entries.collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, path: &KeyPath, problems: &mut Vec<Located>) -> Node {
        let at = self.at(value.span().start);
        let mut fail = |message: &str| {
            problems.push(Problem::new(path.clone(), message).at(at.clone()));
            Value::Null
        };
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).map_or_else(
                |_| fail("must be a number that fits into 64 bits"),
                |n| Value::Number(n.into()),
            ),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .ok()
                .and_then(Number::from_f64)
                .map_or_else(|| fail("must be a finite number"), Value::Number),
            DeValue::Boolean(bool) => Value::Bool(*bool),
            // A time of day is written without quotes by habit, and means the same with them.
            DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
            DeValue::Array(items) => {
                let items = items.iter().enumerate();
                Value::Array(
                    items.map(|(index, item)| self.node(item, &path.index(index), problems)).collect(),
                )
            }
            DeValue::Table(table) => Value::Map(self.map(table, path, problems)),
        };
        Node { at, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_positions() {
        let text = "[targets.t]\nmodel = \"m\"\nheaders = { x = \"ü\", y = 1_000 }\n\n[[profiles.p.load]]\nrate = 2.5\n";
        let tree = read(&Arc::from("t.toml"), text).unwrap_or_else(|_| panic!("valid"));
        let right = serde_json::json!({
            "targets": { "t": { "model": "m", "headers": { "x": "ü", "y": 1000 } } },
            "profiles": { "p": { "load": [{ "rate": 2.5 }] } },
        });
        assert_eq!(tree.to_json(), right);
        let at = |path: KeyPath| tree.position(&path).to_string();
        assert_eq!(at(KeyPath::of(["targets", "t", "model"])), "t.toml:2:9");
        assert_eq!(at(KeyPath::of(["targets", "t", "headers", "y"])), "t.toml:3:26");
        assert_eq!(at(KeyPath::of(["profiles", "p", "load"]).index(0).key("rate")), "t.toml:6:8");
    }

    #[test]
    fn what_cannot_be_read_says_where_and_all_of_it() {
        let error = |text: &str| match read(&Arc::from("t.toml"), text) {
            Ok(_) => panic!("{text} is read"),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        assert!(error("a = 1\na = 2\n").starts_with("t.toml:2:1: is not valid TOML: duplicate key"));
        assert_eq!(error("a = nan"), "t.toml:1:5: a: must be a finite number");
        assert!(error("a = 99999999999999999999").ends_with("fits into 64 bits"));
        assert!(error("a = hunter2\nb = [\n").lines().count() >= 2);
        assert!(!error("a = hunter2\nb = 'hunter2\n").contains("hunter2"));
    }
}
