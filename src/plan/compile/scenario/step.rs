//! Compiles a step: what it sends, and when.

use super::{StepCompiler, answer_mapping, text};
use crate::config::{self, KeyPath, PathText, is_template};
use crate::plan::compile::expect::{self, ExpectedAnswers};
use crate::plan::compile::{Findings, json_template, profile, wire, workload};
use crate::plan::{
    AskStep, AskText, BodyForm, BodyTemplate, HttpStep, JsonTemplate, OutputLength, Step, StepAction,
};
use crate::template::Template;
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

impl StepCompiler<'_> {
    /// Compiles a step; `None` if any part of it is not valid.
    pub(super) fn step(&mut self, written: &config::Step, number: usize, path: &KeyPath) -> Option<Step> {
        let before = self.findings.errors.len();
        let kind = self.findings.only_one(path, &written.kinds());
        let action = match (kind, &written.ask) {
            (None, _) => None,
            (Some(_), Some(ask)) => self.ask(written, ask, path).map(|ask| StepAction::Ask(Box::new(ask))),
            (Some(kind), None) => self.http(written, kind, path).map(|it| StepAction::Http(Box::new(it))),
        };
        let history = written.ask.as_ref().is_some_and(|ask| ask.history > 0);
        if history && written.turns == Some(false) {
            self.findings.error(&path.key("turns"), "must be true: with `ask.history` each play is a turn");
        }
        if written.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            self.findings.error(&path.key("timeout"), "must be more than 0s");
        }
        let expect = expect::compile(&written.expect, answers(written), &path.key("expect"), self.findings);
        let take = self.takes(&written.take, &path.key("take"));
        let action = action.filter(|_| self.findings.errors.len() == before)?;
        Some(Step {
            name: written.name.as_str().into(),
            number,
            action,
            think: profile::think(written.think),
            repeat: written.repeat.get(),
            turns: written.turns.unwrap_or(history),
            timeout: written.timeout.map(|timeout| timeout.0),
            expect,
            take,
            comparison: None,
        })
    }

    /// Compiles a template, or reports its error.
    pub(super) fn template(&mut self, source: &str, path: &KeyPath) -> Option<Template> {
        self.names.template(&mut self.templates, source, path, self.findings)
    }

    fn ask(&mut self, written: &config::Step, ask: &config::AskModel, path: &KeyPath) -> Option<AskStep> {
        let foreign = [
            ("headers", !written.headers.is_empty()),
            ("json", written.json.is_some()),
            ("form", written.form.is_some()),
            ("body", written.body.is_some()),
            ("content_type", written.content_type.is_some()),
            ("read", written.read.is_some()),
            ("reserve", written.reserve.is_some()),
        ];
        for (key, _) in foreign.into_iter().filter(|(_, there)| *there) {
            self.findings
                .error(&path.key(key), "goes with HTTP requests: with `ask` it is up to the dialect");
        }
        let path = path.key("ask");
        workload::check_params(&ask.params, "ask", &path.key("params"), self.findings);
        for (name, value) in &ask.params {
            if value.as_str().is_some_and(is_template) {
                let message = "is sent as it is: there are no templates in `params`";
                self.findings.warn(&path.key("params").key(name), message);
            }
        }
        if ask.prompt.trim().is_empty() {
            self.findings.error(&path.key("prompt"), "must not be empty");
        }
        if ask.stateful && ask.history == 0 {
            let message = "needs `history`: the earlier turns after which the conversation starts over";
            self.findings.error(&path.key("stateful"), message);
        }
        let prompt = self.template(&ask.prompt, &path.key("prompt"));
        let system = ask.system.as_ref().map(|system| self.template(system, &path.key("system")));
        Some(AskStep {
            text: AskText::Template {
                system: match system {
                    None => None,
                    Some(system) => Some(system?),
                },
                prompt: prompt?,
            },
            output_tokens: ask.output_tokens.map(std::num::NonZeroU64::get),
            output: OutputLength::default(),
            cache: ask.cache,
            stream: ask.stream,
            params: ask.params.clone(),
            history: ask.history,
            stateful: ask.stateful,
            fingerprint: None,
        })
    }

    fn http(&mut self, written: &config::Step, kind: &str, path: &KeyPath) -> Option<HttpStep> {
        let (method, target, at) = self.request_line(written, kind, path)?;
        let template = self.path(target, &at);
        let headers = self.headers(written, &path.key("headers"));
        let body = self.body(written, path);
        if matches!(method, Method::GET | Method::HEAD) && !matches!(body, Some(BodyTemplate::None)) {
            let key = ["json", "form", "body"].into_iter().zip([
                written.json.is_some(),
                written.form.is_some(),
                written.body.is_some(),
            ]);
            for (key, _) in key.filter(|(_, there)| *there) {
                self.findings.error(&path.key(key), format!("does not go with {method}: it has no body"));
            }
        }
        if method == Method::HEAD && written.read.is_some() {
            self.findings.error(&path.key("read"), "does not go with HEAD: its answer has no body");
        }
        let reading =
            written.read.as_ref().map(|read| answer_mapping::compile(read, &path.key("read"), self.findings));
        let reserve = written.reserve.unwrap_or_default();
        Some(HttpStep {
            route: format!("{method} {}", target.masked()).into(),
            path: template?,
            headers: headers?,
            body: body?,
            reading: reading.map(Arc::new),
            reserve,
            method,
        })
    }

    /// The method, the path, and the path's place in the config.
    fn request_line<'a>(
        &mut self,
        written: &'a config::Step,
        kind: &str,
        path: &KeyPath,
    ) -> Option<(Method, &'a PathText, KeyPath)> {
        let plain = [
            (Method::GET, &written.get),
            (Method::POST, &written.post),
            (Method::PUT, &written.put),
            (Method::PATCH, &written.patch),
            (Method::DELETE, &written.delete),
            (Method::HEAD, &written.head),
        ];
        if let Some(request) = &written.request {
            let path = path.key("request");
            let at = path.key("method");
            let Ok(method) = Method::from_bytes(request.method.as_bytes()) else {
                self.findings.error(&at, "is not an HTTP method");
                return None;
            };
            if method == Method::CONNECT {
                self.findings
                    .error(&at, "must not be CONNECT: it asks a proxy for a tunnel, and has no path");
            }
            return Some((method, &request.path, path.key("path")));
        }
        let (method, target) =
            plain.into_iter().find_map(|(method, target)| Some((method, target.as_ref()?)))?;
        Some((method, target, path.key(kind)))
    }

    fn path(&mut self, written: &PathText, path: &KeyPath) -> Option<Template> {
        let text = &written.0;
        if !text.starts_with('/') {
            self.findings.error(path, "must begin with `/`: it is appended to the target's `base_url`");
        }
        if Template::literal_text(text).contains('#') {
            self.findings.error(path, "must not hold a fragment (#): it is no part of a request");
        }
        let query = text.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            text::literal_secret(name, &value.into(), path, self.findings);
        }
        self.template(text, path)
    }

    fn headers(&mut self, written: &config::Step, path: &KeyPath) -> Option<Vec<(HeaderName, Template)>> {
        let mut seen = BTreeSet::new();
        let mut headers = Some(Vec::new());
        for (name, value) in &written.headers.0 {
            let path = path.key(name);
            let template = self.template(value, &path);
            if !is_template(value) && HeaderValue::from_str(value).is_err() {
                let message =
                    "is not the value of an HTTP header: it holds a line break or a control character";
                self.findings.error(&path, message);
            }
            text::literal_secret(name, &value.as_str().into(), &path, self.findings);
            let Some(name) = wire::header_name(name, Some(value), &path, self.findings) else {
                headers = None;
                continue;
            };
            if self.cookies && name == http::header::COOKIE {
                self.findings.error(&path, "is set by `cookies` already");
            }
            if written.body.is_some() && name == http::header::CONTENT_TYPE {
                self.findings.error(&path, "is set by `content_type`");
            }
            if !seen.insert(name.to_string()) {
                self.findings.error(&path, "stands here twice: the case of a header's name does not count");
            }
            headers = headers.zip(template).map(|(mut headers, template)| {
                headers.push((name, template));
                headers
            });
        }
        headers
    }

    fn body(&mut self, written: &config::Step, path: &KeyPath) -> Option<BodyTemplate> {
        let kinds = [
            ("json", written.json.is_some()),
            ("form", written.form.is_some()),
            ("body", written.body.is_some()),
        ];
        if kinds.iter().any(|(_, there)| *there) {
            self.findings.only_one(path, &kinds)?;
        }
        if written.content_type.is_some() && written.body.is_none() {
            self.findings.error(&path.key("content_type"), "goes with `body` only");
        }
        if let Some(json) = &written.json {
            let at = path.key("json");
            text::literal_secret("", &json.0, &at, self.findings);
            return self.json(&json.0, &at).map(BodyTemplate::Json);
        }
        if let Some(form) = &written.form {
            let mut fields = Vec::new();
            for (name, value) in &form.0 {
                let at = path.key("form").key(name);
                text::literal_secret(name, &value.as_str().into(), &at, self.findings);
                fields.push(self.template(value, &at).map(|template| (name.clone(), template)));
            }
            return fields.into_iter().collect::<Option<_>>().map(BodyTemplate::Form);
        }
        let Some(body) = &written.body else { return Some(BodyTemplate::None) };
        let text = self.template(body, &path.key("body"));
        let content_type = written.content_type.as_deref();
        let content_type = wire::content_type(content_type, &path.key("content_type"), self.findings);
        Some(BodyTemplate::Raw { content_type: content_type?, text: text? })
    }

    fn json(&mut self, value: &Value, path: &KeyPath) -> Option<JsonTemplate> {
        let Self { templates, names, findings, .. } = self;
        let mut template = |source: &str, path: &KeyPath, findings: &mut Findings| {
            names.template(templates, source, path, findings)
        };
        json_template::compile(value, path, findings, &mut template)
    }
}

/// What is known about a step's answers before a request is sent.
fn answers(written: &config::Step) -> ExpectedAnswers {
    if let Some(ask) = &written.ask {
        return ExpectedAnswers { repeatable: false, ..ExpectedAnswers::of_workload(ask.stream) };
    }
    let Some(read) = &written.read else {
        return ExpectedAnswers {
            of_model: false,
            repeatable: false,
            streamed: false,
            text: false,
            finish: false,
            usage: false,
            output: false,
        };
    };
    // Without a form the content type decides, and anything but JSON is text, unless there are paths.
    let all_text = match read.form {
        Some(form) => form == BodyForm::Text,
        None => read.places().is_empty(),
    };
    let text = read.text.is_some() || all_text;
    ExpectedAnswers {
        of_model: false,
        repeatable: false,
        streamed: read.form.is_none_or(BodyForm::is_stream),
        text,
        finish: read.finish.is_some(),
        usage: read.input_tokens.is_some() && read.output_tokens.is_some(),
        output: read.output_tokens.is_some() || text,
    }
}
