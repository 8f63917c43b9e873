//! Templates of what is sent: compiled when the config is read, rendered for each request. Pure: every draw
//! derives from the seed that comes in, and no file, clock or configuration is known here.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The templates of one scenario, compiled.
#[derive(Debug, Default)]
pub struct Templates {}

/// One of [`Templates`].
#[derive(Clone, Debug)]
pub struct Template {
    /// As it is written.
    pub source: Arc<str>,
    /// The names that it takes from its scope: variables, and nothing that it sets itself.
    pub names: BTreeSet<String>,
}

/// A template that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, and where in the template.
    pub message: String,
}

/// A template that cannot be rendered with what is there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// What a rendering depends on.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The variables; later layers win. Shared ones (data files) are not copied for each rendering.
    pub layers: &'a [&'a Map<String, Value>],
    /// Seed of `pick`, `uuid` and `random`; the nth draw of a rendering is the same for the same seed.
    pub seed: u64,
    /// The user, from 0: what `cycle` goes by.
    pub user: u32,
    /// The instant that `now` tells.
    pub now: jiff::Timestamp,
    /// Values of `counter`, by name.
    pub counters: &'a std::sync::Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Templates {
    /// Compiles a template that renders to text.
    pub fn add(&mut self, source: &str) -> Result<Template, Invalid> {
        let _ = source;
        todo!()
    }

    /// Renders to text.
    pub fn text(&self, template: &Template, scope: &Scope<'_>) -> Result<String, RenderError> {
        let _ = (template, scope);
        todo!()
    }

    /// Renders to a value: a template that is exactly one expression keeps its type, any other is text.
    pub fn value(&self, template: &Template, scope: &Scope<'_>) -> Result<Value, RenderError> {
        let _ = (template, scope);
        todo!()
    }
}
