//! Reads YAML 1.2 into a tree with positions. Anchors and merge keys (`<<`) are supported. A duplicate key in a map is
//! an error.

use super::path::KeyPath;
use super::problem::{Located, Problem};
use super::tree::{Node, Position, TreeEntry, Value, long_key, too_deep, too_large, too_many_values};
use crate::limits;
use saphyr::{MarkedYaml, Marker, Scalar, ScalarStyle, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, SpannedEventReceiver as _};
use serde_json::Number;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What to do about half a pair of surrogates, as which many programs write characters such as emojis in JSON.
const HALF_A_PAIR: &str = r"; of a character that JSON writes as two escapes, such as `\ud83d\ude00`, write the character itself, or one escape, `\U0001F600` (`jq .` does the former)";

/// Reads a file. Null, no value or no document, as in a file with only comments, is read as null.
pub(crate) fn read(name: &Arc<str>, text: &str) -> Result<Node, Vec<Located>> {
    if text.len() > limits::CONFIG_BYTES {
        let at = Position::Whole(Arc::clone(name));
        return Err(vec![Problem::new(KeyPath::root(), too_large()).at(at)]);
    }
    // The parser's messages describe the structure and do not quote the text, which may contain a secret.
    let (documents, large) = documents(text).map_err(|(message, marker)| {
        let at = position(name, marker);
        vec![Problem::new(KeyPath::root(), message).at(at)]
    })?;
    let reader = YamlReader { name, large };
    let fail = |at, message: &str| Err(vec![Problem::new(KeyPath::root(), message).at(at)]);
    match documents.as_slice() {
        [] => Ok(Node { at: reader.at(Marker::new(0, 1, 0)), value: Value::Null }),
        [document] => {
            let mut problems = Vec::new();
            let node = reader.node(document, &KeyPath::root(), &mut problems);
            if !matches!(node.value, Value::Map(_) | Value::Null) {
                return fail(node.at, "must be a map");
            }
            if problems.is_empty() { Ok(node) } else { Err(problems) }
        }
        [_, second, ..] => {
            fail(reader.at(second.span.start), "must hold one YAML document, and here begins another")
        }
    }
}

/// Parses the documents of a text and limits their size and depth while reading. Both limits are needed, because
/// aliases are expanded to copies and all code that processes the result recurses for each level.
fn documents(text: &str) -> Result<(Vec<MarkedYaml<'_>>, LargeNumbers), (String, Marker)> {
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    let mut measure = DocumentSize::default();
    let mut large = LargeNumbers::default();
    let mut parser = Parser::new_from_str(text);
    let invalid = |error: &saphyr::ScanError| {
        // JSON is YAML, except for this.
        let pair = if error.info().contains("Unicode character escape code") { HALF_A_PAIR } else { "" };
        (format!("is not valid YAML: {}{pair}", error.info()), *error.marker())
    };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| invalid(&error))?;
        measure.add(&event).map_err(|message| (message, span.start))?;
        large.add(&event, span.start);
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            let (message, at) = invalid(error);
            let twice = error.info().contains("duplicated key").then(|| key_at(text, at)).flatten();
            return Err((message + &twice.map(|key| format!(" `{key}`")).unwrap_or_default(), at));
        }
    }
    Ok((loader.into_documents(), large))
}

/// The key that begins at a place.
fn key_at(text: &str, at: Marker) -> Option<&str> {
    let line = text.lines().nth(at.line().checked_sub(1)?)?;
    let (from, _) = line.char_indices().nth(at.col())?;
    let key = line.get(from..)?.split([':', ',', '}']).next()?.trim();
    (!key.is_empty()).then_some(key)
}

/// The size of a value with its aliases expanded.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    bytes: usize,
    /// Number of nested levels, including the value's own level if it is a collection.
    depth: usize,
}

/// Computes the size of a document from its events.
#[derive(Debug, Default)]
struct DocumentSize {
    /// The open collections, each with its anchor and its size so far.
    open: Vec<(usize, Size)>,
    /// The size of an alias of each anchor.
    anchors: BTreeMap<usize, Size>,
    /// The total size so far, without the depth.
    all: Size,
}

impl DocumentSize {
    fn add(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.open.push((*anchor, Size::default()));
                self.count(1, 0)?;
                return self.check_depth(0);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, mut size)) = self.open.pop() {
                    size.values += 1;
                    size.depth += 1;
                    self.end(anchor, size);
                }
            }
            Event::Scalar(text, _, anchor, _) => {
                let size = Size { values: 1, bytes: text.len(), depth: 0 };
                self.count(size.values, size.bytes)?;
                self.end(*anchor, size);
            }
            Event::Alias(anchor) => {
                let size = self.anchors.get(anchor).copied().unwrap_or_default();
                self.count(size.values, size.bytes)?;
                self.end(0, size);
                return self.check_depth(size.depth);
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, values: usize, bytes: usize) -> Result<(), String> {
        self.all.values = self.all.values.saturating_add(values);
        self.all.bytes = self.all.bytes.saturating_add(bytes);
        if self.all.values > limits::CONFIG_VALUES {
            return Err(too_many_values());
        }
        if self.all.bytes > limits::CONFIG_BYTES {
            return Err(too_large());
        }
        Ok(())
    }

    fn check_depth(&self, below: usize) -> Result<(), String> {
        if self.open.len() + below > limits::CONFIG_DEPTH { Err(too_deep()) } else { Ok(()) }
    }

    /// Adds a complete value to its parent, and stores its size if it has an anchor.
    fn end(&mut self, anchor: usize, size: Size) {
        if anchor > 0 {
            self.anchors.insert(anchor, size);
        }
        if let Some((_, parent)) = self.open.last_mut() {
            parent.values = parent.values.saturating_add(size.values);
            parent.bytes = parent.bytes.saturating_add(size.bytes);
            parent.depth = parent.depth.max(size.depth);
        }
    }
}

/// A whole number beyond `i64`. The parser reads it as a float, or in hexadecimal and octal as text.
#[derive(Clone, Copy, Debug)]
enum LargeNumber {
    Fits(u64),
    DoesNotFit,
}

impl LargeNumber {
    fn parse(text: &str) -> Option<Self> {
        let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
            (Some(digits), _) => (digits, 16),
            (_, Some(digits)) => (digits, 8),
            _ => (text.strip_prefix(['+', '-']).unwrap_or(text), 10),
        };
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return None;
        }
        let is_negative = text.starts_with('-');
        match u64::from_str_radix(digits, radix) {
            Ok(number) if i64::try_from(number).is_ok() => None,
            Ok(number) if is_negative && number == i64::MIN.unsigned_abs() => None,
            Ok(number) if !is_negative => Some(Self::Fits(number)),
            _ => Some(Self::DoesNotFit),
        }
    }

    fn value(self) -> Result<Value, &'static str> {
        match self {
            Self::Fits(number) => Ok(Value::Number(number.into())),
            Self::DoesNotFit => Err("is a whole number of more than 64 bits, which would be rounded; \
                put it in quotes to send it as text"),
        }
    }
}

/// The large numbers of the documents, by line and column.
#[derive(Debug, Default)]
struct LargeNumbers {
    places: BTreeMap<(usize, usize), LargeNumber>,
    /// Those that have an anchor: an alias of a scalar has a place of its own.
    anchors: BTreeMap<usize, LargeNumber>,
}

impl LargeNumbers {
    fn add(&mut self, event: &Event<'_>, at: Marker) {
        let number = match event {
            // With a tag, the text is read as what the tag says.
            Event::Scalar(text, ScalarStyle::Plain, anchor, None) => {
                let Some(number) = LargeNumber::parse(text) else { return };
                if *anchor > 0 {
                    self.anchors.insert(*anchor, number);
                }
                number
            }
            Event::Alias(anchor) => match self.anchors.get(anchor) {
                Some(number) => *number,
                None => return,
            },
            _ => return,
        };
        self.places.insert((at.line(), at.col()), number);
    }

    fn at(&self, marker: Marker) -> Option<LargeNumber> {
        self.places.get(&(marker.line(), marker.col())).copied()
    }
}

/// Parses the text of an environment variable as a YAML scalar.
pub(crate) fn scalar(text: &str) -> Result<Value, &'static str> {
    value(&Scalar::parse_from_cow(text.into()), LargeNumber::parse(text))
}

fn value(scalar: &Scalar<'_>, large: Option<LargeNumber>) -> Result<Value, &'static str> {
    if let Some(number) = large {
        return number.value();
    }
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(bool) => Value::Bool(*bool),
        Scalar::Integer(integer) => Value::Number((*integer).into()),
        Scalar::FloatingPoint(float) => {
            Value::Number(Number::from_f64(float.into_inner()).ok_or("must be a finite number")?)
        }
        Scalar::String(text) => Value::String(text.to_string()),
    })
}

struct YamlReader<'a> {
    name: &'a Arc<str>,
    large: LargeNumbers,
}

fn position(name: &Arc<str>, marker: Marker) -> Position {
    Position::File { name: Arc::clone(name), line: marker.line(), column: marker.col() + 1 }
}

impl YamlReader<'_> {
    fn at(&self, marker: Marker) -> Position {
        position(self.name, marker)
    }

    fn node(&self, yaml: &MarkedYaml<'_>, path: &KeyPath, problems: &mut Vec<Located>) -> Node {
        let at = self.at(yaml.span.start);
        let mut fail = |message: &str| {
            problems.push(Problem::new(path.clone(), message).at(at.clone()));
            Value::Null
        };
        let value = match &yaml.data {
            YamlData::Value(scalar) => value(scalar, self.large.at(yaml.span.start)).unwrap_or_else(fail),
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                Value::Array(
                    items.map(|(index, item)| self.node(item, &path.index(index), problems)).collect(),
                )
            }
            YamlData::Mapping(_) => Value::Map(self.map(yaml, path, problems)),
            YamlData::Tagged(..) => fail("has a YAML tag that is not understood"),
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                fail("is not a value that its YAML tag or alias allows")
            }
        };
        Node { at, value }
    }

    /// The entries of a map. Entries of its merge keys are added unless the map has the same key. If several merged
    /// maps have a key, the first one takes precedence (<https://yaml.org/type/merge.html>).
    fn map(
        &self,
        yaml: &MarkedYaml<'_>,
        path: &KeyPath,
        problems: &mut Vec<Located>,
    ) -> BTreeMap<String, TreeEntry> {
        let mut entries = BTreeMap::new();
        let mut merged = Vec::new();
        let YamlData::Mapping(mapping) = &yaml.data else { return entries };
        for (key, node) in mapping {
            let key_at = self.at(key.span.start);
            let YamlData::Value(Scalar::String(key)) = &key.data else {
                let message = "has a key that is not text; put it in quotes";
                problems.push(Problem::new(path.clone(), message).at(key_at));
                continue;
            };
            if let Some(message) = long_key(key) {
                problems.push(Problem::new(path.clone(), message).at(key_at));
                continue;
            }
            if key == "<<" {
                match &node.data {
                    YamlData::Sequence(maps) => merged.extend(maps.iter()),
                    _ => merged.push(node),
                }
                continue;
            }
            let node = self.node(node, &path.key(key), problems);
            entries.insert(key.to_string(), TreeEntry { key_at, node });
        }
        for node in merged {
            if !matches!(node.data, YamlData::Mapping(_)) {
                let message = "has a merge key (<<) that is not a map";
                problems.push(Problem::new(path.clone(), message).at(self.at(node.span.start)));
            }
            for (key, entry) in self.map(node, path, problems) {
                entries.entry(key).or_insert(entry);
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        read(&Arc::from("t.yaml"), text).unwrap().to_json()
    }

    fn error(text: &str) -> String {
        let Err(problems) = read(&Arc::from("t.yaml"), text) else { panic!("{text} is read") };
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn half_a_pair_of_surrogates_is_told_with_what_to_write() {
        assert_eq!(json(r#"{"a":"\u00e9 \U0001F600 \n\/"}"#)["a"], "\u{e9} \u{1f600} \n/");
        let said = error(r#"{"a":"x \ud83d\ude00"}"#);
        assert!(
            said.starts_with("t.yaml:1:")
                && said.contains(r"write the character itself, or one escape, `\U0001F600`"),
            "{said}"
        );
        assert!(!error(r#"{"a":"\q"}"#).contains("two escapes"));
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let read = json(
            "base: &base { api: x, params: { a: 1 } }\n\
             other: &other { api: z, model: n }\n\
             one: { <<: *base, api: y }\n\
             two: { <<: [*base, *other] }\n",
        );
        assert_eq!(read["one"], serde_json::json!({ "api": "y", "params": { "a": 1 } }));
        assert_eq!(read["two"], serde_json::json!({ "api": "x", "model": "n", "params": { "a": 1 } }));
    }

    #[test]
    fn keys_keep_the_order_in_which_they_were_written() {
        let read = json("z: { b: 1, a: 2 }\nproperties:\n  reasoning: x\n  answer: y\na: 1");
        assert_eq!(
            read.to_string(),
            r#"{"z":{"b":1,"a":2},"properties":{"reasoning":"x","answer":"y"},"a":1}"#
        );
    }

    #[test]
    fn what_aliases_stand_for_is_counted() {
        // Each level contains the level below it ten times.
        let levels = |count: usize, first: &str, level: &dyn Fn(usize, String) -> String| {
            let below = |n: usize| vec![format!("*a{}", n - 1); 10].join(",");
            let levels = (1..count).map(|n| format!("a{n}: &a{n} {}", level(n, below(n))));
            std::iter::once(format!("a0: &a0 {first}")).chain(levels).collect::<Vec<_>>().join("\n")
        };
        let laughs = |count| levels(count, "[x]", &|_, below| format!("[{below}]"));
        assert!(read(&Arc::from("t"), &laughs(4)).is_ok());
        assert_eq!(
            error(&laughs(9)),
            "t.yaml:6:22: holds more than 100000 values, those of aliases included"
        );
        // Long texts and merge keys are also copied.
        let texts = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 50].join(","));
        assert_eq!(error(&texts), "t.yaml:2:125: holds more than 4 MiB");
        let merges = levels(9, "{ k: v }", &|_, below| format!("{{ <<: [{below}] }}"));
        assert!(error(&merges).contains("holds more than 100000 values"));
        // Aliases of aliases also count towards the depth limit.
        let deep = levels(100, "[x]", &|n, _| format!("[*a{}]", n - 1));
        assert!(error(&deep).ends_with("is nested more than 64 deep"));
        assert!(error("a: &a [*a]").contains("not a value"));
    }

    #[test]
    fn depth_size_and_keys_are_bounded() {
        let nested = |n: usize| format!("a: {}x{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&Arc::from("t"), &nested(60)).is_ok());
        assert_eq!(error(&nested(70)), "t.yaml:1:67: is nested more than 64 deep");
        for deep in ["[", "{a: ", "- ", "? ", "{? ", "[{"] {
            let said = error(&deep.repeat(10_000));
            assert!(
                said.ends_with("is nested more than 64 deep") || said.contains("not valid YAML"),
                "{deep}: {said}"
            );
        }
        let block: Vec<String> = (0..1000).map(|level| format!("{}a:", " ".repeat(level))).collect();
        let block = block.join("\n");
        assert!(error(&block).ends_with("is nested more than 64 deep"));
        let many = (0..300_000).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join("\n");
        assert!(error(&many).ends_with("holds more than 100000 values, those of aliases included"));
        assert!(error(&format!("a: {}", "x".repeat(5 << 20))).ends_with("holds more than 4 MiB"));
        assert!(error(&format!("{}: 1", "k".repeat(300))).ends_with("has a key of more than 256 bytes"));
    }

    #[test]
    fn scalars_are_those_of_yaml_1_2() {
        let read = json("a: no\nb: 08:00\nc: 1e3\nd: 0x10\ne: '5'\nf: ~\ng: true");
        let right = serde_json::json!(
            { "a": "no", "b": "08:00", "c": 1000.0, "d": 16, "e": "5", "f": null, "g": true });
        assert_eq!(read, right);
    }

    #[test]
    fn whole_numbers_keep_all_their_digits() {
        let read = json(
            "a: 18446744073709551615\nb: -9223372036854775808\nc: 0xFFFFFFFFFFFFFFFF\nd: &d 12345678901234567890\n\
             e: *d\nf: &f { n: +12345678901234567890 }\ng: { <<: *f }\nh: '12345678901234567890'\n\
             i: !!float 12345678901234567890\nj: [9223372036854775807, 1e30, 12345678901234567890.0]",
        );
        let large = 12_345_678_901_234_567_890_u64;
        let right = serde_json::json!({
            "a": u64::MAX, "b": i64::MIN, "c": u64::MAX, "d": large, "e": large, "f": { "n": large },
            "g": { "n": large }, "h": "12345678901234567890", "i": 1.234_567_890_123_456_7e19,
            "j": [i64::MAX, 1e30, 1.234_567_890_123_456_7e19],
        });
        assert_eq!(read, right);
        let rounded = "is a whole number of more than 64 bits, which would be rounded; put it in quotes to send it as text";
        assert_eq!(error("a:\n  b: 18446744073709551616"), format!("t.yaml:2:6: a.b: {rounded}"));
        assert_eq!(error("a: [1, -9223372036854775809]"), format!("t.yaml:1:8: a[1]: {rounded}"));
        assert_eq!(error("a: 0x10000000000000000"), format!("t.yaml:1:4: a: {rounded}"));
    }

    #[test]
    fn a_file_without_a_value_is_null() {
        for text in ["", "# nothing\n", "---\n", "%YAML 1.2\n---\n", "&a", "--- !!null null"] {
            assert_eq!(json(text), serde_json::Value::Null, "{text:?}");
        }
        assert_eq!(json("{}"), serde_json::json!({}));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        assert_eq!(
            error("a: 1\nb: 2\na: 3\n"),
            "t.yaml:3:1: is not valid YAML: duplicated key in mapping `a`"
        );
        let nested = "p:\n  t: { é: 1, bee: 2, bee: 3 }\n";
        assert_eq!(error(nested), "t.yaml:2:22: is not valid YAML: duplicated key in mapping `bee`");
        assert_eq!(error("a:\n  - x\n b: 1\n").split(": ").next(), Some("t.yaml:3:2"));
        assert_eq!(error("a: .nan"), "t.yaml:1:4: a: must be a finite number");
        assert_eq!(error("a: { 1: x }"), "t.yaml:1:6: a: has a key that is not text; put it in quotes");
        assert_eq!(error("- a"), "t.yaml:1:1: must be a map");
        assert_eq!(error("a: !secret x\nb: { <<: 5 }").lines().count(), 2);
        assert!(error("a: 1\n---\nb: 2").ends_with("must hold one YAML document, and here begins another"));
        assert!(error("a: !!int x").contains("YAML tag"));
        assert!(error("a: !set { x: 1 }").contains("YAML tag"));
    }
}
