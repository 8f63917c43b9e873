//! The command line: its commands and options, and nothing about what they do.

use crate::config::ListenAddress;
use crate::vocabulary::{Api, TraceFormat};
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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

/// The endpoint that `init` and `watch` identify.
#[derive(Debug, Args)]
pub struct EndpointOptions {
    /// Address of the endpoint: an origin, a base URL with its version, or the full URL of an operation
    #[arg(value_name = "URL")]
    pub url: String,
    /// Environment variable that contains the API key
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    pub key_env: Option<String>,
    /// File that contains the API key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Model to request [default: the first model in the endpoint's list that answers]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Dialect of the endpoint [default: the first that the endpoint supports]
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    pub api: Option<Api>,
    /// Certificate of the endpoint or of its authority, in PEM form [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Number of small requests to measure; at most 200
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub requests: u64,
    /// Interval of the probe in the config [default: 1m for `init`, 15s for `watch`]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub every: Option<Duration>,
    /// Timeout of each free request; a request to the model may take six times as long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub timeout: Duration,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitOptions {
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "tokenbeat.yaml")]
    pub output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchOptions {
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    /// Listen address of the daemon; port 0 picks a free port
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9464", value_parser = address)]
    pub listen: SocketAddr,
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

/// What to write of a result.
#[derive(Clone, Debug, Default, Args)]
pub struct ReportOutput {
    /// Write a report in this file, whose ending says what it is: .json (everything, for programs, `report` and
    /// --baseline), .html (one file with plots), .xml (`JUnit`) or .md (Markdown for a pull request); repeatable, `-` is JSON
    /// on stdout in place of the tables
    #[arg(id = "report_files", long = "report", value_name = "FILE", value_parser = report_file)]
    pub files: Vec<ReportFile>,
    /// What stdout gets: tables, or the same as `--report x.json`
    #[arg(id = "result_format", long = "format", value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,
}

/// A report to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// Where; `None` is stdout.
    pub path: Option<PathBuf>,
    /// What it is.
    pub kind: ReportKind,
}

/// A kind of report, by the ending of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Everything, for programs, for `tokenbeat report`, and as a baseline.
    Json,
    /// One HTML file with plots.
    Html,
    /// `JUnit` XML.
    Xml,
    /// Markdown.
    Md,
}

impl ReportKind {
    /// The ending of its files.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Xml => "xml",
            Self::Md => "md",
        }
    }
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

/// Options of `report`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ReportOptions {
    /// Saved results to show
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What to write of them; only of a single one.
    #[command(flatten)]
    pub output: ReportOutput,
    /// What to do with them instead.
    #[command(subcommand)]
    pub command: Option<ReportCommand>,
}

/// What to do with saved results.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Print what changed between two saved results, and exit with 2 if anything is worse
    Diff(DiffOptions),
    /// Add up results of several agents, or of several runs of the same thing; exit with 2 if the sum misses an objective
    Merge(MergeOptions),
}

/// Options of `report merge`.
#[derive(Debug, Args)]
pub struct MergeOptions {
    /// The results
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Save the sum in this file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Compare the sum with the result in this file, and exit with 2 if anything is worse
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// What to write of the sum.
    #[command(flatten)]
    pub output: ReportOutput,
}

/// Options of `report diff`.
#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The result to compare with
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The result that is judged
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// The output format
    #[arg(id = "diff_format", long = "format", value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,
}

/// Output formats of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Tables for a terminal.
    #[default]
    Table,
    /// One JSON object.
    Json,
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

/// A report on the command line, by its ending.
fn report_file(text: &str) -> Result<ReportFile, String> {
    if text == "-" {
        return Ok(ReportFile { path: None, kind: ReportKind::Json });
    }
    let path = PathBuf::from(text);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let kinds = ReportKind::value_variants();
    let kind = kinds.iter().find(|kind| ending.as_deref() == Some(kind.ending()));
    let Some(kind) = kind else {
        let endings: Vec<String> = kinds.iter().map(|kind| format!(".{}", kind.ending())).collect();
        return Err(format!("a report is one of {} by the ending of its file, or `-`", endings.join(", ")));
    };
    Ok(ReportFile { kind: *kind, path: Some(path) })
}

/// A duration on the command line: `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "write a duration such as 500ms, 90s, 5m or 1h30m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A duration that is not zero and at most a day.
fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let bounded = (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&time);
    if bounded { Ok(time) } else { Err("write a duration of 1ms to 24h".to_owned()) }
}

/// A dialect that has a model call, by its name in the config.
fn dialect(text: &str) -> Result<Api, String> {
    let mut spoken = Api::ALL.into_iter().filter(|api| *api != Api::Http);
    spoken.clone().find(|api| api.name() == text).ok_or_else(|| {
        let names: Vec<&str> = spoken.by_ref().map(Api::name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// A format of traces, by its name in the config.
fn trace_format(text: &str) -> Result<TraceFormat, String> {
    TraceFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
        let names = TraceFormat::ALL.map(TraceFormat::name);
        format!("there are {}", names.join(", "))
    })
}

/// An address to listen on, as in the config: without a host, all interfaces.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<ListenAddress>().map(|address| address.0)
}

/// An instant on the command line: `2026-11-20T10:01:00Z`, to the nanosecond.
fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write an instant such as 2026-11-20T10:01:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn results_are_shown_or_compared() {
        let options = |words: &[&str]| {
            let words = ["tokenbeat", "report"].iter().chain(words);
            match Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(Command::Report(options)) => Some(options),
                _ => None,
            }
        };
        let shown = options(&["a.json", "b.json"]).unwrap();
        assert!(shown.files.len() == 2 && shown.command.is_none());
        let Some(ReportCommand::Diff(diff)) =
            options(&["diff", "a", "b", "--format", "json"]).unwrap().command
        else {
            panic!("a diff")
        };
        assert_eq!((diff.before, diff.after, diff.format), ("a".into(), "b".into(), DiffFormat::Json));
        assert!(options(&[]).is_none() && options(&["diff", "a"]).is_none());
    }

    #[test]
    fn a_report_is_known_by_its_ending() {
        let file = |kind, path: &str| Ok(ReportFile { path: Some(path.into()), kind });
        assert_eq!(report_file("out/a.JSON"), file(ReportKind::Json, "out/a.JSON"));
        assert_eq!(report_file("-"), Ok(ReportFile { path: None, kind: ReportKind::Json }));
        for kind in ReportKind::value_variants() {
            let name = format!("a.b.{}", kind.ending());
            assert_eq!(report_file(&name), file(*kind, &name));
        }
        for wrong in ["a.pdf", "json", ".json", ""] {
            assert!(report_file(wrong).unwrap_err().starts_with("a report is one of .json"), "{wrong}");
        }
        let merge =
            ["tokenbeat", "report", "merge", "a", "b", "--out", "c", "--report", "x.json", "--report", "-"];
        let Command::Report(options) = Cli::try_parse_from(merge).unwrap().command else {
            panic!("a report")
        };
        let Some(ReportCommand::Merge(merge)) = options.command else { panic!("a sum") };
        assert_eq!((merge.files.len(), merge.out, merge.output.files.len()), (2, Some("c".into()), 2));
    }

    #[test]
    fn durations_are_read_as_in_the_config() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5").is_err());
        assert!(duration("-5s").is_err());
    }

    #[test]
    fn a_dialect_is_named_as_in_the_config() {
        assert_eq!(dialect("anthropic"), Ok(Api::Anthropic));
        assert!(dialect("http").unwrap_err().starts_with("there are openai-chat, "));
        assert!(interval("0s").is_err() && interval("25h").is_err());
    }

    #[test]
    fn an_address_without_a_host_is_every_interface() {
        assert_eq!(address(":9464"), Ok(SocketAddr::from(([0, 0, 0, 0], 9464))));
        assert_eq!(address("127.0.0.1:1").map(|it| it.port()), Ok(1));
        assert!(address("9464").unwrap_err().contains("an IP address with a port"));
    }

    #[test]
    fn instants_are_those_of_run_ids() {
        for text in ["2026-11-20T10:01:00Z", "2026-11-20T10:01:00.000000001Z"] {
            assert_eq!(instant(text).map(|at| at.to_string()), Ok(text.to_owned()));
        }
        assert!(instant("10:01").unwrap_err().contains("such as 2026-"));
    }
}
