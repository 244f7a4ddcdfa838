//! A configured value, from a file, a variable or a flag: its key, its text or number, and its place.
//!
//! The readers here take a value as text, number or boolean. Their errors name the place.

use std::fmt::Display;
use std::path::PathBuf;

use super::error::ConfigError;
use super::secret::{Secret, SecretSource};

/// A configured value with its place.
pub(super) struct Written {
    /// The name under which it was written: `projector.lanes`.
    pub(super) key: String,
    /// What was written.
    pub(super) value: Value,
    /// The place of the key: `readcast.toml:7:1`, the name of a variable, or a flag.
    pub(super) key_at: String,
    /// The place of the value.
    pub(super) value_at: String,
    /// The file that holds the value. Only a secret has one, and readers read that file again each time.
    pub(super) file: Option<PathBuf>,
}

/// What was written. Variables and flags are always text.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Texts(Vec<String>),
    /// A section. Its contents are values of their own.
    Table,
    /// A type that no setting takes, described for errors.
    Other(&'static str),
}

impl Written {
    /// A text that was written at `place`.
    pub(super) fn text_at(place: impl Into<String>, key: impl Into<String>, text: impl Into<String>) -> Self {
        let place = place.into();
        Self { key: key.into(), value: Value::Text(text.into()), key_at: place.clone(), value_at: place, file: None }
    }

    /// The same value, read from the file `path`.
    pub(super) fn held_by(self, path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..self }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table)
    }

    /// The text, which is not empty.
    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            Value::Text(text) if !text.is_empty() => Ok(text),
            Value::Text(_) => Err(self.wrong("must not be empty")),
            other => Err(self.wrong(format!("must be a text in quotes, found {}", other.type_name()))),
        }
    }

    /// The text or the texts, none of which is empty.
    pub(super) fn texts(&self) -> Result<Vec<&str>, ConfigError> {
        match &self.value {
            Value::Texts(texts) if texts.iter().any(String::is_empty) => Err(self.wrong("must not be empty")),
            Value::Texts(texts) => Ok(texts.iter().map(String::as_str).collect()),
            _ => Ok(vec![self.text()?]),
        }
    }

    /// The text as a secret, or the file that holds it.
    pub(super) fn secret(&self) -> Result<SecretSource, ConfigError> {
        let text = self.text()?;
        Ok(self.file.clone().map_or_else(|| SecretSource::Fixed(Secret::new(text)), SecretSource::File))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(value) => Some(*value),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number that is not negative. `of_text` reads it where it was written as text.
    pub(super) fn whole(&self, of_text: fn(&str) -> Option<usize>) -> Option<usize> {
        match &self.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(text) => of_text(text),
            _ => None,
        }
    }

    /// The error for a value that is not `expected`. It shows the value, so it is not for secrets.
    pub(super) fn not(&self, expected: impl Display) -> ConfigError {
        let found = match &self.value {
            Value::Text(text) => format!("`{}`", text.escape_debug()),
            Value::Integer(number) => format!("`{number}`"),
            Value::Texts(texts) => format!("{texts:?}"),
            other => other.type_name().to_owned(),
        };
        self.wrong(format!("must be {expected}, found {found}"))
    }

    /// The error for a wrong value. It does not show the value.
    pub(super) fn wrong(&self, problem: impl Display) -> ConfigError {
        ConfigError::at(&self.value_at, format!("`{}` {problem}", self.key))
    }
}

/// The scheme of a URL with `://`.
pub(super) fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.chars().all(valid)).then_some(scheme)
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Texts(_) => "an array",
            Self::Table => "a section",
            Self::Other(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_is_refused() {
        let error = Written::text_at("--store", "store.url", "").secret().unwrap_err();
        assert_eq!(error.to_string(), "--store: `store.url` must not be empty");
    }
}
