//! The pure core of readcast: events, read tables, and the fold that composes the changes of many events into one
//! change a row.
//!
//! Nothing here performs I/O, reads a clock or draws a random number. The result of a projection is a function of the
//! log alone, so a rebuild gives the same rows as the live run.
//!
//! A read model is a [`Projection`]. It declares its [`TableSpec`]s and turns each [`Envelope`] into [`Changes`]. A
//! [`Registry`] holds the projections of a service. Test a projection with [`testing::given`].

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
mod topic_pattern;
mod value;

pub use change::{Change, ChangeError, Changes, RowWriter};
pub use chrono::NaiveDate as Date;
#[doc(hidden)]
pub use decimal::RAW_VALUE;
pub use decimal::{Decimal, DecimalError};
#[cfg(feature = "avro")]
pub use envelope::{Avro, AvroReaderSchema, AvroSchema};
pub use envelope::{DataError, Envelope, EnvelopeError, Header, Payload, TraceContext, header};
#[cfg(feature = "protobuf")]
pub use envelope::{Protobuf, ProtobufSchema};
pub use fold::{Cell, Cells, ChangeSet, Composition, Key, Row, RowChange, Segment};
pub use json::{Json, JsonError};
pub use model::{Model, OutOfRange};
pub use position::{Position, TopicPartition};
pub use projection::{
    AffectedRow, Definition, DefinitionError, Projection, ProjectionError, ProjectionFailure, Registry, SourceFile,
    StoredSource, Upcasters,
};
pub use table::{
    Column, ColumnType, Join, Link, Presence, ReadView, Reference, Shown, ShownColumn, TableSpec, differences,
    type_changes,
};
pub use timestamp::{Timestamp, TimestampError};
pub use topic_pattern::{is_topic_pattern, topic_matches};
pub use uuid::Uuid;
pub use value::{Value, ValueError};
