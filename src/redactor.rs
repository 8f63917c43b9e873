//! Removes secrets from external texts before they are shown, because servers quote what they received. It handles
//! texts only, and knows neither requests nor answers.

mod entities;
mod readings;
mod search;
#[cfg(test)]
mod tests;

use crate::secret::{self, Exposed};
use crate::vocabulary::is_unshown;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use search::Search;

/// Maximum length of a detail in characters.
pub const MAX_DETAIL: usize = 300;
/// How much of a text is read for a detail, in bytes: a server may say much more, and reading it takes time.
const MAX_READ: usize = 16 << 10;
/// Maximum length of an excerpt of an answer in characters.
const MAX_EXCERPT: usize = 2000;
/// Minimum length of a secret to search for, in bytes: shorter ones would match within ordinary words.
const MIN_SECRET: usize = 4;
/// Minimum length of a part of a header to search for on its own, in bytes.
const MIN_PART: usize = 6;
/// The replacement of a secret.
const MASK: &str = "***";

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
        if secret::trimmed(secret.expose()).len() >= MIN_SECRET {
            self.0.push(secret);
        }
    }

    /// Adds the value of a header, and the secrets inside it, because a server may quote those alone: the token after a
    /// scheme (`Bearer x`), the user and password of `Basic`, the values of cookies.
    pub fn add_header(&mut self, value: &str) {
        self.add(Exposed::new(value));
        match value.trim().split_once(' ').map(|(scheme, token)| (scheme, token.trim())) {
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
        if secret::trimmed(part).len() >= MIN_PART {
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
        let most = detail.floor_char_boundary(MAX_READ);
        shorten(&self.mask(detail.get(..most).unwrap_or_default()), MAX_DETAIL)
    }

    /// The beginning of an answer, treated in the same way.
    pub fn excerpt(&self, text: &str) -> String {
        // Redaction takes time for each byte of a text. The omitted part lies far behind the excerpt, and the remains
        // of a secret at the cut are masked as well.
        let most = text.floor_char_boundary(MAX_EXCERPT * 8);
        shorten(&self.mask(text.get(..most).unwrap_or_default()), MAX_EXCERPT)
    }

    /// The whole text without secrets, however their characters are escaped.
    pub fn mask(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let mut forms: Vec<String> = self.0.iter().flat_map(|secret| forms(secret.expose())).collect();
        forms.sort_unstable();
        forms.dedup();
        Search::new(text, &forms).masked()
    }
}

/// The values to search for: a secret, and its encodings as a whole. Those who quote a header leave out the spaces
/// around it.
fn forms(secret: &str) -> impl Iterator<Item = String> {
    let bare = secret::trimmed(secret);
    let encoded =
        [bare, secret].into_iter().flat_map(|it| [STANDARD_NO_PAD.encode(it), URL_SAFE_NO_PAD.encode(it)]);
    std::iter::once(bare.to_owned()).chain(encoded)
}

/// The printable characters of a text on one line, truncated to `most`.
pub fn shorten(text: &str, most: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || is_unshown(c)).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
    }
}
