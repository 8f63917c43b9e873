//! A result as one HTML file that loads nothing: tables that are read without a script, and plots of the data that is
//! embedded in it. It must not know how numbers come about.
//!
//! Whatever was configured or answered is text in it: the template escapes, the data is JSON without `<`, and the content
//! security policy allows only the two scripts and two style sheets of the binary, by their hashes.

mod plots;
mod tables;

use super::cases;
use super::result_file::{ResultEnvironment, ResultVerdict, SavedResult};
use super::result_pair::ResultPair;
use super::view::PairReport;
use crate::assets;
use crate::vocabulary::shown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State, Value, escape_formatter};
use plots::PairPlots;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use tables::HtmlTable;

const TEMPLATE: &str = include_str!("html/report.html");
const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/report.js");

/// Everything that the template shows.
#[derive(Serialize)]
struct ReportPage<'a> {
    policy: String,
    styles: [&'static str; 2],
    scripts: [&'static str; 2],
    data: String,
    title: String,
    verdict: ResultVerdict,
    environments: &'a [ResultEnvironment],
    missing: Vec<String>,
    overview: HtmlTable,
    pairs: Vec<PairSection<'a>>,
    others: Vec<HtmlTable>,
    models: &'a [String],
    diagnosis: Vec<ShownDiagnosis<'a>>,
    replay: &'a [String],
    config: Option<&'a str>,
}

/// A profile on a target.
#[derive(Serialize)]
struct PairSection<'a> {
    id: String,
    name: String,
    model: &'a str,
    revision: &'a str,
    reasons: &'a [String],
    late: Vec<&'a str>,
    plots: Vec<PlotPlace>,
    tables: Vec<HtmlTable>,
}

/// Where the script draws a plot.
#[derive(Serialize)]
struct PlotPlace {
    id: String,
    title: String,
}

/// A pattern that was found.
#[derive(Serialize)]
struct ShownDiagnosis<'a> {
    what: String,
    summary: &'a str,
    numbers: String,
}

impl SavedResult {
    /// The result as an HTML file.
    pub fn to_html(&self) -> Result<String, minijinja::Error> {
        let views: Vec<PairReport> = self.pairs.iter().map(ResultPair::view).collect();
        let plots: Vec<PairPlots> =
            (0..).zip(&self.pairs).map(|(at, pair)| PairPlots::of(at, pair)).collect();
        let data = serde_json::to_string(&plots).map_err(|error| {
            minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
        })?;
        let groups = cases::cases(self);
        let sections = self.pairs.iter().zip(&views).zip(plots.iter().zip(&groups));
        let pairs = sections.map(|((pair, view), (plots, group))| PairSection {
            id: plots.id.clone(),
            name: pair.name(),
            model: &pair.model,
            revision: &pair.revision,
            reasons: &pair.reasons,
            late: pair.runs.iter().filter_map(|run| run.degraded.as_deref()).collect(),
            plots: plots.places(),
            tables: tables::of_pair(pair, view, group, &self.environment.currency),
        });
        let page = ReportPage {
            policy: policy(),
            styles: [assets::UPLOT_STYLE, STYLE],
            scripts: [assets::UPLOT_SCRIPT, SCRIPT],
            data: inert(&data),
            title: self.title(),
            verdict: self.verdict(),
            environments: if self.merged.is_empty() {
                std::slice::from_ref(&self.environment)
            } else {
                &self.merged
            },
            missing: self.missing_shards(),
            overview: tables::overview(self, &views),
            pairs: pairs.collect(),
            others: tables::comparisons(self),
            models: &self.models,
            diagnosis: self.diagnosis.iter().map(ShownDiagnosis::of).collect(),
            replay: &self.replay,
            config: self.config.as_deref(),
        };
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_formatter(write_shown);
        environment.render_str(TEMPLATE, Serde(&page))
    }

    fn title(&self) -> String {
        let mut names: Vec<&str> = self.pairs.iter().map(|pair| &*pair.profile).collect();
        names.dedup();
        format!("tokenbeat: {}", names.join(", "))
    }
}

impl<'a> ShownDiagnosis<'a> {
    fn of(found: &'a super::Diagnosis) -> Self {
        let step = if found.step.is_empty() { String::new() } else { format!(", step {}", found.step) };
        let pattern = found.pattern.label().replace('_', " ");
        Self {
            what: format!("{} on {}{step}: {pattern}", found.profile, found.target),
            summary: &found.summary,
            numbers: found.numbers(),
        }
    }
}

/// Allows nothing but what is in the file.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(Sha256::digest(text)));
    let all = |texts: [&str; 2]| texts.map(hash).join(" ");
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        all([assets::UPLOT_SCRIPT, SCRIPT]),
        all([assets::UPLOT_STYLE, STYLE])
    )
}

/// Writes a value of a template: of a text what may be shown.
pub fn write_shown(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str().map(shown) {
        Some(Cow::Owned(text)) if !value.is_safe() => escape_formatter(out, state, &Value::from(text)),
        _ => escape_formatter(out, state, value),
    }
}

/// JSON that cannot end the element it is in, nor begin another.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests;
