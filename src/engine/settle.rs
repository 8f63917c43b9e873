//! What a request reserves from the budgets, and what it turns out to have spent. Pure.

use crate::client::Answer;
use crate::event::{Count, CountSource, Failure, FinishReason, Outcome, Spend, Tokens};
use crate::exchange::Call;
use crate::plan::{PairPlan, Price, Step, StepAction};

/// Output tokens reserved for a request that sets no limit. A model may produce more; the budget then shows
/// what was spent, and the next reservation is refused.
const OUTPUT_WITHOUT_LIMIT: u64 = 16_384;

/// Input and output tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenCounts {
    pub(super) input: u64,
    pub(super) output: u64,
}

impl TokenCounts {
    /// Both together.
    const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }

    /// The most that they can cost.
    fn most_cost(self, price: Option<&Price>) -> f64 {
        price.map_or(0.0, |price| price.most(self.input, self.output))
    }

    /// What they take from a budget beside a request.
    pub(super) fn spend(self, price: Option<&Price>) -> Spend {
        Spend { requests: 0, tokens: self.total(), cost: self.most_cost(price) }
    }
}

/// The most that a request can cost: all its input at the highest price, and all the output that it allows.
pub(super) fn most(call: &Call, price: Option<&Price>) -> Spend {
    Spend { requests: 1, ..ReservedAmounts::of(call).most.spend(price) }
}

/// The minimum that a step's request reserves, as far as that is known before it is rendered.
pub(super) fn least(pair: &PairPlan, step: &Step) -> Spend {
    let (input, output) = match &step.action {
        StepAction::Http(http) => (http.reserve.input_tokens, http.reserve.output_tokens),
        StepAction::Ask(_) => (0, pair.output_cap(step).unwrap_or(0)),
    };
    Spend { requests: 1, ..TokenCounts { input, output }.spend(pair.target.price.as_ref()) }
}

/// What was reserved for a request, as far as settling it needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReservedAmounts {
    /// Upper bounds, as far as they are known before the request is sent.
    pub(super) most: TokenCounts,
    /// Whether the operator has declared them.
    pub(super) declared: bool,
}

impl ReservedAmounts {
    pub(super) fn of(call: &Call) -> Self {
        let output = call.output_tokens.or(call.most_output_tokens).unwrap_or(OUTPUT_WITHOUT_LIMIT);
        let most = TokenCounts { input: call.most_input_tokens, output };
        Self { most, declared: call.most_output_tokens.is_some() }
    }

    /// With bounds that are so much higher.
    pub(super) const fn beyond(self, excess: TokenCounts) -> Self {
        Self { most: self.most.plus(excess), ..self }
    }
}

/// What a request has spent, never less than it may have cost:
///
/// - A request that did not reach the target (no name, no connection, no credentials) has spent nothing and
///   does not count as a request either, because nobody charges for it.
/// - Token counts reported by the server are taken as they are, those of the output only of a complete answer: a
///   server that counts as it goes has said how much it had generated when the answer broke off, and may have
///   gone on.
/// - A request that was refused by its status has spent no tokens.
/// - Where the server does not report input or output, the reservation of that part stays: a lost answer may
///   have been charged in full.
/// - A request that was sent again, because its connection was closed, may have been read on the first one, too.
pub(super) fn actual(answer: &Answer, asked: ReservedAmounts, price: Option<&Price>) -> Spend {
    let first = if answer.observed.connection.stale {
        Spend { requests: 1, ..asked.most.spend(price) }
    } else {
        Spend::default()
    };
    if !reached(answer) {
        return first;
    }
    let (input, output) = reported(answer);
    let refused = answer.observed.status.is_some_and(is_refusal);
    let unknown = |reserved: u64| if refused { 0 } else { reserved };
    let cached = answer.observed.tokens.cached_input.filter(|_| input.is_some()).unwrap_or(0);
    let so_far = by_usage(answer.observed.tokens.output).unwrap_or(0);
    let used = TokenCounts {
        input: input.unwrap_or_else(|| unknown(asked.most.input)),
        output: output.unwrap_or_else(|| unknown(asked.most.output).max(so_far)),
    };
    // Without a report it is not known either how much came from a cache.
    let cost = match price {
        Some(price) if input.is_some() => price.cost(used.input, cached, used.output),
        price => used.most_cost(price),
    };
    Spend {
        requests: first.requests.saturating_add(1),
        tokens: first.tokens.saturating_add(used.total()),
        cost: first.cost + cost,
    }
}

/// Whether a status says that the request was turned away before the model did anything. An error of the server, or a
/// timeout of a gateway before it, may come while the model generates, or after that.
const fn is_refusal(status: u16) -> bool {
    matches!(status, 300..=499 | 503 | 529) && !matches!(status, 408 | 499)
}

/// The cost given in a request's record, as far as its tokens are known.
pub(super) fn cost(tokens: &Tokens, price: Option<&Price>) -> Option<f64> {
    if tokens.input.is_none() && tokens.output.is_none() {
        return None;
    }
    let n = |count: Option<Count>| count.map_or(0, |count| count.n);
    Some(price?.cost(n(tokens.input), tokens.cached_input.unwrap_or(0), n(tokens.output)))
}

/// Whether any byte of the request, as it was sent last, may have reached the target. A cold request is marked `sent`
/// before its DNS look-up, so the mark alone is not enough.
fn reached(answer: &Answer) -> bool {
    // A proxy that refuses answers in place of the target.
    if answer.observed.status.is_some() && answer.outcome != Outcome::Failed(Failure::Proxy) {
        return true;
    }
    let before = matches!(
        answer.outcome,
        Outcome::Failed(
            Failure::Dns
                | Failure::Connect
                | Failure::Tls
                | Failure::Proxy
                | Failure::ConnectTimeout
                | Failure::Credentials
        )
    );
    // If a new connection was not established, nothing was written, whatever the reason.
    let connection = &answer.observed.connection;
    let unopened = connection.phases.is_some() && !connection.opened;
    answer.observed.marks.sent.is_some() && !before && !unopened
}

/// Input and output tokens as the server reports them. The input is known once the prompt has been read; the output is
/// when the answer is complete.
pub(super) fn reported(answer: &Answer) -> (Option<u64>, Option<u64>) {
    let tokens = &answer.observed.tokens;
    (by_usage(tokens.input), by_usage(tokens.output).filter(|_| is_complete(answer)))
}

/// Whether the model came to an end, whatever happened afterwards.
fn is_complete(answer: &Answer) -> bool {
    let finish = answer.observed.finish_reason.as_deref().map(FinishReason::of);
    match answer.outcome {
        Outcome::Ok
        | Outcome::Failed(Failure::Empty | Failure::Exhausted | Failure::Extract | Failure::Check) => true,
        Outcome::Failed(_) => finish.is_some_and(|reason| reason != FinishReason::Error),
    }
}

fn by_usage(count: Option<Count>) -> Option<u64> {
    count.filter(|count| count.source == CountSource::Usage).map(|count| count.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Marks, Phases};
    use tokio::time::Instant;

    const PRICE: Price = Price { input: 2.0, cached_input: Some(1.0), output: 10.0 };
    const ASKED: ReservedAmounts =
        ReservedAmounts { most: TokenCounts { input: 50, output: 100 }, declared: false };

    fn answer(outcome: Outcome, status: Option<u16>) -> Answer {
        let now = Instant::now();
        let mut answer = Answer::failed(Failure::Internal, "", Marks::begin(now, now));
        answer.observed.marks.sent = Some(now);
        (answer.outcome, answer.observed.status) = (outcome, status);
        answer
    }

    fn micros(spend: Spend) -> (u64, u64, f64) {
        (spend.requests, spend.tokens, (spend.cost * 1e6).round())
    }

    fn spent(answer: &Answer) -> (u64, u64, f64) {
        micros(actual(answer, ASKED, Some(&PRICE)))
    }

    const fn count(n: u64, source: CountSource) -> Count {
        Count { n, source }
    }

    #[test]
    fn the_most_is_reserved() {
        let call = |output_tokens, most_output_tokens| Call {
            method: http::Method::POST,
            path: "/".into(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            stream: true,
            output_tokens,
            most_output_tokens,
            most_input_tokens: 50,
        };
        assert_eq!(micros(most(&call(Some(100), None), Some(&PRICE))), (1, 150, 1100.0));
        assert_eq!(micros(most(&call(None, None), None)), (1, 50 + 16_384, 0.0));
        // An HTTP step declares what it may cost, and that may be nothing.
        assert_eq!(micros(most(&call(None, Some(0)), Some(&PRICE))), (1, 50, 100.0));
        assert!(
            ReservedAmounts::of(&call(None, Some(0))).declared
                && !ReservedAmounts::of(&call(Some(1), None)).declared
        );
        // A provider may charge more for a prompt that it writes to its cache.
        let dear = Price { input: 2.0, cached_input: Some(3.0), output: 10.0 };
        assert_eq!(micros(most(&call(Some(100), None), Some(&dear))), (1, 150, 1150.0));
        let lost = answer(Outcome::Failed(Failure::Reset), None);
        assert_eq!(micros(actual(&lost, ASKED, Some(&dear))), (1, 150, 1150.0));
    }

    #[test]
    fn usage_settles_with_cached_input_at_its_price() {
        let mut ok = answer(Outcome::Ok, Some(200));
        ok.observed.tokens.input = Some(count(30, CountSource::Usage));
        ok.observed.tokens.cached_input = Some(10);
        ok.observed.tokens.output = Some(count(7, CountSource::Usage));
        assert_eq!(spent(&ok), (1, 37, 40.0 + 10.0 + 70.0));
    }

    #[test]
    fn what_the_server_does_not_tell_stays_reserved() {
        let mut ok = answer(Outcome::Ok, Some(200));
        assert_eq!(spent(&ok), (1, 150, 1100.0));
        // Our own count is not what the provider bills.
        ok.observed.tokens.output = Some(count(7, CountSource::Tokenizer));
        assert_eq!(spent(&ok), (1, 150, 1100.0));
        ok.observed.tokens.input = Some(count(30, CountSource::Usage));
        assert_eq!(spent(&ok), (1, 130, 1060.0));
        assert_eq!(spent(&answer(Outcome::Failed(Failure::Reset), None)), (1, 150, 1100.0));
        assert_eq!(spent(&answer(Outcome::Failed(Failure::Cancelled), None)), (1, 150, 1100.0));
    }

    #[test]
    fn a_count_of_a_broken_answer_is_not_its_last() {
        for (failure, finish, output, settled) in [
            (Failure::Reset, None, 5, 100),
            (Failure::StallTimeout, None, 5, 100),
            (Failure::FirstTokenTimeout, None, 0, 100),
            (Failure::Cancelled, None, 5, 100),
            (Failure::StreamError, Some("abort"), 5, 100),
            // What the server has counted is not forgotten.
            (Failure::Truncated, None, 120, 120),
            // The model had come to an end.
            (Failure::Reset, Some("stop"), 5, 5),
            (Failure::Empty, None, 0, 0),
            (Failure::Exhausted, Some("length"), 90, 90),
        ] {
            let mut broken = answer(Outcome::Failed(failure), Some(200));
            broken.observed.tokens.input = Some(count(30, CountSource::Usage));
            broken.observed.tokens.output = Some(count(output, CountSource::Usage));
            broken.observed.finish_reason = finish.map(Into::into);
            assert_eq!(spent(&broken).1, 30 + settled, "{failure:?} {finish:?} {output}");
        }
    }

    #[test]
    fn a_refused_request_has_spent_no_tokens() {
        for (failure, statuses) in [
            (Failure::Redirect, &[302, 307][..]),
            (Failure::Auth, &[401, 403]),
            (Failure::RateLimited, &[429]),
            (Failure::Http4xx, &[400, 404, 422, 498]),
            (Failure::Overloaded, &[503, 529]),
        ] {
            for status in statuses {
                let refused = answer(Outcome::Failed(failure), Some(*status));
                assert_eq!(spent(&refused), (1, 0, 0.0), "{status}");
            }
        }
        // The model may have generated before a gateway gave up.
        for (failure, statuses) in [
            (Failure::Http4xx, &[408, 499][..]),
            (Failure::Http5xx, &[500, 502, 504, 520, 524]),
            (Failure::Protocol, &[101, 600]),
        ] {
            for status in statuses {
                let lost = answer(Outcome::Failed(failure), Some(*status));
                assert_eq!(spent(&lost), (1, 150, 1100.0), "{status}");
            }
        }
        let mut billed = answer(Outcome::Failed(Failure::Http4xx), Some(400));
        billed.observed.tokens.input = Some(count(30, CountSource::Usage));
        assert_eq!(spent(&billed), (1, 30, 60.0));
    }

    #[test]
    fn what_reached_nobody_has_spent_nothing() {
        for failure in [Failure::Dns, Failure::Connect, Failure::Tls, Failure::Credentials] {
            assert_eq!(spent(&answer(Outcome::Failed(failure), None)), (0, 0, 0.0));
        }
        let mut unopened = answer(Outcome::Failed(Failure::Internal), None);
        unopened.observed.connection.phases = Some(Phases::default());
        assert_eq!(spent(&unopened), (0, 0, 0.0));
        unopened.observed.connection.opened = true;
        assert_eq!(spent(&unopened), (1, 150, 1100.0));
        let mut unsent = answer(Outcome::Failed(Failure::Cancelled), None);
        unsent.observed.marks.sent = None;
        assert_eq!(spent(&unsent), (0, 0, 0.0));
        // The proxy's own answer.
        assert_eq!(spent(&answer(Outcome::Failed(Failure::Proxy), Some(407))), (0, 0, 0.0));
    }

    #[test]
    fn who_answers_was_reached() {
        for failure in [Failure::Tls, Failure::ConnectTimeout, Failure::Reset] {
            assert_eq!(spent(&answer(Outcome::Failed(failure), Some(200))), (1, 150, 1100.0), "{failure:?}");
        }
    }

    #[test]
    fn a_request_that_was_sent_again_may_have_been_read_twice() {
        let stale = |outcome, status, opened| {
            let mut answer = answer(outcome, status);
            answer.observed.connection.phases = Some(Phases::default());
            (answer.observed.connection.stale, answer.observed.connection.opened) = (true, opened);
            answer
        };
        let refused = stale(Outcome::Failed(Failure::Connect), None, false);
        assert_eq!(spent(&refused), (1, 150, 1100.0));
        assert_eq!(spent(&stale(Outcome::Failed(Failure::Cancelled), None, false)), (1, 150, 1100.0));
        assert_eq!(spent(&stale(Outcome::Failed(Failure::Reset), None, true)), (2, 300, 2200.0));
        let mut ok = stale(Outcome::Ok, Some(200), true);
        ok.observed.tokens.input = Some(count(30, CountSource::Usage));
        ok.observed.tokens.output = Some(count(7, CountSource::Usage));
        assert_eq!(spent(&ok), (2, 187, 1230.0));
    }

    #[test]
    fn the_record_has_the_cost_of_known_tokens() {
        let mut tokens = Tokens::default();
        assert_eq!(cost(&tokens, Some(&PRICE)), None);
        tokens.output = Some(count(7, CountSource::Chunks));
        assert_eq!(cost(&tokens, Some(&PRICE)).map(|cost| (cost * 1e6).round()), Some(70.0));
        assert_eq!(cost(&tokens, None), None);
    }
}
