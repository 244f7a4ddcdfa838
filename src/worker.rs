//! A lane: some of the partitions, one connection, one transaction a batch over all of them.
//!
//! A lane takes what is ready, up to its limits: it commits record by record while it keeps up, and in growing batches
//! when it falls behind, without a timer that would delay anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::{Definition, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decode::Format;
use crate::error::Failure;
use crate::failpoint;
use crate::health::{State, Voice};
use crate::metrics::ProjectionMetrics;
use crate::plan::{Allowed, Plan, Standing, plan};
use crate::retry::Backoff;
use crate::source::{Assignment, AssignmentEpoch, Batch};
use crate::store::{Checkpoint, Committed, StoreError, Writer, Written};

/// How often a lane tries a transaction again before it leaves the matter to the supervisor, which lets go of the
/// partitions meanwhile.
const MOST_ATTEMPTS: u32 = 8;
/// How often a lane looks whether its partitions are still held.
const HOLD_PAUSE: Duration = Duration::from_millis(25);

/// How much a lane takes into one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most about this many records.
    pub records: usize,
    /// At most about this many bytes.
    pub bytes: usize,
}

/// What a lane is given, in order.
#[derive(Debug)]
pub enum LaneInput {
    /// The partition is the lane's from now on, from this checkpoint.
    Own(Checkpoint, AssignmentEpoch),
    /// Records of one of its partitions, and the memory that they were allowed to take.
    Records(Batch, OwnedSemaphorePermit),
}

/// How far a lane has brought its partitions.
pub type Progress = Vec<(TopicPartition, i64)>;

/// One lane of a projection.
pub struct Lane {
    /// What it projects.
    pub definition: Definition,
    /// How the records are written.
    pub format: Format,
    /// What may be made of them.
    pub allowed: Allowed,
    /// Its connection.
    pub writer: Box<dyn Writer>,
    /// What is ours at this instant, whatever the order of events says.
    pub assignment: Arc<Assignment>,
    /// What it is given. When this closes, the lane finishes what it has.
    pub inbox: mpsc::UnboundedReceiver<LaneInput>,
    /// Where it tells how far it is.
    pub progress: mpsc::UnboundedSender<Progress>,
    /// How much it takes at once.
    pub limits: Limits,
    /// When this is cancelled, the lane finishes the transaction in hand and takes no more.
    pub stop: CancellationToken,
    /// Its waits after errors.
    pub backoff: Backoff,
    /// Where it counts.
    pub metrics: ProjectionMetrics,
    /// Where it says how it fares.
    pub voice: Voice,
}

/// Where the lane's partitions stand, and under which assignment.
type Standings = BTreeMap<TopicPartition, (AssignmentEpoch, Standing)>;

impl Lane {
    /// Commits what it is given until it is told to stop.
    pub async fn run(mut self) -> Result<(), Failure> {
        let mut standings = Standings::new();
        while let Some(batches) = self.take_what_is_ready(&mut standings).await {
            failpoint::hit("after_poll");
            self.commit(batches, &mut standings).await?;
        }
        Ok(())
    }

    /// Waits for records, and takes those behind them that are there already. `None` when the lane is to end.
    async fn take_what_is_ready(&mut self, standings: &mut Standings) -> Option<Vec<(Batch, OwnedSemaphorePermit)>> {
        let mut batches = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        while records < self.limits.records && bytes < self.limits.bytes {
            let input = match self.inbox.try_recv() {
                Ok(input) => input,
                Err(_) if !batches.is_empty() => break,
                Err(_) => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return None,
                    input = self.inbox.recv() => input?,
                },
            };
            match input {
                LaneInput::Own(checkpoint, assignment) => {
                    let Checkpoint { partition, next_offset, owner_epoch, .. } = checkpoint;
                    let standing = Standing { next_offset, owner_epoch, hold_at: None };
                    standings.insert(partition, (assignment, standing));
                }
                LaneInput::Records(batch, permit) => {
                    records += batch.records.len();
                    bytes += batch.bytes();
                    batches.push((batch, permit));
                }
            }
        }
        (!self.stop.is_cancelled()).then_some(batches)
    }

    /// Commits the batches in one transaction, which is tried again as a whole until it is decided. What is held waits
    /// here until it is not, and is committed then.
    async fn commit(
        &mut self,
        mut batches: Vec<(Batch, OwnedSemaphorePermit)>,
        standings: &mut Standings,
    ) -> Result<(), Failure> {
        loop {
            // What was taken from us meanwhile belongs to its next owner.
            batches.retain(|(batch, _)| self.still_ours(batch, standings));
            let standing = |batch: &Batch| standings.get(&batch.partition).map(|(_, standing)| *standing);
            let standing = batches.iter().filter_map(|(batch, _)| Some((batch, standing(batch)?)));
            let plan = plan(&self.definition, self.format, self.allowed, standing)?;
            match self.write(&plan).await {
                Ok(Committed::Applied(written)) => {
                    let held = plan.held;
                    self.applied(plan, written, standings)?;
                    if !held || !self.waited_for_release(&mut batches, standings).await {
                        return Ok(());
                    }
                }
                Ok(Committed::Held(holds)) => {
                    for (partition, hold_at) in holds {
                        if let Some((_, standing)) = standings.get_mut(&partition) {
                            standing.hold_at = Some(hold_at);
                        }
                    }
                }
                Ok(Committed::Fenced) if batches.iter().any(|(batch, _)| !self.still_ours(batch, standings)) => {}
                Ok(Committed::Fenced) => {
                    self.metrics.fenced();
                    return Err(Failure::Fenced(
                        plan.commit.advances.into_iter().map(|advance| advance.partition).collect(),
                    ));
                }
                Err(StoreError::Unavailable { doing, reason }) => {
                    let error = StoreError::Unavailable { doing, reason };
                    if !self.wait_before_another_try(&error).await {
                        return Err(error.into());
                    }
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Waits a little, and forgets the holds: the next commit tells whether they are still there. `false` when the
    /// lane is to end.
    async fn waited_for_release(
        &mut self,
        batches: &mut [(Batch, OwnedSemaphorePermit)],
        standings: &mut Standings,
    ) -> bool {
        standings.values_mut().for_each(|(_, standing)| standing.hold_at = None);
        for (batch, _) in batches {
            if let Some((_, standing)) = standings.get(&batch.partition) {
                // Counted once is enough.
                batch.records.retain(|record| record.offset >= standing.next_offset);
            }
        }
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(HOLD_PAUSE) => true,
        }
    }

    fn still_ours(&self, batch: &Batch, standings: &Standings) -> bool {
        let owned_under = standings.get(&batch.partition).map(|(assignment, _)| *assignment);
        owned_under == Some(batch.assignment) && self.assignment.holds(&batch.partition, batch.assignment)
    }

    async fn write(&mut self, plan: &Plan) -> Result<Committed, StoreError> {
        if plan.commit.advances.is_empty() {
            return Ok(Committed::Applied(Written::default()));
        }
        let begun = Instant::now();
        let committed = self.writer.commit(&plan.commit).await?;
        if let Committed::Applied(written) = &committed {
            self.metrics.committed(begun.elapsed(), written);
        }
        Ok(committed)
    }

    fn applied(&mut self, plan: Plan, written: Written, standings: &mut Standings) -> Result<(), Failure> {
        tracing::trace!(?written, "committed");
        self.metrics.recorded(&plan.tally);
        if self.backoff.attempt() > 0 {
            self.backoff.reset();
            self.voice.say(State::Running);
        }
        for advance in &plan.commit.advances {
            if let Some((_, standing)) = standings.get_mut(&advance.partition) {
                standing.next_offset = advance.to;
            }
        }
        let progress = plan.commit.advances.into_iter().map(|advance| (advance.partition, advance.to)).collect();
        // The projection is ending when nobody listens.
        let _ = self.progress.send(progress);
        plan.poison.map_or(Ok(()), |poison| Err(poison.into()))
    }

    /// Waits after a transient error. `false` when there have been too many, or the lane is to end.
    async fn wait_before_another_try(&mut self, error: &StoreError) -> bool {
        let wait: Duration = self.backoff.next_wait();
        let attempt = self.backoff.attempt();
        self.metrics.retried();
        tracing::warn!(projection = self.definition.name(), attempt, "{error}; trying again in {wait:.1?}");
        self.voice.say(State::Retrying { attempt, reason: error.to_string() });
        let waited = tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        };
        waited && attempt < MOST_ATTEMPTS
    }
}
