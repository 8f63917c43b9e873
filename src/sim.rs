//! The simulator: an HTTP server that behaves like an inference server under continuous batching.
//!
//! Everything that tokenbeat measures can be tried against it without a GPU or an API key: it has a queue, a prefill
//! phase, a batch and a KV cache, exports the same metrics as vLLM, records the ground truth of each request, and fails
//! on demand. It knows nothing of the rest of tokenbeat.
//!
//! # Layout
//!
//! `text` and `kv` are the basis of `engine`, the pure core, which `driver` runs in real time; with `pacer`, `steady` stands
//! in for it where each stream is to have a schedule of its own. `generation` turns what
//! a request asks for into an answer; a dialect (`dialect`, and one file for each: `openai_chat`, `anthropic` and so
//! on) reads and writes one API, and `app` is an application in front of the model. `faults`, `rules` and `effects`
//! define what goes wrong; `exchange`, `answer`, `stream` and `wire` apply it to answers, `conn` and `body` to
//! connections, whose sockets `tcp` reads.

mod alarm;
mod answer;
mod anthropic;
mod app;
mod azure;
mod bedrock;
mod blocks;
mod body;
mod conn;
mod dialect;
mod driver;
mod effects;
mod engine;
mod exchange;
mod faults;
mod gemini;
mod generation;
mod kv;
mod likely;
mod limits;
mod metrics;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;
mod options;
mod output_form;
mod pacer;
mod rerank;
mod routes;
mod rules;
mod server;
mod shared;
mod steady;
mod stored;
mod stream;
mod tcp;
mod text;
mod tgi;
mod timing;
mod truth;
mod units;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::receive_time;

pub use faults::{CloseWhen, Fault, ReasoningField, SpecError};
pub use options::Options;
pub use routes::help;
pub use rules::{FaultRule, TooManyRules};
pub use timing::TimingReport;
pub use truth::{Chunk, Truth};

use alarm::Alarm;
use driver::Driver;
use metrics::Metrics;
use shared::SimShared;

/// Why the simulator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option is invalid, or options contradict each other.
    #[error("the simulator cannot run like this: {0}")]
    Options(&'static str),
    /// A metric could not be registered.
    #[error("failed to register the simulator's metrics")]
    Metrics(#[from] prometheus::Error),
    /// There are too many fault rules.
    #[error(transparent)]
    Faults(#[from] TooManyRules),
    /// The listening address could not be bound.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address that was configured.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A simulator that is bound to its port and not serving yet.
#[derive(Debug)]
pub struct Sim {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<SimShared>,
}

/// Controls a simulator in the same process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<SimShared>,
}

impl Sim {
    /// Binds the port and prepares everything; connections are answered once [`Self::serve`] is called.
    pub fn bind(options: Options) -> Result<Self, Error> {
        if let Some(mistake) = options.mistake() {
            return Err(Error::Options(mistake));
        }
        // Some time before the first connection: the kernel does not begin at once.
        receive_time::keep_noting();
        let metrics = Arc::new(Metrics::new(&options, &routes::answering())?);
        let address = options.listen_address;
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| Error::Listen { address, source })?;
        let driver = Driver::new(options.engine(), Arc::clone(&metrics));
        let shared = SimShared::new(options, driver, metrics);
        shared.rules.add(shared.options.faults.clone())?;
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// The address it listens on, with the actual port where port 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle to inject faults and read the ground truth from the same process.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `stop` is cancelled, then closes all connections at once and returns.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let Self { listener, address, shared } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| Error::Listen { address, source })?;
        // Also when this future is dropped: no task outlives it.
        let _stop = shared.stop.clone().drop_guard();
        let engine = Arc::clone(&shared);
        shared.spawn(async move { engine.driver.run(Alarm::precise(), engine.stop.clone()).await });
        let paced = Arc::clone(&shared);
        shared.spawn(async move { paced.pacer.run(paced.stop.clone()).await });
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
    /// Activates a fault rule.
    pub fn inject(&self, rule: FaultRule) -> Result<(), TooManyRules> {
        self.shared.rules.add(vec![rule])
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.shared.rules.clear();
    }

    /// The ground truth of the most recent requests, newest last; a running request has what is known so far.
    pub fn truth(&self) -> Vec<Truth> {
        self.shared.truth.all()
    }

    /// How late chunks were written, since the ground truth was last cleared.
    pub fn timing(&self) -> TimingReport {
        self.shared.timing.report()
    }

    /// Clears the ground truth and the timing recorded so far.
    pub fn clear_truth(&self) {
        self.shared.truth.clear();
        self.shared.timing.clear();
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }
}
