//! Errors of the store.

/// An error of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached, is busy, or requires a retry: repeat the whole transaction.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// The operation that failed.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// The store refuses the login. Retry: passwords and roles may change while the process runs.
    #[error("{doing}: {reason}")]
    Denied {
        /// The operation that failed.
        doing: String,
        /// The SQLSTATE and the message of the server.
        reason: String,
    },
    /// The store refuses the operation, and would refuse it again.
    #[error("{doing}: {reason}")]
    Refused {
        /// The operation that failed.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// The store can't hold these rows: the records that they were made from are poison.
    #[error("{doing}: {reason}")]
    Unstorable {
        /// The operation that failed.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// The database belongs to another deployment.
    #[error("{reason}")]
    Deployment {
        /// The deployment that the database belongs to, and how it differs from this one.
        reason: String,
    },
    /// The tables differ from the declaration of the projection.
    #[error("projection `{projection}`: {reason}")]
    Definition {
        /// The projection's name.
        projection: String,
        /// The differences, as a sentence.
        reason: String,
    },
}

impl StoreError {
    /// Whether a retry may succeed without a change in this process.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. } | StoreError::Denied { .. })
    }

    /// The reason without the operation that failed. The reason of a Postgres server begins with its SQLSTATE.
    pub(super) fn reason(&self) -> &str {
        match self {
            StoreError::Unavailable { reason, .. }
            | StoreError::Denied { reason, .. }
            | StoreError::Refused { reason, .. }
            | StoreError::Unstorable { reason, .. }
            | StoreError::Deployment { reason }
            | StoreError::Definition { reason, .. } => reason,
        }
    }
}
