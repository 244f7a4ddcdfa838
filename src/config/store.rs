//! The section `[store]`: which database holds the read tables.

use std::path::PathBuf;

use super::environment::Environment;
use super::error::ConfigError;
use super::postgres_url::PostgresUrl;
use super::secret::Secret;
use super::setting::Setting;

/// Which database holds the read tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOptions {
    /// A Postgres database.
    Postgres {
        /// How to reach it, with TLS as it was asked for.
        url: PostgresUrl,
        /// The schema of the names that readers use.
        schema: String,
    },
    /// A file of SQLite's.
    Sqlite {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Default)]
pub(super) struct StoreDraft {
    /// The URL, and where it was written.
    url: Option<(Secret, String)>,
    schema: Option<String>,
    insecure: bool,
}

impl StoreDraft {
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name {
            "url" => self.url = Some((setting.secret()?, setting.value_at.clone())),
            "schema" => self.schema = Some(readers_schema(setting)?),
            "insecure" => self.insecure = setting.boolean()?,
            _ => return Err(setting.unknown(name, ["url", "schema", "insecure"])),
        }
        Ok(())
    }

    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    pub(super) fn finish(self, environment: &Environment) -> Result<Option<StoreOptions>, ConfigError> {
        let Some((url, place)) = self.url else { return Ok(None) };
        let url = url.expose();
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = sqlite_path(path).map_err(|problem| ConfigError::at(place, problem))?;
            return Ok(Some(StoreOptions::Sqlite { path }));
        }
        let url = PostgresUrl::parse(url).map_err(|problem| ConfigError::at(&place, problem))?;
        if !self.insecure {
            url.check_tls(environment).map_err(|problem| ConfigError::at(&place, problem))?;
        }
        Ok(Some(StoreOptions::Postgres { url, schema: self.schema.unwrap_or_else(|| "public".into()) }))
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
