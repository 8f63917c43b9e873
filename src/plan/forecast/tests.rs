use super::model_call::{MAX_MESSAGE, MAX_PREAMBLE};
use super::*;
use crate::plan::from_yaml;

/// A Thursday.
const NOW: &str = "2026-01-01T00:00:00Z";

fn one(rest: &str) -> PairForecast {
    let target = "{ api: openai-chat, base_url: 'http://127.0.0.1', price: { input: 1, output: 2 } }";
    let plan =
        from_yaml(&format!("targets: {{ t: {target} }}\nprofiles: {{ p: {{ targets: [t], {rest} }} }}"));
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    forecast(&plan, NOW.parse().unwrap(), &|_, _| None).pairs.remove(0)
}

fn load(stage: &str) -> Amount {
    one(&format!("schedule: {{ every: 1h }}, workload: {{ prompts: [x] }}, load: [{stage}]"))
        .run
        .most
        .requests
}

fn daily_runs(schedule: &str) -> Amount {
    one(&format!("schedule: {schedule}, workload: {{ prompts: [x] }}, load: [{{ for: 30s }}]")).daily.runs
}

#[test]
fn open_loop_requests_are_the_area_under_the_rate() {
    assert_eq!(load("{ for: 20s, rate: 2 }"), Amount::Exact(40.0));
    assert_eq!(load("{ for: 20s, rate: { from: 0, to: 10 } }"), Amount::Exact(100.0));
    assert_eq!(load("{ for: 20s, rate: 2, requests: 30 }"), Amount::Exact(30.0));
    assert_eq!(load("{ rate: 2, requests: 30 }"), Amount::Exact(30.0));
    assert_eq!(load("{ for: 20s, rate: 2, arrivals: poisson }"), Amount::About(40.0));
    assert_eq!(load("{ for: 20s, rate: 2, arrivals: poisson, requests: 30 }"), Amount::AtMost(30.0));
    assert_eq!(load("{ warm_up: 5s, rate: 2 }, { for: 5s, rate: 4 }"), Amount::Exact(30.0));
}

#[test]
fn evenly_spread_requests_begin_with_their_stage() {
    assert_eq!(load("{ for: 1s, rate: 2.5 }"), Amount::Exact(3.0));
    assert_eq!(load("{ for: 1s, rate: 2.5, requests: 2 }"), Amount::Exact(2.0));
    assert_eq!(
        load("{ for: 2s, rate: 6/m }, { for: 1s, rate: 6/m }, { warm_up: 1s, rate: 6/m }"),
        Amount::Exact(3.0)
    );
    assert_eq!(load("{ for: 1s, rate: 2.5, arrivals: poisson }"), Amount::About(2.5));
    let daily = |schedule: &str| {
        one(&format!("schedule: {schedule}, workload: {{ prompts: [x] }}, load: [{{ for: 2s, rate: 1/m }}]"))
            .daily
            .takes
            .most
            .requests
    };
    assert_eq!(daily("{ continuous: {} }"), Amount::Exact(43_200.0));
    assert_eq!(daily("{ every: 3s }"), Amount::Exact(28_800.0));
}

#[test]
fn closed_loop_requests_have_a_bound_or_none() {
    assert_eq!(load("{ requests: 7 }"), Amount::Exact(7.0));
    assert_eq!(load("{ for: 10s, users: 4 }"), Amount::Unknown);
    assert_eq!(load("{ for: 10s, users: 4, think: 2s..5s }"), Amount::AtMost(24.0));
    assert_eq!(load("{ for: 10s, users: 4, requests: 9 }"), Amount::AtMost(9.0));
    assert_eq!(
        load("{ for: 10s, users: { from: 1, to: 4 }, think: 2s, requests: 90 }"),
        Amount::AtMost(24.0)
    );
    assert_eq!(load("{ for: 10s, users: 4 }, { for: 20s, rate: 2 }"), Amount::Unknown);
}

#[test]
fn a_drawn_think_time_is_bounded_by_more_than_its_mean() {
    let expected = |think: &str| {
        let rest = format!(
            "schedule: {{ every: 1h }}, workload: {{ prompts: [x] }}, load: [{{ for: 2900ms, users: 20, think: {think} }}]"
        );
        one(&rest).run.expected.requests
    };
    assert_eq!(expected("1500ms"), Amount::AtMost(40.0));
    // The exact number is 20 e^(2.9/3) = 52.6; by the mean alone it would be 40.
    let Amount::AtMost(most) = expected("0s..3s") else { panic!("{:?}", expected("0s..3s")) };
    assert!((most - 20.0 * (2.9 / 1.5 + 1.0 + 1.0 / 3.0)).abs() < 1e-9, "{most}");
    // A narrow range is close to its mean.
    let Amount::AtMost(narrow) = expected("1400ms..1600ms") else { panic!("a bound") };
    assert!((40.0..60.0).contains(&narrow), "{narrow}");
}

#[test]
fn requests_that_are_sent_again_are_forecast_too() {
    let of = |expect: &str| {
        one(&format!(
            "schedule: {{ every: 1h }}, load: [{{ requests: 7 }}], expect: {expect}, workload: {{ prompts: [xxxx], \
             output_tokens: 5, params: {{ seed: 1, temperature: 0 }} }}"
        ))
    };
    let plain = of("{ honours: [max_tokens] }");
    assert_eq!(plain.run.expected.requests, Amount::Exact(7.0));
    for (expect, times) in [
        ("{ same_as_unary: true }", 2.0),
        ("{ honours: [seed] }", 2.0),
        ("{ honours: [max_tokens, seed], same_as_unary: true }", 3.0),
    ] {
        let again = of(expect);
        let value = |usage: ForecastUsage| {
            [usage.requests, usage.input_tokens, usage.output_tokens, usage.cost.unwrap()]
                .map(|amount| amount.value().unwrap())
        };
        for (again, plain) in [(again.run.expected, plain.run.expected), (again.run.most, plain.run.most)] {
            for (n, once) in value(again).into_iter().zip(value(plain)) {
                assert!((n - once * times).abs() < 1e-9, "{expect}: {n}, and {once} once");
            }
        }
        // A run begins only where the budgets have room for all of them.
        assert_eq!(again.least.requests, Amount::Exact(times), "{expect}");
    }
}

#[test]
fn runs_follow_the_schedule() {
    assert_eq!(daily_runs("{ every: 5m }"), Amount::Exact(288.0));
    assert_eq!(daily_runs("{ every: 20s }"), Amount::AtMost(4320.0));
    assert_eq!(daily_runs("{ continuous: {} }"), Amount::Exact(2880.0));
    assert_eq!(daily_runs("{ manual: {} }"), Amount::ZERO);
    assert_eq!(daily_runs("{ after_idle: 30m }"), Amount::AtMost(48.0));
    // Ten hours on five of seven days.
    let windows = "windows: [{ days: [mon-fri], from: '08:00', to: '18:00' }]";
    assert_eq!(daily_runs(&format!("{{ every: 1h, {windows} }}")), Amount::About(24.0 * (3000.0 / 10_080.0)));
    assert_eq!(daily_runs("{ cron: '0 * * * *' }"), Amount::Exact(24.0));
    assert_eq!(daily_runs("{ cron: '0 9 * * mon' }"), Amount::Exact(1.0 / 7.0));
    assert_eq!(daily_runs(&format!("{{ cron: '30 * * * *', {windows} }}")), Amount::Exact(50.0 / 7.0));
}

#[test]
fn a_cron_of_every_second_is_not_counted_to_its_end() {
    let Amount::About(runs) = daily_runs("{ cron: '* * * * * *' }") else { panic!("it is counted") };
    assert!((runs - 86_400.0).abs() < 1.0, "{runs}");
}

#[test]
fn tokens_and_money_are_bounds() {
    let daily = one("schedule: { every: 1h }, load: [{ requests: 10 }], \
         workload: { prompts: [aaaa, aaaaaaaaaaaa], system: ssssssss, output_tokens: 100, cache: reuse }")
    .daily;
    assert_eq!(daily.takes.most.requests, Amount::Exact(240.0));
    assert_eq!(daily.takes.most.input_tokens, Amount::AtMost(240.0 * (8.0 + 12.0 + 2.0 * 16.0 + 256.0)));
    assert_eq!(daily.takes.expected.input_tokens, Amount::About(240.0 * (4.0 + 8.0)));
    assert_eq!(daily.takes.most.output_tokens, Amount::AtMost(24_000.0));
    let cost = daily.takes.most.cost.and_then(Amount::value).unwrap();
    assert!((cost - (73_920.0 * 1.0 + 24_000.0 * 2.0) / 1e6).abs() < 1e-9, "{cost}");
    let unbounded = one("schedule: { every: 1h }, workload: { prompts: [x] }").daily;
    assert_eq!(
        (unbounded.takes.most.output_tokens, unbounded.takes.most.cost),
        (Amount::Unknown, Some(Amount::Unknown))
    );
    let by_param = one(
        "schedule: { every: 1h }, workload: { prompts: [x], output_tokens: 9, params: { max_completion_tokens: 5 } }",
    );
    assert_eq!(by_param.daily.takes.most.output_tokens, Amount::AtMost(120.0));
    let manual = one("schedule: { manual: {} }, workload: { prompts: [x] }").daily;
    assert_eq!((manual.takes.most.output_tokens, manual.takes.most.cost), (Amount::ZERO, Some(Amount::ZERO)));
}

/// A scenario with a set-up of two requests and this load.
fn journeys(stage: &str, steps: &str) -> Daily {
    let setup = "[{ name: a, get: /a }, { name: b, get: /b }]";
    one(&format!(
        "schedule: {{ every: 24h }}, load: [{stage}], \
         scenario: {{ vars: {{ long: [aa, 'é'], short: 5 }}, setup: {setup}, steps: [{steps}] }}"
    ))
    .daily
}

#[test]
fn each_arrival_plays_the_set_up_and_one_journey() {
    let steps = "{ name: c, get: /c }, { name: d, get: /d, repeat: 3 }";
    let daily = journeys("{ for: 20s, rate: 2 }", steps);
    assert_eq!(
        (daily.journeys, daily.takes.most.requests),
        (Some(Amount::Exact(40.0)), Amount::AtMost(40.0 * 6.0))
    );
    assert_eq!((daily.takes.most.input_tokens, daily.takes.most.output_tokens), (Amount::ZERO, Amount::ZERO));
    assert_eq!(daily.takes.most.cost, Some(Amount::ZERO));
    let daily = journeys("{ rate: 2, requests: 5 }, { for: 10s, rate: 1, arrivals: poisson }", steps);
    assert_eq!(
        (daily.journeys, daily.takes.most.requests),
        (Some(Amount::About(15.0)), Amount::AtMost(15.0 * 6.0))
    );
}

#[test]
fn users_play_set_ups_and_journeys_as_their_thoughts_and_failures_allow() {
    let steps = "{ name: c, get: /c }, { name: d, get: /d, repeat: 3, think: 1s..5s }";
    // A journey includes its three think times and the one before the next journey, but one that fails at once does not,
    // and may ask for another set-up.
    let daily = journeys("{ for: 60s, users: 4, think: 2s..9s }", steps);
    assert_eq!(daily.journeys, Some(Amount::AtMost(4.0 * 31.0)));
    // Those that are completed take the most in their time: 4 requests in 5 s, and the last journey may go on after the end.
    assert_eq!(daily.takes.most.requests, Amount::AtMost(4.0 * (48.0 + 4.0) + 124.0 * 2.0));
    let variance = (7.0 * 7.0 + 3.0 * 4.0 * 4.0) / 12.0;
    let completed = 4.0 * (60.0 / 14.5 + variance / (14.5 * 14.5) + 1.0);
    let Amount::AtMost(expected) = daily.takes.expected.requests else { panic!("a bound") };
    same(expected, completed * 4.0 + 4.0 * 2.0);
    // Without think time between journeys, a user pauses after a failure, and for longer after that of a set-up.
    let daily = journeys("{ for: 60s, users: 1 }", "{ name: c, get: /c, repeat: 4, think: 5s }");
    assert_eq!(daily.journeys, Some(Amount::AtMost(601.0)));
    assert_eq!(daily.takes.most.requests, Amount::AtMost(600.0 + 4.0 + 61.0 * 2.0));
    // The very first play has no think time before it.
    assert_eq!(daily.takes.expected.requests, Amount::AtMost(5.0 * 4.0 + 2.0));
    let daily = journeys("{ for: 60s, users: 4 }", "{ name: c, get: /c }");
    assert_eq!((daily.journeys, daily.takes.most.requests), (Some(Amount::Unknown), Amount::Unknown));
    // Users who never start a journey play no set-up.
    let daily = journeys("{ requests: 3, users: 10 }", "{ name: c, get: /c }");
    assert_eq!(
        (daily.journeys, daily.takes.most.requests),
        (Some(Amount::Exact(3.0)), Amount::AtMost(3.0 + 6.0))
    );
}

#[test]
fn a_journey_that_fails_takes_no_more_than_it_came_to() {
    // Whoever fails at its first step is back after 100 ms, but does not come to the expensive one, which is 10 s away.
    let http = |name: &str, think: &str, tokens: u64| {
        format!("{{ name: {name}, get: /{name}, think: {think}, reserve: {{ output_tokens: {tokens} }} }}")
    };
    let steps = format!("{}, {}", http("c", "0s", 1), http("d", "10s", 1000));
    let output = |load: &str| journeys(load, &steps).takes.most.output_tokens;
    // 1001 tokens in 10 s, and one journey more; not 601 times 1001.
    assert_eq!(output("{ for: 60s, users: 1 }"), Amount::AtMost(60.0 * 100.1 + 1001.0));
    assert_eq!(output("{ for: 60s, users: 3 }"), Amount::AtMost(3.0 * (60.0 * 100.1 + 1001.0)));
    // A number of journeys limits it as well.
    assert_eq!(output("{ for: 60s, users: 1, requests: 2 }"), Amount::AtMost(2002.0));
    // If the first one is the expensive one, failures take the most.
    let steps = format!("{}, {}", http("c", "0s", 1000), http("d", "10s", 1));
    let most = journeys("{ for: 60s, users: 1 }", &steps).takes.most.output_tokens;
    assert_eq!(most, Amount::AtMost(600_000.0 + 1001.0));
}

#[test]
fn a_conversation_that_fails_takes_no_more_than_its_first_turn() {
    let conversation =
        "conversation: { synthetic: { turns: 10, turn_tokens: 100 }, think: 30s }, output_tokens: 50";
    let most = |load: &str| {
        one(&format!("schedule: {{ every: 24h }}, load: [{load}], workload: {{ {conversation} }}")).run.most
    };
    let (one, many) = (most("{ users: 1, requests: 1 }"), most("{ for: 60s, users: 1 }"));
    // 600 first turns and a whole conversation; not 601 whole conversations.
    assert_eq!((one.requests, many.requests), (Amount::AtMost(10.0), Amount::AtMost(610.0)));
    let value = |amount: Amount| amount.value().unwrap();
    assert!(value(many.input_tokens) < 61.0 * value(one.input_tokens) + 1.0, "{many:?} and {one:?}");
}

#[test]
fn tokens_of_http_steps_are_what_they_reserve() {
    let tokens = |step: &str| {
        let daily = journeys("{ rate: 1, requests: 10 }", step);
        (daily.takes.most.input_tokens, daily.takes.most.output_tokens)
    };
    let read = "read: { input_tokens: $.i, output_tokens: $.o }";
    let reserved = tokens(&format!(
        "{{ name: c, get: /c, repeat: 2, {read}, reserve: {{ input_tokens: 100, output_tokens: 7 }} }}"
    ));
    assert_eq!(reserved, (Amount::AtMost(2000.0), Amount::AtMost(140.0)));
    assert_eq!(tokens(&format!("{{ name: c, get: /c, {read} }}")), (Amount::Unknown, Amount::Unknown));
    assert_eq!(tokens("{ name: c, get: /c, read: { text: $.t } }"), (Amount::ZERO, Amount::ZERO));
    assert_eq!(
        tokens("{ name: c, get: /c, reserve: { output_tokens: 1 } }"),
        (Amount::ZERO, Amount::AtMost(10.0))
    );
}

#[test]
fn tokens_of_asks_are_bounds_where_the_prompt_is_of_the_config() {
    let ask = |keys: &str| {
        let daily =
            journeys("{ rate: 1, requests: 1 }", &format!("{{ name: c, ask: {{ cache: reuse, {keys} }} }}"));
        (daily.takes.most.input_tokens, daily.takes.most.output_tokens)
    };
    let fixed = MAX_MESSAGE + MAX_PREAMBLE;
    let most = |bytes: f64| Amount::AtMost(fixed + bytes);
    assert_eq!(ask("prompt: abcd, output_tokens: 9"), (most(4.0), Amount::AtMost(9.0)));
    assert_eq!(ask("prompt: abcd"), (most(4.0), Amount::Unknown));
    assert_eq!(ask("prompt: 'a {{ pick(long) }} b'").0, most(6.0));
    assert_eq!(ask("prompt: '{{ short }}'").0, most(2.0));
    assert_eq!(ask("prompt: 'x{{ user }}'").0, most(257.0));
    assert_eq!(ask("prompt: x, system: abc").0, most(4.0 + MAX_MESSAGE));
    assert_eq!(ask("prompt: '{% if short %}x{% endif %}'").0, Amount::Unknown);
    assert_eq!(ask("prompt: '{{ uuid() }}'").0, Amount::Unknown);
    assert_eq!(ask("prompt: '{{ long | join }}'").0, Amount::Unknown);
    // Two earlier questions and answers are sent along.
    let turn = 4.0 + 9.0 + 2.0 * MAX_MESSAGE;
    assert_eq!(ask("prompt: abcd, output_tokens: 9, history: 2").0, most(4.0 + 2.0 * turn));
    assert_eq!(ask("prompt: abcd, history: 2").0, Amount::Unknown);
    let taken = journeys(
        "{ rate: 1, requests: 1 }",
        "{ name: c, get: /c, take: { short: $.x } }, { name: d, ask: { prompt: '{{ short }}' } }",
    );
    assert_eq!(taken.takes.most.input_tokens, Amount::Unknown);
}

#[test]
fn items_of_data_files_bound_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("questions.txt");
    std::fs::write(&file, "one\nthree\n").unwrap();
    let daily = one(&format!(
        "schedule: {{ every: 24h }}, scenario: {{ data: {{ q: {{ file: '{}' }} }}, \
         steps: [{{ name: c, ask: {{ prompt: '{{{{ cycle(q) }}}}', cache: reuse, output_tokens: 1 }} }}] }}",
        file.display()
    ))
    .daily;
    assert_eq!(daily.takes.most.input_tokens, Amount::AtMost(MAX_MESSAGE + MAX_PREAMBLE + 5.0));
}

#[test]
fn totals_are_as_sure_as_their_parts() {
    assert_eq!(Amount::Exact(1.0) + Amount::About(2.0), Amount::About(3.0));
    assert_eq!(Amount::AtMost(1.0) + Amount::About(2.0), Amount::AtMost(3.0));
    assert_eq!(Amount::AtMost(1.0) + Amount::Unknown, Amount::Unknown);
    assert_eq!(Amount::ZERO.times(Amount::Unknown), Amount::ZERO);
    let shown = [Amount::Exact(2.0), Amount::About(2.4), Amount::AtMost(2.0), Amount::Unknown];
    assert_eq!(shown.map(|amount| amount.to_string()), ["2", "about 2", "at most 2", "unknown"]);
    assert_eq!(format!("{:.2}", Amount::AtMost(0.126)), "at most 0.13");
}

/// What a request of a workload takes, the most and as expected, and where the latter comes from.
fn takes(target: &str, workload: &str) -> (Takes, Takes, InputTokens) {
    let target = format!("{{ api: openai-chat, base_url: 'http://127.0.0.1' {target} }}");
    let profile =
        format!("schedule: {{ every: 1h }}, load: [{{ requests: 10 }}], workload: {{ {workload} }}");
    let plan =
        from_yaml(&format!("targets: {{ t: {target} }}\nprofiles: {{ p: {{ targets: [t], {profile} }} }}"));
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    let pair = forecast(&plan, NOW.parse().unwrap(), &|_, _| None).pairs.remove(0);
    let of = |usage: &ForecastUsage| (usage.input_tokens, usage.output_tokens);
    (of(&pair.run.most), of(&pair.run.expected), pair.input_tokens)
}

type Takes = (Amount, Amount);

#[test]
fn a_dataset_is_expected_at_the_mean_of_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let rows = format!(
        "{{\"prompt\": \"{}\", \"max_tokens\": 40}}\n{{\"prompt\": \"{}\"}}\n",
        "x".repeat(400),
        "y".repeat(80)
    );
    std::fs::write(&path, rows).unwrap();
    let dataset = format!("cache: reuse, dataset: {{ file: '{}' }}", path.display());
    let (most, expected, source) = takes("", &format!("{dataset}, output_tokens: 20"));
    assert_eq!(expected, (Amount::About(10.0 * (60.0 + 4.0)), Amount::About(300.0)));
    assert_eq!((most.1, source), (Amount::AtMost(400.0), InputTokens::Estimated));
    assert!(most.0.value().unwrap() >= 4000.0, "{most:?}");
    // Nothing is known of the row without a length.
    assert_eq!(takes("", &dataset).0.1, Amount::Unknown);
}

#[test]
fn drawn_lengths_are_expected_at_their_mean_and_bounded_by_their_longest() {
    let drawn = "synthetic: { input_tokens: { uniform: { from: 100, to: 300 } } }, \
                 output_tokens: { uniform: { from: 10, to: 30 } }";
    let (most, expected, source) = takes(", tokenizer: o200k_base, chat_template: { request: 5 }", drawn);
    assert_eq!(expected, (Amount::About(2000.0), Amount::About(200.0)));
    assert_eq!(most.1, Amount::AtMost(300.0));
    // Budgets reserve by bytes, which are more than tokens.
    assert!(most.0.value().unwrap() > 3000.0, "{most:?}");
    assert_eq!(source, InputTokens::Counted);
    let (_, expected, source) = takes("", drawn);
    assert_eq!((expected.0, source), (Amount::About(2040.0), InputTokens::Estimated));
    let (_, expected, _) = takes("", "prompts: [x], output_tokens: { exponential: { mean: 50 }, max: 5000 }");
    assert!((expected.1.value().unwrap() / 505.0 - 1.0).abs() < 0.01, "{expected:?}");
}

#[test]
fn a_cache_pair_is_two_requests_with_the_whole_prefix() {
    let daily = one("schedule: { every: 1h }, load: [{ requests: 2 }], \
         workload: { cache_pair: { prefix_tokens: 2000, question: aaaaa }, output_tokens: 10 }")
    .daily;
    assert_eq!((daily.runs, daily.journeys), (Amount::Exact(24.0), Some(Amount::Exact(48.0))));
    let Estimate { most, expected } = daily.takes;
    assert_eq!((most.requests, expected.requests), (Amount::AtMost(96.0), Amount::Exact(96.0)));
    // The question has eight bytes with its number, and the two messages a chat template.
    assert_eq!(expected.input_tokens, Amount::About(96.0 * (2000.0 + 2.0 + 8.0)));
    assert_eq!(expected.output_tokens, Amount::About(960.0));
    let bytes = 2000.0 * 13.0 + 8.0 + 2.0 * 16.0 + 256.0;
    assert_eq!(most.input_tokens, Amount::AtMost(96.0 * bytes));
}

fn same(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-6, "{left}, not {right}");
}

/// The run's expected and maximum usage of conversations, with this load.
fn conversations(load: &str, workload: &str) -> PairForecast {
    one(&format!("schedule: {{ every: 24h }}, load: [{load}], workload: {{ cache: reuse, {workload} }}"))
}

fn numbers(usage: ForecastUsage) -> [Amount; 3] {
    [usage.requests, usage.input_tokens, usage.output_tokens]
}

#[test]
fn the_turns_of_a_conversation_contain_those_before() {
    let turns = "conversation: { turns: [aaaa, bbbbbbbb] }, output_tokens: 10";
    let two = conversations("{ requests: 3 }", turns);
    // The first turn has a token and a message; the second one three, the first answer and three messages.
    let expected = 3.0 * (1.0 + 4.0 + 3.0 + 10.0 + 3.0 * 4.0);
    assert_eq!(numbers(two.run.expected), [Amount::Exact(6.0), Amount::About(expected), Amount::About(60.0)]);
    let most = 3.0 * (4.0 + 12.0 + 10.0 + 4.0 * MAX_MESSAGE + 2.0 * MAX_PREAMBLE);
    assert_eq!(numbers(two.run.most), [Amount::AtMost(6.0), Amount::AtMost(most), Amount::AtMost(60.0)]);
    assert_eq!(two.daily.journeys, Some(Amount::Exact(3.0)));
    assert_eq!(two.least.requests, Amount::Exact(2.0));
    let recorded = conversations(
        "{ requests: 3 }",
        "conversation: { answers: recorded, turns: [{ user: aaaa, assistant: cccccccccccc }, bbbbbbbb] }, output_tokens: 10",
    );
    assert_eq!(recorded.run.expected.input_tokens, Amount::About(expected - 3.0 * 7.0));
    let bound = |one: &PairForecast| one.run.most.input_tokens.value().unwrap();
    same(bound(&recorded), most + 3.0 * 2.0);
    // Without a limit, the answers in the history are unknown, too.
    let unknown = conversations("{ requests: 3 }", "conversation: { turns: [a, b] }");
    assert_eq!(
        (unknown.run.most.input_tokens, unknown.run.most.requests),
        (Amount::Unknown, Amount::AtMost(6.0))
    );
}

#[test]
fn the_number_of_turns_may_be_drawn() {
    let of = |turns: &str| {
        let workload = format!(
            "conversation: {{ synthetic: {{ turns: {turns}, first_tokens: 100, turn_tokens: 10 }} }}, output_tokens: 20"
        );
        conversations("{ requests: 1 }", &workload)
    };
    let (one, three, drawn) = (of("1"), of("3"), of("{ uniform: { from: 1, to: 3 } }"));
    let input = |it: &PairForecast| it.run.expected.input_tokens.value().unwrap();
    same(input(&one), 104.0);
    same(input(&three), 3.0 * 104.0 + 3.0 * (10.0 + 20.0 + 8.0));
    assert_eq!(drawn.run.most.requests, Amount::AtMost(3.0));
    assert_eq!(drawn.run.most.input_tokens, three.run.most.input_tokens);
    let Amount::About(requests) = drawn.run.expected.requests else { panic!("{:?}", drawn.run.expected) };
    assert!((requests - 2.0).abs() < 0.01, "{requests}");
    let mean = (input(&one) + input(&of("2")) + input(&three)) / 3.0;
    assert!((input(&drawn) / mean - 1.0).abs() < 0.01, "{} and {mean}", input(&drawn));
    assert_eq!(drawn.least.requests, Amount::Exact(1.0));
    // A user thinks between its turns.
    let busy = |think: &str| {
        let workload = format!(
            "conversation: {{ synthetic: {{ turns: {{ uniform: {{ from: 3, to: 5 }} }}, turn_tokens: 10 }}, think: {think} }}, output_tokens: 20"
        );
        conversations("{ for: 60s, users: 1, think: 2s }", &workload).daily.journeys
    };
    assert_eq!(busy("0s"), Some(Amount::AtMost(31.0)));
    assert_eq!(busy("4s..9s"), Some(Amount::AtMost(31.0)), "a conversation may fail before its user thinks");
}

#[test]
fn summaries_shorten_what_is_expected_and_cost_requests() {
    let of = |summarize: &str| {
        let workload = format!(
            "conversation: {{ synthetic: {{ turns: 10, turn_tokens: 100 }} {summarize} }}, output_tokens: 100"
        );
        conversations("{ requests: 1 }", &workload)
    };
    let plain = of("");
    let by_text = of(", summarize: { over_turns: 2, keep: 1, by: text, tokens: 50 }");
    let by_model = of(", summarize: { over_turns: 2, keep: 1, tokens: 50 }");
    let value = |amount: Amount| amount.value().unwrap();
    let input = |it: &PairForecast| value(it.run.expected.input_tokens);
    assert!(input(&by_text) < 0.6 * input(&plain), "{} and {}", input(&by_text), input(&plain));
    assert!(input(&by_model) > input(&by_text));
    // After the third, fifth, seventh and ninth turn.
    assert_eq!(
        (by_text.run.expected.requests, by_model.run.expected.requests),
        (Amount::Exact(10.0), Amount::About(14.0))
    );
    same(value(by_model.run.expected.output_tokens), 10.0 * 100.0 + 4.0 * 50.0);
    assert_eq!(
        (by_text.run.most.requests, by_model.run.most.requests),
        (Amount::AtMost(10.0), Amount::AtMost(19.0))
    );
    for it in [&by_text, &by_model] {
        assert!(value(it.run.most.input_tokens) >= value(plain.run.most.input_tokens));
        assert!(value(it.run.most.input_tokens) > input(it));
    }
    let by_tokens = of(", summarize: { over_tokens: 500, keep: 1, by: text, tokens: 50 }");
    assert!(input(&by_tokens) < input(&plain) && input(&by_tokens) > input(&by_text));
    let never = of(", summarize: { over_tokens: 100000, by: text }");
    same(input(&never), input(&plain));
}

#[test]
fn recorded_conversations_are_forecast_by_their_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.json");
    let turn = |from: &str, n: usize| format!(r#"{{"from": "{from}", "value": "{}"}}"#, "x".repeat(n));
    let chat = |turns: &[String]| format!(r#"{{"conversations": [{}]}}"#, turns.join(","));
    let two = [turn("human", 40), turn("gpt", 80), turn("human", 40)];
    std::fs::write(&path, format!("[{}, {}]", chat(&two), chat(&[turn("system", 8), turn("human", 40)])))
        .unwrap();
    let of = |answers: &str| {
        let dataset = format!("dataset: {{ file: '{}' }}", path.display());
        conversations(
            "{ requests: 2 }",
            &format!("system: ssss, conversation: {{ answers: {answers}, {dataset} }}, output_tokens: 7"),
        )
    };
    let recorded = of("recorded");
    // Two turns, and one; the system prompt of the workload where there is no other.
    let texts = (40.0 + 80.0 + 80.0 + 40.0 + 8.0) / 4.0;
    let (own, messages) = (0.5 * 1.5 * 1.0 * 2.0, 4.0 * 2.0 * (2.0 * 1.5 + 2.0 * 0.5));
    assert_eq!(recorded.run.expected.requests, Amount::About(3.0));
    let input = recorded.run.expected.input_tokens.value().unwrap();
    assert!((input - (texts + own + messages)).abs() < 1e-9, "{input}, not {}", texts + own + messages);
    let models = of("own").run.expected.input_tokens.value().unwrap();
    assert!((input - models - (80.0 / 4.0 - 7.0)).abs() < 1e-9, "{models}");
    assert_eq!(recorded.run.most.requests, Amount::AtMost(4.0));
}

#[test]
fn a_trace_is_forecast_by_its_requests() {
    let of = |load: &str, trace: &str| {
        let file = "file: tests/config/trace.jsonl";
        let workload = format!("workload: {{ trace: {{ {file}{trace} }} }}");
        one(&format!("schedule: {{ every: 1h }}{load}, {workload}")).run
    };
    // Three requests in six seconds, of 600, 700 and 800 tokens, with answers of five.
    let all = of("", "");
    assert_eq!((all.most.requests, all.expected.requests), (Amount::Exact(3.0), Amount::Exact(3.0)));
    assert_eq!(all.expected.output_tokens, Amount::About(15.0));
    assert_eq!(all.most.output_tokens, Amount::AtMost(15.0));
    assert_eq!(all.expected.input_tokens, Amount::About(3.0 * (700.0 + 4.0)));
    assert!(all.most.input_tokens.value() > Some(3.0 * 800.0));
    let requests = |load: &str, trace: &str| {
        let run = of(load, trace);
        (run.most.requests, run.expected.requests)
    };
    let exact = |n: f64| (Amount::Exact(n), Amount::Exact(n));
    assert_eq!(requests(", load: [{ for: 4s }]", ""), exact(2.0));
    assert_eq!(requests(", load: [{ for: 2s }]", ", speed: 3"), exact(3.0));
    assert_eq!(requests(", load: [{ for: 12s }]", ", loop: true"), exact(6.0));
    assert_eq!(requests(", load: [{ requests: 50 }]", ", loop: true"), exact(50.0));
    assert_eq!(requests(", load: [{ warm_up: 2s }, { name: rest }]", ""), exact(3.0));
    assert_eq!(requests("", ", scale: 0.5"), (Amount::AtMost(3.0), Amount::About(1.5)));
    // The copies of the last request may fall behind the end of the trace.
    assert_eq!(requests("", ", scale: 2"), (Amount::AtMost(6.0), Amount::About(6.0)));
    assert_eq!(requests(", load: [{ for: 4s, rate: 5 }]", ""), exact(20.0));
    // A run takes as long as the trace.
    let daily =
        one("schedule: { continuous: {} }, workload: { trace: { file: tests/config/trace.jsonl } }").daily;
    assert_eq!(daily.runs, Amount::Exact(14_400.0));
}

#[test]
fn rows_with_a_system_prompt_do_not_get_that_of_the_workload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let of = |rows: &str| {
        std::fs::write(&path, rows).unwrap();
        let system = "s".repeat(8000);
        one(&format!(
            "schedule: {{ every: 1h }}, load: [{{ requests: 1 }}], workload: {{ dataset: {{ file: '{}' }}, system: {system}, \
             output_tokens: 1, cache: reuse }}",
            path.display()
        ))
    };
    let (own, bare) = ("{\"prompt\": \"hello there\", \"system\": \"short\"}\n", "{\"prompt\": \"hello\"}\n");
    let input = |usage: ForecastUsage| usage.input_tokens.value().unwrap();
    let three = of(&own.repeat(3));
    let least = 16.0 + MAX_MESSAGE + MAX_PREAMBLE;
    same(input(three.least), least);
    same(input(three.run.most), least + MAX_MESSAGE);
    same(input(three.run.expected), 4.0 + 2.0 * 4.0);
    // Of rows of both kinds, the shortest and the longest with what it gets.
    let both = of(&[own, bare].concat());
    same(input(both.least), least);
    same(input(both.run.most), 8005.0 + 2.0 * MAX_MESSAGE + MAX_PREAMBLE);
    same(input(both.run.expected), f64::midpoint(16.0, 8005.0) / 4.0 + 2.0 * 4.0);
    same(input(of(bare).least), 8005.0 + MAX_MESSAGE + MAX_PREAMBLE);
}
