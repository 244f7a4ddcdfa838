//! The values of JSON columns.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A JSON text that every store can hold: valid, nested at most 127 levels deep, without U+0000, with numbers in the
/// range of a 64-bit float. The type keeps the text, so numbers lose no digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Json(Arc<str>);

/// Why a text is not a value of a JSON column.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON, or exceeds the limits of [`Json`].
    #[error("the text is not JSON that every store can hold: {0}")]
    Invalid(#[from] serde_json::Error),
    /// The text holds U+0000, which Postgres does not store in `jsonb`.
    #[error("the JSON text holds U+0000, which Postgres does not store")]
    Nul,
}

impl Json {
    /// Checks `text` and keeps it without the white space around it.
    ///
    /// # Errors
    /// If the text is not within the limits of [`Json`].
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let value = serde_json::from_str(text)?;
        if holds_nul(&value) { Err(JsonError::Nul) } else { Ok(Self(text.trim().into())) }
    }

    /// Serializes `value`.
    ///
    /// # Errors
    /// If `value` is not serializable, or its JSON is not within the limits of [`Json`].
    pub fn of(value: &impl Serialize) -> Result<Self, JsonError> {
        Self::parse(&serde_json::to_string(value)?)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This array with `items` appended. A value that is not an array becomes the first item of one, as with `||` in
    /// Postgres.
    pub fn extended(&self, items: &[Json]) -> Self {
        let own = self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.0).trim();
        let own = Some(own).filter(|own| !own.is_empty());
        let all: Vec<&str> = own.into_iter().chain(items.iter().map(Json::as_str)).collect();
        Self(format!("[{}]", all.join(",")).into())
    }

    /// The array `[]`.
    pub fn empty_array() -> Self {
        Self("[]".into())
    }
}

fn holds_nul(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl TryFrom<String> for Json {
    type Error = JsonError;

    fn try_from(text: String) -> Result<Self, JsonError> {
        Self::parse(&text)
    }
}

impl From<Json> for String {
    fn from(json: Json) -> Self {
        json.0.to_string()
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_extended_in_order() {
        let json = |text| Json::parse(text).expect("json");
        assert_eq!(Json::empty_array().extended(&[json("1"), json("[2]")]).as_str(), "[1,[2]]");
        assert_eq!(json(" [ 1.10 ] ").extended(&[json("\"]\"")]).as_str(), "[1.10,\"]\"]");
    }

    #[test]
    fn a_text_that_a_store_would_refuse_is_refused() {
        for text in ["{", "1e400", "\"\\u0000\"", "{\"\\u0000\":1}", "NaN", &"[".repeat(20_000)] {
            assert!(Json::parse(text).is_err());
        }
        assert!(Json::parse(r#""\\u0000""#).is_ok(), "an escaped backslash is not U+0000");
    }
}
