//! What writes to a store: a projection that is only tables, and a lane that commits changes to them step by step.

use readcast::source::Extent;
use readcast::store::{
    Advance, Checkpoint, Commit, CommitOutcome, Generation, PartitionState, Priority, Settlement, StoreError, Writer,
    Written,
};
use readcast_core::{
    ChangeSet, Changes, Definition, Envelope, Projection, ProjectionError, Registry, TableSpec, TopicPartition,
};

use super::subject::Subject;

pub(super) const PROJECTION: &str = "tested";

/// A projection of nothing, with tables.
struct Declared {
    version: u32,
    tables: Vec<TableSpec>,
}

impl Projection for Declared {
    fn name(&self) -> &str {
        PROJECTION
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn topics(&self) -> &[&str] {
        &["log"]
    }

    fn event_types(&self) -> &[&str] {
        &["HAPPENED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        self.tables.clone()
    }

    fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

pub(super) fn definition(tables: impl Into<Vec<TableSpec>>) -> Definition {
    versioned(1, tables)
}

pub(super) fn versioned(version: u32, tables: impl Into<Vec<TableSpec>>) -> Definition {
    let registry = Registry::new().register(Declared { version, tables: tables.into() });
    registry.validate().expect("a declaration without faults");
    registry.definitions()[0].clone()
}

/// One owner of one partition.
pub(super) struct Lane {
    writer: Box<dyn Writer>,
    pub(super) partition: TopicPartition,
    pub(super) next_offset: i64,
    pub(super) owner_epoch: i64,
    pub(super) parking_epoch: i64,
}

impl Lane {
    /// Prepares the tables and claims partition 0.
    pub(super) async fn claim(subject: &Subject, definition: &Definition) -> Self {
        Self::claim_partition(subject, definition, 0).await
    }

    pub(super) async fn claim_partition(subject: &Subject, definition: &Definition, partition: i32) -> Self {
        subject.store.prepare(definition).await.expect("the tables can be prepared");
        Self::feed(subject, definition, Generation(1), partition).await
    }

    /// Claims a partition for a generation that is there.
    pub(super) async fn feed(
        subject: &Subject,
        definition: &Definition,
        generation: Generation,
        partition: i32,
    ) -> Self {
        let mut writer = subject.store.writer(definition, generation, Priority::Live.into()).await.expect("a writer");
        let partition = TopicPartition::new("log", partition);
        let claimed = writer.claim(&[(partition.clone(), Extent::default())]).await.expect("a claim");
        let claimed = &claimed[0];
        Self {
            writer,
            partition,
            next_offset: claimed.next_offset,
            owner_epoch: claimed.owner_epoch,
            parking_epoch: claimed.parking_epoch,
        }
    }

    /// Claims the partition once more.
    pub(super) async fn claim_again(&mut self) -> Checkpoint {
        let claimed = self.writer.claim(&[(self.partition.clone(), Extent::default())]).await;
        let claimed = claimed.expect("a claim").remove(0);
        self.owner_epoch = claimed.owner_epoch;
        claimed
    }

    /// The next step of this lane.
    pub(super) fn advance(&self) -> Advance {
        Advance {
            partition: self.partition.clone(),
            from: self.next_offset,
            to: self.next_offset + 1,
            owner_epoch: self.owner_epoch,
            parking_epoch: self.parking_epoch,
            leader_epoch: None,
        }
    }

    /// Commits `changes` with the lane's next step, and takes it if that happened.
    pub(super) async fn commit(&mut self, changes: ChangeSet) -> Result<CommitOutcome, StoreError> {
        let commit = Commit { advances: vec![self.advance()], changes, ..Commit::default() };
        let committed = self.try_commit(&commit).await?;
        if matches!(committed, CommitOutcome::Applied(_)) {
            self.next_offset += 1;
        }
        Ok(committed)
    }

    /// Commits `commit` as a step of so many offsets, and takes it if that happened.
    pub(super) async fn step(&mut self, offsets: i64, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let advance = Advance { to: self.next_offset + offsets, ..self.advance() };
        let committed = self.try_commit(&Commit { advances: vec![advance], ..commit }).await?;
        if matches!(committed, CommitOutcome::Applied(_)) {
            self.next_offset += offsets;
        }
        Ok(committed)
    }

    /// What was decided about the partition's records, which the next commits know of.
    pub(super) async fn load_state(&mut self, window: i64) -> PartitionState {
        let recalled = self.writer.load_state(std::slice::from_ref(&self.partition), window).await;
        let [(partition, memory)] =
            recalled.expect("it can be recalled").try_into().expect("one partition was asked for");
        assert_eq!(partition, self.partition);
        self.parking_epoch = memory.parking_epoch;
        memory
    }

    pub(super) async fn settle(&mut self, settlement: &Settlement) -> Result<Option<Written>, StoreError> {
        self.writer.settle(settlement).await
    }

    /// Commits, and stands where it stood.
    pub(super) async fn try_commit(&mut self, commit: &Commit) -> Result<CommitOutcome, StoreError> {
        self.writer.commit(commit).await
    }
}

/// What `write` says of `tables`, folded.
pub(super) fn changes(tables: &[TableSpec], write: impl FnOnce(&mut Changes<'_>)) -> ChangeSet {
    let mut changes = Changes::new(tables);
    write(&mut changes);
    let mut set = ChangeSet::new();
    for change in changes.finish().expect("changes that fit") {
        set.push(change, tables);
    }
    set
}
