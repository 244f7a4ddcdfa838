//! Projections and upcasters of readcast that are written as files.
//!
//! A file says what a [`Projection`](readcast_core::Projection) in Rust says: topics, tables, and what happens at each event.
//! What is written to a column is an expression of CEL. The result is a projection like any other: the same changes, the same
//! fold, the same rebuilds.

mod cases;
#[cfg(feature = "wasm")]
mod component;
#[cfg(not(feature = "wasm"))]
#[path = "no_component.rs"]
mod component;
mod datum;
mod document;
mod draft;
mod expression;
mod projection;
mod schema;
#[cfg(test)]
mod tests;
mod upcasters;

pub use cases::{RecordedTest, TestOutcome, recorded_test, run_tests};
#[cfg(feature = "wasm")]
pub use component::{Component, ComponentError, Limits};
pub use document::Problem;
pub use draft::{Draft, DraftError, draft};
pub use projection::FileProjection;
pub use schema::{WIT, schema};
pub use upcasters::upcasters;
