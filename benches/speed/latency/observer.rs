//! Polls the checkpoints on another connection.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::runtime;
use tokio::task::JoinHandle;

use crate::database::Fresh;
use crate::log::PARTITIONS;
use crate::support::eventually::{PATIENCE, eventually};

const CHECKPOINTS: &str = "
    SELECT partition, next_offset FROM readcast.checkpoints WHERE projection = 'order_summary' AND generation = 1";

/// The pause between two polls. Without it, about 30,000 polls a second would take most of a core from the measured
/// processes.
const REST: Duration = Duration::from_micros(400);

/// A checkpoint of a partition, and when it was first observed.
#[derive(Clone, Copy)]
pub(super) struct Observation {
    pub(super) next_offset: i64,
    pub(super) at: Instant,
}

/// All observations.
#[derive(Default)]
pub(super) struct Observations {
    /// By partition, in order.
    pub(super) partitions: Vec<Vec<Observation>>,
    /// The time between polls, in milliseconds.
    pub(super) looks: Vec<f64>,
}

/// Polls until the checkpoints have reached the given ends.
pub(super) struct Observer {
    ends: Sender<Vec<i64>>,
    looking: JoinHandle<Observations>,
}

impl Observer {
    /// Starts polling as soon as every partition has an owner.
    pub(super) async fn start(database: &Fresh) -> Self {
        let options = database.postgres().options();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        eventually("the projector has its partitions", PATIENCE, async || {
            let owned = checkpoints(&mut connection).await.len();
            if owned == usize::from(PARTITIONS) { Ok(()) } else { Err(format!("it has {owned}")) }
        })
        .await;
        let (ends, told) = channel();
        // On its own thread, because a thread's sleep is more precise than a runtime's timer and no other task delays
        // it.
        let looking = tokio::task::spawn_blocking(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { look(PgConnection::connect_with(&options).await.unwrap(), told).await })
        });
        Self { ends, looking }
    }

    /// Waits until every checkpoint has reached its end.
    pub(super) async fn until(self, ends: Vec<i64>) -> Observations {
        self.ends.send(ends).expect("it looks until it is told");
        tokio::time::timeout(PATIENCE, self.looking).await.expect("all that was sent becomes visible").unwrap()
    }
}

async fn look(mut connection: PgConnection, told: Receiver<Vec<i64>>) -> Observations {
    let mut seen = Observations { partitions: vec![Vec::new(); PARTITIONS.into()], looks: Vec::new() };
    let mut last = Instant::now();
    let mut ends = None;
    loop {
        let checkpoints = checkpoints(&mut connection).await;
        let at = Instant::now();
        seen.looks.push((at - last).as_secs_f64() * 1_000.0);
        last = at;
        for (partition, next_offset) in checkpoints {
            let partition = &mut seen.partitions[usize::try_from(partition).unwrap()];
            if partition.last().is_none_or(|last| last.next_offset < next_offset) {
                partition.push(Observation { next_offset, at });
            }
        }
        ends = ends.or_else(|| told.try_recv().ok());
        let is_at = |(seen, end): (&Vec<Observation>, &i64)| seen.last().is_some_and(|last| last.next_offset >= *end);
        if ends.as_ref().is_some_and(|ends| seen.partitions.iter().zip(ends).all(is_at)) {
            return seen;
        }
        std::thread::sleep(REST);
    }
}

async fn checkpoints(connection: &mut PgConnection) -> Vec<(i32, i64)> {
    sqlx::query_as(CHECKPOINTS).fetch_all(connection).await.unwrap()
}
