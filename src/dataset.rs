//! Prompts in a file of any size. The file is first read once from beginning to end, to validate each row and find
//! its offset; later each row is read when it is needed. A row takes eight bytes of memory (sixteen with weights). The
//! order in which rows are used is decided elsewhere.

mod conversation;
mod row;
mod split;

pub use conversation::{ConversationSize, ConversationSums, DatasetConversation, DatasetTurn};
pub use row::{DatasetRow, parse_json, parse_text, parse_whole_json};
pub use split::{FoundRow, LONGEST_ROW, RowSplitter};

use crate::exchange::Role;
use crate::files::{Files, ScannedFile};
use crate::vocabulary::{DatasetFormat, RowOrder};
use row::Columns;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use std::fmt::Write as _;
use std::path::Path;

/// Maximum number of rows of a dataset: their offsets fill the memory that all files of a config may take.
const MAX_ROWS: usize = 16 << 20;

/// A file of prompts, and the offset of each of them.
#[derive(Debug)]
pub struct Dataset {
    file: ScannedFile,
    format: DatasetFormat,
    content: RowContent,
    columns: Columns,
    /// Offset of each row.
    offsets: Vec<u64>,
    /// Cumulative share of the weights, up to and including each row; the last is 1. Empty if all weights are equal.
    up_to: Vec<f64>,
    size: DatasetSize,
    /// The same, with means by weight.
    weighted_size: DatasetSize,
    skipped: SkippedRows,
}

/// What a row is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowContent {
    /// A prompt for one request.
    Prompt,
    /// A conversation, of which at most this many turns are used.
    Conversation {
        /// The number of turns.
        max_turns: u32,
    },
}

/// The sizes of the prompts of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DatasetSize {
    /// The texts of the rows with a system prompt of their own, if there are any.
    pub with_system: Option<RowTexts>,
    /// The texts of the other rows.
    pub without_system: Option<RowTexts>,
    /// Mean size of the texts of a row, in bytes.
    pub mean_bytes: f64,
    /// The share of rows without a system prompt.
    pub share_without_system: f64,
    /// Largest number of output tokens that a row asks for.
    pub max_output_tokens: Option<u64>,
    /// Mean number of output tokens of the rows that specify it, and the share of such rows.
    pub output_tokens: (f64, f64),
    /// The sizes of its conversations, if its rows are conversations.
    pub conversations: ConversationSize,
}

/// The texts of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTexts {
    /// Size of the shortest, in bytes.
    pub min_bytes: u64,
    /// Size of the longest, in bytes.
    pub max_bytes: u64,
    /// Number of messages, at most.
    pub max_messages: u64,
}

impl RowTexts {
    /// The texts of a row, together with those of others.
    fn with(self, others: Option<Self>) -> Self {
        let Some(others) = others else { return self };
        Self {
            min_bytes: self.min_bytes.min(others.min_bytes),
            max_bytes: self.max_bytes.max(others.max_bytes),
            max_messages: self.max_messages.max(others.max_messages),
        }
    }
}

impl DatasetSize {
    /// The texts of all prompts, if rows without a system prompt get one of this size, and their mean size in bytes.
    pub fn texts(&self, system: Option<u64>) -> (RowTexts, f64) {
        let bytes = system.unwrap_or(0);
        let given = self.without_system.map(|row| RowTexts {
            min_bytes: row.min_bytes + bytes,
            max_bytes: row.max_bytes + bytes,
            max_messages: row.max_messages + u64::from(system.is_some()),
        });
        // There is at least one row.
        let none = RowTexts { min_bytes: 0, max_bytes: 0, max_messages: 0 };
        let all = given.map(|given| given.with(self.with_system)).or(self.with_system).unwrap_or(none);
        (all, self.mean_bytes + self.share_without_system * bytes as f64)
    }
}

/// Rows that are skipped because they are invalid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedRows {
    /// Number of such rows.
    pub count: u64,
    /// The error in the first one.
    pub first: Option<String>,
}

impl SkippedRows {
    /// Fails with the first error and the number of others, unless invalid rows may be skipped.
    pub fn check(&self, may_skip: bool) -> Result<(), String> {
        match &self.first {
            Some(first) if !may_skip && self.count > 1 => {
                Err(format!("{first} (and {} more)", self.count - 1))
            }
            Some(first) if !may_skip => Err(first.clone()),
            _ => Ok(()),
        }
    }

    /// A clause that explains why nothing is left, where malformed lines were left out; empty otherwise.
    pub(crate) fn explain(&self) -> String {
        match &self.first {
            Some(first) if self.count == 1 => format!("; 1 malformed line was left out: {first}"),
            Some(first) => format!("; {} malformed lines were left out, the first: {first}", self.count),
            None => String::new(),
        }
    }
}

/// The sizes of the rows that were read so far. Means are sums until the end.
#[derive(Default)]
struct SizeScan {
    size: DatasetSize,
    /// What all rows count together.
    weights: f64,
}

/// The state of reading a dataset for the first time.
struct DatasetScan {
    format: DatasetFormat,
    content: RowContent,
    columns: Option<Result<Columns, String>>,
    offsets: Vec<u64>,
    weights: Vec<f64>,
    size: SizeScan,
    weighted_size: SizeScan,
    skipped: SkippedRows,
    too_many: bool,
}

impl Dataset {
    /// Reads a dataset. An invalid row is an error or, with `skip_bad_lines`, is skipped and counted. The error message
    /// is a clause that follows the path. Blocks for as long as it takes to read the file.
    pub fn read(
        path: &Path,
        format: DatasetFormat,
        content: RowContent,
        skip_bad_lines: bool,
        files: &mut Files,
    ) -> Result<Self, String> {
        let mut splitter = RowSplitter::new(format);
        let mut scan = DatasetScan::new(format, content);
        let mut first = true;
        let file = files.scan(path, |piece| {
            // Spreadsheets write a byte order mark first. It means nothing, but would become part of a text.
            let piece = if std::mem::take(&mut first) { without_bom(piece, &mut splitter) } else { piece };
            splitter.push(piece, |row| scan.row(&row));
        });
        let file = file.map_err(|error| format!("cannot be read: {error}"))?;
        splitter.finish(|row| scan.row(&row));
        scan.finish(file, skip_bad_lines)
    }

    /// Number of rows, at least one.
    pub fn rows(&self) -> u64 {
        self.offsets.len() as u64
    }

    /// The sizes of its prompts, as often as rows are used in this order.
    pub const fn size(&self, order: RowOrder) -> &DatasetSize {
        match order {
            RowOrder::Sequential | RowOrder::Shuffled => &self.size,
            RowOrder::Weighted => &self.weighted_size,
        }
    }

    /// The rows that were skipped.
    pub const fn skipped(&self) -> &SkippedRows {
        &self.skipped
    }

    /// Size of its data in memory, in bytes.
    pub fn held(&self) -> u64 {
        8 * (self.offsets.len() + self.up_to.len()) as u64
    }

    /// The index of the row at which the cumulative share of the weights exceeds `share`, from 0.
    pub fn weighted(&self, share: f64) -> u64 {
        let last = self.rows().saturating_sub(1);
        match self.up_to.as_slice() {
            // Casts saturate, and shares are less than 1.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
            [] => ((share * self.rows() as f64) as u64).min(last),
            up_to => (up_to.partition_point(|up_to| *up_to <= share) as u64).min(last),
        }
    }

    /// Reads the conversation with this index, from 0; otherwise like [`Self::row`].
    pub fn conversation(&self, index: u64) -> Result<DatasetConversation, String> {
        let max_turns = match self.content {
            RowContent::Conversation { max_turns } => max_turns,
            RowContent::Prompt => 1,
        };
        DatasetConversation::of(self.row(index)?, max_turns)
            .map_err(|why| format!("{} {why}", self.file.path().display()))
    }

    /// Reads the row with this index, from 0. Fails if the file has changed in the meantime, or if reading it times
    /// out. Blocks.
    pub fn row(&self, index: u64) -> Result<DatasetRow, String> {
        let fail = |why: &str| format!("{} {why}", self.file.path().display());
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let start = *self.offsets.get(index).ok_or_else(|| fail("has no such row"))?;
        let end = self.offsets.get(index + 1).copied().unwrap_or(self.file.bytes());
        let count = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        // Skipped rows may follow it.
        let bytes = self.file.read_at(start, count.min(LONGEST_ROW));
        let bytes = bytes.map_err(|error| fail(&format!("cannot be read: {error}")))?;
        let mut read = None;
        let mut splitter = RowSplitter::new(self.format);
        let mut first = |row: FoundRow<'_>| {
            if let (None, Some(bytes)) = (&read, row.bytes) {
                read = Some(DatasetRow::parse(self.format, self.content, &self.columns, bytes));
            }
        };
        splitter.push(&bytes, &mut first);
        splitter.finish(&mut first);
        read.unwrap_or_else(|| Err("holds nothing".to_owned())).map_err(|why| fail(&why))
    }
}

/// Serializes what identifies the dataset: its content and how it is read.
impl Serialize for Dataset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digest = String::new();
        for byte in self.file.digest() {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        let conversations = match self.content {
            RowContent::Prompt => None,
            RowContent::Conversation { max_turns } => Some(max_turns),
        };
        let fields = 3 + usize::from(conversations.is_some());
        let mut shown = serializer.serialize_struct("Dataset", fields)?;
        shown.serialize_field("digest", &digest)?;
        shown.serialize_field("format", &self.format)?;
        // Number of skipped rows, which depends on `skip_bad_lines`.
        shown.serialize_field("skipped", &self.skipped.count)?;
        if let Some(max_turns) = conversations {
            shown.serialize_field("max_turns", &max_turns)?;
        }
        shown.end()
    }
}

impl DatasetScan {
    fn new(format: DatasetFormat, content: RowContent) -> Self {
        Self {
            format,
            content,
            columns: (format != DatasetFormat::Csv).then(|| Ok(Columns::default())),
            offsets: Vec::new(),
            weights: Vec::new(),
            size: SizeScan::default(),
            weighted_size: SizeScan::default(),
            skipped: SkippedRows::default(),
            too_many: false,
        }
    }

    fn row(&mut self, found: &FoundRow<'_>) {
        let columns = match (&self.columns, found.bytes) {
            (None, bytes) => {
                self.columns = Some(Columns::of_header(bytes.unwrap_or_default()));
                return;
            }
            (Some(Err(_)), _) => return,
            (Some(Ok(columns)), _) => columns,
        };
        let read = match found.bytes {
            Some(bytes) => DatasetRow::parse(self.format, self.content, columns, bytes),
            None => Err(format!("is longer than {} MiB", LONGEST_ROW >> 20)),
        };
        let read = read.and_then(|row| match self.content {
            RowContent::Prompt => Ok((row, None)),
            RowContent::Conversation { max_turns } => {
                let conversation = DatasetConversation::of(row.clone(), max_turns)?;
                Ok((row, Some(conversation)))
            }
        });
        match read {
            Ok((row, conversation)) if self.offsets.len() < MAX_ROWS => {
                self.add(found.offset, &row);
                self.size.add(&row, conversation.as_ref(), 1.0);
                self.weighted_size.add(&row, conversation.as_ref(), row.weight);
            }
            Ok(_) => self.too_many = true,
            Err(why) => {
                self.skipped.count += 1;
                let place = if self.format == DatasetFormat::Sharegpt { "item" } else { "line" };
                self.skipped.first.get_or_insert_with(|| format!("{place} {} {why}", found.number));
            }
        }
    }

    #[expect(clippy::float_cmp, reason = "the default weight is exact")]
    fn add(&mut self, offset: u64, row: &DatasetRow) {
        // No weights are stored as long as all of them are 1.
        if !self.weights.is_empty() || row.weight != 1.0 {
            self.weights.resize(self.offsets.len(), 1.0);
            self.weights.push(row.weight);
        }
        self.offsets.push(offset);
    }

    fn finish(mut self, file: ScannedFile, skip_bad_lines: bool) -> Result<Dataset, String> {
        let columns = self.columns.unwrap_or_else(|| Err("holds nothing".to_owned()))?;
        self.skipped.check(skip_bad_lines)?;
        if self.too_many {
            return Err(format!("has more than {MAX_ROWS} rows"));
        }
        if self.offsets.is_empty() {
            return Err(format!("holds no prompt{}", self.skipped.explain()));
        }
        let total: f64 = self.weights.iter().sum();
        let mut before = 0.0;
        for weight in &mut self.weights {
            before += *weight;
            *weight = before / total;
        }
        self.offsets.shrink_to_fit();
        self.weights.shrink_to_fit();
        Ok(Dataset {
            file,
            format: self.format,
            content: self.content,
            columns,
            offsets: self.offsets,
            up_to: self.weights,
            size: self.size.finish(),
            weighted_size: self.weighted_size.finish(),
            skipped: self.skipped,
        })
    }
}

impl SizeScan {
    /// Adds a row that counts this much.
    fn add(&mut self, row: &DatasetRow, conversation: Option<&DatasetConversation>, weight: f64) {
        let (bytes, size) = (row.bytes(), &mut self.size);
        let max_messages = row.messages.len() as u64;
        let texts = RowTexts { min_bytes: bytes, max_bytes: bytes, max_messages };
        if row.messages.iter().any(|message| message.role == Role::System) {
            size.with_system = Some(texts.with(size.with_system));
        } else {
            size.without_system = Some(texts.with(size.without_system));
            size.share_without_system += weight;
        }
        size.mean_bytes += weight * bytes as f64;
        size.max_output_tokens = size.max_output_tokens.max(row.output_tokens);
        if let Some(tokens) = row.output_tokens {
            let (sum, weights) = size.output_tokens;
            size.output_tokens = (sum + weight * tokens as f64, weights + weight);
        }
        if let Some(conversation) = conversation {
            size.conversations.add(conversation, weight);
        }
        self.weights += weight;
    }

    fn finish(self) -> DatasetSize {
        let Self { mut size, weights } = self;
        let (sum, with_tokens) = size.output_tokens;
        let mean = if with_tokens > 0.0 { sum / with_tokens } else { 0.0 };
        size.output_tokens = (mean, with_tokens / weights);
        size.mean_bytes /= weights;
        size.share_without_system /= weights;
        size.conversations.finish(weights);
        size
    }
}

/// Strips the byte order mark from the first piece of a file, and tells the splitter to skip its bytes.
fn without_bom<'a>(piece: &'a [u8], splitter: &mut RowSplitter) -> &'a [u8] {
    match piece.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            splitter.skip(3);
            rest
        }
        None => piece,
    }
}

#[cfg(test)]
mod tests;
