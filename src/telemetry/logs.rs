//! Writes the log to stderr, as text or JSON, on a separate thread, so that a slow terminal delays no request. It must
//! not know what is logged.

use super::otlp::LogTap;
use std::io::Write;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Maximum number of lines waiting for the writer; further ones are dropped and counted.
const QUEUE: usize = 8192;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLineFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The reason why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not a valid filter.
    #[error("the log level {level:?} is not a level or filter: {source}")]
    Level {
        /// The given level.
        level: String,
        /// What is wrong with it.
        source: FilterError,
    },
    /// Logging has already been set up in this process.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// The reason why a text is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A directive is a word that is no level.
    #[error(
        "{0:?} is none of error, warn, info, debug, trace and off, and has no `=` as in tokenbeat::client=debug"
    )]
    Word(String),
    /// There is no directive.
    #[error("it is empty; there are error, warn, info, debug, trace and off")]
    Empty,
    /// A directive is not valid in another way.
    #[error(transparent)]
    Directive(#[from] ParseError),
}

/// Owns the writer thread. Dropping it writes the queued lines.
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    _writer: WorkerGuard,
    lost: ErrorCounter,
}

impl LogGuard {
    /// Number of lines dropped because the writer did not keep up.
    pub fn lost_lines(&self) -> usize {
        self.lost.dropped_lines()
    }
}

/// Sends the process's log to stderr, in a format and with or without colours. `level` is a level (`info`) or a filter in the syntax of
/// `tracing_subscriber::EnvFilter` (`info,tokenbeat::client=debug`); the environment is not read.
///
/// Everything that passes the level is also sent to `tap`.
pub fn init((format, color): (LogLineFormat, bool), level: &str, tap: &LogTap) -> Result<LogGuard, Error> {
    let (writer, guard) = writer(std::io::stderr(), QUEUE);
    subscriber(format, level, writer, color)?.with(tap.layer()).try_init()?;
    Ok(guard)
}

fn writer(to: impl Write + Send + 'static, queue: usize) -> (NonBlocking, LogGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(queue).thread_name("log");
    let (writer, worker) = builder.finish(to);
    let lost = writer.error_counter();
    (writer, LogGuard { _writer: worker, lost })
}

/// A level, or several directives with commas between them. `EnvFilter` takes a word that is no level for the name of a
/// module, all of whose lines are shown, and then shows no other: a mistyped level would silence the log.
fn filter(text: &str) -> Result<EnvFilter, FilterError> {
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    if directives.is_empty() {
        return Err(FilterError::Empty);
    }
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    if let Some(word) = directives.iter().find(|it| !it.contains('=') && !is_level(it)) {
        return Err(FilterError::Word((*word).to_owned()));
    }
    Ok(EnvFilter::try_new(directives.join(","))?)
}

fn subscriber(
    format: LogLineFormat,
    level: &str,
    writer: NonBlocking,
    ansi: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error> {
    let filter = filter(level).map_err(|source| Error::Level { level: level.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    Ok(match format {
        LogLineFormat::Text => Box::new(builder.with_ansi(ansi).with_writer(writer).finish()),
        LogLineFormat::Json => Box::new(builder.json().flatten_event(true).with_writer(writer).finish()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LogBuffer, LogCapture};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// The output written while `log` runs.
    fn written(format: LogLineFormat, level: &str, log: impl FnOnce()) -> String {
        let buffer = LogBuffer::default();
        let (writer, guard) = writer(buffer.clone(), QUEUE);
        let capture = LogCapture::start(subscriber(format, level, writer, false).unwrap());
        log();
        drop((capture, guard));
        buffer.text()
    }

    #[test]
    fn json_lines_hold_fields_at_the_top() {
        let line = written(LogLineFormat::Json, "info", || tracing::info!(profile = "chat", "run started"));
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(value["message"], "run started");
        assert_eq!(value["profile"], "chat");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn text_is_plain_where_there_is_no_terminal() {
        let line = written(LogLineFormat::Text, "info", || tracing::warn!(target = "llama", "slow"));
        assert!(line.contains("WARN") && line.contains("slow") && line.ends_with('\n'), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn filters_select_by_module() {
        let filter = "warn,tokenbeat::telemetry=debug";
        let lines = written(LogLineFormat::Text, filter, || {
            tracing::debug!("ours");
            tracing::info!(target: "elsewhere", "theirs");
        });
        assert!(lines.contains("ours") && !lines.contains("theirs"), "{lines}");
    }

    #[test]
    fn a_level_that_is_none_is_named() {
        let (writer, _guard) = writer(LogBuffer::default(), QUEUE);
        let error = subscriber(LogLineFormat::Text, "info,tokenbeat=loud", writer, false).err().unwrap();
        let text = error.to_string();
        assert!(
            text.starts_with("the log level \"info,tokenbeat=loud\" is not a level or filter: "),
            "{text}"
        );
    }

    #[test]
    fn a_word_that_is_no_level_does_not_silence_the_log() {
        for level in ["warning", "verbose", "tokenbeat", "info;debug", "info,loud", "info debug", "", " , "] {
            let said = filter(level).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains("error, warn, info, debug, trace and off"), "{level:?}: {said}");
        }
        assert!(filter("warning").unwrap_err().to_string().starts_with("\"warning\" is none of error, "));
        for level in ["warn ", "WARN", " info, tokenbeat::client=debug", "info,"] {
            let lines = written(LogLineFormat::Text, level, || tracing::warn!("slow"));
            assert!(lines.contains("slow"), "{level:?}: {lines}");
        }
        assert_eq!(written(LogLineFormat::Text, "off", || tracing::error!("down")), "");
    }

    struct Stuck {
        entered: Sender<()>,
        release: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.release.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn trap_20_a_stuck_writer_costs_lines_and_not_memory() {
        let (entered, has_entered) = channel();
        let (let_go, release) = channel();
        let (mut writer, guard) = writer(Stuck { entered, release }, 4);
        writer.write_all(b"first\n").unwrap();
        has_entered.recv().unwrap();
        // The writer blocks on the first line; four more wait, and the rest is dropped.
        for _ in 0..20 {
            writer.write_all(b"more\n").unwrap();
        }
        assert_eq!(guard.lost_lines(), 16);
        drop(let_go);
    }
}
