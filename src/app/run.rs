//! `tokenbeat run`.

use crate::cli::{Exit, RunOptions};

pub(super) fn run(_options: &RunOptions) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
