//! What a record holds.

use std::ops::Deref;

use readcast_core::Envelope;

/// The events of one record, in order. Nearly always that is one; a record may also hold none.
#[derive(Clone, Debug, Default)]
pub struct Events<'r> {
    list: List<'r>,
    named_by_position: bool,
}

/// One event needs no allocation.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a box would be the allocation that this avoids")]
enum List<'r> {
    One([Envelope<'r>; 1]),
    Many(Vec<Envelope<'r>>),
}

impl Default for List<'_> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<'r> Events<'r> {
    /// The same events, whose ids are made from the record's position because the producer gives none. Then a second copy
    /// can't be recognised, and no memory is spent on that.
    #[must_use]
    pub fn named_by_position(self) -> Self {
        Self { named_by_position: true, ..self }
    }

    /// Whether the ids of the events are made from the record's position.
    pub fn are_named_by_position(&self) -> bool {
        self.named_by_position
    }
}

impl<'r> Deref for Events<'r> {
    type Target = [Envelope<'r>];

    fn deref(&self) -> &[Envelope<'r>] {
        match &self.list {
            List::One(event) => event,
            List::Many(events) => events,
        }
    }
}

impl<'r> From<Envelope<'r>> for Events<'r> {
    fn from(event: Envelope<'r>) -> Self {
        Self { list: List::One([event]), named_by_position: false }
    }
}

impl<'r> FromIterator<Envelope<'r>> for Events<'r> {
    fn from_iter<I: IntoIterator<Item = Envelope<'r>>>(events: I) -> Self {
        let mut events = events.into_iter();
        match (events.next(), events.next()) {
            (Some(only), None) => only.into(),
            (first, second) => {
                let list = List::Many(first.into_iter().chain(second).chain(events).collect());
                Self { list, named_by_position: false }
            }
        }
    }
}
