//! The section `[store]`: which database holds the read tables.

use std::fmt;
use std::path::PathBuf;

use super::checks;
use super::environment::Environment;
use super::error::ConfigError;
use super::postgres_url::PostgresUrl;
use super::secret::{Secret, SecretSource};
use super::table::StoreSettings;
use super::values::Values;
use super::written::scheme;

/// Which database holds the read tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOptions {
    /// A Postgres database.
    Postgres {
        /// The URL, which a file may hold.
        url: PostgresUrlSource,
        /// The schema of the names that readers use.
        schema: String,
        /// The most connections that the process opens.
        max_connections: usize,
    },
    /// A SQLite file.
    Sqlite {
        /// The path of the file.
        path: PathBuf,
    },
    /// A database that a store of the program opens.
    Other {
        /// The scheme of the URL.
        scheme: String,
        /// The whole URL, as it was when the configuration was read.
        url: Secret,
        /// The place where it was written.
        place: String,
        /// The schema of the names that readers use, if one is set.
        schema: Option<String>,
        /// The most connections that the process opens, if that is set.
        max_connections: Option<usize>,
    },
}

/// The URL of the database, read for each connection, because a file that holds the URL or the password may have new
/// credentials each time. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrlSource {
    url: SecretSource,
    password: Option<SecretSource>,
    insecure: bool,
    environment: Environment,
    /// The URL when the configuration was read.
    first: Box<PostgresUrl>,
}

impl PostgresUrlSource {
    /// Reads the URL for the first time, and refuses what `current` would refuse each time.
    fn new(
        url: SecretSource,
        password: Option<SecretSource>,
        insecure: bool,
        environment: &Environment,
    ) -> Result<Self, String> {
        let first = Box::new(read(&url, password.as_ref(), insecure, environment)?);
        Ok(Self { url, password, insecure, environment: environment.clone(), first })
    }

    /// The URL at this moment, for one connection. An error can be temporary: for a moment, a file can be missing, half
    /// written or newer than the other one. The error shows nothing of the files' content. Credentials and servers may
    /// change while the process runs. The database may not, because half of the connections would write into the other one.
    pub fn current(&self) -> Result<PostgresUrl, String> {
        let url = read(&self.url, self.password.as_ref(), self.insecure, &self.environment)?;
        // A URL without a database means the one named like the user.
        let database = |url: &PostgresUrl| url.database().or(url.user()).map(str::to_owned);
        if database(&url) != database(&self.first) {
            return Err("the URL of the store names another database than at the start; start readcast again".into());
        }
        Ok(url)
    }

    /// The URL when the configuration was read.
    pub fn first(&self) -> &PostgresUrl {
        &self.first
    }
}

impl fmt::Debug for PostgresUrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUrlSource").field("url", &self.first).field("password", &self.password).finish()
    }
}

fn read(
    url: &SecretSource,
    password: Option<&SecretSource>,
    insecure: bool,
    environment: &Environment,
) -> Result<PostgresUrl, String> {
    let password = password.map(SecretSource::current).transpose()?;
    let url = PostgresUrl::parse(url.current()?.expose(), environment, password.as_ref())?;
    if !insecure {
        url.check_tls()?;
    }
    Ok(url)
}

impl StoreOptions {
    /// The database, if there is a URL.
    pub(super) fn of(
        settings: StoreSettings,
        values: &Values,
        environment: &Environment,
    ) -> Result<Option<Self>, ConfigError> {
        let StoreSettings { url, password, schema, max_connections, insecure } = settings;
        checks::schema(&schema, values)?;
        let Some(url) = url else { return Ok(None) };
        let at_url = |problem| ConfigError::at(values.place("store.url"), problem);
        let current = url.current().map_err(at_url)?;
        let kind = match scheme(current.expose()) {
            _ if current.expose().starts_with("sqlite:") => "sqlite",
            Some("postgres" | "postgresql") | None => "postgres",
            Some(other) => other,
        };
        if kind != "postgres" && password.is_some() {
            let store = if kind == "sqlite" { "a SQLite file".to_owned() } else { format!("one of `{kind}`") };
            let problem = format!("`store.password` is for Postgres, and the store is {store}");
            return Err(ConfigError::at(values.place("store.password"), problem));
        }
        if let Some(path) = current.expose().strip_prefix("sqlite:") {
            let path = sqlite_path(path).map_err(|problem| at_url(problem.to_owned()))?;
            return Ok(Some(Self::Sqlite { path }));
        }
        if kind != "postgres" {
            return Ok(Some(Self::Other {
                scheme: kind.to_owned(),
                url: current.clone(),
                place: values.place("store.url").to_owned(),
                schema: values.is_set("store.schema").then_some(schema),
                max_connections: values.is_set("store.max_connections").then_some(max_connections),
            }));
        }
        let url = PostgresUrlSource::new(url, password, insecure, environment).map_err(at_url)?;
        Ok(Some(Self::Postgres { url, schema, max_connections }))
    }
}

fn sqlite_path(path: &str) -> Result<PathBuf, &'static str> {
    match path.strip_prefix("//").unwrap_or(path) {
        "" => Err("`sqlite:` names no file"),
        ":memory:" => Err("`sqlite::memory:` keeps nothing; name a file"),
        path if path.contains('?') => Err("`sqlite:PATH` takes no parameters"),
        path => Ok(path.into()),
    }
}
