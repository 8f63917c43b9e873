//! The documents that questions are answered from: generated, always the same for a seed, with a real search.
//!
//! It knows words and fields, and nothing about models or HTTP.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::sim::text::{self, Alphabet, Writer};

/// Documents in the library.
const DOCUMENTS: u64 = 60;
const SOURCES: [&str; 3] = ["handbook", "wiki", "tickets"];
const LANGUAGES: [&str; 2] = ["en", "de"];

/// All documents.
#[derive(Debug)]
pub(super) struct Library {
    documents: Vec<Document>,
}

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) text: String,
    source: &'static str,
    language: &'static str,
    words: BTreeSet<String>,
}

/// A document that matches a question, and its score from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoredDocument<'a> {
    pub(super) document: &'a Document,
    pub(super) score: f64,
}

impl Library {
    pub(super) fn new(seed: u64) -> Self {
        let seed = text::hash(seed, b"library");
        Self { documents: (0..DOCUMENTS).map(|n| Document::new(seed, n)).collect() }
    }

    /// The `most` best matching documents, best first, among those that match `filters`: each filter is a field
    /// (`source`, `language`) with its value, or with several values of which one has to match. Other fields match no
    /// document.
    pub(super) fn search(
        &self,
        query: &str,
        most: usize,
        filters: &Map<String, Value>,
    ) -> Vec<ScoredDocument<'_>> {
        let asked = words(query);
        let wanted = self.documents.iter().filter(|document| document.has(filters));
        let mut found: Vec<ScoredDocument<'_>> = wanted
            .map(|document| ScoredDocument { document, score: document.score(query, &asked) })
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(most);
        found
    }
}

impl Document {
    fn new(seed: u64, number: u64) -> Self {
        let seed = text::hash(seed, &number.to_le_bytes());
        let mut writer = Writer::new(seed, Alphabet::Plain);
        let title: String = (0..4).map(|_| writer.piece()).collect();
        let mut writer = Writer::new(!seed, Alphabet::Plain);
        let text: String = (0..60 + seed % 60).map(|_| writer.piece()).collect();
        Self {
            id: format!("doc-{number:03}"),
            words: words(&format!("{title} {text}")),
            title,
            text,
            source: pick(&SOURCES, number),
            language: pick(&LANGUAGES, number / 3),
        }
    }

    fn has(&self, filters: &Map<String, Value>) -> bool {
        filters.iter().all(|(field, wanted)| {
            let own = match field.as_str() {
                "source" => self.source,
                "language" => self.language,
                _ => return false,
            };
            match wanted {
                Value::Array(any) => any.iter().any(|one| one == own),
                one => one == own,
            }
        })
    }

    /// The share of the question's words that the document has, plus a random part as an embedding would add.
    fn score(&self, query: &str, asked: &BTreeSet<String>) -> f64 {
        let shared = asked.intersection(&self.words).count() as f64 / asked.len().max(1) as f64;
        let chance = (text::hash(text::token_id(query), self.id.as_bytes()) % 1000) as f64 / 1000.0;
        (0.3 + 0.4 * shared + 0.3 * chance).min(1.0)
    }
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn pick(names: &[&'static str], number: u64) -> &'static str {
    let at = usize::try_from(number).unwrap_or(0) % names.len().max(1);
    names.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn search(query: &str, most: usize, filters: &Value) -> Vec<(String, f64)> {
        let library = Library::new(7);
        let found = library.search(query, most, filters.as_object().unwrap());
        found.into_iter().map(|found| (found.document.id.clone(), found.score)).collect()
    }

    #[test]
    fn the_best_come_first_and_always_the_same() {
        let found = search("why does the queue grow", 5, &json!({}));
        assert_eq!(found.len(), 5);
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(found.iter().all(|(_, score)| (0.3..=1.0).contains(score)));
        assert_eq!(found, search("why does the queue grow", 5, &json!({})));
        assert_ne!(found, search("and how does it end", 5, &json!({})));
    }

    #[test]
    fn filters_leave_what_has_the_value_or_one_of_them() {
        let count = |filters: &Value| search("queue", 100, filters).len();
        assert_eq!(count(&json!({})), 60);
        assert_eq!(count(&json!({"source": "handbook"})), 20);
        assert_eq!(count(&json!({"source": ["handbook", "wiki"], "language": "de"})), 20);
        assert_eq!(count(&json!({"source": "nowhere"})), 0);
        assert_eq!(count(&json!({"author": "anyone"})), 0);
    }

    #[test]
    fn documents_have_text_and_titles() {
        let library = Library::new(7);
        let titles: BTreeSet<&str> =
            library.documents.iter().map(|document| document.title.as_str()).collect();
        assert!(titles.len() > 55, "{titles:?}");
        assert!(library.documents.iter().all(|document| text::pieces(&document.text).count() >= 60));
    }
}
