//! The total size of a config: its pairs, and the label sets of each.

use super::Findings;
use crate::config::{Config, KeyPath, Profile, Scenario};
use crate::event::TURNS;
use crate::limits;
use std::collections::BTreeSet;

/// Checks that the pairs of a config stay within the limits.
pub(super) fn check(config: &Config, findings: &mut Findings) -> bool {
    let path = KeyPath::of(["profiles"]);
    let (mut pairs, mut places, mut fits) = (0, 0, true);
    for (name, profile) in &config.profiles {
        let each = places_of(profile);
        if each > limits::PLACES_OF_A_PAIR {
            let message = format!(
                "has {each} combinations of a stage and a step, each with series of its own, and at most {} are \
                 allowed",
                limits::PLACES_OF_A_PAIR
            );
            findings.error(&path.key(name), message);
            fits = false;
        }
        let targets: BTreeSet<&str> = profile.target_names().map(String::as_str).collect();
        let replicas = |target: &&str| {
            let discover = config.targets.get(*target).and_then(|target| target.discover.as_ref());
            discover.map_or(1, |discover| usize::try_from(discover.max.get()).unwrap_or(usize::MAX))
        };
        let targets = targets.iter().map(replicas).fold(0, usize::saturating_add);
        pairs = targets.saturating_add(pairs);
        places = targets.saturating_mul(each).saturating_add(places);
    }
    let all = [
        ("pairs of a profile and a target", pairs, limits::PAIRS),
        ("combinations of a profile, target, stage and step", places, limits::PLACES),
    ];
    for (what, count, most) in all {
        if count > most {
            let message = format!("make {count} {what}, and at most {most} are allowed; run several agents");
            findings.error(&path, message);
            fits = false;
        }
    }
    fits
}

/// The number of label sets of a pair of this profile.
fn places_of(profile: &Profile) -> usize {
    let steps = |scenario: &Scenario| {
        let turns = |turns: bool| if turns { TURNS.len() } else { 1 };
        let all = scenario.setup.iter().chain(&scenario.steps);
        all.map(|it| turns(it.turns.unwrap_or(it.ask.as_ref().is_some_and(|ask| ask.history > 0)))).sum()
    };
    let pair = profile.workload.as_ref().is_some_and(|workload| workload.cache_pair.is_some());
    let pair = if pair { 2 } else { 0 };
    // Its turns, and its summaries.
    let conversation = profile.workload.as_ref().and_then(|it| it.conversation.as_ref());
    let conversation = conversation.map_or(0, |it| TURNS.len() + usize::from(it.summarize.is_some()));
    // All loads of a search share their series.
    let stages = if profile.search.is_some() { 1 } else { profile.stages().len() };
    stages * (1 + profile.scenario.as_ref().map_or(0, steps) + pair + conversation)
}
