//! The client of one target: the state that its requests share.

use super::answer::{Counted, Generated};
use super::connection::{Connection, Tasks};
use super::dial::Dialer;
use super::dialect::{self, Dialect};
use super::exchange::Exchange;
use super::pool::ConnectionPool;
use super::request::Composer;
use super::tokenizer::LoadedTokenizer;
use super::{Answer, BodyMemory, Caller, Context};
use crate::cpu_pool::CpuPool;
use crate::credentials::{self, Credentials};
use crate::exchange::{Ask, Call};
use crate::plan::Target;
use crate::receive_time;
use crate::tls;
use crate::words::WordList;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Sends requests to one target over HTTP. Concurrent requests are independent of each other; idle connections are
/// shared, with limits on their number and age. Dropping the client closes every connection.
pub struct Client {
    pub(super) target: Arc<Target>,
    /// `None` for an application, which has no model API.
    pub(super) dialect: Option<Arc<dyn Dialect>>,
    pub(super) composer: Composer,
    /// The source of credentials, if the target's have to be fetched.
    pub(super) credentials: Option<Credentials>,
    pub(super) dialer: Dialer,
    pub(super) pool: Arc<ConnectionPool>,
    pub(super) counter: Option<LoadedTokenizer>,
    words: OnceLock<Arc<WordList>>,
    /// Decodes long documents and counts tokens.
    pub(super) cpu_pool: CpuPool,
    tasks: Tasks,
    pub(super) memory: BodyMemory,
    /// Whether the warning about implausible token counts was logged.
    usage_told: AtomicBool,
    /// Whether the warning about an unknown finish reason was logged.
    finish_told: AtomicBool,
}

/// Why a client cannot be built from the target's configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL has a scheme other than http and https.
    #[error("the base URL's scheme is {0}, not http or https")]
    Scheme(String),
    /// A URL without a host or a port.
    #[error("a URL of the target has no host")]
    NoHost,
    /// The scheme of the proxy's URL is not http.
    #[error("the proxy's scheme is {0}, not http")]
    ProxyScheme(String),
    /// The host is neither a DNS name nor an IP address.
    #[error("{0} is no name that a certificate can have")]
    ServerName(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The source of credentials cannot be set up.
    #[error(transparent)]
    Credentials(#[from] credentials::SetupError),
    /// A tokenizer file cannot be read.
    #[error("cannot read the tokenizer {path}: {source}")]
    Tokenizer {
        /// The path of the file.
        path: PathBuf,
        /// The error of the tokenizer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Client {
    /// Loads the target's TLS and tokenizer files, without opening a connection. Loading a tokenizer may take a second,
    /// so a running daemon calls this on a blocking thread.
    pub fn new(target: Arc<Target>, cpu_pool: CpuPool, memory: BodyMemory) -> Result<Self, BuildError> {
        receive_time::keep_noting();
        let tasks = Tasks::default();
        let pool = Arc::new(ConnectionPool::new());
        let dialer = Dialer::new(Arc::clone(&target), tasks.clone(), Arc::downgrade(&pool))?;
        let composer = Composer::new(Arc::clone(&target), dialer.absolute_form())?;
        let credentials = Credentials::of(&target.auth, &target.name)?;
        let counter = target.tokenizer.as_ref().map(LoadedTokenizer::load).transpose()?;
        Ok(Self {
            dialect: dialect::of(target.api),
            target,
            composer,
            credentials,
            dialer,
            pool,
            counter,
            words: OnceLock::new(),
            cpu_pool,
            tasks,
            memory,
            usage_told: AtomicBool::new(false),
            finish_told: AtomicBool::new(false),
        })
    }

    /// Closes the idle connections, and each other one after its request, and waits until the last one is closed.
    /// Requests in flight are not disturbed.
    pub async fn close(&self) {
        self.pool.close();
        self.tasks.ended().await;
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, link: Connection) {
        if self.pool.put(link) {
            self.tasks.spawn(ConnectionPool::sweep_idle(Arc::downgrade(&self.pool)));
        }
    }

    /// Warns, once, that the target reports token counts that cannot be true.
    pub(super) fn tell_of_usage(&self) {
        if !self.usage_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target_name = &*self.target.name,
                "the target reports more tokens than its answer can hold; such counts are ignored"
            );
        }
    }

    /// Warns, once, that the target sends an unknown finish reason.
    pub(super) fn tell_of_finish(&self, reason: &str) {
        if !self.finish_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target_name = &*self.target.name,
                reason,
                "the target sends a finish reason that is not known; it is taken for a normal end"
            );
        }
    }

    /// Counts the tokens of the output and of the prompt texts, if the target has a tokenizer.
    pub(super) async fn count(&self, prompt: Option<Vec<String>>, output: &Generated) -> Counted {
        let Some(counter) = &self.counter else { return Counted::default() };
        let output = [&output.text, &output.reasoning, &output.tool_calls].map(String::clone);
        Counted {
            output: counter.count(&self.cpu_pool, output.to_vec()).await.filter(|n| *n > 0),
            input: match prompt {
                Some(texts) => counter.count(&self.cpu_pool, texts).await,
                None => None,
            },
        }
    }
}

impl Caller for Client {
    fn prepare(&self, ask: &Ask) -> Call {
        match &self.dialect {
            Some(dialect) => dialect.encode(&self.target, ask),
            None => Call {
                method: Method::GET,
                path: "/".into(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                stream: false,
                output_tokens: None,
                most_output_tokens: Some(0),
                most_input_tokens: 0,
            },
        }
    }

    fn words(&self) -> Arc<WordList> {
        let make = || {
            let Some(counter) = &self.counter else { return WordList::estimated() };
            counter.words().unwrap_or_else(|| {
                tracing::warn!(
                    target_name = &*self.target.name,
                    "no words are single tokens of the tokenizer: the lengths of synthetic prompts are estimates"
                );
                WordList::estimated()
            })
        };
        Arc::clone(self.words.get_or_init(make))
    }

    fn call(&self, call: Call, context: Context) -> BoxFuture<'_, Answer> {
        let mut exchange = Exchange::new(self, call, context);
        Box::pin(async move { exchange.play().await })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}
