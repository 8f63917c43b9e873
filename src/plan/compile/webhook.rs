//! Compiles the webhook.

use super::{Findings, json_template, pattern, target, wire};
use crate::config::{self, KeyPath, WebhookUrl, nearest};
use crate::plan::Agent;
use crate::plan::webhook::{FIELDS, MessageBody, MessageForm, Webhook, WebhookIncident, address};
use crate::secret::{Exposed, Secret, SecretOrigin};
use crate::template::{FUNCTIONS, Template, Templates};
use crate::vocabulary::IncidentKind;
use url::Url;

/// Shortest segment of a URL's path that may be a credential, in bytes.
const CREDENTIAL_LENGTH: usize = 20;

/// Compiles the webhook; `None` if any part of it is not valid. `agent` is part of each message.
pub(super) fn compile(
    written: &config::Webhook,
    agent: &Agent,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Webhook> {
    let before = findings.errors.len();
    let url = url(&written.url, &path.key("url"), findings);
    let at_headers = path.key("headers");
    let headers = wire::headers(&written.headers, |_| false, &at_headers, findings);
    if let Some(name) = written.headers.keys().find(|name| name.eq_ignore_ascii_case("content-type")) {
        findings
            .error(&at_headers.key(name), "is set already: `json` is JSON, and `body` has a `content_type`");
    }
    if written.events.as_ref().is_some_and(Vec::is_empty) {
        findings.error(&path.key("events"), "must have at least one item");
    }
    let is_told = |kind: &IncidentKind| match &written.events {
        Some(events) => events.contains(kind),
        None => kind.is_default(),
    };
    if written.timeout.0.is_zero() {
        findings.error(&path.key("timeout"), "must be more than 0s");
    }
    if let Some(file) = &written.ca_file {
        wire::certificates(file, &path.key("ca_file"), findings);
    }
    let form = form(written, agent, path, findings);
    if findings.errors.len() > before {
        return None;
    }
    Some(Webhook {
        url: url?,
        headers,
        events: IncidentKind::ALL.iter().copied().filter(is_told).collect(),
        form: form?,
        min_interval: written.min_interval.0,
        timeout: written.timeout.0,
        ca_file: written.ca_file.clone(),
    })
}

/// The URL, which is never quoted. One that comes from elsewhere is read at each use, so it need not be right yet.
fn url(written: &WebhookUrl, path: &KeyPath, findings: &mut Findings) -> Option<Secret> {
    let text = match written {
        WebhookUrl::Plain(text) => &text.0,
        WebhookUrl::Secret(source) => {
            let secret = wire::secret(source, path, findings)?;
            match secret.read().map(|url| address(url.expose())) {
                Ok(Ok(url)) => in_the_clear(&url, path, findings),
                Ok(Err(why)) => {
                    findings.warn(path, format!("{} {why}; it is read again at each use", secret.origin()));
                }
                // `wire::secret` has warned of it.
                Err(_) => {}
            }
            return Some(secret);
        }
    };
    match address(text) {
        Ok(url) => {
            in_the_clear(&url, path, findings);
            let long =
                |mut segments: std::str::Split<'_, char>| segments.any(|it| it.len() >= CREDENTIAL_LENGTH);
            if url.query().is_some() || url.path_segments().is_some_and(long) {
                findings.warn(path, "may hold a credential; write { env: NAME } or { file: PATH }");
            }
            Some(Secret::new(SecretOrigin::Literal(Exposed::new(text))))
        }
        Err(why) => {
            findings.error(path, why);
            None
        }
    }
}

/// Warns of messages that others can read on the way.
fn in_the_clear(url: &Url, path: &KeyPath, findings: &mut Findings) {
    if target::is_plain(url) {
        findings.warn(path, "is plain http: messages, their headers and the URL go out in the clear");
    }
}

/// The form of a message. It is tried with an incident that begins, and with its end.
fn form(
    written: &config::Webhook,
    agent: &Agent,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<MessageForm> {
    let before = findings.errors.len();
    if written.content_type.is_some() && written.body.is_none() {
        findings.error(&path.key("content_type"), "goes with `body` only");
    }
    let mut templates = Templates::default();
    let mut compile = |source: &str, path: &KeyPath, findings: &mut Findings| {
        template(&mut templates, source, path, findings)
    };
    let (key, body) = match (&written.json, &written.body) {
        (None, None) => return Some(MessageForm::default()),
        (Some(_), Some(_)) => {
            findings.error(path, "takes at most one of `json` and `body`, and has both");
            return None;
        }
        (Some(json), None) => {
            let json = json_template::compile(&json.0, &path.key("json"), findings, &mut compile);
            ("json", json.map(MessageBody::Json))
        }
        (None, Some(body)) => {
            let text = compile(body, &path.key("body"), findings);
            let content_type = written.content_type.as_deref();
            let content_type = wire::content_type(content_type, &path.key("content_type"), findings);
            let body = content_type.zip(text);
            ("body", body.map(|(content_type, text)| MessageBody::Text { content_type, text }))
        }
    };
    let form = MessageForm { templates, body: body? };
    for incident in WebhookIncident::samples() {
        if findings.errors.len() == before
            && let Err(error) = form.render(incident.fields(agent))
        {
            findings.error(&path.key(key), error.to_string());
        }
    }
    Some(form)
}

fn template(
    templates: &mut Templates,
    source: &str,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Template> {
    let template = pattern::template(source, templates, path, findings)?;
    for name in template.names.iter().filter(|name| !FIELDS.contains(&name.as_str())) {
        let near = nearest(name, FIELDS.iter().chain(&FUNCTIONS).copied());
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        findings.error(path, format!("a message has no field `{name}`{hint}"));
    }
    Some(template)
}
