//! Names in templates: which exist at each step, and which are used.

use super::text;
use crate::config::{KeyPath, nearest};
use crate::plan::compile::{Findings, pattern};
use crate::plan::scenario::ENVIRONMENT;
use crate::template::{FUNCTIONS, Template, Templates};
use std::collections::{BTreeMap, BTreeSet};

/// The template variable that contains the secrets.
pub(super) const SECRET: &str = "secret";
/// Keywords of the template language.
const WORDS: [&str; 20] = [
    "and", "caller", "elif", "else", "endfor", "endif", "false", "False", "for", "if", "in", "is", "loop",
    "none", "None", "not", "or", "self", "true", "True",
];

/// The names that exist at the current step, and all that were used so far.
#[derive(Debug, Default)]
pub(super) struct TemplateNames<'a> {
    /// Variables, data files and names extracted by earlier steps.
    known: BTreeSet<&'a str>,
    /// All extracted names, each with the first step that extracts it.
    taken: BTreeMap<&'a str, &'a str>,
    secrets: BTreeSet<&'a str>,
    used: BTreeSet<String>,
}

impl<'a> TemplateNames<'a> {
    /// Starts with the names of the secrets, and all pairs of a step and a name that it extracts.
    pub(super) fn new(
        secrets: impl Iterator<Item = &'a str>,
        taken: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut first = BTreeMap::new();
        for (step, name) in taken {
            first.entry(name).or_insert(step);
        }
        Self { taken: first, secrets: secrets.collect(), ..Self::default() }
    }

    /// Defines a variable from here on. `path` is the place in the config that names it.
    pub(super) fn add(&mut self, name: &'a str, path: &KeyPath, findings: &mut Findings) {
        check(name, path, findings);
        self.known.insert(name);
    }

    /// Whether a template used a variable, or a secret (`secret.x`).
    pub(super) fn uses(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// Compiles a template. All its names must be known here.
    pub(super) fn template(
        &mut self,
        templates: &mut Templates,
        source: &str,
        path: &KeyPath,
        findings: &mut Findings,
    ) -> Option<Template> {
        let template = pattern::template(source, templates, path, findings)?;
        for name in &template.names {
            if name == SECRET {
                self.secrets_in(&template, path, findings);
            } else {
                self.variable(name, path, findings);
            }
        }
        Some(template)
    }

    fn variable(&mut self, name: &str, path: &KeyPath, findings: &mut Findings) {
        if ENVIRONMENT.contains(&name) {
            return;
        }
        if self.known.contains(name) || self.taken.contains_key(name) {
            self.used.insert(name.to_owned());
        }
        if self.known.contains(name) {
            return;
        }
        if let Some(step) = self.taken.get(name) {
            let message =
                format!("there is no `{name}` yet: the step `{step}` takes it, and comes no earlier");
            findings.error(path, message);
            return;
        }
        let known = self.known.iter().chain(&ENVIRONMENT).chain(&FUNCTIONS).chain(&[SECRET]).copied();
        let near = nearest(name, known);
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        findings.error(path, format!("there is no variable `{name}`{hint}"));
    }

    /// Checks the secrets that a template names literally.
    fn secrets_in(&mut self, template: &Template, path: &KeyPath, findings: &mut Findings) {
        if self.secrets.is_empty() {
            findings.error(path, "there is no `secret`: the scenario has no `secrets`");
            return;
        }
        let mut unknown = BTreeSet::new();
        for used in &template.attributes {
            let mut parts = used.split('.');
            if parts.next() != Some(SECRET) {
                continue;
            }
            let Some(name) = parts.next() else {
                // The name is known only when the template is rendered, so it may be any secret.
                self.used.extend(self.secrets.iter().map(|name| format!("{SECRET}.{name}")));
                continue;
            };
            if self.secrets.contains(name) {
                self.used.insert(format!("{SECRET}.{name}"));
            } else if unknown.insert(name) {
                let near = nearest(name, self.secrets.iter().copied());
                let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                findings.error(path, format!("there is no secret `{name}`{hint}"));
            }
        }
    }
}

/// Checks that templates can use a name and that it has no other meaning there.
fn check(name: &str, path: &KeyPath, findings: &mut Findings) {
    let taken = name == SECRET || [&ENVIRONMENT[..], &FUNCTIONS, &WORDS].concat().contains(&name);
    if text::check_identifier(name, path, findings) && taken {
        findings.error(path, format!("the name `{name}` has a meaning in templates already"));
    }
}
