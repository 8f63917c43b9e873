//! The format of Prometheus' `file_sd_configs` and `http_sd_configs`: a list of groups, each with addresses and labels.
//! Labels other than `replica` are ignored, including those with two underscores in front, which tell Prometheus what to
//! scrape: scheme and path belong to the target here. Pure.

use super::address;
use super::or_none;
use crate::plan::Replica;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that names a replica.
const NAME: &str = "replica";

/// The error for a list without content.
const EMPTY: &str = "the file is empty; a list of nobody is `[]`";

/// A group of addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressGroup {
    #[serde(deserialize_with = "or_none")]
    targets: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    labels: BTreeMap<String, Option<String>>,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListForm {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The replicas in a list. The error names the line, or the key.
pub(super) fn read(text: &str, form: ListForm, port: u16) -> Result<Vec<Replica>, String> {
    // Most often the moment between truncating and writing.
    if text.trim().is_empty() {
        return Err(EMPTY.to_owned());
    }
    let groups: Vec<AddressGroup> = match form {
        ListForm::Json => serde_json::from_str(text).map_err(|error| error.to_string())?,
        // Comments alone, `---` and null say no more than an empty file.
        ListForm::Yaml => serde_saphyr::from_str::<Option<_>>(text)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?
            .ok_or(EMPTY)?,
    };
    let mut all = Vec::new();
    for (index, AddressGroup { targets, labels }) in groups.iter().enumerate() {
        // A name for several addresses names none of them, and an empty label is none, as in Prometheus.
        let name = labels.get(NAME).and_then(Option::as_deref);
        let name = name.filter(|name| !name.is_empty() && targets.len() == 1);
        if let Some(name) = name {
            address::check_name(name).map_err(|said| format!("[{index}].labels.{NAME}: {said}"))?;
        }
        for (number, target) in targets.iter().enumerate() {
            let replica = address::parse(target, port);
            let replica = replica.map_err(|said| format!("[{index}].targets[{number}]: {said}"))?;
            all.push(match name {
                Some(name) => Replica { name: Arc::from(name), ..replica },
                None => replica,
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, form: ListForm) -> Result<Vec<String>, String> {
        let found = read(text, form, 8000)?;
        Ok(found.iter().map(|it| format!("{}={}:{}", it.name, it.host, it.port)).collect())
    }

    #[test]
    fn a_list_is_that_of_prometheus() {
        let json = r#"[{"targets": ["10.0.0.1:80", "10.0.0.2"], "labels": {"__metrics_path__": "/m", "env": "prod", "replica": "x"}},
             {"targets": ["10.0.0.3:80"], "labels": {"replica": "llm-3"}}, {"targets": []}]"#;
        let right = ["10.0.0.1:80=10.0.0.1:80", "10.0.0.2:8000=10.0.0.2:8000", "llm-3=10.0.0.3:80"];
        assert_eq!(names(json, ListForm::Json).unwrap(), right);
        assert_eq!(names(json, ListForm::Yaml).unwrap(), right, "JSON is YAML");
        let yaml =
            "# replicas\n- targets: [10.0.0.1:80]\n- targets:\n  - 10.0.0.2:80\n  labels: { job: llm }\n";
        assert_eq!(
            names(yaml, ListForm::Yaml).unwrap(),
            ["10.0.0.1:80=10.0.0.1:80", "10.0.0.2:80=10.0.0.2:80"]
        );
        for form in [ListForm::Json, ListForm::Yaml] {
            assert_eq!(names("[]", form).unwrap(), [""; 0]);
        }
        assert_eq!(names("# nobody\n[]\n", ListForm::Yaml).unwrap(), [""; 0]);
    }

    #[test]
    fn what_says_nothing_is_no_error() {
        let json = r#"[{"targets": ["10.0.0.1:80"], "labels": null}, {"targets": null},
            {"targets": ["10.0.0.2:80"], "labels": {"replica": ""}},
            {"targets": ["10.0.0.3:80", "10.0.0.4:80"], "labels": {"replica": "eu west/1"}}]"#;
        let named = |number| format!("10.0.0.{number}:80=10.0.0.{number}:80");
        assert_eq!(names(json, ListForm::Json).unwrap(), [1, 2, 3, 4].map(named));
        let yaml = "- targets: [10.0.0.1:80]\n  labels: { env: , replica: ~ }\n";
        assert_eq!(names(yaml, ListForm::Yaml).unwrap(), [1].map(named));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, form, said) in [
            ("[{\"targets\": [\"a:80\"", ListForm::Json, "line 1 column"),
            ("", ListForm::Json, "the file is empty"),
            (" \n", ListForm::Yaml, "the file is empty"),
            ("# nobody\n", ListForm::Yaml, "the file is empty"),
            ("---\n", ListForm::Yaml, "the file is empty"),
            ("~\n", ListForm::Yaml, "the file is empty"),
            ("null\n", ListForm::Yaml, "the file is empty"),
            ("null", ListForm::Json, "invalid type: null"),
            ("[{\"target\": [\"a:80\"]}]", ListForm::Json, "unknown field `target`"),
            ("[{\"labels\": {}}]", ListForm::Json, "missing field `targets`"),
            ("{\"targets\": []}", ListForm::Json, "invalid type: map"),
            ("- targets: [a:80]\n- target: [b:80]\n", ListForm::Yaml, "line 2"),
            (
                "[{\"targets\": [\"a:80\", \"http://b\"]}]",
                ListForm::Json,
                "[0].targets[1]: `http://b` is not an address",
            ),
            (
                "[{\"targets\": [\"a:80\"], \"labels\": {\"replica\": \"a b\"}}]",
                ListForm::Json,
                "[0].labels.replica: `a b`",
            ),
        ] {
            let wrong = names(text, form).unwrap_err();
            assert!(wrong.contains(said) && !wrong.contains('\n'), "{text}: {wrong}");
        }
    }
}
