//! Compiles objectives.

use super::{Findings, name};
use crate::config::{self, KeyPath, Profile, TimeLimit, nearest};
use crate::plan::{self, BodyForm, Bound, Objective, Scenario, SloMetric, Step, StepAction, Target};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The customary fastest burn rate in Prometheus alerts: 2% of a month's error budget in an hour.
const FAST_BURN: f64 = 14.4;

/// Compiles every objective of a profile. Without a valid scenario, the steps that they name are not checked.
pub(super) fn compile(
    profile: &Profile,
    scenario: Option<&Scenario>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<Objective> {
    let mut names = BTreeSet::new();
    let mut objectives = Vec::new();
    for (index, slo) in profile.slo.iter().enumerate() {
        let path = path.index(index);
        let at_name = path.key("name");
        name::check(&slo.name, &at_name, findings);
        if slo.name == "all" {
            findings.error(&at_name, "the name `all` is taken: it is goodput");
        }
        if !names.insert(&slo.name) {
            findings.error(&at_name, format!("there is another objective `{}` in this profile", slo.name));
        }
        let metric = slo.metric;
        if metric.is_of_journeys() && !profile.has_journeys() {
            let message =
                format!("{} goes with a `scenario`: single requests are no journeys", metric.name());
            findings.error(&path.key("metric"), message);
        }
        let step = slo.step.as_deref().and_then(|step| {
            check_step(step, metric, scenario, &path.key("step"), findings);
            scenario?.all().find(|it| &*it.name == step)
        });
        let no_stream = no_stream(profile).map(str::to_owned).or_else(|| {
            let step = step.filter(|step| !step.streams())?;
            Some(format!("the step `{}` does not ask for a stream", step.name))
        });
        if streamed_only(metric)
            && let Some(why) = no_stream
        {
            let message = format!("{} is known for streamed answers only, and {why}", metric.name());
            findings.error(&path.key("metric"), message);
        }
        let objective = slo.objective.0;
        // Those of a search have no series, and so no alert.
        if profile.search.is_none() && FAST_BURN * (1.0 - objective) >= 1.0 {
            findings.warn(
                &path.key("objective"),
                "is so low that a fast-burn alert (14.4 times the error budget) can never fire; it can from 93.1% on",
            );
        }
        if let Ok(bound) = bound(slo, metric, &path, findings) {
            let step = slo.step.as_deref().map(Into::into);
            objectives.push(Objective { name: slo.name.as_str().into(), metric, step, bound, objective });
        }
    }
    objectives
}

/// Checks the objectives of a profile against one of its targets.
pub(super) fn check_pair(profile: &plan::Profile, target: &Target, path: &KeyPath, findings: &mut Findings) {
    let api = target.api;
    for (index, slo) in profile.slos.iter().enumerate() {
        let is_known = |step: &Arc<Step>| match slo.metric {
            metric if streamed_only(metric) => step.streams_from(api),
            SloMetric::OutputPace => api.generates() || matches!(step.action, StepAction::Http(_)),
            _ => true,
        };
        let mut steps =
            profile.scenario.all().filter(|step| slo.step.as_ref().is_none_or(|it| *it == step.name));
        if !steps.any(is_known) {
            let message = format!(
                "{} is never known: the target `{}` is `{}`, whose answers have no generated tokens",
                slo.metric.name(),
                target.name,
                api.name()
            );
            findings.error(&path.index(index).key("metric"), message);
        }
    }
}

/// Checks that an objective may name this step.
fn check_step(
    name: &str,
    metric: SloMetric,
    scenario: Option<&Scenario>,
    path: &KeyPath,
    findings: &mut Findings,
) {
    if metric.is_of_journeys() {
        let message = format!("does not go with {}: a journey is all of its steps", metric.name());
        return findings.error(path, message);
    }
    let Some(scenario) = scenario else { return };
    let known = || scenario.all().map(|step| &*step.name).filter(|known| !known.is_empty());
    if known().next().is_none() {
        findings.error(path, "goes with a `scenario`: the requests of this workload are all of one kind");
    } else if !known().any(|known| known == name) {
        let near = nearest(name, known());
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        findings.error(path, format!("there is no step `{name}`{hint}"));
    }
}

/// The reason why no answer of a profile is a stream; `None` if there may be streams.
pub(super) fn no_stream(profile: &Profile) -> Option<&'static str> {
    let reads =
        |step: &config::Step| step.read.as_ref().and_then(|read| read.form).is_some_and(BodyForm::is_stream);
    let asks = |step: &config::Step| step.ask.as_ref().is_some_and(|ask| ask.stream);
    if let Some(workload) = &profile.workload {
        return (!workload.stream).then_some("`workload.stream` is false");
    }
    let scenario = profile.scenario.as_ref()?;
    let any = scenario.setup.iter().chain(&scenario.steps).any(|step| reads(step) || asks(step));
    (!any).then_some("no step asks for a stream: by `ask`, `read: { as: sse }` or `read: { as: ndjson }`")
}

/// The bound that the metric requires: none, a duration, or a pace.
fn bound(
    slo: &config::Slo,
    metric: SloMetric,
    path: &KeyPath,
    findings: &mut Findings,
) -> Result<Option<Bound>, ()> {
    let name = metric.name();
    let mut fail = |path: &KeyPath, message: String| {
        findings.error(path, message);
        Err(())
    };
    match (metric, slo.below, slo.above) {
        (_, None, None) if metric.is_availability() => Ok(None),
        (_, Some(_), _) if metric.is_availability() => {
            fail(&path.key("below"), format!("does not go with {name}"))
        }
        (_, None, Some(_)) if metric.is_availability() => {
            fail(&path.key("above"), format!("does not go with {name}"))
        }
        (SloMetric::OutputPace, None, None) => {
            fail(path, format!("{name} needs `above`, in tokens per second"))
        }
        (SloMetric::OutputPace, None, Some(above)) if above.is_finite() && above > 0.0 => {
            Ok(Some(Bound::Above(above)))
        }
        (SloMetric::OutputPace, None, Some(_)) => fail(&path.key("above"), "must be more than 0".to_owned()),
        (SloMetric::OutputPace, Some(_), _) => fail(
            &path.key("below"),
            format!("does not go with {name}; it takes `above`, in tokens per second"),
        ),
        (_, _, Some(_)) => {
            fail(&path.key("above"), format!("does not go with {name}; it takes `below`, such as 800ms"))
        }
        (_, None, None) => fail(path, format!("{name} needs `below`, such as 800ms")),
        (SloMetric::JourneyDuration, Some(TimeLimit { per_token: Some(_), .. }), None) => fail(
            &path.key("below"),
            format!("must not grow with the prompt for {name}: a journey has several prompts"),
        ),
        (_, Some(TimeLimit { time, per_token: None }), None) if time.is_zero() => {
            fail(&path.key("below"), "must be more than 0s".to_owned())
        }
        (_, Some(TimeLimit { time, per_token }), None) => {
            let base = time.as_secs_f64();
            Ok(Some(per_token.map_or(Bound::Below(base), |per_token| Bound::BelowByPrompt {
                base,
                per_input_token: per_token.as_secs_f64(),
            })))
        }
    }
}

const fn streamed_only(metric: SloMetric) -> bool {
    matches!(
        metric,
        SloMetric::TimeToFirstChunk
            | SloMetric::TimeToFirstToken
            | SloMetric::TimeToFirstText
            | SloMetric::LongestChunkGap
            | SloMetric::TimePerOutputToken
    )
}
