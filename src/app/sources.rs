//! Finds and loads the config, and reports its errors.

use super::{never, open_files};
use crate::catalogue;
use crate::cli::{ConfigOptions, Exit};
use crate::config::{Config, ConfigSource, KeyPath, Problem};
use crate::files::Files;
use crate::plan::{self, LoadedPlan, Shard};
use crate::server::WebConfig;
use jiff::Timestamp;
use std::env::VarError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Default locations of the config.
const DEFAULTS: [&str; 3] = ["tokenbeat.yaml", "config/tokenbeat.yaml", "/etc/tokenbeat/tokenbeat.yaml"];

/// An attempt to load the config.
pub(super) struct ConfigLoadAttempt {
    /// The config, or every error, one per line.
    pub(super) result: Result<LoadedPlan, Vec<String>>,
    /// Every file that was read or could not be read.
    pub(super) files: Files,
}

/// Prefixes of the environment variables that may concern a config.
const CONCERNED: [&str; 2] = ["TOKENBEAT__", "OTEL_"];

/// The environment variable that says which shard this agent is.
const SHARD: &str = "TOKENBEAT_SHARD";

/// The shard of this agent: that of the command line, or of the environment. Prints an error before it fails.
pub(super) fn shard(options: &ConfigOptions) -> Result<Shard, Exit> {
    let of_environment = match std::env::var(SHARD) {
        Err(VarError::NotUnicode(_)) if options.shard.is_none() => {
            say!("error: {SHARD}: is not UTF-8");
            return Err(Exit::Usage);
        }
        found => found.ok().filter(|text| !text.is_empty()),
    };
    let (key, text) = match (&options.shard, of_environment) {
        (Some(text), _) => ("--shard", text.clone()),
        (None, Some(text)) => (SHARD, text),
        (None, None) => return Ok(Shard::WHOLE),
    };
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    Shard::parse(&text, &pod.unwrap_or_else(plan::host_name)).map_err(|error| {
        say!("error: {key}: {error}");
        Exit::Usage
    })
}

/// Loads the config. Prints warnings, and all errors before it fails, one per line.
pub(super) fn load(options: &ConfigOptions) -> Result<LoadedPlan, Exit> {
    let shard = shard(options)?;
    let (loaded, _) = load_from(&find(options)?, shard)?;
    for warning in &loaded.warnings {
        say!("warning: {warning}");
    }
    Ok(loaded)
}

/// Finds the config. Prints an error before it fails.
pub(super) fn find(options: &ConfigOptions) -> Result<Vec<ConfigSource>, Exit> {
    let Some(paths) = paths(options) else {
        let [first, second, third] = DEFAULTS;
        say!(
            "error: no config: none of {first}, {second} and {third} exists; give one with --config.file, or try \
             `tokenbeat demo`"
        );
        return Err(Exit::Usage);
    };
    Ok(paths.into_iter().map(ConfigSource::Path).collect())
}

/// Loads the config from these sources; also returns the files that were read. Prints all errors before it fails, one
/// per line. Warnings are left to the caller, because a daemon logs them.
pub(super) fn load_from(sources: &[ConfigSource], shard: Shard) -> Result<(LoadedPlan, Files), Exit> {
    let ConfigLoadAttempt { result, files } = attempt(sources, shard);
    let loaded = result.map_err(|errors| {
        for error in &errors {
            say!("error: {error}");
        }
        let count = errors.len();
        say!("{count} {} in the config", if count == 1 { "error" } else { "errors" });
        Exit::Usage
    })?;
    Ok((loaded, files))
}

/// Tries to load the config for an agent that is this shard. Blocks while it reads files, and prints nothing.
pub(super) fn attempt(sources: &[ConfigSource], shard: Shard) -> ConfigLoadAttempt {
    let also = |config: &Config| {
        let mut problems = unknown(config);
        problems.extend(plan::indivisible(config, shard));
        problems
    };
    let environment = match environment(std::env::vars_os()) {
        Ok(environment) => environment,
        Err(errors) => return ConfigLoadAttempt { result: Err(errors), files: Files::default() },
    };
    let plan::PlanLoadAttempt { result, files } = plan::attempt(sources, environment, &also);
    let result = result
        .map(|mut loaded| {
            loaded.plan.agent.shard = shard;
            loaded.warnings.extend(plan::empty_parts(&loaded));
            loaded.warnings.extend(open_files::warning(&loaded.plan));
            loaded.warnings.extend(never::warnings(&loaded, Timestamp::now()));
            loaded
        })
        .map_err(|errors| errors.iter().map(ToString::to_string).collect());
    ConfigLoadAttempt { result, files }
}

/// The variables of an environment that are text; an error for each that is not, and may concern the config.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Vec<String>> {
    let (mut environment, mut errors) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => environment.push((name, value)),
            Err(_) if CONCERNED.iter().any(|prefix| name.starts_with(prefix)) => {
                errors.push(format!("{name}: is not UTF-8"));
            }
            Err(_) => {}
        }
    }
    if errors.is_empty() { Ok(environment) } else { Err(errors) }
}

/// Checks names of metrics and the web configuration, which the plan does not know.
fn unknown(config: &Config) -> Vec<Problem> {
    let disabled = KeyPath::of(["telemetry", "disable"]);
    let names = config.telemetry.disable.iter().enumerate();
    let mut errors: Vec<Problem> = names
        .filter(|(_, name)| catalogue::is_unknown(name))
        .map(|(index, name)| {
            let message = format!("there is no metric `{name}`; `tokenbeat metrics` lists them");
            Problem::new(disabled.index(index), message)
        })
        .collect();
    if let Some(Err(error)) =
        config.server.web_config.as_deref().map(|file| WebConfig::read(file, &mut Files::default()))
    {
        errors.push(Problem::new(KeyPath::of(["server", "web_config"]), error.to_string()));
    }
    errors
}

/// The files and folders of the config: those on the command line, or the first default that exists.
pub(super) fn paths(options: &ConfigOptions) -> Option<Vec<PathBuf>> {
    if !options.files.is_empty() {
        return Some(options.files.clone());
    }
    DEFAULTS.iter().map(Path::new).find(|path| path.exists()).map(|path| vec![path.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn only_variables_that_may_concern_the_config_have_to_be_text() {
        let read =
            |pairs: &[(&[u8], &[u8])]| {
                environment(pairs.iter().map(|(name, value)| {
                    (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))
                }))
            };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read_of = read(&[(b"LESS_X", b"\xff"), (b"\xfe", b"x"), (b"TOKENBEAT__AGENT__ID", b"a")]);
        assert_eq!(read_of, Ok(vec![pair("TOKENBEAT__AGENT__ID", "a")]));
        let wrong =
            read(&[(b"TOKENBEAT__AGENT__ID", b"\xff"), (b"OTEL_SERVICE_NAME", b"a\xff"), (b"A", b"a")]);
        let errors = ["TOKENBEAT__AGENT__ID: is not UTF-8", "OTEL_SERVICE_NAME: is not UTF-8"];
        assert_eq!(wrong, Err(errors.map(str::to_owned).to_vec()));
    }
}
