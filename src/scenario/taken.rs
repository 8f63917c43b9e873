//! Values that a user extracts from answers.

use super::cookies::set_cookie;
use super::{NotThere, UserSession};
use crate::checks::{Documents, Evidence};
use crate::plan::{AnswerPart, Step, StepAction, Take};
use crate::template::Vars;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The values, by name. They are kept as text, because the memory of parsed values has no useful limit.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<Arc<str>, TakenValue>);

enum TakenValue {
    /// A string.
    Text(Arc<str>),
    /// Any other value.
    Json(Box<str>),
}

impl Taken {
    /// Extracts all values of a step, or none.
    pub(super) fn take(
        &mut self,
        step: &Step,
        answer: &Evidence<'_>,
        documents: &Documents<'_>,
    ) -> Result<(), NotThere> {
        let mut values = Vec::with_capacity(step.take.len());
        for take in &step.take {
            let found = find(step, take, answer, documents);
            let value = match (found, &take.default) {
                (Ok(value), _) => value,
                (Err(_), Some(default)) => Cow::Borrowed(default),
                (Err(why), None) => {
                    return Err(NotThere(format!("there is no value for `{}`: {why}", take.name)));
                }
            };
            values.push((Arc::clone(&take.name), keep(&take.name, &value)?));
        }
        self.0.extend(values);
        Ok(())
    }

    /// Adds the needed values to the variables.
    pub(super) fn fill(&self, vars: &mut Vars, wanted: impl Fn(&str) -> bool) {
        for (name, kept) in self.0.iter().filter(|(name, _)| wanted(name)) {
            match kept {
                TakenValue::Text(text) => vars.insert_text(name, text),
                TakenValue::Json(json) => vars.insert(name, parse(json)),
            }
        }
    }

    /// Every string in the values.
    pub(super) fn strings(&self) -> Vec<String> {
        let mut strings = Vec::new();
        for kept in self.0.values() {
            match kept {
                TakenValue::Text(text) => strings.push(text.to_string()),
                TakenValue::Json(json) => collect(parse(json), &mut strings),
            }
        }
        strings
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let content = |kept: &TakenValue| match kept {
            TakenValue::Text(text) => text.len(),
            TakenValue::Json(json) => json.len(),
        };
        self.0.values().map(|kept| content(kept) + super::ENTRY).sum()
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn parse(json: &str) -> Value {
    // It was serialized from a value, so it can be parsed.
    serde_json::from_str(json).unwrap_or_default()
}

fn collect(value: Value, strings: &mut Vec<String>) {
    match value {
        Value::String(text) => strings.push(text),
        Value::Array(items) => items.into_iter().for_each(|item| collect(item, strings)),
        Value::Object(map) => map.into_iter().for_each(|(_, value)| collect(value, strings)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn keep(name: &str, value: &Value) -> Result<TakenValue, NotThere> {
    let json = value.to_string();
    if json.len() > UserSession::MAX_TAKEN {
        let (long, most) = (json.len(), UserSession::MAX_TAKEN);
        return Err(NotThere(format!(
            "the value for `{name}` is too long: {long} bytes, at most {most} are kept"
        )));
    }
    Ok(match value {
        Value::String(text) => TakenValue::Text(text.as_str().into()),
        _ => TakenValue::Json(json.into()),
    })
}

/// Finds the value to extract; the error says what is missing.
fn find<'a>(
    step: &Step,
    take: &Take,
    answer: &Evidence<'_>,
    documents: &'a Documents<'_>,
) -> Result<Cow<'a, Value>, String> {
    let owned = |text: &str| Cow::Owned(Value::from(text));
    match &take.from {
        AnswerPart::Json(path) => {
            let document = documents.answer().ok_or("the answer is not JSON")?;
            let first = path.query(document).first();
            first.map(Cow::Borrowed).ok_or_else(|| format!("nothing in the answer is at {path}"))
        }
        AnswerPart::Header(name) => {
            let value = answer.headers.get(name).ok_or_else(|| format!("the answer has no header {name}"))?;
            Ok(owned(&String::from_utf8_lossy(value.as_bytes())))
        }
        AnswerPart::Regex(pattern) => {
            let text = haystack(step, answer);
            let found = pattern.captures(&text).ok_or("the pattern matches nowhere in the answer")?;
            // The whole match, if there is no group. One that takes no part in the match has no value.
            let part = found.get(usize::from(found.len() > 1));
            let part = part.ok_or("the group takes no part in the match of the pattern")?;
            Ok(owned(part.as_str()))
        }
        AnswerPart::Cookie(name) => set_cookie(answer.headers, name)
            .map(|value| owned(&value))
            .ok_or_else(|| format!("the answer sets no cookie {name}")),
        AnswerPart::Text => match haystack(step, answer) {
            text if text.is_empty() => Err("the answer has no text".to_owned()),
            text => Ok(owned(&text)),
        },
    }
}

/// The visible text, or the body of an answer whose text is not read.
fn haystack<'a>(step: &Step, answer: &Evidence<'a>) -> Cow<'a, str> {
    let reads_text = match &step.action {
        StepAction::Http(http) => http.reading.as_ref().is_some_and(|reading| reading.wants_text()),
        StepAction::Ask(_) => true,
    };
    match answer.body {
        Some(body) if !reads_text => String::from_utf8_lossy(body),
        _ => Cow::Borrowed(answer.text),
    }
}
