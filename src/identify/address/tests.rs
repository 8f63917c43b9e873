use super::*;

fn parsed(text: &str) -> EndpointAddress {
    EndpointAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn bases(text: &str, api: Api) -> Vec<String> {
    parsed(text).bases(api).iter().map(ToString::to_string).collect()
}

#[test]
fn an_origin_a_base_and_a_full_path_lead_to_the_same_base() {
    for text in [
        "http://h:1/v1",
        "http://h:1/v1/",
        "http://h:1/v1/chat/completions",
        "http://h:1/v1/models",
        "h:1/v1/chat/completions/",
    ] {
        assert_eq!(bases(text, Api::OpenAiChat), ["http://h:1/v1"], "{text}");
        assert_eq!(bases(text, Api::Anthropic), ["http://h:1/"], "{text}");
        assert_eq!(bases(text, Api::OllamaChat), ["http://h:1/"], "{text}");
        assert_eq!(parsed(text).below_root("/metrics").as_str(), "http://h:1/metrics", "{text}");
    }
    assert_eq!(bases("http://h:1", Api::OpenAiChat), ["http://h:1/v1", "http://h:1/"]);
    assert_eq!(bases("http://h:1/gw", Api::OpenAiChat), ["http://h:1/gw/v1", "http://h:1/gw"]);
    assert_eq!(bases("http://h:1/chat/completions", Api::OpenAiChat), ["http://h:1/"]);
    assert_eq!(bases("http://h/api/chat", Api::OllamaChat), ["http://h/"]);
    assert_eq!(bases("http://h/api", Api::OllamaChat), ["http://h/"]);
    assert_eq!(bases("http://h/generate_stream", Api::Tgi), ["http://h/"]);
    assert_eq!(bases("http://h/v2/rerank", Api::RerankCohere), ["http://h/"]);
    assert_eq!(bases("http://h/v1/rerank", Api::RerankJina), ["http://h/"]);
}

#[test]
fn the_path_names_the_dialect_and_the_model() {
    for (text, api, model) in [
        ("http://h/v1/completions", Api::OpenAiCompletions, None),
        ("http://h/v1/chat/completions", Api::OpenAiChat, None),
        ("http://h/v1/messages", Api::Anthropic, None),
        ("http://h/api/generate", Api::OllamaGenerate, None),
        ("http://h/generate", Api::Tgi, None),
        ("http://h/v2/rerank", Api::RerankCohere, None),
        ("http://h/rerank", Api::RerankJina, None),
        ("http://h/v1beta/models/m-1:generateContent", Api::Gemini, Some("m-1")),
        (
            "http://h/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse",
            Api::Gemini,
            Some("m"),
        ),
        (
            "https://h/openai/deployments/gpt%204/chat/completions?api-version=1",
            Api::OpenAiChat,
            Some("gpt 4"),
        ),
    ] {
        let address = parsed(text);
        assert_eq!((address.api(), address.model()), (Some(api), model), "{text}");
    }
    assert_eq!(parsed("http://h/v1").api(), None);
    let vertex =
        "http://h/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse";
    assert_eq!(bases(vertex, Api::Gemini), ["http://h/v1/projects/p/locations/l"]);
    assert_eq!(parsed(vertex).below_root("/metrics").as_str(), "http://h/metrics");
    assert_eq!(bases("http://h", Api::Gemini), ["http://h/v1beta"]);
    let azure = "https://h/openai/deployments/d/chat/completions?api-version=2024-10-21";
    assert_eq!(bases(azure, Api::OpenAiChat), ["https://h/openai/deployments/d?api-version=2024-10-21"]);
}

#[test]
fn a_scheme_is_added() {
    for (text, whole) in [
        ("localhost", "http://localhost"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("vllm:8000", "http://vllm:8000"),
        ("10.1.2.3", "http://10.1.2.3"),
        ("api.example.net/v1", "https://api.example.net/v1"),
    ] {
        assert_eq!(parsed(text).shown(), whole);
    }
    assert_eq!(EndpointAddress::parse("ftp://h"), Err(AddressError::Scheme));
    for wrong in ["", "http://", "://", "two words"] {
        assert_eq!(EndpointAddress::parse(wrong), Err(AddressError::NotUrl), "{wrong:?}");
    }
}

#[test]
fn credentials_are_taken_out_and_not_shown() {
    let key = |key: &str| Some(AddressCredential::Key(Exposed::new(key)));
    for (text, rest, credential) in [
        ("https://h/v1?key=s%26cret&a=b", "https://h/v1?a=b", key("s&cret")),
        ("https://h/v1?api_key=sesame", "https://h/v1", key("sesame")),
        (
            "https://h/v1beta/models/m:streamGenerateContent?alt=sse&key=sesame",
            "https://h/v1beta",
            key("sesame"),
        ),
        (
            "http://me:p%40ss@h:1/v1",
            "http://h:1/v1",
            Some(AddressCredential::Basic { username: "me".to_owned(), password: Exposed::new("p@ss") }),
        ),
        ("http://h/v1?api-version=1#part", "http://h/v1?api-version=1", None),
    ] {
        let address = parsed(text);
        assert_eq!(address.shown(), rest);
        assert_eq!(address.credential(), credential.as_ref(), "{text}");
        assert!(!format!("{address:?}").contains("sesame"));
    }
    assert_eq!(EndpointAddress::parse("http://sk-sesame@h"), Err(AddressError::UserOnly));
    assert_eq!(EndpointAddress::parse("http://a:b@h?key=c"), Err(AddressError::SeveralCredentials));
}
