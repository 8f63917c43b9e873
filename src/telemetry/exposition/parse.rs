//! A strict parser of both text formats, written from their specifications and independent of our writer.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpositionSyntax {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    Open,
}

#[derive(Debug, Default)]
pub(super) struct ParsedFamily {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) unit: Option<String>,
    pub(super) help: String,
    pub(super) samples: Vec<ParsedSample>,
}

#[derive(Clone, Debug)]
pub(super) struct ParsedSample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
    pub(super) exemplar: Option<(BTreeMap<String, String>, f64, f64)>,
}

impl ParsedSample {
    fn without(&self, label: &str) -> BTreeMap<String, String> {
        self.labels.iter().filter(|(name, _)| *name != label).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// The families, in order; panics at the first violation.
pub(super) fn families(input: &str, dialect: ExpositionSyntax) -> Vec<ParsedFamily> {
    let body = match dialect {
        ExpositionSyntax::Text => input,
        ExpositionSyntax::Open => input.strip_suffix("# EOF\n").expect("OpenMetrics ends in # EOF"),
    };
    assert!(body.ends_with('\n') && !body.contains('\r'), "every line ends in a line feed");
    let mut families: Vec<ParsedFamily> = Vec::new();
    for line in body.trim_end_matches('\n').split('\n') {
        assert!(!line.is_empty(), "no empty lines");
        if let Some(comment) = line.strip_prefix("# ") {
            describe(&mut families, comment, dialect);
        } else {
            let family = families.last_mut().expect("samples follow their family's type");
            let sample = sample(line, dialect);
            assert!(belongs(family, &sample.name, dialect), "{} within {}", sample.name, family.name);
            family.samples.push(sample);
        }
    }
    let names: BTreeSet<_> = families.iter().map(|family| &family.name).collect();
    assert_eq!(names.len(), families.len(), "a family's lines are together");
    for family in &families {
        check(family, dialect);
    }
    families
}

fn describe(families: &mut Vec<ParsedFamily>, comment: &str, dialect: ExpositionSyntax) {
    let (word, rest) = comment.split_once(' ').unwrap();
    let (name, text) = rest.split_once(' ').unwrap();
    assert!(is_name(name, true), "{name}");
    if families.last().is_none_or(|family| family.name != name) {
        families.push(ParsedFamily { name: name.to_owned(), ..ParsedFamily::default() });
    }
    let family = families.last_mut().unwrap();
    assert!(family.samples.is_empty(), "descriptions come before samples");
    match word {
        "TYPE" => {
            assert!(family.kind.is_empty() && ["counter", "gauge", "histogram"].contains(&text), "{text}");
            family.kind = text.to_owned();
        }
        "HELP" => {
            assert!(family.help.is_empty());
            family.help = unescape(text, dialect == ExpositionSyntax::Open);
        }
        "UNIT" => {
            assert_eq!(dialect, ExpositionSyntax::Open);
            assert!(name.ends_with(&format!("_{text}")), "{name} must end in {text}");
            family.unit = Some(text.to_owned());
        }
        other => panic!("unknown description {other}"),
    }
}

fn belongs(family: &ParsedFamily, sample: &str, dialect: ExpositionSyntax) -> bool {
    let Some(suffix) = sample.strip_prefix(&*family.name) else { return false };
    match (family.kind.as_str(), dialect) {
        ("histogram", _) => ["_bucket", "_count", "_sum"].contains(&suffix),
        ("counter", ExpositionSyntax::Open) => suffix == "_total",
        ("counter", ExpositionSyntax::Text) => suffix.is_empty() && sample.ends_with("_total"),
        _ => suffix.is_empty(),
    }
}

fn check(family: &ParsedFamily, dialect: ExpositionSyntax) {
    assert!(!family.kind.is_empty() && !family.help.is_empty(), "{} lacks a description", family.name);
    assert!(!family.samples.is_empty(), "{} has no samples", family.name);
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} twice");
        if family.kind == "counter" {
            assert!(sample.value >= 0.0, "{sample:?}");
        }
        let may = dialect == ExpositionSyntax::Open && sample.name.ends_with("_bucket");
        assert!(may || sample.exemplar.is_none(), "{sample:?} may have no exemplar");
    }
    if family.kind == "histogram" {
        check_histogram(family, dialect);
    }
}

fn check_histogram(family: &ParsedFamily, dialect: ExpositionSyntax) {
    let mut groups: Vec<(BTreeMap<String, String>, Vec<&ParsedSample>)> = Vec::new();
    for sample in &family.samples {
        let labels = sample.without("le");
        if groups.last().is_none_or(|(last, _)| *last != labels) {
            groups.push((labels, Vec::new()));
        }
        groups.last_mut().unwrap().1.push(sample);
    }
    let distinct: BTreeSet<_> = groups.iter().map(|(labels, _)| labels).collect();
    assert_eq!(distinct.len(), groups.len(), "the samples of a histogram are together");
    for (labels, samples) in groups {
        let one = |suffix: &str| {
            let found: Vec<_> = samples.iter().filter(|sample| sample.name.ends_with(suffix)).collect();
            assert_eq!(found.len(), 1, "{suffix} of {labels:?}");
            found[0].value
        };
        let (count, sum) = (one("_count"), one("_sum"));
        assert!(sum >= 0.0);
        let (mut bound, mut cumulative) = (f64::NEG_INFINITY, 0.0);
        for bucket in samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let text = &bucket.labels["le"];
            let le = number(text);
            assert!(le > bound && bucket.value >= cumulative, "{bucket:?}");
            let fraction = text == "+Inf" || text.contains(['.', 'e']);
            assert!(fraction || dialect == ExpositionSyntax::Text, "le={text} is no float");
            if let Some((_, value, _)) = bucket.exemplar {
                assert!(value > bound && value <= le, "{bucket:?}");
            }
            (bound, cumulative) = (le, bucket.value);
        }
        assert!(bound.is_infinite(), "the last bucket is +Inf");
        assert!((cumulative - count).abs() < f64::EPSILON, "+Inf is the count");
    }
}

fn sample(line: &str, dialect: ExpositionSyntax) -> ParsedSample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, rest) = line.split_at(end);
    assert!(is_name(name, true), "{name}");
    let (labels, rest) = if rest.starts_with('{') { label_set(rest) } else { (BTreeMap::new(), rest) };
    let rest = rest.strip_prefix(' ').unwrap();
    let (value, exemplar) = match rest.split_once(" # ") {
        None => (rest, None),
        Some((value, exemplar)) => {
            assert_eq!(dialect, ExpositionSyntax::Open);
            let (labels, rest) = label_set(exemplar);
            let length: usize = labels.iter().map(|(k, v)| k.chars().count() + v.chars().count()).sum();
            assert!(length <= 128, "{labels:?} is too long");
            let (of, time) = rest.strip_prefix(' ').unwrap().split_once(' ').unwrap();
            (value, Some((labels, number(of), number(time))))
        }
    };
    ParsedSample { name: name.to_owned(), labels, value: number(value), exemplar }
}

/// A label set in braces, and the text after it.
fn label_set(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut rest = text.strip_prefix('{').unwrap();
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name, false), "{name}");
        let mut end = 0;
        let bytes = after.as_bytes();
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let value = unescape(&after[..end], true);
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &after[end + 1..];
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        rest = rest.strip_prefix(',').unwrap();
    }
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some('n') => out.push('\n'),
                Some('"') if quotes => out.push('"'),
                other => panic!("unknown escape {other:?}"),
            },
            '"' => assert!(!quotes, "a bare quote"),
            c => out.push(c),
        }
    }
    out
}

/// `realnumber` in the OpenMetrics grammar.
fn number(text: &str) -> f64 {
    match text.to_ascii_lowercase().as_str() {
        "+inf" | "inf" => return f64::INFINITY,
        "-inf" => return f64::NEG_INFINITY,
        "nan" => return f64::NAN,
        _ => {}
    }
    let legal = |c: char| c.is_ascii_digit() || ['.', 'e', 'E', '-', '+'].contains(&c);
    assert!(text.chars().all(legal) && text.contains(|c: char| c.is_ascii_digit()), "{text} is no number");
    text.parse().unwrap()
}

fn is_name(name: &str, colon: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}
