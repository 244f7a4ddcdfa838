//! `rebuild`: builds a new generation beside the live one, compares the two, and makes the new one live.

use readcast_core::{Definition, TopicPartition};

use super::log_history::{truncated_history, unreadable_position};
use super::reconciler::Next;
use super::step::OperationStep;
use super::{activate, build, swap};
use crate::error::Failure;
use crate::failpoint;
use crate::store::{
    BuildOptions, GenerationState, GenerationStatus, OperationState, Rebuild, RebuildStart, StoreError,
};

/// Does what comes next of a rebuild: begins the generation, brings it one phase further, or makes it live.
pub(super) async fn run(step: &mut OperationStep<'_>, rebuild: &Rebuild) -> Result<Next, Failure> {
    let Some(status) = step.built() else {
        let Some(definition) = step.reconciler.version(&rebuild.definition_hash) else { return Ok(Next::Nothing) };
        return begin(step, rebuild, definition).await;
    };
    let number = status.generation.0;
    match status.state {
        GenerationState::Building => build::run(step, status).await,
        GenerationState::Ready => activate_if_allowed(step, rebuild, status).await,
        GenerationState::Live | GenerationState::Standby => {
            step.finish(OperationState::Done, &format!("generation {number} is live")).await
        }
        GenerationState::Failed | GenerationState::Retired => {
            let reason = status.last_error.as_ref().map_or("it was cancelled", |error| &error.text);
            step.finish(OperationState::Refused, &format!("generation {number} was not built: {reason}")).await
        }
    }
}

async fn activate_if_allowed(
    step: &mut OperationStep<'_>,
    rebuild: &Rebuild,
    ready: &GenerationStatus,
) -> Result<Next, Failure> {
    let (name, number) = (&ready.projection, ready.generation.0);
    if rebuild.keep_indexes {
        // Users may have made more indexes since the index phase. These are copied now.
        let missing = step.lead.carry_indexes(step.live, ready).await?;
        if !missing.is_empty() {
            let outcome = format!(
                "generation {number} is ready but was not activated, because these indexes can't be created on it: {}. \
                 Next: drop them and rebuild again; or activate without them: `readcast activate {name}`; or give the \
                 generation up: `readcast cancel {name}`",
                missing.join("; ")
            );
            return step.finish(OperationState::Refused, &outcome).await;
        }
    }
    if rebuild.no_activate {
        let outcome = format!("generation {number} is ready. Next: `readcast activate {name}` makes it live");
        return step.finish(OperationState::Done, &outcome).await;
    }
    let objections = activate::objections(step, ready);
    if objections.is_empty() || rebuild.accept_difference {
        return swap::run(step, ready).await;
    }
    let outcome = format!(
        "generation {number} is ready but was not activated: {}. Next: look at the differences with `readcast status`, \
         then type `readcast activate {name} --accept-difference` or `readcast cancel {name}`",
        objections.join("; "),
    );
    step.finish(OperationState::Refused, &outcome).await
}

/// Begins the generation, unless the log no longer holds what that needs.
async fn begin(step: &mut OperationStep<'_>, rebuild: &Rebuild, definition: &Definition) -> Result<Next, Failure> {
    let extents = step.reconciler.source.extents(definition.topics()).await?;
    if rebuild.begin == RebuildStart::Earliest
        && !rebuild.accept_truncated
        && let Some(truncated) = truncated_history(&extents, step.live)
    {
        let outcome = format!(
            "{truncated}. The new tables would lack what those records made. Next: \
             `readcast rebuild {} --accept-truncated` rebuilds from what is left",
            step.live.projection
        );
        return step.finish(OperationState::Refused, &outcome).await;
    }
    if let Some(unreadable) = unreadable_position(step.live, &extents) {
        let outcome = format!(
            "the log can't be read from the live generation's position ({unreadable}), so a new generation could never \
             be compared with it. Next: restore the log, or start over (docs/src/guides/lost-log.md#starting-over)"
        );
        return step.finish(OperationState::Refused, &outcome).await;
    }
    if !rebuild.no_activate && !rebuild.accept_type_change {
        // Before hours of work rather than behind them.
        if let Some(refusal) = activate::refusal_of_types(&step.live.tables, definition.tables()) {
            let outcome = format!(
                "{refusal}. Next: add a column beside it, or type `readcast rebuild {} --accept-type-change`",
                step.live.projection
            );
            return step.finish(OperationState::Refused, &outcome).await;
        }
    }
    // A projection has at most one generation that is not live yet.
    let earlier =
        |status: &&GenerationStatus| matches!(status.state, GenerationState::Building | GenerationState::Ready);
    for earlier in step.statuses.iter().filter(earlier) {
        step.lead.end(earlier.generation, Some("another rebuild was requested")).await?;
    }
    let copy_from = copy_from(&rebuild.begin)?;
    let options = BuildOptions { scratch: false, load: copy_from.is_none(), copy_from };
    let generation = step.lead.begin(step.operation.id, definition, &options, &extents).await?;
    failpoint::hit("rebuild_begun");
    if options.copy_from.is_some() {
        // What follows finds rows by other columns than the key: those of a fan-out or of a reference.
        step.lead.index(definition, generation).await?;
    }
    tracing::Span::current().record("generation", generation.0);
    tracing::info!("rebuild begun");
    Ok(Next::Step)
}

/// The offsets at which a copy of the live rows begins, if the rebuild begins as one.
fn copy_from(begin: &RebuildStart) -> Result<Option<Vec<(TopicPartition, i64)>>, StoreError> {
    let refused = |text: &str| StoreError::Refused {
        doing: "beginning a generation".into(),
        reason: format!("`{text}` is no topic and partition, such as `orders/0`"),
    };
    let parsed = |(text, offset): (&String, &i64)| {
        let (topic, partition) = text.rsplit_once('/').ok_or_else(|| refused(text))?;
        let partition = partition.parse().map_err(|_| refused(text))?;
        Ok((TopicPartition::new(topic, partition), *offset))
    };
    match begin {
        RebuildStart::Earliest => Ok(None),
        RebuildStart::Live => Ok(Some(Vec::new())),
        RebuildStart::Offsets(offsets) => offsets.iter().map(parsed).collect::<Result<_, _>>().map(Some),
    }
}
