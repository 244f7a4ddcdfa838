//! Reads and decodes only: the upper limit for a service without projection and writes.

use std::time::Instant;

use readcast::source::{Batch, Source, SourceEvent, Start};
use readcast::{Decoder, EnvelopeDecoder};
use readcast_projections::sample::TOPIC;

use super::Done;
use crate::support::kafka::unique;

/// Reads `events` records as the only member of a new group, and decodes them one after the other.
pub(super) async fn run(source: &dyn Source, events: usize) -> Done {
    let begun = Instant::now();
    let mut left = events;
    each_batch(source, |batch| {
        for record in &batch.records {
            EnvelopeDecoder.decode(&batch.partition.at(record.offset), record).unwrap();
        }
        left -= batch.records.len();
        left > 0
    })
    .await;
    Done { seconds: begun.elapsed().as_secs_f64(), ..Done::default() }
}

/// Calls `wants_more` with every batch from the beginning of the log, until it returns `false`.
pub(crate) async fn each_batch(source: &dyn Source, mut wants_more: impl FnMut(Batch) -> bool) {
    let mut subscription = source.subscribe(&unique("speed"), &[TOPIC]).await.unwrap();
    loop {
        match subscription.next().await.unwrap() {
            SourceEvent::Assigned(partitions) => {
                let starts: Vec<_> = partitions.into_iter().map(|partition| Start::at(partition, 0)).collect();
                subscription.start(&starts).await.unwrap();
            }
            SourceEvent::Batch(batch) => {
                if !wants_more(batch) {
                    break;
                }
            }
            SourceEvent::AtEnd(_) | SourceEvent::Revoked(_) | SourceEvent::Lost(_) => {}
        }
    }
    subscription.close().await;
}
