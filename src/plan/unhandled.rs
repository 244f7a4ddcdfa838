//! Events of types that no projection of the process handles: perhaps a type is misspelt in a projection.

use std::collections::BTreeMap;

use readcast_core::{Position, Registry};

use crate::store::{Notice, NoticeKind};

/// How many types are counted one by one. Producers choose the types.
const MOST_TYPES: usize = 20;
/// The most characters of a type that are kept.
const MOST_CHARACTERS: usize = 100;

/// Whether a projection that reads `topic` subscribes to events of this type, or ignores them.
pub(super) fn is_handled(registry: &Registry, topic: &str, event_type: &str) -> bool {
    registry.readers(topic).any(|reader| reader.subscribes(event_type) || reader.ignores(event_type))
}

/// Counts of events by topic and type. Types beyond the first 20 are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnhandledTypes(BTreeMap<(String, String), UnhandledType>);

/// The events of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UnhandledType {
    first: Position,
    count: u64,
}

impl UnhandledTypes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the counts of `later`, which were made after these.
    pub fn append(&mut self, later: Self) {
        for (subject, UnhandledType { first, count }) in later.0 {
            self.add(subject, first, count);
        }
    }

    /// A notice for each type.
    pub fn notices(&self) -> Vec<Notice> {
        let notice =
            |((topic, event_type), UnhandledType { first, count }): (&(String, String), &UnhandledType)| Notice {
                kind: NoticeKind::UnhandledEventType,
                subject: subject(topic, event_type),
                text: format!(
                    "no projection takes events of type `{event_type}` from topic `{topic}`; the first is at {first}"
                ),
                next: format!(
                    "correct the type in `event_types`, or name `{event_type}` in `ignored_types` of a projection"
                ),
                count: *count,
            };
        self.0.iter().map(notice).collect()
    }

    fn add(&mut self, subject: (String, String), first: Position, count: u64) {
        if let Some(known) = self.0.get_mut(&subject) {
            known.count += count;
        } else if self.0.len() < MOST_TYPES {
            self.0.insert(subject, UnhandledType { first, count });
        }
    }
}

impl Extend<(String, Position)> for UnhandledTypes {
    fn extend<T: IntoIterator<Item = (String, Position)>>(&mut self, events: T) {
        for (event_type, position) in events {
            let event_type = event_type.chars().take(MOST_CHARACTERS).collect();
            self.add((position.topic.to_string(), event_type), position, 1);
        }
    }
}

/// Whether a notice of this subject is out of date, because a projection handles the type by now.
pub fn is_handled_by_now(registry: &Registry, of: &str) -> bool {
    let Some((topic, event_type)) = of.split_once('/') else { return false };
    is_handled(registry, topic, event_type)
}

/// A topic's name has no slash.
fn subject(topic: &str, event_type: &str) -> String {
    format!("{topic}/{event_type}")
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;

    #[test]
    fn events_are_counted_by_type_with_their_first_position() {
        let at = |offset| TopicPartition::new("orders", 1).at(offset);
        let mut types = UnhandledTypes::default();
        types.extend([("A".to_owned(), at(3)), ("B".to_owned(), at(4)), ("A".to_owned(), at(5))]);
        let mut later = UnhandledTypes::default();
        later.extend([("A".to_owned(), at(9))]);
        types.append(later);
        let notices = types.notices();
        assert_eq!(
            notices.iter().map(|notice| (&*notice.subject, notice.count)).collect::<Vec<_>>(),
            [("orders/A", 3), ("orders/B", 1)]
        );
        assert!(notices[0].text.ends_with("the first is at orders/1@3"), "{:?}", notices[0]);
    }

    #[test]
    fn a_producer_that_invents_types_fills_no_memory() {
        let mut types = UnhandledTypes::default();
        let invented = |n: i64| (format!("{n}").repeat(1_000), TopicPartition::new("orders", 0).at(n));
        types.extend((1_000..2_000).map(invented));
        assert_eq!(types.0.len(), MOST_TYPES);
        assert!(types.0.keys().all(|(_, event_type)| event_type.len() == MOST_CHARACTERS));
    }
}
