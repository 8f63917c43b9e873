//! Rules about tokens: what of the prompt came from a cache, how long answers are, and what of them is reasoning.

use super::evidence::{
    EvidenceUnit, Excess, MIN_REQUESTS, deviations, median, number, requests, surely_more,
};
use super::sample::RequestSample;
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found, strongest};
use crate::detect::rank_sum;
use crate::event::{Failure, Outcome};
use crate::plan::{AskText, Step, StepAction};

/// A prompt is cached from this share of it on, and is not below the other share.
const CACHED: (f64, f64) = (0.5, 0.1);

/// A cached prompt begins at least this many times as soon.
const SOONER: f64 = 1.5;

/// Prompts can be compared if their median lengths are within this factor.
const ALIKE: f64 = 2.0;

/// In tokens: where prompts are shorter, a cache hardly matters.
const MIN_PROMPT: f64 = 256.0;

/// Most requests: surely more than this share of them.
const MOST: f64 = 0.5;

/// The length of answers has drifted if it changed by this factor.
const DRIFT: f64 = 1.25;

/// Answers that reasoning cut off are told from this share on.
const CUT: f64 = 0.05;

/// Reasoning is to blame for a cut if at least this share of the answer is reasoning.
const REASONING: f64 = 0.5;

/// The prefix cache decides when answers begin: because it was hit sometimes, or nearly always.
pub(super) fn prefix_cache(pair: &PairRequests) -> Option<Diagnosis> {
    // A pair of a cold and a warm request measures the cache on purpose.
    if pair.plan.profile.scenario.is_cache_pair() {
        return None;
    }
    let known = |sample: &RequestSample| {
        let long = sample.input.is_some_and(|input| input >= MIN_PROMPT);
        sample.answered() && long && sample.cached_share().is_some()
    };
    let of_step = |step: &Step, samples: &[&RequestSample]| {
        let share = |sample: &RequestSample| sample.cached_share().unwrap_or(0.0);
        let (hits, rest): (Vec<&RequestSample>, Vec<&RequestSample>) =
            samples.iter().copied().partition(|sample| share(sample) >= CACHED.0);
        let misses: Vec<_> = rest.into_iter().filter(|sample| share(sample) < CACHED.1).collect();
        let cached = median(samples.iter().map(|sample| share(sample)))?;
        let say = |summary, evidence| {
            found(&pair.plan, &step.name, DiagnosisPattern::PrefixCache, summary, evidence)
        };
        if let Some((excess, evidence)) = hits_are_sooner(&hits, &misses) {
            let summary = format!(
                "prompts that the prefix cache knows begin {:.1} times as soon as others: it depends on the cache what is \
                 measured",
                excess.ratio()
            );
            return Some((excess.z, say(summary, evidence)));
        }
        let all = samples.len();
        if hits.len() < MIN_REQUESTS || !surely_more(hits.len() as u64, all as u64, MOST) {
            return None;
        }
        let hit_share = hits.len() as f64 / all as f64;
        let summary = format!(
            "{:.0}% of prompts come from the prefix cache: the time to first token is that of a warm cache",
            hit_share * 100.0
        );
        let evidence = vec![
            number("cached_prompts", hit_share, EvidenceUnit::Share),
            number("cached_part_p50", cached, EvidenceUnit::Share),
            number("time_of_cached", median(hits.iter().map(|it| it.wait()))?, EvidenceUnit::Seconds),
            requests("requests", all),
        ];
        Some((hit_share, say(summary, evidence)))
    };
    strongest(pair.by_step(known).filter_map(|(step, samples)| of_step(step, &samples)))
}

fn hits_are_sooner(
    hits: &[&RequestSample],
    misses: &[&RequestSample],
) -> Option<(Excess, Vec<super::EvidenceNumber>)> {
    let tokens = |part: &[&RequestSample]| median(part.iter().filter_map(|sample| sample.input));
    let (of_hits, of_misses) = (tokens(hits)?, tokens(misses)?);
    let waits = |part: &[&RequestSample]| part.iter().map(|sample| sample.wait()).collect::<Vec<_>>();
    let excess = Excess::of(&waits(misses), &waits(hits), SOONER)?;
    if of_misses > ALIKE * of_hits {
        return None;
    }
    let evidence = vec![
        number("time_of_cached", excess.low, EvidenceUnit::Seconds),
        number("time_of_others", excess.high, EvidenceUnit::Seconds),
        number("prompt_of_cached", of_hits, EvidenceUnit::Tokens),
        number("prompt_of_others", of_misses, EvidenceUnit::Tokens),
        number("cached_prompts", hits.len() as f64 / (hits.len() + misses.len()) as f64, EvidenceUnit::Share),
        requests("requests", hits.len() + misses.len()),
        deviations(excess.z),
    ];
    Some((excess, evidence))
}

/// Answers have become longer or shorter, although the same is asked.
pub(super) fn output_length_drift(pair: &PairRequests) -> Option<Diagnosis> {
    let known = |sample: &RequestSample| {
        // Answers that are cut, or of which reasoning left nothing, were as long as they could be.
        let whole = sample.answered() || sample.outcome == Outcome::Failed(Failure::Exhausted);
        whole && sample.output.is_some()
    };
    let steps = pair.by_step(known).filter(|(step, _)| asks_alike(step));
    strongest(steps.filter_map(|(step, samples)| {
        // Where limits are drawn, answers are as long as the draws, so it is the part of the limit that counts.
        let limited = samples.iter().all(|sample| sample.asked.is_some_and(|asked| asked > 0.0));
        let length = |sample: &&RequestSample| {
            let limit = if limited { sample.asked? } else { 1.0 };
            Some(sample.output? / limit)
        };
        let (early, late) = samples.split_at(samples.len() / 2);
        if early.len() < MIN_REQUESTS {
            return None;
        }
        let lengths = |part: &[&RequestSample]| part.iter().filter_map(length).collect::<Vec<_>>();
        let (before, after) = (lengths(early), lengths(late));
        let z = rank_sum(&after, &before)?;
        let excess = if z > 0.0 { Excess::of(&after, &before, DRIFT) } else { Excess::of(&before, &after, DRIFT) }?;
        let tokens = |part: &[&RequestSample]| median(part.iter().filter_map(|sample| sample.output));
        let (before, after) = (tokens(early)?, tokens(late)?);
        let way = if z > 0.0 { "longer" } else { "shorter" };
        let summary = format!(
            "answers have become {way}, from {before:.0} to {after:.0} tokens, although the same is asked: durations and \
             cost follow from that"
        );
        let evidence = vec![
            number("output_before", before, EvidenceUnit::Tokens),
            number("output_after", after, EvidenceUnit::Tokens),
            number("changed_by", excess.ratio(), EvidenceUnit::Times),
            requests("requests", samples.len()),
            deviations(excess.z),
        ];
        Some((excess.z, found(&pair.plan, &step.name, DiagnosisPattern::OutputLengthDrift, summary, evidence)))
    }))
}

/// Whether the requests of a step ask for the same at all times. Rows of a dataset and of a trace come in an order of
/// their own.
fn asks_alike(step: &Step) -> bool {
    match &step.action {
        StepAction::Ask(ask) => !matches!(ask.text, AskText::Dataset { .. } | AskText::Trace { .. }),
        StepAction::Http(_) => true,
    }
}

/// Reasoning leaves nothing, or only a part, of the limit for the answer itself.
pub(super) fn reasoning_ate_limit(pair: &PairRequests) -> Option<Diagnosis> {
    let exhausted = |sample: &RequestSample| sample.outcome == Outcome::Failed(Failure::Exhausted);
    let known = |sample: &RequestSample| (sample.answered() || exhausted(sample)) && sample.output.is_some();
    strongest(pair.by_step(known).filter_map(|(step, samples)| {
        let is_cut = |sample: &RequestSample| {
            sample.cut && sample.reasoning >= REASONING * sample.output.unwrap_or(f64::INFINITY)
        };
        let cut: Vec<_> = samples.iter().filter(|sample| exhausted(sample) || is_cut(sample)).collect();
        let (hits, all) = (cut.len(), samples.len());
        if all < MIN_REQUESTS || !surely_more(hits as u64, all as u64, CUT) {
            return None;
        }
        let share = hits as f64 / all as f64;
        let nothing = cut.iter().filter(|sample| exhausted(sample)).count();
        let reasoning = median(cut.iter().map(|sample| sample.reasoning))?;
        let summary = format!(
            "reasoning used up the limit on the output of {:.0}% of requests before the answer was complete",
            share * 100.0
        );
        let mut evidence = vec![
            number("cut_off", share, EvidenceUnit::Share),
            number("without_an_answer", nothing as f64 / all as f64, EvidenceUnit::Share),
            number("reasoning_p50", reasoning, EvidenceUnit::Tokens),
        ];
        let asked = median(cut.iter().filter_map(|sample| sample.asked));
        evidence.extend(asked.map(|asked| number("limit_p50", asked, EvidenceUnit::Tokens)));
        evidence.push(requests("requests", all));
        Some((share, found(&pair.plan, &step.name, DiagnosisPattern::ReasoningAteLimit, summary, evidence)))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Requests, numbers};
    use super::*;

    const RATE: &str = "load: [{ for: 1m, rate: 10/s }]";

    fn is_nth(sample: &RequestSample, n: f64) -> bool {
        (sample.at * 10.0).round().rem_euclid(n) < 0.5
    }

    fn cached(sample: &mut RequestSample) {
        sample.cached = Some(360.0);
        sample.first_token = sample.first_token.map(|time| time / 3.0);
    }

    #[test]
    fn hits_of_the_prefix_cache_are_told_from_misses() {
        let half = |sample: &mut RequestSample| {
            if is_nth(sample, 2.0) {
                cached(sample);
            }
        };
        let found = prefix_cache(&Requests::new(RATE).with(60, half)).unwrap();
        let [hit, miss] = numbers(&found, ["time_of_cached", "time_of_others"]);
        assert!((2.7..3.3).contains(&(miss / hit)) && found.summary.contains("times as soon"), "{found:?}");
        let found = prefix_cache(&Requests::new(RATE).with(60, cached)).unwrap();
        assert!(found.summary.starts_with("100% of prompts come from the prefix cache"), "{}", found.summary);
        assert!(prefix_cache(&Requests::new(RATE).healthy(60)).is_none());
        assert!(prefix_cache(&Requests::new(RATE).with(19, cached)).is_none(), "too few");
        let short = |sample: &mut RequestSample| (sample.input, sample.cached) = (Some(60.0), Some(48.0));
        assert!(prefix_cache(&Requests::new(RATE).with(60, short)).is_none(), "a short prompt");
        let unreported = |sample: &mut RequestSample| sample.cached = None;
        assert!(prefix_cache(&Requests::new(RATE).with(60, unreported)).is_none());
        let rare = |sample: &mut RequestSample| {
            if is_nth(sample, 10.0) {
                sample.cached = Some(360.0);
            }
        };
        assert!(prefix_cache(&Requests::new(RATE).with(600, rare)).is_none(), "hits that change nothing");
    }

    #[test]
    fn a_cache_pair_measures_the_cache_on_purpose() {
        let pair = "load: [{ for: 1m, rate: 10/s }], workload: { output_tokens: 9, \
                    cache_pair: { prefix_tokens: 2000, gap: 1s, question: Why? } }";
        assert!(prefix_cache(&Requests::new(pair).with(60, cached)).is_none());
    }

    #[test]
    fn answers_that_become_shorter_or_longer_are_told() {
        let from_half = |factor: f64| {
            move |sample: &mut RequestSample| {
                if sample.at >= 6.0 {
                    sample.output = sample.output.map(|n| (n * factor).round());
                }
            }
        };
        let found = output_length_drift(&Requests::new(RATE).with(120, from_half(0.5))).unwrap();
        assert!(found.summary.contains("shorter"), "{}", found.summary);
        let [before, after] = numbers(&found, ["output_before", "output_after"]);
        assert!((60.0..68.0).contains(&before) && (30.0..34.0).contains(&after), "{found:?}");
        let longer = output_length_drift(&Requests::new(RATE).with(120, from_half(1.5))).unwrap();
        assert!(longer.summary.contains("longer"), "{}", longer.summary);
        assert!(output_length_drift(&Requests::new(RATE).healthy(120)).is_none());
        assert!(output_length_drift(&Requests::new(RATE).with(120, from_half(1.1))).is_none(), "a little");
        assert!(
            output_length_drift(&Requests::new(RATE).with(39, |sample| {
                sample.output = Some(if sample.at < 2.0 { 60.0 } else { 30.0 });
            }))
            .is_none(),
            "too few"
        );
        // The limits are drawn, and the answers are as long as they may be.
        let drawn = |sample: &mut RequestSample| {
            sample.asked = Some(if sample.at < 6.0 { 50.0 } else { 100.0 });
            sample.output = sample.asked;
        };
        assert!(output_length_drift(&Requests::new(RATE).with(120, drawn)).is_none());
    }

    #[test]
    fn reasoning_that_leaves_no_room_is_told() {
        let exhausted = |sample: &mut RequestSample| {
            if is_nth(sample, 3.0) {
                sample.outcome = Outcome::Failed(Failure::Exhausted);
                (sample.output, sample.reasoning, sample.cut) = (Some(128.0), 128.0, true);
            }
        };
        let found = reasoning_ate_limit(&Requests::new(RATE).with(60, exhausted)).unwrap();
        assert_eq!(numbers(&found, ["reasoning_p50", "limit_p50"]), [128.0, 128.0]);
        assert!((numbers(&found, ["without_an_answer"])[0] - 1.0 / 3.0).abs() < 1e-9, "{found:?}");
        let cut = |sample: &mut RequestSample| (sample.reasoning, sample.cut) = (60.0, true);
        let found = reasoning_ate_limit(&Requests::new(RATE).with(60, cut)).unwrap();
        assert_eq!(numbers(&found, ["cut_off", "without_an_answer"]), [1.0, 0.0]);
        assert!(reasoning_ate_limit(&Requests::new(RATE).healthy(60)).is_none());
        assert!(reasoning_ate_limit(&Requests::new(RATE).with(60, |sample| sample.cut = true)).is_none());
        assert!(
            reasoning_ate_limit(&Requests::new(RATE).with(60, |sample| sample.reasoning = 60.0)).is_none()
        );
        assert!(reasoning_ate_limit(&Requests::new(RATE).with(19, cut)).is_none(), "too few");
    }
}
