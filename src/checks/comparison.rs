//! Checks whether an answer is the same as the previous answer to the same request.

use super::{Evidence, tool_call};
use crate::exchange::ToolCall;
use crate::plan::Comparison;

/// The parts of the previous answer that are compared.
#[derive(Clone, Copy, Debug)]
pub struct EarlierAnswer<'a> {
    /// The visible text.
    pub text: &'a str,
    /// The tool calls.
    pub tool_calls: &'a [ToolCall],
}

/// Returns an error that describes the first difference.
pub(super) fn verdict(answer: &Evidence<'_>, comparison: Comparison) -> Result<(), String> {
    let Some(earlier) = answer.earlier else { return Err("there is no answer before it".to_owned()) };
    let other = match comparison {
        Comparison::Unary => "the streamed one",
        Comparison::Seed => "the first one with the same seed",
    };
    if answer.text != earlier.text {
        let (now, before) = (answer.text.chars(), earlier.text.chars());
        let same = now.clone().zip(before.clone()).take_while(|(a, b)| a == b).count();
        let (now, before) = (now.count(), before.count());
        return Err(format!(
            "the text of {now} characters differs from {other}, of {before}, after {same} characters"
        ));
    }
    let same = answer.tool_calls.len() == earlier.tool_calls.len()
        && answer.tool_calls.iter().zip(earlier.tool_calls).all(|(a, b)| is_same(a, b));
    if same { Ok(()) } else { Err(format!("the calls of tools differ from those of {other}")) }
}

/// Whether two tool calls are the same. White space and the order of keys in the arguments are ignored.
fn is_same(a: &ToolCall, b: &ToolCall) -> bool {
    let same_arguments = || match (tool_call::parse(&a.arguments), tool_call::parse(&b.arguments)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    a.name == b.name && (a.arguments == b.arguments || same_arguments())
}
