//! The section `[source]`: which log is read.

use std::path::PathBuf;

use super::error::ConfigError;
use super::kafka::KafkaProperties;
use super::secret::Secret;
use super::table::{SourceKind, SourceSettings};
use super::values::Values;
use super::written::{Written, scheme};

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
    /// A log that a source of the program opens.
    Other {
        /// The scheme of the URL.
        scheme: String,
        /// The whole URL.
        url: Secret,
        /// The place where it was written.
        place: String,
        /// The text that precedes the name of every topic in this log.
        topic_prefix: String,
    },
}

impl SourceOptions {
    /// The log, if the settings suffice to reach one.
    pub(super) fn of(settings: SourceSettings, values: &Values) -> Result<Option<Self>, ConfigError> {
        let SourceSettings { url, kind, path, topic_prefix, dead_letter_topic, spring_headers } = settings;
        let (properties, topic_prefix) = (values.properties(), topic_prefix.unwrap_or_default());
        match (kind, path) {
            (Some(SourceKind::Url), _) => {
                let place = values.place("source.url").to_owned();
                let url =
                    url.ok_or_else(|| ConfigError::overall("`source.kind` is `url`, and `source.url` is missing"))?;
                let url = url.current().map_err(|problem| ConfigError::at(&place, problem))?;
                let scheme = scheme(url.expose()).unwrap_or_default().to_owned();
                Ok(Some(Self::Other { scheme, url, place, topic_prefix }))
            }
            (Some(SourceKind::File), Some(path)) => Ok(Some(Self::File(path))),
            (Some(SourceKind::File), None) => {
                Err(ConfigError::overall("`source.kind` is `file`, and `source.path` names no directory"))
            }
            (Some(SourceKind::Kafka) | None, _) if properties.get("bootstrap.servers").is_some() => {
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

/// The values that `source.url` sets, so that each counts against those of lower layers. Any other value is one of its own.
pub(super) fn expanded(written: Written) -> Result<Vec<Written>, ConfigError> {
    if written.key != "source.url" {
        return Ok(vec![written]);
    }
    let secret = written.secret()?.current().map_err(|problem| ConfigError::at(&written.value_at, problem))?;
    let part = |key, text: &str| Written::text_at(&written.value_at, key, text);
    if let Some(path) = secret.expose().strip_prefix("file:") {
        return Ok(vec![part("source.kind", "file"), part("source.path", path.strip_prefix("//").unwrap_or(path))]);
    }
    let wrong = |problem| ConfigError::at(&written.value_at, problem);
    match secret.expose().strip_prefix("kafka://").map(|servers| servers.trim_end_matches('/')) {
        // The error does not show the text, because a password may precede the `@`.
        Some(servers) if servers.contains('@') => {
            Err(wrong("takes no credentials; set `sasl.username` and `sasl.password`"))
        }
        Some(servers) if !servers.contains('/') => {
            Ok(vec![part("source.kind", "kafka"), part("source.properties.bootstrap.servers", servers)])
        }
        None if scheme(secret.expose()).is_some() => Ok(vec![part("source.kind", "url"), written]),
        _ => Err(wrong("must be `file:DIR` or `kafka://host:port,…`")),
    }
}
