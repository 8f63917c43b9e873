//! Resolves names. The system's resolver may block a thread for any length of time, so at most one look-up per name
//! runs at a time. Requests that arrive meanwhile wait for the same look-up, even if those that started it have given
//! up. A target whose DNS never answers thus occupies one thread only, and no other target waits. Nor can many such
//! targets occupy all threads: the number of look-ups of all targets is limited, and a part of it is reserved for names
//! that were resolved before.

use super::classify::{self, CallError};
use crate::event::Failure;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The result of a look-up.
type LookupResult = Result<Arc<[IpAddr]>, CallError>;
/// Looks a name up.
type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Maximum number of concurrent look-ups of all targets: half of the blocking threads of a tokio runtime.
const MAX_LOOK_UPS: usize = 256;
/// Maximum number of them for names that have not been resolved quickly before.
const MAX_UNPROVEN: usize = 192;
/// A look-up that takes longer is slow: resolvers retry after this time.
const SLOW: Duration = Duration::from_secs(5);

/// The limit of look-ups, shared by all targets.
static SLOTS: LazyLock<LookupLimit> = LazyLock::new(|| LookupLimit::new(MAX_LOOK_UPS, MAX_UNPROVEN));

/// Limits the number of concurrent look-ups.
#[derive(Clone)]
struct LookupLimit {
    all: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
    most: usize,
}

/// Held by a look-up until it ends.
struct LookupSlot {
    _all: OwnedSemaphorePermit,
    _unproven: Option<OwnedSemaphorePermit>,
}

impl LookupLimit {
    fn new(most: usize, most_unproven: usize) -> Self {
        let [all, unproven] = [most, most_unproven].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { all, unproven, most }
    }

    /// Takes a slot for a look-up, or fails at once: a wait would be attributed to the target.
    fn take(&self, name: &str, is_proven: bool) -> Result<LookupSlot, CallError> {
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned();
        let unproven = if is_proven { None } else { Some(permit(&self.unproven)) };
        match (unproven.transpose(), permit(&self.all)) {
            (Ok(unproven), Ok(all)) => Ok(LookupSlot { _all: all, _unproven: unproven }),
            _ => Err(CallError::new(
                Failure::Internal,
                format!(
                    "{name} is not looked up: of the {} look-ups that this agent has under way at most, too many have no \
                     answer; does the DNS of this machine work?",
                    self.most
                ),
            )),
        }
    }
}

/// Resolves the names of one target: its own, or its proxy's.
#[derive(Clone)]
pub(super) struct Resolver {
    look_up: Arc<LookUp>,
    slots: LookupLimit,
    names: Arc<Mutex<LookupNames>>,
}

/// The state of the names of one target.
#[derive(Default)]
struct LookupNames {
    under_way: HashMap<String, Shared<oneshot::Receiver<LookupResult>>>,
    /// Names whose last look-up was not slow.
    proven: HashSet<String>,
}

impl Resolver {
    /// Uses the system's resolver.
    pub(super) fn new() -> Self {
        Self::by(|name| {
            async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|it| it.ip()).collect()) }.boxed()
        })
    }

    fn by(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self { look_up: Arc::new(look_up), slots: SLOTS.clone(), names: Arc::default() }
    }

    /// The addresses of a name, in the resolver's order. Dropping the future does not cancel the look-up.
    pub(super) async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
        let waiting = self.join(name)?;
        let found = waiting.await.unwrap_or_else(|_| {
            Err(CallError::new(Failure::Internal, format!("the look-up of {name} ended unexpectedly")))
        })?;
        if found.is_empty() {
            return Err(CallError::new(Failure::Dns, format!("cannot resolve {name}: it has no address")));
        }
        Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    /// Joins the look-up of this name that is in progress, or starts one.
    fn join(&self, name: &str) -> Result<Shared<oneshot::Receiver<LookupResult>>, CallError> {
        let mut names = self.lock();
        if let Some(waiting) = names.under_way.get(name) {
            return Ok(waiting.clone());
        }
        let slot = self.slots.take(name, names.proven.contains(name))?;
        let (sender, receiver) = oneshot::channel();
        let waiting = receiver.shared();
        names.under_way.insert(name.to_owned(), waiting.clone());
        let (this, name, mut looking) = (self.clone(), name.to_owned(), (self.look_up)(name.to_owned()));
        tokio::spawn(async move {
            let in_time = tokio::time::timeout(SLOW, &mut looking).await;
            let is_proven = in_time.is_ok();
            let found = match in_time {
                Ok(found) => found,
                Err(_) => looking.await,
            };
            drop(slot);
            let found = found.map(Arc::from).map_err(|error| unresolved(&name, &error));
            this.ended(&name, is_proven);
            // All receivers may be gone.
            let _ = sender.send(found);
        });
        Ok(waiting)
    }

    /// Records that a look-up has ended.
    fn ended(&self, name: &str, is_proven: bool) {
        let mut names = self.lock();
        names.under_way.remove(name);
        if is_proven {
            names.proven.insert(name.to_owned());
        } else {
            names.proven.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LookupNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a failed look-up. A resolver that can open neither its files nor a socket reports only that the name
/// has no answer for now, so this opens a socket of its own to find out what this machine lacks.
fn unresolved(name: &str, error: &io::Error) -> CallError {
    let doing = format!("cannot resolve {name}");
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        Err(own) if classify::shortage(&own).is_some() => classify::set_up(Failure::Dns, &doing, &own),
        _ => classify::set_up(Failure::Dns, &doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_once_at_a_time_whoever_gives_up() {
        let (started, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, waits) = (Arc::clone(&started), Arc::clone(&gate));
        let resolver = Resolver::by(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let waits = Arc::clone(&waits);
            async move {
                waits.acquire().await.unwrap().forget();
                Ok(vec![IpAddr::from([127, 0, 0, 1])])
            }
            .boxed()
        });
        for _ in 0..600 {
            let given_up = tokio::time::timeout(Duration::from_secs(1), resolver.resolve("a", 80)).await;
            assert!(given_up.is_err());
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        // Another name does not wait for it.
        let (first, second, ()) = tokio::join!(resolver.resolve("a", 80), resolver.resolve("b", 81), async {
            tokio::task::yield_now().await;
            gate.add_permits(2);
        });
        assert_eq!(first.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(second.unwrap(), ["127.0.0.1:81".parse().unwrap()]);
        assert_eq!(started.load(Ordering::SeqCst), 2);
        gate.add_permits(1);
        resolver.resolve("a", 80).await.unwrap();
        assert_eq!(started.load(Ordering::SeqCst), 3, "what was found is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_without_an_answer_leave_room_for_others() {
        let (slots, gate) = (LookupLimit::new(4, 3), Arc::new(Semaphore::new(0)));
        let target = |waits: bool| {
            let gate = Arc::clone(&gate);
            let look_up = move |_: String| {
                let gate = Arc::clone(&gate);
                async move {
                    if waits {
                        gate.acquire().await.unwrap().forget();
                    }
                    Ok(vec![IpAddr::from([127, 0, 0, 1])])
                }
                .boxed()
            };
            Resolver { slots: slots.clone(), ..Resolver::by(look_up) }
        };
        let short = Duration::from_millis(10);
        let asked = async |resolver: &Resolver| {
            tokio::time::timeout(short, resolver.resolve("a", 80)).await.map(|found| found.map(|_| ()))
        };
        let fine = target(false);
        assert_eq!(asked(&fine).await, Ok(Ok(())));
        let dead: Vec<Resolver> = (0..4).map(|_| target(true)).collect();
        for resolver in &dead[..3] {
            assert!(asked(resolver).await.is_err(), "it waits");
        }
        // One slot is left, for names that were resolved before.
        for unknown in [&dead[3], &target(false)] {
            let refused = asked(unknown).await.unwrap().unwrap_err();
            assert_eq!(refused.failure, Failure::Internal);
            assert!(refused.detail.contains("of the 4 look-ups"), "{}", refused.detail);
        }
        assert_eq!(asked(&fine).await, Ok(Ok(())));
        // The resolver gives up, which frees the slot without proving the name.
        tokio::time::sleep(2 * SLOW).await;
        gate.add_permits(3);
        tokio::time::sleep(short).await;
        assert!(dead[0].lock().proven.is_empty());
        assert!(asked(&dead[3]).await.is_err(), "it waits");
        gate.add_permits(1);
        tokio::time::sleep(short).await;
        assert!(dead[3].lock().proven.contains("a"), "it was answered soon");
        assert_eq!((slots.all.available_permits(), slots.unproven.available_permits()), (4, 3));
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_to_all() {
        let resolver = Resolver::by(|_| async { Err(io::Error::other("boom")) }.boxed());
        let (first, second) = tokio::join!(resolver.resolve("a", 80), resolver.resolve("a", 80));
        assert_eq!(first, second);
        let broken = first.unwrap_err();
        assert_eq!((broken.failure, broken.detail.as_str()), (Failure::Dns, "cannot resolve a: boom"));
        let nothing = Resolver::by(|_| async { Ok(Vec::new()) }.boxed());
        assert!(nothing.resolve("a", 80).await.unwrap_err().detail.ends_with("it has no address"));
    }
}
