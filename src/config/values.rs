//! The written values of all layers, and the one that counts for each setting.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ConfigError, unknown};
use super::kafka::KafkaProperties;
use super::names::{self, PROPERTIES, Target};
use super::source;
use super::table::SETTINGS;
use super::written::Written;

/// The place of a default.
const DEFAULT: &str = "default";

/// The value that counts for each setting.
pub(super) struct Values {
    /// By the name of the setting, and the projection or the topic that has it; for all of them, the empty text.
    by_setting: BTreeMap<(&'static str, String), Written>,
    properties: KafkaProperties,
    /// For each topic the names of event types as the code knows them, by the names that producers write.
    event_types: BTreeMap<String, BTreeMap<String, String>>,
    warnings: Vec<String>,
}

impl Values {
    /// The lowest layer: the defaults.
    pub(super) fn defaults() -> Self {
        let mut values = Self {
            by_setting: BTreeMap::new(),
            properties: KafkaProperties::default(),
            event_types: BTreeMap::new(),
            warnings: Vec::new(),
        };
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                values.set_default(setting.name, "", default);
            }
        }
        values
    }

    /// Sets the default of one setting, for all or for the projection `of`.
    pub(super) fn set_default(&mut self, name: &'static str, of: &str, default: &str) {
        let written = || Written::text_at(DEFAULT, name, default);
        self.by_setting.entry((name, of.to_owned())).or_insert_with(written);
    }

    /// Adds a layer above the others. `projections` are the names of all projections.
    pub(super) fn add(&mut self, layer: Vec<Written>, projections: &[&str]) -> Result<(), ConfigError> {
        let mut places = BTreeMap::new();
        let layer = layer.into_iter().map(source::expanded).collect::<Result<Vec<_>, _>>()?;
        for written in layer.into_iter().flatten() {
            if let Some(of) = names::projection_of(&written.key).filter(|name| !projections.contains(name)) {
                let problem = unknown("projection", of, projections.iter().copied());
                return Err(ConfigError::at(&written.key_at, problem));
            }
            if let Some(property) = written.key.strip_prefix(PROPERTIES).and_then(|rest| rest.strip_prefix('.')) {
                self.properties.set(property, &written)?;
                continue;
            }
            if let Some((topic, event_type)) = names::event_type_of(&written) {
                let types = self.event_types.entry(topic.to_owned()).or_default();
                types.insert(event_type.to_owned(), written.text()?.to_owned());
                continue;
            }
            let Some(target) = names::target(&written.key) else {
                names::check_section(&written)?;
                continue;
            };
            (target.setting.check)(&written)?;
            let slot = (target.setting.name, target.of.to_owned());
            if let Some(other) = places.insert(slot.clone(), written.key_at.clone()) {
                return Err(set_twice(&written, &target, &other));
            }
            self.warnings.extend(renamed(&written, &target));
            self.by_setting.insert(slot, written);
        }
        Ok(())
    }

    /// The value of the setting `name` for the projection or the topic `of`, or else the one for all of them.
    pub(super) fn get(&self, name: &'static str, of: &str) -> Option<&Written> {
        let of_one = self.by_setting.get(&(name, of.to_owned()));
        of_one.or_else(|| self.by_setting.get(&(name, String::new())))
    }

    /// The place of the value of the setting `name`: a line of the file, a variable or a flag. Empty if the setting has
    /// no value.
    pub(super) fn place(&self, name: &'static str) -> &str {
        self.get(name, "").map_or("", |written| &written.value_at)
    }

    /// The configured properties of librdkafka.
    pub(super) fn properties(&self) -> &KafkaProperties {
        &self.properties
    }

    /// Whether the setting `name`, which has a default, is configured.
    pub(super) fn is_set(&self, name: &'static str) -> bool {
        self.get(name, "").is_some_and(|written| written.value_at != DEFAULT)
    }

    /// The topics that have settings of their own.
    pub(super) fn topics(&self) -> BTreeSet<String> {
        let topics = self.by_setting.keys().filter(|(name, of)| name.starts_with("topics.") && !of.is_empty());
        topics.map(|(_, of)| of).chain(self.event_types.keys()).cloned().collect()
    }

    /// The names of the topic's event types as the code knows them, by the names that producers write.
    pub(super) fn event_types(&self, topic: &str) -> BTreeMap<String, String> {
        self.event_types.get(topic).cloned().unwrap_or_default()
    }

    /// A sentence for each former name that was written.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}

/// The error for two values of one setting in one layer, of which one has the former name.
fn set_twice(written: &Written, target: &Target<'_>, other: &str) -> ConfigError {
    let former = target.setting.formerly.unwrap_or_default();
    let name = target.renamed.as_ref().unwrap_or(&written.key);
    let problem =
        format!("`{name}` is set twice, here and at {other}; keep one of them, and not its former name `{former}`");
    ConfigError::at(&written.key_at, problem)
}

/// What to write in place of a former name, if `written` has one.
fn renamed(written: &Written, target: &Target<'_>) -> Option<String> {
    let (current, Written { key, key_at, .. }) = (target.renamed.as_ref()?, written);
    let setting = target.setting;
    Some(match (setting.former_variable(), setting.variable()) {
        (Some(former), Some(variable)) if former == *key_at => format!("{former} has a new name; write {variable}"),
        _ => format!("{key_at}: `{key}` has a new name; write `{current}`"),
    })
}
