//! Compiles the marks that identify the traffic of a target as synthetic.

use super::{Findings, wire};
use crate::config::{self, KeyPath, names_a_credential};
use crate::plan::mark::{MarkPlaces, MetadataPlace, TAGS_HEADER};
use crate::plan::{Api, is_vertex};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use url::Url;

/// Parameters for request bodies, and headers.
pub(super) type Marked = (Map<String, Value>, Vec<(HeaderName, HeaderValue)>);

/// Compiles the mark of a target. A key that its dialect does not support is an error.
pub(super) fn compile(
    target: &config::Target,
    base_url: Option<&Url>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Marked {
    let mark = &target.mark;
    let places = MarkPlaces::of(target.api, base_url.is_some_and(|url| is_vertex(url.path())));
    let mut params = Map::new();
    let unsupported = |key: &str| {
        let (api, has) = (target.api.name(), places.keys(target.api).join(", "));
        format!("`{api}` has no field for `{key}`; it supports {has}")
    };
    if let Some(user) = &mark.user {
        match places.user {
            Some(at) => put(&mut params, at, user),
            None => findings.error(&path.key("user"), unsupported("user")),
        }
    }
    match places.metadata {
        _ if mark.metadata.is_empty() => {}
        Some(place) => {
            check_metadata(target, base_url, place, &path.key("metadata"), findings);
            params.insert(place.key().to_owned(), json!(mark.metadata));
        }
        None => findings.error(&path.key("metadata"), unsupported("metadata")),
    }
    let mut headers = headers(target, &path.key("headers"), findings);
    if target.api == Api::Http && !mark.tags.is_empty() {
        findings.error(&path.key("tags"), unsupported("tags"));
    } else if let Some(tags) = tags(&mark.tags, &path.key("tags"), findings) {
        headers.push((TAGS_HEADER, tags));
    }
    (params, headers)
}

fn put(into: &mut Map<String, Value>, at: &[&str], text: &str) {
    let value = at.iter().rev().fold(json!(text), |value, key| json!({ *key: value }));
    if let Value::Object(value) = value {
        into.extend(value);
    }
}

fn check_metadata(
    target: &config::Target,
    base_url: Option<&Url>,
    place: MetadataPlace,
    path: &KeyPath,
    findings: &mut Findings,
) {
    let (count, most) = (target.mark.metadata.len(), place.most());
    if count > most {
        findings.error(path, format!("has {count} keys, and `{}` allows at most {most}", place.key()));
    }
    for (name, text) in &target.mark.metadata {
        if let Some(wrong) = place.refuses(name, text) {
            findings.error(&path.key(name), wrong);
        }
    }
    let openai = base_url.is_some_and(|url| url.host_str() == Some("api.openai.com"));
    if openai && target.api == Api::OpenAiChat && target.params.get("store") != Some(&Value::Bool(true)) {
        let message = "is rejected by OpenAI without `params: { store: true }`, which stores the answers";
        findings.warn(path, message);
    }
}

/// Returns the value of the header for tags.
fn tags(tags: &[String], path: &KeyPath, findings: &mut Findings) -> Option<HeaderValue> {
    for (index, tag) in tags.iter().enumerate() {
        let plain = !tag.is_empty() && tag.trim() == tag && tag.chars().all(|c| matches!(c, ' '..='~'));
        if !plain || tag.contains(',') {
            findings.error(
                &path.index(index),
                "must be ASCII text without commas, and without spaces at its ends",
            );
        }
    }
    if tags.is_empty() { None } else { HeaderValue::try_from(tags.join(",")).ok() }
}

fn headers(
    target: &config::Target,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut seen = HashSet::new();
    let mut headers = Vec::new();
    for (name, text) in &target.mark.headers {
        let path = path.key(name);
        let Some(name) = wire::header_name(name, Some(text), &path, findings) else { continue };
        let same = |other: &String| name.as_str().eq_ignore_ascii_case(other);
        if wire::set_elsewhere(target, &name) {
            findings.error(&path, "is set by `auth`, `propagate` or `slo_headers` already");
        } else if target.headers.keys().any(same) {
            findings.error(&path, "is set by the target's `headers` already");
        } else if name == TAGS_HEADER && !target.mark.tags.is_empty() {
            findings.error(&path, "is set by `tags` already");
        } else if names_a_credential(name.as_str()) {
            findings
                .error(&path, "names a credential: it belongs in the target's `headers`, which are masked");
        }
        if !seen.insert(name.clone()) {
            findings.error(&path, "stands here twice: the case of a header's name does not count");
        }
        match HeaderValue::from_str(text) {
            Ok(value) => headers.push((name, value)),
            Err(_) => findings.error(
                &path,
                "is not the value of an HTTP header: it holds a line break or a control character",
            ),
        }
    }
    headers
}
