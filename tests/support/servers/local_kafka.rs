//! A local Kafka: one JVM as broker and controller, started from the jars that `scripts/test` downloads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::free_port;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::guard::{Server, ServerGuard};
use crate::support::line::Line;
use crate::support::{root, signal};

/// An arbitrary id of the cluster.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// A small heap, and only the fast compiler, because the broker lives for about a minute.
const JVM_OPTIONS: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The properties of a single broker with short delays, for a local process and for a container.
pub(super) const PROPERTIES: [(&str, &str); 21] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,LINE:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    // There is only one broker.
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    // Each partition of these topics is a directory to create before the first group or transaction.
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    ("group.initial.rebalance.delay.ms", "0"),
    // A restarted broker is accepted after the session of its predecessor expires, which takes 9 s by default.
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "200"),
    // Allows sessions that expire after one second instead of six.
    ("group.min.session.timeout.ms", "1000"),
    // A misspelled topic is an error and not an empty topic.
    ("auto.create.topics.enable", "false"),
    // The events of the tests may be years old, and retention uses their timestamps.
    ("log.retention.ms", "-1"),
    // The largest record that a test sends.
    ("message.max.bytes", "33554432"),
    // Short intervals for expired transactions and for compaction, which tests wait for.
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
    ("log.cleaner.backoff.ms", "500"),
    // Deleted topics are removed from the disk at once.
    ("log.segment.delete.delay.ms", "0"),
];

/// A broker whose log lives as long as this value.
pub(crate) struct LocalKafka {
    guard: ServerGuard,
    port: u16,
}

impl LocalKafka {
    /// Starts a broker. `None` without Java or without the jars. Clients that connect through `line` stay on it; see
    /// [`Line::bootstrap`].
    pub(crate) async fn start(line: Option<&Line>) -> Option<LocalKafka> {
        LocalKafka::start_with(line, &[]).await
    }

    /// As above, with properties that override the defaults.
    pub(crate) async fn start_with(line: Option<&Line>, properties: &[(&str, &str)]) -> Option<LocalKafka> {
        let (java, libs) = (java()?, libs());
        if !libs.is_dir() {
            return None;
        }
        let port = free_port();
        let dir = tempfile::Builder::new().prefix("readcast-kafka-").tempdir().expect("a temporary directory").keep();
        let others = properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        let properties = dir.join("server.properties");
        // The last property of a name takes precedence.
        let text: String = std::iter::once(server_properties(port, line, &dir)).chain(others).collect();
        std::fs::write(&properties, text).expect("the directory is ours");
        let classes = libs.join("*").into_os_string();
        format_storage(&java, &classes, &properties);
        let mut command = vec![java];
        command.extend(JVM_OPTIONS.map(OsString::from));
        command.extend(["-cp".into(), classes, "kafka.Kafka".into(), properties.into()]);
        // A regular shutdown transfers leadership, which takes seconds and is not needed here.
        let guard = ServerGuard::start(Server { dir, account: None, stop: "KILL", command });
        let server = LocalKafka { guard, port };
        server.answers().await;
        Some(server)
    }

    /// For `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill9(&self) {
        self.guard.signal(signal::SIGKILL);
    }

    /// Stops the process without closing its connections.
    pub(crate) fn stop(&self) {
        self.guard.signal(signal::SIGSTOP);
    }

    /// Resumes the process after [`Self::stop`].
    pub(crate) fn cont(&self) {
        self.guard.signal(signal::SIGCONT);
    }

    /// Restarts the broker after [`Self::kill9`], with the same log on the same port.
    pub(crate) async fn restart(&mut self) {
        self.guard.start_again();
        self.answers().await;
    }

    /// The folder of the log segments.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.guard.dir().join("data")
    }

    async fn answers(&self) {
        await_broker(&self.bootstrap(), || self.guard.log_tail()).await;
    }
}

/// The folder of jars: `READCAST_KAFKA_LIBS`, or the download folder of `scripts/test`.
pub(super) fn libs() -> PathBuf {
    let named = std::env::var_os("READCAST_KAFKA_LIBS").map(PathBuf::from);
    named.unwrap_or_else(|| root().join("target/kafka/libs"))
}

/// Waits until the broker is in the cluster's metadata. `log` provides the reason for a failure.
pub(super) async fn await_broker(bootstrap: &str, log: impl Fn() -> String) {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client needs no server to exist");
    eventually("Kafka answers", PATIENCE, async || match client.fetch_metadata(None, Duration::from_secs(1)) {
        Ok(metadata) if !metadata.brokers().is_empty() => Ok(()),
        Ok(_) => Err("the cluster has no broker yet".to_owned()),
        Err(error) => Err(format!("{error}\n{}", log())),
    })
    .await;
}

/// The `java` of `JAVA_HOME` or of PATH, if it runs: some systems have a `java` that only prints how to install one.
pub(crate) fn java() -> Option<OsString> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java").into_os_string());
    [home, Some("java".into())].into_iter().flatten().find(|java| {
        let version = Command::new(java).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    })
}

fn server_properties(port: u16, line: Option<&Line>, dir: &Path) -> String {
    let controller = free_port();
    let (mut listeners, mut advertised) =
        (format!("PLAINTEXT://127.0.0.1:{port}"), format!("PLAINTEXT://127.0.0.1:{port}"));
    if let Some(line) = line {
        listeners += &format!(",LINE://127.0.0.1:{}", line.upstream());
        advertised += &format!(",LINE://{}", line.bootstrap());
    }
    let fixed = PROPERTIES.iter().map(|(key, value)| format!("{key}={value}\n"));
    let of_this_broker = [
        format!("listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n"),
        format!("advertised.listeners={advertised}\n"),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}\n"),
        format!("log.dirs={}\n", dir.join("data").display()),
    ];
    fixed.chain(of_this_broker).collect()
}

/// Formats the directories that `properties` names.
pub(super) fn format_storage(java: &OsString, classes: &OsString, properties: &Path) {
    let mut format = Command::new(java);
    format.args(JVM_OPTIONS).arg("-cp").arg(classes).args([
        "kafka.tools.StorageTool",
        "format",
        "-t",
        CLUSTER_ID,
        "-c",
    ]);
    let output = format.arg(properties).output().expect("java runs");
    assert!(output.status.success(), "formatting Kafka's storage: {}", String::from_utf8_lossy(&output.stderr));
}
