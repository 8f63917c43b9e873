//! Compiles workloads.

use super::{Findings, cache_pair, conversation, dataset, fingerprint, length, pattern, synthetic, trace};
use crate::config::{self, KeyPath, Prompt};
use crate::files::LARGEST;
use crate::limits;
use crate::plan::{
    ANSWER_COUNTS, AskStep, AskText, Cache, ConversationPlan, HistoryAnswers, LengthDistribution,
    OUTPUT_CAPS, OutputLength, PromptLengths, SyntheticPrompts, has_output_cap, param,
};
use crate::vocabulary::SummaryBy;
use serde_json::{Map, Value};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

/// Compiles a workload to its model call.
pub(super) fn compile(
    written: &config::Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskStep> {
    let config::Workload {
        prompts,
        synthetic,
        dataset,
        trace: recorded,
        cache_pair,
        conversation,
        fingerprint: prints,
        system,
        output_tokens,
        min_output_tokens,
        ignore_eos,
        cache,
        stream,
        params,
    } = written;
    check_params(params, "workload", &path.key("params"), findings);
    let output = output_tokens.as_ref().map(|it| length::compile(it, &path.key("output_tokens"), findings));
    let kinds = [
        ("prompts", prompts.is_some()),
        ("synthetic", synthetic.is_some()),
        ("dataset", dataset.is_some()),
        ("trace", recorded.is_some()),
        ("cache_pair", cache_pair.is_some()),
        ("conversation", conversation.is_some()),
        ("fingerprint", prints.is_some()),
    ];
    findings.only_one(path, &kinds)?;
    let system = system.as_deref();
    let text = match (prompts, dataset, recorded, cache_pair, conversation) {
        (Some(prompts), ..) => self::prompts(prompts, system, &path.key("prompts"), findings),
        (_, Some(dataset), ..) => dataset::compile(dataset, system, &path.key("dataset"), findings),
        (_, _, Some(recorded), ..) => trace::compile(recorded, written, path, findings),
        (.., Some(pair), _) => Some(cache_pair::compile(pair, written, path, findings)),
        (.., Some(conversation)) => conversation::compile(conversation, written, path, findings),
        _ => match prints {
            Some(prints) => fingerprint::compile(prints, written, path, findings),
            None => synthetic::compile(synthetic.as_ref()?, written, path, findings),
        },
    };
    let output = match output {
        None => None,
        Some(output) => Some(output?),
    };
    let text = text?;
    let output_tokens = match &text {
        AskText::Synthetic(SyntheticPrompts { lengths: PromptLengths::Joint(joint), .. }) => {
            Some(joint.output().max)
        }
        AskText::Dataset { dataset, order, .. } => {
            let size = dataset.size(*order);
            let rest = output.as_ref().map(LengthDistribution::max);
            // Rows without a length are unbounded if the workload has no length either.
            let every_row = size.output_tokens.1 >= 1.0;
            size.max_output_tokens.filter(|_| every_row || rest.is_some()).max(rest)
        }
        AskText::Trace { replay, .. } => Some(replay.trace.size().max_output),
        // One token tells the probabilities of all others in its place.
        _ => output.as_ref().map(LengthDistribution::max).or(prints.as_ref().map(|_| 1)),
    };
    let asks_for_summary = conversation.as_ref().and_then(|it| it.summarize.as_ref());
    if asks_for_summary.is_some_and(|it| it.by == SummaryBy::Model) && has_output_cap(params) {
        let message = "caps every answer, so that `summarize.tokens` would not be sent";
        findings.error(&path.key("params"), message);
    }
    if *ignore_eos && output_tokens.is_none() && !has_output_cap(params) {
        findings.error(&path.key("ignore_eos"), "needs `output_tokens`: an answer would have no end");
    }
    let lengths = output.filter(|lengths| lengths.only().is_none() || dataset.is_some());
    let of_conversation = conversation.as_ref().and_then(|it| it.synthetic.as_ref());
    let shares = synthetic.as_ref().is_some_and(|it| it.shared_prefix.is_some())
        || of_conversation.is_some_and(|it| it.shared_prefix.is_some());
    let keeps_answers = conversation.as_ref().is_some_and(|it| it.answers == HistoryAnswers::Own);
    let step = AskStep {
        text,
        output_tokens,
        output: OutputLength {
            lengths,
            min_tokens: min_output_tokens.map(NonZeroU64::get),
            ignore_eos: *ignore_eos,
        },
        cache: cache.unwrap_or(if shares || prints.is_some() { Cache::Reuse } else { Cache::Bust }),
        // What is compared is read from whole answers.
        stream: *stream && prints.is_none(),
        params: params.clone(),
        history: if keeps_answers { ConversationPlan::MAX_TURNS } else { 0 },
        stateful: false,
        fingerprint: prints.as_deref().map(fingerprint::settings),
    };
    if step.draws_output_tokens() && has_output_cap(params) {
        let message = "caps every answer, so that the length of each request would not be sent";
        findings.error(&path.key("params"), message);
    }
    Some(step)
}

/// Compiles fixed prompts.
fn prompts(
    written: &[Prompt],
    system: Option<&str>,
    at: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    let mut prompts: Vec<Arc<str>> = Vec::new();
    for (index, prompt) in written.iter().enumerate() {
        let path = at.index(index);
        match prompt {
            Prompt::Text(text) if text.trim().is_empty() => findings.error(&path, "must not be empty"),
            Prompt::Text(text) => prompts.push(text.as_str().into()),
            Prompt::File(file) => match lines(&file.file, findings) {
                Ok(lines) => prompts.extend(lines),
                Err(message) => findings.error(&path.key("file"), message),
            },
        }
    }
    if prompts.len() > limits::ITEMS {
        findings
            .error(at, format!("has {} prompts, and at most {} are allowed", prompts.len(), limits::ITEMS));
    }
    if written.is_empty() {
        findings.error(at, "must have at least one item");
    }
    (!prompts.is_empty()).then(|| AskText::Fixed { system: system.map(Arc::from), prompts })
}

/// Checks that parameters, which are merged into the body, do not contradict what is measured and limited. `owner` is
/// the key (`workload` or `ask`) that contains the fields for these settings.
pub(super) fn check_params(
    params: &Map<String, Value>,
    owner: &str,
    path: &KeyPath,
    findings: &mut Findings,
) {
    let prompt = if owner == "ask" { "prompt" } else { "prompts" };
    let own = [
        ("messages", format!("`{owner}.{prompt}` and `{owner}.system`")),
        ("model", "the target's `model`".to_owned()),
        ("stream", format!("`{owner}.stream`")),
    ];
    for (name, place) in own {
        if params.contains_key(name) {
            findings.error(&path.key(name), format!("is set by {place}"));
        }
    }
    // Servers use different names for the limit, so it may be set here instead of by `output_tokens`.
    let at = |keys: &[&str]| keys.iter().fold(path.clone(), |path, key| path.key(key));
    for keys in OUTPUT_CAPS {
        if param(params, keys).is_some_and(|cap| cap.as_u64().is_none_or(|cap| cap == 0)) {
            findings.error(&at(keys), "must be a whole number of 1 or more");
        }
    }
    for keys in ANSWER_COUNTS {
        if param(params, keys).is_some_and(|n| n.as_u64() != Some(1)) {
            findings.error(&at(keys), "must be 1: one answer to each request is measured and budgeted");
        }
    }
}

/// The non-blank lines of a file.
pub(super) fn lines(path: &Path, findings: &mut Findings) -> Result<Vec<Arc<str>>, String> {
    let text = pattern::text_file(path, LARGEST, findings)?;
    let lines: Vec<Arc<str>> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Arc::from).collect();
    let shown = path.display();
    findings.hold(0, lines.len(), &shown)?;
    if lines.is_empty() { Err(format!("{shown} holds no prompt")) } else { Ok(lines) }
}
