//! What was sent and what came back, as it was: kept until it is known whether it is to be recorded, and masked only
//! then, away from the threads that take timestamps.

use super::answer::Generated;
use super::location;
use crate::event::{RecordedAnswer, RecordedExchange, RecordedRequest, RecordedText};
use crate::plan::names_a_credential;
use crate::redactor::Redactor;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LOCATION};
use http::{Method, Request};
use std::fmt;

/// Maximum number of bytes of a text that is recorded.
const MAX_TEXT: usize = 16 << 10;
/// Maximum number of bytes of all headers of a message that are recorded.
const MAX_HEADERS: usize = 8 << 10;
/// The replacement of a value that may be a secret.
const MASK: &str = "***";
/// Headers of an answer that have no secrets, whatever a scenario takes from others.
const HARMLESS: [&str; 5] = ["content-type", "content-length", "date", "server", "retry-after"];

/// How much of an exchange is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordScope {
    /// Nothing.
    #[default]
    Nothing,
    /// All but the body that was sent, the password of a login for example, and the content and headers of an answer that
    /// is not an error: later requests may use secrets in it, such as the token of the login.
    WithoutContent,
    /// What was sent, and what came back.
    Everything,
}

/// What is recorded of one exchange, with its secrets.
pub struct CallRecording {
    scope: RecordScope,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    received: Option<ReceivedContent>,
    redactor: Redactor,
}

/// What came back, with its secrets.
struct ReceivedContent {
    status: u16,
    headers: HeaderMap,
    is_error: bool,
    body: Option<Bytes>,
    generated: [Option<RecordedText>; 3],
}

impl CallRecording {
    /// Keeps what is about to be sent; `None` if nothing is to be recorded.
    pub(super) fn start<B>(scope: RecordScope, request: &Request<B>, body: &Bytes) -> Option<Self> {
        (scope != RecordScope::Nothing).then(|| Self {
            scope,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
            body: body.clone(),
            received: None,
            redactor: Redactor::default(),
        })
    }

    /// Adds an error answer.
    pub(super) fn error(&mut self, status: u16, headers: &HeaderMap, body: &[u8]) {
        let body = Some(Bytes::copy_from_slice(body));
        self.received = Some(ReceivedContent {
            status,
            headers: headers.clone(),
            is_error: true,
            body,
            generated: [None, None, None],
        });
    }

    /// Adds an answer that is not an error, with its body if it came whole.
    pub(super) fn answer(
        &mut self,
        status: u16,
        headers: &HeaderMap,
        body: Option<&Bytes>,
        generated: &Generated,
    ) {
        let Generated { text, reasoning, tool_calls } = generated;
        let generated = [text, reasoning, tool_calls];
        self.received = Some(ReceivedContent {
            status,
            headers: headers.clone(),
            is_error: false,
            body: body.cloned(),
            generated: generated.map(|text| (!text.is_empty()).then(|| begin(text))),
        });
    }

    /// Adds the secrets of the request.
    pub(super) fn with(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// What is recorded, without secrets. Takes up to a millisecond.
    pub fn masked(&self) -> RecordedExchange {
        let sent = RecordedRequest {
            method: self.method.to_string(),
            path: self.redactor.mask(&self.path),
            headers: self.headers(&self.headers, |_| true),
            body: match self.scope {
                RecordScope::WithoutContent if !self.body.is_empty() => {
                    RecordedText { text: MASK.to_owned(), bytes: self.body.len() as u64, is_cut: false }
                }
                _ => self.body(&self.body),
            },
        };
        RecordedExchange { sent, received: self.received.as_ref().map(|received| self.received(received)) }
    }

    fn received(&self, received: &ReceivedContent) -> RecordedAnswer {
        let withheld = self.scope == RecordScope::WithoutContent && !received.is_error;
        let shown = |text: &Option<RecordedText>| {
            let text = text.as_ref().filter(|_| !withheld)?;
            Some(RecordedText { text: self.redactor.mask(&text.text), ..text.clone() })
        };
        let [text, reasoning, tool_calls] = &received.generated;
        RecordedAnswer {
            status: received.status,
            headers: self.headers(&received.headers, |name| !withheld || is_harmless(name)),
            withheld,
            body: received.body.as_ref().filter(|_| !withheld).map(|body| self.body(body)),
            text: shown(text),
            reasoning: shown(reasoning),
            tool_calls: shown(tool_calls),
        }
    }

    fn body(&self, body: &[u8]) -> RecordedText {
        // Some bytes more than are kept, so that the cut is found in the text.
        let start = String::from_utf8_lossy(body.get(..MAX_TEXT + 4).unwrap_or(body));
        let begin = begin(&start);
        RecordedText { text: self.redactor.mask(&begin.text), bytes: body.len() as u64, is_cut: begin.is_cut }
    }

    /// The headers; the values of those that are not `shown` are masked.
    fn headers(&self, headers: &HeaderMap, is_shown: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let mut room = MAX_HEADERS;
        let mut shown = Vec::new();
        for (name, value) in headers {
            let name = name.as_str();
            let value = if is_shown(name) { self.value(name, value) } else { MASK.to_owned() };
            let Some(rest) = room.checked_sub(name.len() + value.len()) else {
                shown.push(("...".to_owned(), "further headers are left out".to_owned()));
                break;
            };
            room = rest;
            shown.push((name.to_owned(), value));
        }
        shown
    }

    fn value(&self, name: &str, value: &HeaderValue) -> String {
        // What is left of a rate limit in tokens is no token.
        let may_be_secret = names_a_credential(name) && !name.contains("ratelimit");
        if value.is_sensitive() || may_be_secret {
            return MASK.to_owned();
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        if name == LOCATION.as_str() {
            return self.redactor.mask(&location::without_secrets(&text));
        }
        self.redactor.mask(&text)
    }
}

/// Whether a header of an answer has no value that a later request could use as a secret.
fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name) || name.contains("ratelimit")
}

/// Nothing of what it holds.
impl fmt::Debug for CallRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallRecording").finish_non_exhaustive()
    }
}

fn begin(text: &str) -> RecordedText {
    let kept = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    RecordedText { text: kept.to_owned(), bytes: text.len() as u64, is_cut: kept.len() < text.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Exposed;

    fn recording(scope: RecordScope, body: &str) -> CallRecording {
        let request = Request::post("http://host/v1/chat?key=sesame-opens")
            .header("authorization", "Bearer sesame-opens")
            .header("x-tenant", "acme sesame-opens")
            .header("x-session-id", "123")
            .body(())
            .unwrap();
        CallRecording::start(scope, &request, &Bytes::from(body.to_owned())).unwrap()
    }

    fn masked(recording: CallRecording) -> RecordedExchange {
        recording.with(Redactor::new(vec![Exposed::new("sesame-opens")])).masked()
    }

    fn generated(text: &str) -> Generated {
        Generated { text: text.to_owned(), reasoning: "hm".to_owned(), tool_calls: String::new() }
    }

    fn names(headers: &[(String, String)]) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn nothing_is_kept_unless_it_is_wanted() {
        let request = Request::get("/").body(()).unwrap();
        assert!(CallRecording::start(RecordScope::Nothing, &request, &Bytes::new()).is_none());
    }

    #[test]
    fn a_recording_has_no_secrets() {
        let mut recording = recording(RecordScope::Everything, "say sesame-opens");
        let mut headers = HeaderMap::new();
        headers.insert("server", HeaderValue::from_static("uvicorn"));
        headers.insert("set-cookie", HeaderValue::from_static("id=123456"));
        headers.insert("location", HeaderValue::from_static("/next?code=123456"));
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("77"));
        recording.answer(
            200,
            &headers,
            Some(&Bytes::from_static(b"{\"t\":\"sesame-opens\"}")),
            &generated("no sesame-opens"),
        );
        assert_eq!(format!("{recording:?}"), "CallRecording { .. }");
        let shown = masked(recording);
        assert_eq!((&*shown.sent.method, &*shown.sent.path), ("POST", "/v1/chat"));
        let sent = [("authorization", "***"), ("x-tenant", "acme ***"), ("x-session-id", "***")];
        assert_eq!(names(&shown.sent.headers), sent);
        assert_eq!(shown.sent.body, RecordedText { text: "say ***".to_owned(), bytes: 16, is_cut: false });
        let received = shown.received.unwrap();
        let came = [
            ("server", "uvicorn"),
            ("set-cookie", "***"),
            ("location", "/next"),
            ("x-ratelimit-remaining-tokens", "77"),
        ];
        assert_eq!(names(&received.headers), came);
        assert_eq!(received.body.unwrap().text, "{\"t\":\"***\"}");
        assert_eq!(
            (received.text.unwrap().text.as_str(), received.reasoning.unwrap().text.as_str()),
            ("no ***", "hm")
        );
        assert_eq!(received.tool_calls, None);
    }

    #[test]
    fn what_later_requests_may_use_is_withheld_and_errors_are_not() {
        let mut login = recording(RecordScope::WithoutContent, "{\"password\":\"of a row\"}");
        let body = Bytes::from_static(b"{\"token\":\"new\"}");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-csrf", HeaderValue::from_static("taken"));
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("77"));
        login.answer(200, &headers, Some(&body), &generated("new"));
        let shown = masked(login);
        assert_eq!(shown.sent.body, RecordedText { text: "***".to_owned(), bytes: 23, is_cut: false });
        let received = shown.received.unwrap();
        let came =
            [("content-type", "application/json"), ("x-csrf", "***"), ("x-ratelimit-remaining-tokens", "77")];
        assert_eq!(names(&received.headers), came);
        assert!(received.withheld && received.body.is_none() && received.text.is_none());
        let mut refused = recording(RecordScope::WithoutContent, "");
        refused.error(401, &headers, b"wrong password");
        let received = masked(refused).received.unwrap();
        assert_eq!(names(&received.headers)[1], ("x-csrf", "taken"), "nothing is taken from an error");
        assert_eq!((received.withheld, received.body.unwrap().text.as_str()), (false, "wrong password"));
    }

    #[test]
    fn every_part_is_bounded() {
        let secret_at_the_cut = "x".repeat(MAX_TEXT - 6) + "sesame-opens" + &"y".repeat(1 << 20);
        let mut recording = recording(RecordScope::Everything, &secret_at_the_cut);
        let mut headers = HeaderMap::new();
        for number in 0..100 {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            headers.insert(name, HeaderValue::try_from("v".repeat(500)).unwrap());
        }
        let long = "é".repeat(MAX_TEXT);
        recording.answer(200, &headers, Some(&Bytes::from(long.clone())), &generated(&long));
        let shown = masked(recording);
        assert!(
            shown.sent.body.is_cut && shown.sent.body.text.ends_with("xx***"),
            "a part of a secret is one"
        );
        assert_eq!(shown.sent.body.bytes, secret_at_the_cut.len() as u64);
        let received = shown.received.unwrap();
        let length: usize = received.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(length <= MAX_HEADERS + 40, "{length}");
        for text in [received.body.unwrap(), received.text.unwrap()] {
            assert!(text.is_cut && text.text.len() <= MAX_TEXT && text.bytes == 2 * MAX_TEXT as u64);
            assert!(text.text.chars().all(|c| c == 'é'));
        }
    }
}
