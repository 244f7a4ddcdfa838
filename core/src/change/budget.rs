//! What one event may cost, and the first mistake in its changes.

use super::{ChangeError, Changes};

/// Counts the operations of one event and keeps the first error.
#[derive(Debug, Default)]
pub(super) struct Budget {
    operations: usize,
    error: Option<ChangeError>,
}

/// The panic payload for an event that exceeds [`Changes::MAX_OPERATIONS`]. [`Definition::project`] catches it.
///
/// [`Definition::project`]: crate::Definition::project
pub(crate) struct OperationLimitExceeded;

impl Budget {
    /// Counts one operation.
    ///
    /// # Panics
    /// With [`OperationLimitExceeded`] above the limit. An error kept for the end would not stop a projection that loops
    /// forever: it would fill the memory first.
    pub(super) fn spend(&mut self) {
        self.operations += 1;
        if self.operations > Changes::MAX_OPERATIONS {
            std::panic::resume_unwind(Box::new(OperationLimitExceeded));
        }
    }

    /// The value of `result`. An error is kept if it is the first.
    pub(super) fn check<T>(&mut self, result: Result<T, ChangeError>) -> Option<T> {
        result.map_err(|error| self.error.get_or_insert(error)).ok()
    }

    /// The first error, if there was one.
    pub(super) fn into_error(self) -> Option<ChangeError> {
        self.error
    }
}
