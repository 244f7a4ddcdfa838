//! Copies dead letters of the live generation to their sink.

use std::sync::Arc;

use readcast_core::TopicPartition;
use tracing::Instrument;

use super::ChoreContext;
use super::attempts::Attempts;
use crate::source::{CopyOutcome, DeadLetterCopy, DeadLetterSink};
use crate::store::{
    Chore, Generation, GenerationState, GenerationStatus, Notice, NoticeKind, ParkedIn, ParkedRecord, RecordedNotice,
    StoreError,
};

/// How many dead letters are copied at once.
const MOST_AT_ONCE: usize = 100;
/// How many positions a notice names.
const NAMED: usize = 3;

/// Copies dead letters of the live generation to their sink.
pub struct DeadLetterCopier {
    context: ChoreContext,
    /// The consumer group of the projection.
    group: String,
    sink: Option<Arc<dyn DeadLetterSink>>,
    rounds: Attempts,
}

impl DeadLetterCopier {
    /// A chore that has tried nothing yet. Without a sink it only withdraws notices.
    pub fn new(context: &ChoreContext, group: String, sink: Option<Arc<dyn DeadLetterSink>>) -> Self {
        Self { context: context.clone(), group, sink, rounds: Attempts::new(context.seed) }
    }

    /// Whether there is something to do now.
    pub fn is_due(&self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> bool {
        let live = live(statuses);
        let to_copy = self.sink.is_some() && live.is_some_and(|live| live.parked.uncopied > 0);
        let notices_differ = !self.outdated(live, notices).is_empty() || self.is_notice_missing(live, notices);
        self.rounds.is_due() && (to_copy || notices_differ)
    }

    /// The notices whose cause is gone.
    fn outdated(&self, live: Option<&GenerationStatus>, notices: &[RecordedNotice]) -> Vec<(Generation, NoticeKind)> {
        let live = live.filter(|_| self.sink.is_some());
        let is_outdated = |notice: &&RecordedNotice| {
            let about = live.filter(|live| live.generation == notice.generation);
            match notice.kind {
                NoticeKind::CopyingFails => about.is_none_or(|live| live.parked.uncopied == 0),
                NoticeKind::DeadLettersNotCopied => about.is_none_or(|live| live.parked.uncopyable == 0),
                _ => false,
            }
        };
        notices.iter().filter(is_outdated).map(|notice| (notice.generation, notice.kind)).collect()
    }

    /// Whether another number of dead letters can't be copied than the notice says.
    fn is_notice_missing(&self, live: Option<&GenerationStatus>, notices: &[RecordedNotice]) -> bool {
        let Some(live) = live.filter(|live| self.sink.is_some() && live.parked.uncopyable > 0) else { return false };
        let is_about = |notice: &&RecordedNotice| {
            notice.kind == NoticeKind::DeadLettersNotCopied && notice.generation == live.generation
        };
        notices.iter().find(is_about).is_none_or(|notice| notice.count != live.parked.uncopyable)
    }

    /// Does one round.
    pub async fn run(mut self, statuses: Vec<GenerationStatus>, notices: Vec<RecordedNotice>) -> Self {
        let span = self.context.span("copying dead letters");
        async move {
            match self.round(&statuses, &notices).await {
                Ok(true) => self.rounds.succeeded(),
                Ok(false) => drop(self.rounds.failed()),
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

    /// Whether everything that can be copied is copied.
    async fn round(&mut self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Result<bool, StoreError> {
        let Some(lock) = self.context.lock(Chore::Copying).await? else { return Ok(true) };
        let is_complete = self.copy_and_note(statuses, notices).await?;
        lock.resign().await?;
        Ok(is_complete)
    }

    /// Whether everything that can be copied is copied.
    async fn copy_and_note(
        &mut self,
        statuses: &[GenerationStatus],
        notices: &[RecordedNotice],
    ) -> Result<bool, StoreError> {
        let live = live(statuses);
        for (generation, kind) in self.outdated(live, notices) {
            self.context.withdraw(generation, kind).await?;
        }
        let (Some(sink), Some(live)) = (self.sink.clone(), live) else { return Ok(true) };
        let of = ParkedIn { projection: &live.projection, generation: live.generation };
        let failure = self.copy_all(&*sink, of).await?;
        match &failure {
            Some(reason) => self.note_failure(sink.name(), live.generation, reason).await?,
            None => self.context.withdraw(live.generation, NoticeKind::CopyingFails).await?,
        }
        self.note_uncopyable(sink.name(), of).await?;
        Ok(failure.is_none())
    }

    /// Copies what is not copied yet. Returns why that ended early, if it did. A letter that was copied just before this
    /// process died, and not recorded as copied, is copied again.
    async fn copy_all(&self, sink: &dyn DeadLetterSink, of: ParkedIn<'_>) -> Result<Option<String>, StoreError> {
        let store = &self.context.store;
        while !self.context.stop.is_cancelled() {
            let letters = store.uncopied(of, MOST_AT_ONCE).await?;
            if letters.is_empty() {
                break;
            }
            let positions: Vec<_> = letters.iter().map(position_of).collect();
            let copies = letters.into_iter().map(|parked| self.copy_of(parked)).collect();
            let outcomes = sink.copy(copies, self.context.stop.clone()).await;
            let (mut copied, mut refused, mut failure) = (Vec::new(), Vec::new(), None);
            for (position, outcome) in positions.into_iter().zip(outcomes) {
                match outcome {
                    CopyOutcome::Copied => copied.push(position),
                    CopyOutcome::Refused(reason) => refused.push((position, reason)),
                    CopyOutcome::NotCopied(error) => drop(failure.get_or_insert(error.to_string())),
                }
            }
            store.note_copied(of, &copied).await?;
            store.note_uncopyable(of, &refused).await?;
            if failure.is_some() {
                return Ok(failure);
            }
        }
        Ok(None)
    }

    fn copy_of(&self, parked: ParkedRecord) -> DeadLetterCopy {
        DeadLetterCopy {
            projection: self.context.projection.clone(),
            group: self.group.clone(),
            partition: parked.letter.partition,
            record: parked.letter.record,
            cause: parked.letter.cause.map(|cause| (cause.class.to_string(), cause.reason)),
        }
    }

    async fn note_failure(&self, sink: &str, generation: Generation, reason: &str) -> Result<(), StoreError> {
        let notice = Notice {
            kind: NoticeKind::CopyingFails,
            subject: String::new(),
            text: format!("dead letters can't be copied to {sink}: {reason}"),
            next: "make sure that it exists and that its brokers can be reached; then wait for the next attempt".into(),
            count: 0,
        };
        let attempt = self.rounds.failures() + 1;
        tracing::warn!(generation = generation.0, attempt, next = notice.next, "{}", notice.text);
        self.context.note(generation, &notice).await
    }

    async fn note_uncopyable(&self, sink: &str, of: ParkedIn<'_>) -> Result<(), StoreError> {
        let refused = self.context.store.uncopyable(of).await?;
        if refused.is_empty() {
            return self.context.withdraw(of.generation, NoticeKind::DeadLettersNotCopied).await;
        }
        let named = refused.iter().take(NAMED).map(|((at, offset), reason)| format!("{}: {reason}", at.at(*offset)));
        let named = named.collect::<Vec<_>>().join("; ");
        let more = if refused.len() > NAMED { " and more" } else { "" };
        let notice = Notice {
            kind: NoticeKind::DeadLettersNotCopied,
            subject: String::new(),
            text: format!("these dead letters can't be copied to {sink}, while others can: {named}{more}"),
            next: format!(
                "if they are too large, raise `message.max.bytes` in `[source.properties]` and `max.message.bytes` of the \
                 topic; else settle them (`readcast dead-letters list {}`). Each is tried again within an hour",
                of.projection
            ),
            count: refused.len() as u64,
        };
        self.context.note(of.generation, &notice).await
    }
}

fn live(statuses: &[GenerationStatus]) -> Option<&GenerationStatus> {
    statuses.iter().find(|status| status.state == GenerationState::Live)
}

fn position_of(parked: &ParkedRecord) -> (TopicPartition, i64) {
    (parked.letter.partition.clone(), parked.letter.record.offset)
}
