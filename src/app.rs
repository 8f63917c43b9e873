//! Composition: the only place that sees everything. Each command has its own file, and so has everything shared
//! between commands (runtimes, the assembled engine, the daemon).

/// Prints a line to stderr. Unlike `eprintln!`, it does not panic where stderr is closed or cannot be written.
macro_rules! say {
    ($($line:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut anstream::stderr(), format_args!("{}\n", format_args!($($line)*)));
    }};
}

mod assembly;
mod baseline;
mod budgets;
mod check;
mod commands;
mod daemon;
mod demo;
mod init;
mod never;
mod open_files;
mod output_file;
mod probe;
mod progress;
mod reload;
mod replay;
mod replicas;
mod report;
mod report_files;
mod run;
mod runtimes;
mod scheduling;
mod serve;
mod signals;
mod simulate;
mod sources;
mod spare_memory;
mod terminal;
mod top;
mod trace;

pub use daemon::{Daemon, DaemonOptions};
pub use reload::{ConfigOrigin, Pace};
pub use signals::ProcessSignals;

use crate::cli::{Cli, Command, Exit, SchemaFormat, TraceCommand};
use crate::error_chain::error_chain;
use crate::{config, telemetry};
use clap::CommandFactory;

/// Executes the command line. Errors have been reported when this returns.
pub fn main(cli: Cli) -> Exit {
    let tap = telemetry::otlp::LogTap::new();
    terminal::choose_color(cli.color);
    let color = terminal::shows_color(&std::io::stderr());
    let _log = match telemetry::logs::init((cli.log.format.into(), color), cli.log_level(), &tap) {
        Ok(guard) => guard,
        Err(error) => {
            say!("error: {error}");
            return Exit::Usage;
        }
    };
    let result = match cli.command {
        Command::Serve(options) => serve::serve(&options, &tap),
        Command::Demo(options) => demo::demo(&options, &tap),
        Command::Init(options) => init::init(&options),
        Command::Watch(options) => init::watch(&options, &tap),
        Command::Run(options) => run::run(&options),
        Command::Top(options) => top::top(&options),
        Command::Check(options) => check::check(&options),
        Command::Report(options) => report::report(&options),
        Command::Trace { command: TraceCommand::Inspect(options) } => trace::inspect(&options),
        Command::Sim(options) => simulate::simulate(*options),
        Command::Schema { format: SchemaFormat::Json } => print(&format!("{:#}\n", config::schema())),
        Command::Schema { format: SchemaFormat::Markdown } => print(&config::markdown()),
        Command::Metrics => print(&telemetry::markdown()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tokenbeat", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    result.unwrap_or_else(|error| {
        // The error and its causes, on one line: `cannot listen on 127.0.0.1:9464: address already in use`.
        say!("error: {}", error_chain(error.as_ref()));
        Exit::Failed
    })
}

/// Prints a result. A closed pipe, as of `| head`, is not an error.
fn print(text: &str) -> anyhow::Result<Exit> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}
