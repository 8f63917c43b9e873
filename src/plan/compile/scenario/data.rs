//! Reads lists from data files.

use crate::limits;
use crate::plan::compile::{Findings, pattern};
use serde_json::{Map, Value};
use std::path::Path;

/// Maximum number of columns of a table.
const MAX_COLUMNS: usize = 1000;

/// Maximum size of a file in bytes: it is kept in memory, as values.
const LARGEST: u64 = 16 << 20;

/// The list in a file; never empty.
pub(super) fn read(file: &Path, findings: &mut Findings) -> Result<Value, String> {
    let shown = file.display();
    let extension = file.extension().map(|it| it.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let parse = match extension.as_str() {
        "txt" => lines,
        "csv" => table,
        "json" => list,
        "jsonl" | "ndjson" => values,
        _ => return Err(format!("{shown} must be a .txt, .csv, .json, .jsonl or .ndjson file")),
    };
    let text = pattern::text_file(file, LARGEST, findings)?;
    let items = parse(&text).map_err(|why| format!("{shown} {why}"))?;
    let values = items.iter().map(count).sum();
    findings.hold(0, values, &shown)?;
    if values > limits::ITEMS {
        return Err(format!("{shown} holds {values} values, and at most {} are allowed", limits::ITEMS));
    }
    if items.is_empty() { Err(format!("{shown} holds nothing")) } else { Ok(Value::Array(items)) }
}

/// The number of values in a value, including itself. The parser limits the depth.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The non-blank lines, trimmed, with their numbers from 1.
fn filled(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty())
}

#[expect(clippy::unnecessary_wraps, reason = "one of several parsers; the others may fail")]
fn lines(text: &str) -> Result<Vec<Value>, String> {
    Ok(filled(text).map(|(_, line)| line.into()).collect())
}

fn values(text: &str) -> Result<Vec<Value>, String> {
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("is not valid JSON in line {number}: {error}"))
    };
    filled(text).map(parse).collect()
}

fn list(text: &str) -> Result<Vec<Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(_) => Err("must hold a list".to_owned()),
        Err(error) => Err(format!("is not valid JSON: {error}")),
    }
}

fn table(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let said = |error: &csv::Error| match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, |pos| line_from(text, pos.byte()));
            format!(
                "has another number of fields in line {line} than in its header: {len}, not {expected_len}"
            )
        }
        _ => format!("is not valid CSV: {error}"),
    };
    let header = reader.headers().map_err(|error| said(&error))?.clone();
    let names: Vec<&str> = header.iter().collect();
    if names.len() > MAX_COLUMNS {
        return Err(format!("has {} columns, and at most {MAX_COLUMNS} are allowed", names.len()));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("has no name for column {} in its header", index + 1));
        }
        if names.iter().take(index).any(|before| before == name) {
            return Err(format!("has two columns `{name}` in its header"));
        }
    }
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| said(&error))?;
        let fields = names.iter().zip(&record).map(|(name, field)| ((*name).to_owned(), field.into()));
        Ok(Value::Object(fields.collect::<Map<_, _>>()))
    };
    reader.records().map(row).collect()
}

/// The line, from 1, of the first record from a byte on. The line that the reader tells does not count blank ones before
/// the record, and not always `\r\n`.
fn line_from(text: &str, byte: u64) -> usize {
    let (before, rest) =
        usize::try_from(byte).ok().and_then(|at| text.split_at_checked(at)).unwrap_or_default();
    let blank = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
    1 + before.matches('\n').count() + rest.get(..blank).unwrap_or_default().matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(name: &str, text: &str) -> Result<Value, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut findings = Findings::default();
        let read = read(&path, &mut findings);
        // A reload watches the files that were read.
        assert_eq!(findings.files.paths().count(), usize::from(name != "a.xls"), "{name}");
        read.map_err(|said| said.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn each_kind_of_file_is_a_list() {
        assert_eq!(of("a.txt", "one\n\n two \r\n").unwrap(), json!(["one", "two"]));
        let people = json!([{ "email": "a@x", "name": "A, B" }, { "email": "c@x", "name": "" }]);
        assert_eq!(of("a.csv", "\u{feff}email, name\na@x,\"A, B\"\nc@x,\n").unwrap(), people);
        assert_eq!(of("a.json", "[1, {\"a\": null}]").unwrap(), json!([1, { "a": null }]));
        for name in ["a.jsonl", "a.ndjson", "A.NDJSON"] {
            assert_eq!(of(name, "{\"a\": 1}\n\n\"x\"\n").unwrap(), json!([{ "a": 1 }, "x"]));
        }
    }

    #[test]
    fn what_is_no_list_is_told_by_line() {
        let said = |name: &str, text: &str| of(name, text).unwrap_err();
        assert_eq!(said("a.txt", "\n \n"), "a.txt holds nothing");
        assert_eq!(said("a.csv", "a,b\n"), "a.csv holds nothing");
        assert_eq!(
            said("a.csv", "a,b\n1,2\n3\n"),
            "a.csv has another number of fields in line 3 than in its header: 1, not 2"
        );
        for (text, line) in [
            ("a,b\r\n1,2\r\n3\r\n", 3),
            ("a,b\n\n\n1,2\n\n3\n", 6),
            ("\r\n\r\na,b\r\n\r\n1,2\r\n\r\n\r\n3\r\n", 8),
            ("a,b\n\"1\n1\",2\n3\n", 4),
            ("a,b\n3", 2),
        ] {
            assert_eq!(
                said("a.csv", text),
                format!("a.csv has another number of fields in line {line} than in its header: 1, not 2")
            );
        }
        assert_eq!(said("a.csv", "a,a\n1,2\n"), "a.csv has two columns `a` in its header");
        assert_eq!(said("a.csv", "a,\n1,2\n"), "a.csv has no name for column 2 in its header");
        assert_eq!(said("a.json", "{}"), "a.json must hold a list");
        assert!(said("a.json", "[").starts_with("a.json is not valid JSON: "));
        assert!(said("a.jsonl", "1\n{\n").starts_with("a.jsonl is not valid JSON in line 2: "));
        assert_eq!(said("a.xls", ""), "a.xls must be a .txt, .csv, .json, .jsonl or .ndjson file");
    }

    #[test]
    fn a_file_that_is_missing_or_too_large_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let mut findings = Findings::default();
        assert!(read(&path, &mut findings).unwrap_err().contains("cannot be read"));
        std::fs::File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(read(&path, &mut findings).unwrap_err().ends_with("is larger than 16 MiB"));
    }
}
