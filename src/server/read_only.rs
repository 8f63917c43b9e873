//! A server that may be shown to everybody (`server.read_only`): nothing that changes state, costs money or tells
//! addresses.

use super::Views;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

/// Keys of texts that may name hosts, files or software: details of failures, also of readings of a server's own metrics,
/// what is wrong with the config, and where it is.
const LEFT_OUT: [&str; 6] = ["detail", "problem", "errors", "warnings", "files", "server"];

/// Keys of what was sent and what came back.
const CONTENT: [&str; 2] = ["sent", "received"];

/// Middleware for what a read-only server does not have.
pub(super) async fn refuse(State(views): State<Views>, request: Request, next: Next) -> Response {
    if !views.read_only() {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "refused: this server is read-only (server.read_only)\n").into_response()
}

/// A value as JSON, as far as this server shows it.
pub(super) fn shown(value: impl Serialize, read_only: bool) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    if read_only {
        leave_out(&mut value);
    }
    Ok(value)
}

/// An answer with a value as JSON, as far as this server shows it.
pub(super) fn answer(value: impl Serialize, read_only: bool) -> Response {
    match shown(value, read_only) {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render an answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Empties what is left out. Numbers of the same name stay: they count.
fn leave_out(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::Object(_) if CONTENT.contains(&key.as_str()) => *value = Value::Null,
                    Value::String(_) if LEFT_OUT.contains(&key.as_str()) => *value = Value::Null,
                    Value::Array(all) if LEFT_OUT.contains(&key.as_str()) => all.clear(),
                    _ => leave_out(value),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(leave_out),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_that_may_name_hosts_are_left_out_and_numbers_stay() {
        let value = json!({
            "config": { "ok": false, "errors": ["10.1.2.3"], "files": ["/etc/x"], "warnings": [] },
            "requests": [{ "outcome": "connect", "detail": "10.1.2.3 refused", "server": "nginx" }],
            "runs": [{ "server": { "engine": "", "problem": "http://10.1.2.3/metrics: refused", "readings": 0 } }],
            "objectives": [{ "errors": 3 }],
            "sent": { "path": "/v1" },
            "received": { "status": 500 },
            "windows": [{ "sent": 3 }],
        });
        assert_eq!(shown(&value, false).unwrap(), value);
        assert_eq!(
            shown(&value, true).unwrap(),
            json!({
                "config": { "ok": false, "errors": [], "files": [], "warnings": [] },
                "requests": [{ "outcome": "connect", "detail": null, "server": null }],
                "runs": [{ "server": { "engine": "", "problem": null, "readings": 0 } }],
                "objectives": [{ "errors": 3 }],
                "sent": null,
                "received": null,
                "windows": [{ "sent": 3 }],
            })
        );
    }
}
