//! Why the store did not do what it was asked for.

/// Why the store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, is busy, or asks for a retry: the whole transaction may be tried again.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// It refuses the login. That may be tried again, for passwords and roles change while a process runs.
    #[error("{doing}: {reason}")]
    Denied {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message.
        reason: String,
    },
    /// It refuses, and would refuse again.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// It can't hold these rows: the records that they were made from are poison.
    #[error("{doing}: {reason}")]
    Unstorable {
        /// What was being done.
        doing: String,
        /// SQLSTATE and message, never row data.
        reason: String,
    },
    /// The database belongs to another deployment.
    #[error("{reason}")]
    Deployment {
        /// Whose it is, and how that differs from ours.
        reason: String,
    },
    /// The tables are not as the projection declares them.
    #[error("projection `{projection}`: {reason}")]
    Definition {
        /// The projection's name.
        projection: String,
        /// What differs.
        reason: String,
    },
}

impl StoreError {
    /// Whether another try may succeed although nothing changes in this process.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. } | StoreError::Denied { .. })
    }

    /// The reason, without what was being done. That of a Postgres server begins with its SQLSTATE.
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
