//! HTTP client spans by OpenTelemetry's conventions (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! `url.full` is left out though the conventions ask for it: paths hold what was taken from earlier answers, which
//! may be secret and is different each time. `url.template` says which call it was.

use super::super::key_value::text;
use opentelemetry::KeyValue;

/// Methods that the conventions know; any other would make a span name out of what a config says.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Method and path as the config writes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    method: &'a str,
    template: &'a str,
}

impl<'a> Route<'a> {
    /// Of `POST /api/sessions/{{ id }}`.
    pub(super) fn of(route: &'a str) -> Self {
        let (method, template) = route.split_once(' ').unwrap_or((route, ""));
        Self { method, template }
    }

    fn known(self) -> bool {
        METHODS.contains(&self.method)
    }

    /// `{method} {url.template}`.
    pub(super) fn span_name(self) -> String {
        let method = if self.known() { self.method } else { "HTTP" };
        if self.template.is_empty() { method.to_owned() } else { format!("{method} {}", self.template) }
    }

    /// What the request itself says of it.
    pub(super) fn attributes(self) -> Vec<KeyValue> {
        let mut all = Vec::with_capacity(24);
        if self.known() {
            all.push(text("http.request.method", self.method));
        } else {
            all.push(text("http.request.method", "_OTHER"));
            all.push(text("http.request.method_original", self.method));
        }
        if !self.template.is_empty() {
            all.push(text("url.template", self.template));
        }
        all
    }
}
