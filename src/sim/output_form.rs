//! The form of an answer: prose, a JSON document, or the arguments of a tool. Makes JSON that fits a schema, as a model
//! under guided decoding does.
//!
//! It knows no dialect: where tools and schemas are in a request is up to each of them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Deepest nesting that is made; below it only what is required.
const MAX_DEPTH: usize = 6;
/// Most items of a list, and characters of a text, whatever a schema asks for.
const MAX_LENGTH: u64 = 256;

const WORDS: [&str; 8] = ["Paris", "Cologne", "Budapest", "Oslo", "river", "bridge", "sunny", "cloudy"];

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum OutputForm {
    /// Text.
    #[default]
    Prose,
    /// A JSON document of this schema.
    Json(Value),
    /// A call of a tool.
    Call(Tool),
}

/// A tool of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The JSON Schema of its arguments.
    pub(crate) parameters: Value,
}

impl Tool {
    /// The tool that an object describes, if it does: its name, and its parameters at one of these keys.
    pub(crate) fn read(function: &Value, keys: &[&str]) -> Option<Self> {
        let name = function.get("name")?.as_str()?.to_owned();
        let parameters = keys.iter().find_map(|key| function.get(*key)).cloned().unwrap_or_else(|| json!({}));
        Some(Self { name, parameters })
    }
}

impl OutputForm {
    /// The form of the answer to a request with these tools: where there are any the first is called, or the one that
    /// the request names. Otherwise it is a document of the schema, if there is one.
    pub(crate) fn of(tools: Vec<Tool>, named: Option<&str>, schema: Option<Value>) -> Self {
        let wanted = |tool: &Tool| named.is_none_or(|name| tool.name == name);
        match (tools.into_iter().find(wanted), schema) {
            (Some(tool), _) => Self::Call(tool),
            (None, Some(schema)) => Self::Json(schema),
            (None, None) => Self::Prose,
        }
    }

    /// The name of the tool that is called.
    pub(crate) fn tool(&self) -> Option<String> {
        match self {
            Self::Call(tool) => Some(tool.name.clone()),
            Self::Prose | Self::Json(_) => None,
        }
    }
}

/// A value that fits a schema; the same seed makes the same one. What it does not know of a schema it ignores, such as
/// patterns.
pub(crate) fn fitting(schema: &Value, seed: u64) -> Value {
    InstanceMaker { root: schema, rng: ChaCha8Rng::seed_from_u64(seed) }.make(schema, 0)
}

struct InstanceMaker<'a> {
    root: &'a Value,
    rng: ChaCha8Rng,
}

impl InstanceMaker<'_> {
    fn make(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > 2 * MAX_DEPTH {
            return Value::Null;
        }
        let root = self.root;
        let pointer = |schema: &Value| {
            schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#')).map(str::to_owned)
        };
        if let Some(target) = pointer(schema).and_then(|pointer| root.pointer(&pointer)) {
            return self.make(target, depth + 1);
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        let list = |key: &str| schema.get(key).and_then(Value::as_array).filter(|items| !items.is_empty());
        if let Some(values) = list("enum") {
            let at = self.rng.random_range(0..values.len());
            return values.get(at).cloned().unwrap_or_default();
        }
        if let Some(first) = list("anyOf").or_else(|| list("oneOf")).and_then(|options| options.first()) {
            return self.make(first, depth + 1);
        }
        if let Some(all) = list("allOf") {
            let mut merged = Map::new();
            all.iter().filter_map(Value::as_object).for_each(|part| merged.extend(part.clone()));
            return self.make(&Value::Object(merged), depth + 1);
        }
        self.of_type(schema, depth)
    }

    fn of_type(&mut self, schema: &Value, depth: usize) -> Value {
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => Some(kind.as_str()),
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
            _ => None,
        };
        let inferred = if schema.get("items").is_some() { "array" } else { "object" };
        // Gemini writes the types in capitals.
        match kind.unwrap_or(inferred).to_ascii_lowercase().as_str() {
            "array" => self.array(schema, depth),
            "string" => Value::String(self.string(schema)),
            "integer" => json!(self.number(schema)),
            "number" => json!(self.number(schema) as f64),
            "boolean" => json!(self.rng.random_bool(0.5)),
            "null" => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut made = Map::new();
        for (name, property) in properties.into_iter().flatten() {
            if depth < MAX_DEPTH || required.contains(&name.as_str()) {
                made.insert(name.clone(), self.make(property, depth + 1));
            }
        }
        for name in required {
            if !made.contains_key(name) {
                let text = self.string(&Value::Null);
                made.insert(name.to_owned(), Value::String(text));
            }
        }
        Value::Object(made)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let least = bound("minItems").unwrap_or(u64::from(depth < MAX_DEPTH));
        let count = least.min(bound("maxItems").unwrap_or(u64::MAX)).min(MAX_LENGTH);
        let item = schema.get("items").cloned().unwrap_or_else(|| json!({ "type": "string" }));
        (0..count).map(|_| self.make(&item, depth + 1)).collect()
    }

    fn string(&mut self, schema: &Value) -> String {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        match text("format") {
            Some("date") => return "2026-01-01".to_owned(),
            Some("date-time") => return "2026-01-01T00:00:00Z".to_owned(),
            Some("time") => return "00:00:00Z".to_owned(),
            Some("email") => return "paris@example.net".to_owned(),
            Some("uri") => return "https://example.net/paris".to_owned(),
            Some("uuid") => return "00000000-0000-4000-8000-000000000000".to_owned(),
            _ => {}
        }
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let at = self.rng.random_range(0..WORDS.len());
        let mut made = WORDS.get(at).copied().unwrap_or("Paris").to_owned();
        let least = usize::try_from(bound("minLength").unwrap_or(0).min(MAX_LENGTH)).unwrap_or(0);
        while made.len() < least {
            made.push_str(" and more");
        }
        if let Some(most) = bound("maxLength").and_then(|most| usize::try_from(most).ok()) {
            made.truncate(most);
        }
        made
    }

    /// A whole number within the bounds; without any, one of two digits.
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
    fn number(&mut self, schema: &Value) -> i64 {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let least =
            bound("minimum").map(f64::ceil).or_else(|| bound("exclusiveMinimum").map(|n| n.floor() + 1.0));
        let most =
            bound("maximum").map(f64::floor).or_else(|| bound("exclusiveMaximum").map(|n| n.ceil() - 1.0));
        let (least, most) = match (least, most) {
            (Some(least), Some(most)) => (least, most.max(least)),
            (Some(least), None) => (least, least + 9.0),
            (None, Some(most)) => (most - 9.0, most),
            (None, None) => (10.0, 99.0),
        };
        let step = bound("multipleOf").filter(|step| *step >= 1.0).map_or(1, |step| step as i64);
        let (least, most) = (least as i64, most as i64);
        let drawn = self.rng.random_range(least..=most);
        let rounded = drawn.div_euclid(step).saturating_mul(step);
        if rounded < least { rounded.saturating_add(step) } else { rounded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_fits_the_schema() {
        for schema in [
            json!({}),
            json!({ "type": "object", "required": ["city", "days", "x"], "additionalProperties": true,
                "properties": { "city": { "type": "string", "minLength": 12, "maxLength": 30 },
                "days": { "type": "integer", "minimum": 1, "maximum": 7 }, "unit": { "enum": ["c", "f"] },
                "rivers": { "type": "array", "minItems": 3, "items": { "type": "object", "required": ["km"],
                "properties": { "km": { "type": "number", "exclusiveMinimum": 0.5 }, "sure": { "type": "boolean" } } } } } }),
            json!({ "$ref": "#/$defs/node", "$defs": { "node": { "type": "object", "required": ["id"],
                "properties": { "id": { "type": "integer", "multipleOf": 5 }, "next": { "$ref": "#/$defs/node" } } } } }),
            json!({ "anyOf": [{ "const": 7 }, { "type": "null" }] }),
            json!({ "allOf": [{ "type": "object" }, { "required": ["a"], "properties": { "a": { "type": ["null", "string"] } } }] }),
            json!({ "type": "string", "maxLength": 2 }),
            json!({ "type": "integer", "exclusiveMaximum": -3 }),
            json!({ "type": "string", "format": "date" }),
        ] {
            let validator = jsonschema::validator_for(&schema).unwrap();
            for seed in 0..50 {
                let made = fitting(&schema, seed);
                assert!(validator.is_valid(&made), "{schema} {made}");
                assert_eq!(made, fitting(&schema, seed));
            }
        }
        assert_ne!(fitting(&json!({ "type": "integer" }), 1), fitting(&json!({ "type": "integer" }), 2));
        assert!(fitting(&json!({ "type": "STRING" }), 1).is_string());
    }

    #[test]
    fn a_tool_comes_before_a_schema() {
        let tool = |name: &str| Tool { name: name.to_owned(), parameters: json!({}) };
        let of = |named, schema: bool| {
            OutputForm::of(vec![tool("a"), tool("b")], named, schema.then(|| json!({})))
        };
        assert_eq!(of(None, true).tool().as_deref(), Some("a"));
        assert_eq!(of(Some("b"), false).tool().as_deref(), Some("b"));
        assert_eq!(of(Some("c"), true), OutputForm::Json(json!({})));
        assert_eq!(OutputForm::of(Vec::new(), None, None), OutputForm::Prose);
    }
}
