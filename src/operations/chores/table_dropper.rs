//! Ends standbys whose time is over, and drops the tables of generations that have ended.

use std::collections::BTreeMap;

use tracing::Instrument;

use super::ChoreContext;
use super::attempts::Attempts;
use crate::operations::drop_obstacle::{DropObstacle, broken_notice};
use crate::operations::has_tables_to_drop;
use crate::store::{
    Chore, Dependent, DropOutcome, Generation, GenerationState, GenerationStatus, Leadership, NoticeKind,
    RecordedNotice, StoreError,
};

/// The number of consecutive attempts that find tables in use before a notice is recorded. The feeds of a generation
/// that has ended stop using its tables before that.
const NOTICE_AFTER: u32 = 4;

/// Ends standbys whose time is over, and drops the tables of generations that have ended.
pub struct TableDropper {
    context: ChoreContext,
    /// The attempts of whole rounds.
    rounds: Attempts,
    /// The attempts to drop the tables of each generation.
    drops: BTreeMap<Generation, Attempts>,
}

impl TableDropper {
    /// A chore that has tried nothing yet.
    pub fn new(context: &ChoreContext) -> Self {
        Self { context: context.clone(), rounds: Attempts::new(context.seed), drops: BTreeMap::new() }
    }

    /// Whether there is something to do now.
    pub fn is_due(&self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> bool {
        let overdue = statuses.iter().any(|status| status.state == GenerationState::Standby && status.standby_is_over);
        let ended = statuses.iter().any(|status| has_tables_to_drop(status) && self.is_due_for(status.generation));
        let noticed = !outdated(statuses, notices).is_empty() || self.broken(notices).next().is_some();
        self.rounds.is_due() && (overdue || ended || noticed)
    }

    fn is_due_for(&self, generation: Generation) -> bool {
        self.drops.get(&generation).is_none_or(Attempts::is_due)
    }

    /// The generations with a notice about broken objects, to find out whether the objects still exist.
    fn broken(&self, notices: &[RecordedNotice]) -> impl Iterator<Item = Generation> {
        let broken = notices.iter().filter(|notice| notice.kind == NoticeKind::BrokenDependents);
        broken.map(|notice| notice.generation).filter(|generation| self.is_due_for(*generation))
    }

    /// Does one round.
    pub async fn run(mut self, statuses: Vec<GenerationStatus>, notices: Vec<RecordedNotice>) -> Self {
        let span = self.context.span("dropping tables");
        async move {
            match self.round(&statuses, &notices).await {
                Ok(()) => self.rounds.succeeded(),
                Err(error) => {
                    let attempt = self.rounds.failed();
                    tracing::warn!(attempt, "the chore failed and is tried again later: {error}");
                }
            }
            self
        }
        .instrument(span)
        .await
    }

    async fn round(&mut self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Result<(), StoreError> {
        let Some(mut lock) = self.context.lock(Chore::Dropping).await? else { return Ok(()) };
        lock.end_overdue().await?;
        for status in statuses.iter().filter(|status| has_tables_to_drop(status)) {
            if self.is_due_for(status.generation) && !self.context.stop.is_cancelled() {
                self.drop_tables(&mut *lock, status).await?;
            }
        }
        for generation in outdated(statuses, notices) {
            self.context.withdraw(generation, NoticeKind::TablesNotDropped).await?;
        }
        let broken: Vec<Generation> = self.broken(notices).collect();
        for status in statuses.iter().filter(|status| broken.contains(&status.generation) && !status.has_tables) {
            let dependents = self.context.store.dependents(status).await?;
            self.note_broken(status.generation, &dependents).await?;
        }
        lock.resign().await
    }

    /// Drops the tables of one generation, or notes what prevents it.
    ///
    /// # Errors
    /// The store is unavailable. Then the other generations can't be tried either.
    async fn drop_tables(&mut self, lock: &mut dyn Leadership, status: &GenerationStatus) -> Result<(), StoreError> {
        let generation = status.generation;
        let obstacle = match lock.drop_tables(status).await {
            Ok(DropOutcome::Done(broken)) => {
                self.drops.remove(&generation);
                tracing::info!(generation = generation.0, "tables dropped");
                return if broken.is_empty() { Ok(()) } else { self.note_broken(generation, &broken).await };
            }
            Ok(DropOutcome::InUse(by)) => DropObstacle::in_use(&by),
            Ok(DropOutcome::Kept(dependents)) => DropObstacle::dependents(&dependents),
            Err(error) if error.may_pass() => return Err(error),
            Err(StoreError::Refused { doing, reason }) => DropObstacle::refused(&doing, &reason),
            Err(error) => DropObstacle::refused("dropping tables", &error.to_string()),
        };
        let attempt = self.attempts_for(generation).failed();
        if obstacle.is_temporary() && attempt < NOTICE_AFTER {
            return Ok(());
        }
        let notice = obstacle.notice(&status.projection);
        tracing::warn!(generation = generation.0, attempt, next = notice.next, "{}", notice.text);
        self.context.note(generation, &notice).await
    }

    async fn note_broken(&mut self, generation: Generation, broken: &[Dependent]) -> Result<(), StoreError> {
        if broken.is_empty() {
            self.drops.remove(&generation);
            return self.context.withdraw(generation, NoticeKind::BrokenDependents).await;
        }
        self.attempts_for(generation).failed();
        self.context.note(generation, &broken_notice(broken)).await
    }

    fn attempts_for(&mut self, generation: Generation) -> &mut Attempts {
        let seed = self.context.seed;
        self.drops.entry(generation).or_insert_with(|| Attempts::new(seed))
    }
}

/// The generations with a notice that their tables can't be dropped, although there are none to drop: another instance has
/// dropped them while the notice was recorded.
fn outdated(statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Vec<Generation> {
    let is_noticed = |status: &&GenerationStatus| {
        let is_about = |notice: &RecordedNotice| {
            notice.kind == NoticeKind::TablesNotDropped && notice.generation == status.generation
        };
        notices.iter().any(is_about)
    };
    let without_tables = statuses.iter().filter(|status| !has_tables_to_drop(status));
    without_tables.filter(is_noticed).map(|status| status.generation).collect()
}
