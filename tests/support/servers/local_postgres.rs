//! A local Postgres, started from the binaries on this machine.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{await_postgres, free_port};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::guard::{Account, Server, ServerGuard};
use crate::support::signal;

/// The settings of every local server.
const SETTINGS: [&str; 4] = [
    "max_connections=200",
    "listen_addresses=127.0.0.1",
    // Tests compare rows as text.
    "timezone=UTC",
    "log_min_messages=warning",
];

/// The durability of commits.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    /// A commit survives a crash of the server, but not of the machine.
    Processes,
    /// A commit survives a power failure: the default of Postgres.
    Power,
}

impl Durability {
    /// The settings of the server for this durability.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Durability::Processes => &["fsync=off", "full_page_writes=off"],
            // The first ones are the defaults. With the default max_wal_size of 1 GB, a benchmark at full speed would
            // measure checkpoints every few seconds instead of minutes.
            Durability::Power => &["fsync=on", "full_page_writes=on", "synchronous_commit=on", "max_wal_size=4GB"],
        }
    }
}

/// A server whose data lives as long as this value.
pub(crate) struct LocalPostgres {
    guard: ServerGuard,
    port: u16,
}

impl LocalPostgres {
    /// Starts a new server. `None` if Postgres is not installed.
    pub(crate) async fn start(durability: Durability) -> Option<LocalPostgres> {
        let binaries = binaries()?;
        let port = free_port();
        let (dir, account) = initialise(&binaries);
        let mut command = vec![binaries.join("postgres").into_os_string(), "-D".into(), dir.join("data").into()];
        let socket_directory = format!("unix_socket_directories={}", dir.display());
        let port_setting = format!("port={port}");
        let of_this_server = [socket_directory.as_str(), port_setting.as_str()];
        for setting in SETTINGS.iter().chain(durability.settings()).copied().chain(of_this_server) {
            command.extend(["-c".into(), setting.into()]);
        }
        // SIGQUIT is Postgres's immediate shutdown. It also ends the child processes, unlike SIGKILL.
        let server = LocalPostgres { guard: ServerGuard::start(Server { dir, account, stop: "QUIT", command }), port };
        server.answers().await;
        Some(server)
    }

    /// The URL of the maintenance database, as superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// `pg_ctl stop -m immediate`: all connections end and nothing more is written.
    pub(crate) fn crash(&self) {
        self.guard.signal(signal::SIGQUIT);
    }

    /// Restarts the server after [`Self::crash`] on the same port, and waits until it has recovered.
    pub(crate) async fn restart(&mut self) {
        self.guard.start_again();
        self.answers().await;
    }

    /// Copies all databases for [`Self::put_back`]. This crashes and restarts the server.
    pub(crate) async fn copy(&mut self) {
        self.with_files(&["cp", "-a", "data", "copy"]).await;
    }

    /// Restores the copy of all databases, like a backup.
    pub(crate) async fn put_back(&mut self) {
        self.with_files(&["sh", "-c", "rm -rf data && cp -a copy data"]).await;
    }

    /// Turns the server into a read-only standby.
    pub(crate) async fn become_standby(&mut self) {
        self.with_files(&["sh", "-c", "touch data/standby.signal"]).await;
    }

    /// Runs a command in the server's directory while the server is stopped.
    async fn with_files(&mut self, command: &[&str]) {
        self.crash();
        let pid_file = self.guard.dir().join("data/postmaster.pid");
        eventually("Postgres is gone", PATIENCE, async || if pid_file.exists() { Err("it is not") } else { Ok(()) })
            .await;
        let status = Command::new(command[0]).args(&command[1..]).current_dir(self.guard.dir()).status();
        assert!(status.expect("every Unix has it").success(), "{command:?}");
        self.restart().await;
    }

    async fn answers(&self) {
        await_postgres(&self.url(), || self.guard.log_tail()).await;
    }
}

/// The directory of `initdb` and `postgres`: from PATH, or the highest version in the directory of Debian.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|dir| is_installation(dir));
    on_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
        let version = |dir: &PathBuf| dir.file_name().and_then(OsStr::to_str)?.parse::<u32>().ok();
        versions.filter(|dir| is_installation(&dir.join("bin"))).max_by_key(version).map(|dir| dir.join("bin"))
    })
}

fn is_installation(dir: &Path) -> bool {
    dir.join("initdb").is_file() && dir.join("postgres").is_file()
}

/// Creates the directory with its data. Returns the account that must run the server.
fn initialise(binaries: &Path) -> (PathBuf, Option<Account>) {
    let dir = tempfile::Builder::new().prefix("readcast-postgres-").tempdir().expect("a temporary directory").keep();
    let account = unprivileged_account(&dir);
    let mut initdb = Command::new(binaries.join("initdb"));
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"]);
    initdb.arg(dir.join("data")).current_dir(&dir);
    if let Some(Account { uid, gid }) = account {
        chown(&dir, Some(uid), Some(gid)).expect("root gives directories away");
        initdb.uid(uid).gid(gid);
    }
    let output = initdb.output().expect("initdb runs");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    (dir, account)
}

/// The account for the server, because Postgres refuses to run as root. `None` if this process is not root, which the
/// owner of a new directory shows.
pub(super) fn unprivileged_account(our_directory: &Path) -> Option<Account> {
    if our_directory.metadata().expect("we have just made it").uid() != 0 {
        return None;
    }
    let found = ["postgres", "nobody"]
        .into_iter()
        .find_map(|user| Some(Account { uid: id("-u", user)?, gid: id("-g", user)? }));
    Some(found.expect("root's machine has a user postgres or nobody"))
}

fn id(which: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([which, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
