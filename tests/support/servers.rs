//! Finds or starts the servers of the tests, and says what to install if there are none.
//!
//! In this order: a server that an environment variable names, one that is started from local binaries, one in a
//! container. Each is started at its first use, shared by all tests of the process, and ended with it.

pub(crate) mod cluster;
mod containers;
pub(crate) mod local_kafka;
pub(crate) mod local_pgbouncer;
mod local_postgres;
mod local_registry;

use std::net::TcpListener;
use std::path::PathBuf;

use tokio::sync::OnceCell;

pub(crate) use local_kafka::LocalKafka;
pub(crate) use local_postgres::{Durability, LocalPostgres};
use local_registry::LocalRegistry;

use super::eventually::{PATIENCE, eventually};
use super::guard::ContainerGuard;
use super::line::Line;

/// A running server, and the guard that keeps it alive.
pub(crate) struct Running {
    /// A database URL for Postgres, `host:port,…` for Kafka, a URL for the schema registry.
    pub(crate) address: String,
    _keeper: Keeper,
}

enum Keeper {
    Somebody,
    Postgres(#[expect(dead_code, reason = "held for its Drop")] LocalPostgres),
    Kafka(#[expect(dead_code, reason = "held for its Drop")] LocalKafka),
    Registry(#[expect(dead_code, reason = "held for its Drop")] LocalRegistry),
    Container(#[expect(dead_code, reason = "held for its Drop")] ContainerGuard),
}

/// The Postgres of this test process.
pub(crate) async fn postgres() -> &'static Running {
    static SHARED: OnceCell<Running> = OnceCell::const_new();
    SHARED.get_or_init(|| find_postgres(Durability::Processes)).await
}

/// The Postgres of a benchmark process. If it is started here, its commits survive a power failure. A server from the
/// environment keeps its own settings.
pub(crate) async fn durable_postgres() -> &'static Running {
    static SHARED: OnceCell<Running> = OnceCell::const_new();
    SHARED.get_or_init(|| find_postgres(Durability::Power)).await
}

/// The Kafka of this test process.
pub(crate) async fn kafka() -> &'static Running {
    static SHARED: OnceCell<Running> = OnceCell::const_new();
    SHARED.get_or_init(find_kafka).await
}

/// The schema registry of this test process.
pub(crate) async fn registry() -> &'static Running {
    static SHARED: OnceCell<Running> = OnceCell::const_new();
    SHARED.get_or_init(find_registry).await
}

/// A Kafka that creates topics automatically, for foreign producers. A server from the environment must do so too.
pub(crate) async fn kafka_that_creates_topics() -> Running {
    if let Some(running) = named_kafka() {
        return running;
    }
    let server = LocalKafka::start_with(None, &[("auto.create.topics.enable", "true")]).await;
    let server = server.expect("this takes Java and Kafka here: scripts/test installs them");
    Running { address: server.bootstrap(), _keeper: Keeper::Kafka(server) }
}

/// The folder of Kafka's jars, if there is one.
pub(crate) fn kafka_jars() -> PathBuf {
    local_kafka::libs()
}

/// A separate Postgres that a test may damage. It requires local binaries.
pub(crate) async fn own_postgres() -> LocalPostgres {
    let server = LocalPostgres::start(Durability::Processes).await;
    server.expect("a test that harms its server needs PostgreSQL here: scripts/test installs it")
}

/// A separate Kafka that a test may damage. Clients may connect through `line`.
pub(crate) async fn own_kafka(line: Option<&Line>) -> LocalKafka {
    LocalKafka::start(line)
        .await
        .expect("a test that harms its broker needs Java and Kafka here: scripts/test installs them")
}

async fn find_postgres(durability: Durability) -> Running {
    if let Ok(address) = std::env::var("READCAST_TEST_POSTGRES_URL") {
        return Running { address, _keeper: Keeper::Somebody };
    }
    if let Some(server) = LocalPostgres::start(durability).await {
        return Running { address: server.url(), _keeper: Keeper::Postgres(server) };
    }
    match containers::postgres(durability).await {
        Ok((guard, address)) => {
            await_postgres(&address, || "see the container's log".into()).await;
            Running { address, _keeper: Keeper::Container(guard) }
        }
        Err(engine) => panic!(
            "No PostgreSQL to test with: READCAST_TEST_POSTGRES_URL is not set, there is no initdb with a postgres beside it in \
             PATH or /usr/lib/postgresql/*/bin, and no container could be started ({engine}). Run scripts/test, which installs \
             what is missing or says what to install."
        ),
    }
}

fn named_kafka() -> Option<Running> {
    let address = std::env::var("READCAST_TEST_KAFKA").ok()?;
    Some(Running { address, _keeper: Keeper::Somebody })
}

async fn find_kafka() -> Running {
    if let Some(running) = named_kafka() {
        return running;
    }
    if let Some(server) = LocalKafka::start(None).await {
        return Running { address: server.bootstrap(), _keeper: Keeper::Kafka(server) };
    }
    match containers::kafka().await {
        Ok((guard, address)) => {
            local_kafka::await_broker(&address, || "see the container's log".into()).await;
            Running { address, _keeper: Keeper::Container(guard) }
        }
        Err(engine) => panic!(
            "No Kafka to test with: READCAST_TEST_KAFKA is not set, there is no java with the broker's jars in {}, and no \
             container could be started ({engine}). Run scripts/test, which fetches what is missing or says what to install.",
            local_kafka::libs().display()
        ),
    }
}

async fn find_registry() -> Running {
    if let Ok(address) = std::env::var("READCAST_TEST_REGISTRY") {
        return Running { address, _keeper: Keeper::Somebody };
    }
    if let Some(server) = LocalRegistry::start().await {
        return Running { address: server.url(), _keeper: Keeper::Registry(server) };
    }
    match containers::registry().await {
        Ok((guard, port)) => {
            local_registry::await_registry(port, || "see the container's log".into()).await;
            Running {
                address: format!("http://127.0.0.1:{port}{}", local_registry::API),
                _keeper: Keeper::Container(guard),
            }
        }
        Err(engine) => panic!(
            "No schema registry to test with: READCAST_TEST_REGISTRY is not set, there is no java with Apicurio in {}, and no \
             container could be started ({engine}). Run scripts/test, which fetches what is missing or says what to install.",
            local_registry::folder().display()
        ),
    }
}

/// Waits until the server accepts a connection. `log` provides the reason for a failure.
async fn await_postgres(url: &str, log: impl Fn() -> String) {
    use sqlx::Connection;
    eventually("Postgres accepts connections", PATIENCE, async || {
        let connection = sqlx::PgConnection::connect(url).await.map_err(|error| format!("{error}\n{}", log()))?;
        connection.close().await.map_err(|error| error.to_string())
    })
    .await;
}

/// A free loopback port. Another process may take it before the server does, which is rare and visible in the server's
/// log.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
