//! Who carries out an operation: an instance that runs, or this process. Pure.

use crate::store::{InstanceHeartbeat, has_running_instance};

/// Which other processes may use the store at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAccess {
    /// None: this process has locked the file.
    Exclusive,
    /// One other process has locked the file. This process may leave operations for it, and no more.
    LockedByAnother,
    /// Any. Those that run projections have recorded heartbeats.
    Shared,
}

/// Who carries out an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// An instance that runs.
    RunningInstance,
    /// This process may: no instance runs that can.
    ThisProcess,
    /// No process, until an instance with the right definition runs: the process that has locked the store has another
    /// one.
    Nobody,
}

impl Executor {
    /// Who carries out an operation on `projection`, which needs the definition with this hash, where that matters.
    pub(super) fn of(
        access: StoreAccess,
        heartbeats: &[InstanceHeartbeat],
        projection: &str,
        definition_hash: Option<&str>,
    ) -> Self {
        match access {
            StoreAccess::Exclusive => Self::ThisProcess,
            _ if has_running_instance(heartbeats, projection, definition_hash) => Self::RunningInstance,
            StoreAccess::Shared => Self::ThisProcess,
            StoreAccess::LockedByAnother if has_running_instance(heartbeats, projection, None) => Self::Nobody,
            // That process has just started, and has not recorded a heartbeat yet.
            StoreAccess::LockedByAnother => Self::RunningInstance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeats() -> [InstanceHeartbeat; 2] {
        [("new", true), ("old", false)].map(|(hash, present)| InstanceHeartbeat {
            projection: "p".into(),
            definition_hash: hash.into(),
            present,
            last_seen: "2026-01-01T00:00:00Z".into(),
        })
    }

    #[test]
    fn a_running_instance_with_the_definition_carries_it_out() {
        let of = |access, hash| Executor::of(access, &heartbeats(), "p", hash);
        assert_eq!(of(StoreAccess::Shared, Some("new")), Executor::RunningInstance);
        assert_eq!(of(StoreAccess::Shared, None), Executor::RunningInstance);
        assert_eq!(of(StoreAccess::LockedByAnother, Some("new")), Executor::RunningInstance);
    }

    #[test]
    fn this_process_carries_it_out_when_no_instance_can_and_the_store_is_free() {
        let of = |access, projection, hash| Executor::of(access, &heartbeats(), projection, hash);
        assert_eq!(of(StoreAccess::Shared, "p", Some("old")), Executor::ThisProcess);
        assert_eq!(of(StoreAccess::Shared, "q", None), Executor::ThisProcess);
        let locked = of(StoreAccess::Exclusive, "p", Some("new"));
        assert_eq!(locked, Executor::ThisProcess, "the heartbeats are out of date");
        assert_eq!(of(StoreAccess::LockedByAnother, "p", Some("old")), Executor::Nobody);
        let starting = Executor::of(StoreAccess::LockedByAnother, &[], "p", Some("old"));
        assert_eq!(starting, Executor::RunningInstance);
    }
}
