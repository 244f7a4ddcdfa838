//! The same number of events for larger tables. The rows exist before the measurement, and the events change rows all
//! over the tables. Each event changes another row, so that the fold saves equally little in small and in large tables.
//!
//! The database itself is slower with larger tables: fewer pages are cached, and more pages change for the first time
//! since the last checkpoint, which writes them completely to the write-ahead log. Therefore a bare SQL loop writes the
//! same number of events to the same tables in turns, which shows the share of the database.

use std::collections::BTreeMap;

use readcast::source::{Batch, Record};
use readcast_core::TopicPartition;
use readcast_projections::sample::{Orders, TOPIC};

use crate::ceiling::bare_sql::BareSql;
use crate::child::{Work, defaults};
use crate::database::{Fresh, Kind};
use crate::growth::{EVENTS, change, flatness, point};
use crate::log::{Log, PARTITIONS};
use crate::report::{Report, Series};
use crate::row::median;
use crate::settings::Settings;
use crate::throughput::{one, work};

const SIZES: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// The golden ratio: consecutive multiples of this fraction of a table, modulo its size, are as far apart as possible.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// The most records of a batch of the source.
const BATCH: usize = 1_000;
/// The number of records of a transaction of the bare loop, as in a lane.
const COMMIT: usize = 10_000;

/// Inserts rows like those of the shop's events, one line for each order. The indexes are dropped and created again at
/// the end, as in a rebuild.
const FILL: &str = "
    DROP INDEX readcast_tables.order_summary_g1_ix1;
    DROP INDEX readcast_tables.order_lines_g1_ix1;
    INSERT INTO readcast_tables.order_summary_g1
    SELECT 'ord_' || n, 'cust_' || n % 1000, 'cust_' || n % 1000 || '@example.com', 'placed', 2, 99.98, 0,
           '2024-05-20T00:00:00Z', '2024-05-20T00:00:00Z'
    FROM generate_series(1, {rows}) AS n;
    INSERT INTO readcast_tables.order_lines_g1
    SELECT 'ord_' || n, 1, 'PROD-' || n % 200, 2, 49.99 FROM generate_series(1, {rows}) AS n;
    CREATE INDEX order_summary_g1_ix1 ON readcast_tables.order_summary_g1 (customer_id);
    CREATE INDEX order_lines_g1_ix1 ON readcast_tables.order_lines_g1 (sku);";

pub(super) async fn run(settings: &Settings, report: &mut Report) {
    let projections = one("order_summary");
    let events = settings.at_most(EVENTS);
    let (mut points, mut bare_rates) = (Vec::new(), Vec::new());
    for rows in SIZES.into_iter().filter(|rows| !settings.is_trial() || *rows <= 100_000) {
        let database = Kind::Postgres.with_tables(&projections.registry()).await;
        fill(&database, rows).await;
        let mut log = Log::in_kafka(PARTITIONS, std::iter::empty()).await;
        let (mut runs, mut bare_runs) = (Vec::new(), Vec::new());
        // Each run continues at the end of the previous one.
        let mut chunks = (0..).map(|chunk| all_over(rows).skip(chunk * events).take(events));
        for _ in 0..settings.runs {
            log.append(chunks.next().unwrap()).await;
            runs.push(work(Work::Project, &log, Some(&database), &projections).await);
            bare_runs.push(bare_rate(&database, &batches(chunks.next().unwrap())).await);
        }
        log.delete().await;
        points.push(point(rows as f64, events, &runs));
        bare_rates.push((rows as f64, median(&bare_runs)));
    }
    report.add(flatness("rows of the table", &points));
    report.add(change("change of the rate over rows of the table, of the bare loop in SQL of its own", &bare_rates));
    report.series.push(Series { axis: "table_rows".to_owned(), points });
}

/// Fills both tables and completes the maintenance that would affect later measurements: statistics, hint bits, dirty
/// pages.
async fn fill(database: &Fresh, rows: usize) {
    let database = database.postgres();
    database.execute(&FILL.replace("{rows}", &rows.to_string())).await;
    database.execute("VACUUM ANALYZE").await;
    database.execute("CHECKPOINT").await;
}

/// The events as batches of a source that assigns keys to partitions in turns.
fn batches(events: impl Iterator<Item = (String, String)>) -> Vec<Batch> {
    let mut partitions = BTreeMap::<i32, Vec<Record>>::new();
    for (key, event) in events {
        let number: i32 = key.trim_start_matches("ord_").parse().unwrap();
        let record = Record { key: Some(key.into()), value: Some(event.into()), ..Record::default() };
        partitions.entry(number % i32::from(PARTITIONS)).or_default().push(record);
    }
    let batch = |number: i32, records: &[Record]| {
        let (partition, records) = (TopicPartition::new(TOPIC, number), records.to_vec());
        Batch { partition, assignment: 0, from: 0, to: 0, records, leader_epoch: None }
    };
    let cut = |(number, records): (&i32, &Vec<Record>)| {
        records.chunks(BATCH).map(|records| batch(*number, records)).collect::<Vec<_>>()
    };
    partitions.iter().flat_map(cut).collect()
}

/// The rate of the bare loop in events per second.
async fn bare_rate(database: &Fresh, batches: &[Batch]) -> f64 {
    let connections = defaults(&one("order_summary").registry()).projection("order_summary").lanes;
    let bare_sql = BareSql::new(batches, connections, COMMIT);
    let events: usize = batches.iter().map(|batch| batch.records.len()).sum();
    events as f64 / bare_sql.write(&database.postgres().options()).await
}

/// Events of existing orders of a table with this number of rows.
fn all_over(rows: usize) -> impl Iterator<Item = (String, String)> {
    // Odd, and for no size a multiple of five, so that every row is reached before any row is repeated.
    let stride = (rows as f64 * GOLDEN) as usize | 1;
    Orders::new(1).enumerate().map(move |(number, (key, event))| {
        let order = format!("ord_{}", 1 + number * stride % rows);
        let event = event.replacen(&format!(r#""order_id":"{key}""#), &format!(r#""order_id":"{order}""#), 1);
        (order, event)
    })
}
