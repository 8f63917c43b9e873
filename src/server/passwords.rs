//! Verifies passwords against bcrypt hashes, which is slow by design: one at a time, on a thread of low priority, with
//! a bounded number waiting, so that wrong passwords take nothing from the traffic.

use crate::cpu_pool::CpuPool;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// Number of verified credentials that are cached: a scraper authenticates every few seconds.
const MAX_REMEMBERED: usize = 64;
/// How many verifications may wait for the present one; more are refused.
const MAX_WAITING: usize = 16;
/// A bcrypt hash of an arbitrary value, so that an unknown user takes as long as a wrong password.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuYl7dQ0rnRzGhYIA6PPWM3O6j3mAxYP2";

/// Verifies credentials and remembers those that are right.
pub(super) struct Passwords {
    cpu_pool: CpuPool,
    /// The one verification at a time.
    turn: Arc<Semaphore>,
    waiting: Semaphore,
    remembered: Mutex<VecDeque<[u8; 32]>>,
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordVerdict {
    Right,
    Wrong,
    /// Too many others wait already.
    Busy,
}

impl Passwords {
    pub(super) fn new(cpu_pool: CpuPool) -> Self {
        Self {
            cpu_pool,
            turn: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MAX_WAITING + 1),
            remembered: Mutex::default(),
        }
    }

    /// Whether the password has this hash. `None`: there is no such user, which takes as long.
    pub(super) async fn verify(&self, user: &str, password: String, hash: Option<&str>) -> PasswordVerdict {
        let key: [u8; 32] = Sha256::new()
            .chain_update(user)
            .chain_update([0])
            .chain_update(&password)
            .chain_update([0])
            .chain_update(hash.unwrap_or(""))
            .finalize()
            .into();
        if self.remembered().contains(&key) {
            return PasswordVerdict::Right;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return PasswordVerdict::Busy };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return PasswordVerdict::Busy };
        // The same credentials may have been verified while these waited.
        if self.remembered().contains(&key) {
            return PasswordVerdict::Right;
        }
        let exists = hash.is_some();
        let (cpu_pool, hash) = (self.cpu_pool.clone(), hash.unwrap_or(NOBODY).to_owned());
        let (found, right) = oneshot::channel();
        // A task, so that a caller who goes away does not shorten the pause.
        tokio::spawn(async move {
            let began = Instant::now();
            let right = cpu_pool.run(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
            let right = exists && right == Some(true);
            // The caller may have gone.
            let _ = found.send(right);
            if !right {
                // Wrong passwords get half of the time of a processor at most.
                tokio::time::sleep(began.elapsed()).await;
            }
            drop(turn);
        });
        if right.await != Ok(true) {
            return PasswordVerdict::Wrong;
        }
        let mut remembered = self.remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(key);
        PasswordVerdict::Right
    }

    fn remembered(&self) -> MutexGuard<'_, VecDeque<[u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    fn passwords() -> Passwords {
        Passwords::new(CpuPool::start().unwrap())
    }

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    #[tokio::test]
    async fn a_verified_password_is_remembered_and_a_wrong_one_is_not() {
        let (passwords, right) = (passwords(), hash("right"));
        let verify = async |user: &str, password: &str, hash: Option<&str>| {
            passwords.verify(user, password.to_owned(), hash).await
        };
        assert_eq!(verify("ann", "wrong", Some(&right)).await, PasswordVerdict::Wrong);
        assert_eq!(verify("bob", "right", None).await, PasswordVerdict::Wrong);
        assert_eq!(passwords.remembered().len(), 0);
        assert_eq!(verify("ann", "right", Some(&right)).await, PasswordVerdict::Right);
        assert_eq!(passwords.remembered().len(), 1);
        // A new hash for the same user is another cache key: a changed password takes effect.
        assert_eq!(verify("ann", "right", Some(&hash("new"))).await, PasswordVerdict::Wrong);
    }

    #[tokio::test]
    async fn the_right_one_is_let_in_while_wrong_ones_fill_the_queue() {
        let (passwords, right) = (passwords(), hash("right"));
        assert_eq!(passwords.verify("ann", "right".to_owned(), Some(&right)).await, PasswordVerdict::Right);
        let wrong = (0..50).map(|n| passwords.verify("ann", n.to_string(), Some(&right)));
        let known = async {
            tokio::task::yield_now().await;
            passwords.verify("ann", "right".to_owned(), Some(&right)).await
        };
        let (verdicts, known) = tokio::join!(join_all(wrong), known);
        assert_eq!(known, PasswordVerdict::Right);
        let busy = verdicts.iter().filter(|verdict| **verdict == PasswordVerdict::Busy).count();
        assert_eq!(busy, 50 - MAX_WAITING - 1);
        assert_eq!(
            verdicts.iter().filter(|verdict| **verdict == PasswordVerdict::Wrong).count(),
            MAX_WAITING + 1
        );
        assert_eq!(passwords.waiting.available_permits(), MAX_WAITING + 1);
    }

    #[test]
    fn the_hash_for_unknown_users_is_a_hash() {
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
    }
}
