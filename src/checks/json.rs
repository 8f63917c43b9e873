//! Finds the JSON in an answer and checks whether a node meets its conditions.

use super::Evidence;
use crate::answer_json;
use crate::json_size;
use crate::plan::JsonRule;
use serde_json::{Number, Value};
use std::cell::OnceCell;

/// The JSON of one answer, parsed on first use.
#[derive(Debug)]
pub struct Documents<'a> {
    body: Option<&'a [u8]>,
    text: &'a str,
    /// The parsed body.
    whole: OnceCell<Option<Value>>,
    /// The parsed visible text.
    spoken: OnceCell<Option<Value>>,
}

impl<'a> Documents<'a> {
    /// Creates the documents of an answer without parsing them.
    pub fn new(answer: &Evidence<'a>) -> Self {
        let (whole, spoken) = (OnceCell::new(), OnceCell::new());
        Self { body: answer.body, text: answer.text, whole, spoken }
    }

    /// The document for JSON checks: the body, if the answer was not streamed and is JSON; otherwise the visible text,
    /// if that is JSON.
    pub fn answer(&self) -> Option<&Value> {
        let parse = || parse(self.body?);
        self.whole.get_or_init(parse).as_ref().or_else(|| self.text())
    }

    /// The visible text, if it is JSON.
    pub fn text(&self) -> Option<&Value> {
        self.spoken.get_or_init(|| parse(self.text.as_bytes())).as_ref()
    }
}

/// Parses JSON. A document that would take too much memory counts as not being JSON.
fn parse(text: &[u8]) -> Option<Value> {
    json_size::fits(text).then(|| answer_json::document(text).ok()).flatten()
}

/// Whether the first node that a path matches meets all conditions.
pub(super) fn holds(rule: &JsonRule, first: Option<&Value>) -> bool {
    let Some(node) = first else { return rule.exists == Some(false) };
    let at_least = |least: Option<f64>| least.is_none_or(|least| node.as_f64().is_some_and(|n| n >= least));
    let at_most = |most: Option<f64>| most.is_none_or(|most| node.as_f64().is_some_and(|n| n <= most));
    rule.exists != Some(false)
        && rule.equals.as_ref().is_none_or(|value| same(value, node))
        && rule.min_items.is_none_or(|least| items(node).is_some_and(|n| n >= least))
        && rule.max_items.is_none_or(|most| items(node).is_some_and(|n| n <= most))
        && at_least(rule.min)
        && at_most(rule.max)
}

/// The number of items in an array or an object, or of characters in a string.
fn items(node: &Value) -> Option<u64> {
    match node {
        Value::Array(items) => Some(items.len() as u64),
        Value::Object(map) => Some(map.len() as u64),
        Value::String(text) => Some(text.chars().count() as u64),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whether two values are equal. Numbers are compared by value, also inside arrays and objects: 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Whether two numbers are equal. Integers are compared as integers, because large adjacent integers would be equal as
/// floats.
fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}
