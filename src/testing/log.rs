//! The log of a test.

use std::io;
use std::sync::{Arc, Mutex};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Text that was logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl LogBuffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogBuffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// While it exists, a subscriber receives what this thread logs.
pub(crate) struct LogCapture {
    _default: DefaultGuard,
    _other: Dispatch,
}

impl LogCapture {
    pub(crate) fn start(subscriber: impl Subscriber + Send + Sync) -> Self {
        // While there is but one subscriber, tracing asks only the thread that first comes to a line whether the line
        // is of interest, which may be that of another test, and then keeps what it said. With two it asks both.
        let other = Dispatch::new(tracing_subscriber::registry());
        Self { _default: tracing::subscriber::set_default(subscriber), _other: other }
    }
}
