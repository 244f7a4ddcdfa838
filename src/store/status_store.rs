//! What is known of a database, its generations and the instances that run: everything that is displayed.

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
    /// Every generation, by projection and number, with its checkpoints; those that failed or retired too. Empty before the
    /// first migration.
    async fn generations(&self) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The generations of one projection, without their checkpoints: cheap enough to be asked for again and again, however
    /// many partitions there are.
    ///
    /// # Errors
    /// Refused before the first migration.
    async fn generations_of(&self, projection: &str) -> Result<Vec<GenerationStatus>, StoreError>;

    /// The next offset of every partition that a generation has a checkpoint in; without a number, of the live one.
    async fn positions(&self, projection: &str, of: Option<Generation>) -> Result<Positions, StoreError>;

    /// The oldest transaction that has kept the store from removing old versions of rows for `age` or longer, if there is
    /// one. SQLite records no age: there it shows in the length of the write-ahead log.
    async fn oldest_snapshot(&self, age: Duration) -> Result<Option<OldestSnapshot>, StoreError>;

    /// What readers see of a table under its stable name: how many rows it has, and the first of them.
    async fn peek(&self, table: &TableSpec, rows: usize) -> Result<Peek, StoreError>;

    /// Records what keeps a generation from going on, as the instance `by` finds it. While the generation keeps retrying, or
    /// stays halted for one reason, the time of its first error stays. An error that another running instance recorded
    /// stays, unless that instance retries and `by` has halted.
    async fn record_error(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        error: &GenerationError,
    ) -> Result<(), StoreError>;

    /// Clears the error of a generation, provided that `by` recorded it or that the instance that did does not run any
    /// more: see [`RecordedError::is_for`](super::RecordedError::is_for).
    async fn clear_error(&self, projection: &str, generation: Generation, by: &str) -> Result<(), StoreError>;

    /// Records a notice on a generation, as the instance `by` finds it. A notice that is recorded already keeps its first
    /// time. Nothing happens if there is no such generation.
    async fn record_notice(
        &self,
        projection: &str,
        generation: Generation,
        by: &str,
        notice: &Notice,
    ) -> Result<(), StoreError>;

    /// Clears the notice of this kind, if there is one.
    async fn clear_notice(&self, projection: &str, generation: Generation, kind: NoticeKind) -> Result<(), StoreError>;

    /// The notices on all generations, by projection and number. Empty before the first migration.
    async fn notices(&self) -> Result<Vec<RecordedNotice>, StoreError>;

    /// Records that `instance` runs a projection with the definitions of these `hashes`; or, unless `running`, that it
    /// stops, whatever definitions it ran.
    async fn heartbeat(
        &self,
        instance: &Instance,
        projection: &str,
        hashes: &[&str],
        running: bool,
    ) -> Result<(), StoreError>;

    /// Which definitions running instances have, or had during the last day. Empty before the first migration.
    async fn heartbeats(&self) -> Result<Vec<InstanceHeartbeat>, StoreError>;

    /// How many connections the server has, and who may take them; `None` where there is no server.
    async fn capacity(&self) -> Result<Option<ConnectionCapacity>, StoreError>;
}

/// The first rows of a read table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// How many rows it has.
    pub count: u64,
    /// The values of the first rows by key, as text; `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}
