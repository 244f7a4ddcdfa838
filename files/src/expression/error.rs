//! Why a text is no expression, and why an expression has no value.

use std::ops::Range;

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    /// The part of the text that is wrong, in bytes.
    pub(crate) span: Range<usize>,
    /// What is wrong with it.
    pub(crate) message: String,
    /// What to write instead, where that is known.
    pub(crate) help: Option<String>,
}

impl ExpressionError {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The error with the known name that is nearest to `name`.
    pub(crate) fn nearest<'n>(self, name: &str, known: impl IntoIterator<Item = &'n str>) -> Self {
        match nearest(name, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The known name that `name` is most likely a misspelling of.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const LEAST: f64 = 0.75;
    let similar = known.into_iter().map(|other| (strsim::jaro_winkler(name, other), other));
    let best = similar.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(likeness, _)| *likeness >= LEAST).map(|(_, name)| name)
}

/// Why an expression has no value for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvaluationError {
    /// The event has no field of this name.
    #[error("the event has no `{0}`")]
    Missing(String),
    /// Any other reason.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for EvaluationError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}
