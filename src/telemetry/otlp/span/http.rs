//! HTTP client spans by OpenTelemetry's conventions (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! `url.full` is omitted although the conventions require it: paths contain values extracted from earlier answers,
//! which may be secret and differ each time. `url.template` identifies the call.

use super::super::key_value::text;
use opentelemetry::KeyValue;

/// Methods defined by the conventions. Any other method would become part of a span name.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Method and path as configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    method: &'a str,
    template: &'a str,
}

impl<'a> Route<'a> {
    /// Parses a route such as `POST /api/sessions/{{ id }}`.
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

    /// The attributes that follow from the route.
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
