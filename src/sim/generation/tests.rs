//! The planned output of a request.

use super::*;

fn ask() -> Ask {
    let turns = vec![Turn { role: "user".to_owned(), text: "Say something, please".to_owned() }];
    Ask { model: "sim-8b".to_owned(), turns, ..Ask::default() }
}

fn plan(ask: &Ask, effects: &Effects) -> Planned {
    Planned::new(ask, effects, &Options::default()).unwrap()
}

fn text_of(planned: &Planned) -> String {
    planned.pieces.iter().map(|piece| piece.text.as_str()).collect()
}

#[test]
fn max_tokens_gives_exactly_that_many_and_the_template_is_counted() {
    let planned = plan(&Ask { max_tokens: Some(20), ..ask() }, &Effects::none(&Options::default()));
    assert_eq!((planned.usage.input, planned.usage.output), (4 + 3, 20));
    assert_eq!(planned.finish, Finish::Length);
}

#[test]
fn the_same_request_gets_the_same_text_and_another_seed_another() {
    let none = Effects::none(&Options::default());
    let first = text_of(&plan(&ask(), &none));
    assert_eq!(first, text_of(&plan(&ask(), &none)));
    assert_ne!(first, text_of(&plan(&Ask { seed: 1, ..ask() }, &none)));
    assert_eq!(plan(&ask(), &none).finish, Finish::Stop);
}

#[test]
fn a_stop_sequence_ends_the_text_before_it() {
    let long = Ask { max_tokens: Some(200), ..ask() };
    let whole = text_of(&plan(&long, &Effects::none(&Options::default())));
    let stopped = plan(&Ask { stop: vec![".".to_owned()], ..long }, &Effects::none(&Options::default()));
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(text_of(&stopped), whole.split('.').next().unwrap());
    assert!(stopped.usage.output < 200);
}

#[test]
fn reasoning_lies_inside_the_output() {
    let effects =
        Effects { reasoning: Some(Reasoning::Hidden { tokens: 8 }), ..Effects::none(&Options::default()) };
    let planned = plan(&Ask { max_tokens: Some(20), ..ask() }, &effects);
    assert_eq!((planned.usage.output, planned.usage.reasoning), (20, 8));
    let all = plan(&Ask { max_tokens: Some(5), ..ask() }, &effects);
    assert_eq!((all.usage.output, all.usage.reasoning), (5, 5));
}

#[test]
fn an_early_finish_yields_to_ignore_eos() {
    let effects = Effects { early_finish: Some(3), ..Effects::none(&Options::default()) };
    let early = plan(&Ask { max_tokens: Some(20), ..ask() }, &effects);
    assert_eq!((early.usage.output, early.finish), (3, Finish::Stop));
    let full = plan(&Ask { max_tokens: Some(20), ignore_eos: true, ..ask() }, &effects);
    assert_eq!((full.usage.output, full.finish), (20, Finish::Length));
}

#[test]
fn what_does_not_fit_the_context_is_refused() {
    let too_long = Ask { max_tokens: Some(32_768), ..ask() };
    let refusal = Planned::new(&too_long, &Effects::none(&Options::default()), &Options::default());
    assert!(matches!(refusal, Err(Refusal::TooLong { longest: 32_768, input: 7, .. })));
}

#[test]
fn the_next_turn_finds_the_blocks_of_the_answer_before() {
    let none = Effects::none(&Options::default());
    let first = plan(&Ask { max_tokens: Some(64), ..ask() }, &none);
    let mut turns = ask().turns;
    turns.push(Turn { role: "assistant".to_owned(), text: text_of(&first) });
    turns.push(Turn { role: "user".to_owned(), text: "And then?".to_owned() });
    let second = plan(&Ask { turns, max_tokens: Some(1), ..ask() }, &none);
    assert_eq!(second.hashes[..first.hashes.len()], first.hashes);
}

#[test]
fn documents_and_arguments_end_with_themselves_or_are_cut() {
    let schema = serde_json::json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let json = Ask { form: OutputForm::Json(schema.clone()), ..ask() };
    let tool = super::super::output_form::Tool { name: "f".to_owned(), parameters: schema };
    let call = Ask { form: OutputForm::Call(tool), ..ask() };
    for (ask, kind, finish) in [(json, Kind::Text, Finish::Stop), (call, Kind::Arguments, Finish::ToolCalls)]
    {
        let whole = plan(&ask, &Effects::none(&Options::default()));
        let text: String = whole.pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["city"].is_string(), "{text}");
        assert!(whole.pieces.iter().all(|piece| piece.kind == kind));
        assert_eq!((whole.finish, whole.usage.reasoning), (finish, 0));
        let cut = plan(&Ask { max_tokens: Some(3), ..ask }, &Effects::none(&Options::default()));
        assert_eq!((cut.pieces.len(), cut.finish), (3, Finish::Length));
    }
}

#[test]
fn what_is_asked_for_is_ignored_where_a_fault_says_so() {
    let of = |fault: &str, ask: &Ask| {
        let mut effects = Effects::none(&Options::default());
        effects.add(&fault.parse().unwrap());
        plan(ask, &effects)
    };
    let text = |planned: &Planned| planned.pieces.iter().map(|it| it.text.as_str()).collect::<String>();
    let short = Ask { max_tokens: Some(20), ..ask() };
    assert!(of("ignore_max_tokens", &short).pieces.len() >= 40);
    let stopped = Ask { stop: vec![".".to_owned()], max_tokens: Some(64), ..ask() };
    assert!(text(&of("ignore_stop", &stopped)).contains('.'));
    assert_ne!(text(&of("ignore_seed", &short)), text(&of("ignore_seed", &short)));
    assert!(!of("no_logprobs", &Ask { logprobs: true, ..ask() }).logprobs);
    let plain = text(&plan(&short, &Effects::none(&Options::default())));
    assert_eq!(text(&of("stream_differs", &short)), plain);
    let streamed = of("stream_differs", &Ask { stream: true, ..short.clone() });
    assert!(plain.starts_with(&text(&streamed)) && text(&streamed).len() < plain.len());
    assert_eq!(streamed.usage.output, 20);
    let parameters = serde_json::json!({ "type": "object", "required": ["a"] });
    let tool = super::super::output_form::Tool { name: "f".to_owned(), parameters };
    let call = Ask { form: OutputForm::Call(tool), ..ask() };
    let is_json = |planned: &Planned| serde_json::from_str::<serde_json::Value>(&text(planned)).is_ok();
    assert!(is_json(&of("broken_arguments", &call)));
    assert!(!is_json(&of("broken_arguments", &Ask { stream: true, ..call })));
}
