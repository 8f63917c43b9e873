use super::*;
use crate::plan::Period;
use crate::testing::{Build, change_plan};
use jiff::tz::TimeZone;
use proptest::prelude::*;

/// A wall clock that tests can move.
#[derive(Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn at(text: &str) -> Self {
        Self(Arc::new(Mutex::new(text.parse().unwrap())))
    }

    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.parse().unwrap();
    }

    fn wall(&self) -> WallClock {
        let hands = self.clone();
        Arc::new(move || *hands.0.lock().unwrap())
    }
}

fn budget(requests: Option<u64>, tokens: Option<u64>, cost: Option<f64>) -> Budget {
    Budget { period: Period::Day, timezone: TimeZone::UTC, requests, tokens, cost }
}

/// A plan with these budgets of the agent and of the profile `chat`.
fn plan(agent: Option<Budget>, profile: Option<Budget>) -> Plan {
    let mut plan = Arc::try_unwrap(Build { budget: profile, ..Build::default() }.plan()).unwrap();
    plan.agent.budget = agent;
    plan
}

/// A ledger with these budgets of the agent and of the profile `chat`.
fn ledger(agent: Option<Budget>, profile: Option<Budget>, hands: &Hands) -> BudgetLedger {
    BudgetLedger::new(&plan(agent, profile), hands.wall())
}

fn chat() -> Arc<str> {
    "chat".into()
}

fn pair(profile: &str) -> Pair {
    Pair { profile: profile.into(), target: "llama".into() }
}

fn reserve(ledger: &BudgetLedger, most: Spend) -> Result<Hold, Exhausted> {
    ledger.reserve(&pair("chat"), most, Spend::default())
}

fn spend(requests: u64, tokens: u64, cost: f64) -> Spend {
    Spend { requests, tokens, cost }
}

fn spent(ledger: &BudgetLedger) -> Vec<String> {
    ledger
        .uses()
        .iter()
        .map(|used| format!("{} {} {}/{}", used.scope.label(), used.unit.label(), used.spent, used.limit))
        .collect()
}

#[test]
fn each_unit_and_scope_has_its_limit() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let cases = [
        (budget(Some(1), None, None), BudgetUnit::Requests),
        (budget(None, Some(150), None), BudgetUnit::Tokens),
        (budget(None, None, Some(0.3)), BudgetUnit::Cost),
    ];
    for (budget, unit) in cases {
        for scope in [BudgetScope::Agent, BudgetScope::Profile(chat())] {
            let agent = (scope == BudgetScope::Agent).then(|| budget.clone());
            let profile = (scope != BudgetScope::Agent).then(|| budget.clone());
            let ledger = ledger(agent, profile, &hands);
            let _held = reserve(&ledger, spend(1, 100, 0.2)).unwrap();
            let refused = reserve(&ledger, spend(1, 100, 0.2)).unwrap_err();
            let until = "2026-11-21T00:00:00[UTC]".parse().unwrap();
            assert_eq!(refused, Exhausted { scope, unit, why: BudgetRefusal::Spent, until });
            // What is larger than the limit does not fit in any period.
            let never = reserve(&ledger, spend(2, 200, 0.4)).unwrap_err();
            assert_eq!((never.unit, never.why), (unit, BudgetRefusal::TooSmall));
            assert!(never.to_string().contains("is too small for a single request"), "{never}");
        }
    }
}

#[test]
fn a_limit_can_be_spent_to_its_end() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(None, None, Some(0.3))), &hands);
    // In floating point, three times 0.1 is more than 0.3.
    for _ in 0..3 {
        let _held = reserve(&ledger, spend(1, 0, 0.1)).unwrap();
    }
    assert!(reserve(&ledger, spend(1, 0, 1e-9)).is_err());
}

#[test]
fn a_reservation_takes_from_all_budgets_or_from_none() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(Some(budget(Some(10), None, None)), Some(budget(None, Some(50), None)), &hands);
    assert!(reserve(&ledger, spend(1, 51, 0.0)).is_err());
    assert_eq!(spent(&ledger), ["agent requests 0/10", "profile/chat tokens 0/50"]);
    let held = reserve(&ledger, spend(1, 50, 0.0)).unwrap();
    assert_eq!(spent(&ledger), ["agent requests 1/10", "profile/chat tokens 50/50"]);
    ledger.settle(held, spend(1, 20, 0.0));
    assert_eq!(spent(&ledger), ["agent requests 1/10", "profile/chat tokens 20/50"]);
}

#[test]
fn another_profile_takes_from_the_agents_budget_only() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(Some(budget(Some(10), None, None)), Some(budget(Some(1), None, None)), &hands);
    for _ in 0..2 {
        let _held = ledger.reserve(&pair("rag"), spend(1, 0, 0.0), Spend::default()).unwrap();
    }
    assert_eq!(spent(&ledger), ["agent requests 2/10", "profile/chat requests 0/1"]);
}

#[test]
fn a_dropped_hold_stays_spent() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(Some(1), None, None)), &hands);
    drop(reserve(&ledger, spend(1, 0, 0.0)).unwrap());
    assert!(reserve(&ledger, spend(1, 0, 0.0)).is_err());
}

#[test]
fn a_new_period_begins_at_zero_and_old_holds_settle_in_theirs() {
    let hands = Hands::at("2026-11-20T23:59:59Z");
    let ledger = ledger(None, Some(budget(Some(2), None, None)), &hands);
    let old = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    let _lost = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    hands.set("2026-11-21T00:00:00Z");
    let _new = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    ledger.settle(old, spend(0, 0, 0.0));
    assert_eq!(spent(&ledger), ["profile/chat requests 1/2"], "the old hold takes nothing off the new day");
}

#[test]
fn a_clock_that_is_set_back_a_little_opens_no_spent_period() {
    let hands = Hands::at("2026-11-21T00:00:01Z");
    let ledger = ledger(None, Some(budget(Some(1), None, None)), &hands);
    let held = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    hands.set("2026-11-20T23:59:58Z");
    assert!(reserve(&ledger, spend(1, 0, 0.0)).is_err());
    ledger.settle(held, spend(0, 0, 0.0));
    assert_eq!(spent(&ledger), ["profile/chat requests 0/1"]);
    // A clock that was far off must not freeze the period that it was in.
    hands.set("2026-11-19T12:00:00Z");
    let _first = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    hands.set("2026-11-20T12:00:00Z");
    let _second = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
}

#[test]
fn what_was_spent_in_a_later_period_is_not_available_in_an_earlier_one() {
    let hands = Hands::at("2026-11-21T12:00:00Z");
    let ledger = ledger(None, Some(budget(Some(1), None, None)), &hands);
    let _held = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    hands.set("2026-11-20T12:00:00Z");
    assert!(reserve(&ledger, spend(1, 0, 0.0)).is_err());
    hands.set("2026-11-21T12:00:00Z");
    assert!(reserve(&ledger, spend(1, 0, 0.0)).is_err(), "it is the same day as before");
    hands.set("2026-11-22T00:00:00Z");
    let _next = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
}

/// Reserves and settles one request after the other, at most 20, until the budget is spent.
fn drain(ledger: &BudgetLedger, most: usize) -> usize {
    (0..most)
        .take_while(|_| {
            reserve(ledger, spend(1, 0, 0.0)).map(|hold| ledger.settle(hold, spend(1, 0, 0.0))).is_ok()
        })
        .count()
}

#[test]
fn a_clock_that_goes_back_and_returns_gives_no_budget_twice() {
    let hands = Hands::at("2026-11-21T09:00:00Z");
    let ledger = ledger(None, Some(budget(Some(10), None, None)), &hands);
    assert_eq!(drain(&ledger, 5), 5);
    // However often: what is spent meanwhile may belong to either day.
    for expected in [3, 2, 0] {
        hands.set("2026-11-20T09:00:00Z");
        assert_eq!(drain(&ledger, 3), expected);
        hands.set("2026-11-21T09:01:00Z");
        assert_eq!(drain(&ledger, 0), 0);
    }
    assert_eq!(spent(&ledger), ["profile/chat requests 10/10"]);
}

#[test]
fn a_clock_that_goes_forward_and_returns_loses_nothing_of_either_period() {
    let hands = Hands::at("2026-11-20T09:00:00Z");
    let ledger = ledger(None, Some(budget(Some(10), None, None)), &hands);
    assert_eq!(drain(&ledger, 3), 3);
    hands.set("2026-11-21T09:00:00Z");
    assert_eq!(drain(&ledger, 4), 4);
    hands.set("2026-11-20T09:01:00Z");
    assert_eq!(spent(&ledger), ["profile/chat requests 7/10"]);
    assert_eq!(drain(&ledger, 20), 3);
    // The day that the clock showed too early begins with what was spent in it, and the one after it with nothing.
    for (at, expected) in [
        ("2026-11-20T23:30:00Z", 0),
        ("2026-11-21T00:00:00Z", 6),
        ("2026-11-21T23:30:00Z", 0),
        ("2026-11-22T00:00:00Z", 10),
    ] {
        hands.set(at);
        assert_eq!(drain(&ledger, 20), expected, "{at}");
    }
    // A year far away has no effect for long.
    hands.set("2099-01-01T00:00:00Z");
    assert_eq!(drain(&ledger, 20), 10);
    hands.set("2026-11-22T00:01:00Z");
    assert_eq!(drain(&ledger, 20), 0);
    hands.set("2026-11-22T23:59:00Z");
    assert_eq!(drain(&ledger, 20), 0);
    hands.set("2026-11-23T00:00:00Z");
    assert_eq!(drain(&ledger, 20), 10);
}

/// The next process, with the same plan.
fn restarted(ledger: &BudgetLedger, hands: &Hands) -> BudgetLedger {
    let limits = Some(budget(Some(10), None, None));
    BudgetLedger::restored(&plan(None, limits), Some(ledger.snapshot().budgets), hands.wall())
}

#[test]
fn a_boot_without_a_clock_forgets_nothing() {
    let hands = Hands::at("2026-11-20T09:00:00Z");
    let first = ledger(None, Some(budget(Some(10), None, None)), &hands);
    assert_eq!(drain(&first, 5), 5);
    hands.set("1970-01-01T00:00:10Z");
    let second = restarted(&first, &hands);
    assert_eq!(spent(&second), ["profile/chat requests 5/10"]);
    change_plan(&second, plan(None, Some(budget(Some(10), None, None))));
    assert_eq!(drain(&second, 2), 2);
    let third = restarted(&second, &hands);
    assert_eq!(spent(&third), ["profile/chat requests 7/10"]);
    hands.set("2026-11-20T09:05:00Z");
    assert_eq!(spent(&third), ["profile/chat requests 7/10"]);
    assert_eq!(drain(&third, 20), 3);
    // One that ran ahead over a restart.
    hands.set("2026-12-20T09:00:00Z");
    let ahead = restarted(&third, &hands);
    assert_eq!(drain(&ahead, 20), 10);
    hands.set("2026-11-20T09:06:00Z");
    assert_eq!(drain(&restarted(&ahead, &hands), 20), 0);
    hands.set("2026-12-20T09:01:00Z");
    assert_eq!(drain(&restarted(&ahead, &hands), 20), 0);
}

#[test]
fn what_is_not_known_holds_every_budget_back_until_it_is_added() {
    let hands = Hands::at("2026-11-20T09:00:00Z");
    let limits = || plan(None, Some(budget(Some(10), None, None)));
    let first = BudgetLedger::new(&limits(), hands.wall());
    assert_eq!(drain(&first, 8), 8);
    let ledger = BudgetLedger::restored(&limits(), None, hands.wall());
    let refused = reserve(&ledger, spend(1, 0, 0.0)).unwrap_err();
    assert_eq!((refused.unit, refused.why), (BudgetUnit::Requests, BudgetRefusal::Unknown));
    assert!(refused.to_string().contains("what was spent is not known"), "{refused}");
    assert_eq!(ledger.held_back(&pair("chat")).map(|it| it.why), Some(BudgetRefusal::Unknown));
    assert!(ledger.affords(&pair("chat"), spend(1, 0, 0.0)).is_err());
    assert_eq!(spent(&ledger), [""; 0], "unknown is not zero");
    // A profile without a budget is not concerned.
    let _other = ledger.reserve(&pair("rag"), spend(1, 0, 0.0), Spend::default()).unwrap();
    ledger.learn(first.snapshot().budgets);
    assert_eq!(spent(&ledger), ["profile/chat requests 8/10"]);
    assert_eq!(drain(&ledger, 1), 1);
    // What is found later is added.
    ledger.learn(vec![SavedBudget {
        spent: Amounts { requests: 1, ..Amounts::default() },
        ..first.snapshot().budgets.remove(0)
    }]);
    assert_eq!(spent(&ledger), ["profile/chat requests 10/10"]);
}

#[test]
fn a_margin_has_to_fit_as_well_and_is_part_of_the_hold() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(None, Some(100), None)), &hands);
    let held = ledger.reserve(&pair("chat"), spend(1, 50, 0.0), spend(0, 20, 0.0)).unwrap();
    assert_eq!(
        (held.reserved, spent(&ledger)),
        (spend(1, 70, 0.0), vec!["profile/chat tokens 70/100".to_owned()])
    );
    let refused = ledger.reserve(&pair("chat"), spend(1, 20, 0.0), spend(0, 11, 0.0)).unwrap_err();
    assert_eq!(refused.why, BudgetRefusal::Margin);
    assert_eq!(ledger.held_back(&pair("chat")), None, "it only waits for the requests in flight");
    ledger.settle(held, spend(1, 60, 0.0));
    let _fits = ledger.reserve(&pair("chat"), spend(1, 20, 0.0), spend(0, 11, 0.0)).unwrap();
}

#[test]
fn a_pair_is_held_back_while_what_it_asked_for_last_does_not_fit() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let own = Budget { timezone: TimeZone::get("Asia/Kolkata").unwrap(), ..budget(None, Some(100), None) };
    let ledger = ledger(None, Some(own), &hands);
    let chat = pair("chat");
    let why = || ledger.held_back(&chat).map(|exhausted| exhausted.to_string());
    assert_eq!(why(), None, "nothing was asked for and nothing is spent");
    let held = reserve(&ledger, spend(1, 60, 0.0)).unwrap();
    assert_eq!(why(), None);
    assert!(reserve(&ledger, spend(1, 60, 0.0)).is_err());
    let spent = "the tokens budget of profile/chat is spent until 2026-11-21 00:00 Asia/Kolkata";
    assert_eq!(why().as_deref(), Some(spent));
    ledger.settle(held, spend(1, 40, 0.0));
    assert_eq!(why(), None, "it would fit now");
    // A run that cannot begin is held back, too, until the period ends.
    assert!(ledger.affords(&chat, spend(1, 61, 0.0)).is_err());
    assert_eq!(why().as_deref(), Some(spent));
    assert_eq!(ledger.uses()[0].until.to_string(), "2026-11-21T00:00:00+05:30[Asia/Kolkata]");
    hands.set("2026-11-20T18:29:59Z");
    assert_eq!(why().as_deref(), Some(spent));
    hands.set("2026-11-20T18:30:00Z");
    assert_eq!(why(), None);
    // Another profile is not concerned; one that asked for nothing is held back once nothing is left.
    let _all = reserve(&ledger, spend(1, 100, 0.0)).unwrap();
    assert!(ledger.held_back(&pair("rag")).is_none());
    let other = Pair { target: "mistral".into(), ..chat.clone() };
    assert!(ledger.held_back(&other).is_some());
    // A higher limit ends it, and pairs that have left the plan are forgotten.
    change_plan(&ledger, plan(None, Some(budget(None, Some(1000), None))));
    assert_eq!(why(), None);
}

#[test]
fn asking_whether_a_run_fits_takes_nothing() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(Some(1), None, None)), &hands);
    for _ in 0..3 {
        assert_eq!(ledger.affords(&pair("chat"), spend(1, 0, 0.0)), Ok(()));
    }
    assert_eq!(spent(&ledger), ["profile/chat requests 0/1"]);
    assert!(ledger.affords(&pair("chat"), spend(2, 0, 0.0)).is_err());
}

#[test]
fn more_than_was_reserved_is_counted_as_it_was() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(None, Some(100), None)), &hands);
    let held = reserve(&ledger, spend(1, 60, 0.0)).unwrap();
    ledger.settle(held, spend(1, 130, 0.0));
    assert_eq!(spent(&ledger), ["profile/chat tokens 130/100"]);
}

#[test]
fn another_plan_forgets_nothing_that_was_spent() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(Some(budget(Some(10), None, None)), Some(budget(Some(3), Some(100), None)), &hands);
    let held = reserve(&ledger, spend(1, 60, 0.5)).unwrap();
    let _lost = reserve(&ledger, spend(1, 10, 0.5)).unwrap();
    // The new limits, also for a unit that had none before, apply to what was spent; the agent's budget is
    // unchanged.
    change_plan(&ledger, plan(Some(budget(Some(10), None, None)), Some(budget(None, Some(70), Some(4.0)))));
    assert_eq!(spent(&ledger), ["agent requests 2/10", "profile/chat tokens 70/70", "profile/chat cost 1/4"]);
    assert!(reserve(&ledger, spend(1, 1, 0.0)).is_err());
    // What was reserved under the old plan is settled under the new one.
    ledger.settle(held, spend(1, 20, 0.25));
    assert_eq!(
        spent(&ledger),
        ["agent requests 2/10", "profile/chat tokens 30/70", "profile/chat cost 0.75/4"]
    );
}

#[test]
fn a_budget_that_is_away_for_a_while_comes_back_as_it_was() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(Some(2), None, None)), &hands);
    let _held = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    change_plan(&ledger, plan(None, None));
    assert_eq!(spent(&ledger), [""; 0]);
    // It is not limited now, but still counted.
    let _beyond: Vec<Hold> = (0..4).map(|_| reserve(&ledger, spend(1, 0, 0.0)).unwrap()).collect();
    change_plan(&ledger, plan(Some(budget(Some(9), None, None)), Some(budget(Some(8), None, None))));
    assert_eq!(spent(&ledger), ["agent requests 0/9", "profile/chat requests 5/8"]);
    // Until its period ends.
    change_plan(&ledger, plan(None, None));
    hands.set("2026-11-21T00:00:00Z");
    let _next = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    assert_eq!(ledger.books().all.len(), 0, "nothing is kept for ever");
}

#[test]
fn a_hold_from_before_a_budget_gives_nothing_back_to_it() {
    let cases = [
        ("as time passes", "2026-11-20T10:00:00Z", "2026-11-20T10:00:01Z", "2026-11-20T10:00:02Z"),
        ("within one second", "2026-11-20T10:00:00.1Z", "2026-11-20T10:00:00.2Z", "2026-11-20T10:00:00.3Z"),
        ("and a clock is set back", "2026-11-20T10:00:00Z", "2026-11-27T10:00:00Z", "2026-11-20T10:00:02Z"),
    ];
    for (what, first, second, third) in cases {
        let hands = Hands::at(first);
        let ledger = ledger(Some(budget(Some(10), None, None)), None, &hands);
        let old = reserve(&ledger, spend(1, 60, 0.0)).unwrap();
        hands.set(second);
        change_plan(&ledger, plan(None, Some(budget(None, Some(100), None))));
        hands.set(third);
        let new = reserve(&ledger, spend(1, 100, 0.0)).unwrap();
        ledger.settle(old, spend(1, 20, 0.0));
        assert_eq!(spent(&ledger), ["profile/chat tokens 100/100"], "{what}");
        ledger.settle(new, spend(1, 30, 0.0));
        assert_eq!(spent(&ledger), ["profile/chat tokens 30/100"], "{what}");
    }
}

#[test]
fn another_period_begins_with_what_was_spent() {
    let hands = Hands::at("2026-11-20T10:30:00Z");
    let hourly = |requests| Budget { period: Period::Hour, ..budget(Some(requests), None, None) };
    let ledger = ledger(None, Some(budget(Some(5), None, None)), &hands);
    let _held = reserve(&ledger, spend(1, 0, 0.0)).unwrap();
    change_plan(&ledger, plan(None, Some(hourly(3))));
    assert_eq!(spent(&ledger), ["profile/chat requests 1/3"]);
    hands.set("2026-11-20T11:00:00Z");
    assert_eq!(spent(&ledger), ["profile/chat requests 0/3"]);
}

/// Where a request is settled does not depend on the kind of the period when it ends.
#[test]
fn a_period_of_another_kind_has_what_was_spent_in_its_parts() {
    let of = |period| plan(None, Some(Budget { period, ..budget(None, Some(1_000), None) }));
    let hands = Hands::at("2026-11-19T23:30:00Z");
    let ledger = BudgetLedger::new(&of(Period::Hour), hands.wall());
    let tokens = |tokens| reserve(&ledger, spend(1, tokens, 0.0)).unwrap();
    let yesterday = tokens(400);
    hands.set("2026-11-20T00:59:00Z");
    ledger.settle(tokens(100), spend(1, 45, 0.0));
    let slow = tokens(300);
    hands.set("2026-11-20T01:00:00Z");
    ledger.settle(tokens(100), spend(1, 60, 0.0));
    let present = tokens(200);
    change_plan(&ledger, of(Period::Day));
    assert_eq!(spent(&ledger), ["profile/chat tokens 605/1000"], "both hours of the day");
    for (hold, expected) in [(yesterday, 605), (slow, 320), (present, 135)] {
        ledger.settle(hold, spend(1, 15, 0.0));
        assert_eq!(spent(&ledger), [format!("profile/chat tokens {expected}/1000")]);
    }
    // Into a shorter one, and back.
    let slow = tokens(300);
    hands.set("2026-11-20T03:30:00Z");
    change_plan(&ledger, of(Period::Hour));
    let next = tokens(100);
    change_plan(&ledger, of(Period::Week));
    assert_eq!(spent(&ledger), ["profile/chat tokens 535/1000"]);
    ledger.settle(slow, spend(1, 20, 0.0));
    ledger.settle(next, spend(1, 10, 0.0));
    assert_eq!(spent(&ledger), ["profile/chat tokens 165/1000"]);
}

/// A clock that goes to and fro all the time.
#[test]
fn a_reservation_of_long_ago_gives_nothing_back_that_others_spent() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let ledger = ledger(None, Some(budget(None, Some(1_000), None)), &hands);
    let old = reserve(&ledger, spend(1, 300, 0.0)).unwrap();
    for _ in 0..20 {
        for day in ["2026-11-21T10:00:00Z", "2026-11-20T10:00:00Z"] {
            hands.set(day);
            ledger.settle(reserve(&ledger, spend(1, 10, 0.0)).unwrap(), spend(1, 10, 0.0));
        }
    }
    assert_eq!(spent(&ledger), ["profile/chat tokens 700/1000"]);
    ledger.settle(old, spend(1, 0, 0.0));
    assert_eq!(spent(&ledger), ["profile/chat tokens 700/1000"], "too long ago: it stays spent");
}

#[test]
fn what_is_no_money_costs_nothing() {
    assert_eq!(
        [pico(-1.0), pico(f64::NAN), pico(0.15), pico(f64::INFINITY)],
        [0, 0, 150_000_000_000, u128::MAX]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// With threads reserving and settling concurrently, the total of what is held and what was settled never
    /// exceeds the limits, and in the end the books contain exactly what was settled.
    #[test]
    fn concurrent_use_stays_within_the_limits(
        plans in proptest::collection::vec(proptest::collection::vec((1_u64..40, 0.0..1.0_f64, 0.0..1.0_f64), 1..25), 2..5),
    ) {
        let hands = Hands::at("2026-11-20T10:00:00Z");
        let limits = budget(Some(30), Some(600), Some(20.0));
        let ledger = ledger(Some(limits.clone()), Some(limits), &hands);
        let settled: Vec<Spend> = std::thread::scope(|scope| {
            let threads: Vec<_> = plans.iter().map(|plan| scope.spawn(|| play(&ledger, plan))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let requests: u64 = settled.iter().map(|spend| spend.requests).sum();
        let tokens: u64 = settled.iter().map(|spend| spend.tokens).sum();
        let cost: u128 = settled.iter().map(|spend| pico(spend.cost)).sum();
        for book in &ledger.books().all {
            prop_assert_eq!(book.periods.spent(), Amounts { requests: requests.into(), tokens: tokens.into(), cost });
        }
    }
}

/// Reserves and settles according to a list of (tokens, money, share actually spent), checking the books at
/// each step.
fn play(ledger: &BudgetLedger, plan: &[(u64, f64, f64)]) -> Vec<Spend> {
    let mut settled = Vec::new();
    let mut held = Vec::new();
    for (tokens, cost, share) in plan {
        if let Ok(hold) = reserve(ledger, spend(1, *tokens, *cost)) {
            held.push((hold, *share));
        }
        for used in ledger.uses() {
            assert!((0.0..=used.limit).contains(&used.spent), "{used:?}");
        }
        if *share < 0.5
            && let Some((hold, share)) = held.pop()
        {
            settled.push(settle(ledger, hold, share));
        }
    }
    settled.extend(held.into_iter().map(|(hold, share)| settle(ledger, hold, share)));
    settled
}

fn settle(ledger: &BudgetLedger, hold: Hold, share: f64) -> Spend {
    let tokens = if share < 0.3 { 0 } else { hold.reserved.tokens };
    let actual = spend(u64::from(share > 0.1), tokens, hold.reserved.cost * share);
    ledger.settle(hold, actual);
    actual
}

/// The parts of a plan with these budgets.
fn sharded(budget: &Budget, text: &str) -> Plan {
    let mut plan = plan(Some(budget.clone()), None);
    plan.agent.shard = Shard::parse(text, "").unwrap();
    plan
}

#[test]
fn each_shard_has_its_part_of_a_budget() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let limits = |text| {
        let ledger = BudgetLedger::new(&sharded(&budget(None, Some(3), Some(0.5)), text), hands.wall());
        ledger.uses().iter().map(|it| it.limit).collect::<Vec<_>>()
    };
    assert_eq!(limits("0/1"), [3.0, 0.5]);
    assert_eq!([limits("0/4"), limits("2/4"), limits("3/4")], [[1.0, 0.125], [1.0, 0.125], [0.0, 0.125]]);
    let nothing = BudgetLedger::new(&sharded(&budget(None, Some(3), None), "3/4"), hands.wall());
    let refused = reserve(&nothing, spend(1, 1, 0.0)).unwrap_err();
    assert_eq!((refused.unit, refused.why), (BudgetUnit::Tokens, BudgetRefusal::TooSmall));
}

#[test]
fn what_is_spent_is_neither_forgotten_nor_doubled_with_another_number_of_shards() {
    let hands = Hands::at("2026-11-20T10:00:00Z");
    let whole = budget(Some(300), None, None);
    let first = BudgetLedger::new(&sharded(&whole, "1/3"), hands.wall());
    drop(reserve(&first, spend(50, 0, 0.0)).unwrap());
    let saved = first.snapshot().budgets;
    let of = |text: &str| {
        let uses = BudgetLedger::restored(&sharded(&whole, text), Some(saved.clone()), hands.wall()).uses();
        (uses[0].spent, uses[0].limit)
    };
    assert_eq!(of("1/3"), (50.0, 100.0), "the same shard, or another of as many");
    assert_eq!(of("0/1"), (150.0, 300.0), "the others are assumed to have spent as much");
    assert_eq!(of("1/2"), (75.0, 150.0));
    assert_eq!(of("1/4"), (50.0, 75.0), "of more parts, this one keeps what was spent from it");
}
