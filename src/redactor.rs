//! Removes secrets from external texts before they are shown, because servers quote what they received. It handles
//! texts only, and knows neither requests nor answers.

use crate::secret::Exposed;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::cmp::Reverse;
use url::form_urlencoded::byte_serialize;

/// Maximum length of a detail in characters.
pub const MAX_DETAIL: usize = 300;
/// Maximum length of an excerpt of an answer in characters.
const MAX_EXCERPT: usize = 2000;
/// Minimum length of a secret to search for, in bytes: shorter ones would match within ordinary words.
const MIN_SECRET: usize = 4;
/// Minimum length of a part of a header to search for on its own, in bytes.
const MIN_PART: usize = 6;
/// The replacement of a secret.
const MASK: &str = "***";
/// Characters that never need encoding in a component of a URL (RFC 3986, section 2.3), and that most encoders leave
/// unchanged.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The secrets of one request.
#[derive(Debug, Default)]
pub struct Redactor(Vec<Exposed>);

impl Redactor {
    /// Creates a redactor of these values.
    pub fn new(secrets: Vec<Exposed>) -> Self {
        let mut redactor = Self::default();
        for secret in secrets {
            redactor.add(secret);
        }
        redactor
    }

    /// Adds a value.
    pub fn add(&mut self, secret: Exposed) {
        if secret.expose().len() >= MIN_SECRET {
            self.0.push(secret);
        }
    }

    /// Adds the value of a header, and the secrets inside it, because a server may quote those alone: the token after a
    /// scheme (`Bearer x`), the user and password of `Basic`, the values of cookies.
    pub fn add_header(&mut self, value: &str) {
        self.add(Exposed::new(value));
        match value.split_once(' ') {
            Some((scheme, token)) if !scheme.contains(['=', ';', ',']) && !token.contains(' ') => {
                self.add_part(token);
                if scheme.eq_ignore_ascii_case("basic") {
                    self.add_basic(token);
                }
            }
            _ => {}
        }
        for (_, value) in value.split([';', ',']).filter_map(|part| part.split_once('=')) {
            self.add_part(value.trim().trim_matches('"'));
        }
    }

    fn add_part(&mut self, part: &str) {
        if part.len() >= MIN_PART {
            self.0.push(Exposed::new(part));
        }
    }

    fn add_basic(&mut self, encoded: &str) {
        let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(decoded) = decoded {
            if let Some((_, password)) = decoded.split_once(':') {
                self.add(Exposed::new(password));
            }
            self.add(Exposed::new(decoded));
        }
    }

    /// A detail that is safe to show: on one line, without secrets, truncated.
    pub fn clean(&self, detail: &str) -> String {
        shorten(&self.mask(detail), MAX_DETAIL)
    }

    /// The beginning of an answer, treated in the same way.
    pub fn excerpt(&self, text: &str) -> String {
        // Redaction takes time for each byte of a text. The omitted part lies far behind the excerpt, and the remains
        // of a secret at the cut are masked as well.
        let most = text.floor_char_boundary(MAX_EXCERPT * 8);
        shorten(&self.mask(text.get(..most).unwrap_or_default()), MAX_EXCERPT)
    }

    /// The whole text without secrets.
    pub fn mask(&self, text: &str) -> String {
        let mut forms: Vec<String> = self.0.iter().flat_map(|secret| forms(secret.expose())).collect();
        // A secret may be part of another one, so longer ones are replaced first.
        forms.sort_unstable_by_key(|form| Reverse(form.len()));
        forms.dedup();
        let mut clean = text.to_owned();
        for form in &forms {
            clean = clean.replace(form, MASK);
        }
        for form in &forms {
            if let Some(at) = cut(&clean, form) {
                clean.truncate(at);
                clean.push_str(MASK);
            }
        }
        clean
    }
}

/// The forms in which a value may occur in a request, and in texts about it.
fn forms(secret: &str) -> impl Iterator<Item = String> {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default().to_owned();
    let forms = [
        secret.to_owned(),
        json,
        utf8_percent_encode(secret, RESERVED).to_string(),
        byte_serialize(secret.as_bytes()).collect(),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    forms.into_iter().filter(|form| form.len() >= MIN_SECRET)
}

/// The position where a text ends with the beginning of a secret: bodies are read up to a limit, which may fall inside
/// a secret.
fn cut(text: &str, secret: &str) -> Option<usize> {
    let (at, _) = secret.char_indices().find(|(at, _)| *at >= MIN_SECRET)?;
    let begin = secret.get(..at)?;
    let mut found = text.match_indices(begin).map(|(at, _)| at);
    found.find(|at| text.get(*at..).is_some_and(|end| secret.starts_with(end)))
}

/// The printable characters of a text on one line, truncated to `most`.
pub fn shorten(text: &str, most: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_excerpt_has_no_secret_wherever_it_is_cut() {
        let redactor = redactor(&["sesame-opens"]);
        assert_eq!(redactor.excerpt("say sesame-opens,\n now"), "say ***, now");
        let long = "x".repeat(MAX_EXCERPT - 4) + "sesame-opens";
        assert!(redactor.excerpt(&long).ends_with("xx***"), "{}", redactor.excerpt(&long));
        let longer = "x".repeat(MAX_EXCERPT * 8 - 5) + "sesame-opens";
        assert_eq!(redactor.excerpt(&longer), "x".repeat(MAX_EXCERPT) + "...");
        // The cut must not fall inside a character.
        assert!(redactor.excerpt(&"\u{20ac}".repeat(MAX_EXCERPT * 8)).starts_with('\u{20ac}'));
    }

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().copied().map(Exposed::new).collect())
    }

    #[test]
    fn secrets_in_every_form() {
        let redactor = redactor(&["p\u{e4}ss \"w/rd"]);
        for quoted in [
            "p\u{e4}ss \"w/rd",
            "p\u{e4}ss \\\"w/rd",
            "p%C3%A4ss%20%22w%2Frd",
            "p%C3%A4ss+%22w%2Frd",
            "cMOkc3MgIncvcmQ",
        ] {
            assert_eq!(redactor.clean(&format!("bad: <{quoted}>!")), "bad: <***>!", "{quoted}");
        }
        assert_eq!(redactor.clean("harmless"), "harmless");
    }

    #[test]
    fn what_is_a_secret_within_a_header_is_masked_by_itself() {
        let of = |header: &str| {
            let mut redactor = Redactor::default();
            redactor.add_header(header);
            redactor
        };
        assert_eq!(of("Bearer sk-sesame").clean("the key sk-sesame is wrong"), "the key *** is wrong");
        let basic = of("Basic bWU6aHVudGVyMg==");
        assert_eq!(basic.clean("me:hunter2, hunter2, bWU6aHVudGVyMg=="), "***, ***, ***");
        assert_eq!(of("sid=hunter2; lang=english").clean("no session hunter2"), "no session ***");
        assert_eq!(of("Digest response=\"hunter2\", a=b").clean("hunter2 is wrong"), "*** is wrong");
        assert_eq!(of("a=sesame b").clean("sesame b"), "***");
    }

    #[test]
    fn nothing_is_left_of_a_secret_that_holds_another() {
        assert_eq!(redactor(&["abcd", "xabcdx"]).clean("xabcdx abcd"), "*** ***");
    }

    #[test]
    fn short_values_are_not_searched_for() {
        assert_eq!(redactor(&["abc", ""]).clean("abc"), "abc");
    }

    #[test]
    fn the_beginning_of_a_secret_at_the_cut_end_of_a_body() {
        let redactor = redactor(&["s3cret-and-long"]);
        assert_eq!(redactor.clean("HTTP 500: s3cret-a"), "HTTP 500: ***");
        assert_eq!(redactor.clean("s3cret-a s3cr"), "s3cret-a ***");
        assert_eq!(redactor.clean("s3c"), "s3c");
        assert_eq!(redactor.clean("s3cret-b"), "s3cret-b");
    }

    #[test]
    fn details_are_one_short_line() {
        assert_eq!(redactor(&[]).clean(" a\n\tb\u{7} c "), "a b c");
        let long = redactor(&[]).clean(&"\u{e4}".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with("...")), (MAX_DETAIL + 3, true));
    }

    proptest! {
        #[test]
        fn no_text_shows_a_secret(before in ".{0,20}", secret in "[a-zA-Z0-9\"\\\\ /+\u{e4}]{4,20}", after in ".{0,20}") {
            prop_assume!(!before.contains(&secret) && !after.contains(&secret) && !secret.trim().is_empty());
            let redactor = redactor(&[&secret]);
            for form in forms(&secret) {
                let clean = redactor.clean(&format!("{before}{form}{after}"));
                prop_assert!(!clean.contains(&form), "{}", clean);
            }
        }
    }
}
