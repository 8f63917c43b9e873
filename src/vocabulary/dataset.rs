//! Words of datasets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the rows of a dataset are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// A JSON object on each line, with `prompt` (and perhaps `system`) or `messages`, and perhaps `max_tokens` and
    /// `weight`.
    Jsonl,
    /// Comma-separated values; the first line has the names of the columns, of which `prompt` is needed, and `system`,
    /// `max_tokens` and `weight` are read.
    Csv,
    /// A JSON array of conversations as of `ShareGPT`. The first question of each is asked.
    Sharegpt,
    /// A prompt on each line.
    Lines,
}

/// In which order the rows of a dataset are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowOrder {
    /// As they stand in the file, in each stage from the beginning.
    Sequential,
    /// In an order that the run's seed gives, each once before any comes again.
    #[default]
    Shuffled,
    /// At random, each as often as its `weight` says; 1 where there is none.
    Weighted,
}
