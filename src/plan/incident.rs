//! Which subjects of incidents a plan has. It must not know which incidents there are.

use super::{PairPlan, Plan};
use crate::event::split_replica;
use crate::vocabulary::IncidentKind;

/// What an incident is about.
#[derive(Clone, Copy, Debug)]
pub struct IncidentSubject<'a> {
    /// The kind of the incident.
    pub kind: IncidentKind,
    /// The profile; empty if it is about a target.
    pub profile: &'a str,
    /// The target.
    pub target: &'a str,
    /// The quantity; empty if it is not about one.
    pub quantity: &'a str,
}

impl Plan {
    /// Why nothing more will be known about a subject under this plan, as a clause; `None` if it is watched. Whoever has
    /// told an incident of a subject that is not watched has to tell its end: nobody else will.
    pub fn why_unwatched(&self, subject: &IncidentSubject<'_>) -> Option<&'static str> {
        let IncidentSubject { kind, profile, target, .. } = *subject;
        let pair = self.pairs.iter().find(|it| *it.pair.profile == *profile && *it.pair.target == *target);
        let (is_there, is_watched) = match kind {
            IncidentKind::TargetState => {
                let is_there = self.targets.iter().any(|it| *it.name == *target);
                (is_there, is_there)
            }
            _ => (pair.is_some(), pair.is_some_and(|pair| self.watches(pair, subject))),
        };
        if is_watched {
            None
        } else if is_there {
            Some("it is no longer watched")
        } else if split_replica(target).1.is_some() {
            Some("the replica is no longer there")
        } else {
            Some("it is no longer in the config")
        }
    }

    /// Whether incidents of a pair of this plan can still begin and end.
    fn watches(&self, pair: &PairPlan, subject: &IncidentSubject<'_>) -> bool {
        match subject.kind {
            IncidentKind::TargetState | IncidentKind::Run => true,
            IncidentKind::Budget => self.agent.budget.is_some() || pair.profile.budget.is_some(),
            IncidentKind::ModelChange => pair.model_fingerprint().is_some(),
            IncidentKind::Comparison => {
                pair.profile.comparison.as_ref().is_some_and(|it| *it.treatment == *subject.target)
            }
            IncidentKind::Regression => {
                pair.detection().is_some() && pair.quantities().any(|it| it.name() == subject.quantity)
            }
            IncidentKind::ReplicaOutlier => pair.detection().is_some() && pair.profile.search.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;

    const TARGETS: &str = "targets:
  a: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }
  b: { api: openai-chat, base_url: 'http://127.0.0.1:2/v1' }
";

    fn why(profiles: &str, kind: IncidentKind, of: [&str; 3]) -> Option<&'static str> {
        let plan = from_yaml(&format!("{TARGETS}{profiles}")).unwrap_or_else(|e| panic!("{e}"));
        let [profile, target, quantity] = of;
        plan.why_unwatched(&IncidentSubject { kind, profile, target, quantity })
    }

    #[test]
    fn a_subject_goes_with_what_watches_it() {
        let every = "targets: [a], schedule: { every: 5m }";
        let chat =
            |more: &str| format!("profiles: {{ p: {{ {every}, workload: {{ prompts: [x] }}, {more} }} }}");
        let (unwatched, gone) = (Some("it is no longer watched"), Some("it is no longer in the config"));
        let plain = chat("");
        assert_eq!(why(&plain, IncidentKind::TargetState, ["", "b", ""]), None);
        assert_eq!(why(&plain, IncidentKind::TargetState, ["", "c", ""]), gone);
        assert_eq!(
            why(&plain, IncidentKind::TargetState, ["", "a@h:1", ""]),
            Some("the replica is no longer there")
        );
        assert_eq!(why(&plain, IncidentKind::Run, ["p", "a", ""]), None);
        assert_eq!(why(&plain, IncidentKind::Run, ["p", "b", ""]), gone);
        assert_eq!(why(&plain, IncidentKind::Budget, ["p", "a", ""]), unwatched);
        let budget = chat("budget: { period: day, requests: 9 }");
        assert_eq!(why(&budget, IncidentKind::Budget, ["p", "a", ""]), None);
        assert_eq!(why(&plain, IncidentKind::Regression, ["p", "a", "time_to_first_token"]), None);
        let detect_off = chat("detect: off");
        assert_eq!(why(&detect_off, IncidentKind::Regression, ["p", "a", "time_to_first_token"]), unwatched);
        assert_eq!(why(&detect_off, IncidentKind::ReplicaOutlier, ["p", "a", "latency"]), unwatched);
        let whole = format!("profiles: {{ p: {{ {every}, workload: {{ prompts: [x], stream: false }} }} }}");
        assert_eq!(why(&whole, IncidentKind::Regression, ["p", "a", "time_to_first_token"]), unwatched);
        assert_eq!(why(&whole, IncidentKind::Regression, ["p", "a", "request_duration"]), None);
        assert_eq!(why(&plain, IncidentKind::ModelChange, ["p", "a", ""]), unwatched);
        let fingerprint =
            format!("profiles: {{ p: {{ {every}, workload: {{ fingerprint: {{ prompts: [x, y] }} }} }} }}");
        assert_eq!(why(&fingerprint, IncidentKind::ModelChange, ["p", "a", ""]), None);
        let compare = "profiles: { p: { compare: { control: a, treatment: b }, schedule: { every: 5m }, \
                       workload: { prompts: [x] } } }";
        assert_eq!(why(compare, IncidentKind::Comparison, ["p", "b", ""]), None);
        assert_eq!(why(compare, IncidentKind::Comparison, ["p", "a", ""]), unwatched, "it is the control");
        assert_eq!(why(&plain, IncidentKind::Comparison, ["p", "b", ""]), gone);
    }
}
