//! The pure centre of readcast: what an event is, what a read table is, and how the changes of many events fold
//! into one change a row.
//!
//! Nothing here performs I/O, reads a clock, or draws a random number: a projection's result is a function of the log
//! alone, so a rebuild equals the live tables row for row.
//!
//! A read model is a [`Projection`]: it declares its [`TableSpec`]s and turns each [`Envelope`] into [`Changes`].
//! Test it with [`testing::given`].

mod change;
mod decimal;
mod envelope;
mod fold;
mod json;
mod model;
mod position;
mod projection;
mod storage;
mod table;
pub mod testing;
mod timestamp;
mod value;

pub use change::{Change, ChangeError, Changes, RowWriter};
pub use chrono::NaiveDate as Date;
pub use decimal::{Decimal, DecimalError};
pub use envelope::{Envelope, EnvelopeError};
pub use fold::{Absorbed, Cell, Cells, ChangeSet, Key, Row, RowChange, Segment};
pub use json::{Json, JsonError};
pub use model::{Model, OutOfRange};
pub use position::{Position, TopicPartition};
pub use projection::{Definition, DefinitionError, Projection, ProjectionError, Registry, Unprojectable};
pub use table::{Column, ColumnType, Presence, TableSpec, differences};
pub use timestamp::{Timestamp, TimestampError};
pub use uuid::Uuid;
pub use value::{Value, ValueError};
