//! A result as `JUnit` XML, which most CI systems show: a test suite for each profile on a target, and a test case for each
//! objective and check. It must not know how cases are judged.
//!
//! There is no binding standard. This follows the schema that Jenkins publishes and GitLab reads: `testsuites`,
//! `testsuite` with counts, `testcase` with at most one of `failure`, `error` and `skipped`.

use super::cases::{CaseEnd, CaseGroup, JudgedCase, cases};
use super::result_file::SavedResult;
use super::result_pair::ResultPair;
use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io;

type Xml = Writer<Vec<u8>>;

/// Numbers of cases.
#[derive(Clone, Copy, Default)]
struct CaseCounts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl SavedResult {
    /// The result as `JUnit` XML, with a trailing newline.
    pub fn to_junit(&self) -> io::Result<String> {
        let groups = cases(self);
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let all = counts(groups.iter().flat_map(|group| &group.cases));
        let element = xml.create_element("testsuites").with_attribute(("name", "tokenbeat"));
        with_counts(element, all).write_inner_content(|xml| {
            for (at, group) in groups.iter().enumerate() {
                // The pairs come first.
                suite(xml, group, self.pairs.get(at), self)?;
            }
            Ok(())
        })?;
        String::from_utf8(xml.into_inner()).map(|text| text + "\n").map_err(io::Error::other)
    }
}

fn suite(
    xml: &mut Xml,
    group: &CaseGroup,
    pair: Option<&ResultPair>,
    result: &SavedResult,
) -> io::Result<()> {
    let name = clean(&group.name);
    let mut element = xml.create_element("testsuite").with_attribute(("name", &*name));
    element = with_counts(element, counts(group.cases.iter()));
    let host = clean(&result.environment.agent);
    element = element.with_attribute(("hostname", &*host));
    if let Some(first) = pair.and_then(|pair| pair.runs.last()) {
        element = element.with_attribute(("timestamp", &*clean(&first.started)));
    }
    if let Some(pair) = pair {
        element = element.with_attribute(("time", &*format!("{:.3}", seconds(pair))));
    }
    element.write_inner_content(|xml| {
        if let Some(pair) = pair {
            properties(xml, pair, result)?;
        }
        group.cases.iter().try_for_each(|it| case(xml, &name, it))
    })?;
    Ok(())
}

fn properties(xml: &mut Xml, pair: &ResultPair, result: &SavedResult) -> io::Result<()> {
    let mut all = vec![
        ("model", pair.model.to_string()),
        ("revision", pair.revision.to_string()),
        ("tokenbeat", result.environment.tokenbeat.clone()),
        ("location", result.environment.location.clone()),
        ("shard", result.environment.shard.clone()),
    ];
    all.extend(pair.runs.iter().map(|run| ("run", run.id.clone())));
    all.extend(pair.runs.iter().map(|run| ("seed", run.seed.to_string())));
    xml.create_element("properties").write_inner_content(|xml| {
        for (name, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
            let value = clean(value);
            xml.create_element("property")
                .with_attributes([("name", *name), ("value", value.as_str())])
                .write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn case(xml: &mut Xml, group: &str, case: &JudgedCase) -> io::Result<()> {
    let name = clean(&case.name);
    let element = xml.create_element("testcase").with_attributes([("classname", group), ("name", &*name)]);
    let (kind, why) = match &case.end {
        CaseEnd::Passed => {
            element.write_empty()?;
            return Ok(());
        }
        CaseEnd::Failed(why) => ("failure", clean(why)),
        CaseEnd::Skipped(why) => ("skipped", clean(why)),
        CaseEnd::Stopped => ("error", "stopped before the end".to_owned()),
    };
    element.write_inner_content(|xml| {
        let end = xml.create_element(kind).with_attribute(("message", &*why));
        if kind == "failure" {
            end.with_attribute(("type", "missed")).write_text_content(BytesText::new(&why))?;
        } else {
            end.write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn counts<'a>(cases: impl Iterator<Item = &'a JudgedCase>) -> CaseCounts {
    let mut counts = CaseCounts::default();
    for case in cases {
        counts.tests += 1;
        match case.end {
            CaseEnd::Passed => {}
            CaseEnd::Failed(_) => counts.failures += 1,
            CaseEnd::Skipped(_) => counts.skipped += 1,
            CaseEnd::Stopped => counts.errors += 1,
        }
    }
    counts
}

fn with_counts(
    element: quick_xml::ElementWriter<'_, Vec<u8>>,
    counts: CaseCounts,
) -> quick_xml::ElementWriter<'_, Vec<u8>> {
    let CaseCounts { tests, failures, errors, skipped } = counts;
    let all = [("tests", tests), ("failures", failures), ("errors", errors), ("skipped", skipped)];
    all.into_iter().fold(element, |element, (name, n)| element.with_attribute((name, &*n.to_string())))
}

/// How long its runs took, in seconds.
fn seconds(pair: &ResultPair) -> f64 {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let runs = pair.runs.iter().filter_map(|run| Some((time(&run.started)?, time(&run.ended)?)));
    runs.map(|(started, ended)| ended.duration_since(started).as_secs_f64().max(0.0)).sum()
}

/// Without the characters that XML 1.0 cannot have at all.
fn clean(text: &str) -> String {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if legal(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests;
