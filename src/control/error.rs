//! Why control did not do what it was asked to: of which kind that is, and what to do next.

use std::fmt;

use serde::Serialize;

use crate::error::Failure;
use crate::source::SourceError;
use crate::store::StoreError;

/// Why control did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlError {
    kind: ControlErrorKind,
    /// What happened. It may quote a record, so it belongs into no log.
    message: String,
    /// What to do next.
    advice: Option<String>,
}

/// The kinds of [`ControlError`], as an interface tells them apart: by exit codes, or by statuses of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlErrorKind {
    /// The projection, generation, record or operation does not exist.
    NotFound,
    /// The request makes no sense, whatever the state of the projection is.
    Invalid,
    /// The request was understood and not carried out.
    Refused,
    /// The state of the store, the log or the code does not allow the request.
    Conflict,
    /// The store or the log does not answer. The same request may succeed later.
    Unavailable,
}

impl ControlError {
    /// An error of this kind.
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::NotFound, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::Invalid, message)
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::Refused, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ControlErrorKind::Conflict, message)
    }

    /// The same error, with what to do next.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// The same error, with `context` before what happened.
    #[must_use]
    pub(super) fn prefixed(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// The kind of the error, for callers that react to it.
    pub fn kind(&self) -> ControlErrorKind {
        self.kind
    }
}

impl std::error::Error for ControlError {}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.advice.iter().try_for_each(|advice| write!(f, ". Next: {advice}"))
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } | StoreError::Denied { .. } => {
                Self::of_failure(ControlErrorKind::Unavailable, error.into())
            }
            StoreError::Deployment { .. } => Self::of_failure(ControlErrorKind::Conflict, error.into()),
            StoreError::Definition { .. } => Self::conflict(error.to_string()),
            StoreError::Refused { .. } | StoreError::Unstorable { .. } => Self::refused(error.to_string()),
        }
    }
}

impl From<SourceError> for ControlError {
    fn from(error: SourceError) -> Self {
        match &error {
            SourceError::Unavailable { .. } => Self::of_failure(ControlErrorKind::Unavailable, error.into()),
            SourceError::NoTopic(_) => Self::of_failure(ControlErrorKind::NotFound, error.into()),
            SourceError::Verdict { .. } => Self::of_failure(ControlErrorKind::Conflict, error.into()),
            SourceError::Refused { .. } => Self::refused(error.to_string()),
        }
    }
}

impl ControlError {
    /// A failure with the advice that the table of failures has for it.
    fn of_failure(kind: ControlErrorKind, failure: Failure) -> Self {
        let (_, advice) = failure.disposition();
        Self::new(kind, failure.to_string()).advise(advice)
    }

    /// A projection halted with `failure`.
    pub(super) fn halted(projection: &str, failure: &Failure) -> Self {
        let (_, advice) = failure.disposition();
        Self::refused(format!("{projection} halted: {failure}")).advise(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_store_get_a_kind_and_advice_where_another_try_may_help() {
        let (doing, reason) = ("reading".to_owned(), "timed out after 10 s".to_owned());
        let away = ControlError::from(StoreError::Unavailable { doing: doing.clone(), reason: reason.clone() });
        assert_eq!(away.kind(), ControlErrorKind::Unavailable);
        assert!(away.to_string().starts_with("reading: timed out after 10 s. Next: "), "{away}");
        let refused = ControlError::from(StoreError::Refused { doing, reason });
        assert_eq!(refused.kind(), ControlErrorKind::Refused);
        assert_eq!(refused.to_string(), "reading: timed out after 10 s");
    }

    #[test]
    fn an_interface_may_send_an_error_as_json() {
        let error = ControlError::not_found("there is no projection `x`").advise("`readcast status`");
        let expected = serde_json::json!({
            "kind": "not_found", "message": "there is no projection `x`", "advice": "`readcast status`"
        });
        assert_eq!(serde_json::to_value(error).expect("it is plain"), expected);
    }
}
