//! URLs that a peer names, for people to read.

/// A URL, absolute or relative, without the parts that may contain secrets: user and password, query, and fragment.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let is_slash = |c: char| matches!(c, '/' | '\\');
    let is_scheme = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).filter(is_scheme);
    let after_scheme = scheme.map_or(url, |scheme| url.get(scheme.len() + 1..).unwrap_or_default());
    let rest = after_scheme.trim_start_matches(is_slash);
    // Without a scheme, two slashes begin a host (RFC 3986, section 4.2); with one, clients forgive any number.
    if scheme.is_none() && after_scheme.len() - rest.len() < 2 {
        return url.to_owned();
    }
    let authority = rest.split(is_slash).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return url.to_owned() };
    let before = url.len() - rest.len();
    let [before, after] = [url.get(..before), rest.get(user.len() + 1..)].map(Option::unwrap_or_default);
    format!("{before}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_secret_is_left_out() {
        for (url, shown) in [
            ("https://host/x", "https://host/x"),
            ("https://host:8443/x?token=1#y", "https://host:8443/x"),
            ("http://user:pw@host/x", "http://host/x"),
            ("http://user@host", "http://host"),
            ("http://u:p@w@host:81/a@b?c", "http://host:81/a@b"),
            ("http://u:p@host?x@y", "http://host"),
            ("//user:pw@host/x", "//host/x"),
            ("\\\\user:pw@host/x", "\\\\host/x"),
            ("http:user:pw@host/x", "http:host/x"),
            ("/path@1/x:y?z", "/path@1/x:y"),
            ("path/a@b", "path/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }
}
