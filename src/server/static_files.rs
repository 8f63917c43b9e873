//! `GET /assets/{file}`: the styles and scripts of the page, out of the binary. A link carries the hash of what it links
//! to, so that a browser may keep a file for good. It must not know what the page shows.

use super::compress;
use crate::assets::{UPLOT_SCRIPT, UPLOT_STYLE};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, response};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file: its name, its type, its text.
const FILES: [(&str, &str, &str); 5] = [
    ("uplot.css", STYLE, UPLOT_STYLE),
    ("uplot.js", SCRIPT, UPLOT_SCRIPT),
    ("chart.js", SCRIPT, include_str!("page/chart.js")),
    ("page.css", STYLE, include_str!("page/page.css")),
    ("page.js", SCRIPT, include_str!("page/page.js")),
];

static STATIC_FILES: LazyLock<Vec<StaticFile>> =
    LazyLock::new(|| FILES.into_iter().map(|(name, kind, text)| StaticFile::of(name, kind, text)).collect());

/// A file in the forms in which it is sent.
struct StaticFile {
    name: &'static str,
    kind: &'static str,
    /// The start of its hash.
    version: String,
    plain: Bytes,
    gzip: Bytes,
}

impl StaticFile {
    fn of(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        let hash = Sha256::digest(text);
        let version = hash.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let plain = Bytes::from_static(text.as_bytes());
        let gzip = compress::gzip(&mut response::Response::new(()).into_parts().0, plain.clone());
        Self { name, kind, version, plain, gzip }
    }

    fn is_compressed(&self) -> bool {
        self.gzip.len() < self.plain.len()
    }
}

/// The link to a file, relative to the page; `None` for a file that does not exist.
pub(super) fn link(name: &str) -> Option<String> {
    STATIC_FILES.iter().find(|file| file.name == name).map(|file| format!("assets/{name}?v={}", file.version))
}

/// `GET /assets/{file}`.
pub(super) async fn file(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(file) = STATIC_FILES.iter().find(|file| file.name == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let gzip = file.is_compressed() && compress::accepts_gzip(&headers);
    let tag = format!("\"{}{}\"", file.version, if gzip { "-gzip" } else { "" });
    // What another version of the program links to is shown, but not kept.
    let same = query.is_some_and(|query| query.strip_prefix("v=") == Some(&file.version));
    let keep = if same { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|tags| tags.split(',')).map(str::trim);
    let is_known =
        known.map(|known| known.trim_start_matches("W/")).any(|known| known == tag || known == "*");
    let mut answer = Response::builder()
        .header(header::CONTENT_TYPE, file.kind)
        .header(header::CACHE_CONTROL, keep)
        .header(header::VARY, "accept-encoding")
        .header(header::ETAG, &tag)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if is_known {
        answer = answer.status(StatusCode::NOT_MODIFIED);
    } else if gzip {
        answer = answer.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = match (is_known, gzip) {
        (true, _) => Bytes::new(),
        (false, true) => file.gzip.clone(),
        (false, false) => file.plain.clone(),
    };
    answer.body(Body::from(body)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::views::body;

    async fn get(name: &str, query: Option<&str>, headers: &[(header::HeaderName, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        file(Path(name.to_owned()), RawQuery(query.map(str::to_owned)), headers).await
    }

    #[tokio::test]
    async fn a_file_is_kept_for_good_under_its_hash_only() {
        for (name, kind, text) in FILES {
            let link = link(name).unwrap();
            let (path, query) = link.split_once('?').unwrap();
            assert_eq!(path, format!("assets/{name}"));
            let kept = get(name, Some(query), &[]).await;
            assert_eq!(kept.headers()[header::CONTENT_TYPE], kind);
            assert!(kept.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
            let tag = kept.headers()[header::ETAG].to_str().unwrap().to_owned();
            assert_eq!(body(kept).await, (StatusCode::OK, text.to_owned()));
            for other in [None, Some("v=0"), Some("v=")] {
                assert_eq!(get(name, other, &[]).await.headers()[header::CACHE_CONTROL], "no-cache");
            }
            let again = get(name, Some(query), &[(header::IF_NONE_MATCH, &tag)]).await;
            assert_eq!(body(again).await, (StatusCode::NOT_MODIFIED, String::new()));
            let other = get(name, Some(query), &[(header::IF_NONE_MATCH, "\"0\", \"1\"")]).await;
            assert_eq!(other.status(), StatusCode::OK);
        }
        assert_eq!(get("Cargo.toml", None, &[]).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(link("Cargo.toml"), None);
    }

    #[tokio::test]
    async fn each_coding_has_a_tag_of_its_own() {
        let plain = get("page.css", None, &[]).await;
        let gzip = get("page.css", None, &[(header::ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_ne!(plain.headers()[header::ETAG], gzip.headers()[header::ETAG]);
    }
}
