//! Writes the findings as a config. Its comments say what was measured, what could not be found out, and which lines to
//! change.

use super::objectives::{HEADROOM, MIN_BOUND, MIN_TOKEN_BOUND, ProposedObjective, objectives, round_up};
use super::yaml::{length, one_line, quoted, scalar};
use super::{AuthScheme, EndpointFindings, KeySource};
use crate::vocabulary::Api;
use std::fmt::Write as _;
use std::time::Duration;

/// Environment variable that the config refers to if the key was in the address.
pub(super) const KEY_VARIABLE: &str = "LLM_API_KEY";
/// The default of `timeouts.first_token`.
const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The default of `timeouts.total`.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(2);
/// Maximum number of listed models that are named in a comment.
const MAX_NAMED: usize = 12;
/// Width of the topic column in the comment at the top.
const COLUMN: usize = 12;

/// Settings of the probe in the config.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The interval of the probe. Must be more than zero.
    pub every: Duration,
    /// Whether the probe also runs when the daemon starts.
    pub at_start: bool,
    /// Budget of tokens for a day, if the consumption of the probe is known.
    pub tokens_per_day: Option<u64>,
    /// Whether to write a key that was in the address in plain text. Only for a config that stays in memory.
    pub secrets: bool,
    /// The date, such as `2026-11-20`.
    pub date: String,
}

impl ProbeSettings {
    /// Number of requests that the probe sends in a day.
    pub fn requests_per_day(&self) -> u64 {
        let day = Duration::from_hours(24).as_millis();
        u64::try_from(day.div_ceil(self.every.as_millis().max(1))).unwrap_or(u64::MAX)
    }
}

/// The prompts that both the trial requests and the probe of the config send.
pub fn prompts(api: Api) -> Vec<&'static str> {
    match api {
        Api::RerankCohere | Api::RerankJina => vec![
            "Which bird stands in shallow water?\nA heron waits at the edge of a lake.\nA fox is a small dog.",
            "What keeps time?\nA clock shows the hours.\nA river runs to the sea.",
        ],
        Api::OpenAiCompletions | Api::OllamaGenerate | Api::Tgi => {
            vec!["The three longest rivers of Europe are", "A battery works by", "The sky is blue because"]
        }
        _ => vec![
            "Name three rivers.",
            "What is the capital of Portugal?",
            "Why is the sky blue? Answer in one sentence.",
        ],
    }
}

/// Renders the whole config.
pub fn render(findings: &EndpointFindings, settings: &ProbeSettings) -> String {
    let mut out = String::new();
    head(&mut out, findings, settings);
    agent(&mut out, settings);
    target(&mut out, findings, settings);
    profile(&mut out, findings, settings);
    out
}

/// Writes a formatted line. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($part:tt)*) => {{ let _ = writeln!($out, $($part)*); }};
}

fn head(out: &mut String, findings: &EndpointFindings, settings: &ProbeSettings) {
    line!(out, "# Written by tokenbeat on {} for {}.", settings.date, one_line(&findings.asked));
    line!(out, "#\n# What was found out:\n#");
    for (what, text) in &findings.facts {
        line!(out, "#   {what:COLUMN$}{}", one_line(text));
    }
    if !findings.open.is_empty() {
        line!(out, "#\n# What was not, and the line to change:\n#");
        for point in &findings.open {
            line!(out, "#   {:COLUMN$}{}", point.what, one_line(&point.text));
        }
    }
    line!(
        out,
        "#\n# `tokenbeat check` says what this does in a day, `tokenbeat run` plays it once, `tokenbeat serve` is the daemon."
    );
}

fn agent(out: &mut String, settings: &ProbeSettings) {
    let requests = settings.requests_per_day();
    line!(out, "\nagent:");
    line!(out, "  # location: eu-west-1               # a label on every series: where this agent runs");
    line!(out, "  # state: /var/lib/tokenbeat         # what outlives a restart: budgets, runs, history");
    line!(out, "  budget:                             # a hard cap: what would be over it is not sent");
    line!(out, "    period: day");
    line!(out, "    requests: {:<24}# the probe sends {requests}", requests.saturating_mul(5).div_ceil(4));
    if let Some(tokens) = settings.tokens_per_day {
        line!(out, "    tokens: {tokens:<26}# the most that these requests can take, and a tenth more");
    }
}

fn target(out: &mut String, findings: &EndpointFindings, settings: &ProbeSettings) {
    line!(out, "\ntargets:\n  {}:", findings.name);
    line!(out, "    api: {}", findings.api.name());
    line!(out, "    base_url: {}", quoted(findings.base_url.as_str().trim_end_matches('/')));
    if findings.model.is_empty() {
        line!(out, "    # model: NAME                     # none is named in requests");
    } else {
        line!(out, "    model: {}", scalar(&findings.model));
    }
    let others: Vec<String> =
        findings.listed.iter().filter(|name| **name != findings.model).map(|name| one_line(name)).collect();
    if !others.is_empty() {
        let more = if others.len() > MAX_NAMED {
            format!(" and {} more", others.len() - MAX_NAMED)
        } else {
            String::new()
        };
        line!(
            out,
            "    # also listed: {}{more}",
            others.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ")
        );
    }
    auth(out, findings, settings);
    if let Some(file) = &findings.ca_file {
        line!(out, "    tls: {{ ca_file: {} }}", quoted(&file.to_string_lossy()));
    }
    if let Some(tokenizer) = findings.tokenizer {
        line!(out, "    tokenizer: {tokenizer}");
    } else if findings.api.generates() {
        line!(
            out,
            "    # tokenizer: {{ file: tokenizer.json }}   # counts tokens where the server does not report them"
        );
    }
    timeouts(out, findings);
    line!(
        out,
        "    # price: {{ input: 0.15, output: 0.60 }}   # per million tokens; with it there are costs, and budgets of money"
    );
    if findings.without_stream_options {
        line!(out, "    params: {{ stream_options: null }}   # the server refuses it");
    }
    account(out, findings);
}

fn auth(out: &mut String, findings: &EndpointFindings, settings: &ProbeSettings) {
    let Some(auth) = &findings.auth else {
        line!(out, "    # auth: {{ bearer: {{ env: {KEY_VARIABLE} }} }}   # no key was needed");
        return;
    };
    let given = |key: &str| {
        if settings.secrets {
            format!("{{ value: {} }}", quoted(key))
        } else {
            format!("{{ env: {KEY_VARIABLE} }}")
        }
    };
    let secret = match &auth.key {
        KeySource::Env(name) => format!("{{ env: {} }}", scalar(name)),
        KeySource::File(path) => format!("{{ file: {} }}", scalar(&path.to_string_lossy())),
        KeySource::Address(key) => given(key.expose()),
        KeySource::Basic { password, .. } => given(password.expose()),
    };
    match (auth.scheme, &auth.key) {
        (AuthScheme::Basic, KeySource::Basic { username, .. }) => {
            line!(out, "    auth: {{ basic: {{ username: {}, password: {secret} }} }}", scalar(username));
        }
        (AuthScheme::Header(name), _) => {
            line!(out, "    auth: {{ header: {{ name: {name}, value: {secret} }} }}");
        }
        (AuthScheme::Bearer | AuthScheme::Basic, _) => line!(out, "    auth: {{ bearer: {secret} }}"),
    }
}

/// Writes the timeouts if the measured times require more than the defaults.
fn timeouts(out: &mut String, findings: &EndpointFindings) {
    let longest = |times: &[Duration]| times.last().map_or(Duration::ZERO, |time| round_up(*time * HEADROOM));
    let first_token = longest(&findings.measured.first_token).max(FIRST_TOKEN_TIMEOUT);
    let total = longest(&findings.measured.duration).max(TOTAL_TIMEOUT).max(first_token);
    if (first_token, total) != (FIRST_TOKEN_TIMEOUT, TOTAL_TIMEOUT) {
        let (first_token, total) = (length(first_token), length(total));
        line!(
            out,
            "    timeouts: {{ first_token: {first_token}, total: {total} }}   # {HEADROOM} times what was seen"
        );
    }
}

/// Writes the URLs of the server's metrics and health for the scrape config of Prometheus. The dashboards show the
/// server's metrics next to tokenbeat's.
fn account(out: &mut String, findings: &EndpointFindings) {
    let account = &findings.account;
    if let Some((url, prefix)) = &account.metrics {
        let names = prefix.map(|prefix| format!(" ({prefix}*)")).unwrap_or_default();
        line!(out, "    # The server's own metrics, for Prometheus to scrape beside these: {url}{names}");
    }
    if let Some(url) = &account.health {
        line!(out, "    # Its health: {url}");
    }
}

fn profile(out: &mut String, findings: &EndpointFindings, settings: &ProbeSettings) {
    let at_start = if settings.at_start { ", at_start: true" } else { "" };
    line!(
        out,
        "\nprofiles:\n  probe:                              # one small request at a time: is it up, and how fast?"
    );
    line!(out, "    targets: [{}]", findings.name);
    line!(out, "    schedule: {{ every: {}{at_start} }}", length(settings.every));
    line!(out, "    workload:\n      prompts:");
    for prompt in prompts(findings.api) {
        line!(out, "        - {}", quoted(prompt));
    }
    match findings.limit {
        None => {}
        Some(limit) if limit.as_max_completion_tokens => {
            line!(
                out,
                "      params: {{ max_completion_tokens: {} }}   # `max_tokens` is refused",
                limit.tokens
            );
        }
        Some(limit) => line!(out, "      output_tokens: {}", limit.tokens),
    }
    if findings.api.generates() && !findings.streams {
        line!(out, "      stream: false");
    }
    slo(out, findings);
}

fn slo(out: &mut String, findings: &EndpointFindings) {
    let measured = &findings.measured;
    line!(
        out,
        "    # Objectives from {} small requests, one after the other: {HEADROOM} times the 95th percentile that was seen, in",
        measured.sent
    );
    line!(
        out,
        "    # two digits, and no less than {} ms for a first token or a whole answer and {} ms for a token. Tighten\n    \
         # them once you know a week of this endpoint; 99% leaves one request in a hundred.",
        MIN_BOUND.as_millis(),
        MIN_TOKEN_BOUND.as_millis()
    );
    for (label, (count, detail)) in &measured.failures {
        line!(out, "    # {count} of {} failed with {label}: {}", measured.sent, one_line(detail));
    }
    line!(out, "    slo:");
    for ProposedObjective { name, metric, bound } in objectives(measured) {
        let (bound, seen) = match bound {
            Some((bound, seen)) => {
                (format!(", below: {}", length(bound)), format!("   # 95% of those seen: {}", precise(seen)))
            }
            None => (String::new(), format!("   # seen: {} of {}", measured.ok, measured.sent)),
        };
        line!(out, "      - {{ name: {name}, metric: {}{bound}, objective: 99% }}{seen}", metric.name());
    }
}

/// Formats a measured time with about three digits.
pub fn precise(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        millis if millis >= 10_000.0 => format!("{:.1} s", millis / 1e3),
        millis if millis >= 100.0 => format!("{millis:.0} ms"),
        millis if millis >= 10.0 => format!("{millis:.1} ms"),
        millis => format!("{millis:.2} ms"),
    }
}

#[cfg(test)]
mod tests;
