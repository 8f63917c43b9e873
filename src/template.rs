//! Templates of what is sent: compiled when the config is read, rendered for each request. Pure: every draw
//! derives from the seed that comes in, and no file, clock or configuration is known here.

mod frame;
mod json;
mod scan;

use frame::Frame;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Functions that templates may call. No variable can have such a name.
pub const FUNCTIONS: [&str; 9] =
    ["pick", "cycle", "uuid", "now", "counter", "random", "range", "dict", "namespace"];

/// What a rendering may spend: so many instructions, or 64 bytes of text for each, before it is given up. 16 MiB
/// of text are more than any prompt, and a loop without end stops within milliseconds.
const FUEL: u64 = 262_144;
/// Depth of macros that call each other.
const MAX_DEPTH: usize = 64;
/// Characters of a template that an error quotes.
const QUOTED: usize = 80;
/// What a template of one expression sets, so that its value can be looked up.
const RESULT: &str = "__result__";

/// The templates of one scenario, compiled.
#[derive(Debug)]
pub struct Templates {
    env: Environment<'static>,
    added: usize,
}

/// One of [`Templates`].
#[derive(Clone, Debug)]
pub struct Template {
    /// As it is written.
    pub source: Arc<str>,
    /// The names that it takes from its scope: variables, and nothing that it sets itself. No functions.
    pub names: BTreeSet<String>,
    /// The same names with the attributes that are written behind them, say `secret.key`; the name alone where it is
    /// used in another way.
    pub attributes: BTreeSet<String>,
    /// Its name in the environment.
    key: Arc<str>,
    /// The name of the template that sets [`RESULT`], if the source is exactly one expression.
    typed: Option<Arc<str>>,
}

/// A template that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, and where in the template.
    pub message: String,
}

/// A template that cannot be rendered with what is there. It may quote values: whoever shows it hides secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// Values by name, in the form that templates work on: made once, shared by all renderings, cheap to clone.
#[derive(Clone, Default)]
pub struct Vars(Arc<BTreeMap<String, minijinja::Value>>);

/// The values of `counter`, by name; clones share them. At most [`Counters::MAX`] names of at most
/// [`Counters::MAX_NAME`] bytes.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<String, u64>>>);

/// What a rendering depends on.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The variables; later layers win. Nothing in them is copied for a rendering.
    pub layers: &'a [&'a Vars],
    /// Seed of `pick`, `uuid` and `random`; the nth draw of a rendering is the same for the same seed.
    pub seed: u64,
    /// The user, from 0: what `cycle` goes by.
    pub user: u32,
    /// The instant that `now` tells.
    pub now: jiff::Timestamp,
    /// Values of `counter`.
    pub counters: &'a Counters,
}

impl Default for Templates {
    fn default() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(MAX_DEPTH);
        // It prints every variable, secrets among them.
        env.remove_global("debug");
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        Self { env, added: 0 }
    }
}

impl Template {
    /// What a text holds outside of its expressions, blocks and comments: that part is sent as it is written.
    pub fn literal_text(source: &str) -> String {
        scan::scan(source).literal
    }
}

impl Templates {
    /// Compiles a template that renders to text, or, by [`Self::value`], to a value. Errors name the line in the
    /// template; filters, tests and functions that do not exist are among them.
    pub fn add(&mut self, source: &str) -> Result<Template, Invalid> {
        let key: Arc<str> = format!("t{}", self.added).into();
        self.env.add_template_owned(key.to_string(), source.to_owned()).map_err(|error| invalid(&error))?;
        let (undeclared, attributes) = match self.env.get_template(&key) {
            Ok(template) => (template.undeclared_variables(false), template.undeclared_variables(true)),
            Err(error) => return Err(invalid(&error)),
        };
        self.check_uses(source, &undeclared)?;
        let names = undeclared.into_iter().filter(|name| !FUNCTIONS.contains(&name.as_str())).collect();
        let typed = self.add_typed(source, &key)?;
        self.added += 1;
        let attributes = attributes.into_iter().collect();
        Ok(Template { source: source.into(), names, attributes, key, typed })
    }

    /// Everything that is called by name exists.
    fn check_uses(
        &self,
        source: &str,
        undeclared: &std::collections::HashSet<String>,
    ) -> Result<(), Invalid> {
        let mut state = self.env.empty_state();
        for used in scan::scan(source).uses {
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
            };
            if unknown {
                let message = format!("unknown {kind} `{}` (line {})", used.name, used.line);
                return Err(Invalid { message });
            }
        }
        Ok(())
    }

    /// A second template, where the first is exactly one expression: rendering gives text, setting keeps the type.
    fn add_typed(&mut self, source: &str, key: &str) -> Result<Option<Arc<str>>, Invalid> {
        let Some(expression) = scan::sole_expression(source) else { return Ok(None) };
        // Two expressions with text between them begin and end like one.
        if self.env.compile_expression_owned(expression.to_owned()).is_err() {
            return Ok(None);
        }
        let typed: Arc<str> = format!("{key}=").into();
        let source = format!("{{% set {RESULT} = ({expression}) %}}");
        self.env.add_template_owned(typed.to_string(), source).map_err(|error| invalid(&error))?;
        Ok(Some(typed))
    }

    /// Renders to text.
    pub fn text(&self, template: &Template, scope: &Scope<'_>) -> Result<String, RenderError> {
        let compiled = self.env.get_template(&template.key).map_err(|error| failed(template, &error))?;
        compiled.render(Frame::value(scope)).map_err(|error| failed(template, &error))
    }

    /// Renders to a value: a template that is exactly one expression keeps its type, any other is text.
    pub fn value(&self, template: &Template, scope: &Scope<'_>) -> Result<Value, RenderError> {
        let Some(typed) = &template.typed else { return self.text(template, scope).map(Value::String) };
        let compiled = self.env.get_template(typed).map_err(|error| failed(template, &error))?;
        let captured =
            compiled.render_captured(Frame::value(scope)).map_err(|error| failed(template, &error))?;
        let value = captured.state().lookup(RESULT).unwrap_or_default();
        json::from(&value).map_err(|error| failed_by(template, &error))
    }
}

fn is(error: Option<Error>, kind: ErrorKind) -> bool {
    error.is_some_and(|error| error.kind() == kind)
}

/// The library's message names the template by our key, which says nothing to anyone.
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
    /// Whether there is a value of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets a value.
    pub fn insert(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.0).insert(name.to_owned(), convert(value));
    }

    /// Sets a text, which is shared and not copied.
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

/// Names only: values may be secret.
impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Counters {
    /// Most names.
    pub const MAX: usize = 64;
    /// Most bytes of a name.
    pub const MAX_NAME: usize = 64;

    /// How many names have been counted.
    pub fn names(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The next number of a name, from 1.
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
