mod simulated;

use super::*;
use simulated::{JITTER, Noise, OUTLIERS, PROMPTS, REPLICAS, STILL, Simulated};

fn options(false_alarms: f64) -> ModelChangeOptions {
    ModelChangeOptions { reference: 30, false_alarms }
}

/// The answers without log-probabilities.
fn texts_only(answers: Vec<Option<PromptAnswer>>) -> Vec<Option<PromptAnswer>> {
    answers.into_iter().map(|it| it.map(|it| PromptAnswer { top: Vec::new(), ..it })).collect()
}

/// The share of `servers` that never change, and of which some run of `runs` after the reference says that they did.
fn false_alarms(noise: Noise, servers: u64, runs: u32, stated: f64, texts: bool) -> f64 {
    let alarmed = |seed: &u64| {
        let mut server = Simulated::new(*seed, noise);
        let mut watch = ModelWatch::new(PROMPTS, options(stated));
        (0..30 + runs).any(|_| {
            let run = server.run();
            let run = if texts { texts_only(run) } else { run };
            matches!(watch.take(run), ModelVerdict::Changed(_))
        })
    };
    (0..servers).filter(alarmed).count() as f64 / servers as f64
}

/// After how many runs a change by `shift` is told, for each server; `None` if not within 200 runs.
fn delays(noise: Noise, servers: u64, shift: f64, texts: bool) -> Vec<Option<u64>> {
    let delay = |seed: u64| {
        let mut server = Simulated::new(1000 + seed, noise);
        let mut watch = ModelWatch::new(PROMPTS, options(0.001));
        let mut taken = |server: &mut Simulated| {
            let run = server.run();
            watch.take(if texts { texts_only(run) } else { run })
        };
        for _ in 0..80 {
            taken(&mut server);
        }
        server.shift(shift);
        (1..=200).find(|_| matches!(taken(&mut server), ModelVerdict::Changed(_)))
    };
    (0..servers).map(delay).collect()
}

/// The quantile of delays, with those that were not told as the longest.
fn quantile(delays: &[Option<u64>], q: f64) -> u64 {
    let mut sorted: Vec<_> = delays.iter().map(|delay| delay.unwrap_or(u64::MAX)).collect();
    sorted.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = ((sorted.len() - 1) as f64 * q) as usize;
    sorted[place]
}

#[test]
fn a_model_that_does_not_change_is_said_to_have_no_more_often_than_stated() {
    for (name, noise) in
        [("still", STILL), ("jitter", JITTER), ("outliers", OUTLIERS), ("replicas", REPLICAS)]
    {
        let share = false_alarms(noise, 60, 120, 0.05, false);
        assert!(share <= 0.05, "{name}: {share}");
    }
    let share = false_alarms(OUTLIERS, 60, 120, 0.05, true);
    assert!(share <= 0.05, "texts: {share}");
}

#[test]
fn another_model_is_told_within_a_few_runs() {
    for (name, noise) in
        [("still", STILL), ("jitter", JITTER), ("outliers", OUTLIERS), ("replicas", REPLICAS)]
    {
        let delays = delays(noise, 20, 2.0, false);
        assert!(quantile(&delays, 1.0) <= 10, "{name}: {delays:?}");
    }
}

#[test]
fn another_quantisation_is_told_later() {
    for (name, noise, most) in [("still", STILL, 8), ("jitter", JITTER, 10), ("outliers", OUTLIERS, 25)] {
        let delays = delays(noise, 20, 0.1, false);
        assert!(quantile(&delays, 0.95) <= most, "{name}: {delays:?}");
    }
}

#[test]
fn texts_tell_another_model() {
    let delays = delays(JITTER, 20, 2.0, true);
    assert!(quantile(&delays, 0.9) <= 20, "{delays:?}");
}

#[test]
fn an_alarm_says_when_and_how_far_and_then_learns_anew() {
    let mut server = Simulated::new(5, JITTER);
    let mut watch = ModelWatch::new(PROMPTS, options(0.001));
    assert_eq!((watch.learned(), watch.comparison(), watch.evidence()), ((0, 30), None, 0.0));
    for have in 1..=30 {
        assert_eq!(watch.take(server.run()), ModelVerdict::Learned { have, need: 30 });
    }
    for _ in 0..40 {
        let verdict = watch.take(server.run());
        assert!(matches!(verdict, ModelVerdict::Unchanged { distance } if distance < 5.0), "{verdict:?}");
    }
    server.shift(1.0);
    let alarm = (0..20).find_map(|_| match watch.take(server.run()) {
        ModelVerdict::Changed(alarm) => Some(alarm),
        _ => None,
    });
    let alarm = alarm.unwrap();
    assert!(alarm.evidence >= 3.0 && (2..=9).contains(&alarm.runs) && alarm.distance > 4.0, "{alarm:?}");
    assert_eq!(alarm.comparison, AnswerComparison::Logprobs);
    // The alarm stands until the new model is known.
    for have in 1..=30 {
        assert!(watch.is_standing() && watch.evidence() >= alarm.evidence);
        assert_eq!(watch.take(server.run()), ModelVerdict::Learned { have, need: 30 });
    }
    assert!(!watch.is_standing() && watch.evidence() == 0.0);
    for _ in 0..40 {
        assert!(matches!(watch.take(server.run()), ModelVerdict::Unchanged { .. }));
    }
}

#[test]
fn a_restart_changes_nothing() {
    let mut server = Simulated::new(6, OUTLIERS);
    let mut watch = ModelWatch::new(PROMPTS, options(0.001));
    let mut restarted = watch.clone();
    for run in 0..200 {
        if run == 100 {
            server.shift(0.3);
        }
        let answers = server.run();
        let saved = serde_json::to_string(&restarted).unwrap();
        assert!(saved.len() < 200_000, "{}", saved.len());
        restarted = serde_json::from_str(&saved).unwrap();
        assert_eq!(watch.take(answers.clone()), restarted.take(answers), "run {run}");
        assert_eq!(watch, restarted);
    }
    assert!(watch.is_standing() || watch.learned() == (30, 30));
}

#[test]
fn runs_without_all_answers_change_nothing() {
    let mut server = Simulated::new(7, JITTER);
    let mut watch = ModelWatch::new(PROMPTS, options(0.01));
    watch.take(server.run());
    let before = watch.clone();
    let mut missing = server.run();
    missing[2] = None;
    assert_eq!(watch.take(missing), ModelVerdict::Incomplete);
    assert_eq!(watch.take(server.run()[1..].to_vec()), ModelVerdict::Incomplete);
    assert_eq!(watch.take(Vec::new()), ModelVerdict::Incomplete);
    assert_eq!(
        watch.take(texts_only(server.run())),
        ModelVerdict::Incomplete,
        "no log-probabilities any more"
    );
    assert_eq!(watch, before);
    // A reference of texts goes on with texts.
    let mut watch = ModelWatch::new(PROMPTS, options(0.01));
    watch.take(texts_only(server.run()));
    assert!(matches!(watch.take(server.run()), ModelVerdict::Learned { have: 2, .. }));
    assert_eq!(watch.comparison(), Some(AnswerComparison::Text));
}

#[test]
fn what_is_kept_is_bounded() {
    let long = PromptAnswer {
        top: vec![TokenLogprob { token: "é".repeat(1000).into(), logprob: f64::NEG_INFINITY }; 100],
        text: "ü".repeat(1000).into(),
    };
    let kept = long.bounded();
    assert!(kept.top.len() == MAX_TOP && kept.top.iter().all(|it| it.token.len() <= MAX_TEXT));
    assert!(kept.top[0].logprob.is_finite() && kept.text.len() <= MAX_TEXT);
    let watch = ModelWatch::new(PROMPTS, ModelChangeOptions { reference: u32::MAX, false_alarms: 0.5 });
    assert_eq!(watch.learned().1, MAX_REFERENCE);
    assert_eq!(
        ModelWatch::new(1, ModelChangeOptions { reference: 0, false_alarms: 0.5 }).learned().1,
        MIN_REFERENCE
    );
}

/// The tables of `docs/model-changes.md`. Takes minutes: `cargo test --release -- --ignored --nocapture model_change`.
#[test]
#[ignore = "prints the published figures"]
fn published_figures() {
    let kinds = [("none", STILL), ("jitter", JITTER), ("outliers", OUTLIERS), ("three replicas", REPLICAS)];
    for stated in [0.05, 0.01] {
        for (name, noise) in kinds {
            let of = |texts| 100.0 * false_alarms(noise, 1000, 1000, stated, texts);
            println!(
                "stated {stated}: {name}: log-probabilities {:.1} %, texts {:.1} %",
                of(false),
                of(true)
            );
        }
    }
    for shift in [0.03, 0.1, 0.3, 2.0] {
        for (name, noise) in kinds {
            for texts in [false, true] {
                let delays = delays(noise, 200, shift, texts);
                let told = delays.iter().flatten().count() as f64 / 2.0;
                let (half, most) = (quantile(&delays, 0.5), quantile(&delays, 0.95));
                println!(
                    "shift {shift}, {name}, texts {texts}: told {told:.0} %, median {half}, 95 % {most}"
                );
            }
        }
    }
}
