//! Projections and upcasters of readcast that are written as files.
//!
//! A file says what a [`Projection`](readcast_core::Projection) in Rust says: topics, tables, and what happens at each event.
//! What is written to a column is an expression of CEL. The result is a projection like any other: the same changes, the same
//! fold, the same rebuilds.

mod datum;
mod document;
mod expression;
mod projection;
mod upcasters;

pub use document::Problem;
pub use projection::FileProjection;
pub use upcasters::upcasters;
