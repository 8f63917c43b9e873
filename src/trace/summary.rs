//! Describes a trace: its rate, its lengths, and how much of its prompts is shared. Uses bounded memory. The form in
//! which it is shown is decided elsewhere.

use super::{RequestTrace, TraceLine, TracedRequest};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, HashSet};

/// Maximum number of blocks that are remembered to find those that come again.
const MAX_BLOCKS: usize = 4 << 20;
/// Maximum number of models that are counted one by one.
const MAX_MODELS: usize = 16;
/// Significant digits of percentiles.
const DIGITS: u8 = 3;
const SECOND: u64 = 1_000_000;

/// Collects the statistics of a trace, line by line.
#[derive(Debug)]
pub struct TraceStatistics {
    /// `None` is unreachable: the number of digits is valid.
    input: Option<Histogram<u64>>,
    output: Option<Histogram<u64>>,
    input_tokens: u64,
    shared_tokens: u64,
    has_blocks: bool,
    blocks: HashSet<u64>,
    forgets: bool,
    models: BTreeMap<String, u64>,
    other_models: u64,
}

/// What a trace would play.
#[derive(Debug)]
pub struct TraceSummary {
    /// Number of requests.
    pub requests: u64,
    /// The time that they take, in seconds.
    pub seconds: f64,
    /// The largest number of requests in a second.
    pub peak_second: u64,
    /// The number of requests in each of several parts of the time, of equal length.
    pub over_time: Vec<u64>,
    /// Tokens of prompts; bytes, if the trace has texts.
    pub input: TokenPercentiles,
    /// Tokens of answers.
    pub output: TokenPercentiles,
    /// The share of the input tokens in blocks with which an earlier request began; `None` if there are no blocks.
    pub shared: Option<f64>,
    /// Whether the share is a lower bound, because there are too many different blocks to remember.
    pub shared_at_least: bool,
    /// The number of requests to each model, if the trace names them. The last one has no name if it stands for the
    /// rest of many.
    pub models: Vec<(String, u64)>,
}

/// Percentiles of a number of tokens, with three significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenPercentiles {
    /// The median.
    pub p50: u64,
    /// The 90th.
    pub p90: u64,
    /// The 99th.
    pub p99: u64,
    /// The largest, exactly.
    pub max: u64,
    /// The mean.
    pub mean: f64,
}

impl Default for TraceStatistics {
    fn default() -> Self {
        let histogram = || Histogram::new(DIGITS).ok();
        Self {
            input: histogram(),
            output: histogram(),
            input_tokens: 0,
            shared_tokens: 0,
            has_blocks: false,
            blocks: HashSet::new(),
            forgets: false,
            models: BTreeMap::new(),
            other_models: 0,
        }
    }
}

impl TraceStatistics {
    /// Adds a line.
    pub fn add(&mut self, line: &TraceLine<'_>) {
        let request = &line.request;
        for (histogram, tokens) in
            [(&mut self.input, request.input_tokens), (&mut self.output, request.output_tokens)]
        {
            if let Some(histogram) = histogram {
                // It grows with its values, so this cannot fail.
                let _ = histogram.record(tokens);
            }
        }
        self.input_tokens = self.input_tokens.saturating_add(request.input_tokens);
        self.count_blocks(request);
        if line.model.is_empty() {
            return;
        }
        if let Some(count) = self.models.get_mut(line.model) {
            *count += 1;
        } else if self.models.len() < MAX_MODELS {
            self.models.insert(line.model.to_owned(), 1);
        } else {
            self.other_models += 1;
        }
    }

    /// A cache that forgets nothing would find the leading blocks that came before.
    fn count_blocks(&mut self, request: &TracedRequest) {
        let known = request.blocks.iter().take_while(|block| self.blocks.contains(block)).count() as u64;
        // The last block is usually not full.
        let shared = known.saturating_mul(request.block_tokens).min(request.input_tokens);
        self.shared_tokens = self.shared_tokens.saturating_add(shared);
        self.has_blocks |= !request.blocks.is_empty();
        for block in &request.blocks {
            if self.blocks.len() >= MAX_BLOCKS && !self.blocks.contains(block) {
                self.forgets = true;
                break;
            }
            self.blocks.insert(*block);
        }
    }

    /// The summary, with the time in this many parts.
    pub fn finish(self, trace: &RequestTrace, parts: usize) -> TraceSummary {
        let times = || (0..trace.requests()).filter_map(|index| trace.at(index));
        let mut over_time = vec![0; parts.max(1)];
        let last = over_time.len() - 1;
        for at in times() {
            let part = u128::from(at) * over_time.len() as u128 / u128::from(trace.length().max(1));
            if let Some(count) = over_time.get_mut(usize::try_from(part).unwrap_or(last).min(last)) {
                *count += 1;
            }
        }
        let mut behind = 0;
        let peaks = (0..trace.requests()).zip(times()).map(|(index, at)| {
            while trace.at(behind).is_some_and(|first| first + SECOND <= at) {
                behind += 1;
            }
            index + 1 - behind
        });
        let mut models: Vec<_> = self.models.into_iter().collect();
        models.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        models.extend((self.other_models > 0).then(|| (String::new(), self.other_models)));
        let size = trace.size();
        TraceSummary {
            requests: trace.requests(),
            seconds: trace.length() as f64 / SECOND as f64,
            peak_second: peaks.max().unwrap_or(0),
            over_time,
            input: TokenPercentiles::of(self.input.as_ref(), size.max_input, size.mean_input),
            output: TokenPercentiles::of(self.output.as_ref(), size.max_output, size.mean_output),
            shared: self.has_blocks.then(|| self.shared_tokens as f64 / self.input_tokens.max(1) as f64),
            shared_at_least: self.forgets,
            models,
        }
    }
}

impl TokenPercentiles {
    fn of(histogram: Option<&Histogram<u64>>, max: u64, mean: f64) -> Self {
        let at = |quantile| histogram.map_or(0, |it| it.value_at_quantile(quantile).min(max));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max, mean }
    }
}
