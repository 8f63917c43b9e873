//! Decides which incidents are told: a state is told once, and something that flaps is not told again and again. Pure:
//! instants come from the caller. It must not know how messages are sent.

use crate::event::Pair;
use crate::fact::SubjectNews;
use crate::plan::Plan;
use crate::plan::webhook::WebhookIncident;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What was told of each subject. There are at most as many as the plan's targets and pairs have incidents.
#[derive(Debug, Default)]
pub(super) struct IncidentTracker {
    subjects: BTreeMap<String, TrackedSubject>,
}

/// A subject of incidents.
#[derive(Debug)]
struct TrackedSubject {
    profile: Arc<str>,
    target: Arc<str>,
    /// The state that it was last seen in.
    present: Arc<str>,
    /// The state that was told last, and whether it is one of trouble.
    told: Option<(Arc<str>, bool)>,
    /// When each state was told last. There are few states.
    told_at: BTreeMap<Arc<str>, Instant>,
    /// What is told at this instant, unless the state changes until then.
    held: Option<(Instant, WebhookIncident)>,
}

impl IncidentTracker {
    /// Takes news at `now`, and returns what is to be told at once, if anything. A state is told if it is not the one
    /// that was told last, and if it is one of trouble or ends one. One that was told less than `min_interval` ago is held
    /// until then.
    pub(super) fn take(
        &mut self,
        news: SubjectNews,
        now: Instant,
        min_interval: Duration,
    ) -> Option<WebhookIncident> {
        let mut incident = match news {
            SubjectNews::State(incident) => incident,
            SubjectNews::Unknown(key) => {
                if let Some(subject) = self.subjects.get_mut(&key) {
                    subject.held = None;
                }
                return None;
            }
        };
        let subject = self.subjects.entry(incident.key()).or_insert_with(|| TrackedSubject {
            profile: Arc::clone(&incident.profile),
            target: Arc::clone(&incident.target),
            present: "".into(),
            told: None,
            told_at: BTreeMap::new(),
            held: None,
        });
        if subject.present == incident.state && subject.held.is_some() {
            return None;
        }
        let before = std::mem::replace(&mut subject.present, Arc::clone(&incident.state));
        if incident.previous.is_empty() && before != incident.state {
            incident.previous = before;
        }
        subject.held = None;
        let is_known = subject.told.as_ref().is_some_and(|(told, _)| *told == incident.state);
        let is_over = !incident.firing && !subject.told.as_ref().is_some_and(|(_, firing)| *firing);
        if is_known || is_over {
            return None;
        }
        subject.told_at.retain(|_, at| now.saturating_duration_since(*at) < min_interval);
        if let Some(at) = subject.told_at.get(&incident.state) {
            subject.held = Some((*at + min_interval, incident));
            return None;
        }
        Some(subject.tell(incident, now))
    }

    /// What was held until `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<WebhookIncident> {
        let due = self.subjects.values_mut().filter_map(|subject| {
            let (_, incident) = subject.held.take_if(|(at, _)| *at <= now)?;
            Some(subject.tell(incident, now))
        });
        due.collect()
    }

    /// When something that is held will be due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.subjects.values().filter_map(|subject| subject.held.as_ref().map(|(at, _)| *at)).min()
    }

    /// Forgets subjects that a plan does not have.
    pub(super) fn plan_is(&mut self, plan: &Plan) {
        let is_target = |name: &Arc<str>| plan.targets.iter().any(|target| target.name == *name);
        let is_pair = |pair: &Pair| plan.pairs.iter().any(|it| it.pair == *pair);
        self.subjects.retain(|_, subject| {
            let TrackedSubject { profile, target, .. } = subject;
            if profile.is_empty() {
                is_target(target)
            } else {
                is_pair(&Pair { profile: Arc::clone(profile), target: Arc::clone(target) })
            }
        });
    }
}

impl TrackedSubject {
    fn tell(&mut self, incident: WebhookIncident, now: Instant) -> WebhookIncident {
        self.told = Some((Arc::clone(&incident.state), incident.firing));
        self.told_at.insert(Arc::clone(&incident.state), now);
        incident
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_plan;
    use crate::vocabulary::IncidentKind;
    use std::time::UNIX_EPOCH;

    const INTERVAL: Duration = Duration::from_mins(10);

    fn incident(profile: &str, target: &str, state: &str) -> WebhookIncident {
        WebhookIncident {
            kind: if profile.is_empty() { IncidentKind::TargetState } else { IncidentKind::Run },
            profile: profile.into(),
            target: target.into(),
            quantity: "".into(),
            state: state.into(),
            previous: "".into(),
            firing: state != "ok",
            title: String::new(),
            detail: String::new(),
            at: UNIX_EPOCH,
        }
    }

    /// A tracker, and its clock.
    struct Fixture {
        tracker: IncidentTracker,
        began: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { tracker: IncidentTracker::default(), began: Instant::now() }
        }

        fn at(&self, minute: u64) -> Instant {
            self.began + Duration::from_mins(minute)
        }

        /// What is told in a minute in which a target gets into a state: the state, and the one before.
        fn told(&mut self, minute: u64, state: &str) -> Option<String> {
            let now = self.at(minute);
            let news = SubjectNews::State(incident("", "llama", state));
            let told = self.tracker.take(news, now, INTERVAL)?;
            Some(format!("{}<{}", told.state, told.previous))
        }

        fn due(&mut self, minute: u64) -> Vec<String> {
            let now = self.at(minute);
            self.tracker.due(now).iter().map(|it| it.state.to_string()).collect()
        }
    }

    #[test]
    fn a_state_is_told_once_and_its_end_once() {
        let mut it = Fixture::new();
        assert_eq!(it.told(0, "ok"), None, "there was no trouble");
        assert_eq!(it.told(1, "hung").as_deref(), Some("hung<ok"));
        assert_eq!(it.told(2, "hung"), None);
        assert_eq!(it.told(100, "hung"), None, "it is known");
        assert_eq!(it.told(101, "failing").as_deref(), Some("failing<hung"));
        assert_eq!(it.told(102, "ok").as_deref(), Some("ok<failing"));
        assert_eq!(it.told(103, "ok"), None);
        assert_eq!(it.told(104, "slow").as_deref(), Some("slow<ok"));
        assert_eq!(it.tracker.next_due(), None);
    }

    #[test]
    fn what_flaps_is_told_once_within_the_interval() {
        let mut it = Fixture::new();
        assert!(it.told(0, "hung").is_some());
        assert!(it.told(1, "ok").is_some());
        for minute in [2, 4, 6, 8] {
            assert_eq!(it.told(minute, "hung"), None, "{minute}");
            assert_eq!(it.tracker.next_due(), Some(it.at(10)));
            assert_eq!(it.told(minute + 1, "ok"), None, "{minute}");
            assert_eq!(it.tracker.next_due(), None, "it is what was told last");
        }
        assert_eq!(it.told(12, "hung").as_deref(), Some("hung<ok"), "the interval is over");
    }

    #[test]
    fn what_still_stands_after_the_interval_is_told_then() {
        let mut it = Fixture::new();
        assert!(it.told(0, "hung").is_some());
        assert!(it.told(1, "ok").is_some());
        assert_eq!(it.told(2, "hung"), None);
        assert_eq!(it.told(3, "hung"), None, "it changes nothing");
        assert_eq!((it.due(9), it.due(10)), (vec![], vec!["hung".to_owned()]));
        assert_eq!((it.due(11), it.told(11, "hung")), (vec![], None));
        // The end was told in minute 1.
        assert_eq!(it.told(12, "ok").as_deref(), Some("ok<hung"));
    }

    #[test]
    fn something_worse_is_told_at_once() {
        let mut it = Fixture::new();
        assert!(it.told(0, "slow").is_some());
        assert!(it.told(1, "ok").is_some());
        assert_eq!(it.told(2, "slow"), None);
        assert_eq!(it.told(3, "hung").as_deref(), Some("hung<slow"));
        assert_eq!(it.tracker.next_due(), None, "what was held is over");
    }

    #[test]
    fn what_is_not_known_any_more_is_not_told_later() {
        let mut it = Fixture::new();
        assert!(it.told(0, "hung").is_some());
        assert!(it.told(1, "ok").is_some());
        assert_eq!(it.told(2, "hung"), None);
        let unknown = SubjectNews::Unknown("target_state/llama".to_owned());
        assert_eq!(it.tracker.take(unknown, it.at(3), INTERVAL), None);
        assert_eq!(it.due(99), [""; 0]);
        let of_none = SubjectNews::Unknown("target_state/other".to_owned());
        assert_eq!(it.tracker.take(of_none, it.at(3), INTERVAL), None);
    }

    #[test]
    fn subjects_are_told_apart_and_those_without_a_plan_forgotten() {
        let mut it = Fixture::new();
        let now = it.at(0);
        let mut take = |profile: &str, target: &str| {
            let news = SubjectNews::State(incident(profile, target, "failed"));
            it.tracker.take(news, now, INTERVAL).is_some()
        };
        assert!(take("", "llama") && take("chat", "llama") && take("other", "llama") && take("", "gone"));
        assert!(!take("chat", "llama"));
        it.tracker.plan_is(&small_plan());
        let left: Vec<_> = it.tracker.subjects.keys().map(String::as_str).collect();
        assert_eq!(left, ["run/chat/llama", "target_state/llama"]);
    }
}
