//! Operations: what operators request, and the rebuild that changed code requests, carried out in steps that the store
//! records.
//!
//! One instance at a time carries out the operations on a projection: [`OperationReconciler`]. Each step follows from what
//! the store says alone, so after a crash any instance carries out the next one. The feeds of the supervisor keep tables up
//! to date; this module decides when a generation begins, is compared, becomes live and ends.
//!
//! Each command has a file of its name: `rebuild`, `verify`, `activate`, `rollback`, `retire`, `refold_key`
//! (`rebuild --key`), `settle` (`dead-letters retry` and `discard`), `accept_loss`. They share `build` (the phases of a
//! building generation), `load` (its fast first phase), `hold` and `swap`. What has no command is in `chores`.

pub mod accept_loss;
mod activate;
mod build;
pub mod chores;
mod drop_obstacle;
mod hold;
mod load;
mod local_state;
pub mod log_history;
mod log_reader;
mod order_findings;
mod policy;
pub mod preview;
mod rebuild;
mod reconciler;
mod refold_key;
mod retire;
mod rollback;
mod settle;
mod spool;
mod step;
mod swap;
mod throttle;
mod verify;

pub use self::load::LoadLimits;
pub use self::policy::{OnChange, Policy};
pub use self::reconciler::OperationReconciler;
pub(crate) use self::settle::{FollowedGeneration, follow_decisions};
pub(crate) use self::throttle::Throttle;
use crate::store::{GenerationState, GenerationStatus};

/// Whether the generation has ended and its tables are still there.
fn has_tables_to_drop(status: &GenerationStatus) -> bool {
    matches!(status.state, GenerationState::Retired | GenerationState::Failed) && status.has_tables
}
