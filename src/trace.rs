//! Recorded requests in a file of any size: when they were sent, and how long they and their answers were. The file is
//! read once from beginning to end, to validate each line and find its offset; later each line is read when it is
//! needed. A request takes 16 bytes of memory. When requests are due in a replay is decided elsewhere.

mod line;
mod summary;

pub use line::{TraceLine, TracedRequest};
pub use summary::{TokenPercentiles, TraceStatistics, TraceSummary};

use crate::dataset::{FoundRow, LONGEST_ROW, RowSplitter, SkippedRows};
use crate::files::{Files, ScannedFile};
use crate::vocabulary::{DatasetFormat, TraceFormat};
use line::TraceColumns;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Maximum number of requests of a trace: their index fills the memory that all files of a config may take.
const MAX_REQUESTS: usize = 8 << 20;
/// Number of bytes that are read first to find a line; most lines are shorter.
const FIRST_READ: usize = 8 << 10;
/// A millisecond, in microseconds.
const MILLI: i64 = 1000;
/// The gap after requests that were all sent at once, and so have no mean gap, in microseconds.
const SHORTEST: u64 = 1_000_000;

/// The part of a trace that is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TracePart {
    /// The beginning of its time, since the first line.
    pub from: Duration,
    /// The end of its time; `None` is the end of the trace.
    pub to: Option<Duration>,
    /// Only requests to these models; empty means all. Ignored if the format does not name models.
    pub models: Vec<String>,
}

/// A file of recorded requests, and the time and offset of each of those that are used.
#[derive(Debug)]
pub struct RequestTrace {
    file: ScannedFile,
    format: TraceFormat,
    columns: TraceColumns,
    part: TracePart,
    /// In the order of their times.
    index: Vec<IndexedRequest>,
    length: u64,
    size: TraceSize,
    failed: u64,
    skipped: SkippedRows,
    doubts: TraceDoubts,
}

/// What makes it doubtful that a trace is used as it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceDoubts {
    /// Whether times in milliseconds have fractions, as only times in seconds need.
    pub has_fractions: bool,
    /// The models to choose that nobody asked, by their index in [`TracePart::models`].
    pub unasked: Vec<usize>,
    /// When the trace is over, since its first line, if its window ends later than that.
    pub over: Option<Duration>,
    /// How many lines are earlier than the first one, and so in no window, if there is one.
    pub before: u64,
}

#[derive(Clone, Copy, Debug)]
struct IndexedRequest {
    /// In microseconds since the beginning of the part that is used.
    at: i64,
    /// The offset of its line in the file.
    offset: u64,
}

/// The sizes of the requests of a trace, in tokens; those of prompts that are recorded texts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TraceSize {
    /// The shortest prompt.
    pub min_input: u64,
    /// The mean of all prompts.
    pub mean_input: f64,
    /// The longest prompt.
    pub max_input: u64,
    /// The mean of all answers.
    pub mean_output: f64,
    /// The longest answer.
    pub max_output: u64,
    /// The largest number of messages of a prompt.
    pub max_messages: u64,
}

impl RequestTrace {
    /// Reads a trace, and calls `each` with every line that is used, in the order of the file. Without a format, the
    /// first line tells it. A malformed line is an error or, with `skip_bad_lines`, is left out and counted. Lines
    /// without tokens record requests that failed; they are left out, too. The error message is a clause that follows
    /// the path. Blocks for as long as it takes to read the file.
    pub fn read(
        path: &Path,
        format: Option<TraceFormat>,
        part: &TracePart,
        skip_bad_lines: bool,
        files: &mut Files,
        mut each: impl FnMut(&TraceLine<'_>),
    ) -> Result<Self, String> {
        let mut reader = TraceReader::NotBegun;
        let file = files.scan(path, |piece| {
            reader.begin(format, part, piece);
            reader.push(piece, &mut each);
        });
        let file = file.map_err(|error| format!("cannot be read: {error}"))?;
        match reader {
            TraceReader::NotBegun => Err("holds nothing".to_owned()),
            TraceReader::Unknown(why) => Err(why),
            TraceReader::Scans { mut splitter, mut scan, .. } => {
                splitter.finish(|row| scan.row(&row, &mut each));
                scan.finish(file, skip_bad_lines)
            }
        }
    }

    /// Its format.
    pub const fn format(&self) -> TraceFormat {
        self.format
    }

    /// Number of requests, at least one.
    pub fn requests(&self) -> u64 {
        self.index.len() as u64
    }

    /// When a request was sent, in microseconds since the beginning of the part that is used. `index` counts from 0 in
    /// the order of the times.
    pub fn at(&self, index: u64) -> Option<u64> {
        let request = self.index.get(usize::try_from(index).ok()?)?;
        Some(request.at.unsigned_abs())
    }

    /// Number of requests that were sent before this time, in microseconds.
    pub fn before(&self, at: u64) -> u64 {
        self.index.partition_point(|request| request.at.unsigned_abs() < at) as u64
    }

    /// The time that it takes, in microseconds: that of its window, or up to its last request and a mean gap after it.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Whether all requests were sent at the same time, and no window says how long the trace is.
    pub fn has_no_length(&self) -> bool {
        let at = |request: Option<&IndexedRequest>| request.map(|request| request.at);
        self.part.to.is_none() && at(self.index.first()) == at(self.index.last())
    }

    /// The sizes of its requests.
    pub const fn size(&self) -> &TraceSize {
        &self.size
    }

    /// Number of lines that are left out because they record requests that failed.
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// The lines that are left out because they are malformed.
    pub const fn skipped(&self) -> &SkippedRows {
        &self.skipped
    }

    /// What is doubtful about it.
    pub const fn doubts(&self) -> &TraceDoubts {
        &self.doubts
    }

    /// Size of its index in memory, in bytes.
    pub fn held(&self) -> u64 {
        (size_of::<IndexedRequest>() * self.index.len()) as u64
    }

    /// Reads the request with this index, from 0. Fails if the file has changed in the meantime, or if reading it times
    /// out. Blocks.
    pub fn request(&self, index: u64) -> Result<TracedRequest, String> {
        let fail = |why: &str| format!("{} {why}", self.file.path().display());
        let request = usize::try_from(index).ok().and_then(|index| self.index.get(index));
        let offset = request.ok_or_else(|| fail("has no such line"))?.offset;
        let rest = usize::try_from(self.file.bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = rest.min(LONGEST_ROW + 1);
        let mut count = FIRST_READ.min(most);
        loop {
            let bytes = self.file.read_at(offset, count);
            let bytes = bytes.map_err(|error| fail(&format!("cannot be read: {error}")))?;
            if let Some(read) = self.first(&bytes, count >= most) {
                return read.map_err(|why| fail(&why));
            }
            if count >= most {
                return Err(fail("holds nothing there"));
            }
            count = count.saturating_mul(8).min(most);
        }
    }

    /// The first request in some bytes; `None` if its line does not end there.
    fn first(&self, bytes: &[u8], is_rest: bool) -> Option<Result<TracedRequest, String>> {
        let mut read = None;
        let mut splitter = splitter(self.format);
        let mut first = |row: FoundRow<'_>| {
            if let (None, Some(bytes)) = (&read, row.bytes) {
                read = Some(TraceLine::parse(self.format, &self.columns, bytes).map(|line| line.request));
            }
        };
        splitter.push(bytes, &mut first);
        if is_rest {
            splitter.finish(&mut first);
        }
        read
    }
}

/// Serializes what identifies the trace: its content, and how it is read.
impl Serialize for RequestTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digest = String::new();
        for byte in self.file.digest() {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        let mut shown = serializer.serialize_struct("RequestTrace", 4)?;
        shown.serialize_field("digest", &digest)?;
        shown.serialize_field("format", &self.format)?;
        shown.serialize_field("part", &self.part)?;
        // Number of malformed lines, which depends on `skip_bad_lines`.
        shown.serialize_field("skipped", &self.skipped.count)?;
        shown.end()
    }
}

/// The way from the first byte of a file to its last.
enum TraceReader<'a> {
    NotBegun,
    /// Why the format is not known.
    Unknown(String),
    Scans {
        splitter: Box<RowSplitter>,
        scan: Box<TraceScan<'a>>,
        /// Number of bytes of the byte order mark, which spreadsheets write first.
        mark: usize,
    },
}

impl<'a> TraceReader<'a> {
    /// Looks at the first piece of the file.
    fn begin(&mut self, format: Option<TraceFormat>, part: &'a TracePart, piece: &[u8]) {
        if !matches!(self, Self::NotBegun) {
            return;
        }
        let rest = piece.strip_prefix(b"\xef\xbb\xbf").unwrap_or(piece);
        let mark = piece.len() - rest.len();
        *self = match format.map_or_else(|| line::detect(rest), Ok) {
            Err(why) => Self::Unknown(why),
            Ok(format) => {
                let mut splitter = Box::new(splitter(format));
                splitter.skip(mark as u64);
                Self::Scans { splitter, scan: Box::new(TraceScan::new(format, part)), mark }
            }
        };
    }

    fn push(&mut self, piece: &[u8], each: &mut impl FnMut(&TraceLine<'_>)) {
        if let Self::Scans { splitter, scan, mark } = self {
            let piece = piece.get(std::mem::take(mark)..).unwrap_or_default();
            splitter.push(piece, |row| scan.row(&row, each));
        }
    }
}

/// Splits a file into requests. No line of a CSV trace contains a line break.
fn splitter(format: TraceFormat) -> RowSplitter {
    RowSplitter::new(match format {
        TraceFormat::Sharegpt => DatasetFormat::Sharegpt,
        _ => DatasetFormat::Lines,
    })
}

/// The state of reading a trace for the first time.
struct TraceScan<'a> {
    format: TraceFormat,
    columns: Option<Result<TraceColumns, String>>,
    part: &'a TracePart,
    /// The time of the first line, and the latest time.
    origin: Option<i64>,
    latest: i64,
    doubts: TraceDoubts,
    index: Vec<IndexedRequest>,
    input: u64,
    output: u64,
    size: TraceSize,
    failed: u64,
    skipped: SkippedRows,
    too_many: bool,
}

impl<'a> TraceScan<'a> {
    fn new(format: TraceFormat, part: &'a TracePart) -> Self {
        let has_header = matches!(format, TraceFormat::Azure | TraceFormat::Burstgpt);
        Self {
            format,
            columns: (!has_header).then(|| Ok(TraceColumns::default())),
            part,
            origin: None,
            latest: i64::MIN,
            doubts: TraceDoubts { unasked: (0..part.models.len()).collect(), ..TraceDoubts::default() },
            index: Vec::new(),
            input: 0,
            output: 0,
            size: TraceSize { min_input: u64::MAX, ..TraceSize::default() },
            failed: 0,
            skipped: SkippedRows::default(),
            too_many: false,
        }
    }

    fn row(&mut self, found: &FoundRow<'_>, each: &mut impl FnMut(&TraceLine<'_>)) {
        let columns = match (&self.columns, found.bytes) {
            (None, bytes) => {
                self.columns = Some(TraceColumns::of_header(self.format, bytes.unwrap_or_default()));
                return;
            }
            (Some(Err(_)), _) => return,
            (Some(Ok(columns)), _) => columns,
        };
        let read = match found.bytes {
            Some(bytes) => TraceLine::parse(self.format, columns, bytes),
            None => Err(format!("is longer than {} MiB", LONGEST_ROW >> 20)),
        };
        match read {
            Ok(line) => self.line(&line, found.offset, each),
            Err(why) => {
                self.skipped.count += 1;
                let place = if self.format == TraceFormat::Sharegpt { "item" } else { "line" };
                self.skipped.first.get_or_insert_with(|| format!("{place} {} {why}", found.number));
            }
        }
    }

    fn line(&mut self, line: &TraceLine<'_>, offset: u64, each: &mut impl FnMut(&TraceLine<'_>)) {
        let origin = *self.origin.get_or_insert(line.at);
        self.latest = self.latest.max(line.at);
        self.doubts.has_fractions |= self.format == TraceFormat::Mooncake && line.at % MILLI != 0;
        let since = i128::from(line.at) - i128::from(origin);
        let micros = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX);
        let part = self.part;
        self.doubts.before += u64::from(has_window(part) && since < 0);
        let in_window =
            !has_window(part) || since >= micros(part.from) && part.to.is_none_or(|to| since < micros(to));
        if in_window {
            self.doubts
                .unasked
                .retain(|index| part.models.get(*index).is_none_or(|model| model != line.model));
        }
        let filters = self.format.has_models() && !part.models.is_empty();
        if !in_window || filters && !part.models.iter().any(|model| model == line.model) {
            return;
        }
        if line.has_failed() {
            self.failed += 1;
            return;
        }
        if self.index.len() >= MAX_REQUESTS {
            self.too_many = true;
            return;
        }
        self.index.push(IndexedRequest { at: line.at, offset });
        let request = &line.request;
        self.input = self.input.saturating_add(request.input_tokens);
        self.output = self.output.saturating_add(request.output_tokens);
        let size = &mut self.size;
        size.min_input = size.min_input.min(request.input_tokens);
        size.max_input = size.max_input.max(request.input_tokens);
        size.max_output = size.max_output.max(request.output_tokens);
        size.max_messages = size.max_messages.max(request.messages.len().max(1) as u64);
        each(line);
    }

    fn finish(mut self, file: ScannedFile, skip_bad_lines: bool) -> Result<RequestTrace, String> {
        let columns = self.columns.unwrap_or_else(|| Err("holds nothing".to_owned()))?;
        self.skipped.check(skip_bad_lines)?;
        if self.too_many {
            return Err(format!("has more than {MAX_REQUESTS} requests: choose a part with `window`"));
        }
        let Some(first) = self.index.iter().map(|request| request.at).min() else {
            let part =
                if *self.part == TracePart::default() { "" } else { " in this window of these models" };
            let failed = match self.failed {
                0 => String::new(),
                1 => "; 1 request failed when it was recorded".to_owned(),
                count => format!("; {count} requests failed when they were recorded"),
            };
            return Err(format!("holds no request{part}{failed}{}", self.skipped.explain()));
        };
        // Lines are nearly always in order.
        self.index.sort_by_key(|request| request.at);
        let from = i64::try_from(self.part.from.as_micros()).unwrap_or(i64::MAX);
        let begin = match self.origin {
            Some(origin) if has_window(self.part) => origin.saturating_add(from),
            _ => first,
        };
        self.index.iter_mut().for_each(|request| request.at = request.at.saturating_sub(begin));
        self.index.shrink_to_fit();
        let count = self.index.len() as u64;
        self.size.mean_input = self.input as f64 / count as f64;
        self.size.mean_output = self.output as f64 / count as f64;
        let last = self.index.last().map_or(0, |request| request.at.unsigned_abs());
        let window = self.part.to.map(|to| to.saturating_sub(self.part.from).as_micros());
        // Without the idle time that a window begins with: it comes before the first request, and between no two.
        let span = last.saturating_sub(self.index.first().map_or(0, |request| request.at.unsigned_abs()));
        let gap = if span == 0 { SHORTEST } else { span.div_ceil(count.saturating_sub(1).max(1)) };
        let since = |at: i64| u64::try_from(at.saturating_sub(self.origin.unwrap_or(at))).unwrap_or(0);
        let over = Duration::from_micros(since(self.latest).saturating_add(gap));
        self.doubts.over = self.part.to.filter(|to| *to > over).map(|_| over);
        let length = match window {
            Some(window) => u64::try_from(window).unwrap_or(u64::MAX),
            None => last.saturating_add(gap),
        };
        Ok(RequestTrace {
            file,
            format: self.format,
            columns,
            part: self.part.clone(),
            index: self.index,
            length,
            size: self.size,
            failed: self.failed,
            skipped: self.skipped,
            doubts: self.doubts,
        })
    }
}

fn has_window(part: &TracePart) -> bool {
    !part.from.is_zero() || part.to.is_some()
}

#[cfg(test)]
mod tests;
