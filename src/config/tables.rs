//! Reads TOML into a tree with positions.

use super::path::KeyPath;
use super::problem::{Located, Problem};
use super::tree::{Node, Position, TreeEntry, Value, long_key, too_deep, too_large, too_many_values};
use crate::limits;
use serde_json::Number;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file.
pub(crate) fn read(name: &Arc<str>, text: &str) -> Result<Node, Vec<Located>> {
    let mut reader = TableReader { places: Places::new(text), name, values: 0 };
    let whole =
        |message: String| vec![Problem::new(KeyPath::root(), message).at(Position::Whole(Arc::clone(name)))];
    if text.len() > limits::CONFIG_BYTES {
        return Err(whole(too_large()));
    }
    // The parser limits the depth of brackets and of dotted keys separately.
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Located> = errors
        .iter()
        .map(|error| {
            let at = reader.at(error.span().map_or(0, |span| span.start));
            // The `Display` output of the error contains the line, which may contain a secret. Its message does not.
            Problem::new(KeyPath::root(), format!("is not valid TOML: {}", error.message())).at(at)
        })
        .collect();
    problems.truncate(limits::PROBLEMS);
    let value = Value::Map(reader.map(table.get_ref(), &KeyPath::root(), &mut problems));
    if reader.values > limits::CONFIG_VALUES {
        return Err(whole(too_many_values()));
    }
    if problems.is_empty() { Ok(Node { at: reader.at(0), value }) } else { Err(problems) }
}

struct TableReader<'a> {
    name: &'a Arc<str>,
    places: Places<'a>,
    /// Number of values read. Reading stops when there are too many.
    values: usize,
}

/// Number of bytes between two offsets for which the character count is stored.
const STEP: usize = 64;

/// Finds the line and column of an offset without reading the text from its start.
struct Places<'a> {
    text: &'a str,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    /// Number of characters before every [`STEP`]th byte.
    characters: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let mut before = 0;
        let mut characters = Vec::new();
        for step in text.as_bytes().chunks(STEP) {
            characters.push(before);
            before += step.iter().filter(|byte| is_start(**byte)).count();
        }
        Self { text, lines: std::iter::once(0).chain(starts).collect(), characters }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let step = offset / STEP;
        let known = self.characters.get(step).copied().unwrap_or_default();
        let rest = self.text.as_bytes().get(step * STEP..offset).unwrap_or_default();
        known + rest.iter().filter(|byte| is_start(**byte)).count()
    }

    /// Line and column, both starting at 1.
    fn at(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        (line, self.characters_before(offset) - self.characters_before(start) + 1)
    }
}

/// Whether a UTF-8 byte is the first byte of a character.
const fn is_start(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

impl TableReader<'_> {
    fn at(&self, offset: usize) -> Position {
        let (line, column) = self.places.at(offset);
        Position::File { name: Arc::clone(self.name), line, column }
    }

    fn map(
        &mut self,
        table: &DeTable<'_>,
        path: &KeyPath,
        problems: &mut Vec<Located>,
    ) -> BTreeMap<String, TreeEntry> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let key_at = self.at(key.span().start);
            if let Some(message) = long_key(key.get_ref()) {
                problems.push(Problem::new(path.clone(), message).at(key_at));
                continue;
            }
            let node = self.node(value, &path.key(key.get_ref()), problems);
            entries.insert(key.get_ref().to_string(), TreeEntry { key_at, node });
        }
        entries
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, path: &KeyPath, problems: &mut Vec<Located>) -> Node {
        let at = self.at(value.span().start);
        self.values += 1;
        if self.values > limits::CONFIG_VALUES {
            return Node { at, value: Value::Null };
        }
        let mut fail = |message: &str| {
            problems.push(Problem::new(path.clone(), message).at(at.clone()));
            Value::Null
        };
        let value = match value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) if path.segments().len() >= limits::CONFIG_DEPTH => {
                fail(&too_deep())
            }
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
            // Times of day are often written without quotes. With quotes they mean the same.
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
    #[test]
    fn depth_size_and_keys_are_bounded() {
        let error = |text: &str| match read(&Arc::from("t.toml"), text) {
            Ok(_) => panic!("{} bytes are read", text.len()),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        let dotted = |n: usize| format!("{}a = 1", "a.".repeat(n));
        assert!(read(&Arc::from("t"), &dotted(60)).is_ok());
        assert!(error(&dotted(70)).contains("is nested more than 64 deep"));
        // Dotted keys inside tables: the parser limits each of them, but together they are too deep.
        let both = format!("{}b = 1{}", format!("{}a = {{ ", "a.".repeat(20)).repeat(20), " }".repeat(20));
        assert!(error(&both).contains("deep"));
        for deep in
            [format!("a = {}", "[".repeat(100_000)), dotted(100_000), format!("[{}a]", "a.".repeat(100_000))]
        {
            error(&deep);
        }
        let many = (0..200_000).map(|n| format!("k{n} = 1")).collect::<Vec<_>>().join("\n");
        assert_eq!(error(&many), "t.toml: holds more than 100000 values, those of aliases included");
        assert_eq!(error(&format!("a = '{}'", "x".repeat(5 << 20))), "t.toml: holds more than 4 MiB");
        assert!(error(&format!("{} = 1", "k".repeat(300))).ends_with("has a key of more than 256 bytes"));
    }

    #[test]
    fn places_are_those_of_the_whole_text() {
        let text = "ü = 1\n\nlong = '".to_owned() + &"ä".repeat(3000) + "'\nz = 2\n";
        let places = Places::new(&text);
        let slow = |offset: usize| {
            let before = &text[..offset];
            (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap().chars().count() + 1)
        };
        for (offset, _) in text.char_indices().step_by(7).chain([(text.len(), ' ')]) {
            assert_eq!(places.at(offset), slow(offset), "{offset}");
        }
    }
}
