//! Compiles the mapping of a step's answer.

use crate::config::{self, DoneAt, KeyPath};
use crate::plan::compile::{Findings, pattern};
use crate::plan::{AnswerMapping, BodyForm, Done};

/// Compiles a mapping.
pub(super) fn compile(written: &config::Read, path: &KeyPath, findings: &mut Findings) -> AnswerMapping {
    let mut place = |key: &str, text: &Option<String>| {
        let text = text.as_ref()?;
        let path = path.key(key);
        if written.form == Some(BodyForm::Text) {
            let message =
                "does not go with `as: text`: the whole answer is text, and there are no places in it";
            findings.error(&path, message);
        }
        pattern::json_path(text, &path, findings)
    };
    AnswerMapping {
        text: place("text", &written.text),
        reasoning: place("reasoning", &written.reasoning),
        finish: place("finish", &written.finish),
        input_tokens: place("input_tokens", &written.input_tokens),
        output_tokens: place("output_tokens", &written.output_tokens),
        cached_input_tokens: place("cached_input_tokens", &written.cached_input_tokens),
        reasoning_tokens: place("reasoning_tokens", &written.reasoning_tokens),
        error: place("error", &written.error),
        form: written.form,
        done: written
            .done
            .as_ref()
            .and_then(|done| self::done(done, written.form, &path.key("done"), findings)),
    }
}

fn done(written: &DoneAt, form: Option<BodyForm>, path: &KeyPath, findings: &mut Findings) -> Option<Done> {
    if !form.is_none_or(BodyForm::is_stream) {
        findings.error(path, "goes with streams: `as: sse` and `as: ndjson`");
    }
    let event = match written {
        DoneAt::Data(data) if data.is_empty() => {
            findings.error(path, "must not be empty");
            return None;
        }
        DoneAt::Data(data) => return Some(Done::Data(data.clone())),
        DoneAt::Other(event) => event,
    };
    findings.only_one(path, &[("event", event.event.is_some()), ("path", event.path.is_some())])?;
    if let Some(place) = &event.path {
        return pattern::json_path(place, &path.key("path"), findings).map(Done::Path);
    }
    let name = event.event.as_ref()?;
    let path = path.key("event");
    if name.is_empty() {
        findings.error(&path, "must not be empty");
    }
    if form == Some(BodyForm::Ndjson) {
        findings.error(&path, "goes with `as: sse`: lines of JSON have no event names");
    }
    Some(Done::Event(name.clone()))
}
