//! The bucket bounds of every histogram, each with the reason for it. All series of a family share one list, so that
//! they can be aggregated.

/// Bounds of a histogram family.
#[derive(Debug)]
pub struct Buckets {
    /// Its name in the documentation.
    pub name: &'static str,
    /// Upper bounds, inclusive, ascending; `+Inf` is implied.
    pub bounds: &'static [f64],
    /// The reason for these bounds.
    pub why: &'static str,
}

impl Buckets {
    /// Maximum number of bounds of a family whose distribution matters most.
    pub const MAX_FINE: usize = 40;
    /// Maximum number of bounds of any other family.
    pub const MAX_COARSE: usize = 14;
}

/// Bounds of vLLM's `vllm:time_to_first_token_seconds`. Up to 10 s they are also what OpenTelemetry recommends for
/// `gen_ai.server.time_to_first_token`.
pub const VLLM_FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Bounds of vLLM's `vllm:inter_token_latency_seconds` and `vllm:request_time_per_output_token_seconds`. Up to 2.5 s
/// they are also what OpenTelemetry recommends for `gen_ai.server.time_per_output_token`.
pub const VLLM_GAP: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// Bounds of vLLM's `vllm:e2e_request_latency_seconds`.
pub const VLLM_DURATION: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// Time to first token.
pub static FIRST_TOKEN: Buckets = Buckets {
    name: "first token",
    bounds: &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22, 0.25, 0.3, 0.35, 0.4, 0.5,
        0.6, 0.75, 0.8, 1.0, 1.25, 1.5, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5, 10.0, 20.0, 40.0, 80.0,
        160.0, 640.0,
    ],
    why: "All bounds of vLLM's own histogram below 2560 s (and with them OpenTelemetry's recommendation), so that \
          one panel can show both. Between 80 ms and 7.5 s, the range of objectives, consecutive bounds differ by at \
          most 25%, which limits the error of a quantile.",
};

/// The other timestamps after the send.
pub static FIRST_MARK: Buckets = Buckets {
    name: "first mark",
    bounds: &[0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0],
    why: "A subset of the bounds of the time to first token, because these times are used as its parts and not \
          for their own quantiles.",
};

/// Chunk gaps and time per output token.
pub static GAP: Buckets = Buckets {
    name: "gap",
    bounds: &[
        0.001, 0.0025, 0.005, 0.006, 0.0075, 0.008, 0.01, 0.012, 0.015, 0.018, 0.02, 0.025, 0.03, 0.035,
        0.04, 0.05, 0.06, 0.075, 0.08, 0.1, 0.12, 0.15, 0.18, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0,
        7.5, 10.0, 20.0, 40.0, 80.0,
    ],
    why: "All bounds of vLLM's inter-token latency (and with them OpenTelemetry's recommendation). Between 5 ms and \
          300 ms, the range of decoding, consecutive bounds differ by at most 25%. The bounds at 1 ms and 2.5 ms are \
          for chunks of one read, whose gaps are close to zero.",
};

/// The longest gap of a request.
pub static LONGEST_GAP: Buckets = Buckets {
    name: "longest gap",
    bounds: &[0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0],
    why: "A subset of the bounds of gaps from 25 ms on, because it shows stalls and not the pace.",
};

/// How long a reader waited for more to read.
pub static READER_IDLE: Buckets = Buckets {
    name: "reader idle time",
    bounds: &[0.001, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0],
    why: "A stream that keeps up is in the first bucket; the others show by how much a stream does not.",
};

/// The duration of answered requests.
pub static DURATION: Buckets = Buckets {
    name: "duration",
    bounds: &[
        0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0,
        5.0, 6.0, 7.5, 9.0, 10.0, 12.0, 15.0, 18.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 75.0, 120.0,
        240.0, 480.0, 960.0,
    ],
    why: "All bounds of vLLM's end-to-end latency up to 960 s. Between 0.4 s and 75 s consecutive bounds differ by \
          at most 25%.",
};

/// The duration of failed requests.
pub static FAILED_DURATION: Buckets = Buckets {
    name: "failed duration",
    bounds: &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0],
    why: "Most failures occur at once or at a timeout, so the common timeouts are bounds.",
};

/// The duration of journeys.
pub static JOURNEY: Buckets = Buckets {
    name: "journey",
    bounds: &[
        0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.5, 9.0, 10.0,
        12.0, 15.0, 18.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 75.0, 90.0, 100.0, 120.0, 180.0, 240.0,
        300.0, 600.0, 900.0, 1800.0, 3600.0,
    ],
    why: "Journeys are sums of requests: from a few calls of a fast API to a long conversation. Between 1 s and \
          120 s consecutive bounds differ by at most 25%.",
};

/// Output pace.
pub static PACE: Buckets = Buckets {
    name: "pace",
    bounds: &[
        1.0, 2.0, 5.0, 6.0, 7.5, 9.0, 10.0, 12.0, 15.0, 18.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 75.0,
        80.0, 100.0, 120.0, 150.0, 180.0, 200.0, 250.0, 300.0, 350.0, 400.0, 500.0, 750.0, 1000.0, 2500.0,
        5000.0,
    ],
    why: "Between 5 and 500 tokens/s consecutive bounds differ by at most 25%; the round values are the inverses of \
          bounds of gaps.",
};

/// Input tokens of a request.
pub static INPUT_TOKENS: Buckets = Buckets {
    name: "input tokens",
    bounds: &[
        10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0, 100_000.0,
        200_000.0,
    ],
    why: "The 1-2-5 series of vLLM's `vllm:request_prompt_tokens`, for contexts of up to 200,000 tokens.",
};

/// Output tokens of a request.
pub static OUTPUT_TOKENS: Buckets = Buckets {
    name: "output tokens",
    bounds: &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0],
    why: "The 1-2-5 series of vLLM's `vllm:request_generation_tokens`, up to 20,000 tokens.",
};

/// Output tokens divided by the requested maximum.
pub static LENGTH_RATIO: Buckets = Buckets {
    name: "length ratio",
    bounds: &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0, 1.1],
    why: "Answers that end early are below 1; above 1 the server ignored the limit.",
};

/// Reported tokens divided by counted tokens.
pub static COUNT_RATIO: Buckets = Buckets {
    name: "count ratio",
    bounds: &[0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0, 1.01, 1.02, 1.05, 1.1, 1.25, 2.0, 5.0],
    why: "Dense around 1, the value for the right tokenizer; hidden tokens are far above it.",
};

/// Connection set-up.
pub static CONNECTION: Buckets = Buckets {
    name: "connection",
    bounds: &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    why: "From a nearby host to a connect timeout, in factors of 2 to 2.5 as OpenTelemetry recommends for HTTP.",
};

/// Lag of requests.
pub static DISPATCH_LAG: Buckets = Buckets {
    name: "dispatch lag",
    bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0],
    why: "From the lag of an idle prober to that of a saturated one; 50 ms, from which a run can count as \
          degraded, is a bound.",
};

/// Lag of runs.
pub static SCHEDULE_LAG: Buckets = Buckets {
    name: "schedule lag",
    bounds: &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
    why: "A run starts within milliseconds, or waits for the previous one, which takes seconds to minutes.",
};

/// Lag of timers.
pub static RUNTIME_LAG: Buckets = Buckets {
    name: "runtime lag",
    bounds: &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
    why: "The runtime's timers are up to 2 ms late by design; a higher lag is caused by load. Measured each \
          five seconds, and from at most five seconds after a run has begun until it ends each half second.",
};

/// Times, as recommended by the GenAI conventions.
pub static GENAI_DURATION: Buckets = Buckets {
    name: "GenAI duration",
    bounds: &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    why: "The recommendation of the GenAI conventions.",
};

/// Tokens, as recommended by the GenAI conventions.
pub static GENAI_TOKENS: Buckets = Buckets {
    name: "GenAI tokens",
    bounds: &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ],
    why: "The recommendation of the GenAI conventions.",
};
