//! The simulator: an HTTP server that behaves like an inference server under continuous batching.
//!
//! Everything that tokenbeat measures can be tried on it without a GPU or a key: it has a queue, a prefill, a batch
//! and a KV cache, exports the metrics that vLLM does, keeps the ground truth of each request, and goes wrong on
//! demand. It knows nothing of the rest of tokenbeat.
//!
//! # Layout
//!
//! `text` and `kv` carry `engine`, the pure core, which `driver` runs in real time. `generation` turns what a request
//! asks into an answer; a dialect (`dialect`, `openai_chat`) reads and writes one API, and `app` is an application in
//! front of the model. `faults`, `rules` and `effects` say what goes wrong; `exchange`, `answer`, `stream` and `wire`
//! do it to answers, `conn` and `body` to connections.

mod answer;
mod app;
mod body;
mod conn;
mod dialect;
mod driver;
mod effects;
mod engine;
mod exchange;
mod faults;
mod generation;
mod kv;
mod limits;
mod metrics;
mod openai_chat;
mod options;
mod routes;
mod rules;
mod server;
mod shared;
mod stream;
mod text;
mod truth;
mod units;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use faults::{CloseWhen, Fault, ReasoningField, SpecError};
pub use options::Options;
pub use rules::{FaultRule, TooManyRules};
pub use truth::{Chunk, Truth};

use driver::Driver;
use metrics::Metrics;
use shared::Shared;

/// Why the simulator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option makes no sense.
    #[error("the simulator cannot run like this: {0}")]
    Options(&'static str),
    /// A metric could not be registered.
    #[error("failed to register the simulator's metrics")]
    Metrics(#[from] prometheus::Error),
    /// There are too many fault rules.
    #[error(transparent)]
    Faults(#[from] TooManyRules),
    /// The address could not be taken.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A simulator that has its port and waits to be served.
#[derive(Debug)]
pub struct Sim {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Speaks to a simulator in the same process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Sim {
    /// Takes the port and prepares everything; connections are answered once it is served.
    pub fn bind(options: Options) -> Result<Self, Error> {
        if let Some(mistake) = options.mistake() {
            return Err(Error::Options(mistake));
        }
        let metrics = Arc::new(Metrics::new(&options, &routes::answering())?);
        let address = options.listen_address;
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| Error::Listen { address, source })?;
        let driver = Driver::new(options.engine(), Arc::clone(&metrics));
        let shared = Shared::new(options, driver, metrics);
        shared.rules.add(shared.options.faults.clone())?;
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// The address it listens on, with the port that was picked.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Injects faults and reads the truth from the same process.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Answers until `stop` is cancelled; then closes all connections at once and returns.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { listener, address, shared } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| Error::Listen { address, source })?;
        // Also when this future is dropped: no task outlives it.
        let _stop = shared.stop.clone().drop_guard();
        let engine = Arc::clone(&shared);
        shared.spawn(async move { engine.driver.run(engine.stop.clone()).await });
        let serving = server::serve(listener, Arc::clone(&shared));
        let stopping = async {
            stop.cancelled().await;
            shared.stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            () = serving => Ok(()),
            never = stopping => never,
        }
    }
}

impl Handle {
    /// Puts a fault rule in force.
    pub fn inject(&self, rule: FaultRule) -> Result<(), TooManyRules> {
        self.shared.rules.add(vec![rule])
    }

    /// Lifts all fault rules.
    pub fn clear_faults(&self) {
        self.shared.rules.clear();
    }

    /// The truth of the last requests, the newest last; one that still runs is there as far as it came.
    pub fn truth(&self) -> Vec<Truth> {
        self.shared.truth.all()
    }

    /// Forgets the truth so far.
    pub fn clear_truth(&self) {
        self.shared.truth.clear();
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }
}
