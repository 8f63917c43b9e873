//! Parses one line of a trace. Pure.

use crate::dataset::{parse_json, parse_text, parse_whole_json};
use crate::exchange::{Message, Role};
use crate::vocabulary::TraceFormat;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use std::fmt;

/// Maximum number of tokens of a prompt or of an answer. More is a mistake in the file.
const MAX_TOKENS: u64 = 1_000_000;
/// Maximum distance of an instant from the zero of its clock, in microseconds: 3,000 years.
const MAX_TIME: f64 = 1e17;
/// Typical number of bytes per token of English text, to estimate the length of recorded answers.
const BYTES_PER_TOKEN: u64 = 4;

/// A line of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceLine<'a> {
    /// When the request was sent, in microseconds by the clock of the trace; 0 if the trace has no times.
    pub at: i64,
    /// The model that was asked; empty if the trace does not say.
    pub model: &'a str,
    /// The request.
    pub request: TracedRequest,
}

/// What was asked, and how much was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracedRequest {
    /// Number of tokens of the request, chat template included; of a text, its size in bytes.
    pub input_tokens: u64,
    /// Number of tokens of the answer. Of a text, an estimate by its size.
    pub output_tokens: u64,
    /// The hashes of its blocks. Requests with the same leading blocks have the same beginning.
    pub blocks: Vec<u64>,
    /// Number of tokens of each block, the last of which may be shorter.
    pub block_tokens: u64,
    /// The texts, if they were recorded.
    pub messages: Vec<Message>,
}

/// The columns of a CSV file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TraceColumns {
    at: usize,
    model: Option<usize>,
    input: usize,
    output: usize,
    count: usize,
}

/// A line of Mooncake's and Bailian's traces. Other keys are ignored.
#[derive(Deserialize)]
struct BlockTraceLine {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<BlockHash>,
}

/// The hash of a block: any whole number.
struct BlockHash(u64);

/// A recorded conversation. A turn has `from` and `value`, or `role` and `content`.
#[derive(Deserialize)]
struct TracedConversation {
    conversations: Vec<TracedTurn>,
}

#[derive(Deserialize)]
struct TracedTurn {
    #[serde(alias = "role")]
    from: String,
    #[serde(alias = "content")]
    value: String,
}

impl TraceLine<'_> {
    /// Parses a line. The error message is a clause that follows the number of the line.
    pub(super) fn parse<'a>(
        format: TraceFormat,
        columns: &TraceColumns,
        bytes: &'a [u8],
    ) -> Result<TraceLine<'a>, String> {
        let line = match format {
            TraceFormat::Mooncake => of_blocks(format, bytes, 1e3)?,
            TraceFormat::Bailian => of_blocks(format, bytes, 1e6)?,
            TraceFormat::Azure | TraceFormat::Burstgpt => columns.line(format, bytes)?,
            TraceFormat::Sharegpt => of_conversation(bytes)?,
        };
        let most = line.request.input_tokens.max(line.request.output_tokens);
        if most > MAX_TOKENS && line.request.messages.is_empty() {
            return Err(format!("has {most} tokens, and at most {MAX_TOKENS} are allowed"));
        }
        Ok(line)
    }

    /// Whether nothing was asked or answered: how traces record requests that failed.
    pub fn has_failed(&self) -> bool {
        self.request.input_tokens == 0 || self.request.output_tokens == 0
    }
}

/// `unit` is the number of microseconds in a unit of its timestamps.
fn of_blocks(format: TraceFormat, bytes: &[u8], unit: f64) -> Result<TraceLine<'_>, String> {
    let line: BlockTraceLine = parse_whole_json(bytes)?;
    let request = TracedRequest {
        input_tokens: line.input_length,
        output_tokens: line.output_length,
        blocks: line.hash_ids.into_iter().map(|hash| hash.0).collect(),
        block_tokens: format.block_tokens().unwrap_or(0),
        messages: Vec::new(),
    };
    Ok(TraceLine { at: micros(line.timestamp * unit)?, model: "", request })
}

/// The first question, with the system prompt before it and the length of the answer after it. A blank
/// system prompt is none.
fn of_conversation(bytes: &[u8]) -> Result<TraceLine<'_>, String> {
    let conversation: TracedConversation = parse_json(bytes)?;
    let mut messages: Vec<Message> = Vec::new();
    let mut answer = None;
    for turn in conversation.conversations {
        let asked = messages.last().is_some_and(|message| message.role == Role::User);
        let text = turn.value.trim();
        let role = match turn.from.as_str() {
            "system" if messages.is_empty() && !text.is_empty() => Role::System,
            "human" | "user" if !asked && text.is_empty() => return Err("has an empty prompt".to_owned()),
            "human" | "user" if !asked => Role::User,
            "gpt" | "assistant" | "chatgpt" | "bard" | "bing" | "model" if asked => {
                answer = Some(text.len() as u64);
                break;
            }
            _ => continue,
        };
        messages.push(Message { role, text: text.into() });
    }
    if messages.last().is_none_or(|message| message.role != Role::User) {
        return Err("has no turn of a human".to_owned());
    }
    let answer = answer.ok_or("has no answer to its first turn")?;
    let request = TracedRequest {
        input_tokens: messages.iter().map(|message| message.text.len() as u64).sum(),
        output_tokens: answer.div_ceil(BYTES_PER_TOKEN).min(MAX_TOKENS),
        messages,
        ..TracedRequest::default()
    };
    Ok(TraceLine { at: 0, model: "", request })
}

impl TraceColumns {
    /// Reads the first line of a CSV file.
    pub(super) fn of_header(format: TraceFormat, bytes: &[u8]) -> Result<Self, String> {
        let [at, input, output] = names(format);
        let text = parse_text(bytes)?;
        let find = |name: &str| fields(text).position(|field| field.eq_ignore_ascii_case(name));
        let needed =
            |name: &str| find(name).ok_or_else(|| format!("has no column `{name}` in its first line"));
        let count = fields(text).count();
        let model = if format.has_models() { Some(needed("Model")?) } else { None };
        Ok(Self { at: needed(at)?, model, input: needed(input)?, output: needed(output)?, count })
    }

    fn line<'a>(&self, format: TraceFormat, bytes: &'a [u8]) -> Result<TraceLine<'a>, String> {
        let text = parse_text(bytes)?;
        let [mut at, mut model, mut input, mut output] = [""; 4];
        let mut count = 0;
        for (index, field) in fields(text).enumerate() {
            count = index + 1;
            for (column, into) in [(self.at, &mut at), (self.input, &mut input), (self.output, &mut output)] {
                if index == column {
                    *into = field;
                }
            }
            if self.model == Some(index) {
                model = field;
            }
        }
        if count != self.count {
            return Err(format!("has {count} fields, and the first line has {}", self.count));
        }
        let [at_name, input_name, output_name] = names(format);
        let at = if format == TraceFormat::Azure { date_time(at) } else { seconds(at) };
        let at = at.ok_or_else(|| format!("has a `{at_name}` that is not a time"))?;
        let tokens = |text: &str, name| {
            whole(text).ok_or_else(|| format!("has a number of `{name}` that is not a whole number"))
        };
        let (input_tokens, output_tokens) = (tokens(input, input_name)?, tokens(output, output_name)?);
        let request = TracedRequest { input_tokens, output_tokens, ..TracedRequest::default() };
        Ok(TraceLine { at, model, request })
    }
}

/// The names of the columns: time, tokens of the request, tokens of the answer.
const fn names(format: TraceFormat) -> [&'static str; 3] {
    match format {
        TraceFormat::Azure => ["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
        _ => ["Timestamp", "Request tokens", "Response tokens"],
    }
}

/// The format of a file that begins with these bytes, or why it is not known.
pub(super) fn detect(bytes: &[u8]) -> Result<TraceFormat, String> {
    let line = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let has = |name: &str| fields(&line).any(|field| field.eq_ignore_ascii_case(name));
    match line.trim_start().chars().next() {
        Some('[') => Ok(TraceFormat::Sharegpt),
        Some('{') if line.contains("\"chat_id\"") => Ok(TraceFormat::Bailian),
        Some('{') if line.contains("\"input_length\"") => Ok(TraceFormat::Mooncake),
        Some(_) if has("ContextTokens") => Ok(TraceFormat::Azure),
        Some(_) if has("Request tokens") => Ok(TraceFormat::Burstgpt),
        Some(_) => {
            let names: Vec<_> = TraceFormat::ALL.map(|format| format!("`{}`", format.name())).into();
            Err(format!("begins like none of the formats {}: set `format`", names.join(", ")))
        }
        None => Err("holds nothing".to_owned()),
    }
}

/// The fields of a CSV line. A field with commas is in quotes; no field spans lines.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let ends = move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    line.trim_end().split(ends).map(|field| field.trim().trim_matches('"').trim())
}

/// A whole number, which may be written as a decimal, as spreadsheets do.
fn whole(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked, and far below 2^52"
        )]
        let whole = (number >= 0.0 && number.fract() == 0.0 && number < 1e15).then_some(number as u64);
        whole
    })
}

fn seconds(text: &str) -> Option<i64> {
    micros(text.parse::<f64>().ok()? * 1e6).ok()
}

fn micros(number: f64) -> Result<i64, String> {
    #[expect(clippy::cast_possible_truncation, reason = "checked")]
    let micros = (number.is_finite() && number.abs() <= MAX_TIME).then_some(number.round() as i64);
    micros.ok_or_else(|| "has a `timestamp` that is not a time".to_owned())
}

/// A date and time, in UTC where there is no time zone: `2023-11-16 18:15:46.6805900`, or with `T`, `Z` or `+00:00`.
fn date_time(text: &str) -> Option<i64> {
    let plain = || TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    Some(text.parse::<Timestamp>().ok().or_else(plain)?.as_microsecond())
}

impl<'de> Deserialize<'de> for BlockHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumber;
        impl Visitor<'_> for WholeNumber {
            type Value = BlockHash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<BlockHash, E> {
                Ok(BlockHash(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<BlockHash, E> {
                Ok(BlockHash(number.cast_unsigned()))
            }
        }
        deserializer.deserialize_any(WholeNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time, model, input, output, blocks.
    type Parts<'a> = (i64, &'a str, u64, u64, Vec<u64>);

    fn columns(format: TraceFormat, header: &str) -> TraceColumns {
        TraceColumns::of_header(format, header.as_bytes()).unwrap()
    }

    fn parts<'a>(format: TraceFormat, columns: &TraceColumns, text: &'a str) -> Result<Parts<'a>, String> {
        let line = TraceLine::parse(format, columns, text.as_bytes())?;
        let TracedRequest { input_tokens, output_tokens, blocks, .. } = line.request;
        Ok((line.at, line.model, input_tokens, output_tokens, blocks))
    }

    const NONE: TraceColumns = TraceColumns { at: 0, model: None, input: 0, output: 0, count: 0 };
    const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

    #[test]
    fn mooncake_counts_in_milliseconds_and_bailian_in_seconds() {
        let text = r#"{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}"#;
        let read = parts(TraceFormat::Mooncake, &NONE, text).unwrap();
        assert_eq!(read, (27_482_000, "", 6955, 52, vec![46, 47]));
        let text = r#"{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521, "output_length": 132, "type": "text", "turn": 1, "hash_ids": [-7, 18446744073709551615]}"#;
        let read = parts(TraceFormat::Bailian, &NONE, text).unwrap();
        assert_eq!(read, (61_114_000, "", 521, 132, vec![(-7_i64).cast_unsigned(), u64::MAX]));
        let line = TraceLine::parse(TraceFormat::Bailian, &NONE, text.as_bytes()).unwrap();
        assert_eq!(line.request.block_tokens, 16);
        let plain = r#"{"timestamp": 1, "input_length": 2, "output_length": 3}"#;
        assert_eq!(parts(TraceFormat::Mooncake, &NONE, plain).unwrap(), (1000, "", 2, 3, vec![]));
    }

    #[test]
    fn azure_has_dates_with_and_without_a_zone() {
        let columns = columns(TraceFormat::Azure, AZURE);
        let at = |time: &str| parts(TraceFormat::Azure, &columns, &format!("{time},374,44\r")).map(|it| it.0);
        let noon: Timestamp = "2023-11-16T12:00:00Z".parse().unwrap();
        let noon = noon.as_microsecond();
        assert_eq!(at("2023-11-16 12:00:00.6805900"), Ok(noon + 680_590));
        for same in ["2023-11-16 12:00:00", "2023-11-16T12:00:00Z", "2023-11-16 13:00:00.000000+01:00"] {
            assert_eq!(at(same), Ok(noon), "{same}");
        }
        assert_eq!(at("noon").unwrap_err(), "has a `TIMESTAMP` that is not a time");
        let read = parts(TraceFormat::Azure, &columns, "2023-11-16 12:00:00,374,44").unwrap();
        assert_eq!((read.2, read.3), (374, 44));
    }

    #[test]
    fn burstgpt_has_seconds_models_and_perhaps_more_columns() {
        let format = TraceFormat::Burstgpt;
        let first = columns(format, "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r");
        let read = parts(format, &first, "45,GPT-4,472,18,490,Conversation log").unwrap();
        assert_eq!(read, (45_000_000, "GPT-4", 472, 18, vec![]));
        let third =
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type";
        let third = columns(format, third);
        let read = parts(format, &third, r#"0.5,7,1.2,"ChatGPT, new",472.0,0,472,API log"#).unwrap();
        assert_eq!(read, (500_000, "ChatGPT, new", 472, 0, vec![]));
        let said = |text: &str| parts(format, &first, text).unwrap_err();
        assert_eq!(said("45,GPT-4,472"), "has 3 fields, and the first line has 6");
        assert_eq!(said("x,a,1,2,3,b"), "has a `Timestamp` that is not a time");
        assert_eq!(said("nan,a,1,2,3,b"), "has a `Timestamp` that is not a time");
        assert_eq!(said("1,a,1.5,2,3,b"), "has a number of `Request tokens` that is not a whole number");
        assert_eq!(said("1,a,1,-2,3,b"), "has a number of `Response tokens` that is not a whole number");
        assert_eq!(said("1,a,1000001,2,3,b"), "has 1000001 tokens, and at most 1000000 are allowed");
        let error = TraceColumns::of_header(format, b"Timestamp,Request tokens").unwrap_err();
        assert_eq!(error, "has no column `Model` in its first line");
    }

    #[test]
    fn sharegpt_has_the_first_question_and_the_length_of_its_answer() {
        let read = |text: &str| {
            TraceLine::parse(TraceFormat::Sharegpt, &NONE, text.as_bytes()).map(|line| line.request)
        };
        let text = r#"{"id": "x", "conversations": [{"from": "gpt", "value": "Hello"}, {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "123456789"}, {"from": "human", "value": "no"}]}"#;
        let request = read(text).unwrap();
        let said: Vec<_> = request.messages.iter().map(|it| (it.role, &*it.text)).collect();
        assert_eq!(said, [(Role::System, "Be brief."), (Role::User, "Why?")]);
        assert_eq!((request.input_tokens, request.output_tokens), (13, 3));
        let of_roles =
            r#"{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        assert_eq!(read(of_roles).unwrap().output_tokens, 1);
        let no_answer = r#"{"conversations": [{"from": "human", "value": "a"}]}"#;
        assert_eq!(read(no_answer).unwrap_err(), "has no answer to its first turn");
        assert_eq!(read(r#"{"conversations": []}"#).unwrap_err(), "has no turn of a human");
        // What is blank is no system prompt, no question and no answer.
        let asked = |question: &str, answer: &str| {
            let system = r#"{"from": "system", "value": " "}, {"from": "system", "value": "S"}"#;
            read(&format!(
                r#"{{"conversations": [{system}, {{"from": "human", "value": "{question}"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
            ))
        };
        assert_eq!(asked("a", "b").unwrap().messages[0].text, "S".into());
        assert_eq!(asked("a", " ").unwrap().output_tokens, 0);
        assert_eq!(asked("\\n ", "b").unwrap_err(), "has an empty prompt");
    }

    #[test]
    fn malformed_lines_say_what_is_wrong() {
        let said = |text: &str| parts(TraceFormat::Mooncake, &NONE, text).unwrap_err();
        assert!(said("{").starts_with("is not what is expected: EOF"), "{}", said("{"));
        let missing = said(r#"{"timestamp": 1, "input_length": 2}"#);
        assert!(missing.starts_with("is not what is expected: missing field `output_length`"), "{missing}");
        let text = r#"{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": ["a"]}"#;
        assert!(said(text).contains("expected a whole number"), "{}", said(text));
        assert!(parts(TraceFormat::Azure, &columns(TraceFormat::Azure, AZURE), "\u{1},").is_err());
        let far = r#"{"timestamp": 1e300, "input_length": 2, "output_length": 3}"#;
        assert_eq!(said(far), "has a `timestamp` that is not a time");
    }

    #[test]
    fn a_format_is_known_by_its_first_line() {
        let of = |text: &str| detect(text.as_bytes());
        assert_eq!(of("\n {\"timestamp\": 0, \"input_length\": 1}\n{\"chat_id\""), Ok(TraceFormat::Mooncake));
        assert_eq!(of("{\"chat_id\": 1, \"input_length\": 1}"), Ok(TraceFormat::Bailian));
        assert_eq!(of(AZURE), Ok(TraceFormat::Azure));
        assert_eq!(
            of("Timestamp,Session ID,Model,\"Request tokens\",Response tokens\n"),
            Ok(TraceFormat::Burstgpt)
        );
        assert_eq!(of("[\n{"), Ok(TraceFormat::Sharegpt));
        assert!(of("prompt\n").unwrap_err().starts_with("begins like none of the formats"));
        assert!(of("{}").is_err());
        assert_eq!(of(" \n\n").unwrap_err(), "holds nothing");
    }
}
