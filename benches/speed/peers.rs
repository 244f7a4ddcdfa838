//! Compares readcast with alternatives on the same broker and database server, in turns. `benches/peers/README.md`
//! describes the setup of each peer, and what readcast does that the peer does not.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::child::{LogAddress, Projections, Work};
use crate::database::{Fresh, Kind};
use crate::flat;
use crate::log::{Log, PARTITIONS, orders};
use crate::report::Report;
use crate::row::{Row, Target, median, plain};
use crate::settings::Settings;
use crate::support::postgres::Database;
use crate::support::root;
use crate::throughput::{one, rate, work};

const GROUP: &str = "peers";
const UNIT: &str = "events/s";
/// The exit code of a peer that can't be measured on this machine.
const NOT_HERE: i32 = 3;

struct Peer {
    case: &'static str,
    name: &'static str,
    /// The folder in `benches/peers`, and the arguments after the URL of the database.
    program: &'static str,
    last_argument: &'static str,
    events: usize,
    /// What both read and write.
    same: Same,
    targets: Targets,
}

/// The log and the tables of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Same {
    /// The shop's events, and its table of orders. readcast also writes their lines.
    Events,
    /// One flat row for each event, and one table.
    FlatRows,
}

/// How much better readcast is to be, as ratios.
struct Targets {
    least_rate: Option<f64>,
    most_cpu: Option<f64>,
    most_memory: Option<f64>,
}

impl Targets {
    const NONE: Self = Self { least_rate: None, most_cpu: None, most_memory: None };
}

const PEERS: [Peer; 3] = [
    Peer {
        case: "jdbc_sink",
        name: "the Debezium JDBC sink",
        program: "jdbc-sink/run",
        last_argument: "order_summary",
        events: 1_000_000,
        same: Same::FlatRows,
        targets: Targets { least_rate: Some(4.0), most_cpu: Some(0.1), most_memory: Some(0.1) },
    },
    Peer {
        case: "pekko_grouped",
        name: "Pekko Projection, grouped",
        program: "pekko/run",
        last_argument: "grouped",
        events: 100_000,
        same: Same::Events,
        targets: Targets { least_rate: Some(10.0), ..Targets::NONE },
    },
    Peer {
        case: "pekko_exactly_once",
        name: "Pekko Projection, exactly once",
        program: "pekko/run",
        last_argument: "exactly-once",
        events: 30_000,
        same: Same::Events,
        targets: Targets::NONE,
    },
];

/// The result that a peer prints.
#[derive(Deserialize)]
struct Said {
    peer: String,
    version: String,
    events: usize,
    seconds: f64,
    /// The rate of the second half of the events, after the warm-up of the JVM.
    seconds_of_second_half: f64,
    /// The CPU time of the peer's process from its start, and its peak of resident memory.
    cpu_seconds: f64,
    peak_mib: f64,
    settings: String,
}

pub(crate) async fn run(settings: &Settings) {
    let wanted: Vec<&Peer> = PEERS.iter().filter(|peer| settings.want(GROUP, peer.case)).collect();
    if wanted.is_empty() {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    for peer in wanted {
        match peer.beside(settings).await {
            Ok(rows) => rows.into_iter().for_each(|row| report.add(row)),
            Err(why) => report.add(Row::unmeasured(peer.same.case(), UNIT, &why).against(peer.name, Vec::new())),
        }
    }
    report.end();
}

impl Same {
    fn case(self) -> &'static str {
        match self {
            Same::Events => "live, Kafka to Postgres, order_summary",
            Same::FlatRows => "live, Kafka to Postgres, flat rows into one table",
        }
    }

    fn projections(self) -> Projections {
        match self {
            Same::Events => one("order_summary"),
            Same::FlatRows => Projections::Flat,
        }
    }

    async fn log(self, events: usize) -> Log {
        let events = orders(events);
        match self {
            Same::Events => Log::in_kafka(PARTITIONS, events).await,
            Same::FlatRows => Log::in_kafka(PARTITIONS, events.map(|(key, event)| (key, flat::of_event(&event)))).await,
        }
    }
}

/// The figures of readcast and of the peer, in pairs.
#[derive(Default)]
struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    fn push(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
    }

    fn row(self, case: &str, unit: &str, peer: &Peer, target: Option<Target>) -> Row {
        let row = Row::new(case, unit, self.ours).against(peer.name, self.theirs);
        target.into_iter().fold(row, Row::target)
    }
}

impl Peer {
    /// Measures readcast and the peer on one log in turns.
    ///
    /// # Errors
    /// Why the peer has no figure.
    async fn beside(&self, settings: &Settings) -> Result<Vec<Row>, String> {
        let projections = self.same.projections();
        let log = self.same.log(settings.at_most(self.events)).await;
        let events = log.events() as f64;
        let (mut rates, mut cpu, mut memory, mut warm) =
            (Pairs::default(), Pairs::default(), Pairs::default(), Vec::new());
        let mut note = String::new();
        for _ in 0..settings.runs {
            let database = Kind::Postgres.with_tables(&projections.registry()).await;
            let ours = work(Work::Project, &log, Some(&database), &projections).await;
            let empty = Kind::Postgres.with_tables(&readcast_core::Registry::new()).await;
            let theirs = self.measure(&log, &empty).await?;
            assert_eq!(contents(&database).await, contents(&empty).await, "both write the same rows");
            rates.push(rate(&log, &ours), events / theirs.seconds);
            cpu.push(ours.cpu_seconds * 1e6 / events, theirs.cpu_seconds * 1e6 / events);
            memory.push(ours.peak_mib, theirs.peak_mib);
            warm.push(events / 2.0 / theirs.seconds_of_second_half);
            note = format!("{} {}, {}", theirs.peer, theirs.version, theirs.settings);
        }
        note += &format!("; its rate in the second half of its {} events: {}", plain(events), plain(median(&warm)));
        log.delete().await;
        let Targets { least_rate, most_cpu, most_memory } = self.targets;
        Ok(vec![
            rates.row(self.same.case(), UNIT, self, least_rate.map(Target::RatioAtLeast)).noting(note),
            cpu.row("CPU of the process for a million of these events", "s", self, most_cpu.map(Target::RatioAtMost)),
            memory.row("peak of its resident memory", "MiB", self, most_memory.map(Target::RatioAtMost)),
        ])
    }

    async fn measure(&self, log: &Log, database: &Fresh) -> Result<Said, String> {
        let LogAddress::Kafka { bootstrap, .. } = &log.address else { unreachable!("it was made in Kafka") };
        let program = folder().join(self.program);
        let mut command = Command::new(&program);
        command.arg(bootstrap).arg(log.topic()).arg(log.events().to_string());
        command.arg(jdbc_url(database.postgres())).arg(self.last_argument);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        let complaints = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let last = complaints.lines().last().unwrap_or_default().to_owned();
        match output.status.code() {
            Some(0) => {
                let said: Said = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
                assert_eq!(said.events, log.events(), "{} takes every event", self.name);
                Ok(said)
            }
            Some(NOT_HERE) => Err(last),
            _ => {
                eprintln!("{complaints}");
                Err(format!("it failed with {}: {last}", output.status))
            }
        }
    }
}

/// A digest of what both write into `order_summary`, and the number of its rows.
async fn contents(database: &Fresh) -> String {
    let row = "order_id, customer_id, customer_email, status, item_count, total_amount, updated_at";
    let query = format!(
        "SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(({row})::text), '' ORDER BY order_id)), '') FROM order_summary"
    );
    database.postgres().value(&query).await
}

/// The JDBC URL of the database.
fn jdbc_url(database: &Database) -> String {
    let rest = database.url().split_once("://").expect("a URL has a scheme").1;
    let (user, place) = rest.split_once('@').expect("our URLs name a user");
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let place = place.split('?').next().unwrap_or_default();
    let password = if password.is_empty() { String::new() } else { format!("&password={password}") };
    format!("jdbc:postgresql://{place}?user={user}{password}")
}

fn folder() -> PathBuf {
    root().join("benches/peers")
}
