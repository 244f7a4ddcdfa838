//! Measures the time from producing an event until another connection sees its changes.
//!
//! The rows of an event and the checkpoint after it become visible in one transaction. So it suffices that the other
//! connection polls the checkpoints: an event is visible when the `next_offset` of its partition is greater than its
//! offset. Events are sent at a fixed rate, independent of the progress. The latency of an event starts with the call
//! of the producer. The first seconds are not counted.

mod observer;
mod producer;

use std::time::{Duration, Instant};

use self::observer::{Observations, Observer};
use self::producer::Sent;
use crate::child::{Job, LogAddress, Work};
use crate::database::Kind;
use crate::log::{Log, PARTITIONS};
use crate::report::Report;
use crate::row::{Row, Target, median, plain};
use crate::settings::Settings;
use crate::throughput::{one, top_rate};

const GROUP: &str = "latency";
const CASES: [&str; 2] = ["steady", "half"];
const STEADY_EVENTS_PER_S: f64 = 2_000.0;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(20);

/// The result of one run, in milliseconds.
struct Measured {
    median: f64,
    p99: f64,
    most: f64,
    /// The time until the broker acknowledges an event, the share of producer and broker. Median and p99.
    acknowledged: [f64; 2],
    /// The interval of polling the checkpoints, which limits the precision.
    look: f64,
    /// The maximal delay of the producer against its schedule.
    late: f64,
}

/// Measures the selected cases of the group. `top` is the highest measured throughput in events per second.
pub(crate) async fn run(settings: &Settings, top: Option<f64>) {
    if !settings.want_any(GROUP, &CASES) {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    if settings.want(GROUP, "steady") {
        at(STEADY_EVENTS_PER_S, [Some(4.0), Some(15.0)], settings, &mut report).await;
    }
    if settings.want(GROUP, "half") {
        let top = match top {
            Some(top) => top,
            None => top_rate(settings).await,
        };
        at((top / 2.0).round(), [None, Some(60.0)], settings, &mut report).await;
    }
    report.end();
}

async fn at(events_per_s: f64, targets: [Option<f64>; 2], settings: &Settings, report: &mut Report) {
    let mut runs = Vec::new();
    for _ in 0..settings.runs {
        runs.push(measure(events_per_s, settings).await);
    }
    let all = |of: fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let rate = plain(events_per_s);
    let middle = |of: fn(&Measured) -> f64| plain(median(&all(of)));
    let note = format!(
        "the broker had an event after {} ms (median) and {} ms (p99); the checkpoints were looked at every {} ms; the \
         producer was at most {} ms late",
        middle(|run| run.acknowledged[0]),
        middle(|run| run.acknowledged[1]),
        middle(|run| run.look),
        middle(|run| run.late),
    );
    let row = |what: &str, figures| Row::new(&format!("{what} at {rate} events/s"), "ms", figures);
    let aim = |row: Row, target: Option<f64>| match target {
        Some(most) => row.target(Target::AtMost(most)),
        None => row,
    };
    report.add(aim(row("median", all(|run| run.median)), targets[0]));
    report.add(aim(row("p99", all(|run| run.p99)), targets[1]));
    report.add(row("the most", all(|run| run.most)).noting(note));
}

async fn measure(events_per_s: f64, settings: &Settings) -> Measured {
    let projections = one("order_summary");
    let log = Log::in_kafka(PARTITIONS, std::iter::empty()).await;
    let database = Kind::Postgres.with_tables(&projections.registry()).await;
    let job = Job {
        work: Work::Follow,
        log: log.address.clone(),
        store: Some(database.address.clone()),
        projections: projections.clone(),
    };
    let projector = job.start();
    let observer = Observer::start(&database).await;
    let LogAddress::Kafka { bootstrap, .. } = &log.address else { unreachable!("it was made in Kafka") };
    let measured = if settings.is_trial() { WARM_UP } else { MEASURED };
    let (bootstrap, topic) = (bootstrap.clone(), log.topic());
    let producing =
        tokio::task::spawn_blocking(move || producer::send(&bootstrap, &topic, events_per_s, WARM_UP + measured));
    let sent = producing.await.unwrap();
    let ends: Vec<i64> = sent.partitions.iter().map(|sent| i64::try_from(sent.len()).unwrap()).collect();
    let observations = observer.until(ends).await;
    projector.stop().await;
    log.delete().await;
    evaluate(&sent, &observations, sent.begun + WARM_UP)
}

/// The latencies of the events that were sent at `from` or later.
fn evaluate(sent: &Sent, observations: &Observations, from: Instant) -> Measured {
    let mut latencies = Vec::new();
    for (sent, observations) in sent.partitions.iter().zip(&observations.partitions) {
        let mut observations = observations.iter().peekable();
        for (offset, at) in (0_i64..).zip(sent) {
            while observations.next_if(|seen| seen.next_offset <= offset).is_some() {}
            let seen = observations.peek().expect("every event was waited for");
            if *at >= from {
                latencies.push(milliseconds(seen.at - *at));
            }
        }
    }
    let acknowledged = sent.acknowledged.iter().filter(|(at, _)| *at >= from);
    let acknowledged = quantiles(acknowledged.map(|(_, took)| milliseconds(*took)).collect(), [0.5, 0.99]);
    let [median, p99, most] = quantiles(latencies, [0.5, 0.99, 1.0]);
    let (look, late) = (crate::row::median(&observations.looks), milliseconds(sent.late));
    Measured { median, p99, most, acknowledged, look, late }
}

fn quantiles<const N: usize>(mut figures: Vec<f64>, of: [f64; N]) -> [f64; N] {
    figures.sort_by(f64::total_cmp);
    of.map(|of| figures[((figures.len() - 1) as f64 * of).round() as usize])
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
