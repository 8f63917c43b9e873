//! What the server shows of the config, replaced on reload.

use crate::plan::Plan;
use crate::state::Time;
use crate::telemetry::Exposition;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

/// What is shown of the active config. It is replaced as a whole, so that no reader sees a partial change.
#[derive(Clone)]
pub struct Current {
    /// The active plan.
    pub plan: Arc<Plan>,
    /// The series that this config exports.
    pub exposition: Arc<Exposition>,
    /// The effective config as YAML, with its secrets masked.
    pub config: Arc<str>,
    /// The state of loading.
    pub status: Arc<ConfigStatus>,
}

/// The state of loading the config, and what is wrong with the files if they could not be loaded.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    /// Time of the last attempt to load it, successful or not.
    pub last_reload: Time,
    /// Time at which the active config was loaded.
    pub last_success: Time,
    /// Whether the last attempt succeeded. If not, the active config is older than the files.
    pub ok: bool,
    /// The errors of the last attempt, without secrets.
    pub errors: Vec<String>,
    /// Warnings about the active config: what looks wrong, or requires a restart.
    pub warnings: Vec<String>,
    /// The files and folders that the last attempt read.
    pub files: Vec<String>,
}

impl ConfigStatus {
    /// The state after a config was loaded successfully.
    pub fn loaded(warnings: Vec<String>, files: Vec<String>) -> Self {
        let now = Time(SystemTime::now());
        Self { last_reload: now, last_success: now, ok: true, errors: Vec::new(), warnings, files }
    }

    /// The state after another config could not be loaded: the active one stays.
    pub fn failed(&mut self, errors: Vec<String>, files: Vec<String>) {
        self.last_reload = Time(SystemTime::now());
        self.ok = false;
        (self.errors, self.files) = (errors, files);
    }
}
