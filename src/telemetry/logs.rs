//! Writes the log to stderr, as text or JSON, on a separate thread, so that a slow terminal delays no request. It must
//! not know what is logged.

use super::otlp::LogTap;
use std::io::Write;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
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
        /// The parse error.
        source: ParseError,
    },
    /// Logging has already been set up in this process.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
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

fn subscriber(
    format: LogLineFormat,
    level: &str,
    writer: NonBlocking,
    ansi: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error> {
    let filter =
        EnvFilter::try_new(level).map_err(|source| Error::Level { level: level.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    Ok(match format {
        LogLineFormat::Text => Box::new(builder.with_ansi(ansi).with_writer(writer).finish()),
        LogLineFormat::Json => Box::new(builder.json().flatten_event(true).with_writer(writer).finish()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The output written while `log` runs.
    fn written(format: LogLineFormat, level: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let (writer, guard) = writer(buffer.clone(), QUEUE);
        tracing::subscriber::with_default(subscriber(format, level, writer, false).unwrap(), log);
        drop(guard);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
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
        let (writer, _guard) = writer(Buffer::default(), QUEUE);
        let error = subscriber(LogLineFormat::Text, "info,tokenbeat=loud", writer, false).err().unwrap();
        let text = error.to_string();
        assert!(
            text.starts_with("the log level \"info,tokenbeat=loud\" is not a level or filter: "),
            "{text}"
        );
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
