//! Whether the records of each topic are events in the configured form: what is read at both ends of the topic.

use std::collections::BTreeSet;

use readcast_core::{Definition, Envelope};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::{Check, Checks};
use crate::decode;
use crate::plan::RecordPolicy;
use crate::source::{Extents, Sampled, SourceError, first_records, last_records, topics_in};
use crate::text::counted;

/// How many characters of an event's data are shown.
const MOST_DATA: usize = 200;
/// How many types of events are named.
const MOST_TYPES: usize = 5;

impl Checks<'_> {
    /// Reads a few records of the topics that no earlier projection has read.
    pub(super) async fn records(
        &mut self,
        definition: &Definition,
        group: &str,
        policy: &RecordPolicy,
        extents: &Extents,
    ) {
        let mut unread = extents.clone();
        unread.retain(|partition, _| !self.sampled.contains(&*partition.topic));
        let (extents, topics) = (&unread, topics_in(&unread).into_iter().collect::<Vec<&str>>());
        self.sampled.extend(topics.iter().map(|topic| (*topic).to_owned()));
        let group = format!("{group}.check.{:08x}", fastrand::u32(..));
        // What the source logs when it is opened is for those who run.
        let source = self.inputs.source;
        let both_ends = async {
            let mut sampled = first_records(source, &group, &topics, extents, 1).await?;
            sampled.extend(last_records(source, &group, &topics, extents, &sampled).await?);
            Ok::<_, SourceError>(sampled)
        };
        match both_ends.with_subscriber(NoSubscriber::default()).await {
            Ok(sampled) => {
                for topic in topics {
                    let of_topic: Vec<&Sampled> = sampled.iter().filter(|(at, _)| &*at.topic == topic).collect();
                    self.found.extend(of_topic_check(topic, &of_topic, policy));
                    self.found.extend(of_ends(topic, &of_topic, policy));
                    self.found.extend(of_schemas(topic, &of_topic, policy));
                }
            }
            Err(error) => self.warn(format!("{}: records", definition.name()), format!("not read: {error}")),
        }
    }
}

/// The first and the last of the records, as they are read.
fn of_ends(topic: &str, sampled: &[&Sampled], policy: &RecordPolicy) -> Vec<Check> {
    let last = sampled.last().filter(|_| sampled.len() > 1);
    let ends = [("first", sampled.first()), ("last", last)];
    let check = |(which, sampled): (&str, Option<&&Sampled>)| {
        let (partition, record) = sampled?;
        let position = partition.at(record.offset);
        let events = decode::decode(policy.decoders.of(topic), &position, record).ok()?;
        let event = events.first()?;
        Some(Check::new(format!("topic `{topic}`: {which} event"), Ok(described(event))))
    };
    ends.into_iter().filter_map(check).collect()
}

/// What the schemas of the records allow and nobody could read.
fn of_schemas(topic: &str, sampled: &[&Sampled], policy: &RecordPolicy) -> Option<Check> {
    let decoder = policy.decoders.of(topic);
    let doubts: BTreeSet<String> = sampled.iter().flat_map(|(_, record)| decoder.doubts(record)).collect();
    let named = doubts.into_iter().collect::<Vec<_>>().join("; ");
    let finding = || format!("records may come that can't be read: {named}");
    (!named.is_empty()).then(|| Check::warning(format!("topic `{topic}`: schemas"), finding()))
}

/// Such as `accounts/0@7: AccountOpened, version 1, id e1, at 2024-05-20T14:30:00.000000Z, data {"balance":1.10}`.
fn described(event: &Envelope<'_>) -> String {
    let Envelope { position, event_type, version, event_id, timestamp, payload, .. } = event;
    let correlation_id = event.correlation_id.iter().map(|id| format!(", correlation id {id}")).collect::<String>();
    let data: String = payload.to_string().chars().take(MOST_DATA).collect();
    format!("{position}: {event_type}, version {version}, id {event_id}, at {timestamp}{correlation_id}, data {data}")
}

/// What the records are. `None` without records.
fn of_topic_check(topic: &str, sampled: &[&Sampled], policy: &RecordPolicy) -> Option<Check> {
    let what = format!("topic `{topic}`: records");
    let (mut types, mut refused) = (BTreeSet::new(), Vec::new());
    for (partition, record) in sampled {
        let position = partition.at(record.offset);
        match decode::decode(policy.decoders.of(topic), &position, record) {
            Ok(events) => types.extend(events.iter().map(|event| event.event_type.to_string())),
            Err(reason) => refused.push((position, reason)),
        }
    }
    let named: Vec<String> = types.iter().take(MOST_TYPES).map(|event_type| format!("`{event_type}`")).collect();
    let named = if types.len() > MOST_TYPES { format!("{}, …", named.join(", ")) } else { named.join(", ") };
    let read = sampled.len();
    let Some((position, reason)) = refused.first() else {
        return (read > 0)
            .then(|| Check::new(what, Ok(format!("{} read at both ends: {named}", counted(read as u64, "event")))));
    };
    let are_no_events = format!("no events in the configured form: {reason}; first at {position}");
    if types.is_empty() {
        return Some(Check::new(what, Err(format!("records of `{topic}` are {are_no_events}"))));
    }
    let finding =
        format!("{} of {read} records read at both ends are {are_no_events}. The others: {named}", refused.len());
    Some(Check::warning(what, finding))
}
