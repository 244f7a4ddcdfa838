//! What is logged, and how. The usual variables `LOG_FORMAT`, `RUST_LOG` and `NO_COLOR` set it, and no file does.

use super::environment::Environment;
use super::error::ConfigError;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The format of a line.
    pub format: LogFormat,
    /// Which events are logged, in the syntax of `RUST_LOG`. `None` means the default.
    pub filter: Option<String>,
    /// Whether lines have colours on a terminal.
    pub color: bool,
}

/// The format of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text that people can read easily.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogOptions {
    /// Reads the three variables. It needs nothing else, so logging can begin first.
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
