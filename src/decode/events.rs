//! What a record holds.

use std::ops::Deref;

use readcast_core::Envelope;
use smallvec::SmallVec;

/// The events of one record, in order. Nearly always that is one; a record may also hold none.
#[derive(Clone, Debug, Default)]
pub struct Events<'r> {
    list: SmallVec<[Envelope<'r>; 1]>,
    named_by_position: bool,
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
        &self.list
    }
}

impl<'r> From<Envelope<'r>> for Events<'r> {
    fn from(event: Envelope<'r>) -> Self {
        [event].into_iter().collect()
    }
}

impl<'r> FromIterator<Envelope<'r>> for Events<'r> {
    fn from_iter<I: IntoIterator<Item = Envelope<'r>>>(events: I) -> Self {
        Self { list: events.into_iter().collect(), named_by_position: false }
    }
}
