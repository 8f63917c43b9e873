//! Translates the reasoning effort into the parameters of each dialect. Parameters in the config override them.
//!
//! If an API has two forms, the model's name decides which one is used. Any further restriction is left to the server.
//! Sources: OpenAI (<https://platform.openai.com/docs/guides/reasoning>), Anthropic
//! (<https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>,
//! <https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking>), Gemini
//! (<https://ai.google.dev/gemini-api/docs/thinking>), Ollama (<https://docs.ollama.com/capabilities/thinking>). The
//! budgets are those that LiteLLM (for Anthropic) and Google's OpenAI-compatible endpoint (for Gemini) use for the same
//! efforts.

use super::{Api, ReasoningEffort};
use serde_json::{Map, Value, json};

/// The `max_tokens` that is sent if nothing sets it, because Anthropic's API requires it.
pub const ANTHROPIC_MAX_TOKENS: u64 = 4096;

/// Paths of a budget of reasoning tokens in a request body.
pub(super) const BUDGETS: [&[&str]; 3] = [
    &["thinking", "budget_tokens"],
    &["generationConfig", "thinkingConfig", "thinkingBudget"],
    &["additionalModelRequestFields", "thinking", "budget_tokens"],
];

/// The parameters that request this effort from a model, or the reason why that is not possible.
pub(super) fn parameters(
    api: Api,
    model: &str,
    effort: ReasoningEffort,
) -> Result<Map<String, Value>, &'static str> {
    if effort == ReasoningEffort::Default {
        return Ok(Map::new());
    }
    let words = match api {
        Api::OpenAiChat => json!({ "reasoning_effort": of_openai(effort) }),
        Api::OpenAiResponses => json!({ "reasoning": { "effort": of_openai(effort) } }),
        Api::Anthropic => of_anthropic(model, effort)?,
        Api::Gemini => of_gemini(model, effort)?,
        Api::Bedrock => of_bedrock(model, effort)?,
        Api::OllamaChat | Api::OllamaGenerate => of_ollama(effort)?,
        Api::OpenAiCompletions | Api::Tgi => {
            return Err("it continues a text and has no reasoning parameter");
        }
        Api::OpenAiEmbeddings | Api::RerankCohere | Api::RerankJina => return Err("it generates nothing"),
        Api::Http => return Err("it has no model calls"),
    };
    Ok(match words {
        Value::Object(words) => words,
        _ => Map::new(),
    })
}

fn of_openai(effort: ReasoningEffort) -> &'static str {
    match effort {
        ReasoningEffort::Off => "none",
        other => other.name(),
    }
}

/// Since Claude 4.6, thinking is adaptive and takes an effort. Earlier models, and other servers with this API, take a
/// budget.
fn of_anthropic(model: &str, effort: ReasoningEffort) -> Result<Value, &'static str> {
    let version = version(model, "claude");
    let budget: u64 = match effort {
        ReasoningEffort::Default | ReasoningEffort::Off => {
            return Ok(json!({ "thinking": { "type": "disabled" } }));
        }
        ReasoningEffort::Minimal => return Err("the lowest effort of this API is `low`"),
        ReasoningEffort::Low => 1024,
        ReasoningEffort::Medium => 2048,
        ReasoningEffort::High => 4096,
    };
    match version {
        Some(version) if version < (3, 7) => Err("Claude models before 3.7 do not reason"),
        Some(version) if version >= (4, 6) => {
            Ok(json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": effort.name() } }))
        }
        _ => Ok(json!({ "thinking": { "type": "enabled", "budget_tokens": budget } })),
    }
}

/// Since Gemini 3, models take a level, and no level turns reasoning off. Earlier models take a budget.
fn of_gemini(model: &str, effort: ReasoningEffort) -> Result<Value, &'static str> {
    let version = version(model, "gemini");
    let off = matches!(effort, ReasoningEffort::Default | ReasoningEffort::Off);
    let thinking = match version {
        Some((3.., _)) if off => {
            return Err(
                "Gemini models since 3 always reason: the lowest effort is `minimal` (Flash) or `low` (Pro)",
            );
        }
        Some((3.., _)) => json!({ "thinkingLevel": effort.name() }),
        Some(version) if version < (2, 5) && off => return Ok(json!({})),
        Some(version) if version < (2, 5) => return Err("Gemini models before 2.5 do not reason"),
        Some(_) if off && model.contains("pro") => {
            return Err("Gemini 2.5 Pro always reasons: the lowest effort is `minimal`");
        }
        _ => {
            let budget = match effort {
                ReasoningEffort::Default | ReasoningEffort::Off => 0,
                ReasoningEffort::Minimal => 512,
                ReasoningEffort::Low => 1024,
                ReasoningEffort::Medium => 8192,
                ReasoningEffort::High => 24_576,
            };
            json!({ "thinkingBudget": budget })
        }
    };
    Ok(json!({ "generationConfig": { "thinkingConfig": thinking } }))
}

/// Bedrock passes the fields of each model family through to the models.
fn of_bedrock(model: &str, effort: ReasoningEffort) -> Result<Value, &'static str> {
    let off = matches!(effort, ReasoningEffort::Default | ReasoningEffort::Off);
    let fields = if model.contains("claude") {
        of_anthropic(model, effort)?
    } else if model.contains("gpt-oss") {
        match effort {
            _ if off => return Err("gpt-oss always reasons: the least is `low`"),
            ReasoningEffort::Minimal => return Err("the least effort of gpt-oss is `low`"),
            _ => json!({ "reasoning_effort": effort.name() }),
        }
    } else {
        return Err(
            "only the fields of Claude and gpt-oss are known there, by the model's name: set those of other models in \
             `params.additionalModelRequestFields`",
        );
    };
    Ok(json!({ "additionalModelRequestFields": fields }))
}

fn of_ollama(effort: ReasoningEffort) -> Result<Value, &'static str> {
    match effort {
        ReasoningEffort::Default | ReasoningEffort::Off => Ok(json!({ "think": false })),
        ReasoningEffort::Minimal => Err("the lowest effort of this API is `low`"),
        other => Ok(json!({ "think": other.name() })),
    }
}

/// The major and minor version in the name of a model of this family, such as (4, 5) of
/// `us.anthropic.claude-sonnet-4-5-v1:0`. Numbers of more than two digits are dates or builds.
fn version(model: &str, family: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once(family)?;
    let mut words = rest.split(|c: char| !c.is_ascii_alphanumeric());
    let number = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
    let major = words.find_map(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReasoningEffort::{Default, High, Low, Medium, Minimal, Off};

    fn asked(api: Api, model: &str, effort: ReasoningEffort) -> Result<Value, &'static str> {
        parameters(api, model, effort).map(Value::Object)
    }

    #[test]
    fn versions_are_read_from_names() {
        let of = |model| version(model, "claude");
        assert_eq!(of("claude-3-5-haiku-20241022"), Some((3, 5)));
        assert_eq!(of("claude-sonnet-4-20250514"), Some((4, 0)));
        assert_eq!(of("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), Some((4, 5)));
        assert_eq!(of("anthropic/claude-opus-4.6"), Some((4, 6)));
        assert_eq!(of("claude-opus-5"), Some((5, 0)));
        assert_eq!(of("claude-latest"), None);
        assert_eq!(of("qwen3-4b"), None);
        assert_eq!(version("models/gemini-2.0-flash-001", "gemini"), Some((2, 0)));
        assert_eq!(version("gemini-3-flash-preview-09-2025", "gemini"), Some((3, 0)));
    }

    #[test]
    fn nothing_is_said_by_default() {
        for api in Api::ALL {
            assert_eq!(asked(api, "m", Default), Ok(json!({})));
        }
    }

    #[test]
    fn openai_has_every_word() {
        for (effort, word) in
            [(Off, "none"), (Minimal, "minimal"), (Low, "low"), (Medium, "medium"), (High, "high")]
        {
            assert_eq!(asked(Api::OpenAiChat, "m", effort), Ok(json!({ "reasoning_effort": word })));
            let responses = json!({ "reasoning": { "effort": word } });
            assert_eq!(asked(Api::OpenAiResponses, "m", effort), Ok(responses));
        }
    }

    #[test]
    fn claude_has_a_budget_and_later_an_effort() {
        let of = |model, effort| asked(Api::Anthropic, model, effort);
        let budget = |tokens: u64| Ok(json!({ "thinking": { "type": "enabled", "budget_tokens": tokens } }));
        for model in ["claude-3-7-sonnet-20250219", "claude-haiku-4-5", "llama"] {
            assert_eq!(of(model, Low), budget(1024), "{model}");
            assert_eq!(of(model, Medium), budget(2048), "{model}");
            assert_eq!(of(model, High), budget(4096), "{model}");
        }
        for model in ["claude-opus-4-6", "claude-sonnet-5", "claude-opus-4.7"] {
            let adaptive =
                json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } });
            assert_eq!(of(model, Low), Ok(adaptive), "{model}");
        }
        for model in ["claude-3-haiku-20240307", "claude-haiku-4-5", "claude-opus-4-6"] {
            assert_eq!(of(model, Off), Ok(json!({ "thinking": { "type": "disabled" } })), "{model}");
            assert!(of(model, Minimal).unwrap_err().contains("`low`"), "{model}");
        }
        assert!(of("claude-3-haiku-20240307", Low).is_err());
    }

    #[test]
    fn gemini_has_a_budget_and_later_a_level() {
        let of = |model, effort| asked(Api::Gemini, model, effort);
        let thinking = |value: Value| Ok(json!({ "generationConfig": { "thinkingConfig": value } }));
        for (effort, tokens) in [(Off, 0), (Minimal, 512), (Low, 1024), (Medium, 8192), (High, 24_576)] {
            for model in ["gemini-2.5-flash", "gemini-flash-latest"] {
                assert_eq!(of(model, effort), thinking(json!({ "thinkingBudget": tokens })), "{model}");
            }
        }
        for (effort, level) in [(Minimal, "minimal"), (Low, "low"), (Medium, "medium"), (High, "high")] {
            assert_eq!(of("gemini-3-flash", effort), thinking(json!({ "thinkingLevel": level })));
        }
        assert!(of("gemini-3.1-pro-preview", Off).unwrap_err().contains("`minimal`"));
        assert!(of("gemini-2.5-pro", Off).unwrap_err().contains("`minimal`"));
        assert!(of("gemini-2.0-flash", Low).is_err());
        assert_eq!(of("gemini-2.0-flash", Off), Ok(json!({})));
    }

    #[test]
    fn bedrock_has_the_fields_of_each_family() {
        let of = |model, effort| asked(Api::Bedrock, model, effort);
        let fields = |value: Value| Ok(json!({ "additionalModelRequestFields": value }));
        let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } });
        assert_eq!(of("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Low), fields(thinking));
        let disabled = json!({ "thinking": { "type": "disabled" } });
        assert_eq!(of("anthropic.claude-opus-4-6-v1", Off), fields(disabled));
        assert_eq!(of("openai.gpt-oss-20b-1:0", High), fields(json!({ "reasoning_effort": "high" })));
        for (model, effort) in [
            ("openai.gpt-oss-20b-1:0", Off),
            ("openai.gpt-oss-20b-1:0", Minimal),
            ("eu.amazon.nova-lite-v1:0", Low),
        ] {
            assert!(of(model, effort).is_err(), "{model}");
        }
    }

    #[test]
    fn ollama_has_a_switch_and_three_levels() {
        for api in [Api::OllamaChat, Api::OllamaGenerate] {
            assert_eq!(asked(api, "qwen3", Off), Ok(json!({ "think": false })));
            for (effort, level) in [(Low, "low"), (Medium, "medium"), (High, "high")] {
                assert_eq!(asked(api, "qwen3", effort), Ok(json!({ "think": level })));
            }
            assert!(asked(api, "qwen3", Minimal).unwrap_err().contains("`low`"));
        }
    }

    #[test]
    fn others_cannot_be_asked() {
        for api in [
            Api::OpenAiCompletions,
            Api::OpenAiEmbeddings,
            Api::Tgi,
            Api::RerankCohere,
            Api::RerankJina,
            Api::Http,
        ] {
            for effort in [Off, Low, High] {
                assert!(asked(api, "m", effort).is_err(), "{api:?}");
            }
        }
    }
}
