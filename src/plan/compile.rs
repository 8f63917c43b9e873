//! Compiles the config to a plan: the meaning of the values, alone and together. All errors are collected; none is
//! printed.
//!
//! Reads the files named in the config and checks that its secrets exist. Uses neither clock nor network.

mod arrivals;
mod asked;
mod auth;
mod baseline;
mod budget;
mod cache_pair;
mod compare;
mod conversation;
mod dataset;
mod detect;
mod discover;
mod effort;
mod expect;
mod finding;
mod fingerprint;
mod fluidity;
#[cfg(test)]
mod fuzz;
mod health;
mod json_path;
mod json_schema;
mod json_template;
mod length;
mod load_curve;
mod mark;
mod name;
mod otlp;
mod pairing;
mod pattern;
mod profile;
mod retry;
mod revision;
mod scenario;
mod schedule;
mod search;
mod size;
mod slo;
mod stage;
mod synthetic;
mod target;
mod trace;
mod webhook;
mod wire;
mod workload;

use super::{Agent, PairPlan, Plan, Profile, Server, Shard, StateOptions, Target, Telemetry, canonical};
use crate::config::{self, BrokenParts, Config, KeyPath, Problem, nearest};
use crate::files::Files;
use finding::Findings;
pub(super) use stage::run_time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The result of compiling a config.
#[derive(Debug)]
pub struct Compiled {
    /// The plan, without its invalid parts.
    pub plan: Plan,
    /// Errors. If there are any, the plan must not be run.
    pub errors: Vec<Problem>,
    /// Warnings: suspicious values that do not prevent a start.
    pub warnings: Vec<Problem>,
    /// The files named in the config that were read.
    pub files: Files,
    /// The work done, in the units of [`crate::limits::COMPILE_UNITS`].
    pub work: u64,
}

/// Compiles a config: the plan and its warnings, or every error.
///
/// `environment` is used to look up the OpenTelemetry variables.
pub fn compile(
    config: &Config,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let compiled = compile_beside(config, &BrokenParts::default(), environment);
    if compiled.errors.is_empty() { Ok((compiled.plan, compiled.warnings)) } else { Err(compiled.errors) }
}

/// Compiles the rest of a config after its broken parts have been removed.
pub(super) fn compile_beside(
    config: &Config,
    broken: &BrokenParts,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Compiled {
    let mut findings = Findings::default();
    let agent = agent(config, &mut findings);
    let targets = named("targets", &config.targets, &mut findings, target::compile);
    let profiles = named("profiles", &config.profiles, &mut findings, profile::compile);
    let fits = size::check(config, &mut findings);
    let mut pairs = Vec::new();
    let known: BTreeSet<&str> = config.targets.keys().chain(&broken.targets).map(String::as_str).collect();
    for (name, written) in &config.profiles {
        let played = written.played(&KeyPath::of(["profiles", name]));
        references(&played, &known, &mut findings);
        let Some(profile) = profiles.get(name).filter(|_| fits) else { continue };
        let mut seen = BTreeSet::new();
        let own = written.target_names().filter(|target| seen.insert(target.as_str()));
        let own: Vec<&Arc<Target>> = own.filter_map(|target| targets.get(target)).collect();
        let workload = KeyPath::of(["profiles", name, "workload"]);
        for target in &own {
            synthetic::check_pair(profile, target, &workload, &mut findings);
            slo::check_pair(profile, target, &KeyPath::of(["profiles", name, "slo"]), &mut findings);
            let other = own.iter().find(|other| other.name != target.name);
            pairs.push(pair(profile, target, other.filter(|_| profile.comparison.is_some())));
        }
    }
    pairing::check_all(config, &mut findings);
    discover::check_all(config, &mut findings);
    health::check_all(config, broken, &mut findings);
    health::check_stated(config, broken, &mut findings);
    effort::check_all(config, &mut findings);
    budget::check_all(config, &mut findings);
    stage::check_in_flight(config, &mut findings);
    stage::check_unlimited(config, &profiles, &targets, &mut findings);
    search::check_all(config, &mut findings);
    unused(config, broken, &mut findings);
    let path = KeyPath::of(["telemetry", "otlp"]);
    let otlp = otlp::compile(config.telemetry.otlp.as_ref(), environment, &path, &mut findings);
    let path = KeyPath::of(["telemetry", "webhook"]);
    let webhook = config.telemetry.webhook.as_ref();
    let webhook = webhook.and_then(|written| webhook::compile(written, &agent, &path, &mut findings));
    let telemetry = Telemetry {
        detail: config.telemetry.detail,
        otlp,
        webhook: webhook.map(Arc::new),
        exemplars: config.telemetry.prometheus.exemplars,
        native_histograms: config.telemetry.prometheus.native_histograms,
        disable: config.telemetry.disable.clone(),
    };
    let plan = Plan {
        agent,
        server: Server {
            listen: config.server.listen.0,
            web_config: config.server.web_config.clone(),
            allowed_hosts: config.server.allowed_hosts.iter().map(|name| name.0.clone()).collect(),
            proxies: config.server.proxies.iter().map(|address| address.0).collect(),
            probe_interval: config.server.probe.min_interval.0,
            read_only: config.server.read_only,
        },
        telemetry,
        targets: targets.into_values().collect(),
        discovered: Vec::new(),
        profiles: profiles.into_values().collect(),
        pairs,
    };
    let work = findings.work();
    let Findings { errors, warnings, files, .. } = findings;
    Compiled { plan, errors, warnings, files, work }
}

/// Compiles each part of a section, and returns the valid ones by name.
fn named<W, P>(
    section: &str,
    written: &BTreeMap<String, W>,
    findings: &mut Findings,
    compile: fn(&str, &W, &KeyPath, &mut Findings) -> Option<P>,
) -> BTreeMap<String, Arc<P>> {
    let mut compiled = BTreeMap::new();
    for (name, part) in written {
        let path = KeyPath::of([section, name]);
        name::check(name, &path, findings);
        if let Some(part) = compile(name, part, &path, findings) {
            compiled.insert(name.clone(), Arc::new(part));
        }
    }
    compiled
}

fn agent(config: &Config, findings: &mut Findings) -> Agent {
    let path = KeyPath::of(["agent"]);
    let written = &config.agent;
    name::check_labels(&written.labels, &path.key("labels"), findings);
    Agent {
        id: written.id.clone().unwrap_or_else(host_name).into(),
        location: written.location.as_str().into(),
        labels: written.labels.clone(),
        currency: written.currency.code().into(),
        shard: Shard::WHOLE,
        in_flight: written.limits.in_flight,
        in_flight_per_target: stage::in_flight_per_target(config),
        traffic_priority: written.traffic_priority,
        budget: written.budget.as_ref().and_then(|b| budget::compile(b, &path.key("budget"), findings)),
        state: written.state.as_ref().map(|file| StateOptions {
            path: file.clone(),
            retention: written.history.retention.0,
            max_bytes: written.history.max_bytes,
        }),
    }
}

/// The name of this host, or `localhost`.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Checks that each name is that of a target and appears only once.
fn references(names: &[(&String, KeyPath)], known: &BTreeSet<&str>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (name, path) in names {
        if !known.contains(name.as_str()) {
            let near = nearest(name, known.iter().copied());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            findings.error(path, format!("there is no target `{name}`{hint}"));
        } else if !seen.insert(name) {
            findings.error(path, format!("the target `{name}` is named twice"));
        }
    }
}

fn unused(config: &Config, broken: &BrokenParts, findings: &mut Findings) {
    if config.profiles.is_empty() && broken.profiles.is_empty() {
        findings.warn(&KeyPath::root(), "there are no profiles: nothing will be sent");
        return;
    }
    let used: BTreeSet<&String> = config.profiles.values().flat_map(config::Profile::target_names).collect();
    for name in config.targets.keys() {
        if !used.contains(name) && broken.profiles.is_empty() {
            findings.warn(&KeyPath::of(["targets", name]), "no profile uses this target");
        }
    }
}

/// Combines a profile with a target, and with the one that it is compared with.
fn pair(profile: &Arc<Profile>, target: &Arc<Target>, other: Option<&&Arc<Target>>) -> Arc<PairPlan> {
    let revision = revision::of_pair(profile, target);
    let pair = PairPlan::new(Arc::clone(profile), Arc::clone(target), revision);
    Arc::new(match other {
        Some(other) => pair.compared_with(other),
        None => pair,
    })
}
