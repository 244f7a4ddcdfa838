//! Control over a real store, without an interface.

use std::sync::Arc;

use async_trait::async_trait;
use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, Registry, TableSpec};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::Command;
use crate::store::sqlite::Sqlite;
use crate::supervisor::Outcomes;

/// A projection that does nothing.
pub(super) struct Minimal;

impl Projection for Minimal {
    fn name(&self) -> &str {
        "p"
    }

    fn topics(&self) -> &[&str] {
        &["orders"]
    }

    fn event_types(&self) -> &[&str] {
        &["HAPPENED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        vec![TableSpec::new("t").key("id", ColumnType::Text)]
    }

    fn project(&self, _event: &Envelope<'_>, _changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        Ok(())
    }
}

/// Runs nothing until it is stopped.
struct Idle;

#[async_trait]
impl LocalExecutor for Idle {
    async fn run(
        &self,
        _registry: Registry,
        _store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Outcomes, ControlError> {
        stop.cancelled().await;
        Ok(Outcomes::new())
    }

    async fn lock_store(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// Control over a new database in which `p` has a live generation.
async fn control(dir: &TempDir) -> Control {
    let store = Sqlite::open(&dir.path().join("read.db")).await.expect("a new file");
    let registry = Registry::new().register(Minimal);
    let control = Control::new(registry, Arc::new(store), StoreAccess::Shared, "ann@db1");
    let migrated = control.migrate().await.expect("the database is empty");
    assert_eq!((&*migrated[0].projection, migrated[0].live_generation), ("p", 1));
    control
}

#[tokio::test]
async fn pause_and_resume_return_how_many_generations_changed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let control = control(&dir).await;
    assert_eq!(control.pause("p", PauseScope::Rebuild).await, Ok(0), "nothing is being built");
    assert_eq!(control.pause("p", PauseScope::Projection).await, Ok(1));
    assert_eq!(control.pause("p", PauseScope::Projection).await, Ok(0), "it is paused already");
    assert_eq!(control.resume("p", PauseScope::Projection).await, Ok(1));
}

#[tokio::test]
async fn every_request_about_an_unknown_projection_is_not_found() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let control = control(&dir).await;
    let list = ListFilter { projection: Some("q".into()), ..ListFilter::default() };
    let errors = [
        control.pause("q", PauseScope::Projection).await.err(),
        control.cancel("q").await.err(),
        control.rename("q", "r").await.err(),
        control.retire_command("q").await.err(),
        control.verify_command("q").await.err(),
        control.accept_loss_command("q").await.err(),
        control.list_dead_letters(&list).await.err(),
        control.dead_letter("q", "orders/0@1", 1).await.err(),
    ];
    for (at, error) in errors.into_iter().enumerate() {
        assert_eq!(error.map(|error| error.kind()), Some(ControlErrorKind::NotFound), "request {at}");
    }
}

#[tokio::test]
async fn an_interrupted_wait_leaves_the_operation_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut control = control(&dir).await;
    let mut phases = Vec::new();
    let (interrupt, interrupted) = tokio::sync::oneshot::channel::<()>();
    let mut interrupt = Some(interrupt);
    let on_progress = |progress: &crate::store::OperationProgress| {
        phases.push(progress.phase.clone());
        drop(interrupt.take());
    };
    let interrupted = async { drop(interrupted.await) };
    let ended = control.carry_out("p", &Command::Rollback, &Idle, interrupted, on_progress).await;
    let error = ended.expect_err("nobody carried it out").to_string();
    assert!(error.contains("stopped waiting; operation 1 stays open"), "{error}");
    assert_eq!(phases, ["waiting to start"]);
    let open = control.store.operations("p", 0).await.expect("the store answers");
    assert_eq!(open.iter().map(|operation| (operation.id, operation.state.is_open())).collect::<Vec<_>>(), [(1, true)]);
    assert_eq!(control.request("p", &Command::Rollback).await.map(|asked| asked.executor), Ok(Executor::ThisProcess));
}

#[test]
fn a_projection_that_never_ran_has_no_live_generation() {
    let live = GenerationStatus::live_at(&[]);
    assert!(live_of(std::slice::from_ref(&live), "p").is_ok());
    let error = live_of(&[live], "q").expect_err("it has none");
    assert_eq!(error.to_string(), "q has no live generation yet. Next: `readcast run` builds the first one");
}

#[test]
fn an_unknown_projection_is_refused_with_those_there_are() {
    let error = no_such_projection("x", ["b", "a"]);
    assert_eq!(error.to_string(), "there is no projection `x`; there are: a, b");
}
