//! The pinned table: names, units and buckets of OpenTelemetry's GenAI client metrics.
//!
//! The current set follows `docs/gen-ai` of `open-telemetry/semantic-conventions-genai` (client metrics at commit
//! 024a4f94, token metrics at 066d4a7f), which has no release yet; the old one is that of the semantic conventions
//! up to 1.42, which most dashboards read.

use crate::catalogue::buckets::Buckets;
use crate::plan::otlp::GenAi;

/// What is measured. Metrics of both sets may show the same quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// From the send to the end or the failure, by `error.type`.
    Duration,
    /// From the send to the first event.
    FirstChunk,
    /// Between content events.
    OutputChunk,
    /// Input tokens per operation, by `error.type`.
    InputTokens,
    /// Output tokens per operation, by `error.type`.
    OutputTokens,
    /// Tokens per operation, by `gen_ai.token.type`.
    Tokens,
    /// Input tokens in total.
    UsageInput,
    /// Output tokens in total.
    UsageOutput,
    /// Input tokens from the provider's cache, in total.
    UsageCacheRead,
    /// Output tokens that were reasoning, in total.
    UsageReasoning,
}

/// Which set a metric is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// The present conventions.
    Current,
    /// Those up to 1.42.
    Legacy,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) set: Set,
    pub(super) quantity: Quantity,
    pub(super) description: &'static str,
}

impl Instrument {
    /// Whether it goes out.
    pub(super) fn is_in(&self, sets: GenAi) -> bool {
        match sets {
            GenAi::Both => true,
            GenAi::Current => self.set == Set::Current,
            GenAi::Legacy => self.set == Set::Legacy,
            GenAi::None => false,
        }
    }
}

/// The conventions' advice for times.
pub(super) static DURATION: Buckets = Buckets {
    name: "GenAI duration",
    bounds: &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    why: "The advice of the GenAI conventions.",
};

/// The conventions' advice for tokens.
pub(super) static TOKENS: Buckets = Buckets {
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
    why: "The advice of the GenAI conventions.",
};

const fn current(
    name: &'static str,
    unit: &'static str,
    quantity: Quantity,
    description: &'static str,
) -> Instrument {
    Instrument { name, unit, set: Set::Current, quantity, description }
}

const fn legacy(
    name: &'static str,
    unit: &'static str,
    quantity: Quantity,
    description: &'static str,
) -> Instrument {
    Instrument { name, unit, set: Set::Legacy, quantity, description }
}

/// Every metric of both sets.
pub(super) static TABLE: [Instrument; 13] = [
    current("gen_ai.client.inference.duration", "s", Quantity::Duration, "GenAI operation duration."),
    current(
        "gen_ai.client.inference.time_to_first_chunk",
        "s",
        Quantity::FirstChunk,
        "Time to receive the first chunk of a streamed response.",
    ),
    current(
        "gen_ai.client.inference.time_per_output_chunk",
        "s",
        Quantity::OutputChunk,
        "Time between chunks of a streamed response.",
    ),
    current(
        "gen_ai.client.inference.operation.input_tokens",
        "{token}",
        Quantity::InputTokens,
        "Input tokens per operation.",
    ),
    current(
        "gen_ai.client.inference.operation.output_tokens",
        "{token}",
        Quantity::OutputTokens,
        "Output tokens per operation.",
    ),
    current(
        "gen_ai.client.inference.usage.input_tokens",
        "{token}",
        Quantity::UsageInput,
        "Input tokens used.",
    ),
    current(
        "gen_ai.client.inference.usage.output_tokens",
        "{token}",
        Quantity::UsageOutput,
        "Output tokens used.",
    ),
    current(
        "gen_ai.client.inference.usage.cache_read.input_tokens",
        "{token}",
        Quantity::UsageCacheRead,
        "Input tokens that came from the provider's cache.",
    ),
    current(
        "gen_ai.client.inference.usage.reasoning.output_tokens",
        "{token}",
        Quantity::UsageReasoning,
        "Output tokens that were reasoning.",
    ),
    legacy("gen_ai.client.operation.duration", "s", Quantity::Duration, "GenAI operation duration."),
    legacy(
        "gen_ai.client.operation.time_to_first_chunk",
        "s",
        Quantity::FirstChunk,
        "Time to receive the first chunk of a streamed response.",
    ),
    legacy(
        "gen_ai.client.operation.time_per_output_chunk",
        "s",
        Quantity::OutputChunk,
        "Time between chunks of a streamed response.",
    ),
    legacy(
        "gen_ai.client.token.usage",
        "{token}",
        Quantity::Tokens,
        "Number of input and output tokens used.",
    ),
];
