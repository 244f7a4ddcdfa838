//! Sends events at a fixed rate, independent of the progress.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use readcast_projections::sample::Orders;

use crate::log::PARTITIONS;

/// The inaccuracy of a sleep. The producer wakes up this much before the next event is due, and sends all events that
/// are due together.
const PACE: Duration = Duration::from_micros(250);

/// The rate in events per second up to which each event is sent at once.
const FEW: f64 = 10_000.0;

/// When each event was sent, by partition and offset.
pub(super) struct Sent {
    pub(super) begun: Instant,
    pub(super) partitions: Vec<Vec<Instant>>,
    /// The time of sending of each event, and the time until its acknowledgement.
    pub(super) acknowledged: Vec<(Instant, Duration)>,
    /// The maximal delay of the producer against its schedule.
    pub(super) late: Duration,
}

/// Records when the broker acknowledges each event.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(Instant, Duration)>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Instant>) {
        if let Err((error, _)) = result {
            panic!("{error}: the broker did not take an event");
        }
        self.0.lock().unwrap().push((*sent, sent.elapsed()));
    }
}

/// Sends `events_per_s` events per second to an empty topic for the time `lasting`. The producer is idempotent and the
/// only one, so that the number of events that were sent to a partition is the offset of the next one.
pub(super) fn send(bootstrap: &str, topic: &str, events_per_s: f64, lasting: Duration) -> Sent {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    // At a low rate events are sent at once. At a high rate they are batched with librdkafka's default, because a
    // request for each event would overload the broker, and no real producer does that.
    if events_per_s <= FEW {
        config.set("linger.ms", "0");
    }
    config.set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<Acknowledged> =
        ThreadedProducer::from_config_and_context(&config, Acknowledged::default()).unwrap();
    // Connects first, so that the latency of the first event does not include it.
    producer.client().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let begun = Instant::now();
    let (mut partitions, mut late) = (vec![Vec::new(); PARTITIONS.into()], Duration::ZERO);
    let count = (events_per_s * lasting.as_secs_f64()) as usize;
    for (number, (key, event)) in Orders::new(1).take(count).enumerate() {
        let due = begun + Duration::from_secs_f64(number as f64 / events_per_s);
        if let Some(early) = due.checked_duration_since(Instant::now()).filter(|early| *early > PACE) {
            std::thread::sleep(early);
        }
        // All events of an order go to one partition, as with the hash of a key.
        let partition = key.trim_start_matches("ord_").parse::<usize>().unwrap() % usize::from(PARTITIONS);
        let now = Instant::now();
        let record = BaseRecord::with_opaque_to(topic, Box::new(now));
        let record = record.partition(partition as i32).key(&key).payload(&event);
        producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}: the broker does not keep up"));
        partitions[partition].push(now);
        late = late.max(now.saturating_duration_since(due));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let acknowledged = std::mem::take(&mut *producer.context().0.lock().unwrap());
    Sent { begun, partitions, acknowledged, late }
}
