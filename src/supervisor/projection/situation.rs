//! What the store says of a projection, and what this process concludes from it: which generations it feeds, whether it
//! requests a rebuild, and the state that it reports. Pure: nothing here asks or changes anything.

use readcast_core::Definition;

use crate::error::Failure;
use crate::health::State;
use crate::operations::{OnChange, Policy};
use crate::plan::AllowedChanges;
use crate::store::{
    Command, GenerationError, GenerationState, GenerationStatus, InstanceHeartbeat, Operation, OperationState, Phase,
    Priority, Rebuild, RecordedError, StoreError, declaration_changes,
};
use crate::supervisor::feed::halt_record;

/// What this process has, and what the store says.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    /// All versions of the projection, the highest first. There is at least one.
    pub(super) versions: &'a [Definition],
    pub(super) policy: &'a Policy,
    pub(super) statuses: &'a [GenerationStatus],
    pub(super) operations: &'a [Operation],
}

/// A generation that this process can feed.
#[derive(Debug)]
pub(super) struct WantedFeed<'a> {
    pub(super) status: &'a GenerationStatus,
    pub(super) definition: &'a Definition,
    /// Whether the log is replayed into tables that nobody reads yet.
    pub(super) bulk: bool,
    pub(super) allowed: AllowedChanges,
    pub(super) max_live_lag: u64,
    pub(super) priority: Priority,
}

/// How to update the recorded error of a generation.
#[derive(Debug, PartialEq)]
pub(super) enum ErrorUpdate {
    Keep,
    Record(GenerationError),
    Clear,
}

impl<'a> Situation<'a> {
    /// The generation that readers see.
    pub(super) fn live(&self) -> Option<&'a GenerationStatus> {
        self.statuses.iter().find(|status| status.state == GenerationState::Live)
    }

    /// All generations that need a feed and whose definition this process has.
    pub(super) fn wanted_feeds(&self) -> Vec<WantedFeed<'a>> {
        self.statuses.iter().filter_map(|status| self.wanted_feed(status)).collect()
    }

    fn wanted_feed(&self, status: &'a GenerationStatus) -> Option<WantedFeed<'a>> {
        let is_fed = status.state.is_fed() && status.paused_since.is_none() && status.phase.is_none_or(Phase::is_fed);
        if !is_fed {
            return None;
        }
        let operation = self.operations.iter().find(|operation| operation.generation == Some(status.generation));
        Some(WantedFeed {
            status,
            definition: self.version(&status.definition_hash)?,
            bulk: status.phase == Some(Phase::Replay),
            allowed: if status.repeats { AllowedChanges::Repeatable } else { AllowedChanges::All },
            max_live_lag: self.policy.max_live_lag_of(operation.map(|operation| &operation.command)),
            priority: priority(status.state),
        })
    }

    /// The rebuild that a deployment of changed code requests, once. A rebuild that an operator cancelled or rolled back
    /// is not requested again.
    pub(super) fn rebuild_to_request(&self, live: &GenerationStatus) -> Option<Rebuild> {
        if self.policy.on_change != OnChange::Rebuild || !self.is_newer_than(live) {
            return None;
        }
        let hash = self.current()?.hash();
        let is_built =
            |status: &GenerationStatus| status.definition_hash == hash && status.generation > live.generation;
        if self.statuses.iter().any(is_built) || self.unfinished_rebuild().is_some() {
            return None;
        }
        let Policy { max_live_lag, keep_indexes, .. } = *self.policy;
        Some(Rebuild { max_live_lag, keep_indexes, ..Rebuild::of(hash) })
    }

    /// The state of the projection where this process lacks the code that built the live generation.
    pub(super) fn state_without_live_code(&self, live: &GenerationStatus, heartbeats: &[InstanceHeartbeat]) -> State {
        let Some(current) = self.current() else { return State::Starting };
        let is_of_live = |heartbeat: &&InstanceHeartbeat| {
            heartbeat.projection == live.projection && heartbeat.definition_hash == live.definition_hash
        };
        let of_live = heartbeats.iter().find(is_of_live);
        let is_fed_elsewhere = of_live.is_some_and(|heartbeat| heartbeat.present);
        let is_own = |status: &&GenerationStatus| {
            status.definition_hash == current.hash()
                && matches!(status.state, GenerationState::Building | GenerationState::Ready)
        };
        let number = live.generation.0;
        if i64::from(current.version()) < i64::from(live.version) && is_fed_elsewhere {
            let reason = format!(
                "a later version ({}) built the live generation, {number}, and other instances feed it; this process feeds \
                 what its own version built, for a rollback",
                live.version
            );
            return State::Superseded { reason };
        }
        match (self.statuses.iter().find(is_own), is_fed_elsewhere) {
            (Some(own), true) => State::Building {
                reason: format!(
                    "generation {} is {}; other instances, with the earlier code, feed generation {number} until then",
                    own.generation.0,
                    own.phase.map_or("ready".into(), |phase| format!("building: {phase}"))
                ),
            },
            (None, _) if self.policy.on_change == OnChange::Refuse || !self.is_newer_than(live) => {
                let failure = Failure::from(definition_changed(current, live));
                State::Halted { reason: failure.to_string(), advice: failure.disposition().1.to_owned() }
            }
            (None, true) => State::Building {
                reason: format!(
                    "other instances, with the earlier code, feed generation {number}{}",
                    self.refused_rebuild()
                ),
            },
            (_, false) => self.orphaned(live, of_live),
        }
    }

    fn orphaned(&self, live: &GenerationStatus, heartbeat: Option<&InstanceHeartbeat>) -> State {
        let moved = live.checkpoints.iter().map(|held| held.updated_at.as_str()).max();
        let since = heartbeat.map(|heartbeat| heartbeat.last_seen.as_str()).or(moved).unwrap_or(&live.created_at);
        State::Orphaned {
            reason: format!(
                "readcast is not running for generation {} (version {}), which readers see; its rows are as of {since}. \
                 Start an instance with the code that built it, or register that version beside the new one, or wait \
                 until the rebuilt tables are activated{}",
                live.generation.0,
                live.version,
                self.refused_rebuild()
            ),
        }
    }

    /// Whether an operation that has ended after the one numbered `seen` may have removed the cause of a halt.
    pub(super) fn has_cure_after(&self, seen: i64) -> bool {
        let is_cure = |operation: &&Operation| {
            operation.id > seen && matches!(operation.command, Command::AcceptLoss | Command::DeadLetters(_))
        };
        self.finished().any(|operation| is_cure(&operation))
    }

    /// The number of the last operation that has ended.
    pub(super) fn last_finished(&self) -> Option<i64> {
        self.finished().map(|operation| operation.id).max()
    }

    fn finished(&self) -> impl Iterator<Item = &'a Operation> {
        self.operations.iter().filter(|operation| !operation.state.is_open())
    }

    /// The highest version: what is built now is built by it.
    fn current(&self) -> Option<&'a Definition> {
        self.versions.first()
    }

    pub(super) fn version(&self, hash: &str) -> Option<&'a Definition> {
        self.versions.iter().find(|version| version.hash() == hash)
    }

    /// Whether the definition of this process is newer than the one that built `live`. If both declare the same
    /// version, the order is unknown: two instances that each considered its own definition newer would rebuild in
    /// turns without end.
    fn is_newer_than(&self, live: &GenerationStatus) -> bool {
        self.current().is_some_and(|current| i64::from(current.version()) > i64::from(live.version))
    }

    /// The last rebuild with our definition that was requested, unless it is done.
    fn unfinished_rebuild(&self) -> Option<&'a Operation> {
        let hash = self.current()?.hash();
        let is_own = |operation: &&Operation| matches!(&operation.command, Command::Rebuild(rebuild) if rebuild.definition_hash == hash);
        self.operations.iter().rev().find(is_own).filter(|operation| operation.state != OperationState::Done)
    }

    fn refused_rebuild(&self) -> String {
        let outcome = self.unfinished_rebuild().and_then(|operation| operation.outcome.as_deref());
        outcome.map(|outcome| format!(". Its rebuild did not succeed: {outcome}")).unwrap_or_default()
    }
}

impl ErrorUpdate {
    /// Of a generation that is not fed here, where it has `halted` or not. An error that this instance, or one that no
    /// longer runs, recorded while it retried is over: nothing retries here.
    pub(super) fn of(recorded: Option<&RecordedError>, halted: Option<&Failure>, instance: &str) -> Self {
        let is_retried = |error: &RecordedError| error.attempt.is_some() && error.is_for(instance);
        match halted {
            Some(failure) if recorded.is_none_or(|error| error.attempt.is_some()) => Self::Record(halt_record(failure)),
            None if recorded.is_some_and(is_retried) => Self::Clear,
            _ => Self::Keep,
        }
    }
}

/// The rank of a generation among those that want a connection.
fn priority(state: GenerationState) -> Priority {
    match state {
        GenerationState::Live => Priority::Live,
        GenerationState::Standby | GenerationState::Ready => Priority::Standby,
        GenerationState::Building | GenerationState::Retired | GenerationState::Failed => Priority::Building,
    }
}

/// The definition is not the one that built what readers see.
pub(super) fn definition_changed(definition: &Definition, live: &GenerationStatus) -> StoreError {
    let changes = declaration_changes(definition, live).join("; ");
    let reason = format!(
        "{changes}. The live tables (generation {}) were built from the earlier declaration and must be rebuilt",
        live.generation.0
    );
    StoreError::Definition { projection: definition.name().into(), reason }
}

#[cfg(test)]
mod tests {
    use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, Registry, TableSpec};

    use super::*;
    use crate::store::Generation;

    struct Counts(u32);

    impl Projection for Counts {
        fn name(&self) -> &str {
            "p"
        }

        fn version(&self) -> u32 {
            self.0
        }

        fn topics(&self) -> &[&str] {
            &["orders"]
        }

        fn event_types(&self) -> &[&str] {
            &["ORDER_PLACED"]
        }

        fn tables(&self) -> Vec<TableSpec> {
            vec![TableSpec::new("counts").key("id", ColumnType::Text)]
        }

        fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> {
            Ok(())
        }
    }

    fn version(number: u32) -> Definition {
        Registry::new().register(Counts(number)).definitions()[0].clone()
    }

    fn built_by(definition: &Definition, number: i32, state: GenerationState) -> GenerationStatus {
        GenerationStatus {
            generation: Generation(number),
            state,
            definition_hash: definition.hash().to_owned(),
            version: i32::try_from(definition.version()).unwrap(),
            ..GenerationStatus::live_at(&[(0, 1)])
        }
    }

    #[test]
    fn every_generation_is_fed_whose_code_is_here_and_which_is_not_paused() {
        let (first, second) = (version(1), version(2));
        let mut statuses = vec![
            built_by(&first, 1, GenerationState::Live),
            built_by(&second, 2, GenerationState::Building),
            built_by(&version(3), 3, GenerationState::Building),
            built_by(&first, 4, GenerationState::Retired),
        ];
        statuses[1].phase = Some(Phase::Replay);
        let (policy, versions) = (Policy::default(), [second, first]);
        let fed = |statuses: &[GenerationStatus]| {
            let situation = Situation { versions: &versions, policy: &policy, statuses, operations: &[] };
            let wanted = situation.wanted_feeds();
            wanted.iter().map(|feed| (feed.status.generation.0, feed.bulk, feed.priority)).collect::<Vec<_>>()
        };
        assert_eq!(fed(&statuses), [(1, false, Priority::Live), (2, true, Priority::Building)]);
        statuses[0].paused_since = Some("2026-01-01T00:00:00Z".into());
        statuses[1].phase = Some(Phase::Index);
        assert_eq!(fed(&statuses), []);
    }

    #[test]
    fn changed_code_requests_one_rebuild_where_the_policy_says_so() {
        let (first, second) = (version(1), version(2));
        let live = built_by(&first, 1, GenerationState::Live);
        let mut statuses = vec![live.clone()];
        let policy = Policy { on_change: OnChange::Rebuild, ..Policy::default() };
        let refuse = Policy { on_change: OnChange::Refuse, ..Policy::default() };
        let requests = |versions: &[Definition], policy: &Policy, statuses: &[GenerationStatus]| {
            Situation { versions, policy, statuses, operations: &[] }.rebuild_to_request(&live).is_some()
        };
        assert!(requests(std::slice::from_ref(&second), &policy, &statuses));
        assert!(!requests(std::slice::from_ref(&second), &refuse, &statuses), "an operator does it");
        assert!(!requests(&[first], &policy, &statuses), "nothing has changed");
        statuses.push(built_by(&second, 2, GenerationState::Failed));
        assert!(!requests(&[second], &policy, &statuses), "it was built before");
    }

    #[test]
    fn a_live_generation_without_its_code_is_orphaned_until_an_instance_has_that_code() {
        let (first, second) = (version(1), version(2));
        let live = built_by(&first, 1, GenerationState::Live);
        let policy = Policy { on_change: OnChange::Rebuild, ..Policy::default() };
        let statuses = [live.clone()];
        let versions = [second];
        let situation = Situation { versions: &versions, policy: &policy, statuses: &statuses, operations: &[] };
        let heartbeat = |present| InstanceHeartbeat {
            projection: "p".into(),
            definition_hash: first.hash().to_owned(),
            present,
            last_seen: "2026-01-01T00:00:00Z".into(),
        };
        let state = situation.state_without_live_code(&live, &[heartbeat(false)]);
        assert!(
            matches!(&state, State::Orphaned { reason } if reason.contains("its rows are as of 2026-01-01T00:00:00Z")),
            "{state:?}"
        );
        let state = situation.state_without_live_code(&live, &[heartbeat(true)]);
        assert!(matches!(state, State::Building { .. }), "{state:?}");
    }
}
