//! What is logged, and how. Known by the variables that everybody knows: `LOG_FORMAT`, `RUST_LOG`, `NO_COLOR`.

use super::environment::Environment;
use super::error::ConfigError;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The form of a line.
    pub format: LogFormat,
    /// Which lines, in the syntax of `RUST_LOG`; the default when absent.
    pub filter: Option<String>,
    /// Whether colours are welcome where there is a terminal.
    pub color: bool,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogOptions {
    /// Reads the three variables. Needs no more than them, so that logging can begin before all else.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let format = match environment.get("LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => return Err(ConfigError::at("LOG_FORMAT", "must be `text` or `json`")),
        };
        let filter = environment.get("RUST_LOG").map(str::to_owned);
        Ok(Self { format, filter, color: environment.get("NO_COLOR").is_none() })
    }
}
