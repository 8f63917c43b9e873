//! JSON Schemas of checks, measured before they are compiled: a cycle of references would overflow the stack of the
//! thread that validates an answer, and crash the process.

use super::{Findings, pattern};
use crate::config::KeyPath;
use crate::limits;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ReferencingError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Keywords with a list of schemas that apply to the same value.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with one schema that applies to the same value.
const SINGLE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords with a map of schemas that apply to the same value.
const BY_NAME: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords that refer to another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Schemas of JSON Schema itself, which are built into the validator.
const OF_JSON_SCHEMA: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// Compiles a JSON Schema. Nothing is fetched: a reference to an external schema is an error.
pub(super) fn compile(
    schema: &Value,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<jsonschema::Validator> {
    let mut graph = Graph::default();
    graph.read(schema);
    if !findings.spend(graph.units, path) {
        return None;
    }
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(limits::SCHEMA_BACKTRACKS)
        .size_limit(limits::PATTERN_MEMORY)
        .dfa_size_limit(limits::PATTERN_MEMORY);
    let checked = graph.long_pattern.take().map_or(Ok(()), Err).and_then(|()| {
        // Built without the features that fetch, so a reference cannot reach the network or a file.
        let built = jsonschema::options().with_pattern_options(patterns).build(schema);
        let validator = built.map_err(|error| told(&error))?;
        graph.measure()?;
        Ok(validator)
    });
    checked.map_err(|message| findings.error(path, message)).ok()
}

fn told(error: &jsonschema::ValidationError<'_>) -> String {
    if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) = error.kind() {
        return format!("refers to {uri}, and nothing is fetched: put it under `$defs`");
    }
    let at = error.instance_path().to_string();
    let place = if at.is_empty() { String::new() } else { format!(" (at {at})") };
    format!("is not a JSON Schema{place}: {}", one_line(&error.to_string()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Which schemas apply to the same value. Places are JSON pointers.
#[derive(Debug, Default)]
struct Graph {
    /// For each place, the schemas that apply to the same value.
    edges: BTreeMap<String, Vec<Edge>>,
    /// Places by the names that references can use.
    names: HashMap<String, String>,
    /// The units of work to compile it.
    units: u64,
    /// The error for a pattern that is too long to be compiled.
    long_pattern: Option<String>,
}

#[derive(Clone, Debug)]
enum Edge {
    To(String),
    /// A reference, and the resource that contains it.
    Reference {
        written: String,
        resource: String,
    },
}

/// How many schemas apply to one value, from a place on.
#[derive(Clone, Copy, Debug)]
struct Reach {
    longest: usize,
    schemas: u64,
}

impl Graph {
    fn read(&mut self, schema: &Value) {
        let mut values = 0_u64;
        let mut open = vec![(String::new(), String::new(), schema)];
        while let Some((at, resource, value)) = open.pop() {
            values += 1;
            match value {
                Value::Object(map) => {
                    let resource = self.name(&at, resource, map);
                    self.add(&at, &resource, map);
                    let below = map.iter().map(|(key, value)| (below(&at, key), resource.clone(), value));
                    open.extend(below);
                }
                Value::Array(items) => {
                    let below = items.iter().enumerate();
                    open.extend(below.map(|(index, it)| (format!("{at}/{index}"), resource.clone(), it)));
                }
                _ => {}
            }
        }
        self.units += 1 + values / 16;
    }

    /// Records the names of a place, and returns the resource that contains it.
    fn name(&mut self, at: &str, resource: String, map: &Map<String, Value>) -> String {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let resource = match text("$id") {
            Some(id) if !id.starts_with('#') => {
                self.names.insert(id.trim_end_matches('#').to_owned(), at.to_owned());
                at.to_owned()
            }
            _ => resource,
        };
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = text(key) {
                self.names.insert(format!("{resource}#{anchor}"), at.to_owned());
            }
        }
        resource
    }

    fn add(&mut self, at: &str, resource: &str, map: &Map<String, Value>) {
        let mut edges = Vec::new();
        for (key, value) in map {
            let here = below(at, key);
            match (key.as_str(), value) {
                (list, Value::Array(items)) if LISTS.contains(&list) => {
                    edges.extend((0..items.len()).map(|index| Edge::To(format!("{here}/{index}"))));
                }
                (single, Value::Object(_)) if SINGLE.contains(&single) => edges.push(Edge::To(here)),
                (named, Value::Object(map)) if BY_NAME.contains(&named) => {
                    edges.extend(map.keys().map(|key| Edge::To(below(&here, key))));
                }
                (reference, Value::String(to)) if REFERENCES.contains(&reference) => {
                    edges.push(Edge::Reference { written: to.clone(), resource: resource.to_owned() });
                }
                ("pattern", Value::String(pattern)) => self.pattern(pattern),
                ("patternProperties", Value::Object(map)) => map.keys().for_each(|it| self.pattern(it)),
                _ => {}
            }
        }
        self.edges.insert(at.to_owned(), edges);
    }

    fn pattern(&mut self, pattern: &str) {
        if self.units > limits::COMPILE_UNITS {
            return;
        }
        match pattern::units(pattern) {
            Ok(units) => self.units += units,
            Err(message) => self.long_pattern = Some(format!("has a pattern that {message}")),
        }
    }

    /// Fails if too many schemas apply to one value, or form a cycle.
    fn measure(&self) -> Result<(), String> {
        let mut known = BTreeMap::new();
        for at in self.edges.keys() {
            self.reach(at, 0, &mut known)?;
        }
        Ok(())
    }

    fn reach(&self, at: &str, depth: usize, known: &mut BTreeMap<String, Reach>) -> Result<Reach, String> {
        if let Some(reach) = known.get(at) {
            return Ok(*reach);
        }
        let too_long = || {
            Err(format!(
                "has more than {} schemas one behind the other for the same value, or references that lead back to \
                 themselves",
                limits::SCHEMA_CHAIN
            ))
        };
        if depth > limits::SCHEMA_CHAIN {
            return too_long();
        }
        let mut all = Reach { longest: 0, schemas: 1 };
        for edge in self.edges.get(at).into_iter().flatten() {
            let Some(to) = self.target(edge)? else { continue };
            let below = self.reach(&to, depth + 1, known)?;
            all.longest = all.longest.max(below.longest + 1);
            all.schemas = all.schemas.saturating_add(below.schemas);
        }
        if all.longest > limits::SCHEMA_CHAIN {
            return too_long();
        }
        if all.schemas > limits::SCHEMA_FAN_OUT {
            return Err(format!("has more than {} schemas for one value", limits::SCHEMA_FAN_OUT));
        }
        known.insert(at.to_owned(), all);
        Ok(all)
    }

    /// The target of an edge; `None` if it is a schema that is built in.
    fn target(&self, edge: &Edge) -> Result<Option<String>, String> {
        let (written, resource) = match edge {
            Edge::To(to) => return Ok(Some(to.clone())),
            Edge::Reference { written, resource } => (written, resource),
        };
        let (id, fragment) = written.split_once('#').unwrap_or((written, ""));
        let root = if id.is_empty() { Some(resource) } else { self.names.get(id) };
        let to = root.and_then(|root| match fragment {
            "" => Some(root.clone()),
            pointer if pointer.starts_with('/') => {
                let decoded = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
                Some(format!("{root}{decoded}"))
            }
            anchor => self.names.get(&format!("{root}#{anchor}")).cloned(),
        });
        match to {
            Some(to) => Ok(Some(to)),
            None if OF_JSON_SCHEMA.iter().any(|own| written.starts_with(own)) => Ok(None),
            None => Err(format!("refers to {written} in a way that is not supported: write `#/$defs/...`")),
        }
    }
}

/// The JSON pointer of a key.
fn below(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(schema: &Value) -> Result<jsonschema::Validator, String> {
        let mut findings = Findings::default();
        let validator = compile(schema, &KeyPath::root(), &mut findings);
        validator.ok_or_else(|| findings.errors.iter().map(|it| it.message.clone()).collect())
    }

    fn refused(schema: &Value) -> String {
        compiled(schema).err().unwrap_or_else(|| panic!("{schema} is fine"))
    }

    #[test]
    fn schemas_of_every_day_are_fine() {
        for schema in [
            json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^a+$" } }, "required": ["a"] }),
            json!({ "$defs": { "node": { "properties": { "children": { "items": { "$ref": "#/$defs/node" } } } } }, "$ref": "#/$defs/node" }),
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": [{ "$ref": "#b" }, { "type": "null" }] }, "x": { "$anchor": "b", "type": "string" } } }),
            json!({ "properties": { "next": { "$ref": "#" } } }),
            json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array", "prefixItems": [true, false] }),
            json!({ "$id": "https://example.com/s", "$ref": "https://example.com/s#/$defs/a", "$defs": { "a": true } }),
            json!({ "$ref": "#/$defs/a~1b", "$defs": { "a/b": { "type": "string" } } }),
            json!(true),
        ] {
            assert!(compiled(&schema).is_ok(), "{schema}: {:?}", compiled(&schema).err());
        }
    }

    #[test]
    fn references_that_lead_back_to_themselves_are_refused() {
        for schema in [
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "not": { "if": { "$ref": "#" } } }),
            json!({ "properties": { "x": { "anyOf": [{ "$ref": "#/properties/x" }] } } }),
            json!({ "$ref": "#n", "$defs": { "a": { "$anchor": "n", "oneOf": [{ "$ref": "#n" }] } } }),
            json!({ "$id": "https://example.com/s", "allOf": [{ "$ref": "https://example.com/s" }] }),
            json!({ "dependentSchemas": { "a": { "$ref": "#" } } }),
        ] {
            let said = refused(&schema);
            assert!(said.contains("lead back to themselves"), "{schema}: {said}");
        }
    }

    #[test]
    fn schemas_that_multiply_are_refused() {
        let mut defs = Map::new();
        for n in 0..20 {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            defs.insert(format!("d{n}"), json!({ "allOf": [next, next] }));
        }
        defs.insert("d20".to_owned(), json!(true));
        let said = refused(&json!({ "$ref": "#/$defs/d0", "$defs": defs }));
        assert!(said.contains("schemas for one value") || said.contains("one behind the other"), "{said}");
        let mut deep = json!({ "type": "string" });
        for _ in 0..50 {
            deep = json!({ "not": deep });
        }
        assert!(refused(&deep).contains("one behind the other"));
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(refused(&json!({ "pattern": "a".repeat(3000) })).contains("longer than 2048 bytes"));
        assert!(
            refused(&json!({ "patternProperties": { "(\\w{1000}){1000}": {} } }))
                .contains("not a JSON Schema")
                || refused(&json!({ "patternProperties": { "(\\w{1000}){1000}": {} } }))
                    .contains("too large")
        );
        let many: Vec<Value> = (0..5000).map(|n| json!({ "pattern": format!("a{n}") })).collect();
        assert!(refused(&json!({ "items": { "prefixItems": many } })).contains("together"));
        // A pattern that backtracks without end counts as not matching, after a bounded time.
        let validator =
            compiled(&json!({ "pattern": "^(?=a)(a|a)*\\1$" })).or_else(|_| compiled(&json!(true))).unwrap();
        assert!(!validator.is_valid(&json!("a".repeat(40) + "b")) || validator.is_valid(&json!(1)));
    }
}
