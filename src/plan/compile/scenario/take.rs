//! Compiles the values that are extracted from answers.

use super::StepCompiler;
use crate::config::{KeyPath, TakeFrom, TakeSource};
use crate::plan::compile::{pattern, wire};
use crate::plan::{AnswerPart, Take};
use std::collections::BTreeMap;

/// Characters allowed in the name of a cookie besides letters and digits (RFC 6265, a token of RFC 2616).
const COOKIE_SIGNS: &str = "!#$%&'*+-.^_`|~";

impl StepCompiler<'_> {
    /// Compiles the valid ones.
    pub(super) fn takes(&mut self, written: &BTreeMap<String, TakeFrom>, path: &KeyPath) -> Vec<Take> {
        let mut takes = Vec::new();
        for (name, from) in written {
            let path = path.key(name);
            let (from, default) = match from {
                TakeFrom::Path(text) => {
                    (pattern::json_path(text, &path, self.findings).map(AnswerPart::Json), None)
                }
                TakeFrom::Source(source) => (self.source(source, &path), source.default.clone()),
            };
            takes.extend(from.map(|from| Take { name: name.as_str().into(), from, default }));
        }
        takes
    }

    fn source(&mut self, written: &TakeSource, path: &KeyPath) -> Option<AnswerPart> {
        let kinds = [
            ("json", written.json.is_some()),
            ("header", written.header.is_some()),
            ("regex", written.regex.is_some()),
            ("cookie", written.cookie.is_some()),
            ("text", written.text.is_some()),
        ];
        self.findings.only_one(path, &kinds)?;
        if let Some(place) = &written.json {
            return pattern::json_path(place, &path.key("json"), self.findings).map(AnswerPart::Json);
        }
        if let Some(header) = &written.header {
            return wire::valid_header_name(header, &path.key("header"), self.findings)
                .map(AnswerPart::Header);
        }
        if let Some(pattern) = &written.regex {
            return pattern::regex(pattern, &path.key("regex"), self.findings).map(AnswerPart::Regex);
        }
        if let Some(cookie) = &written.cookie {
            let right = |c: char| c.is_ascii_alphanumeric() || COOKIE_SIGNS.contains(c);
            if cookie.is_empty() || !cookie.chars().all(right) {
                self.findings.error(&path.key("cookie"), "is not the name of a cookie");
                return None;
            }
            return Some(AnswerPart::Cookie(cookie.clone()));
        }
        if written.text == Some(false) {
            self.findings.error(&path.key("text"), "must be true; leave it out otherwise");
            return None;
        }
        Some(AnswerPart::Text)
    }
}
