//! Whether an answer kept up with somebody who reads along: deadlines of tokens, and the time in which there was nothing
//! to read. A pure function of a finished request; it knows nothing about how the results are counted.
//!
//! The deadlines are those of Etalon (formerly Metron, <https://arxiv.org/abs/2407.07000>). The first token is due
//! `first` after the send, and each further one `next` after the deadline of the one before it, so that early tokens
//! leave slack for later ones. A token that comes `late` after its deadline has missed `late / next` deadlines, rounded
//! up, and the deadlines start again from its arrival, without slack. (The authors' program rounds down and adds one,
//! which differs only if a token comes exactly on a deadline: here, as everywhere, that is in time.)
//!
//! The idle time is that of a reader who starts with the first token and takes `next` for each
//! (<https://arxiv.org/abs/2410.14257> derives the quality of experience from the same model). The wait for the first
//! token is not part of it.

use crate::event::{Observed, Request, TokenDeadlines};
use crate::plan::Fluidity;
use std::time::Duration;

/// How a finished request kept up with its reader. A failed one misses the deadlines that pass until its failure;
/// nobody knows how many tokens would have followed.
///
/// `None` for a warm-up, for outcomes that say nothing about the target, if nothing was sent, and for an answer that is
/// complete but was not streamed.
pub fn deadlines(fluidity: Fluidity, request: &Request) -> Option<TokenDeadlines> {
    let observed = &request.observed;
    let completed = request.outcome.is_answered();
    if request.warm_up || !request.outcome.judges_target() || (completed && !observed.streamed) {
        return None;
    }
    let sent = observed.marks.sent?;
    let mut reader = Reader { fluidity, due: fluidity.first, read: None, counts: TokenDeadlines::default() };
    for (at, tokens) in arrivals(observed) {
        reader.tokens(at, tokens);
    }
    if !completed {
        reader.wait(observed.marks.end.saturating_duration_since(sent));
    }
    Some(reader.counts)
}

/// When tokens arrived, from the send, and how many. The tokens of an event share its arrival.
fn arrivals(observed: &Observed) -> impl Iterator<Item = (Duration, u64)> + '_ {
    // An estimate is the number of events, and a count of zero beside content is not true.
    let all = observed.tokens.streamed().filter(|n| *n > 0);
    let tokens = observed.sizes.tokens(all, observed.tokens.first_event);
    let first = observed.marks.time_to_first_token().filter(|_| observed.streamed);
    let times = first.into_iter().flat_map(|first| {
        let later = observed.gaps.iter().scan(first, |at, gap| {
            *at += gap;
            Some(*at)
        });
        std::iter::once(first).chain(later)
    });
    times.zip(tokens)
}

/// A reader in the middle of an answer. All times are from the send.
struct Reader {
    fluidity: Fluidity,
    /// When the next token is due.
    due: Duration,
    /// When everything that came is read; `None` before the first token.
    read: Option<Duration>,
    counts: TokenDeadlines,
}

impl Reader {
    /// Takes tokens that arrive together.
    fn tokens(&mut self, at: Duration, tokens: u64) {
        if tokens == 0 {
            return;
        }
        let reading = self.fluidity.next.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
        if at > self.due {
            self.wait(at);
            // The deadlines that the first of them missed stand for it.
            self.counts.all = self.counts.all.saturating_add(tokens - 1);
            self.due = at.saturating_add(reading);
        } else {
            self.counts.all = self.counts.all.saturating_add(tokens);
            self.due = self.due.saturating_add(reading);
        }
        let read = self.read.unwrap_or(at);
        self.counts.reader_idle += at.saturating_sub(read);
        self.read = Some(read.max(at).saturating_add(reading));
    }

    /// Counts the deadlines that passed before this time.
    fn wait(&mut self, until: Duration) {
        let late = until.saturating_sub(self.due).as_nanos();
        let missed = late.div_ceil(self.fluidity.next.as_nanos().max(1));
        let missed = u64::try_from(missed).unwrap_or(u64::MAX);
        self.counts.all = self.counts.all.saturating_add(missed);
        self.counts.missed = self.counts.missed.saturating_add(missed);
    }
}

#[cfg(test)]
mod tests;
