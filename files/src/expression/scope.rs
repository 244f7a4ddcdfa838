//! What an expression can see of an event.

use std::borrow::Cow;

use readcast_core::{DataError, Envelope, Payload};

use super::EvaluationError;
use super::node::Part;
use crate::datum::{Datum, Shape};

/// An event, with the variables of loops.
pub(crate) struct Scope<'e> {
    event: &'e Envelope<'e>,
    data: Datum<'e>,
    /// The variables, the innermost last.
    pub(super) locals: Vec<Datum<'e>>,
    /// The steps and bytes that the expressions of this event may still take.
    left: usize,
}

impl<'e> Scope<'e> {
    /// The most steps of the expressions of one event, and the most bytes of the texts that they make. They bound the time and
    /// the memory that an event can cost.
    pub(crate) const MAX_STEPS: usize = 10_000_000;

    /// The parts of the event that `shape` names.
    pub(crate) fn new(event: &'e Envelope<'e>, shape: &'e Shape) -> Result<Self, DataError> {
        Ok(Self { event, data: event.data_by(shape)?, locals: Vec::new(), left: Self::MAX_STEPS })
    }

    /// What `run` makes of an item of a list and its number, which are the variables that a rule's loop adds.
    pub(crate) fn with_item<T>(&mut self, item: Datum<'e>, index: i64, run: impl FnOnce(&mut Self) -> T) -> T {
        self.push(item);
        self.push(Datum::Int(index));
        let made = run(self);
        self.pop();
        self.pop();
        made
    }

    /// Adds a variable for the expressions that are compiled with one more name.
    pub(crate) fn push(&mut self, value: Datum<'e>) {
        self.locals.push(value);
    }

    /// Removes the variable that was added last.
    pub(super) fn pop(&mut self) {
        self.locals.pop();
    }

    /// The event's data, as far as it was read.
    pub(crate) fn data(&self) -> &Datum<'e> {
        &self.data
    }

    /// A part of the event.
    pub(super) fn part(&self, part: Part) -> Result<Datum<'e>, EvaluationError> {
        let event = self.event;
        let text = |text: &'e str| Datum::Text(Cow::Borrowed(text));
        Ok(match part {
            Part::Data => self.data.clone(),
            Part::Key => match &event.key_payload {
                Payload::Empty => event.key.map_or(Datum::Null, text_or_bytes),
                payload => {
                    let read = payload.read(Shape::WHOLE);
                    read.map_err(|error| EvaluationError::Failed(format!("the key: {error}")))?
                }
            },
            Part::Type => text(&event.event_type),
            Part::Version => Datum::Int(event.version.into()),
            Part::Time => Datum::Time(event.timestamp),
            Part::EventId => text(&event.event_id),
            Part::CorrelationId => event.correlation_id.as_deref().map_or(Datum::Null, text),
            Part::Position => Datum::map(vec![
                ("topic".into(), text(&event.position.topic)),
                ("partition".into(), Datum::Int(event.position.partition.into())),
                ("offset".into(), Datum::Int(event.position.offset)),
            ]),
            Part::Headers => {
                let fields = event.headers.iter().map(|(name, value)| {
                    (Cow::Borrowed(name.as_str()), value.as_deref().map_or(Datum::Null, text_or_bytes))
                });
                Datum::map(fields.collect())
            }
        })
    }

    /// Counts `steps` steps, or bytes that were made.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), EvaluationError> {
        let left = self.left.checked_sub(steps);
        self.left = left.ok_or_else(|| {
            EvaluationError::Failed(format!("the expressions take more than {} steps for one event", Self::MAX_STEPS))
        })?;
        Ok(())
    }
}

fn text_or_bytes(bytes: &[u8]) -> Datum<'_> {
    std::str::from_utf8(bytes).map_or(Datum::Bytes(bytes.into()), |text| Datum::Text(text.into()))
}
