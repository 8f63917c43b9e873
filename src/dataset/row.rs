//! Parses one row of a dataset. Pure.

use super::RowContent;
use super::split::CsvField;
use crate::exchange::{Message, Role};
use crate::vocabulary::DatasetFormat;
use serde::Deserialize;
use serde_json::Value;

/// Largest weight of a row, so that the sum of all is a number.
const LARGEST_WEIGHT: f64 = 1e15;

/// Maximum length in bytes of the type of a part that a message quotes.
const MAX_SHOWN_TYPE: usize = 40;

/// A prompt of a dataset, with its output length and weight.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetRow {
    /// The conversation, oldest message first; at least one.
    pub messages: Vec<Message>,
    /// Maximum number of output tokens of the answer.
    pub output_tokens: Option<u64>,
    /// How often it is used, relative to the other rows.
    pub weight: f64,
}

/// The columns of a CSV file.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    prompt: usize,
    system: Option<usize>,
    output_tokens: Option<usize>,
    weight: Option<usize>,
    count: usize,
}

/// A line of a JSONL file. Other keys are ignored.
#[derive(Deserialize)]
struct JsonRow {
    prompt: Option<String>,
    system: Option<String>,
    messages: Option<Vec<ChatMessage>>,
    max_tokens: Option<Value>,
    output_tokens: Option<Value>,
    weight: Option<f64>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    /// A text, or a list of parts.
    content: Value,
}

/// A recorded conversation, an item of a `sharegpt` file. A turn has `from` and `value`, or `role` and `content`.
#[derive(Deserialize)]
struct RecordedConversation {
    conversations: Vec<RecordedTurn>,
}

#[derive(Deserialize)]
struct RecordedTurn {
    #[serde(alias = "role")]
    from: String,
    #[serde(alias = "content")]
    value: String,
}

impl DatasetRow {
    /// Parses a row. The error message is a clause that follows the position of the row.
    pub(super) fn parse(
        format: DatasetFormat,
        content: RowContent,
        columns: &Columns,
        bytes: &[u8],
    ) -> Result<Self, String> {
        let is_blank = |message: &Message| message.text.trim().is_empty();
        let mut row = match format {
            DatasetFormat::Lines => Self::of_texts(None, parse_text(bytes)?.trim(), None),
            DatasetFormat::Csv => columns.row(bytes)?,
            DatasetFormat::Jsonl => Self::of_json(parse_whole_json(bytes)?)?,
            DatasetFormat::Sharegpt if content == RowContent::Prompt => {
                Self::of_recorded(parse_json(bytes)?)?
            }
            DatasetFormat::Sharegpt => Self::of_whole(parse_json(bytes)?),
        };
        // It would take the place of the system prompt of the workload.
        row.messages.retain(|message| message.role != Role::System || !is_blank(message));
        if content == RowContent::Prompt {
            row.end_with_question()?;
        }
        if row.messages.iter().all(is_blank) {
            return Err("has an empty prompt".to_owned());
        }
        if !(row.weight > 0.0 && row.weight <= LARGEST_WEIGHT) {
            return Err("has a weight that is not a number over 0 and up to 1e15".to_owned());
        }
        Ok(row)
    }

    fn of_texts(system: Option<&str>, prompt: &str, output_tokens: Option<u64>) -> Self {
        let system = system.map(|text| Message { role: Role::System, text: text.into() });
        let prompt = Message { role: Role::User, text: prompt.into() };
        Self { messages: system.into_iter().chain([prompt]).collect(), output_tokens, weight: 1.0 }
    }

    fn of_json(row: JsonRow) -> Result<Self, String> {
        let output_tokens = match row.max_tokens.or(row.output_tokens).filter(|it| !it.is_null()) {
            None => None,
            Some(tokens) => Some(
                tokens
                    .as_u64()
                    .filter(|tokens| *tokens > 0)
                    .ok_or("has a `max_tokens` that is not a whole number from 1")?,
            ),
        };
        let mut read = match (row.prompt, row.messages) {
            (Some(prompt), None) => Self::of_texts(row.system.as_deref(), &prompt, output_tokens),
            (None, Some(messages)) => {
                let messages = messages.into_iter().map(ChatMessage::read).collect::<Result<Vec<_>, _>>()?;
                Self { messages, output_tokens, weight: 1.0 }
            }
            _ => return Err("needs one of `prompt` and `messages`".to_owned()),
        };
        read.weight = row.weight.unwrap_or(1.0);
        Ok(read)
    }

    /// Leaves out a recorded answer at the end: what is asked is the message before it. Fails if that is none of a user.
    fn end_with_question(&mut self) -> Result<(), String> {
        let is_answer = |message: &Message| message.role == Role::Assistant;
        let end = self.messages.iter().rposition(|message| !is_answer(message)).map_or(0, |last| last + 1);
        self.messages.truncate(end);
        match self.messages.last() {
            Some(last) if last.role == Role::User && !last.text.trim().is_empty() => Ok(()),
            Some(last) if last.role == Role::System => Err("has no question of a user at its end".to_owned()),
            _ => Err("has an empty prompt".to_owned()),
        }
    }

    /// Uses the first question and the system prompt before it. Later questions depend on the recorded answers.
    fn of_recorded(recorded: RecordedConversation) -> Result<Self, String> {
        let mut system = None;
        for turn in recorded.conversations {
            match turn.from.as_str() {
                "system" => system = Some(turn.value),
                "human" | "user" => return Ok(Self::of_texts(system.as_deref(), &turn.value, None)),
                _ => {}
            }
        }
        Err("has no turn of a human".to_owned())
    }

    /// Uses every message whose author is known. Tools and the like are left out.
    fn of_whole(recorded: RecordedConversation) -> Self {
        let messages = recorded.conversations.into_iter().filter_map(|turn| {
            let role = match turn.from.as_str() {
                "system" => Role::System,
                "human" | "user" => Role::User,
                "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" => Role::Assistant,
                _ => return None,
            };
            Some(Message { role, text: turn.value.into() })
        });
        Self { messages: messages.collect(), output_tokens: None, weight: 1.0 }
    }

    /// Size of its texts in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.text.len() as u64).sum()
    }
}

impl ChatMessage {
    fn read(self) -> Result<Message, String> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err("has a message of a role other than system, user and assistant".to_owned()),
        };
        let text = match self.content {
            Value::String(text) => text,
            Value::Array(parts) => parts.iter().map(text_of_part).collect::<Result<Vec<_>, _>>()?.join("\n"),
            _ => {
                let message =
                    "has a message whose `content` is neither a text nor a list of parts with a `text`";
                return Err(message.to_owned());
            }
        };
        Ok(Message { role, text: text.into() })
    }
}

/// The text of a part of a message: `{ "type": "text", "text": "..." }`.
fn text_of_part(part: &Value) -> Result<&str, String> {
    let text = part.get("text").and_then(Value::as_str);
    text.ok_or_else(|| {
        let kind = part.get("type").and_then(Value::as_str).filter(|kind| kind.len() <= MAX_SHOWN_TYPE);
        let kind = kind.map(|kind| format!(" of type \"{kind}\"")).unwrap_or_default();
        format!("has a message with a part{kind} that has no `text`: only parts with text are supported")
    })
}

impl Columns {
    /// Reads the first row of a CSV file.
    pub(super) fn of_header(bytes: &[u8]) -> Result<Self, String> {
        let fields = fields(bytes)?;
        // `prompt, "Max_Tokens"` would lose a column without a word. A quote after a blank belongs to the field.
        let plain = |field: &str| field.trim().trim_matches('"').trim().to_ascii_lowercase();
        let at = |names: &[&str]| fields.iter().position(|field| names.contains(&plain(field).as_str()));
        let prompt = at(&["prompt"]).ok_or("has no column `prompt` in its first line")?;
        let output_tokens = at(&["max_tokens", "output_tokens"]);
        Ok(Self {
            prompt,
            system: at(&["system"]),
            output_tokens,
            weight: at(&["weight"]),
            count: fields.len(),
        })
    }

    fn row(&self, bytes: &[u8]) -> Result<DatasetRow, String> {
        let fields = fields(bytes)?;
        if fields.len() != self.count {
            return Err(format!("has {} fields, and the first line has {}", fields.len(), self.count));
        }
        let field = |at: Option<usize>| fields.get(at?).map(str::trim).filter(|field| !field.is_empty());
        let whole = |text: &str| text.parse().ok().filter(|tokens| *tokens > 0);
        let output_tokens = field(self.output_tokens).map(|text| {
            whole(text).ok_or_else(|| "has a `max_tokens` that is not a whole number from 1".to_owned())
        });
        let prompt = fields.get(self.prompt).unwrap_or_default();
        let mut row = DatasetRow::of_texts(field(self.system), prompt, output_tokens.transpose()?);
        if let Some(weight) = field(self.weight) {
            row.weight = weight.parse().unwrap_or(0.0);
        }
        Ok(row)
    }
}

/// The fields of a record. What follows it would be lost without a word, and so would the records that a quote without
/// an end has taken in.
fn fields(bytes: &[u8]) -> Result<csv::StringRecord, String> {
    let end = bytes.iter().fold(CsvField::Start, |field, byte| field.after(*byte));
    if end == CsvField::Quoted {
        return Err("has a field that begins with a quote, and no quote at its end".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let (mut record, mut other) = (csv::StringRecord::new(), csv::StringRecord::new());
    let is_read = reader.read_record(&mut record).and_then(|any| Ok((any, reader.read_record(&mut other)?)));
    match is_read {
        Ok((true, false)) => Ok(record),
        Ok((true, true)) => Err("has a line end other than LF and CR LF".to_owned()),
        Ok((false, _)) => Err("has no fields".to_owned()),
        Err(error) => Err(format!("is not valid CSV: {error}")),
    }
}

/// The text of some bytes. The error message is a clause that follows the position of the row.
pub fn parse_text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))
}

/// Parses the first JSON value of some bytes; the rest belongs to other rows. The error message is a clause that follows
/// the position of the row.
pub fn parse_json<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(format!("is not what is expected: {}", in_row(&error))),
        None => Err("holds nothing".to_owned()),
    }
}

/// Parses bytes that are one JSON value, and nothing else. The error message is as that of [`parse_json`].
pub fn parse_whole_json<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("is not what is expected: {}", in_row(&error)))
}

/// The message of a parser's error. A row that is one line has its number in front of the message already, which the
/// parser's own "line 1" would contradict.
fn in_row(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let position = format!(" at line 1 column {}", error.column());
    said.strip_suffix(&position)
        .map_or_else(|| said.clone(), |said| format!("{said}, column {}", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        format: DatasetFormat,
        columns: &Columns,
        text: &str,
    ) -> Result<(String, Option<u64>, f64), String> {
        let row = DatasetRow::parse(format, RowContent::Prompt, columns, text.as_bytes())?;
        let said = row.messages.iter().map(|message| format!("{:?}: {}", message.role, message.text));
        Ok((said.collect::<Vec<_>>().join("; "), row.output_tokens, row.weight))
    }

    #[track_caller]
    fn reads(format: DatasetFormat, columns: &Columns, text: &str, said: &str, rest: (Option<u64>, f64)) {
        assert_eq!(read(format, columns, text), Ok((said.to_owned(), rest.0, rest.1)));
    }

    #[test]
    fn lines_of_json_have_a_prompt_or_messages() {
        let (format, none) = (DatasetFormat::Jsonl, Columns::default());
        reads(format, &none, r#"{"prompt": "Hi", "id": 5}"#, "User: Hi", (None, 1.0));
        reads(format, &none, r#"{"prompt": "Hi", "system": " "}"#, "User: Hi", (None, 1.0));
        let all = r#"{"system": "Be brief.", "prompt": "Hi", "max_tokens": 7, "weight": 2.5}"#;
        reads(format, &none, all, "System: Be brief.; User: Hi", (Some(7), 2.5));
        let chat = r#"{"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}, {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}]}"#;
        reads(format, &none, chat, "System: S; User: a\nb; Assistant: c; User: d", (None, 1.0));
        let said = |text: &str| read(format, &none, text).unwrap_err();
        assert_eq!(said("{}"), "needs one of `prompt` and `messages`");
        assert_eq!(said(r#"{"prompt": "a", "messages": []}"#), "needs one of `prompt` and `messages`");
        assert_eq!(said(r#"{"prompt": " "}"#), "has an empty prompt");
        assert_eq!(said(r#"{"messages": []}"#), "has an empty prompt");
        assert_eq!(said(r#"{"prompt": " ", "system": "S"}"#), "has an empty prompt");
        let no_question = r#"{"messages": [{"role": "system", "content": "S"}]}"#;
        assert_eq!(said(no_question), "has no question of a user at its end");
        // As files for fine-tuning are: the answer is not asked for.
        let answered =
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        reads(format, &none, answered, "User: a", (None, 1.0));
        assert_eq!(
            said(r#"{"prompt": "a", "max_tokens": 0}"#),
            "has a `max_tokens` that is not a whole number from 1"
        );
        assert_eq!(
            said(r#"{"prompt": "a", "weight": 0}"#),
            "has a weight that is not a number over 0 and up to 1e15"
        );
        assert_eq!(
            said(r#"{"messages": [{"role": "tool", "content": "x"}]}"#),
            "has a message of a role other than system, user and assistant"
        );
        let content =
            |content: &str| said(&format!(r#"{{"messages": [{{"role": "user", "content": {content}}}]}}"#));
        assert_eq!(
            content(r#"[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]"#),
            "has a message with a part of type \"image_url\" that has no `text`: only parts with text are supported"
        );
        assert_eq!(
            content("[7]"),
            "has a message with a part that has no `text`: only parts with text are supported"
        );
        for other in ["null", "7", "{}"] {
            assert_eq!(
                content(other),
                "has a message whose `content` is neither a text nor a list of parts with a `text`"
            );
        }
        let second = "is not what is expected: trailing characters, column 16";
        for (text, why) in
            [(r#"{"prompt": "a"}{"prompt": "b"}"#, second), ("{\"prompt\": \"a\"}\r{}", "trailing")]
        {
            assert!(said(text).contains(why), "{text}");
        }
        assert_eq!(said("oops"), "is not what is expected: expected value, column 1");
        assert!(said("{").starts_with("is not what is expected: EOF"));
        assert!(said("[1]").starts_with("is not what is expected: "));
    }

    #[test]
    fn records_of_csv_have_the_columns_of_the_header() {
        let columns = Columns::of_header(b"id,prompt,max_tokens,weight,system\n").unwrap();
        let format = DatasetFormat::Csv;
        let all = "7,\"two\nlines\",9,3,S\n";
        reads(format, &columns, all, "System: S; User: two\nlines", (Some(9), 3.0));
        reads(format, &columns, "7,a,,,\n", "User: a", (None, 1.0));
        let said = |text: &str| read(format, &columns, text).unwrap_err();
        assert_eq!(said("7,a\n"), "has 2 fields, and the first line has 5");
        assert_eq!(said("7,a,x,,\n"), "has a `max_tokens` that is not a whole number from 1");
        assert_eq!(said("7,a,,x,\n"), "has a weight that is not a number over 0 and up to 1e15");
        assert_eq!(said("7,,,,\n"), "has an empty prompt");
        assert_eq!(said("7,,16,,S\n"), "has an empty prompt");
        assert_eq!(said("7,a,,,\r8,b,,,\n"), "has a line end other than LF and CR LF");
        let open = "has a field that begins with a quote, and no quote at its end";
        assert_eq!(said("7,a,,,\"S\n8,b,,,\n"), open);
        let spaced = Columns::of_header(b" Prompt , \"max_tokens\",WEIGHT , system\r\n").unwrap();
        reads(format, &spaced, "a, 9, 3, S\n", "System: S; User: a", (Some(9), 3.0));
        assert_eq!(Columns::of_header(b"a,b\n").unwrap_err(), "has no column `prompt` in its first line");
    }

    #[test]
    fn conversations_of_sharegpt_give_their_first_question() {
        let (format, none) = (DatasetFormat::Sharegpt, Columns::default());
        let recorded = r#"{"id": "x", "conversations": [{"from": "system", "value": "S"}, {"from": "gpt", "value": "?"}, {"from": "human", "value": "a"}, {"from": "human", "value": "b"}]}"#;
        reads(format, &none, recorded, "System: S; User: a", (None, 1.0));
        let other =
            r#"{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        reads(format, &none, other, "User: a", (None, 1.0));
        // A blank system prompt is none: that of the workload applies.
        let blank =
            r#"{"conversations": [{"from": "system", "value": " "}, {"from": "human", "value": "a"}]}"#;
        reads(format, &none, blank, "User: a", (None, 1.0));
        let said = |text: &str| read(format, &none, text).unwrap_err();
        assert_eq!(said(r#"{"conversations": [{"from": "gpt", "value": "x"}]}"#), "has no turn of a human");
        assert!(said(r#"{"items": []}"#).contains("missing field `conversations`"));
    }

    #[test]
    fn the_whole_of_a_conversation_is_read_where_it_is_asked_for() {
        let recorded = r#"{"conversations": [{"from": "gpt", "value": "?"}, {"from": "human", "value": "a"}, {"from": "tool", "value": "t"}, {"from": "bard", "value": "b"}]}"#;
        let content = RowContent::Conversation { max_turns: 3 };
        let read = |text: &str| {
            DatasetRow::parse(DatasetFormat::Sharegpt, content, &Columns::default(), text.as_bytes())
        };
        let row = read(recorded).unwrap();
        let said = row.messages.iter().map(|message| format!("{:?} {}", message.role, message.text));
        assert_eq!(said.collect::<Vec<_>>(), ["Assistant ?", "User a", "Assistant b"]);
        assert_eq!(read(r#"{"conversations": []}"#), Err("has an empty prompt".to_owned()));
    }

    #[test]
    fn plain_lines_are_prompts() {
        let (format, none) = (DatasetFormat::Lines, Columns::default());
        reads(format, &none, " Hi there \r\n", "User: Hi there", (None, 1.0));
        assert!(
            DatasetRow::parse(format, RowContent::Prompt, &none, b"\xff\n")
                .unwrap_err()
                .starts_with("is not UTF-8: ")
        );
    }
}
