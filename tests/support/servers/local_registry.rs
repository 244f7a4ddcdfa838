//! A local schema registry: Apicurio in memory, started from the archive that `scripts/test` downloads.

use std::path::PathBuf;

use tokio::net::TcpStream;

use super::free_port;
use super::local_kafka::java;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::guard::{Server, ServerGuard};
use crate::support::root;

/// The path at which Apicurio speaks Confluent's API.
pub(super) const API: &str = "/apis/ccompat/v7";

/// A registry that forgets its schemas with this value.
pub(crate) struct LocalRegistry {
    _guard: ServerGuard,
    port: u16,
}

impl LocalRegistry {
    /// Starts a registry. `None` without Java or without the archive.
    pub(super) async fn start() -> Option<LocalRegistry> {
        let (java, jar) = (java()?, jar()?);
        let port = free_port();
        let dir =
            tempfile::Builder::new().prefix("readcast-registry-").tempdir().expect("a temporary directory").keep();
        let settings = [
            "-Xmx512m".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dquarkus.http.host=127.0.0.1".to_owned(),
            format!("-Dquarkus.http.port={port}"),
            "-Dquarkus.management.host=127.0.0.1".to_owned(),
            format!("-Dquarkus.management.port={}", free_port()),
            "-jar".to_owned(),
        ];
        let command = std::iter::once(java).chain(settings.map(Into::into)).chain([jar.into()]).collect();
        let guard = ServerGuard::start(Server { dir, account: None, stop: "KILL", command });
        await_registry(port, || guard.log_tail()).await;
        Some(LocalRegistry { _guard: guard, port })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{API}", self.port)
    }
}

/// The folder of the archive's content, which `scripts/test` fills.
pub(super) fn folder() -> PathBuf {
    root().join("target/apicurio")
}

fn jar() -> Option<PathBuf> {
    let files = std::fs::read_dir(folder()).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.into_iter().find(|path| path.to_string_lossy().ends_with("-runner.jar"))
}

/// Waits until the registry listens, which it does once it is ready. `log` provides the reason for a failure.
pub(super) async fn await_registry(port: u16, log: impl Fn() -> String) {
    eventually("the schema registry listens", PATIENCE, async || {
        let connected = TcpStream::connect(("127.0.0.1", port)).await;
        connected.map(drop).map_err(|error| format!("{error}\n{}", log()))
    })
    .await;
}
