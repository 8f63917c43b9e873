//! Reads Prometheus' text format, of which a few families are wanted. It must not know what they mean. It is lenient: what
//! it does not understand of other families is none of its business.

use std::borrow::Cow;
use std::collections::HashSet;

/// Samples that are kept of a page at most.
const MAX_SAMPLES: usize = 50_000;

/// What the samples of a histogram end in.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A sample of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PageSample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl PageSample<'_> {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    /// It is something else.
    #[error("the page is not in Prometheus' text format")]
    NotMetrics,
    /// A line of a wanted family is broken.
    #[error("line {0} of the page is no sample")]
    Broken(usize),
    /// It has too many samples.
    #[error("the page has more than {MAX_SAMPLES} samples that matter")]
    TooMany,
}

/// The samples of the wanted families, with their histograms' parts.
pub(super) fn samples<'a>(text: &'a str, wanted: &HashSet<&str>) -> Result<Vec<PageSample<'a>>, PageError> {
    let mut found = Vec::new();
    let mut is_metrics = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("# TYPE ") || line.starts_with("# HELP ") {
            is_metrics = true;
        }
        let line = line.trim();
        let Some(name) = line.split(['{', ' ', '\t']).next().filter(|name| is_wanted(name, wanted)) else {
            continue;
        };
        let sample = sample(name, line.get(name.len()..).unwrap_or_default());
        found.push(sample.ok_or(PageError::Broken(number))?);
        if found.len() > MAX_SAMPLES {
            return Err(PageError::TooMany);
        }
    }
    if found.is_empty() && !is_metrics { Err(PageError::NotMetrics) } else { Ok(found) }
}

fn is_wanted(name: &str, wanted: &HashSet<&str>) -> bool {
    let family = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    wanted.contains(name) || family.is_some_and(|family| wanted.contains(family))
}

/// A sample, from what follows its name; a time and an exemplar behind the value are not read.
fn sample<'a>(name: &'a str, rest: &'a str) -> Option<PageSample<'a>> {
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => label_set(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(PageSample { name, labels, value })
}

/// Labels, and what follows the closing brace.
type LabelSet<'a> = (Vec<(&'a str, Cow<'a, str>)>, &'a str);

fn label_set(mut rest: &str) -> Option<LabelSet<'_>> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let (plain, _) = text.split_once('"')?;
    if !plain.contains('\\') {
        return Some((Cow::Borrowed(plain), text.get(plain.len() + 1..)?));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted() -> HashSet<&'static str> {
        ["a:b", "c_total"].into()
    }

    #[test]
    fn wanted_families_are_read_and_others_are_skipped() {
        let text = "# HELP a:b x\n# TYPE a:b histogram\n\
                    a:b_bucket{le=\"0.5\",m=\"x\\\"y\\\\\\n\"} 3\n\
                    a:b_bucket{le=\"+Inf\", m=\"}\",} 4 1700000000000\n\
                    a:b_sum 1.5e1 # {trace_id=\"1\"} 2\n\
                    c_total{} NaN\n\
                    other{broken 1\n";
        let found = samples(text, &wanted()).unwrap();
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!((found[0].label("le"), found[0].label("m")), (Some("0.5"), Some("x\"y\\\n")));
        assert_eq!((found[0].name, found[0].value), ("a:b_bucket", 3.0));
        assert_eq!(
            (found[1].label("le"), found[1].label("m"), found[1].value),
            (Some("+Inf"), Some("}"), 4.0)
        );
        assert!((found[2].value - 15.0).abs() < 1e-12);
        assert!(found[3].value.is_nan());
    }

    #[test]
    fn what_is_no_page_of_metrics_is_told_from_one_without_a_wanted_family() {
        assert_eq!(samples("<html>not found</html>", &wanted()), Err(PageError::NotMetrics));
        assert_eq!(samples("", &wanted()), Err(PageError::NotMetrics));
        assert_eq!(samples("# TYPE go_goroutines gauge\ngo_goroutines 7\n", &wanted()), Ok(vec![]));
        assert_eq!(samples("# TYPE a:b gauge\na:b{x=\"1} 7\n", &wanted()), Err(PageError::Broken(2)));
        assert_eq!(samples("a:b\n", &wanted()), Err(PageError::Broken(1)));
        let many = "a:b 1\n".repeat(MAX_SAMPLES + 1);
        assert_eq!(samples(&many, &wanted()), Err(PageError::TooMany));
    }

    proptest! {
        #[test]
        fn no_page_is_too_odd(text in "(a:b|c_total|[a-z\"{}=,\\\\ \n#é]){0,40}") {
            let _ = samples(&text, &wanted());
        }

        #[test]
        fn labels_come_back(value in "[^\n]{0,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("a:b{{x=\"{escaped}\",y=\"z\"}} 1\n");
            let found = samples(&text, &wanted()).unwrap();
            prop_assert_eq!(found[0].label("x"), Some(value.as_str()));
            prop_assert_eq!(found[0].label("y"), Some("z"));
        }
    }
}
