//! The command line: its commands and options, and nothing about what they do.

mod endpoint;
mod results;
mod values;

pub use endpoint::{EndpointOptions, InitOptions, WatchOptions};
pub use results::{
    DiffFormat, DiffOptions, MergeOptions, ReportCommand, ReportFile, ReportKind, ReportOptions, ReportOutput,
};

use crate::vocabulary::TraceFormat;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use values::{address, duration, instant, interval, trace_format};

/// Plays configured LLM traffic on a schedule, measures every request and every streamed chunk, and exports it.
#[derive(Debug, Parser)]
#[command(name = "tokenbeat", version = crate::build::VERSION, about, long_about = None)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Options of the log.
    #[command(flatten)]
    pub log: LogOptions,
    /// Use colours; `auto` does on a terminal, unless `NO_COLOR` is set, and `CLICOLOR_FORCE` makes it always
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, global = true)]
    pub color: ColorChoice,
}

/// Options of the log, which goes to stderr; stdout is for results.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// Format of the log on stderr.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "text", global = true)]
    pub format: LogFormat,
    /// Level of the log: error, warn, info, debug, trace, or directives such as `info,tokenbeat::client=debug`
    /// [default: info; warn for `run` and `check`, which report on stdout; error for `init`, `watch` and `top`]
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    pub level: Option<String>,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

impl Cli {
    /// The log level: the one given, or the command's default.
    pub fn log_level(&self) -> &str {
        self.log.level.as_deref().unwrap_or(match self.command {
            // What fails while an endpoint is explored is told as what it means.
            Command::Init(_) | Command::Watch(_) | Command::Top(_) => "error",
            Command::Run(_) | Command::Check(_) | Command::Report(_) | Command::Trace { .. } => "warn",
            _ => "info",
        })
    }
}

impl From<LogFormat> for crate::telemetry::logs::LogLineFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: play every profile on its schedule until SIGTERM
    Serve(ServeOptions),
    /// Try everything without a key or a config: simulator, daemon and status page in one process
    Demo(DemoOptions),
    /// Identify an endpoint, take a few measurements, and write a config for it
    Init(InitOptions),
    /// Identify an endpoint and serve its metrics immediately, without a config
    Watch(WatchOptions),
    /// Run profiles once, now, and print a summary
    Run(RunOptions),
    /// Show a running daemon live in the terminal, from its API
    Top(TopOptions),
    /// Validate the config and print the daily forecast: runs, requests, tokens, cost, series
    Check(CheckOptions),
    /// Show, compare and add up results that `run` saved
    Report(ReportOptions),
    /// Show traces of recorded requests
    Trace {
        /// What to do with them.
        #[command(subcommand)]
        command: TraceCommand,
    },
    /// Run the simulator of an inference server alone
    #[command(after_help = crate::sim::help())]
    Sim(Box<SimOptions>),
    /// Print the JSON Schema of the config, or its reference as Markdown
    Schema {
        /// The output format.
        #[arg(id = "schema_format", long = "format", value_enum, default_value_t = SchemaFormat::Json)]
        format: SchemaFormat,
    },
    /// Print the catalogue of metrics as Markdown
    Metrics,
    /// Print shell completions
    Completions {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// Output formats of the config's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// As JSON Schema, for editors and validators.
    Json,
    /// As a Markdown reference: the content of `docs/configuration.md`.
    Markdown,
}

/// The location of the config.
#[derive(Clone, Debug, Args)]
pub struct ConfigOptions {
    /// Config file, or a folder of them; repeatable, later ones win [default: the first that exists of tokenbeat.yaml,
    /// config/tokenbeat.yaml and /etc/tokenbeat/tokenbeat.yaml]
    #[arg(short = 'c', long = "config.file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Play one of several equal shares of every schedule, budget and limit, such as 0/3, 1/3 or 2/3; with ordinal/3, the
    /// number at the end of the host name (or of `POD_NAME`) says which, as in a `StatefulSet` [default: `TOKENBEAT_SHARD`,
    /// or all of it]
    #[arg(long, value_name = "SHARD")]
    pub shard: Option<String>,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// The location of the config.
    #[command(flatten)]
    pub config: ConfigOptions,
    /// Reload the config when one of its files changes; SIGHUP and POST /-/reload do so in any case
    #[arg(long = "config.watch", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub watch: bool,
    /// Listen address, overrides the config's `server.listen`; `:9464` listens on all interfaces, port 0 picks a free
    /// port
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Allow everyone with read access to reload the config, start runs and probe; without this, only this machine and
    /// authenticated users may
    #[arg(long = "web.enable-lifecycle")]
    pub lifecycle: bool,
    /// Maximum time for open requests to finish after SIGTERM
    #[arg(long = "shutdown.grace", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub grace: Duration,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Listen address of the daemon; port 0 picks a free port
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9464", value_parser = address)]
    pub listen: SocketAddr,
    /// Listen address of the simulator; port 0 picks a free port
    #[arg(long = "sim.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = address)]
    pub sim: SocketAddr,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Profiles to run, one after another [default: all of them]
    pub profiles: Vec<String>,
    /// The location of the config.
    #[command(flatten)]
    pub config: ConfigOptions,
    /// Run only against these targets; repeatable
    #[arg(long, value_name = "TARGET")]
    pub target: Vec<String>,
    /// Duration of the run; stages are repeated or cut to fit
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub time: Option<Duration>,
    /// Seed for all random choices, overrides the profile's `seed`; the same seed sends the same requests. Without a
    /// seed, the choices differ each time
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Repeat the random choices of the run that was scheduled for this instant; the id of a run ends with its instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<Timestamp>,
    /// Print everything that was measured below the summary: steps and turns, warm-ups, objectives, tokens by source,
    /// lag, bounds of percentiles
    #[arg(long)]
    pub details: bool,
    /// Save the result in this file, to compare others with it
    #[arg(long, value_name = "FILE")]
    pub save_baseline: Option<PathBuf>,
    /// Compare the result with the one in this file, and exit with 2 if anything is worse
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// What to write of the result.
    #[command(flatten)]
    pub report: ReportOutput,
}

/// Options of `top`.
#[derive(Debug, Args)]
pub struct TopOptions {
    /// Address of the daemon; may have a name and a password
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub url: String,
    /// Name for the daemon's basic authentication
    #[arg(short, long, value_name = "NAME[:PASSWORD]")]
    pub user: Option<String>,
    /// File that contains the password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// File that contains a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub bearer_file: Option<PathBuf>,
    /// Certificate of the daemon or of its authority, in PEM form [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate
    #[arg(short = 'k', long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// How often to ask the daemon; one with many pairs is asked less often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
    /// Print one table, and end; needs no terminal
    #[arg(long)]
    pub once: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckOptions {
    /// The location of the config.
    #[command(flatten)]
    pub config: ConfigOptions,
    /// Send one request to each target and show its timing; this consumes tokens
    #[arg(long)]
    pub probe: bool,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// With --probe: show the beginning of each answer, without secrets
    #[arg(long, requires = "probe")]
    pub show_answer: bool,
}

/// What to do with traces.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Print what a trace would play: requests, rate over time, token percentiles, shared prefixes
    Inspect(InspectOptions),
}

/// Options of `trace inspect`.
#[derive(Debug, Args)]
pub struct InspectOptions {
    /// The trace
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its format: mooncake, azure, burstgpt, bailian or sharegpt [default: by its first line]
    #[arg(id = "trace_format", long = "format", value_name = "FORMAT", value_parser = trace_format)]
    pub format: Option<TraceFormat>,
    /// Where the part that is inspected begins, as a time since the first line [default: there]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub from: Option<Duration>,
    /// Where it ends [default: at the last line]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub to: Option<Duration>,
}

/// Options of `sim`.
#[derive(Debug, Args)]
pub struct SimOptions {
    /// The options of the simulator itself.
    #[command(flatten)]
    pub sim: crate::sim::Options,
    /// Serve over TLS with this certificate (PEM, the chain after it), HTTP/2 and HTTP/1.1 alike
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// The exit status of the process. The numbers are a stable interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Ok,
    /// A failure while running.
    Failed,
    /// An SLO, a check or a comparison failed (`run`).
    Missed,
    /// Invalid usage or config (`EX_USAGE`).
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Missed => 2,
            Exit::Usage => 64,
        })
    }
}

impl Cli {
    /// Parses the arguments of the process. Help and version are printed and exit with 0; invalid usage exits with 64,
    /// where clap itself would use 2, which means a missed objective here.
    pub fn from_args() -> Result<Self, Exit> {
        Self::try_parse().map_err(|error| {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nothing can be reported if the terminal is gone.
            let _ = error.print();
            exit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
