//! What requests to replicas say about them, and what is told of it.

use super::SiblingWatch;
use crate::event::{Failure, Outcome};
use crate::fact::{Fact, Sink};
use crate::plan::{FoundReplicas, Plan, Replica, from_yaml};
use crate::testing::{change_plan, play};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Host;

/// The changes that were told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Sink for Told {
    fn record(&self, fact: &Fact) {
        if let Fact::ReplicaOutlierChanged(change) = fact {
            let (target, quantity) = (&change.pair.target, change.quantity.label());
            let line = format!("{target} {quantity} {}: {}", change.stands, change.why);
            self.0.lock().unwrap().push(line);
        }
    }
}

/// A plan with this many replicas, at 10.0.0.1 and up.
fn plan(replicas: u8, profile: &str) -> Plan {
    let text = format!(
        "targets: {{ llm: {{ api: openai-chat, base_url: 'http://127.0.0.1:80/v1', discover: {{ file_sd: [a.json] }} }} }}\n\
         profiles: {{ p: {{ targets: [llm], schedule: {{ every: 1s }}, workload: {{ prompts: [x] }}{profile} }} }}"
    );
    let base = from_yaml(&text).unwrap_or_else(|e| panic!("{e}"));
    let replica = |last| Replica::new(Host::Ipv4([10, 0, 0, last].into()), 80);
    base.with_replicas(&FoundReplicas::from([("llm".into(), (1..=replicas).map(replica).collect())]))
}

struct Fixture {
    watch: Arc<SiblingWatch>,
    sink: Arc<dyn Sink>,
    told: Arc<Told>,
    plan: Plan,
}

impl Fixture {
    fn of(plan: Plan) -> Self {
        let told = Arc::new(Told::default());
        let watch = SiblingWatch::new(&plan, Arc::<Told>::clone(&told));
        Self { sink: Arc::<SiblingWatch>::clone(&watch), watch, told, plan }
    }

    /// A minute in which every replica gets 24 requests, one after the other. `each` says how long the first token of a
    /// request to a replica takes, in ms, or that it fails.
    async fn minute(&self, each: impl Fn(usize, u64) -> Option<u64>) {
        for number in 0..24 {
            for (index, pair) in self.plan.pairs.iter().enumerate() {
                let time = each(index, number);
                let outcome = if time.is_some() { Outcome::Ok } else { Outcome::Failed(Failure::Http5xx) };
                play(&self.sink, &pair.places[0], outcome, |request| {
                    let marks = &mut request.observed.marks;
                    marks.first_token =
                        marks.sent.map(|sent| sent + Duration::from_millis(time.unwrap_or(0)));
                });
            }
            tokio::time::advance(Duration::from_millis(2700)).await;
        }
    }

    /// The changes that were told since the last call.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

/// All alike, with times that vary.
#[expect(clippy::unnecessary_wraps, reason = "a request may also fail")]
fn alike(index: usize, number: u64) -> Option<u64> {
    Some(300 + (number * 37 + index as u64 * 11) % 50)
}

#[tokio::test(start_paused = true)]
async fn a_slow_replica_is_told_without_any_history_and_so_is_its_end() {
    let fixture = Fixture::of(plan(3, ""));
    let slow = |index, number| alike(index, number).map(|time| if index == 1 { 2 * time } else { time });
    fixture.minute(slow).await;
    let [told] = &fixture.told()[..] else { panic!("one change") };
    assert!(told.starts_with("llm@10.0.0.2:80 latency true: median 6"), "{told}");
    assert!(told.ends_with(" ms of its siblings in the same minutes"), "{told}");
    fixture.minute(slow).await;
    fixture.minute(alike).await;
    assert_eq!(fixture.told(), [""; 0], "it stands, and one round without a sign is not enough");
    fixture.minute(alike).await;
    let [told] = &fixture.told()[..] else { panic!("one change") };
    assert!(told.starts_with("llm@10.0.0.2:80 latency false: median 3"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_replica_is_told_by_its_share_of_failures() {
    let fixture = Fixture::of(plan(4, ""));
    fixture.minute(|index, number| alike(index, number).filter(|_| index != 3 || number % 2 == 0)).await;
    let said = "llm@10.0.0.4:80 failures true: 50% failed, and 0% of its siblings in the same minutes";
    assert_eq!(fixture.told(), [said]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_what_is_alike_little_of_two_or_of_what_is_off() {
    let slow = |index, number| alike(index, number).map(|time| if index == 1 { 2 * time } else { time });
    let fixture = Fixture::of(plan(5, ""));
    for _ in 0..3 {
        fixture.minute(alike).await;
        // All are slow together.
        fixture.minute(|index, number| alike(index, number).map(|time| 3 * time)).await;
        // It is slower, and not by enough to matter.
        fixture
            .minute(|index, number| alike(index, number).map(|it| if index == 1 { it + 60 } else { it }))
            .await;
    }
    assert_eq!(fixture.told(), [""; 0]);
    for plan in [plan(2, ""), plan(3, ", detect: off")] {
        let fixture = Fixture::of(plan);
        fixture.minute(slow).await;
        assert_eq!(fixture.told(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outlier_that_goes_is_none_any_more() {
    let fixture = Fixture::of(plan(4, ""));
    let slow = |index, number| alike(index, number).map(|time| if index == 3 { 2 * time } else { time });
    fixture.minute(slow).await;
    assert_eq!(fixture.told().len(), 1);
    change_plan(&*fixture.watch, plan(4, ""));
    assert_eq!(fixture.told(), [""; 0]);
    change_plan(&*fixture.watch, plan(3, ""));
    assert_eq!(fixture.told(), ["llm@10.0.0.4:80 latency false: it is no longer there"]);
}

#[tokio::test(start_paused = true)]
async fn an_outlier_that_is_no_longer_compared_is_none_any_more() {
    let slow = |index, number| alike(index, number).map(|time| if index == 1 { 2 * time } else { time });
    for (after, why) in [
        (plan(2, ""), "it is no longer compared"),
        (plan(3, ", detect: off"), "it is no longer compared"),
        (plan(1, ""), "it is no longer there"),
    ] {
        let fixture = Fixture::of(plan(3, ""));
        fixture.minute(slow).await;
        assert_eq!(fixture.told().len(), 1);
        change_plan(&*fixture.watch, after);
        assert_eq!(fixture.told(), [format!("llm@10.0.0.2:80 latency false: {why}")]);
    }
}
