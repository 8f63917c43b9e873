//! Asks a source once. Each kind of source says what it found, or why it found nothing out.

use super::dns::NameServers;
use super::file_sd::{self, ListForm};
use super::http;
use super::kubernetes::KubernetesApi;
use crate::event::LookFailure;
use crate::files::Files;
use crate::plan::{Discovery, DiscoverySource, Replica};
use crate::unmeasured;
use futures_util::future::try_join_all;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Maximum size of a list of addresses in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// How long a file must stay the same to be believed: a list that is being written may look like a shorter one.
const SETTLES: Duration = Duration::from_millis(200);

/// How often a file may change while it is read before its reading is given up.
const MAX_READINGS: usize = 10;

/// Why a source gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// An answer is not in its format.
    #[error("{place}: {said}")]
    Invalid {
        /// The file or address that it came from.
        place: String,
        /// What is wrong.
        said: String,
    },
    /// The DNS does not tell.
    #[error("cannot look up {name}: {said}")]
    Dns {
        /// The name that was looked up.
        name: String,
        /// What the last name server said.
        said: String,
        /// Whether it answered.
        failure: LookFailure,
    },
    /// An HTTP server does not tell.
    #[error("{place}: {said}")]
    Http {
        /// Its URL, without its query.
        place: String,
        /// What is wrong.
        said: String,
        /// Whether it answered.
        failure: LookFailure,
    },
    /// It did not answer within the time that the caller waits.
    #[error("there was no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

impl LookError {
    /// Its kind, a label value.
    pub const fn failure(&self) -> LookFailure {
        match self {
            Self::Unreadable { .. } => LookFailure::Unreadable,
            Self::Invalid { .. } => LookFailure::Invalid,
            Self::TimedOut(_) => LookFailure::Unreachable,
            Self::Dns { failure, .. } | Self::Http { failure, .. } => *failure,
        }
    }
}

/// Asks a source, and waits for its answer no longer than this, if there is a limit.
pub(super) async fn look_within(
    patience: Option<Duration>,
    discovery: &Discovery,
) -> Result<Vec<Replica>, LookError> {
    match patience {
        Some(patience) => {
            timeout(patience, look(discovery)).await.unwrap_or(Err(LookError::TimedOut(patience)))
        }
        None => look(discovery).await,
    }
}

/// Asks a source.
pub(super) async fn look(discovery: &Discovery) -> Result<Vec<Replica>, LookError> {
    match &discovery.source {
        DiscoverySource::Files(paths) => {
            let found = try_join_all(paths.iter().map(|path| of_file(path, discovery.port))).await?;
            Ok(found.into_iter().flatten().collect())
        }
        DiscoverySource::Http(url) => {
            let client = blocking(|| unmeasured::client(None)).await.map_err(|said| LookError::Http {
                place: http::shown(url),
                said,
                failure: LookFailure::Unreachable,
            })?;
            let text = http::get(&client, url, None).await?;
            let invalid = |said| LookError::Invalid { place: http::shown(url), said };
            file_sd::read(&text, ListForm::Json, discovery.port).map_err(invalid)
        }
        DiscoverySource::Dns { name, record, port } => {
            let servers = blocking(NameServers::of_system).await.map_err(|said| LookError::Dns {
                name: name.clone(),
                said,
                failure: LookFailure::Unreadable,
            })?;
            servers.resolve(name, *record, port.unwrap_or(discovery.port)).await
        }
        DiscoverySource::Kubernetes(service) => {
            KubernetesApi::in_cluster()?.endpoints(service, discovery.port).await
        }
    }
}

/// Does work that blocks. The error is a clause.
pub(super) async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn of_file(path: &Path, port: u16) -> Result<Vec<Replica>, LookError> {
    let unreadable = |source| LookError::Unreadable { path: path.to_owned(), source };
    let mut text = contents(path).await.map_err(unreadable)?;
    for reading in 1.. {
        sleep(SETTLES).await;
        let again = contents(path).await.map_err(unreadable)?;
        if again == text {
            break;
        }
        if reading == MAX_READINGS {
            return Err(unreadable(std::io::Error::other("it changes all the time")));
        }
        text = again;
    }
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let form = if is_json { ListForm::Json } else { ListForm::Yaml };
    let invalid = |said| LookError::Invalid { place: path.display().to_string(), said };
    file_sd::read(&text, form, port).map_err(invalid)
}

async fn contents(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || Files::default().read_text_at_most(&path, MAX_BYTES));
    read.await.map_err(std::io::Error::other)?
}
