//! The names that a configuration file may hold: which setting a name means, which sections there are, and what an unknown
//! name was meant to be.

use super::error::{ConfigError, unknown};
use super::setting::{NAME, Setting, matched};
use super::table::SETTINGS;
use super::written::Written;

/// The section of librdkafka's properties, which are no settings of ours.
pub(super) const PROPERTIES: &str = "source.properties";

/// The section of the names of a topic's event types.
pub(super) const EVENT_TYPES: &str = "topics.NAME.types";

/// The setting that a name means.
pub(super) struct Target<'a> {
    pub(super) setting: &'static Setting,
    /// The projection or the topic that has it; for all of them, the empty text.
    pub(super) of: &'a str,
    /// The current name, where a former one was written.
    pub(super) renamed: Option<String>,
}

/// The setting that `key` means, if it means one.
pub(super) fn target(key: &str) -> Option<Target<'_>> {
    let named = |setting: &'static Setting| {
        let of = setting.names().iter().find_map(|name| matched(name, key))?;
        Some(Target { setting, of, renamed: None })
    };
    let formerly_named = |setting: &'static Setting| {
        let mut names = setting.former_names().into_iter().zip(setting.names());
        let (of, name) = names.find_map(|(former, name)| Some((matched(&former, key)?, name)))?;
        Some(Target { setting, of, renamed: Some(name.replace(NAME, of)) })
    };
    SETTINGS.iter().find_map(|setting| named(setting).or_else(|| formerly_named(setting)))
}

/// The setting of the section `projections` itself.
pub(super) const PROJECTIONS_PATH: &str = "projections.path";

/// The name of the projection in `projections.NAME` and `projections.NAME.…`.
pub(super) fn projection_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("projections.").filter(|_| key != PROJECTIONS_PATH)?;
    Some(rest.split_once('.').map_or(rest, |(name, _)| name))
}

/// The topic and the event type in `topics.NAME.types.TYPE`. Both may have dots in their names.
pub(super) fn event_type_of(written: &Written) -> Option<(&str, &str)> {
    let key = written.key.strip_prefix("topics.").filter(|_| !written.is_table())?;
    key.split_once(".types.")
}

/// Accepts a section that holds settings, and refuses any other name that means no setting.
pub(super) fn check_section(written: &Written) -> Result<(), ConfigError> {
    let dots = |name: &str| name.matches('.').count();
    let sections = sections();
    let mut matching = sections.iter().filter(|section| matched(section, &written.key).is_some()).peekable();
    if matching.peek().is_some() && written.is_table() {
        // `[topics.orders.v2]` without quotes stands within a section `[topics.orders]`.
        return Ok(());
    }
    Err(match matching.any(|section| dots(section) == dots(&written.key)) {
        true => written.not("a section"),
        false => unknown_name(written),
    })
}

/// Every section, in the order of the table: `source`, `source.properties`, …, `projections`, `projections.NAME`, ….
fn sections() -> Vec<String> {
    let names = SETTINGS
        .iter()
        .flat_map(Setting::names)
        .chain([format!("{PROPERTIES}.{NAME}"), format!("{EVENT_TYPES}.{NAME}")]);
    let mut sections = Vec::new();
    for name in names {
        for (dot, _) in name.match_indices('.') {
            if !sections.iter().any(|section| *section == name[..dot]) {
                sections.push(name[..dot].to_owned());
            }
        }
    }
    sections
}

fn unknown_name(written: &Written) -> ConfigError {
    let known: Vec<String> = sections().into_iter().chain(SETTINGS.iter().flat_map(Setting::names)).collect();
    let (section, last) = split(&written.key);
    let beside = known.iter().map(|name| split(name)).filter(|(of, _)| matched(of, section).is_some());
    let beside = beside.map(|(_, last)| last).filter(|last| *last != NAME);
    let what = if written.is_table() { "section" } else { "key" };
    ConfigError::at(&written.key_at, unknown(what, last, beside))
}

/// The section of a name, and what it is called there.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}
