//! The names of topics in the cluster and in the service.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};
use readcast_core::{TopicPartition, is_topic_pattern};

use super::native;
use crate::source::Start;

/// Translates the names of topics between the service and the Kafka cluster.
#[derive(Clone, Debug)]
pub(super) struct TopicNames {
    pub(super) prefix: Arc<str>,
}

impl TopicNames {
    /// The name of a topic, or of a pattern, in the cluster.
    pub(super) fn in_kafka(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The name under which a topic is subscribed to. A pattern becomes a regular expression, which begins with `^`.
    pub(super) fn subscribed(&self, topic: &str) -> String {
        let name = self.in_kafka(topic);
        match is_topic_pattern(&name) {
            // Of the characters of a topic's name, only the dot means something else.
            true => format!("^{}$", name.replace('.', "[.]").replace('*', ".*")),
            false => name,
        }
    }

    /// The partition with the topic's name in the service.
    pub(super) fn partition(&self, name_in_kafka: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(name_in_kafka.strip_prefix(&*self.prefix).unwrap_or(name_in_kafka), partition)
    }

    /// The starts as librdkafka's list, with offsets and leader epochs.
    pub(super) fn starts<'a>(&self, starts: impl IntoIterator<Item = &'a Start>) -> TopicPartitionList {
        let starts: Vec<_> = starts.into_iter().collect();
        let offsets: Vec<_> = starts.iter().map(|start| (start.partition.clone(), start.next_offset)).collect();
        let mut list = self.offsets(&offsets);
        for Start { partition, leader_epoch, .. } in starts {
            if let Some(epoch) = leader_epoch {
                native::set_leader_epoch(&mut list, &self.in_kafka(&partition.topic), partition.partition, *epoch);
            }
        }
        list
    }

    /// The partitions and offsets as librdkafka's list.
    pub(super) fn offsets<'a>(
        &self,
        offsets: impl IntoIterator<Item = &'a (TopicPartition, i64)>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let name = self.in_kafka(&partition.topic);
            // Fails only for negative offsets, which no checkpoint has. `add_partition_offset` would search the whole
            // list.
            let _ = list.add_partition(&name, partition.partition).set_offset(Offset::Offset(*offset));
        }
        list
    }
}
