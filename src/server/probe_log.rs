//! The story of one probe for a person: what happened when, then the metrics (`/probe?debug=true`).

use crate::event::{Count, Request};
use std::fmt::Write as _;
use std::time::Duration;

/// What happened to a request, in the order of time, and the metrics that a scrape would have got.
pub(super) fn text(request: &Request, metrics: &str) -> String {
    let (marks, observed) = (&request.observed.marks, &request.observed);
    let mut text = String::from("Logs for the probe:\n");
    // Writing to a String cannot fail.
    let mut line = |at: Option<Duration>, what: &str| {
        let at = at.map_or_else(String::new, |at| format!("{:.1} ms", at.as_secs_f64() * 1e3));
        let _ = writeln!(text, "{at:>12}  {what}");
    };
    let pair = &request.place.pair;
    let step =
        if request.place.step.is_empty() { String::new() } else { format!(", step {}", request.place.step) };
    line(None, &format!("profile {}, target {}{step}", pair.profile, pair.target));
    line(None, &format!("run {}", request.run.id));
    line(None, &format!("trace {}", request.ids.trace_hex()));
    let phases = observed.connection.phases.unwrap_or_default();
    for (phase, time) in [("dns", phases.dns), ("connect", phases.connect), ("tls", phases.tls)] {
        if let Some(time) = time {
            line(None, &format!("{phase} took {:.1} ms", time.as_secs_f64() * 1e3));
        }
    }
    let since = |at| marks.sent.map(|sent| tokio::time::Instant::saturating_duration_since(&at, sent));
    let status = observed.status.map_or_else(String::new, |status| format!(", status {status}"));
    let events = [
        (marks.sent, "sent".to_owned()),
        (marks.headers, format!("headers{status}")),
        (marks.first_byte, "first byte of the body".to_owned()),
        (marks.first_chunk, "first event".to_owned()),
        (marks.first_token, "first token".to_owned()),
        (marks.first_text, "first text".to_owned()),
        (marks.last_token, "last token".to_owned()),
        (Some(marks.end), "end".to_owned()),
    ];
    for (at, what) in events {
        if let Some(at) = at {
            line(since(at), &what);
        }
    }
    let count = |what: &str, count: Option<Count>| count.map(|count| format!("{} {what} tokens", count.n));
    let tokens = [count("input", observed.tokens.input), count("output", observed.tokens.output)];
    for tokens in tokens.into_iter().flatten() {
        line(None, &tokens);
    }
    let detail = request.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    line(None, &format!("outcome {}{detail}", request.outcome.label()));
    for check in &request.failed_checks {
        line(None, &format!("failed check {check}"));
    }
    text + "\nMetrics that would have been returned:\n" + metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Outcome};
    use crate::fact::{Fact, Sink};
    use crate::testing::{play, small_plan};
    use std::sync::Arc;

    struct Deaf;

    impl Sink for Deaf {
        fn record(&self, _: &Fact) {}
    }

    #[test]
    fn a_probe_tells_what_happened_and_then_its_metrics() {
        let plan = small_plan();
        let sink: Arc<dyn Sink> = Arc::new(Deaf);
        let place = &plan.pairs[0].places[1];
        let told = text(&play(&sink, place, Outcome::Ok, |_| {}), "probe_success 1\n");
        assert!(told.starts_with("Logs for the probe:\n"), "{told}");
        assert!(told.ends_with("\nMetrics that would have been returned:\nprobe_success 1\n"), "{told}");
        assert!(told.contains("    300.0 ms  first token\n"), "since it was sent: {told}");
        let order = ["sent", "headers, status 200", "first token", "end", "11 output tokens", "outcome ok"];
        let at: Vec<usize> = order.iter().filter_map(|what| told.find(what)).collect();
        assert!(at.len() == order.len() && at.is_sorted(), "{told}");
        let refused = play(&sink, place, Outcome::Failed(Failure::Connect), |request| {
            request.detail = Some("refused".to_owned());
            request.observed.marks.first_token = None;
        });
        let told = text(&refused, "");
        assert!(told.contains("outcome connect: refused\n") && !told.contains("first token"), "{told}");
    }
}
