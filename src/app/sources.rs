//! Finds and loads the config; reports what is wrong with it.

use crate::cli::{ConfigOptions, Exit};
use crate::config::Source;
use crate::plan::{self, Loaded};
use crate::telemetry::catalogue;
use std::path::{Path, PathBuf};

/// Where the config is looked for if the command line does not say.
const DEFAULTS: [&str; 2] = ["config/tokenbeat.yaml", "/etc/tokenbeat/tokenbeat.yaml"];

/// Loads the config. Errors have been printed, one a line, when this fails; warnings too.
pub(super) fn load(options: &ConfigOptions) -> Result<Loaded, Exit> {
    let Some(paths) = paths(options) else {
        let [first, second] = DEFAULTS;
        eprintln!(
            "error: no config: neither {first} nor {second} exists; give one with --config.file, or try \
             `tokenbeat demo`"
        );
        return Err(Exit::Usage);
    };
    let sources: Vec<Source> = paths.into_iter().map(Source::Path).collect();
    let loaded = plan::load(&sources, std::env::vars()).map_err(|errors| {
        for error in &errors {
            eprintln!("error: {error}");
        }
        let count = errors.iter().count();
        eprintln!("{count} {} in the config", if count == 1 { "error" } else { "errors" });
        Exit::Usage
    })?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    // The catalogue is none of the plan's business; only here both are known.
    let unknown: Vec<&str> = catalogue::unknown_names(&loaded.plan.telemetry.disable).collect();
    for name in &unknown {
        eprintln!("error: telemetry.disable: there is no metric `{name}`; `tokenbeat metrics` lists them");
    }
    if !unknown.is_empty() {
        return Err(Exit::Usage);
    }
    Ok(loaded)
}

fn paths(options: &ConfigOptions) -> Option<Vec<PathBuf>> {
    if !options.files.is_empty() {
        return Some(options.files.clone());
    }
    DEFAULTS.iter().map(Path::new).find(|path| path.exists()).map(|path| vec![path.to_owned()])
}
