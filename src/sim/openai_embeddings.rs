//! OpenAI embeddings: `POST /v1/embeddings`. The engine prefills the texts and generates nothing.
//!
//! Pure reading and writing of this one dialect; it knows nothing about engines, sockets or faults.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Answer, Delta, Dialect, Ending, Endpoint, ParsedRequest, Refusal, Service};
use super::effects::{Effects, UsageStyle};
use super::generation::{Ask, Task, Turn, Usage};
use super::openai_chat::{error, texts};
use super::wire::{Event, Framing};

/// Number of dimensions, where the request does not say.
const DIMENSIONS: usize = 16;
/// Maximum number of dimensions.
const MAX_DIMENSIONS: usize = 4096;

/// The OpenAI embeddings dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiEmbeddings;

#[derive(Debug, Deserialize)]
struct OpenAiEmbeddingsRequest {
    model: String,
    input: Value,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    /// As numbers.
    #[default]
    Float,
    /// As base64 of 32-bit numbers, little end first; OpenAI's own clients ask for it.
    Base64,
}

/// Writes one answer.
#[derive(Debug)]
struct Embeddings {
    model: String,
    inputs: usize,
    dimensions: usize,
    encoding: EncodingFormat,
}

impl Endpoint for OpenAiEmbeddings {
    fn name(&self) -> &'static str {
        "openai-embeddings"
    }

    fn service(&self) -> Service {
        Service::Model
    }

    fn error(&self, refusal: &Refusal) -> Value {
        error(refusal)
    }
}

impl Dialect for OpenAiEmbeddings {
    fn read(&self, _parts: &Parts, body: &[u8], _id: &str, _created: i64) -> Result<ParsedRequest, Refusal> {
        let request: OpenAiEmbeddingsRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::Invalid(format!("invalid request body: {error}")))?;
        let texts = texts(&request.input, "input")?;
        let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(Refusal::Invalid(format!("dimensions must be 1 to {MAX_DIMENSIONS}")));
        }
        let encoding = request.encoding_format.unwrap_or_default();
        let answer = Embeddings { model: request.model.clone(), inputs: texts.len(), dimensions, encoding };
        let turns = texts.into_iter().map(|text| Turn { role: "user".to_owned(), text }).collect();
        let ask = Ask { model: request.model, turns, task: Task::Prefill, ..Ask::default() };
        Ok(ParsedRequest { ask, answer: Box::new(answer), framing: Framing::Sse, retrieval: None })
    }
}

impl EncodingFormat {
    fn written(self, vector: Vec<f32>) -> Value {
        match self {
            Self::Float => json!(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                json!(STANDARD.encode(bytes))
            }
        }
    }
}

impl Answer for Embeddings {
    fn open(&self, _: Option<Usage>) -> Vec<Event> {
        Vec::new()
    }

    fn empty(&self) -> Event {
        Event::default()
    }

    fn delta(&self, _delta: &Delta) -> Event {
        Event::default()
    }

    fn close(&self, _end: &Ending, _effects: &Effects) -> Vec<Event> {
        Vec::new()
    }

    fn terminal(&self) -> Option<Event> {
        None
    }

    fn error(&self, refusal: &Refusal) -> Event {
        Event::plain(error(refusal).to_string())
    }

    fn whole(&self, _parts: &[Delta], end: &Ending, effects: &Effects) -> Value {
        let vector = self.encoding.written((0..self.dimensions).map(|n| 1.0 / (n + 1) as f32).collect());
        let items = if effects.no_choices { 0 } else { self.inputs };
        let data: Vec<Value> = (0..items)
            .map(|index| json!({"object": "embedding", "index": index, "embedding": vector}))
            .collect();
        let mut body = json!({"object": "list", "model": self.model, "data": data});
        if let (true, Some(body)) = (effects.usage != UsageStyle::Absent, body.as_object_mut()) {
            let input = end.usage.input;
            body.insert("usage".to_owned(), json!({"prompt_tokens": input, "total_tokens": input}));
        }
        body
    }
}
