//! The tasks of one projection. Each end of a task is known by the task that ended, a panic included.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

use crate::error::Failure;
use crate::operations::chores::{DeadLetterCopier, TableDropper};
use crate::store::Generation;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Feed(Generation),
    OperationReconciler,
    TableDropper,
    DeadLetterCopier,
}

/// How a task ended. Those that stop with something to continue give it back.
pub(super) enum TaskEnd {
    Feed(Generation, Result<(), Failure>),
    OperationReconciler(Result<(), Failure>),
    TableDropper(TableDropper),
    DeadLetterCopier(DeadLetterCopier),
    /// It panicked, with this text.
    Panicked(Task, String),
}

/// Tasks, each under its name. Dropping them aborts them.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<TaskEnd>,
    running: HashMap<Id, Task>,
}

impl Tasks {
    pub(super) fn spawn(&mut self, task: Task, work: impl Future<Output = TaskEnd> + Send + 'static) {
        let id = self.set.spawn(work).id();
        self.running.insert(id, task);
    }

    pub(super) fn is_running(&self, task: Task) -> bool {
        self.running.values().any(|running| *running == task)
    }

    /// Waits for the next end of a task; `None` when there is no task. May be cancelled without losing anything.
    pub(super) async fn next_end(&mut self) -> Option<TaskEnd> {
        let joined = self.set.join_next_with_id().await?;
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.running.remove(&id);
        match joined {
            Ok((_, end)) => Some(end),
            Err(panicked) => task.map(|task| TaskEnd::Panicked(task, panicked.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_task_that_panicked() {
        let mut tasks = Tasks::default();
        let feed = Task::Feed(Generation(2));
        tasks.spawn(feed, async { panic!("a fault") });
        assert!(tasks.is_running(feed) && !tasks.is_running(Task::OperationReconciler));
        let end = tasks.next_end().await;
        assert!(matches!(end, Some(TaskEnd::Panicked(task, text)) if task == feed && text.contains("a fault")));
        assert!(!tasks.is_running(feed));
        assert!(tasks.next_end().await.is_none());
    }
}
