//! Reads the models that an endpoint lists and chooses the ones to try.

use super::evidence::{EndpointEvidence, Inquiry};
use crate::vocabulary::Api;
use serde_json::Value;

/// Maximum number of models that are tried until one answers.
pub const MAX_MODELS_TRIED: usize = 3;
/// Maximum number of models that are kept from a list.
const MAX_LISTED: usize = 1000;
/// Maximum length of a model name, in characters. Longer names are ignored.
const MAX_NAME: usize = 200;

/// Parts of the names of models that do not support chat.
const OTHER_KINDS: [&str; 14] = [
    "embed",
    "bge-",
    "e5-",
    "rerank",
    "whisper",
    "tts",
    "dall-e",
    "image",
    "moderation",
    "guard",
    "transcribe",
    "realtime",
    "audio",
    "sora",
];

/// Parts of the names of small models. If a provider lists many models, a small one is cheaper to probe.
const SMALL: [&str; 9] = ["-nano", "-mini", "-lite", "-flash", "haiku", "-small", "-8b", "-7b", "-3b"];
/// A small model is preferred if the list has more models than this.
const MANY: usize = 10;

/// The models to try, most likely first, and all models that the endpoint lists. If no model is requested or listed,
/// the only pick is an empty name: a request that names no model, which some dialects allow.
pub fn model_picks(
    evidence: &EndpointEvidence,
    api: Api,
    wanted: Option<&str>,
) -> (Vec<String>, Vec<String>) {
    let listed = listed(evidence, api);
    let picks = match wanted {
        Some(wanted) => vec![wanted.to_owned()],
        None if listed.is_empty() => vec![String::new()],
        None => {
            let mut ranked = listed.clone();
            let many = ranked.len() > MANY;
            let small =
                |name: &str| many && SMALL.iter().any(|part| name.to_ascii_lowercase().contains(part));
            // The sort is stable, so the server's order is kept otherwise.
            ranked.sort_by_key(|name| (!suits(name, api), !small(name)));
            ranked.truncate(MAX_MODELS_TRIED);
            ranked
        }
    };
    (picks, listed)
}

/// Whether a model is likely to work with this dialect, judging by its name.
fn suits(name: &str, api: Api) -> bool {
    let name = name.to_ascii_lowercase();
    match api {
        Api::OpenAiEmbeddings => ["embed", "bge-", "e5-"].iter().any(|part| name.contains(part)),
        Api::RerankCohere | Api::RerankJina => name.contains("rerank"),
        _ => !OTHER_KINDS.iter().any(|part| name.contains(part)),
    }
}

/// The model names from the first list that has any. The order of the lists depends on the dialect.
fn listed(evidence: &EndpointEvidence, api: Api) -> Vec<String> {
    let order = match api {
        Api::Gemini => [Inquiry::GeminiModels, Inquiry::Models, Inquiry::Info],
        Api::OllamaChat | Api::OllamaGenerate => [Inquiry::OllamaTags, Inquiry::Models, Inquiry::Info],
        Api::Tgi => [Inquiry::Info, Inquiry::Models, Inquiry::OllamaTags],
        _ => [Inquiry::Models, Inquiry::OllamaTags, Inquiry::Info],
    };
    let lists = order.iter().filter_map(|inquiry| evidence.json(*inquiry)).map(|list| names(&list));
    lists.into_iter().find(|names| !names.is_empty()).unwrap_or_default()
}

/// The names in a list of models, in any of the known formats.
fn names(list: &Value) -> Vec<String> {
    if let Some(model) = list.get("model_id").and_then(Value::as_str) {
        return vec![model.to_owned()];
    }
    let items = ["data", "models"].iter().find_map(|key| list.get(*key)?.as_array()).or(list.as_array());
    let mut found: Vec<String> = Vec::new();
    for item in items.into_iter().flatten() {
        // Gemini also lists embedding models. It reports which methods each model supports.
        let methods = item.get("supportedGenerationMethods").and_then(Value::as_array);
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "generateContent")) {
            continue;
        }
        let name = ["id", "name", "model"].iter().find_map(|key| item.get(*key)?.as_str());
        let Some(name) = name.map(|name| name.strip_prefix("models/").unwrap_or(name)) else { continue };
        if !name.is_empty() && name.chars().count() <= MAX_NAME && !found.iter().any(|it| it == name) {
            found.push(name.to_owned());
        }
        if found.len() >= MAX_LISTED {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(inquiry: Inquiry, body: &str, api: Api) -> Vec<String> {
        model_picks(&EndpointEvidence::of(&[(inquiry, body)]), api, None).0
    }

    #[test]
    fn lists_are_read_in_the_form_of_each_server() {
        for (inquiry, body, api) in [
            (Inquiry::Models, r#"{"data":[{"id":"m"},{"id":"m"},{"id":7},{"id":""}]}"#, Api::OpenAiChat),
            (Inquiry::Models, r#"[{"id":"m"}]"#, Api::OpenAiChat),
            (Inquiry::OllamaTags, r#"{"models":[{"name":"m","model":"m"}]}"#, Api::OllamaChat),
            (Inquiry::Info, r#"{"model_id":"m"}"#, Api::Tgi),
            (
                Inquiry::GeminiModels,
                r#"{"models":[{"name":"models/e","supportedGenerationMethods":["embedContent"]},
                    {"name":"models/m","supportedGenerationMethods":["generateContent"]}]}"#,
                Api::Gemini,
            ),
        ] {
            assert_eq!(picks(inquiry, body, api), ["m"], "{body}");
        }
    }

    #[test]
    fn what_cannot_chat_is_tried_last_and_one_that_is_wanted_alone() {
        let list = r#"{"data":[{"id":"text-embedding-3"},{"id":"dall-e-3"},{"id":"b"},{"id":"a"}]}"#;
        assert_eq!(picks(Inquiry::Models, list, Api::OpenAiChat), ["b", "a", "text-embedding-3"]);
        assert_eq!(picks(Inquiry::Models, list, Api::OpenAiEmbeddings)[0], "text-embedding-3");
        let evidence = EndpointEvidence::of(&[(Inquiry::Models, list)]);
        assert_eq!(model_picks(&evidence, Api::OpenAiChat, Some("mine")).0, ["mine"]);
        assert_eq!(model_picks(&EndpointEvidence::default(), Api::OpenAiChat, None).0, [""]);
        assert_eq!(picks(Inquiry::Models, "not json", Api::OpenAiChat), [""]);
    }

    #[test]
    fn of_many_a_small_one_is_tried_first() {
        let list = |more: usize| {
            let large =
                (0..more).map(|n| format!(r#"{{"id":"gemini-{n}-pro"}}"#)).collect::<Vec<_>>().join(",");
            format!(r#"{{"data":[{large},{{"id":"gpt-5-mini"}}]}}"#)
        };
        assert_eq!(picks(Inquiry::Models, &list(20), Api::OpenAiChat)[0], "gpt-5-mini");
        assert_eq!(picks(Inquiry::Models, &list(3), Api::OpenAiChat)[0], "gemini-0-pro");
    }
}
