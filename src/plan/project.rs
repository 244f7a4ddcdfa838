//! From events to changes, or to what is wrong with them.

use readcast_core::{Cell, Change, Envelope, ProjectionFailure, RowChange};

use super::{AllowedChanges, PoisonCause, PoisonClass, Rules};
use crate::decode::Events;

impl Rules<'_> {
    /// The changes of all events to which the projection subscribes, in order.
    pub(super) fn project(&self, events: &Events<'_>) -> Result<Vec<Change>, PoisonCause> {
        let mut changes = Vec::new();
        for (place, event) in events.iter().enumerate().filter(|(_, event)| self.subscribes(event)) {
            let mut projected =
                self.project_event(event).map_err(|PoisonCause { class, reason }| match events.len() {
                    1 => PoisonCause::new(class, reason),
                    of => PoisonCause::new(class, format!("event {} of {of}: {reason}", place + 1)),
                })?;
            if changes.is_empty() {
                std::mem::swap(&mut changes, &mut projected);
            }
            changes.append(&mut projected);
        }
        Ok(changes)
    }

    fn project_event(&self, event: &Envelope<'_>) -> Result<Vec<Change>, PoisonCause> {
        let changes = self.definition.project(event).map_err(|error| {
            let class = match error {
                ProjectionFailure::Refused(_) => PoisonClass::Unprojectable,
                ProjectionFailure::Panicked(_) => PoisonClass::Panicked,
                ProjectionFailure::TooManyOperations => PoisonClass::Exhausted,
            };
            PoisonCause::new(class, error.to_string())
        })?;
        if self.allowed == AllowedChanges::Repeatable {
            let unrepeatable = |what: &str| PoisonCause::new(PoisonClass::Unrepeatable, what);
            changes.iter().try_for_each(|change| repeatable(change).map_err(unrepeatable))?;
        }
        Ok(changes)
    }
}

/// Whether a change that was made before can be made again over rows that already have later changes. Values that are set
/// end as the last change says; values that are added up, compared, or found by the contents of rows do not.
fn repeatable(change: &Change) -> Result<(), &'static str> {
    const UNREPEATABLE: &str = "it adds to, compares or appends to what a row holds, which can't be repeated over a copy \
                                of the live rows: cancel this rebuild, and rebuild from the earliest offset";
    const FAN_OUT: &str = "it changes rows found by what they hold, which can't be repeated over a copy of the live rows: \
                           cancel this rebuild, and rebuild from the earliest offset";
    let cells = match change {
        Change::Where { .. } => return Err(FAN_OUT),
        Change::ReplaceChildren { .. } | Change::Row { change: RowChange::Delete, .. } => return Ok(()),
        Change::Row { change: RowChange::Upsert(cells) | RowChange::Update(cells), .. } => cells,
    };
    let set = |cell: &Option<Cell>| matches!(cell, None | Some(Cell::Set(_)));
    if cells.as_slice().iter().all(set) { Ok(()) } else { Err(UNREPEATABLE) }
}
