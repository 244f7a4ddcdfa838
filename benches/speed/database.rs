//! The databases of the benchmarks, a new one for each run.

use std::sync::Arc;

use readcast::store::{Peek, Store};
use readcast_core::Registry;
use tempfile::TempDir;

use crate::child::StoreAddress;
use crate::support::postgres::Database;
use crate::support::servers;

/// The number of rows of each table that are compared, in addition to the row count.
const ROWS_COMPARED: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Sqlite,
}

/// A database with empty tables. It is dropped with this value.
pub(crate) struct Fresh {
    pub(crate) address: StoreAddress,
    postgres: Option<Database>,
    _folder: Option<TempDir>,
}

impl Kind {
    /// Creates a database with the tables of these projections.
    pub(crate) async fn with_tables(self, registry: &Registry) -> Fresh {
        let fresh = match self {
            Kind::Postgres => {
                let database = Database::create_on(&servers::durable_postgres().await.address).await;
                let address = StoreAddress::Postgres(database.url().to_owned());
                Fresh { address, postgres: Some(database), _folder: None }
            }
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let address = StoreAddress::Sqlite(folder.path().join("read.db"));
                Fresh { address, postgres: None, _folder: Some(folder) }
            }
        };
        let store = fresh.open().await;
        store.migrate().await.unwrap();
        for definition in registry.definitions() {
            store.prepare(definition).await.unwrap();
        }
        fresh
    }
}

impl Fresh {
    /// Opens the store. A SQLite file allows one at a time.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.address.open().await
    }

    /// The database, if it is a Postgres database.
    pub(crate) fn postgres(&self) -> &Database {
        self.postgres.as_ref().expect("it is one of Postgres")
    }

    /// The contents of every table as readers see them.
    pub(crate) async fn glance(&self, registry: &Registry) -> Vec<Peek> {
        let store = self.open().await;
        let mut seen = Vec::new();
        for table in registry.definitions().iter().flat_map(|definition| definition.tables()) {
            seen.push(store.peek(table, ROWS_COMPARED).await.unwrap());
        }
        seen
    }
}
