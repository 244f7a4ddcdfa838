//! The section `[source]`: which log is read.

use std::path::PathBuf;

use super::error::ConfigError;
use super::kafka::KafkaProperties;
use super::secret::Secret;
use super::setting::{Setting, scheme};

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
    /// A log that the program opens by the scheme of its URL.
    Other {
        /// What stands before `://`.
        scheme: String,
        /// The whole URL.
        url: Secret,
        /// Where it was written.
        place: String,
        /// What every topic's name begins with in this log.
        topic_prefix: String,
    },
}

#[derive(Default)]
pub(super) struct SourceDraft {
    kind: Option<Kind>,
    /// A URL of none of these kinds: its scheme, the whole, and where it was written.
    other: Option<(String, Secret, String)>,
    path: Option<PathBuf>,
    topic_prefix: Option<String>,
    dead_letter_topic: Option<String>,
    spring_headers: bool,
    properties: KafkaProperties,
}

const NAMES: [&str; 7] =
    ["kind", "url", "path", "topic_prefix", "dead_letter_topic", "dead_letter_headers", "properties"];
const SERVERS: &str = "bootstrap.servers";
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
            "kind" => (self.kind, self.other) = (Some(kind(setting)?), None),
            "url" => self.set_url(setting)?,
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

    /// Takes `file:DIR`, `kafka://host:port,…` or the URL of another log, in place of what was said before.
    fn set_url(&mut self, setting: &Setting) -> Result<(), ConfigError> {
        let url = setting.text()?;
        let part = |key, text| Setting::text_at(&setting.value_at, key, text);
        self.other = None;
        if let Some(path) = url.strip_prefix("file:") {
            self.path = Some(part("source.path", path.strip_prefix("//").unwrap_or(path)).text()?.into());
            self.kind = Some(Kind::File);
            return Ok(());
        }
        let wrong = |problem| ConfigError::at(&setting.value_at, problem);
        match (scheme(url), url.strip_prefix("kafka://").map(|servers| servers.trim_end_matches('/'))) {
            // Not shown: what stands before the `@` may be a password.
            (_, Some(servers)) if servers.contains('@') => {
                Err(wrong("takes no credentials; set `sasl.username` and `sasl.password`"))
            }
            (_, Some(servers)) if !servers.contains('/') => {
                self.kind = Some(Kind::Kafka);
                self.properties.set(SERVERS, &part("source.properties.bootstrap.servers", servers))
            }
            (Some(scheme), None) => {
                self.other = Some((scheme.to_owned(), Secret::new(url), setting.value_at.clone()));
                Ok(())
            }
            _ => Err(wrong("must be `file:DIR` or `kafka://host:port,…`")),
        }
    }

    /// The log, if enough was said to reach one. Without a kind it is Kafka.
    pub(super) fn finish(self) -> Result<Option<SourceOptions>, ConfigError> {
        if let Some((scheme, url, place)) = self.other {
            let topic_prefix = self.topic_prefix.unwrap_or_default();
            return Ok(Some(SourceOptions::Other { scheme, url, place, topic_prefix }));
        }
        match (self.kind, self.path) {
            (Some(Kind::File), Some(path)) => Ok(Some(SourceOptions::File(path))),
            (Some(Kind::File), None) => {
                Err(ConfigError::overall("`source.kind` is `file`, and `source.path` names no directory"))
            }
            (Some(Kind::Kafka) | None, _) if self.properties.get(SERVERS).is_some() => {
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
