//! A cluster of three brokers, for tests with leader elections. The first broker is also the controller and is never
//! killed, so that groups and metadata survive. The other two hold the topics of the tests and may be killed. None is
//! stopped with SIGSTOP, because clients would wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::free_port;
use super::local_kafka::{self, PROPERTIES};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::guard::{Server, ServerGuard};
use crate::support::signal;

/// Small heaps: each holds a few hundred records.
const JVM_OPTIONS: [&str; 3] = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The properties that differ from a single broker.
const DIFFERENCES: [(&str, &str); 4] = [
    // The controller has a replica of each partition, whichever broker is killed.
    ("offsets.topic.replication.factor", "3"),
    ("offsets.topic.num.partitions", "1"),
    // The remaining broker accepts writes.
    ("min.insync.replicas", "1"),
    // A killed follower leaves the in-sync replicas within seconds.
    ("replica.lag.time.max.ms", "1500"),
];

/// Three brokers, with the ids 1 to 3.
pub(crate) struct Cluster {
    ports: [u16; 3],
    guards: Vec<ServerGuard>,
    killed: Vec<i32>,
    client: BaseConsumer,
}

/// The broker that leads the topics of the tests at first.
pub(crate) const LEADER: i32 = 2;
/// The broker that follows it.
pub(crate) const FOLLOWER: i32 = 3;

impl Cluster {
    /// The shared cluster with all brokers running, for one test at a time.
    pub(crate) async fn shared() -> MutexGuard<'static, Cluster> {
        static SHARED: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
        let mut cluster = SHARED.get_or_init(async || Mutex::new(Cluster::start().await)).await.lock().await;
        for id in cluster.killed.clone() {
            cluster.start_again(id);
        }
        cluster.await_brokers().await;
        cluster
    }

    async fn start() -> Cluster {
        let (Some(java), libs) = (local_kafka::java(), local_kafka::libs()) else {
            panic!("there is no Java to test with")
        };
        assert!(libs.is_dir(), "there are no jars of Kafka in {}: run scripts/test", libs.display());
        let classes = libs.join("*").into_os_string();
        let (ports, controller) = ([free_port(), free_port(), free_port()], free_port());
        let files = [1, 2, 3].map(|id| properties(id, ports[id - 1], controller));
        std::thread::scope(|scope| {
            for file in &files {
                scope.spawn(|| local_kafka::format_storage(&java, &classes, file));
            }
        });
        let start = |file: &PathBuf| {
            let mut command = vec![java.clone()];
            command.extend(JVM_OPTIONS.map(Into::into));
            command.extend(["-cp".into(), classes.clone(), "kafka.Kafka".into(), file.into()]);
            let dir = file.parent().expect("the file is in the server's directory").to_owned();
            ServerGuard::start(Server { dir, account: None, stop: "KILL", command })
        };
        let guards = files.iter().map(start).collect();
        let bootstrap = bootstrap(&ports);
        let client = ClientConfig::new().set("bootstrap.servers", &bootstrap).create();
        let cluster =
            Cluster { ports, guards, killed: Vec::new(), client: client.expect("a client needs no server to exist") };
        cluster.await_brokers().await;
        cluster
    }

    async fn await_brokers(&self) {
        eventually("three brokers are there", PATIENCE, async || match self.client.fetch_metadata(None, REQUEST) {
            Ok(metadata) if metadata.brokers().len() == 3 => Ok(()),
            Ok(metadata) => Err(format!("{} brokers\n{}", metadata.brokers().len(), self.guards[0].log_tail())),
            Err(error) => Err(format!("{error}\n{}", self.guards[0].log_tail())),
        })
        .await;
    }

    /// For `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        bootstrap(&self.ports)
    }

    /// Creates a topic with one partition, led by [`LEADER`] and followed by [`FOLLOWER`]. The follower may take over
    /// even if it is not in sync.
    pub(crate) async fn create_topic(&self, name: &str) {
        let config = ClientConfig::new().set("bootstrap.servers", self.bootstrap()).clone();
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client needs no server to exist");
        let replicas: [&[i32]; 1] = [&[LEADER, FOLLOWER]];
        let topic = NewTopic::new(name, 1, TopicReplication::Variable(&replicas));
        let topic = topic.set("unclean.leader.election.enable", "true");
        let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("the cluster answers");
        results[0].as_ref().unwrap_or_else(|error| panic!("creating topic {name}: {error:?}"));
        self.await_leader(name, LEADER).await;
        self.await_in_sync(name, &[LEADER, FOLLOWER]).await;
    }

    /// Waits until the broker `id` leads the topic's partition. -1 stands for no leader.
    pub(crate) async fn await_leader(&self, topic: &str, id: i32) {
        eventually(&format!("{topic} is led by {id}"), PATIENCE, async || match self.look(topic)? {
            (leader, _) if leader == id => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }

    /// Waits until exactly these brokers are in sync.
    pub(crate) async fn await_in_sync(&self, topic: &str, ids: &[i32]) {
        eventually(&format!("{topic} is in sync on {ids:?}"), PATIENCE, async || match self.look(topic)? {
            (_, in_sync) if in_sync == ids => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self, id: i32) {
        self.guard(id).signal(signal::SIGKILL);
        self.killed.push(id);
    }

    /// Restarts a broker that was killed.
    pub(crate) fn start_again(&mut self, id: i32) {
        self.killed.retain(|killed| *killed != id);
        self.guards[index(id)].start_again();
    }

    /// The folder in which a broker stores the topic's partition.
    pub(crate) fn segment(&self, id: i32, topic: &str) -> PathBuf {
        self.guard(id).dir().join(format!("data/{topic}-0/00000000000000000000.log"))
    }

    fn guard(&self, id: i32) -> &ServerGuard {
        &self.guards[index(id)]
    }

    /// The leader and the in-sync replicas of the topic's partition.
    fn look(&self, topic: &str) -> Result<(i32, Vec<i32>), String> {
        let metadata = self.client.fetch_metadata(Some(topic), REQUEST).map_err(|error| error.to_string())?;
        let partition = metadata.topics().first().and_then(|topic| topic.partitions().first());
        let partition = partition.ok_or("the topic is not there")?;
        let mut in_sync = partition.isr().to_vec();
        in_sync.sort_unstable();
        Ok((partition.leader(), in_sync))
    }
}

const REQUEST: Duration = Duration::from_secs(1);

fn index(id: i32) -> usize {
    usize::try_from(id - 1).expect("ids begin at 1")
}

fn bootstrap(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

/// Writes the properties of a broker into its directory.
fn properties(id: usize, port: u16, controller: u16) -> PathBuf {
    let dir = tempfile::Builder::new().prefix("readcast-kafka-").tempdir().expect("a temporary directory").keep();
    let file = dir.join("server.properties");
    std::fs::write(&file, text(id, port, controller, &dir)).expect("the directory is ours");
    file
}

/// The last line with the same key takes precedence.
fn text(id: usize, port: u16, controller: u16, dir: &Path) -> String {
    let (roles, listeners) = match id {
        1 => ("broker,controller", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        _ => ("broker", format!("PLAINTEXT://127.0.0.1:{port}")),
    };
    let common = PROPERTIES.iter().chain(&DIFFERENCES).map(|(key, value)| format!("{key}={value}\n"));
    let of_this_broker = [
        format!("node.id={id}\nprocess.roles={roles}\nlisteners={listeners}\n"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}\n"),
        format!("log.dirs={}\n", dir.join("data").display()),
    ];
    common.chain(of_this_broker).collect()
}
