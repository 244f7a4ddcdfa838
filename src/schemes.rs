//! Which log and which database a URL means: a table of schemes each, with ours and those of the program.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::PostgresUrlSource;
use crate::source::Source;
use crate::source::file::FileSource;
use crate::source::kafka::{KafkaSource, Properties};
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;

/// What a source is opened with.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceSettings {
    /// The URL as it was configured. It may hold credentials, which no error and no log may show.
    pub url: String,
    /// What the name of every topic begins with in the log, before the name that projections use: `topic_prefix` of
    /// `[source]`.
    pub topic_prefix: String,
    /// The maximum size of the records that a subscription buffers, in bytes.
    pub buffer_bytes: usize,
    /// librdkafka's own settings.
    pub(crate) properties: Properties,
}

/// What a store is opened with.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreSettings {
    /// The URL as it was configured. It may hold credentials, which no error and no log may show.
    pub url: String,
    /// What the command does with the store.
    pub access: Access,
    /// The schema of the names that readers use: `schema` of `[store]`, where it is set.
    pub schema: Option<String>,
    /// How many connections the process may have: `max_connections` of `[store]`, where it is set.
    pub max_connections: Option<usize>,
    /// The URL as Postgres reads it, again for each connection.
    pub(crate) postgres: Option<PostgresUrlSource>,
}

/// What a command does with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It looks, and creates nothing.
    Read,
    /// It writes rows, or changes what is recorded.
    Write,
    /// It leaves commands for another process, which has the store to itself.
    Command,
}

/// Why a source or a store can't be opened.
pub type OpenError = Box<dyn Error + Send + Sync>;

type Opening<T> = Pin<Box<dyn Future<Output = Result<Arc<T>, OpenError>> + Send>>;
type Open<S, T> = Arc<dyn Fn(S) -> Opening<T> + Send + Sync>;

/// What opens the URLs of a scheme, by scheme.
pub(crate) struct Schemes<S, T: ?Sized>(BTreeMap<String, Open<S, T>>);

impl<S, T: ?Sized> Clone for Schemes<S, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, T: ?Sized> Schemes<S, T> {
    /// # Panics
    /// When the scheme is there already.
    pub(crate) fn add<F, O>(&mut self, scheme: &str, open: F)
    where
        F: Fn(S) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Arc<T>, OpenError>> + Send + 'static,
    {
        let earlier = self.0.insert(scheme.to_owned(), Arc::new(move |settings| Box::pin(open(settings))));
        assert!(earlier.is_none(), "the scheme `{scheme}` is registered twice");
    }

    /// Nothing, or a sentence that names the schemes that there are.
    pub(crate) fn check(&self, scheme: &str) -> Result<(), String> {
        if self.0.contains_key(scheme) {
            return Ok(());
        }
        let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
        Err(format!("unknown scheme `{scheme}`; there are `{known}`"))
    }

    /// Opens what a URL of `scheme` means.
    pub(crate) async fn open(&self, scheme: &str, settings: S) -> Result<Arc<T>, OpenError> {
        self.check(scheme)?;
        (self.0[scheme])(settings).await
    }
}

impl Schemes<SourceSettings, dyn Source> {
    /// Kafka and files.
    pub(crate) fn of_sources() -> Self {
        let mut schemes = Self(BTreeMap::new());
        schemes.add("kafka", async |settings: SourceSettings| {
            let SourceSettings { topic_prefix, buffer_bytes, properties, .. } = settings;
            Ok(Arc::new(KafkaSource::new(properties, &topic_prefix, buffer_bytes)) as Arc<dyn Source>)
        });
        schemes.add("file", async |settings: SourceSettings| {
            Ok(Arc::new(FileSource::new(path(&settings.url))) as Arc<dyn Source>)
        });
        schemes
    }
}

impl Schemes<StoreSettings, dyn Store> {
    /// Postgres and SQLite.
    pub(crate) fn of_stores() -> Self {
        let mut schemes = Self(BTreeMap::new());
        schemes.add("postgres", async |settings: StoreSettings| {
            let url = settings.postgres.ok_or("the URL is not one of Postgres")?;
            let schema = settings.schema.unwrap_or_else(|| "public".into());
            let most = settings.max_connections.unwrap_or(Postgres::MOST_CONNECTIONS);
            Ok(Arc::new(Postgres::of_url(url, schema).with_most_connections(most)) as Arc<dyn Store>)
        });
        schemes.add("sqlite", async |settings: StoreSettings| {
            let path = path(&settings.url);
            let store = match settings.access {
                Access::Read => Sqlite::open_read_only(&path).await?,
                Access::Write => Sqlite::open(&path).await?,
                Access::Command => Sqlite::open_to_control(&path).await?,
            };
            Ok(Arc::new(store) as Arc<dyn Store>)
        });
        schemes
    }
}

/// What follows the scheme.
fn path(url: &str) -> PathBuf {
    url.split_once(':').map_or(url, |(_, path)| path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_refused_with_those_that_there_are() {
        let refused = Schemes::of_stores().check("mysql").unwrap_err();
        assert_eq!(refused, "unknown scheme `mysql`; there are `postgres`, `sqlite`");
        assert_eq!(Schemes::of_sources().check("kafka"), Ok(()));
    }

    #[tokio::test]
    async fn a_url_opens_what_its_scheme_is_registered_for() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("read.db").display());
        let settings =
            |access| StoreSettings { url: url.clone(), access, schema: None, max_connections: None, postgres: None };
        let stores = Schemes::of_stores();
        assert!(stores.open("sqlite", settings(Access::Read)).await.is_err(), "there is no file to look at");
        assert!(stores.open("sqlite", settings(Access::Write)).await.is_ok());
        assert!(stores.open("sqlite", settings(Access::Read)).await.is_ok());
    }

    #[test]
    #[should_panic(expected = "the scheme `kafka` is registered twice")]
    fn a_scheme_that_is_taken_is_refused() {
        let open = |_| std::future::ready(Err("never".into()));
        Schemes::of_sources().add("kafka", open);
    }
}
