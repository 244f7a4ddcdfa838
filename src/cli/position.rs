//! Positions as arguments.

use readcast_core::{Position, TopicPartition};

/// Parses a position `TOPIC/PARTITION@OFFSET`.
pub(super) fn position(text: &str) -> Result<Position, String> {
    let parts = text.rsplit_once('@').and_then(|(partition, offset)| {
        let (topic, number) = partition.rsplit_once('/').filter(|(topic, _)| !topic.is_empty())?;
        let number: i32 = number.parse().ok().filter(|number| *number >= 0)?;
        let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(TopicPartition::new(topic, number).at(offset))
    });
    parts.ok_or_else(|| "a position is TOPIC/PARTITION@OFFSET, such as orders/3@17".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_parsed_as_it_is_printed() {
        for text in ["orders/3@17", "a/b@c/0@0"] {
            assert_eq!(position(text).map(|position| position.to_string()), Ok(text.to_owned()));
        }
        for text in ["orders", "orders/3", "orders@17", "/3@17", "orders/-1@17", "orders/3@-1", "orders/3@x"] {
            assert!(position(text).is_err(), "{text}");
        }
    }
}
