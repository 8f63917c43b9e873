//! Checks that a profile's requests are compatible with each of its targets.

use super::asked::CallToTarget;
use super::{Findings, scenario, target, wire};
use crate::config::{Config, KeyPath, Profile, Scenario, Target};
use crate::plan::Api;
use http::HeaderName;
use std::num::NonZeroU64;
use url::Url;

/// Checks every profile against each of its targets.
pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    for (name, profile) in &config.profiles {
        let path = KeyPath::of(["profiles", name]);
        for (name, at) in profile.played(&path) {
            let Some(target) = config.targets.get(name) else { continue };
            if profile.workload.is_some() && target.api == Api::Http {
                let message =
                    format!("the target `{name}` is `http` and has no model call; it takes a `scenario`");
                findings.error(&at, message);
            }
            if let Some(workload) = profile.workload.as_ref().filter(|_| target.api != Api::Http) {
                // How many does not matter: only that the answer is limited.
                let output_tokens = workload.asks_for_lengths().then_some(1);
                CallToTarget::new((name, target), &workload.params, output_tokens).check(
                    &profile.expect,
                    &path.key("expect"),
                    findings,
                );
            }
            let prints = profile.workload.as_ref().is_some_and(|workload| workload.fingerprint.is_some());
            if prints && !target.api.generates() && target.api != Api::Http {
                let message = format!(
                    "the target `{name}` is `{}`, which generates nothing: `fingerprint` has no answers to compare",
                    target.api.name()
                );
                findings.error(&at, message);
            }
            if profile.workload.is_some() && profile.fluidity.is_some() && !target.api.generates() {
                let message = format!(
                    "the target `{name}` is `{}`, whose answers have no generated tokens that could be due",
                    target.api.name()
                );
                findings.error(&path.key("fluidity"), message);
            }
            let in_the_clear = Url::parse(&target.base_url.0).is_ok_and(|url| target::is_plain(&url));
            if in_the_clear && profile.scenario.as_ref().is_some_and(|it| !it.secrets.is_empty()) {
                let message =
                    format!("the target `{name}` is plain http: the scenario's secrets go out in the clear");
                findings.warn(&at, message);
            }
        }
        if let Some(scenario) = &profile.scenario {
            of_scenario(config, profile, scenario, &path.key("scenario"), findings);
        }
    }
}

fn of_scenario(
    config: &Config,
    profile: &Profile,
    scenario: &Scenario,
    path: &KeyPath,
    findings: &mut Findings,
) {
    let targets: Vec<(&String, &Target)> =
        profile.target_names().filter_map(|name| Some((name, config.targets.get(name)?))).collect();
    for (number, step) in scenario.setup.iter().chain(&scenario.steps).enumerate() {
        let path = scenario::path_of(scenario, number, path);
        let http = targets.iter().find(|(_, target)| target.api == Api::Http);
        if let Some((name, _)) = http.filter(|_| step.ask.is_some()) {
            let message = format!("the target `{name}` is `http` and has no model call");
            findings.error(&path.key("ask"), message);
        }
        for (name, target) in targets.iter().filter(|(_, target)| target.api != Api::Http) {
            if let Some(ask) = &step.ask {
                let output_tokens = ask.output_tokens.map(NonZeroU64::get);
                CallToTarget::new((name, target), &ask.params, output_tokens).check(
                    &step.expect,
                    &path.key("expect"),
                    findings,
                );
            }
        }
        let forgets = targets.iter().find(|(_, target)| !target.api.keeps_conversations());
        if let Some((name, target)) = forgets.filter(|_| step.ask.as_ref().is_some_and(|ask| ask.stateful)) {
            let api = target.api.name();
            let message = format!(
                "the target `{name}` is `{api}`, which keeps no conversations; `openai-responses` does"
            );
            findings.error(&path.key("ask").key("stateful"), message);
        }
        for header in step.headers.0.keys() {
            let Ok(parsed) = HeaderName::from_bytes(header.as_bytes()) else { continue };
            if let Some((name, _)) = targets.iter().find(|(_, target)| wire::set_elsewhere(target, &parsed)) {
                let message =
                    format!("is set by `auth`, `propagate` or `slo_headers` of the target `{name}` already");
                findings.error(&path.key("headers").key(header), message);
            }
        }
    }
}
