//! Compares readcast with alternatives on the same broker and database server, in turns. `benches/peers/README.md`
//! describes the setup of each peer, and what readcast does that the peer does not.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::child::{LogAddress, Work};
use crate::database::{Fresh, Kind};
use crate::log::{Log, PARTITIONS, orders};
use crate::order::Event;
use crate::report::Report;
use crate::row::{Row, Target, median, plain};
use crate::settings::Settings;
use crate::support::postgres::Database;
use crate::support::root;
use crate::throughput::{one, rate, work};

const GROUP: &str = "peers";
const CASE: &str = "live, Kafka to Postgres, order_summary";
const UNIT: &str = "events/s";
/// The exit code of a peer that can't be measured on this machine.
const NOT_HERE: i32 = 3;

struct Peer {
    case: &'static str,
    name: &'static str,
    /// The folder in `benches/peers`, and the arguments after the URL of the database.
    program: &'static str,
    last_argument: &'static str,
    /// Whether the peer reads one flat row for each event, or the events themselves.
    flat: bool,
    events: usize,
    least_ratio: Option<f64>,
}

const PEERS: [Peer; 3] = [
    Peer {
        case: "jdbc_sink",
        name: "the Debezium JDBC sink",
        program: "jdbc-sink/run",
        last_argument: "order_summary",
        flat: true,
        events: 300_000,
        least_ratio: Some(10.0),
    },
    Peer {
        case: "pekko_grouped",
        name: "Pekko Projection, grouped",
        program: "pekko/run",
        last_argument: "grouped",
        flat: false,
        events: 100_000,
        least_ratio: Some(10.0),
    },
    Peer {
        case: "pekko_exactly_once",
        name: "Pekko Projection, exactly once",
        program: "pekko/run",
        last_argument: "exactly-once",
        flat: false,
        events: 30_000,
        least_ratio: None,
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
    settings: String,
}

pub(crate) async fn run(settings: &Settings) {
    let wanted: Vec<&Peer> = PEERS.iter().filter(|peer| settings.want(GROUP, peer.case)).collect();
    if wanted.is_empty() {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    let log = Log::in_kafka(PARTITIONS, orders(settings.events)).await;
    for peer in wanted {
        let row = match beside(peer, &log, settings).await {
            Ok(row) => row,
            Err(why) => Row::unmeasured(CASE, UNIT, &why).against(peer.name, Vec::new()),
        };
        report.add(match peer.least_ratio {
            Some(least) => row.target(Target::RatioAtLeast(least)),
            None => row,
        });
    }
    log.delete().await;
    report.end();
}

/// Measures readcast and the peer in turns. The row has a reason if the peer has no figure.
async fn beside(peer: &Peer, log: &Log, settings: &Settings) -> Result<Row, String> {
    let projections = one("order_summary");
    let events = orders(settings.at_most(peer.events));
    let theirs = if peer.flat {
        Log::in_kafka(PARTITIONS, events.map(|(key, event)| (key, flat(&event)))).await
    } else {
        Log::in_kafka(PARTITIONS, events).await
    };
    let (mut ours, mut others, mut warm, mut note) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for _ in 0..settings.runs {
        let database = Kind::Postgres.with_tables(&projections.registry()).await;
        ours.push(rate(log, &work(Work::Project, log, Some(&database), &projections).await));
        let empty = Kind::Postgres.with_tables(&readcast_core::Registry::new()).await;
        let said = peer.measure(&theirs, &empty).await?;
        others.push(said.events as f64 / said.seconds);
        warm.push(said.events as f64 / 2.0 / said.seconds_of_second_half);
        note = format!("{} {}, {}", said.peer, said.version, said.settings);
    }
    note += &format!(
        "; its rate in the second half of its {} events: {}",
        plain(theirs.events() as f64),
        plain(median(&warm))
    );
    theirs.delete().await;
    Ok(Row::new(CASE, UNIT, ours).against(peer.name, others).noting(note))
}

impl Peer {
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

/// The row of `order_summary` after an event, in the format of the JDBC sink. See `benches/peers/README.md`.
fn flat(event: &str) -> String {
    let event: Event<'_> = serde_json::from_str(event).unwrap();
    let order = &event.data;
    format!(
        r#"{{"order_id":"{}","customer_id":"{}","customer_email":"{}","status":"{}","item_count":{},"total_amount":{},"updated_at":"{}"}}"#,
        order.order_id,
        order.customer.id,
        order.customer.email,
        event.status(),
        event.item_count(),
        order.total_amount,
        event.timestamp.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
    )
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
