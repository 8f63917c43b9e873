//! The server's own account of a run in words and in rows, beside what its client measured. It must not know where it is
//! shown.

use super::tables::{ABSENT, percent, seconds};
use crate::event::{AccountLevel, AccountQuantile, AccountTimes, ServerAccount, SlowPart};
use serde::{Deserialize, Serialize};

/// How often a server said that it is healthy, while profiles were played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHealthAnswers {
    /// It said so.
    pub healthy: u64,
    /// It said that it is not.
    pub unhealthy: u64,
    /// It did not answer.
    pub unanswered: u64,
}

/// A row: what is timed, how often, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountRow {
    /// Who counts, and what.
    pub what: &'static str,
    /// Number of times.
    pub count: String,
    /// Average.
    pub mean: String,
    /// Median.
    pub p50: String,
    /// 95th percentile.
    pub p95: String,
}

impl ServerHealthAnswers {
    /// Counts an answer; `None` if there was none.
    pub fn take(&mut self, healthy: Option<bool>) {
        *match healthy {
            Some(true) => &mut self.healthy,
            Some(false) => &mut self.unhealthy,
            None => &mut self.unanswered,
        } += 1;
    }

    /// Adds those of another.
    pub fn add(&mut self, other: Self) {
        self.healthy += other.healthy;
        self.unhealthy += other.unhealthy;
        self.unanswered += other.unanswered;
    }

    /// In words.
    pub fn sentence(self) -> String {
        let Self { healthy, unhealthy, unanswered } = self;
        let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let parts = [
            (healthy, "says that it is healthy"),
            (unhealthy, "says that it is not healthy"),
            (unanswered, "gives no answer about its health"),
        ];
        let told = parts.into_iter().filter(|(n, _)| *n > 0);
        let told: Vec<String> = told.map(|(n, what)| format!("{what} ({})", times(n))).collect();
        told.join(", ")
    }
}

/// What an account amounts to, in a sentence.
pub fn account_sentence(account: &ServerAccount) -> String {
    if account.readings == 0 {
        let why = account.problem.as_deref().unwrap_or("its metrics were not read");
        return format!("no account of the server: {why}");
    }
    let mut parts = Vec::new();
    match (account.first_token(), account.time_to_first_token_seconds) {
        (Some((client, server)), _) => {
            parts.push(format!(
                "first token after {} at the client, {} at the server",
                seconds(client.value),
                estimate(server)
            ));
            parts.extend(phases(account));
            parts.extend(slow_part(account, client, server));
        }
        (None, Some(server)) => {
            parts.push(format!("first token after {} at the server on average", seconds(server.mean)));
            parts.extend(phases(account));
        }
        (None, None) => parts.extend(levels(account)),
    }
    if parts.is_empty() {
        parts.push("nothing was counted between the readings".to_owned());
    }
    if account.restarts > 0 {
        parts.push(
            "its counters began anew: it restarted, or several replicas answer at this address".to_owned(),
        );
    }
    let failed: u64 = account.failed_readings.values().sum();
    if failed > 0 {
        let why = account.problem.as_deref().unwrap_or_default();
        parts.push(format!("{failed} of {} readings failed: {why}", failed + account.readings));
    }
    parts.join("; ")
}

/// The same, with the name of the engine.
pub fn named_sentence(account: &ServerAccount) -> String {
    let sentence = account_sentence(account);
    if account.engine.is_empty() { sentence } else { format!("{}: {sentence}", account.engine) }
}

fn estimate(quantile: AccountQuantile) -> String {
    match quantile.high {
        // The first bucket: an estimate within it says nothing.
        Some(high) if quantile.low == 0.0 => format!("at most {}", seconds(high)),
        Some(high) if (high - quantile.low) > 0.1 * quantile.value => {
            format!("about {} ({} to {})", seconds(quantile.value), seconds(quantile.low), seconds(high))
        }
        Some(_) => seconds(quantile.value),
        None => format!("more than {}", seconds(quantile.low)),
    }
}

/// Where the server spends the time, on average.
fn phases(account: &ServerAccount) -> Option<String> {
    let parts = [("queue", account.queue_seconds), ("prefill", account.prefill_seconds)];
    let known =
        parts.into_iter().filter_map(|(name, times)| Some(format!("{name} {}", seconds(times?.mean))));
    let known: Vec<String> = known.collect();
    (!known.is_empty()).then(|| format!("on average {}", known.join(", ")))
}

fn slow_part(account: &ServerAccount, client: AccountQuantile, server: AccountQuantile) -> Option<String> {
    if !account.is_comparable() {
        let few = "too few requests, or too many of others, to say where the time is spent";
        return Some(few.to_owned());
    }
    match account.slow_part()? {
        SlowPart::Server => Some("the server has most of it".to_owned()),
        SlowPart::Between => {
            let at_least = client.value - server.high?;
            Some(format!("at least {} of it is on the way: network, TLS or a gateway", seconds(at_least)))
        }
    }
}

/// The levels and shares, in words.
pub fn levels(account: &ServerAccount) -> Vec<String> {
    let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
    let share = |value: f64| percent(Some(value));
    let level = |name: &str, of: Option<AccountLevel>, show: &dyn Fn(f64) -> String| {
        of.map(|of| format!("{name} {} (at most {})", show(of.mean), show(of.max)))
    };
    let per_token = |name: &str, of: Option<f64>| of.map(|of| format!("{name} {} per token", seconds(of)));
    [
        level("running", account.running, &number),
        level("waiting", account.waiting, &number),
        level("KV cache", account.kv_cache_ratio, &share),
        account.prefix_cache_hit_ratio.map(|ratio| format!("prefix cache hits {}", share(ratio))),
        account.preemptions.map(|n| format!("preemptions {n:.0}")),
        per_token("prefill", account.prefill_seconds_per_token),
        per_token("decode", account.decode_seconds_per_token),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The times of both sides, the client's first.
pub fn account_rows(account: &ServerAccount) -> Vec<AccountRow> {
    let quantile = |of: Option<AccountQuantile>| of.map_or_else(|| ABSENT.to_owned(), estimate);
    let row = |(what, times): (&'static str, Option<AccountTimes>)| {
        let AccountTimes { count, mean, p50, p95 } = times?;
        Some(AccountRow {
            what,
            count: count.to_string(),
            mean: seconds(mean),
            p50: quantile(p50),
            p95: quantile(p95),
        })
    };
    let rows = [
        ("client: first token", account.client_time_to_first_token_seconds),
        ("server: first token", account.time_to_first_token_seconds),
        ("server: first token, as predicted", account.predicted_time_to_first_token_seconds),
        ("server: queue", account.queue_seconds),
        ("server: prefill", account.prefill_seconds),
        ("server: decode", account.decode_seconds),
        ("server: per output token", account.time_per_output_token_seconds),
    ];
    rows.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: u64, value: f64, low: f64, high: Option<f64>) -> AccountTimes {
        let p50 = Some(AccountQuantile { value, low, high });
        AccountTimes { count, mean: value, p50, p95: None }
    }

    fn account(client: f64, server: Option<AccountTimes>) -> ServerAccount {
        ServerAccount {
            engine: "vLLM".to_owned(),
            readings: 2,
            client_time_to_first_token_seconds: Some(times(40, client, client, Some(client))),
            time_to_first_token_seconds: server,
            queue_seconds: Some(times(40, 0.6, 0.5, Some(0.8))),
            ..ServerAccount::default()
        }
    }

    #[test]
    fn an_account_says_where_the_time_is_spent() {
        let slow = account(0.9, Some(times(40, 0.8, 0.75, Some(1.0))));
        assert_eq!(
            account_sentence(&slow),
            "first token after 900 ms at the client, about 800 ms (750 ms to 1.00 s) at the server; on average queue \
             600 ms; the server has most of it"
        );
        let between = account(0.9, Some(times(40, 0.08, 0.06, Some(0.1))));
        let said = account_sentence(&between);
        assert!(said.ends_with("at least 800 ms of it is on the way: network, TLS or a gateway"), "{said}");
        let first = account_sentence(&account(0.9, Some(times(40, 0.0005, 0.0, Some(0.001)))));
        assert!(first.contains("at the client, at most 1.00 ms at the server"), "{first}");
        let beyond = account_sentence(&account(9.0, Some(times(40, 8.0, 8.0, None))));
        assert!(beyond.contains("more than 8.00 s at the server"), "{beyond}");
        let few = account_sentence(&account(0.9, Some(times(3, 0.8, 0.75, Some(1.0)))));
        assert!(few.ends_with("to say where the time is spent"), "{few}");
    }

    #[test]
    fn what_is_missing_is_told() {
        let none = ServerAccount { problem: Some("status 401".to_owned()), ..ServerAccount::default() };
        assert_eq!(account_sentence(&none), "no account of the server: status 401");
        let idle = ServerAccount { readings: 2, ..ServerAccount::default() };
        assert_eq!(account_sentence(&idle), "nothing was counted between the readings");
        let troubled = ServerAccount {
            readings: 2,
            restarts: 1,
            failed_readings: [("unreachable".to_owned(), 1)].into(),
            problem: Some("connection refused".to_owned()),
            running: Some(AccountLevel { mean: 3.0, max: 8.0 }),
            kv_cache_ratio: Some(AccountLevel { mean: 0.25, max: 0.5 }),
            ..ServerAccount::default()
        };
        assert_eq!(
            account_sentence(&troubled),
            "running 3.0 (at most 8.0); KV cache 25.00% (at most 50.00%); its counters began anew: it restarted, or \
             several replicas answer at this address; 1 of 3 readings failed: connection refused"
        );
    }

    #[test]
    fn answers_about_health_are_counted() {
        let mut answers = ServerHealthAnswers::default();
        for answer in [Some(true), Some(false), Some(true), None] {
            answers.take(answer);
        }
        answers.add(ServerHealthAnswers { healthy: 1, ..ServerHealthAnswers::default() });
        assert_eq!(
            answers.sentence(),
            "says that it is healthy (3 times), says that it is not healthy (once), gives no answer about its health \
             (once)"
        );
    }
}
