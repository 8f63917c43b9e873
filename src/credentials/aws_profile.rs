//! The shared AWS credentials file: keys by profile name.

use super::Error;
use super::aws::SigningKeys;
use crate::secret::Exposed;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The default location of the file.
pub(super) fn usual_file() -> Option<PathBuf> {
    let named = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|path| !path.is_empty());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".aws/credentials"));
    named.map(PathBuf::from).or_else(home)
}

/// The keys of a profile.
pub(super) fn keys(text: &str, profile: &str, path: &Path) -> Result<SigningKeys, Error> {
    let file = path.display();
    let section =
        section(text, profile).ok_or_else(|| Error::new(format!("{file} has no profile \"{profile}\"")))?;
    let value = |key: &str| section.get(key).copied().filter(|value| !value.is_empty());
    let needed = |key: &str| {
        value(key).map(Exposed::new).ok_or_else(|| {
            let others = ["credential_process", "role_arn", "sso_session", "sso_account_id"];
            let other = others.iter().find(|other| section.contains_key(**other));
            let hint = other.map(|other| format!(" (`{other}` is not supported)")).unwrap_or_default();
            Error::new(format!("the profile \"{profile}\" in {file} has no `{key}`{hint}"))
        })
    };
    Ok(SigningKeys {
        access_key_id: needed("aws_access_key_id")?.expose().to_owned(),
        secret_access_key: needed("aws_secret_access_key")?,
        session_token: value("aws_session_token").map(Exposed::new),
    })
}

/// The values of `[name]`, or of `[profile name]` as in the AWS config file. If a key occurs twice, the last one
/// counts.
fn section<'a>(text: &'a str, name: &str) -> Option<HashMap<&'a str, &'a str>> {
    let mut values: Option<HashMap<&str, &str>> = None;
    let mut is_here = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let header = header.trim();
            let of_profile = header.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t']));
            is_here = of_profile.map_or(header, str::trim) == name;
            if is_here {
                values.get_or_insert_default();
            }
        } else if is_here && let (Some(values), Some((key, value))) = (&mut values, line.split_once('=')) {
            values.insert(key.trim(), value.trim());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# keys\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s/1+=\n\n\
                        [profile work]\n aws_access_key_id=AKIA2\n; no\n aws_secret_access_key = s2\n\
                        aws_session_token = t2\n[sso]\nsso_session = x\n";

    fn of(profile: &str) -> Result<SigningKeys, String> {
        keys(TEXT, profile, Path::new("/c")).map_err(|error| error.to_string())
    }

    #[test]
    fn profiles_are_found_by_name() {
        let default = of("default").unwrap();
        assert_eq!(default.access_key_id, "AKIA1");
        assert_eq!((default.secret_access_key.expose(), default.session_token), ("s/1+=", None));
        let work = of("work").unwrap();
        assert_eq!(work.access_key_id, "AKIA2");
        assert_eq!(work.session_token.unwrap().expose(), "t2");
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(of("other").unwrap_err(), "/c has no profile \"other\"");
        let said = of("sso").unwrap_err();
        assert_eq!(
            said,
            "the profile \"sso\" in /c has no `aws_access_key_id` (`sso_session` is not supported)"
        );
    }
}
