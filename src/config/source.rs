//! The section `[source]`: which log is read.

use std::path::PathBuf;

use super::error::ConfigError;
use super::kafka::KafkaProperties;
use super::table::{SourceKind, SourceSettings};
use super::written::Written;

/// Which log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOptions {
    /// A Kafka cluster.
    Kafka {
        /// librdkafka's own settings.
        properties: KafkaProperties,
        /// The text that precedes the name of every topic in this cluster. Projections use the names without it.
        topic_prefix: String,
        /// The topic to which dead letters are copied, with its prefix.
        dead_letter_topic: Option<String>,
        /// Whether the copies have the headers of Spring Kafka; otherwise they have those of Kafka Connect.
        spring_headers: bool,
    },
    /// A directory of files, `<topic>/<partition>.ndjson`.
    File(PathBuf),
}

impl SourceOptions {
    /// The log, if the settings suffice to reach one.
    pub(super) fn of(settings: SourceSettings, properties: &KafkaProperties) -> Result<Option<Self>, ConfigError> {
        let SourceSettings { kind, path, topic_prefix, dead_letter_topic, spring_headers } = settings;
        match (kind, path) {
            (Some(SourceKind::File), Some(path)) => Ok(Some(Self::File(path))),
            (Some(SourceKind::File), None) => {
                Err(ConfigError::overall("`source.kind` is `file`, and `source.path` names no directory"))
            }
            (Some(SourceKind::Kafka) | None, _) if properties.get("bootstrap.servers").is_some() => {
                let topic_prefix = topic_prefix.unwrap_or_default();
                Ok(Some(Self::Kafka {
                    properties: properties.clone(),
                    dead_letter_topic: dead_letter_topic.map(|topic| format!("{topic_prefix}{topic}")),
                    topic_prefix,
                    spring_headers,
                }))
            }
            (Some(SourceKind::Kafka), _) => Err(ConfigError::overall(
                "`source.kind` is `kafka`, and `bootstrap.servers` of `[source.properties]` names no broker",
            )),
            (None, Some(_)) => Err(ConfigError::overall("`source.path` needs `source.kind` to be `file`")),
            (None, None) => Ok(None),
        }
    }
}

/// The values that `--source` sets: `file:DIR` or `kafka://host:port,…`.
pub(super) fn from_flag(url: &str) -> Result<[Written; 2], ConfigError> {
    const FLAG: &str = "--source";
    let setting = |key, text: &str| Written::text_at(FLAG, key, text);
    if let Some(path) = url.strip_prefix("file:") {
        return Ok([setting("source.kind", "file"), setting("source.path", path.strip_prefix("//").unwrap_or(path))]);
    }
    match url.strip_prefix("kafka://").map(|servers| servers.trim_end_matches('/')) {
        // The error does not show the text, because a password may precede the `@`.
        Some(servers) if servers.contains('@') => {
            Err(ConfigError::at(FLAG, "takes no credentials; set `sasl.username` and `sasl.password`"))
        }
        Some(servers) if !servers.contains('/') => {
            Ok([setting("source.kind", "kafka"), setting("source.properties.bootstrap.servers", servers)])
        }
        _ => Err(ConfigError::at(FLAG, "must be `file:DIR` or `kafka://host:port,…`")),
    }
}
