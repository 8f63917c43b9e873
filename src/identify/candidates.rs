//! Chooses the dialects to try, their base URLs and their order: first the dialects that the address and the free
//! queries suggest, then the most widely used ones. Also defines how each dialect accepts a key.

use super::evidence::{EndpointEvidence, Inquiry};
use super::{EndpointAddress, KeySource};
use crate::vocabulary::Api;
use serde_json::Value;
use url::Url;

/// The order in which dialects are tried if nothing is known about the endpoint. Dialects without model calls are not
/// included.
const USUAL: [Api; 11] = [
    Api::OpenAiChat,
    Api::Anthropic,
    Api::OllamaChat,
    Api::Gemini,
    Api::OpenAiResponses,
    Api::OpenAiCompletions,
    Api::Tgi,
    Api::OllamaGenerate,
    Api::OpenAiEmbeddings,
    Api::RerankJina,
    Api::RerankCohere,
];

/// Suffixes of known host names, and the dialects that they speak.
const HOSTS: [(&str, &[Api]); 8] = [
    ("api.openai.com", &[Api::OpenAiChat, Api::OpenAiResponses, Api::OpenAiEmbeddings]),
    (".openai.azure.com", &[Api::OpenAiChat, Api::OpenAiResponses, Api::OpenAiEmbeddings]),
    (".cognitiveservices.azure.com", &[Api::OpenAiChat, Api::OpenAiResponses, Api::OpenAiEmbeddings]),
    ("api.anthropic.com", &[Api::Anthropic]),
    ("generativelanguage.googleapis.com", &[Api::Gemini, Api::OpenAiChat]),
    ("aiplatform.googleapis.com", &[Api::Gemini]),
    ("api.cohere.com", &[Api::RerankCohere]),
    ("api.jina.ai", &[Api::RerankJina, Api::OpenAiEmbeddings]),
];

/// A dialect to try at a base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectCandidate {
    /// The dialect.
    pub api: Api,
    /// The base URL.
    pub base_url: Url,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `Authorization: Bearer`.
    Bearer,
    /// A header with this name.
    Header(&'static str),
    /// `Authorization: Basic`, with a user and the key as the password.
    Basic,
}

/// The dialects to try. If `wanted` is given, only that dialect.
pub fn candidates(
    address: &EndpointAddress,
    evidence: &EndpointEvidence,
    wanted: Option<Api>,
) -> Vec<DialectCandidate> {
    let mut order: Vec<Api> = Vec::new();
    if let Some(wanted) = wanted {
        order.push(wanted);
    } else {
        order.extend(address.api());
        match spoken_at(address.host()) {
            Some(spoken) => order.extend(spoken),
            None => order.extend(suggested(address, evidence).into_iter().chain(USUAL)),
        }
    }
    let mut all: Vec<DialectCandidate> = Vec::new();
    for api in order {
        for base_url in address.bases(api) {
            let candidate = DialectCandidate { api, base_url };
            if !all.contains(&candidate) {
                all.push(candidate);
            }
        }
    }
    all
}

/// The dialects that a known host speaks.
pub(super) fn spoken_at(host: &str) -> Option<&'static [Api]> {
    HOSTS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, spoken)| *spoken)
}

/// The dialects that the answers to the free queries suggest.
fn suggested(address: &EndpointAddress, evidence: &EndpointEvidence) -> Vec<Api> {
    let mut order = Vec::new();
    let models = evidence.json(Inquiry::Models);
    let item = |list: &str| Some(models.as_ref()?.get(list)?.get(0)?.clone());
    if item("data").is_some_and(|model| model.get("type").and_then(Value::as_str) == Some("model")) {
        order.push(Api::Anthropic);
    }
    // Ollama's own API reports tokens and times in each answer, so it is preferred. An address with a version refers to
    // the OpenAI API.
    let native = address.below_root("").path() == address.bases(Api::OpenAiChat).last().map_or("", Url::path);
    if native && evidence.json(Inquiry::OllamaTags).is_some_and(|tags| tags.get("models").is_some()) {
        order.push(Api::OllamaChat);
    }
    if item("data").is_some() {
        order.push(Api::OpenAiChat);
    }
    let gemini = evidence.json(Inquiry::GeminiModels);
    if gemini.is_some_and(|list| list.pointer("/models/0/supportedGenerationMethods").is_some()) {
        order.push(Api::Gemini);
    }
    if evidence.json(Inquiry::Info).is_some_and(|info| info.get("model_id").is_some()) {
        order.extend([Api::OpenAiChat, Api::Tgi]);
    }
    order
}

/// The ways to send a key in a dialect, the usual one first.
pub fn auth_schemes(api: Api, address: &EndpointAddress, key: Option<&KeySource>) -> Vec<AuthScheme> {
    match key {
        None => Vec::new(),
        Some(KeySource::Basic { .. }) => vec![AuthScheme::Basic],
        Some(_) => match api {
            Api::Anthropic => vec![AuthScheme::Header("x-api-key"), AuthScheme::Bearer],
            Api::Gemini => vec![AuthScheme::Header("x-goog-api-key"), AuthScheme::Bearer],
            _ if address.is_deployment() || address.host().contains(".azure.") => {
                vec![AuthScheme::Header("api-key"), AuthScheme::Bearer]
            }
            _ => vec![AuthScheme::Bearer, AuthScheme::Header("x-api-key"), AuthScheme::Header("api-key")],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str, evidence: &[(Inquiry, &str)], wanted: Option<Api>) -> Vec<(Api, String)> {
        let address = EndpointAddress::parse(text).unwrap();
        let found = candidates(&address, &EndpointEvidence::of(evidence), wanted);
        found.into_iter().map(|it| (it.api, it.base_url.path().to_owned())).collect()
    }

    fn first(text: &str, evidence: &[(Inquiry, &str)]) -> Api {
        order(text, evidence, None)[0].0
    }

    #[test]
    fn the_path_comes_first_then_the_evidence_then_the_usual() {
        let openai = (Inquiry::Models, r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#);
        let tags = (Inquiry::OllamaTags, r#"{"models":[{"name":"llama3.2:1b"}]}"#);
        let anthropic = (Inquiry::Models, r#"{"data":[{"type":"model","id":"claude"}],"has_more":false}"#);
        assert_eq!(first("http://h", &[]), Api::OpenAiChat);
        assert_eq!(first("http://h", &[anthropic]), Api::Anthropic);
        assert_eq!(first("http://h", &[openai, tags]), Api::OllamaChat);
        assert_eq!(first("http://h/v1", &[openai, tags]), Api::OpenAiChat);
        assert_eq!(first("http://h/v1/completions", &[openai, tags]), Api::OpenAiCompletions);
        assert_eq!(first("http://h", &[(Inquiry::Info, r#"{"model_id":"m"}"#)]), Api::OpenAiChat);
        let gemini = r#"{"models":[{"name":"models/g","supportedGenerationMethods":["generateContent"]}]}"#;
        assert_eq!(first("http://h", &[(Inquiry::GeminiModels, gemini)]), Api::Gemini);
    }

    #[test]
    fn every_dialect_is_tried_once_at_each_place_unless_one_is_wanted() {
        let all = order("http://h", &[], None);
        // Bedrock requires signed requests. A key cannot sign them.
        let by_key = |api: &Api| *api != Api::Http && !api.name().starts_with("bedrock");
        for api in Api::ALL.into_iter().filter(by_key) {
            assert!(all.iter().any(|(it, _)| *it == api), "{api:?} is not tried");
        }
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{one:?} is tried twice");
        }
        let wanted = order("http://h/v1/chat/completions", &[], Some(Api::Anthropic));
        assert_eq!(wanted, [(Api::Anthropic, "/".to_owned())]);
        let known = order("https://api.anthropic.com", &[], None);
        assert_eq!(known, [(Api::Anthropic, "/".to_owned())]);
    }

    #[test]
    fn a_key_goes_where_the_dialect_has_it() {
        let of = |api, text: &str| {
            let address = EndpointAddress::parse(text).unwrap();
            auth_schemes(api, &address, Some(&KeySource::Env("K".to_owned())))[0]
        };
        assert_eq!(of(Api::OpenAiChat, "http://h"), AuthScheme::Bearer);
        assert_eq!(of(Api::Anthropic, "http://h"), AuthScheme::Header("x-api-key"));
        assert_eq!(of(Api::Gemini, "http://h"), AuthScheme::Header("x-goog-api-key"));
        assert_eq!(
            of(Api::OpenAiChat, "https://x.openai.azure.com/openai/v1"),
            AuthScheme::Header("api-key")
        );
        assert!(auth_schemes(Api::OpenAiChat, &EndpointAddress::parse("http://h").unwrap(), None).is_empty());
    }
}
