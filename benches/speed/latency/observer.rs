//! Another connection, which looks at the checkpoints again and again.

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

/// How long it rests between two looks. Asking as fast as it is answered, some 30,000 times a second, would take the better
/// part of a processor away from those whose speed is measured.
const REST: Duration = Duration::from_micros(400);

/// A partition's checkpoint, and when it was first seen there.
#[derive(Clone, Copy)]
pub(super) struct Observation {
    pub(super) next_offset: i64,
    pub(super) at: Instant,
}

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Observations {
    /// By partition, in order.
    pub(super) partitions: Vec<Vec<Observation>>,
    /// The time from one look to the next, in milliseconds.
    pub(super) looks: Vec<f64>,
}

/// Looks until it has seen the ends that it is told in the end.
pub(super) struct Observer {
    ends: Sender<Vec<i64>>,
    looking: JoinHandle<Observations>,
}

impl Observer {
    /// Begins to look as soon as somebody owns every partition.
    pub(super) async fn start(database: &Fresh) -> Self {
        let options = database.postgres().options();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        eventually("the projector has its partitions", PATIENCE, async || {
            let owned = checkpoints(&mut connection).await.len();
            if owned == usize::from(PARTITIONS) { Ok(()) } else { Err(format!("it has {owned}")) }
        })
        .await;
        let (ends, told) = channel();
        // On a thread of its own, which nobody else keeps from looking: it sleeps more exactly than a runtime's timer.
        let looking = tokio::task::spawn_blocking(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { look(PgConnection::connect_with(&options).await.unwrap(), told).await })
        });
        Self { ends, looking }
    }

    /// Waits until every checkpoint has come to its end.
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
