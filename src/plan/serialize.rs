//! Serializes types of other crates inside the plan, each as the text that it was parsed from. For serde's
//! `serialize_with`. None of these functions can fail, so every plan has a fingerprint.
//!
//! A serialized plan is only hashed and must never be shown: it contains bodies and headers of steps in clear text.

use super::JsonTemplate;
use crate::event::Failure;
use crate::secret::Secret;
use crate::template::Template;
use http::{HeaderName, HeaderValue};
use jiff::tz::TimeZone;
use regex::Regex;
use serde::Serializer;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As displayed.
pub(super) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As text. Serde refuses paths that are not UTF-8; here, paths that differ only in such bytes are considered equal.
pub(super) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[expect(clippy::ref_option, reason = "serde's signature")]
pub(super) fn optional_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_some(&path.to_string_lossy()),
        None => serializer.serialize_none(),
    }
}

pub(super) fn failures<S: Serializer>(failures: &[Failure], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(failures.iter().map(|failure| failure.label()))
}

pub(super) fn pattern<S: Serializer>(pattern: &Regex, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(pattern.as_str())
}

pub(super) fn cron<S: Serializer>(cron: &croner::Cron, serializer: S) -> Result<S::Ok, S::Error> {
    text(&cron.pattern, serializer)
}

/// By its name. The config accepts only zones with a name.
pub(super) fn time_zone<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    match zone.iana_name() {
        Some(name) => serializer.serialize_str(name),
        None => text(&format_args!("{zone:?}"), serializer),
    }
}

pub(super) fn header_value<S: Serializer>(value: &HeaderValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(value.as_bytes())
}

pub(super) fn headers<S: Serializer>(
    headers: &[(HeaderName, Arc<Secret>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| (name.as_str(), value)))
}

pub(super) fn plain_headers<S: Serializer>(
    headers: &[(HeaderName, HeaderValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

pub(super) fn sorted_fields<S: Serializer>(
    fields: &[(String, JsonTemplate)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(key, _)| key);
    serializer.collect_seq(fields)
}

pub(super) fn templates<S: Serializer>(
    headers: &[(HeaderName, Template)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| (name.as_str(), value)))
}
