//! Hashes that stay the same as long as what they stand for does: across restarts, versions and machines.

use crate::plan::{
    Action, Arrivals, Bounds, Profile, Ramp, Scenario, Shape, Stage, Target, canonical, compose_patches,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;

/// Hex digits of a revision: two that differ by chance are one in 2^48.
const DIGITS: usize = 12;

/// The seed of a profile that names none: the first eight bytes of the SHA-256 of its name.
pub(super) fn seed(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Hash of workload and load.
pub(super) fn of_profile(scenario: &Scenario, stages: &[Stage]) -> Arc<str> {
    digest(&json!({ "workload": scenario_json(scenario, &Map::new()), "load": load_json(stages) }))
}

/// Hash of workload, load and model, with the parameters that go out to this target.
pub(super) fn of_pair(profile: &Profile, target: &Target) -> Arc<str> {
    digest(&json!({
        "workload": scenario_json(&profile.scenario, &target.params),
        "load": load_json(&profile.stages),
        "model": &*target.model,
    }))
}

/// What a scenario does, with the parameters of its model calls merged on top of those `below`.
pub(in crate::plan) fn scenario_json(scenario: &Scenario, below: &Map<String, Value>) -> Value {
    let mut written = scenario.written.clone();
    for step in scenario.all() {
        let Action::Ask(ask) = &step.action else { continue };
        let at = match step.number.checked_sub(scenario.setup.len()) {
            _ if !scenario.journeys => String::new(),
            None => format!("/setup/{}/ask", step.number),
            Some(index) => format!("/steps/{index}/ask"),
        };
        let params = compose_patches(below, &ask.params);
        if let Some(Value::Object(ask)) = written.pointer_mut(&at)
            && !(params.is_empty() && ask.get("params").is_none())
        {
            ask.insert("params".to_owned(), params.into());
        }
    }
    // Revisions are older than the form that workloads and scenarios share.
    if scenario.journeys { json!({ "scenario": written, "params": {} }) } else { written }
}

pub(in crate::plan) fn load_json(stages: &[Stage]) -> Value {
    let ramp = |ramp: &Ramp| json!([ramp.from, ramp.to]);
    let ends = |bounds: &Bounds| json!([bounds.time.map(|time| time.as_secs_f64()), bounds.requests]);
    let one = |stage: &Stage| {
        let shape = match &stage.shape {
            Shape::Rate { rate, arrivals, bounds } => {
                let arrivals = match arrivals {
                    Arrivals::Constant => json!("constant"),
                    Arrivals::Poisson => json!("poisson"),
                    Arrivals::Gamma { cv } => json!(cv),
                };
                json!({ "rate": ramp(rate), "arrivals": arrivals, "ends": ends(bounds) })
            }
            Shape::Users { users, think, bounds, spawn } => {
                let think = [think.min.as_secs_f64(), think.max.as_secs_f64()];
                let mut shape = json!({ "users": ramp(users), "think": think, "ends": ends(bounds) });
                // Revisions are older than this key.
                if let Value::Object(shape) = &mut shape
                    && !spawn.is_zero()
                {
                    shape.insert("spawn".to_owned(), spawn.as_secs_f64().into());
                }
                shape
            }
        };
        json!({ "name": &*stage.name, "warm_up": stage.warm_up, "shape": shape })
    };
    stages.iter().map(one).collect()
}

fn digest(value: &Value) -> Arc<str> {
    let mut hex = String::with_capacity(DIGITS);
    for byte in canonical::sha256(value).iter().take(DIGITS / 2) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        // A change of these changes every seed and revision in the field.
        assert_eq!(seed("chat"), 0x31e0_6f7d_89fe_b99a);
        assert_eq!(&*digest(&json!({ "b": [1, null, "x"], "a": { "c": 0.5 } })), "89fb8d57b8db");
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(digest(&one), digest(&two));
        assert_ne!(digest(&one), digest(&json!({ "a": 1, "b": { "c": 2, "d": 4 } })));
    }
}
