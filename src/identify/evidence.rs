//! The queries that cost no tokens, and their answers: lists of models, metrics, versions and health.

use super::candidates::spoken_at;
use super::server::{ServerSoftware, identify_server};
use super::{AuthScheme, EndpointAddress};
use crate::secret::Exposed;
use crate::unmeasured::{self, chain, read_at_most};
use crate::vocabulary::Api;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, HeaderMap, LOCATION};
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Maximum number of bytes that are read from an answer. The metrics of a large server take a few hundred kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// A query to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// `/models` of the OpenAI and Anthropic APIs.
    Models,
    /// `/v1beta/models` of the Gemini API.
    GeminiModels,
    /// `/api/tags`: the models of Ollama.
    OllamaTags,
    /// `/info`: Text Generation Inference.
    Info,
    /// `/metrics` in the Prometheus format.
    Metrics,
    /// `/v1/metrics`: NIM's metrics.
    NimMetrics,
    /// `/health/liveliness`: LiteLLM.
    Liveliness,
    /// `/version`: vLLM and others.
    Version,
    /// `/api/version`: Ollama.
    OllamaVersion,
    /// `/`: the root page.
    Front,
    /// `/health`. It is sent after the others and not to LiteLLM, which would send a request to each of its models.
    Health,
}

impl Inquiry {
    /// Queries that are sent at the same time.
    const FREE: [Self; 10] = [
        Self::Models,
        Self::GeminiModels,
        Self::OllamaTags,
        Self::Info,
        Self::Metrics,
        Self::NimMetrics,
        Self::Liveliness,
        Self::Version,
        Self::OllamaVersion,
        Self::Front,
    ];
    /// Queries that are sent to a provider with a known host name.
    const HOSTED: [Self; 2] = [Self::Models, Self::GeminiModels];

    fn url(self, address: &EndpointAddress) -> Url {
        let path = match self {
            // The base URL of another dialect does not apply to the OpenAI API.
            Self::Models if address.api().is_some_and(|api| api.provider() != "openai") => "/v1/models",
            Self::Models => {
                let mut url = address.bases(Api::OpenAiChat).swap_remove(0);
                let path = format!("{}/models", url.path().trim_end_matches('/'));
                url.set_path(&path);
                return url;
            }
            Self::GeminiModels => "/v1beta/models",
            Self::OllamaTags => "/api/tags",
            Self::Info => "/info",
            Self::Metrics => "/metrics",
            Self::NimMetrics => "/v1/metrics",
            Self::Liveliness => "/health/liveliness",
            Self::Version => "/version",
            Self::OllamaVersion => "/api/version",
            Self::Front => "/",
            Self::Health => "/health",
        };
        address.below_root(path)
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Default)]
pub struct FetchedAnswer {
    /// HTTP status.
    pub status: u16,
    /// The response headers.
    pub headers: HeaderMap,
    /// The body. A long body is cut off.
    pub body: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailureKind {
    /// The connection failed.
    Connect,
    /// The TLS handshake failed, for example because the certificate is not trusted.
    Tls,
    /// There was no answer before the timeout.
    Timeout,
    /// Any other failure.
    Other,
}

/// Why a query has no answer.
#[derive(Clone, Debug)]
pub struct FetchFailure {
    /// The kind.
    pub kind: FetchFailureKind,
    /// What happened, without the URL.
    pub detail: String,
}

/// A query that was sent, and its result.
#[derive(Clone, Debug)]
struct AskedInquiry {
    inquiry: Inquiry,
    url: Url,
    result: Result<FetchedAnswer, FetchFailure>,
}

/// All queries that were sent, and their results.
#[derive(Clone, Debug, Default)]
pub struct EndpointEvidence {
    asked: Vec<AskedInquiry>,
}

impl EndpointEvidence {
    /// The answer to a query, if its status is 2xx.
    pub fn good(&self, inquiry: Inquiry) -> Option<(&Url, &FetchedAnswer)> {
        let found = self.asked.iter().find(|asked| asked.inquiry == inquiry)?;
        let answer = found.result.as_ref().ok().filter(|answer| (200..300).contains(&answer.status))?;
        Some((&found.url, answer))
    }

    /// The answer to a query as JSON, if its status is 2xx and its body is JSON.
    pub fn json(&self, inquiry: Inquiry) -> Option<Value> {
        serde_json::from_str(&self.good(inquiry)?.1.body).ok()
    }

    /// All answers, whatever their status.
    pub fn answers(&self) -> impl Iterator<Item = (Inquiry, &FetchedAnswer)> {
        self.asked.iter().filter_map(|asked| Some((asked.inquiry, asked.result.as_ref().ok()?)))
    }

    /// The status with which the endpoint refused to list its models, if a missing or wrong key is a likely reason.
    pub fn models_refused(&self) -> Option<u16> {
        let (_, answer) = self.answers().find(|(inquiry, _)| *inquiry == Inquiry::Models)?;
        [400, 401, 403].contains(&answer.status).then_some(answer.status)
    }

    /// The failure to report if no query was answered.
    pub fn unreachable(&self) -> Option<&FetchFailure> {
        if self.answers().next().is_some() {
            return None;
        }
        // A refused connection says more than a timeout of one of ten queries.
        let failures = || self.asked.iter().filter_map(|asked| asked.result.as_ref().err());
        failures().find(|failure| failure.kind != FetchFailureKind::Timeout).or_else(|| failures().next())
    }

    /// The target of the redirect, if all answers are redirects. The address is then wrong, for example http instead of
    /// https.
    pub fn redirect(&self) -> Option<String> {
        let is_redirect = |answer: &FetchedAnswer| (300..400).contains(&answer.status);
        let all = self.answers().all(|(_, answer)| is_redirect(answer));
        let (_, front) = self.answers().find(|(inquiry, _)| *inquiry == Inquiry::Front).filter(|_| all)?;
        Some(front.headers.get(LOCATION)?.to_str().ok()?.to_owned())
    }

    /// The title of the web page, if the address serves a web page instead of an API. Empty if the page has no title.
    pub fn web_page(&self) -> Option<String> {
        let (_, answer) = self.good(Inquiry::Models).or_else(|| self.good(Inquiry::Front))?;
        let lower = answer.body.to_ascii_lowercase();
        let start = lower.trim_start();
        if !start.starts_with("<!doctype html") && !start.starts_with("<html") {
            return None;
        }
        let title = lower.find("<title>").zip(lower.find("</title>"));
        let title = title.and_then(|(from, to)| answer.body.get(from + "<title>".len()..to));
        Some(title.unwrap_or_default().trim().to_owned())
    }

    /// Answers with status 200 and these bodies, for tests.
    #[cfg(test)]
    pub(super) fn of(bodies: &[(Inquiry, &str)]) -> Self {
        let address = EndpointAddress::parse("http://127.0.0.1:8000").unwrap();
        let asked = bodies.iter().map(|(inquiry, body)| AskedInquiry {
            inquiry: *inquiry,
            url: inquiry.url(&address),
            result: Ok(FetchedAnswer { status: 200, headers: HeaderMap::new(), body: (*body).to_owned() }),
        });
        Self { asked: asked.collect() }
    }
}

/// Sends queries to an endpoint.
pub struct Inquirer {
    client: reqwest::Client,
    address: EndpointAddress,
    key: Option<Exposed>,
    timeout: Duration,
}

impl Inquirer {
    /// Creates an inquirer that trusts the system's root certificates, or those in the file. `timeout` applies to each
    /// query. Blocks while it reads the file.
    pub fn new(
        address: EndpointAddress,
        key: Option<Exposed>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, unmeasured::Error> {
        Ok(Self { client: unmeasured::client(ca_file)?, address, key, timeout })
    }

    /// Sends all queries that cost nothing. `basic` is the user if the key is a password.
    pub async fn gather(&self, basic: Option<&str>) -> EndpointEvidence {
        let hosted = spoken_at(self.address.host()).is_some();
        let inquiries: &[Inquiry] = if hosted { &Inquiry::HOSTED } else { &Inquiry::FREE };
        let asked = join_all(inquiries.iter().map(|inquiry| self.ask(*inquiry, basic))).await;
        let mut evidence = EndpointEvidence { asked };
        let costs = identify_server(&evidence).is_some_and(|it| it.software == ServerSoftware::LiteLlm);
        if !hosted && !costs && evidence.unreachable().is_none() {
            evidence.asked.push(self.ask(Inquiry::Health, basic).await);
        }
        evidence
    }

    async fn ask(&self, inquiry: Inquiry, basic: Option<&str>) -> AskedInquiry {
        let mut url = inquiry.url(&self.address);
        let mut result = Err(FetchFailure { kind: FetchFailureKind::Other, detail: String::new() });
        for scheme in self.schemes(inquiry, basic) {
            result = self.fetch(&url, scheme, basic).await;
            // FastAPI serves metrics at the path with a trailing slash and redirects to it.
            let slash = |answer: &FetchedAnswer| {
                let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
                (300..400).contains(&answer.status)
                    && to.is_some_and(|to| to.ends_with(&format!("{}/", url.path())))
            };
            if result.as_ref().is_ok_and(slash) {
                url.set_path(&format!("{}/", url.path()));
                result = self.fetch(&url, scheme, basic).await;
            }
            if !result.as_ref().is_ok_and(|answer| [400, 401, 403].contains(&answer.status)) {
                break;
            }
        }
        AskedInquiry { inquiry, url, result }
    }

    /// The ways of sending the key. The next one is tried if the key is refused.
    fn schemes(&self, inquiry: Inquiry, basic: Option<&str>) -> Vec<Option<AuthScheme>> {
        use AuthScheme::{Basic, Bearer, Header};
        match (&self.key, basic, inquiry) {
            (None, ..) => vec![None],
            (_, Some(_), _) => vec![Some(Basic)],
            (.., Inquiry::GeminiModels) => vec![Some(Header("x-goog-api-key"))],
            (.., Inquiry::Models) => {
                vec![Some(Bearer), Some(Header("x-api-key")), Some(Header("api-key"))]
            }
            _ => vec![Some(Bearer)],
        }
    }

    async fn fetch(
        &self,
        url: &Url,
        scheme: Option<AuthScheme>,
        basic: Option<&str>,
    ) -> Result<FetchedAnswer, FetchFailure> {
        // Anthropic requires this header in each request. Other servers ignore it.
        let mut request = self.client.get(url.clone()).header("anthropic-version", "2023-06-01");
        let key = self.key.as_ref().map(Exposed::expose);
        request = match (scheme, key) {
            (Some(AuthScheme::Bearer), Some(key)) => request.header(AUTHORIZATION, format!("Bearer {key}")),
            (Some(AuthScheme::Header(name)), Some(key)) => request.header(name, key),
            (Some(AuthScheme::Basic), key) => request.basic_auth(basic.unwrap_or_default(), key),
            _ => request,
        };
        let asking = async {
            let mut answer = request.send().await.map_err(failure)?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let (body, _) = read_at_most(&mut answer, MAX_ANSWER).await.map_err(failure)?;
            Ok(FetchedAnswer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
        };
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| {
            let detail = format!("there was no answer within {} ms", self.timeout.as_millis());
            Err(FetchFailure { kind: FetchFailureKind::Timeout, detail })
        })
    }
}

fn failure(error: reqwest::Error) -> FetchFailure {
    let kind = match () {
        () if is_tls(&error) => FetchFailureKind::Tls,
        () if error.is_connect() => FetchFailureKind::Connect,
        () if error.is_timeout() => FetchFailureKind::Timeout,
        () => FetchFailureKind::Other,
    };
    FetchFailure { kind, detail: chain(error) }
}

/// Whether an error was caused by TLS. The error that an I/O error wraps is not part of its `source` chain.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|wrapped| is_tls(wrapped))
        || error.source().is_some_and(is_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(status: u16, headers: &[(&'static str, &str)], body: &str) -> EndpointEvidence {
        let mut evidence = EndpointEvidence::of(&[(Inquiry::Models, body), (Inquiry::Front, body)]);
        for asked in &mut evidence.asked {
            let answer = asked.result.as_mut().unwrap();
            answer.status = status;
            answer.headers.extend(headers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            }));
        }
        evidence
    }

    #[test]
    fn a_web_page_is_told_by_its_beginning() {
        let page = "\n<!DOCTYPE html><html><head><title>Open WebUI</title></head></html>";
        assert_eq!(with(200, &[], page).web_page().as_deref(), Some("Open WebUI"));
        assert_eq!(with(200, &[], "<html></html>").web_page().as_deref(), Some(""));
        assert_eq!(with(404, &[], page).web_page(), None);
        assert_eq!(with(200, &[], r#"{"data":[]}"#).web_page(), None);
    }

    #[test]
    fn a_redirect_counts_where_there_is_nothing_else() {
        let to = [("location", "https://h/")];
        assert_eq!(with(301, &to, "").redirect().as_deref(), Some("https://h/"));
        assert_eq!(with(200, &to, "").redirect(), None);
        assert_eq!(EndpointEvidence::default().redirect(), None);
    }

    #[test]
    fn the_most_telling_failure_is_told() {
        let failed = |kind| AskedInquiry {
            inquiry: Inquiry::Front,
            url: Url::parse("http://h").unwrap(),
            result: Err(FetchFailure { kind, detail: String::new() }),
        };
        let of = |kinds: &[FetchFailureKind]| EndpointEvidence {
            asked: kinds.iter().copied().map(failed).collect(),
        };
        let (connect, timeout) = (FetchFailureKind::Connect, FetchFailureKind::Timeout);
        assert_eq!(of(&[timeout, connect]).unreachable().map(|it| it.kind), Some(connect));
        assert_eq!(of(&[timeout, timeout]).unreachable().map(|it| it.kind), Some(timeout));
        assert!(with(404, &[], "").unreachable().is_none());
    }
}
