//! Rules that compare pairs: the targets of a profile, and the profiles of a target.

use super::evidence::{CHANCE, EvidenceUnit, Excess, MIN_REQUESTS, deviations, median, number, requests};
use super::sample::RequestSample;
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found};
use crate::detect::binomial::share_bounds;
use crate::plan::{Step, StepAction};
use std::collections::BTreeMap;

/// Number of targets from which on one of them can be an outlier.
const MIN_TARGETS: usize = 3;

/// A target is an outlier from this factor between medians on, and from this difference on in seconds. The others must
/// be within the same factor of each other.
const OUTLIER: (f64, f64) = (1.5, 0.02);

/// A target fails more than others from this difference of shares on.
const MORE_FAILURES: f64 = 0.05;

/// Questions about documents wait this many times as long, and this much longer in seconds.
const RETRIEVAL: (f64, f64) = (2.0, 0.5);

/// Prefill of the slowest engine that is not itself called slow, in tokens per second: what longer prompts explain at most.
const SLOWEST_PREFILL: f64 = 2000.0;

/// Answers can be compared as a whole if they have at most this many times as many tokens.
const SAME_LENGTH: f64 = 1.5;

/// Words in the name of a profile, a step, a route or a check that show a question about documents.
const RETRIEVAL_WORDS: [&str; 9] = [
    "rag",
    "retrieval",
    "retrieve",
    "retriever",
    "citation",
    "citations",
    "document",
    "documents",
    "sources",
];

/// A profile costs out of proportion if a request costs this many times as much as others, its part of the cost is at
/// least the first share, and its part of the requests at most the second one.
const COST: (f64, f64, f64) = (5.0, 0.5, 0.5);

/// One target of a profile and model waits longer or fails more than its siblings, which agree with each other.
pub(super) fn bad_target(pairs: &[&PairRequests]) -> Vec<Diagnosis> {
    let mut siblings: BTreeMap<_, Vec<&PairRequests>> = BTreeMap::new();
    for pair in pairs {
        siblings.entry((&pair.plan.pair.profile, &pair.plan.target.model)).or_default().push(pair);
    }
    let many = siblings.into_values().filter(|all| all.len() >= MIN_TARGETS);
    many.flat_map(|all| slowest(&all).into_iter().chain(most_failing(&all))).collect()
}

fn waits(pair: &PairRequests) -> Vec<f64> {
    pair.answered().map(RequestSample::wait).collect()
}

fn slowest(all: &[&PairRequests]) -> Option<Diagnosis> {
    let mut known: Vec<(f64, &PairRequests, Vec<f64>)> = all
        .iter()
        .filter_map(|pair| {
            let waits = waits(pair);
            (waits.len() >= MIN_REQUESTS).then_some((median(waits.iter().copied())?, *pair, waits))
        })
        .collect();
    known.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let (_, pair, own) = known.pop()?;
    let (fastest, slowest) = (known.first()?.0, known.last()?.0);
    let others: Vec<f64> = known.iter().flat_map(|(.., waits)| waits.iter().copied()).collect();
    let excess = Excess::of(&own, &others, OUTLIER.0)?;
    let disagree = slowest > OUTLIER.0 * fastest || excess.high < OUTLIER.0 * slowest;
    if known.len() + 1 < MIN_TARGETS || disagree || excess.high - excess.low < OUTLIER.1 {
        return None;
    }
    let summary = format!(
        "this target waits {:.1} times as long as the {} others of the profile, which agree with each other",
        excess.ratio(),
        known.len()
    );
    let evidence = vec![
        number("wait_of_this_target", excess.high, EvidenceUnit::Seconds),
        number("wait_of_the_others", excess.low, EvidenceUnit::Seconds),
        number("fastest_of_the_others", fastest, EvidenceUnit::Seconds),
        number("slowest_of_the_others", slowest, EvidenceUnit::Seconds),
        requests("requests", own.len()),
        requests("requests_of_the_others", others.len()),
        deviations(excess.z),
    ];
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::BadTarget, summary, evidence))
}

fn most_failing(all: &[&PairRequests]) -> Option<Diagnosis> {
    let share = |pair: &PairRequests| pair.counts.failed() as f64 / pair.counts.judging().max(1) as f64;
    let known: Vec<_> = all.iter().filter(|pair| pair.counts.judging() >= MIN_REQUESTS as u64).collect();
    let worst = known.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let others = || known.iter().filter(|pair| pair.plan.pair != worst.plan.pair);
    if known.len() < MIN_TARGETS {
        return None;
    }
    // Of the others, the one that fails most: if it fails as often, both do.
    let next = others().map(|pair| share(pair)).max_by(f64::total_cmp)?;
    let (failed, judging) = others().fold((0, 0), |(failed, judging), pair| {
        (failed + pair.counts.failed(), judging + pair.counts.judging())
    });
    let (own_failed, own_judging) = (worst.counts.failed(), worst.counts.judging());
    let (least, _) = share_bounds(own_failed, own_judging, CHANCE);
    let (_, most) = share_bounds(failed, judging, CHANCE);
    if least <= most || share(worst) < next + MORE_FAILURES {
        return None;
    }
    let summary = format!(
        "this target fails {:.1}% of requests, and the {} others of the profile at most {:.1}%",
        share(worst) * 100.0,
        known.len() - 1,
        next * 100.0
    );
    let evidence = vec![
        number("failed_of_this_target", share(worst), EvidenceUnit::Share),
        number("failed_of_the_others", failed as f64 / judging.max(1) as f64, EvidenceUnit::Share),
        number("most_failed_of_the_others", next, EvidenceUnit::Share),
        number("requests", own_judging as f64, EvidenceUnit::Requests),
        number("requests_of_the_others", judging as f64, EvidenceUnit::Requests),
    ];
    Some(found(&worst.plan, &"".into(), DiagnosisPattern::BadTarget, summary, evidence))
}

/// Questions about documents wait much longer than other requests to the same target.
pub(super) fn retrieval(pairs: &[&PairRequests]) -> Vec<Diagnosis> {
    pairs.iter().filter_map(|pair| slow_retrieval(pair, pairs)).collect()
}

fn slow_retrieval(pair: &PairRequests, pairs: &[&PairRequests]) -> Option<Diagnosis> {
    let of_documents = pair.by_step(RequestSample::answered).filter(|(step, _)| asks_documents(pair, step));
    let (step, questions) = of_documents.max_by_key(|(_, samples)| samples.len())?;
    let same_target = pairs.iter().filter(|other| other.plan.pair.target == pair.plan.pair.target);
    let mut chat: Vec<&RequestSample> = Vec::new();
    for other in same_target {
        let plain = other
            .by_step(RequestSample::answered)
            .filter(|(step, _)| generates(other, step) && !asks_documents(other, step));
        chat.extend(plain.flat_map(|(_, samples)| samples));
    }
    let of = |part: &[&RequestSample], value: fn(&RequestSample) -> Option<f64>| {
        median(part.iter().filter_map(|sample| value(sample)))
    };
    // The first tokens can be compared if both are streamed; whole answers if they are of about the same length.
    let all = || questions.iter().chain(&chat);
    let streamed = all().all(|sample| sample.first_token.is_some());
    let outputs = of(&questions, |it| it.output).zip(of(&chat, |it| it.output));
    if !streamed && outputs.is_none_or(|(own, other)| own > SAME_LENGTH * other) {
        return None;
    }
    let time = |sample: &&RequestSample| if streamed { sample.wait() } else { sample.duration };
    let times = |part: &[&RequestSample]| part.iter().map(time).collect::<Vec<_>>();
    let excess = Excess::of(&times(&questions), &times(&chat), RETRIEVAL.0)?;
    let (prompt, other_prompt) =
        (of(&questions, |it| it.input).unwrap_or(0.0), of(&chat, |it| it.input).unwrap_or(0.0));
    let (more, explained) = (excess.high - excess.low, (prompt - other_prompt).max(0.0) / SLOWEST_PREFILL);
    if more < RETRIEVAL.1 || explained > more / 2.0 {
        return None;
    }
    let summary = format!(
        "questions about documents take {:.1} times as long as other requests to this target, and their longer prompts \
         do not explain it: retrieval",
        excess.ratio()
    );
    let evidence = vec![
        number("time_of_questions", excess.high, EvidenceUnit::Seconds),
        number("time_of_others", excess.low, EvidenceUnit::Seconds),
        number("explained_by_prompts", explained, EvidenceUnit::Seconds),
        number("prompt_of_questions", prompt, EvidenceUnit::Tokens),
        number("prompt_of_others", other_prompt, EvidenceUnit::Tokens),
        requests("questions", questions.len()),
        requests("others", chat.len()),
        deviations(excess.z),
    ];
    Some(found(&pair.plan, &step.name, DiagnosisPattern::Retrieval, summary, evidence))
}

/// Whether an application retrieves documents for the requests of a step, by the words in its names.
fn asks_documents(pair: &PairRequests, step: &Step) -> bool {
    let StepAction::Http(http) = &step.action else { return false };
    let checks = step.expect.checks.iter().map(|check| &*check.name);
    let names = [&*pair.plan.pair.profile, &*step.name, &*http.route].into_iter().chain(checks);
    let shows = |word: &str| RETRIEVAL_WORDS.contains(&word.to_ascii_lowercase().as_str());
    http.reading.is_some() && names.flat_map(|name| name.split(|c: char| !c.is_alphanumeric())).any(shows)
}

/// Whether a model generates the answers of a step.
fn generates(pair: &PairRequests, step: &Step) -> bool {
    match &step.action {
        StepAction::Ask(_) => pair.plan.target.api.generates(),
        StepAction::Http(http) => http.reading.is_some(),
    }
}

/// Most of the cost of a target comes from a profile with few, expensive requests.
pub(super) fn cost(pairs: &[&PairRequests]) -> Vec<Diagnosis> {
    let mut targets: BTreeMap<_, Vec<&PairRequests>> = BTreeMap::new();
    for pair in pairs {
        targets.entry(&pair.plan.pair.target).or_default().push(pair);
    }
    let of_target = |all: &Vec<&PairRequests>| {
        all.iter().filter_map(|pair| out_of_proportion(pair, all)).collect::<Vec<_>>()
    };
    targets.values().flat_map(of_target).collect()
}

fn out_of_proportion(pair: &PairRequests, all: &[&PairRequests]) -> Option<Diagnosis> {
    let (mut n, mut cost) = (0, 0.0);
    let mut others: Vec<f64> = Vec::new();
    for other in all.iter().filter(|other| other.plan.pair != pair.plan.pair) {
        (n, cost) = (n + other.counts.priced.0, cost + other.counts.priced.1);
        others.extend(other.samples.iter().filter_map(|sample| sample.cost));
    }
    let (own_n, own_cost) = pair.counts.priced;
    let own: Vec<f64> = pair.samples.iter().filter_map(|sample| sample.cost).collect();
    let (times, least, most) = COST;
    let excess = Excess::of(&own, &others, times)?;
    let (each, of_others) = (own_cost / own_n.max(1) as f64, cost / n.max(1) as f64);
    let (cost_share, share) = (own_cost / (own_cost + cost), own_n as f64 / (own_n + n) as f64);
    if each < times * of_others || cost_share < least || share > most {
        return None;
    }
    let tokens = |value: fn(&RequestSample) -> Option<f64>| median(pair.samples.iter().filter_map(value));
    let summary = format!(
        "{:.0}% of the cost at this target comes from this profile, which sends {:.0}% of the requests",
        cost_share * 100.0,
        share * 100.0
    );
    let mut evidence = vec![
        number("part_of_cost", cost_share, EvidenceUnit::Share),
        number("part_of_requests", share, EvidenceUnit::Share),
        number("cost_of_a_request", each, EvidenceUnit::Cost),
        number("cost_of_a_request_of_others", of_others, EvidenceUnit::Cost),
    ];
    evidence.extend(tokens(|it| it.input).map(|n| number("input_p50", n, EvidenceUnit::Tokens)));
    evidence.extend(tokens(|it| it.output).map(|n| number("output_p50", n, EvidenceUnit::Tokens)));
    evidence.push(requests("requests", own.len()));
    evidence.push(deviations(excess.z));
    Some(found(&pair.plan, &"".into(), DiagnosisPattern::Cost, summary, evidence))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Requests, numbers};
    use super::*;
    use crate::event::{Failure, Outcome};

    const RATE: &str = "load: [{ for: 1m, rate: 10/s }]";

    /// The last of the targets `a`, `b`, `c` with a change.
    fn three(n: u32, change: impl FnMut(&mut RequestSample)) -> Vec<PairRequests> {
        let all = Requests::of("p", &["a", "b", "c"], RATE);
        let [a, b, c] = all.as_slice() else { panic!("three targets") };
        vec![a.healthy(n), b.healthy(n), c.with(n, change)]
    }

    fn refs(all: &[PairRequests]) -> Vec<&PairRequests> {
        all.iter().collect()
    }

    #[test]
    fn a_slow_target_among_its_siblings_is_named() {
        let slow =
            |sample: &mut RequestSample| sample.first_token = sample.first_token.map(|time| 2.0 * time);
        let found = bad_target(&refs(&three(60, slow)));
        assert_eq!((found.len(), &*found[0].target), (1, "c"));
        let [own, others] = numbers(&found[0], ["wait_of_this_target", "wait_of_the_others"]);
        assert!((1.8..2.2).contains(&(own / others)), "{found:?}");
        assert_eq!(bad_target(&refs(&three(60, |_| {}))), []);
        assert_eq!(bad_target(&refs(&three(19, slow))), [], "too few");
        assert_eq!(bad_target(&refs(&three(60, slow)[1..])), [], "of two, either may be the bad one");
        let a_little =
            |sample: &mut RequestSample| sample.first_token = sample.first_token.map(|time| 1.2 * time);
        assert_eq!(bad_target(&refs(&three(600, a_little))), []);
        // Where all differ, none is an outlier.
        let mut apart = three(60, |sample| sample.first_token = Some(0.9));
        apart[1].samples.iter_mut().for_each(|sample| sample.first_token = Some(0.4));
        assert_eq!(bad_target(&refs(&apart)), []);
    }

    #[test]
    fn a_failing_target_among_its_siblings_is_named() {
        let fails = |sample: &mut RequestSample| {
            if (sample.at * 10.0).round().rem_euclid(3.0) < 0.5 {
                sample.outcome = Outcome::Failed(Failure::Http5xx);
            }
        };
        let found = bad_target(&refs(&three(120, fails)));
        assert_eq!((found.len(), &*found[0].target), (1, "c"));
        assert_eq!(numbers(&found[0], ["failed_of_the_others"]), [0.0]);
        let mut two = three(120, fails);
        two[0].counts.ended[Outcome::Failed(Failure::Reset)] = 60;
        assert_eq!(bad_target(&refs(&two)), [], "another one fails as often");
    }

    const RAG: &str = "load: [{ for: 1m, rate: 10/s }], scenario: { steps: [{ name: query, post: /api/rag/query, \
                       json: { q: x }, read: { text: $.answer } }] }";

    /// A chat and questions about documents at the same target.
    fn chat_and_rag(change: impl FnMut(&mut RequestSample)) -> Vec<PairRequests> {
        vec![Requests::new(RATE).healthy(60), Requests::new(RAG).seeded(7).with(60, change)]
    }

    #[test]
    fn documents_that_take_their_time_are_told() {
        let slow = |sample: &mut RequestSample| {
            (sample.first_token, sample.input) = (sample.first_token.map(|time| time + 1.5), Some(1000.0));
        };
        let found = retrieval(&refs(&chat_and_rag(slow)));
        assert_eq!((found.len(), &*found[0].step), (1, "query"));
        let [own, others, explained] =
            numbers(&found[0], ["time_of_questions", "time_of_others", "explained_by_prompts"]);
        assert!(
            (1.6..1.8).contains(&own) && (0.18..0.22).contains(&others) && (explained - 0.3).abs() < 1e-9
        );
        let ordinary =
            |sample: &mut RequestSample| sample.first_token = sample.first_token.map(|time| time + 0.06);
        assert_eq!(retrieval(&refs(&chat_and_rag(ordinary))), []);
        let long = |sample: &mut RequestSample| {
            (sample.first_token, sample.input) = (sample.first_token.map(|time| time + 1.5), Some(4000.0));
        };
        assert_eq!(retrieval(&refs(&chat_and_rag(long))), [], "the prompts may explain it");
        assert_eq!(retrieval(&refs(&chat_and_rag(slow)[1..])), [], "nothing to compare with");
    }

    #[test]
    fn whole_answers_are_compared_if_they_are_as_long() {
        let whole = |more: f64, output: f64| {
            let mut all = chat_and_rag(|sample| {
                (sample.output, sample.duration) = (Some(output), sample.duration + more);
            });
            for sample in all.iter_mut().flat_map(|pair| &mut pair.samples) {
                sample.first_token = None;
            }
            retrieval(&refs(&all)).len()
        };
        assert_eq!((whole(3.0, 64.0), whole(3.0, 200.0), whole(0.06, 64.0)), (1, 0, 0));
    }

    #[test]
    fn words_and_not_parts_of_words_show_documents() {
        let shows = |name: &str, path: &str, expect: &str| {
            let profile = format!(
                "{RATE}, scenario: {{ steps: [{{ name: s, post: {path}, json: {{ q: x }}, read: {{ text: $.answer }}, \
                 expect: {{ {expect} }} }}] }}"
            );
            let pair = Requests::of(name, &["t"], &profile).remove(0).healthy(1);
            let step = std::sync::Arc::clone(&pair.plan.profile.scenario.steps[0]);
            asks_documents(&pair, &step)
        };
        assert!(shows("p", "/api/rag/query", "") && shows("rag-eu", "/query", ""));
        assert!(shows("p", "/query", "json: [{ path: $.citations, min_items: 1 }]"));
        assert!(!shows("p", "/drag/storage", "") && !shows("chat", "/api/chat", ""));
    }

    #[test]
    fn an_expensive_profile_among_cheap_ones_is_told() {
        let pairs = |cost: f64, n: u32| {
            let dear = Requests::of("dear", &["t"], RATE).remove(0).seeded(5);
            let dear = dear.with(n, |sample| sample.cost = Some(cost));
            vec![Requests::new(RATE).healthy(60), dear]
        };
        let found = cost(&refs(&pairs(0.01, 30)));
        assert_eq!((found.len(), &*found[0].profile), (1, "dear"));
        let [part, of_requests] = numbers(&found[0], ["part_of_cost", "part_of_requests"]);
        assert!((part - 0.3 / 0.36).abs() < 1e-9 && (of_requests - 1.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert_eq!(cost(&refs(&pairs(0.004, 30))), [], "four times");
        assert_eq!(cost(&refs(&pairs(0.01, 19))), [], "too few");
        assert_eq!(cost(&refs(&pairs(0.01, 600))), [], "it sends nearly all requests as well");
        assert_eq!(cost(&refs(&pairs(0.001, 30))), []);
    }
}
