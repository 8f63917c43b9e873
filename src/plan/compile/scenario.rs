//! Compiles a scenario: its variables, and its steps in order. Each step can use what earlier steps extracted.

mod answer_mapping;
mod data;
mod names;
mod step;
mod take;
mod text;

use super::{Findings, canonical, name, wire};
use crate::config::{self, KeyPath};
use crate::plan::forecast::printed_bytes;
use crate::plan::{Scenario, Variable};
use crate::secret::Secret;
use crate::template::{Templates, Vars};
use names::TemplateNames;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// State shared while compiling the steps of a scenario.
struct StepCompiler<'a> {
    templates: Templates,
    names: TemplateNames<'a>,
    findings: &'a mut Findings,
    /// Whether cookies are kept.
    cookies: bool,
}

/// Compiles a scenario; `None` if any part of it is not valid.
pub(super) fn compile(
    written: &config::Scenario,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Scenario> {
    let before = findings.errors.len();
    let all = || written.setup.iter().chain(&written.steps);
    let taken = all().flat_map(|step| step.take.keys().map(|name| (step.name.as_str(), name.as_str())));
    let mut names = TemplateNames::new(written.secrets.keys().map(String::as_str), taken);
    let (vars, variables) = variables(written, &mut names, path, findings);
    let secrets = secrets(written, &path.key("secrets"), findings);
    let mut desk =
        StepCompiler { templates: Templates::default(), names, findings, cookies: written.cookies };
    let mut steps = Vec::new();
    let mut known = BTreeSet::new();
    for (index, step) in all().enumerate() {
        let path = path_of(written, index, path);
        name::check(&step.name, &path.key("name"), desk.findings);
        if !known.insert(&step.name) {
            let message = format!("there is another step `{}` in this scenario", step.name);
            desk.findings.error(&path.key("name"), message);
        }
        if index == 0 && step.think.is_some() && step.repeat.get() == 1 {
            let message = "is never used: before the first request of a journey the stage's `think` counts";
            desk.findings.warn(&path.key("think"), message);
        }
        steps.push(desk.step(step, index, &path).map(Arc::new));
        for name in step.take.keys() {
            let path = path.key("take").key(name);
            if written.data.contains_key(name) {
                desk.findings.error(&path, format!("the name `{name}` is that of a data file already"));
            }
            desk.names.add(name, &path, desk.findings);
        }
    }
    if written.steps.is_empty() {
        desk.findings.error(&path.key("steps"), "must have at least one item");
    }
    let StepCompiler { templates, names, findings, .. } = desk;
    unused(written, &names, path, findings);
    if findings.errors.len() > before {
        return None;
    }
    let mut setup: Vec<_> = steps.into_iter().collect::<Option<_>>()?;
    let steps = setup.split_off(written.setup.len());
    Some(Scenario {
        journeys: true,
        setup,
        steps,
        templates,
        vars,
        variables,
        secrets,
        cookies: written.cookies,
        summary: None,
    })
}

/// The config path of a step, by its number.
pub(super) fn path_of(written: &config::Scenario, number: usize, path: &KeyPath) -> KeyPath {
    match number.checked_sub(written.setup.len()) {
        None => path.key("setup").index(number),
        Some(index) => path.key("steps").index(index),
    }
}

/// The variables and the contents of data files, and what is known about each.
fn variables<'a>(
    written: &'a config::Scenario,
    names: &mut TemplateNames<'a>,
    path: &KeyPath,
    findings: &mut Findings,
) -> (Vars, BTreeMap<String, Variable>) {
    let mut all = written.vars.0.clone();
    let mut known = BTreeMap::new();
    for (name, value) in &written.vars.0 {
        let path = path.key("vars").key(name);
        names.add(name, &path, findings);
        text::literal_secret(name, value, &path, findings);
        known.insert(name.clone(), Variable { printed: Some(printed_bytes(value)), ..variable(value) });
    }
    for (name, file) in &written.data {
        let path = path.key("data").key(name);
        names.add(name, &path, findings);
        if written.vars.0.contains_key(name) {
            findings.error(&path, format!("the name `{name}` is that of a variable already"));
        }
        match data::read(&file.file, findings) {
            Ok(list) => {
                known.insert(name.clone(), variable(&list));
                all.insert(name.clone(), list);
            }
            Err(message) => findings.error(&path.key("file"), message),
        }
    }
    (all.into(), known)
}

/// What is known about a value. Its length as text is needed for the forecast.
fn variable(value: &Value) -> Variable {
    let items = value.as_array().map(|items| items.iter().map(printed_bytes).max().unwrap_or(0));
    Variable { digest: canonical::hex_of(value, 32), printed: None, longest_item: items }
}

fn secrets(
    written: &config::Scenario,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<(Arc<str>, Arc<Secret>)> {
    let mut secrets = Vec::new();
    for (name, source) in &written.secrets {
        let path = path.key(name);
        text::check_identifier(name, &path, findings);
        let secret = wire::secret(source, &path, findings);
        secrets.extend(secret.map(|secret| (Arc::from(name.as_str()), Arc::new(secret))));
    }
    secrets
}

/// Warns of variables and secrets that nothing uses, which are probably mistakes.
fn unused(written: &config::Scenario, names: &TemplateNames<'_>, path: &KeyPath, findings: &mut Findings) {
    let mut look = |name: &str, at: KeyPath| {
        if !names.uses(name) {
            findings.warn(&at, "is used by no template");
        }
    };
    for name in written.vars.0.keys() {
        look(name, path.key("vars").key(name));
    }
    for name in written.data.keys() {
        look(name, path.key("data").key(name));
    }
    for name in written.secrets.keys() {
        look(&format!("{}.{name}", names::SECRET), path.key("secrets").key(name));
    }
    for (number, step) in written.setup.iter().chain(&written.steps).enumerate() {
        for name in step.take.keys() {
            look(name, path_of(written, number, path).key("take").key(name));
        }
    }
}

#[cfg(test)]
mod tests;
