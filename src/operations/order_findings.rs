//! Tells operators of rows that depend on the order between partitions, which a load finds.

use super::step::OperationStep;
use crate::plan::OrderDependence;
use crate::store::{Command, Generation, GenerationStatus, Notice, NoticeKind, StoreError};
use crate::text::counted;

/// Records a notice for each table, on the generation that is built. The tables that `verify` builds are dropped, so its
/// notices are on the live generation.
///
/// # Errors
/// If the store fails.
pub(super) async fn note(
    step: &mut OperationStep<'_>,
    status: &GenerationStatus,
    found: &[OrderDependence],
) -> Result<(), StoreError> {
    let is_verify = matches!(step.operation.command, Command::Verify { .. });
    let on = if is_verify { step.live.generation } else { status.generation };
    let (store, projection) = (&step.reconciler.store, &status.projection);
    for notice in known(step, on).await? {
        store.clear_notice(projection, on, NoticeKind::OrderDependentRows, &notice).await?;
    }
    for dependence in found {
        let OrderDependence { table, operations, rows, .. } = dependence;
        tracing::warn!("{} of `{table}` depend on the order between partitions: {operations}", counted(*rows, "row"));
        store.record_notice(projection, on, &step.reconciler.instance, &notice(dependence)).await?;
    }
    step.local.order_findings = found.to_vec();
    Ok(())
}

/// The tables on which there are notices already.
async fn known(step: &mut OperationStep<'_>, on: Generation) -> Result<Vec<String>, StoreError> {
    let mut notices = step.reconciler.store.notices().await?;
    notices.retain(|notice| {
        notice.kind == NoticeKind::OrderDependentRows
            && notice.projection == step.live.projection
            && notice.generation == on
    });
    Ok(notices.into_iter().map(|notice| notice.subject).collect())
}

fn notice(dependence: &OrderDependence) -> Notice {
    let OrderDependence { table, rows, operations, .. } = dependence;
    Notice {
        kind: NoticeKind::OrderDependentRows,
        subject: table.clone(),
        text: format!("rows of `{table}` depend on the order between partitions: {operations}"),
        next: "see docs/src/runbook/notices.md#order_dependent_rows: use a reference, `newer`, or an operation whose order \
               does not matter"
            .into(),
        count: *rows,
    }
}

/// Such as `; 125 rows of accounts depend on the order between partitions: …, such as 17`. It names keys.
pub(super) fn sentence(found: &[OrderDependence]) -> String {
    let sentence = |dependence: &OrderDependence| {
        let OrderDependence { table, rows, operations, keys } = dependence;
        let (rows, keys) = (counted(*rows, "row"), keys.join("; "));
        format!("; {rows} of `{table}` depend on the order between partitions: {operations}, such as {keys}")
    };
    found.iter().map(sentence).collect()
}
