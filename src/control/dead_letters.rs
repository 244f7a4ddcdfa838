//! Dead letters: which keys are parked, why, and what operators decide about them.

mod edit;
mod export;
mod summary;

pub use self::edit::EditPreview;
pub use self::export::{Export, ExportedHeader, ExportedRecord};
pub use self::summary::{ParkedSummary, ParkedTotal};
use readcast_core::{Definition, Position, TopicPartition};

use super::{Control, ControlError, ControlErrorKind, live_of};
use crate::source::{Source, SourceError};
use crate::store::{
    Command, Decision, Generation, GenerationState, GenerationStatus, ParkedIn, ParkedRecord, ParkedSequence,
    Selection, SettleAction, SettleRequest,
};
use crate::text::counted;

/// How many records a sentence names.
const MOST_NAMED: usize = 5;

/// Which dead letters are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this projection; of every projection without one.
    pub projection: Option<String>,
    /// Of this generation of it; of the live one without a number.
    pub generation: Option<i32>,
    /// Those that match this.
    pub selection: Selection,
}

/// Everything that is known of one parked key.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedDetail {
    /// The summary of the key's parked records.
    pub summary: ParkedSummary,
    /// The record that the others wait for.
    pub first: ParkedRecord,
    /// The positions of the first of the others, as `topic/partition@offset`.
    pub waiting: Vec<String>,
}

impl Control {
    /// The parked keys that `filter` selects, by projection, partition and offset.
    ///
    /// # Errors
    /// `NotFound` when there is no such projection or generation, or when nothing is parked at a position that the
    /// selection names.
    pub async fn list_dead_letters(&self, filter: &ListFilter) -> Result<Vec<ParkedSummary>, ControlError> {
        let generations = self.store.generations().await?;
        let mut found = Vec::new();
        for generation in self.filtered(&generations, filter)? {
            let sequences = self.parked(generation, &filter.selection).await?;
            found.extend(sequences.iter().map(|sequence| ParkedSummary::new(generation, sequence)));
        }
        Ok(found)
    }

    fn filtered<'a>(
        &self,
        generations: &'a [GenerationStatus],
        filter: &ListFilter,
    ) -> Result<Vec<&'a GenerationStatus>, ControlError> {
        let Some(name) = filter.projection.as_deref() else {
            return Ok(generations.iter().filter(|found| found.state == GenerationState::Live).collect());
        };
        self.require_in(generations, name)?;
        let Some(number) = filter.generation else { return Ok(vec![live_of(generations, name)?]) };
        let mut of_name = generations.iter().filter(|found| found.projection == name);
        let found = of_name.find(|found| found.generation == Generation(number));
        let none = || {
            let error = ControlError::not_found(format!("{name} has no generation {number}"));
            error.advise(format!("`readcast status {name}`"))
        };
        Ok(vec![found.ok_or_else(none)?])
    }

    /// The key whose first record has the position `first`, in the live generation, with the positions of up to
    /// `most_waiting` records that wait behind the first.
    ///
    /// # Errors
    /// `NotFound` when there is no such projection, or when nothing is parked at this position.
    pub async fn dead_letter(
        &self,
        projection: &str,
        first: &str,
        most_waiting: usize,
    ) -> Result<ParkedDetail, ControlError> {
        let generations = self.store.generations().await?;
        self.require_in(&generations, projection)?;
        let live = live_of(&generations, projection)?;
        let selection = Selection { first: Some(first.to_owned()), ..Selection::default() };
        for sequence in self.parked(live, &selection).await? {
            let ParkedSequence { partition, id, first_offset, .. } = &sequence;
            let waiting = self.store.waiting(parked_in(live), partition, id, *first_offset, most_waiting + 1).await?;
            let mut records = waiting.records.into_iter();
            if let Some(first) = records.next() {
                let waiting = records.map(|record| partition.at(record.letter.record.offset).to_string()).collect();
                return Ok(ParkedDetail { summary: ParkedSummary::new(live, &sequence), first, waiting });
            }
        }
        Err(nothing_parked_at(projection, first))
    }

    /// The parked records of the live generation that `selection` selects, to be read page by page.
    ///
    /// # Errors
    /// As [`Control::list_dead_letters`].
    pub async fn export_dead_letters(
        &self,
        projection: &str,
        selection: &Selection,
    ) -> Result<Export<'_>, ControlError> {
        let generations = self.store.generations().await?;
        self.require_in(&generations, projection)?;
        let live = live_of(&generations, projection)?;
        let sequences = self.parked(live, selection).await?;
        Ok(Export::new(&*self.store, live.clone(), sequences))
    }

    /// The projections in whose live generations a key is parked that `selection` selects.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn projections_that_parked(&self, selection: &Selection) -> Result<Vec<String>, ControlError> {
        let generations = self.store.generations().await?;
        let mut found = Vec::new();
        for definition in self.registry.definitions() {
            let Ok(live) = live_of(&generations, definition.name()) else { continue };
            let sequences = self.store.parked(parked_in(live)).await?;
            if sequences.iter().any(|sequence| selection.matches(sequence)) {
                found.push(definition.name().to_owned());
            }
        }
        Ok(found)
    }

    /// The decisions of operators about records of these projections; of all that the code has without a name.
    ///
    /// # Errors
    /// `NotFound` when the code has no such projection.
    pub async fn decisions(&self, projection: Option<&str>) -> Result<Vec<(String, Decision)>, ControlError> {
        let wanted = match projection {
            Some(projection) => std::slice::from_ref(self.definition(projection)?),
            None => self.registry.definitions(),
        };
        let mut found = Vec::new();
        for name in wanted.iter().map(Definition::name) {
            let decisions = self.store.decisions(name).await?;
            found.extend(decisions.into_iter().map(|decision| (name.to_owned(), decision)));
        }
        Ok(found)
    }

    /// Revokes the decision about one record. Rows that it made stay until the record is projected again.
    ///
    /// # Errors
    /// `NotFound` when there is no decision; `Refused` when the log has lost the record, which could not be projected again.
    pub async fn revoke(
        &self,
        source: &dyn Source,
        projection: &str,
        position: &Position,
        reason: Option<&str>,
    ) -> Result<(), ControlError> {
        let definition = self.definition(projection)?;
        let unavailable = |error: SourceError| ControlError::new(ControlErrorKind::Unavailable, error.to_string());
        let extents = source.extents(definition.topics()).await.map_err(unavailable)?;
        let partition = TopicPartition::new(position.topic.clone(), position.partition);
        if extents.get(&partition).is_none_or(|extent| position.offset < extent.start) {
            let lost = format!("{projection}: the log does not hold {position} any more, so the decision stands");
            return Err(ControlError::new(ControlErrorKind::Refused, lost));
        }
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        if self.store.revoke(projection, position, &self.requested_by, &reason).await? {
            return Ok(());
        }
        let none = ControlError::not_found(format!("{projection}: no operator has decided about {position}"));
        Err(none.advise(format!("`readcast dead-letters decisions {projection}`")))
    }

    /// How much a settlement would settle. `None` when nothing that matches is parked. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` when there is no such projection, or when nothing is parked at a position that the selection names.
    pub async fn parked_total(
        &self,
        projection: &str,
        selection: &Selection,
    ) -> Result<Option<ParkedTotal>, ControlError> {
        self.definition(projection)?;
        let live = self.live_generation(projection).await?;
        let sequences = self.parked(&live, selection).await?;
        Ok((!sequences.is_empty()).then(|| sequences.iter().collect()))
    }

    /// The operation that settles the parked keys that `selection` selects. `None` when nothing that matches is parked.
    ///
    /// # Errors
    /// As [`Control::parked_total`]; `Conflict` when other code built the live generation.
    pub async fn settle_command(
        &self,
        projection: &str,
        selection: Selection,
        resolution: SettleAction,
        reason: Option<String>,
    ) -> Result<Option<Command>, ControlError> {
        self.definition(projection)?;
        let live = self.live_generation(projection).await?;
        if self.parked(&live, &selection).await?.is_empty() {
            return Ok(None);
        }
        let definition_hash = self.builder(&live)?.hash().to_owned();
        Ok(Some(Command::DeadLetters(SettleRequest { selection, resolution, definition_hash, reason })))
    }

    /// Requires that a rollback would bring back no record about which an operator has decided.
    ///
    /// # Errors
    /// `Refused` with the first records that are still parked in the standby generation.
    pub async fn require_decisions_followed(&self, projection: &str) -> Result<(), ControlError> {
        let generations = self.generations_of(projection).await?;
        let Some(standby) = GenerationStatus::latest_standby(&generations) else { return Ok(()) };
        let open = self.store.open_decisions(parked_in(standby)).await?;
        if open.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = open.iter().take(MOST_NAMED).map(|decision| decision.position.to_string()).collect();
        let (number, version) = (standby.generation.0, standby.version);
        let reason = format!(
            "the standby generation {number} still has {} parked about which operators decided ({}{}): a rollback would undo \
             these decisions",
            counted(open.len() as u64, "record"),
            named.join(", "),
            if open.len() > named.len() { ", …" } else { "" }
        );
        let next = format!(
            "wait while an instance with version {version} of the code follows them, or type `readcast rollback {projection} \
             --undo-decisions`"
        );
        Err(ControlError::new(ControlErrorKind::Refused, reason).advise(next))
    }

    /// What is parked in a generation and matches. A position that the selection names must be that of a parked key.
    async fn parked(
        &self,
        generation: &GenerationStatus,
        selection: &Selection,
    ) -> Result<Vec<ParkedSequence>, ControlError> {
        let mut sequences = self.store.parked(parked_in(generation)).await?;
        sequences.retain(|sequence| selection.matches(sequence));
        match &selection.first {
            Some(first) if sequences.is_empty() => Err(nothing_parked_at(&generation.projection, first)),
            _ => Ok(sequences),
        }
    }
}

fn parked_in(generation: &GenerationStatus) -> ParkedIn<'_> {
    ParkedIn { projection: &generation.projection, generation: generation.generation }
}

fn nothing_parked_at(projection: &str, first: &str) -> ControlError {
    ControlError::not_found(format!("{projection}: no parked key that matches has its first record at {first}"))
        .advise(format!("`readcast dead-letters list {projection}`"))
}
