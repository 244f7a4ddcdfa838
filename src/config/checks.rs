//! What no single value can show to be wrong: values that do not suit one another.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::table::{AdminOptions, ProjectionOptions};
use super::values::Values;

/// Refuses an address that other machines can reach, unless there is a token.
pub(super) fn admin(options: &AdminOptions, values: &Values) -> Result<(), ConfigError> {
    let AdminOptions { listen, token } = options;
    if listen.ip().is_loopback() || token.is_some() {
        return Ok(());
    }
    let problem = format!(
        "`admin.listen` is `{listen}`, which other machines can reach: set `admin.token`, or listen on `127.0.0.1:{}`",
        listen.port()
    );
    Err(ConfigError::at(values.place("admin.listen"), problem))
}

/// Refuses the schemas in which readcast or Postgres keeps tables: a name of the readers could be that of such a table.
pub(super) fn schema(schema: &str, values: &Values) -> Result<(), ConfigError> {
    let of = match schema {
        "readcast" | "readcast_tables" => "readcast",
        name if name.starts_with("pg_") || name == "information_schema" => "Postgres",
        _ => return Ok(()),
    };
    let problem = format!(
        "`store.schema` is `{schema}`, where {of} keeps tables of its own: name the schema that readers look in, like \
         `public`"
    );
    Err(ConfigError::at(values.place("store.schema"), problem))
}

/// Refuses buffers that hold less than a batch, and a consumer group of two projections.
pub(super) fn projections(projections: &BTreeMap<String, ProjectionOptions>) -> Result<(), ConfigError> {
    let mut groups = BTreeMap::new();
    for (name, ProjectionOptions { group, batch_bytes, buffer_bytes, .. }) in projections {
        if buffer_bytes < batch_bytes {
            return Err(ConfigError::overall(format!(
                "projection `{name}`: `buffer_bytes` ({buffer_bytes}) must not be less than `batch_bytes` \
                 ({batch_bytes}), or no batch is ever full"
            )));
        }
        if let Some(other) = groups.insert(group, name) {
            return Err(ConfigError::overall(format!(
                "projections `{other}` and `{name}` share the group `{group}`: each would read only half of the log"
            )));
        }
    }
    Ok(())
}
