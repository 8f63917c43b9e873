//! Rules about the server's own account of a run, beside what its client measured in it.

use super::evidence::{EvidenceUnit, number, requests};
use super::window::PairRequests;
use super::{Diagnosis, DiagnosisPattern, found};
use crate::event::{ServerAccount, SlowPart};
use crate::report::tables::seconds;

/// A queue matters from this mean time on, in seconds, and from this part of the server's time to first token on.
const QUEUE: (f64, f64) = (0.05, 0.5);

/// Most of the time to first token is lost between the client and the server.
pub(super) fn slow_way(pair: &PairRequests) -> Option<Diagnosis> {
    let account = pair.account.as_ref().filter(|it| it.slow_part() == Some(SlowPart::Between))?;
    let (client, server) = account.first_token()?;
    let lost = client.value - server.high?;
    let summary = format!(
        "at least {} of the {} to the first token are lost on the way: the server has its first token in time",
        seconds(lost),
        seconds(client.value)
    );
    Some(told(pair, DiagnosisPattern::SlowWay, summary, account, &[("on_the_way_at_least", lost)]))
}

/// Most of the time to first token is spent in the server's queue.
pub(super) fn server_queue(pair: &PairRequests) -> Option<Diagnosis> {
    let account = pair.account.as_ref().filter(|it| it.slow_part() == Some(SlowPart::Server))?;
    let (queue, first) = (account.queue_seconds?.mean, account.time_to_first_token_seconds?.mean);
    if queue < QUEUE.0 || queue < QUEUE.1 * first {
        return None;
    }
    let summary = format!(
        "requests wait {} in the server's queue, of {} to the first token there: it has too little capacity for its load",
        seconds(queue),
        seconds(first)
    );
    Some(told(pair, DiagnosisPattern::ServerQueue, summary, account, &[("server_queue_mean", queue)]))
}

fn told(
    pair: &PairRequests,
    pattern: DiagnosisPattern,
    summary: String,
    account: &ServerAccount,
    numbers: &[(&'static str, f64)],
) -> Diagnosis {
    let mut evidence: Vec<_> =
        numbers.iter().map(|(name, value)| number(name, *value, EvidenceUnit::Seconds)).collect();
    if let Some((client, server)) = account.first_token() {
        evidence.push(number("client_first_token_p50", client.value, EvidenceUnit::Seconds));
        evidence.push(number("server_first_token_p50", server.value, EvidenceUnit::Seconds));
    }
    let count = account.time_to_first_token_seconds.map_or(0, |times| times.count);
    evidence.push(requests("requests_at_the_server", usize::try_from(count).unwrap_or(usize::MAX)));
    found(&pair.plan, &"".into(), pattern, summary, evidence)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Requests, numbers};
    use super::*;
    use crate::event::{AccountQuantile, AccountTimes};
    use std::sync::Arc;

    const RATE: &str = "load: [{ for: 1m, rate: 10/s }]";

    fn times(mean: f64, low: f64, high: f64) -> AccountTimes {
        let p50 = Some(AccountQuantile { value: mean, low, high: Some(high) });
        AccountTimes { count: 60, mean, p50, p95: None }
    }

    fn pair(client: f64, server: Option<AccountTimes>, queue: Option<AccountTimes>) -> PairRequests {
        let account = ServerAccount {
            client_time_to_first_token_seconds: Some(times(client, client, client)),
            time_to_first_token_seconds: server,
            queue_seconds: queue,
            ..ServerAccount::default()
        };
        PairRequests { account: Some(Arc::new(account)), ..Requests::new(RATE).healthy(60) }
    }

    #[test]
    fn a_slow_way_is_told_from_a_slow_server() {
        let way = pair(0.9, Some(times(0.08, 0.06, 0.1)), Some(times(0.001, 0.0, 0.3)));
        let found = slow_way(&way).unwrap();
        assert_eq!(numbers(&found, ["on_the_way_at_least", "requests_at_the_server"]), [0.8, 60.0]);
        assert!(server_queue(&way).is_none());
        let queue = pair(0.9, Some(times(0.8, 0.75, 1.0)), Some(times(0.7, 0.5, 0.8)));
        assert_eq!(numbers(&server_queue(&queue).unwrap(), ["server_queue_mean"]), [0.7]);
        assert!(slow_way(&queue).is_none());
    }

    #[test]
    fn a_server_that_computes_or_is_not_known_shows_neither() {
        let prefill = pair(0.9, Some(times(0.8, 0.75, 1.0)), Some(times(0.01, 0.0, 0.3)));
        let short = pair(0.09, Some(times(0.08, 0.075, 0.1)), Some(times(0.049, 0.0, 0.3)));
        for pair in [prefill, short, pair(0.9, None, None), Requests::new(RATE).healthy(60)] {
            assert!(slow_way(&pair).is_none() && server_queue(&pair).is_none());
        }
    }
}
