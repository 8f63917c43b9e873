//! A webhook: where incidents are told, which of them and in what form. Also what can be told of an incident, which is
//! what templates read. It must not know what causes an incident, nor how messages are sent.

use super::{Agent, IncidentSubject, JsonTemplate};
use crate::secret::Secret;
use crate::seed;
use crate::template::{Counters, RenderError, RenderScope, Template, Templates, Vars};
use crate::vocabulary::IncidentKind;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// The version of the fields of a message. Fields may be added without a new one.
pub const MESSAGE_VERSION: u64 = 1;

/// Names of the fields of a message.
pub(super) const FIELDS: [&str; 14] = [
    "version", "id", "key", "event", "status", "state", "previous", "title", "detail", "profile", "target",
    "quantity", "at", "agent",
];

/// Parses the URL of a webhook. The error is a clause without the URL, which may be secret.
pub fn address(text: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(text).map_err(|_| "must be a URL, such as https://hooks.example.net/services/a/b")?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err("must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password; there is `headers` for them");
    }
    if url.fragment().is_some() { Err("must not hold a fragment (#)") } else { Ok(url) }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    /// The URL. If it stands in the config, it is a literal secret.
    pub url: Secret,
    /// Headers of every message.
    pub headers: Vec<(HeaderName, Arc<Secret>)>,
    /// Incidents that are told.
    pub events: BTreeSet<IncidentKind>,
    /// The form of a message.
    pub form: MessageForm,
    /// Minimum time before the same state of the same subject is told again.
    pub min_interval: Duration,
    /// Maximum duration of one attempt, including its answer.
    pub timeout: Duration,
    /// Root certificates in place of the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
}

/// The form of a message. Its debug output omits it, because a literal in it may be secret.
#[derive(Default)]
pub struct MessageForm {
    pub(super) templates: Templates,
    pub(super) body: MessageBody,
}

/// The body of a message.
#[derive(Default)]
pub(super) enum MessageBody {
    /// All fields, as JSON.
    #[default]
    Fields,
    /// JSON with templates in it.
    Json(JsonTemplate),
    /// Text of any type.
    Text {
        /// Its type.
        content_type: HeaderValue,
        /// The text.
        text: Template,
    },
}

impl Webhook {
    /// Whether messages go to the same receiver, in the same name.
    pub fn has_receiver_of(&self, other: &Self) -> bool {
        (&self.url, &self.headers, &self.ca_file) == (&other.url, &other.headers, &other.ca_file)
    }
}

/// What can be told of an incident: that a subject got into a state, or out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookIncident {
    /// What it is about.
    pub kind: IncidentKind,
    /// The profile; empty if it is about a target.
    pub profile: Arc<str>,
    /// The target.
    pub target: Arc<str>,
    /// The quantity; empty if it is not about one.
    pub quantity: Arc<str>,
    /// The state from now on, in one word.
    pub state: Arc<str>,
    /// The state before; empty if it is not known.
    pub previous: Arc<str>,
    /// Whether the state is one of trouble.
    pub firing: bool,
    /// What happened, in a few words.
    pub title: String,
    /// What was seen; empty if there is no more to say.
    pub detail: String,
    /// When it happened.
    pub at: SystemTime,
}

impl WebhookIncident {
    /// Identifies the subject within the agent: the same for trouble and for its end.
    pub fn key(&self) -> String {
        let parts = [self.kind.name(), &self.profile, &self.target, &self.quantity];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// What it is about.
    pub fn subject(&self) -> IncidentSubject<'_> {
        let Self { kind, profile, target, quantity, .. } = self;
        IncidentSubject { kind: *kind, profile, target, quantity }
    }

    /// The fields of its message.
    pub fn fields(&self, agent: &Agent) -> Map<String, Value> {
        let key = format!("{}/{}", agent.id, self.key());
        let at = format!("{:.3}", Timestamp::try_from(self.at).unwrap_or_default());
        let fields = json!({
            "version": MESSAGE_VERSION,
            "id": format!("{key}/{}/{at}", self.state),
            "key": key,
            "event": self.kind.name(),
            "status": if self.firing { "firing" } else { "resolved" },
            "state": &*self.state,
            "previous": &*self.previous,
            "title": self.title,
            "detail": self.detail,
            "profile": &*self.profile,
            "target": &*self.target,
            "quantity": &*self.quantity,
            "at": at,
            "agent": { "id": &*agent.id, "location": &*agent.location, "labels": agent.labels },
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// Incidents to try a form with: one that begins, and its end.
    pub(super) fn samples() -> [Self; 2] {
        let incident = |state: &str, previous: &str, firing| Self {
            kind: IncidentKind::TargetState,
            profile: "".into(),
            target: "llama".into(),
            quantity: "".into(),
            state: state.into(),
            previous: previous.into(),
            firing,
            title: format!("target llama is {state}"),
            detail: "3 requests in a row timed out before their first token".to_owned(),
            at: SystemTime::UNIX_EPOCH,
        };
        [incident("hung", "ok", true), incident("ok", "hung", false)]
    }
}

impl fmt::Debug for MessageForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageForm").finish_non_exhaustive()
    }
}

impl MessageForm {
    /// Renders the message of these fields: its content type and its body.
    pub fn render(&self, fields: Map<String, Value>) -> Result<(HeaderValue, Bytes), RenderError> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, at) = (text("id"), text("at"));
        let (templates, counters, vars) = (&self.templates, Counters::default(), Vars::from(fields.clone()));
        let layers = [&vars];
        let scope = RenderScope {
            layers: &layers,
            seed: seed::hash("webhook", &[&id], &[]),
            user: 0,
            now: at.parse().unwrap_or_default(),
            counters: &counters,
        };
        match &self.body {
            MessageBody::Fields => Ok((JSON, Value::from(fields).to_string().into())),
            MessageBody::Json(json) => {
                let value = json.render(&mut |template| templates.value(template, &scope))?;
                Ok((JSON, value.to_string().into()))
            }
            MessageBody::Text { content_type, text } => {
                Ok((content_type.clone(), templates.text(text, &scope)?.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    const AGENT: &str = "agent: { id: probe-1, location: eu, labels: { environment: prod } }";

    fn agent() -> Agent {
        from_yaml(AGENT).unwrap_or_else(|e| panic!("{e}")).agent
    }

    fn rendered(webhook: &str, incident: &WebhookIncident) -> (String, String) {
        let text = format!("{AGENT}\ntelemetry: {{ webhook: {{ url: 'http://127.0.0.1:1/', {webhook} }} }}");
        let plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
        let webhook = plan.telemetry.webhook.unwrap();
        let (content_type, body) = webhook.form.render(incident.fields(&agent())).unwrap();
        (content_type.to_str().unwrap().to_owned(), String::from_utf8(body.to_vec()).unwrap())
    }

    /// The default form is a contract: a change needs another [`MESSAGE_VERSION`], unless it only adds a field.
    #[test]
    fn the_default_form_has_every_field() {
        let [hung, ok] = WebhookIncident::samples();
        let (content_type, body) = rendered("", &hung);
        assert_eq!(content_type, "application/json");
        let whole = json!({
            "version": 1,
            "id": "probe-1/target_state/llama/hung/1970-01-01T00:00:00.000Z",
            "key": "probe-1/target_state/llama",
            "event": "target_state",
            "status": "firing",
            "state": "hung",
            "previous": "ok",
            "title": "target llama is hung",
            "detail": "3 requests in a row timed out before their first token",
            "profile": "",
            "target": "llama",
            "quantity": "",
            "at": "1970-01-01T00:00:00.000Z",
            "agent": { "id": "probe-1", "location": "eu", "labels": { "environment": "prod" } },
        });
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), whole);
        assert_eq!(hung.fields(&agent()).keys().map(String::as_str).collect::<BTreeSet<_>>(), FIELDS.into());
        let over: Value = serde_json::from_str(&rendered("", &ok).1).unwrap();
        assert_eq!((&over["status"], &over["key"]), (&json!("resolved"), &whole["key"]));
        assert_ne!(over["id"], whole["id"]);
    }

    #[test]
    fn templates_read_the_fields_and_json_stays_json() {
        let [hung, ok] = WebhookIncident::samples();
        let quoted = WebhookIncident { detail: "it said \"no\"\nand left".to_owned(), ..hung.clone() };
        let slack = "json: { text: \"{{ title }}: {{ detail }}\", n: \"{{ version }}\", list: [a, \"{{ agent.labels.environment }}\"] }";
        let (content_type, body) = rendered(slack, &quoted);
        assert_eq!(content_type, "application/json");
        let value: Value = serde_json::from_str(&body).unwrap();
        let text = "target llama is hung: it said \"no\"\nand left";
        assert_eq!(value, json!({ "text": text, "n": 1, "list": ["a", "prod"] }));
        let words =
            "body: \"{% if status == 'firing' %}DOWN{% else %}UP{% endif %} {{ target }} {{ now('unix') }}\"";
        assert_eq!(rendered(words, &hung), ("text/plain; charset=utf-8".into(), "DOWN llama 0".into()));
        assert_eq!(rendered(words, &ok).1, "UP llama 0");
        let xml = rendered("body: '<a/>', content_type: application/xml", &hung);
        assert_eq!(xml, ("application/xml".into(), "<a/>".into()));
    }
}
