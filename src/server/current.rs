//! What is shown and changes with the config.

use crate::plan::Plan;
use crate::state::Time;
use crate::telemetry::Exposition;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

/// What is shown of the config in force. Replaced as a whole, so that nobody sees half of a change.
#[derive(Clone)]
pub struct Current {
    /// What will happen.
    pub plan: Arc<Plan>,
    /// The series that this config shows.
    pub exposition: Arc<Exposition>,
    /// The effective config as YAML, its secrets masked.
    pub config: Arc<str>,
    /// How it was loaded.
    pub status: Arc<ConfigStatus>,
}

/// How the config was loaded, and what is wrong with the one that could not be.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    /// The last try to load it, successful or not.
    pub last_reload: Time,
    /// Since when the config in force is.
    pub last_success: Time,
    /// The last try was successful. If not, the config in force is an older one than that of the files.
    pub ok: bool,
    /// What was wrong in the last try, one error each, without secrets.
    pub errors: Vec<String>,
    /// What looks wrong in the config in force, or needs a restart.
    pub warnings: Vec<String>,
    /// The files and folders that the last try read.
    pub files: Vec<String>,
}

impl ConfigStatus {
    /// Of a config that was loaded now.
    pub fn loaded(warnings: Vec<String>, files: Vec<String>) -> Self {
        let now = Time(SystemTime::now());
        Self { last_reload: now, last_success: now, ok: true, errors: Vec::new(), warnings, files }
    }

    /// The same config, when another one could not be loaded just now.
    pub fn failed(&mut self, errors: Vec<String>, files: Vec<String>) {
        self.last_reload = Time(SystemTime::now());
        self.ok = false;
        (self.errors, self.files) = (errors, files);
    }
}
