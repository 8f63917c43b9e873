//! The JSON Schema of the config, generated from the serde types, and questions that reading asks of it: which
//! strings are paths, which maps are replaced whole, what a key's neighbours are called.

use super::Config;
use super::path::{KeyPath, Segment};
use super::text::FORMATS;
use super::tree::{Node, Value as TreeValue};
use jsonschema::Validator;
use schemars::Schema as Schemars;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Number, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Whole numbers up to this are exact wherever they pass through a double.
const LARGEST_WHOLE: u64 = 1 << 53;

/// Keywords that say something about a value and forbid none.
const ANNOTATIONS: [&str; 4] = ["default", "description", "examples", "title"];

/// The JSON Schema (draft 2020-12) of the config.
pub fn schema() -> Value {
    Schema::get().json.clone()
}

/// The schema, ready for questions.
pub(crate) struct Schema {
    json: Value,
    /// `Err` only if the generated schema is no schema, which a test rules out.
    validator: Result<Validator, String>,
}

/// Made when a config is read. It takes 2 MB, and a daemon does not need it until its next reload.
static SCHEMA: Mutex<Option<Arc<Schema>>> = Mutex::new(None);

/// Drops the schema of the config until a config is read again.
pub fn forget_schema() {
    SCHEMA.lock().unwrap_or_else(PoisonError::into_inner).take();
}

impl Schema {
    /// The schema.
    pub(crate) fn get() -> Arc<Self> {
        let mut kept = SCHEMA.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(kept.get_or_insert_with(|| Arc::new(Self::generate())))
    }

    fn generate() -> Self {
        let settings = SchemaSettings::draft2020_12().with_transform(Tidy);
        let mut json = settings.into_generator().into_root_schema_for::<Config>().to_value();
        if let Value::Object(root) = &mut json {
            root.insert("title".to_owned(), json!("tokenbeat configuration"));
        }
        json.sort_all_objects();
        let options = FORMATS.iter().fold(jsonschema::options(), |options, (name, check)| {
            options.with_format(*name, move |text: &str| check(text).is_ok())
        });
        let validator = options.should_validate_formats(true).build(&json).map_err(|error| error.to_string());
        Self { json, validator }
    }

    /// The validator, or why there is none.
    pub(crate) fn validator(&self) -> Result<&Validator, &str> {
        self.validator.as_ref().map_err(String::as_str)
    }

    /// The shape of the whole config.
    pub(crate) fn root(&self) -> SchemaNode<'_> {
        SchemaNode { schema: self, alternatives: self.alternatives(&self.json) }
    }

    /// What stands at a JSON pointer into the schema.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer)
    }

    /// A schema with its references followed and its alternatives spread out.
    fn alternatives<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let mut found = Vec::new();
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.at(pointer));
            found.extend(target.into_iter().flat_map(|target| self.alternatives(target)));
        }
        for keyword in ["anyOf", "oneOf"] {
            let branches = schema.get(keyword).and_then(Value::as_array);
            found.extend(branches.into_iter().flatten().flat_map(|branch| self.alternatives(branch)));
        }
        found.push(schema);
        found
    }
}

/// The schemas that may hold at some place of the config; none for a place that the schema does not know.
#[derive(Clone)]
pub(crate) struct SchemaNode<'a> {
    schema: &'a Schema,
    alternatives: Vec<&'a Value>,
}

impl<'a> SchemaNode<'a> {
    /// The shape of a key of the map that stands here.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.below(|schema| {
            let known = schema.get("properties").and_then(|properties| properties.get(key));
            known.or_else(|| schema.get("additionalProperties"))
        })
    }

    /// The shape of the items of the array that stands here.
    pub(crate) fn item(&self) -> Self {
        self.below(|schema| schema.get("items"))
    }

    fn below(&self, step: impl Fn(&'a Value) -> Option<&'a Value>) -> Self {
        let below = self.alternatives.iter().filter_map(|schema| step(schema));
        Self { schema: self.schema, alternatives: below.flat_map(|s| self.schema.alternatives(s)).collect() }
    }

    /// The keys that the map that stands here has.
    pub(crate) fn keys(&self) -> Vec<&'a str> {
        let maps = self.alternatives.iter().filter_map(|schema| schema.get("properties")?.as_object());
        maps.flat_map(|properties| properties.keys().map(String::as_str)).collect()
    }

    /// The schema knows no such place.
    pub(crate) fn is_unknown(&self) -> bool {
        self.alternatives.iter().all(|schema| matches!(schema, Value::Bool(false)))
    }

    /// A later layer replaces the map that stands here whole.
    pub(crate) fn is_replaced_whole(&self) -> bool {
        self.has("x-layers", "replace")
    }

    /// Any value may stand here.
    pub(crate) fn takes_anything(&self) -> bool {
        self.alternatives.iter().any(|schema| match schema {
            Value::Bool(takes) => *takes,
            Value::Object(keywords) => keywords.keys().all(|keyword| ANNOTATIONS.contains(&&**keyword)),
            _ => false,
        })
    }

    /// A value of this JSON type may stand here.
    pub(crate) fn takes(&self, wanted: &str) -> bool {
        self.alternatives.iter().any(|schema| match schema.get("type") {
            Some(Value::String(name)) => name == wanted,
            Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
            _ => false,
        })
    }

    /// The shape at a path below this one.
    pub(crate) fn at(&self, path: &KeyPath) -> Self {
        path.segments().iter().fold(self.clone(), |shape, segment| match segment {
            Segment::Key(key) => shape.key(key),
            Segment::Index(_) => shape.item(),
        })
    }

    /// Values that fit here, each of another kind: words, examples, the default, the least of a type. Down to this
    /// depth of maps and lists.
    pub(crate) fn examples(&self, depth: usize) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        let mut add = |value: Value| {
            if !found.contains(&value) {
                found.push(value);
            }
        };
        for schema in &self.alternatives {
            schema.get("const").into_iter().chain(schema.get("default")).cloned().for_each(&mut add);
            let examples = schema.get("examples").and_then(Value::as_array);
            examples.into_iter().flatten().cloned().for_each(&mut add);
        }
        let bound = |key| self.alternatives.iter().find_map(|schema| schema.get(key)?.as_u64());
        let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|n| n + 1)).unwrap_or(1);
        for (name, value) in [("boolean", json!(true)), ("integer", json!(least)), ("number", json!(least))] {
            if self.takes(name) {
                add(value);
            }
        }
        let has_words = self.alternatives.iter().any(|schema| schema.get("const").is_some());
        if self.takes("string") && !has_words {
            add(json!("x"));
        }
        if self.takes("object") && depth > 0 {
            add(self.least_map(depth - 1));
        }
        if self.takes("array") && depth > 0 {
            add(self.item().examples(depth - 1).into_iter().take(1).collect());
        }
        found
    }

    /// A map with the keys that must be there.
    fn least_map(&self, depth: usize) -> Value {
        let mut map = Map::new();
        let required = self.alternatives.iter().filter_map(|schema| schema.get("required")?.as_array());
        for key in required.flatten().filter_map(Value::as_str) {
            let value = self.key(key).examples(depth).into_iter().next();
            map.insert(key.to_owned(), value.unwrap_or_default());
        }
        map.into()
    }

    fn has(&self, keyword: &str, value: &str) -> bool {
        self.alternatives.iter().any(|schema| schema.get(keyword).is_some_and(|found| found == value))
    }

    /// Makes relative paths in a tree relative to the folder that its file lies in.
    pub(crate) fn resolve_paths(&self, node: &mut Node, folder: &Path) {
        self.visit(node, &mut |shape, value| match value {
            TreeValue::String(text) if shape.has("format", "path") && !text.is_empty() => {
                *text = folder.join(&*text).to_string_lossy().into_owned();
            }
            _ => {}
        });
    }

    /// Writes whole numbers that were read as decimals (`1e3`) as whole ones, where only those may stand.
    pub(crate) fn make_whole(&self, node: &mut Node) {
        self.visit(node, &mut |shape, value| {
            if let TreeValue::Number(number) = value
                && shape.takes("integer")
                && let Some(whole) = number.as_f64().and_then(whole)
            {
                *number = whole;
            }
        });
    }

    fn visit(&self, node: &mut Node, change: &mut dyn FnMut(&Self, &mut TreeValue)) {
        change(self, &mut node.value);
        match &mut node.value {
            TreeValue::Map(map) => {
                for (key, entry) in map {
                    self.key(key).visit(&mut entry.node, change);
                }
            }
            TreeValue::Array(items) => {
                let shape = self.item();
                for item in items {
                    shape.visit(item, change);
                }
            }
            _ => {}
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range and whole, as checked")]
fn whole(float: f64) -> Option<Number> {
    let fits = float.fract() == 0.0 && (0.0..=LARGEST_WHOLE as f64).contains(&float);
    fits.then(|| Number::from(float as u64))
}

/// Shapes what schemars writes: a key that may be left out is not one that may be null, Rust's integer formats
/// become ranges, a path is not empty, and descriptions are not broken into lines.
#[derive(Clone)]
struct Tidy;

impl Transform for Tidy {
    fn transform(&mut self, schema: &mut Schemars) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        drop_null(object);
        integer_range(object);
        // An empty path is most often a variable that is not set. For SQLite, it even is a file, which does not last.
        if object.get("format").is_some_and(|format| format == "path") {
            object.entry("minLength").or_insert_with(|| 1.into());
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            // The line breaks are those of the source code.
            *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
        }
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (keyword, value) in only {
            object.entry(keyword).or_insert(value);
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

fn integer_range(object: &mut Map<String, Value>) {
    let Some(format) = object.get("format").and_then(Value::as_str) else { return };
    let largest = match format {
        "uint16" => u64::from(u16::MAX),
        "uint32" => u64::from(u32::MAX),
        "uint64" => LARGEST_WHOLE,
        "float" | "double" => {
            object.remove("format");
            return;
        }
        _ => return,
    };
    object.remove("format");
    object.entry("maximum").or_insert_with(|| largest.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_one() {
        assert!(Schema::get().validator().is_ok(), "{:?}", Schema::get().validator().err());
        assert!(jsonschema::meta::is_valid(&schema()));
    }

    #[test]
    fn a_forgotten_schema_is_made_anew() {
        let first = Schema::get();
        forget_schema();
        let second = Schema::get();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(first.json, second.json);
    }

    /// Every object of the schema.
    fn walk<'a>(schema: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
        match schema {
            Value::Object(object) => {
                found.push(object);
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_format_is_checked_and_every_map_is_closed() {
        let schema = schema();
        let mut objects = Vec::new();
        walk(&schema, &mut objects);
        assert!(objects.len() > 100);
        for object in objects {
            if let Some(Value::String(format)) = object.get("format") {
                assert!(format == "path" || FORMATS.iter().any(|(name, _)| name == format), "{format}");
            }
            if object.get("type").is_some_and(|name| name == "object") {
                let open = object.get("additionalProperties");
                assert!(open.is_some(), "{object:?} takes unknown keys");
            }
            assert!(!object.get("type").is_some_and(|name| name == "null"), "{object:?} is null");
        }
    }

    #[test]
    fn every_key_says_what_it_is() {
        let schema = schema();
        let mut objects = Vec::new();
        walk(&schema, &mut objects);
        for object in objects {
            let Some(Value::Object(properties)) = object.get("properties") else { continue };
            for (key, property) in properties {
                let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(description.ends_with('.'), "{key}: {description:?}");
                assert!(!description.contains("[`"), "{key} has a link of Rust's: {description:?}");
            }
        }
    }

    #[test]
    fn shapes_know_their_places() {
        let schema = Schema::get();
        let target = schema.root().key("targets").key("any");
        assert!(target.key("auth").is_replaced_whole());
        assert!(target.key("auth").key("bearer").is_replaced_whole());
        assert!(!target.key("timeouts").is_replaced_whole());
        assert!(target.key("params").key("anything").takes_anything());
        assert!(!target.key("model").takes_anything() && target.key("model").takes("string"));
        assert!(schema.root().key("profiles").key("p").key("load").item().is_replaced_whole());
        assert!(!target.key("unknown").takes("string"));
    }
}
