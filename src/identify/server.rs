//! Identifies the software that serves an endpoint by its metrics, headers and pages, and finds the URLs of the
//! server's own metrics and health.

use super::evidence::{EndpointEvidence, Inquiry};
use serde_json::Value;
use url::Url;

/// Software that serves models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSoftware {
    /// vLLM.
    Vllm,
    /// SGLang.
    SgLang,
    /// llama.cpp's server.
    LlamaCpp,
    /// Text Generation Inference.
    Tgi,
    /// TensorRT-LLM.
    TrtLlm,
    /// Triton.
    Triton,
    /// NVIDIA Dynamo.
    Dynamo,
    /// NVIDIA NIM.
    Nim,
    /// The LiteLLM gateway.
    LiteLlm,
    /// Ollama.
    Ollama,
    /// OpenAI itself.
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// Anthropic itself.
    Anthropic,
    /// tokenbeat's own simulator.
    Simulator,
}

impl ServerSoftware {
    /// The display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vLLM",
            Self::SgLang => "SGLang",
            Self::LlamaCpp => "llama.cpp",
            Self::Tgi => "Text Generation Inference",
            Self::TrtLlm => "TensorRT-LLM",
            Self::Triton => "Triton",
            Self::Dynamo => "NVIDIA Dynamo",
            Self::Nim => "NVIDIA NIM",
            Self::LiteLlm => "LiteLLM",
            Self::Ollama => "Ollama",
            Self::OpenAi => "OpenAI",
            Self::Azure => "Azure OpenAI",
            Self::Anthropic => "Anthropic",
            Self::Simulator => "tokenbeat's simulator",
        }
    }

    /// The name for a target.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::SgLang => "sglang",
            Self::LlamaCpp => "llama-cpp",
            Self::Tgi => "tgi",
            Self::TrtLlm => "trt-llm",
            Self::Triton => "triton",
            Self::Dynamo => "dynamo",
            Self::Nim => "nim",
            Self::LiteLlm => "litellm",
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Simulator => "simulator",
        }
    }
}

/// Prefixes of metric names. Gateways come first, because a gateway may also expose the metrics of the servers behind
/// it.
const METRICS: [(&str, ServerSoftware); 10] = [
    ("litellm_", ServerSoftware::LiteLlm),
    ("dynamo_", ServerSoftware::Dynamo),
    ("vllm:", ServerSoftware::Vllm),
    ("sglang:", ServerSoftware::SgLang),
    ("llamacpp:", ServerSoftware::LlamaCpp),
    ("tgi_", ServerSoftware::Tgi),
    ("trtllm_", ServerSoftware::TrtLlm),
    ("nv_trt_llm_", ServerSoftware::Triton),
    ("nv_inference_", ServerSoftware::Triton),
    // NIM's metrics have no common prefix.
    ("num_request_max", ServerSoftware::Nim),
];

/// Values of `owned_by` in a list of models.
const OWNERS: [(&str, ServerSoftware); 5] = [
    ("tokenbeat-sim", ServerSoftware::Simulator),
    ("vllm", ServerSoftware::Vllm),
    ("sglang", ServerSoftware::SgLang),
    ("llamacpp", ServerSoftware::LlamaCpp),
    ("library", ServerSoftware::Ollama),
];

/// Prefixes of header names.
const HEADERS: [(&str, ServerSoftware); 4] = [
    ("x-litellm-", ServerSoftware::LiteLlm),
    ("openai-", ServerSoftware::OpenAi),
    ("anthropic-", ServerSoftware::Anthropic),
    ("apim-", ServerSoftware::Azure),
];

/// The software that serves an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFinding {
    /// The software.
    pub software: ServerSoftware,
    /// The version that the server reports.
    pub version: Option<String>,
    /// The evidence for this software.
    pub shown_by: String,
}

/// URLs at which the server reports its own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendAccount {
    /// The URL of the metrics, and the prefix of their names if it is known.
    pub metrics: Option<(Url, Option<&'static str>)>,
    /// The URL of the health check.
    pub health: Option<Url>,
}

/// Identifies the software, using the most reliable evidence first.
pub fn identify_server(evidence: &EndpointEvidence) -> Option<ServerFinding> {
    let models = evidence.json(Inquiry::Models);
    let first = models.as_ref().and_then(|list| list.pointer("/data/0/owned_by")?.as_str());
    let owner = first.and_then(|owner| OWNERS.iter().find(|(it, _)| *it == owner));
    // The simulator exposes vLLM's metrics, so it is checked first.
    let simulated = owner.filter(|(_, software)| *software == ServerSoftware::Simulator);
    let (software, shown_by) = None
        .or_else(|| simulated.map(|(_, software)| (*software, "its list of models".to_owned())))
        .or_else(|| by_headers(evidence))
        .or_else(|| {
            metrics(evidence)
                .and_then(|(_, found)| found)
                .map(|(prefix, it)| (it, format!("its metrics ({prefix}*)")))
        })
        .or_else(|| by_pages(evidence))
        .or_else(|| owner.map(|(_, software)| (*software, "its list of models".to_owned())))?;
    let inquiry = if software == ServerSoftware::Ollama { Inquiry::OllamaVersion } else { Inquiry::Version };
    let told = [inquiry, Inquiry::Info].iter().find_map(|inquiry| {
        evidence.json(*inquiry)?.get("version").and_then(Value::as_str).map(str::to_owned)
    });
    let version = told
        .filter(|version| version.len() <= 40 && version.starts_with(|c: char| c.is_ascii_alphanumeric()));
    Some(ServerFinding { software, version, shown_by })
}

/// Finds the URLs of the server's metrics and health.
pub fn backend_account(evidence: &EndpointEvidence) -> BackendAccount {
    let metrics = metrics(evidence).map(|(url, found)| (url.clone(), found.map(|(prefix, _)| prefix)));
    let page = |body: &str| body.trim_start().starts_with('<');
    let health = [Inquiry::Health, Inquiry::Liveliness].iter().find_map(|inquiry| evidence.good(*inquiry));
    let health = health.filter(|(_, answer)| !page(&answer.body)).map(|(url, _)| url.clone());
    BackendAccount { metrics, health }
}

/// The first metrics page that answered, and the software that its metric names identify.
fn metrics(evidence: &EndpointEvidence) -> Option<(&Url, Option<(&'static str, ServerSoftware)>)> {
    let pages = [Inquiry::Metrics, Inquiry::NimMetrics].into_iter().filter_map(|it| evidence.good(it));
    let (url, answer) = pages.into_iter().find(|(_, answer)| is_exposition(&answer.body))?;
    let names = || answer.body.lines().filter(|line| !line.starts_with('#'));
    let helps = || answer.body.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let has = |prefix: &str| names().chain(helps()).any(|line| line.starts_with(prefix));
    Some((url, METRICS.into_iter().find(|(prefix, _)| has(prefix))))
}

/// Whether a body is in the Prometheus text format.
fn is_exposition(body: &str) -> bool {
    let mut lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && value.parse::<f64>().is_ok()
    };
    lines.next().is_some_and(|line| line.starts_with("# ") || sample(line))
}

fn by_headers(evidence: &EndpointEvidence) -> Option<(ServerSoftware, String)> {
    for (_, answer) in evidence.answers() {
        let server = answer.headers.get("server").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if server.eq_ignore_ascii_case("llama.cpp") {
            return Some((ServerSoftware::LlamaCpp, "its header `server`".to_owned()));
        }
        for name in answer.headers.keys() {
            if let Some((_, software)) = HEADERS.iter().find(|(prefix, _)| name.as_str().starts_with(prefix))
            {
                return Some((*software, format!("its header `{name}`")));
            }
        }
    }
    None
}

fn by_pages(evidence: &EndpointEvidence) -> Option<(ServerSoftware, String)> {
    let body = |inquiry| evidence.good(inquiry).map(|(_, answer)| answer.body.trim());
    if body(Inquiry::Front).is_some_and(|body| body.starts_with("Ollama is running")) {
        return Some((ServerSoftware::Ollama, "its front page".to_owned()));
    }
    if body(Inquiry::Liveliness).is_some_and(|body| body.contains("I'm alive")) {
        return Some((ServerSoftware::LiteLlm, "/health/liveliness".to_owned()));
    }
    if evidence.json(Inquiry::OllamaTags).is_some_and(|tags| tags.get("models").is_some()) {
        return Some((ServerSoftware::Ollama, "/api/tags".to_owned()));
    }
    let is_tgi =
        |info: Value| info.get("model_id").is_some() && info.get("max_concurrent_requests").is_some();
    evidence
        .json(Inquiry::Info)
        .filter(|info| is_tgi(info.clone()))
        .map(|_| (ServerSoftware::Tgi, "/info".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software(evidence: &[(Inquiry, &str)]) -> Option<ServerSoftware> {
        identify_server(&EndpointEvidence::of(evidence)).map(|finding| finding.software)
    }

    #[test]
    fn metrics_tell_the_software() {
        for (line, wanted) in [
            ("vllm:num_requests_running{model_name=\"m\"} 0.0", ServerSoftware::Vllm),
            ("# HELP sglang:num_running_reqs x", ServerSoftware::SgLang),
            ("llamacpp:prompt_tokens_total 1", ServerSoftware::LlamaCpp),
            ("tgi_queue_size 0", ServerSoftware::Tgi),
            ("litellm_requests_metric_total 1\nvllm:x 1", ServerSoftware::LiteLlm),
        ] {
            let body = format!("python_info 1\n{line}\n");
            assert_eq!(software(&[(Inquiry::Metrics, &body)]), Some(wanted), "{line}");
        }
        assert_eq!(software(&[(Inquiry::Metrics, "go_goroutines 1\n")]), None);
        assert_eq!(software(&[(Inquiry::NimMetrics, "num_request_max 1\n")]), Some(ServerSoftware::Nim));
        assert_eq!(software(&[(Inquiry::Metrics, "{\"vllm:\": 1}")]), None, "that is no exposition");
    }

    #[test]
    fn pages_and_owners_tell_it_too() {
        let owned = |owner: &str| format!(r#"{{"data":[{{"id":"m","owned_by":"{owner}"}}]}}"#);
        assert_eq!(software(&[(Inquiry::Front, "Ollama is running")]), Some(ServerSoftware::Ollama));
        assert_eq!(software(&[(Inquiry::Liveliness, "\"I'm alive!\"")]), Some(ServerSoftware::LiteLlm));
        assert_eq!(software(&[(Inquiry::Models, &owned("vllm"))]), Some(ServerSoftware::Vllm));
        assert_eq!(software(&[(Inquiry::Models, &owned("someone"))]), None);
        // The simulator exposes vLLM's metrics. Its list of models identifies it.
        let both = [(Inquiry::Metrics, "vllm:x 1"), (Inquiry::Models, &owned("tokenbeat-sim") as &str)];
        assert_eq!(software(&both), Some(ServerSoftware::Simulator));
    }

    #[test]
    fn a_version_is_taken_if_it_looks_like_one() {
        let of = |version: &str| {
            let version = format!(r#"{{"version":"{version}"}}"#);
            identify_server(&EndpointEvidence::of(&[
                (Inquiry::Metrics, "vllm:x 1"),
                (Inquiry::Version, &version),
            ]))
            .unwrap()
            .version
        };
        assert_eq!(of("0.11.2").as_deref(), Some("0.11.2"));
        assert_eq!(of("<b>"), None);
    }

    #[test]
    fn the_account_is_metrics_and_health() {
        let evidence = EndpointEvidence::of(&[(Inquiry::Metrics, "vllm:x 1"), (Inquiry::Health, "")]);
        let account = backend_account(&evidence);
        let (url, prefix) = account.metrics.unwrap();
        assert_eq!((url.as_str(), prefix), ("http://127.0.0.1:8000/metrics", Some("vllm:")));
        assert_eq!(account.health.unwrap().as_str(), "http://127.0.0.1:8000/health");
        let page = EndpointEvidence::of(&[(Inquiry::Metrics, "<html>"), (Inquiry::Health, "<html>")]);
        assert_eq!(backend_account(&page), BackendAccount::default());
    }
}
