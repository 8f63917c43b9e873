//! Resolves names. The system's resolver blocks a thread for as long as it likes, so there is at most one look-up of a name
//! at a time: whoever asks meanwhile waits for the same one, also if those who asked first have given up. A target whose
//! DNS never answers then takes one thread and not all of them, and no other target waits.

use super::classify::{self, CallError};
use crate::event::Failure;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What a look-up found.
type Found = Result<Arc<[IpAddr]>, CallError>;
/// Looks a name up.
type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// The look-ups of one target: of its own name, or its proxy's.
#[derive(Clone)]
pub(super) struct Resolver {
    look_up: Arc<LookUp>,
    under_way: Arc<Mutex<HashMap<String, Shared<oneshot::Receiver<Found>>>>>,
}

impl Resolver {
    /// By the system's resolver.
    pub(super) fn new() -> Self {
        Self::by(|name| {
            async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|it| it.ip()).collect()) }.boxed()
        })
    }

    fn by(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self { look_up: Arc::new(look_up), under_way: Arc::default() }
    }

    /// The addresses of a name, in the resolver's order. Dropping the future does not end the look-up.
    pub(super) async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
        let waiting = self.join(name);
        let found = waiting.await.unwrap_or_else(|_| {
            Err(CallError::new(
                Failure::Internal,
                format!("the look-up of {name} has ended by a fault of ours"),
            ))
        })?;
        if found.is_empty() {
            return Err(CallError::new(Failure::Dns, format!("cannot resolve {name}: it has no address")));
        }
        Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    /// The look-up that is under way, or a new one.
    fn join(&self, name: &str) -> Shared<oneshot::Receiver<Found>> {
        let mut under_way = self.lock();
        if let Some(waiting) = under_way.get(name) {
            return waiting.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = receiver.shared();
        under_way.insert(name.to_owned(), waiting.clone());
        let (this, name, looking) = (self.clone(), name.to_owned(), (self.look_up)(name.to_owned()));
        tokio::spawn(async move {
            let found = looking.await.map(Arc::from).map_err(|error| unresolved(&name, &error));
            this.lock().remove(&name);
            // Those who waited may have gone.
            let _ = sender.send(found);
        });
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shared<oneshot::Receiver<Found>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resolver that can open neither its files nor a socket says that the name has no answer for now, so what this machine
/// lacks is found out by a socket of our own.
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
    use std::time::Duration;
    use tokio::sync::Semaphore;

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
