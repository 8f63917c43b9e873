//! Compiles the conversations of a workload, and checks them against each target.

use super::{Findings, dataset, length, workload};
use crate::config::{self, ConversationTurn, KeyPath};
use crate::dataset::RowContent;
use crate::plan::{
    AskText, Cache, ConversationPlan, ConversationTexts, HistoryAnswers, PlannedTurn, PrefixSet, SummaryBy,
    SummaryRule, SummaryTrigger, SyntheticTurns, Target,
};
use crate::vocabulary::DatasetFormat;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

/// The default of `max_turns`.
const MAX_TURNS: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);

/// Maximum number of tokens of a summary. So many words of the longest kind fit into what is kept of one.
const MAX_SUMMARY: u64 = 5_000;

/// What a model is asked for if the config does not say it.
const SUMMARY_PROMPT: &str = "Summarize our conversation so far, with all facts, names, numbers and open questions that \
                              matter for its continuation. Answer with the summary only.";

/// Compiles conversations. `path` is that of the workload.
pub(super) fn compile(
    written: &config::Conversation,
    of: &config::Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<AskText> {
    let at = path.key("conversation");
    let kinds = [
        ("turns", written.turns.is_some()),
        ("synthetic", written.synthetic.is_some()),
        ("dataset", written.dataset.is_some()),
    ];
    let kind = findings.only_one(&at, &kinds);
    let summarize = written.summarize.as_ref().map(|rule| summary(rule, &at.key("summarize"), findings));
    if written.max_turns.is_some() && written.dataset.is_none() {
        findings.error(&at.key("max_turns"), "goes with `dataset` only");
    }
    kind?;
    let texts = match (&written.turns, &written.synthetic) {
        (Some(turns), _) => given(turns, written.answers, &at.key("turns"), findings),
        (_, Some(turns)) => synthetic(turns, of, path, findings),
        _ => {
            let content =
                RowContent::Conversation { max_turns: written.max_turns.unwrap_or(MAX_TURNS).get() };
            recorded(written.dataset.as_ref()?, content, &at.key("dataset"), findings)
        }
    };
    let summarize = match summarize {
        None => None,
        Some(rule) => Some(rule?),
    };
    let system = of.system.as_deref().map(Arc::from);
    let plan = ConversationPlan { texts: texts?, system, answers: written.answers, summarize };
    if plan.has_answers_of_words() && of.output_tokens.is_none() {
        let message = "needs `output_tokens`: the length of answers that are not recorded";
        findings.error(&at.key("answers"), message);
        return None;
    }
    Some(AskText::Conversation(Arc::new(plan)))
}

fn given(
    written: &[ConversationTurn],
    answers: HistoryAnswers,
    at: &KeyPath,
    findings: &mut Findings,
) -> Option<ConversationTexts> {
    let mut turns = Vec::new();
    for (index, turn) in written.iter().enumerate() {
        let path = at.index(index);
        match turn {
            ConversationTurn::Text(text) => {
                let question = not_empty(text, &path, findings);
                turns.extend(question.map(|question| PlannedTurn { question, answer: None }));
            }
            ConversationTurn::Given(turn) => {
                let question = not_empty(&turn.user, &path.key("user"), findings);
                let at = path.key("assistant");
                let answer = not_empty(&turn.assistant, &at, findings);
                if answers == HistoryAnswers::Own {
                    findings.warn(&at, "is never sent: `answers: recorded` sends it with later turns");
                }
                turns.extend(question.map(|question| PlannedTurn { question, answer }));
            }
            ConversationTurn::File(file) => match workload::lines(&file.file, findings) {
                Ok(lines) => {
                    turns.extend(lines.into_iter().map(|question| PlannedTurn { question, answer: None }));
                }
                Err(message) => findings.error(&path.key("file"), message),
            },
        }
    }
    if written.is_empty() {
        findings.error(at, "must have at least one item");
    }
    let most = ConversationPlan::MAX_TURNS as usize;
    if turns.len() > most {
        findings.error(at, format!("has {} turns, and at most {most} are allowed", turns.len()));
        return None;
    }
    (!turns.is_empty()).then_some(ConversationTexts::Given(turns))
}

fn not_empty(text: &str, path: &KeyPath, findings: &mut Findings) -> Option<Arc<str>> {
    if text.trim().is_empty() {
        findings.error(path, "must not be empty");
        return None;
    }
    Some(text.into())
}

fn synthetic(
    written: &config::SyntheticConversation,
    of: &config::Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<ConversationTexts> {
    let at = path.key("conversation").key("synthetic");
    if written.shared_prefix.is_some() {
        if of.system.is_some() {
            let message = "does not go with `shared_prefix`, which is the system prompt";
            findings.error(&path.key("system"), message);
        }
        if of.cache == Some(Cache::Bust) {
            let message = "does not go with `shared_prefix`: a nonce in front of it would share nothing";
            findings.error(&path.key("cache"), message);
        }
    }
    let most = u64::from(ConversationPlan::MAX_TURNS);
    let turns = length::count(&written.turns, most, &at.key("turns"), findings);
    let later = length::compile(&written.turn_tokens, &at.key("turn_tokens"), findings);
    let first = match &written.first_tokens {
        Some(first) => length::compile(first, &at.key("first_tokens"), findings),
        None => later.clone(),
    };
    let prefix = written.shared_prefix.as_ref().map(PrefixSet::from);
    Some(ConversationTexts::Synthetic(SyntheticTurns { turns: turns?, first: first?, later: later?, prefix }))
}

fn recorded(
    written: &config::DatasetFile,
    content: RowContent,
    at: &KeyPath,
    findings: &mut Findings,
) -> Option<ConversationTexts> {
    let format = dataset::format(written, at, findings)?;
    if matches!(format, DatasetFormat::Csv | DatasetFormat::Lines) {
        let message = "holds prompts, not conversations: `sharegpt` has them, and `jsonl` with `messages`";
        findings.error(&at.key("file"), message);
        return None;
    }
    let dataset = dataset::read(written, format, content, at, findings)?;
    Some(ConversationTexts::Dataset { dataset, order: written.order })
}

fn summary(written: &config::Summarize, path: &KeyPath, findings: &mut Findings) -> Option<SummaryRule> {
    let kinds =
        [("over_tokens", written.over_tokens.is_some()), ("over_turns", written.over_turns.is_some())];
    if written.prompt.is_some() && written.by == SummaryBy::Text {
        findings.error(&path.key("prompt"), "goes with `by: model` only: nobody is asked for random words");
    }
    findings.only_one(path, &kinds)?;
    let over = match (written.over_tokens, written.over_turns) {
        (Some(tokens), _) => SummaryTrigger::Tokens(tokens.get()),
        (_, turns) => SummaryTrigger::Turns(turns?.get()),
    };
    if matches!(over, SummaryTrigger::Turns(turns) if written.keep >= turns) {
        findings.error(&path.key("keep"), "must be less than `over_turns`: the older turns are summarized");
        return None;
    }
    if matches!(over, SummaryTrigger::Tokens(tokens) if written.tokens.get() >= tokens) {
        let message = "must be less than `over_tokens`: otherwise every turn is summarized again";
        findings.error(&path.key("tokens"), message);
        return None;
    }
    if written.tokens.get() > MAX_SUMMARY {
        let message = format!("must be at most {MAX_SUMMARY}: a user keeps at most 64 KiB of a summary");
        findings.error(&path.key("tokens"), message);
        return None;
    }
    Some(SummaryRule {
        over,
        keep: written.keep,
        by: written.by,
        tokens: NonZeroU64::get(written.tokens),
        prompt: written.prompt.as_deref().unwrap_or(SUMMARY_PROMPT).into(),
    })
}

/// Checks conversations against one of the targets.
pub(super) fn check_pair(
    plan: &ConversationPlan,
    target: &Target,
    workload: &KeyPath,
    findings: &mut Findings,
) {
    let path = workload.key("conversation");
    let name = &target.name;
    if !target.api.generates() {
        findings.error(
            &path,
            format!("the target `{name}` gives no answers that a conversation could go on from"),
        );
    }
    if plan.has_words() && target.tokenizer.is_none() {
        let message = format!(
            "the target `{name}` has no `tokenizer`: its messages have a word for each token, which is an estimate"
        );
        findings.warn(&path, message);
    }
}
