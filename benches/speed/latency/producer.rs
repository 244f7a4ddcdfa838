//! Sends events at a fixed rate, whatever becomes of them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use readcast_projections::sample::Orders;

use crate::log::PARTITIONS;

/// How long a sleep may overshoot by: the producer wakes up this much earlier than the next event is due, and all that is
/// due by then goes out together.
const PACE: Duration = Duration::from_micros(250);

/// Up to so many events a second, none waits for another.
const FEW: f64 = 10_000.0;

/// When each event was sent, by partition and offset.
pub(super) struct Sent {
    pub(super) begun: Instant,
    pub(super) partitions: Vec<Vec<Instant>>,
    /// When each was sent, and how long it took until the broker said that it has it.
    pub(super) acknowledged: Vec<(Instant, Duration)>,
    /// By how much the producer was behind its schedule at the most.
    pub(super) late: Duration,
}

/// Notes when the broker has what was sent when.
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

/// Sends `events_per_s` to an empty topic for as long as `lasting`. A producer that writes each event once and in order
/// is the only one that writes there, so that the number of events that were sent to a partition is the next one's offset.
pub(super) fn send(bootstrap: &str, topic: &str, events_per_s: f64, lasting: Duration) -> Sent {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    // Few events go out as they come. Many wait for each other as long as librdkafka has them wait by itself: a request each
    // would be the broker's whole work, and nobody who produces so many does that.
    if events_per_s <= FEW {
        config.set("linger.ms", "0");
    }
    config.set("queue.buffering.max.messages", "1000000");
    let producer: ThreadedProducer<Acknowledged> =
        ThreadedProducer::from_config_and_context(&config, Acknowledged::default()).unwrap();
    // So that connecting is not part of the first event's latency.
    producer.client().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let begun = Instant::now();
    let (mut partitions, mut late) = (vec![Vec::new(); PARTITIONS.into()], Duration::ZERO);
    let count = (events_per_s * lasting.as_secs_f64()) as usize;
    for (number, (key, event)) in Orders::new(1).take(count).enumerate() {
        let due = begun + Duration::from_secs_f64(number as f64 / events_per_s);
        if let Some(early) = due.checked_duration_since(Instant::now()).filter(|early| *early > PACE) {
            std::thread::sleep(early);
        }
        // All events of an order in one partition, as a key's hash would have it.
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
