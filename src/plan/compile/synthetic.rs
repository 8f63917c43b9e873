//! Compiles synthetic prompts, and checks them against each target.

use super::{Findings, conversation, length};
use crate::config::{self, KeyPath, Workload};
use crate::plan::{
    AskText, Cache, ChatTemplate, OutputLength, PrefixSet, Profile, PromptLengths, StepAction,
    SyntheticPrompts, Target, has_output_cap,
};

/// The synthetic prompts of a workload.
pub(super) fn compile(
    written: &config::Synthetic,
    workload: &Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    if workload.system.is_some() {
        let message = "does not go with `synthetic`: a beginning that prompts share is its `shared_prefix`";
        findings.error(&path.key("system"), message);
    }
    if workload.cache == Some(Cache::Bust) && written.shared_prefix.is_some() {
        let message = "does not go with `shared_prefix`: a nonce in front of it would share nothing";
        findings.error(&path.key("cache"), message);
    }
    let path = path.key("synthetic");
    let kinds = [("input_tokens", written.input_tokens.is_some()), ("joint", written.joint.is_some())];
    findings.only_one(&path, &kinds)?;
    if written.joint.is_some() && workload.output_tokens.is_some() {
        findings.error(&path.key("joint"), "says the length of the answer, and so does `output_tokens`");
    }
    let lengths = match (&written.input_tokens, &written.joint) {
        (Some(input), _) => {
            PromptLengths::Input(length::compile(input, &path.key("input_tokens"), findings)?)
        }
        (_, joint) => PromptLengths::Joint(length::joint(joint.as_ref()?, &path.key("joint"), findings)?),
    };
    let prefix = written.shared_prefix.as_ref().map(PrefixSet::from);
    let prompts = SyntheticPrompts { lengths, prefix, question: None };
    if let Some(message) = too_short(&prompts, ChatTemplate::default(), "") {
        findings.error(&path, message);
        return None;
    }
    Some(AskText::Synthetic(prompts))
}

/// An error message if the shortest prompts have no room for a token besides the prefix and the chat template.
fn too_short(prompts: &SyntheticPrompts, template: ChatTemplate, whose: &str) -> Option<String> {
    let (shortest, added) = (prompts.range().min, template.added(1));
    let prefix = prompts.prefix.map_or(0, |prefix| prefix.tokens);
    let least = prefix + added + 1;
    (shortest < least).then(|| {
        let parts = [(prefix, "the shared prefix".to_owned()), (added, format!("the chat template{whose}"))];
        let parts = parts.iter().filter(|(tokens, _)| *tokens > 0);
        let parts: Vec<_> = parts.map(|(tokens, part)| format!("{part} takes {tokens}")).collect();
        format!(
            "may have prompts of {shortest} tokens, of which {}: the shortest must have {least} or more",
            parts.join(" and ")
        )
    })
}

/// Checks a workload against one of its targets.
pub(super) fn check_pair(profile: &Profile, target: &Target, path: &KeyPath, findings: &mut Findings) {
    // Further steps of a workload send its request again, and those of a scenario have fixed lengths.
    let steps = profile.scenario.steps.iter().take(1);
    let asks = steps.filter_map(|step| match &step.action {
        StepAction::Ask(ask) => Some(ask),
        StepAction::Http(_) => None,
    });
    let name = &target.name;
    for ask in asks {
        let OutputLength { lengths: _, min_tokens, ignore_eos } = &ask.output;
        for (key, is_set) in [("ignore_eos", *ignore_eos), ("min_output_tokens", min_tokens.is_some())] {
            if is_set && !target.api.has_sampling_extensions() {
                let message = format!(
                    "the target `{name}` has no such parameter: servers that have it speak `openai-chat` or \
                     `openai-completions`"
                );
                findings.error(&path.key(key), message);
            }
        }
        if ask.draws_output_tokens() && has_output_cap(&target.params) {
            let message = format!(
                "the `params` of the target `{name}` cap every answer, so that the length of each request would not be sent"
            );
            findings.error(path, message);
        }
        if let AskText::Conversation(plan) = &ask.text {
            conversation::check_pair(plan, target, path, findings);
        }
        let (key, prompts) = match &ask.text {
            AskText::Synthetic(prompts) if prompts.question.is_some() => ("cache_pair", Some(prompts)),
            AskText::Synthetic(prompts) => ("synthetic", Some(prompts)),
            AskText::Trace { replay, .. } if replay.has_generated_texts() => ("trace", None),
            _ => continue,
        };
        let path = path.key(key);
        let is_pair = prompts.is_some_and(|prompts| prompts.question.is_some());
        if is_pair && !target.api.generates() {
            let message =
                format!("the target `{name}` generates no tokens, so there is no time to the first one");
            findings.error(&path, message);
            continue;
        }
        if target.api.ranks() {
            let message = format!("the target `{name}` ranks documents, which are lines: write `prompts`");
            findings.error(&path, message);
        }
        if target.tokenizer.is_none() {
            let message = format!(
                "the target `{name}` has no `tokenizer`: its prompts have a word for each token, which is an estimate"
            );
            findings.warn(&path, message);
        }
        let template = target.chat_template.unwrap_or_default();
        // The length of a cache pair's prefix is not that of the request.
        let prompts = prompts.filter(|_| !is_pair);
        let message = prompts.and_then(|it| too_short(it, template, &format!(" of the target `{name}`")));
        if let Some(message) = message {
            findings.error(&path, message);
        }
    }
}
