//! Renders one request of a user.

use super::StageContext;
use super::taken::Taken;
use crate::exchange::{self, Ask, Call, KeptConversation, Message, Role};
use crate::plan::{
    AnswerMapping, AskStep, AskText, BodyForm, BodyTemplate, Cache, HttpStep, JsonTemplate, Step, StepAction,
};
use crate::seed;
use crate::template::{Counters, RenderError, RenderScope, Template, Vars};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use url::form_urlencoded;

/// Maximum number of bytes of a rendered path and query.
pub(super) const MAX_PATH: usize = 16 << 10;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Renders the templates of one request, in order.
pub(super) struct Renderer<'a> {
    stage_context: &'a StageContext,
    user: u32,
    counters: &'a Counters,
    seed: u64,
    now: Timestamp,
    vars: Vars,
    /// Number of renderings so far: each one draws from a seed of its own.
    rendered: u64,
}

impl<'a> Renderer<'a> {
    /// `at` is the seed of the request's random draws, and the instant that the template function `now` returns.
    pub(super) fn new(
        stage_context: &'a StageContext,
        user: u32,
        counters: &'a Counters,
        at: (u64, Timestamp),
    ) -> Self {
        Self { stage_context, user, counters, seed: at.0, now: at.1, vars: Vars::default(), rendered: 0 }
    }

    /// Sets the names available in the step's templates besides the scenario's variables.
    pub(super) fn set_scope(
        &mut self,
        step: &Step,
        taken: &Taken,
        iteration: u64,
        turn: u32,
    ) -> Result<(), RenderError> {
        let templates = templates(&step.action);
        // Names that are not mentioned can be left out. Extra ones do no harm: a template may use names, for example in
        // the arguments of a filter block, that are not among its known names.
        let wanted = |name: &str| templates.iter().any(|template| template.source.contains(name));
        let mut vars = Vars::default();
        taken.fill(&mut vars, wanted);
        let stage_context = self.stage_context;
        let texts = [
            ("profile", &stage_context.pair.pair.profile),
            ("target", &stage_context.pair.pair.target),
            ("model", &stage_context.pair.target.model),
            ("stage", &stage_context.stage),
            ("step", &step.name),
        ];
        for (name, text) in texts.into_iter().filter(|(name, _)| wanted(name)) {
            vars.insert_text(name, text);
        }
        let values = [
            ("user", json!(self.user)),
            ("iteration", json!(iteration)),
            ("turn", json!(turn)),
            ("run", json!(stage_context.run)),
        ];
        for (name, value) in values.into_iter().filter(|(name, _)| wanted(name)) {
            vars.insert(name, value);
        }
        if uses_secrets(step) {
            vars.insert("secret", self.secrets()?);
        }
        self.vars = vars;
        Ok(())
    }

    fn secrets(&self) -> Result<Value, RenderError> {
        let mut secrets = Map::new();
        for (name, secret) in &self.stage_context.scenario.secrets {
            let value = secret.read().map_err(|error| RenderError(error.to_string()))?;
            secrets.insert(name.to_string(), value.expose().into());
        }
        Ok(secrets.into())
    }

    /// Calls `render` with the scope of the next rendering.
    fn next<T>(
        &mut self,
        render: impl FnOnce(&RenderScope<'_>) -> Result<T, RenderError>,
    ) -> Result<T, RenderError> {
        let seed = seed::hash("rendering", &[], &[self.seed, self.rendered]);
        self.rendered += 1;
        let layers = [&self.stage_context.scenario.vars, &self.vars];
        render(&RenderScope {
            layers: &layers,
            seed,
            user: self.user,
            now: self.now,
            counters: self.counters,
        })
    }

    fn text(&mut self, template: &Template) -> Result<String, RenderError> {
        let templates = &self.stage_context.scenario.templates;
        self.next(|scope| templates.text(template, scope))
    }

    fn value(&mut self, template: &JsonTemplate) -> Result<Value, RenderError> {
        let templates = &self.stage_context.scenario.templates;
        template.render(&mut |template| self.next(|scope| templates.value(template, scope)))
    }

    /// An HTTP request.
    pub(super) fn call(&mut self, step: &HttpStep) -> Result<Call, RenderError> {
        let path = self.path(&step.path)?;
        let mut headers = HeaderMap::new();
        for (name, template) in &step.headers {
            headers.append(name.clone(), header_value(name, self.text(template)?)?);
        }
        let (content_type, body) = self.body(&step.body)?;
        if let Some(content_type) = content_type {
            headers.entry(header::CONTENT_TYPE).or_insert(content_type);
        }
        headers.entry(header::ACCEPT).or_insert(accept(step.reading.as_deref()));
        Ok(Call {
            method: step.method.clone(),
            path,
            headers,
            body,
            stream: step.reading.as_ref().is_some_and(|reading| reading.is_stream()),
            output_tokens: None,
            most_output_tokens: Some(step.reserve.output_tokens),
            most_input_tokens: step.reserve.input_tokens,
        })
    }

    fn path(&mut self, template: &Template) -> Result<String, RenderError> {
        let path = self.text(template)?;
        let path = exchange::escaped_path(&path);
        let refuse = |why: &str| Err(RenderError(format!("the path `{}` {why}", template.source)));
        if !path.starts_with('/') {
            return refuse("does not begin with / as it is rendered");
        }
        if path.len() > MAX_PATH {
            return refuse(&format!("has {} bytes as it is rendered, more than {MAX_PATH}", path.len()));
        }
        if path.parse::<PathAndQuery>().is_err() {
            return refuse("is not valid in a URL as it is rendered");
        }
        Ok(path)
    }

    fn body(&mut self, body: &BodyTemplate) -> Result<(Option<HeaderValue>, Bytes), RenderError> {
        Ok(match body {
            BodyTemplate::None => (None, Bytes::new()),
            BodyTemplate::Json(template) => (Some(JSON), self.value(template)?.to_string().into()),
            BodyTemplate::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (key, template) in fields {
                    form.append_pair(key, &self.text(template)?);
                }
                (Some(FORM), form.finish().into())
            }
            BodyTemplate::Raw { content_type, text } => (Some(content_type.clone()), self.text(text)?.into()),
        })
    }

    /// The nonce that busts caches. The target is included, because two targets may use the same server.
    pub(super) fn nonce(&self) -> u64 {
        let parts = [self.seed, self.stage_context.seeds.nonces];
        seed::hash("nonce", &[&self.stage_context.pair.pair.target], &parts)
    }

    /// Builds a model call, and the question to remember if the step has a history that is sent along. `params` are those
    /// of [`crate::plan::PairPlan::params`]. A conversation that the server keeps began with the system prompt and a nonce.
    pub(super) fn ask(
        &mut self,
        step: &AskStep,
        params: Arc<Map<String, Value>>,
        (history, nonce): (impl Iterator<Item = Message>, u64),
        conversation: Option<KeptConversation>,
    ) -> Result<(Ask, Option<Arc<str>>), RenderError> {
        let (system, question) = match &step.text {
            AskText::Fixed { system, prompts } => {
                (system.clone(), prompts.first().cloned().unwrap_or_default())
            }
            // Only a workload has one, and nothing of that is rendered.
            AskText::Synthetic(_)
            | AskText::Dataset { .. }
            | AskText::Trace { .. }
            | AskText::Conversation(_)
            | AskText::Summary(_) => {
                return Err(RenderError("the prompts of a workload are not rendered".into()));
            }
            AskText::Template { system, prompt } => {
                let system = system.as_ref().map(|system| self.text(system)).transpose()?;
                (system.map(Arc::from), Arc::from(self.text(prompt)?))
            }
        };
        let begun = conversation.as_ref().is_some_and(|it| it.previous.is_some());
        let system = system.filter(|_| !begun).map(|text| Message { role: Role::System, text });
        let mut messages: Vec<Message> = system.into_iter().chain(history).collect();
        messages.push(Message { role: Role::User, text: Arc::clone(&question) });
        let (stream, output_tokens) = (step.stream, step.output_tokens);
        let mut ask = Ask { messages, stream, output_tokens, params, conversation, cache_system: false };
        if step.cache == Cache::Bust && !begun {
            ask.bust(nonce);
        }
        Ok((ask, (step.history > 0 && !step.stateful).then_some(question)))
    }
}

fn header_value(name: &HeaderName, text: String) -> Result<HeaderValue, RenderError> {
    let fail =
        |_| RenderError(format!("the header {name} cannot have the value that its template renders to"));
    let mut value = HeaderValue::try_from(text).map_err(fail)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The media type to request.
fn accept(reading: Option<&AnswerMapping>) -> HeaderValue {
    HeaderValue::from_static(match reading.and_then(|reading| reading.form) {
        Some(BodyForm::Json) => "application/json",
        Some(BodyForm::Sse) => "text/event-stream",
        Some(BodyForm::Ndjson) => "application/x-ndjson",
        Some(BodyForm::Text) | None => "*/*",
    })
}

/// Whether a template of the step reads this name.
pub(super) fn uses(step: &Step, name: &str) -> bool {
    templates(&step.action).iter().any(|template| template.names.contains(name))
}

/// Whether a template of the step reads secrets.
pub(super) fn uses_secrets(step: &Step) -> bool {
    uses(step, "secret")
}

/// All templates of a request.
fn templates(action: &StepAction) -> Vec<&Template> {
    match action {
        StepAction::Http(http) => {
            let mut all = vec![&http.path];
            all.extend(http.headers.iter().map(|(_, template)| template));
            match &http.body {
                BodyTemplate::None => {}
                BodyTemplate::Json(json) => in_json(json, &mut all),
                BodyTemplate::Form(fields) => all.extend(fields.iter().map(|(_, template)| template)),
                BodyTemplate::Raw { text, .. } => all.push(text),
            }
            all
        }
        StepAction::Ask(ask) => match &ask.text {
            AskText::Template { system, prompt } => system.iter().chain([prompt]).collect(),
            _ => Vec::new(),
        },
    }
}

fn in_json<'a>(json: &'a JsonTemplate, all: &mut Vec<&'a Template>) {
    match json {
        JsonTemplate::Literal(_) => {}
        JsonTemplate::Template(template) => all.push(template),
        JsonTemplate::Array(items) => items.iter().for_each(|item| in_json(item, all)),
        JsonTemplate::Object(fields) => fields.iter().for_each(|(_, field)| in_json(field, all)),
    }
}
