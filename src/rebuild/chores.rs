//! Chores: what has to be done now and then beside the operations, and must never hold them up.
//!
//! Each chore is a task of its own, for one round at a time, with a right of its own; one instance does it, while others
//! look again later. What fails is told (see [`Notice`]) and tried again ever more rarely, each thing at its own pace:
//! one that can't be done holds up no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast_core::TopicPartition;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::is_over;
use crate::retry::Backoff;
use crate::source::kafka::{Copied, DeadLetterTopic, LetterCopy};
use crate::store::{
    Chore, Dependent, DropOutcome, Generation, GenerationState, GenerationStatus, Leadership, Notice, NoticeKind,
    ParkedIn, ParkedRecord, RecordedNotice, Store, StoreError,
};

/// How long until what failed is tried again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// How often tables may be found in use before an operator is told: feeds that have not noticed yet end in less.
const TELL_AFTER: u32 = 4;
/// How many dead letters are copied at once.
const MOST_COPIED_AT_ONCE: usize = 100;
/// How many places are named in a notice.
const SHOWN: usize = 3;

/// For which projection chores are done, and by whom.
#[derive(Clone)]
pub struct ChoreContext {
    /// Where the projection's tables are.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub projection: String,
    /// By what this instance is known in the store.
    pub instance: String,
    /// What random waits are drawn from.
    pub seed: u64,
    /// When this is cancelled, the round under way ends.
    pub stop: CancellationToken,
}

/// When something that failed is tried again.
struct Attempts {
    backoff: Backoff,
    next: Option<Instant>,
}

impl Attempts {
    fn new(seed: u64) -> Self {
        Self { backoff: Backoff::new(seed, FIRST_WAIT, LONGEST_WAIT), next: None }
    }

    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    /// It failed, as often as this in a row.
    fn failed(&mut self) -> u32 {
        self.next = Some(Instant::now() + self.backoff.next_wait());
        self.backoff.attempt()
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.next = None;
    }
}

impl ChoreContext {
    async fn note(&self, generation: Generation, notice: &Notice) -> Result<(), StoreError> {
        self.store.record_notice(&self.projection, generation, &self.instance, notice).await
    }

    async fn withdraw(&self, generation: Generation, kind: NoticeKind) -> Result<(), StoreError> {
        self.store.clear_notice(&self.projection, generation, kind).await
    }

    async fn right(&self, chore: Chore) -> Result<Option<Box<dyn Leadership>>, StoreError> {
        self.store.chore(&self.projection, chore).await
    }

    fn failed(&self, chore: &'static str, error: &StoreError) {
        tracing::warn!(projection = self.projection, chore, "tried again later: {error}");
    }
}

/// Retires standbys whose time is over, and drops the tables of generations whose life has ended.
pub struct TableDropper {
    context: ChoreContext,
    /// Of the chore as a whole.
    trials: Attempts,
    /// Of each generation.
    of_each: BTreeMap<Generation, Attempts>,
}

impl TableDropper {
    /// Nothing was tried yet.
    pub fn new(context: &ChoreContext) -> Self {
        Self { context: context.clone(), trials: Attempts::new(context.seed), of_each: BTreeMap::new() }
    }

    /// Whether there is something to do now.
    pub fn is_due(&self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> bool {
        let overdue = statuses.iter().any(|status| status.state == GenerationState::Standby && status.standby_is_over);
        let over = statuses.iter().any(|status| is_over(status) && self.is_due_for(status.generation));
        let told = !outdated(statuses, notices).is_empty() || self.broken(notices).next().is_some();
        self.trials.is_due() && (overdue || over || told)
    }

    fn is_due_for(&self, generation: Generation) -> bool {
        self.of_each.get(&generation).is_none_or(Attempts::is_due)
    }

    /// The generations of which it is to be seen whether objects of users still read their tables, which are gone.
    fn broken(&self, notices: &[RecordedNotice]) -> impl Iterator<Item = Generation> {
        let broken = notices.iter().filter(|notice| notice.kind == NoticeKind::BrokenDependents);
        broken.map(|notice| notice.generation).filter(|generation| self.is_due_for(*generation))
    }

    /// One round.
    pub async fn run(mut self, statuses: Vec<GenerationStatus>, notices: Vec<RecordedNotice>) -> Self {
        match self.round(&statuses, &notices).await {
            Ok(()) => self.trials.succeeded(),
            Err(error) => {
                self.context.failed("dropping tables", &error);
                self.trials.failed();
            }
        }
        self
    }

    async fn round(&mut self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Result<(), StoreError> {
        let Some(mut right) = self.context.right(Chore::Dropping).await? else { return Ok(()) };
        right.end_overdue().await?;
        for status in statuses.iter().filter(|status| is_over(status)) {
            if self.is_due_for(status.generation) && !self.context.stop.is_cancelled() {
                self.drop(&mut *right, status).await?;
            }
        }
        for generation in outdated(statuses, notices) {
            self.context.withdraw(generation, NoticeKind::TablesNotDropped).await?;
        }
        let broken: Vec<Generation> = self.broken(notices).collect();
        for status in statuses.iter().filter(|status| broken.contains(&status.generation) && !status.has_tables) {
            let dependents = self.context.store.dependents(status).await?;
            self.tell_of_broken(status.generation, &dependents).await?;
        }
        right.resign().await
    }

    /// Fails only when the store is away: then nothing else could be done either.
    async fn drop(&mut self, right: &mut dyn Leadership, status: &GenerationStatus) -> Result<(), StoreError> {
        let (projection, generation) = (&status.projection, status.generation);
        let obstacle = match right.drop_tables(status).await {
            Ok(DropOutcome::Done(broken)) => {
                self.of_each.remove(&generation);
                tracing::info!(projection, generation = generation.0, "its tables are dropped");
                return if broken.is_empty() { Ok(()) } else { self.tell_of_broken(generation, &broken).await };
            }
            Ok(other) => Obstacle::of(&other),
            Err(error) if error.may_pass() => return Err(error),
            Err(StoreError::Refused { doing, reason }) => Obstacle::refused(&doing, &reason),
            Err(error) => Obstacle::refused("dropping tables", &error.to_string()),
        };
        let attempt = self.trials_of(generation).failed();
        if obstacle.may_pass && attempt < TELL_AFTER {
            return Ok(());
        }
        let notice = obstacle.notice(projection);
        tracing::warn!(projection, generation = generation.0, attempt, next = notice.next, "{}", notice.text);
        self.context.note(generation, &notice).await
    }

    async fn tell_of_broken(&mut self, generation: Generation, broken: &[Dependent]) -> Result<(), StoreError> {
        if broken.is_empty() {
            self.of_each.remove(&generation);
            return self.context.withdraw(generation, NoticeKind::BrokenDependents).await;
        }
        self.trials_of(generation).failed();
        self.context.note(generation, &broken_notice(broken)).await
    }

    fn trials_of(&mut self, generation: Generation) -> &mut Attempts {
        let seed = self.context.seed;
        self.of_each.entry(generation).or_insert_with(|| Attempts::new(seed))
    }
}

/// The generations of which the store says that their tables can't be dropped, although they are gone: another instance
/// has dropped them while that was noted.
fn outdated(statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Vec<Generation> {
    let told = |status: &&GenerationStatus| {
        let of_it = |notice: &RecordedNotice| {
            notice.kind == NoticeKind::TablesNotDropped && notice.generation == status.generation
        };
        notices.iter().any(of_it)
    };
    statuses.iter().filter(|status| !is_over(status)).filter(told).map(|status| status.generation).collect()
}

/// What an operator must know of objects whose tables are gone.
pub(super) fn broken_notice(broken: &[Dependent]) -> Notice {
    Notice {
        kind: NoticeKind::BrokenDependents,
        text: format!("its tables are gone, and these still read them, so they are broken: {}", named(broken)),
        next: format!("{}, and make them anew on the stable names", statements(broken)),
        count: 0,
    }
}

/// Why tables can't be dropped.
pub(super) struct Obstacle {
    text: String,
    cure: String,
    /// It goes away by itself.
    may_pass: bool,
}

impl Obstacle {
    /// What stands behind `dropped`, which is not done.
    pub(super) fn of(dropped: &DropOutcome) -> Self {
        match dropped {
            DropOutcome::Done(_) => Self { text: "nothing".into(), cure: "nothing to do".into(), may_pass: true },
            DropOutcome::InUse(by) if by.is_empty() => {
                Self { text: "they are in use".into(), cure: "wait".into(), may_pass: true }
            }
            DropOutcome::InUse(by) => Self {
                text: format!("they are in use by {}", by.join(", ")),
                cure: "wait for it, or end it".into(),
                may_pass: true,
            },
            DropOutcome::Kept(dependents) => Self {
                text: format!("{} depend on them", named(dependents)),
                cure: statements(dependents),
                may_pass: false,
            },
        }
    }

    /// The database refuses it for another reason.
    pub(super) fn refused(doing: &str, reason: &str) -> Self {
        Self { text: format!("{doing}: {reason}"), cure: "correct that".into(), may_pass: false }
    }

    /// In words, with what to type.
    pub(super) fn sentence(&self, projection: &str) -> String {
        format!("its tables can't be dropped: {}. Next: {}", self.text, self.next(projection))
    }

    /// Whether it goes away by itself.
    pub(super) fn may_pass(&self) -> bool {
        self.may_pass
    }

    fn next(&self, projection: &str) -> String {
        format!("{}; then `readcast retire {projection}`, or wait: it is tried again", self.cure)
    }

    fn notice(&self, projection: &str) -> Notice {
        Notice {
            kind: NoticeKind::TablesNotDropped,
            text: format!("its tables can't be dropped: {}", self.text),
            next: self.next(projection),
            count: 0,
        }
    }
}

/// All of them.
fn named(dependents: &[Dependent]) -> String {
    dependents.iter().map(|dependent| dependent.what.as_str()).collect::<Vec<_>>().join(", ")
}

/// What takes them away, in an order that works.
fn statements(dependents: &[Dependent]) -> String {
    let typed: Vec<&str> = dependents.iter().filter_map(|dependent| dependent.removal.as_deref()).collect();
    let rest = if typed.len() < dependents.len() { "alter or drop the others" } else { "" };
    match (typed.is_empty(), rest) {
        (true, _) => "alter or drop them".into(),
        (false, "") => format!("`{}`", typed.join("; ")),
        (false, rest) => format!("`{}`, {rest}", typed.join("; ")),
    }
}

/// Copies dead letters of the live generation to their topic.
pub struct DeadLetterCopier {
    context: ChoreContext,
    /// The consumer group of the projection.
    group: String,
    topic: Option<DeadLetterTopic>,
    trials: Attempts,
}

impl DeadLetterCopier {
    /// Nothing was tried yet. Without a topic there is nothing to copy.
    pub fn new(context: &ChoreContext, group: String, topic: Option<DeadLetterTopic>) -> Self {
        Self { context: context.clone(), group, topic, trials: Attempts::new(context.seed) }
    }

    /// Whether there is something to do now.
    pub fn is_due(&self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> bool {
        let live = statuses.iter().find(|status| status.state == GenerationState::Live);
        let copies = self.topic.is_some() && live.is_some_and(|live| live.parked.uncopied > 0);
        self.trials.is_due() && (copies || !self.outdated(live, notices).is_empty() || self.is_untold(live, notices))
    }

    /// The notices on what is over.
    fn outdated(&self, live: Option<&GenerationStatus>, notices: &[RecordedNotice]) -> Vec<(Generation, NoticeKind)> {
        let live = live.filter(|_| self.topic.is_some());
        let is_over = |notice: &&RecordedNotice| {
            let of_live = live.filter(|live| live.generation == notice.generation);
            match notice.kind {
                NoticeKind::CopyingFails => of_live.is_none_or(|live| live.parked.uncopied == 0),
                NoticeKind::DeadLettersNotCopied => of_live.is_none_or(|live| live.parked.uncopyable == 0),
                _ => false,
            }
        };
        notices.iter().filter(is_over).map(|notice| (notice.generation, notice.kind)).collect()
    }

    /// Whether other dead letters can't be copied than the store says to operators.
    fn is_untold(&self, live: Option<&GenerationStatus>, notices: &[RecordedNotice]) -> bool {
        let Some(live) = live.filter(|live| self.topic.is_some() && live.parked.uncopyable > 0) else { return false };
        let told = notices
            .iter()
            .find(|notice| notice.kind == NoticeKind::DeadLettersNotCopied && notice.generation == live.generation);
        told.is_none_or(|told| told.count != live.parked.uncopyable)
    }

    /// One round.
    pub async fn run(mut self, statuses: Vec<GenerationStatus>, notices: Vec<RecordedNotice>) -> Self {
        match self.round(&statuses, &notices).await {
            Ok(true) => self.trials.succeeded(),
            Ok(false) => drop(self.trials.failed()),
            Err(error) => {
                self.context.failed("copying dead letters", &error);
                self.trials.failed();
            }
        }
        self
    }

    /// Whether everything was copied that can be.
    async fn round(&mut self, statuses: &[GenerationStatus], notices: &[RecordedNotice]) -> Result<bool, StoreError> {
        let Some(right) = self.context.right(Chore::Copying).await? else { return Ok(true) };
        let all = self.copy_and_tell(statuses, notices).await?;
        right.resign().await?;
        Ok(all)
    }

    /// Whether everything was copied that can be.
    async fn copy_and_tell(
        &mut self,
        statuses: &[GenerationStatus],
        notices: &[RecordedNotice],
    ) -> Result<bool, StoreError> {
        let live = statuses.iter().find(|status| status.state == GenerationState::Live);
        for (generation, kind) in self.outdated(live, notices) {
            self.context.withdraw(generation, kind).await?;
        }
        let (Some(topic), Some(live)) = (self.topic.clone(), live) else { return Ok(true) };
        let of = ParkedIn { projection: &live.projection, generation: live.generation };
        let failure = self.copy_all(&topic, of).await?;
        match &failure {
            Some(reason) => self.tell_of_failure(&topic, live.generation, reason).await?,
            None => self.context.withdraw(live.generation, NoticeKind::CopyingFails).await?,
        }
        self.tell_of_uncopyable(&topic, of).await?;
        Ok(failure.is_none())
    }

    /// Copies what is to be copied. Why not all of it, if the topic is away. What was copied when we died before noting
    /// it is copied again.
    async fn copy_all(&self, topic: &DeadLetterTopic, of: ParkedIn<'_>) -> Result<Option<String>, StoreError> {
        let store = &self.context.store;
        while !self.context.stop.is_cancelled() {
            let letters = store.uncopied(of, MOST_COPIED_AT_ONCE).await?;
            if letters.is_empty() {
                break;
            }
            let places: Vec<_> = letters.iter().map(place).collect();
            let copies = letters.into_iter().map(|parked| self.copy_of(parked)).collect();
            let Copied { copied, refused, failure } = topic.copy(copies, self.context.stop.clone()).await;
            let copied: Vec<_> = copied.into_iter().map(|index| places[index].clone()).collect();
            store.note_copied(of, &copied).await?;
            let refused: Vec<_> = refused.into_iter().map(|(index, reason)| (places[index].clone(), reason)).collect();
            store.note_uncopyable(of, &refused).await?;
            if failure.is_some() {
                return Ok(failure.map(|error| error.to_string()));
            }
        }
        Ok(None)
    }

    fn copy_of(&self, parked: ParkedRecord) -> LetterCopy {
        LetterCopy {
            projection: self.context.projection.clone(),
            group: self.group.clone(),
            partition: parked.letter.partition,
            record: parked.letter.record,
            cause: parked.letter.cause.map(|cause| (cause.class.to_string(), cause.reason)),
        }
    }

    async fn tell_of_failure(
        &self,
        topic: &DeadLetterTopic,
        generation: Generation,
        reason: &str,
    ) -> Result<(), StoreError> {
        let notice = Notice {
            kind: NoticeKind::CopyingFails,
            text: format!("dead letters can't be copied to topic `{}`: {reason}", topic.name()),
            next: "make sure that the topic exists and that its brokers can be reached; it is tried again".into(),
            count: 0,
        };
        let (projection, attempt) = (&self.context.projection, self.trials.backoff.attempt() + 1);
        tracing::warn!(projection, generation = generation.0, attempt, next = notice.next, "{}", notice.text);
        self.context.note(generation, &notice).await
    }

    async fn tell_of_uncopyable(&self, topic: &DeadLetterTopic, of: ParkedIn<'_>) -> Result<(), StoreError> {
        let refused = self.context.store.uncopyable(of).await?;
        if refused.is_empty() {
            return self.context.withdraw(of.generation, NoticeKind::DeadLettersNotCopied).await;
        }
        let shown = refused.iter().take(SHOWN).map(|((at, offset), reason)| format!("{}: {reason}", at.at(*offset)));
        let shown = shown.collect::<Vec<_>>().join("; ");
        let more = if refused.len() > SHOWN { " and more" } else { "" };
        let notice = Notice {
            kind: NoticeKind::DeadLettersNotCopied,
            text: format!(
                "dead letters that can't be copied to topic `{}`, while others are: {shown}{more}",
                topic.name()
            ),
            next: format!(
                "raise `message.max.bytes` in `[source.properties]` and `max.message.bytes` of the topic where they are \
                 too large, or settle them (`readcast dead-letters list {}`); each is tried again within an hour",
                of.projection
            ),
            count: refused.len() as u64,
        };
        self.context.note(of.generation, &notice).await
    }
}

fn place(parked: &ParkedRecord) -> (TopicPartition, i64) {
    (parked.letter.partition.clone(), parked.letter.record.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependent(what: &str, removal: Option<&str>) -> Dependent {
        Dependent { what: what.into(), on: "t_g1".into(), removal: removal.map(str::to_owned) }
    }

    #[test]
    fn an_obstacle_names_all_that_depends_and_what_to_type() {
        let kept =
            DropOutcome::Kept(vec![dependent("view a", Some("DROP VIEW a")), dependent("view b", Some("DROP VIEW b"))]);
        let expected = "its tables can't be dropped: view a, view b depend on them. Next: `DROP VIEW a; DROP VIEW b`; then \
                        `readcast retire p`, or wait: it is tried again";
        assert_eq!(Obstacle::of(&kept).sentence("p"), expected);
        let child = DropOutcome::Kept(vec![dependent("view a", Some("DROP VIEW a")), dependent("table c", None)]);
        assert!(Obstacle::of(&child).sentence("p").contains("Next: `DROP VIEW a`, alter or drop the others; then"));
        let used = DropOutcome::InUse(vec!["process 7".into()]);
        assert!(Obstacle::of(&used).sentence("p").contains("in use by process 7. Next: wait for it, or end it; then"));
    }

    #[test]
    fn what_failed_is_tried_again_ever_more_rarely_and_at_least_now_and_then() {
        let mut trials = Attempts::new(7);
        assert!(trials.is_due());
        let mut waits = Vec::new();
        for attempt in 1..=20 {
            let now = Instant::now();
            assert_eq!(trials.failed(), attempt);
            assert!(!trials.is_due());
            waits.push(trials.next.expect("there is a next try").duration_since(now));
        }
        assert!(waits[0] <= FIRST_WAIT + Duration::from_secs(1), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT + Duration::from_secs(1)), "{waits:?}");
        assert!(waits[19] >= LONGEST_WAIT / 2, "{waits:?}");
        trials.succeeded();
        assert!(trials.is_due());
    }
}
