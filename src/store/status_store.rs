//! The recorded state of a database, its generations and the running instances: everything that is displayed.

use std::time::Duration;

use async_trait::async_trait;
use readcast_core::TableSpec;

use super::{
    ConnectionCapacity, Generation, GenerationError, GenerationStatus, Instance, InstanceHeartbeat, Notice, NoticeKind,
    OldestSnapshot, Positions, RecordedNotice, StoreError,
};

/// Reads and records the state of generations and instances.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// All generations, including failed and retired ones, by projection and number, with their checkpoints. Empty
    /// before the first migration.
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The generations of one projection without their checkpoints. It is cheap enough for frequent calls, even with
    /// many partitions.
    ///
    /// # Errors
    /// Refused before the first migration.
    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The WebAssembly component of the generation, if its file names one and its tables are there.
    async fn component(&self, projection: &str, generation: Generation) -> Result<Option<Vec<u8>>, StoreError>;

    /// The next offset of every partition in which the generation has a checkpoint. Without a number, of the live
    /// generation.
    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError>;

    /// The oldest transaction that has prevented the store from removing old row versions for `age` or longer. `None`
    /// if there is none. SQLite records no age: there the size of the write-ahead log is reported.
    async fn oldest_snapshot(&self, age: Duration) -> Result<Option<OldestSnapshot>, StoreError>;

    /// The rows that readers see under a table's stable name: their number and the first of them.
    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError>;

    /// Records the error that prevents a generation from progressing, as found by the instance `by`. While the
    /// generation keeps retrying, or stays halted for one reason, the time of the first error is kept. An error that
    /// another running instance recorded is kept, unless that instance retries and `by` has halted.
    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        error: &GenerationError,
    ) -> Result<(), StoreError>;

    /// Clears the error of a generation if `by` recorded it, or if the instance that recorded it no longer runs: see
    /// [`RecordedError::is_for`](super::RecordedError::is_for).
    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError>;

    /// Records a notice on a generation, as found by an instance. A notice that exists keeps its first time. No effect
    /// if there is no such generation.
    async fn record_notice(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError>;

    /// Clears the notice of this kind and subject, if there is one.
    async fn clear_notice(
        &self,
        projection: &str,
        generation: Generation,
        kind: NoticeKind,
        subject: &str,
    ) -> Result<(), StoreError>;

    /// The notices on all generations, by projection and number. Empty before the first migration.
    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError>;

    /// Records that `instance` runs a projection with the definitions of these `hashes`. Without `running`, records
    /// that it stops, with all its definitions.
    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError>;

    /// The definitions that instances run, or ran during the last day. Empty before the first migration.
    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError>;

    /// The server's connection slots and the processes that use them. `None` if the store has no server.
    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError>;
}

/// The first rows of a read table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The number of rows of the table.
    pub count: u64,
    /// The values of the first rows, ordered by key, as text. `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}
