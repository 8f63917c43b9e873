//! Which row of a dataset a user of a closed loop asks. Users take turns as they become free, so that every row is asked
//! before any is asked again, however unequal their answers are. Where a stage has a number of requests, its users take
//! these in the same way, whatever they ask: each is a row of a single pass, so that the stage sends the same ones each
//! time.
//!
//! A user chooses its next row while it waits for an answer, because it may have no other time to read it. Until that
//! request begins, the row is promised: a user that is free when nothing else is left of the pass takes it over.
//!
//! A request begins shortly before it is due, and the user that asks its row first has it: where a stage has a number of
//! requests and all their rows are given, a further user gets ready for one that another one has not asked yet.

use crate::pacing::UserTurns;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The rows of a stage, by the positions of their requests in it.
pub(super) struct StageRows {
    /// Number of rows, after which a pass is over; the largest one if there is a single pass.
    rows: u64,
    /// How many requests the agent's users send; without a limit, as many as they can.
    requests: Option<u64>,
    turns: UserTurns,
    given: Mutex<GivenRows>,
}

/// What was given to users.
#[derive(Default)]
struct GivenRows {
    /// How many turns.
    count: u64,
    /// The pass of the last one.
    pass: u64,
    /// Those that have not begun; at most one for each user.
    promised: BTreeSet<u64>,
    /// Those that have begun and are not asked yet; at most one for each user.
    begun: BTreeSet<u64>,
    /// How often a user got ready for one that had begun already.
    shared: usize,
    /// Those whose user has gone before they were asked; they come next.
    returned: BTreeSet<u64>,
}

impl StageRows {
    pub(super) fn new(rows: u64, requests: Option<u64>, turns: UserTurns) -> Self {
        Self { rows: rows.max(1), requests, turns, given: Mutex::default() }
    }

    fn given(&self) -> MutexGuard<'_, GivenRows> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one of the pass, if there is one.
    fn next(&self, given: &mut GivenRows) -> Option<u64> {
        if let Some(returned) = given.returned.pop_first() {
            return Some(returned);
        }
        let position = self.turns.position(given.count);
        let is_left = self.requests.is_none_or(|requests| given.count < requests);
        (is_left && position / self.rows == given.pass).then(|| {
            given.count += 1;
            position
        })
    }

    fn promise(&self) -> Option<u64> {
        let mut given = self.given();
        let position = self.next(&mut given)?;
        given.promised.insert(position);
        Some(position)
    }

    fn begin(&self, promised: Option<u64>) -> u64 {
        let mut given = self.given();
        let own = promised.filter(|own| given.promised.remove(own) || given.returned.remove(own));
        let left = own.or_else(|| self.next(&mut given)).or_else(|| given.promised.pop_first());
        if let Some(position) = left.or_else(|| self.not_asked(&mut given)) {
            given.begun.insert(position);
            return position;
        }
        let position = self.turns.position(given.count);
        given.count += 1;
        given.pass = position / self.rows;
        given.begun.insert(position);
        position
    }

    /// One that another user may ask first, if no more are to come than are given.
    fn not_asked(&self, given: &mut GivenRows) -> Option<u64> {
        self.requests.filter(|requests| given.count >= *requests)?;
        // Each of several users gets ready for another one.
        let nth = given.shared.checked_rem(given.begun.len())?;
        given.shared += 1;
        given.begun.iter().nth(nth).copied()
    }

    /// Asks one that has begun. Returns false if another user did, or will.
    fn ask(&self, position: u64) -> bool {
        self.given().begun.remove(&position)
    }

    /// Gives back one that has begun, if no other user asked it.
    fn give_back(&self, position: u64) {
        let mut given = self.given();
        if given.begun.remove(&position) {
            given.returned.insert(position);
        }
    }

    /// Gives back one that was promised, if it is not another user's by now.
    fn forgo(&self, position: u64) {
        let mut given = self.given();
        if given.promised.remove(&position) {
            given.returned.insert(position);
        }
    }
}

/// The rows of one user; in a comparison, of both sides, which ask the same.
pub(super) struct UserRows {
    stage: Arc<StageRows>,
    held: Mutex<HeldRows>,
}

/// The iteration and the position of a request.
type IterationRow = (u64, u64);

/// What a user has.
#[derive(Default)]
struct HeldRows {
    begun: Option<IterationRow>,
    promised: Option<IterationRow>,
    /// The iteration whose row was asked last.
    asked: Option<u64>,
}

impl HeldRows {
    fn of(&self, iteration: u64) -> Option<u64> {
        let own = [self.begun, self.promised].into_iter().flatten().find(|(of, _)| *of == iteration);
        own.map(|(_, position)| position)
    }
}

impl UserRows {
    pub(super) fn new(stage: Arc<StageRows>) -> Self {
        Self { stage, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HeldRows> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the row of an iteration ahead of time; returns false if it is only known when that begins.
    pub(super) fn choose(&self, iteration: u64) -> bool {
        let mut held = self.held();
        if held.of(iteration).is_some() {
            return true;
        }
        held.promised = self.stage.promise().map(|position| (iteration, position));
        held.promised.is_some()
    }

    /// Begins an iteration. Returns the position of its request in the stage.
    pub(super) fn begin(&self, iteration: u64) -> u64 {
        let mut held = self.held();
        if let Some((of, position)) = held.begun
            && of == iteration
        {
            return position;
        }
        let promised = held.promised.take().filter(|(of, _)| *of == iteration);
        let position = self.stage.begin(promised.map(|(_, position)| position));
        held.begun = Some((iteration, position));
        position
    }

    /// Asks the row of an iteration, which is sent now. Returns the position of its request in the stage, which is
    /// another one than that with which it began if another user has asked that meanwhile.
    pub(super) fn ask(&self, iteration: u64) -> u64 {
        loop {
            let position = self.begin(iteration);
            let mut held = self.held();
            if held.asked == Some(iteration) {
                return position;
            }
            if self.stage.ask(position) {
                held.asked = Some(iteration);
                return position;
            }
            held.begun = None;
        }
    }

    /// The position of the request of an iteration.
    pub(super) fn position(&self, iteration: u64) -> u64 {
        let known = self.held().of(iteration);
        known.unwrap_or_else(|| self.begin(iteration))
    }

    /// Leaves the row of an iteration that is not played now to other users.
    pub(super) fn leave(&self, iteration: u64) {
        let mut held = self.held();
        if let Some((of, position)) = held.begun
            && of == iteration
        {
            self.stage.give_back(position);
            held.promised = held.begun.take();
        } else if let Some((_, position)) = held.promised {
            self.stage.forgo(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacing::StageShare;
    use crate::plan::{LoadCurve, Shard};

    fn rows(rows: u64, requests: Option<u64>, users: f64) -> Arc<StageRows> {
        let turns = StageShare::new(Some(Shard::WHOLE), 0).turns_of_users(&LoadCurve::constant(users));
        Arc::new(StageRows::new(rows, requests, turns))
    }

    fn users(stage: &Arc<StageRows>, count: usize) -> Vec<UserRows> {
        (0..count).map(|_| UserRows::new(Arc::clone(stage))).collect()
    }

    #[test]
    fn every_row_comes_before_any_comes_again() {
        let stage = rows(5, None, 2.0);
        let users = users(&stage, 2);
        let (slow, fast) = (&users[0], &users[1]);
        assert_eq!((slow.begin(0), fast.begin(0)), (0, 1));
        assert!(slow.choose(1), "it reads the row 2 while it waits");
        assert!(fast.choose(1));
        assert_eq!((fast.begin(1), fast.choose(2), fast.begin(2)), (3, true, 4));
        // What is left of the pass is promised to a user that still waits, so nobody knows what comes next.
        assert!(!fast.choose(3));
        assert_eq!((fast.begin(3), fast.begin(4)), (2, 5));
        // The slow user gets what is next by then.
        assert_eq!((slow.begin(1), slow.position(1)), (6, 6));
        assert!(slow.choose(2) && slow.choose(2), "once for both sides of a comparison");
        assert_eq!((slow.position(2), slow.begin(2), fast.begin(5)), (7, 7, 8));
    }

    #[test]
    fn the_rows_of_a_user_that_goes_are_next() {
        let stage = rows(100, None, 3.0);
        let users = users(&stage, 3);
        assert_eq!([0, 1, 2].map(|user: usize| users[user].begin(0)), [0, 1, 2]);
        assert!(users[1].choose(1) && users[0].choose(1));
        users[1].leave(1);
        users[1].leave(1);
        // It had got ready for it, and was told to go before it was due.
        assert_eq!(users[0].begin(1), 4);
        users[0].leave(1);
        assert_eq!([1, 2, 3].map(|iteration| users[2].begin(iteration)), [3, 4, 5]);
        assert_eq!((users[0].begin(1), users[1].begin(1)), (6, 7));
        // Nobody took it, and it is still the user's own when it comes again.
        assert!(users[0].choose(2));
        users[0].leave(2);
        assert_eq!((users[0].begin(2), users[1].begin(2)), (8, 9));
    }

    #[test]
    fn as_many_requests_are_as_many_rows() {
        let stage = rows(20, Some(7), 4.0);
        let users = users(&stage, 4);
        for user in &users {
            user.begin(0);
        }
        assert_eq!(users.iter().filter(|user| user.choose(1)).count(), 3);
        // One of them is fast, and takes what the others would have asked.
        assert_eq!([1, 2, 3].map(|iteration| users[3].begin(iteration)), [4, 5, 6]);
    }

    #[test]
    fn a_row_of_a_user_that_waits_is_asked_by_another_one() {
        let stage = rows(5, Some(5), 3.0);
        let users = users(&stage, 3);
        for (user, row) in users.iter().zip(0..) {
            assert_eq!((user.begin(0), user.ask(0)), (row, row));
        }
        // Two begin the last rows and wait; the third one is faster than both.
        assert_eq!([0, 1].map(|user: usize| users[user].begin(1)), [3, 4]);
        assert_eq!((users[2].begin(1), users[2].ask(1), users[2].ask(1)), (3, 3, 3));
        assert_eq!(users[2].begin(2), 4, "it gets ready for what is left");
        // The first one is next, and what it got ready for is gone.
        assert_eq!((users[0].ask(1), users[0].position(1)), (4, 4));
    }

    #[test]
    fn however_users_wait_as_many_requests_are_as_many_rows() {
        use rand::Rng as _;
        let mut rng = crate::seed::rng("rows", &[1]);
        for case in 0..200_u64 {
            let (count, requests) = (rng.random_range(2..6_usize), rng.random_range(1..30_u64));
            let stage = rows(rng.random_range(1..12), Some(requests), 5.0);
            let users = users(&stage, count);
            let (mut iterations, mut asked) = (vec![0; count], Vec::new());
            while asked.len() < usize::try_from(requests).unwrap() {
                let user = rng.random_range(0..count);
                match rng.random_range(0..4) {
                    0 => drop(users[user].choose(iterations[user])),
                    1 => drop(users[user].begin(iterations[user])),
                    2 => users[user].leave(iterations[user]),
                    _ => {
                        asked.push(users[user].ask(iterations[user]));
                        iterations[user] += 1;
                    }
                }
            }
            asked.sort_unstable();
            assert!(asked.iter().copied().eq(0..requests), "case {case}: {asked:?}");
        }
    }
}
