//! The expectations of answers: named checks, none of which is impossible to pass.

use super::{Findings, json_schema, name, pattern, wire};
use crate::config::{self, JsonCheck, KeyPath, SchemaOf, TextCheck};
use crate::plan::expect::honours_check;
use crate::plan::{
    ArgumentsSchema, Check, Comparison, Expect, HonouredParam, JsonRule, Rule, StatusRange, StatusSet,
};
use serde_json::Value;
use std::sync::Arc;

/// Maximum size of a schema file in bytes.
const LARGEST_SCHEMA: u64 = 1 << 20;

/// What is known about the answers before a request is sent.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each kind of check that may be impossible")]
pub(super) struct ExpectedAnswers {
    /// Whether they come from a model API.
    pub(super) of_model: bool,
    /// Whether the same request can be sent a second time.
    pub(super) repeatable: bool,
    /// Whether they may be streams.
    pub(super) streamed: bool,
    /// Whether they may have visible text.
    pub(super) text: bool,
    /// Whether they may have a finish reason.
    pub(super) finish: bool,
    /// Whether they may report token counts.
    pub(super) usage: bool,
    /// Whether their output tokens may be known, from any source.
    pub(super) output: bool,
}

impl ExpectedAnswers {
    /// The answers of a model API to a workload.
    pub(super) const fn of_workload(stream: bool) -> Self {
        Self {
            of_model: true,
            repeatable: true,
            streamed: stream,
            text: true,
            finish: true,
            usage: true,
            output: true,
        }
    }
}

/// The checks compiled so far.
struct Checks<'a> {
    answers: ExpectedAnswers,
    found: Vec<Check>,
    findings: &'a mut Findings,
}

/// Compiles what is expected of answers.
pub(super) fn compile(
    written: &config::Expect,
    answers: ExpectedAnswers,
    path: &KeyPath,
    findings: &mut Findings,
) -> Expect {
    let mut checks = Checks { answers, found: Vec::new(), findings };
    checks.finish_reason(&written.finish_reason, &path.key("finish_reason"));
    checks.text(&written.text, &path.key("text"));
    for (index, check) in written.json.iter().enumerate() {
        checks.json(check, &path.key("json").index(index));
    }
    if let Some(check) = &written.schema {
        checks.schema(check, &path.key("schema"));
    }
    if let Some(check) = &written.tool_call {
        checks.tool_call(check, &path.key("tool_call"));
    }
    checks.asked(written, path);
    checks.numbers(written, path);
    for (index, header) in written.headers.iter().enumerate() {
        let path = path.key("headers").index(index);
        if let Some(header) = wire::valid_header_name(header, &path, checks.findings) {
            checks.add(None, &format!("header:{header}"), Rule::Header(header));
        }
    }
    let ranges = |statuses: &config::Statuses| {
        let ranges = statuses.each().iter().map(|it| StatusRange { from: it.from, to: it.to });
        StatusSet(ranges.collect())
    };
    Expect { status: written.status.as_ref().map(ranges), checks: checks.found }
}

/// Why requests are sent once more; in the order in which that is done.
pub(super) fn comparisons(written: &config::Expect) -> Vec<Comparison> {
    let seed = written.honours.contains(&HonouredParam::Seed).then_some(Comparison::Seed);
    seed.into_iter().chain(written.same_as_unary.then_some(Comparison::Unary)).collect()
}

impl Checks<'_> {
    fn add(&mut self, name: Option<&str>, default: &str, rule: Rule) {
        self.found.push(Check { name: Arc::from(name.unwrap_or(default)), rule });
    }

    /// Checks a configured name, which becomes a label value.
    fn name(&mut self, name: Option<&str>, path: &KeyPath) {
        if let Some(name) = name {
            name::check(name, &path.key("name"), self.findings);
        }
    }

    /// Reports a check that can never pass.
    fn never(&mut self, possible: bool, path: &KeyPath, why: &str) {
        if !possible {
            self.findings.error(path, why);
        }
    }

    fn finish_reason(&mut self, reasons: &[String], path: &KeyPath) {
        if reasons.is_empty() {
            return;
        }
        self.never(self.answers.finish, path, "can never hold: `read.finish` says where it is");
        for (index, reason) in reasons.iter().enumerate() {
            if reason.is_empty() {
                self.findings.error(&path.index(index), "must not be empty");
            }
        }
        self.add(None, "finish_reason", Rule::FinishReason(reasons.to_vec()));
    }

    fn text(&mut self, written: &config::ExpectText, path: &KeyPath) {
        if *written != config::ExpectText::default() {
            let why = "can never hold: `read.text` says where the text is, or `read: { as: text }` that it is all text";
            self.never(self.answers.text, path, why);
        }
        if let (Some(min), Some(max)) = (written.min_chars, written.max_chars)
            && min > max
        {
            self.findings.error(path, "`min_chars` must not be more than `max_chars`");
        }
        if let Some(least) = written.min_chars {
            self.add(None, "min_chars", Rule::MinChars(least));
        }
        if let Some(most) = written.max_chars {
            self.add(None, "max_chars", Rule::MaxChars(most));
        }
        for (index, check) in written.contains.iter().enumerate() {
            let path = path.key("contains").index(index);
            let text = self.text_check(check, &path).1.to_owned();
            self.add(check.parts().0, "contains", Rule::Contains(text));
        }
        self.patterns(&written.matches, "matches", path, Rule::Matches);
        self.patterns(&written.not_matches, "not_matches", path, Rule::NotMatches);
    }

    /// The text or pattern of a check, and its path in the config.
    fn text_check<'a>(&mut self, check: &'a TextCheck, path: &KeyPath) -> (KeyPath, &'a str) {
        let (name, value) = check.parts();
        self.name(name, path);
        let at = if name.is_some() { path.key("value") } else { path.clone() };
        if value.is_empty() {
            self.findings.error(&at, "must not be empty");
        }
        (at, value)
    }

    fn patterns(&mut self, checks: &[TextCheck], key: &str, path: &KeyPath, rule: fn(regex::Regex) -> Rule) {
        for (index, check) in checks.iter().enumerate() {
            let (at, value) = self.text_check(check, &path.key(key).index(index));
            if let Some(pattern) = pattern::regex(value, &at, self.findings) {
                self.add(check.parts().0, key, rule(pattern));
            }
        }
    }

    fn json(&mut self, written: &JsonCheck, path: &KeyPath) {
        self.name(written.name.as_deref(), path);
        let place = pattern::json_path(&written.path, &path.key("path"), self.findings);
        let JsonCheck { name: _, path: _, exists, equals, min_items, max_items, min, max } = written;
        let more =
            equals.is_some() || min_items.is_some() || max_items.is_some() || min.is_some() || max.is_some();
        if *exists == Some(false) && more {
            self.findings.error(&path.key("exists"), "stands alone: what is not there has no value");
        }
        if let (Some(min), Some(max)) = (min_items, max_items)
            && min > max
        {
            self.findings.error(path, "`min_items` must not be more than `max_items`");
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            self.findings.error(path, "`min` must not be more than `max`");
        }
        let is = JsonRule {
            exists: exists.or(if more { None } else { Some(true) }),
            equals: equals.clone(),
            min_items: *min_items,
            max_items: *max_items,
            min: *min,
            max: *max,
        };
        if let Some(place) = place {
            self.add(written.name.as_deref(), &written.path, Rule::Json { path: place, is });
        }
    }

    fn schema(&mut self, written: &config::SchemaCheck, path: &KeyPath) {
        self.name(written.name.as_deref(), path);
        let kinds = [("inline", written.inline.is_some()), ("file", written.file.is_some())];
        if self.findings.only_one(path, &kinds).is_none() {
            return;
        }
        if self.answers.of_model && written.of == Some(SchemaOf::Answer) {
            let why = "must be `text`: the JSON around the text of a model's answer is that of the dialect";
            self.findings.error(&path.key("of"), why);
        }
        let of_text = written.of.map_or(self.answers.of_model, |of| of == SchemaOf::Text);
        if of_text {
            self.never(self.answers.text, path, "can never hold: `read.text` says where the text is");
        }
        let (at, schema) = match (&written.inline, &written.file) {
            (Some(schema), _) => (path.key("inline"), schema.clone()),
            (None, Some(file)) => {
                let at = path.key("file");
                let read = pattern::text_file(file, LARGEST_SCHEMA, self.findings).and_then(|text| {
                    let invalid = |error| format!("{} is not valid JSON: {error}", file.display());
                    serde_json::from_str::<Value>(&text).map_err(invalid)
                });
                match read {
                    Ok(schema) => (at, schema),
                    Err(message) => {
                        self.findings.error(&at, message);
                        return;
                    }
                }
            }
            (None, None) => return,
        };
        if let Some(validator) = json_schema::compile(&schema, &at, self.findings) {
            let rule = Rule::Schema { schema: Arc::new(schema), validator: Arc::new(validator), of_text };
            self.add(written.name.as_deref(), "schema", rule);
        }
    }

    fn tool_call(&mut self, written: &config::ToolCallCheck, path: &KeyPath) {
        self.of_model(path);
        if written.name.is_empty() {
            self.findings.error(&path.key("name"), "must not be empty");
        }
        let arguments = written.arguments.as_ref().map(|schema| {
            let validator = json_schema::compile(schema, &path.key("arguments"), self.findings)?;
            Some(ArgumentsSchema { schema: Arc::new(schema.clone()), validator: Arc::new(validator) })
        });
        if let Some(arguments) = arguments.map_or(Some(None), |compiled| compiled.map(Some)) {
            self.add(None, "tool_call", Rule::ToolCall { name: written.name.clone(), arguments });
        }
    }

    /// Whether what was asked for shows in the answers. What each target is asked for is checked with the pairs.
    fn asked(&mut self, written: &config::Expect, path: &KeyPath) {
        let again =
            "goes with single prompts of a `workload`: a step's request may change from one time to the next";
        let at = path.key("same_as_unary");
        if written.same_as_unary && self.of_model(&at) {
            self.never(self.answers.repeatable, &at, again);
            let why = "compares streamed answers, and no stream is asked for";
            self.never(self.answers.streamed, &at, why);
        }
        let mut seen = Vec::new();
        for (index, param) in written.honours.iter().enumerate() {
            let at = path.key("honours").index(index);
            if seen.contains(param) {
                self.findings.error(&at, "stands there twice");
                continue;
            }
            seen.push(*param);
            if !self.of_model(&at) {
                continue;
            }
            match param {
                HonouredParam::Seed => self.never(self.answers.repeatable, &at, again),
                _ => self.add(None, &honours_check(*param), Rule::Honours(*param)),
            }
        }
    }

    /// Reports an error if the answers do not come from a model API.
    fn of_model(&mut self, path: &KeyPath) -> bool {
        let why = "goes with model calls: of an HTTP step it is not known where this would show";
        self.never(self.answers.of_model, path, why);
        self.answers.of_model
    }

    fn numbers(&mut self, written: &config::Expect, path: &KeyPath) {
        if let Some(tokens) = written.output_tokens {
            let why = "can never hold: nothing reads the number of tokens; write `read.output_tokens`";
            self.never(self.answers.output, &path.key("output_tokens"), why);
            self.add(None, "output_tokens", Rule::MinOutputTokens(tokens.min));
        }
        if written.usage {
            let why = "can never hold: it needs `read.input_tokens` and `read.output_tokens`";
            self.never(self.answers.usage, &path.key("usage"), why);
            self.add(None, "usage", Rule::Usage);
        }
        if let Some(most) = written.time_to_first_token {
            let at = path.key("time_to_first_token");
            let why = "can never hold: it is known for streamed answers only, and no stream is asked for";
            self.never(self.answers.streamed, &at, why);
            self.never(!most.0.is_zero(), &at, "must be more than 0s");
            self.add(None, "time_to_first_token", Rule::TimeToFirstToken(most.0));
        }
        if let Some(most) = written.duration {
            self.never(!most.0.is_zero(), &path.key("duration"), "must be more than 0s");
            self.add(None, "duration", Rule::Duration(most.0));
        }
    }
}
