//! The contract of a topic: a JSON Schema that the data of its events must meet.

use std::path::Path;

use serde_json::value::RawValue;

use super::DecodeError;

/// A JSON Schema. Its draft is the one that `$schema` names, or else 2020-12.
#[cfg(feature = "json-schema")]
pub(super) struct Contract(jsonschema::Validator);

/// Nothing: the program can't check contracts.
#[cfg(not(feature = "json-schema"))]
pub(super) enum Contract {}

#[cfg(feature = "json-schema")]
impl Contract {
    /// How many failures a reason names.
    const MOST_NAMED: usize = 3;

    /// The schema in `file`. Relative references in it lead to files beside it. `name` is the topic's, for errors.
    pub(super) fn load(name: &str, file: &Path) -> Result<Self, String> {
        let problem = |error: &dyn std::fmt::Display| format!("`topics.{name}.schema`, {}: {error}", file.display());
        let path = file.canonicalize().map_err(|error| problem(&error))?;
        let text = std::fs::read(&path).map_err(|error| problem(&error))?;
        let schema = serde_json::from_slice(&text).map_err(|error| problem(&error))?;
        let options = jsonschema::options().with_base_uri(format!("file://{}", path.display()));
        options.build(&schema).map(Self).map_err(|error| problem(&error))
    }

    /// # Errors
    /// Where the data breaks which rules. The values themselves are not named.
    pub(super) fn check(&self, data: &RawValue) -> Result<(), DecodeError> {
        let data: serde_json::Value = serde_json::from_str(data.get())?;
        if self.0.is_valid(&data) {
            return Ok(());
        }
        let mut failures: Vec<String> = self.0.iter_errors(&data).map(|failure| described(&failure)).collect();
        let count = failures.len();
        failures.truncate(Self::MOST_NAMED);
        let more =
            if count > Self::MOST_NAMED { format!("; {} more", count - Self::MOST_NAMED) } else { String::new() };
        Err(format!("the data breaks the schema of its topic: {}{more}", failures.join("; ")).into())
    }
}

/// The place in the data, the rule, and the rule's place in the schema.
#[cfg(feature = "json-schema")]
fn described(failure: &jsonschema::ValidationError<'_>) -> String {
    let place = match failure.instance_path().as_str() {
        "" => "the whole data",
        path => path,
    };
    format!("`{place}`: {} (rule `{}`)", failure.masked(), failure.schema_path())
}

#[cfg(not(feature = "json-schema"))]
impl Contract {
    pub(super) fn load(name: &str, _: &Path) -> Result<Self, String> {
        Err(format!("`topics.{name}.schema`: this program is built without the feature `json-schema`"))
    }

    pub(super) fn check(&self, _: &RawValue) -> Result<(), DecodeError> {
        match *self {}
    }
}
