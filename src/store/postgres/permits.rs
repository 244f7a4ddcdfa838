//! How many connections may be open at a time, and who goes first when fewer are free than are asked for.
//!
//! Nobody who holds a permit waits for another one of the same or a later rank: a lead may take a [`Rank::Step`], and a
//! step takes nothing. So there is always somebody who goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What a connection is wanted for. The earlier ranks go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A claim, a question, or a part of an operation.
    Step,
    /// The right to carry out operations on one projection, with all that is done under it.
    Leadership,
    /// A commit to what readers see.
    Live,
    /// A commit to what readers may go back to, or see next.
    Standby,
    /// A commit to what is being built.
    Building,
    /// What must be done some time, and may take long for reasons that are not ours.
    Chore,
}

impl Rank {
    fn is_lane(self) -> bool {
        matches!(self, Rank::Live | Rank::Standby | Rank::Building)
    }
}

/// Permits to have a connection open. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

/// How many permits there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    all: usize,
    /// Leads have half at most, so that a step of each finds room.
    leads: usize,
    /// Lanes leave one for questions, one for a lead and one for a step.
    lanes: usize,
    /// Chores have few: they wait for each other rather than let others wait.
    chores: usize,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    leads: usize,
    lanes: usize,
    chores: usize,
    asked: u64,
    /// By rank, and within it in the order in which they came.
    waiting: BTreeMap<(Rank, u64), oneshot::Sender<Permit>>,
}

impl Permits {
    /// The fewest permits with which everybody finds room.
    pub(super) const FEWEST: usize = 3;

    pub(super) fn new(most: usize) -> Self {
        let all = most.max(Self::FEWEST);
        let limits = Limits { all, leads: all / 2, lanes: (all - 3).max(1), chores: (all / 8).max(1) };
        Self(Arc::new(Shared { limits, state: Mutex::default() }))
    }

    /// How many there are.
    pub(super) fn most(&self) -> usize {
        self.0.limits.all
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().all
    }

    /// Waits for a permit.
    pub(super) async fn take(&self, rank: Rank) -> Permit {
        let granted = {
            let mut state = self.0.lock();
            if self.0.limits.admit(&state, rank) && !self.0.limits.owe(&state, rank) {
                return self.0.grant(&mut state, rank);
            }
            let (sender, granted) = oneshot::channel();
            let number = state.asked;
            state.asked += 1;
            state.waiting.insert((rank, number), sender);
            granted
        };
        granted.await.expect("those who wait are kept until they have been served")
    }
}

impl Limits {
    /// Whether somebody waits who goes first and is about to be served.
    fn owe(&self, state: &State, rank: Rank) -> bool {
        state.waiting.keys().any(|(first, _)| *first <= rank && self.admit(state, *first))
    }

    fn admit(&self, state: &State, rank: Rank) -> bool {
        let room_of_its_kind = match rank {
            Rank::Step => true,
            Rank::Leadership => state.leads < self.leads,
            Rank::Live | Rank::Standby | Rank::Building => state.lanes < self.lanes,
            Rank::Chore => state.chores < self.chores,
        };
        state.all < self.all && room_of_its_kind
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(self: &Arc<Self>, state: &mut State, rank: Rank) -> Permit {
        state.all += 1;
        state.leads += usize::from(rank == Rank::Leadership);
        state.lanes += usize::from(rank.is_lane());
        state.chores += usize::from(rank == Rank::Chore);
        Permit { shared: Arc::clone(self), rank }
    }

    /// Serves the first of those who wait and may have a permit. `false` when there is none.
    fn serve_next(self: &Arc<Self>) -> bool {
        let (permit, waiting) = {
            let mut state = self.lock();
            let next = state.waiting.keys().find(|(rank, _)| self.limits.admit(&state, *rank)).copied();
            let Some(next) = next else { return false };
            let Some(waiting) = state.waiting.remove(&next) else { return false };
            (self.grant(&mut state, next.0), waiting)
        };
        // Whoever no longer waits lets the permit drop, which serves the next one.
        drop(waiting.send(permit));
        true
    }
}

/// Room for one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    rank: Rank,
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.all -= 1;
            state.leads -= usize::from(self.rank == Rank::Leadership);
            state.lanes -= usize::from(self.rank.is_lane());
            state.chores -= usize::from(self.rank == Rank::Chore);
        }
        while self.shared.serve_next() {}
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt, poll};

    use super::*;

    fn now(permits: &Permits, rank: Rank) -> Option<Permit> {
        permits.take(rank).now_or_never()
    }

    #[test]
    fn lanes_and_chores_leave_room_for_questions_an_operation_and_its_steps() {
        let permits = Permits::new(6);
        let lanes: Vec<_> = (0..3).map(|_| now(&permits, Rank::Live).expect("there is room for three")).collect();
        assert!(now(&permits, Rank::Live).is_none());
        let _questions = now(&permits, Rank::Step).expect("room for questions");
        let chore = now(&permits, Rank::Chore).expect("nobody else wants it now");
        assert!(now(&permits, Rank::Chore).is_none());
        drop(chore);
        let _lead = now(&permits, Rank::Leadership).expect("an operation finds room");
        let _step = now(&permits, Rank::Step).expect("and its step");
        assert!(now(&permits, Rank::Step).is_none(), "that were six");
        drop(lanes);
        assert!(now(&permits, Rank::Step).is_some());
    }

    #[test]
    fn leads_leave_room_for_their_steps() {
        let permits = Permits::new(5);
        let _leads =
            [now(&permits, Rank::Leadership), now(&permits, Rank::Leadership)].map(|lead| lead.expect("half of five"));
        assert!(now(&permits, Rank::Leadership).is_none());
        let _steps = [(); 3].map(|()| now(&permits, Rank::Step).expect("the rest"));
    }

    #[tokio::test]
    async fn a_lead_that_must_wait_for_another_holds_up_no_lane() {
        let permits = Permits::new(4);
        let _leads = [permits.take(Rank::Leadership).await, permits.take(Rank::Leadership).await];
        let mut third = Box::pin(permits.take(Rank::Leadership));
        assert!(poll!(&mut third).is_pending());
        assert!(now(&permits, Rank::Live).is_some());
    }

    #[tokio::test]
    async fn what_readers_see_goes_first() {
        let permits = Permits::new(3);
        let held = permits.take(Rank::Building).await;
        let mut building = Box::pin(permits.take(Rank::Building));
        assert!(poll!(&mut building).is_pending());
        let mut standby = Box::pin(permits.take(Rank::Standby));
        assert!(poll!(&mut standby).is_pending());
        let mut live = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut live).is_pending());
        drop(held);
        let Poll::Ready(first) = poll!(&mut live) else { panic!("the live one was not served") };
        assert!(poll!(&mut standby).is_pending() && poll!(&mut building).is_pending());
        drop(first);
        let Poll::Ready(second) = poll!(&mut standby) else { panic!("the standby was not served") };
        drop(second);
        assert!(poll!(&mut building).is_ready());
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_nothing_along() {
        let permits = Permits::new(3);
        let held = permits.take(Rank::Live).await;
        let mut given_up = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut given_up).is_pending());
        let mut next = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut next).is_pending());
        drop(given_up);
        drop(held);
        assert!(poll!(&mut next).is_ready());
        // One that was served, and never looked.
        let held = permits.take(Rank::Live).await;
        let mut served = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut served).is_pending());
        drop(held);
        drop(served);
        assert!(now(&permits, Rank::Live).is_some());
    }
}
