//! Model calls and the conversation before them.

use super::*;
use crate::event::{Count, CountSource};
use crate::exchange::{KeptConversation, Message, Role};
use proptest::prelude::*;

fn said(ask: &Ask) -> Vec<(Role, String)> {
    ask.messages.iter().map(|Message { role, text }| (*role, text.to_string())).collect()
}

fn texts(ask: &Ask) -> String {
    said(ask).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

fn asks(step: &mut Step) -> &mut AskStep {
    let StepAction::Ask(ask) = &mut step.action else { panic!("no ask") };
    ask
}

fn set_system(step: &mut Step, template: Template) {
    let AskText::Template { system, .. } = &mut asks(step).text else { panic!("fixed") };
    *system = Some(template);
}

#[test]
fn an_ask_has_system_prompt_and_merged_parameters() {
    let params = json!({ "temperature": 1, "format": { "schema": 1 }, "top_p": 0.5 });
    let mut stage = Stage { vars: json!({ "topic": "tea" }), params, ..Stage::default() };
    let mut it = stage.ask("it", "About {{ topic }}", 0);
    set_system(&mut it, stage.template("Be {{ topic }}."));
    asks(&mut it).params = map(json!({ "temperature": 0.3, "format": { "type": "json" } }));
    let ask = Driver::new(&stage.stage_context(vec![it]), 0).ask(0, 0);
    assert_eq!(said(&ask), [(Role::System, "Be tea.".into()), (Role::User, "About tea".into())]);
    let merged = json!({ "temperature": 0.3, "format": { "schema": 1, "type": "json" }, "top_p": 0.5 });
    assert_eq!(Value::Object((*ask.params).clone()), merged);
    assert_eq!((ask.stream, ask.output_tokens), (true, Some(128)));
}

#[test]
fn the_nonce_comes_first_and_differs_by_target() {
    let first = |target: &str, iteration| {
        let mut stage = Stage::default();
        let mut it = stage.ask("it", "Hello", 0);
        asks(&mut it).cache = Cache::Bust;
        texts(&Driver::new(&stage.cast_of(vec![it], target), 0).ask(0, iteration))
    };
    let text = first("a", 0);
    assert!(text.starts_with('[') && text.ends_with("] Hello") && text.len() == 20, "{text}");
    assert_eq!(text, first("a", 0));
    assert_ne!(text, first("a", 1));
    assert_ne!(text, first("b", 0));
}

#[test]
fn all_turns_of_a_conversation_have_the_nonce_of_its_first() {
    let mut stage = Stage::default();
    let mut it = stage.ask("it", "q{{ turn }}", 2);
    asks(&mut it).cache = Cache::Bust;
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    let mut nonces = Vec::new();
    for iteration in 0..4 {
        let sent = texts(&driver.ask(0, iteration));
        assert!(sent.ends_with(&format!("q{}", iteration + 1)), "{sent}");
        nonces.push(sent.split(' ').next().unwrap().to_owned());
        driver.take(0, &Answer::text("a")).unwrap();
    }
    assert_eq!(nonces, [nonces[0].as_str(); 4]);
    assert!(driver.user.bytes() <= UserSession::most_bytes(&driver.user.stage_context.scenario));
    // Another conversation of the same user.
    driver.user.reset();
    assert!(!texts(&driver.ask(0, 4)).starts_with(&nonces[0]));
}

#[test]
fn earlier_turns_are_sent_along_as_many_as_asked_for() {
    let mut stage = Stage::default();
    let mut it = stage.ask("it", "q{{ turn }}", 2);
    set_system(&mut it, stage.template("s"));
    let other = stage.ask("other", "o{{ turn }}", 1);
    let mut driver = Driver::new(&stage.stage_context(vec![it, other]), 0);
    let (mut sent, mut beside) = (Vec::new(), Vec::new());
    for iteration in 0..4 {
        sent.push(texts(&driver.ask(0, iteration)));
        driver.take(0, &Answer::text(&format!("a{}", iteration + 1))).unwrap();
        beside.push(texts(&driver.ask(1, iteration)));
        driver.take(1, &Answer::text("x")).unwrap();
    }
    assert_eq!(sent, ["s q1", "s q1 a1 q2", "s q1 a1 q2 a2 q3", "s q2 a2 q3 a3 q4"]);
    assert_eq!(beside, ["o1", "o1 x o2", "o2 x o3", "o3 x o4"]);
    // A question without a good answer is asked again, and not remembered.
    for iteration in [4, 5] {
        let ask = driver.ask(0, iteration);
        assert_eq!(texts(&ask), "s q3 a3 q4 a4 q5");
        let roles: Vec<Role> = said(&ask).into_iter().map(|(role, _)| role).collect();
        let (says, answers) = (Role::User, Role::Assistant);
        assert_eq!(roles, [Role::System, says, answers, says, answers, says]);
    }
    driver.user.reset();
    assert_eq!(texts(&driver.ask(0, 6)), "s q1");
}

/// An answer that can be gone on.
fn stored(id: &str) -> Answer {
    let count = |n| Some(Count { n, source: CountSource::Usage });
    let tokens = Tokens { input: count(40), output: count(2), ..Tokens::default() };
    Answer { id: Some(id.to_owned()), tokens, ..Answer::text("a") }
}

#[test]
fn a_conversation_that_the_server_keeps_goes_on_from_the_last_answer() {
    let mut stage = Stage::default();
    let mut it = stage.ask("it", "q{{ turn }}", 2);
    set_system(&mut it, stage.template("s"));
    asks(&mut it).stateful = true;
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    let asked = |driver: &mut Driver, iteration| {
        let ask = driver.ask(0, iteration);
        let KeptConversation { previous, tokens } = ask.conversation.clone().unwrap();
        (texts(&ask), previous.as_deref().map(str::to_owned), tokens)
    };
    let mut sent = Vec::new();
    for iteration in 0..4 {
        sent.push(asked(&mut driver, iteration));
        driver.take(0, &stored(&format!("r{iteration}"))).unwrap();
    }
    let goes_on = |text: &str, id: &str| (text.to_owned(), Some(id.to_owned()), 42);
    let begins = ("s q1".to_owned(), None, 0);
    assert_eq!(sent, [begins.clone(), goes_on("q2", "r0"), goes_on("q3", "r1"), begins.clone()]);
    assert!(driver.user.bytes() <= UserSession::most_bytes(&driver.user.stage_context.scenario));
    // Nobody knows what the server has of a turn that was not answered well.
    assert_eq!(asked(&mut driver, 4), goes_on("q2", "r3"));
    assert_eq!(asked(&mut driver, 5), begins);
    let missing = driver.take(0, &Answer::text("a")).unwrap_err();
    assert_eq!(missing, "the answer has no id, so that the conversation cannot go on");
    assert!(driver.take(0, &stored("x")).is_ok());
    assert_eq!(asked(&mut driver, 6), begins);
    let long = "x".repeat(600);
    assert!(driver.take(0, &stored(&long)).unwrap_err().contains("600 bytes"));
    asked(&mut driver, 7);
    driver.take(0, &stored("r7")).unwrap();
    driver.user.reset();
    assert_eq!(asked(&mut driver, 8), begins);
}

/// A turn whose answer lacks a value to extract has failed, and is asked again like any other that failed.
#[test]
fn a_turn_without_its_value_is_no_part_of_the_conversation() {
    let pattern = regex::Regex::new("magic=(.)").unwrap();
    for stateful in [false, true] {
        let mut stage = Stage::default();
        let mut it = stage.ask("it", "q{{ turn }}", 5);
        asks(&mut it).stateful = stateful;
        it.take = vec![take("word", AnswerPart::Regex(pattern.clone()))];
        let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
        let asked = |driver: &mut Driver, iteration| {
            let ask = driver.ask(0, iteration);
            (texts(&ask), ask.conversation.and_then(|it| it.previous).map(|id| id.to_string()))
        };
        let answer = |text: &str| Answer { id: Some("r".to_owned()), ..Answer::text(text) };
        assert_eq!(asked(&mut driver, 0), ("q1".to_owned(), None));
        driver.take(0, &answer("magic=1")).unwrap();
        let second = asked(&mut driver, 1);
        driver.take(0, &answer("plain")).unwrap_err();
        let again = asked(&mut driver, 2);
        if stateful {
            assert_eq!(second, ("q2".to_owned(), Some("r".to_owned())));
            assert_eq!(again, ("q1".to_owned(), None), "it starts over");
        } else {
            assert_eq!((again, second.0.as_str()), (second.clone(), "q1 magic=1 q2"));
        }
    }
}

#[test]
fn a_turn_that_goes_on_has_no_nonce_and_its_tokens_are_bounded_without_usage() {
    let mut stage = Stage::default();
    let mut it = Step { repeat: 3, ..stage.ask("it", "hello", 5) };
    asks(&mut it).stateful = true;
    asks(&mut it).cache = Cache::Bust;
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    let step = Arc::clone(&driver.steps[0]);
    let mut bounds = Vec::new();
    for (repeat, nonce) in [(0, true), (1, false), (2, false), (0, true)] {
        let turn = driver.user.turn(&step, repeat);
        let outgoing = driver.user.prepare(&step, 0, turn, Timestamp::UNIX_EPOCH).unwrap();
        let Draft::Ask(ask) = outgoing.draft else { panic!("no ask") };
        assert_eq!(texts(&ask).starts_with('['), nonce, "{repeat}");
        bounds.push(ask.conversation.unwrap().tokens);
        driver.take(0, &Answer { id: Some("r".to_owned()), ..Answer::text("four") }).unwrap();
    }
    // The nonce, the question, what a template adds, and the answer; then the same without a nonce.
    assert_eq!(bounds, [0, 15 + 5 + 16 + 4, 2 * (5 + 16 + 4) + 15, 0]);
}

#[test]
fn without_a_history_every_question_stands_alone() {
    let mut stage = Stage::default();
    let it = stage.ask("it", "q", 0);
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    for iteration in 0..3 {
        assert_eq!(texts(&driver.ask(0, iteration)), "q");
        driver.take(0, &Answer::text("a")).unwrap();
    }
}

#[test]
fn turns_count_within_an_iteration_or_since_the_setup() {
    let mut stage = Stage::default();
    let plain = stage.http("plain", "/");
    let once = Step { turns: true, ..stage.http("once", "/") };
    let thrice = Step { turns: true, repeat: 3, ..stage.http("thrice", "/") };
    let mut driver = Driver::new(&stage.stage_context(vec![plain, once, thrice]), 0);
    let turn = |driver: &Driver, step: usize, repeat| driver.user.turn(&driver.steps[step], repeat);
    for expected in 1..=3 {
        assert_eq!(turn(&driver, 0, 0), 1);
        assert_eq!(turn(&driver, 1, 0), expected);
        assert_eq!((turn(&driver, 2, 0), turn(&driver, 2, 2)), (1, 3));
        for step in 0..3 {
            driver.take(step, &Answer::text("x")).unwrap();
        }
    }
    driver.user.reset();
    assert_eq!(turn(&driver, 1, 0), 1);
}

#[test]
fn a_conversation_within_an_iteration_begins_anew_with_the_next() {
    let mut stage = Stage::default();
    let it = Step { repeat: 2, ..stage.ask("it", "q{{ turn }}", 5) };
    let mut driver = Driver::new(&stage.stage_context(vec![it]), 0);
    let step = Arc::clone(&driver.steps[0]);
    for iteration in 0..2 {
        for (repeat, expected) in [(0, "q1"), (1, "q1 a q2")] {
            let turn = driver.user.turn(&step, repeat);
            let outgoing = driver.user.prepare(&step, iteration, turn, Timestamp::UNIX_EPOCH).unwrap();
            let Draft::Ask(ask) = outgoing.draft else { panic!("no ask") };
            assert_eq!(texts(&ask), expected);
            driver.take(0, &Answer::text("a")).unwrap();
        }
    }
}

#[test]
fn a_turn_that_does_not_fit_leaves_no_hole() {
    let mut stage =
        Stage { vars: json!({ "long": "q".repeat(UserSession::MAX_HISTORY + 1) }), ..Stage::default() };
    let ask = stage.ask("ask", "{{ long if iteration == 2 else 'q' }}", 9);
    let mut driver = Driver::new(&stage.stage_context(vec![ask]), 0);
    let mut lengths = Vec::new();
    for iteration in 0..6 {
        lengths.push(driver.ask(0, iteration).messages.len());
        let answer = if iteration == 4 { "a".repeat(UserSession::MAX_HISTORY) } else { "a".into() };
        driver.take(0, &Answer::text(&answer)).unwrap();
    }
    // After the long question and after the long answer, the conversation starts over.
    assert_eq!(lengths, [1, 3, 5, 1, 3, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_history_is_the_newest_turns_that_fit(
        lengths in proptest::collection::vec(0_usize..200_000, 1..12),
        most in 1_u32..6,
    ) {
        let mut talk = Talk::default();
        for n in 0..lengths.len() {
            talk.asked(0, format!("q{n}").into(), UserSession::MAX_HISTORY);
            let answer = PastAnswer { text: "a".repeat(lengths[n]).into(), tokens: None };
            let before = talk.of(0).count() / 2;
            let limit = HistoryLimit { turns: most, bytes: UserSession::MAX_HISTORY };
            let is_whole = talk.answered(0, answer, limit);
            prop_assert_eq!(is_whole, talk.of(0).count() / 2 == (before + 1).min(most as usize));
            prop_assert!(talk.bytes() <= UserSession::MAX_HISTORY);
            let kept: Vec<String> = talk.of(0).step_by(2).map(|message| message.text.to_string()).collect();
            let newest: Vec<String> = (n + 1 - kept.len()..=n).map(|n| format!("q{n}")).collect();
            prop_assert_eq!(&kept, &newest);
            prop_assert!(kept.len() <= most as usize);
            if kept.len() < (n + 1).min(most as usize) {
                let one_more = (n - kept.len()..=n).map(|n| lengths[n] + format!("q{n}").len() + ENTRY);
                prop_assert!(one_more.sum::<usize>() > UserSession::MAX_HISTORY);
            }
        }
    }
}
