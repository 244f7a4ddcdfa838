//! The chores of one projection, beside its operations: tables dropped, dead letters copied, notices read and withdrawn.

use tracing::Instrument;

use super::tasks::{Task, TaskEnd, Tasks};
use crate::operations::chores::{ChoreContext, DeadLetterCopier, TableDropper};
use crate::plan::{RecordPolicy, is_handled_by_now};
use crate::store::{GenerationStatus, NoticeKind, RecordedNotice, StoreError};
use crate::supervisor::{Options, Shared};

/// What is known between two rounds of the chores.
#[derive(Default)]
pub(super) struct Chores {
    /// `None` while a task does it.
    table_dropper: Option<TableDropper>,
    /// `None` while a task does it.
    dead_letter_copier: Option<DeadLetterCopier>,
    /// What the store says to operators of the projection's generations; `None` when a chore may have changed that.
    notices: Option<Vec<RecordedNotice>>,
}

impl Chores {
    /// Makes the chores that are missing, with nothing tried yet. One that a task does comes back when the task ends.
    pub(super) fn renew(&mut self, projection: &str, options: &Options, shared: &Shared) {
        let context = ChoreContext {
            store: shared.store.clone(),
            projection: projection.to_owned(),
            instance: options.instance(),
            seed: options.seed,
            stop: shared.stop.clone(),
        };
        let (group, topic) = (options.group.clone(), shared.dead_letter_sink.clone());
        self.table_dropper.get_or_insert_with(|| TableDropper::new(&context));
        self.dead_letter_copier.get_or_insert_with(|| DeadLetterCopier::new(&context, group, topic));
    }

    /// Reads what the store says to operators, where `is_due` or after a chore, and withdraws what is over and has no
    /// other owner.
    pub(super) async fn read_notices(
        &mut self,
        projection: &str,
        options: &Options,
        shared: &Shared,
        is_due: bool,
    ) -> Result<(), StoreError> {
        if !is_due && self.notices.is_some() {
            return Ok(());
        }
        let mut notices = shared.store.notices().await?;
        notices.retain(|notice| notice.projection == projection);
        shared.metrics.projection(projection).notices(&notices);
        let notices = self.notices.insert(notices);
        for notice in notices.iter().filter(|notice| is_over(notice, &options.record_policy)) {
            shared.store.clear_notice(projection, notice.generation, notice.kind, &notice.subject).await?;
        }
        Ok(())
    }

    /// Starts a round of each chore that is due, beside all other tasks.
    pub(super) fn start_due(&mut self, statuses: &[GenerationStatus], tasks: &mut Tasks) {
        let statuses = statuses.to_vec();
        let notices = self.notices.clone().unwrap_or_default();
        if let Some(dropper) = self.table_dropper.take_if(|dropper| dropper.is_due(&statuses, &notices)) {
            let (statuses, notices) = (statuses.clone(), notices.clone());
            let round = async move { TaskEnd::TableDropper(dropper.run(statuses, notices).await) };
            tasks.spawn(Task::TableDropper, round.in_current_span());
        }
        if let Some(copier) = self.dead_letter_copier.take_if(|copier| copier.is_due(&statuses, &notices)) {
            let round = async move { TaskEnd::DeadLetterCopier(copier.run(statuses, notices).await) };
            tasks.spawn(Task::DeadLetterCopier, round.in_current_span());
        }
    }

    pub(super) fn dropped_tables(&mut self, dropper: TableDropper) {
        self.table_dropper = Some(dropper);
        self.notices = None;
    }

    pub(super) fn copied_dead_letters(&mut self, copier: DeadLetterCopier) {
        self.dead_letter_copier = Some(copier);
        self.notices = None;
    }
}

/// Whether a notice about single events can be withdrawn.
fn is_over(notice: &RecordedNotice, policy: &RecordPolicy) -> bool {
    match notice.kind {
        NoticeKind::EventsWithoutIdentity => notice.is_old || policy.duplicate_window.is_off(),
        NoticeKind::UnhandledEventType => notice.is_old || is_handled_by_now(&policy.registry, &notice.subject),
        NoticeKind::TablesNotDropped
        | NoticeKind::BrokenDependents
        | NoticeKind::CopyingFails
        | NoticeKind::DeadLettersNotCopied
        | NoticeKind::OrderDependentRows => false,
    }
}
