//! Where in the log a rebuild begins: as operators write it, and as offsets. Offsets mean the same to every instance and at
//! any time.

use std::collections::BTreeMap;
use std::str::FromStr;

use readcast_core::{Timestamp, TopicPartition};

use crate::control::ControlError;
use crate::source::{Extents, Source};
use crate::store::{GenerationStatus, RebuildStart};

/// Where in the log a rebuild begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// The first record that the log has, with empty tables.
    Earliest,
    /// Where the live generation is, with a copy of its rows: nothing is replayed.
    Live,
    /// The first record written at this time or later, with a copy of the live rows.
    Time(Timestamp),
    /// These offsets by `topic/partition`, with a copy of the live rows.
    Offsets(BTreeMap<String, i64>),
}

impl FromStr for StartPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "live" => Ok(Self::Live),
            text if text.contains('=') => text.split(',').map(offset).collect::<Result<_, _>>().map(Self::Offsets),
            text => text.parse().map(Self::Time).map_err(|_| expected(text)),
        }
    }
}

/// Parses one offset, `TOPIC/PARTITION=OFFSET`.
fn offset(text: &str) -> Result<(String, i64), String> {
    let parts = text.split_once('=').and_then(|(partition, offset)| {
        let (topic, number) = partition.rsplit_once('/')?;
        let number: i32 = number.parse().ok().filter(|number| *number >= 0)?;
        let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((TopicPartition::new(topic, number).to_string(), offset))
    });
    parts.ok_or_else(|| expected(text))
}

fn expected(text: &str) -> String {
    format!(
        "`{text}` is not `earliest`, `live`, a time such as 2024-05-20T14:30:00Z, or offsets such as \
         orders/0=1200,orders/1=900"
    )
}

impl StartPosition {
    /// The position in the log as it is now.
    ///
    /// # Errors
    /// `Invalid` when the log does not have an offset, or when records would be skipped from there.
    pub(super) async fn resolve(
        &self,
        source: &dyn Source,
        topics: &[&str],
        live: &GenerationStatus,
    ) -> Result<RebuildStart, ControlError> {
        Ok(match self {
            StartPosition::Earliest => RebuildStart::Earliest,
            StartPosition::Live => RebuildStart::Live,
            StartPosition::Time(at) => {
                let offsets = source.offsets_at(topics, *at).await?;
                RebuildStart::Offsets(behind(offsets, live))
            }
            StartPosition::Offsets(offsets) => {
                let extents = source.extents(topics).await?;
                check(offsets, &extents, live).map_err(ControlError::invalid)?;
                RebuildStart::Offsets(offsets.clone())
            }
        })
    }
}

/// Those of these offsets that the live generation has passed. From the others, records would be skipped.
fn behind(offsets: BTreeMap<TopicPartition, i64>, live: &GenerationStatus) -> BTreeMap<String, i64> {
    let positions = live.positions();
    let is_behind = |partition: &TopicPartition, offset| positions.get(partition).is_some_and(|live| offset < *live);
    let behind = offsets.into_iter().filter(|(partition, offset)| is_behind(partition, *offset));
    behind.map(|(partition, offset)| (partition.to_string(), offset)).collect()
}

/// Refuses offsets that the log does not have, and those from which records would be skipped.
fn check(offsets: &BTreeMap<String, i64>, extents: &Extents, live: &GenerationStatus) -> Result<(), String> {
    let positions = live.positions();
    for (name, offset) in offsets {
        let Some((partition, extent)) = extents.iter().find(|(partition, _)| partition.to_string() == *name) else {
            let known: Vec<_> = extents.keys().map(ToString::to_string).collect();
            return Err(format!("the projection does not read {name}; it reads {}", known.join(", ")));
        };
        let live_position = positions.get(partition).copied().unwrap_or(extent.start);
        if *offset < extent.start {
            return Err(format!("offset {offset} of {name} is gone: the log begins at {}", extent.start));
        }
        if *offset > live_position {
            return Err(format!(
                "offset {offset} of {name} is past {live_position}, the position of the live generation: the records between \
                 would be skipped"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Extent;

    #[test]
    fn a_start_position_is_a_word_a_time_or_offsets() {
        let parse = |text: &str| text.parse::<StartPosition>();
        assert_eq!(parse("earliest"), Ok(StartPosition::Earliest));
        assert_eq!(parse("live"), Ok(StartPosition::Live));
        let time = "2024-05-20T14:30:00Z";
        assert_eq!(parse(time).ok(), time.parse().ok().map(StartPosition::Time));
        let offsets = [("a/b/0".to_owned(), 7), ("orders/12".to_owned(), 0)];
        assert_eq!(parse("orders/12=0,a/b/0=7"), Ok(StartPosition::Offsets(offsets.into())));
        for wrong in ["latest", "2024-05-20", "orders=1", "orders/x=1", "orders/0=-1", "orders/0=1,", "orders/-1=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_start_position_from_which_records_would_be_skipped_is_refused() {
        let partition = |number| TopicPartition::new("orders", number);
        let extent = Extent { start: 5, end: 50, log_id: None };
        let extents = Extents::from([(partition(0), extent.clone()), (partition(1), extent)]);
        let live = GenerationStatus::live_at(&[(0, 40)]);
        let checked = |name: &str, offset| check(&[(name.to_owned(), offset)].into(), &extents, &live);
        assert_eq!(checked("orders/0", 5), Ok(()));
        assert_eq!(checked("orders/0", 40), Ok(()));
        assert!(checked("orders/0", 41).is_err_and(|problem| problem.contains("would be skipped")));
        assert!(checked("orders/0", 4).is_err_and(|problem| problem.contains("the log begins at 5")));
        assert!(checked("orders/1", 6).is_err(), "the live generation has nothing of it yet");
        assert!(checked("orders/2", 5).is_err_and(|problem| problem.contains("orders/0, orders/1")));
        let at_a_time = [(partition(0), 39), (partition(1), 39)].into();
        assert_eq!(behind(at_a_time, &live), [("orders/0".to_owned(), 39)].into());
        assert!(behind([(partition(0), 41)].into(), &live).is_empty());
    }
}
