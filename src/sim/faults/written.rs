//! The syntax of each fault: parsing and display.

use std::fmt;
use std::time::Duration;

use super::{Fault, Spec, SpecError};
use crate::sim::units;

impl Fault {
    pub(crate) fn from_spec(spec: &mut Spec) -> Result<Self, SpecError> {
        let after = |spec: &mut Spec, default| spec.number("after", default);
        Ok(match spec.name.replace('-', "_").as_str() {
            "slow_down" | "slow_generation" => Self::SlowDown { factor: spec.factor("factor", 4.0)? },
            "rate_limited" => {
                Self::RateLimited { retry_after: spec.time("retry_after", Duration::from_secs(1))? }
            }
            "error_500" => Self::Status { code: 500 },
            "unavailable_503" => Self::Status { code: 503 },
            "overloaded_529" => Self::Status { code: 529 },
            "status" => Self::Status { code: spec.status("code", 500)? },
            "redirect" => Self::Redirect { location: spec.text("location", "/elsewhere") },
            "reset_before" => Self::ResetBefore,
            "close_before" => Self::CloseBefore,
            "not_http" => Self::NotHttp,
            "stall_headers" => Self::StallHeaders { time: spec.time("for", Duration::from_secs(1))? },
            "reset_mid" => Self::ResetMid { after: after(spec, 1)? },
            "truncated" => Self::Truncated { after: after(spec, 1)? },
            "garbage" => Self::Garbage { after: after(spec, 0)? },
            "error_in_stream" => Self::ErrorInStream { after: after(spec, 1)? },
            "bad_chunk_framing" => Self::BadChunkFraming { after: after(spec, 1)? },
            "stall" => {
                Self::Stall { after: after(spec, 1)?, time: spec.time("for", Duration::from_secs(1))? }
            }
            "role_only" => Self::RoleOnly,
            "empty_chunks" => Self::EmptyChunks { count: spec.number("n", 1)? },
            "tokens_per_chunk" => Self::TokensPerChunk { count: spec.positive("n", 4)? },
            "split_writes" => Self::SplitWrites { bytes: spec.positive("bytes", 7)? },
            "many_events_per_write" => Self::ManyEventsPerWrite { count: spec.positive("n", 4)? },
            "hidden_reasoning" => Self::HiddenReasoning { tokens: spec.positive("tokens", 32)? },
            "reasoning" => {
                Self::Reasoning { field: spec.reasoning_field()?, tokens: spec.positive("tokens", 32)? }
            }
            "no_done" => Self::NoDone,
            "no_usage" => Self::NoUsage,
            "usage_on_finish" => Self::UsageOnFinish,
            "no_content" => Self::NoContent,
            "short_answer" => Self::EarlyFinish { tokens: 1 },
            "early_finish" => Self::EarlyFinish { tokens: spec.positive("tokens", 1)? },
            "ignore_max_tokens" => Self::IgnoreMaxTokens,
            "ignore_stop" => Self::IgnoreStop,
            "ignore_seed" => Self::IgnoreSeed,
            "no_logprobs" => Self::NoLogprobs,
            "model_drift" => Self::ModelDrift { strength: spec.strength("strength", 0.3)? },
            "served_by" => Self::ServedBy {
                model: spec.text("as", "other"),
                fingerprint: spec.text("fingerprint", "fp_other"),
            },
            "no_prefix_cache" => Self::NoPrefixCache,
            "stream_differs" => Self::StreamDiffers,
            "broken_arguments" => Self::BrokenArguments,
            "crlf" => Self::Crlf,
            "lone_cr" => Self::LoneCr,
            "comments" => Self::Comments,
            "bom" => Self::Bom,
            "no_space" => Self::NoSpace,
            "multi_line_data" => Self::MultiLineData,
            "no_final_blank_line" => Self::NoFinalBlankLine,
            "huge_line" => Self::HugeLine { bytes: spec.huge("bytes", 4 << 20)? },
            "close_keepalive" => Self::CloseKeepalive { when: spec.close_when()? },
            "wrong_content_type" => Self::WrongContentType,
            "no_choices" => Self::NoChoices,
            "zero_usage" => Self::ZeroUsage,
            "no_citations" => Self::NoCitations,
            "slow_retrieval" => Self::SlowRetrieval { time: spec.time("for", Duration::from_secs(1))? },
            "no_token" => Self::NoToken,
            "expired_token" => Self::ExpiredToken,
            "wrong_status" => Self::WrongStatus,
            _ => return Err(SpecError::UnknownFault(spec.name.clone())),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowDown { factor } => write!(f, "slow_down;factor={factor}"),
            Self::RateLimited { retry_after } => {
                write!(f, "rate_limited;retry_after={}", units::written(*retry_after))
            }
            Self::Status { code } => write!(f, "status;code={code}"),
            Self::Redirect { location } => write!(f, "redirect;location=\"{location}\""),
            Self::ResetBefore => f.write_str("reset_before"),
            Self::CloseBefore => f.write_str("close_before"),
            Self::NotHttp => f.write_str("not_http"),
            Self::StallHeaders { time } => write!(f, "stall_headers;for={}", units::written(*time)),
            Self::ResetMid { after } => write!(f, "reset_mid;after={after}"),
            Self::Truncated { after } => write!(f, "truncated;after={after}"),
            Self::Garbage { after } => write!(f, "garbage;after={after}"),
            Self::ErrorInStream { after } => write!(f, "error_in_stream;after={after}"),
            Self::BadChunkFraming { after } => write!(f, "bad_chunk_framing;after={after}"),
            Self::Stall { after, time } => write!(f, "stall;after={after};for={}", units::written(*time)),
            Self::RoleOnly => f.write_str("role_only"),
            Self::EmptyChunks { count } => write!(f, "empty_chunks;n={count}"),
            Self::TokensPerChunk { count } => write!(f, "tokens_per_chunk;n={count}"),
            Self::SplitWrites { bytes } => write!(f, "split_writes;bytes={bytes}"),
            Self::ManyEventsPerWrite { count } => write!(f, "many_events_per_write;n={count}"),
            Self::HiddenReasoning { tokens } => write!(f, "hidden_reasoning;tokens={tokens}"),
            Self::Reasoning { field, tokens } => {
                write!(f, "reasoning;field={};tokens={tokens}", field.name())
            }
            Self::NoDone => f.write_str("no_done"),
            Self::NoUsage => f.write_str("no_usage"),
            Self::UsageOnFinish => f.write_str("usage_on_finish"),
            Self::NoContent => f.write_str("no_content"),
            Self::EarlyFinish { tokens } => write!(f, "early_finish;tokens={tokens}"),
            Self::IgnoreMaxTokens => f.write_str("ignore_max_tokens"),
            Self::IgnoreStop => f.write_str("ignore_stop"),
            Self::IgnoreSeed => f.write_str("ignore_seed"),
            Self::NoLogprobs => f.write_str("no_logprobs"),
            Self::ModelDrift { strength } => write!(f, "model_drift;strength={strength}"),
            Self::ServedBy { model, fingerprint } => {
                write!(f, "served_by;as=\"{model}\";fingerprint=\"{fingerprint}\"")
            }
            Self::NoPrefixCache => f.write_str("no_prefix_cache"),
            Self::StreamDiffers => f.write_str("stream_differs"),
            Self::BrokenArguments => f.write_str("broken_arguments"),
            Self::Crlf => f.write_str("crlf"),
            Self::LoneCr => f.write_str("lone_cr"),
            Self::Comments => f.write_str("comments"),
            Self::Bom => f.write_str("bom"),
            Self::NoSpace => f.write_str("no_space"),
            Self::MultiLineData => f.write_str("multi_line_data"),
            Self::NoFinalBlankLine => f.write_str("no_final_blank_line"),
            Self::HugeLine { bytes } => write!(f, "huge_line;bytes={bytes}"),
            Self::CloseKeepalive { when } => write!(f, "close_keepalive;when={}", when.name()),
            Self::WrongContentType => f.write_str("wrong_content_type"),
            Self::NoChoices => f.write_str("no_choices"),
            Self::ZeroUsage => f.write_str("zero_usage"),
            Self::NoCitations => f.write_str("no_citations"),
            Self::SlowRetrieval { time } => write!(f, "slow_retrieval;for={}", units::written(*time)),
            Self::NoToken => f.write_str("no_token"),
            Self::ExpiredToken => f.write_str("expired_token"),
            Self::WrongStatus => f.write_str("wrong_status"),
        }
    }
}
