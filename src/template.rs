//! Templates of requests: compiled when the config is loaded, rendered for each request. Pure: every random draw is
//! derived from the seed passed in, and nothing here accesses a file, a clock or the configuration.

mod filters;
mod frame;
#[cfg(test)]
mod fuzz;
mod json;
mod reads;
mod scan;

use crate::limits;
use frame::Frame;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Functions that templates may call. A variable must not have one of these names.
pub const FUNCTIONS: [&str; 9] =
    ["pick", "cycle", "uuid", "now", "counter", "random", "range", "dict", "namespace"];

/// Maximum cost of a rendering in instructions (64 bytes of text count as one), after which it is aborted. 16 MiB of
/// text are more than any prompt, and an endless loop stops within milliseconds.
const FUEL: u64 = 262_144;
/// Maximum depth of nested macro calls.
const MAX_DEPTH: usize = 64;
/// Maximum number of characters of a template quoted in an error.
const QUOTED: usize = 80;
/// The variable that a single-expression template sets, so that its value can be looked up.
const RESULT: &str = "__result__";

/// The templates of one scenario, compiled.
#[derive(Debug)]
pub struct Templates {
    env: Environment<'static>,
    added: usize,
}

/// One template of [`Templates`].
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Template {
    /// The source text of the template.
    pub source: Arc<str>,
    /// The variables that it reads from its scope, excluding functions and variables that it sets itself.
    #[serde(skip)]
    pub names: BTreeSet<String>,
    /// The same names with their attributes, for example `secret.key`, or the name alone if it is used in another way.
    #[serde(skip)]
    pub attributes: BTreeSet<String>,
    /// Its name in the environment.
    #[serde(skip)]
    key: Arc<str>,
    /// The name of the template that sets [`RESULT`], if the source is exactly one expression.
    #[serde(skip)]
    typed: Option<Arc<str>>,
}

/// A template that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, and where in the template.
    pub message: String,
}

/// A template that cannot be rendered with the given variables. The message may quote values: redact secrets before
/// showing it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// Values by name, converted for templates once, shared by all renderings, cheap to clone.
#[derive(Clone, Default)]
pub struct Vars(Arc<BTreeMap<String, minijinja::Value>>);

/// The values of `counter`, by name; clones share them. There are at most [`Counters::MAX`] names of at most
/// [`Counters::MAX_NAME`] bytes.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<String, u64>>>);

/// Everything that the result of a rendering depends on.
#[derive(Debug)]
pub struct RenderScope<'a> {
    /// The variables; later layers take precedence. They are not copied for a rendering.
    pub layers: &'a [&'a Vars],
    /// Seed of `pick`, `uuid` and `random`; with the same seed, the nth draw of a rendering is the same.
    pub seed: u64,
    /// Index of the user, from 0, which `cycle` uses.
    pub user: u32,
    /// The time that `now` returns.
    pub now: jiff::Timestamp,
    /// The values of `counter`.
    pub counters: &'a Counters,
}

impl Default for Templates {
    fn default() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(MAX_DEPTH);
        // Derived debug output would print every variable, including secrets.
        env.remove_global("debug");
        env.add_filter("urlencode", filters::urlencode);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        Self { env, added: 0 }
    }
}

impl Template {
    /// The text outside of expressions, blocks and comments, which is sent literally.
    pub fn literal_text(source: &str) -> String {
        scan::scan(source).literal
    }
}

impl Templates {
    /// Compiles a template that renders to text, or with [`Self::value`] to a value. Errors name the line in the
    /// template. Unknown filters, tests and functions are also errors.
    pub fn add(&mut self, source: &str) -> Result<Template, Invalid> {
        let scanned = scan::scan(source);
        bounded(source, &scanned)?;
        let key: Arc<str> = format!("t{}", self.added).into();
        self.env.add_template_owned(key.to_string(), source.to_owned()).map_err(|error| invalid(&error))?;
        let (mut undeclared, mut attributes) = match self.env.get_template(&key) {
            Ok(template) => (template.undeclared_variables(false), template.undeclared_variables(true)),
            Err(error) => return Err(invalid(&error)),
        };
        // The engine overlooks some.
        undeclared.extend(scanned.reads.names.into_iter().map(str::to_owned));
        attributes.extend(scanned.reads.attributes);
        self.check_uses(scanned.uses, &undeclared)?;
        let names = undeclared.into_iter().filter(|name| !FUNCTIONS.contains(&name.as_str())).collect();
        let typed = self.add_typed(source, &key)?;
        self.added += 1;
        let attributes = attributes.into_iter().collect();
        Ok(Template { source: source.into(), names, attributes, key, typed })
    }

    /// Checks that every filter, test, function and statement exists.
    fn check_uses(
        &self,
        uses: Vec<scan::Use<'_>>,
        undeclared: &std::collections::HashSet<String>,
    ) -> Result<(), Invalid> {
        let mut state = self.env.empty_state();
        for used in uses {
            let (kind, unknown) = match used.what {
                scan::What::Filter => {
                    ("filter", is(state.apply_filter(used.name, &[]).err(), ErrorKind::UnknownFilter))
                }
                scan::What::Test => {
                    ("test", is(state.perform_test(used.name, &[]).err(), ErrorKind::UnknownTest))
                }
                scan::What::Function => {
                    ("function", undeclared.contains(used.name) && !FUNCTIONS.contains(&used.name))
                }
                scan::What::Statement => ("statement", true),
            };
            if unknown {
                let message = format!("unknown {kind} `{}` (line {})", used.name, used.line);
                return Err(Invalid { message });
            }
        }
        Ok(())
    }

    /// Adds a second template if the first is exactly one expression: rendering yields text, but assigning to a
    /// variable keeps the type.
    fn add_typed(&mut self, source: &str, key: &str) -> Result<Option<Arc<str>>, Invalid> {
        let Some(expression) = scan::sole_expression(source) else { return Ok(None) };
        // Two expressions with text between them begin and end like a single one.
        if self.env.compile_expression_owned(expression.to_owned()).is_err() {
            return Ok(None);
        }
        let typed: Arc<str> = format!("{key}=").into();
        let source = format!("{{% set {RESULT} = ({expression}) %}}");
        self.env.add_template_owned(typed.to_string(), source).map_err(|error| invalid(&error))?;
        Ok(Some(typed))
    }

    /// Renders to text.
    pub fn text(&self, template: &Template, scope: &RenderScope<'_>) -> Result<String, RenderError> {
        let compiled = self.env.get_template(&template.key).map_err(|error| failed(template, &error))?;
        compiled.render(Frame::value(scope)).map_err(|error| failed(template, &error))
    }

    /// Renders to a value: a template that is exactly one expression keeps its type, any other becomes text.
    pub fn value(&self, template: &Template, scope: &RenderScope<'_>) -> Result<Value, RenderError> {
        let Some(typed) = &template.typed else { return self.text(template, scope).map(Value::String) };
        let compiled = self.env.get_template(typed).map_err(|error| failed(template, &error))?;
        let captured =
            compiled.render_captured(Frame::value(scope)).map_err(|error| failed(template, &error))?;
        let value = captured.state().lookup(RESULT).unwrap_or_default();
        json::from(&value).map_err(|error| failed_by(template, &error))
    }
}

/// Limits the code of a template, because the engine's parser and compiler recurse for each part of a chain (`a + b +
/// c`, `elif`).
fn bounded(source: &str, scanned: &scan::Scanned<'_>) -> Result<(), Invalid> {
    if source.len() > limits::TEMPLATE_BYTES && scanned.tokens > 0 {
        return Err(Invalid { message: format!("it is longer than {} bytes", limits::TEMPLATE_BYTES) });
    }
    if scanned.tokens > limits::TEMPLATE_TOKENS {
        let most = limits::TEMPLATE_TOKENS;
        return Err(Invalid { message: format!("it has more than {most} words and signs of code") });
    }
    Ok(())
}

fn is(error: Option<Error>, kind: ErrorKind) -> bool {
    error.is_some_and(|error| error.kind() == kind)
}

/// Formats an error without the engine's internal template name, which means nothing to a user.
fn message(error: &Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it takes too many steps or makes too much text{line}"),
        (kind, Some(detail)) => format!("{kind}: {detail}{line}"),
        (kind, None) => format!("{kind}{line}"),
    }
}

fn invalid(error: &Error) -> Invalid {
    Invalid { message: message(error) }
}

fn failed(template: &Template, error: &Error) -> RenderError {
    failed_by(template, &message(error))
}

fn failed_by(template: &Template, message: &str) -> RenderError {
    let source = &template.source;
    let quoted = match source.char_indices().nth(QUOTED) {
        None => source.to_string(),
        Some((at, _)) => format!("{}...", source.get(..at).unwrap_or_default()),
    };
    RenderError(format!("the template `{quoted}` cannot be rendered: {message}"))
}

impl Vars {
    /// Whether a variable has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets a value.
    pub fn insert(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.0).insert(name.to_owned(), convert(value));
    }

    /// Sets a text, which is shared instead of copied.
    pub fn insert_text(&mut self, name: &str, text: &Arc<str>) {
        Arc::make_mut(&mut self.0).insert(name.to_owned(), text.into());
    }

    fn get(&self, name: &str) -> Option<minijinja::Value> {
        self.0.get(name).cloned()
    }
}

impl<K: Into<String>> FromIterator<(K, Value)> for Vars {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(values: I) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), convert(value)));
        Self(Arc::new(values.collect()))
    }
}

fn convert(value: Value) -> minijinja::Value {
    match value {
        Value::String(text) => text.into(),
        other => minijinja::value::Serde(other).into(),
    }
}

impl From<Map<String, Value>> for Vars {
    fn from(values: Map<String, Value>) -> Self {
        values.into_iter().collect()
    }
}

/// Prints only names, because values may be secret.
impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Counters {
    /// Maximum number of names.
    pub const MAX: usize = 64;
    /// Maximum length of a name in bytes.
    pub const MAX_NAME: usize = 64;

    /// Number of names in use.
    pub fn names(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The next value of a counter, starting with 1.
    fn next(&self, name: &str) -> Result<u64, Error> {
        let refuse = |why: String| Err(Error::new(ErrorKind::InvalidOperation, why));
        if name.len() > Self::MAX_NAME {
            return refuse(format!("the name of a counter is longer than {} bytes", Self::MAX_NAME));
        }
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counters.get_mut(name) {
            *count += 1;
            return Ok(*count);
        }
        if counters.len() >= Self::MAX {
            return refuse(format!("there are more than {} counters", Self::MAX));
        }
        counters.insert(name.to_owned(), 1);
        Ok(1)
    }
}

#[cfg(test)]
mod tests;
