//! The sections `[topics.NAME]`: how the records of a topic are written.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::setting::Setting;

/// The names of the formats of topics, by topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics(BTreeMap<String, String>);

impl Topics {
    /// `name` is the key without `topics.`. The name of a topic may hold dots, with and without quotes around it.
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name.rsplit_once('.') {
            _ if setting.is_table() => Ok(()),
            Some((topic, "format")) => {
                self.0.insert(topic.to_owned(), setting.text()?.to_owned());
                Ok(())
            }
            Some((_, key)) => Err(setting.unknown(key, ["format"])),
            None => Err(setting.not("a section")),
        }
    }

    /// `envelope` where nothing is said.
    pub(super) fn format_of(&self, topic: &str) -> &str {
        self.0.get(topic).map_or("envelope", String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
