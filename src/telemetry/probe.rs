//! Renders the result of a single request as a scrape, for `/probe`, like other multi-target exporters. The metric
//! names begin with `probe_`; they are not part of the catalogue and exist for one scrape only.

use super::exposition::Error;
use crate::event::{Outcome, Request};
use prometheus::{Gauge, GaugeVec, Opts, Registry, TextEncoder};
use std::time::Duration;

/// Renders a request as Prometheus text 0.0.4. Unknown values are omitted. Times are in seconds.
pub fn render_probe(request: &Request) -> Result<String, Error> {
    let probe = ProbeRegistry(Registry::new());
    let marks = &request.observed.marks;
    let streamed =
        |time: Option<Duration>| time.filter(|_| request.observed.streamed).map(|time| time.as_secs_f64());
    let ok = request.outcome == Outcome::Ok;
    probe.gauge(
        "probe_success",
        "1 if the answer is complete and passed every check",
        Some(f64::from(u8::from(ok))),
    )?;
    let outcome = [(request.outcome.label(), Some(1.0))];
    probe.vector("probe_outcome", "How the request ended: always 1", "outcome", &outcome)?;
    let step = &*request.place.step;
    let step = [(step, (!step.is_empty()).then_some(1.0))];
    probe.vector("probe_step", "The step of a scenario that was played: always 1", "step", &step)?;
    let duration = marks.sent.map(|_| marks.duration().as_secs_f64());
    probe.gauge("probe_request_duration_seconds", "From the send to the end", duration)?;
    let status = request.observed.status.map(f64::from);
    probe.gauge("probe_http_status_code", "HTTP status of the answer", status)?;
    let phases = request.observed.connection.phases.unwrap_or_default();
    let phases = [("dns", phases.dns), ("connect", phases.connect), ("tls", phases.tls)];
    let phases = phases.map(|(phase, time)| (phase, time.map(|time| time.as_secs_f64())));
    let help = "Set-up of the connection, if this request opened one";
    probe.vector("probe_connection_phase_seconds", help, "phase", &phases)?;
    let first_byte = marks.time_to_first_byte().map(|time| time.as_secs_f64());
    probe.gauge("probe_time_to_first_byte_seconds", "From the send to the body's first byte", first_byte)?;
    let first_token = streamed(marks.time_to_first_token());
    let help = "From the send to the first generated content";
    probe.gauge("probe_time_to_first_token_seconds", help, first_token)?;
    let gap = streamed(request.observed.gaps.longest());
    probe.gauge("probe_longest_chunk_gap_seconds", "Longest time between two content events", gap)?;
    let help = "Time per output token after the first";
    probe.gauge("probe_time_per_output_token_seconds", help, request.observed.time_per_output_token())?;
    let tokens = [("input", request.observed.tokens.input), ("output", request.observed.tokens.output)];
    let tokens = tokens.map(|(kind, count)| (kind, count.map(|count| count.n as f64)));
    probe.vector("probe_tokens", "Tokens of the request", "type", &tokens)?;
    probe.gauge("probe_cost", "What it cost, in the agent's currency", request.cost)?;
    let failed: Vec<_> = request.failed_checks.iter().map(|name| (&**name, Some(1.0))).collect();
    probe.vector("probe_failed_check", "A check that failed: always 1", "check", &failed)?;
    let expiry = request.observed.connection.certificate_expiry.map(|seconds| seconds as f64);
    let help = "When the server's certificate expires, if this request opened the connection";
    probe.gauge("probe_tls_certificate_expiry_timestamp_seconds", help, expiry)?;
    let mut text = String::new();
    TextEncoder::new().encode_utf8(&probe.0.gather(), &mut text)?;
    Ok(text)
}

struct ProbeRegistry(Registry);

impl ProbeRegistry {
    /// Adds a gauge, if there is a value.
    fn gauge(&self, name: &str, help: &str, value: Option<f64>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        Ok(self.0.register(Box::new(gauge))?)
    }

    /// Adds a gauge with one label, for the values that are present.
    fn vector(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, Option<f64>)],
    ) -> Result<(), Error> {
        let gauge = GaugeVec::new(Opts::new(name, help), &[label])?;
        for (of, value) in values {
            if let Some(value) = value {
                gauge.with_label_values(&[of]).set(*value);
            }
        }
        Ok(self.0.register(Box::new(gauge))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Place};
    use crate::fact::{Fact, Sink};
    use crate::testing::{answer, offer, rag_plan, small_plan, step_place};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Last(Mutex<Option<Arc<Request>>>);

    impl Sink for Last {
        fn record(&self, fact: &Fact) {
            if let Fact::Ended { request, .. } = fact {
                *self.0.lock().unwrap() = Some(Arc::clone(request));
            }
        }
    }

    fn rendered(change: impl FnOnce(&mut Request)) -> String {
        rendered_at(&small_plan().pairs[0].places[0], change)
    }

    fn rendered_at(place: &Arc<Place>, change: impl FnOnce(&mut Request)) -> String {
        let last = Arc::new(Last::default());
        let sink: Arc<dyn Sink> = Arc::<Last>::clone(&last);
        offer(&sink, place, false).finish(|request| {
            answer(request);
            change(request);
        });
        let request = last.0.lock().unwrap().take().unwrap();
        render_probe(&request).unwrap()
    }

    #[test]
    fn an_answer_is_told_with_its_times_and_tokens() {
        let text = rendered(|request| request.outcome = Outcome::Ok);
        for line in [
            "probe_success 1",
            "probe_outcome{outcome=\"ok\"} 1",
            "# TYPE probe_time_to_first_token_seconds gauge",
            "probe_tokens{type=\"output\"} ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("probe_failed_check") && !text.contains("probe_step"), "{text}");
    }

    #[test]
    fn a_step_says_which_one_it_is() {
        let place = step_place(&rag_plan().pairs[0], 1, "query", 1);
        let text = rendered_at(&place, |request| request.outcome = Outcome::Ok);
        assert!(text.contains("probe_step{step=\"query\"} 1"), "{text}");
    }

    #[test]
    fn a_failure_is_told_with_its_reason_and_without_what_is_not_known() {
        let text = rendered(|request| {
            request.outcome = Outcome::Failed(Failure::Check);
            request.failed_checks = vec!["min_chars".into()];
            request.cost = None;
        });
        assert!(text.contains("probe_success 0"), "{text}");
        assert!(text.contains("probe_outcome{outcome=\"check\"} 1"), "{text}");
        assert!(text.contains("probe_failed_check{check=\"min_chars\"} 1"), "{text}");
        assert!(!text.contains("probe_cost"), "{text}");
    }
}
