//! `tokenbeat init` and `tokenbeat watch`: create a config for an address and write it, or run a daemon with it.

mod explore;
mod features;
mod measure;
mod output;
mod trial;

use super::daemon::{Daemon, DaemonOptions};
use super::runtimes::Runtimes;
use super::signals::{ProcessSignals, Signals};
use super::sources;
use crate::cli::{EndpointOptions, Exit, InitOptions, WatchOptions};
use crate::config::ConfigSource;
use crate::engine::OVERRUN;
use crate::identify::{
    AddressCredential, EndpointAddress, EndpointFindings, KeySource, ProbeSettings, render,
};
use crate::plan::{self, LoadedPlan, forecast};
use crate::redactor::Redactor;
use crate::secret::{Exposed, Secret, SecretOrigin};
use crate::server::{BoundServer, Introduction, Notice};
use crate::telemetry::otlp::LogTap;
use crate::vocabulary::TrafficPriority;
use anyhow::{anyhow, bail};
use explore::Explorer;
use http::HeaderValue;
use jiff::Timestamp;
use output::ConfigOutput;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Handle;
use trial::{TrialLimits, TrialRunner};

/// Maximum number of requests in addition to the measuring ones: one for each dialect, a few repetitions, and the
/// requests that explore the dialect that was found.
const MAX_TRIALS: u64 = 40;
/// Maximum number of tokens for exploring the endpoint, and for each measuring request.
const TRIAL_TOKENS: u64 = 30_000;
const TOKENS_PER_REQUEST: u64 = 3_000;
/// Factor by which the timeout of a request to a model exceeds that of a free query.
const MODEL_TIME: u32 = 6;
/// Interval of the probe in the configs of `init` and of `watch`.
const EVERY: Duration = Duration::from_mins(1);
const EVERY_WATCHED: Duration = Duration::from_secs(15);
/// Time that open requests have to finish when `watch` is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// Advice in error messages.
mod hint {
    pub(super) const KEY: &str =
        "name the variable that holds it with --key-env NAME, or the file with --key-file FILE";
    pub(super) const API: &str = "If you know the dialect, name it with --api NAME; the full path of an operation, such as \
         .../v1/chat/completions, tells it, too";
}

/// The command line is not valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Prints the findings to stderr, without secrets.
struct Narrator(Redactor);

impl Narrator {
    fn say(&self, what: &str, text: &str) {
        say!("  {what:12}{}", self.0.clean(text));
    }

    /// Prints a fact and adds it to the findings.
    fn fact(&self, findings: &mut EndpointFindings, what: &'static str, text: &str) {
        self.say(what, text);
        findings.facts.push((what, self.0.clean(text)));
    }
}

/// Explores an endpoint and writes a config for it.
pub(super) fn init(options: &InitOptions) -> anyhow::Result<Exit> {
    told(write_config(options))
}

/// Explores an endpoint and starts a daemon with the config.
pub(super) fn watch(options: &WatchOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    told(serve_findings(options, tap))
}

/// Prints usage errors, which have their own exit code.
fn told(result: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match result {
        Err(error) if error.is::<UsageError>() => {
            say!("error: {error}");
            Ok(Exit::Usage)
        }
        result => result,
    }
}

fn write_config(options: &InitOptions) -> anyhow::Result<Exit> {
    let output = ConfigOutput::new(&options.output, options.force)?;
    let runtimes = Runtimes::start(TrafficPriority::Normal)?;
    let traffic = runtimes.traffic();
    runtimes.block_on(async {
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        let findings = tokio::select! {
            findings = learn(&options.endpoint, traffic) => findings?,
            () = stop.drain.cancelled() => bail!("stopped: nothing was written"),
            never = signals => match never {},
        };
        let (text, _) = config(&findings, &options.endpoint, (EVERY, false))?;
        output.write(&text)?;
        if findings.auth.as_ref().is_some_and(|auth| auth.key.is_in_address()) {
            say!(
                "\nThe key stood in the address, and so in the history of this shell. The config refers to the variable \
                 LLM_API_KEY: set it before you use the config."
            );
        }
        Ok(Exit::Ok)
    })
}

fn serve_findings(options: &WatchOptions, tap: &LogTap) -> anyhow::Result<Exit> {
    let runtimes = Runtimes::start(TrafficPriority::Normal)?;
    let traffic = runtimes.traffic();
    runtimes.block_on(async {
        let stop = ProcessSignals::default();
        let signals = Signals::install()?.watch(stop.clone());
        let watching = async {
            // Before anything is spent. Nobody else takes the port meanwhile, or else that is told then.
            drop(BoundServer::bind(options.listen).await?);
            let findings = tokio::select! {
                findings = learn(&options.endpoint, traffic.clone()) => findings?,
                () = stop.drain.cancelled() => bail!("stopped before anything was served"),
            };
            let (_, loaded) = config(&findings, &options.endpoint, (EVERY_WATCHED, true))?;
            let wanted = DaemonOptions {
                listen: Some(options.listen),
                lifecycle: false,
                grace: GRACE,
                overrun: OVERRUN,
                notice: Notice::default(),
            };
            let notice = wanted.notice.clone();
            let daemon = Daemon::build(loaded, wanted, traffic, tap).await?;
            notice.introduce(introduction(&findings));
            let address = daemon.address();
            // Stdout may be closed. The daemon runs regardless.
            let _ = writeln!(
                std::io::stdout(),
                "\n  status page   http://{address}/\n  metrics       http://{address}/metrics\n  \
                 config        http://{address}/config\n\nCtrl-C ends it; nothing is kept."
            );
            daemon.run(stop.clone()).await
        };
        tokio::select! {
            result = watching => result?,
            never = signals => match never {},
        }
        Ok(Exit::Ok)
    })
}

fn introduction(findings: &EndpointFindings) -> Introduction {
    let facts: Vec<String> = findings.facts.iter().map(|(what, text)| format!("{what}: {text}")).collect();
    Introduction {
        text: format!("tokenbeat watches {}. {}", findings.asked, facts.join(". ")),
        calm: "this config is kept in memory; `tokenbeat init` writes one to a file.".to_owned(),
        suggestions: Vec::new(),
    }
}

/// Explores and measures an endpoint.
async fn learn(options: &EndpointOptions, traffic: Handle) -> anyhow::Result<EndpointFindings> {
    let address = EndpointAddress::parse(&options.url).map_err(|error| UsageError(error.to_string()))?;
    let (key, exposed) = key(options, &address)?;
    let ca_file = options.ca_file.as_deref().map(absolute).transpose()?;
    let mut redactor = Redactor::default();
    if let Some(key) = &exposed {
        redactor.add(key.clone());
    }
    let narrator = Narrator(redactor);
    let limits = TrialLimits {
        requests: MAX_TRIALS + options.requests,
        tokens: TRIAL_TOKENS + TOKENS_PER_REQUEST * options.requests,
    };
    say!(
        "Asking {} what it is. At most {} small requests and {} tokens; where all goes well about {} requests.",
        address.shown(),
        limits.requests,
        limits.tokens,
        options.requests + 9
    );
    let mut trials = TrialRunner::new(traffic, limits, options.timeout * MODEL_TIME)?;
    let explorer = Explorer { options, address: &address, key, exposed, ca_file, narrator: &narrator };
    let evidence = explorer.gather().await?;
    let (mut findings, first) = explorer.find(&evidence, &mut trials).await?;
    describe(&mut findings, &narrator);
    features::explore(&mut findings, &first, &mut trials, &narrator).await?;
    measure::measure(&mut findings, options.requests, &mut trials, &narrator).await?;
    let (requests, tokens) = trials.spent();
    narrator.say("spent", &format!("{requests} requests, {tokens} tokens"));
    let price = format!("targets.{}.price, in money per million tokens", findings.name);
    findings.leave_open("price", price);
    Ok(findings)
}

/// Adds the facts that are known once the dialect is found.
fn describe(findings: &mut EndpointFindings, narrator: &Narrator) {
    let dialect = format!("{} at {}", findings.api.name(), findings.base_url);
    narrator.fact(findings, "dialect", &dialect);
    let model = match (findings.model.as_str(), findings.listed.len()) {
        ("", _) => "none is named, and none is listed".to_owned(),
        (model, 0) => format!("{model}; the endpoint lists none"),
        (model, 1) if findings.listed.iter().any(|name| name == model) => format!("{model}, the only one"),
        (model, listed) => format!("{model}, of {listed} that are listed"),
    };
    narrator.fact(findings, "model", &model);
    if findings.model.is_empty() {
        let line = format!("targets.{}.model, a label on every series", findings.name);
        findings.leave_open("model", line);
    }
    match findings.server.clone() {
        Some(server) => {
            let version = server.version.map(|version| format!(" {version}")).unwrap_or_default();
            let said = format!("{}{version}, by {}", server.software.name(), server.shown_by);
            narrator.fact(findings, "server", &said);
        }
        None => {
            findings.leave_open("server", "the endpoint does not say what serves it; nothing depends on it");
        }
    }
    match findings.account.metrics.clone() {
        Some((url, prefix)) => {
            let names =
                prefix.map_or_else(|| "with names that are not known here".to_owned(), |it| format!("{it}*"));
            narrator.fact(findings, "metrics", &format!("{url}, {names}"));
        }
        None => findings.leave_open(
            "metrics",
            "none were found: scrape the server's own, if it has any, beside tokenbeat",
        ),
    }
    if let Some(url) = findings.account.health.clone() {
        narrator.fact(findings, "health", url.as_str());
    }
}

/// Returns where the key comes from, and its value. Except for a key in the address, the source is a reference.
fn key(
    options: &EndpointOptions,
    address: &EndpointAddress,
) -> Result<(Option<KeySource>, Option<Exposed>), UsageError> {
    let named = match (&options.key_env, &options.key_file) {
        (Some(name), _) => Some((SecretOrigin::Env(name.clone()), KeySource::Env(name.clone()))),
        (None, Some(path)) => {
            let path = absolute(path)?;
            Some((SecretOrigin::File(path.clone()), KeySource::File(path)))
        }
        (None, None) => None,
    };
    match (named, address.credential()) {
        (Some(_), Some(_)) => {
            Err(UsageError("there is a key in the address, and another one is named".to_owned()))
        }
        (Some((origin, key)), None) => {
            let exposed = Secret::new(origin).read().map_err(|error| UsageError(error.to_string()))?;
            if HeaderValue::from_str(exposed.expose()).is_err() {
                return Err(UsageError(
                    "the key holds a character that cannot be sent in a header".to_owned(),
                ));
            }
            Ok((Some(key), Some(exposed)))
        }
        (None, Some(AddressCredential::Key(key))) => {
            Ok((Some(KeySource::Address(key.clone())), Some(key.clone())))
        }
        (None, Some(AddressCredential::Basic { username, password })) => {
            let (username, password) = (username.clone(), password.clone());
            Ok((Some(KeySource::Basic { username, password: password.clone() }), Some(password)))
        }
        (None, None) => Ok((None, None)),
    }
}

/// Makes a path absolute. Paths in a config are relative to its file, paths on the command line to the current
/// directory.
fn absolute(path: &std::path::Path) -> Result<PathBuf, UsageError> {
    std::path::absolute(path).map_err(|error| UsageError(format!("{}: {error}", path.display())))
}

/// Returns the text of the config and the loaded config. The token budget is the forecast for a day plus a tenth.
fn config(
    findings: &EndpointFindings,
    options: &EndpointOptions,
    (every, at_start): (Duration, bool),
) -> anyhow::Result<(String, LoadedPlan)> {
    let now = Timestamp::now();
    let mut settings = ProbeSettings {
        every: options.every.unwrap_or(every),
        at_start,
        tokens_per_day: None,
        // The config that is loaded here stays in memory.
        secrets: true,
        date: now.strftime("%Y-%m-%d").to_string(),
    };
    let takes = forecast(&load(render(findings, &settings))?.plan, now, &|_, _| None).total.takes.most;
    let tokens = takes.input_tokens.value().zip(takes.output_tokens.value());
    settings.tokens_per_day = tokens.map(|(input, output)| with_a_tenth(input + output));
    let loaded = load(render(findings, &settings))?;
    settings.secrets = false;
    Ok((render(findings, &settings), loaded))
}

/// Adds a tenth and rounds up to two significant digits.
fn with_a_tenth(tokens: f64) -> u64 {
    // The value is far below 2^53. A larger one would saturate.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; a cast saturates")]
    let more = (tokens.ceil() as u64).saturating_mul(11).div_ceil(10).max(1);
    let unit = 10_u64.pow(more.ilog10().saturating_sub(1));
    more.div_ceil(unit).saturating_mul(unit)
}

/// Loads a config with the environment of this process, as the written config will be loaded.
fn load(text: String) -> anyhow::Result<LoadedPlan> {
    let source = ConfigSource::Text { name: "the config of this endpoint".to_owned(), text };
    let environment =
        sources::environment(std::env::vars_os()).map_err(|errors| anyhow!("{}", errors.join("; ")))?;
    plan::load(&[source], environment).map_err(|errors| {
        anyhow!("the config that was made is wrong; this is a fault in tokenbeat: {errors}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_two_digits_and_room() {
        assert_eq!(with_a_tenth(100.0), 110);
        assert_eq!(with_a_tenth(612_000.0), 680_000);
        assert_eq!(with_a_tenth(7.0), 8);
        assert_eq!(with_a_tenth(0.0), 1);
    }
}
