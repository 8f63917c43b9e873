//! What a finish reason means, whoever says it: one table for all dialects.

use enum_map::Enum;
use strum::IntoStaticStr;

/// The meaning of a finish reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, Enum)]
#[strum(serialize_all = "snake_case")]
pub enum FinishReason {
    /// The model came to an end.
    Stop,
    /// A limit on the output was reached: the request's, or that of the model.
    Length,
    /// The model calls a tool.
    ToolCalls,
    /// A filter, or the model itself, refused to go on.
    ContentFilter,
    /// The server gave up.
    Error,
    /// A reason that is not known. It counts as an end.
    Other,
}

impl FinishReason {
    /// Every meaning.
    pub const ALL: [Self; 6] =
        [Self::Stop, Self::Length, Self::ToolCalls, Self::ContentFilter, Self::Error, Self::Other];

    /// The meaning of a reason in the words of any dialect.
    pub fn of(reason: &str) -> Self {
        let reason = reason.trim().to_ascii_lowercase();
        // Some gateways print the name of an enum: `FinishReason.STOP`.
        let reason = reason.rsplit(['.', ':']).next().unwrap_or_default();
        match reason {
            "stop" | "stop_sequence" | "stop_token" | "eos" | "eos_token" | "end_turn" | "pause_turn"
            | "end" | "complete" | "completed" | "done" | "finish" | "finished" | "success"
            | "compaction" => Self::Stop,
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "max_completion_tokens"
            | "model_length"
            | "token_limit"
            | "max_length"
            | "context_length"
            | "model_context_window_exceeded"
            | "incomplete" => Self::Length,
            "tool_calls" | "tool_call" | "tool_use" | "function_call" => Self::ToolCalls,
            "content_filter"
            | "content_filtered"
            | "refusal"
            | "safety"
            | "sensitive"
            | "recitation"
            | "language"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "image_safety"
            | "image_prohibited_content"
            | "image_recitation"
            | "model_armor"
            | "guardrail_intervened"
            | "guardrails"
            | "error_toxic"
            | "no_image" => Self::ContentFilter,
            "malformed_function_call"
            | "malformed_response"
            | "malformed_model_output"
            | "malformed_tool_use"
            | "unexpected_tool_call"
            | "too_many_tool_calls"
            | "missing_thought_signature"
            | "insufficient_system_resource"
            | "insufficient_system_resources" => Self::Error,
            other if is_failure(other) => Self::Error,
            _ => Self::Other,
        }
    }

    /// Its label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Servers make up such names: `engine_error`, `network_error`, `aborted`, `request_timeout`.
fn is_failure(reason: &str) -> bool {
    reason.split(['_', '-', ' ']).any(|word| {
        matches!(
            word,
            "error"
                | "errors"
                | "err"
                | "abort"
                | "aborted"
                | "cancel"
                | "canceled"
                | "cancelled"
                | "fail"
                | "failed"
                | "failure"
                | "timeout"
                | "unavailable"
                | "overloaded"
                | "exception"
                | "interrupted"
                | "disconnected"
                | "preempted"
                | "crash"
                | "crashed"
                | "killed"
                | "oom"
        )
    }) || matches!(reason, "time_limit" | "timed_out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_24_a_reason_says_whether_the_server_gave_up() {
        for (meaning, reasons) in [
            (
                FinishReason::Stop,
                "stop STOP end_turn eos eos_token stop_sequence COMPLETE pause_turn FinishReason.STOP",
            ),
            (
                FinishReason::Length,
                "length MAX_TOKENS max_output_tokens model_length model_context_window_exceeded",
            ),
            (FinishReason::ToolCalls, "tool_calls function_call tool_use TOOL_CALL"),
            (
                FinishReason::ContentFilter,
                "content_filter refusal SAFETY sensitive guardrail_intervened ERROR_TOXIC",
            ),
            (
                FinishReason::Error,
                "abort aborted error ERROR network_error insufficient_system_resource engine_error timeout cancelled \
                 failed internal-error server_error MALFORMED_FUNCTION_CALL USER_CANCEL time_limit ERROR_LIMIT",
            ),
            (FinishReason::Other, "because stopped_by_magic terror 7 OTHER"),
        ] {
            for reason in reasons.split_whitespace() {
                assert_eq!(FinishReason::of(reason), meaning, "{reason}");
            }
        }
    }
}
