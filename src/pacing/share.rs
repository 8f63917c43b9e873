//! The part of a stage that belongs to a shard. All shards derive the whole stage, so the parts of all of them are the
//! stage, whatever draws its arrivals.

use crate::plan::{LoadCurve, Shard};

/// The part of a stage that a shard plays.
#[derive(Clone, Copy, Debug)]
pub struct StageShare {
    /// `None` if it plays nothing of it.
    shard: Option<Shard>,
    first: u64,
}

impl StageShare {
    /// The share of a shard; `None` has nothing. `first` says whose the first request or user is, by its remainder: with
    /// the number of the run in it, runs of a single request take turns.
    pub fn new(shard: Option<Shard>, first: u64) -> Self {
        let count = shard.map_or(1, Shard::count);
        Self { shard, first: first % u64::from(count) }
    }

    /// Whether it has nothing of any stage.
    pub const fn is_nothing(self) -> bool {
        self.shard.is_none()
    }

    /// Whether it has the arrival with this position in the stage, or the user with this number; both count from 0.
    pub fn has(self, number: u64) -> bool {
        // The remainder before the sum, so that it cannot overflow.
        self.shard.is_some_and(|shard| shard.has(self.first + number % u64::from(shard.count())))
    }

    /// Its part of the requests (in a scenario, journeys) of a closed-loop stage that is limited to `requests`. They
    /// are divided among the users of the stage, the first of whom get what remains, and each shard has those of its
    /// users: so the parts add up to the limit, and the only user of a stage keeps all of them.
    pub fn requests_of_users(self, requests: u64, users: &LoadCurve) -> u64 {
        match self.shard {
            Some(shard) if shard.is_whole() => return requests,
            Some(_) => {}
            None => return 0,
        }
        let users = most_users(users);
        let (each, rest) = (requests / users, requests % users);
        let own = |user: &u64| self.has(*user);
        (0..users).filter(own).map(|user| each + u64::from(user < rest)).sum()
    }

    /// The turns of its users, if all users of a stage take turns.
    pub fn turns_of_users(self, users: &LoadCurve) -> UserTurns {
        let (users, shards) = (most_users(users), self.shard.map_or(1, |shard| shard.count().into()));
        let first = (0..shards).find(|user| self.has(*user)).unwrap_or(0);
        UserTurns { users, shards, first, own: users.saturating_sub(first).div_ceil(shards).max(1) }
    }
}

/// The positions in a closed-loop stage that a shard has, if all users of the stage take turns: those of its users. The
/// first of them, as many as [`StageShare::requests_of_users`], are those of a stage with so many requests.
#[derive(Clone, Copy, Debug)]
pub struct UserTurns {
    users: u64,
    shards: u64,
    /// The first of its users.
    first: u64,
    /// How many it has.
    own: u64,
}

impl UserTurns {
    /// The position in the stage of its n-th turn; both count from 0.
    pub const fn position(self, n: u64) -> u64 {
        let user = self.first + n % self.own * self.shards;
        (n / self.own).saturating_mul(self.users).saturating_add(user)
    }
}

/// The most users that a stage has at the same time.
pub fn most_users(users: &LoadCurve) -> u64 {
    // A curve that is computed elsewhere loses no user to rounding.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 65,536 users")]
    let most = (users.max() + 1e-9).max(1.0) as u64;
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(count: u32, first: u64) -> Vec<StageShare> {
        let shard = |index| Shard::parse(&format!("{index}/{count}"), "").unwrap();
        (0..count).map(|index| StageShare::new(Some(shard(index)), first)).collect()
    }

    proptest! {
        #[test]
        fn the_parts_of_a_closed_loop_are_the_whole(
            count in 1_u32..=9, first: u64, requests in 0_u64..1_000_000, users in 1_u32..200,
        ) {
            let (shares, curve) = (shares(count, first), LoadCurve::constant(users.into()));
            for user in 0..u64::from(users) {
                prop_assert_eq!(shares.iter().filter(|share| share.has(user)).count(), 1);
            }
            let parts: Vec<u64> = shares.iter().map(|share| share.requests_of_users(requests, &curve)).collect();
            prop_assert_eq!(parts.iter().sum::<u64>(), requests);
            let turns = |(share, part): (&StageShare, &u64)| {
                let turns = share.turns_of_users(&curve);
                (0..(*part).min(500)).map(move |n| turns.position(n))
            };
            let mut turns: Vec<u64> = shares.iter().zip(&parts).flat_map(turns).collect();
            turns.sort_unstable();
            turns.dedup();
            prop_assert_eq!(turns.len() as u64, parts.iter().map(|part| part.min(&500)).sum::<u64>());
            prop_assert!(turns.last().is_none_or(|last| *last < requests), "{:?}", turns.last());
            for (share, part) in shares.iter().zip(parts) {
                let any = (0..u64::from(users)).any(|user| share.has(user));
                prop_assert!(any || part == 0, "a shard without users has no requests");
            }
        }
    }

    #[test]
    fn the_only_user_keeps_all_requests() {
        let parts = |first| {
            let curve = LoadCurve::constant(1.0);
            shares(3, first).into_iter().map(|share| share.requests_of_users(7, &curve)).collect::<Vec<_>>()
        };
        let nothing = StageShare::new(None, 1);
        assert!(
            nothing.is_nothing()
                && !nothing.has(0)
                && nothing.requests_of_users(9, &LoadCurve::constant(1.0)) == 0
        );
        assert_eq!([parts(0), parts(1), parts(2), parts(3)], [[7, 0, 0], [0, 7, 0], [0, 0, 7], [7, 0, 0]]);
    }
}
