//! readcast is a CQRS read-model projector: it turns domain events of a log into rows of read tables, and writes the rows
//! and its position in the log in one database transaction.
//!
//! A program implements [`Projection`] for each of its read models, registers them with [`App`], and has the command line
//! of readcast: `run`, `status`, `check`, `rebuild`, `dead-letters` and more. It reads from Kafka or from a folder of files
//! and writes to Postgres or SQLite.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use readcast::{App, Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
//!
//! /// How often each page was visited.
//! struct Visits;
//!
//! impl Projection for Visits {
//!     fn name(&self) -> &str {
//!         "visits"
//!     }
//!
//!     fn topics(&self) -> &[&str] {
//!         &["site"]
//!     }
//!
//!     fn event_types(&self) -> &[&str] {
//!         &["PAGE_VISITED"]
//!     }
//!
//!     fn tables(&self) -> Vec<TableSpec> {
//!         vec![TableSpec::new("visits").key("page", ColumnType::Text).with_default("visits", ColumnType::I64, 0)]
//!     }
//!
//!     fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
//!         let page: String = event.data()?;
//!         changes.upsert("visits", [page]).add("visits", 1);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     App::new().name("site").version(env!("CARGO_PKG_VERSION")).projection(Visits).run()
//! }
//! ```
//!
//! [`testing`] tests projections without a log and a database. A program can add what readcast does not know: logs by
//! [`App::with_source`] and the traits in [`source`], databases by [`App::with_store`] and the traits in [`store`], and
//! formats of records by [`App::with_decoder`] and [`Decoder`].

mod admin;
mod app;
mod cli;
mod config;
mod control;
mod decode;
mod error;
mod failpoint;
mod files;
mod health;
mod metrics;
mod operations;
mod plan;
#[cfg(test)]
mod reference;
#[cfg(feature = "_registry")]
mod registry;
mod retry;
mod schemes;
pub mod source;
pub mod store;
mod supervisor;
mod telemetry;
mod text;
mod worker;

pub use readcast_core::testing;
pub use readcast_core::{
    AffectedRow, Cell, Cells, Change, ChangeError, ChangeSet, Changes, Column, ColumnType, Composition, DataError,
    Date, Decimal, DecimalError, Definition, DefinitionError, Envelope, EnvelopeError, Header, Join, Json, JsonError,
    Key, Model, OutOfRange, Payload, Position, Presence, Projection, ProjectionError, ProjectionFailure, ReadView,
    Reference, Registry, Row, RowChange, RowWriter, Segment, SourceFile, StoredSource, TableSpec, Timestamp,
    TimestampError, TopicPartition, TraceContext, Upcasters, Uuid, Value, ValueError, differences,
};

#[cfg(feature = "files")]
pub use crate::files::{FileProjection, Problem, upcasters};

#[cfg(feature = "avro")]
pub use readcast_core::{Avro, AvroReaderSchema, AvroSchema};
#[cfg(feature = "protobuf")]
pub use readcast_core::{Protobuf, ProtobufSchema};

pub use crate::app::{App, Sample, SampleEvents};
pub use crate::decode::{DecodeError, Decoder, EnvelopeDecoder, Events};
pub use crate::schemes::{Access, OpenError, SourceSettings, StoreSettings};

/// What the tests and benchmarks of this repository need besides. It may change with any version.
#[doc(hidden)]
pub mod internals {
    pub mod config {
        pub use crate::config::*;
    }
    pub mod control {
        pub use crate::control::*;
    }
    pub mod decode {
        pub use crate::decode::{Decoders, Formats};
    }
    pub mod health {
        pub use crate::health::*;
    }
    pub mod metrics {
        pub use crate::metrics::*;
    }
    pub mod plan {
        pub use crate::plan::*;
    }
    pub mod operations {
        pub use crate::operations::*;
    }
    pub mod supervisor {
        pub use crate::supervisor::*;
    }
    pub mod worker {
        pub use crate::worker::*;
    }
    pub mod source {
        pub mod file {
            pub use crate::source::file::*;
        }
        pub mod kafka {
            pub use crate::source::kafka::*;
        }
        pub mod memory {
            pub use crate::source::memory::*;
        }
    }
    pub mod store {
        pub mod postgres {
            pub use crate::store::postgres::*;
        }
        pub mod sqlite {
            pub use crate::store::sqlite::*;
        }
    }
}

/// The Rust of the README and of the book compiles, and what it asserts holds.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/src/tutorial.md")]
    mod tutorial {}
    #[doc = include_str!("../docs/src/own-service.md")]
    mod own_service {}
    #[doc = include_str!("../docs/src/concepts/changes.md")]
    mod changes {}
    #[doc = include_str!("../docs/src/concepts/references.md")]
    mod references {}
    #[doc = include_str!("../docs/src/guides/change.md")]
    mod change {}
    #[doc = include_str!("../docs/src/guides/test.md")]
    mod test {}
    #[doc = include_str!("../docs/src/guides/read-side.md")]
    mod read_side {}
    #[doc = include_str!("../docs/src/reference/change-operations.md")]
    mod change_operations {}
}
