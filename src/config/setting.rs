//! One value of one layer: its key, what was written, and where; and the readers that turn it into a typed value or
//! into an error that names the place.
//!
//! Files, variables and flags all become settings, so that one set of rules holds for them all.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::error::{ConfigError, unknown};
use super::secret::{Secret, SecretSource};

/// One value that somebody wrote.
pub(super) struct Setting {
    /// Where it belongs: `projector.lanes`.
    pub(super) key: String,
    /// What was written.
    pub(super) value: Value,
    /// Where the key stands.
    pub(super) key_at: String,
    /// Where the value stands.
    pub(super) value_at: String,
    /// The file that holds the value, and is read again; only of secrets.
    pub(super) file: Option<PathBuf>,
}

/// What was written. Variables and flags are always text.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A section; what it holds comes as settings of its own.
    Table,
    /// Of a type that no key takes, by its name.
    Other(&'static str),
}

impl Setting {
    /// A text from a variable or a flag.
    pub(super) fn text_at(place: impl Into<String>, key: impl Into<String>, text: impl Into<String>) -> Self {
        let place = place.into();
        Self { key: key.into(), value: Value::Text(text.into()), key_at: place.clone(), value_at: place, file: None }
    }

    /// The same, the text being what the file `path` holds at this moment.
    pub(super) fn held_by(self, path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..self }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table)
    }

    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        match &self.value {
            Value::Text(text) if !text.is_empty() => Ok(text),
            Value::Text(_) => Err(self.wrong("must not be empty")),
            other => Err(self.wrong(format!("must be a text in quotes, found {}", other.type_name()))),
        }
    }

    /// The text as it satisfies `valid`, or an error that calls for `expected`.
    pub(super) fn text_where(&self, expected: &str, valid: impl Fn(&str) -> bool) -> Result<String, ConfigError> {
        let text = self.text()?;
        if valid(text) { Ok(text.to_owned()) } else { Err(self.not(expected)) }
    }

    pub(super) fn secret(&self) -> Result<SecretSource, ConfigError> {
        let text = self.text()?;
        Ok(self.file.clone().map_or_else(|| SecretSource::Fixed(Secret::new(text)), SecretSource::File))
    }

    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        match &self.value {
            Value::Boolean(value) => Ok(*value),
            Value::Text(text) => text.parse().map_err(|_| self.not("`true` or `false`")),
            _ => Err(self.not("`true` or `false`")),
        }
    }

    pub(super) fn whole(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let number = match &self.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.filter(|number| range.contains(number)).ok_or_else(|| self.not(expected()))
    }

    pub(super) fn bytes(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let number = match &self.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(text) => size(text),
            _ => None,
        };
        let expected =
            || format!("a number of bytes or a size like \"8 MiB\", from {} to {} bytes", range.start(), range.end());
        number.filter(|number| range.contains(number)).ok_or_else(|| self.not(expected()))
    }

    /// The value is not what it must be; shows it, so not for secrets.
    pub(super) fn not(&self, expected: impl Display) -> ConfigError {
        let found = match &self.value {
            Value::Text(text) => format!("`{}`", text.escape_debug()),
            Value::Integer(number) => format!("`{number}`"),
            other => other.type_name().to_owned(),
        };
        self.wrong(format!("must be {expected}, found {found}"))
    }

    /// The value is wrong, said without showing it.
    pub(super) fn wrong(&self, problem: impl Display) -> ConfigError {
        ConfigError::at(&self.value_at, format!("`{}` {problem}", self.key))
    }

    /// There is no such key (or section), `name` being its last part.
    pub(super) fn unknown<'a>(&self, name: &str, known: impl IntoIterator<Item = &'a str>) -> ConfigError {
        let what = if self.is_table() { "section" } else { "key" };
        ConfigError::at(&self.key_at, unknown(what, name, known))
    }
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Table => "a section",
            Self::Other(name) => name,
        }
    }
}

/// What stands before the `://` of a URL, if it can be a scheme.
pub(super) fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.chars().all(valid)).then_some(scheme)
}

/// Bytes from `8388608`, `8 MiB`, `8MiB` or `8 MB`.
fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_a_number_with_a_unit() {
        let read = ["0", "8388608", "8 MiB", "8MiB", "8 mib", "512 KiB", "2 GB", "12 B"].map(size);
        let bytes = [0, 8_388_608, 8_388_608, 8_388_608, 8_388_608, 524_288, 2_000_000_000, 12];
        assert_eq!(read, bytes.map(Some));
    }

    #[test]
    fn half_sizes_and_bare_letters_are_not_sizes() {
        assert_eq!(["8 M", "", "MiB", "1.5 MiB", "-1", "8 MiB ", "99999999999 GiB"].map(size), [None; 7]);
    }

    #[test]
    fn an_empty_text_is_refused() {
        let error = Setting::text_at("--store", "store.url", "").secret().unwrap_err();
        assert_eq!(error.to_string(), "--store: `store.url` must not be empty");
    }
}
