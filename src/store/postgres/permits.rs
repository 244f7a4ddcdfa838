//! Limits the number of open connections, and decides who gets the next one.
//!
//! There is no deadlock: the holder of a permit waits only for a permit of an earlier rank. A leader may take a
//! [`Rank::Step`], and a step takes no other permit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What a connection is needed for. Earlier ranks are served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A claim, a query, or a step of an operation.
    Step,
    /// The leadership of one projection, with all statements that are executed under it.
    Leadership,
    /// A commit to the generation that readers see.
    Live,
    /// A commit to a generation that readers may see next or again.
    Standby,
    /// A commit to a generation that is being built.
    Building,
    /// A chore, which is not urgent and may wait for others for a long time.
    Chore,
}

impl Rank {
    fn is_lane(self) -> bool {
        matches!(self, Rank::Live | Rank::Standby | Rank::Building)
    }
}

/// Permits for open connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

/// The number of permits, in total and by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    all: usize,
    /// Leaders get half at most, so that each can take a permit for a step.
    leads: usize,
    /// Lanes leave one permit for queries, one for a leader and one for a step.
    lanes: usize,
    /// Chores get few permits, so that they wait for each other and others do not wait for them.
    chores: usize,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    leads: usize,
    lanes: usize,
    chores: usize,
    /// The number of requests that had to wait so far.
    asked: u64,
    /// The waiting requests by rank, and in the order of their arrival.
    waiting: BTreeMap<(Rank, u64), oneshot::Sender<Permit>>,
}

impl Permits {
    /// The fewest permits with which every rank can be served.
    pub(super) const MIN: usize = 3;

    pub(super) fn new(most: usize) -> Self {
        let all = most.max(Self::MIN);
        let limits = Limits { all, leads: all / 2, lanes: (all - 3).max(1), chores: (all / 8).max(1) };
        Self(Arc::new(Shared { limits, state: Mutex::default() }))
    }

    /// The number of permits.
    pub(super) fn most(&self) -> usize {
        self.0.limits.all
    }

    /// The number of permits in use.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().all
    }

    /// Waits for a permit.
    pub(super) async fn take(&self, rank: Rank) -> Permit {
        let granted = {
            let mut state = self.0.lock();
            if self.0.limits.admit(&state, rank) && !self.0.limits.has_earlier(&state, rank) {
                return self.0.grant(&mut state, rank);
            }
            let (sender, granted) = oneshot::channel();
            let number = state.asked;
            state.asked += 1;
            state.waiting.insert((rank, number), sender);
            granted
        };
        granted.await.expect("a waiting request is removed only when it is served")
    }
}

impl Limits {
    /// Whether a waiting request must be served before a new one of this rank.
    fn has_earlier(&self, state: &State, rank: Rank) -> bool {
        state.waiting.keys().any(|(first, _)| *first <= rank && self.admit(state, *first))
    }

    fn admit(&self, state: &State, rank: Rank) -> bool {
        let kind_has_room = match rank {
            Rank::Step => true,
            Rank::Leadership => state.leads < self.leads,
            Rank::Live | Rank::Standby | Rank::Building => state.lanes < self.lanes,
            Rank::Chore => state.chores < self.chores,
        };
        state.all < self.all && kind_has_room
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

    /// Serves the first waiting request that may get a permit. Returns `false` if there is none.
    fn serve_next(self: &Arc<Self>) -> bool {
        let (permit, waiting) = {
            let mut state = self.lock();
            let next = state.waiting.keys().find(|(rank, _)| self.limits.admit(&state, *rank)).copied();
            let Some(next) = next else { return false };
            let Some(waiting) = state.waiting.remove(&next) else { return false };
            (self.grant(&mut state, next.0), waiting)
        };
        // If the request was cancelled, this drops the permit, which serves the next request.
        drop(waiting.send(permit));
        true
    }
}

/// A permit for one connection until it is dropped.
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
    fn lanes_and_chores_leave_permits_for_queries_an_operation_and_its_steps() {
        let permits = Permits::new(6);
        let lanes: Vec<_> = (0..3).map(|_| now(&permits, Rank::Live).expect("three permits for lanes")).collect();
        assert!(now(&permits, Rank::Live).is_none());
        let _questions = now(&permits, Rank::Step).expect("a permit for queries");
        let chore = now(&permits, Rank::Chore).expect("a permit for a chore");
        assert!(now(&permits, Rank::Chore).is_none());
        drop(chore);
        let _lead = now(&permits, Rank::Leadership).expect("a permit for an operation");
        let _step = now(&permits, Rank::Step).expect("a permit for its step");
        assert!(now(&permits, Rank::Step).is_none(), "all six are in use");
        drop(lanes);
        assert!(now(&permits, Rank::Step).is_some());
    }

    #[test]
    fn leaders_leave_permits_for_their_steps() {
        let permits = Permits::new(5);
        let _leads =
            [now(&permits, Rank::Leadership), now(&permits, Rank::Leadership)].map(|lead| lead.expect("half of five"));
        assert!(now(&permits, Rank::Leadership).is_none());
        let _steps = [(); 3].map(|()| now(&permits, Rank::Step).expect("the rest"));
    }

    #[tokio::test]
    async fn a_waiting_leader_does_not_delay_lanes() {
        let permits = Permits::new(4);
        let _leads = [permits.take(Rank::Leadership).await, permits.take(Rank::Leadership).await];
        let mut third = Box::pin(permits.take(Rank::Leadership));
        assert!(poll!(&mut third).is_pending());
        assert!(now(&permits, Rank::Live).is_some());
    }

    #[tokio::test]
    async fn commits_that_readers_see_are_served_first() {
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
    async fn a_cancelled_request_keeps_no_permit() {
        let permits = Permits::new(3);
        let held = permits.take(Rank::Live).await;
        let mut given_up = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut given_up).is_pending());
        let mut next = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut next).is_pending());
        drop(given_up);
        drop(held);
        assert!(poll!(&mut next).is_ready());
        // A request that was served but cancelled before it was polled.
        let held = permits.take(Rank::Live).await;
        let mut served = Box::pin(permits.take(Rank::Live));
        assert!(poll!(&mut served).is_pending());
        drop(held);
        drop(served);
        assert!(now(&permits, Rank::Live).is_some());
    }
}
