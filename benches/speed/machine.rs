//! Describes the environment of the measurements.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};

use crate::support::{root, servers};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_gib: u64,
    pub(crate) os: String,
    /// The version of the server, and its settings that affect durability.
    pub(crate) postgres: String,
    pub(crate) kafka: String,
    pub(crate) date: String,
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) async fn look() -> Self {
        Self {
            cores: available_parallelism().map_or(0, usize::from),
            cpu: field("/proc/cpuinfo", "model name"),
            memory_gib: memory_gib(),
            os: format!(
                "{}, Linux {}",
                field("/etc/os-release", "PRETTY_NAME"),
                first_line("/proc/sys/kernel/osrelease")
            ),
            postgres: postgres().await,
            kafka: kafka(),
            date: DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%d").to_string(),
            commit: commit(),
        }
    }
}

async fn postgres() -> String {
    let server = &servers::durable_postgres().await.address;
    let mut connection = PgConnection::connect(server).await.unwrap();
    let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.unwrap();
    const SETTINGS: &str = "
        SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
        WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'max_wal_size', 'shared_buffers')";
    let settings: String = sqlx::query_scalar(SETTINGS).fetch_one(&mut connection).await.unwrap();
    format!("{version} ({settings})")
}

/// The version of the broker, from the name of its jar.
fn kafka() -> String {
    if std::env::var_os("READCAST_TEST_KAFKA").is_some() {
        return "a broker named in READCAST_TEST_KAFKA".to_owned();
    }
    let jars = fs::read_dir(servers::kafka_jars()).into_iter().flatten().flatten();
    let names = jars.filter_map(|jar| jar.file_name().into_string().ok());
    let version = |name: String| Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned());
    names.filter_map(version).next().unwrap_or_else(|| "that of the container image".to_owned())
}

/// The commit of the sources, with a star if the working tree has changes.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if changed { commit + "*" } else { commit }
}

fn memory_gib() -> u64 {
    const KIB_A_GIB: u64 = 1 << 20;
    let kib = field("/proc/meminfo", "MemTotal");
    let kib: u64 = kib.trim_end_matches("kB").trim().parse().unwrap_or_default();
    (kib + KIB_A_GIB / 2) / KIB_A_GIB
}

/// The rest of the first line that begins with `name`.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or("unknown", |rest| rest.trim_matches([' ', '\t', ':', '=', '"'])).to_owned()
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}
