//! The section `[store]`: which database holds the read tables.

use std::fmt;
use std::path::PathBuf;

use super::environment::Environment;
use super::error::ConfigError;
use super::postgres_url::PostgresUrl;
use super::secret::{Secret, SecretSource};
use super::setting::{Setting, scheme};

/// Which database holds the read tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOptions {
    /// A Postgres database.
    Postgres {
        /// How to reach it, with TLS as it was asked for.
        url: PostgresUrlSource,
        /// The schema of the names that readers use.
        schema: String,
        /// How many connections the process may have.
        max_connections: usize,
    },
    /// A file of SQLite's.
    Sqlite {
        /// Which file.
        path: PathBuf,
    },
    /// A database that the program opens by the scheme of its URL.
    Other {
        /// What stands before `://`.
        scheme: String,
        /// The whole URL, as it was when the configuration was read.
        url: Secret,
        /// Where it was written.
        place: String,
        /// The schema of the names that readers use, where one is set.
        schema: Option<String>,
        /// How many connections the process may have, where that is set.
        max_connections: Option<usize>,
    },
}

/// Where the URL of the database stands, to be read for each connection: a file that holds it, or its password, may have
/// other credentials each time. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrlSource {
    url: SecretSource,
    password: Option<SecretSource>,
    insecure: bool,
    environment: Environment,
    /// What it was when the configuration was read.
    first: Box<PostgresUrl>,
}

impl PostgresUrlSource {
    /// Reads it for the first time, and holds it to what must be true of it each time.
    fn new(
        url: SecretSource,
        password: Option<SecretSource>,
        insecure: bool,
        environment: &Environment,
    ) -> Result<Self, String> {
        let first = Box::new(read(&url, password.as_ref(), insecure, environment)?);
        Ok(Self { url, password, insecure, environment: environment.clone(), first })
    }

    /// The URL at this moment, for one connection. An error may pass, for a file can be gone, half written or ahead of the
    /// other for a moment; it shows nothing of what the files hold. Credentials and servers may change while the process
    /// runs, the database may not: half of the connections would write into the other.
    pub fn current(&self) -> Result<PostgresUrl, String> {
        let url = read(&self.url, self.password.as_ref(), self.insecure, &self.environment)?;
        // Without a name it is the user's.
        let database = |url: &PostgresUrl| url.database().or(url.user()).map(str::to_owned);
        if database(&url) != database(&self.first) {
            return Err("the URL of the store names another database than at the start; start readcast again".into());
        }
        Ok(url)
    }

    /// What it was when the configuration was read.
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

#[derive(Default)]
pub(super) struct StoreDraft {
    /// The URL, and where it was written.
    url: Option<(SecretSource, String)>,
    /// The password beside it, and where it was written.
    password: Option<(SecretSource, String)>,
    schema: Option<String>,
    max_connections: Option<usize>,
    insecure: bool,
}

impl StoreDraft {
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name {
            "url" => self.url = Some((setting.secret()?, setting.value_at.clone())),
            "password" => self.password = Some((setting.secret()?, setting.value_at.clone())),
            "schema" => self.schema = Some(readers_schema(setting)?),
            "max_connections" => self.max_connections = Some(setting.whole(5..=10_000)?),
            "insecure" => self.insecure = setting.boolean()?,
            _ => return Err(setting.unknown(name, ["url", "password", "schema", "max_connections", "insecure"])),
        }
        Ok(())
    }

    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    pub(super) fn finish(self, environment: &Environment) -> Result<Option<StoreOptions>, ConfigError> {
        let Some((url, place)) = self.url else { return Ok(None) };
        let at_url = |problem| ConfigError::at(&place, problem);
        let written = url.current().map_err(at_url)?;
        let other = scheme(written.expose()).filter(|scheme| !["postgres", "postgresql", "sqlite"].contains(scheme));
        let is_sqlite = written.expose().starts_with("sqlite:");
        if let Some((_, place)) = self.password.as_ref().filter(|_| other.is_some() || is_sqlite) {
            let store = other.map_or_else(|| "a file of SQLite".into(), |scheme| format!("one of `{scheme}`"));
            return Err(ConfigError::at(place, format!("`store.password` is for Postgres, and the store is {store}")));
        }
        if let Some(scheme) = other {
            let (scheme, schema, max_connections) = (scheme.to_owned(), self.schema, self.max_connections);
            return Ok(Some(StoreOptions::Other { scheme, url: written, place, schema, max_connections }));
        }
        if let Some(path) = written.expose().strip_prefix("sqlite:") {
            let path = sqlite_path(path).map_err(|problem| ConfigError::at(place, problem))?;
            return Ok(Some(StoreOptions::Sqlite { path }));
        }
        let password = self.password.map(|(password, _)| password);
        let url = PostgresUrlSource::new(url, password, self.insecure, environment).map_err(at_url)?;
        let schema = self.schema.unwrap_or_else(|| "public".into());
        let max_connections = self.max_connections.unwrap_or(20);
        Ok(Some(StoreOptions::Postgres { url, schema, max_connections }))
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

/// The schema in which readers look. Where readcast's own tables are, their names and ours would meet.
fn readers_schema(setting: &Setting) -> Result<String, ConfigError> {
    let schema = setting.text_where("a name of letters, digits and `_`", is_identifier)?;
    let of = match schema.as_str() {
        "readcast" | "readcast_tables" => "readcast",
        name if name.starts_with("pg_") || name == "information_schema" => "Postgres",
        _ => return Ok(schema),
    };
    Err(setting.wrong(format!(
        "is `{schema}`, where {of} keeps tables of its own: name the schema that readers look in, like `public`"
    )))
}

/// A name that needs no quotes in SQL, within Postgres's limit on the length of names.
fn is_identifier(text: &str) -> bool {
    text.len() <= 63
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
