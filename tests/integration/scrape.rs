//! Parses scrapes in text 0.0.4 or OpenMetrics, and queries their series.

use std::collections::BTreeMap;

/// All series of one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    series: Vec<Series>,
}

/// One sample.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
    /// Labels of its exemplar.
    pub(crate) exemplar: Option<BTreeMap<String, String>>,
}

/// The series of one name with these labels (and possibly more).
pub(crate) struct Query<'a> {
    scrape: &'a Scrape,
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
}

impl Scrape {
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { series: lines.map(sample).collect() }
    }

    /// The series with this name, as written on the line.
    pub(crate) fn metric<'a>(&'a self, name: &'a str) -> Query<'a> {
        Query { scrape: self, name, labels: Vec::new() }
    }

    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }
}

impl<'a> Query<'a> {
    /// Restricts the query to series with this label.
    pub(crate) fn label(mut self, key: &'a str, value: &'a str) -> Self {
        self.labels.push((key, value));
        self
    }

    pub(crate) fn all(&self) -> Vec<&'a Series> {
        let fits = |series: &&Series| {
            let has = |(key, value): &(&str, &str)| series.labels.get(*key).is_some_and(|it| it == value);
            series.name == self.name && self.labels.iter().all(has)
        };
        self.scrape.series.iter().filter(fits).collect()
    }

    /// The value of the only matching series.
    pub(crate) fn value(&self) -> f64 {
        let all = self.all();
        let [series] = all.as_slice() else {
            panic!("{} {:?} is {} series", self.name, self.labels, all.len())
        };
        series.value
    }

    /// The sum over the series; there must be at least one.
    pub(crate) fn sum(&self) -> f64 {
        let all = self.all();
        assert!(!all.is_empty(), "there is no {} {:?}", self.name, self.labels);
        all.iter().map(|series| series.value).sum()
    }

    /// The values of a label over the series whose value is not zero.
    pub(crate) fn nonzero(&self, key: &str) -> Vec<(&'a str, f64)> {
        let all = self.all();
        assert!(!all.is_empty(), "there is no {} {:?}", self.name, self.labels);
        let nonzero = all.into_iter().filter(|series| series.value != 0.0);
        nonzero.map(|series| (series.labels[key].as_str(), series.value)).collect()
    }
}

/// `name{a="x",b="y"} 1.5`, possibly followed by ` # {trace_id="..."} 0.3 1700000000.000`.
fn sample(line: &str) -> Series {
    let name_ends = line.find(['{', ' ']).unwrap_or_else(|| panic!("not a sample: {line}"));
    let (name, rest) = line.split_at(name_ends);
    let (labels, rest) = if rest.starts_with('{') { labels(rest) } else { (BTreeMap::new(), rest) };
    let rest = rest.trim_start();
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, Some(self::labels(exemplar).0)),
        None => (rest, None),
    };
    let value = value.split(' ').next().and_then(|number| number.parse().ok());
    let value = value.unwrap_or_else(|| panic!("not a value: {line}"));
    Series { name: name.to_owned(), labels, value, exemplar }
}

/// The labels at the beginning of a text, and the rest.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    let mut rest = text.strip_prefix('{').unwrap();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return (found, rest);
        }
        let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("not labels: {text}"));
        let mut value = String::new();
        let mut chars = after.char_indices();
        loop {
            match chars.next().unwrap() {
                (at, '"') => {
                    rest = &after[at + 1..];
                    break;
                }
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        }
        assert!(found.insert(key.to_owned(), value).is_none(), "{key} twice in {text}");
    }
}

#[test]
fn samples_of_every_form_are_read() {
    let scrape = Scrape::read(
        "# HELP a b\na 1\nb{x=\"1\",y=\"q\\\"}\\\\\\n\"} 2.5\n\
         c_bucket{le=\"+Inf\"} 3 # {trace_id=\"ab\",span_id=\"cd\"} 0.25 1.000\n# EOF\n",
    );
    assert_eq!(scrape.metric("a").value(), 1.0);
    assert_eq!(scrape.metric("b").label("y", "q\"}\\\n").label("x", "1").value(), 2.5);
    assert!(scrape.metric("b").label("x", "2").all().is_empty());
    let bucket = scrape.metric("c_bucket").all()[0];
    assert_eq!((bucket.value, bucket.labels["le"].as_str()), (3.0, "+Inf"));
    assert_eq!(bucket.exemplar.as_ref().unwrap()["trace_id"], "ab");
    assert_eq!(scrape.series().len(), 3);
}
