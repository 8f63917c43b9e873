//! The cookies of a user, by the rules of RFC 6265: domain, path, `Secure`, expiry.

use super::{ENTRY, UserSession};
use crate::exchange::Call;
use cookie_store::{Cookie, CookieStore, RawCookie};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// The store keeps name, path and domain next to the text of a cookie, and again as keys.
const COPIES: usize = 3;

/// A cookie jar for one target, whose base URL is `base` in all methods. Requests go nowhere else, and model calls
/// carry no cookies.
#[derive(Default)]
pub(super) struct Jar {
    store: CookieStore,
    /// The path of the last request: cookies of its answer apply to that path by default.
    asked: String,
}

impl Jar {
    /// Maximum number of bytes kept.
    pub(super) const MAX_BYTES: usize =
        UserSession::MAX_COOKIES * (COPIES * UserSession::MAX_COOKIE + ENTRY) + super::draft::MAX_PATH;

    pub(super) fn clear(&mut self) {
        self.store.clear();
    }

    /// Adds the matching cookies to a request, unless its step sets the header itself.
    pub(super) fn send(&mut self, base: &Url, call: &mut Call) {
        self.asked_at(&call.path);
        if call.headers.contains_key(header::COOKIE) {
            return;
        }
        let mut cookies = self.store.matches(&address(base, &self.asked));
        // Longer paths first (RFC 6265, section 5.4), and then by name, because the store has no order.
        cookies.sort_by_key(|cookie| (std::cmp::Reverse(path(cookie).len()), cookie.name().to_owned()));
        let pairs: Vec<String> =
            cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        if !pairs.is_empty()
            && let Ok(mut value) = HeaderValue::try_from(pairs.join("; "))
        {
            value.set_sensitive(true);
            call.headers.insert(header::COOKIE, value);
        }
    }

    /// Records that a request goes to this path below the base URL.
    pub(super) fn asked_at(&mut self, path: &str) {
        path.split(['?', '#']).next().unwrap_or_default().clone_into(&mut self.asked);
    }

    /// Stores the cookies of the answer to the last request.
    pub(super) fn receive(&mut self, base: &Url, headers: &HeaderMap) {
        if !headers.contains_key(header::SET_COOKIE) {
            return;
        }
        let asked = address(base, &self.asked);
        for cookie in set_cookies(headers) {
            let Ok(cookie) = Cookie::try_from_raw_cookie(&cookie, &asked) else { continue };
            if cookie.to_string().len() + path(&cookie).len() + domain(&cookie).len()
                > UserSession::MAX_COOKIE
            {
                continue;
            }
            let known = self.store.contains_any(&domain(&cookie), path(&cookie), cookie.name());
            if !known && !self.has_room() {
                continue;
            }
            // A browser would not keep a cookie that is refused here either (another domain, expired).
            let _ = self.store.insert(cookie.into_owned(), &asked);
        }
    }

    /// Whether another cookie fits. Expired cookies are removed only when space is needed.
    fn has_room(&mut self) -> bool {
        if self.store.iter_any().count() < UserSession::MAX_COOKIES {
            return true;
        }
        let expired: Vec<(String, String, String)> = self
            .store
            .iter_any()
            .filter(|cookie| cookie.is_expired())
            .map(|cookie| (domain(cookie), path(cookie).to_owned(), cookie.name().to_owned()))
            .collect();
        for (domain, path, name) in &expired {
            self.store.remove(domain, path, name);
        }
        !expired.is_empty()
    }

    /// The values of all cookies.
    pub(super) fn values(&self) -> impl Iterator<Item = String> {
        self.store.iter_unexpired().map(|cookie| cookie.value().to_owned())
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let keys =
            |cookie: &Cookie<'_>| cookie.name().len() + 2 * (path(cookie).len() + domain(cookie).len());
        let cookies = self.store.iter_any().map(|cookie| cookie.to_string().len() + keys(cookie) + ENTRY);
        cookies.sum::<usize>() + self.asked.len()
    }
}

/// The value of a cookie in an answer's `Set-Cookie` headers.
pub(super) fn set_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut cookies = set_cookies(headers).filter(|cookie| cookie.name() == name);
    cookies.next_back().map(|cookie| cookie.value().to_owned())
}

fn set_cookies(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = RawCookie<'static>> {
    let texts = headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.filter_map(|text| RawCookie::parse(text.to_owned()).ok())
}

fn path<'a>(cookie: &'a Cookie<'_>) -> &'a str {
    cookie.path.as_ref()
}

fn domain(cookie: &Cookie<'_>) -> String {
    cookie.domain.as_cow().unwrap_or_default().into_owned()
}

/// The URL of a step's path, which is appended to that of the base URL.
fn address(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
