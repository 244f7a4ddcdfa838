//! Checks the edit of a parked record before it is requested, and tells what it would change.

use bytes::Bytes;

use super::{Control, ControlError, ControlErrorKind, live_of, parked_in};
use crate::decode::{self, Events};
use crate::plan::RecordPolicy;
use crate::source::Record;
use crate::store::Selection;
use crate::text::counted;

/// What an edited record would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditPreview {
    /// The position of the record, as `topic/partition@offset`.
    pub position: String,
    /// The type of the event in the new value; of several events, all types.
    pub event_type: String,
    /// The changes, one for each row; none if the projection takes no events of this type. They hold data of the record.
    pub changes: Vec<String>,
}

impl Control {
    /// What the record that `selection` selects would do with the value `text`. Changes nothing.
    ///
    /// # Errors
    /// `Invalid` unless one key is selected, and if the new value is no event that the projection can project. `Refused` if
    /// it has the event id of another event than the record.
    pub async fn preview_edit(
        &self,
        projection: &str,
        selection: &Selection,
        text: &str,
        policy: &RecordPolicy,
    ) -> Result<EditPreview, ControlError> {
        let generations = self.store.generations().await?;
        let live = live_of(&generations, projection)?;
        let sequences = self.parked(live, selection).await?;
        let [sequence] = sequences.as_slice() else {
            let keys = counted(sequences.len() as u64, "key");
            return Err(ControlError::invalid(format!("{projection}: --edit replaces one record, and {keys} match")));
        };
        let (partition, first) = (&sequence.partition, sequence.first_offset);
        let waiting = self.store.waiting(parked_in(live), partition, &sequence.id, first, 1).await?;
        let Some(original) = waiting.records.into_iter().next().map(|record| record.letter.record) else {
            return Err(ControlError::conflict(format!("{projection}: the record was settled in the meantime")));
        };
        let (position, decoder) = (partition.at(original.offset), policy.decoders.of(&partition.topic));
        let edited = Record { value: Some(Bytes::from(text.to_owned())), remark: None, ..original.clone() };
        let both = [original, edited];
        let prepared = policy.decoders.prepare(&partition.topic, &both).await;
        prepared.map_err(|error| ControlError::new(ControlErrorKind::Unavailable, error.to_string()))?;
        let [original, edited] = both;
        let invalid = |reason: String| ControlError::invalid(format!("{projection}: {position}: {reason}"));
        let events = decode::decode(decoder, &position, &edited)
            .map_err(|reason| invalid(format!("the edited value is no event: {reason}")))?;
        if let Ok(replaced) = decode::decode(decoder, &position, &original)
            && ids(&replaced) != ids(&events)
        {
            let (old, new) = (ids(&replaced), ids(&events));
            let reason = format!("{projection}: {position} is event `{old}`, and the edited value is event `{new}`");
            return Err(ControlError::new(ControlErrorKind::Refused, reason).advise("keep the event id of the record"));
        }
        let definition = self.builder(live)?;
        let mut changes = Vec::new();
        // An event of another type changes nothing, as ever.
        for event in events.iter().filter(|event| definition.subscribes(&event.event_type)) {
            let projected = definition.project(event);
            let projected =
                projected.map_err(|failure| invalid(format!("the edited value can't be projected: {failure}")))?;
            changes.extend(projected.iter().map(|change| change.described(definition.tables())));
        }
        let event_type = joined(events.iter().map(|event| &*event.event_type));
        Ok(EditPreview { position: position.to_string(), event_type, changes })
    }
}

fn ids(events: &Events<'_>) -> String {
    joined(events.iter().map(|event| &*event.event_id))
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}
