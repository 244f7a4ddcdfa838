//! The whole configuration: defaults, under the file `readcast.toml`, under the environment, under flags.
//!
//! Every layer comes apart into settings, and one set of rules reads them all, so that each error names the line, the
//! variable or the flag. Nothing else reads the environment. Nothing here connects to anything or knows what the
//! options are good for.

mod admin;
mod environment;
mod error;
mod file;
mod kafka;
mod logging;
mod postgres_url;
mod projector;
mod secret;
mod setting;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod topics;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use self::admin::AdminOptions;
pub use self::environment::Environment;
pub use self::error::ConfigError;
pub use self::kafka::KafkaProperties;
pub use self::logging::{LogFormat, LogOptions};
pub use self::postgres_url::{Endpoint, PostgresUrl, SslMode, TargetSessionAttrs, Tls};
pub use self::projector::{DuplicateId, ProjectionOptions, ProjectorOptions};
pub use self::secret::{Secret, SecretSource};
pub use self::source::SourceOptions;
pub use self::store::{PostgresUrlSource, StoreOptions};

use self::setting::Setting;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "readcast.toml";

/// Everything that can be configured. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the admin server listens.
    pub admin: AdminOptions,
    /// What holds for the service as a whole.
    pub projector: ProjectorOptions,
    /// What is logged, and how.
    pub logging: LogOptions,
    /// Who types the commands, as `user@host`: for the record of what was asked for.
    pub operator: String,
    /// Where this process runs: for those who look for it.
    pub host: String,
    source: Option<SourceOptions>,
    store: Option<StoreOptions>,
    projections: projector::ProjectorDraft,
    topics: topics::Topics,
}

/// What the command line says of the configuration: the last word.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--config`: the file, which must be there.
    pub config: Option<PathBuf>,
    /// `--source`: `file:DIR`, `kafka://host:port,…` or another URL that the program knows.
    pub source: Option<String>,
    /// `--store`: `postgres://…` or `sqlite:PATH`.
    pub store: Option<String>,
    /// `--admin-listen`: an address and a port.
    pub admin_listen: Option<String>,
}

impl Config {
    /// Reads all layers. `registered` holds the names of all projections.
    pub fn load(overrides: &Overrides, environment: &Environment, registered: &[&str]) -> Result<Self, ConfigError> {
        let mut draft = Draft::default();
        let layers = [file_layer(overrides, environment)?, environment.settings()?, overrides.settings()];
        layers.iter().flatten().try_for_each(|setting| draft.apply(setting, registered))?;
        if !draft.store.has_url() {
            environment.fallback_store().iter().try_for_each(|setting| draft.apply(setting, registered))?;
        }
        draft.projector.check(registered)?;
        Ok(Self {
            admin: draft.admin.finish()?,
            projector: draft.projector.options(),
            logging: LogOptions::read(environment)?,
            operator: environment.operator(),
            host: environment.host(),
            source: draft.source.finish()?,
            store: draft.store.finish(environment)?,
            projections: draft.projector,
            topics: draft.topics,
        })
    }

    /// The log to read, which there must be.
    pub fn source(&self) -> Result<&SourceOptions, ConfigError> {
        const MISSING: &str = "no source: set `bootstrap.servers` in `[source.properties]`, or \
                               READCAST_KAFKA_BOOTSTRAP_SERVERS, or pass `--source`";
        self.source.as_ref().ok_or_else(|| ConfigError::overall(MISSING))
    }

    /// The database to write, which there must be.
    pub fn store(&self) -> Result<&StoreOptions, ConfigError> {
        const MISSING: &str = "no store: set `url` in `[store]`, or READCAST_STORE_URL, or pass `--store`";
        self.store.as_ref().ok_or_else(|| ConfigError::overall(MISSING))
    }

    /// What holds for the projection `name`.
    pub fn projection(&self, name: &str) -> ProjectionOptions {
        self.projections.projection(name)
    }

    /// The name of the format in which the records of `topic` are written: `envelope` where nothing is said.
    pub fn format_of(&self, topic: &str) -> &str {
        self.topics.format_of(topic)
    }

    /// The topics of which something is said.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.names()
    }
}

/// The options while their settings still come in.
#[derive(Default)]
struct Draft {
    source: source::SourceDraft,
    store: store::StoreDraft,
    admin: admin::AdminDraft,
    projector: projector::ProjectorDraft,
    topics: topics::Topics,
}

impl Draft {
    fn apply(&mut self, setting: &Setting, registered: &[&str]) -> Result<(), ConfigError> {
        const SECTIONS: [&str; 6] = ["source", "store", "admin", "projector", "projections", "topics"];
        match setting.key.split_once('.') {
            Some(("source", name)) => self.source.set(name, setting),
            Some(("store", name)) => self.store.set(name, setting),
            Some(("admin", name)) => self.admin.set(name, setting),
            Some(("projector", name)) => self.projector.set(name, setting),
            Some(("topics", name)) => self.topics.set(name, setting),
            Some(("projections", name)) => self.projector.set_projection(name, setting, registered),
            None if SECTIONS.contains(&setting.key.as_str()) && setting.is_table() => Ok(()),
            None if SECTIONS.contains(&setting.key.as_str()) => Err(setting.not("a section")),
            // A section comes before what it holds, so an unknown one is reported by its own place.
            None | Some(_) => Err(setting.unknown(&setting.key, SECTIONS)),
        }
    }
}

impl Overrides {
    fn settings(&self) -> Vec<Setting> {
        let flags = [
            ("--source", "source.url", &self.source),
            ("--store", "store.url", &self.store),
            ("--admin-listen", "admin.listen", &self.admin_listen),
        ];
        let given = flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.as_ref()?)));
        given.map(|(flag, key, value)| Setting::text_at(flag, key, value)).collect()
    }
}

/// The settings of the file. A file that somebody named must be there.
fn file_layer(overrides: &Overrides, environment: &Environment) -> Result<Vec<Setting>, ConfigError> {
    let named = overrides.config.as_deref().or_else(|| environment.get("READCAST_CONFIG").map(Path::new));
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => file::settings(&name, &text),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ConfigError::at(name, format!("can't be read: {error}"))),
    }
}
