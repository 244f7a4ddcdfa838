//! Everything that can end the run of a projection, and the one table that says what is done about it.

use readcast_core::TopicPartition;

use crate::plan::{OutOfStep, Poison};
use crate::source::SourceError;
use crate::store::StoreError;

/// Why the run of a projection ended before it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The log.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that can't be projected.
    #[error(transparent)]
    Poison(#[from] Poison),
    /// Another owner has our partitions, or an operator moved their checkpoints. Nothing was written.
    #[error("fenced: another owner has taken over {}", names(.0))]
    Fenced(Vec<TopicPartition>),
    /// Records were lost between the log and us.
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
    /// A task panicked.
    #[error("panicked: {0}")]
    Panicked(String),
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Another try, after a while. Nothing is lost meanwhile.
    Retry,
    /// The projection stops until an operator has acted; the others go on.
    Halt,
}

impl Failure {
    /// What is done about it, and what the operator is told to do.
    pub fn disposition(&self) -> (Disposition, &'static str) {
        use Disposition::{Halt, Retry};
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
            Failure::Source(SourceError::Verdict { .. }) => (
                Halt,
                "find out what happened to the log and restore it; what is gone from it can't be projected any more",
            ),
            Failure::Store(StoreError::Unavailable { .. }) => {
                (Retry, "check that the database can be reached and has room: `readcast check`")
            }
            Failure::Store(StoreError::Refused { .. }) => {
                (Halt, "correct what the database refuses (see `readcast check`), then restart")
            }
            Failure::Store(StoreError::Definition { .. }) => {
                (Halt, "type `readcast rebuild` with the projection's name, or deploy the code that built the tables")
            }
            Failure::Poison(_) => (Halt, "correct the projection so that it takes this record, deploy, and restart"),
            Failure::Fenced(_) | Failure::OutOfStep(_) => {
                (Retry, "nothing to do: the partitions are taken over again from their checkpoints")
            }
            Failure::Panicked(_) => (Halt, "this is a fault in the projection or in readcast: correct it, and restart"),
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

    /// Every kind of failure, and what is done about it. The match in `disposition` has no wildcard arm, so a new kind
    /// can't be forgotten there; here it is forgotten only on purpose.
    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_halts() {
        let text = || "text".to_owned();
        let partition = TopicPartition::new("orders", 0);
        let verdict = Verdict::Gap { from: 1, to: 2 };
        let cases = [
            (SourceError::Unavailable { doing: text(), reason: text() }.into(), Disposition::Retry),
            (SourceError::NoTopic(text()).into(), Disposition::Retry),
            (SourceError::Refused { doing: text(), reason: text() }.into(), Disposition::Halt),
            (SourceError::Verdict { partition: partition.clone(), verdict }.into(), Disposition::Halt),
            (StoreError::Unavailable { doing: text(), reason: text() }.into(), Disposition::Retry),
            (StoreError::Refused { doing: text(), reason: text() }.into(), Disposition::Halt),
            (StoreError::Definition { projection: text(), reason: text() }.into(), Disposition::Halt),
            (Poison { position: partition.at(7), cause: text() }.into(), Disposition::Halt),
            (Failure::Fenced(vec![partition.clone()]), Disposition::Retry),
            (OutOfStep { partition, expected: 1, found: 2 }.into(), Disposition::Retry),
            (Failure::Panicked(text()), Disposition::Halt),
        ];
        for (failure, expected) in cases {
            let (disposition, advice) = Failure::disposition(&failure);
            assert_eq!(disposition, expected, "{failure}");
            assert!(!advice.is_empty());
        }
    }
}
