//! Rebuilds: generations come, are proven, activated, rolled back and dropped, while readers read.

mod changes;
mod chores;
mod faults;
mod order;
pub(crate) mod scene;
mod soak;
mod troubles;
