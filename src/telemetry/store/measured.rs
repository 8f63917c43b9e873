//! What a place measures outside warm-up: outcomes, latency; what only answers with tokens have, and what only
//! streams have.

use super::place::{Feeds, OUTCOMES, index};
use super::snapshot::RecordNative;
use super::{Out, Table};
use crate::catalogue::{HTTP_CODES, Key, Metric, buckets};
use crate::event::Request;
use crate::telemetry::value::{Counter, Histogram, Trace};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const CODES: usize = HTTP_CODES.len() + 1;

/// What is measured outside warm-up.
pub(super) struct Measured {
    outcomes: Table<OUTCOMES>,
    codes: Table<CODES>,
    duration: Histogram,
    response_time: Histogram,
    failed_duration: Histogram,
    first_byte: Histogram,
    sizes: OnceLock<Box<Sizes>>,
    length_ratio: OnceLock<Histogram>,
    count_ratio: OnceLock<Histogram>,
    streamed: OnceLock<Box<Streamed>>,
    /// Histograms that are made later keep base-2 buckets, too.
    native: AtomicBool,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            outcomes: Table::default(),
            codes: Table::default(),
            duration: Histogram::new(&buckets::DURATION),
            response_time: Histogram::new(&buckets::DURATION),
            failed_duration: Histogram::new(&buckets::FAILED_DURATION),
            first_byte: Histogram::new(&buckets::FIRST_MARK),
            sizes: OnceLock::new(),
            length_ratio: OnceLock::new(),
            count_ratio: OnceLock::new(),
            streamed: OnceLock::new(),
            native: AtomicBool::new(false),
        }
    }
}

impl Measured {
    pub(super) fn prepare(&self, feeds: Feeds) {
        if feeds.tokens {
            self.sizes();
        }
        if feeds.asked {
            self.length_ratio();
        }
        if feeds.counted {
            self.count_ratio();
        }
        if feeds.streamed {
            self.streamed();
        }
    }

    fn sizes(&self) -> &Sizes {
        self.sizes.get_or_init(|| {
            let sizes = Box::<Sizes>::default();
            if self.native.load(Relaxed) {
                sizes.visit(&mut RecordNative.out());
            }
            sizes
        })
    }

    fn length_ratio(&self) -> &Histogram {
        self.length_ratio.get_or_init(|| self.kept(Histogram::new(&buckets::LENGTH_RATIO)))
    }

    fn count_ratio(&self) -> &Histogram {
        self.count_ratio.get_or_init(|| self.kept(Histogram::new(&buckets::COUNT_RATIO)))
    }

    fn streamed(&self) -> &Streamed {
        self.streamed.get_or_init(|| {
            let streamed = Box::<Streamed>::default();
            if self.native.load(Relaxed) {
                streamed.visit(&mut RecordNative.out());
            }
            streamed
        })
    }

    /// A new histogram, which keeps what all others keep.
    fn kept(&self, histogram: Histogram) -> Histogram {
        if self.native.load(Relaxed) {
            histogram.record_native();
        }
        histogram
    }

    /// Every histogram keeps base-2 buckets, those to come from their start.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.visit(&mut RecordNative.out());
    }

    pub(super) fn ended_by_outcome(&self) -> [f64; OUTCOMES] {
        self.outcomes.get()
    }

    pub(super) fn ended(&self, request: &Request, trace: Option<&Trace>) {
        self.outcomes.add(index(request.outcome), 1);
        if let Some(status) = request.status {
            let known = HTTP_CODES.iter().position(|code| *code == status);
            self.codes.add(known.unwrap_or(HTTP_CODES.len()), 1);
        }
        if request.streamed {
            self.streamed().stalls.add(request.stalls);
        }
        if request.outcome.is_answered() {
            self.answered(request, trace);
        } else if request.outcome.judges_target() {
            self.failed_duration.observe(request.marks.duration().as_secs_f64(), trace);
        }
    }

    fn answered(&self, request: &Request, trace: Option<&Trace>) {
        let marks = &request.marks;
        self.duration.observe(marks.duration().as_secs_f64(), trace);
        self.response_time.observe(marks.response_time().as_secs_f64(), trace);
        observe(&self.first_byte, marks.time_to_first_byte(), trace);
        if request.tokens.input.is_some() || request.tokens.output.is_some() {
            self.sizes().answered(request, trace);
        }
        if let Some(ratio) = request.output_length_ratio() {
            self.length_ratio().observe(ratio, trace);
        }
        if let Some(ratio) = request.token_count_ratio() {
            self.count_ratio().observe(ratio, trace);
        }
        if request.streamed {
            self.streamed().answered(request, trace);
        }
    }

    pub(super) fn visit(&self, out: &mut Out<'_>) {
        for (code, counter) in HTTP_CODES.iter().zip(&self.codes.0) {
            out.number(Metric::HttpResponses, &[(Key::Code, &code.to_string())], counter.get());
        }
        if let Some(other) = self.codes.0.last() {
            out.number(Metric::HttpResponses, &[(Key::Code, "other")], other.get());
        }
        out.histogram(Metric::RequestDuration, &[], &self.duration);
        out.histogram(Metric::ResponseTime, &[], &self.response_time);
        out.histogram(Metric::FailedRequestDuration, &[], &self.failed_duration);
        out.histogram(Metric::TimeToFirstByte, &[], &self.first_byte);
        if let Some(sizes) = self.sizes.get() {
            sizes.visit(out);
        }
        if let Some(histogram) = self.length_ratio.get() {
            out.histogram(Metric::OutputLengthRatio, &[], histogram);
        }
        if let Some(histogram) = self.count_ratio.get() {
            out.histogram(Metric::TokenCountRatio, &[], histogram);
        }
        if let Some(streamed) = self.streamed.get() {
            streamed.visit(out);
        }
    }
}

/// What only answers with tokens have.
struct Sizes {
    pace: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            pace: Histogram::new(&buckets::PACE),
            input_tokens: Histogram::new(&buckets::INPUT_TOKENS),
            output_tokens: Histogram::new(&buckets::OUTPUT_TOKENS),
        }
    }
}

impl Sizes {
    fn answered(&self, request: &Request, trace: Option<&Trace>) {
        if let Some(pace) = request.output_pace() {
            self.pace.observe(pace, trace);
        }
        let sizes =
            [(&self.input_tokens, request.tokens.input), (&self.output_tokens, request.tokens.output)];
        for (histogram, count) in sizes {
            if let Some(count) = count {
                histogram.observe(count.n as f64, trace);
            }
        }
    }

    fn visit(&self, out: &mut Out<'_>) {
        out.histogram(Metric::OutputPace, &[], &self.pace);
        out.histogram(Metric::RequestInputTokens, &[], &self.input_tokens);
        out.histogram(Metric::RequestOutputTokens, &[], &self.output_tokens);
    }
}

/// What only streams have.
struct Streamed {
    first_chunk: Histogram,
    first_token: Histogram,
    first_text: Histogram,
    gap: Histogram,
    longest_gap: Histogram,
    per_token: Histogram,
    stalls: Counter,
}

impl Default for Streamed {
    fn default() -> Self {
        Self {
            first_chunk: Histogram::new(&buckets::FIRST_MARK),
            first_token: Histogram::new(&buckets::FIRST_TOKEN),
            first_text: Histogram::new(&buckets::FIRST_MARK),
            gap: Histogram::new(&buckets::GAP),
            longest_gap: Histogram::new(&buckets::LONGEST_GAP),
            per_token: Histogram::new(&buckets::GAP),
            stalls: Counter::default(),
        }
    }
}

impl Streamed {
    fn answered(&self, request: &Request, trace: Option<&Trace>) {
        let marks = &request.marks;
        observe(&self.first_chunk, marks.time_to_first_chunk(), trace);
        observe(&self.first_token, marks.time_to_first_token(), trace);
        observe(&self.first_text, marks.time_to_first_text(), trace);
        self.gap.observe_all(request.gaps.as_slice(), trace);
        observe(&self.longest_gap, request.gaps.longest(), trace);
        if let Some(seconds) = request.time_per_output_token() {
            self.per_token.observe(seconds, trace);
        }
    }

    fn visit(&self, out: &mut Out<'_>) {
        out.histogram(Metric::TimeToFirstChunk, &[], &self.first_chunk);
        out.histogram(Metric::TimeToFirstToken, &[], &self.first_token);
        out.histogram(Metric::TimeToFirstText, &[], &self.first_text);
        out.histogram(Metric::ChunkGap, &[], &self.gap);
        out.histogram(Metric::LongestChunkGap, &[], &self.longest_gap);
        out.histogram(Metric::TimePerOutputToken, &[], &self.per_token);
        out.number(Metric::Stalls, &[], self.stalls.get());
    }
}

fn observe(histogram: &Histogram, time: Option<Duration>, trace: Option<&Trace>) {
    if let Some(time) = time {
        histogram.observe(time.as_secs_f64(), trace);
    }
}
