//! readcast, a CQRS read-model projector: domain events in, read tables and their log positions out, in one database
//! transaction.
//!
//! The library runs the projections of a [`Registry`](readcast_core::Registry); a deployment is a `main` that hands
//! its registry to `cli::main`. `ARCHITECTURE.md` walks one record through the modules.

pub mod admin;
mod app;
pub mod cli;
pub mod config;
pub mod decode;
pub mod error;
mod failpoint;
pub mod health;
pub mod metrics;
pub mod plan;
pub mod rebuild;
#[cfg(test)]
mod reference;
pub mod retry;
mod schemes;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod worker;

pub use app::{App, OpenError, Sample, SampleEvents};
pub use decode::{DecodeError, Decoder, EnvelopeDecoder};
pub use readcast_core::{
    Changes, ColumnType, Envelope, Position, Projection, ProjectionError, Registry, TableSpec, Timestamp,
    TopicPartition,
};
pub use schemes::{Access, SourceSettings, StoreSettings};

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
    #[doc = include_str!("../docs/src/reference/change-operations.md")]
    mod change_operations {}
}
