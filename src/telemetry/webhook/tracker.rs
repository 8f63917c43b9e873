//! Decides which incidents are told: a state is told once, and something that flaps is not told again and again. Pure:
//! instants come from the caller. It must not know how messages are sent.

use crate::fact::{SubjectNews, end_of_unwatched};
use crate::plan::webhook::WebhookIncident;
use crate::plan::{IncidentSubject, Plan};
use crate::vocabulary::IncidentKind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What was told of each subject. There are at most as many as the plan's targets and pairs have incidents.
pub(super) struct IncidentTracker {
    plan: Arc<Plan>,
    subjects: BTreeMap<String, TrackedSubject>,
}

/// A subject of incidents.
#[derive(Debug)]
struct TrackedSubject {
    kind: IncidentKind,
    profile: Arc<str>,
    target: Arc<str>,
    quantity: Arc<str>,
    /// The state that it was last seen in.
    present: Arc<str>,
    /// What was delivered last, and then what was told since and waits. Bounded by the queue, except for the first one.
    told: VecDeque<ToldState>,
    /// When each state was told last. There are few states.
    told_at: BTreeMap<Arc<str>, Instant>,
    /// What is told at this instant, unless the state changes until then.
    held: Option<(Instant, Arc<WebhookIncident>)>,
}

/// A message that the receiver knows, or will know unless it is dropped.
#[derive(Debug)]
struct ToldState {
    incident: Arc<WebhookIncident>,
    /// Whether it is of an earlier process, of which it is not known what it told: the trouble is told again if it still
    /// stands, and its end in any case.
    is_earlier: bool,
}

impl IncidentTracker {
    /// Creates it for the subjects of a plan. Nothing was told.
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, subjects: BTreeMap::new() }
    }

    /// Takes over what went on when an earlier process ended, as far as it is told under the plan. Returns what has ended
    /// with that process, because nobody would say so later: what is judged anew begins with no trouble.
    pub(super) fn resume(&mut self, earlier: Vec<WebhookIncident>, at: SystemTime) -> Vec<WebhookIncident> {
        let Some(webhook) = &self.plan.telemetry.webhook else { return Vec::new() };
        let mut ends = Vec::new();
        for incident in earlier.into_iter().filter(|it| it.firing && webhook.events.contains(&it.kind)) {
            if matches!(incident.kind, IncidentKind::Comparison | IncidentKind::ReplicaOutlier) {
                let why = "tokenbeat was started again, and judges it anew";
                let end = end_of_unwatched(&incident.subject(), why, at);
                ends.push(WebhookIncident { previous: incident.state, ..end });
                continue;
            }
            let mut subject = TrackedSubject::of(&incident);
            subject.present = Arc::clone(&incident.state);
            let key = incident.key();
            subject.told.push_back(ToldState { incident: Arc::new(incident), is_earlier: true });
            self.subjects.insert(key, subject);
        }
        ends
    }

    /// Takes news at `now`, and returns what is to be told at once, if anything. A state is told if it is not the one
    /// that was told last, and if it is one of trouble or ends one. One that was told less than `min_interval` ago is held
    /// until then. Trouble that is not told under the plan in force is not news: its end could not be told.
    pub(super) fn take(
        &mut self,
        news: SubjectNews,
        now: Instant,
        min_interval: Duration,
    ) -> Option<Arc<WebhookIncident>> {
        let mut incident = match news {
            SubjectNews::State(incident) => incident,
            SubjectNews::Unknown(key) => {
                if let Some(subject) = self.subjects.get_mut(&key) {
                    subject.held = None;
                    subject.present = "".into();
                }
                return None;
            }
        };
        if why_untold(&self.plan, &incident.subject()).is_some() {
            return None;
        }
        let subject = self.subjects.entry(incident.key()).or_insert_with(|| TrackedSubject::of(&incident));
        if subject.present == incident.state && subject.held.is_some() {
            return None;
        }
        let before = std::mem::replace(&mut subject.present, Arc::clone(&incident.state));
        if incident.previous.is_empty() && before != incident.state {
            incident.previous = before;
        }
        subject.held = None;
        if !subject.is_news(&incident) {
            return None;
        }
        let incident = Arc::new(incident);
        subject.told_at.retain(|_, at| now.saturating_duration_since(*at) < min_interval);
        if let Some(at) = subject.told_at.get(&incident.state) {
            subject.held = Some((*at + min_interval, incident));
            return None;
        }
        Some(subject.tell(incident, now))
    }

    /// What was held until `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<WebhookIncident>> {
        self.release(now, |at, _| at <= now)
    }

    /// The ends that are held, whenever they are due.
    pub(super) fn held_ends(&mut self, now: Instant) -> Vec<Arc<WebhookIncident>> {
        self.release(now, |_, incident| !incident.firing)
    }

    fn release(
        &mut self,
        now: Instant,
        which: impl Fn(Instant, &WebhookIncident) -> bool,
    ) -> Vec<Arc<WebhookIncident>> {
        let released = self.subjects.values_mut().filter_map(|subject| {
            let (_, incident) = subject.held.take_if(|(at, incident)| which(*at, incident))?;
            Some(subject.tell(incident, now))
        });
        released.collect()
    }

    /// A message was delivered: those before it do not matter any more.
    pub(super) fn delivered(&mut self, incident: &Arc<WebhookIncident>) {
        if let Some(subject) = self.subjects.get_mut(&incident.key())
            && let Some(index) = subject.index_of(incident)
        {
            subject.told.drain(..index);
        }
    }

    /// A message was dropped, so its state was not told. If it still stands and was the last one, it is told at `again`.
    pub(super) fn dropped(&mut self, incident: &Arc<WebhookIncident>, again: Instant) {
        let Some(subject) = self.subjects.get_mut(&incident.key()) else { return };
        let Some(index) = subject.index_of(incident) else { return };
        subject.told.remove(index);
        let was_last = index == subject.told.len();
        let stands = subject.present == incident.state && subject.is_news(incident);
        if was_last && stands && subject.held.is_none() {
            subject.held = Some((again, Arc::clone(incident)));
        }
    }

    /// When something that is held will be due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.subjects.values().filter_map(|subject| subject.held.as_ref().map(|(at, _)| *at)).min()
    }

    /// Adopts a plan, and forgets the subjects that are not told under it. Returns the ends of their incidents, which
    /// nobody else would tell; none without a webhook, because there is nobody to tell them to.
    pub(super) fn plan_is(&mut self, plan: Arc<Plan>, at: SystemTime) -> Vec<WebhookIncident> {
        let has_webhook = plan.telemetry.webhook.is_some();
        let mut ends = Vec::new();
        self.subjects.retain(|_, subject| {
            let Some(why) = why_untold(&plan, &subject.subject()) else { return true };
            if has_webhook && subject.is_told_as_trouble() {
                let end = end_of_unwatched(&subject.subject(), why, at);
                // The state that the receiver knows: another one may be held back.
                let known = subject.told.back().map_or(&subject.present, |told| &told.incident.state);
                ends.push(WebhookIncident { previous: Arc::clone(known), ..end });
            }
            false
        });
        self.plan = plan;
        ends
    }
}

/// Why incidents of a subject are not told under a plan; `None` if they are.
fn why_untold(plan: &Plan, subject: &IncidentSubject<'_>) -> Option<&'static str> {
    match &plan.telemetry.webhook {
        Some(webhook) if webhook.events.contains(&subject.kind) => plan.why_unwatched(subject),
        _ => Some("incidents of this kind are no longer told"),
    }
}

impl TrackedSubject {
    /// The subject of an incident, of which nothing was told.
    fn of(incident: &WebhookIncident) -> Self {
        Self {
            kind: incident.kind,
            profile: Arc::clone(&incident.profile),
            target: Arc::clone(&incident.target),
            quantity: Arc::clone(&incident.quantity),
            present: "".into(),
            told: VecDeque::new(),
            told_at: BTreeMap::new(),
            held: None,
        }
    }

    fn subject(&self) -> IncidentSubject<'_> {
        let Self { kind, profile, target, quantity, .. } = self;
        IncidentSubject { kind: *kind, profile, target, quantity }
    }

    fn is_told_as_trouble(&self) -> bool {
        self.told.back().is_some_and(|told| told.incident.firing)
    }

    /// Whether a state is not the one that was told last, and is one of trouble or ends one.
    fn is_news(&self, incident: &WebhookIncident) -> bool {
        let last = self.told.back();
        let is_known = last.is_some_and(|told| !told.is_earlier && told.incident.state == incident.state);
        !is_known && (incident.firing || self.is_told_as_trouble())
    }

    fn tell(&mut self, incident: Arc<WebhookIncident>, now: Instant) -> Arc<WebhookIncident> {
        self.told.push_back(ToldState { incident: Arc::clone(&incident), is_earlier: false });
        self.told_at.insert(Arc::clone(&incident.state), now);
        incident
    }

    fn index_of(&self, incident: &Arc<WebhookIncident>) -> Option<usize> {
        self.told.iter().position(|told| Arc::ptr_eq(&told.incident, incident))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::from_yaml;
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

    /// A plan of these targets, each played by these profiles.
    fn plan(events: &str, targets: &[&str], profiles: &[&str]) -> Arc<Plan> {
        let listed = |names: &[&str], value: &str| {
            names.iter().map(|name| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
        };
        let target = "{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }";
        let played = targets.join(", ");
        let profile =
            format!("{{ targets: [{played}], schedule: {{ every: 5m }}, workload: {{ prompts: [x] }} }}");
        let text = format!(
            "telemetry: {{ webhook: {{ url: 'http://127.0.0.1:1/', events: [{events}] }} }}\n\
             targets: {{ {} }}\nprofiles: {{ {} }}\n",
            listed(targets, target),
            listed(profiles, &profile)
        );
        Arc::new(from_yaml(&text).unwrap_or_else(|e| panic!("{e}")))
    }

    /// A tracker, and its clock.
    struct Fixture {
        tracker: IncidentTracker,
        began: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let plan = plan("target_state, run", &["llama", "gone"], &["chat", "other"]);
            Self { tracker: IncidentTracker::new(plan), began: Instant::now() }
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

    impl Fixture {
        /// The message about a state, if it is told.
        fn message(&mut self, minute: u64, state: &str) -> Option<Arc<WebhookIncident>> {
            let now = self.at(minute);
            self.tracker.take(SubjectNews::State(incident("", "llama", state)), now, INTERVAL)
        }

        fn lose(&mut self, minute: u64, message: &Arc<WebhookIncident>) {
            let again = self.at(minute) + INTERVAL;
            self.tracker.dropped(message, again);
        }
    }

    #[test]
    fn a_message_that_was_dropped_is_told_again_while_its_state_stands() {
        let mut it = Fixture::new();
        let hung = it.message(0, "hung").unwrap();
        it.lose(1, &hung);
        assert_eq!(it.told(2, "hung"), None);
        assert_eq!((it.due(10), it.due(11)), (vec![], vec!["hung".to_owned()]));
        assert_eq!(it.told(30, "ok").as_deref(), Some("ok<hung"));
        // Nobody knows of the trouble, so nobody is told of its end.
        let mut it = Fixture::new();
        let first = it.message(0, "hung").unwrap();
        it.lose(1, &first);
        assert_eq!((it.told(2, "ok"), it.due(99)), (None, vec![]));
        it.lose(3, &hung);
        assert_eq!(it.tracker.next_due(), None, "it is not known here");
    }

    #[test]
    fn an_end_that_was_dropped_is_told_again_and_what_came_after_a_message_stays_told() {
        let mut it = Fixture::new();
        let hung = it.message(0, "hung").unwrap();
        it.tracker.delivered(&hung);
        let ok = it.message(1, "ok").unwrap();
        it.lose(2, &ok);
        assert_eq!(it.due(12), ["ok"]);
        let slow = it.message(20, "slow").unwrap();
        let failing = it.message(21, "failing").unwrap();
        it.lose(22, &slow);
        assert_eq!((it.due(99), it.told(99, "failing")), (vec![], None));
        it.lose(100, &failing);
        let unknown = SubjectNews::Unknown("target_state/llama".to_owned());
        assert_eq!(it.tracker.take(unknown, it.at(101), INTERVAL), None);
        assert_eq!(it.due(200), [""; 0], "nobody knows whether it still stands");
        assert_eq!(it.told(201, "ok"), None, "the end of what was delivered was told");
        assert_eq!(it.tracker.subjects["target_state/llama"].told.len(), 2);
    }

    #[test]
    fn ends_that_are_held_are_told_when_nobody_could_tell_them_later() {
        let mut it = Fixture::new();
        for (minute, state) in [(0, "hung"), (1, "ok"), (2, "slow")] {
            assert!(it.told(minute, state).is_some(), "{state}");
        }
        assert_eq!(it.told(3, "ok"), None, "it is held");
        let now = it.at(3);
        let ends: Vec<_> = it.tracker.held_ends(now).iter().map(|it| it.state.to_string()).collect();
        assert_eq!((ends, it.tracker.next_due()), (vec!["ok".to_owned()], None));
        assert_eq!(it.told(4, "slow"), None);
        assert!(
            it.tracker.held_ends(now).is_empty(),
            "trouble is told by the next process, if it still stands"
        );
    }

    #[test]
    fn what_an_earlier_process_may_have_told_is_told_again_and_so_is_its_end() {
        let earlier = || {
            vec![
                incident("", "llama", "hung"),
                incident("", "former", "slow"),
                incident("chat", "llama", "failed"),
                WebhookIncident {
                    kind: IncidentKind::ReplicaOutlier,
                    quantity: "ttft".into(),
                    ..incident("chat", "llama", "outlier")
                },
                WebhookIncident { kind: IncidentKind::Budget, ..incident("chat", "llama", "exhausted") },
            ]
        };
        let begin = || {
            let plan = plan("target_state, run, replica_outlier", &["llama"], &["chat"]);
            let mut tracker = IncidentTracker::new(Arc::clone(&plan));
            let ends = tracker.resume(earlier(), UNIX_EPOCH);
            let ends: Vec<_> =
                ends.iter().map(|it| format!("{} {}<{}", it.key(), it.state, it.previous)).collect();
            assert_eq!(ends, ["replica_outlier/chat/llama/ttft ok<outlier"]);
            assert_eq!(
                self::ends(&mut tracker, plan),
                ["target_state/former ok<slow: it is no longer in the config"]
            );
            Fixture { tracker, began: Instant::now() }
        };
        let mut it = begin();
        assert_eq!(it.told(0, "ok").as_deref(), Some("ok<hung"));
        assert_eq!(it.told(1, "ok"), None);
        let now = it.at(1);
        let run = |state: &str| SubjectNews::State(incident("chat", "llama", state));
        assert_eq!(it.tracker.take(run("ok"), now, INTERVAL).map(|it| it.firing), Some(false));
        let mut it = begin();
        assert!(it.told(0, "hung").is_some(), "it still stands");
        assert_eq!(it.told(1, "hung"), None);
        assert_eq!(it.told(2, "ok").as_deref(), Some("ok<hung"));
        let without = Arc::new(crate::testing::small_plan());
        assert!(IncidentTracker::new(without).resume(earlier(), UNIX_EPOCH).is_empty());
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

    /// Adopts a plan: the ends that are told.
    fn ends(tracker: &mut IncidentTracker, plan: Arc<Plan>) -> Vec<String> {
        let show = |it: WebhookIncident| {
            assert!(!it.firing, "{it:?}");
            format!("{} {}<{}: {}", it.key(), it.state, it.previous, it.detail)
        };
        tracker.plan_is(plan, UNIX_EPOCH).into_iter().map(show).collect()
    }

    #[test]
    fn subjects_are_told_apart_and_the_end_of_those_without_a_plan_is_told() {
        let mut it = Fixture::new();
        let now = it.at(0);
        let mut take = |profile: &str, target: &str, state: &str| {
            let news = SubjectNews::State(incident(profile, target, state));
            it.tracker.take(news, now, INTERVAL).is_some()
        };
        assert!(take("", "llama", "failing") && take("", "gone", "hung"));
        assert!(take("chat", "llama", "failed") && take("other", "llama", "failed"));
        assert!(!take("chat", "llama", "failed"));
        assert!(take("chat", "gone", "failed") && take("chat", "gone", "ok"), "that is over");
        let small = plan("target_state, run", &["llama"], &["chat"]);
        let gone = "it is no longer in the config";
        assert_eq!(
            ends(&mut it.tracker, Arc::clone(&small)),
            [format!("run/other/llama ok<failed: {gone}"), format!("target_state/gone ok<hung: {gone}")]
        );
        let left: Vec<_> = it.tracker.subjects.keys().map(String::as_str).collect();
        assert_eq!(left, ["run/chat/llama", "target_state/llama"]);
        assert_eq!(ends(&mut it.tracker, small), [""; 0], "it is told once");
        let mut take = |profile: &str, target: &str, state: &str| {
            let news = SubjectNews::State(incident(profile, target, state));
            it.tracker.take(news, now, INTERVAL).is_some()
        };
        // Whoever watched it says so afterwards, and its last run ends.
        assert!(!take("", "gone", "ok"));
        assert!(!take("other", "llama", "failed"), "its end could not be told");
        assert_eq!(it.tracker.subjects.len(), 2);
    }

    #[test]
    fn a_kind_that_is_told_no_more_ends_and_without_a_webhook_nothing_is_told() {
        let mut it = Fixture::new();
        let now = it.at(0);
        for (profile, state) in [("", "hung"), ("chat", "failed")] {
            let news = SubjectNews::State(incident(profile, "llama", state));
            assert!(it.tracker.take(news, now, INTERVAL).is_some());
        }
        let fewer = plan("target_state", &["llama"], &["chat"]);
        let told = ends(&mut it.tracker, fewer);
        assert_eq!(told, ["run/chat/llama ok<failed: incidents of this kind are no longer told"]);
        assert_eq!(ends(&mut it.tracker, Arc::new(crate::testing::small_plan())), [""; 0]);
        assert!(it.tracker.subjects.is_empty());
    }
}
