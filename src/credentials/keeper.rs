//! Keeps credentials up to date: one task renews them before they expire, and everyone else reads the result.

use super::{Error, Issued, SetupError};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Maximum duration of one attempt to fetch.
const FETCH_WITHIN: Duration = Duration::from_secs(15);

/// Credentials are renewed this long before they expire, or a fifth of their lifetime if that is shorter.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// The pause after a failed attempt. It doubles with each further failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Credentials that were refused after more than this time had been good. Those that are refused sooner are replaced
/// less and less often, because they are probably not the cause.
const GOOD_AFTER: Duration = Duration::from_mins(2);

/// Fetches credentials.
pub(super) trait Fetch: Send + Sync + 'static {
    /// Fetches them once, however long that takes. Errors contain no secret.
    fn fetch(&self) -> BoxFuture<'_, Result<Issued, Error>>;
}

/// Credentials, and the task that renews them.
pub(super) struct CredentialRenewer {
    shared: Arc<RenewerShared>,
    _task: AbortOnDropHandle<()>,
}

struct RenewerShared {
    state: watch::Sender<RenewalState>,
    target: Arc<str>,
}

/// The current state.
#[derive(Clone, Default)]
struct RenewalState {
    /// The latest credentials.
    issued: Option<Arc<Issued>>,
    /// Why the last attempt failed, until one succeeds.
    failed: Option<Error>,
    /// Whether a target refused the latest ones.
    is_refused: bool,
    /// Whether they are no longer used because of that.
    is_given_up: bool,
    /// Whether an attempt is in progress.
    is_fetching: bool,
}

impl RenewalState {
    fn usable(&self) -> Option<&Arc<Issued>> {
        self.issued.as_ref().filter(|issued| !self.is_given_up && !issued.has_ended(Instant::now()))
    }

    /// The current result; `None` while it is unknown.
    fn known(&self) -> Option<Result<Arc<Issued>, Error>> {
        match (self.usable(), &self.failed) {
            (Some(issued), _) => Some(Ok(Arc::clone(issued))),
            (None, Some(failed)) if !self.is_fetching => Some(Err(failed.clone())),
            (None, _) => None,
        }
    }
}

impl CredentialRenewer {
    /// Starts fetching, on the caller's runtime.
    pub(super) fn start(fetch: Box<dyn Fetch>, target: Arc<str>) -> Result<Self, SetupError> {
        let runtime = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        let state = watch::Sender::new(RenewalState { is_fetching: true, ..RenewalState::default() });
        let shared = Arc::new(RenewerShared { state, target });
        let task = runtime.spawn(renew(Arc::clone(&shared), fetch));
        Ok(Self { shared, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn present(&self) -> Option<Result<Arc<Issued>, Error>> {
        self.shared.state.borrow().known()
    }

    pub(super) async fn get(&self) -> Result<Arc<Issued>, Error> {
        let mut state = self.shared.state.subscribe();
        loop {
            if let Some(known) = state.borrow_and_update().known() {
                return known;
            }
            if state.changed().await.is_err() {
                return Err(Error::new("the credentials are not renewed any more"));
            }
        }
    }

    pub(super) fn refused(&self, refused: &Arc<Issued>) {
        self.shared.state.send_if_modified(|state| {
            let is_latest = state.issued.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, refused));
            let is_news = is_latest && !state.is_refused;
            state.is_refused |= is_latest;
            is_news
        });
    }
}

/// Fetches again and again until it is aborted.
async fn renew(shared: Arc<RenewerShared>, fetch: Box<dyn Fetch>) {
    let mut failures = 0;
    let mut refusals = 0;
    loop {
        shared.state.send_modify(|state| state.is_fetching = true);
        let fetched = timeout(FETCH_WITHIN, fetch.fetch()).await;
        let late = || Error::new(format!("no credentials came within {FETCH_WITHIN:?}"));
        match fetched.unwrap_or_else(|_| Err(late())) {
            Ok(issued) => {
                if failures > 0 {
                    tracing::info!(target_name = &*shared.target, "there are credentials again");
                }
                failures = 0;
                let issued = Arc::new(issued);
                shared.state.send_replace(RenewalState {
                    issued: Some(Arc::clone(&issued)),
                    ..RenewalState::default()
                });
                if used_up(&shared, &issued, refusals).await {
                    refusals = 0;
                } else {
                    refusals = if issued.from.elapsed() >= GOOD_AFTER { 1 } else { refusals + 1 };
                }
            }
            Err(error) => {
                if failures == 0 {
                    let target_name = &*shared.target;
                    tracing::warn!(target_name, %error, "cannot get credentials; it is tried again until there are some");
                }
                failures += 1;
                shared.state.send_modify(|state| {
                    state.is_fetching = false;
                    state.failed = Some(error);
                });
                sleep(pause(failures)).await;
            }
        }
    }
}

/// Waits until these credentials have to be replaced: shortly before they expire (true), or because they were refused
/// (false). The first refusal takes effect at once; repeated ones are delayed, because otherwise a target that refuses
/// everything would cause one token request after another.
async fn used_up(shared: &RenewerShared, issued: &Issued, refusals: u32) -> bool {
    let ends = async {
        match issued.lifetime {
            Some(lifetime) => sleep(lifetime.saturating_sub((lifetime / 5).min(MAX_AHEAD))).await,
            None => std::future::pending().await,
        }
    };
    let is_refused = async {
        if refusals > 0 {
            sleep(pause(refusals)).await;
        }
        // The sender lives in `shared`, so this cannot fail.
        let _ = shared.state.subscribe().wait_for(|state| state.is_refused).await;
    };
    tokio::select! {
        biased;
        () = is_refused => {
            shared.state.send_modify(|state| (state.is_given_up, state.is_fetching) = (true, true));
            false
        }
        () = ends => true,
    }
}

/// The pause after this number of consecutive failures.
fn pause(failures: u32) -> Duration {
    MIN_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MAX_PAUSE)
}
