//! What a chat template adds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens that a server's chat template adds to the texts of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatTemplate {
    /// To each message: its role, and the marks around it.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub message: u64,
    /// Once to each request: the start of the sequence, a default system prompt, and what prompts for the answer.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub request: u64,
}

impl ChatTemplate {
    /// Tokens that it adds to a request of this many messages.
    pub const fn added(self, messages: u64) -> u64 {
        self.request + self.message * messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_adds_to_each_message_and_once() {
        assert_eq!(ChatTemplate { message: 4, request: 3 }.added(2), 11);
    }
}
