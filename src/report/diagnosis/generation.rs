//! Rules about the speed of the engine: decoding and prefill.

use super::evidence::{
    EvidenceUnit, Excess, MIN_REQUESTS, deviations, median, number, quantile, requests, surely_more,
};
use super::sample::RequestSample;
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found, strongest};

/// Time per output token from which on an answer is slow: ten tokens a second, which is about as fast as people read. A
/// profile that says how fast its readers read has its own.
const SLOW_TOKEN: f64 = 0.1;

/// Part of the duration that decoding takes at least in a decode-bound answer.
const DECODE_SHARE: f64 = 0.8;

/// Number of output tokens from which on an answer says something about decoding.
const MIN_TOKENS: f64 = 8.0;

/// Most answers: surely more than this share of them.
const MOST: f64 = 0.5;

/// Long prompts are at least this many times as long as short ones, and take this many times as long.
const LONGER: (f64, f64) = (2.0, 2.0);

/// The shortest prompts are this share of them, and the longest ones as many.
const SHORTEST: f64 = 0.3;

/// Prefill that is slower than this, in tokens per second, is slow for any engine on a GPU.
const SLOW_PREFILL: f64 = 2000.0;

/// From this time to first token on, in seconds, a long prompt is a nuisance.
const SLOW_FIRST_TOKEN: f64 = 0.5;

/// Answers begin soon and go on slowly.
pub(super) fn decode_bound(pair: &PairRequests) -> Option<Diagnosis> {
    let slow = pair.plan.profile.fluidity.map_or(SLOW_TOKEN, |readers| readers.next.as_secs_f64());
    let whole = |sample: &RequestSample| {
        let enough = sample.output.is_some_and(|n| n >= MIN_TOKENS);
        sample.answered() && enough && sample.per_token.is_some() && sample.decode.is_some()
    };
    strongest(pair.by_step(whole).filter_map(|(step, samples)| {
        let decode_share =
            |sample: &RequestSample| sample.decode.unwrap_or(0.0) / sample.duration.max(f64::EPSILON);
        let is_slow = |sample: &&&RequestSample| {
            sample.per_token.is_some_and(|time| time > slow) && decode_share(sample) > DECODE_SHARE
        };
        let (hits, all) = (samples.iter().filter(is_slow).count(), samples.len());
        if all < MIN_REQUESTS || !surely_more(hits as u64, all as u64, MOST) {
            return None;
        }
        let of = |value: fn(&RequestSample) -> Option<f64>| median(samples.iter().filter_map(|it| value(it)));
        let (per_token, first) = (of(|it| it.per_token)?, of(|it| it.first_token)?);
        let summary = format!(
            "answers begin soon and go on slowly, with {:.1} tokens a second: bound by decoding",
            1.0 / per_token
        );
        let evidence = vec![
            number("time_to_first_token_p50", first, EvidenceUnit::Seconds),
            number("time_per_output_token_p50", per_token, EvidenceUnit::Seconds),
            number("slow_means_more_than", slow, EvidenceUnit::Seconds),
            number(
                "decode_part_of_duration",
                median(samples.iter().map(|it| decode_share(it)))?,
                EvidenceUnit::Share,
            ),
            number("slow_answers", hits as f64 / all as f64, EvidenceUnit::Share),
            requests("requests", all),
        ];
        let strength = hits as f64 / all as f64;
        Some((strength, found(&pair.plan, &step.name, DiagnosisPattern::DecodeBound, summary, evidence)))
    }))
}

/// The time to first token rises with the length of the prompt, and is long.
pub(super) fn prefill_bound(pair: &PairRequests) -> Option<Diagnosis> {
    let known =
        |sample: &RequestSample| sample.answered() && sample.first_token.is_some() && work(sample).is_some();
    strongest(pair.by_step(known).filter_map(|(step, samples)| {
        let tokens = |share| quantile(samples.iter().filter_map(|sample| work(sample)), share);
        let (low, high) = (tokens(SHORTEST)?, tokens(1.0 - SHORTEST)?);
        let part = |within: &dyn Fn(f64) -> bool| {
            let of_part = |sample: &&&RequestSample| work(sample).is_some_and(within);
            samples.iter().filter(of_part).copied().collect::<Vec<_>>()
        };
        let (short, long) = (part(&|n| n <= low), part(&|n| n >= high));
        let tokens = |part: &[&RequestSample]| median(part.iter().filter_map(|sample| work(sample)));
        let (few, many) = (tokens(&short)?, tokens(&long)?);
        if many < LONGER.0 * few.max(1.0) {
            return None;
        }
        let waits = |part: &[&RequestSample]| part.iter().map(|sample| sample.wait()).collect::<Vec<_>>();
        let excess = Excess::of(&waits(&long), &waits(&short), LONGER.1)?;
        let duration = median(long.iter().map(|sample| sample.duration))?;
        let pace = (many - few) / (excess.high - excess.low).max(f64::EPSILON);
        if excess.high < SLOW_FIRST_TOKEN || pace > SLOW_PREFILL || excess.high < duration / 2.0 {
            return None;
        }
        let summary = format!(
            "the first token of a long prompt takes {:.1} times as long as that of a short one, and most of the answer's \
             time: bound by prefill",
            excess.ratio()
        );
        let evidence = vec![
            number("short_prompt", few, EvidenceUnit::Tokens),
            number("long_prompt", many, EvidenceUnit::Tokens),
            number("time_to_first_token_of_short", excess.low, EvidenceUnit::Seconds),
            number("time_to_first_token_of_long", excess.high, EvidenceUnit::Seconds),
            number("duration_of_long", duration, EvidenceUnit::Seconds),
            number("prefill", pace, EvidenceUnit::TokensPerSecond),
            requests("requests", short.len() + long.len()),
            deviations(excess.z),
        ];
        Some((excess.z, found(&pair.plan, &step.name, DiagnosisPattern::PrefillBound, summary, evidence)))
    }))
}

/// Tokens of the prompt that did not come from a cache.
fn work(sample: &RequestSample) -> Option<f64> {
    Some((sample.input? - sample.cached.unwrap_or(0.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Requests, numbers};
    use super::*;

    const RATE: &str = "load: [{ for: 1m, rate: 10/s }]";

    /// Seven times as slow, so that a token takes 140 ms.
    fn slow(sample: &mut RequestSample) {
        let decode = sample.decode.unwrap() * 7.0;
        sample.per_token = sample.per_token.map(|time| time * 7.0);
        (sample.decode, sample.duration) = (Some(decode), sample.duration + decode);
    }

    #[test]
    fn a_fast_first_token_and_a_slow_end_are_bound_by_decoding() {
        let found = decode_bound(&Requests::new(RATE).with(60, slow)).unwrap();
        let [first, per_token] = numbers(&found, ["time_to_first_token_p50", "time_per_output_token_p50"]);
        assert!((0.18..0.22).contains(&first) && (0.13..0.15).contains(&per_token), "{found:?}");
        assert!(decode_bound(&Requests::new(RATE).healthy(60)).is_none());
        assert!(decode_bound(&Requests::new(RATE).with(19, slow)).is_none(), "too few");
        let first_too = |sample: &mut RequestSample| {
            slow(sample);
            sample.duration += 10.0;
        };
        assert!(
            decode_bound(&Requests::new(RATE).with(60, first_too)).is_none(),
            "the first token is slow, too"
        );
        let short = |sample: &mut RequestSample| {
            slow(sample);
            sample.output = Some(4.0);
        };
        assert!(decode_bound(&Requests::new(RATE).with(60, short)).is_none(), "a few tokens say little");
    }

    #[test]
    fn readers_say_what_slow_is() {
        let readers = |next: &str| {
            let profile = format!("{RATE}, fluidity: {{ first: 1s, next: {next} }}");
            decode_bound(&Requests::new(&profile).with(60, slow)).is_some()
        };
        assert!(readers("50ms") && !readers("200ms"));
    }

    /// Every third prompt has 400 tokens, every third 2,000, and the others are in between.
    fn prompts(sample: &mut RequestSample, seconds_per_token: f64) {
        let input = 400.0 + 800.0 * (sample.at * 10.0).round().rem_euclid(3.0);
        let first = sample.first_token.unwrap() + input * seconds_per_token;
        (sample.input, sample.first_token) = (Some(input), Some(first));
        sample.duration = first + 0.3;
    }

    #[test]
    fn long_prompts_that_wait_are_bound_by_prefill() {
        let found = prefill_bound(&Requests::new(RATE).with(90, |sample| prompts(sample, 0.001))).unwrap();
        assert_eq!(numbers(&found, ["short_prompt", "long_prompt"]), [400.0, 2000.0]);
        assert!((900.0..1100.0).contains(&numbers(&found, ["prefill"])[0]), "{found:?}");
        assert!(
            prefill_bound(&Requests::new(RATE).with(45, |sample| prompts(sample, 0.001))).is_none(),
            "too few"
        );
        let healthy = Requests::new(RATE).with(90, |sample| prompts(sample, 0.000_05));
        assert!(prefill_bound(&healthy).is_none(), "20,000 tokens a second");
        assert!(prefill_bound(&Requests::new(RATE).healthy(90)).is_none(), "prompts of one length");
        let cached = Requests::new(RATE).with(90, |sample| {
            prompts(sample, 0.001);
            sample.cached = sample.input.map(|input| input - 100.0);
        });
        assert!(prefill_bound(&cached).is_none(), "the work is the same");
        let long_answers = Requests::new(RATE).with(90, |sample| {
            prompts(sample, 0.001);
            sample.duration += 20.0;
        });
        assert!(prefill_bound(&long_answers).is_none(), "the prompt is not what takes time");
    }
}
