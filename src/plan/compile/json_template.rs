//! Compiles a JSON value with templates in its texts.

use super::Findings;
use crate::config::{KeyPath, is_template};
use crate::plan::JsonTemplate;
use crate::template::Template;
use serde_json::Value;

/// Compiles a value. `template` compiles each text that has a template in it, or reports its error.
pub(super) fn compile(
    value: &Value,
    path: &KeyPath,
    findings: &mut Findings,
    template: &mut impl FnMut(&str, &KeyPath, &mut Findings) -> Option<Template>,
) -> Option<JsonTemplate> {
    match value {
        Value::String(text) if is_template(text) => {
            template(text, path, findings).map(JsonTemplate::Template)
        }
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .enumerate()
                .map(|(index, item)| compile(item, &path.index(index), findings, template))
                .collect();
            let items: Vec<JsonTemplate> = items.into_iter().collect::<Option<_>>()?;
            let literal = items.iter().all(|item| matches!(item, JsonTemplate::Literal(_)));
            Some(if literal { JsonTemplate::Literal(value.clone()) } else { JsonTemplate::Array(items) })
        }
        Value::Object(map) => {
            let mut fields = Vec::new();
            for (name, value) in map {
                let path = path.key(name);
                if is_template(name) {
                    findings.warn(&path, "is sent as it is: there are no templates in keys");
                }
                let value = compile(value, &path, findings, template);
                fields.push(value.map(|value| (name.clone(), value)));
            }
            let fields: Vec<(String, JsonTemplate)> = fields.into_iter().collect::<Option<_>>()?;
            let literal = fields.iter().all(|(_, field)| matches!(field, JsonTemplate::Literal(_)));
            Some(if literal { JsonTemplate::Literal(value.clone()) } else { JsonTemplate::Object(fields) })
        }
        plain => Some(JsonTemplate::Literal(plain.clone())),
    }
}
