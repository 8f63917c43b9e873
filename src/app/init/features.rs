//! Explores the features of an endpoint with a few requests: streaming, usage, caches, reasoning, output limits, seeds
//! and the matching tokenizer.

use super::Narrator;
use super::trial::{TrialAnswer, TrialAsk, TrialRunner};
use crate::client::TextCounter;
use crate::event::{Count, CountSource, Outcome};
use crate::identify::EndpointFindings;
use crate::plan::{Api, Tokenizer};
use serde_json::{Map, Value, json};

/// A prompt with a long answer, which exceeds a small output limit.
const LONG: &str = "Count from one to two hundred in words, separated by commas. Do not stop early.";
/// A prompt that is answered differently each time.
const FREE: &str = "Write one sentence about a lighthouse.";
/// A short text, and two texts that tokenizers split differently. A chat template adds the same number of tokens to
/// each.
const TEXTS: [&str; 3] = [
    "Reply with the word ok.",
    "Reply with the word ok. Съешь же ещё этих мягких французских булок, да выпей чаю. 東京は日本の首都であり、世界最大級の都市です。 \
     नमस्ते दुनिया, आप कैसे हैं? Ένα δύο τρία τέσσερα πέντε.",
    "Reply with the word ok. fn main() { let xs: Vec<u32> = (0..1_000_000).collect(); println!(\"{:?}\", xs.iter().sum::<u32>()); } \
     다람쥐 헌 쳇바퀴에 타고파. Zażółć gęślą jaźń. הקוסם הזה",
];
/// Accepted deviation of a difference, in tokens, because a tokenizer may merge the end of a text with what follows.
const TOLERANCE: u64 = 1;

/// Explores the features and adds them to the findings. `first` is the answer to the request that found the dialect.
pub(super) async fn explore(
    findings: &mut EndpointFindings,
    first: &TrialAnswer,
    trials: &mut TrialRunner,
    narrator: &Narrator,
) -> anyhow::Result<()> {
    streaming(findings, first, narrator);
    let whole = whole(findings, trials).await?;
    usage(findings, first, whole.as_ref(), narrator);
    if findings.limit.is_some() {
        max_tokens(findings, whole.as_ref(), narrator);
        let seeds = seeds(findings, trials).await?;
        narrator.fact(findings, "seed", &seeds);
    }
    tokenizer(findings, trials, narrator).await
}

fn streaming(findings: &mut EndpointFindings, first: &TrialAnswer, narrator: &Narrator) {
    if !findings.api.generates() {
        return narrator.fact(findings, "streaming", "nothing is generated, and nothing streamed");
    }
    let said = match (findings.streams, first.request.observed.streamed) {
        (true, true) => "yes",
        (true, false) => "no: a stream was asked for, and the answer came whole",
        (false, _) => "no: it is refused",
    };
    findings.streams &= first.request.observed.streamed;
    narrator.fact(findings, "streaming", said);
}

/// Requests a long answer that is not streamed.
async fn whole(findings: &EndpointFindings, trials: &mut TrialRunner) -> anyhow::Result<Option<TrialAnswer>> {
    if findings.limit.is_none() {
        return Ok(None);
    }
    let ask = TrialAsk { stream: false, ..TrialAsk::one(findings, LONG) };
    let answer = trials.play(findings, &ask).await?.pop();
    Ok(answer.filter(|answer| answer.request.outcome == Outcome::Ok))
}

fn usage(
    findings: &mut EndpointFindings,
    first: &TrialAnswer,
    whole: Option<&TrialAnswer>,
    narrator: &Narrator,
) {
    let reported = |answer: &TrialAnswer| {
        let tokens = &answer.request.observed.tokens;
        let by_server = |count: Option<Count>| count.is_some_and(|count| count.source == CountSource::Usage);
        by_server(tokens.output) || by_server(tokens.input)
    };
    let (in_first, in_whole) = (reported(first), whole.is_some_and(reported));
    let said = match (findings.streams, in_first, in_whole) {
        (true, true, true) => "reported in streams and in whole answers",
        (true, true, false) => "reported in streams",
        (true, false, true) => "reported in whole answers, and not in streams",
        (false, true, _) | (_, _, true) => "reported",
        _ => "not reported",
    };
    narrator.fact(findings, "usage", said);
    if !in_first {
        let line = format!(
            "targets.{}.tokenizer counts where the server does not; without it chunks are counted, an estimate",
            findings.name
        );
        findings.leave_open("tokens", line);
    }
    let any = |part: &dyn Fn(&TrialAnswer) -> Option<u64>| {
        [Some(first), whole].into_iter().flatten().filter_map(part).max()
    };
    let told = |found: Option<u64>| if found.is_some() { "reported" } else { "not reported" };
    let cached = told(any(&|answer| answer.request.observed.tokens.cached_input)).to_owned();
    narrator.fact(findings, "cached", &format!("input tokens from a cache are {cached}"));
    if findings.api.generates() {
        let reasoning = any(&|answer| answer.request.observed.tokens.reasoning);
        let said = match reasoning {
            Some(tokens) if tokens > 0 => format!("the model reasons: {tokens} tokens of an answer"),
            found => format!("reasoning tokens are {}", told(found)),
        };
        narrator.fact(findings, "reasoning", &said);
    }
}

fn max_tokens(findings: &mut EndpointFindings, whole: Option<&TrialAnswer>, narrator: &Narrator) {
    let Some(limit) = findings.limit else { return };
    let name = if limit.as_max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    let output = whole.and_then(|answer| answer.request.observed.tokens.output);
    let finish = whole.and_then(|answer| answer.request.observed.finish_reason.clone()).unwrap_or_default();
    let at_limit =
        ["length", "max", "incomplete"].iter().any(|word| finish.to_ascii_lowercase().contains(word));
    let said = match output.filter(|count| count.source == CountSource::Usage).map(|count| count.n) {
        Some(n) if n > limit.tokens => format!("not honoured: {} were asked for, and {n} came", limit.tokens),
        Some(n) if n == limit.tokens || at_limit => {
            format!("honoured: {n} came of {}, finish reason {finish}", limit.tokens)
        }
        Some(n) => format!("not known: the answer ended by itself after {n} tokens"),
        None if at_limit => format!("honoured, by the finish reason {finish}"),
        None => "not known: there was no whole answer with a count".to_owned(),
    };
    if !said.starts_with("honoured") {
        let line = format!(
            "profiles.probe.workload.output_tokens: {} may not bound what an answer costs",
            limit.tokens
        );
        findings.leave_open(name, line);
    }
    narrator.fact(findings, name, &said);
}

/// The parameters for a seed in a dialect, with a temperature at which the seed has an effect. `None` if the dialect
/// has no seed.
fn seeded(api: Api, seed: u64) -> Option<Map<String, Value>> {
    let params = match api {
        Api::OpenAiChat | Api::OpenAiCompletions => json!({ "seed": seed, "temperature": 1.0 }),
        Api::OllamaChat | Api::OllamaGenerate => json!({ "options": { "seed": seed, "temperature": 1.0 } }),
        Api::Gemini => json!({ "generationConfig": { "seed": seed, "temperature": 1.0 } }),
        Api::Tgi => json!({ "parameters": { "seed": seed, "do_sample": true } }),
        _ => return None,
    };
    params.as_object().cloned()
}

/// Checks whether seeds are honoured, by sending the same seed twice and then another one.
async fn seeds(findings: &EndpointFindings, trials: &mut TrialRunner) -> anyhow::Result<String> {
    let mut texts = Vec::new();
    for seed in [7, 7, 8] {
        let Some(params) = seeded(findings.api, seed) else { return Ok("the dialect has none".to_owned()) };
        let ask = TrialAsk { params, ..TrialAsk::one(findings, FREE) };
        let answer = trials.play(findings, &ask).await?.pop();
        let Some(answer) = answer.filter(|it| it.request.outcome == Outcome::Ok && !it.text.is_empty())
        else {
            return Ok("not known: a request with a seed was not answered with text".to_owned());
        };
        texts.push(answer.text);
    }
    Ok(of_seeds(&texts).to_owned())
}

fn of_seeds(texts: &[String]) -> &'static str {
    match texts {
        [first, second, _] if first != second => "not honoured: the same seed gave two texts",
        [first, _, third] if first == third => "not known: another seed gave the same text",
        [_, _, _] => "honoured: the same seed gave the same text, another one another",
        _ => "not known",
    }
}

/// Compares the server's token counts with those of the known tokenizers.
async fn tokenizer(
    findings: &mut EndpointFindings,
    trials: &mut TrialRunner,
    narrator: &Narrator,
) -> anyhow::Result<()> {
    if !findings.api.generates() {
        return Ok(());
    }
    let mut reported = Vec::new();
    for text in TEXTS {
        let ask = TrialAsk { stream: false, ..TrialAsk::one(findings, text) };
        let answer = trials.play(findings, &ask).await?.pop();
        let input = answer.and_then(|answer| answer.request.observed.tokens.input);
        match input.filter(|count| count.source == CountSource::Usage) {
            Some(count) => reported.push(count.n),
            None => break,
        }
    }
    let counts = |spec: &Tokenizer| -> Option<Vec<u64>> {
        let counter = TextCounter::load(spec).ok()?;
        TEXTS.iter().map(|text| counter.count(text)).collect()
    };
    let known = [("o200k_base", Tokenizer::O200kBase), ("cl100k_base", Tokenizer::Cl100kBase)];
    let fit = known.iter().find(|(_, spec)| counts(spec).is_some_and(|counted| fits(&reported, &counted)));
    findings.tokenizer = fit.map(|(name, _)| *name);
    let said = match (findings.tokenizer, reported.len() == TEXTS.len()) {
        (Some(name), _) => format!("{name}: it counts what the server counts"),
        (None, true) => "neither o200k_base nor cl100k_base counts what the server counts".to_owned(),
        (None, false) => "not known: the server does not count input tokens".to_owned(),
    };
    narrator.fact(findings, "tokenizer", &said);
    if findings.tokenizer.is_none() {
        let line =
            format!("targets.{}.tokenizer: {{ file: tokenizer.json }}, the file of the model", findings.name);
        findings.leave_open("tokenizer", line);
    }
    Ok(())
}

/// Whether the counts of a tokenizer match those of the server. Only the differences to the first text are compared.
fn fits(reported: &[u64], counted: &[u64]) -> bool {
    let (Some((first, rest)), Some((counted_first, counted_rest))) =
        (reported.split_first(), counted.split_first())
    else {
        return false;
    };
    let differs = |(reported, counted): (&u64, &u64)| {
        let (more, wanted) = (reported.checked_sub(*first), counted.checked_sub(*counted_first));
        more.zip(wanted).is_none_or(|(more, wanted)| more.abs_diff(wanted) > TOLERANCE)
    };
    rest.len() == counted_rest.len() && !rest.is_empty() && !rest.iter().zip(counted_rest).any(differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_fits_where_longer_texts_are_longer_by_the_same() {
        let counted = [6, 80, 90];
        assert!(fits(&[16, 90, 100], &counted), "the template adds ten");
        assert!(fits(&[16, 91, 100], &counted));
        assert!(!fits(&[16, 94, 104], &counted));
        assert!(!fits(&[16, 90], &counted), "one was not reported");
        assert!(!fits(&[100, 90, 80], &counted));
        assert!(!fits(&[], &[]));
    }

    #[test]
    fn the_tokenizers_differ_on_the_texts() {
        let count = |spec: &Tokenizer| {
            let counter = TextCounter::load(spec).unwrap();
            TEXTS.map(|text| counter.count(text).unwrap())
        };
        let (newer, older) = (count(&Tokenizer::O200kBase), count(&Tokenizer::Cl100kBase));
        assert!(fits(&newer, &newer) && fits(&older, &older));
        assert!(!fits(&newer, &older) && !fits(&older, &newer), "{newer:?} {older:?}");
        for index in [1, 2] {
            assert!(newer[index].abs_diff(older[index]) > 5, "{newer:?} {older:?}");
        }
    }

    #[test]
    fn seeds_are_honoured_if_they_matter() {
        let of = |texts: [&str; 3]| of_seeds(&texts.map(str::to_owned));
        assert!(of(["a", "a", "b"]).starts_with("honoured"));
        assert!(of(["a", "b", "a"]).starts_with("not honoured"));
        assert!(of(["a", "a", "a"]).starts_with("not known"));
    }

    #[test]
    fn a_seed_stands_where_the_dialect_has_it() {
        assert_eq!(seeded(Api::OllamaChat, 7).unwrap()["options"]["seed"], 7);
        assert_eq!(seeded(Api::Gemini, 7).unwrap()["generationConfig"]["seed"], 7);
        assert!(seeded(Api::Anthropic, 7).is_none());
    }
}
