//! A scenario as JSON that says what it does and not how or where it is written: for revision and fingerprint.

use crate::config;
use crate::plan::Step;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The config, with nothing masked, hashes in the place of data files, what schema files hold, and the names of the
/// secrets alone.
pub(super) fn canonical(
    written: &config::Scenario,
    setup: &[Arc<Step>],
    steps: &[Arc<Step>],
    data: &Map<String, Value>,
) -> Value {
    let of = |written: &[config::Step], compiled: &[Arc<Step>]| -> Value {
        written.iter().zip(compiled).map(|(written, compiled)| step(written, compiled)).collect()
    };
    json!({
        "vars": written.vars.0,
        "data": data,
        "secrets": written.secrets.keys().collect::<Vec<_>>(),
        "cookies": written.cookies,
        "setup": of(&written.setup, setup),
        "steps": of(&written.steps, steps),
    })
}

fn step(written: &config::Step, compiled: &Step) -> Value {
    let mut step = serde_json::to_value(written).unwrap_or_default();
    let Value::Object(fields) = &mut step else { return step };
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value);
        }
    };
    // These were masked.
    let paths = [
        ("get", &written.get),
        ("post", &written.post),
        ("put", &written.put),
        ("patch", &written.patch),
        ("delete", &written.delete),
        ("head", &written.head),
    ];
    for (key, path) in paths {
        put(key, path.as_ref().map(|path| json!(path.0)));
    }
    let request = written.request.as_ref();
    put("request", request.map(|it| json!({ "method": it.method, "path": it.path.0 })));
    put("headers", (!written.headers.is_empty()).then(|| json!(written.headers.0)));
    put("json", written.json.as_ref().map(|json| json.0.clone()));
    put("form", written.form.as_ref().map(|form| json!(form.0)));
    put("expect", (!written.expect.is_empty()).then(|| compiled.expect.written.clone()));
    step
}
