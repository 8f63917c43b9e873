//! Describes error answers, and answers that do not come from the API: what was received, and what to try.

use super::{AnswerFormat, Exchange};
use crate::client::{Answer, error_body, location, response};
use http::{HeaderMap, StatusCode, header};

impl Exchange<'_> {
    /// Describes an error answer: its status, how long to wait, its message (last, because it may be truncated), and
    /// what to try.
    pub(super) fn said(&self, status: StatusCode, answer: &Answer, body: &[u8]) -> String {
        let headers = &answer.headers;
        let status_line = match answer.observed.retry_after {
            None => response::status_line(status),
            Some(wait) => format!("{}, retry after {wait:?}", response::status_line(status)),
        };
        if !status.is_redirection()
            && let Some(page) = response::page(headers, body)
        {
            let hint = if status.is_server_error() {
                "a proxy or gateway in front may have answered".to_owned()
            } else {
                format!("is the path right? {}", self.tried())
            };
            return format!("{status_line}, with {page}: {hint}");
        }
        let mut text = match (response::compression(headers), &self.form) {
            _ if body.is_empty() => None,
            (Some(codings), _) => {
                Some(format!("its body is compressed ({codings}), which was not asked for"))
            }
            (None, AnswerFormat::Dialect(dialect)) => dialect.decode_error(body),
            (None, AnswerFormat::Http(_)) => error_body::of_error_answer(body),
        }
        .unwrap_or_else(|| String::from_utf8_lossy(body).into());
        if let Some(class) = response::error_class(headers).filter(|class| !text.contains(class)) {
            text = if text.is_empty() { class.to_owned() } else { format!("{class}: {text}") };
        }
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            text = if text.is_empty() { self.tried() } else { format!("{text}; {}", self.tried()) };
        }
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.filter(|_| status.is_redirection()) {
            Some(to) => {
                let to = location::without_secrets(to);
                format!(
                    "{status_line}, to {to}: none is followed, so that no credentials go elsewhere; {}",
                    self.tried()
                )
            }
            None if text.is_empty() => format!("{status_line}, with an empty body"),
            None => format!("{status_line}: {text}"),
        }
    }

    /// The requested URL without its query, which may contain secrets.
    fn tried(&self) -> String {
        let url = &self.client.target.base_url;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let base = url.path().trim_end_matches('/');
        let path = self.call.path.split('?').next().unwrap_or_default();
        format!("tried {} {}://{host}{port}{base}{path}", self.call.method, url.scheme())
    }

    /// Extends the failure of an answer that is an HTML page: names the page and what to try.
    pub(super) fn name_page(&self, headers: &HeaderMap, body: &[u8], detail: &mut String) {
        if let Some(page) = response::page(headers, body) {
            for part in ["; it is ", &page, ": is the path right? ", &self.tried()] {
                detail.push_str(part);
            }
        }
    }
}
