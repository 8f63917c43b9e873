//! Judges the result of a trial request: whether the endpoint speaks the dialect, and how the request has to be
//! changed.

use crate::event::{Failure, Outcome};

/// The result of a trial request.
#[derive(Clone, Debug)]
pub struct TrialOutcome {
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The outcome.
    pub outcome: Outcome,
    /// The server's error message.
    pub detail: String,
}

/// A change to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// Leave out `stream_options`.
    WithoutStreamOptions,
    /// Send `max_completion_tokens` instead of `max_tokens`.
    MaxCompletionTokens,
    /// Do not stream.
    NotStreamed,
    /// Raise the limit of output tokens, because hidden reasoning used all of them.
    MoreOutput,
}

/// The judgement of a trial request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialJudgement {
    /// The endpoint speaks the dialect.
    Works,
    /// There is nothing at this path, or it is something else.
    NotHere,
    /// The key is missing or wrong.
    KeyRefused,
    /// The request has to be changed.
    Adjust(Adjustment),
    /// There was no answer. Another path would not answer either.
    Unreachable,
    /// The endpoint refused the request or failed. Another model may answer.
    Refused,
}

/// Phrases in the error messages of servers that answer 400 to a wrong key.
const KEY_WORDS: [&str; 6] =
    ["api key", "api_key", "apikey", "authentication error", "invalid proxy server token", "unauthorized"];

/// Judges a trial request.
pub fn judge(trial: &TrialOutcome) -> TrialJudgement {
    use TrialJudgement::{Adjust, KeyRefused, NotHere, Refused, Unreachable, Works};
    let failure = match trial.outcome {
        Outcome::Ok | Outcome::Failed(Failure::Check) => return Works,
        Outcome::Failed(failure) => failure,
    };
    match failure {
        Failure::Exhausted => Adjust(Adjustment::MoreOutput),
        Failure::Auth => KeyRefused,
        Failure::Redirect | Failure::Protocol => NotHere,
        Failure::Http4xx => of_client_error(trial.status, &trial.detail.to_ascii_lowercase()),
        Failure::Http5xx if trial.status == Some(501) => NotHere,
        Failure::Http5xx
        | Failure::RateLimited
        | Failure::Overloaded
        | Failure::Empty
        | Failure::StreamError
        | Failure::Truncated
        | Failure::Reset => Refused,
        _ => Unreachable,
    }
}

fn of_client_error(status: Option<u16>, detail: &str) -> TrialJudgement {
    use TrialJudgement::{Adjust, KeyRefused, NotHere, Refused};
    let says = |word: &str| detail.contains(word);
    if says("max_completion_tokens") {
        return Adjust(Adjustment::MaxCompletionTokens);
    }
    if says("stream_options") {
        return Adjust(Adjustment::WithoutStreamOptions);
    }
    if says("stream") && (says("support") || says("not allowed")) {
        return Adjust(Adjustment::NotStreamed);
    }
    match status {
        // An error message may also contain "model" only because it quotes a path with `/models`.
        Some(404 | 405 | 410) if !says("model") || says("/models") => NotHere,
        Some(400) if KEY_WORDS.iter().any(|word| says(word)) => KeyRefused,
        _ => Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_words_are_judged() {
        use TrialJudgement::{Adjust, KeyRefused, NotHere, Refused, Unreachable, Works};
        for (status, outcome, detail, judged) in [
            (Some(200), Outcome::Ok, "", Works),
            (Some(404), Outcome::Failed(Failure::Http4xx), "Not Found", NotHere),
            (Some(405), Outcome::Failed(Failure::Http4xx), "", NotHere),
            (Some(404), Outcome::Failed(Failure::Http4xx), "Not Found; there is /v1/models", NotHere),
            (Some(404), Outcome::Failed(Failure::Http4xx), "The model `m` does not exist.", Refused),
            (Some(400), Outcome::Failed(Failure::Http4xx), "Invalid model name passed in", Refused),
            (Some(400), Outcome::Failed(Failure::Http4xx), "Authentication Error, LiteLLM ...", KeyRefused),
            (Some(401), Outcome::Failed(Failure::Auth), "", KeyRefused),
            (
                Some(400),
                Outcome::Failed(Failure::Http4xx),
                "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                Adjust(Adjustment::MaxCompletionTokens),
            ),
            (
                Some(422),
                Outcome::Failed(Failure::Http4xx),
                "body.stream_options: extra fields not permitted",
                Adjust(Adjustment::WithoutStreamOptions),
            ),
            (
                Some(400),
                Outcome::Failed(Failure::Http4xx),
                "Streaming is not supported for this model",
                Adjust(Adjustment::NotStreamed),
            ),
            (Some(200), Outcome::Failed(Failure::Exhausted), "", Adjust(Adjustment::MoreOutput)),
            (Some(200), Outcome::Failed(Failure::Protocol), "<!doctype", NotHere),
            (Some(429), Outcome::Failed(Failure::RateLimited), "", Refused),
            (Some(500), Outcome::Failed(Failure::Http5xx), "", Refused),
            (Some(501), Outcome::Failed(Failure::Http5xx), "", NotHere),
            (None, Outcome::Failed(Failure::Connect), "", Unreachable),
            (None, Outcome::Failed(Failure::FirstTokenTimeout), "", Unreachable),
        ] {
            let trial = TrialOutcome { status, outcome, detail: detail.to_owned() };
            assert_eq!(judge(&trial), judged, "{trial:?}");
        }
    }
}
