//! The tokenizers that can count tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A tokenizer: one that is built in, or a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "TokenizerForm", into = "TokenizerForm")]
pub enum Tokenizer {
    /// OpenAI's `o200k_base`, embedded.
    O200kBase,
    /// OpenAI's `cl100k_base`, embedded.
    Cl100kBase,
    /// A Hugging Face `tokenizer.json`.
    File(PathBuf),
}

/// A tokenizer: one that is built in, or a file.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Tokenizer")]
enum TokenizerForm {
    /// Built in.
    Embedded(EmbeddedTokenizer),
    /// A file.
    File(TokenizerFile),
}

/// Tokenizers that are built in.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
enum EmbeddedTokenizer {
    /// OpenAI's newer one (GPT-4o and later).
    #[serde(rename = "o200k_base")]
    O200kBase,
    /// OpenAI's older one (GPT-4 and GPT-3.5).
    #[serde(rename = "cl100k_base")]
    Cl100kBase,
}

/// A tokenizer from a file.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenizerFile {
    /// A Hugging Face `tokenizer.json`.
    #[schemars(extend("format" = "path"))]
    file: PathBuf,
}

impl From<TokenizerForm> for Tokenizer {
    fn from(form: TokenizerForm) -> Self {
        match form {
            TokenizerForm::Embedded(EmbeddedTokenizer::O200kBase) => Self::O200kBase,
            TokenizerForm::Embedded(EmbeddedTokenizer::Cl100kBase) => Self::Cl100kBase,
            TokenizerForm::File(TokenizerFile { file }) => Self::File(file),
        }
    }
}

impl From<Tokenizer> for TokenizerForm {
    fn from(tokenizer: Tokenizer) -> Self {
        match tokenizer {
            Tokenizer::O200kBase => Self::Embedded(EmbeddedTokenizer::O200kBase),
            Tokenizer::Cl100kBase => Self::Embedded(EmbeddedTokenizer::Cl100kBase),
            Tokenizer::File(file) => Self::File(TokenizerFile { file }),
        }
    }
}

super::schema_of!(Tokenizer, TokenizerForm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_a_word_or_a_map() {
        for (tokenizer, text) in [
            (Tokenizer::O200kBase, r#""o200k_base""#),
            (Tokenizer::Cl100kBase, r#""cl100k_base""#),
            (Tokenizer::File("t.json".into()), r#"{"file":"t.json"}"#),
        ] {
            assert_eq!(serde_json::to_string(&tokenizer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Tokenizer>(text).unwrap(), tokenizer);
        }
    }
}
