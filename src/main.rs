//! The binary: parses the command line and runs it.

use std::process::ExitCode;
use tokenbeat::{app, cli::Cli};

fn main() -> ExitCode {
    match Cli::from_args() {
        Ok(cli) => app::main(cli).into(),
        Err(exit) => exit.into(),
    }
}
