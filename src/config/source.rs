//! The section `[source]`: which log is read.

use std::path::PathBuf;

use super::error::ConfigError;
use super::kafka::KafkaProperties;
use super::setting::Setting;

/// Which log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOptions {
    /// A Kafka cluster.
    Kafka {
        /// librdkafka's own settings.
        properties: KafkaProperties,
        /// What every topic's name begins with in this cluster, before the name that the projections use.
        topic_prefix: String,
        /// The topic to which dead letters are copied, with its prefix.
        dead_letter_topic: Option<String>,
        /// Whether the headers of copies are those of Spring, and not of Kafka Connect.
        spring_headers: bool,
    },
    /// A directory of files, `<topic>/<partition>.ndjson`.
    File(PathBuf),
}

#[derive(Default)]
pub(super) struct SourceDraft {
    kind: Option<Kind>,
    path: Option<PathBuf>,
    topic_prefix: Option<String>,
    dead_letter_topic: Option<String>,
    spring_headers: bool,
    properties: KafkaProperties,
}

const NAMES: [&str; 6] = ["kind", "path", "topic_prefix", "dead_letter_topic", "dead_letter_headers", "properties"];
const TOPIC_NAME: &str = "a name of letters, digits, `.`, `_` and `-`";

fn is_topic_name(text: &str) -> bool {
    text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[derive(Clone, Copy)]
enum Kind {
    Kafka,
    File,
}

impl SourceDraft {
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name {
            "kind" => self.kind = Some(kind(setting)?),
            "path" => self.path = Some(setting.text()?.into()),
            "topic_prefix" => self.topic_prefix = Some(setting.text_where(TOPIC_NAME, is_topic_name)?),
            "dead_letter_topic" => self.dead_letter_topic = Some(setting.text_where(TOPIC_NAME, is_topic_name)?),
            "dead_letter_headers" => self.spring_headers = spring_headers(setting)?,
            "properties" if setting.is_table() => {}
            _ => match name.strip_prefix("properties.") {
                Some(property) => self.properties.set(property, setting)?,
                None => return Err(setting.unknown(name, NAMES)),
            },
        }
        Ok(())
    }

    /// The log, if enough was said to reach one. Without a kind it is Kafka.
    pub(super) fn finish(self) -> Result<Option<SourceOptions>, ConfigError> {
        match (self.kind, self.path) {
            (Some(Kind::File), Some(path)) => Ok(Some(SourceOptions::File(path))),
            (Some(Kind::File), None) => {
                Err(ConfigError::overall("`source.kind` is `file`, and `source.path` names no directory"))
            }
            (Some(Kind::Kafka) | None, _) if self.properties.get("bootstrap.servers").is_some() => {
                let topic_prefix = self.topic_prefix.unwrap_or_default();
                Ok(Some(SourceOptions::Kafka {
                    properties: self.properties,
                    dead_letter_topic: self.dead_letter_topic.map(|topic| format!("{topic_prefix}{topic}")),
                    topic_prefix,
                    spring_headers: self.spring_headers,
                }))
            }
            (Some(Kind::Kafka), _) => Err(ConfigError::overall(
                "`source.kind` is `kafka`, and `bootstrap.servers` of `[source.properties]` names no broker",
            )),
            (None, Some(_)) => Err(ConfigError::overall("`source.path` needs `source.kind` to be `file`")),
            (None, None) => Ok(None),
        }
    }
}

/// Whose headers copies of dead letters have.
fn spring_headers(setting: &Setting) -> Result<bool, ConfigError> {
    match setting.text()? {
        "connect" => Ok(false),
        "spring" => Ok(true),
        _ => Err(setting.not("`connect` or `spring`")),
    }
}

fn kind(setting: &Setting) -> Result<Kind, ConfigError> {
    match setting.text()? {
        "kafka" => Ok(Kind::Kafka),
        "file" => Ok(Kind::File),
        _ => Err(setting.not("`kafka` or `file`")),
    }
}

/// The settings that a `--source` stands for: `file:DIR` or `kafka://host:port,…`.
pub(super) fn from_flag(url: &str) -> Result<[Setting; 2], ConfigError> {
    const FLAG: &str = "--source";
    let setting = |key, text: &str| Setting::text_at(FLAG, key, text);
    if let Some(path) = url.strip_prefix("file:") {
        return Ok([setting("source.kind", "file"), setting("source.path", path.strip_prefix("//").unwrap_or(path))]);
    }
    match url.strip_prefix("kafka://").map(|servers| servers.trim_end_matches('/')) {
        // Not shown: what stands before the `@` may be a password.
        Some(servers) if servers.contains('@') => {
            Err(ConfigError::at(FLAG, "takes no credentials; set `sasl.username` and `sasl.password`"))
        }
        Some(servers) if !servers.contains('/') => {
            Ok([setting("source.kind", "kafka"), setting("source.properties.bootstrap.servers", servers)])
        }
        _ => Err(ConfigError::at(FLAG, "must be `file:DIR` or `kafka://host:port,…`")),
    }
}
