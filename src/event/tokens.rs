//! Token counts and their sources.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

/// Where a count comes from, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CountSource {
    /// Reported by the server.
    Usage,
    /// Counted by a tokenizer over the whole text.
    Tokenizer,
    /// The number of content events: an estimate, and labelled as such.
    Chunks,
}

impl CountSource {
    /// All sources.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The direction of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TokenType {
    /// Tokens of the prompt.
    Input,
    /// Tokens of the answer, including reasoning.
    Output,
}

impl TokenType {
    /// Both directions.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A part of the usage that a server reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum UsagePart {
    /// Tokens of the prompt.
    Input,
    /// Tokens of the answer.
    Output,
    /// Tokens of the prompt that came from a cache.
    CachedInput,
    /// Tokens of the answer that were reasoning.
    Reasoning,
}

impl UsagePart {
    /// All parts.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Whether a server reported a part of the usage. A count of zero is reported; an implausible count is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum UsageReported {
    /// It was reported.
    Yes,
    /// It was not reported.
    No,
}

impl UsageReported {
    /// Both answers.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl From<bool> for UsageReported {
    fn from(reported: bool) -> Self {
        if reported { Self::Yes } else { Self::No }
    }
}

/// Whether each part of the usage was reported; `None` for a part that the answer cannot have.
pub type UsageReports = EnumMap<UsagePart, Option<UsageReported>>;

/// A count and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Number of tokens.
    pub n: u64,
    /// Where the count comes from.
    pub source: CountSource,
}

/// The tokens of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens of the prompt.
    pub input: Option<Count>,
    /// Tokens of the answer. Reasoning is already included and never added.
    pub output: Option<Count>,
    /// Part of `input` that came from the provider's cache.
    pub cached_input: Option<u64>,
    /// Part of `output` that was reasoning.
    pub reasoning: Option<u64>,
    /// Number of output tokens that were not streamed, and are not part of the pace: hidden reasoning. `None` if that is
    /// unknown.
    pub hidden: Option<u64>,
    /// The tokenizer's count of the whole output text, if `output` came from `usage`.
    pub tokenizer_output: Option<u64>,
    /// Number of tokens known to be in the first event of the pace, if the server reports counts while streaming.
    pub first_event: Option<u64>,
    /// Which of the counts the server reported.
    pub reports: UsageReports,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            input: None,
            output: None,
            cached_input: None,
            reasoning: None,
            hidden: Some(0),
            tokenizer_output: None,
            first_event: None,
            reports: UsageReports::default(),
        }
    }
}

impl Tokens {
    /// Output tokens that were streamed, that is, output without hidden reasoning. Unknown if the count is an
    /// estimate from chunks, because a chunk is not a token, or if it is unknown how much was hidden.
    pub fn streamed(&self) -> Option<u64> {
        let output = self.output.filter(|count| count.source != CountSource::Chunks)?;
        Some(output.n.saturating_sub(self.hidden?))
    }

    /// Streamed tokens without those of the first event, by which the decode time is divided: `n - k`. `None`
    /// if nothing is left to divide by.
    pub fn after_first(&self) -> Option<u64> {
        let n = self.streamed()?;
        n.checked_sub(self.first_event.unwrap_or(1).max(1)).filter(|rest| n >= 2 && *rest > 0)
    }

    /// Input and output together, as far as known.
    pub fn total(&self) -> u64 {
        self.input.map_or(0, |count| count.n) + self.output.map_or(0, |count| count.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(n: u64) -> Count {
        Count { n, source: CountSource::Usage }
    }

    #[test]
    fn hidden_reasoning_is_not_in_the_pace() {
        let mut tokens = Tokens { output: Some(usage(300)), hidden: Some(256), ..Tokens::default() };
        assert_eq!(tokens.streamed(), Some(44));
        tokens.hidden = None;
        assert_eq!((tokens.streamed(), tokens.after_first()), (None, None));
    }

    #[test]
    fn pace_is_absent_when_unknown_or_short() {
        assert_eq!(Tokens::default().after_first(), None);
        assert_eq!(Tokens { output: Some(usage(1)), ..Tokens::default() }.after_first(), None);
        let chunks = Some(Count { n: 50, source: CountSource::Chunks });
        assert_eq!(Tokens { output: chunks, ..Tokens::default() }.after_first(), None);
        assert_eq!(Tokens { output: Some(usage(10)), ..Tokens::default() }.after_first(), Some(9));
        let first_held_four = Tokens { output: Some(usage(10)), first_event: Some(4), ..Tokens::default() };
        assert_eq!(first_held_four.after_first(), Some(6));
    }
}
