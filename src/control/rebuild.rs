//! Rebuilds: requested from a start position, and previewed.

mod start_position;

pub use self::start_position::StartPosition;
use super::{Control, ControlError, live_of};
use crate::operations::preview::{PreviewInputs, RebuildPreview};
use crate::source::Source;
use crate::store::{Command, GenerationStatus, Rebuild};

/// How many operations are searched for an earlier rebuild, whose rate a preview takes.
const PREVIEW_HISTORY: usize = 100;

/// The rebuild that an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildRequest {
    /// Where in the log it begins.
    pub from: StartPosition,
    /// Leave the new generation ready, for `activate`.
    pub no_activate: bool,
    /// Rebuild even if the log no longer holds everything that the live generation was built from.
    pub accept_truncated: bool,
    /// Activate the new generation whatever the comparison with the live one says.
    pub accept_difference: bool,
    /// Rebuild even if columns change their types, which breaks readers that have prepared statements.
    pub accept_type_change: bool,
    /// Create the indexes that users created on the live tables on the new tables too.
    pub keep_indexes: bool,
    /// Pause while the live generation lags by more records than this; 0 for never.
    pub max_live_lag: u64,
}

impl Control {
    /// The operation that rebuilds a projection with the current definition. `source` is asked where the start position
    /// depends on the log.
    ///
    /// # Errors
    /// `NotFound` when the projection has no live generation; `Invalid` when records would be skipped.
    pub async fn rebuild_command(
        &self,
        source: &dyn Source,
        projection: &str,
        request: &RebuildRequest,
    ) -> Result<Command, ControlError> {
        self.definition(projection)?;
        let live = self.live_generation(projection).await?;
        Ok(Command::Rebuild(self.resolve(source, request, &live).await?))
    }

    /// The operation that folds the rows of one record key again.
    ///
    /// # Errors
    /// `NotFound` when the projection has no live generation; `Conflict` when other code built it.
    pub async fn refold_command(&self, projection: &str, key: &str) -> Result<Command, ControlError> {
        self.definition(projection)?;
        let live = self.live_generation(projection).await?;
        Ok(Command::RefoldKey { key: key.to_owned(), definition_hash: self.builder(&live)?.hash().to_owned() })
    }

    /// What a rebuild would take, and whether it would be refused. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the projection has no live generation; `Unavailable` when store or log do not answer.
    pub async fn preview_rebuild(
        &self,
        source: &dyn Source,
        projection: &str,
        request: &RebuildRequest,
    ) -> Result<RebuildPreview, ControlError> {
        let definition = self.definition(projection)?;
        let generations = self.generations_of(projection).await?;
        let live = live_of(&generations, projection)?;
        let mut dependents = Vec::new();
        for generation in generations.iter().filter(|found| found.has_tables) {
            dependents.extend(self.store.dependents(generation).await?);
        }
        let found = PreviewInputs {
            live,
            dependents: &dependents,
            extents: &source.extents(definition.topics()).await?,
            operations: &self.store.operations(projection, PREVIEW_HISTORY).await?,
            swap_impact: &self.store.swap_impact(live, definition).await?,
            additions: &self.store.additions(live, definition).await?,
        };
        Ok(RebuildPreview::of(&self.resolve(source, request, live).await?, definition, found))
    }

    async fn resolve(
        &self,
        source: &dyn Source,
        request: &RebuildRequest,
        live: &GenerationStatus,
    ) -> Result<Rebuild, ControlError> {
        let definition = self.definition(&live.projection)?;
        Ok(Rebuild {
            definition_hash: definition.hash().to_owned(),
            begin: request.from.resolve(source, definition.topics(), live).await?,
            no_activate: request.no_activate,
            accept_truncated: request.accept_truncated,
            accept_difference: request.accept_difference,
            accept_type_change: request.accept_type_change,
            keep_indexes: request.keep_indexes,
            max_live_lag: request.max_live_lag,
        })
    }
}
