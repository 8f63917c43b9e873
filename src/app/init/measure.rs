//! Sends the small requests that the proposed objectives are derived from.

use super::Narrator;
use super::trial::{TrialAnswer, TrialAsk, TrialRunner};
use crate::event::Outcome;
use crate::identify::{EndpointFindings, Measurement, percentile, precise, prompts};
use std::time::Duration;

/// Time after which no further request is sent, even if fewer were sent than requested.
const WITHIN: Duration = Duration::from_mins(2);

/// Sends the measuring requests one after the other, in the same form as the probe of the config.
pub(super) async fn measure(
    findings: &mut EndpointFindings,
    requests: u64,
    trials: &mut TrialRunner,
    narrator: &Narrator,
) -> anyhow::Result<()> {
    narrator.say("measuring", &format!("{requests} small requests, one after the other"));
    let ask = TrialAsk {
        prompts: prompts(findings.api).into_iter().map(str::to_owned).collect(),
        bust: true,
        requests,
        within: WITHIN,
        ..TrialAsk::one(findings, "")
    };
    let answers = trials.play(findings, &ask).await?;
    findings.measured = measurement(&answers);
    let said = sentence(&findings.measured);
    narrator.fact(findings, "measured", &said);
    Ok(())
}

fn measurement(answers: &[TrialAnswer]) -> Measurement {
    let mut measured = Measurement { sent: answers.len(), ..Measurement::default() };
    for answer in answers {
        let (request, observed) = (&answer.request, &answer.request.observed);
        if request.outcome != Outcome::Ok {
            let entry = measured.failures.entry(request.outcome.label());
            entry.or_insert_with(|| (0, request.detail.clone().unwrap_or_default())).0 += 1;
            continue;
        }
        measured.ok += 1;
        measured.duration.push(observed.marks.duration());
        if observed.streamed {
            measured.first_token.extend(observed.marks.time_to_first_token());
            let per_token = observed.time_per_output_token();
            measured
                .per_token
                .extend(per_token.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()));
        }
    }
    for times in [&mut measured.first_token, &mut measured.per_token, &mut measured.duration] {
        times.sort_unstable();
    }
    measured
}

fn sentence(measured: &Measurement) -> String {
    let times = |what: &str, times: &[Duration]| {
        let (middle, slowest) = (percentile(times, 0.5)?, *times.last()?);
        Some(format!("; {what} {} in the middle, {} the slowest", precise(middle), precise(slowest)))
    };
    let streamed = times("time to first token", &measured.first_token);
    let said = streamed.or_else(|| times("duration", &measured.duration)).unwrap_or_default();
    format!("{} of {} requests were answered{said}", measured.ok, measured.sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_how_many_and_how_fast() {
        let times = [10, 20, 30].map(Duration::from_millis).to_vec();
        let streamed = Measurement { sent: 4, ok: 3, first_token: times.clone(), ..Measurement::default() };
        assert_eq!(
            sentence(&streamed),
            "3 of 4 requests were answered; time to first token 20.0 ms in the middle, 30.0 ms the slowest"
        );
        let whole = Measurement { sent: 3, ok: 3, duration: times, ..Measurement::default() };
        assert!(sentence(&whole).contains("; duration 20.0 ms"));
        assert_eq!(sentence(&Measurement::default()), "0 of 0 requests were answered");
    }
}
