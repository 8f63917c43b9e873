//! Reads rate limits from the headers of an answer: the remaining headroom, and how long to wait.

use crate::event::{Limit, LimitKind};
use http::header::{self, HeaderMap};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use std::time::Duration;

/// The header names of limit and remaining units, for each kind in order of preference: those of OpenAI, Azure and most
/// gateways, those of Anthropic, those of older IETF drafts, and those of single providers.
const HEADERS: &[(LimitKind, &str, &str)] = &[
    (LimitKind::Requests, "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    (LimitKind::Requests, "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
    (LimitKind::Requests, "ratelimit-limit", "ratelimit-remaining"),
    (LimitKind::Requests, "x-ratelimit-limit", "x-ratelimit-remaining"),
    (LimitKind::Requests, "x-rate-limit-limit", "x-rate-limit-remaining"),
    // Cerebras, Kong.
    (LimitKind::Requests, "x-ratelimit-limit-requests-minute", "x-ratelimit-remaining-requests-minute"),
    (LimitKind::Requests, "x-ratelimit-limit-requests-day", "x-ratelimit-remaining-requests-day"),
    (LimitKind::Requests, "x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"),
    // Mistral.
    (LimitKind::Requests, "x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute"),
    (LimitKind::Tokens, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
    (LimitKind::Tokens, "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"),
    // Cerebras, Mistral.
    (LimitKind::Tokens, "x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute"),
    (LimitKind::Tokens, "x-ratelimitbysize-limit-minute", "x-ratelimitbysize-remaining-minute"),
    (LimitKind::Tokens, "ratelimitbysize-limit", "ratelimitbysize-remaining"),
    // Together.
    (LimitKind::Tokens, "x-tokenlimit-limit", "x-tokenlimit-remaining"),
    (LimitKind::InputTokens, "x-ratelimit-limit-input-tokens", "x-ratelimit-remaining-input-tokens"),
    (
        LimitKind::InputTokens,
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
    ),
    // Fireworks.
    (LimitKind::InputTokens, "x-ratelimit-limit-tokens-prompt", "x-ratelimit-remaining-tokens-prompt"),
    (LimitKind::OutputTokens, "x-ratelimit-limit-output-tokens", "x-ratelimit-remaining-output-tokens"),
    (
        LimitKind::OutputTokens,
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
    ),
    (LimitKind::OutputTokens, "x-ratelimit-limit-tokens-generated", "x-ratelimit-remaining-tokens-generated"),
];

/// Rate-limit headroom. For each kind, the first pair in [`HEADERS`] of which at least one header is present; for
/// requests also the structured fields of the IETF drafts, if there is no such pair.
pub(super) fn limits(headers: &HeaderMap) -> Vec<Limit> {
    // Most servers send none, and no answer should wait for forty look-ups.
    if !headers.keys().any(|name| name.as_str().contains("limit")) {
        return Vec::new();
    }
    LimitKind::ALL.iter().filter_map(|kind| limit(headers, *kind)).collect()
}

fn limit(headers: &HeaderMap, kind: LimitKind) -> Option<Limit> {
    let of = |limit: Option<f64>, remaining: Option<f64>| {
        (limit.is_some() || remaining.is_some()).then_some(Limit { kind, limit, remaining })
    };
    let mut named = HEADERS.iter().filter(|(of, ..)| *of == kind);
    let found =
        named.find_map(|(_, limit, remaining)| of(number(headers, limit), number(headers, remaining)));
    if kind != LimitKind::Requests {
        return found;
    }
    found.or_else(|| tightest(headers).and_then(|(limit, remaining)| of(limit, remaining))).or_else(|| {
        of(parameter(headers, "ratelimit", "limit"), parameter(headers, "ratelimit", "remaining"))
    })
}

/// The quota and the remaining units of the policy with the least left, as in `ratelimit-policy: "burst";q=10;w=1,
/// "daily";q=1000;w=86400` and `ratelimit: "burst";r=9;t=1, "daily";r=3;t=3600`.
fn tightest(headers: &HeaderMap) -> Option<(Option<f64>, Option<f64>)> {
    let policies = || items(headers, "ratelimit-policy", "q");
    let remaining = items(headers, "ratelimit", "r").min_by(|(_, a), (_, b)| a.total_cmp(b));
    match remaining {
        Some((name, left)) => {
            let of_policy = policies().find(|(policy, _)| *policy == name).map(|(_, quota)| quota);
            Some((of_policy, Some(left)))
        }
        None => policies().next().map(|(_, quota)| (Some(quota), None)),
    }
}

/// The items of a structured list that have a number under `key`: their names and numbers.
fn items<'a>(headers: &'a HeaderMap, name: &str, key: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(move |item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next()?;
        let number = parts.find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        Some((name, finite(number?)?))
    })
}

/// The number at the start of a header: older drafts append the window, as in `100, 100;w=60`.
fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    finite(text(headers, name)?.split([',', ';']).next()?)
}

/// A parameter of the oldest structured form, as in `limit=100, remaining=50`.
fn parameter(headers: &HeaderMap, name: &str, key: &str) -> Option<f64> {
    let mut parts = text(headers, name)?.split([',', ';']).filter_map(|part| part.trim().split_once('='));
    finite(parts.find(|(name, _)| *name == key)?.1)
}

/// How long a server that refuses a request asks to wait: `Retry-After` in seconds or as a date (RFC 9110, section
/// 10.2.3), or in milliseconds, which OpenAI and Azure also send and which takes precedence as the more exact one. A
/// date is compared with the server's own clock if the answer has a `Date` header, otherwise with the local clock.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"];
    if let Some(milliseconds) = milliseconds.iter().find_map(|name| finite(text(headers, name)?)) {
        return Duration::try_from_secs_f64(milliseconds / 1e3).ok();
    }
    let written = text(headers, header::RETRY_AFTER.as_str())?;
    if let Some(seconds) = finite(written) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = |text: &str| DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let now = text(headers, header::DATE.as_str()).and_then(date).unwrap_or(now);
    Some(Duration::try_from(date(written)?.duration_since(now)).unwrap_or_default())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HeaderName;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn of(kind: LimitKind, limit: impl Into<Option<f64>>, remaining: impl Into<Option<f64>>) -> Limit {
        Limit { kind, limit: limit.into(), remaining: remaining.into() }
    }

    #[test]
    fn headroom_of_openai_and_azure() {
        let openai = headers(&[
            ("x-ratelimit-limit-requests", "5000"),
            ("x-ratelimit-remaining-requests", "4999"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-limit-tokens", "800000"),
            ("x-ratelimit-remaining-tokens", "799968"),
        ]);
        let expected = [of(LimitKind::Requests, 5e3, 4999.0), of(LimitKind::Tokens, 8e5, 799_968.0)];
        assert_eq!(limits(&openai), expected);
    }

    #[test]
    fn headroom_of_anthropic() {
        let anthropic = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-tokens-remaining", "28000"),
            ("anthropic-ratelimit-input-tokens-remaining", "20000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ]);
        let expected = [
            of(LimitKind::Requests, 50.0, 49.0),
            of(LimitKind::Tokens, None, 28e3),
            of(LimitKind::InputTokens, None, 20e3),
            of(LimitKind::OutputTokens, 8e3, None),
        ];
        assert_eq!(limits(&anthropic), expected);
    }

    #[test]
    fn headroom_of_others() {
        let fireworks = headers(&[
            ("x-ratelimit-limit-tokens-prompt", "60000"),
            ("x-ratelimit-remaining-tokens-prompt", "59000"),
            ("x-ratelimit-remaining-tokens-generated", "600"),
        ]);
        let expected = [of(LimitKind::InputTokens, 6e4, 59e3), of(LimitKind::OutputTokens, None, 600.0)];
        assert_eq!(limits(&fireworks), expected);
        let cerebras = headers(&[
            ("x-ratelimit-limit-requests-day", "14400"),
            ("x-ratelimit-remaining-requests-day", "14399"),
            ("x-ratelimit-limit-tokens-minute", "60000"),
        ]);
        let expected = [of(LimitKind::Requests, 14400.0, 14399.0), of(LimitKind::Tokens, 6e4, None)];
        assert_eq!(limits(&cerebras), expected);
    }

    #[test]
    fn headroom_in_the_forms_of_the_drafts() {
        for form in [
            &[("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "7")][..],
            &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "7")],
            &[("ratelimit-policy", "\"default\";q=100;w=60"), ("ratelimit", "\"default\";r=7;t=30")],
            &[("ratelimit", "limit=100, remaining=7, reset=5")],
            // The policy that will be exhausted first.
            &[
                ("ratelimit-policy", "\"burst\";q=20;w=1, \"daily\";q=100;w=86400"),
                ("ratelimit", "\"burst\";r=19;t=1, \"daily\";r=7;t=300"),
            ],
        ] {
            assert_eq!(limits(&headers(form)), [of(LimitKind::Requests, 100.0, 7.0)], "{form:?}");
        }
    }

    #[test]
    fn nonsense_is_no_limit() {
        let nonsense = headers(&[
            ("x-ratelimit-limit-requests", "unlimited"),
            ("x-ratelimit-remaining-tokens", "-1"),
            ("ratelimit", "nan"),
            ("ratelimit-policy", "\"default\";q=x"),
            ("x-ratelimit-limit", "inf"),
        ]);
        assert_eq!(limits(&nonsense), []);
    }

    fn after(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
        retry_after(&headers(pairs), "2026-10-21T07:27:30Z".parse().unwrap())
    }

    #[test]
    fn a_wait_in_every_form() {
        assert_eq!(after(&[("retry-after", "60")]), Some(Duration::from_mins(1)));
        assert_eq!(after(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1500)));
        assert_eq!(after(&[("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        let both = [("retry-after", "1"), ("x-ms-retry-after-ms", "250")];
        assert_eq!(after(&both), Some(Duration::from_millis(250)));
        let date = ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(after(&[date]), Some(Duration::from_secs(30)));
        // By the server's clock, which is 20 s ahead of the local one.
        assert_eq!(after(&[date, ("date", "Wed, 21 Oct 2026 07:27:50 GMT")]), Some(Duration::from_secs(10)));
        assert_eq!(after(&[("retry-after", "Wed, 21 Oct 2026 07:00:00 GMT")]), Some(Duration::ZERO));
    }

    #[test]
    fn no_wait_is_made_up() {
        assert_eq!(after(&[]), None);
        for text in ["soon", "-5", "nan", "inf", "1e300", ""] {
            assert_eq!(after(&[("retry-after", text)]), None, "{text}");
        }
        // One unreadable form does not hide the other.
        assert_eq!(after(&[("retry-after-ms", "soon"), ("retry-after", "2")]), Some(Duration::from_secs(2)));
    }
}
