//! The databases that are written, a fresh one for each run.

use std::any::Any;
use std::sync::Arc;

use readcast::store::postgres::Postgres;
use readcast::store::sqlite::Sqlite;
use readcast::store::{Peek, Store};
use readcast_core::Registry;

use crate::support::postgres::Database;

/// How many rows of each table are compared, besides their number.
const ROWS_COMPARED: usize = 1_000;

#[derive(Clone, Copy)]
pub(crate) enum Target {
    Postgres,
    Sqlite,
}

/// A database with empty tables. It goes with this value; fields are dropped in this order.
pub(crate) struct Fresh {
    pub(crate) store: Arc<dyn Store>,
    _database: Box<dyn Any>,
}

impl Target {
    pub(crate) async fn fresh(self, registry: &Registry) -> Fresh {
        let fresh = match self {
            Target::Postgres => {
                let database = Database::create().await;
                let store = Arc::new(Postgres::new(database.options(), "public"));
                Fresh { store, _database: Box::new(database) }
            }
            Target::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let store = Arc::new(Sqlite::open(&folder.path().join("read.db")).await.unwrap());
                Fresh { store, _database: Box::new(folder) }
            }
        };
        fresh.store.migrate().await.unwrap();
        for definition in registry.definitions() {
            fresh.store.prepare(definition).await.unwrap();
        }
        fresh
    }
}

impl Fresh {
    /// What readers see of every table.
    pub(crate) async fn glance(&self, registry: &Registry) -> Vec<Peek> {
        let mut seen = Vec::new();
        for table in registry.definitions().iter().flat_map(|definition| definition.tables()) {
            seen.push(self.store.peek(table, ROWS_COMPARED).await.unwrap());
        }
        seen
    }
}
