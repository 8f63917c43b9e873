//! Service level objectives.

use std::sync::Arc;

/// One objective of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Its name, a label value; never `all`, which is goodput.
    pub name: Arc<str>,
    /// What it is about.
    pub metric: SloMetric,
    /// What a good request keeps; absent for availability.
    pub bound: Option<Bound>,
    /// Share of requests that must be good, in (0, 1).
    pub objective: f64,
}

/// What an objective is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SloMetric {
    /// The request did not fail.
    Availability,
    /// Seconds.
    TimeToFirstByte,
    /// Seconds; streamed answers only.
    TimeToFirstChunk,
    /// Seconds; streamed answers only.
    TimeToFirstToken,
    /// Seconds; streamed answers only.
    TimeToFirstText,
    /// Seconds; streamed answers only.
    LongestChunkGap,
    /// Seconds per token; streamed answers only.
    TimePerOutputToken,
    /// Tokens per second over the whole request.
    OutputPace,
    /// Seconds from the send.
    RequestDuration,
    /// Seconds from the due time.
    ResponseTime,
}

impl SloMetric {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Availability,
        Self::TimeToFirstByte,
        Self::TimeToFirstChunk,
        Self::TimeToFirstToken,
        Self::TimeToFirstText,
        Self::LongestChunkGap,
        Self::TimePerOutputToken,
        Self::OutputPace,
        Self::RequestDuration,
        Self::ResponseTime,
    ];

    /// Its name in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::TimeToFirstByte => "time_to_first_byte",
            Self::TimeToFirstChunk => "time_to_first_chunk",
            Self::TimeToFirstToken => "time_to_first_token",
            Self::TimeToFirstText => "time_to_first_text",
            Self::LongestChunkGap => "longest_chunk_gap",
            Self::TimePerOutputToken => "time_per_output_token",
            Self::OutputPace => "output_pace",
            Self::RequestDuration => "request_duration",
            Self::ResponseTime => "response_time",
        }
    }
}

/// What a good request keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The value is below this, in seconds.
    Below(f64),
    /// The value is above this, in tokens per second.
    Above(f64),
}
