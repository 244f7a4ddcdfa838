//! The Postgres store. readcast's own tables are in the schema `readcast`, and the physical tables in
//! `readcast_tables`. Readers see views in a schema that the operator chooses.
//!
//! The process shares a bounded number of connections. Session locks and prepared statements require direct
//! connections: a pooler in transaction mode does not work.

mod additions;
mod compare;
mod connection;
mod connections;
mod copy;
mod dead_letters;
mod definition;
mod dependents;
mod deployment;
mod guard;
mod hints;
mod indexes;
mod instances;
mod leadership;
mod load;
mod oldest_snapshot;
mod options;
mod permits;
mod rows;
mod server;
mod session;
mod sql;
mod statement;
mod store;
mod swap;
mod tables;
mod views;
mod watched;
mod writer;

use std::sync::Arc;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;

use self::connections::Connections;
use self::server::Server;
pub use self::server::{FindRoute, Route};

/// A Postgres database that holds read tables.
#[derive(Clone)]
pub struct Postgres {
    connections: Connections,
    /// The schema of the stable names.
    schema: String,
}

impl Postgres {
    /// The default maximum number of connections of a process.
    pub const MOST_CONNECTIONS: usize = 20;
    /// The minimum number of connections with which all functions work.
    pub const FEWEST_CONNECTIONS: usize = 5;

    /// The database of `options`, with the readers' views in `schema`. Opens no connection yet.
    pub fn new(options: PgConnectOptions, schema: impl Into<String>) -> Self {
        let route = Route { endpoints: vec![options], connect_timeout: server::CONNECT_TIMEOUT, writable: false };
        Self::by(Arc::new(move || Ok(route.clone())), schema)
    }

    /// The same database with at most `most` connections at a time.
    #[must_use]
    pub fn with_most_connections(self, most: usize) -> Self {
        let most = most.max(Self::FEWEST_CONNECTIONS);
        Self { connections: Connections::new(self.connections.server(), most), ..self }
    }

    /// The database to which `find_route` leads. It is called for each new connection. Opens no connection yet.
    pub fn by(find_route: FindRoute, schema: impl Into<String>) -> Self {
        let schema = schema.into();
        let server = Server::new(find_route, schema.clone());
        Self { connections: Connections::new(server, Self::MOST_CONNECTIONS), schema }
    }
}

fn migrator() -> Migrator {
    const MIGRATIONS: &[(i64, &str, &str)] = &[
        (1, "positions", include_str!("../../migrations/postgres/0001_positions.sql")),
        (2, "generations", include_str!("../../migrations/postgres/0002_generations.sql")),
        (3, "dead_letters", include_str!("../../migrations/postgres/0003_dead_letters.sql")),
        (4, "load", include_str!("../../migrations/postgres/0004_load.sql")),
        (5, "deployment", include_str!("../../migrations/postgres/0005_deployment.sql")),
        (6, "notices", include_str!("../../migrations/postgres/0006_notices.sql")),
        (7, "dead_versions", include_str!("../../migrations/postgres/0007_dead_versions.sql")),
        (8, "notices_by_subject", include_str!("../../migrations/postgres/0008_notices_by_subject.sql")),
        (9, "reasons", include_str!("../../migrations/postgres/0009_reasons.sql")),
        (10, "affected_rows", include_str!("../../migrations/postgres/0010_affected_rows.sql")),
        (11, "duplicate_windows", include_str!("../../migrations/postgres/0011_duplicate_windows.sql")),
        (12, "sources", include_str!("../../migrations/postgres/0012_sources.sql")),
        (13, "components", include_str!("../../migrations/postgres/0013_components.sql")),
    ];
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect());
    migrator.create_schema("readcast");
    migrator.dangerous_set_table_name("readcast.migrations");
    migrator
}

#[cfg(test)]
mod tests {
    use super::migrator;
    use crate::store::bookkeeping::LAST_MIGRATION;

    #[test]
    fn the_last_migration_is_the_one_that_reading_asks_for() {
        assert_eq!(migrator().iter().map(|migration| migration.version).max(), Some(LAST_MIGRATION));
    }
}
