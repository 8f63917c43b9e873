//! Fault rules: which requests meet which faults, by probability, lifetime, model, path and count.
//!
//! It draws from a seeded generator of its own, so that a run is reproducible. It knows nothing about what faults do.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::dialect::Service;
use super::faults::{Fault, Spec, SpecError};
use super::units;

/// Maximum number of rules at a time.
const MAX_RULES: usize = 256;

/// A fault that requests meet while the rule is active.
///
/// As an option it is written like the fault, with the additional parameters `probability`, `lasts`, `model`, `path`
/// and `max`. Only requests that the fault can affect are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The fault.
    pub fault: Fault,
    /// The fraction of requests that meet it, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// How long the rule is active; indefinitely if absent.
    #[serde(default, rename = "for", with = "written", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// Only for requests to this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only for requests to paths with this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// At most for this many requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// There are too many rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_RULES} fault rules already")]
pub struct TooManyRules;

/// The properties of a request that rules match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim<'a> {
    pub(crate) service: Service,
    pub(crate) path: &'a str,
    /// The model, if the request could be read.
    pub(crate) model: Option<&'a str>,
}

/// The active rules.
#[derive(Debug)]
pub(crate) struct Rules {
    state: Mutex<RulesState>,
}

#[derive(Debug)]
struct RulesState {
    active: Vec<Active>,
    draws: ChaCha8Rng,
}

#[derive(Debug)]
struct Active {
    rule: FaultRule,
    until: Option<Instant>,
}

impl FaultRule {
    /// A rule for every request, active from now on.
    pub fn always(fault: Fault) -> Self {
        Self { fault, probability: 1.0, lasts: None, model: None, path: None, max: None }
    }
}

impl FromStr for FaultRule {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Spec::parse(text);
        let probability = spec.read("probability", |value| match value.parse::<f64>() {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
            _ => Err(format!("`{value}` is not a number from 0 to 1")),
        })?;
        let lasts = spec.read("lasts", units::duration)?;
        let model = spec.read("model", |value| Ok(value.to_owned()))?;
        let path = spec.read("path", |value| Ok(value.to_owned()))?;
        let max = spec.read("max", |value| value.parse().map_err(|_| format!("`{value}` is not a count")))?;
        let fault = Fault::from_spec(&mut spec)?;
        spec.finish()?;
        Ok(Self { fault, probability: probability.unwrap_or_else(always), lasts, model, path, max })
    }
}

impl Rules {
    pub(crate) fn new(seed: u64) -> Self {
        let state = RulesState { active: Vec::new(), draws: ChaCha8Rng::seed_from_u64(seed) };
        Self { state: Mutex::new(state) }
    }

    /// Activates all of `rules`, or none if there would be too many.
    pub(crate) fn add(&self, rules: Vec<FaultRule>) -> Result<(), TooManyRules> {
        let now = Instant::now();
        self.with(|state| {
            state.active.retain(|active| active.lives(now));
            if state.active.len() + rules.len() > MAX_RULES {
                return Err(TooManyRules);
            }
            state.active.extend(rules.into_iter().map(|rule| {
                let until = rule.lasts.and_then(|lasts| now.checked_add(lasts));
                Active { rule, until }
            }));
            Ok(())
        })
    }

    /// Removes all rules.
    pub(crate) fn clear(&self) {
        self.with(|state| state.active.clear());
    }

    /// The active rules, with the time and the count that remain.
    pub(crate) fn list(&self) -> Vec<FaultRule> {
        let now = Instant::now();
        self.with(|state| {
            state.active.iter().filter(|active| active.lives(now)).map(|active| active.left(now)).collect()
        })
    }

    /// Draws the faults that a request meets.
    pub(crate) fn draw(&self, aim: Aim<'_>) -> Vec<Fault> {
        let now = Instant::now();
        self.with(|state| {
            state.active.retain(|active| active.lives(now));
            let RulesState { active, draws } = state;
            active.iter_mut().filter_map(|active| active.strike(aim, draws)).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut RulesState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Active {
    fn lives(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && self.rule.max != Some(0)
    }

    fn left(&self, now: Instant) -> FaultRule {
        let lasts = self.until.map(|until| until.saturating_duration_since(now));
        FaultRule { lasts, ..self.rule.clone() }
    }

    fn strike(&mut self, aim: Aim<'_>, draws: &mut ChaCha8Rng) -> Option<Fault> {
        let rule = &self.rule;
        let meant = rule.model.as_deref().is_none_or(|wanted| aim.model == Some(wanted))
            && rule.path.as_deref().is_none_or(|wanted| aim.path.starts_with(wanted))
            && rule.fault.concerns(aim.service);
        if !meant {
            return None;
        }
        if self.rule.probability < 1.0 && draws.random::<f64>() >= self.rule.probability {
            return None;
        }
        self.rule.max = self.rule.max.map(|left| left.saturating_sub(1));
        Some(self.rule.fault.clone())
    }
}

fn always() -> f64 {
    1.0
}

/// An optional duration as `"10s"`.
mod written {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::units;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => serializer.serialize_str(&units::written(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| units::duration(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap()
    }

    fn to(model: Option<&str>) -> Aim<'_> {
        Aim { service: Service::Model, path: "/v1/chat/completions", model }
    }

    #[test]
    fn a_rule_is_written_as_an_option_or_as_json() {
        let option = rule("stall;after=3;for=2s;probability=0.5;lasts=10s;model=m;path=/v1;max=4");
        let json = r#"{"fault": "stall;after=3;for=2s", "probability": 0.5, "for": "10s", "model": "m", "path": "/v1", "max": 4}"#;
        assert_eq!(serde_json::from_str::<FaultRule>(json).unwrap(), option);
        let written = serde_json::to_string(&option).unwrap();
        assert_eq!(serde_json::from_str::<FaultRule>(&written).unwrap(), option);
        assert!(serde_json::from_str::<FaultRule>(r#"{"fault": "stall", "often": true}"#).is_err());
        assert!(serde_json::from_str::<FaultRule>(r#"{"fault": "stahl"}"#).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_ends_with_its_time_and_with_its_count() {
        let rules = Rules::new(1);
        rules.add(vec![rule("no_done;lasts=10s"), rule("crlf;max=2")]).unwrap();
        assert_eq!(rules.draw(to(None)), [Fault::NoDone, Fault::Crlf]);
        assert_eq!(rules.draw(to(None)), [Fault::NoDone, Fault::Crlf]);
        assert_eq!(rules.draw(to(None)), [Fault::NoDone]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(rules.draw(to(None)), []);
        assert_eq!(rules.list(), []);
    }

    #[tokio::test]
    async fn a_rule_can_be_for_one_model_and_for_a_part() {
        let rules = Rules::new(1);
        rules.add(vec![rule("no_done;model=a"), rule("crlf;probability=0.3")]).unwrap();
        assert!(!rules.draw(to(Some("b"))).contains(&Fault::NoDone));
        assert!(!rules.draw(to(None)).contains(&Fault::NoDone));
        assert!(rules.draw(to(Some("a"))).contains(&Fault::NoDone));
        let struck = (0..1000).filter(|_| rules.draw(to(None)).contains(&Fault::Crlf)).count();
        assert!((200..400).contains(&struck), "{struck} of 1000 at 0.3");
    }

    #[tokio::test]
    async fn a_rule_counts_only_requests_that_it_can_affect() {
        let rules = Rules::new(1);
        rules.add(vec![rule("no_citations;max=1"), rule("error_500;path=/api/chat;max=1")]).unwrap();
        let aim = |service, path| Aim { service, path, model: None };
        assert_eq!(rules.draw(aim(Service::Login, "/api/auth/login")), []);
        assert_eq!(rules.draw(aim(Service::Rag, "/api/rag/query")), [Fault::NoCitations]);
        assert_eq!(rules.draw(aim(Service::Rag, "/api/rag/query")), []);
        let made = rules.draw(aim(Service::NewSession, "/api/chat/sessions"));
        assert_eq!(made, [Fault::Status { code: 500 }]);
    }

    #[tokio::test]
    async fn the_number_of_rules_is_bounded() {
        let rules = Rules::new(1);
        let many = vec![FaultRule::always(Fault::NoDone); MAX_RULES];
        assert_eq!(rules.add(many), Ok(()));
        assert_eq!(rules.add(vec![FaultRule::always(Fault::NoDone)]), Err(TooManyRules));
        rules.clear();
        assert_eq!(rules.add(vec![FaultRule::always(Fault::NoDone)]), Ok(()));
    }
}
