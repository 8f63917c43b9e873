use super::*;
use crate::plan::{Plan, from_yaml};

/// A plan with this workload and two targets.
fn plan(workload: &str) -> Plan {
    let text = format!(
        "targets: {{ one: {{ api: openai-chat, base_url: 'http://127.0.0.1:1' }}, \
         two: {{ api: anthropic, base_url: 'http://127.0.0.1:2' }} }}\n\
         profiles: {{ p: {{ targets: [one, two], schedule: {{ manual: {{}} }}, workload: {{ {workload} }} }} }}"
    );
    from_yaml(&text).unwrap_or_else(|e| panic!("{e}"))
}

fn number(n: u64) -> RequestNumber {
    RequestNumber { stage: 0, user: Some(3), n }
}

fn draw(plan: &Plan, target: usize, seed: u64, n: u64, upto: u32) -> DrawnConversation {
    let pair = &plan.pairs[target];
    let step = &pair.profile.scenario.steps[0];
    let StepAction::Ask(ask) = &step.action else { panic!("a model call") };
    let (seeds, words) = (RunSeeds { draws: seed, nonces: seed }, WordList::estimated());
    conversation(pair, (step.conversation().unwrap(), ask), seeds, number(n), upto, &words).unwrap()
}

fn words(text: &MessageText) -> u64 {
    text.text.split_ascii_whitespace().count() as u64
}

const SYNTHETIC: &str = "output_tokens: { uniform: { from: 5, to: 25 } }, conversation: { synthetic: { \
    turns: { uniform: { from: 2, to: 6 } }, first_tokens: 100, turn_tokens: { uniform: { from: 10, to: 20 } } }";

#[test]
fn a_conversation_is_the_same_for_each_target_and_begins_the_same_at_each_turn() {
    let plan = plan(&format!("{SYNTHETIC}, answers: recorded }}"));
    let shown = |drawn: &DrawnConversation| format!("{:?} {}", drawn.turns, drawn.count);
    let mut counts = std::collections::BTreeSet::new();
    for n in 0..30 {
        let whole = draw(&plan, 0, 7, n, 99);
        assert_eq!(whole.turns.len(), whole.count as usize);
        assert_eq!(shown(&whole), shown(&draw(&plan, 1, 7, n, 99)));
        for upto in 1..=whole.count {
            let part = draw(&plan, 0, 7, n, upto);
            assert_eq!(part.count, whole.count);
            assert_eq!(format!("{:?}", part.turns), format!("{:?}", &whole.turns[..upto as usize]));
        }
        assert_ne!(shown(&whole), shown(&draw(&plan, 0, 8, n, 99)), "another seed");
        counts.insert(whole.count);
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
}

#[test]
fn messages_have_the_lengths_that_are_drawn() {
    let plan = plan(&format!("{SYNTHETIC}, answers: recorded }}"));
    let (mut questions, mut answers) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for n in 0..30 {
        for (index, turn) in draw(&plan, 0, 7, n, 99).turns.iter().enumerate() {
            assert_eq!(words(&turn.question), turn.question.tokens);
            // An answer is as long as the request allows.
            let answer = turn.answer.as_ref().unwrap();
            assert_eq!((words(answer), Some(answer.tokens)), (answer.tokens, turn.output_tokens));
            answers.insert(answer.tokens);
            if index == 0 {
                assert_eq!(turn.question.tokens, 100);
            } else {
                questions.insert(turn.question.tokens);
            }
        }
    }
    assert!(questions.len() > 8 && questions.iter().all(|n| (10..=20).contains(n)), "{questions:?}");
    assert!(answers.len() > 15 && answers.iter().all(|n| (5..=25).contains(n)), "{answers:?}");
    // The model's own answers are not drawn.
    let own = self::plan(&format!("{SYNTHETIC} }}"));
    assert!(draw(&own, 0, 7, 0, 99).turns.iter().all(|turn| turn.answer.is_none()));
}

#[test]
fn a_shared_prefix_is_the_system_prompt_in_every_run() {
    let plan = plan(
        "conversation: { synthetic: { turns: 1, turn_tokens: 5, shared_prefix: { tokens: 30, count: 2 } } }",
    );
    let system = |seed, n| draw(&plan, 0, seed, n, 1).system.unwrap();
    let all: std::collections::BTreeSet<_> = (0..40).map(|n| system(1, n).text).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all, (0..40).map(|n| system(2, n).text).collect());
    assert_eq!((words(&system(1, 0)), system(1, 0).tokens), (30, 30));
    // Nothing precedes it.
    let step = &plan.pairs[0].profile.scenario.steps[0];
    let drawn = draw(&plan, 0, 1, 0, 1);
    let ask = drawn.ask(&plan.pairs[0], step, vec![message("a")]).unwrap();
    assert_eq!(&*ask.messages[0].text, "a");
}

fn message(text: &str) -> Message {
    Message { role: crate::exchange::Role::User, text: text.into() }
}

#[test]
fn the_nonce_is_the_same_in_all_turns_of_a_conversation_and_in_no_other() {
    let plan = plan("conversation: { turns: [a, b] }");
    let busted = |target: usize, n, upto| {
        let pair = &plan.pairs[target];
        let drawn = draw(&plan, target, 7, n, upto);
        drawn.ask(pair, &pair.profile.scenario.steps[0], vec![message("a")]).unwrap().messages[0].text.clone()
    };
    let first = busted(0, 0, 1);
    assert!(first.ends_with("] a") && first.starts_with('['), "{first}");
    assert_eq!(first, busted(0, 0, 2));
    assert_ne!(first, busted(0, 1, 1));
    assert_ne!(first, busted(1, 0, 1), "two targets may use the same server");
}

#[test]
fn recorded_conversations_are_read_by_their_order_and_given_turns_in_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    let chat = |n: u32| {
        let message = |role: &str, text: String| format!(r#"{{"role": "{role}", "content": "{text}"}}"#);
        let system = if n == 0 { vec![message("system", "own".into())] } else { Vec::new() };
        let turns = (0..3).flat_map(|turn| {
            [message("user", format!("q{n}{turn}")), message("assistant", format!("a{n}{turn}"))]
        });
        format!("{{\"messages\": [{}]}}", system.into_iter().chain(turns).collect::<Vec<_>>().join(","))
    };
    std::fs::write(&path, (0..2).map(chat).collect::<Vec<_>>().join("\n")).unwrap();
    let plan = plan(&format!(
        "system: s, conversation: {{ answers: recorded, max_turns: 2, dataset: {{ file: '{}', order: sequential }} }}",
        path.display()
    ));
    let shown = |n| {
        let drawn = draw(&plan, 0, 7, n, 99);
        let turns = drawn
            .turns
            .iter()
            .map(|turn| format!("{} {}", turn.question.text, turn.answer.as_ref().unwrap().text));
        (drawn.system.unwrap().text.to_string(), turns.collect::<Vec<_>>().join(" "), drawn.count)
    };
    assert_eq!(shown(0), ("own".to_owned(), "q00 a00 q01 a01".to_owned(), 2));
    assert_eq!(shown(1), ("s".to_owned(), "q10 a10 q11 a11".to_owned(), 2));
    assert_eq!(shown(2), shown(0));
    std::fs::write(&path, "x").unwrap();
    let pair = &plan.pairs[0];
    let step = &pair.profile.scenario.steps[0];
    let StepAction::Ask(ask) = &step.action else { panic!("a model call") };
    let seeds = RunSeeds { draws: 7, nonces: 7 };
    let of = (&**step.conversation().unwrap(), &**ask);
    let refused = conversation(pair, of, seeds, number(0), 1, &WordList::estimated());
    assert!(refused.unwrap_err().to_string().ends_with("it was changed since it was read"));

    let given = self::plan(
        "output_tokens: 9, conversation: { answers: recorded, turns: [a, { user: b, assistant: bbbbbbbb }, c] }",
    );
    let drawn = draw(&given, 0, 7, 0, 99);
    assert_eq!(words(drawn.turns[0].answer.as_ref().unwrap()), 9);
    let recorded = drawn.turns[1].answer.clone().unwrap();
    assert_eq!((&*recorded.text, recorded.tokens), ("bbbbbbbb", 2), "four bytes are a token");
}
