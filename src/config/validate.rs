//! Turns the errors of JSON Schema validation into messages for an operator. It reports all errors at once, suggests
//! the nearest known key for an unknown one, and never shows a value that may be a secret.

use super::path::{KeyPath, Segment};
use super::problem::{Located, Problem};
use super::schema::Schema;
use super::text;
use super::tree::Node;
use crate::limits;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::LocationSegment;
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

/// The message for an invalid secret.
const SECRET: &str = "must be { env: NAME }, { file: PATH } or { value: TEXT }";

/// Maximum length of a name that is compared with others, in bytes.
const LONGEST_NAME: usize = 64;

/// A problem with the form of a value, and how the value can be repaired.
pub(crate) struct Misfit {
    pub(crate) problem: Located,
    pub(crate) repair: Repair,
}

/// How a value that does not match the schema can be replaced, so that the rest of the config can be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// The key at this path is not allowed. Any key that its map allows and that is not set may have been meant.
    Remove(KeyPath),
    /// The value at this path has to be a different one.
    Fill(KeyPath),
}

impl Repair {
    /// The path of the value.
    pub(crate) fn path(&self) -> &KeyPath {
        let (Self::Remove(path) | Self::Fill(path)) = self;
        path
    }
}

impl Misfit {
    /// A misfit that is repaired with a different value at the path of the problem.
    fn fill(problem: Located) -> Self {
        let repair = Repair::Fill(problem.path.clone());
        Self { problem, repair }
    }
}

/// Returns everything in the tree that does not match the schema. Missing keys are not reported for an incomplete tree.
pub(crate) fn validate(tree: &Node, incomplete: bool) -> Vec<Misfit> {
    let schema = Schema::get();
    let json = tree.to_json();
    let validator = match schema.validator() {
        Ok(validator) => validator,
        Err(reason) => {
            let message =
                format!("cannot be checked, because the schema built into this program is broken: {reason}");
            return vec![Misfit::fill(
                Problem::new(KeyPath::root(), message).at(super::tree::Position::Nowhere),
            )];
        }
    };
    let mut found = Vec::new();
    for error in validator.iter_errors(&json) {
        if incomplete && matches!(error.kind(), Kind::Required { .. }) {
            continue;
        }
        explain(&error, tree, &schema, &mut found);
        if found.len() >= limits::PROBLEMS {
            break;
        }
    }
    found
}

fn explain(error: &ValidationError<'_>, tree: &Node, schema: &Schema, found: &mut Vec<Misfit>) {
    let path = path_of(error);
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            for key in unexpected.iter().take(limits::PROBLEMS.saturating_sub(found.len())) {
                let path = path.key(key);
                found.push(unknown_key(error, &path, key, tree, schema));
            }
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let repair = Repair::Fill(path.key(key));
            let problem = Problem::new(path, format!("needs the key `{key}`")).located(tree);
            found.push(Misfit { problem, repair });
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            if let Some(branch) = branch_for(error, context, schema) {
                for error in branch {
                    explain(error, tree, schema, found);
                }
            } else {
                let message = alternatives(error, context);
                found.push(Misfit::fill(Problem::new(path, message).located(tree)));
            }
        }
        _ => found.push(Misfit::fill(Problem::new(path, clause(error, schema)).located(tree))),
    }
}

fn path_of(error: &ValidationError<'_>) -> KeyPath {
    let segments = error.instance_path().iter();
    let own = segments.map(|segment| match segment {
        LocationSegment::Property(key) => Segment::Key(key.into_owned()),
        LocationSegment::Index(index) => Segment::Index(index),
    });
    own.collect()
}

/// The schema that contains the violated keyword.
fn around<'a>(error: &ValidationError<'_>, schema: &'a Schema) -> Option<&'a Value> {
    error.schema_path().as_str().rsplit_once('/').and_then(|(parent, _)| schema.at(parent))
}

/// Describes an unknown key. In the map of a secret, the key may be the secret itself (`bearer: { sk-... }`), so it is
/// not shown.
fn unknown_key(
    error: &ValidationError<'_>,
    path: &KeyPath,
    key: &str,
    tree: &Node,
    schema: &Schema,
) -> Misfit {
    let at = tree.key_position(path);
    let object = around(error, schema);
    if object.is_some_and(is_secret) {
        let segments = path.segments().split_last().map_or(&[][..], |(_, before)| before);
        return Misfit::fill(Problem::new(segments.iter().cloned().collect(), SECRET).at(at));
    }
    let known = known_keys(object);
    let message = match nearest(key, known.iter().copied()) {
        Some(near) => format!("is not a key here; did you mean `{near}`?"),
        None => format!("is not a key here; there are {}", list(&known)),
    };
    Misfit { problem: Problem::new(path.clone(), message).at(at), repair: Repair::Remove(path.clone()) }
}

/// The branch that the value was meant for: the only branch whose type matches, or of several the one whose keys are the
/// most like those of the value.
fn branch_for<'a>(
    of: &ValidationError<'_>,
    context: &'a [Vec<ValidationError<'static>>],
    schema: &Schema,
) -> Option<&'a Vec<ValidationError<'static>>> {
    let fits = |branch: &&Vec<_>| !branch.iter().any(|error| wrong_type(of.instance(), error));
    let fitting: Vec<_> = context.iter().filter(fits).collect();
    let meant = match fitting.as_slice() {
        [only] => only,
        several => {
            let strange = |branch: &&Vec<_>| strange_keys(of, branch, schema);
            let least = several.iter().map(strange).min()?;
            let mut nearest = several.iter().filter(|branch| strange(branch) == least);
            nearest.next().filter(|_| nearest.next().is_none())?
        }
    };
    // Branches of words, as in an enum whose words have descriptions, are listed as alternatives.
    (!meant.iter().any(|error| about_words(error, of))).then_some(meant)
}

/// How many keys of the value a branch does not know, not even with a typo.
fn strange_keys(of: &ValidationError<'_>, branch: &[ValidationError<'static>], schema: &Schema) -> usize {
    let here = branch.iter().filter(|error| is_same_place(error, of));
    here.map(|error| match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let known = known_keys(around(error, schema));
            let is_strange = |key: &&String| nearest(key, known.iter().copied()).is_none();
            unexpected.iter().filter(is_strange).count()
        }
        _ => 0,
    })
    .sum()
}

fn known_keys(object: Option<&Value>) -> Vec<&str> {
    let properties = object.and_then(|object| object.get("properties")).and_then(Value::as_object);
    properties.map(|keys| keys.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Whether an error is about the value itself, and not about one within it.
fn is_same_place(error: &ValidationError<'_>, of: &ValidationError<'_>) -> bool {
    error.instance_path() == of.instance_path()
}

fn about_words(error: &ValidationError<'_>, of: &ValidationError<'_>) -> bool {
    match error.kind() {
        Kind::Constant { .. } | Kind::Enum { .. } => is_same_place(error, of),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().any(|error| about_words(error, of))
        }
        _ => false,
    }
}

fn wrong_type(instance: &Value, error: &ValidationError<'_>) -> bool {
    let here = error.instance().as_ref() == instance;
    match error.kind() {
        Kind::Type { .. } => here,
        Kind::Constant { .. } | Kind::Enum { .. } => here && !instance.is_string(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            here && context.iter().all(|branch| branch.iter().any(|error| wrong_type(instance, error)))
        }
        _ => false,
    }
}

/// Lists the valid alternatives if it is unclear which branch was meant.
fn alternatives(of: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> String {
    let mut words = Vec::new();
    let mut types = Vec::new();
    collect(of, context, &mut words, &mut types);
    one_of(of.instance(), &words, &types)
}

fn collect(
    of: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    words: &mut Vec<String>,
    types: &mut Vec<&'static str>,
) {
    for error in context.iter().flatten().filter(|error| is_same_place(error, of)) {
        match error.kind() {
            Kind::Constant { expected_value } => words.extend(expected_value.as_str().map(str::to_owned)),
            Kind::Enum { options } => words.extend(enum_words(options)),
            Kind::Type { kind } => types.extend(type_names(kind)),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => collect(of, context, words, types),
            _ => {}
        }
    }
    // A branch of words also reports a wrong type, but the words are more helpful.
    if !words.is_empty() {
        types.retain(|name| *name != "text");
    }
    types.dedup();
}

fn enum_words(options: &Value) -> impl Iterator<Item = String> {
    options.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn type_names(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(only) => vec![type_name(*only)],
        TypeKind::Multiple(several) => several.iter().map(type_name).collect(),
    }
}

const fn type_name(json: JsonType) -> &'static str {
    match json {
        JsonType::Null => "nothing",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "a map",
    }
}

/// Describes an error as a clause whose subject is the key.
fn clause(error: &ValidationError<'_>, schema: &Schema) -> String {
    let instance = error.instance().as_ref();
    match error.kind() {
        Kind::Type { kind } => wrong_kind(instance, kind, around(error, schema)),
        Kind::Format { format } => instance
            .as_str()
            .and_then(|value| text::complaint(format, value))
            .unwrap_or_else(|| format!("is not of the form {format}")),
        Kind::Enum { options } => one_of(instance, &enum_words(options).collect::<Vec<_>>(), &[]),
        Kind::Constant { expected_value } => {
            let words: Vec<String> = expected_value.as_str().map(str::to_owned).into_iter().collect();
            one_of(instance, &words, &[])
        }
        Kind::FalseSchema => "must be empty: write {}".to_owned(),
        Kind::Minimum { limit } => format!("must be {limit} or more"),
        Kind::Maximum { limit } => format!("must be {limit} or less"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MinLength { .. } => "must not be empty".to_owned(),
        Kind::MaxItems { limit } => format!("must not have more than {limit} items"),
        Kind::MaxProperties { limit } => format!("must not have more than {limit} keys"),
        Kind::MinItems { .. } => "must have at least one item".to_owned(),
        // The schema uses no other keyword. The message contains its name, but no value.
        other => format!("breaks the rule `{}` of the schema", other.keyword()),
    }
}

/// Describes a value of the wrong type. If the schema requires text in a specific format, the message describes that
/// format.
fn wrong_kind(instance: &Value, kind: &TypeKind, schema: Option<&Value>) -> String {
    if schema.is_some_and(is_secret) {
        return SECRET.to_owned();
    }
    let scalar = instance.is_number() || instance.is_boolean();
    let format = schema.and_then(|schema| schema.get("format")).and_then(Value::as_str);
    if let Some(complaint) = format.filter(|_| scalar).and_then(|f| text::complaint(f, &instance.to_string()))
    {
        return complaint;
    }
    let right = type_names(kind);
    let wrong = match instance {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    let quotes = if scalar && right == ["text"] { "; put it in quotes" } else { "" };
    format!("must be {}, not {wrong}{quotes}", join(&right, "or"))
}

/// Lists the words and types that are valid.
fn one_of(instance: &Value, words: &[String], types: &[&str]) -> String {
    let quoted = words.iter().map(|word| format!("`{word}`"));
    let right: Vec<String> = quoted.chain(types.iter().map(|name| (*name).to_owned())).collect();
    let near = instance.as_str().and_then(|text| nearest(text, words.iter().map(String::as_str)));
    let hint = match near {
        Some(near) if right.len() > 1 => format!("; did you mean `{near}`?"),
        _ if !instance.is_string() && words.contains(&instance.to_string()) => {
            "; put it in quotes".to_owned()
        }
        _ => String::new(),
    };
    format!("must be {}{hint}", join(&right, "or"))
}

/// Whether a schema is that of a secret, which is recognised by its keys.
fn is_secret(schema: &Value) -> bool {
    let keys =
        schema.get("properties").and_then(Value::as_object).map(|keys| keys.keys().map(String::as_str));
    keys.is_some_and(|keys| keys.eq(["env", "file", "value"]))
}

/// Returns the name that was probably meant.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The cost of the comparison is the product of both lengths.
    if written.len() > LONGEST_NAME {
        return None;
    }
    let known = known.filter(|name| name.len() <= LONGEST_NAME);
    let scored = known.map(|name| (strsim::damerau_levenshtein(written, name), name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    // If at most a third of the letters are wrong, it is considered a typo. Otherwise it is a different word.
    (distance <= name.chars().count().max(3) / 3).then_some(name)
}

/// Formats a list of names: `a`, `b` and `c`.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    join(&quoted, "and")
}

fn join<T: AsRef<str>>(names: &[T], word: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} {word} {last}", before.join(", ")),
    }
}
