//! The configuration: the defaults, then the file `readcast.toml`, then the environment, then flags. Later layers overrule
//! earlier ones.
//!
//! `table` defines every setting. Each layer becomes a list of written values with their places, and one set of rules reads
//! them all, so that each error names the line, the variable or the flag. Nothing else reads the environment of the process.
//! Nothing here connects to anything or knows how the options are used.

mod checks;
mod environment;
mod error;
mod file;
mod kafka;
mod kind;
mod locator;
mod logging;
mod names;
mod postgres_url;
#[cfg(test)]
pub(crate) mod reference;
mod secret;
mod setting;
mod source;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use readcast_core::topic_matches;

pub use self::environment::Environment;
pub use self::error::ConfigError;
pub use self::kafka::KafkaProperties;
pub use self::locator::{Locator, TimeForm, TimeLocator};
pub use self::logging::{LogFormat, LogOptions};
pub use self::postgres_url::{Endpoint, PostgresUrl, SslMode, TargetSessionAttrs, Tls};
pub use self::secret::{Secret, SecretSource};
pub use self::source::SourceOptions;
pub use self::store::{PostgresUrlSource, StoreOptions};
pub use self::table::{
    AdminOptions, DuplicateId, KeyFormat, ProjectionFiles, ProjectionOptions, ProjectorOptions, RegistryOptions,
    TopicOptions,
};

use self::error::unknown;
use self::table::{SETTINGS, SourceSettings, StoreSettings};
use self::values::Values;
use self::written::Written;

/// The file that is read when no other is named. It may be missing.
pub const DEFAULT_FILE: &str = "readcast.toml";

/// Everything that can be configured. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the admin server listens.
    pub admin: AdminOptions,
    /// What holds for the service as a whole.
    pub projector: ProjectorOptions,
    /// The registry that has the schemas of records.
    pub registry: RegistryOptions,
    /// What is logged, and how.
    pub logging: LogOptions,
    /// Who runs the command, as `user@host`. Operations record it.
    pub operator: String,
    /// The host of this process, by which operators find it.
    pub host: String,
    source: Option<SourceOptions>,
    store: Option<StoreOptions>,
    /// The options of each registered projection.
    projections: BTreeMap<String, ProjectionOptions>,
    /// The options of any other projection, but for its group.
    other_projections: ProjectionOptions,
    /// The options of each topic, or pattern of topics, that has settings of its own.
    topics: BTreeMap<String, Topic>,
    other_topics: Topic,
    warnings: Vec<String>,
}

/// What holds for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// How its records are read.
    pub options: TopicOptions,
    /// The names of event types as the code knows them, by the names that producers write.
    pub types: BTreeMap<String, String>,
}

/// The configuration that the flags of the command line give. They overrule every other layer.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--config`: the file, which must exist.
    pub config: Option<PathBuf>,
    /// `--source`: `file:DIR` or `kafka://host:port,…`.
    pub source: Option<String>,
    /// `--store`: `postgres://…` or `sqlite:PATH`.
    pub store: Option<String>,
    /// `--admin-listen`: an address and a port.
    pub admin_listen: Option<String>,
    /// `--projections`: a folder.
    pub projections: Option<String>,
}

impl ProjectionFiles {
    /// The folder of projections, according to all layers. It is read before anything else, because the files name the
    /// projections that other settings are for.
    ///
    /// # Errors
    /// When a layer can't be read, or the setting has no value of its kind.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Self, ConfigError> {
        let mut values = Values::defaults();
        let file = file::layer(overrides.config.as_deref(), environment)?;
        for layer in [file, environment.written()?, overrides.written()] {
            let of_files = layer.into_iter().filter(|written| written.key == names::PROJECTIONS_PATH);
            values.add(of_files.collect(), &[])?;
        }
        Self::read(&values, "")
    }
}

impl Config {
    /// Reads all layers. `registered` holds the names of all projections. A program that has no variables to offer passes
    /// an empty [`Environment`].
    pub fn load(overrides: &Overrides, environment: &Environment, registered: &[&str]) -> Result<Self, ConfigError> {
        let mut values = Values::defaults();
        values.add(file::layer(overrides.config.as_deref(), environment)?, registered)?;
        values.add(environment.written()?, registered)?;
        values.add(overrides.written(), registered)?;
        if values.get("store.url", "").is_none() {
            values.add(environment.fallback_store(), registered)?;
        }
        let admin = AdminOptions::read(&values, "")?;
        checks::admin(&admin, &values)?;
        let projector = ProjectorOptions::read(&values, "")?;
        values.compute_defaults(&projector.app, registered);
        let of_projection = |name: &&str| Ok(((*name).to_owned(), ProjectionOptions::read(&values, name)?));
        let projections = registered.iter().map(of_projection).collect::<Result<_, ConfigError>>()?;
        checks::projections(&projections)?;
        let topic =
            |name: &str| Ok(Topic { options: TopicOptions::read(&values, name)?, types: values.event_types(name) });
        Ok(Self {
            admin,
            registry: RegistryOptions::read(&values, "")?,
            logging: LogOptions::read(environment)?,
            operator: environment.operator(),
            host: environment.host(),
            source: SourceOptions::of(SourceSettings::read(&values, "")?, &values)?,
            store: StoreOptions::of(StoreSettings::read(&values, "")?, &values, environment)?,
            projections,
            other_projections: ProjectionOptions::read(&values, "")?,
            topics: values
                .topics()
                .into_iter()
                .map(|name| Ok((name.clone(), topic(&name)?)))
                .collect::<Result<_, ConfigError>>()?,
            other_topics: topic("")?,
            projector,
            warnings: values.into_warnings(),
        })
    }

    /// The log to read. An error if none is configured.
    pub fn source(&self) -> Result<&SourceOptions, ConfigError> {
        const MISSING: &str = "no source: set `bootstrap.servers` in `[source.properties]`, or \
                               READCAST_KAFKA_BOOTSTRAP_SERVERS, or pass `--source`";
        self.source.as_ref().ok_or_else(|| ConfigError::overall(MISSING))
    }

    /// The database to write. An error if none is configured.
    pub fn store(&self) -> Result<&StoreOptions, ConfigError> {
        const MISSING: &str = "no store: set `url` in `[store]`, or READCAST_STORE_URL, or pass `--store`";
        self.store.as_ref().ok_or_else(|| ConfigError::overall(MISSING))
    }

    /// What holds for the projection `name`.
    pub fn projection(&self, name: &str) -> ProjectionOptions {
        let other = || {
            let group = default_group(&self.projector.app, name);
            ProjectionOptions { group, ..self.other_projections.clone() }
        };
        self.projections.get(name).cloned().unwrap_or_else(other)
    }

    /// What holds for the topics with settings of their own, by their names or patterns, which are without
    /// `source.topic_prefix`.
    pub fn topics(&self) -> &BTreeMap<String, Topic> {
        &self.topics
    }

    /// What holds for all other topics.
    pub fn other_topics(&self) -> &Topic {
        &self.other_topics
    }

    /// Refuses settings of a topic that is none of `topics`, the topics to which projections subscribe.
    pub fn check_topics(&self, topics: &BTreeSet<&str>) -> Result<(), ConfigError> {
        let concerns = |name: &str| topics.iter().any(|topic| topic_matches(name, topic) || topic_matches(topic, name));
        match self.topics.keys().find(|name| !concerns(name)) {
            None => Ok(()),
            Some(name) => Err(ConfigError::at("[topics]", unknown("topic", name, topics.iter().copied()))),
        }
    }

    /// What the configuration should change although it is accepted: a line for each former name of a setting.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Values {
    /// Sets the defaults that depend on the machine or on other settings.
    fn compute_defaults(&mut self, app: &str, projections: &[&str]) {
        // A path that is not UTF-8 can't be written in a file or a variable either.
        let temporary = std::env::temp_dir();
        self.set_default("projector.spool_directory", "", temporary.to_str().unwrap_or("/tmp"));
        for name in projections.iter().copied().chain([""]) {
            self.set_default("projections.NAME.group", name, &default_group(app, name));
        }
    }
}

fn default_group(app: &str, projection: &str) -> String {
    format!("{app}.{projection}")
}

impl Overrides {
    fn written(&self) -> Vec<Written> {
        let flags = [
            ("--source", &self.source),
            ("--store", &self.store),
            ("--admin-listen", &self.admin_listen),
            ("--projections", &self.projections),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| {
            let setting = SETTINGS.iter().find(|setting| setting.flag == Some(flag))?;
            Some(Written::text_at(flag, setting.name, value.as_ref()?))
        });
        given.collect()
    }
}

/// The help text of a flag that sets one setting: its meaning, its values and its default.
pub(crate) fn help_of(flag: &str) -> String {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.flag == Some(flag)) else { return String::new() };
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    format!("{} [{}]{default}", setting.meaning.trim().trim_end_matches('.'), setting.kind.expected())
}
