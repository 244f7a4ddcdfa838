//! readcast, a CQRS read-model projector: domain events in, read tables and their log positions out, in one database
//! transaction.
//!
//! The library runs the projections of a [`Registry`](readcast_core::Registry); a deployment is a `main` that hands
//! its registry to `cli::main`. `ARCHITECTURE.md` walks one record through the modules.

pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod decode;
pub mod error;
mod failpoint;
pub mod health;
pub mod metrics;
pub mod plan;
pub mod rebuild;
pub mod retry;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod worker;
