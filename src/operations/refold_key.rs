//! `rebuild --key`: folds the records of one key from the log again and replaces the key's rows in the live tables.

mod key_changes;
mod record_projector;

use std::collections::BTreeMap;

use bytes::Bytes;
use readcast_core::{Definition, Position};

use self::key_changes::KeyChanges;
use self::record_projector::{DuplicateWindows, RecordProjector};
use super::OperationReconciler;
use super::log_reader::positions_of;
use super::reconciler::Next;
use super::step::OperationStep;
use crate::error::Failure;
use crate::source::Record;
use crate::store::{
    Advance, Amendment, Commit, CommitOutcome, GenerationStatus, OperationState, Positions, Priority,
    RecordedCheckpoint, SequenceId, StoreError,
};
use crate::text::{counted, escape, glimpse};

/// How many characters of a key an outcome shows.
const KEY_CHARACTERS: usize = 40;
const DOING: &str = "folding a key again";

pub(super) async fn run(step: &mut OperationStep<'_>, key: &str, definition_hash: &str) -> Result<Next, Failure> {
    let Some(definition) = step.reconciler.version(definition_hash) else { return Ok(Next::Nothing) };
    match refold(step, definition, key).await {
        Ok(outcome) => step.finish_unlogged(OperationState::Done, &outcome).await,
        Err(Failure::Store(StoreError::Refused { doing, reason })) => {
            step.finish_unlogged(OperationState::Refused, &format!("{doing}: {reason}")).await
        }
        Err(other) => Err(other),
    }
}

/// Folds the records with this key up to the live generation's position, and replaces the rows that they make. Returns
/// a sentence that says what changed.
///
/// # Errors
/// [`StoreError::Refused`] if records of other keys change the same rows, so that the parts of the rows can't be told
/// apart, or if the records of this key can't be folded alone.
async fn refold(step: &mut OperationStep<'_>, definition: &Definition, key: &str) -> Result<String, Failure> {
    let (reconciler, live) = (step.reconciler, step.live);
    let begins: Positions =
        live.checkpoints.iter().map(|held| (held.partition.clone(), held.start_offset.unwrap_or(0))).collect();
    let amendments = amendments(reconciler, live, definition, key).await?;
    let duplicate_window = live.duplicate_window.unwrap_or(0);
    let projector = RecordProjector { reconciler, definition, amendments, duplicate_window };
    let before_hold = positions_of(live);
    let (mut folded, mut met) = (KeyChanges::default(), DuplicateWindows::new());
    projector
        .read(&mut met, &begins, &before_hold, |partition, record| folded.add(&projector, key, partition, record))
        .await?;
    // With the live generation held, no more records of the key are applied before the rows are replaced.
    step.lead.hold(live.generation).await?;
    let statuses = reconciler.statuses().await?;
    let held = statuses.iter().find(|status| status.generation == live.generation);
    let held = held.ok_or_else(|| refused("the live generation is gone".into()))?;
    projector
        .read(&mut met, &before_hold, &positions_of(held), |partition, record| {
            folded.add(&projector, key, partition, record)
        })
        .await?;
    let outcome = match folded.records() {
        0 => Ok(format!("no record has the key {}: nothing changed", shown(key))),
        _ => replace_rows(&projector, &folded, held, &begins, key).await,
    };
    step.lead.release_holds().await?;
    outcome
}

/// What operators decided about records.
///
/// # Errors
/// [`StoreError::Refused`] while records of this key are parked.
async fn amendments(
    reconciler: &OperationReconciler,
    live: &GenerationStatus,
    definition: &Definition,
    key: &str,
) -> Result<BTreeMap<Position, Amendment>, Failure> {
    let mut writer = reconciler.store.writer(definition, live.generation, Priority::Operation.into()).await?;
    let partitions: Vec<_> = live.checkpoints.iter().map(|held| held.partition.clone()).collect();
    let sequence = SequenceId::of(&Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..Record::default() });
    let mut amendments = BTreeMap::new();
    for (partition, state) in writer.load_state(&partitions, 0).await? {
        if state.parked.contains(&sequence) {
            let (name, typed) = (&live.projection, escape(key));
            return Err(refused(format!(
                "records with the key {} are parked in {partition}. Next: `readcast dead-letters retry {name} --key {typed}` \
                 or `readcast dead-letters discard {name} --key {typed}`, then this command again",
                shown(key)
            )));
        }
        amendments.extend(state.amendments.into_iter().map(|(offset, amendment)| (partition.at(offset), amendment)));
    }
    Ok(amendments)
}

/// Replaces the key's rows while the live generation is held at the position of `held`.
async fn replace_rows(
    projector: &RecordProjector<'_>,
    folded: &KeyChanges,
    held: &GenerationStatus,
    begins: &Positions,
    key: &str,
) -> Result<String, Failure> {
    projector
        .read(&mut DuplicateWindows::new(), begins, &positions_of(held), |partition, record| {
            folded.refuse_shared_rows(projector, key, partition, record)
        })
        .await?;
    let advance = |checkpoint: &RecordedCheckpoint| Advance {
        partition: checkpoint.partition.clone(),
        from: checkpoint.next_offset,
        to: checkpoint.next_offset,
        owner_epoch: checkpoint.owner_epoch,
        parking_epoch: checkpoint.parking_epoch,
        leader_epoch: checkpoint.leader_epoch,
    };
    let advances = held.checkpoints.iter().map(advance).collect();
    let commit = Commit { advances, changes: folded.changes(projector.definition), ..Commit::default() };
    let store = &projector.reconciler.store;
    let mut writer = store.writer(projector.definition, held.generation, Priority::Operation.into()).await?;
    match writer.commit(&commit).await? {
        CommitOutcome::Applied(written) => Ok(format!(
            "folded {} with the key {} again: {} written",
            counted(folded.records(), "record"),
            shown(key),
            counted(written.rows, "row")
        )),
        // Another owner took over, or the hold ended too early. The next step folds the key again from the beginning.
        CommitOutcome::Held(_) | CommitOutcome::Outdated | CommitOutcome::Full(_) | CommitOutcome::Fenced => {
            let reason = "the live generation's checkpoints moved during the refold".into();
            Err(StoreError::Unavailable { doing: DOING.into(), reason }.into())
        }
    }
}

fn refused(reason: String) -> Failure {
    StoreError::Refused { doing: DOING.into(), reason }.into()
}

fn shown(key: &str) -> String {
    format!("`{}`", glimpse(key.as_bytes(), KEY_CHARACTERS))
}
