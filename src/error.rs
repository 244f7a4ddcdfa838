//! Everything that can end the run of a projection, and the one table of what is done about it.

use readcast_core::TopicPartition;

use crate::plan::{OutOfStep, Poison};
use crate::source::SourceError;
use crate::store::{PoisonClass, StoreError};

/// Why the run of a projection ended before it was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The log failed, or records were lost in it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database failed or refused a statement.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that can neither be projected nor parked.
    #[error(transparent)]
    Poison(#[from] Poison),
    /// A record that can't be projected, while the parking limit is reached.
    #[error("{poison}; no more records may be parked: {limit}")]
    Full {
        /// The record with its error.
        poison: Poison,
        /// The limit that is reached, as text.
        limit: String,
    },
    /// None of the first records of a topic can be projected. Nothing was parked.
    #[error("none of {tried} records of topic `{topic}` can be projected, nothing was parked; the first is {poison}", topic = .poison.position.topic)]
    Unreadable {
        /// How many records were tried: the first ones of the topic, and the last ones.
        tried: usize,
        /// The first record with its error.
        poison: Poison,
    },
    /// Another instance has claimed the partitions, or an operator moved their checkpoints. Nothing was written.
    #[error("fenced: another instance has claimed {}, or its checkpoint was moved", names(.0))]
    Fenced(Vec<TopicPartition>),
    /// Records were lost between the log and the lane.
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
    /// Something does not progress, although nothing failed.
    #[error("stalled: {0}")]
    Stalled(String),
    /// A task panicked, or the projection does not end.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The run is repeated after a while. No records are lost.
    Retry,
    /// The record and later records of its key are parked; all others are projected.
    DeadLetter,
    /// The projection stops until an operator has acted; other projections run.
    Halt,
}

impl Failure {
    /// What to do about a topic of which no record can be projected.
    pub(crate) const UNREADABLE_ADVICE: &str = "look at what its records are with `readcast check`; set `format` in \
        `[topics.NAME]`, or correct the name of the topic or the code of the projection; then restart";

    /// What is done about it, and what an operator can do.
    pub fn disposition(&self) -> (Disposition, &'static str) {
        use Disposition::{DeadLetter, Halt, Retry};
        match self {
            Failure::Source(SourceError::Unavailable { .. }) => {
                (Retry, "check that the log can be reached from here: `readcast check`")
            }
            Failure::Source(SourceError::NoTopic(_)) => {
                (Retry, "create the topic, or correct its name in the projection")
            }
            Failure::Source(SourceError::Refused { .. }) => {
                (Halt, "correct what the log refuses (see `readcast check`), then restart")
            }
            Failure::Source(SourceError::Verdict { verdict, .. }) => (Halt, verdict.advice()),
            Failure::Store(StoreError::Unavailable { .. }) => {
                (Retry, "check that the database can be reached and has room: `readcast check`")
            }
            Failure::Store(StoreError::Denied { .. }) => {
                (Retry, "check user, password and database name of the store, and that the role may log in and connect")
            }
            Failure::Store(StoreError::Refused { .. }) => {
                (Halt, "correct what the database refuses (see `readcast check`), then restart")
            }
            Failure::Store(StoreError::Unstorable { .. }) => (DeadLetter, PARKED),
            Failure::Store(StoreError::Deployment { .. }) => (
                Halt,
                "give this deployment a database of its own, or run it with the recorded settings; if it replaces the other \
                 deployment permanently, type `readcast adopt`",
            ),
            Failure::Store(StoreError::Definition { .. }) => {
                (Halt, "type `readcast rebuild` with the projection's name, or deploy the code that built the tables")
            }
            Failure::Poison(poison) => poison.cause.class.disposition(),
            Failure::Full { .. } => (
                Halt,
                "look at what is parked (`readcast dead-letters list`), deploy code that can project it and retry it, or raise \
                 `max_parked`; then restart",
            ),
            Failure::Unreadable { .. } => (Halt, Self::UNREADABLE_ADVICE),
            Failure::Fenced(_) | Failure::OutOfStep(_) => {
                (Retry, "nothing to do: the partitions are claimed again, and read from their checkpoints")
            }
            Failure::Stalled(_) => (Retry, "nothing to do unless it happens again: then look at the brokers' logs"),
            Failure::Panicked(_) => (Halt, "this is a bug in the projection or in readcast: correct it, and restart"),
        }
    }

    /// The section of the book's runbook about this failure, as a path in the repository.
    pub fn runbook(&self) -> &'static str {
        match self {
            Failure::Source(SourceError::Unavailable { .. }) => "docs/src/runbook/failures.md#log-unavailable",
            Failure::Source(SourceError::NoTopic(_)) => "docs/src/runbook/failures.md#topic-missing",
            Failure::Source(SourceError::Refused { .. }) => "docs/src/runbook/failures.md#log-refused",
            Failure::Source(SourceError::Verdict { .. }) => "docs/src/runbook/failures.md#log-changed",
            Failure::Store(StoreError::Unavailable { .. }) => "docs/src/runbook/failures.md#database-unavailable",
            Failure::Store(StoreError::Denied { .. }) => "docs/src/runbook/failures.md#login-refused",
            Failure::Store(StoreError::Refused { .. }) => "docs/src/runbook/failures.md#database-refused",
            Failure::Store(StoreError::Unstorable { .. }) => "docs/src/runbook/failures.md#rows-refused",
            Failure::Store(StoreError::Deployment { .. }) => "docs/src/runbook/failures.md#wrong-deployment",
            Failure::Store(StoreError::Definition { .. }) => "docs/src/runbook/failures.md#definition-changed",
            Failure::Poison(_) => "docs/src/runbook/failures.md#poison",
            Failure::Full { .. } => "docs/src/runbook/failures.md#parking-limit-reached",
            Failure::Unreadable { .. } => "docs/src/runbook/failures.md#no-record-can-be-projected",
            Failure::Fenced(_) => "docs/src/runbook/failures.md#fenced",
            Failure::OutOfStep(_) => "docs/src/runbook/failures.md#out-of-step",
            Failure::Stalled(_) => "docs/src/runbook/failures.md#stalled",
            Failure::Panicked(_) => "docs/src/runbook/failures.md#panicked",
        }
    }

    /// The correlation id of the event that the failure is about, where it is about one that can be decoded.
    pub fn correlation_id(&self) -> Option<&str> {
        match self {
            Failure::Poison(poison) | Failure::Full { poison, .. } | Failure::Unreadable { poison, .. } => {
                poison.correlation_id.as_deref()
            }
            _ => None,
        }
    }

    /// The failure with details that may hold a part of a record: for the store and for operators, and never for the log.
    pub fn in_full(&self) -> String {
        match self {
            Failure::Poison(poison) => poison.in_full(),
            Failure::Unreadable { poison, .. } => format!("{self}: {}", poison.cause.reason),
            Failure::Full { poison, limit } => format!("{}; no more records may be parked: {limit}", poison.in_full()),
            other => other.to_string(),
        }
    }
}

const PARKED: &str = "look at it with `readcast dead-letters show`; deploy code that can project it, or edit it, and type \
                      `readcast dead-letters retry`";

impl PoisonClass {
    /// What is done about a record of this class where parking is allowed, and what an operator can do.
    pub fn disposition(self) -> (Disposition, &'static str) {
        use Disposition::{DeadLetter, Halt};
        match self {
            PoisonClass::Undecodable | PoisonClass::Unprojectable | PoisonClass::Unstorable => (DeadLetter, PARKED),
            PoisonClass::Panicked => {
                (DeadLetter, "correct the projection, deploy, and type `readcast dead-letters retry`")
            }
            PoisonClass::Exhausted => (
                DeadLetter,
                "correct the projection, which does not finish this record, deploy, and type `readcast dead-letters retry`",
            ),
            PoisonClass::Oversized => {
                (DeadLetter, "raise `max_record_bytes` and type `readcast dead-letters retry`, or discard the record")
            }
            PoisonClass::ConflictingDuplicate => (
                DeadLetter,
                "ask the producer which of the two events is right: `readcast dead-letters retry` projects this one as \
                 well, `discard` leaves it out",
            ),
            PoisonClass::Unrepeatable => (Halt, "cancel this rebuild, and rebuild from the earliest offset"),
        }
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Verdict;
    use crate::store::PoisonCause;

    /// The match in `disposition` has no wildcard arm, so a new kind can't be forgotten there. Add it here as well.
    #[test]
    fn every_failure_has_a_disposition_an_advice_and_a_section_of_the_runbook() {
        let text = || "text".to_owned();
        let partition = TopicPartition::new("orders", 0);
        let verdict = Verdict::Gap { from: 1, to: 2 };
        let poison =
            |class| Poison { position: partition.at(7), cause: PoisonCause::new(class, "text"), correlation_id: None };
        let cases = [
            (SourceError::Unavailable { doing: text(), reason: text() }.into(), Disposition::Retry),
            (SourceError::NoTopic(text()).into(), Disposition::Retry),
            (SourceError::Refused { doing: text(), reason: text() }.into(), Disposition::Halt),
            (SourceError::Verdict { partition: partition.clone(), verdict }.into(), Disposition::Halt),
            (StoreError::Unavailable { doing: text(), reason: text() }.into(), Disposition::Retry),
            (StoreError::Denied { doing: text(), reason: text() }.into(), Disposition::Retry),
            (StoreError::Refused { doing: text(), reason: text() }.into(), Disposition::Halt),
            (StoreError::Deployment { reason: text() }.into(), Disposition::Halt),
            (StoreError::Definition { projection: text(), reason: text() }.into(), Disposition::Halt),
            (StoreError::Unstorable { doing: text(), reason: text() }.into(), Disposition::DeadLetter),
            (poison(PoisonClass::Undecodable).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Unprojectable).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Panicked).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Exhausted).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Unstorable).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Oversized).into(), Disposition::DeadLetter),
            (poison(PoisonClass::ConflictingDuplicate).into(), Disposition::DeadLetter),
            (poison(PoisonClass::Unrepeatable).into(), Disposition::Halt),
            (Failure::Full { poison: poison(PoisonClass::Undecodable), limit: text() }, Disposition::Halt),
            (Failure::Unreadable { tried: 20, poison: poison(PoisonClass::Undecodable) }, Disposition::Halt),
            (Failure::Stalled(text()), Disposition::Retry),
            (Failure::Fenced(vec![partition.clone()]), Disposition::Retry),
            (OutOfStep { partition, expected: 1, found: 2 }.into(), Disposition::Retry),
            (Failure::Panicked(text()), Disposition::Halt),
        ];
        for (failure, expected) in cases {
            let (disposition, advice) = Failure::disposition(&failure);
            assert_eq!(disposition, expected, "{failure}");
            assert!(!advice.is_empty() && failure.runbook().contains(".md#"));
        }
    }
}
